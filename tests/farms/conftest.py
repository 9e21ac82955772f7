"""The people of these tests, and rows for direct inserts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from django.utils import timezone

from accounts.models import Constituency, User
from accounts.rules import Role
from core.base.ids import new_id
from tests.factories import UserFactory


@pytest.fixture(autouse=True)
def files(settings: LazySettings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = str(tmp_path / "files")
    return tmp_path / "files"


def living_in(code: str, role: Role, **fields: Any) -> User:
    return UserFactory.create(role=role, constituency=Constituency.objects.get(code=code), **fields)


@pytest.fixture
def bantama(db: None) -> Constituency:
    return Constituency.objects.select_related("region", "district").get(code="BNT")


@pytest.fixture
def local(bantama: Constituency) -> User:
    """The admin of Bantama, in Ashanti."""
    return living_in("BNT", Role.CONSTITUENCY_ADMIN)


@pytest.fixture
def regional(bantama: Constituency) -> User:
    return living_in("BNT", Role.REGIONAL_ADMIN)


@pytest.fixture
def national(db: None) -> User:
    return UserFactory.create(role=Role.NATIONAL_ADMIN)


Insert = Callable[..., Any]


@pytest.fixture
def insert(db: None) -> Insert:
    """insert(FarmLocation(…), digital_address="x") writes the row of an unsaved object with plain SQL, past every check
    in Python, with these columns instead of its own.
    """

    def write(row: Any, **columns: Any) -> Any:
        row.pk = row.pk or new_id()
        values = {
            field.column: field.get_db_prep_save(field.pre_save(row, add=True), connection)
            for field in row._meta.local_concrete_fields
        }
        values |= {"created_at": timezone.now()} if "created_at" in values else {}
        values |= columns
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {row._meta.db_table} ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))})",
                list(values.values()),
            )
        return row

    return write
