"""What Redis holds, and a worker's way through one message without a worker process."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from celery import current_app
from celery.worker.request import Request

from stack.servers import Redis

QUEUES = ("urgent", "default", "bulk")


@dataclass
class Doorbell:
    server: Redis
    client: redis.Redis

    def rung(self, queue: str = "default") -> list[dict[str, Any]]:
        """The messages of a queue, oldest first, as they lie in Redis."""
        raw: list[bytes] = self.client.lrange(queue, 0, -1)  # type: ignore[assignment]
        return [json.loads(text) for text in reversed(raw)]

    def ids(self, queue: str = "default") -> list[str]:
        return [message["headers"]["id"] for message in self.rung(queue)]

    def everything(self) -> str:
        """All of Redis in one text, bodies decoded."""
        keys: list[bytes] = self.client.keys("*")  # type: ignore[assignment]
        return "\n".join(self._words(key) for key in keys)

    def _words(self, key: bytes) -> str:
        kind = self.client.type(key)
        client: Any = self.client
        values: list[bytes]
        match kind:
            case b"list":
                values = client.lrange(key, 0, -1)
            case b"hash":
                values = [part for pair in client.hgetall(key).items() for part in pair]
            case b"zset":
                values = client.zrange(key, 0, -1)
            case b"set":
                values = list(client.smembers(key))
            case _:
                values = [client.get(key)]
        words = [value.decode(errors="replace") for value in values]
        return " ".join([key.decode(), *words, *map(_body, words)])

    @contextmanager
    def frozen(self) -> Iterator[None]:
        assert self.server.process
        os.kill(self.server.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.server.process.pid, signal.SIGCONT)

    @contextmanager
    def dead(self) -> Iterator[None]:
        assert self.server.process
        self.server.process.kill()
        self.server.stop()
        yield
        self.server.start()

    def work(self, queue: str = "default", *, worker: str = "worker@test") -> int:
        """Do what a worker does with each message that waits now. Returns how many there were."""
        done = 0
        while self.work_one(queue, worker=worker):
            done += 1
        return done

    def work_one(self, queue: str = "default", *, worker: str = "worker@test", times: int = 1) -> bool:
        """The next message, `times` over: as when Redis delivers it again."""
        app: Any = current_app
        with app.connection_for_read() as connection:
            message = connection.default_channel.basic_get(queue)
            if message is None:
                return False
            for _ in range(times):
                request: Any = Request(message, app=app, hostname=worker)
                request.execute()
            message.ack()
        return True


def _body(text: str) -> str:
    """The arguments inside a message of Celery, if the text is one."""
    try:
        found = json.loads(text)
        return base64.b64decode(found["body"]).decode()
    except (ValueError, KeyError, TypeError):
        return ""
