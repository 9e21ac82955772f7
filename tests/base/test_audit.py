"""The audit log: who did what, and that nobody takes it back."""

from __future__ import annotations

import uuid
from importlib import import_module

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction

from core.base import services
from core.base.models import AuditLog
from core.errors import InvalidInput
from tests.factories import UserFactory

migration = import_module("core.base.migrations.0003_audit_log")


@pytest.mark.django_db
def test_who_did_what_and_why_is_kept() -> None:
    user = UserFactory.create(role="NATIONAL_ADMIN")
    services.record(
        action="schedule.pause",
        subject=("schedule", "prune-finished-runs"),
        actor_id=user.pk,
        before={"paused": False},
        after={"paused": True},
        reason="the disk is being changed",
    )
    row = AuditLog.objects.get()
    assert (row.actor, row.action, row.subject_id) == (user, "schedule.pause", "prune-finished-runs")
    assert (row.before, row.after, row.reason) == ({"paused": False}, {"paused": True}, "the disk is being changed")
    with connection.cursor() as cursor:
        cursor.execute("SELECT abs(extract(epoch FROM clock_timestamp() - at)) < 5 FROM base_auditlog")
        assert cursor.fetchone() == (True,)


@pytest.mark.django_db
def test_somebody_at_the_command_line_is_named() -> None:
    name = services.at_the_command_line()
    assert name.endswith(" (command line)")
    assert "@" in name
    services.record(action="run.retry", subject=("run", str(uuid.uuid4())), actor_name=name)
    assert AuditLog.objects.get().actor_name == name


@pytest.mark.django_db
def test_a_change_by_nobody_is_refused() -> None:
    with pytest.raises(InvalidInput, match="who did it"):
        services.record(action="x", subject=("y", "z"), actor_name=" ")
    with pytest.raises(DatabaseError), transaction.atomic():
        AuditLog.objects.create(action="x", subject_type="y", subject_id="z", at="2026-01-01T00:00Z")
    assert not AuditLog.objects.exists()


@pytest.mark.django_db
def test_what_is_undone_leaves_no_audit_row() -> None:
    with transaction.atomic():
        services.record(action="x", subject=("y", "z"), actor_name="ama")
        transaction.set_rollback(True)
    assert not AuditLog.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement", ["UPDATE base_auditlog SET reason = 'other'", "DELETE FROM base_auditlog WHERE action = 'x'"]
)
def test_the_database_refuses_to_change_a_row(statement: str) -> None:
    services.record(action="x", subject=("y", "z"), actor_name="ama")
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    assert AuditLog.objects.get().reason == ""


@pytest.mark.django_db
def test_the_database_refuses_to_empty_the_table_except_where_tests_run() -> None:
    """In a database that is not named test_…, with the very statements of the migration."""
    settings = connection.settings_dict
    address = {"host": settings["HOST"], "port": settings["PORT"], "user": settings["USER"]}
    address |= {"password": settings["PASSWORD"], "autocommit": True}
    name = f"audit_{uuid.uuid4().hex}"
    with psycopg.connect(dbname="postgres", **address) as server:
        server.execute(f"CREATE DATABASE {name}")
        try:
            with psycopg.connect(dbname=name, **address) as line:
                line.execute(f"CREATE TABLE {migration.TABLE} (id int)")
                line.execute(migration.APPEND_ONLY)
                line.execute(f"INSERT INTO {migration.TABLE} VALUES (1)")
                with pytest.raises(psycopg.Error, match="append-only: TRUNCATE is refused"):
                    line.execute(f"TRUNCATE {migration.TABLE}")
                line.execute(migration.CHANGEABLE)
                line.execute(f"TRUNCATE {migration.TABLE}")
        finally:
            server.execute(f"DROP DATABASE {name}")
