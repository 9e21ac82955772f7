"""The hourly metrics: which hour, which figures, and that a second run changes nothing that it cannot know."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db.models import QuerySet

from core import clock
from core.base import registries
from core.base.registries import Hour, SystemFigure
from core.delivery.models import OutboundMessage
from core.errors import InvalidInput
from core.health.models import SystemMetric
from core.jobs.models import TaskRun
from core.tasks import aggregate_system_metrics
from tests.delivery.outbox import an_email, meanwhile
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

SIX = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def five_past_six(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: SIX + timedelta(minutes=5))


def aggregated(as_of: Any = None) -> str:
    result = aggregate_system_metrics(as_of=as_of)
    assert result["status"] == "ok"
    return str(result["hour"])


def payload() -> dict[str, Any]:
    found: dict[str, Any] = SystemMetric.objects.get().payload
    return found


@pytest.mark.parametrize(
    ("as_of", "hour"),
    [
        (None, "2026-11-23T05:00:00+00:00"),
        ("2026-11-23T06:05:00+00:00", "2026-11-23T05:00:00+00:00"),
        ("2026-11-23T06:00:00", "2026-11-23T05:00:00+00:00"),
        ("2026-11-23T05:59:59", "2026-11-23T04:00:00+00:00"),
        ("2026-11-23", "2026-11-22T23:00:00+00:00"),
    ],
)
def test_it_is_the_full_hour_before(as_of: str | None, hour: str) -> None:
    assert aggregated(as_of) == hour
    assert SystemMetric.objects.get().hour == datetime.fromisoformat(hour)


def accept(messages: QuerySet[OutboundMessage]) -> None:
    """As a call does it."""
    ids = list(messages.values_list("pk", flat=True))
    chosen = OutboundMessage.objects.filter(pk__in=ids)
    chosen.update(status="submitting", due_at=None, ring_at=None, lease_until=clock.now())
    chosen.update(status="accepted", lease_until=None)


def test_what_is_counted() -> None:
    for role in ("FARMER", "FARMER", "SUPER_ADMIN", "NATIONAL_STAFF", "REGIONAL_ADMIN", "VETERINARY_OFFICER"):
        UserFactory.create(role=role)
    UserFactory.create(role="FARMER", is_active=False)
    TaskRun.objects.create(
        task="core.tasks.x", queue="bulk", state="pending", asked_at=SIX, ring_at=SIX - timedelta(days=400)
    )
    moments = {"in": SIX - timedelta(minutes=30), "first": SIX - timedelta(hours=1), "after": SIX}
    for address, moment in moments.items():
        OutboundMessage.objects.filter(pk=an_email(f"{address}@example.com").pk).update(created_at=moment)
    accept(OutboundMessage.objects.filter(recipient="in@example.com"))
    aggregated()
    assert payload() == {
        "farmers": 2,
        "users_by_level": {
            "platform": 1,
            "national": 1,
            "regional": 1,
            "constituency": 0,
            "field": 1,
            "specialist": 0,
            "business": 0,
            "end user": 2,
        },
        "queue_depth": {"urgent": 0, "default": 0, "bulk": 1},
        "messages_by_state": {"accepted": 1, "queued": 1},
        "audit_head": None,
        "audit_pending": 0,
        "farms_by_status": {"active": 0, "inactive": 0, "suspended": 0},
        "flocks": 0,
        "birds": 0,
    }


def test_a_second_run_overwrites_the_hour() -> None:
    aggregated()
    UserFactory.create(role="FARMER")
    aggregated()
    assert payload()["farmers"] == 1


def test_a_late_run_leaves_what_nobody_can_know_any_more_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    UserFactory.create(role="FARMER")
    an_email()
    OutboundMessage.objects.update(created_at=SIX - timedelta(minutes=1))
    aggregated()
    UserFactory.create(role="FARMER")
    accept(OutboundMessage.objects.all())
    monkeypatch.setattr(clock, "now", lambda: SIX + timedelta(days=3))
    aggregated("2026-11-23T06:05:00")
    assert payload()["farmers"] == 1
    assert payload()["messages_by_state"] == {"accepted": 1}
    aggregated("2026-11-20T06:05:00")
    assert set(SystemMetric.objects.earliest("hour").payload) == {"messages_by_state"}


@pytest.mark.django_db(transaction=True)
def test_two_at_once_write_one_row_and_the_cache_has_it() -> None:
    with meanwhile(aggregated, aggregated, aggregated):
        pass
    row = SystemMetric.objects.get()
    assert cache.get("system:metrics") == {"hour": row.hour.isoformat(), **row.payload}
    aggregated("2026-11-20T06:05:00")
    assert cache.get("system:metrics")["hour"] == row.hour.isoformat(), "the newest hour stays"


def test_other_apps_add_figures_and_are_called_after(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Hour] = []
    figure = SystemFigure(lambda hour: {"eggs": hour.start.hour}, of_now=False)
    monkeypatch.setitem(registries.system_figures, "eggs", figure)
    monkeypatch.setitem(registries.after_metrics, "dashboards", called.append)
    aggregated()
    assert payload()["eggs"] == 5
    assert [hour.end for hour in called] == [SIX]


def test_a_hook_that_fails_leaves_no_half_written_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registries.after_metrics, "dashboards", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        aggregated()
    assert not SystemMetric.objects.exists()


@pytest.mark.parametrize("as_of", ["", "noon", "2026-11-31", 6, "2026-12-23"])
def test_a_bad_or_future_as_of_is_refused(as_of: Any) -> None:
    with pytest.raises(InvalidInput):
        aggregated(as_of)
    assert not SystemMetric.objects.exists()
