"""What people decide of a campaign: plan, create, approve, start, pause, resume, cancel, again to the unreached.

Each decision is one transaction under the lock of the campaign's row, with its AuditLog row: who, why, before, after.
Carrying it out over the messages is the work of a run of `process_bulk_sms`, asked for in the same transaction. What is
refused writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models import Q, QuerySet

from core import clock, phones, sms_text
from core.base import figures
from core.base.registries import NATION, SEND_BULK_SMS, Place, permissions
from core.base.services import record
from core.delivery import audiences, campaigns, holds
from core.delivery.audiences import Audience
from core.delivery.models import Campaign
from core.delivery.rules import CAMPAIGN_TRANSITIONS, CampaignStatus, Channel, Purpose
from core.delivery.services import checked_sms, checked_text
from core.delivery.windows import bulk_end, opening
from core.errors import Conflict, InvalidInput, NotAllowed
from core.jobs.operations import Actor

MOST_SEEDS = 20
LONGEST_NAME = 200
# A person may have it again: none of these can have arrived, and none may still arrive.
UNREACHED = ("rejected", "expired", "dead", "undelivered_temporary", "undelivered_permanent")


# --- planning ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What a campaign would be, before anything leaves. Money is GHS.

    Of a selection of more than `examined` people the others are only counted: `duplicates`, `invalid`, `opted_out` and
    `suppressed` are those found so far. `ends` is None while no rate is known.
    """

    audience: str
    text: str
    previews: tuple[str, ...]  # masked numbers
    recipients: int
    examined: int
    duplicates: int
    invalid: int
    opted_out: int
    suppressed: int
    to_be_sent: int
    seeds: int
    encoding: str
    units: int
    parts: int
    forced_by: tuple[str, ...]
    ghs_per_part: Decimal
    cost: Decimal
    approval: str  # why a second person must approve, '' when nobody must
    begins: datetime
    ends: datetime | None


def plan(*, text: object, audience: Audience, seeds: Sequence[object] = ()) -> Plan:
    """What would go to whom and what it would cost. Writes and sends nothing. Raises InvalidInput."""
    return _planned(text, audience, seeds_of(seeds))


def _planned(text: object, audience: Audience, seeds: Sequence[str]) -> Plan:
    body, parts = checked_sms(text)
    size = sms_text.measure(body)
    outlook = audiences.look_ahead(audience, seeds)
    price, rate = figures.read(figures.SMS_GHS_PER_PART, figures.SMS_PARTS_PER_SECOND)
    sent = outlook.to_be_sent + len(seeds)
    cost = sent * parts * price
    now = clock.now()
    begins = opening(Purpose.BULK, Channel.SMS, now)
    return Plan(
        audience=audience.description,
        text=body,
        previews=tuple(phones.mask(phone) for phone in outlook.samples),
        recipients=outlook.expected,
        examined=outlook.examined,
        duplicates=outlook.duplicates,
        invalid=outlook.invalid,
        opted_out=outlook.opted_out,
        suppressed=outlook.suppressed,
        to_be_sent=sent,
        seeds=len(seeds),
        encoding=size.encoding,
        units=size.units,
        parts=parts,
        forced_by=size.forced_by,
        ghs_per_part=price,
        cost=cost,
        approval=why_approval(outlook.expected, cost),
        begins=begins,
        ends=bulk_end(begins, sent * parts / rate) if rate else None,
    )


def why_approval(recipients: int, cost: Decimal) -> str:
    most, dearest = figures.read(figures.CAMPAIGN_APPROVAL_RECIPIENTS, figures.CAMPAIGN_APPROVAL_GHS)
    if recipients > most:
        return f"more than {most:,} recipients"
    return f"more than GHS {dearest:,}" if cost > dearest else ""


def seeds_of(given: Sequence[object]) -> list[str]:
    """The phones that get the text first, each once. Raises InvalidInput."""
    if isinstance(given, str | bytes) or not isinstance(given, Sequence):
        raise InvalidInput("seeds must be a list of phone numbers, such as ['0244123456'].")
    if len(given) > MOST_SEEDS:
        raise InvalidInput(f"{len(given)} seeds are too many: name at most {MOST_SEEDS} phones of your own.")
    return list(dict.fromkeys(phones.normalise(phone) for phone in given))


# --- creating ------------------------------------------------------------------------------------------------------


@transaction.atomic
def create(
    *,
    actor: Actor,
    text: object,
    audience: Audience,
    seeds: Sequence[object] = (),
    wait_after_seeds: bool = False,
    name: str = "",
    ceiling: Decimal | None = None,
    reason: str = "",
) -> tuple[Campaign, Plan]:
    """A draft, with the plan that was true when it was made. A list is stored with it, a selection read when it runs.

    Raises InvalidInput, NotAllowed, and Conflict when it needs an approval and nobody is named who asks for it.
    """
    must_be_allowed(actor, audience.place)
    if wait_after_seeds and not seeds:
        raise InvalidInput("There is nothing to wait for: name the seeds, the phones that get the text first.")
    if ceiling is not None:
        check_ceiling(ceiling)
    own = seeds_of(seeds)
    planned = _planned(text, audience, own)
    campaign = _draft(actor, audience, planned, own, name, retry_of=None)
    campaign.seeds_only = wait_after_seeds
    campaign.ceiling = ceiling
    campaign.complete = audience.selection is None
    campaign.save()
    if own:
        campaigns.store(campaign, audiences.sift(own), seed=True)
        campaign.position = 0
    for first in range(0, len(audience.numbers), audiences.CHUNK):
        campaigns.store(campaign, audiences.sift(audience.numbers[first : first + audiences.CHUNK]))
    _audit(actor, "campaign.created", campaign, reason, None, _told(campaign))
    return campaign, planned


def _draft(
    actor: Actor, audience: Audience, planned: Plan, seeds: list[str], name: str, retry_of: Campaign | None
) -> Campaign:
    if planned.approval and not actor.user_id:
        raise Conflict(
            f"This campaign needs a second person's approval ({planned.approval}), so it must be known who asks for it."
            " Name yourself: --as PHONE-OR-EMAIL."
        )
    return Campaign(
        requested_by_id=actor.user_id,
        name=checked_text(name, "The name").strip()[:LONGEST_NAME] if name else "",
        audience=audience.description,
        selection=audience.selection,
        region=audience.place.region_id,
        constituency=audience.place.constituency_id,
        message=planned.text,
        parts=planned.parts,
        seeds=seeds,
        status=CampaignStatus.DRAFT.value,
        needs_approval=bool(planned.approval),
        expected=planned.recipients,
        estimate=planned.cost,
        retry_of=retry_of,
    )


# --- deciding ------------------------------------------------------------------------------------------------------


@transaction.atomic
def approve(*, campaign_id: object, actor: Actor, reason: str = "") -> Campaign:
    """A second person's yes to a draft. Raises NotFound, NotAllowed, Conflict."""
    campaign = _decided(campaign_id, actor)
    if campaign.status != CampaignStatus.DRAFT:
        raise Conflict(f"Only a draft is approved; this campaign is {campaign.status}.")
    if campaign.approved_by_id:
        raise Conflict("This campaign is approved already.")
    if not actor.user_id:
        raise Conflict("An approval needs a person with an account. Name yourself: --as PHONE-OR-EMAIL.")
    if actor.user_id == campaign.requested_by_id:
        raise NotAllowed("Whoever asks for a campaign cannot approve it: a second person must look at it.")
    before = _told(campaign)
    campaign.approved_by_id = actor.user_id
    campaign.approved_at = clock.now()
    campaign.save(update_fields=["approved_by", "approved_at", "updated_at"])
    _audit(actor, "campaign.approved", campaign, reason, before, _told(campaign))
    return campaign


@transaction.atomic
def start(*, campaign_id: object, actor: Actor, reason: str = "") -> Campaign:
    """Have a draft sent. Raises NotFound, NotAllowed, and Conflict while an approval is missing or when its selection
    has grown since it was planned.
    """
    campaign = _decided(campaign_id, actor)
    _may_go(campaign, CampaignStatus.QUEUED)
    if not campaign.message:
        raise Conflict("This draft lay so long that its text and numbers were removed. Create it anew.")
    if campaign.selection is not None and not campaign.complete:
        people = audiences.count(campaign.selection)
        audiences.within_cap(people)
        if campaigns.too_many(people, campaign.expected):
            raise Conflict(
                f"Its selection meant {campaign.expected:,} people when it was planned and means {people:,} now."
                " Cancel it and create it anew, so that the number and the cost are looked at."
            )
    [price] = figures.read(figures.SMS_GHS_PER_PART)
    needs = why_approval(
        campaign.expected, max(campaign.estimate or Decimal(0), campaign.expected * campaign.parts * price)
    )
    if (needs or campaign.needs_approval) and not campaign.approved_by_id:
        raise Conflict(f"A second person must approve this campaign first ({needs or 'as it was planned'}).")
    return _changed(actor, campaign, "campaign.started", CampaignStatus.QUEUED, reason, follow_up=True)


@transaction.atomic
def pause(*, campaign_id: object, actor: Actor, reason: str) -> Campaign:
    """Stop a running campaign: nothing leaves any more but the calls that have begun. Raises NotFound, NotAllowed,
    InvalidInput without a reason, Conflict.
    """
    campaign = _decided(campaign_id, actor)
    _may_go(campaign, CampaignStatus.PAUSED)
    campaign.reason = _why(reason)
    campaign.running_since = None
    return _changed(actor, campaign, "campaign.paused", CampaignStatus.PAUSED, reason, follow_up=True)


@transaction.atomic
def resume(*, campaign_id: object, actor: Actor, reason: str = "", ceiling: Decimal | None = None) -> Campaign:
    """Go on with a paused campaign, or after the seeds of one that waits for that. One whose ceiling is used up needs a
    higher `ceiling`, and a dear one another person to give it. Raises as `start`.
    """
    campaign = _decided(campaign_id, actor)
    going_on = campaign.status == CampaignStatus.RUNNING and campaign.seeds_only
    if not going_on:
        _may_go(campaign, CampaignStatus.RUNNING)
        if campaign.status == CampaignStatus.QUEUED:
            raise Conflict("This campaign has not begun: it is queued, and starts by itself.")
    _raise_ceiling(campaign, ceiling, actor)
    if campaign.selection is not None and not campaign.complete:
        campaign.expected = max(campaign.expected, campaign.accepted)  # whoever resumes has seen that there are more
    campaign.seeds_only = campaign.seeds_only and not going_on
    campaign.reason = ""
    campaign.running_since = clock.now()
    campaign.gone_before = _gone(campaign)
    return _changed(actor, campaign, "campaign.resumed", CampaignStatus.RUNNING, reason, follow_up=True)


@transaction.atomic
def cancel(*, campaign_id: object, actor: Actor, reason: str) -> Campaign:
    """End a campaign for good: what has not left never will. Raises NotFound, NotAllowed, Conflict when it is over,
    InvalidInput without a reason.
    """
    campaign = _decided(campaign_id, actor)
    _may_go(campaign, CampaignStatus.CANCELLED)
    campaign.reason = _why(reason)
    campaign.running_since = None
    campaign.finished_at = clock.now()
    began = campaign.status != CampaignStatus.DRAFT
    return _changed(actor, campaign, "campaign.cancelled", CampaignStatus.CANCELLED, reason, follow_up=began)


def _raise_ceiling(campaign: Campaign, ceiling: Decimal | None, actor: Actor) -> None:
    dearest, price = figures.read(figures.CAMPAIGN_APPROVAL_GHS, figures.SMS_GHS_PER_PART)
    if ceiling is not None:
        check_ceiling(ceiling)
        more = campaign.ceiling is None or ceiling > campaign.ceiling
        if more and ceiling > dearest and actor.user_id == campaign.requested_by_id:
            raise NotAllowed(f"A ceiling of more than GHS {dearest:,} is raised by a second person.")
        campaign.ceiling = ceiling
    if campaign.ceiling is not None and campaign.spent + campaign.parts * price > campaign.ceiling:
        used = f"GHS {campaign.spent:,.2f} of GHS {campaign.ceiling:,.2f} spent"
        raise Conflict(f"Its ceiling is used up ({used}): give a higher one.")


def check_ceiling(ceiling: Decimal) -> None:
    if not (ceiling.is_finite() and 0 < ceiling < 10**9):
        raise InvalidInput("The ceiling is an amount in GHS, such as 50.00.")


def _may_go(campaign: Campaign, wanted: CampaignStatus) -> None:
    if wanted in CAMPAIGN_TRANSITIONS[CampaignStatus(campaign.status)]:
        return
    how = {
        CampaignStatus.QUEUED: "Only a draft is started",
        CampaignStatus.PAUSED: "Only a running campaign is paused",
        CampaignStatus.RUNNING: "Only a paused campaign, or one that waits after its seeds, is resumed",
        CampaignStatus.CANCELLED: "A campaign that is over is not cancelled",
    }[wanted]
    raise Conflict(f"{how}; this one is {campaign.status}.")


def _changed(
    actor: Actor, campaign: Campaign, action: str, status: CampaignStatus, reason: str, *, follow_up: bool
) -> Campaign:
    before = _told(Campaign.objects.get(pk=campaign.pk))
    campaign.status = status.value
    campaign.save(
        update_fields=[
            *("status", "reason", "running_since", "finished_at", "seeds_only", "gone_before", "expected", "ceiling"),
            "updated_at",
        ]
    )
    _audit(actor, action, campaign, reason, before, _told(campaign))
    if follow_up:
        who = {"user_id": str(actor.user_id)} if actor.user_id else {}
        with structlog.contextvars.bound_contextvars(**who):
            campaigns.ask_for_work(campaign.pk, status)
    return campaign


def _gone(campaign: Campaign) -> int:
    """Its messages that wait no more."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM delivery_outboundmessage WHERE campaign_id = %s"
            " AND status NOT IN ('queued', 'held', 'claimed', 'submitting')",
            [campaign.pk],
        )
        return int(cursor.fetchone()[0])


# --- once more -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unreached:
    """Of the `recipients` of a campaign `delivered` have its text for certain and `perhaps` may have it or get it yet
    (accepted, in doubt, outcome unknown); `again` can have it once more. The others want none, or take none.
    """

    recipients: int
    delivered: int
    perhaps: int
    again: int

    @property
    def left_out(self) -> int:
        return self.recipients - self.delivered - self.perhaps - self.again


_JOINED = """
FROM delivery_campaignrecipient AS recipient
    LEFT JOIN delivery_outboundmessage AS message ON message.id = recipient.message
WHERE recipient.campaign_id = %(campaign)s AND NOT recipient.seed AND recipient.status <> 'invalid'
"""
_AGAIN = """
    (recipient.status = 'waiting' OR message.status = ANY (%(unreached)s)
        OR (message.status = 'suppressed' AND message.error = %(cancelled)s))
    AND NOT EXISTS (SELECT 1 FROM delivery_suppression AS s WHERE s.channel = 'sms' AND s.address = recipient.phone
        AND s.lifted_at IS NULL)
    AND NOT EXISTS (SELECT 1 FROM delivery_optout AS o WHERE o.channel = 'sms' AND o.address = recipient.phone
        AND o.purpose = 'bulk' AND o.ended_at IS NULL)
"""
_COUNT = (
    "SELECT count(*), count(*) FILTER (WHERE message.status = 'delivered'),"
    " count(*) FILTER (WHERE message.status IN ('accepted', 'in_doubt', 'outcome_unknown', 'queued', 'held', 'claimed',"
    f" 'submitting')), count(*) FILTER (WHERE {_AGAIN}) {_JOINED}"
)
_TAKE = (
    "INSERT INTO delivery_campaignrecipient (campaign_id, phone, status, reason, user_id, seed)"
    f" SELECT %(new)s, recipient.phone, 'waiting', '', recipient.user_id, false {_JOINED} AND {_AGAIN}"
    " ORDER BY recipient.id"
)


def unreached(*, campaign_id: object, actor: Actor) -> Unreached:
    """What a retry of a campaign would be, before it is made. Raises NotFound, NotAllowed, Conflict."""
    campaign = found(campaign_id, actor)
    _may_retry(campaign)
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, _of_old(campaign))
        return Unreached(*cursor.fetchone())


@transaction.atomic
def retry_unreached(*, campaign_id: object, actor: Actor, reason: str = "") -> tuple[Campaign, Unreached]:
    """A draft to those whom an ended campaign has not reached: never to anyone who has its text or may have it.

    There is one retry of a campaign; who was not reached by that one is reached by its own. Raises NotFound,
    NotAllowed, InvalidInput when its text is no longer kept, and Conflict when it has not ended, was retried, or nobody
    is left.
    """
    old = _decided(campaign_id, actor)
    counts = unreached(campaign_id=old.pk, actor=actor)
    if not counts.again:
        raise Conflict(f"Nobody is left to be written to again: {said_of(counts)}.")
    place = place_of(old)
    audience = Audience(f"not reached by campaign {old.pk}", place=place)
    plain = _planned(old.message, audience, [])
    cost = counts.again * plain.parts * plain.ghs_per_part
    planned = replace(
        plain, recipients=counts.again, cost=cost, approval=why_approval(counts.again, cost), to_be_sent=counts.again
    )
    campaign = _draft(actor, audience, planned, [], f"{old.name} (again)" if old.name else "", retry_of=old)
    campaign.save()
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, {**_of_old(old), "new": campaign.pk})
        campaign.accepted = int(cursor.rowcount)
    campaign.save(update_fields=["accepted", "updated_at"])
    _audit(actor, "campaign.created", campaign, reason, None, _told(campaign) | {"retry_of": str(old.pk)})
    return campaign, counts


def said_of(counts: Unreached) -> str:
    parts = [f"{counts.recipients:,} in campaign", f"{counts.delivered:,} delivered"]
    parts += [f"{counts.perhaps:,} may have it"] if counts.perhaps else []
    parts += [f"{counts.left_out:,} cannot or do not want to get it"] if counts.left_out else []
    return ", ".join([*parts, f"{counts.again:,} will be sent"])


def _of_old(old: Campaign) -> dict[str, Any]:
    return {"campaign": old.pk, "unreached": list(UNREACHED), "cancelled": holds.CANCELLED}


def _may_retry(campaign: Campaign) -> None:
    if campaign.status not in (CampaignStatus.DONE, CampaignStatus.CANCELLED):
        raise Conflict(f"This campaign is {campaign.status}: it must have ended before the unreached get it again.")
    later = campaign.retries.exclude(status=CampaignStatus.CANCELLED.value, written=0).first()
    if later:
        raise Conflict(f"The unreached of this campaign are those of campaign {later.pk} already: retry that one.")


# --- who may, and which --------------------------------------------------------------------------------------------


def found(campaign_id: object, actor: Actor) -> Campaign:
    """The campaign, if this person may see it: who may send bulk SMS there. Raises NotFound and NotAllowed."""
    campaign = campaigns.find(str(campaign_id))
    must_be_allowed(actor, place_of(campaign))
    return campaign


def visible(actor: Actor) -> QuerySet[Campaign]:
    """The campaigns that this person may see, newest first."""
    everything = Campaign.objects.order_by("-created_at", "-id")
    if _allowed(actor, NATION):
        return everything
    places = Campaign.objects.order_by().values_list("region", "constituency").distinct()
    wanted = Q(pk__in=[])
    for region, constituency in places:
        if _allowed(actor, Place(region, constituency)):
            wanted |= Q(region=region, constituency=constituency)
    return everything.filter(wanted)


def place_of(campaign: Campaign) -> Place:
    return Place(campaign.region, campaign.constituency)


def must_be_allowed(actor: Actor, place: Place) -> None:
    """Raises NotAllowed unless this person may send bulk SMS to all of the place. A list of numbers may go anywhere, so
    it takes the whole country. Whoever sits at the machine may do everything.
    """
    if not _allowed(actor, place):
        where = "to the whole country" if place == NATION else "there"
        raise NotAllowed(
            f"You may not send bulk SMS {where}: it takes an admin of the place, or staff with the code send_bulk_sms."
        )


def _allowed(actor: Actor, place: Place) -> bool:
    return actor.user_id is None or permissions[SEND_BULK_SMS](actor.user_id, place)


def _decided(campaign_id: object, actor: Actor) -> Campaign:
    """The campaign, locked, for somebody who may decide about it."""
    pk = found(campaign_id, actor).pk
    return Campaign.objects.select_for_update().get(pk=pk)


def _why(reason: str) -> str:
    if not reason.strip():
        raise InvalidInput('Say why, in a few words: --reason "…". It is kept with your name.')
    return checked_text(reason, "The reason").strip()[:500]


def _told(campaign: Campaign) -> dict[str, Any]:
    """What the audit log keeps of a campaign: no numbers and no text."""
    return {
        "status": campaign.status,
        "audience": campaign.audience,
        "expected": campaign.expected,
        "estimate": None if campaign.estimate is None else str(campaign.estimate),
        "ceiling": None if campaign.ceiling is None else str(campaign.ceiling),
        "needs_approval": campaign.needs_approval,
        "approved_by": campaign.approved_by_id and str(campaign.approved_by_id),
    }


def _audit(actor: Actor, action: str, campaign: Campaign, reason: str, before: Any, after: Any) -> None:
    record(
        action=action,
        subject=("campaign", str(campaign.pk)),
        actor_id=actor.user_id,
        actor_name="" if actor.user_id else actor.name,
        before=before,
        after=after,
        reason=checked_text(reason, "The reason").strip() if reason else "",
    )
