"""RECEIPTS: what became of messages after the provider took them.

The provider is asked on a ladder (`rules.LOOK_AGES`), those first who have waited longest; the messages of one batch by
one question. Taking pushes `receipt_due_at` ahead, so of two workers only one asks, and a killed one delays by minutes.
What it says is stored for a whole call at a time: one statement for the messages, one for the receipts. A state only
moves forward, and final is final. A push is only a hint to ask: nobody signs it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby

import structlog
from django.core.cache import cache
from django.db import connection, transaction

from core import clock
from core.base import retention
from core.base.ids import new_id
from core.delivery import dispatch, rules
from core.delivery.gateways import Look, StatusAnswer, StatusReport
from core.delivery.rules import FINAL, ReceiptSource, Status
from core.jobs.bell import BROKER_ERRORS
from core.jobs.services import task_named

log = structlog.get_logger(__name__)

EVERY_SECONDS = 10.0
UNMATCHED_EVERY_SECONDS = 30.0
CALLS = 10  # asked about between two writes when they are of single messages; else one batch at a time
LOOKED_AT = 1_000  # due messages among which those calls are chosen
TAKEN_SECONDS = 120  # longer than a call with the longest time-outs allowed
HINT = "delivery.receipts.hinted"
HINT_SECONDS = 60
HUBTEL = dispatch.HUBTEL
UNHEARD = "no receipt within 72 hours"
FOUND = "the provider has it: its status was found"
NOT_NAMED = "its batch is known to the provider, which does not name this number in it"
NOT_KNOWN = "the provider does not know the id that it gave"
_TRUSTWORTHY = (Look.FOUND, Look.UNKNOWN, Look.UNREADABLE)


@dataclass(frozen=True)
class Due:
    """A message to ask about. `age`: seconds since it was handed over."""

    id: uuid.UUID
    attempt: uuid.UUID | None
    batch_id: str
    provider_id: str
    phone: str
    in_doubt: bool
    age: float
    since: datetime  # when its call, or it, became due


@dataclass(frozen=True)
class Heard:
    """What a message's row becomes. `status` '' leaves it as it is; `look_in` None asks no more."""

    id: uuid.UUID
    attempt: uuid.UUID | None
    status: Status | None
    look_in: float | None
    looked: bool
    provider_id: str = ""
    cost: Decimal | None = None
    network: str = ""
    why: str = ""


@dataclass(frozen=True)
class Receipt:
    """What a provider said of a message, to be kept."""

    provider_id: str
    text: str
    status: str
    at: datetime | None
    raw: str
    message: uuid.UUID | None = None


# --- asking --------------------------------------------------------------------------------------------------------


def poll(*, seconds: float) -> tuple[int, bool]:
    """Ask for about so many seconds. Returns how many messages were asked about and whether more are due now."""
    ends = time.monotonic() + seconds
    asked, calls = 0, 1
    while taken := _take(calls):
        calls = CALLS if len(taken) <= CALLS else 1
        heard: list[Heard] = []
        receipts: list[Receipt] = []
        put_off: StatusAnswer | None = None
        for number, question in enumerate(_questions(taken)):
            if number and not put_off and time.monotonic() >= ends:  # given back: others go on with them
                heard += [Heard(row.id, row.attempt, None, 0.0, looked=False) for row in question]
                continue
            answer = put_off or _ask(question)
            if answer.look in _TRUSTWORTHY:
                asked += len(question)
            else:
                put_off = answer
            for row, report in _matched(question, answer.reports):
                heard.append(decide(row, answer, report))
                if report:
                    receipts.append(_receipt(row, report))
        store(heard, receipts)
        if put_off:
            log.warning("receipts_put_off", reason=put_off.reason, messages=len(taken), look=str(put_off.look))
            return asked, False
        if time.monotonic() >= ends:
            return asked, _any_due()
    return asked, False


def _receipt(row: Due, report: StatusReport) -> Receipt:
    return Receipt(report.provider_id, report.text, report.status, report.at, report.raw, row.id)


def ask_now(message_ids: Sequence[uuid.UUID]) -> int:
    """Have these asked about at once, as far as they wait for a receipt. Returns how many do."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE delivery_outboundmessage SET receipt_due_at = statement_timestamp() WHERE id IN ("
            " SELECT id FROM delivery_outboundmessage WHERE id = ANY (%s) AND receipt_due_at IS NOT NULL"
            " ORDER BY id FOR NO KEY UPDATE)",
            [list(message_ids)],
        )
        return int(cursor.rowcount)


# What somebody writes just now is passed over, as below: whoever waits while they hold rows could wait for each other.
_TAKE = """
WITH due AS (
    SELECT id, last_attempt_id, receipt_due_at FROM delivery_outboundmessage
    WHERE receipt_due_at IS NOT NULL AND receipt_due_at <= statement_timestamp() ORDER BY receipt_due_at LIMIT %s
), calls AS (
    SELECT attempt.id, attempt.batch_id, attempt.started_at, since FROM delivery_deliveryattempt AS attempt
    JOIN (SELECT last_attempt_id, min(receipt_due_at) AS since FROM due GROUP BY 1) AS waiting
      ON waiting.last_attempt_id = attempt.id
    ORDER BY since LIMIT %s FOR NO KEY UPDATE OF attempt SKIP LOCKED
), told AS (
    SELECT message.id, calls.batch_id, calls.started_at, since FROM delivery_outboundmessage AS message
    JOIN calls ON calls.id = message.last_attempt_id
    WHERE receipt_due_at IS NOT NULL AND receipt_due_at <= statement_timestamp()
    FOR NO KEY UPDATE OF message SKIP LOCKED
), alone AS (
    SELECT message.id, '' AS batch_id, NULL::timestamptz AS started_at, due.receipt_due_at AS since
    FROM delivery_outboundmessage AS message JOIN due USING (id)
    WHERE due.last_attempt_id IS NULL AND message.receipt_due_at <= statement_timestamp()
    FOR NO KEY UPDATE OF message SKIP LOCKED
), mine AS (
    SELECT * FROM told UNION ALL SELECT * FROM alone
)
UPDATE delivery_outboundmessage AS message
SET receipt_due_at = statement_timestamp() + make_interval(secs => %s)
FROM mine
WHERE message.id = mine.id
RETURNING message.id, message.last_attempt_id, mine.batch_id, message.provider_id, message.recipient,
    message.status = 'in_doubt',
    extract(epoch FROM statement_timestamp()
        - coalesce(message.accepted_at, mine.started_at, message.created_at))::float8,
    mine.since
"""


def _take(calls: int = CALLS) -> list[Due]:
    """Take the messages of a few calls for the time that asking takes. What another worker takes is passed over."""
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [LOOKED_AT, calls, TAKEN_SECONDS])
        return [Due(*row) for row in cursor.fetchall()]


def _any_due() -> bool:
    return _so(_DUE)


def _questions(taken: Iterable[Due]) -> list[list[Due]]:
    """Messages that one question is about: those of a batch, else one each. Who has waited longest comes first."""

    def known_as(row: Due) -> tuple[datetime, str, uuid.UUID | None]:
        return row.since, row.batch_id, None if row.batch_id else row.id

    return [list(rows) for _, rows in groupby(sorted(taken, key=known_as), key=known_as)]


def _ask(question: Sequence[Due]) -> StatusAnswer:
    if not HUBTEL.configured():
        return StatusAnswer(Look.NOT_CONFIGURED, reason=dispatch.NOT_CONFIGURED)
    first = question[0]
    if first.batch_id:
        return HUBTEL.batch_status(first.batch_id)
    if first.provider_id:
        return HUBTEL.status(first.provider_id)
    return StatusAnswer(Look.UNKNOWN, reason="there is no id to ask by")


def _matched(question: Sequence[Due], reports: Sequence[StatusReport]) -> Iterable[tuple[Due, StatusReport | None]]:
    """Each message with what was said of it: by its id, or in doubt by its number, which stands once in a batch."""
    by_id = {report.provider_id.lower(): report for report in reports}
    by_phone = {report.phone: report for report in reports if report.phone}
    for row in question:
        if not row.in_doubt:
            yield row, by_id.get(row.provider_id.lower())
        elif row.batch_id and not row.provider_id:
            yield row, by_phone.get(row.phone)
        else:  # an id that a push named for it: it counts when it is about this number
            report = by_id.get(row.provider_id.lower())
            yield row, report if report and report.phone == row.phone else None


def decide(row: Due, answer: StatusAnswer, report: StatusReport | None) -> Heard:
    """What becomes of a message after an answer."""
    if answer.look not in _TRUSTWORTHY:
        again = rules.not_asked(row.age, answer.wait)
        status = Status.OUTCOME_UNKNOWN if again is None else None
        return Heard(row.id, row.attempt, status, again, looked=False, why=UNHEARD if again is None else "")
    look_in = rules.next_look(row.age)
    about = (report.provider_id, report.rate, report.network) if report else ("", None, "")
    if report and report.status in FINAL:
        why = "" if report.status == Status.DELIVERED else f"Hubtel: {report.text}"
        return Heard(row.id, row.attempt, Status(report.status), None, True, *about, why)
    if look_in is None:
        return Heard(row.id, row.attempt, Status.OUTCOME_UNKNOWN, None, True, *about, UNHEARD)
    if row.in_doubt and report:
        return Heard(row.id, row.attempt, Status.ACCEPTED, look_in, True, *about, FOUND)
    why = NOT_NAMED if row.in_doubt and answer.look == Look.FOUND and row.batch_id else ""
    return Heard(row.id, row.attempt, None, look_in, True, *about, why)


# --- storing -------------------------------------------------------------------------------------------------------

# In one order, like the receipts below, so that of two who write the same only one waits for the other.
_LOCK = "SELECT 1 FROM delivery_outboundmessage WHERE id = ANY (%s) ORDER BY id FOR NO KEY UPDATE"

_STORE = """
UPDATE delivery_outboundmessage AS message SET
    status = coalesce(heard.status, message.status),
    receipt_due_at = statement_timestamp() + make_interval(secs => heard.look_in),
    receipt_looks = message.receipt_looks + heard.looked,
    provider_id = coalesce(nullif(heard.provider_id, ''), message.provider_id),
    cost = coalesce(heard.cost, message.cost),
    network = coalesce(nullif(heard.network, ''), message.network),
    accepted_at = coalesce(message.accepted_at, CASE WHEN heard.provider_id <> '' THEN attempt.started_at END),
    outcome_at = CASE WHEN heard.status <> 'accepted' THEN statement_timestamp() ELSE message.outcome_at END,
    error = coalesce(nullif(heard.why, ''), CASE WHEN heard.status IS NULL THEN message.error ELSE '' END),
    updated_at = statement_timestamp()
FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::float8[], %s::int[], %s::text[], %s::numeric[], %s::text[],
    %s::text[]) AS heard(id, attempt, status, look_in, looked, provider_id, cost, network, why)
LEFT JOIN delivery_deliveryattempt AS attempt ON attempt.id = heard.attempt
WHERE message.id = heard.id AND message.status IN ('accepted', 'in_doubt')
  AND message.last_attempt_id IS NOT DISTINCT FROM heard.attempt
"""

_KEEP = """
INSERT INTO delivery_deliveryreceipt
    (id, provider, provider_id, status_text, status, provider_at, source, raw, message_id, received_at)
SELECT id, %s, provider_id, status_text, status, provider_at, %s, raw, message_id, statement_timestamp()
FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::text[], %s::uuid[])
    AS receipt(id, provider_id, status_text, status, provider_at, raw, message_id)
ORDER BY provider_id, status_text, provider_at
ON CONFLICT DO NOTHING
"""


def store(heard: Sequence[Heard], receipts: Sequence[Receipt]) -> None:
    """Write what was heard of many messages: locked, then written, in one transaction. What is final stays so."""
    if not heard:
        return
    rows = [
        (each.id, each.attempt, each.status and str(each.status), each.look_in, int(each.looked))
        + (each.provider_id, each.cost, each.network, each.why[:500])
        for each in heard
    ]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_LOCK, [[each.id for each in heard]])
        cursor.execute(_STORE, [list(column) for column in zip(*rows, strict=True)])
        if receipts:
            kept = [
                (new_id(), each.provider_id, each.text, str(each.status), each.at, each.raw, each.message)
                for each in receipts
            ]
            columns = [list(column) for column in zip(*kept, strict=True)]
            cursor.execute(_KEEP, [HUBTEL.name, ReceiptSource.POLL.value, *columns])


# --- what is pushed ------------------------------------------------------------------------------------------------

_PUSHED = """
WITH said AS (
    SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::text[])
        AS said(id, provider_id, status_text, status, provider_at, raw)
), new AS (
    INSERT INTO delivery_deliveryreceipt
        (id, provider, provider_id, status_text, status, provider_at, source, raw, message_id, received_at)
    SELECT id, %s, provider_id, status_text, status, provider_at, %s, raw, (
            SELECT message.id FROM delivery_outboundmessage AS message
            WHERE message.provider_id = said.provider_id AND message.provider_id <> '' AND message.channel = 'sms'
            LIMIT 1
        ), statement_timestamp()
    FROM said ORDER BY provider_id, status_text, provider_at ON CONFLICT DO NOTHING RETURNING message_id
)
SELECT array_agg(message_id) FILTER (WHERE message_id IS NOT NULL), count(*) FROM new
"""

# What somebody writes just now is passed over: it is being asked about or settled, and to wait could be for each other.
_HINTED = """
UPDATE delivery_outboundmessage SET receipt_due_at = statement_timestamp()
WHERE id IN (
    SELECT id FROM delivery_outboundmessage
    WHERE id = ANY (%s) AND status IN ('accepted', 'in_doubt')
      AND (receipt_due_at IS NULL OR receipt_due_at > statement_timestamp())
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
)
"""

_NAMED = """
UPDATE delivery_outboundmessage AS message SET provider_id = said.provider_id, receipt_due_at = statement_timestamp()
FROM (
    SELECT id, said.provider_id FROM delivery_outboundmessage
    JOIN unnest(%s::uuid[], %s::text[]) AS said(id, provider_id) USING (id)
    WHERE status = 'in_doubt' AND delivery_outboundmessage.provider_id = '' AND channel = 'sms'
    ORDER BY id FOR NO KEY UPDATE OF delivery_outboundmessage SKIP LOCKED
) AS said
WHERE message.id = said.id
"""


def pushed(receipts: Sequence[Receipt], references: Sequence[tuple[uuid.UUID, str]]) -> int:
    """Keep what was pushed and have the provider asked about those messages. Returns how many receipts are new.

    `references` are ids of ours with the provider's id, where it named both: by them a message in doubt can be asked
    about. Safe to repeat: a receipt is kept once. No state is changed.
    """
    rows = [(new_id(), each.provider_id, each.text, str(each.status), each.at, each.raw) for each in receipts]
    with transaction.atomic(), connection.cursor() as cursor:
        columns = [list(column) for column in zip(*rows, strict=True)]
        cursor.execute(_PUSHED, [*columns, HUBTEL.name, ReceiptSource.PUSH.value])
        messages, new = cursor.fetchone()
        if messages:
            cursor.execute(_HINTED, [messages])
        if references:
            cursor.execute(_NAMED, [list(column) for column in zip(*references, strict=True)])
    return int(new)


_MATCH = """
WITH found AS (
    UPDATE delivery_deliveryreceipt AS receipt SET message_id = message.id FROM delivery_outboundmessage AS message
    WHERE receipt.message_id IS NULL AND receipt.provider_id <> '' AND message.provider_id = receipt.provider_id
      AND message.provider_id <> '' AND message.channel = 'sms'
    RETURNING message.id
)
SELECT array_agg(id) FROM found
"""


def settle_unmatched(_worker: str = "") -> None:
    """Give receipts that came before their message its row; forget those that nobody has claimed for a day."""
    if not _so("SELECT EXISTS (SELECT 1 FROM delivery_deliveryreceipt WHERE message_id IS NULL)"):
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_MATCH)
        [found] = cursor.fetchone()
        if found:
            cursor.execute(_HINTED, [found])
    retention.clean(retention.UNMATCHED_RECEIPTS, days=1, now=clock.now())


# --- being called --------------------------------------------------------------------------------------------------

_DUE = """
SELECT EXISTS (SELECT 1 FROM delivery_outboundmessage
               WHERE receipt_due_at IS NOT NULL AND receipt_due_at <= statement_timestamp())
"""


def sweep(_worker: str = "") -> None:
    """Have a worker ask when anything is due: one hint for all of it, and no second one while that may wait in line."""
    if _any_due() and _first_to_hint():
        task_named("core.tasks.poll_receipts").apply_async()


def _first_to_hint() -> bool:
    try:
        return cache.add(HINT, 1, HINT_SECONDS)
    except BROKER_ERRORS:
        return True  # who cannot know hints once too often, which is harmless


def run_slice(*, seconds: float) -> int:
    """A slice of asking, and a hint to go on when there is more. Returns how many messages were asked about."""
    with suppress(*BROKER_ERRORS):
        cache.delete(HINT)
    asked, more = poll(seconds=seconds)
    if more:
        sweep()
    return asked


def _so(sql: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return bool(cursor.fetchone()[0])
