"""The lanes: which may send now, and why not. A lane of a channel is stopped by a person (a pause) or by its provider
(a breaker, missing credentials).

What is stopped is left alone where it lies: nothing is written for a waiting message, so a hundred thousand of them
cost as much as none. Whoever picks asks the gate first, and the sweep announces nothing behind a shut gate but a probe.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models.functions import Now

from core.base.services import record
from core.delivery.gateways.hubtel import Hubtel
from core.delivery.gateways.smtp import Smtp
from core.delivery.models import Breaker, LaneState, OutboundMessage
from core.delivery.rules import Channel
from core.errors import Conflict, InvalidInput
from core.jobs.operations import Actor, check_reason

log = structlog.get_logger(__name__)

LANES = ("urgent", "default", "bulk")
ALL: tuple[tuple[Channel, str], ...] = (
    (Channel.SMS, "urgent"),
    (Channel.SMS, "default"),
    (Channel.SMS, "bulk"),
    (Channel.EMAIL, "urgent"),
    (Channel.EMAIL, "default"),
)
HUBTEL = Hubtel()
SMTP = Smtp()
GATEWAYS: dict[Channel, Hubtel | Smtp] = {Channel.SMS: HUBTEL, Channel.EMAIL: SMTP}
NOT_CONFIGURED = "the gateway has no credentials; set them and restart, the message leaves by itself"


def gateway(message: OutboundMessage) -> Hubtel | Smtp:
    return GATEWAYS[Channel(message.channel)]


# --- the gate ------------------------------------------------------------------------------------------------------

_GATE = """
SELECT channel, lane, reason, false, false FROM delivery_lanestate WHERE paused_at IS NOT NULL
UNION ALL
SELECT provider, NULL, string_agg(reason, '; ' ORDER BY id), bool_or(COALESCE(probe_at <= statement_timestamp(), true)),
    bool_or(COALESCE(probe_until > statement_timestamp(), false))
FROM delivery_breaker WHERE open GROUP BY provider
"""


@dataclass(frozen=True)
class Gate:
    """Who may pass at this moment."""

    pauses: dict[tuple[str, str], str]
    broken: dict[str, tuple[str, bool]]

    def paused(self, channel: Channel, lane: str) -> str:
        """Why a person has stopped the lane, '' when nobody has."""
        reason = self.pauses.get((channel, lane))
        return "" if reason is None else f"the lane is paused: {reason}"

    def broken_by(self, channel: Channel) -> str:
        """What is wrong with the provider, '' when nothing is known to be."""
        return self.broken.get(GATEWAYS[channel].name, ("", False))[0]

    def shut(self, channel: Channel, lane: str) -> str:
        """Why nothing of this lane leaves, '' when it may."""
        if paused := self.paused(channel, lane):
            return paused
        return self.broken_by(channel) if GATEWAYS[channel].configured() else NOT_CONFIGURED

    def probe_due(self, channel: Channel) -> bool:
        """Whether one message may be sent to see whether the provider is back."""
        broken, due = self.broken.get(GATEWAYS[channel].name, ("", False))
        return bool(broken) and due and GATEWAYS[channel].configured()


def gate() -> Gate:
    """One query over two tables of a few rows."""
    with connection.cursor() as cursor:
        cursor.execute(_GATE)
        rows = cursor.fetchall()
    return Gate(
        pauses={(where, lane): reason for where, lane, reason, _, _ in rows if lane is not None},
        broken={
            where: (reason or "stopped", due and not taken) for where, lane, reason, due, taken in rows if not lane
        },
    )


# --- what people do ------------------------------------------------------------------------------------------------


@transaction.atomic
def pause(channel: Channel, lane: str, *, reason: str, actor: Actor) -> None:
    """Send nothing of this lane until somebody resumes it; calls that have begun end. Audited.

    Raises InvalidInput without a reason or for a lane that is none, and Conflict when it is paused already.
    """
    _check(channel, lane)
    why = check_reason(reason)
    state = _locked(channel, lane)
    if state.paused_at:
        raise Conflict(f"{channel}:{lane} is paused already, by {state.paused_by_name}: {state.reason}")
    state.paused_at, state.reason = Now(), why
    state.paused_by_id, state.paused_by_name = actor.user_id, actor.name
    state.save()
    _audit("lane.pause", channel, lane, actor, why, before="open", after="paused")
    log.warning("lane_paused", channel=str(channel), lane=lane)


@transaction.atomic
def resume(channel: Channel, lane: str, *, reason: str, actor: Actor) -> None:
    """Let the lane send again; what waits leaves within seconds. As `pause`."""
    _check(channel, lane)
    why = check_reason(reason)
    state = _locked(channel, lane)
    if not state.paused_at:
        raise Conflict(f"{channel}:{lane} is not paused. See what else may stop it: manage.py lanes list")
    state.paused_at, state.reason, state.paused_by, state.paused_by_name = None, "", None, ""
    state.save()
    _audit("lane.resume", channel, lane, actor, why, before="paused", after="open")
    log.warning("lane_resumed", channel=str(channel), lane=lane)


def named(text: str) -> tuple[Channel, str]:
    """The lane that is called sms:bulk, or bulk when only one channel has it. Raises InvalidInput."""
    wanted = text.strip().lower()
    found = [pair for pair in ALL if wanted in (f"{pair[0]}:{pair[1]}", pair[1])]
    if len(found) != 1:
        listed = ", ".join(f"{channel}:{lane}" for channel, lane in ALL)
        raise InvalidInput(f"There is no lane {text[:40]!r}. Use one of: {listed}.")
    return found[0]


def _check(channel: Channel, lane: str) -> None:
    if (channel, lane) not in ALL:
        raise InvalidInput(f"There is no lane {lane!r} of {channel}.")


def _locked(channel: Channel, lane: str) -> LaneState:
    LaneState.objects.bulk_create([LaneState(channel=channel.value, lane=lane)], ignore_conflicts=True)
    return LaneState.objects.select_for_update().get(channel=channel.value, lane=lane)


def _audit(action: str, channel: Channel, lane: str, actor: Actor, why: str, *, before: str, after: str) -> None:
    record(
        action=action,
        subject=("lane", f"{channel}:{lane}"),
        actor_id=actor.user_id,
        actor_name=actor.name,
        before={"state": before},
        after={"state": after},
        reason=why,
    )


# --- what there is to see ------------------------------------------------------------------------------------------

MOST_COUNTED = 1_000_000
_WAITING = """
SELECT channel, lane, count(*) FILTER (WHERE due_at <= statement_timestamp() AND status = 'queued'),
    count(*) FILTER (WHERE due_at > statement_timestamp() OR status = 'held'),
    min(GREATEST(created_at, not_before)) FILTER (WHERE due_at <= statement_timestamp() AND status = 'queued')
FROM (SELECT * FROM delivery_outboundmessage WHERE due_at IS NOT NULL LIMIT %s) AS message GROUP BY 1, 2
"""


@dataclass(frozen=True)
class LaneView:
    """A lane as people see it. `state`: open, paused (by a person) or stopped (by its provider, or not set up yet).

    `waiting` may leave now as far as they themselves are concerned, `later` not yet.
    """

    channel: Channel
    lane: str
    state: str
    why: str
    since: datetime | None
    by: str
    by_id: uuid.UUID | None
    waiting: int
    later: int
    oldest: datetime | None


def state() -> list[LaneView]:
    """Every lane, for the console and the health report. Three queries."""
    waiting: dict[tuple[str, str], tuple[Any, ...]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, [MOST_COUNTED])
        for channel, lane, *counts in cursor.fetchall():
            waiting[channel, lane] = tuple(counts)
    pauses = {(row.channel, row.lane): row for row in LaneState.objects.filter(paused_at__isnull=False)}
    breakers: dict[str, list[Breaker]] = {}
    for row in Breaker.objects.filter(open=True).order_by("opened_at"):
        breakers.setdefault(row.provider, []).append(row)
    return list(_views(waiting, pauses, breakers))


def _views(
    waiting: dict[tuple[str, str], tuple[Any, ...]],
    pauses: dict[tuple[str, str], LaneState],
    breakers: dict[str, list[Breaker]],
) -> Iterator[LaneView]:
    for channel, lane in ALL:
        provider = GATEWAYS[channel]
        broken, pause_row = breakers.get(provider.name, []), pauses.get((channel, lane))
        by, by_id, since = "", None, None
        if pause_row:
            how, why, since = "paused", pause_row.reason, pause_row.paused_at
            by, by_id = pause_row.paused_by_name, pause_row.paused_by_id
        elif not provider.configured():
            how, why = "stopped", "no credentials"
        elif broken:
            how, why, since = "stopped", "; ".join(row.reason or row.fault for row in broken), broken[0].opened_at
        else:
            how, why = "open", ""
        yield LaneView(channel, lane, how, why, since, by, by_id, *waiting.get((channel, lane), (0, 0, None)))


def waited(view: LaneView, now: datetime) -> timedelta | None:
    """How long the oldest message that may leave has waited."""
    return now - view.oldest if view.oldest else None
