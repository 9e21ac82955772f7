"""The doorbell: telling Redis that a run is waiting. It may fail, and then only says so: the relay rings again.

A dead broker must neither raise nor hold up the caller, so publishing has connections of its own with short
timeouts, and after a failure the process does not try for a while (figures: ledger.md 3).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import structlog
from celery import current_app
from kombu import Producer
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from core.jobs.runs import Bell
from core.jobs.task import LEDGER_HEADER

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 0.3
SILENCE_SECONDS = 5.0
BROKER_ERRORS = (OperationalError, RedisError, OSError)


class _Line(threading.local):
    """One connection per thread; a forked child makes its own."""

    pid = 0
    producer: Producer | None = None

    def open(self) -> Producer:
        if self.producer is None or self.pid != os.getpid():
            app: Any = current_app
            options = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS, "max_retries": 0}
            connection = app.connection_for_write(transport_options=options)
            self.producer = app.amqp.Producer(connection, auto_declare=False)
            self.pid = os.getpid()
        return self.producer

    def hang_up(self) -> None:
        producer: Any = self.producer
        self.producer = None
        if producer is not None and self.pid == os.getpid():
            with suppress(*BROKER_ERRORS):
                producer.connection.close()


_line = _Line()
_quiet_until = 0.0


def publish(
    name: str,
    *,
    task_id: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    producer: Producer | None = None,
) -> None:
    """One message through the ledger's own connection. Raises a broker error."""
    current_app.send_task(
        name,
        args=tuple(args),
        kwargs=dict(kwargs or {}),
        task_id=task_id,
        producer=producer or _line.open(),
        retry=False,
        add_to_parent=False,
        **(options or {}),
    )


def ring(bells: Iterable[Bell]) -> bool:
    """Announce runs. True when Redis has taken all of them; False is harmless, the relay tells it again."""

    def announce(producer: Producer) -> None:
        for bell in bells:
            options: dict[str, Any] = {"queue": bell.queue, "headers": {LEDGER_HEADER: True}}
            options |= {
                name: value
                for name in ("time_limit", "soft_time_limit", "ignore_result")
                if (value := getattr(bell, name)) is not None
            }
            publish(bell.task, task_id=str(bell.id), options=options, producer=producer)

    bells = list(bells)
    return not bells or _try(announce, many=len(bells) > 1)


def hint(name: str, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any]) -> bool:
    """Publish a task that is not in the ledger. False when Redis did not take it: whoever asked must look again."""

    def announce(producer: Producer) -> None:
        publish(name, task_id=task_id, args=args, kwargs=kwargs, options=options, producer=producer)

    return _try(announce)


def _try(announce: Any, *, many: bool = False) -> bool:
    global _quiet_until  # noqa: PLW0603 - the process's one memory of a broker that does not answer
    if time.monotonic() < _quiet_until:
        return False
    try:
        producer: Any = _line.open()
        together: AbstractContextManager[Any] = producer.batch(max_size=500) if many else nullcontext()
        with together:
            announce(producer)
    except BROKER_ERRORS as error:
        _quiet_until = time.monotonic() + SILENCE_SECONDS
        _line.hang_up()
        log.warning("bell_not_heard", error=type(error).__name__, silent_for_seconds=SILENCE_SECONDS)
        return False
    return True


def listen_again() -> None:
    """Forget that the broker was away (used when it is known to be back)."""
    global _quiet_until  # noqa: PLW0603
    _quiet_until = 0.0
