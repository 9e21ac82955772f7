"""Sending what is in the outbox: take, write the attempt, call the provider, write the answer.

Taking is a row lock that skips what another worker holds. The attempt is committed before a byte leaves, so after a
crash a message with an open attempt is in doubt and never sent again blindly.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from core import clock
from core.base.ids import new_id
from core.delivery import consent, mail, rules, sealing
from core.delivery.gateways import Answer
from core.delivery.gateways.hubtel import Hubtel
from core.delivery.gateways.smtp import Smtp
from core.delivery.models import DeliveryAttempt, OutboundMessage
from core.delivery.rules import Channel, Purpose, Status, Verdict
from core.delivery.windows import opening
from core.jobs.bell import BROKER_ERRORS
from core.jobs.relay import queue_lengths
from core.jobs.services import task_named

log = structlog.get_logger(__name__)

LANES = ("urgent", "default", "bulk")
RING_AT_ONCE = 500
HUBTEL = Hubtel()
SMTP = Smtp()
NOT_CONFIGURED = "the gateway has no credentials; set them and restart, the message leaves by itself"
NOT_CONFIGURED_LOOK_SECONDS = 60


def gateway(message: OutboundMessage) -> Hubtel | Smtp:
    return HUBTEL if message.channel == Channel.SMS else SMTP


# --- one message ---------------------------------------------------------------------------------------------------


def deliver(message_id: uuid.UUID) -> bool:
    """Try one message now, if it is due and nobody else has it. True when a provider was called."""
    with transaction.atomic():
        message = _due().filter(pk=message_id).select_for_update(skip_locked=True, of=("self",)).first()
        if message is None or not _may_leave([message]):
            return False
        attempt = _open_attempt([message])
    settle(attempt, {message: _send(message)}, batch_id="")
    return True


def _send(message: OutboundMessage) -> Answer:
    try:
        if message.channel == Channel.SMS:
            return HUBTEL.send(message.recipient, sealing.content_of(message).text, str(message.pk))
        return SMTP.send(mail.outgoing(message))
    except sealing.CannotBeRead as error:
        return Answer(Verdict.REFUSED, reason=str(error))


# --- many messages -------------------------------------------------------------------------------------------------


def dispatch_bulk(*, seconds: float) -> tuple[int, bool]:
    """Send due bulk SMS in batches for about so many seconds. Returns how many were tried and whether more wait."""
    ends = time.monotonic() + seconds
    tried = 0
    while True:
        count = _one_batch(ends)
        tried += count
        if not count or time.monotonic() >= ends:
            return tried, bool(count)


def _one_batch(ends: float) -> int:
    with transaction.atomic():
        picked = (
            _due()
            .filter(lane="bulk")
            .order_by("due_at")
            .select_for_update(skip_locked=True, of=("self",))[: rules.BATCH_SIZE]
        )
        unique = {message.recipient: message for message in picked}  # a number may appear once in a batch
        messages = _may_leave(list(unique.values()))
        if not messages:
            return len(unique)  # held or expired: there may be more behind them
        attempt = _open_attempt(messages)
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
    return len(messages)


def _take_apart(attempt: DeliveryAttempt, messages: Sequence[OutboundMessage], refusal: Answer, ends: float) -> None:
    """A batch may be refused whole for one bad entry: nothing of it was sent, so each message gets a call of its own.

    When the time is up before all have had theirs, the rest waits for the next batch.
    """
    with transaction.atomic():
        _close(attempt, [refusal], batch_id="")
        mine = OutboundMessage.objects.filter(last_attempt=attempt, status=Status.SUBMITTING)
        mine.update(
            status=Status.QUEUED.value,
            due_at=Now(),
            ring_at=Now() + timedelta(seconds=rules.LOOK_AGAIN_SECONDS),
            lease_until=None,
            error=refusal.reason,
            updated_at=Now(),
        )
    log.warning("batch_taken_apart", attempt=str(attempt.pk), messages=len(messages), reason=refusal.reason)
    for message in messages:
        deliver(message.pk)
        if time.monotonic() >= ends:
            return


# --- taking and settling -------------------------------------------------------------------------------------------


def _due() -> QuerySet[OutboundMessage]:
    return OutboundMessage.objects.filter(status=Status.QUEUED, due_at__lte=Now())


def _may_leave(messages: Collection[OutboundMessage]) -> list[OutboundMessage]:
    """Those that may go now. The others are suppressed, held, expired or put off here, in the caller's transaction."""
    now = clock.now()
    going = []
    unwanted = consent.blocked(messages)
    openings: dict[tuple[str, str, bool], datetime] = {}
    for message in messages:
        kind = (message.purpose, message.channel, message.any_hour)
        if kind not in openings:
            purpose, channel = Purpose(message.purpose), Channel(message.channel)
            openings[kind] = opening(purpose, channel, now, any_hour=message.any_hour)
        if message.not_after and message.not_after < now:
            _put(message, Status.EXPIRED, None, "not sent before its time was over")
        elif message.pk in unwanted:
            _put(message, Status.SUPPRESSED, None, unwanted[message.pk])
        elif openings[kind] > now:
            _put(message, Status.HELD, openings[kind], "outside the sending window")
        elif not gateway(message).configured():
            _put(message, Status.QUEUED, now + timedelta(seconds=NOT_CONFIGURED_LOOK_SECONDS), NOT_CONFIGURED)
        else:
            going.append(message)
    return going


def _put(message: OutboundMessage, status: Status, due_at: datetime | None, why: str) -> None:
    OutboundMessage.objects.filter(pk=message.pk).update(
        status=status.value, due_at=due_at, ring_at=due_at, error=why, updated_at=Now()
    )


def _open_attempt(messages: Sequence[OutboundMessage]) -> DeliveryAttempt:
    """Write down the call that is about to be made and point its messages to it."""
    attempt = DeliveryAttempt(id=new_id(), provider=gateway(messages[0]).name, messages=len(messages), started_at=Now())
    attempt.save(force_insert=True)
    OutboundMessage.objects.filter(pk__in=[message.pk for message in messages]).update(
        status=Status.SUBMITTING.value,
        due_at=None,
        ring_at=None,
        fence=F("fence") + 1,
        lease_until=Now() + timedelta(seconds=rules.LEASE_SECONDS),
        last_attempt=attempt,
        updated_at=Now(),
    )
    for message in messages:
        message.fence += 1
    return attempt


_SETTLE = """
UPDATE delivery_outboundmessage AS message SET status = answer.status, attempts = answer.tries, lease_until = NULL,
    due_at = statement_timestamp() + make_interval(secs => answer.again_in),
    ring_at = statement_timestamp() + make_interval(secs => answer.again_in),
    provider_id = answer.provider_id, cost = answer.cost, error = answer.error,
    accepted_at = CASE WHEN answer.status = 'accepted' THEN statement_timestamp() END, network = answer.network,
    receipt_due_at = CASE WHEN answer.status IN ('accepted', 'in_doubt') THEN
        statement_timestamp() + make_interval(secs => answer.look_in) END,
    updated_at = statement_timestamp()
FROM unnest(%s::uuid[], %s::int[], %s::text[], %s::int[], %s::float8[], %s::text[], %s::numeric[], %s::text[],
    %s::text[], %s::float8[]) AS answer(id, fence, status, tries, again_in, provider_id, cost, error, network, look_in)
WHERE message.id = answer.id AND message.fence = answer.fence
  AND (message.status = 'submitting' OR (message.status = 'in_doubt' AND answer.status = 'accepted'))
"""


def settle(attempt: DeliveryAttempt, answers: Mapping[OutboundMessage, Answer], *, batch_id: str) -> None:
    """Write what the provider said. A worker that comes late, after its lease, can only turn doubt into proof."""
    rows = []
    for message, answer in answers.items():
        following = rules.after_answer(answer.verdict, message.attempts)
        rows.append(
            (message.pk, message.fence, following.status.value, following.tries, following.again_in)
            + (answer.provider_id, answer.cost, answer.reason[:500], answer.network)
            + (rules.first_look(Channel(message.channel), answer.provider_id or batch_id),)
        )
    counts = Counter(answer.verdict for answer in answers.values())
    with transaction.atomic():
        with connection.cursor() as cursor:  # messages before their attempt, as the sweep locks them
            cursor.execute(_SETTLE, [list(column) for column in zip(*rows, strict=True)])
            written = cursor.rowcount
        _close(attempt, answers.values(), batch_id=batch_id)
        consent.heard(answers)
    if written < len(rows):
        log.warning("answer_came_late", attempt=str(attempt.pk), messages=len(rows), written=written)
    for verdict, count in counts.items():
        if verdict != Verdict.ACCEPTED:
            log.warning("message_not_accepted", attempt=str(attempt.pk), verdict=str(verdict), messages=count)


def _close(attempt: DeliveryAttempt, answers: Collection[Answer], *, batch_id: str) -> None:
    """Write down how the call ended."""
    alike = next(iter(answers)) if len({answer.verdict for answer in answers}) == 1 else None
    DeliveryAttempt.objects.filter(pk=attempt.pk).update(
        finished_at=Now(),
        verdict=str(alike.verdict) if alike else "mixed",
        batch_id=batch_id[:100],
        http_status=alike.http_status if alike else None,
        body_status=alike.body_status[:20] if alike else "",
        error=alike.reason[:500] if alike else "",
    )


# --- sweeps --------------------------------------------------------------------------------------------------------

_LOOK = """
SELECT EXISTS (SELECT 1 FROM delivery_outboundmessage WHERE lease_until < statement_timestamp()),
  ARRAY (SELECT name FROM unnest(%s::text[]) AS name WHERE EXISTS (
    SELECT 1 FROM delivery_outboundmessage
    WHERE lane = name AND ring_at IS NOT NULL AND ring_at <= statement_timestamp()))
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

_RELEASE = """
UPDATE delivery_outboundmessage SET status = 'queued', updated_at = statement_timestamp()
WHERE id IN (SELECT id FROM delivery_outboundmessage
             WHERE lane = %s AND ring_at IS NOT NULL AND ring_at <= statement_timestamp() AND status = 'held'
             ORDER BY ring_at LIMIT 5000 FOR UPDATE SKIP LOCKED)
"""

_WAITING = """
SELECT count(*) FROM (
    SELECT 1 FROM delivery_outboundmessage
    WHERE lane = %s AND due_at IS NOT NULL AND due_at <= statement_timestamp() LIMIT %s) AS due
"""

_TO_RING = """
UPDATE delivery_outboundmessage SET ring_at = statement_timestamp() + make_interval(secs => %s)
WHERE id IN (
    SELECT id FROM delivery_outboundmessage
    WHERE lane = %s AND ring_at IS NOT NULL AND ring_at <= statement_timestamp() AND status = 'queued'
    ORDER BY ring_at LIMIT %s FOR UPDATE SKIP LOCKED)
RETURNING id
"""


def sweep(_worker: str = "") -> None:
    """Settle calls whose worker is gone, release what may go now, and ring again what nobody has heard."""
    lost, lanes = _rows(_LOOK, [list(LANES)])[0]
    if lost:
        doubtful = [str(row[0]) for row in _rows(_IN_DOUBT)]
        log.error("messages_in_doubt", messages=doubtful[:20], count=len(doubtful))
    if lanes:
        dispatch_due(lanes)


def dispatch_due(lanes: Sequence[str] = LANES) -> dict[str, int]:
    """Release held messages whose time has come and announce due ones that were not heard. Counts by lane."""
    with connection.cursor() as cursor:
        for lane in lanes:
            cursor.execute(_RELEASE, [lane])
    lengths = queue_lengths(lanes)  # raises when Redis is away: nothing could be rung
    return {lane: _ring(lane, on_redis=lengths[lane]) for lane in lanes}


def _ring(lane: str, *, on_redis: int) -> int:
    """Announce as many messages as are missing among the queue's `on_redis`, so that a long queue is not doubled."""
    if lane == "bulk":  # sent in batches: one hint serves all
        if on_redis or not _due().filter(lane=lane).exists():
            return 0
        hint_bulk()
        return 1
    missing = min(_rows(_WAITING, [lane, on_redis + RING_AT_ONCE])[0][0] - on_redis, RING_AT_ONCE)
    if missing <= 0:
        return 0
    ids = [row[0] for row in _rows(_TO_RING, [rules.LOOK_AGAIN_SECONDS, lane, missing])]
    for message_id in ids:
        task_named("core.tasks.deliver_message").apply_async((str(message_id),), queue=lane)
    return len(ids)


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
