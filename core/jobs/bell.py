"""The doorbell: telling Redis that a run is waiting. It may fail, and then only says so: the relay rings again.

A dead broker must neither raise nor hold up the caller, so publishing has connections of its own with short
timeouts, and after a failure the process does not try for a while (figures: ledger.md 3).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from celery import current_app
from kombu import Producer
from kombu.exceptions import BatchPublishError, OperationalError  # type: ignore[attr-defined]
from redis.exceptions import RedisError

from core.jobs.kombu_guard import BELL_HEADER
from core.jobs.runs import Bell
from core.jobs.task import LEDGER_HEADER

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 0.3
SILENCE_SECONDS = 5.0
BROKER_ERRORS = (BatchPublishError, OperationalError, RedisError, OSError)
BATCH = 500


class _Line(threading.local):
    """One connection per thread; a forked child makes its own.

    Its batch stays open: without one kombu makes a client object for every message, a fifth of the cost.
    """

    pid = 0
    producer: Any = None
    batch: Any = None

    def open(self) -> Any:
        if self.producer is None or self.pid != os.getpid():
            app: Any = current_app
            options = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS, "max_retries": 0}
            connection = app.connection_for_write(transport_options=options)
            self.producer = app.amqp.Producer(connection, auto_declare=False)
            self.batch = self.producer.batch(max_size=BATCH).__enter__()
            self.pid = os.getpid()
        return self.producer

    def hang_up(self) -> None:
        producer = self.producer
        self.producer = self.batch = None
        if producer is not None and self.pid == os.getpid():
            with suppress(*BROKER_ERRORS):
                producer.connection.close()


_line = _Line()
_quiet_until = 0.0


def ring(bells: Iterable[Bell]) -> bool:
    """Announce runs. True when Redis has taken all of them; False is harmless, the relay tells it again."""
    bells = list(bells)
    app: Any = current_app

    def announce(producer: Producer) -> None:
        # not send_task: most of its work is for what stands in the row. The exchange must be the nameless one: what is
        # published to any other vanishes in silence when Redis has been emptied
        for bell in bells:
            message = app.amqp.as_task_v2(
                str(bell.id),
                bell.task,
                time_limit=bell.time_limit,
                soft_time_limit=bell.soft_time_limit,
                ignore_result=bell.ignore_result,  # None: as the task says
                argsrepr="()",
                kwargsrepr="{}",
            )
            headers = message.headers | {LEDGER_HEADER: True, BELL_HEADER: True}
            producer.publish(message.body, exchange="", routing_key=bell.queue, headers=headers, **message.properties)

    return not bells or _try(announce)


def hint(name: str, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any]) -> bool:
    """Publish a task that is not in the ledger. False when Redis did not take it: whoever asked must look again."""

    def announce(producer: Producer) -> None:
        current_app.send_task(
            name,
            tuple(args),
            dict(kwargs),
            task_id=task_id,
            producer=producer,
            retry=False,
            add_to_parent=False,
            **options | {"headers": {**(options.get("headers") or {}), BELL_HEADER: True}},
        )

    return _try(announce)


def _try(announce: Callable[[Producer], None]) -> bool:
    global _quiet_until  # noqa: PLW0603 - the process's one memory of a broker that does not answer
    if time.monotonic() < _quiet_until:
        return False
    try:
        announce(_line.open())
        _line.batch.flush()
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
