# mypy: disable-error-code="import-untyped"
"""What the audit chain costs: noting a row costs its writer, chaining costs a sweep, and verifying takes time."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable

import psutil
from django.db import transaction

from bench.publish import Cost
from bench.report import Report, spread
from bench.system import System, sql

MANY = 1_000
_FILL = """
INSERT INTO base_auditlog (id, actor_name, action, subject_type, subject_id, before, after, reason, at)
SELECT gen_random_uuid(), 'ama@host (command line)', 'schedule.resumed', 'schedule', 'prune-finished-runs',
    jsonb_build_object('paused', true, 'paused_by', 'ama', 'number', n),
    jsonb_build_object('paused', false, 'number', n),
    'the backup is restored', statement_timestamp()
FROM generate_series(1, %s) AS n
"""


def audit(system: System, report: Report) -> None:
    """Writing an audit row with the trigger that notes it for the chain and without it, in turns; then chaining so many
    rows and verifying them, in one process, as a worker and the command do. Memory is of this process, above what it
    had before the first row.
    """
    _writing(system, report)
    _chaining(system, report)


def _writing(system: System, report: Report) -> None:
    from core.base.services import record

    def one() -> None:
        with transaction.atomic():
            record(action="run.retried", subject=("run", "8bffc69f"), actor_name="ama", after={"run": "1"}, reason="x")

    def many() -> None:
        sql(_FILL, MANY)

    rounds, calls = (9, 1000) if system.long else (7, 400)
    works: dict[str, tuple[Callable[[], None], int, int]] = {
        "a transaction with one row": (one, calls, 1),
        f"a row of {MANY:,} in one statement": (many, 5, MANY),
    }
    costs: dict[tuple[str, bool], Cost] = defaultdict(Cost)
    for number in range(rounds):
        for noted in (True, False) if number % 2 else (False, True):
            _empty()
            sql(f"ALTER TABLE base_auditlog {'ENABLE' if noted else 'DISABLE'} TRIGGER base_auditlog_noted")
            for name, (work, times, each) in works.items():
                work()
                costs[name, noted].measure(work, times, each)
    sql("ALTER TABLE base_auditlog ENABLE TRIGGER base_auditlog_noted")
    rows = []
    for name in works:
        with_it, without = costs[name, True].wall, costs[name, False].wall
        ratio = statistics.median(with_it) / statistics.median(without)
        rows.append((name, spread(without, 3), spread(with_it, 3), f"{ratio:.2f}"))
    report.say(f"{rounds} rounds of {calls:,} transactions and 5 statements.")
    report.table(("what", "wall ms", "noted, wall ms", "ratio"), rows)


def _chaining(system: System, report: Report) -> None:
    from core.base import chain, chain_check

    count = 1_000_000 if system.long else 100_000
    _empty()
    sql(_FILL, count)
    sql("ANALYZE base_auditlog, base_auditpending")
    process = psutil.Process()
    before = process.memory_info().rss

    def all_of_it() -> None:
        while chain.chain():
            pass

    def whole() -> None:
        found = chain_check.verify()
        assert found.intact
        assert found.links == count

    rows = []
    for name, work in (("chaining", all_of_it), ("verifying", whole)):
        wall, cpu, server = time.perf_counter(), time.process_time(), system.postgres_cpu()
        work()
        took = time.perf_counter() - wall
        shares = [(time.process_time() - cpu) / took, (system.postgres_cpu() - server) / took]
        grown = (process.memory_info().rss - before) / 2**20
        rows.append(
            (name, f"{count / took:,.0f}", f"{took:.1f}", *(f"{share:.0%}" for share in shares), f"{grown:.0f}")
        )
    report.say(f"{count:,} rows.")
    report.table(("what", "rows/s", "seconds", "CPU of it", "CPU PostgreSQL", "MB more"), rows)
    _empty()


def _empty() -> None:
    sql("TRUNCATE base_auditlog, base_auditpending, base_auditchain")
