"""No-ops from end to end: the ledger beside plain Celery and its peers, on the same servers with two processes each."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import marks
from bench.report import Report, ratio, spread
from bench.system import System, cpu, sql, wait_for
from stack.venv import ROOT, VENV

BOUNDS = {"ledger": 0.8, "opted out": 0.95}


@dataclass(frozen=True)
class Contender:
    noop: Callable[[int], object]
    mark: Callable[[], object]
    commands: tuple[tuple[str, ...], ...]  # each is `python -m …`
    settings: str


def _celery(app: str, *more: str) -> tuple[tuple[str, ...], ...]:
    return (("celery", "-A", app, "worker", "-c", "2", "-l", "WARNING", *more),)


def _contenders() -> dict[str, Contender]:
    from bench import plain, tasks
    from bench.peers import on_dramatiq, on_huey, on_procrastinate

    ours = _celery("core", "-I", "bench.tasks")
    theirs = _celery("bench.plain")
    procrastinate = ("procrastinate", "--app", "bench.peers.on_procrastinate.app", "worker", "--concurrency", "1")
    return {
        "plain Celery": Contender(
            plain.noop.delay, plain.mark.delay, theirs, "prefork -c 2, defaults, results ignored"
        ),
        "opted out": Contender(tasks.noop_opted_out.delay, tasks.mark.delay, ours, "prefork -c 2, in_ledger=False"),
        "ledger": Contender(tasks.noop.delay, tasks.mark.delay, ours, "prefork -c 2, result in the row"),
        "plain Celery, results": Contender(
            plain.noop_with_result.delay, plain.mark.delay, theirs, "prefork -c 2, defaults, results on Redis"
        ),
        "ledger, results": Contender(
            tasks.noop_with_result.delay, tasks.mark.delay, ours, "prefork -c 2, result in the row and on Redis"
        ),
        "dramatiq": Contender(
            on_dramatiq.noop.send,
            on_dramatiq.mark.send,
            (("dramatiq", "bench.peers.on_dramatiq", "-p", "2", "-t", "1"),),
            "-p 2 -t 1, Redis, defaults, no results",
        ),
        "huey": Contender(
            on_huey.noop,
            on_huey.mark,
            (("huey.bin.huey_consumer", "bench.peers.on_huey.huey", "-k", "process", "-w", "2"),),
            "-k process -w 2, Redis, results off",
        ),
        "procrastinate": Contender(
            lambda number: on_procrastinate.noop.defer(_number=number),
            on_procrastinate.mark.defer,
            (procrastinate, procrastinate),
            "2 processes, concurrency 1, PostgreSQL, defaults",
        ),
    }


@contextmanager
def _procrastinate(system: System) -> Iterator[None]:
    """Its own database, its tables, and an open connection for asking."""
    sql("CREATE DATABASE procrastinate")
    os.environ["BENCH_PROCRASTINATE"] = system.postgres.url.rpartition("/")[0] + "/procrastinate"
    from bench.peers.on_procrastinate import app

    with app.replace_connector(app.connector.get_sync_connector()) as asking, asking.open():
        asking.schema_manager.apply_schema()
        yield
    sql("DROP DATABASE procrastinate WITH (FORCE)")


def install_peers() -> None:
    """Into the project's own environment, when it is that which runs."""
    if Path(sys.prefix) == VENV:
        subprocess.run([sys.executable, "-m", "stack.venv", "bench"], cwd=ROOT, check=True)


def throughput(system: System, report: Report) -> None:
    """No-op tasks a second. All messages are asked for one by one before the workers start; the rate and the CPU are
    taken between two marker tasks, after a tenth and at the end. `ratio` is to plain Celery. CPU milliseconds for each
    task: of the asking process, of the workers with their children, of PostgreSQL. Interleaved rounds."""
    install_peers()
    rounds, count = (5, 4000) if system.long else (3, 1500)
    asked: dict[str, list[float]] = defaultdict(list)
    rates: dict[str, list[float]] = defaultdict(list)
    used: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    with _procrastinate(system):
        contenders = _contenders()
        for number in range(rounds):
            order = list(contenders)
            for name in order[number % len(order) :] + order[: number % len(order)]:
                system.empty()
                seconds, asking = _ask(contenders[name], count)
                rate, working, postgres = _drain(system, name, contenders[name], count)
                asked[name].append(seconds / count * 1000)
                rates[name].append(rate)
                used[name].append((asking / count * 1000, working / count * 1000, postgres / count * 1000))
    base = statistics.median(rates["plain Celery"])
    rows = []
    for name, contender in contenders.items():
        times = statistics.median(rates[name]) / base
        bound = BOUNDS.get(name)
        text, kept = ratio(times, bound, at_least=True) if bound else (f"{times:.2f}", "")
        shares = [f"{statistics.median(column):.2f}" for column in zip(*used[name], strict=True)]
        rows.append((name, spread(rates[name], 0), text, spread(asked[name]), *shares, kept, contender.settings))
    report.say(f"{rounds} rounds of {count:,}.")
    headings = ("system", "tasks/s", "ratio", "ask ms", "CPU asking", "working", "PostgreSQL", "bound", "settings")
    report.table(headings, rows)


def _ask(contender: Contender, count: int) -> tuple[float, float]:
    """Seconds and CPU seconds for `count` asks, with a mark after a tenth more and at the end."""
    for number in range(count // 10):
        contender.noop(number)
    contender.mark()
    wall, used = time.perf_counter(), time.process_time()
    for number in range(count):
        contender.noop(number)
    spent = time.perf_counter() - wall, time.process_time() - used
    contender.mark()
    return spent


def _drain(system: System, name: str, contender: Contender, count: int) -> tuple[float, float, float]:
    with ExitStack() as stack:
        workers = [stack.enter_context(system.process(f"drain-{name}", *command)) for command in contender.commands]

        def used() -> tuple[float, float]:
            return sum(cpu(worker) for worker in workers), system.postgres_cpu()

        def until(marked: int) -> tuple[float, float]:
            wait_for(f"{name}, mark {marked}", lambda: len(marks.found()) >= marked, 180, every=0.02)
            return used()

        (working, postgres), (working_after, postgres_after) = until(1), until(2)
        began, ended = sorted(moment for moment, _ in marks.found())
    return count / (ended - began), working_after - working, postgres_after - postgres
