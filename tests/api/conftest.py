"""People at their places, clients that are signed in as them, and limits that no test meets by chance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client

from accounts.models import Constituency, User
from accounts.rules import Role
from accounts.services import secrets
from tests.factories import UserFactory
from tests.limits import one_minute, wide_limits

__all__ = ["one_minute", "wide_limits"]  # fixtures

API = "/api/v1"
SignIn = Callable[..., Client]


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doors that answer steadily do so without waiting."""
    monkeypatch.setattr(secrets, "ANSWER_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def files(settings: LazySettings, tmp_path: Path) -> Path:
    """Where documents are kept."""
    settings.MEDIA_ROOT = str(tmp_path / "files")
    return tmp_path / "files"


def living_in(code: str, role: str = Role.FARMER, **fields: Any) -> User:
    return UserFactory.create(role=role, constituency=Constituency.objects.get(code=code), **fields)


@pytest.fixture
def sign_in() -> SignIn:
    """sign_in(user) answers a client; it raises nothing itself, so that a 500 is seen as one."""

    def as_one(user: User, **options: Any) -> Client:
        client = Client(raise_request_exception=False, **options)
        client.force_login(user)
        return client

    return as_one


@pytest.fixture
def head(db: None) -> User:
    return UserFactory.create(role=Role.NATIONAL_ADMIN)
