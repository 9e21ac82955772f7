"""A report is one row for its kind, scope and period, whatever happens while it is made."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
import structlog
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor

from core import clock
from core.base.retention import cleanup
from core.reporting import services
from core.reporting.models import Report
from core.reporting.rules import TRANSITIONS, Kind, Status
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

FIRST, LAST = date(2026, 6, 1), date(2026, 6, 30)


def make(content: Any = None, **about: Any) -> Report:
    given: dict[str, Any] = {
        "kind": Kind.FARM_ACTIVITY,
        "scope": "farm:1",
        "first": FIRST,
        "last": LAST,
        "now": clock.now(),
    }
    return services.make(content=lambda: content or {"eggs": 1}, **given | about)


def test_it_runs_while_it_is_made_and_is_ready_then() -> None:
    seen = []

    def content() -> dict[str, int]:
        seen.append(Report.objects.get().status)
        return {"eggs": 1}

    made = services.make(kind=Kind.PRODUCTION, scope="farm:1", first=FIRST, last=LAST, content=content, now=clock.now())
    assert seen == ["running"]
    assert (made.status, made.revision, made.content) == ("ready", 1, {"eggs": 1})
    assert made.expires_at is not None
    assert timedelta(days=29) < made.expires_at - clock.now() <= timedelta(days=30)


def test_what_raises_leaves_it_failed_and_the_next_one_makes_it() -> None:
    def content() -> dict[str, int]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        services.make(kind=Kind.BRIEF, scope="all", first=FIRST, last=LAST, content=content, now=clock.now())
    assert Report.objects.get().status == "failed"
    made = make(kind=Kind.BRIEF, scope="all")
    assert (made.pk, made.status, made.revision) == (Report.objects.get().pk, "ready", 1)


def test_one_that_ends_beside_one_that_failed_is_ready() -> None:
    def content() -> dict[str, int]:
        Report.objects.update(status="failed")
        return {"eggs": 1}

    made = services.make(kind=Kind.BRIEF, scope="all", first=FIRST, last=LAST, content=content, now=clock.now())
    assert made.status == "ready"


def test_the_same_in_another_order_is_no_revision() -> None:
    assert make({"a": 1, "b": 2}).revision == 1
    assert make({"b": 2, "a": 1}).revision == 1
    assert make({"a": 1, "b": 3}).revision == 2
    assert make({"a": 1, "b": 2}).revision == 3
    assert Report.objects.count() == 1
    assert make(last=date(2026, 7, 1)).revision == 1
    assert Report.objects.count() == 2


def test_it_knows_who_asked_for_it_first() -> None:
    ama = UserFactory.create()
    with structlog.contextvars.bound_contextvars(user_id=str(ama.pk)):
        assert make().requested_by_id == ama.pk
    assert make().requested_by_id == ama.pk


def test_the_content_goes_after_thirty_days_and_the_row_stays() -> None:
    old = make(now=clock.now() - timedelta(days=31))
    young = make(scope="farm:2", now=clock.now() - timedelta(days=29))
    assert cleanup(days=None, now=clock.now())["reports"] == 1
    for row in (old, young):
        row.refresh_from_db()
    assert (old.content, young.content) == (None, {"eggs": 1})
    assert (old.status, old.revision) == ("ready", 1)


@pytest.mark.parametrize("before", Status)
@pytest.mark.parametrize("after", Status)
def test_the_database_keeps_the_ways_of_the_rules(before: Status, after: Status) -> None:
    row = make()
    for status in {Status.READY: [], Status.RUNNING: ["running"], Status.FAILED: ["running", "failed"]}[before]:
        Report.objects.update(status=status)
    allowed = after == before or after in TRANSITIONS[before]
    if allowed:
        Report.objects.filter(pk=row.pk).update(status=after)
    else:
        with pytest.raises(DatabaseError, match="may not go from"), transaction.atomic():
            Report.objects.filter(pk=row.pk).update(status=after)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "gossip"},
        {"status": "perhaps"},
        {"period_from": date(2026, 7, 1)},
        {"revision": 0},
        {"expires_at": None},
        {"content_hash": ""},
    ],
)
def test_the_database_refuses_a_row_that_cannot_be(wrong: dict[str, Any]) -> None:
    make()
    with pytest.raises(DatabaseError), transaction.atomic():
        Report.objects.update(**wrong)


def test_a_report_is_there_once() -> None:
    row = make()
    with pytest.raises(DatabaseError, match="report_once"), transaction.atomic():
        Report.objects.create(kind=row.kind, scope=row.scope, period_from=FIRST, period_to=LAST)


@pytest.mark.django_db(transaction=True)
def test_the_migration_goes_and_comes_back() -> None:
    call_command("makemigrations", "reporting", check=True, dry_run=True, verbosity=0)
    executor = MigrationExecutor(connection)
    leaves = executor.loader.graph.leaf_nodes()
    executor.migrate([("reporting", None)])
    assert "reporting_report" not in connection.introspection.table_names()
    MigrationExecutor(connection).migrate(leaves)
    assert make().status == "ready"
