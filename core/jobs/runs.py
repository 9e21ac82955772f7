"""The statements of the ledger. Each is one round trip and safe under any number of workers.

The database's clock decides everything: a worker whose own clock is wrong can neither keep nor steal a run.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, connection
from kombu.utils.json import dumps, loads

from core.errors import InvalidInput
from core.jobs.rules import (
    LEASE_SECONDS,
    MAX_ATTEMPTS,
    RING_AGAIN_SECONDS,
    State,
    Trigger,
)

T = TypeVar("T")


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

    def due_now(self) -> bool:
        return not self.due_in and (self.due_at is None or self.due_at <= datetime.now(UTC))


@dataclass(frozen=True, eq=False)
class Claim:
    """A run that this worker, and no other, may work on while its fence is the row's."""

    id: uuid.UUID
    fence: int
    attempts: int
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


_INSERT = """
INSERT INTO jobs_taskrun (id, task, args, kwargs, options, queue, state, trigger, schedule_entry, requested_by_id,
    request_id, parent, asked_at, due_at, expires_at, ring_at, attempts, fence, worker, error_class, error_text,
    traceback)
SELECT id, task, args::jsonb, kwargs::jsonb, options::jsonb, queue, 'pending', trigger, schedule_entry, requested_by,
    request_id, parent, statement_timestamp(), COALESCE(due_at, statement_timestamp() + make_interval(secs => due_in)),
    COALESCE(expires_at, statement_timestamp() + make_interval(secs => expires_in)),
    COALESCE(due_at, statement_timestamp() + make_interval(secs => COALESCE(due_in, %s))), 0, 0, '', '', '', ''
FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
    %s::uuid[], %s::text[], %s::uuid[], %s::timestamptz[], %s::float8[], %s::timestamptz[], %s::float8[])
  AS ask(id, task, args, kwargs, options, queue, trigger, schedule_entry, requested_by, request_id, parent, due_at,
    due_in, expires_at, expires_in)
ON CONFLICT (id) DO NOTHING
RETURNING id
"""


def insert(asks: Sequence[Ask]) -> set[uuid.UUID]:
    """Write runs down in the caller's transaction. An id that is there already is the same ask and left alone.

    Returns the ids that are new.
    """
    columns = zip(
        *(
            (a.id, a.task, a.args, a.kwargs, a.options, a.queue, a.trigger.value, a.schedule_entry)
            + (a.requested_by, a.request_id, a.parent, a.due_at, a.due_in, a.expires_at, a.expires_in)
            for a in asks
        ),
        strict=True,
    )

    def statement() -> set[uuid.UUID]:
        with connection.cursor() as cursor:
            cursor.execute(_INSERT, parameters)
            return {row[0] for row in cursor.fetchall()}

    parameters: list[Any] = [RING_AGAIN_SECONDS, *(list(column) for column in columns)]
    return surviving(statement)


_RETURNING = """RETURNING id, fence, attempts, request_id, requested_by_id, queue, args::text, kwargs::text,
    options::text"""

_CLAIM = f"""
UPDATE jobs_taskrun SET state = 'running', fence = fence + 1, attempts = attempts + 1, worker = %s, ring_at = NULL,
    started_at = statement_timestamp(), lease_until = statement_timestamp() + make_interval(secs => %s)
WHERE id = %s AND state IN ('pending', 'retrying')
  AND (due_at IS NULL OR due_at <= statement_timestamp())
  AND (expires_at IS NULL OR expires_at > statement_timestamp())
{_RETURNING}
"""  # noqa: S608 - constants only

_CLAIM_BY_HAND = f"""
INSERT INTO jobs_taskrun AS run (id, task, args, kwargs, options, queue, state, trigger, schedule_entry, request_id,
    asked_at, started_at, lease_until, attempts, fence, worker, error_class, error_text, traceback)
VALUES (%s, %s, %s::jsonb, %s::jsonb, %s::jsonb, %s, 'running', %s, %s, '', statement_timestamp(),
    statement_timestamp(), statement_timestamp() + make_interval(secs => %s), 1, 1, %s, '', '', '')
ON CONFLICT (id) DO UPDATE SET state = 'running', fence = run.fence + 1, attempts = run.attempts + 1,
    worker = EXCLUDED.worker, ring_at = NULL, started_at = EXCLUDED.started_at, lease_until = EXCLUDED.lease_until
WHERE run.state IN ('pending', 'retrying')
  AND (run.due_at IS NULL OR run.due_at <= statement_timestamp())
  AND (run.expires_at IS NULL OR run.expires_at > statement_timestamp())
{_RETURNING}
"""  # noqa: S608 - constants only


def _claim(sql: str, parameters: Sequence[Any]) -> Claim | None:
    def statement() -> tuple[Any, ...] | None:
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            row: tuple[Any, ...] | None = cursor.fetchone()
            return row

    row = surviving(statement)
    if row is None:
        return None
    run_id, fence, attempts, request_id, requested_by, queue, args, kwargs, options = row
    return Claim(
        id=run_id,
        fence=fence,
        attempts=attempts,
        request_id=request_id,
        requested_by=requested_by,
        queue=queue,
        args=loads(args),
        kwargs=loads(kwargs),
        options=loads(options),
    )


def claim(run_id: uuid.UUID, worker: str) -> Claim | None:
    """Take a waiting run, or None when another has it, it is over, cancelled, not due or expired."""
    return _claim(_CLAIM, [worker, LEASE_SECONDS, run_id])


def claim_by_hand(ask: Ask, worker: str) -> Claim | None:
    """Take the run of a message that was published without the ledger, writing its row at the same time."""
    return _claim(
        _CLAIM_BY_HAND,
        [ask.id, ask.task, ask.args, ask.kwargs, ask.options, ask.queue, ask.trigger.value, ask.schedule_entry]
        + [LEASE_SECONDS, worker],
    )


def _change(claim: Claim, assignments: str, parameters: Sequence[Any]) -> bool:
    """Write the end of a claimed attempt. False when the claim is no longer ours: nothing was written."""

    def statement() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE jobs_taskrun SET {assignments}, lease_until = NULL "  # noqa: S608 - constants only
                "WHERE id = %s AND fence = %s AND state = 'running'",
                [*parameters, claim.id, claim.fence],
            )
            return bool(cursor.rowcount)

    return surviving(statement)


def finish(claim: Claim, state: State, result: str, masked: tuple[str, str] | None) -> bool:
    """Succeeded or skipped, with the result as JSON. `masked` replaces arguments that are personal data.

    What was to follow (links, chains) has been asked for in the same transaction and leaves the row with its arguments.
    """
    args = ", args = %s::jsonb, kwargs = %s::jsonb" if masked else ""
    return _change(
        claim,
        "state = %s, result = %s::jsonb, finished_at = statement_timestamp(), error_class = '', error_text = '',"
        " traceback = '', options = options - '{link,link_error,chain,chord}'::text[]" + args,
        [state.value, result, *(masked or ())],
    )


def stands(claim: Claim, state: State) -> bool:
    """Whether the row says already that this attempt ended so."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM jobs_taskrun WHERE id = %s AND fence = %s AND state = %s",
            [claim.id, claim.fence, state.value],
        )
        return cursor.fetchone() is not None


def fail(claim: Claim, error: tuple[str, str, str]) -> bool:
    """Failed for good, with the error's class, text and traceback."""
    return _change(
        claim,
        "state = 'failed', finished_at = statement_timestamp(), error_class = %s, error_text = %s, traceback = %s",
        error,
    )


def retry(claim: Claim, seconds: float, error: tuple[str, str, str]) -> bool:
    """Run again in so many seconds."""
    when = "statement_timestamp() + make_interval(secs => %s)"
    return _change(
        claim,
        f"state = 'retrying', due_at = {when}, ring_at = {when}, error_class = %s, error_text = %s, traceback = %s",
        [seconds, seconds, *error],
    )


def hand_back(claim: Claim) -> bool:
    """Wait in line again, without having used up a try."""
    return _change(
        claim,
        "state = 'pending', attempts = attempts - 1, ring_at = statement_timestamp() + make_interval(secs => %s)",
        [RING_AGAIN_SECONDS],
    )


def extend(claims: Sequence[tuple[uuid.UUID, int]]) -> int:
    """Keep the leases of runs that are being worked on. Returns how many are still ours."""
    ids, fences = zip(*claims, strict=True)

    def statement() -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE jobs_taskrun SET lease_until = statement_timestamp() + make_interval(secs => %s)"
                " FROM unnest(%s::uuid[], %s::int[]) AS held(id, fence)"
                " WHERE jobs_taskrun.id = held.id AND jobs_taskrun.fence = held.fence AND state = 'running'",
                [LEASE_SECONDS, list(ids), list(fences)],
            )
            return int(cursor.rowcount)

    return surviving(statement)


def cancel(run_ids: Sequence[uuid.UUID], *, also_running: bool = False) -> int:
    """Cancel those of the runs that nobody has taken, or also those being worked on. Returns how many."""
    states = [State.PENDING, State.RETRYING, *([State.RUNNING] if also_running else [])]

    def statement() -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE jobs_taskrun SET state = 'cancelled', ring_at = NULL, lease_until = NULL,"
                " finished_at = statement_timestamp() WHERE id = ANY (%s) AND state = ANY (%s)",
                [list(run_ids), [state.value for state in states]],
            )
            return int(cursor.rowcount)

    return surviving(statement)


_RECOVER = """
WITH lost AS (
    SELECT id FROM jobs_taskrun WHERE state = 'running' AND lease_until < statement_timestamp()
    ORDER BY lease_until LIMIT 500 FOR UPDATE SKIP LOCKED
)
UPDATE jobs_taskrun AS run SET
    state = CASE WHEN attempts < %s THEN 'pending' ELSE 'failed' END,
    ring_at = CASE WHEN attempts < %s THEN statement_timestamp() END,
    finished_at = CASE WHEN attempts < %s THEN NULL ELSE statement_timestamp() END,
    error_class = 'WorkerLost',
    error_text = 'The worker ' || worker || ' stopped before this run was over.',
    lease_until = NULL
FROM lost WHERE run.id = lost.id
RETURNING run.id, run.queue, run.state
"""


def recover_lost() -> list[tuple[uuid.UUID, str, str]]:
    """Give runs whose worker is gone back to the line, or up when their tries are used: id, queue and new state."""
    with connection.cursor() as cursor:
        cursor.execute(_RECOVER, [MAX_ATTEMPTS] * 3)
        return list(cursor.fetchall())


_WAITING = """
SELECT count(*) FROM (
    SELECT 1 FROM jobs_taskrun WHERE queue = %s AND ring_at IS NOT NULL
      AND (due_at IS NULL OR due_at <= statement_timestamp()) LIMIT %s) AS due
"""

_TO_RING = """
WITH unheard AS (
    SELECT id, COALESCE(expires_at <= statement_timestamp(), false) AS expired FROM jobs_taskrun
    WHERE queue = %s AND ring_at IS NOT NULL AND ring_at <= statement_timestamp()
    ORDER BY ring_at LIMIT %s FOR UPDATE SKIP LOCKED
)
UPDATE jobs_taskrun AS run SET
    state = CASE WHEN expired THEN 'skipped' ELSE state END,
    finished_at = CASE WHEN expired THEN statement_timestamp() END,
    error_text = CASE WHEN expired THEN 'Not run: its time to run was over (expires).' ELSE error_text END,
    ring_at = CASE WHEN NOT expired THEN statement_timestamp() + make_interval(secs => %s) END
FROM unheard WHERE run.id = unheard.id
RETURNING run.id, run.task, run.queue, run.state, run.options::text
"""


def unheard(queue: str, *, on_redis: int, limit: int = 500) -> list[Bell]:
    """Runs of a queue that are due, that nobody has taken and that should be announced now.

    As many as are missing among the `on_redis` messages of the queue, so a long queue is not doubled and what Redis
    has lost is not hidden behind it.
    """
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, [queue, on_redis + limit])
        missing = min(cursor.fetchone()[0] - on_redis, limit)
        if missing <= 0:
            return []
        cursor.execute(_TO_RING, [queue, missing, RING_AGAIN_SECONDS])
        rows = cursor.fetchall()
    return [
        bell_of(run_id, task, queue, loads(options))
        for run_id, task, queue, state, options in rows
        if state != State.SKIPPED
    ]


_LOOK = """
SELECT EXISTS (SELECT 1 FROM jobs_taskrun WHERE state = 'running' AND lease_until < statement_timestamp()),
  ARRAY (SELECT name FROM unnest(%s::text[]) AS name WHERE EXISTS (
    SELECT 1 FROM jobs_taskrun WHERE queue = name AND ring_at IS NOT NULL AND ring_at <= statement_timestamp()))
"""


def look(queues: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether runs have lost their worker, and the queues with a run that is due and not taken.

    One cheap statement over two partial indexes: all that an idle sweep costs.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LOOK, [list(queues)])
        lost, waiting = cursor.fetchone()
        return lost, waiting


def bell_of(run_id: uuid.UUID, task: str, queue: str, options: dict[str, Any]) -> Bell:
    known = {}
    for name in ("time_limit", "soft_time_limit", "ignore_result"):
        with suppress(KeyError):
            known[name] = options[name]
    return Bell(id=run_id, task=task, queue=queue, **known)


def prune(older_than_days: int, limit: int = 1000) -> int:
    """Delete finished runs past their retention, at most `limit` in one short transaction. Returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM jobs_taskrun WHERE ctid = ANY (ARRAY(SELECT ctid FROM jobs_taskrun"
            " WHERE finished_at < statement_timestamp() - make_interval(days => %s) LIMIT %s"
            " FOR UPDATE SKIP LOCKED))",
            [older_than_days, limit],
        )
        return int(cursor.rowcount)
