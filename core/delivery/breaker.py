"""The breaker: a provider that is at fault as a whole is spared, and nobody's tries are used up meanwhile.

A row for each provider and class of faults. What only a person can mend (no credit, credentials) opens it at once;
what passes by itself opens it when half of the calls of the last minute met it. While it is open nothing is sent but a
probe: one waiting message at a time, held under a lease. What the probe comes to closes what it has passed.

The counts are the rows of the calls themselves, so a call that goes well costs nothing here (docs/adr/0009).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import structlog
from django.db import connection
from django.db.models.functions import Now

from core.delivery.gateways import Answer
from core.delivery.models import Breaker, DeliveryAttempt
from core.delivery.rules import Fault, Verdict
from core.jobs.services import enqueue

log = structlog.get_logger(__name__)

FOR_A_PERSON = frozenset({Fault.NO_FUNDS, Fault.CREDENTIALS})
WINDOW_SECONDS = 60
FEWEST_CALLS = 5  # that met the fault, before it opens
SHARE = 0.5
PROBE_EVERY_SECONDS = {fault: 50.0 if fault in FOR_A_PERSON else 20.0 for fault in Fault}
PROBE_LEASE_SECONDS = 45.0  # a probe that takes longer, or whose worker died, no longer keeps others from it
LONGEST_CALL_SECONDS = 120.0
# How far a call gets before it meets the fault: it has passed those before it.
_WAY = (
    Fault.UNREACHABLE,
    Fault.NO_ANSWER,
    Fault.UNAVAILABLE,
    Fault.THROTTLED,
    Fault.CREDENTIALS,
    Fault.NO_FUNDS,
)

_OPEN = """
INSERT INTO delivery_breaker AS breaker
    (provider, fault, open, opened_at, probe_at, failures, successes, window_at, reason)
SELECT %(provider)s, %(fault)s, true, statement_timestamp(),
    statement_timestamp() + make_interval(secs => %(probe_in)s), met, others, since, %(reason)s
FROM (
    SELECT count(*) FILTER (WHERE call.fault = %(fault)s) AS met,
        count(*) FILTER (WHERE call.fault <> %(fault)s) AS others, min(call.finished_at) AS since
    FROM delivery_deliveryattempt AS call
    WHERE call.provider = %(provider)s AND call.finished_at > statement_timestamp() - make_interval(secs => %(window)s)
      AND call.started_at > GREATEST(statement_timestamp() - make_interval(secs => %(window)s + %(longest)s),
          (SELECT closed_at FROM delivery_breaker WHERE provider = %(provider)s AND fault = %(fault)s))
) AS calls
WHERE met >= %(fewest)s AND met >= %(share)s * (met + others)
ON CONFLICT (provider, fault) DO UPDATE SET open = true, opened_at = excluded.opened_at, closed_at = NULL,
    probe_at = excluded.probe_at, probe_until = NULL, failures = excluded.failures, successes = excluded.successes,
    window_at = excluded.window_at, reason = excluded.reason
WHERE NOT breaker.open
RETURNING id, opened_at
"""


def heard(attempt: DeliveryAttempt, answers: Collection[Answer], *, probe: bool) -> None:
    """What a call came to, in the transaction that closed its row. Nothing is written for a call that went well, unless
    it was the probe.
    """
    accepted = any(answer.verdict == Verdict.ACCEPTED for answer in answers)
    fault = None if accepted else next((answer.fault for answer in answers if answer.fault), None)
    if probe:
        _after_probe(attempt.provider, answers, fault)
    if fault and fault != Fault.THROTTLED:  # the rate limit deals with that
        reason = next(answer.reason for answer in answers if answer.fault == fault)
        _open(attempt.provider, fault, reason[:500])


def _open(provider: str, fault: Fault, reason: str) -> None:
    """Open it if it is to be opened and is not open. Calls that began before it was last closed do not count."""
    at_once = fault in FOR_A_PERSON
    with connection.cursor() as cursor:
        cursor.execute(
            _OPEN,
            {
                "provider": provider,
                "fault": fault.value,
                "reason": reason,
                "probe_in": PROBE_EVERY_SECONDS[fault],
                "window": WINDOW_SECONDS,
                "longest": LONGEST_CALL_SECONDS,
                "fewest": 1 if at_once else FEWEST_CALLS,
                "share": 0.0 if at_once else SHARE,
            },
        )
        opened = cursor.fetchone()
    if opened:
        log.error("breaker_opened", provider=provider, fault=str(fault), reason=reason)
        _tell("gateway_stopped", provider, fault, opened[1], reason=reason)


def _after_probe(provider: str, answers: Collection[Answer], fault: Fault | None) -> None:
    """Close what the call has passed, and let the next probe through in its time."""
    verdicts = {answer.verdict for answer in answers}
    if fault:
        passed = _WAY[: _WAY.index(fault)]
    elif not any(answer.http_status or answer.body_status for answer in answers):
        passed = ()  # no call was made
    elif Verdict.IN_DOUBT in verdicts and Verdict.ACCEPTED not in verdicts:
        passed = ()  # it says nothing
    elif verdicts & {Verdict.ACCEPTED, Verdict.TRY_LATER}:
        passed = _WAY
    else:
        passed = _WAY[:-1]  # refused for the message's own sake: perhaps before anybody looked at the credit
    mine = Breaker.objects.filter(provider=provider, open=True)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE delivery_breaker SET open = false, closed_at = statement_timestamp(), probe_at = NULL,"
            " probe_until = NULL WHERE provider = %s AND open AND fault = ANY (%s) RETURNING fault, opened_at",
            [provider, [each.value for each in passed]],
        )
        closed = cursor.fetchall()
    mine.update(probe_until=None)
    if fault is None and Verdict.REFUSED in verdicts:
        mine.update(probe_at=Now())  # that message is gone; the next may tell
    for name, opened_at in closed:
        log.warning("breaker_closed", provider=provider, fault=name)
        _tell("gateway_back", provider, Fault(name), opened_at)


def lease_probe(provider: str) -> bool:
    """Whether the caller may send the probe, in the transaction that opens its call. One at a time per provider."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COALESCE(probe_at <= statement_timestamp(), true),"
            " COALESCE(probe_until > statement_timestamp(), false)"
            " FROM delivery_breaker WHERE provider = %s AND open ORDER BY id FOR UPDATE",
            [provider],
        )
        rows = cursor.fetchall()
        if not any(due for due, _ in rows) or any(taken for _, taken in rows):
            return False
        cursor.execute(
            "UPDATE delivery_breaker SET probe_until = statement_timestamp() + make_interval(secs => %s),"
            " probe_at = statement_timestamp() + make_interval(secs => CASE WHEN fault = ANY (%s) THEN %s ELSE %s END)"
            " WHERE provider = %s AND open",
            [
                PROBE_LEASE_SECONDS,
                [fault.value for fault in FOR_A_PERSON],
                PROBE_EVERY_SECONDS[Fault.NO_FUNDS],
                PROBE_EVERY_SECONDS[Fault.UNREACHABLE],
                provider,
            ],
        )
    log.info("probe_sent", provider=provider)
    return True


def _tell(notice: str, provider: str, fault: Fault, opened_at: datetime, **about: Any) -> None:
    """In the same transaction, so the admins hear of each opening once."""
    context = {"provider": provider, "fault": fault.value, "since": opened_at.isoformat(), **about}
    enqueue("core.tasks.send_admin_notification", notice, context)
