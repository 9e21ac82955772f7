"""Rows for direct inserts: what a valid row needs, so that each test breaks exactly one rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from core.base.ids import new_id

Insert = Callable[..., Any]


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
}
