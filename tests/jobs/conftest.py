"""A Redis of this package's own, so that tests may look into it, empty it, freeze it and kill it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog
from celery import current_app
from django.db import connection

from core.jobs import bell, relay
from stack.servers import Redis, free_port
from tests.jobs.doorbell import Doorbell


@pytest.fixture(scope="session")
def private_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    folder: Path = tmp_path_factory.mktemp("redis") / "data"
    server = Redis(folder, free_port(), durable=False)
    with server:
        yield server


@pytest.fixture(autouse=True)
def doorbell(private_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doorbell]:
    """The Celery app of this test rings here."""
    monkeypatch.setattr(relay._calm, "since", float("-inf"))  # the sweeps have long been going on
    monkeypatch.setattr(relay._calm, "last", float("inf"))
    if private_redis.process is None or private_redis.process.poll() is not None:
        private_redis.start()
    url = private_redis.url(0)
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):  # Celery reads both again and again
        monkeypatch.setenv(name, url)
    forget_lines()
    with redis.Redis.from_url(url, socket_timeout=5) as client:
        client.flushall()
        yield Doorbell(private_redis, client)
    forget_lines()


def forget_lines() -> None:
    """Every connection to Redis that the process remembers."""
    app: Any = current_app
    backend = getattr(app._local, "backend", None) or app._backend_cache
    if backend:  # a result that is thrown away later would look for this Redis
        backend.result_consumer.subscribed_to.clear()
    bell._line.hang_up()
    bell.listen_again()
    relay._look.client = None
    app._local.backend = app._backend_cache = None


@pytest.fixture
def at_once(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ask outside a transaction rings at once, although the test itself is one transaction (far faster to undo)."""
    if not connection.in_atomic_block:
        return  # a test with real commits
    depth, later = len(connection.savepoint_ids), connection.on_commit

    def on_commit(call: Callable[[], object], robust: bool = False) -> None:
        if len(connection.savepoint_ids) == depth:
            call()
        else:
            later(call, robust)

    monkeypatch.setattr(connection, "on_commit", on_commit)


@pytest.fixture(autouse=True)
def no_context() -> Iterator[None]:
    """Log context left over by one test is not another's request."""
    structlog.contextvars.clear_contextvars()
    yield
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def calls() -> Iterator[list[Any]]:
    """What the tests' own tasks have done."""
    from tests.jobs import tasks

    tasks.calls.clear()
    yield tasks.calls
    tasks.calls.clear()
