"""The statements of the ledger. Each is one round trip and safe under any number of workers.

The database's clock decides everything: a worker whose own clock is wrong can neither keep nor steal a run.
"""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, TypeVar

from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from kombu.utils.json import dumps, loads
from psycopg.errors import LockNotAvailable

from core.errors import InvalidInput
from core.jobs.prepared import fetch_one
from core.jobs.rules import (
    LEASE_SECONDS,
    MAX_ATTEMPTS,
    RING_AGAIN_SECONDS,
    SOFT_SHARE,
    Again,
    GiveUp,
    State,
    Trigger,
    after_failure,
)

T = TypeVar("T")
JOINERS_TIMEOUT = "1s"  # a worker waits so long for those who have joined a run and not yet committed
LONGEST_WAIT_SECONDS = 366 * 86_400.0


@dataclass(frozen=True)
class Ask:
    """A run to be written down."""

    id: uuid.UUID
    task: str
    args: str  # JSON
    kwargs: str  # JSON
    options: str  # JSON
    queue: str
    trigger: Trigger = Trigger.REQUEST
    schedule_entry: str = ""
    requested_by: uuid.UUID | None = None
    request_id: str = ""
    parent: uuid.UUID | None = None
    due_at: datetime | None = None
    due_in: float | None = None  # seconds, by the database's clock
    expires_at: datetime | None = None
    expires_in: float | None = None
    occurrence: uuid.UUID | None = None
    retry_of: uuid.UUID | None = None
    coalesce_key: str | None = None
    exclusive: str | None = None
    max_attempts: int | None = MAX_ATTEMPTS

    def due_now(self) -> bool:
        return not self.due_in and (self.due_at is None or self.due_at <= datetime.now(UTC))


@dataclass(frozen=True, eq=False)
class Claim:
    """A run that this worker, and no other, may work on while its fence is the row's."""

    id: uuid.UUID
    fence: int
    attempts: int
    max_attempts: int | None
    trigger: Trigger
    schedule_entry: str
    request_id: str
    requested_by: uuid.UUID | None
    queue: str
    args: list[Any] = field(repr=False)
    kwargs: dict[str, Any] = field(repr=False)
    options: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Bell:
    """What Redis is told of a run: no arguments, so no personal data."""

    id: uuid.UUID
    task: str
    queue: str
    time_limit: float | None = None
    soft_time_limit: float | None = None
    ignore_result: bool | None = None


_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # the character, not a text that spells it


def to_json(value: object, what: str) -> str:
    """JSON as Celery writes it (dates, decimals and UUIDs survive). Refuses what PostgreSQL could not keep."""
    try:
        text: str = dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()  # half a surrogate pair is no character
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{what} cannot be written as JSON ({error}). Pass ids and plain values.") from error
    if _NUL.search(text):
        raise InvalidInput(f"{what} contains a NUL character, which PostgreSQL cannot keep. Remove it.")
    return text


def surviving(statement: Callable[[], T]) -> T:
    """Run a statement; when the connection has died outside a transaction, connect anew and try once more.

    Celery does not check the connection between tasks (CELERY_DB_REUSE_MAX), so the first statement after a restart of
    PostgreSQL finds out.
    """
    try:
        return statement()
    except (OperationalError, InterfaceError):
        if connection.in_atomic_block:
            raise
        connection.close()
        return statement()


_COLUMNS = (  # of an ask, with their types
    *(("id", "uuid"), ("task", "text"), ("args", "jsonb"), ("kwargs", "jsonb"), ("options", "jsonb")),
    *(("queue", "text"), ("trigger", "text"), ("schedule_entry", "text"), ("requested_by", "uuid")),
    *(("request_id", "text"), ("parent", "uuid"), ("occurrence", "uuid"), ("retry_of", "uuid")),
    *(("coalesce_key", "text"), ("exclusive", "text"), ("max_attempts", "int")),
)
_TIMES = (("due_at", "timestamptz"), ("due_in", "float8"), ("expires_at", "timestamptz"), ("expires_in", "float8"))
_NAMES = tuple(name.replace("requested_by", "requested_by_id") for name, _ in _COLUMNS)
_FRESH = "'pending', statement_timestamp(), 0, 0, '', '', '', '', ''"
_FRESH_NAMES = "state, asked_at, attempts, fence, worker, error_class, error_text, traceback, progress_note"
_LATER = "statement_timestamp() + make_interval(secs => %s)"
_INSERT_MANY = f"""
INSERT INTO jobs_taskrun ({_FRESH_NAMES}, {", ".join(_NAMES)}, due_at, expires_at, ring_at)
SELECT {_FRESH}, {", ".join(name for name, _ in _COLUMNS)},
    COALESCE(due_at, statement_timestamp() + make_interval(secs => due_in)),
    COALESCE(expires_at, statement_timestamp() + make_interval(secs => expires_in)),
    COALESCE(due_at, statement_timestamp() + make_interval(secs => COALESCE(due_in, %s)))
FROM unnest({", ".join(f"%s::{kind}[]" for _, kind in _COLUMNS + _TIMES)})
  AS ask({", ".join(name for name, _ in _COLUMNS + _TIMES)})
ON CONFLICT DO NOTHING
RETURNING id
"""  # noqa: S608 - constants only
_VALUES = attrgetter(*(name for name, _ in _COLUMNS))
_MOMENTS = attrgetter(*(name for name, _ in _TIMES))


def _insert_one(ask: Ask) -> tuple[str, list[Any]]:
    """Without arrays and without the columns that stay empty it costs half of the statement for many."""
    ring_in = RING_AGAIN_SECONDS if ask.due_in is None else ask.due_in
    cells: list[tuple[str, str, Any]] = [(name, "%s", value) for name, value in zip(_NAMES, _VALUES(ask), strict=True)]
    for name, at, seconds in (
        ("due_at", ask.due_at, ask.due_in),
        ("expires_at", ask.expires_at, ask.expires_in),
        ("ring_at", ask.due_at, ring_in),
    ):
        cells.append((name, "%s", at) if at is not None else (name, _LATER, seconds))
    names, places, values = zip(*(cell for cell in cells if cell[2] is not None), strict=True)
    sql = f"INSERT INTO jobs_taskrun ({_FRESH_NAMES}, {', '.join(names)}) VALUES ({_FRESH}, {', '.join(places)})"  # noqa: S608
    return f"{sql} ON CONFLICT DO NOTHING RETURNING id", list(values)


def _insert_many(asks: Sequence[Ask]) -> tuple[str, list[Any]]:
    columns = zip(*((*_VALUES(ask), *_MOMENTS(ask)) for ask in asks), strict=True)
    return _INSERT_MANY, [RING_AGAIN_SECONDS, *(list(column) for column in columns)]


def insert(asks: Sequence[Ask]) -> set[uuid.UUID]:
    """Write runs down in the caller's transaction. Returns the ids that are new.

    An id that is there already is the same ask and left alone; so is an ask whose coalesce key a pending run has.
    """
    sql, parameters = _insert_one(asks[0]) if len(asks) == 1 else _insert_many(asks)

    def statement() -> set[uuid.UUID]:
        if len(asks) == 1:
            row = fetch_one(sql, parameters)
            return {row[0]} if row else set()
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return {row[0] for row in cursor.fetchall()}

    return surviving(statement)


def insert_or_join(ask: Ask) -> tuple[uuid.UUID, bool]:
    """Write a run down, or join the pending one with its coalesce key. Returns the id of either, and whether it is new.

    A run that is joined cannot be taken before the caller's transaction is over, so it sees what the caller wrote. Who
    asks never waits for another's transaction: while one holds the key for itself (it has just written a run, or a
    worker is about to take one), the ask goes by the key's second or third name, and by no key at all in the end.
    """
    if ask.coalesce_key is None:
        return ask.id, bool(insert([ask]))
    names = [ask.coalesce_key + name for name in ("", "#2", "#3")]
    pending = "SELECT id, coalesce_key FROM jobs_taskrun WHERE coalesce_key = ANY(%s)"
    with transaction.atomic(), connection.cursor() as cursor:

        def joined(keys: list[str]) -> uuid.UUID | None:
            cursor.execute(pending, [keys])
            row = cursor.fetchone()
            return row[0] if row else None

        cursor.execute(pending, [names])
        for _, key in cursor.fetchall():
            cursor.execute("SELECT pg_try_advisory_xact_lock_shared(hashtextextended(%s, 0))", [key])
            if cursor.fetchone()[0] and (run_id := joined([key])):
                return run_id, False
        for key in names:  # alone from the start: of those who share a lock nobody could make it his own
            cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [key])
            if cursor.fetchone()[0]:
                if run_id := joined([key]):
                    return run_id, False
                return ask.id, bool(insert([replace(ask, coalesce_key=key)]))
        return ask.id, bool(insert([replace(ask, coalesce_key=None)]))


# It does not wait for the disk: whatever durable follows in the log takes it along (docs/adr/0010).
_CLAIM = """
UPDATE jobs_taskrun SET state = 'running', fence = fence + 1, attempts = LEAST(attempts, 32766) + 1, worker = %s,
    ring_at = NULL, coalesce_key = NULL, started_at = statement_timestamp(),
    lease_until = statement_timestamp() + make_interval(secs => %s)
WHERE {which}
RETURNING id, fence, attempts, max_attempts, trigger, schedule_entry, request_id, requested_by_id, queue, args::text,
    kwargs::text, options::text, set_config('synchronous_commit', 'off', true)
"""
_CLAIMABLE = """id = %s AND state IN ('pending', 'retrying') AND (due_at IS NULL OR due_at <= statement_timestamp())
    AND (expires_at IS NULL OR expires_at > statement_timestamp() OR fence > 0)"""  # what was begun in time goes on
# Planning the general one costs more than running it, and most runs are neither exclusive nor joined.
_CLAIM_PLAIN = _CLAIM.format(which=f"{_CLAIMABLE} AND exclusive IS NULL AND coalesce_key IS NULL")
_CLAIM_ANY = _CLAIM.format(
    which=f"""id = (
    SELECT id FROM jobs_taskrun AS run WHERE {_CLAIMABLE}
      AND (exclusive IS NULL OR NOT EXISTS (
        SELECT 1 FROM jobs_taskrun AS other WHERE other.exclusive = run.exclusive AND other.state = 'running'))
    FOR UPDATE SKIP LOCKED)"""  # noqa: S608 - constants only
)

_ALREADY_RUNNING = """
UPDATE jobs_taskrun AS run SET state = 'skipped', ring_at = NULL, coalesce_key = NULL,
    finished_at = statement_timestamp(), result = '{"status": "skipped", "reason": "already_running"}'
WHERE id = %s AND state IN ('pending', 'retrying') AND (due_at IS NULL OR due_at <= statement_timestamp())
  AND exclusive IS NOT NULL AND EXISTS (
    SELECT 1 FROM jobs_taskrun AS other WHERE other.exclusive = run.exclusive AND other.state = 'running')
"""


def claim(run_id: uuid.UUID, worker: str) -> Claim | None:
    """Take a waiting run, or None when another has it, it is over, cancelled, not due or expired.

    A run of which there may be one at a time, while another is being worked on, ends as skipped.
    """

    def statement() -> tuple[Any, ...] | None:
        if row := fetch_one(_CLAIM_PLAIN, parameters):
            return row
        with connection.cursor() as cursor:
            row = _claim_any(cursor, parameters)
            if row is None:
                cursor.execute(_ALREADY_RUNNING, [run_id])
            return row

    parameters: list[Any] = [worker, LEASE_SECONDS, run_id]

    try:
        row = surviving(statement)
    except IntegrityError:  # two of them at the same moment: this one is rung again, and skipped then
        return None
    if row is None:
        return None
    run_id, fence, attempts, most, trigger, entry, request_id, requested_by, queue, args, kwargs, options, _ = row
    return Claim(
        id=run_id,
        fence=fence,
        attempts=attempts,
        max_attempts=most,
        trigger=Trigger(trigger),
        schedule_entry=entry,
        request_id=request_id,
        requested_by=requested_by,
        queue=queue,
        args=loads(args),
        kwargs=loads(kwargs),
        options=loads(options),
    )


def _claim_any(cursor: CursorWrapper, parameters: list[Any]) -> tuple[Any, ...] | None:
    """A run that others may have joined is taken when their transactions are over, so that it sees what they wrote."""
    cursor.execute("SELECT coalesce_key FROM jobs_taskrun WHERE id = %s AND coalesce_key IS NOT NULL", parameters[-1:])
    joined = cursor.fetchone()
    try:
        with transaction.atomic():
            if joined:
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", [JOINERS_TIMEOUT])
                cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", joined)
            cursor.execute(_CLAIM_ANY, parameters)
            row: tuple[Any, ...] | None = cursor.fetchone()
            return row
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            return None  # rung again soon
        raise


@dataclass(frozen=True)
class Progress:
    """How far a run has come, in units of its own."""

    done: int
    total: int | None
    note: str


def _change(claim: Claim, assignments: str, parameters: Sequence[Any]) -> State | None:
    """Write the end of a claimed attempt. Returns the new state, or None when the claim is no longer ours: nothing was
    written.
    """

    # running runs have a lease; asked by state, PostgreSQL would walk the index of leases
    statement = (
        f"UPDATE jobs_taskrun SET {assignments}, lease_until = NULL"  # noqa: S608 - constants only
        " WHERE id = %s AND fence = %s AND lease_until IS NOT NULL RETURNING state"
    )
    row = surviving(lambda: fetch_one(statement, [*parameters, claim.id, claim.fence]))
    return State(row[0]) if row else None


def finish(
    claim: Claim, state: State, result: str, masked: tuple[str, str] | None, progress: Progress | None
) -> State | None:
    """Succeeded or skipped, with the result as JSON. `masked` replaces arguments that are personal data.

    What was to follow (links, chains) has been asked for in the same transaction and leaves the row with its arguments.
    """
    more = ""
    parameters: list[Any] = [state.value, result]
    if masked:
        more += ", args = %s::jsonb, kwargs = %s::jsonb"
        parameters += masked
    if progress:
        more += ", progress_done = %s, progress_total = %s, progress_note = %s"
        parameters += [progress.done, progress.total, progress.note]
    return _change(
        claim,
        "state = %s, result = %s::jsonb, finished_at = statement_timestamp(), error_class = '', error_text = '',"
        f" traceback = '', options = options - '{{link,link_error,chain,chord}}'::text[]{more}",
        parameters,
    )


def stands(claim: Claim, state: State) -> bool:
    """Whether the row says already that this attempt ended so."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM jobs_taskrun WHERE id = %s AND fence = %s AND state = %s",
            [claim.id, claim.fence, state.value],
        )
        return cursor.fetchone() is not None


def fail(claim: Claim, error: tuple[str, str, str]) -> State | None:
    """Failed for good, with the error's class, text and traceback."""
    return _change(
        claim,
        "state = 'failed', attempts = LEAST(attempts, max_attempts), finished_at = statement_timestamp(),"
        " error_class = %s, error_text = %s, traceback = %s",
        error,
    )


_UNLESS_CANCELLED = (
    "state = CASE WHEN cancel_asked_at IS NULL THEN %s ELSE 'cancelled' END,"
    " ring_at = CASE WHEN cancel_asked_at IS NULL THEN statement_timestamp() + make_interval(secs => %s) END,"
    " finished_at = CASE WHEN cancel_asked_at IS NOT NULL THEN statement_timestamp() END"
)


def retry(
    claim: Claim,
    seconds: float,
    error: tuple[str, str, str],
    *,
    args: str | None = None,
    kwargs: str | None = None,
    max_attempts: int | None = 0,
) -> State | None:
    """Run again in so many seconds, unless somebody asked to cancel: with other arguments (JSON), if there are any, and
    with as many attempts in all as `max_attempts` (None: without limit), if that is more.
    """
    seconds = min(seconds, LONGEST_WAIT_SECONDS)
    return _change(
        claim,
        f"{_UNLESS_CANCELLED}, due_at = statement_timestamp() + make_interval(secs => %s), error_class = %s,"
        " error_text = %s, traceback = %s, args = COALESCE(%s::jsonb, args), kwargs = COALESCE(%s::jsonb, kwargs),"
        " max_attempts = CASE WHEN %s::int IS NOT NULL THEN GREATEST(max_attempts, %s) END",
        [State.RETRYING.value, seconds, seconds, *error, args, kwargs, max_attempts, max_attempts],
    )


def hand_back(claim: Claim) -> State | None:
    """Wait in line again, without having used up a try, unless somebody asked to cancel."""
    return _change(claim, f"{_UNLESS_CANCELLED}, attempts = attempts - 1", [State.PENDING.value, RING_AGAIN_SECONDS])


def stop(claim: Claim) -> State | None:
    """Cancelled while it was being worked on."""
    return _change(claim, "state = 'cancelled', finished_at = statement_timestamp()", [])


def hand_back_of(worker: str, run_ids: Sequence[uuid.UUID]) -> list[Bell]:
    """Put those of the runs that this worker still has back in line, as `hand_back` does. Returns what to ring.

    Its processes must be dead: nobody else tells them that the runs are no longer theirs.
    """

    def statement() -> list[Bell]:
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE jobs_taskrun SET {_UNLESS_CANCELLED}, attempts = attempts - 1, lease_until = NULL"  # noqa: S608
                " WHERE id = ANY (%s) AND worker = %s AND state = 'running'"
                " RETURNING id, task, queue, state, options::text",
                [State.PENDING.value, RING_AGAIN_SECONDS, list(run_ids), worker],
            )
            return [
                bell_of(run_id, task, queue, loads(options))
                for run_id, task, queue, state, options in cursor.fetchall()
                if state == State.PENDING
            ]

    return surviving(statement)


def process_lost(run_id: uuid.UUID, worker: str, *, seconds_ago: float, error: Exception | None) -> Bell | None:
    """The process that worked on this run ended so many seconds ago: in line again at once, or, with an error (it ran
    out of time), tried again by the ordinary rule. Who takes a run whose tries are used up fails it.

    Nothing happens if the run has ended or has been taken anew: a lost attempt began before its process ended.
    Returns what to ring now.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT fence, attempts, max_attempts FROM jobs_taskrun WHERE id = %s AND worker = %s"
            " AND state = 'running' AND started_at < statement_timestamp() - make_interval(secs => %s)",
            [run_id, worker, seconds_ago],
        )
        row = cursor.fetchone()
        if row is None:
            return None
        fence, attempts, most = row
        decision = after_failure(error, attempts, most=most or sys.maxsize) if error else GiveUp()
        again = isinstance(decision, Again)
        seconds = decision.seconds if isinstance(decision, Again) else float(RING_AGAIN_SECONDS)
        text = str(error or f"A process of the worker {worker} was lost before this run was over.")
        cursor.execute(
            f"UPDATE jobs_taskrun SET {_UNLESS_CANCELLED}, lease_until = NULL,"  # noqa: S608 - constants only
            " error_class = %s, error_text = %s,"
            " due_at = CASE WHEN %s THEN statement_timestamp() + make_interval(secs => %s) ELSE due_at END"
            " WHERE id = %s AND fence = %s AND state = 'running' RETURNING task, queue, state, options::text",
            (
                *((State.RETRYING if again else State.PENDING).value, seconds),
                *(type(error).__name__ if error else "WorkerLost", text, again, seconds, run_id, fence),
            ),
        )
        row = cursor.fetchone()
    if row is None or row[2] != State.PENDING:
        return None
    task, queue, _, options = row
    return bell_of(run_id, task, queue, loads(options))


def last_error(claim: Claim) -> tuple[str, str]:
    """Class and text of what ended the attempt before this one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT error_class, error_text FROM jobs_taskrun WHERE id = %s", [claim.id])
        error_class, text = cursor.fetchone()
        return error_class, text


def extend(claims: Sequence[tuple[uuid.UUID, int, Progress | None]]) -> None:
    """Keep the leases of runs that are being worked on, and write how far they have come."""
    columns = [
        (run_id, fence, progress and progress.done, progress and progress.total, progress and progress.note)
        for run_id, fence, progress in claims
    ]
    parameters = [list(column) for column in zip(*columns, strict=True)]

    def statement() -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE jobs_taskrun SET lease_until = statement_timestamp() + make_interval(secs => %s),"
                " progress_done = COALESCE(done, progress_done), progress_total = COALESCE(total, progress_total),"
                " progress_note = COALESCE(note, progress_note)"
                " FROM unnest(%s::uuid[], %s::int[], %s::bigint[], %s::bigint[], %s::text[])"
                " AS held(id, fence, done, total, note)"
                " WHERE jobs_taskrun.id = held.id AND jobs_taskrun.fence = held.fence AND state = 'running'",
                [LEASE_SECONDS, *parameters],
            )

    surviving(statement)


def asked_to_cancel(claims: Sequence[tuple[uuid.UUID, int]]) -> dict[tuple[uuid.UUID, int], bool]:
    """For those of the claims that are still ours: whether somebody asked to cancel."""
    ids, fences = zip(*claims, strict=True)

    def statement() -> dict[tuple[uuid.UUID, int], bool]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT run.id, run.fence, cancel_asked_at IS NOT NULL FROM jobs_taskrun AS run"
                " JOIN unnest(%s::uuid[], %s::int[]) AS held(id, fence) USING (id, fence) WHERE state = 'running'",
                [list(ids), list(fences)],
            )
            return {(run_id, fence): asked for run_id, fence, asked in cursor.fetchall()}

    return surviving(statement)


def cancel(run_ids: Sequence[uuid.UUID], *, also_running: bool = False) -> list[tuple[uuid.UUID, dict[str, Any]]]:
    """Cancel those of the runs that nobody has taken, or also those being worked on. Returns their ids and options."""
    states = [State.PENDING, State.RETRYING, *([State.RUNNING] if also_running else [])]

    def statement() -> list[tuple[uuid.UUID, dict[str, Any]]]:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE jobs_taskrun SET state = 'cancelled', ring_at = NULL, lease_until = NULL,"
                " coalesce_key = NULL, finished_at = statement_timestamp()"
                " WHERE id = ANY (%s) AND state = ANY (%s) RETURNING id, options::text",
                [list(run_ids), [state.value for state in states]],
            )
            return [(run_id, loads(options)) for run_id, options in cursor.fetchall()]

    return surviving(statement)


def ask_to_cancel(run_id: uuid.UUID) -> bool:
    """Ask a run that is being worked on to stop. False when it is not."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs_taskrun SET cancel_asked_at = COALESCE(cancel_asked_at, statement_timestamp())"
            " WHERE id = %s AND state = 'running'",
            [run_id],
        )
        return bool(cursor.rowcount)


def bell_of(run_id: uuid.UUID, task: str, queue: str, options: dict[str, Any]) -> Bell:
    known = {}
    for name in ("time_limit", "soft_time_limit", "ignore_result"):
        with suppress(KeyError):
            known[name] = options[name]
    if known.get("time_limit"):
        known.setdefault("soft_time_limit", known["time_limit"] * SOFT_SHARE)
    return Bell(id=run_id, task=task, queue=queue, **known)
