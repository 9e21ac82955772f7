"""Limits of a minute (core.api.throttles): wide for all, or met on purpose. Import what is used into a conftest."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.cache import cache

from core.api import throttles


@pytest.fixture(autouse=True)
def wide_limits(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test meets a limit by chance, nor what is counted, or cleared, in another process beside it."""
    settings.SIGN_IN_LIMITS = dict.fromkeys(settings.SIGN_IN_LIMITS, 1_000_000)
    settings.API_LIMITS = dict.fromkeys(settings.API_LIMITS, 1_000_000)
    number = 2 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
    default: dict[str, Any] = dict(settings.CACHES["default"])
    settings.CACHES = {"default": default | {"LOCATION": f"{default['LOCATION'].rpartition('/')[0]}/{number}"}}
    monkeypatch.setattr(throttles.counts, "away_until", 0.0)


@pytest.fixture
def one_minute(wide_limits: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The minute does not end within a test, and begins with empty counters."""
    now = time.time() // 60 * 60 + 10
    monkeypatch.setattr("core.api.throttles.time.time", lambda: now)
    cache.clear()
