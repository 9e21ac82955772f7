# mypy: disable-error-code="import-untyped"
"""What a benchmark runs on: a PostgreSQL and a Redis of its own, and the product's processes."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from redis import Redis as Client

from stack.servers import Postgres, Redis, free_port

ROOT = Path(__file__).resolve().parent.parent
MARKS_DATABASE = 9


@dataclass
class System:
    base: Path
    postgres: Postgres
    redis: Redis
    long: bool
    http: int
    smtp: int

    def client(self, database: int = 0) -> Client:
        return Client.from_url(self.redis.url(database))

    def kill_redis(self) -> None:
        """kill -9; `redis.start()` brings it back with what its append-only file has."""
        if self.redis.process is not None:
            self.redis.process.kill()
            self.redis.process.wait()

    def empty(self) -> None:
        """No runs, no messages."""
        self.client().flushall()
        sql("TRUNCATE jobs_taskrun CASCADE")

    @contextmanager
    def process(self, name: str, *arguments: str) -> Iterator[psutil.Process]:
        """`python -m …`, stopped in order at the end. Its words are in <name>.log."""
        with (self.base / f"{name}.log").open("ab") as output:
            running = subprocess.Popen(
                [sys.executable, "-m", *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            yield psutil.Process(running.pid)
        finally:
            running.terminate()
            try:
                running.wait(30)
            except subprocess.TimeoutExpired:
                kill(psutil.Process(running.pid))
                running.wait()

    def worker(self, name: str = "worker", *arguments: str, app: str = "core") -> Any:
        return self.process(name, "celery", "-A", app, "worker", "-l", "WARNING", "-n", f"{name}@bench", *arguments)

    def postgres_cpu(self) -> float:
        """CPU seconds of the server, with backends that have ended."""
        return cpu(self._postmaster(), ended=True)

    def _postmaster(self) -> psutil.Process:
        assert self.postgres.process is not None
        return psutil.Process(self.postgres.process.pid)


def prepare(base: Path, *, long: bool) -> System:
    """Servers described, not started; the environment of this process and of all that it starts."""
    postgres = Postgres(base / "postgres", free_port(), "pms", secrets.token_urlsafe(16), "test_bench")
    server = Redis(base / "redis", free_port())
    http, smtp = free_port(), free_port()
    os.environ |= {
        "PMS_ENV": "development",
        "PMS_ENV_FILE": os.devnull,
        "LOG_LEVEL": "WARNING",
        "SECRET_KEY": secrets.token_urlsafe(40),
        "DATABASE_URL": postgres.url,
        "CELERY_BROKER_URL": server.url(0),
        "CELERY_RESULT_BACKEND": server.url(0),
        "REDIS_URL": server.url(1),
        "SANDBOX_HTTP_PORT": str(http),
        "SANDBOX_SMTP_PORT": str(smtp),
        "DJANGO_SETTINGS_MODULE": "core.settings",
        "BENCH_REDIS": server.url(0),
        "BENCH_MARKS": server.url(MARKS_DATABASE),
    }
    return System(base, postgres, server, long, http, smtp)


def sql(statement: str, *parameters: Any, **named: Any) -> list[tuple[Any, ...]]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement, named or parameters or None)
        return list(cursor.fetchall()) if cursor.description else []


def wait_for(what: str, met: Callable[[], bool], seconds: float, every: float = 0.01) -> float:
    """Waits, and returns how long. Ends the run when it takes longer."""
    began = time.perf_counter()
    while not met():
        if time.perf_counter() - began > seconds:
            sys.exit(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)
    return time.perf_counter() - began


def wait_for_worker(system: System, count: int = 1) -> None:
    """Until so many workers consume: each has a mailbox of its own on Redis."""
    client = system.client()
    wait_for("workers", lambda: len(client.smembers("_kombu.binding.celery.pidbox")) >= count, 60)
    time.sleep(1)


def cpu(process: psutil.Process, *, ended: bool = False) -> float:
    """CPU seconds of a process and the children it has now; `ended`: and of those it had."""
    seconds = 0.0
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            seconds += times.user + times.system
    if ended:
        times = process.cpu_times()
        seconds += times.children_user + times.children_system
    return seconds


def kill(process: psutil.Process) -> None:
    """kill -9 of a process and all its children."""
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGKILL)
