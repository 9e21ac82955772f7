"""/healthz: this process answers. /readyz: what it needs answers too, each in words."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client

from core import clock
from core.health import services
from core.health.models import Heartbeat
from stack.servers import free_port
from tests.jobs.doorbell import Doorbell

pytestmark = pytest.mark.django_db


@pytest.fixture
def alive() -> None:
    services.beat("w1@test")


@pytest.fixture
def no_database(transactional_db: None) -> Iterator[None]:
    port = connection.settings_dict["PORT"]
    connection.close()
    connection.settings_dict["PORT"] = free_port()
    yield
    connection.close()
    connection.settings_dict["PORT"] = port


def wrong(client: Client) -> dict[str, str]:
    """The checks that are not ok."""
    answer = client.get("/readyz")
    told: dict[str, str] = {name: words for name, words in answer.json()["checks"].items() if words != "ok"}
    assert answer.status_code == (503 if told else 200)
    assert answer.json()["ready"] is not bool(told)
    assert "no-store" in answer.headers["Cache-Control"]
    return told


def test_ready_when_everything_answers(client: Client, alive: None) -> None:
    assert wrong(client) == {}
    assert set(client.get("/readyz").json()["checks"]) == {"database", "migrations", "broker", "worker"}


def test_not_ready_without_a_worker(client: Client) -> None:
    assert "celery -A core worker" in wrong(client)["worker"]


@pytest.mark.parametrize(("silent_for", "seen"), [(20, True), (40, False)])
def test_a_worker_that_is_silent_for_half_a_minute_is_not_counted(client: Client, silent_for: int, seen: bool) -> None:
    Heartbeat.objects.create(name="w1@test", seen_at=clock.now() - timedelta(seconds=silent_for))
    assert ("worker" not in wrong(client)) == seen


def test_a_worker_that_stops_in_order_is_not_counted_and_others_are(client: Client, alive: None) -> None:
    services.beat("w2@test")
    services.say_goodbye("w1@test")
    assert wrong(client) == {}
    services.say_goodbye("w2@test")
    assert "worker" in wrong(client)


def test_a_worker_beats_in_one_row_and_those_long_gone_are_forgotten(alive: None) -> None:
    Heartbeat.objects.create(name="old@test", seen_at=clock.now() - timedelta(days=8))
    services.beat("w1@test")
    assert list(Heartbeat.objects.values_list("name", flat=True)) == ["w1@test"]


@pytest.mark.parametrize("fault", ["dead", "frozen"])
def test_not_ready_and_told_in_time_when_redis_does_not_answer(
    client: Client, alive: None, doorbell: Doorbell, fault: str
) -> None:
    with doorbell.dead() if fault == "dead" else doorbell.frozen():
        began = time.monotonic()
        assert set(wrong(client)) == {"broker"}
        assert time.monotonic() - began < 3
        assert "CELERY_BROKER_URL" in wrong(client)["broker"]
        assert client.get("/healthz").status_code == 200
    assert wrong(client) == {}, "ready again by itself"


def test_not_ready_before_the_migrations(client: Client, alive: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'jobs'")
    assert set(wrong(client)) == {"migrations"}
    assert "manage.py migrate" in wrong(client)["migrations"]


def test_without_a_database_not_ready_in_words_without_secrets_and_healthy_all_the_same(
    client: Client, no_database: None
) -> None:
    told = wrong(client)
    assert set(told) == {"database", "migrations", "worker"}
    assert "DATABASE_URL" in told["database"]
    settings = connection.settings_dict
    for secret in (settings["PASSWORD"], settings["HOST"], str(settings["PORT"])):
        assert secret not in str(told)
    assert client.get("/healthz").content == b"ok\n"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_only_read(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405
    assert client.head(path).status_code in (200, 503)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_told_over_plain_http_behind_the_redirect_to_https(
    client: Client, settings: object, path: str
) -> None:
    settings.SECURE_SSL_REDIRECT = True  # type: ignore[attr-defined]
    assert client.get("/").status_code == 301
    assert client.get(path).status_code in (200, 503)
