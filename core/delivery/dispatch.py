"""Sending what is in the outbox: take, write the attempt, call the provider, write the answer.

Taking is a row lock that skips what another worker holds. What may leave is decided by `gates`; what was called and
answered is written by `settling`. The attempt is committed before a byte leaves, so after a crash a message with an
open attempt is in doubt and never sent again blindly.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from core.delivery import bucket, budget, gates, lanes, mail, rules, sealing, settling
from core.delivery.gateways import Answer
from core.delivery.models import DeliveryAttempt, OutboundMessage
from core.delivery.rules import Channel, Status, Verdict
from core.jobs.bell import BROKER_ERRORS
from core.jobs.relay import queue_lengths
from core.jobs.services import task_named

log = structlog.get_logger(__name__)

LANES, HUBTEL, SMTP, NOT_CONFIGURED = lanes.LANES, lanes.HUBTEL, lanes.SMTP, lanes.NOT_CONFIGURED
gateway, settle = lanes.gateway, settling.settle
RING_AT_ONCE = 500
RING_FIRST = 20  # of those never announced, whatever else waits on Redis
BULK_HINT_SECONDS = 10.0  # behind other bulk work on Redis, a worker adds a hint this often
# What gates and calls look at: reading all of a row costs as much as sending it.
READ_OF_BULK = (
    *("channel", "lane", "purpose", "recipient", "body", "body_hash", "parts", "any_hour", "campaign_id"),
    *("status", "error", "not_after", "created_at", "attempts", "fence"),
)
_bulk_hinted_at = 0.0
LONGEST_NAP_SECONDS = 1.0  # of a bulk slice that waits for the rate limit; after longer waits the sweep calls again


# --- one message ---------------------------------------------------------------------------------------------------


def deliver(message_id: uuid.UUID) -> bool:
    """Try one message now, if it is due, may leave, and nobody else has it. True when a provider was called."""
    with transaction.atomic():
        message = _due().filter(pk=message_id).select_for_update(skip_locked=True, of=("self",)).first()
        if message is None:
            return False
        terms = budget.terms()
        passed = gates.may_leave([message], lanes.gate(), terms)
        if not passed.going:
            return False
        call = _prepared(message)
        attempt = settling.open_attempt([message], price=terms.price)
    settle(attempt, {message: call()}, batch_id="", probe=passed.probe)
    return True


def _prepared(message: OutboundMessage) -> Callable[[], Answer]:
    """The call, ready to be made: what can fail before a byte leaves fails before the attempt is written."""
    try:
        if message.channel == Channel.SMS:
            return partial(HUBTEL.send, message.recipient, sealing.content_of(message).text, str(message.pk))
        return partial(SMTP.send, mail.outgoing(message))
    except sealing.CannotBeRead as error:
        refused = Answer(Verdict.REFUSED, reason=str(error))
        return lambda: refused


# --- many messages -------------------------------------------------------------------------------------------------


def dispatch_bulk(*, seconds: float) -> tuple[int, bool]:
    """Send due bulk SMS in batches for about so many seconds. Returns how many were tried, and whether more may go."""
    ends = time.monotonic() + seconds
    tried = 0
    while True:
        count, wait = _one_batch(ends)
        tried += count
        if wait is None or wait > LONGEST_NAP_SECONDS:
            return tried, False
        if time.monotonic() + wait >= ends:
            return tried, True
        time.sleep(wait)


def _one_batch(ends: float) -> tuple[int, float | None]:
    """How many were tried, and in how many seconds the next may be; None when nothing more may leave for now."""
    gate, terms = lanes.gate(), budget.terms()
    if gate.shut(Channel.SMS, "bulk") or budget.day_is_used_up(terms):
        return 0, None
    room, wait = bucket.room(HUBTEL.name, "bulk", terms.limit)
    if room == 0:
        return 0, wait if _any_due("bulk", Channel.SMS) else None
    size = rules.BATCH_SIZE if room is None else min(room, rules.BATCH_SIZE)
    with transaction.atomic():
        picked = (
            _due()
            .filter(lane="bulk", channel=Channel.SMS)
            .only(*READ_OF_BULK)
            .order_by("due_at")
            .select_for_update(skip_locked=True, of=("self",))[:size]
        )
        unique = {message.recipient: message for message in picked}  # a number may appear once in a batch
        if not unique:
            return 0, None
        passed = gates.may_leave(list(unique.values()), gate, terms)
        messages = passed.going
        if not messages:  # held or over: there may be more behind them, unless the day's rest pays for none
            if passed.unpaid:
                return 0, None
            return (0, passed.wait) if passed.wait is not None else (len(unique), 0.0)
        attempt = settling.open_attempt(messages, price=terms.price)
    texts = {message.recipient: message.body or "" for message in messages}
    if len(set(texts.values())) == 1:
        answer = HUBTEL.send_same(list(texts), next(iter(texts.values())))
    else:
        answer = HUBTEL.send_each(texts)
    if answer.overall.verdict == Verdict.REFUSED and len(messages) > 1:
        _take_apart(attempt, messages, answer.overall, ends)
    else:
        answers = {message: answer.each.get(message.recipient, answer.overall) for message in messages}
        settle(attempt, answers, batch_id=answer.batch_id)
    return len(messages), 0.0


def _take_apart(attempt: DeliveryAttempt, messages: Sequence[OutboundMessage], refusal: Answer, ends: float) -> None:
    """A batch may be refused whole for one bad entry: nothing of it was sent, so each message gets a call of its own.

    When the time is up before all have had theirs, the rest waits for the next batch.
    """

    def write() -> int:
        mine = OutboundMessage.objects.filter(last_attempt=attempt, status=Status.SUBMITTING)
        with transaction.atomic():
            back = mine.update(
                status=Status.QUEUED.value,
                due_at=Now(),
                ring_at=Now() + timedelta(seconds=rules.LOOK_AGAIN_SECONDS),
                lease_until=None,
                error=refusal.reason,
                updated_at=Now(),
            )
            settling.close(attempt, [refusal], batch_id="")
        return back

    settling.outlasting(write)
    log.warning("batch_taken_apart", attempt=str(attempt.pk), messages=len(messages), reason=refusal.reason)
    for message in messages:
        deliver(message.pk)
        if time.monotonic() >= ends:
            return


def _due() -> QuerySet[OutboundMessage]:
    return OutboundMessage.objects.filter(status=Status.QUEUED, due_at__lte=Now())


def _any_due(lane: str, channel: Channel) -> bool:
    return _due().filter(lane=lane, channel=channel).exists()


# --- sweeps --------------------------------------------------------------------------------------------------------

_LOOK = """
SELECT EXISTS (SELECT 1 FROM delivery_outboundmessage WHERE lease_until < statement_timestamp()),
  EXISTS (SELECT 1 FROM delivery_outboundmessage
          WHERE due_at IS NOT NULL AND not_after IS NOT NULL AND not_after < statement_timestamp()),
  ARRAY (SELECT DISTINCT lane FROM unnest(%s::text[], %s::text[]) AS line(lane, channel) WHERE EXISTS (
    SELECT 1 FROM delivery_outboundmessage AS message
    WHERE message.lane = line.lane AND message.channel = line.channel AND ring_at IS NOT NULL
      AND ring_at <= statement_timestamp()))
"""

_IN_DOUBT = """
WITH lost AS (
    UPDATE delivery_outboundmessage SET status = 'in_doubt', lease_until = NULL, updated_at = statement_timestamp(),
        error = 'the worker stopped while the provider''s answer was open', attempts = attempts + 1
    WHERE id IN (SELECT id FROM delivery_outboundmessage WHERE lease_until < statement_timestamp()
                 ORDER BY lease_until LIMIT 1000 FOR UPDATE SKIP LOCKED)
    RETURNING id, last_attempt_id
), closed AS (
    UPDATE delivery_deliveryattempt SET verdict = 'in_doubt', error = 'the worker stopped', finished_at = now()
    WHERE id IN (SELECT last_attempt_id FROM lost) AND verdict = ''
)
SELECT id FROM lost
"""

# Also those that wait behind a shut gate, where nobody picks them.
_EXPIRE = """
UPDATE delivery_outboundmessage SET status = 'expired', due_at = NULL, ring_at = NULL, error = %s,
    updated_at = statement_timestamp()
WHERE id IN (SELECT id FROM delivery_outboundmessage
             WHERE due_at IS NOT NULL AND not_after IS NOT NULL AND not_after < statement_timestamp()
             ORDER BY not_after LIMIT 5000 FOR UPDATE SKIP LOCKED)
"""

_RELEASE = """
UPDATE delivery_outboundmessage SET status = 'queued', updated_at = statement_timestamp()
WHERE id IN (SELECT id FROM delivery_outboundmessage
             WHERE status = 'held' AND lane = %s AND due_at <= statement_timestamp()
             ORDER BY due_at LIMIT 5000 FOR UPDATE SKIP LOCKED)
"""

_WAITING = """
SELECT count(*) FROM (
    SELECT 1 FROM delivery_outboundmessage
    WHERE lane = %s AND channel = %s AND status = 'queued' AND due_at <= statement_timestamp() LIMIT %s) AS due
"""

_TO_RING = """
UPDATE delivery_outboundmessage SET ring_at = statement_timestamp() + make_interval(secs => %s)
WHERE id IN (
    SELECT id FROM delivery_outboundmessage
    WHERE lane = %s AND channel = %s AND ring_at IS NOT NULL AND ring_at <= statement_timestamp()
      AND status = 'queued'{which}
    ORDER BY ring_at LIMIT %s FOR UPDATE SKIP LOCKED)
RETURNING id
"""


def sweep(_worker: str = "") -> None:
    """Settle calls whose worker is gone, end what is too late, release what may go now, and ring again what nobody has
    heard.
    """
    channels, names = [channel.value for channel, _ in lanes.ALL], [lane for _, lane in lanes.ALL]
    lost, late, ready = _rows(_LOOK, [names, channels])[0]
    if lost:
        doubtful = [str(row[0]) for row in _rows(_IN_DOUBT)]
        log.error("messages_in_doubt", messages=doubtful[:20], count=len(doubtful))
    if late:
        with connection.cursor() as cursor:
            cursor.execute(_EXPIRE, [gates.EXPIRED])
            log.warning("messages_expired", count=cursor.rowcount)
    if ready:
        dispatch_due([lane for lane in LANES if lane in ready])


def dispatch_due(ready: Sequence[str] = LANES) -> dict[str, int]:
    """Release held messages whose time has come and announce due ones that were not heard, where the lane is open.
    Counts by lane.
    """
    with connection.cursor() as cursor:
        for lane in ready:
            cursor.execute(_RELEASE, [lane])
    gate = lanes.gate()
    lengths = queue_lengths(ready)  # raises when Redis is away: nothing could be rung
    rung = {lane: _ring(lane, gate, on_redis=lengths[lane]) for lane in ready}
    for channel in Channel:
        if gate.probe_due(channel):
            _ring_probe(channel, gate)
    return rung


def _ring(lane: str, gate: lanes.Gate, *, on_redis: int) -> int:
    """Announce what nobody was told of since it became due, a few at a time, and as many of the others as are missing
    among the queue's `on_redis`: so a long queue is neither doubled nor in the way of what waits behind it.
    """
    global _bulk_hinted_at  # noqa: PLW0603 - this process's own
    open_ones = [channel for channel, name in lanes.ALL if name == lane and not gate.shut(channel, lane)]
    terms = budget.terms()
    if lane == "bulk":  # sent in batches: one hint serves all
        lately = time.monotonic() - _bulk_hinted_at < BULK_HINT_SECONDS
        if (on_redis and lately) or not open_ones or not _any_due(lane, Channel.SMS) or budget.day_is_used_up(terms):
            return 0
        _bulk_hinted_at = time.monotonic()
        hint_bulk()
        return 1
    most = on_redis + RING_AT_ONCE
    waiting = sum(_rows(_WAITING, [lane, channel.value, most])[0][0] for channel in open_ones)
    missing, rung = max(0, min(waiting - on_redis, RING_AT_ONCE)), 0
    for channel in open_ones:
        share = -(-missing // len(open_ones))
        if channel == Channel.SMS and terms.limit:  # more would only be put off again
            share = min(share, max(RING_FIRST, terms.limit * (rules.LOOK_AGAIN_SECONDS + 1)))
        for which, limit in ((" AND ring_at = due_at", RING_FIRST), ("", share)):
            ids = _rows(_TO_RING.format(which=which), [rules.LOOK_AGAIN_SECONDS, lane, channel.value, limit])
            for [message_id] in ids:
                _hint(message_id, lane)
            rung += len(ids)
    return rung


def _ring_probe(channel: Channel, gate: lanes.Gate) -> None:
    """Announce the one message that shows whether a provider is back: an urgent one if one waits."""
    for lane in (name for of, name in lanes.ALL if of == channel and not gate.paused(channel, name)):
        first = _due().filter(lane=lane, channel=channel).order_by("due_at").values_list("pk", flat=True).first()
        if first:
            _hint(first, lane)
            return


def _hint(message_id: uuid.UUID, lane: str) -> None:
    task_named("core.tasks.deliver_message").apply_async((str(message_id),), queue=lane)


def hint_bulk() -> None:
    task_named("core.tasks.dispatch_bulk").apply_async()


def go_on_with_bulk() -> None:
    """After a slice with more to send: in line again, unless enough hints wait there already."""
    with suppress(*BROKER_ERRORS):  # without Redis nothing could be hinted; the sweep does it later
        if queue_lengths(["bulk"])["bulk"] < rules.BULK_HINTS:
            hint_bulk()


def _rows(sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())
