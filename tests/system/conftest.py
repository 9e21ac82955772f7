from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from django.conf import settings

from tests.sandbox.process import Sandbox
from tests.system.product import Process, worker


@pytest.fixture
def sandbox(tmp_path: Path, transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A phone network and a mailbox of the test's own; processes started after it send there."""
    running = Sandbox(tmp_path / "sandbox")
    monkeypatch.setenv("HUBTEL_BASE_URL", f"{running.url}/v1/messages")
    monkeypatch.setenv("EMAIL_PORT", str(running.smtp_port))
    yield running
    running.stop()


@pytest.fixture
def empty_redis(transactional_db: None) -> Iterator[None]:
    redis.Redis.from_url(settings.CELERY_BROKER_URL).flushall()
    yield
    redis.Redis.from_url(settings.CELERY_BROKER_URL).flushall()


@pytest.fixture
def a_worker(tmp_path: Path, sandbox: Sandbox, empty_redis: None) -> Iterator[Process]:
    """A plain worker, as documented, on the test's database, Redis and sandbox."""
    process = worker(tmp_path / "worker.log", "-c", "2")
    yield process
    process.stop()
