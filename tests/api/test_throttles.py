"""Limits a minute for each person, stranger and address; a cache that is away holds nobody up."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from django.conf import LazySettings
from django.test import Client

from accounts.models import User
from core.api import throttles
from tests.api.conftest import API, SignIn
from tests.factories import UserFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("one_minute")]


def statuses(client: Client, count: int, **headers: str) -> list[int]:
    return [client.get(f"{API}/me/", headers=headers).status_code for _ in range(count)]


def test_a_person_has_a_limit_of_their_own(sign_in: SignIn, head: User, settings: LazySettings) -> None:
    settings.API_LIMITS = {"person": 3, "stranger": 1, "address": 1_000}
    assert statuses(sign_in(head), 5) == [200, 200, 200, 429, 429]
    assert statuses(sign_in(UserFactory.create()), 1) == [200]
    told = sign_in(head).get(f"{API}/me/")
    assert told["Content-Type"] == "application/problem+json"
    assert told.json()["code"] == "throttled"
    assert told["Retry-After"] == "50"


def test_strangers_are_counted_by_address(client: Client, settings: LazySettings) -> None:
    settings.API_LIMITS = {"person": 1_000, "stranger": 2, "address": 1_000}
    assert statuses(client, 3) == [401, 401, 401], "who is refused already is not told more by the limit"
    assert [client.get(f"{API}/schema/").status_code for _ in range(3)] == [200, 200, 429]


def test_all_who_share_an_address_have_a_limit_together(sign_in: SignIn, settings: LazySettings) -> None:
    settings.API_LIMITS = {"person": 1_000, "stranger": 1_000, "address": 3}
    assert statuses(sign_in(UserFactory.create()), 2) == [200, 200]
    assert statuses(sign_in(UserFactory.create()), 2) == [200, 429]


def test_no_address_stands_in_the_cache(sign_in: SignIn, head: User, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[str] = []

    def count(key: str) -> int:
        keys.append(key)
        return 1

    monkeypatch.setattr(throttles.counts, "count", count)
    statuses(sign_in(head), 1)
    assert len(keys) == 2
    assert not [key for key in keys if "127.0.0.1" in key]


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port where somebody takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield server.getsockname()[1]


def with_cache_at(settings: LazySettings, port: int) -> None:
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": f"redis://127.0.0.1:{port}/1"}}


@pytest.mark.parametrize("kind", ["nobody there", "no answer"])
def test_a_cache_that_is_away_holds_nobody_up(
    sign_in: SignIn, head: User, settings: LazySettings, deaf: int, kind: str
) -> None:
    settings.API_LIMITS = {"person": 1, "stranger": 1, "address": 1}
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with_cache_at(settings, deaf if kind == "no answer" else port)
    client = sign_in(head)
    started = time.monotonic()
    with structlog.testing.capture_logs() as logs:
        assert statuses(client, 5) == [200] * 5
    assert time.monotonic() - started < 3
    told = [line for line in logs if line["event"] == "throttle_cache_away"]
    assert len(told) == 1
    assert told[0]["log_level"] == "warning"


def test_limits_hold_again_when_the_cache_is_back(
    sign_in: SignIn, head: User, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.API_LIMITS = {"person": 1, "stranger": 1, "address": 1_000}
    monkeypatch.setattr(throttles.counts, "away_until", time.monotonic() + 60)
    assert statuses(sign_in(head), 3) == [200] * 3
    monkeypatch.setattr(throttles.counts, "away_until", 0.0)
    assert statuses(sign_in(head), 3) == [200, 429, 429]


def test_the_cache_in_the_database_counts_too(sign_in: SignIn, head: User, settings: LazySettings) -> None:
    backend: dict[str, Any] = {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": settings.CACHE_TABLE,
    }
    settings.CACHES = {"default": backend}
    settings.API_LIMITS = {"person": 2, "stranger": 1, "address": 1_000}
    assert statuses(sign_in(head), 3) == [200, 200, 429]
