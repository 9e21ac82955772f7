"""Short ways to write audited rows, and to change them as somebody who owns the tables could."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction

from accounts.models import RoleChange, SecurityEvent
from core import clock
from core.base import chain
from core.base.models import AuditLog
from core.base.services import record
from tests.factories import UserFactory

TABLES = ("base_auditlog", "accounts_rolechange", "accounts_securityevent")


def a_row(number: int = 0, **about: Any) -> AuditLog:
    row: dict[str, Any] = {"action": "run.retried", "subject": ("run", f"{number}"), "actor_name": "ama", **about}
    return record(**row)


def rows(count: int) -> list[AuditLog]:
    return [a_row(number) for number in range(count)]


def a_security_event(**about: Any) -> SecurityEvent:
    event: dict[str, Any] = {"kind": "suspended", "ip": "2001:db8::1", "device": "Tecno", "at": clock.now(), **about}
    return SecurityEvent.objects.create(user=UserFactory.create(), **event)


def a_role_change() -> RoleChange:
    return RoleChange.objects.create(
        user=UserFactory.create(),
        changed_by=UserFactory.create(role="SUPER_ADMIN"),
        old_role="FARMER",
        new_role="AUDITOR",
        reason="joined the office",
    )


def chained(count: int) -> None:
    """So many rows of the audit log, each with its link."""
    rows(count)
    while chain.chain():
        pass


def sql(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return list(cursor.fetchall()) if cursor.description else []


@contextmanager
def triggers_off(table: str) -> Iterator[None]:
    """As the owner of the table can, who then leaves no trace of it."""
    with transaction.atomic():
        sql("SET CONSTRAINTS ALL IMMEDIATE")
        sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield
        sql(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def tamper(table: str, statement: str, *parameters: Any) -> None:
    with triggers_off(table):
        sql(statement, *parameters)
