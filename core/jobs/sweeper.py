"""The sweeps: small repairs that every worker makes on a timer, whether beat lives or not.

A sweep is a plain function that other packages register in their AppConfig. It runs in a thread of the worker's main
process with a database connection of its own, must be cheap when there is nothing to do, and harmless when several
workers run it at once (one statement, SKIP LOCKED). It must not do slow work: it asks for a task instead.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import structlog
from celery import bootsteps
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

GOODBYE_SECONDS = 2.0


Run = Callable[[str], None]  # gets the worker's name


@dataclass
class Sweep:
    name: str
    every_seconds: float
    run: Run
    at_end: Run | None = None
    next_at: float = 0.0
    done_at: float | None = None  # when it last ran without an error


_registered: dict[str, Sweep] = {}


def register(name: str, *, every_seconds: float, run: Run, at_end: Run | None = None) -> None:
    """Have every worker call `run(worker_name)` about every so many seconds, and `at_end` when it stops in order."""
    _registered[name] = Sweep(name, every_seconds, run, at_end)


def sweep_once(worker: str, now: float) -> None:
    """Run what is due."""
    take_turns(list(_registered.values()), worker, now)


def take_turns(sweeps: Iterable[Sweep], worker: str, now: float) -> None:
    for sweep in sweeps:
        if now >= sweep.next_at:
            # a little noise keeps many workers from sweeping in step
            sweep.next_at = now + sweep.every_seconds * random.uniform(0.9, 1.1)  # noqa: S311
            if contained(sweep.name, sweep.run, worker):
                sweep.done_at = now


def going_well(now: float) -> list[str]:
    """The sweeps that this process has done without an error lately: in the time of two turns, or ten seconds."""
    return [
        sweep.name
        for sweep in list(_registered.values())
        if sweep.done_at is not None and now - sweep.done_at <= max(2.2 * sweep.every_seconds, 10.0)
    ]


def say_goodbye(worker: str) -> None:
    for sweep in list(_registered.values()):
        if sweep.at_end:
            contained(sweep.name, sweep.at_end, worker)


def contained(name: str, run: Run, worker: str) -> bool:
    """Whether it went well. A sweep that fails is logged and tried again at its next turn; the others go on."""
    from django.db import InterfaceError, OperationalError, connection

    try:
        run(worker)
    except (OperationalError, InterfaceError) as error:
        connection.close()
        log.warning("sweep_without_database", sweep=name, error=type(error).__name__)
    except (BrokerError, RedisError, OSError) as error:
        log.warning("sweep_without_redis", sweep=name, error=type(error).__name__)
    except Exception:
        log.exception("sweep_failed", sweep=name)
    else:
        return True
    return False


class SweepStep(bootsteps.StartStopStep):
    """Starts the thread with the worker and ends it with it. After the pool: no child is forked while it starts."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, args=(parent.hostname,), name="sweeps", daemon=True)

    def start(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        self.thread.start()

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        self.over.set()
        if self.thread.is_alive():
            self.thread.join(GOODBYE_SECONDS)

    terminate = stop

    def run(self, worker: str) -> None:
        from django.db import connection

        while not self.over.wait(0.5):
            sweep_once(worker, time.monotonic())
        say_goodbye(worker)
        connection.close()
