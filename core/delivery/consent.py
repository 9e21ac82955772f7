"""Who wants no messages: opt-outs by purpose and channel, addresses that take none at all, and the same text twice.

A message is looked at twice, when it is written and when it is about to leave. What is declined or suppressed is never
deleted, only ended: it is proof.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from core import phones
from core.base import services as base
from core.base.figures import DUPLICATE_BULK_HOURS, DUPLICATE_HOURS
from core.delivery.gateways import Answer
from core.delivery.models import OptOut, OutboundMessage, Suppression
from core.delivery.rules import Channel, Purpose, SuppressionReason
from core.errors import Conflict, InvalidInput, NotFound
from core.jobs.operations import Actor
from core.redact import redact

# What reaches a person who has declined messages, and why it may. Each such message says so in its `bypassed`.
BYPASS: dict[Purpose, str] = {
    Purpose.OTP: "a code that its recipient asks for at that moment",
    Purpose.SECURITY: "it protects the recipient's own account",
    Purpose.ADMIN: "it belongs to the duties of those who run the system",
}
# What may be declined, in words that go on after "SMS" or "e-mails" on the page where it is.
DECLINABLE: dict[Purpose, str] = {
    Purpose.SERVICE: "about your farm, your applications and your orders",
    Purpose.BULK: "with announcements",
    Purpose.REPORT: "with reports",
}
WHY: dict[SuppressionReason, str] = {
    SuppressionReason.BOUNCED: "no such address: a message came back as undeliverable",
    SuppressionReason.REFUSED: "refused recipient: the recipient has not approved receiving our messages",
    SuppressionReason.COMPLAINED: "complained: the recipient has reported our messages as unwanted",
}
OPTED_OUT = "opted out: the recipient has declined such messages"
DUPLICATE = "duplicate: the same text went to this recipient a short time ago"
CHANGES_AN_HOUR = 10  # by link, for one address and purpose
LONGEST_NOTE = 500


class TooManyChanges(Conflict):
    """The same choice was changed again and again by its link."""

    status = 429


class Source:
    """Where a choice came from."""

    LINK = "link"
    ONE_CLICK = "one_click"
    OFFICER = "officer"
    COMMAND = "command"


class Finding(NamedTuple):
    """`problem`: why it may not go, '' when it may. `bypassed`: what was declined, and why it goes all the same."""

    problem: str = ""
    bypassed: str = ""


NOTHING = Finding()

# Twice the same: one that has left within the hours, or one that waits and was written before.
_LOOK = """
WITH asked AS (
    SELECT id, channel, address, purpose, hash, COALESCE(at, statement_timestamp()) AS at, make_interval(secs => 3600 *
        COALESCE((SELECT (value #>> '{}')::float8 FROM base_setting WHERE key = figure), otherwise)) AS span
    FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::text[], %s::float8[])
        AS asked(id, channel, address, purpose, hash, at, figure, otherwise)
)
SELECT asked.id, asked.purpose, COALESCE(suppression.reason, ''),
    ARRAY (SELECT declined.purpose FROM delivery_optout AS declined WHERE declined.channel = asked.channel
        AND declined.address = asked.address AND declined.ended_at IS NULL ORDER BY declined.purpose),
    asked.span > interval '0' AND EXISTS (
        SELECT 1 FROM delivery_outboundmessage AS other
        WHERE other.recipient = asked.address AND NOT (other.recipient = '')
          AND other.created_at > asked.at - asked.span AND other.created_at < asked.at + asked.span
          AND other.channel = asked.channel AND other.purpose = asked.purpose AND other.body_hash = asked.hash
          AND other.id <> asked.id
          AND (other.status IN ('claimed', 'submitting', 'accepted', 'in_doubt', 'delivered', 'outcome_unknown')
            OR (other.status = 'queued' AND (other.created_at, other.id) < (asked.at, asked.id))))
FROM asked LEFT JOIN delivery_suppression AS suppression
    ON suppression.channel = asked.channel AND suppression.address = asked.address AND suppression.lifted_at IS NULL
"""


def look(messages: Collection[OutboundMessage]) -> dict[uuid.UUID, Finding]:
    """What stands against each of these messages, in one query; those without anything are left out."""
    rows = [_asked(message) for message in messages]
    if not rows:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_LOOK, [list(column) for column in zip(*rows, strict=True)])
        found = {row[0]: _judged(Purpose(row[1]), *row[2:]) for row in cursor.fetchall()}
    return {message_id: finding for message_id, finding in found.items() if finding != NOTHING}


def blocked(messages: Collection[OutboundMessage]) -> dict[uuid.UUID, str]:
    """The messages that may not leave, and why. One query."""
    return {message_id: finding.problem for message_id, finding in look(messages).items() if finding.problem}


def _asked(message: OutboundMessage) -> tuple[Any, ...]:
    purpose = Purpose(message.purpose)
    figure = DUPLICATE_BULK_HOURS if purpose == Purpose.BULK else DUPLICATE_HOURS
    guarded = purpose not in (Purpose.OTP, Purpose.SECURITY)  # the same code asked for twice is wanted twice
    at = message.created_at if isinstance(message.created_at, datetime) else None  # not written yet
    return (
        *(message.pk, message.channel, message.recipient, message.purpose, message.body_hash, at),
        *((figure.key, float(figure.default)) if guarded else ("", 0.0)),
    )


def _judged(purpose: Purpose, suppressed: str, declined: Sequence[str], twice: bool) -> Finding:
    if suppressed and (suppressed != SuppressionReason.COMPLAINED or purpose not in BYPASS):
        return Finding(WHY[SuppressionReason(suppressed)])
    if purpose.value in declined:
        return Finding(OPTED_OUT)
    if twice:
        return Finding(DUPLICATE)
    if purpose in BYPASS and (declined or suppressed):
        what = [f"declined: {', '.join(declined)}"] if declined else []
        return Finding("", "; ".join([*what, *(["complained"] if suppressed else []), BYPASS[purpose]])[:200])
    return NOTHING


# --- what a person declines ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class By:
    """Who enters a choice for somebody: an officer, or whoever is at the command line."""

    source: str
    actor: Actor
    reason: str


def declined(channel: Channel, address: str) -> QuerySet[OptOut]:
    """What is declined at this address now."""
    return OptOut.objects.filter(channel=channel, address=address, ended_at__isnull=True)


def choose(channel: Channel, address: str, purpose: Purpose, *, wanted: bool, source: str) -> bool:
    """The choice of the person themselves, by their link. False when it was so already.

    Raises InvalidInput for what cannot be declined and TooManyChanges.
    """
    _check_declinable(purpose)
    recent = OptOut.objects.filter(channel=channel, address=address, purpose=purpose, at__gt=Now() - timedelta(hours=1))
    if not wanted and recent.count() >= CHANGES_AN_HOUR:
        raise TooManyChanges("This was changed too often within the hour. Wait an hour and try again.")
    return _end(channel, address, purpose, source, None) if wanted else _begin(channel, address, purpose, source)


@transaction.atomic
def opt_out(channel: Channel, address: str, purposes: Iterable[Purpose], *, by: By) -> int:
    """Enter that somebody has declined these, as they said to an officer. Returns how many were new.

    Safe to repeat. Raises InvalidInput without a reason and for what cannot be declined; then nothing was written.
    """
    return _enter(channel, address, purposes, by, wanted=False)


@transaction.atomic
def opt_in(channel: Channel, address: str, purposes: Iterable[Purpose], *, by: By) -> int:
    """Enter that somebody wants these again. As `opt_out`."""
    return _enter(channel, address, purposes, by, wanted=True)


def _enter(channel: Channel, address: str, purposes: Iterable[Purpose], by: By, *, wanted: bool) -> int:
    address, listed, reason = checked(channel, address), list(purposes), checked_reason(by.reason)
    for purpose in listed:
        _check_declinable(purpose)
    changed = [
        purpose
        for purpose in listed
        if (
            _end(channel, address, purpose, by.source, by.actor.user_id)
            if wanted
            else _begin(channel, address, purpose, by.source, note=reason, recorded_by_id=by.actor.user_id)
        )
    ]
    if changed:
        _audit("consent.opt_in" if wanted else "consent.opt_out", channel, address, by, purposes=changed)
    return len(changed)


def _begin(channel: Channel, address: str, purpose: Purpose, source: str, **about: Any) -> bool:
    row = OptOut(channel=channel.value, address=address, purpose=purpose.value, source=source, at=Now(), **about)
    OptOut.objects.bulk_create([row], ignore_conflicts=True)
    return OptOut.objects.filter(pk=row.pk).exists()


def _end(channel: Channel, address: str, purpose: Purpose, source: str, actor_id: uuid.UUID | None) -> bool:
    mine = declined(channel, address).filter(purpose=purpose)
    return bool(mine.update(ended_at=Now(), ended_source=source, ended_by_id=actor_id))


# --- addresses that take nothing -----------------------------------------------------------------------------------


def heard(answers: Mapping[OutboundMessage, Answer]) -> None:
    """Suppress the addresses that a provider has refused for good. One statement, none when there are none."""
    note(
        Suppression(
            channel=message.channel,
            address=message.recipient,
            reason=answer.suppress.value,
            detail=answer.reason[:LONGEST_NOTE],
            message=message,
            at=Now(),
        )
        for message, answer in answers.items()
        if answer.suppress and message.recipient
    )


def note(suppressions: Iterable[Suppression]) -> None:
    """Write them down, unless their addresses are suppressed already."""
    listed = list(suppressions)
    if listed:
        Suppression.objects.bulk_create(listed, ignore_conflicts=True)


@transaction.atomic
def suppress(channel: Channel, address: str, reason: SuppressionReason, *, by: By) -> bool:
    """Send nothing to this address any more. False when that was so already. Raises InvalidInput without a reason."""
    address, words = checked(channel, address), checked_reason(by.reason)
    row = Suppression(channel=channel.value, address=address, reason=reason.value, detail=words, at=Now())
    note([row])
    new = Suppression.objects.filter(pk=row.pk).exists()
    if new:
        _audit("consent.suppress", channel, address, by, because=reason)
    return new


@transaction.atomic
def lift(channel: Channel, address: str, *, by: By) -> None:
    """Send to this address again. Raises NotFound when it was not suppressed, InvalidInput without a reason."""
    address = checked(channel, address)
    checked_reason(by.reason)
    mine = Suppression.objects.filter(channel=channel, address=address, lifted_at__isnull=True)
    if not mine.update(lifted_at=Now(), lifted_by_id=by.actor.user_id):
        raise NotFound(f"{shown(channel, address)} is not suppressed. See what stands: manage.py consent list ADDRESS")
    _audit("consent.lift", channel, address, by)


# --- one address ---------------------------------------------------------------------------------------------------


def about(address: str) -> tuple[Sequence[OptOut], Sequence[Suppression]]:
    """All choices and suppressions of an address, also those that have ended, newest first."""
    mine = Q(address=address)
    return list(OptOut.objects.filter(mine).order_by("-at")), list(Suppression.objects.filter(mine).order_by("-at"))


def shown(channel: str, address: str) -> str:
    """The address as it may be shown: enough for its owner to know it again."""
    if channel == Channel.SMS:
        return phones.mask(address)
    name, _, domain = address.partition("@")
    return f"{name[:1]}***@{domain}"


def checked(channel: Channel, address: str) -> str:
    """The address as messages store it. Raises InvalidInput."""
    from core.delivery.services import checked_address

    if channel == Channel.SMS:
        return phones.normalise(address)
    stored, problem = checked_address(address)
    if problem:
        raise InvalidInput(f"This is {problem}. Write it like ama@example.com.")
    return stored


def checked_reason(reason: str) -> str:
    words = reason.strip()
    if not words:
        raise InvalidInput("Say why, for the audit log: who asked for it, when and how.")
    return redact(words)[:LONGEST_NOTE]


def _check_declinable(purpose: Purpose) -> None:
    if purpose not in DECLINABLE:
        listed = ", ".join(DECLINABLE)
        raise InvalidInput(f"{purpose} messages cannot be declined: {BYPASS[purpose]}. These can: {listed}.")


def _audit(action: str, channel: Channel, address: str, by: By, **after: object) -> None:
    base.record(
        action=action,
        subject=("address", shown(channel, address)),
        actor_id=by.actor.user_id,
        actor_name=by.actor.name,
        after={"channel": channel, "source": by.source, **after},
        reason=checked_reason(by.reason),
    )
