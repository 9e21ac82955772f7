"""Tasks of the system tests, for workers started with `-I tests.system.tasks`. What they did is counted on Redis."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import redis
from celery import current_app, shared_task
from celery.exceptions import SoftTimeLimitExceeded

from core.jobs.task import LedgerTask


def counted(what: str) -> dict[str, int]:
    """How often each key began or ended."""
    return {str(key): int(times) for key, times in _redis().hgetall(f"test:{what}").items()}


def _redis() -> redis.Redis:
    return redis.Redis.from_url(current_app.conf.broker_url, decode_responses=True)


def _count(what: str, key: str) -> int:
    return int(_redis().hincrby(f"test:{what}", key))


@shared_task(base=LedgerTask)
def work(key: str, seconds: float = 0.0) -> dict[str, int]:
    _count("begun", key)
    time.sleep(seconds)
    _count("ended", key)
    return {"done": 1}


@shared_task(base=LedgerTask)
def kill_own_process(key: str, times: int) -> dict[str, int]:
    """At its first so many tries."""
    if _count("begun", key) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"done": 1}


@shared_task(base=LedgerTask, soft_time_limit=1, time_limit=2)
def too_long(key: str) -> None:
    """Does not listen to its soft limit."""
    _count("begun", key)
    with suppress(SoftTimeLimitExceeded):
        time.sleep(60)
    time.sleep(60)


_kept: list[bytes] = []


@shared_task(base=LedgerTask)
def grow(key: str, megabytes: int) -> int:
    """Keeps memory, so that the process is replaced. Returns which process it was."""
    _count("begun", key)
    _kept.append(os.urandom(1_000_000) * megabytes)
    _count("ended", key)
    return os.getpid()
