"""Whether a full table costs more than an empty one, and what pruning it does to those who work in it."""

from __future__ import annotations

import statistics
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bench.report import Report, ratio
from bench.system import System, sql

BOUND = 1.3
SAMPLES = 10  # in each turn

# As the product leaves them: a third each of a queue, arguments, a result, asked for over sixty days and long over.
_FINISHED = """
INSERT INTO jobs_taskrun (id, task, args, kwargs, options, queue, state, trigger, schedule_entry, request_id, asked_at,
    started_at, finished_at, attempts, fence, worker, error_class, error_text, traceback, progress_note, result)
SELECT gen_random_uuid(),
    (ARRAY['core.tasks.send_sms_async', 'core.tasks.process_bulk_sms', 'bench.tasks.noop'])[1 + n %% 3],
    jsonb_build_array('***', '***'), jsonb_build_object('purpose', 'notice'), '{}',
    (ARRAY['urgent', 'bulk', 'default'])[1 + n %% 3], 'succeeded', 'request', '', md5(n::text), at,
    at + '0.1 s', at + '0.2 s', 1, 1, 'worker@host', '', '', '', '', jsonb_build_object('sent', 1, 'parts', n %% 4)
FROM (SELECT n, statement_timestamp() - interval '1 day' * %s - (%s - n) * interval '60 days' / %s AS at
      FROM generate_series(%s, %s) AS n) AS times
"""
_PENDING = """
INSERT INTO jobs_taskrun (id, task, args, kwargs, options, queue, state, trigger, schedule_entry, request_id, asked_at,
    ring_at, attempts, fence, worker, error_class, error_text, traceback, progress_note)
SELECT gen_random_uuid(), 'bench.tasks.noop', jsonb_build_array(n), '{}', '{}', 'bulk', 'pending', 'request', '',
    md5(n::text), statement_timestamp(), statement_timestamp() + interval '1 s' * %s, 0, 0, '', '', '', '', ''
FROM generate_series(1, %s) AS n
RETURNING id
"""


@contextmanager
def _careless() -> Iterator[None]:
    """PostgreSQL without its care for a crash: filling is not what is measured."""
    settings = ("fsync", "synchronous_commit", "full_page_writes")
    for name in settings:
        sql(f"ALTER SYSTEM SET {name} = off")
    sql("ALTER SYSTEM SET max_wal_size = '8GB'")
    sql("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        for name in (*settings, "max_wal_size"):
            sql(f"ALTER SYSTEM RESET {name}")
        sql("SELECT pg_reload_conf()")


def _sizes(system: System) -> tuple[int, int]:
    return (5_000_000, 100_000) if system.long else (500_000, 10_000)


def _fill(count: int) -> None:
    """Finished runs, all past their retention."""
    from core.jobs.retention import KEEP

    step = 500_000
    for first in range(1, count + 1, step):
        sql(_FINISHED, KEEP["runs"] + 1, count, count, first, min(first + step - 1, count))
    sql("VACUUM ANALYZE jobs_taskrun")


def _waiting(count: int, seconds: float) -> list[uuid.UUID]:
    """Runs that nobody has taken, to be rung in so many seconds (less than 0: due to be rung)."""
    return [row[0] for row in sql(_PENDING, seconds, count)]


def _size() -> str:
    heap, indexes = sql("SELECT pg_table_size('jobs_taskrun'), pg_indexes_size('jobs_taskrun')")[0]
    return f"{heap / 2**20:,.0f} + {indexes / 2**20:,.0f} MB"


def _times(calls: Sequence[Callable[[], object]]) -> list[float]:
    """Milliseconds of each."""
    found = []
    for call in calls:
        began = time.perf_counter()
        call()
        found.append((time.perf_counter() - began) * 1000)
    return found


@contextmanager
def _on(place: str) -> Iterator[None]:
    """The statements of the ledger work on the table of this schema."""
    sql(f"SET search_path = {place}, public")
    try:
        yield
    finally:
        sql("RESET search_path")


def _bare() -> None:
    """An empty table beside the real one, with all that a statement pays for: indexes, constraints, triggers."""
    sql("CREATE SCHEMA bare")
    sql("CREATE TABLE bare.jobs_taskrun (LIKE public.jobs_taskrun INCLUDING ALL)")
    for (trigger,) in sql("SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'taskrun_transition'"):
        sql(trigger.replace("public.jobs_taskrun", "bare.jobs_taskrun"))


def _measure(backlog: int, found: dict[str, list[float]]) -> None:
    """The claim and the sweeps, on the table as it is."""
    from core.jobs import repairs, runs
    from core.jobs.rules import State

    queues = ["urgent", "default", "bulk"]
    counted = min(backlog, repairs.LONG_QUEUE - 1)  # the most messages beside which the rows are counted
    claims: list[runs.Claim | None] = []
    lost = _waiting(10, 600)
    for run_id in lost:
        runs.claim(run_id, "bench")
    ids = _waiting(SAMPLES, 600)

    def time_of(name: str, calls: Sequence[Callable[[], object]]) -> None:
        found[name] += _times(calls)

    time_of("claim", [lambda run_id=run_id: claims.append(runs.claim(run_id, "bench")) for run_id in ids])  # type: ignore[misc]
    held = [claim for claim in claims if claim]
    time_of("end of a run", [lambda c=c: runs.finish(c, State.SUCCEEDED, "{}", None, None) for c in held])  # type: ignore[misc]
    time_of("look, all that an idle sweep does", [lambda: repairs.look(queues)] * SAMPLES)
    time_of("recover_lost, none lost", [repairs.recover_lost] * SAMPLES)
    time_of("unheard, backlog on Redis", [lambda: repairs.unheard("bulk", on_redis=backlog)] * SAMPLES)
    time_of("unheard, counting a backlog", [lambda: repairs.unheard("bulk", on_redis=counted)] * SAMPLES)
    sql("UPDATE jobs_taskrun SET lease_until = statement_timestamp() - interval '1 s' WHERE id = ANY (%s)", lost)
    time_of("recover_lost, 10 lost", [repairs.recover_lost])
    sql("UPDATE jobs_taskrun SET ring_at = statement_timestamp() - interval '1 h' WHERE id = ANY (%s)", lost)
    time_of("unheard, 10 to ring", [lambda: repairs.unheard("bulk", on_redis=counted)])
    sql("DELETE FROM jobs_taskrun WHERE id = ANY (%s)", [*lost, *ids])


def scale(system: System, report: Report) -> None:
    """Milliseconds of the claim, the end of a run and the statements of the sweeps: on an empty table and on a full one
    beside it, in turns, so that both have the same machine. The backlog is all on Redis. Medians of the samples.
    PostgreSQL without fsync.
    """
    finished, waiting = _sizes(system)
    turns = 30
    places = {"bare": 0, "public": waiting}
    found: dict[str, dict[str, list[float]]] = {place: defaultdict(list) for place in places}
    with _careless():
        system.empty()
        _bare()
        began = time.perf_counter()
        _fill(finished)
        _waiting(waiting, 3600)
        sql("VACUUM ANALYZE jobs_taskrun")
        filled = time.perf_counter() - began
        size = _size()
        for turn in range(turns + 1):
            for place, backlog in places.items():
                with _on(place):
                    _measure(backlog, found[place] if turn else defaultdict(list))  # the first warms the caches
        sql("DROP SCHEMA bare CASCADE")
        system.empty()
    rows = []
    for name, empty in found["bare"].items():
        before, after = statistics.median(empty), statistics.median(found["public"][name])
        rows.append((name, f"{before:.3f}", f"{after:.3f}", *ratio(after / before, BOUND), str(len(empty))))
    report.say(
        f"{finished:,} finished and {waiting:,} waiting rows: table + indexes {size} (filled in {filled:.0f} s); "
        f"{turns} turns."
    )
    report.table(("what", "empty ms", "full ms", "ratio", "bound", "samples"), rows)


class Beside(threading.Thread):
    """Something done again and again beside the body of a `with`, on a connection of its own."""

    every_seconds = 0.01

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()
        self.found: list[float] = []

    def once(self) -> list[float]:
        raise NotImplementedError

    def run(self) -> None:
        from django.db import connection

        while not self.over.wait(self.every_seconds):
            self.found += self.once()
        connection.close()

    def __enter__(self) -> list[float]:
        self.start()
        return self.found

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()


class _Claims(Beside):
    """Claims of waiting runs, about a hundred a second, each timed."""

    def __init__(self, ids: list[uuid.UUID]) -> None:
        super().__init__()
        self.ids = ids

    def once(self) -> list[float]:
        from core.jobs import runs

        return _times([lambda: runs.claim(self.ids.pop(), "bench")]) if self.ids else []


class _Locks(Beside):
    """How many sessions wait for a lock."""

    every_seconds = 0.05

    def once(self) -> list[float]:
        return [float(sql("SELECT count(*) FROM pg_locks WHERE NOT granted")[0][0])]


def _percentiles(found: list[float]) -> tuple[str, str, str]:
    ordered = sorted(found)
    return f"{statistics.median(ordered):.2f}", f"{ordered[int(len(ordered) * 0.99)]:.2f}", f"{ordered[-1]:.2f}"


def pruning(system: System, report: Report) -> None:
    """The finished runs of the part `scale` are all past their retention: how long pruning them takes, what claims
    meanwhile wait (milliseconds; a hundred a second beside it, from the same process), whether anything waited for a
    lock, and how large the table is before, after, and filled again. PostgreSQL without fsync."""
    from core import clock
    from core.jobs import retention

    finished, waiting = _sizes(system)
    with _careless():
        system.empty()
        _fill(finished)
        ids = _waiting(waiting, 3600)
        sizes = [("filled", f"{finished:,}", _size())]
        with _Claims(ids) as calm:
            time.sleep(10)
        with _Locks() as locks, _Claims(ids) as busy:
            began = time.perf_counter()
            pruned = retention.prune(clock.now())["runs"]
            seconds = time.perf_counter() - began
        sizes.append(("pruned", f"{finished - pruned:,}", _size()))
        sql("VACUUM ANALYZE jobs_taskrun")  # what autovacuum does by itself a little later
        sizes.append(("vacuumed", "", _size()))
        _fill(finished)
        sizes.append(("filled again", f"{finished:,}", _size()))
        system.empty()
    report.say(
        f"{pruned:,} of {finished:,} rows pruned in {seconds:.0f} s; "
        f"sessions seen waiting for a lock: {sum(locks):.0f}."
    )
    report.table(
        ("claims", "median ms", "p99 ms", "worst ms", "claims"),
        [
            ("before pruning", *_percentiles(calm), str(len(calm))),
            ("while pruning", *_percentiles(busy), str(len(busy))),
        ],
    )
    report.table(("table", "finished rows", "table + indexes"), sizes)
