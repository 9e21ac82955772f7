"""The statements of the sweeps and of pruning: what no single run asks for. As those of a run, each is one round trip
and safe under any number of workers, by the database's clock.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import connection
from kombu.utils.json import loads

from core.jobs import runs
from core.jobs.prepared import fetch_one
from core.jobs.rules import RING_AGAIN_SECONDS, State

LONG_QUEUE = 1000  # messages on Redis; as long as there are so many, none needs to be rung again
UNKNOWN_FOR_SECONDS = 3600

_RECOVER = """
WITH lost AS (
    SELECT id FROM jobs_taskrun WHERE state = 'running' AND lease_until < statement_timestamp()
    ORDER BY lease_until LIMIT 500 FOR UPDATE SKIP LOCKED
)
UPDATE jobs_taskrun AS run SET
    state = CASE WHEN cancel_asked_at IS NULL THEN 'pending' ELSE 'cancelled' END,
    ring_at = CASE WHEN cancel_asked_at IS NULL THEN statement_timestamp() END,
    due_at = statement_timestamp(),
    finished_at = CASE WHEN cancel_asked_at IS NOT NULL THEN statement_timestamp() END,
    error_class = 'WorkerLost',
    error_text = 'The worker ' || worker || ' stopped before this run was over.',
    lease_until = NULL
FROM lost WHERE run.id = lost.id
RETURNING run.id, run.queue, run.state, run.options::text
"""
Ended = tuple[uuid.UUID, dict[str, Any]]  # a run that ended outside of a worker, with its options


def recover_lost() -> tuple[list[tuple[uuid.UUID, str]], list[Ended]]:
    """Give runs whose worker is gone back to the line: id and queue of each; and those that were to be cancelled. Who
    takes a run whose tries are used up fails it in the ordinary way.
    """
    with connection.cursor() as cursor:
        cursor.execute(_RECOVER)
        rows = cursor.fetchall()
    back = [(run_id, queue) for run_id, queue, state, _ in rows if state == State.PENDING]
    return back, [(run_id, loads(options)) for run_id, _, state, options in rows if state != State.PENDING]


_WAITING = """
SELECT count(*) FROM (
    SELECT 1 FROM jobs_taskrun WHERE queue = %s AND ring_at <= statement_timestamp() + make_interval(secs => %s)
      AND (due_at IS NULL OR due_at <= statement_timestamp()) LIMIT %s) AS due
"""

_RING = """
WITH unheard AS (
    SELECT id FROM jobs_taskrun WHERE queue = %s AND ring_at <= statement_timestamp() {which}
    ORDER BY ring_at LIMIT %s FOR UPDATE SKIP LOCKED
)
UPDATE jobs_taskrun AS run SET ring_at = statement_timestamp() + make_interval(secs => %s)
FROM unheard WHERE run.id = unheard.id
RETURNING run.id, run.task, run.queue, run.options::text
"""
_RING_FIRST = _RING.format(which="AND ring_at = due_at")
_RING_AGAIN = _RING.format(which="")


def unheard(queue: str, *, on_redis: int, limit: int = 500) -> list[runs.Bell]:
    """Runs of a queue that are due, that nobody has taken and that should be announced now.

    Those whose time has come (a retry, a countdown, a run taken back) have no message yet, and get one. Of the others,
    as many as are missing among the `on_redis` messages of the queue, so a queue is not doubled and what Redis has lost
    is not hidden behind it. While Redis has many, nobody waits for lack of bells, and counting would cost too much.
    """
    with connection.cursor() as cursor:
        cursor.execute(_RING_FIRST, [queue, limit, RING_AGAIN_SECONDS])
        rows = cursor.fetchall()
        on_redis += len(rows)
        if on_redis < LONG_QUEUE:
            cursor.execute(_WAITING, [queue, RING_AGAIN_SECONDS + 1, on_redis + limit])
            missing = min(cursor.fetchone()[0] - on_redis, limit)
            if missing > 0:
                cursor.execute(_RING_AGAIN, [queue, missing, RING_AGAIN_SECONDS])
                rows += cursor.fetchall()
    return [runs.bell_of(run_id, task, queue, loads(options)) for run_id, task, queue, options in rows]


def expire() -> list[Ended]:
    """End runs that nobody took before they expired. Returns them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs_taskrun SET state = 'skipped', ring_at = NULL, coalesce_key = NULL,"
            " finished_at = statement_timestamp(), error_text = 'Not run: its time to run was over (expires).'"
            " WHERE ring_at IS NOT NULL AND expires_at <= statement_timestamp() AND fence = 0"
            " RETURNING id, options::text"
        )
        return [(run_id, loads(options)) for run_id, options in cursor.fetchall()]


_LOOK = """
SELECT EXISTS (SELECT 1 FROM jobs_taskrun WHERE state = 'running' AND lease_until < statement_timestamp()),
  EXISTS (SELECT 1 FROM jobs_taskrun
    WHERE ring_at IS NOT NULL AND expires_at <= statement_timestamp() AND fence = 0),
  EXISTS (SELECT 1 FROM jobs_scheduleentry WHERE next_at <= statement_timestamp()),
  ARRAY (SELECT name FROM unnest(%s::text[]) AS name WHERE EXISTS (
    SELECT 1 FROM jobs_taskrun WHERE queue = name AND ring_at IS NOT NULL AND ring_at <= statement_timestamp()))
"""


def look(queues: Sequence[str]) -> tuple[bool, bool, bool, list[str]]:
    """Whether runs have lost their worker, whether some have expired, whether the schedule has something due, and the
    queues with a run that is due and not taken.

    One cheap statement over partial indexes: all that an idle sweep costs.
    """
    lost, expired, due, waiting = fetch_one(_LOOK, [list(queues)]) or (False, False, False, [])
    return lost, expired, due, waiting


def fail_unknown(known: Sequence[str]) -> list[tuple[uuid.UUID, str, str, dict[str, Any]]]:
    """Fail due runs whose task has not been known here for an hour: id, task name, schedule entry and options.

    So long, because in the middle of a deploy the newer workers know tasks that the older ones do not.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs_taskrun SET state = 'failed', ring_at = NULL, coalesce_key = NULL,"
            " finished_at = statement_timestamp(), error_class = 'UnknownTask',"
            " error_text = 'No worker knows the task ' || task || '. Was it renamed or removed?"
            " Ask for it again under its present name: manage.py runs retry ' || id || ' --task NAME --reason WHY'"
            " WHERE ring_at < statement_timestamp() + make_interval(secs => %s) AND task <> ALL (%s)"
            " AND COALESCE(due_at, asked_at) < statement_timestamp() - make_interval(secs => %s)"
            " RETURNING id, task, schedule_entry, options::text",
            [RING_AGAIN_SECONDS + 1, list(known), UNKNOWN_FOR_SECONDS],
        )
        return [(run_id, task, entry, loads(options)) for run_id, task, entry, options in cursor.fetchall()]


Place = tuple[datetime, uuid.UUID]  # where a walk through the table has come to

_PRUNE = """
WITH slice AS (
    SELECT ctid, asked_at, id, finished_at FROM jobs_taskrun
    WHERE asked_at < statement_timestamp() - make_interval(days => %s) AND (asked_at, id) > (%s, %s)
    ORDER BY asked_at, id LIMIT %s),
  gone AS (
    DELETE FROM jobs_taskrun USING slice WHERE jobs_taskrun.ctid = slice.ctid
      AND jobs_taskrun.finished_at < statement_timestamp() - make_interval(days => %s) RETURNING 1)
SELECT (SELECT count(*) FROM gone), asked_at, id FROM slice ORDER BY asked_at DESC, id DESC LIMIT 1
"""
BEGINNING: Place = (datetime(2000, 1, 1, tzinfo=UTC), uuid.UUID(int=0))


def prune(older_than_days: int, after: Place, limit: int) -> tuple[int, Place | None]:
    """Delete finished runs past their retention: one short transaction over at most `limit` rows, oldest ask first.

    Returns how many were deleted and where to go on; None when there is nothing more. Going on there passes over what
    was deleted, so that each slice costs the same.
    """
    with connection.cursor() as cursor:
        cursor.execute(_PRUNE, [older_than_days, *after, limit, older_than_days])
        row = cursor.fetchone()
        return (row[0], (row[1], row[2])) if row else (0, None)
