"""THE TRAIL: everything that is known of a message or of an address, from its cause to its receipt, in order of time.

Made of what the tables have: the row, the events, the calls, the receipts, what people decided. Plain values, a fixed
number of queries. Numbers, addresses and texts are masked; who asks to see them is written down.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet

from core import phones
from core.base.models import AuditLog
from core.base.services import record
from core.delivery import consent
from core.delivery.models import DeliveryAttempt, DeliveryReceipt, MessageEvent, OutboundMessage
from core.delivery.rules import Channel, Purpose, ReceiptSource, Status
from core.errors import InvalidInput, NotFound
from core.jobs.models import TaskRun
from core.jobs.operations import Actor, check_reason
from core.redact import redact

MOST_MESSAGES = 50  # of one address in one trail
MOST_WALKED = 100_000  # messages looked through for what no index finds, unless `since` says how far to go
MOST_NAMED = 5
_RUN = re.compile(r"(?:sms|email):([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?::|$)")
_STILL_KEPT = Q(body__isnull=False) | ~Q(recipient="")


class Kind(StrEnum):
    CAUSE = "cause"  # the task run or campaign that asked for it
    WRITTEN = "written"
    CHANGED = "changed"  # held, released, suppressed, expired, in doubt, resolved: what the database wrote down
    CALLED = "called"  # one call to a provider and what it came to
    RECEIPT = "receipt"
    DECIDED = "decided"  # a person, with the reason
    DECLINED = "declined"  # of an address: what its owner wants no more, and what it does not take


@dataclass(frozen=True)
class Step:
    """Something that happened. `facts` are JSON; `text` says it in words."""

    at: datetime
    kind: Kind
    text: str
    message: uuid.UUID | None = None
    actor: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MessageFacts:
    """A message as it is now. `recipient` is masked and `title` and `text` are None unless they were revealed."""

    id: uuid.UUID
    channel: str
    purpose: str
    lane: str
    status: str
    recipient: str
    title: str | None
    text: str | None
    sealed: bool
    parts: int
    language: str
    template: str
    template_version: int | None
    campaign: uuid.UUID | None
    campaign_name: str
    subject: tuple[str, str]
    request_id: str
    provider_id: str
    network: str
    cost: str | None
    attempts: int
    resent: bool
    bypassed: str
    error: str
    created_at: datetime
    due_at: datetime | None
    not_after: datetime | None
    accepted_at: datetime | None
    receipt_due_at: datetime | None
    outcome_at: datetime | None


@dataclass(frozen=True)
class Trail:
    """`more`: this address has older messages than these."""

    messages: tuple[MessageFacts, ...]
    steps: tuple[Step, ...]
    revealed: bool = False
    more: bool = False


# --- of a message, of an address ------------------------------------------------------------------------------------


def of_message(message_id: uuid.UUID, *, reveal: bool = False, actor: Actor | None = None, reason: str = "") -> Trail:
    """The way of one message. `reveal` shows number and text, and writes down who saw them and why.

    Raises NotFound, and InvalidInput when somebody reveals without a name or a reason.
    """
    rows = list(_messages().filter(pk=message_id))
    if not rows:
        raise NotFound(f"There is no message {message_id}.")
    if reveal:
        _reveals(("message", str(message_id)), actor, reason)
    return Trail(_facts(rows, reveal), _in_order(_steps(rows, reveal)), reveal)


def of_phone(number: str, *, reveal: bool = False, actor: Actor | None = None, reason: str = "") -> Trail:
    """The ways of the newest messages to a phone, and what its owner has declined. As `of_message`."""
    return _of(Channel.SMS, phones.normalise(number), reveal, actor, reason)


def of_address(address: str, *, reveal: bool = False, actor: Actor | None = None, reason: str = "") -> Trail:
    """The same for an e-mail address."""
    return _of(Channel.EMAIL, consent.checked(Channel.EMAIL, address), reveal, actor, reason)


def _of(channel: Channel, address: str, reveal: bool, actor: Actor | None, reason: str) -> Trail:
    found = _messages().filter(recipient=address, channel=channel.value).order_by("-created_at", "-id")
    rows = list(found[: MOST_MESSAGES + 1])
    if reveal:
        _reveals(("address", consent.shown(channel, address)), actor, reason, [row.pk for row in rows])
    shown = rows[:MOST_MESSAGES]
    steps = [*_steps(shown, reveal), *_declined(address)]
    return Trail(_facts(shown, reveal), _in_order(steps), reveal, more=len(rows) > MOST_MESSAGES)


def _messages() -> QuerySet[OutboundMessage]:
    return OutboundMessage.objects.select_related("template_version", "campaign", "campaign__requested_by", "user")


@transaction.atomic
def _reveals(subject: tuple[str, str], actor: Actor | None, reason: str, messages: Collection[uuid.UUID] = ()) -> None:
    if actor is None:
        raise InvalidInput("Who wants to see numbers and texts must be named: pass the actor.")
    record(
        action="message.revealed",
        subject=subject,
        actor_id=actor.user_id,
        actor_name=actor.name,
        after={"messages": [str(message) for message in messages]} if messages else None,
        reason=check_reason(reason),
    )


def _in_order(steps: Iterable[Step]) -> tuple[Step, ...]:
    order = list(Kind)
    return tuple(sorted(steps, key=lambda step: (step.at, order.index(step.kind))))


def _facts(rows: Iterable[OutboundMessage], reveal: bool) -> tuple[MessageFacts, ...]:
    return tuple(_fact(row, reveal) for row in rows)


def _fact(row: OutboundMessage, reveal: bool) -> MessageFacts:
    version, campaign = row.template_version, row.campaign
    return MessageFacts(
        id=row.pk,
        channel=row.channel,
        purpose=row.purpose,
        lane=row.lane,
        status=row.status,
        recipient=row.recipient if reveal else shown_recipient(row),
        title=row.title if reveal else None,
        text=row.body if reveal else None,
        sealed=row.sealed is not None,
        parts=row.parts,
        language=row.language,
        template=row.template,
        template_version=version.version if version else None,
        campaign=row.campaign_id,
        campaign_name=campaign.name if campaign else "",
        subject=(row.subject_type, row.subject_id),
        request_id=row.request_id,
        provider_id=row.provider_id,
        network=row.network,
        cost=None if row.cost is None else str(row.cost),
        attempts=row.attempts,
        resent=row.resent,
        bypassed=row.bypassed,
        error=_words(row.error, reveal),
        created_at=row.created_at,
        due_at=row.due_at,
        not_after=row.not_after,
        accepted_at=row.accepted_at,
        receipt_due_at=row.receipt_due_at,
        outcome_at=row.outcome_at,
    )


def shown_recipient(row: OutboundMessage) -> str:
    """Its recipient as people may see it; '' when it is not kept any more."""
    return consent.shown(row.channel, row.recipient) if row.recipient else ""


def _words(text: str, reveal: bool) -> str:
    return text if reveal else redact(text)


# --- the steps ------------------------------------------------------------------------------------------------------


def _steps(rows: Sequence[OutboundMessage], reveal: bool) -> list[Step]:
    """Five queries, however many messages."""
    ids = [row.pk for row in rows]
    calls = {attempt for row in rows for attempt in (*row.earlier_attempts, row.last_attempt_id) if attempt}
    attempts = {attempt.pk: attempt for attempt in DeliveryAttempt.objects.filter(pk__in=calls)}
    asked = {run for row in rows for run in _asked_by(row)}
    runs = {run.pk: run for run in TaskRun.objects.select_related("requested_by").filter(pk__in=asked)}
    steps = [
        step for row in rows for step in (*_causes(row, runs), _written(row, reveal), *_calls(row, attempts, reveal))
    ]
    for event in MessageEvent.objects.select_related("actor").filter(message__in=ids).order_by("id"):
        steps.append(_change(event, reveal))
    for receipt in DeliveryReceipt.objects.filter(message__in=ids).order_by("received_at"):
        steps.append(_receipt(receipt, reveal))
    audits = AuditLog.objects.select_related("actor").filter(subject_type="message", subject_id__in=map(str, ids))
    steps += [_decision(audit) for audit in audits]
    return steps


def _asked_by(row: OutboundMessage) -> Iterator[uuid.UUID]:
    """Runs that may have asked for it: a documented task keys its message by its own id, a campaign has its run's."""
    named = _RUN.match(row.idempotency_key)
    if named:
        yield uuid.UUID(named[1])
    if row.campaign_id:
        yield row.campaign_id


def _causes(row: OutboundMessage, runs: Mapping[uuid.UUID, TaskRun]) -> Iterator[Step]:
    for run in (runs[run_id] for run_id in _asked_by(row) if run_id in runs):
        who = run.requested_by.get_username() if run.requested_by else ""
        facts = {"run": str(run.pk), "task": run.task, "trigger": run.trigger, "entry": run.schedule_entry}
        text = f"{run.task} was asked for" + (
            f" by the schedule entry {run.schedule_entry}" if run.schedule_entry else ""
        )
        yield Step(run.asked_at, Kind.CAUSE, text, row.pk, redact(who), facts)
    campaign = row.campaign
    if campaign:
        who = campaign.requested_by.get_username() if campaign.requested_by else ""
        facts = {"campaign": str(campaign.pk), "name": campaign.name, "audience": redact(campaign.audience)}
        called = f" {campaign.name!r}" if campaign.name else ""
        yield Step(campaign.created_at, Kind.CAUSE, f"the campaign{called} was asked for", row.pk, redact(who), facts)


def _written(row: OutboundMessage, reveal: bool) -> Step:
    version = row.template_version
    words = f" from {row.template}" if row.template else ""
    words += f" {version.language} v{version.version}" if version else ""
    facts = {
        "key": _words(row.idempotency_key, reveal),
        "request": row.request_id,
        "subject": list(filter(None, (row.subject_type, row.subject_id))),
        "parts": row.parts,
        "language": row.language,
        "bypassed": row.bypassed,
        "not_before": row.not_before,
        "not_after": row.not_after,
    }
    text = f"{row.channel} ({row.purpose}) written{words} to {row.recipient if reveal else shown_recipient(row) or '–'}"
    return Step(
        row.created_at, Kind.WRITTEN, text, row.pk, facts={name: value for name, value in facts.items() if value}
    )


def _calls(row: OutboundMessage, attempts: Mapping[uuid.UUID, DeliveryAttempt], reveal: bool) -> Iterator[Step]:
    for number, attempt_id in enumerate(filter(None, (*row.earlier_attempts, row.last_attempt_id)), start=1):
        attempt = attempts.get(attempt_id)
        if attempt is None:
            continue
        among = f", with {attempt.messages - 1:,} others" if attempt.messages > 1 else ""
        ended = attempt.verdict or "its answer is open"
        facts = {
            "attempt": str(attempt.pk),
            "number": number,
            "verdict": attempt.verdict,
            "fault": attempt.fault,
            "http_status": attempt.http_status,
            "body_status": attempt.body_status,
            "reason": _words(attempt.error, reveal),
            "batch": attempt.batch_id,
            "messages": attempt.messages,
            "finished_at": attempt.finished_at,
        }
        why = f": {facts['reason']}" if attempt.error else ""
        yield Step(
            attempt.started_at, Kind.CALLED, f"{attempt.provider} was called{among}: {ended}{why}", row.pk, facts=facts
        )


def _change(event: MessageEvent, reveal: bool) -> Step:
    who = event.actor_name or (event.actor.get_username() if event.actor else "")
    reason = _words(event.reason, reveal)
    facts = {"from": event.from_status, "to": event.to_status, "reason": reason}
    text = f"{event.from_status} → {event.to_status}" + (f": {reason}" if reason else "")
    return Step(event.at, Kind.CHANGED, text, event.message_id, _words(who, reveal), facts)


def _receipt(receipt: DeliveryReceipt, reveal: bool) -> Step:
    facts = {
        "text": _words(receipt.status_text, reveal),
        "status": receipt.status,
        "source": receipt.source,
        "provider_at": receipt.provider_at,
        "provider_id": receipt.provider_id,
        **({"raw": receipt.raw} if reveal else {}),
    }
    said = {ReceiptSource.PUSH: "pushed", ReceiptSource.BOUNCE: "sent back"}.get(ReceiptSource(receipt.source), "says")
    known = "" if receipt.status else " (a word that nobody knows)"
    return Step(
        receipt.received_at,
        Kind.RECEIPT,
        f"{receipt.provider} {said}: {facts['text']}{known}",
        receipt.message_id,
        facts=facts,
    )


def _decision(audit: AuditLog) -> Step:
    who = audit.actor_name or (audit.actor.get_username() if audit.actor else "")
    facts = {"action": audit.action, "before": audit.before, "after": audit.after, "reason": redact(audit.reason)}
    text = f"{audit.action.removeprefix('message.')}: {facts['reason']}"
    return Step(audit.at, Kind.DECIDED, text, uuid.UUID(audit.subject_id), redact(who), facts)


def _declined(address: str) -> Iterator[Step]:
    opt_outs, suppressions = consent.about(address)
    for one in opt_outs:
        facts = {"purpose": one.purpose, "source": one.source, "ended_at": one.ended_at, "ended_by": one.ended_source}
        yield Step(one.at, Kind.DECLINED, f"wants no more {one.purpose} by {one.channel} ({one.source})", facts=facts)
        if one.ended_at:
            yield Step(one.ended_at, Kind.DECLINED, f"wants {one.purpose} by {one.channel} again ({one.ended_source})")
    for other in suppressions:
        facts = {"reason": other.reason, "detail": redact(other.detail), "lifted_at": other.lifted_at}
        yield Step(other.at, Kind.DECLINED, f"takes no messages: {other.reason}", other.message_id, facts=facts)
        if other.lifted_at:
            yield Step(other.lifted_at, Kind.DECLINED, "takes messages again")


# --- finding messages -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MessageFilter:
    """Which messages; empty means any."""

    statuses: tuple[Status, ...] = ()
    purpose: Purpose | None = None
    channel: Channel | None = None
    lane: str = ""
    since: datetime | None = None

    def messages(self) -> QuerySet[OutboundMessage]:
        found = OutboundMessage.objects.filter(_STILL_KEPT)
        if self.statuses:
            found = found.filter(status__in=[status.value for status in self.statuses])
        if self.purpose:
            found = found.filter(purpose=self.purpose.value)
        if self.channel:
            found = found.filter(channel=self.channel.value)
        if self.lane:
            found = found.filter(lane=self.lane)
        if self.since:
            found = found.filter(created_at__gte=self.since)
        return found


@dataclass(frozen=True)
class Found:
    """Messages, newest first. `looked_back_to`: older ones than of this time were not looked at; None when all were."""

    rows: list[MessageFacts]
    looked_back_to: datetime | None = None


def recent(which: MessageFilter, limit: int) -> Found:
    """The newest messages that fit and whose recipient is still kept, masked."""
    found = which.messages().select_related("template_version", "campaign")
    back_to = None
    if which.statuses == (
        Status.IN_DOUBT,
    ):  # few, and with an index of their own; as an expression, so that it is used
        found = found.order_by((F("created_at") + timedelta()).desc(), "-id")
    else:
        found = found.order_by("-created_at", "-id")
        if which != MessageFilter() and not which.since:
            edge = (
                OutboundMessage.objects.filter(_STILL_KEPT).order_by("-created_at").values_list("created_at", flat=True)
            )
            back_to = next(iter(edge[MOST_WALKED : MOST_WALKED + 1]), None)
            found = found.filter(created_at__gt=back_to) if back_to else found
    return Found([_fact(row, reveal=False) for row in found[:limit]], back_to)


def message_id_of(text: str) -> uuid.UUID:
    """The id of the message with this id, or of the only one whose id begins so. Raises NotFound and InvalidInput."""
    digits = text.strip().lower().replace("-", "")
    if not re.fullmatch(r"[0-9a-f]{4,32}", digits):
        raise InvalidInput(
            f"{text[:40]!r} is no message id. Give the id, or its first digits (at least 4); see `messages list`."
        )
    first, last = uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f"))
    rows = list(OutboundMessage.objects.filter(id__gte=first, id__lte=last).order_by("id")[: MOST_NAMED + 1])
    if not rows:
        raise NotFound(f"There is no message {text}. `messages list` shows what there is.")
    if len(rows) > 1:
        named = "; ".join(f"{row.pk} {row.channel} {row.status}" for row in rows[:MOST_NAMED])
        more = " and more" if len(rows) > MOST_NAMED else ""
        raise InvalidInput(f"{text} fits several messages: {named}{more}. Give more of the id.")
    return rows[0].pk
