"""What asking costs: the ledger's `.delay()` and `enqueue_many` beside plain Celery's `.delay()`, nobody consuming."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable

from django.db import transaction

from bench.report import Report, ratio, spread
from bench.system import System, sql

MANY = 10_000
BOUND_PUBLISH = 1.7
BOUND_MANY = 0.25

Call = Callable[[], object]


class Cost:
    """Milliseconds for each call, one figure a round."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def measure(self, call: Call, calls: int, each: int = 1) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(calls):
            call()
        self.wall.append((time.perf_counter() - wall) * 1000 / calls / each)
        self.cpu.append((time.process_time() - cpu) * 1000 / calls / each)


def business() -> None:
    """The caller's own work."""
    sql("INSERT INTO bench_business VALUES (gen_random_uuid(), 'x')")


def _tables() -> None:
    sql("CREATE TABLE IF NOT EXISTS bench_business (id uuid PRIMARY KEY, text text)")


def _in_transaction(ask: Call) -> Call:
    def call() -> None:
        with transaction.atomic():
            business()
            ask()

    return call


def publish(system: System, report: Report) -> None:
    """One `.delay()` at a time, milliseconds each, median of the rounds (and their range). Interleaved: each round
    runs all variants, in another order. `transaction` is the caller's own, with one INSERT of its own.
    """
    from bench import plain, tasks

    variants: dict[str, Call] = {
        "plain .delay()": lambda: plain.noop.delay(1),
        "transaction alone": _in_transaction(lambda: None),
        "ledger .delay() in the transaction": _in_transaction(lambda: tasks.noop.delay(1)),
        "plain .delay_on_commit() in the transaction": _in_transaction(lambda: plain.noop_on_commit.delay_on_commit(1)),
        "opted-out .delay() in the transaction": _in_transaction(lambda: tasks.noop_opted_out.delay(1)),
        "ledger .delay(), no transaction": lambda: tasks.noop.delay(1),
        "opted-out .delay(), no transaction": lambda: tasks.noop_opted_out.delay(1),
    }
    rounds, calls = (7, 1000) if system.long else (5, 400)
    costs: dict[str, Cost] = defaultdict(Cost)
    _tables()
    for number in range(rounds):
        order = list(variants)
        for name in order[number % len(order) :] + order[: number % len(order)]:
            system.empty()
            for _ in range(20):
                variants[name]()
            costs[name].measure(variants[name], calls)
    base = costs["plain .delay()"]
    alone = costs["transaction alone"]
    less = Cost()
    asked = costs["ledger .delay() in the transaction"]
    less.wall = [a - b for a, b in zip(asked.wall, alone.wall, strict=True)]
    less.cpu = [a - b for a, b in zip(asked.cpu, alone.cpu, strict=True)]
    costs["**ledger, less the transaction alone**"] = less
    rows = []
    for name, cost in costs.items():
        times = statistics.median(cost.wall) / statistics.median(base.wall)
        cpu = statistics.median(cost.cpu) / statistics.median(base.cpu)
        wall, bound = ratio(times, BOUND_PUBLISH) if cost is less else (f"{times:.2f}", "")
        rows.append((name, spread(cost.wall), wall, spread(cost.cpu), f"{cpu:.2f}", bound))
    report.say(f"{rounds} rounds of {calls:,}.")
    report.table(("what", "wall ms", "ratio", "CPU ms", "ratio", "bound"), rows)
    sql("DROP TABLE bench_business")


def many(system: System, report: Report) -> None:
    """`enqueue_many` of 10,000 in one transaction, commit and bells included, per message, beside plain `.delay()` one
    by one and plain Celery's own batch. Interleaved rounds."""
    from bench import plain, tasks
    from core.jobs import runs
    from core.jobs.services import enqueue_many

    def batch() -> None:
        with plain.app.producer_or_acquire() as producer, producer.batch(max_size=500):
            for number in range(MANY):
                plain.noop.apply_async((number,), producer=producer)

    def asked() -> None:
        with transaction.atomic():
            enqueue_many(tasks.noop.name, (((number,), {}) for number in range(MANY)))

    def rows_alone() -> None:
        with transaction.atomic():
            runs.insert([tasks.noop.ask((number,), {}) for number in range(MANY)])

    rounds = 7 if system.long else 3
    costs: dict[str, Cost] = defaultdict(Cost)
    for _ in range(rounds):
        system.empty()
        costs["plain .delay(), one by one"].measure(lambda: plain.noop.delay(1), 1000)
        for name, call in (
            ("plain .apply_async(), producer.batch(500)", batch),
            ("enqueue_many", asked),
            ("of it: the rows, without bells", rows_alone),
        ):
            system.empty()
            costs[name].measure(call, 1, MANY)
    base = statistics.median(costs["plain .delay(), one by one"].wall)
    base_cpu = statistics.median(costs["plain .delay(), one by one"].cpu)
    rows = []
    for name, cost in costs.items():
        times = statistics.median(cost.wall) / base
        wall, bound = ratio(times, BOUND_MANY) if name == "enqueue_many" else (f"{times:.2f}", "")
        cpu = f"{statistics.median(cost.cpu) / base_cpu:.2f}"
        rows.append((name, spread(cost.wall, 3), wall, spread(cost.cpu, 3), cpu, bound))
    report.say(f"{rounds} rounds of {MANY:,} ({1000:,} one by one).")
    report.table(("what", "wall ms each", "ratio", "CPU ms each", "ratio", "bound"), rows)
