"""Real processes of the product for system tests: workers and beat on the test database, a Redis that can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.db import connection

ROOT = Path(__file__).resolve().parent.parent.parent


def wait_until(true: Callable[[], object], seconds: float, what: str) -> float:
    """Seconds it took. Fails with `what` when it does not come true in time."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - began


def database_url() -> str:
    """The database of the running test, where the processes must look too."""
    entry = connection.settings_dict
    return f"postgres://{entry['USER']}:{entry['PASSWORD']}@{entry['HOST']}:{entry['PORT']}/{entry['NAME']}"


class Process:
    """A command of the product in a session of its own, with its output in a file."""

    def __init__(self, log: Path, *arguments: str, **environment: str) -> None:
        self.log = log
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=ROOT,
                env=os.environ | {"DATABASE_URL": database_url()} | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for_line(self, text: str, seconds: float = 30) -> None:
        wait_until(
            lambda: text in self.output() or self.popen.poll() is not None, seconds, f"{text!r} in {self.log.name}"
        )
        assert text in self.output(), self.output()[-2000:]

    def signal(self, number: int) -> None:
        """To the whole group: the main process and its children."""
        if self.popen.poll() is None:
            os.killpg(self.popen.pid, number)

    def stop(self) -> None:
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(15)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self.popen.wait()


def worker(log: Path, *arguments: str, **environment: str) -> Process:
    """The documented command. Returns when the worker is ready."""
    process = Process(log, "celery", "-A", "core", "worker", "-l", "INFO", *arguments, **environment)
    process.wait_for_line(" ready.")
    return process


def queued_on_redis() -> int:
    import redis

    client = redis.Redis.from_url(settings.CELERY_BROKER_URL)
    return sum(int(client.llen(name)) for name in ("urgent", "default", "bulk"))
