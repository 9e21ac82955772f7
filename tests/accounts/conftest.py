"""Rows for direct inserts: what a valid row needs, so that each test breaks exactly one rule; and people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import User
from accounts.rules import Role
from accounts.services import secrets
from core.base.ids import new_id
from tests.factories import UserFactory
from tests.limits import one_minute, wide_limits

__all__ = ["one_minute", "wide_limits"]  # fixtures

Insert = Callable[..., Any]


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doors that answer steadily do so without waiting."""
    monkeypatch.setattr(secrets, "ANSWER_SECONDS", 0.0)


@pytest.fixture
def ama(db: None) -> User:
    """A farmer with an e-mail address."""
    return UserFactory.create(username="ama", phone="+233244000111", email="ama@example.com")


@pytest.fixture
def owner(db: None) -> User:
    return UserFactory.create(role=Role.SUPER_ADMIN)


@pytest.fixture
def head(db: None) -> User:
    return UserFactory.create(role=Role.NATIONAL_ADMIN)


@pytest.fixture
def insert(db) -> Insert:
    """insert("region", code="ZZ", …) writes a row with plain SQL, past every check in Python, and answers its id."""

    def write(model: str, **columns: Any) -> Any:
        row = {"id": new_id(), "created_at": timezone.now(), "updated_at": timezone.now(), **DEFAULTS[model], **columns}
        names = ", ".join(row)
        marks = ", ".join(["%s"] * len(row))
        with connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO accounts_{model} ({names}) VALUES ({marks})", list(row.values()))
        return row["id"]

    return write


DEFAULTS: dict[str, dict[str, Any]] = {
    "region": {"code": "ZZ", "name": "Test Region", "capital": "Test Town"},
    "district": {"name": "Test District", "kind": "district", "source": "demo_sample"},
    "constituency": {"code": "ZZZ", "name": "Test Constituency", "source": "demo_sample"},
    "user": {
        "username": "kofi",
        "email": "",
        "phone": "+233244999999",
        "password": "!",
        "first_name": "",
        "last_name": "",
        "role": "FARMER",
        "preferred_contact_method": "SMS",
        "language": "en",
        "email_verified": False,
        "phone_verified": False,
        "is_active": True,
        "is_superuser": False,
        "is_suspended": False,
        "suspension_reason": "",
        "token_version": 0,
        "failed_login_attempts": 0,
    },
    "accounttoken": {
        "purpose": "password_reset",
        "token_hash": "",
        "sent_to": "",
        "expires_at": timezone.now(),
    },
    "onetimecode": {
        "phone": "",
        "purpose": "phone_verification",
        "subject_id": "",
        "code_hash": "",
        "expires_at": timezone.now(),
        "attempts": 0,
    },
}
