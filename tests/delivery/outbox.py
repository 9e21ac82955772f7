"""Short ways to write messages and to look at what became of them."""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from django.db import connection

from core.delivery import services
from core.delivery.models import OutboundMessage
from core.delivery.rules import Purpose

PHONE = "+233244123456"
MOMENT_SECONDS = 5.0


def phones(count: int, first: int = 0) -> list[str]:
    """Good numbers, each once."""
    return [f"+23324{first + n:07d}" for n in range(count)]


def an_sms(phone: str = PHONE, text: str = "Hello", **about: Any) -> OutboundMessage:
    about = {"purpose": Purpose.SERVICE, "key": str(uuid.uuid4()), **about}
    return services.queue_sms(phone, text, **about)


def an_email(address: str = "ama@example.com", **about: Any) -> OutboundMessage:
    about = {"title": "Report", "text": "Eggs: 12", "purpose": Purpose.SERVICE, "key": str(uuid.uuid4()), **about}
    return services.queue_email(address, **about)


def again(message: OutboundMessage) -> OutboundMessage:
    """The row as it is now."""
    return OutboundMessage.objects.select_related("last_attempt").get(pk=message.pk)


def wait_for(true: Callable[[], object], what: str, seconds: float = MOMENT_SECONDS) -> None:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def somebody_waits_for_us() -> bool:
    """Whether another connection waits for a lock that the transaction of this one holds."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid)))"
        )
        return bool(cursor.fetchone()[0])


class Aside(threading.Thread):
    """Work in a thread with a database connection of its own. `error` is what it raised."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.work, self.error = work, None

    error: BaseException | None

    def run(self) -> None:
        try:
            self.work()
        except Exception as error:  # noqa: BLE001 - told by `meanwhile`
            self.error = error
        finally:
            connection.close()


@contextmanager
def meanwhile(*work: Callable[[], object], seconds: float = 30) -> Iterator[None]:
    """Run these side by side, and wait for them at the end."""
    threads = [Aside(each) for each in work]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join(seconds)
    assert not any(thread.is_alive() for thread in threads)
    assert [thread.error for thread in threads if thread.error] == []


class Hints:
    """What waits on Redis for the workers."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def __call__(self) -> list[tuple[str, str, list[Any]]]:
        """Queue, task and arguments of every waiting hint."""
        found = []
        for queue in ("urgent", "default", "bulk"):
            for raw in reversed(self.client.lrange(queue, 0, -1)):
                envelope = json.loads(raw)
                args, _, _ = json.loads(base64.b64decode(envelope["body"]))
                found.append((queue, envelope["headers"]["task"], args))
        return found

    def forget(self) -> None:
        """Redis has lost everything."""
        self.client.flushall()
