"""Bulk SMS: one text to many phones, in short slices that can stop anywhere and go on where they were.

Each step is one transaction that moves the position with the rows it writes, so a killed worker repeats nothing:
phones are unique in a campaign, and a message's key is its recipient's row. What people decide of a campaign is in
`campaign_life`; here it is carried out: `work` brings the rows into line with the state that it finds.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from core import clock
from core.base import ids
from core.delivery import audiences, dispatch, holds, rules
from core.delivery.audiences import Sifted
from core.delivery.models import Campaign
from core.delivery.rules import CampaignStatus, Channel, Purpose, Status
from core.delivery.services import checked_sms, hashed
from core.delivery.windows import opening
from core.errors import InvalidInput, NotFound
from core.jobs import progress
from core.jobs.services import enqueue_coalesced

log = structlog.get_logger(__name__)

STORE_CHUNK = 2_000
LARGEST_BATCH = 500
WRITE_CHUNK = 500  # message rows in a statement
WRITTEN_AT_ONCE = 2_000  # message rows in a transaction: so many are lost when a worker is killed, and written again
MAY_GROW = 1.1  # a selection may mean this much more people than when it was planned
WHY_HELD = {
    CampaignStatus.DRAFT: "the campaign is a draft: start it, after a second person's approval where it needs one",
    CampaignStatus.PAUSED: holds.PAUSED,
    CampaignStatus.CANCELLED: holds.CANCELLED,
}
TASK = "core.tasks.process_bulk_sms"
QUIET_SECONDS = 60  # so long nothing has happened to a campaign before a sweep asks for a run in its place
CANCELLED_DAYS = 7  # so long the sweep looks after a cancelled one
LIST_LOST = (
    "its list was not stored whole: the run that was given it has ended. What is stored is sent; then cancel it, and"
    " send the rest as a new campaign"
)
WAITS_AFTER_SEEDS = "waits after the seeds: look at them, then resume it"


@dataclass(frozen=True)
class Progress:
    """How far a campaign is. `done` when this run has nothing left to do for it in its present state."""

    campaign: Campaign
    done: bool

    def result(self) -> dict[str, Any]:
        """What `process_bulk_sms` returns: 'held' and 'skipped' say that the rest is not being sent, and why."""
        status, reason = "ok", ""
        state = CampaignStatus(self.campaign.status)
        if state in WHY_HELD:
            status, reason = "skipped" if state == CampaignStatus.CANCELLED else "held", WHY_HELD[state]
        elif self.campaign.seeds_only:
            status, reason = "held", WAITS_AFTER_SEEDS
        return {
            "status": status,
            "campaign_id": str(self.campaign.pk),
            "accepted_for_sending": self.campaign.accepted,
            "duplicates": self.campaign.duplicates,
            "invalid": self.campaign.invalid,
            **({"reason": reason} if reason else {}),
        }


def start(run_id: uuid.UUID, recipients: object, text: str, *, batch_size: int) -> Campaign:
    """The campaign of a `process_bulk_sms` call, stored under the run's id: the same when the run is repeated.

    Raises InvalidInput for a list that is empty, too long or no list, for an empty or too long text and for a batch
    size out of bounds; then nothing was written. What is stored was checked, and is not looked at again.
    """
    stored = Campaign.objects.filter(pk=run_id).first()
    if stored is not None:
        return stored
    audience = audiences.listed(recipients)
    body, parts = checked_sms(text)
    check_batch_size(batch_size)
    campaign, _ = Campaign.objects.get_or_create(
        pk=run_id,
        defaults={
            "message": body,
            "parts": parts,
            "audience": audience.description,
            "expected": len(audience.numbers),
            "complete": False,
        },
    )
    return campaign


def find(campaign_id: str) -> Campaign:
    try:
        return Campaign.objects.get(pk=uuid.UUID(str(campaign_id)))
    except (ValueError, Campaign.DoesNotExist) as error:
        raise NotFound(f"There is no campaign {campaign_id!r}. Pass the id of a stored campaign.") from error


def ask_for_work(campaign_id: uuid.UUID, state: CampaignStatus) -> None:
    """Ask, in the caller's transaction, for a run that carries out what the new state means."""
    call: dict[str, Any] = {"batch_size": LARGEST_BATCH, "campaign_id": str(campaign_id)}
    enqueue_coalesced(TASK, f"{campaign_id}:{state}", [], "", **call)


def check_batch_size(batch_size: object) -> None:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or not 1 <= batch_size <= LARGEST_BATCH:
        raise InvalidInput(f"batch_size must be a whole number from 1 to {LARGEST_BATCH}.")


# --- working -------------------------------------------------------------------------------------------------------


def work(campaign: Campaign, recipients: Sequence[object], *, batch_size: int, seconds: float) -> Progress:
    """For about so many seconds, do what the campaign's state asks for, then say how far it is.

    Running: store recipients, write messages, let go what a pause held. Paused: hold what waits. Cancelled: suppress
    it. A list that came with the call is stored all the same, since it is kept nowhere else.
    """
    check_batch_size(batch_size)
    Campaign.objects.filter(pk=campaign.pk, status="queued").update(
        status="running", started_at=Now(), running_since=Now(), updated_at=Now()
    )
    ends = time.monotonic() + seconds
    storing, over, written = True, False, 0
    while time.monotonic() < ends and not over:
        storing = storing and _store_some(campaign, recipients) > 0
        if storing:
            continue
        campaign.refresh_from_db()
        count = _step(campaign, batch_size)
        if count and not written:
            dispatch.hint_bulk()  # sending begins while the rest is being written
        written += count
        over = count == 0
        progress.report(campaign.written, max(campaign.accepted, campaign.expected) + len(campaign.seeds), "messages")
    if written:
        dispatch.hint_bulk()
    if over:
        finish(campaign.pk)
    campaign.refresh_from_db()
    return Progress(campaign, done=over)


def _step(campaign: Campaign, batch_size: int) -> int:
    """One step that its state asks for. Returns how many messages it dealt with; 0 when there is nothing left."""
    if campaign.status == CampaignStatus.RUNNING:
        return _write_some(campaign, batch_size) or holds.release_some(campaign.pk)
    if campaign.status == CampaignStatus.PAUSED:
        return holds.hold_some(campaign.pk)
    return holds.suppress_some(campaign.pk) if campaign.status == CampaignStatus.CANCELLED else 0


_FINISH = """
UPDATE delivery_campaign AS campaign SET status = 'done', running_since = NULL,
    finished_at = statement_timestamp(), updated_at = statement_timestamp()
WHERE status = 'running' AND complete AND NOT seeds_only AND id = COALESCE(%s, id)
  AND NOT EXISTS (SELECT 1 FROM delivery_campaignrecipient AS recipient
                  WHERE recipient.campaign_id = campaign.id AND recipient.status = 'waiting')
  AND NOT EXISTS (SELECT 1 FROM delivery_outboundmessage AS message WHERE message.campaign_id = campaign.id
                  AND message.status IN ('queued', 'held', 'claimed', 'submitting'))
"""


def finish(campaign_id: uuid.UUID | None = None) -> int:
    """Campaigns of which every recipient has a message, and every message has left, are done. Returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(_FINISH, [campaign_id])
        return int(cursor.rowcount)


# What a paused or cancelled campaign has left is stopped when it is picked, too. Of what a running one holds a few rows
# are looked at: the others in their place wait for the window or the budget, and go. `updated_at` is the claim: one
# worker asks, and nobody again for a while.
_SWEEP = f"""
WITH done AS ({_FINISH} RETURNING campaign.id
), stuck AS MATERIALIZED (
    SELECT id, selection IS NULL AND NOT complete AND reason = '' AND status IN ('queued', 'running') AS lost
    FROM delivery_campaign AS campaign
    WHERE updated_at < statement_timestamp() - make_interval(secs => {QUIET_SECONDS}) AND (
        status = 'queued'
        OR status = 'running' AND selection IS NULL AND NOT complete AND reason = ''
        OR status = 'running' AND NOT seeds_only AND (
            selection IS NOT NULL AND NOT complete
            OR EXISTS (SELECT 1 FROM delivery_campaignrecipient AS recipient
                       WHERE recipient.campaign_id = campaign.id AND recipient.status = 'waiting')
            OR EXISTS (SELECT 1 FROM (SELECT due_at FROM delivery_outboundmessage AS message
                       WHERE message.campaign_id = campaign.id AND message.status = 'held' LIMIT 100) AS held
                       WHERE due_at = %s))
        OR status = 'paused' AND EXISTS (SELECT 1 FROM delivery_outboundmessage AS message
            WHERE message.campaign_id = campaign.id AND message.status = 'queued')
        OR status = 'cancelled' AND updated_at > statement_timestamp() - make_interval(days => {CANCELLED_DAYS})
            AND EXISTS (SELECT 1 FROM delivery_outboundmessage AS message
                WHERE message.campaign_id = campaign.id AND message.status IN ('queued', 'held')))
), without AS (
    SELECT id, lost FROM stuck WHERE NOT EXISTS (
        SELECT 1 FROM jobs_taskrun AS run
        WHERE (run.ring_at IS NOT NULL OR run.state = 'running') AND run.task = '{TASK}'
          AND (run.id = stuck.id OR COALESCE(run.kwargs->>'campaign_id', run.args->>3) = stuck.id::text))
), claimed AS (
    SELECT campaign.id, lost FROM delivery_campaign AS campaign JOIN without ON without.id = campaign.id
    WHERE updated_at < statement_timestamp() - make_interval(secs => {QUIET_SECONDS})
    FOR NO KEY UPDATE OF campaign SKIP LOCKED
)
UPDATE delivery_campaign AS campaign SET updated_at = statement_timestamp(),
    reason = CASE WHEN lost THEN %s ELSE reason END
FROM claimed WHERE campaign.id = claimed.id RETURNING campaign.id, campaign.status, lost
"""  # noqa: S608 - constants only


def sweep(_worker: str = "") -> None:
    """End what is through, and ask for a run where there is work left and none that would do it: the last one failed
    for good or was cancelled. One statement when there is nothing to do.
    """
    with connection.cursor() as cursor:
        cursor.execute(_SWEEP, [None, holds.UNTIL_RESUMED, LIST_LOST])
        stuck = cursor.fetchall()
    for campaign_id, state, lost in stuck:
        if lost:
            log.error("campaign_list_lost", campaign_id=str(campaign_id), reason=LIST_LOST)
        else:
            log.warning("campaign_without_run", campaign_id=str(campaign_id), state=state)
        ask_for_work(campaign_id, CampaignStatus(state))


def _at_work_on(campaign_id: uuid.UUID) -> Campaign:
    """The campaign as it is, for one step at a time; no person changes its state until the step has committed.

    The lock of the row is held in share only: what sending costs is written there meanwhile.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"campaign:{campaign_id}"])
    return Campaign.objects.raw("SELECT * FROM delivery_campaign WHERE id = %s FOR KEY SHARE", [campaign_id])[0]


# --- storing -------------------------------------------------------------------------------------------------------

_STORE = """
INSERT INTO delivery_campaignrecipient (campaign_id, phone, status, reason, user_id, seed)
SELECT %(campaign)s, phone, status, reason, user_id, %(seed)s
FROM unnest(%(phones)s::text[], %(states)s::text[], %(reasons)s::text[], %(users)s::uuid[])
    AS given(phone, status, reason, user_id)
ON CONFLICT (campaign_id, phone) DO NOTHING
"""


@transaction.atomic
def _store_some(campaign: Campaign, recipients: Sequence[object]) -> int:
    """Store the next chunk of the audience. Returns how many entries it dealt with."""
    locked = _at_work_on(campaign.pk)
    if locked.complete or locked.status in (CampaignStatus.CANCELLED, CampaignStatus.DONE):
        return 0
    if locked.selection is not None:
        return _read_some(locked)
    if not recipients:
        return 0  # the run that was given the list stores it
    chunk = recipients[locked.position : locked.position + STORE_CHUNK]
    locked.complete = locked.position + len(chunk) >= len(recipients)
    store(locked, audiences.sift(chunk))
    return len(chunk)


def _read_some(locked: Campaign) -> int:
    """The next people of its selection, while it runs and may write to them."""
    if locked.status != CampaignStatus.RUNNING or locked.seeds_only or locked.selection is None:
        return 0
    chunk = list(islice(audiences.people(locked.selection, locked.after), STORE_CHUNK))
    locked.complete = len(chunk) < STORE_CHUNK
    if chunk:
        locked.after = chunk[-1].user_id
    users: dict[str, uuid.UUID] = {}
    for person in chunk:
        users.setdefault(person.phone, person.user_id)
    store(locked, audiences.sift(person.phone for person in chunk), users)
    if too_many(locked.accepted, locked.expected):
        locked.status, locked.running_since = CampaignStatus.PAUSED.value, None
        locked.reason = (
            f"its selection means more people than planned ({locked.expected:,}): look at it, then resume or cancel it"
        )
        locked.save(update_fields=["status", "running_since", "reason", "updated_at"])
    return len(chunk)


def too_many(count: int, expected: int) -> bool:
    """Whether a selection means more people by now than was planned and approved."""
    return count > expected * MAY_GROW + 10


def store(locked: Campaign, sifted: Sifted, users: dict[str, uuid.UUID] | None = None, *, seed: bool = False) -> int:
    """Store entries as recipients of a campaign that the caller has locked, and count them. Returns the new ones."""
    wanted = list(dict.fromkeys(sifted.valid))
    refused = sifted.refused
    with connection.cursor() as cursor:
        parameters: dict[str, Any] = {
            "campaign": locked.pk,
            "seed": seed,
            "phones": wanted,
            "states": ["waiting"] * len(wanted),
            "reasons": [""] * len(wanted),
            "users": [(users or {}).get(phone) for phone in wanted],
        }
        cursor.execute(_STORE, parameters)
        new = int(cursor.rowcount)
        if refused:
            parameters |= {
                "phones": list(refused),
                "states": ["invalid"] * len(refused),
                "reasons": list(refused.values()),
                "users": [None] * len(refused),
            }
            cursor.execute(_STORE, parameters)
    locked.position += sifted.given
    locked.accepted += 0 if seed else new
    locked.duplicates += len(sifted.valid) - new
    locked.invalid += sifted.invalid
    locked.save(
        update_fields=["position", "accepted", "duplicates", "invalid", "complete", "after", "updated_at"],
    )
    return new


# --- writing -------------------------------------------------------------------------------------------------------

_WRITE = f"""
WITH next AS (
    SELECT id, phone, user_id, {ids.in_sql("id::text")} AS message
    FROM delivery_campaignrecipient WHERE campaign_id = %(campaign)s AND status = 'waiting' {{which}}
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), messages AS (
    INSERT INTO delivery_outboundmessage (id, idempotency_key, channel, purpose, lane, recipient, user_id, subject_type,
        subject_id, template, title, body, html, body_hash, parts, any_hour, status, due_at, ring_at, attempts,
        fence, provider_id, error, request_id, language, network, bypassed, resent, receipt_looks, campaign_id,
        created_at, updated_at)
    SELECT message, 'campaign:' || id, 'sms', 'bulk', %(lane)s, phone, user_id, 'campaign',
        %(campaign)s, '', '', %(body)s, '', %(hash)s, %(parts)s, false, %(status)s, due_at, due_at, 0,
        0, '', %(why)s, '', '', '', '', false, 0, %(campaign)s,
        statement_timestamp(), statement_timestamp()
    FROM next, COALESCE(%(held_until)s::timestamptz, statement_timestamp()) AS due_at
)
UPDATE delivery_campaignrecipient AS recipient SET status = 'written', message = next.message
FROM next WHERE recipient.id = next.id
"""  # noqa: S608 - constants only
_ANYBODY, _SEEDS = _WRITE.format(which=""), _WRITE.format(which="AND seed")


def _write_some(campaign: Campaign, batch_size: int) -> int:
    """Write the message rows of the next recipients, whole chunks of `batch_size` in a statement. Returns how many."""
    limit = batch_size * max(1, WRITE_CHUNK // batch_size)
    moment = clock.now()
    leaves = opening(Purpose.BULK, Channel.SMS, moment)
    held = leaves > moment
    parameters: dict[str, Any] = {
        "campaign": str(campaign.pk),
        "limit": limit,
        "lane": rules.lane(Purpose.BULK, Channel.SMS),
        "body": campaign.message,
        "hash": hashed(campaign.message),
        "parts": campaign.parts,
        "status": (Status.HELD if held else Status.QUEUED).value,
        "why": holds.CLOSED if held else "",
        "held_until": leaves if held else None,
    }
    written = 0
    with transaction.atomic(), connection.cursor() as cursor:
        found = _at_work_on(campaign.pk)
        while found.status == CampaignStatus.RUNNING and written < WRITTEN_AT_ONCE:
            cursor.execute(_SEEDS if found.seeds_only else _ANYBODY, parameters)
            written += cursor.rowcount
            if cursor.rowcount < limit:
                break
        if written:
            Campaign.objects.filter(pk=campaign.pk).update(written=F("written") + written, updated_at=Now())
    return written
