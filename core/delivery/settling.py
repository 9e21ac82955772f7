"""A call to a provider, written down: before it begins, and what it came to."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal

import structlog
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Case, F, Value, When
from django.db.models.functions import Now

from core.base.ids import new_id
from core.delivery import breaker, bucket, budget, consent, rules
from core.delivery.gateways import Answer
from core.delivery.lanes import gateway
from core.delivery.models import DeliveryAttempt, OutboundMessage
from core.delivery.rules import Channel, Fault, Status, Verdict

log = structlog.get_logger(__name__)

WRITING_TRIES = 15  # about a second apart, well within the lease


def open_attempt(messages: Sequence[OutboundMessage], *, price: Decimal) -> DeliveryAttempt:
    """Write down the call that is about to be made, point its messages to it, and put its money aside."""
    attempt = DeliveryAttempt(id=new_id(), provider=gateway(messages[0]).name, messages=len(messages), started_at=Now())
    attempt.save(force_insert=True)
    OutboundMessage.objects.filter(pk__in=[message.pk for message in messages]).update(
        status=Status.SUBMITTING.value,
        due_at=None,
        ring_at=None,
        fence=F("fence") + 1,
        lease_until=Now() + timedelta(seconds=rules.LEASE_SECONDS),
        last_attempt=attempt,
        reserved=Case(When(channel=Channel.SMS.value, then=F("parts") * Value(price))),
        updated_at=Now(),
    )
    for message in messages:
        message.fence += 1
    return attempt


_SETTLE = """
UPDATE delivery_outboundmessage AS message SET status = answer.status, attempts = answer.tries, lease_until = NULL,
    due_at = statement_timestamp() + make_interval(secs => answer.again_in),
    ring_at = statement_timestamp() + make_interval(secs => answer.again_in),
    provider_id = answer.provider_id, cost = COALESCE(answer.cost, message.cost), error = answer.error,
    accepted_at = CASE WHEN answer.status = 'accepted' THEN statement_timestamp() END, network = answer.network,
    receipt_due_at = CASE WHEN answer.status IN ('accepted', 'in_doubt') THEN
        statement_timestamp() + make_interval(secs => answer.look_in) END,
    updated_at = statement_timestamp()
FROM unnest(%s::uuid[], %s::int[], %s::text[], %s::int[], %s::float8[], %s::text[], %s::numeric[], %s::text[],
    %s::text[], %s::float8[]) AS answer(id, fence, status, tries, again_in, provider_id, cost, error, network, look_in)
WHERE message.id = answer.id AND message.fence = answer.fence
  AND (message.status = 'submitting' OR (message.status = 'in_doubt' AND answer.status = 'accepted'))
"""


def settle(
    attempt: DeliveryAttempt, answers: Mapping[OutboundMessage, Answer], *, batch_id: str, probe: bool = False
) -> None:
    """Write what the provider said. A worker that comes late, after its lease, can only turn doubt into proof."""
    rows = []
    for message, answer in answers.items():
        following = rules.after_answer(answer.verdict, message.attempts, fault=answer.fault, wait=answer.wait)
        rows.append(
            (message.pk, message.fence, following.status.value, following.tries, following.again_in)
            + (answer.provider_id, answer.cost, answer.reason[:500], answer.network)
            + (rules.first_look(Channel(message.channel), answer.provider_id or batch_id),)
        )
    counts = Counter(answer.verdict for answer in answers.values())

    def write() -> int:
        with transaction.atomic():
            with connection.cursor() as cursor:  # messages before their attempt, as the sweep locks them
                cursor.execute(_SETTLE, [list(column) for column in zip(*rows, strict=True)])
                written = int(cursor.rowcount)
            close(attempt, answers.values(), batch_id=batch_id, probe=probe)
            consent.heard(answers)
        return written

    written = outlasting(write)
    for answer in answers.values():
        if answer.fault == Fault.THROTTLED:
            bucket.slow_down(attempt.provider, budget.terms().limit, answer.wait)
            break
    if written < len(rows):
        log.warning("answer_came_late", attempt=str(attempt.pk), messages=len(rows), written=written)
    for verdict, count in counts.items():
        if verdict != Verdict.ACCEPTED:
            log.warning("message_not_accepted", attempt=str(attempt.pk), verdict=str(verdict), messages=count)


def outlasting(write: Callable[[], int]) -> int:
    """Write for a while also against a database that is away: an answer that is known must not end in doubt."""
    tries = 1
    while True:
        try:
            return write()
        except (OperationalError, InterfaceError) as error:
            if connection.in_atomic_block or tries == WRITING_TRIES:
                raise
            connection.close()
            log.warning("answer_not_written", tries=tries, error=type(error).__name__)
        tries += 1
        time.sleep(1)


def close(attempt: DeliveryAttempt, answers: Collection[Answer], *, batch_id: str, probe: bool = False) -> None:
    """Write down how the call ended, and what it says of its provider."""
    alike = next(iter(answers)) if len({answer.verdict for answer in answers}) == 1 else None
    DeliveryAttempt.objects.filter(pk=attempt.pk).update(
        finished_at=Now(),
        verdict=str(alike.verdict) if alike else "mixed",
        batch_id=batch_id[:100],
        fault=alike.fault.value if alike and alike.fault else "",
        http_status=alike.http_status if alike else None,
        body_status=alike.body_status[:20] if alike else "",
        error=alike.reason[:500] if alike else "",
    )
    breaker.heard(attempt, answers, probe=probe)
