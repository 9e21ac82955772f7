"""A sandbox and a Redis of this package's own, and a database that refuses a change of state the spec does not know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog
from celery import current_app
from django.conf import LazySettings
from django.db import connection
from django.db.models.functions import Now

from core.delivery import bucket
from core.delivery.gateways import hubtel
from core.delivery.models import OutboundMessage
from core.jobs import bell, relay
from stack.servers import Redis, free_port
from tests.delivery.outbox import Hints
from tests.delivery.spec import ALLOWED
from tests.sandbox.process import Sandbox

GUARD = """
CREATE OR REPLACE FUNCTION test_transition() RETURNS trigger AS $$
BEGIN
    IF NOT (OLD.status || '>' || NEW.status) = ANY (string_to_array('{allowed}', ',')) THEN
        RAISE EXCEPTION 'domain.md 4.6.2 knows no change from % to %', OLD.status, NEW.status;
    END IF;
    RETURN NEW;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER test_transition BEFORE UPDATE ON delivery_outboundmessage
    FOR EACH ROW WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION test_transition();
"""


@pytest.fixture(scope="package", autouse=True)
def only_known_transitions(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    if not str(connection.settings_dict["NAME"]).startswith("test_"):
        yield  # no chosen test needs a database, so pytest-django has made none
        return
    allowed = ",".join(sorted(f"{before}>{after}" for before, after in ALLOWED))
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(GUARD.replace("{allowed}", allowed))
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER test_transition ON delivery_outboundmessage; DROP FUNCTION test_transition()")
        connection.close()


@pytest.fixture(scope="package")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    running = Sandbox(tmp_path_factory.mktemp("sandbox") / "data")
    yield running
    running.stop()


@pytest.fixture
def sandbox(network: Sandbox, settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A phone network and a mailbox without messages and faults, to which the gateways of this process send."""
    network.reset()
    settings.HUBTEL_BASE_URL = f"{network.url}/v1/messages"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", network.smtp_port
    monkeypatch.setenv("HUBTEL_BASE_URL", settings.HUBTEL_BASE_URL)  # for processes that the test starts
    return network


@pytest.fixture(autouse=True)
def impatient(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateways that wait one second, with connections of this test only."""
    settings.HUBTEL_TIMEOUT_SECONDS = settings.EMAIL_TIMEOUT = 1
    monkeypatch.setattr(hubtel, "_clients", hubtel._Clients())


@pytest.fixture(scope="package")
def private_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    folder: Path = tmp_path_factory.mktemp("redis") / "data"
    with Redis(folder, free_port(), durable=False) as server:
        yield server


def forget_lines() -> None:
    """Every connection to Redis that the process remembers."""
    app: Any = current_app
    bell._line.hang_up()
    bell.listen_again()
    relay._look.client = None
    bucket.forget()
    app._local.backend = app._backend_cache = None


@pytest.fixture(autouse=True)
def hints(private_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hints]:
    """What workers are told on Redis in this test."""
    url = private_redis.url(0)
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):  # Celery reads both again and again
        monkeypatch.setenv(name, url)
    forget_lines()
    with redis.Redis.from_url(url, socket_timeout=5) as client:
        client.flushall()
        yield Hints(client)
    forget_lines()


@pytest.fixture(autouse=True)
def no_context() -> Iterator[None]:
    structlog.contextvars.clear_contextvars()
    yield
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def make_due() -> Callable[[], int]:
    """Let the waiting time of every message pass."""

    def pass_time() -> int:
        long_ago = Now() - timedelta(minutes=10)
        return OutboundMessage.objects.filter(due_at__isnull=False).update(due_at=long_ago, ring_at=long_ago)

    return pass_time


@pytest.fixture
def leases_over() -> Callable[[], int]:
    """Let the lease of every message that is being sent pass."""

    def pass_time() -> int:
        taken = OutboundMessage.objects.filter(lease_until__isnull=False)
        return taken.update(lease_until=Now() - timedelta(seconds=1))

    return pass_time
