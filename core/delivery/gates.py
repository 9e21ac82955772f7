"""The gates that a picked message passes on its way out, in their order. Each is one statement for the whole list.

What is over (its time, its recipient's will, its campaign) is written down. What only has to wait for others (a stopped
lane, the day's budget, the rate) is left as it is, and costs nothing while it waits.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.db import connection, transaction

from core import clock
from core.delivery import breaker, bucket, budget, consent, holds, lanes
from core.delivery.lanes import Gate
from core.delivery.models import OutboundMessage
from core.delivery.rules import Channel, Purpose, Status
from core.delivery.windows import opening

EXPIRED = "not sent before its time was over"
OVER_CEILING = "the campaign's ceiling is used up"
OVER_CEILING_LOOK = timedelta(hours=1)  # unless the campaign goes on before


@dataclass(frozen=True)
class Passed:
    """`going` may be sent now, as the probe of a stopped provider if `probe`.

    `wait`: in how many seconds the rate lets the next of them go; None when something else keeps them. `unpaid`: the
    day's rest pays for none of them, and they are left as they are.
    """

    going: list[OutboundMessage] = field(default_factory=list)
    probe: bool = False
    wait: float | None = None
    unpaid: bool = False


def may_leave(messages: Collection[OutboundMessage], gate: Gate, terms: budget.Terms) -> Passed:
    """Which of these messages of one lane may go now, in the caller's transaction."""
    going = _within_their_time(_wanted(_in_time(messages)))
    if not going:
        return Passed()
    channel, lane = Channel(going[0].channel), going[0].lane
    probe = False
    if why := gate.shut(channel, lane):
        probe = not gate.paused(channel, lane) and gate.probe_due(channel)
        if not probe:
            _note(going, why)
            return Passed()
        going = going[:1]
    going, unpaid = _paid(going, terms)
    if not going:
        return Passed(unpaid=unpaid)
    wait = None
    if channel == Channel.SMS:
        grant = bucket.take(lanes.HUBTEL.name, lane, [message.parts for message in going], terms.limit)
        if grant.go < len(going):
            wait = grant.wait
            _ring_again(going[grant.go :], grant.wait)
            going = going[: grant.go]
    if probe and going and not breaker.lease_probe(lanes.GATEWAYS[channel].name):
        return Passed()
    return Passed(going, probe, wait)


def _in_time(messages: Collection[OutboundMessage]) -> list[OutboundMessage]:
    now = clock.now()
    late = [message for message in messages if message.not_after and message.not_after < now]
    _put([(message, Status.EXPIRED, None, EXPIRED) for message in late])
    return [message for message in messages if message not in late]


def _wanted(messages: list[OutboundMessage]) -> list[OutboundMessage]:
    """Those whose recipient has not declined them, and whose campaign goes on."""
    unwanted = consent.blocked(messages)
    _put([(message, Status.SUPPRESSED, None, unwanted[message.pk]) for message in messages if message.pk in unwanted])
    left = [message for message in messages if message.pk not in unwanted]
    stopped = holds.stopped(left)
    return [message for message in left if message.pk not in stopped]


def _within_their_time(messages: list[OutboundMessage]) -> list[OutboundMessage]:
    """Those inside their sending window."""
    now = clock.now()
    openings: dict[tuple[str, str, bool], datetime] = {}
    for message in messages:
        kind = (message.purpose, message.channel, message.any_hour)
        if kind not in openings:
            purpose, channel = Purpose(message.purpose), Channel(message.channel)
            openings[kind] = opening(purpose, channel, now, any_hour=message.any_hour)
    opens = {message: openings[message.purpose, message.channel, message.any_hour] for message in messages}
    _put([(message, Status.HELD, at, holds.CLOSED) for message, at in opens.items() if at > now])
    return [message for message, at in opens.items() if at <= now]


def _paid(messages: list[OutboundMessage], terms: budget.Terms) -> tuple[list[OutboundMessage], bool]:
    """Those that the ceilings let through, and whether others wait for the day's.

    A campaign that has reached its own is paused after the transaction.
    """
    fits = budget.fitting(messages, terms)
    later = clock.now() + OVER_CEILING_LOOK
    _put([(message, Status.HELD, later, OVER_CEILING) for message in fits.over])
    for campaign in {message.campaign_id for message in fits.over if message.campaign_id}:
        transaction.on_commit(partial(budget.pause_campaign, campaign), robust=True)
    if fits.waiting and terms.ceiling is not None:
        transaction.on_commit(partial(budget.tell_day_used_up, terms.ceiling), robust=True)
    return fits.going, bool(fits.waiting)


_PUT = """
UPDATE delivery_outboundmessage AS message SET status = put.status, due_at = put.due_at, ring_at = put.due_at,
    error = put.error, updated_at = statement_timestamp()
FROM unnest(%s::uuid[], %s::text[], %s::timestamptz[], %s::text[]) AS put(id, status, due_at, error)
WHERE message.id = put.id
"""


def _put(rows: Collection[tuple[OutboundMessage, Status, datetime | None, str]]) -> None:
    if rows:
        listed = [(message.pk, status.value, due_at, why) for message, status, due_at, why in rows]
        with connection.cursor() as cursor:
            cursor.execute(_PUT, [list(column) for column in zip(*listed, strict=True)])


def _note(messages: Collection[OutboundMessage], why: str) -> None:
    """Say on the rows why they wait, once."""
    ids: list[UUID] = [message.pk for message in messages if message.error != why[:500]]
    OutboundMessage.objects.filter(pk__in=ids).update(error=why[:500])


def _ring_again(messages: Collection[OutboundMessage], wait: float) -> None:
    """Have these announced again when the rate lets them go. Bulk has one hint for all."""
    single = [message.pk for message in messages if message.lane != "bulk"]
    if single:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE delivery_outboundmessage SET due_at = statement_timestamp() + make_interval(secs => %s),"
                " ring_at = statement_timestamp() + make_interval(secs => %s) WHERE id = ANY (%s)",
                [wait, wait, single],
            )
