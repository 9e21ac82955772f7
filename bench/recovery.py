"""How soon work goes on after a fault."""

from __future__ import annotations

import time

from django.db import transaction

from bench import marks
from bench.report import Report, spread
from bench.system import System, kill, sql, wait_for, wait_for_worker

BOUND_WORKER = 30
BOUND_REDIS = 10
ASKED = 100
AWAY = 5


def recovery(system: System, report: Report) -> None:
    """Seconds. A worker is killed (-9, with its children) in the middle of a run, until another worker has begun that
    run again. Redis is killed, 100 runs are asked for in transactions, Redis comes back 5 s later: until the last of
    them has run. Which of the two workers is killed is the one that has the run."""
    rounds = 7 if system.long else 3
    taken = [_worker_killed(system, number) for number in range(rounds)]
    heard, slowest = zip(*(_redis_killed(system) for _ in range(rounds)), strict=True)
    report.say(f"{rounds} times each.")
    report.table(
        ("fault", "seconds", "worst", "bound"),
        [
            ("worker killed, run begun again", spread(taken, 1), f"{max(taken):.1f}", _bound(max(taken), BOUND_WORKER)),
            ("Redis back, last of 100 has run", spread(heard, 1), f"{max(heard):.1f}", _bound(max(heard), BOUND_REDIS)),
            ("slowest of 100 asks meanwhile", spread(slowest, 3), f"{max(slowest):.3f}", ""),
        ],
    )


def _bound(worst: float, bound: float) -> str:
    return f"<= {bound}: {'yes' if worst <= bound else 'NO'}"


def _worker_killed(system: System, number: int) -> float:
    from bench import tasks

    system.empty()
    more = ("-c", "1", "-I", "bench.tasks")
    with system.worker("one", *more) as one, system.worker("other", *more) as other:
        wait_for_worker(system, 2)
        tasks.marked.delay("kept", 60)
        wait_for("the run begins", lambda: len(marks.found()) == 1, 30)
        # the lease is extended every few seconds: a kill at another point of it each time
        time.sleep(8 + 2 * number)
        by = sql("SELECT worker FROM jobs_taskrun WHERE state = 'running'")[0][0]
        kill(one if by.startswith("one@") else other)
        seconds = wait_for("the run begins again", lambda: len(marks.found()) == 2, 120)
        kill(one)
        kill(other)
    return seconds


def _redis_killed(system: System) -> tuple[float, float]:
    from bench import tasks

    system.empty()
    with system.worker("worker", "-c", "2", "-I", "bench.tasks"):
        wait_for_worker(system)
        system.kill_redis()
        slowest = 0.0
        for number in range(ASKED):
            began = time.perf_counter()
            with transaction.atomic():
                tasks.noop.delay(number)
            slowest = max(slowest, time.perf_counter() - began)
        time.sleep(AWAY)
        system.redis.start()
        seconds = wait_for("all have run", _all_over, 120)
    return seconds, slowest


def _all_over() -> bool:
    return bool(sql("SELECT count(*) FROM jobs_taskrun WHERE state = 'succeeded'")[0][0] == ASKED)
