"""Whether a full table costs more than an empty one, and what pruning it does to those who work in it."""

from __future__ import annotations

import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bench.report import Report, ratio, spread
from bench.system import System, sql

BOUND = 1.3
SAMPLES = 300

# As the product leaves them: a third each of a queue, arguments, a result, asked for over sixty days and long over.
_FINISHED = """
INSERT INTO jobs_taskrun (id, task, args, kwargs, options, queue, state, trigger, schedule_entry, request_id, asked_at,
    started_at, finished_at, attempts, fence, worker, error_class, error_text, traceback, result)
SELECT gen_random_uuid(),
    (ARRAY['core.tasks.send_sms_async', 'core.tasks.process_bulk_sms', 'bench.tasks.noop'])[1 + n %% 3],
    jsonb_build_array('***', '***'), jsonb_build_object('purpose', 'notice'), '{}',
    (ARRAY['urgent', 'bulk', 'default'])[1 + n %% 3], 'succeeded', 'request', '', md5(n::text), at,
    at + '0.1 s', at + '0.2 s', 1, 1, 'worker@host', '', '', '', jsonb_build_object('sent', 1, 'parts', n %% 4)
FROM (SELECT n, statement_timestamp() - interval '31 days' - (%s - n) * interval '60 days' / %s AS at
      FROM generate_series(%s, %s) AS n) AS times
"""
_PENDING = """
INSERT INTO jobs_taskrun (id, task, args, kwargs, options, queue, state, trigger, schedule_entry, request_id, asked_at,
    ring_at, attempts, fence, worker, error_class, error_text, traceback)
SELECT gen_random_uuid(), 'bench.tasks.noop', jsonb_build_array(n), '{}', '{}', 'bulk', 'pending', 'request', '',
    md5(n::text), statement_timestamp(), statement_timestamp() + interval '1 s' * %s, 0, 0, '', '', '', ''
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
    step = 500_000
    for first in range(1, count + 1, step):
        sql(_FINISHED, count, count, first, min(first + step - 1, count))
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


def _measure(backlog: int) -> dict[str, list[float]]:
    """The claim and the sweeps, on the table as it is."""
    from core.jobs import runs
    from core.jobs.rules import State

    queues = ["urgent", "default", "bulk"]
    ids = _waiting(SAMPLES, 600)
    for run_id in ids[:20]:  # the connection and the caches are warm
        runs.claim(run_id, "bench")
    claims: list[runs.Claim] = []
    found = {"claim": _times([lambda run_id=run_id: claims.append(runs.claim(run_id, "bench")) for run_id in ids[20:]])}  # type: ignore[misc, arg-type]
    found["finish"] = _times([lambda c=c: runs.finish(c, State.SUCCEEDED, "{}", None, None) for c in claims])  # type: ignore[misc]
    found["look (the idle sweep)"] = _times([lambda: runs.look(queues)] * SAMPLES)
    found["recover_lost, none lost"] = _times([runs.recover_lost] * SAMPLES)
    found["unheard, all on Redis"] = _times([lambda: runs.unheard("bulk", on_redis=backlog)] * (SAMPLES // 3))
    lost = []
    rung = []
    for _ in range(20):
        some = _waiting(10, 600)
        for run_id in some:
            runs.claim(run_id, "bench")
        sql("UPDATE jobs_taskrun SET lease_until = statement_timestamp() - interval '1 s' WHERE id = ANY (%s)", some)
        lost += _times([runs.recover_lost])
        sql("UPDATE jobs_taskrun SET ring_at = statement_timestamp() - interval '1 h' WHERE id = ANY (%s)", some)
        waiting = backlog + 10
        rung += _times([lambda waiting=waiting: runs.unheard("bulk", on_redis=waiting - 10)])  # type: ignore[misc]
        sql("DELETE FROM jobs_taskrun WHERE id = ANY (%s)", some)
    found["recover_lost, 10 lost"] = lost
    found["unheard, 10 to ring"] = rung
    sql("DELETE FROM jobs_taskrun WHERE worker = 'bench'")
    return found


def scale(system: System, report: Report) -> None:
    """Milliseconds of the claim, the end of a run and the statements of the sweeps: on an empty table, and beside
    finished runs and a backlog that is all on Redis. Medians; in turns empty, full, full, empty, on warm caches.
    PostgreSQL without fsync."""
    finished, waiting = _sizes(system)
    empty: list[dict[str, list[float]]] = []
    full: list[dict[str, list[float]]] = []
    with _careless():
        system.empty()
        empty.append(_measure(0))
        began = time.perf_counter()
        _fill(finished)
        _waiting(waiting, 600)
        sql("VACUUM ANALYZE jobs_taskrun")
        filled = time.perf_counter() - began
        size = _size()
        full += [_measure(waiting) for _ in range(2)]
        system.empty()
        empty.append(_measure(0))
    rows = []
    for name in empty[0]:
        before = [statistics.median(run[name]) for run in empty]
        after = [statistics.median(run[name]) for run in full]
        times, bound = ratio(statistics.mean(after) / statistics.mean(before), BOUND)
        rows.append((name, spread(before, 3), spread(after, 3), times, bound))
    report.say(
        f"{finished:,} finished and {waiting:,} waiting rows: table + indexes {size} (filled in {filled:.0f} s). "
        f"{SAMPLES} samples in each turn."
    )
    report.table(("what", "empty ms", "full ms", "ratio", "bound"), rows)


class _Claims:
    """Claims of waiting runs, about a hundred a second, each timed, on a connection of its own."""

    def __init__(self, ids: list[uuid.UUID]) -> None:
        self.ids = ids
        self.over = threading.Event()
        self.found: list[float] = []
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        from django.db import connection

        from core.jobs import runs

        while self.ids and not self.over.wait(0.01):
            run_id = self.ids.pop()
            self.found += _times([lambda run_id=run_id: runs.claim(run_id, "bench")])  # type: ignore[misc]
        connection.close()

    def __enter__(self) -> list[float]:
        self.thread.start()
        return self.found

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


def _percentiles(found: list[float]) -> tuple[str, str, str]:
    ordered = sorted(found)
    return f"{statistics.median(ordered):.2f}", f"{ordered[int(len(ordered) * 0.99)]:.2f}", f"{ordered[-1]:.2f}"


def pruning(system: System, report: Report) -> None:
    """The finished runs of the part `scale` are all past their retention: how long pruning them takes, what claims
    meanwhile wait (milliseconds; a hundred a second beside it, from the same process), whether anything waited for a
    lock, and how large the table is before, after, and filled again. PostgreSQL without fsync."""
    from core.jobs import retention

    finished, waiting = _sizes(system)
    with _careless():
        system.empty()
        _fill(finished)
        ids = _waiting(waiting, 3600)
        sizes = [("filled", f"{finished:,}", _size())]
        with _Claims(ids) as calm:
            time.sleep(10)
        locks: list[int] = []
        over = threading.Event()
        watcher = threading.Thread(target=_watch_locks, args=(locks, over))
        watcher.start()
        with _Claims(ids) as busy:
            began = time.perf_counter()
            pruned = retention.prune()
            seconds = time.perf_counter() - began
        over.set()
        watcher.join()
        sizes.append(("pruned", f"{finished - pruned:,}", _size()))
        sql("VACUUM ANALYZE jobs_taskrun")  # what autovacuum does by itself a little later
        sizes.append(("vacuumed", "", _size()))
        _fill(finished)
        sizes.append(("filled again", f"{finished:,}", _size()))
        system.empty()
    report.say(
        f"{pruned:,} of {finished:,} rows pruned in {seconds:.0f} s; sessions seen waiting for a lock: {sum(locks)}."
    )
    report.table(
        ("claims", "median ms", "p99 ms", "worst ms", "claims"),
        [
            ("before pruning", *_percentiles(calm), str(len(calm))),
            ("while pruning", *_percentiles(busy), str(len(busy))),
        ],
    )
    report.table(("table", "finished rows", "table + indexes"), sizes)


def _watch_locks(found: list[int], over: threading.Event) -> None:
    from django.db import connection

    while not over.wait(0.05):
        found.append(sql("SELECT count(*) FROM pg_locks WHERE NOT granted")[0][0])
    connection.close()
