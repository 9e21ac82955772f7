"""The health report: what it finds, what it comes to, and when the admins hear of it."""

from __future__ import annotations

import shutil
import time
from collections import namedtuple
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.cache import cache
from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Now

from core import clock
from core.base.models import Setting
from core.delivery.models import OutboundMessage
from core.errors import InvalidInput
from core.health import report, rules, selectors, services
from core.health.models import HealthReport, Heartbeat
from core.health.rules import Finding, Kind, State
from core.jobs.models import TaskRun
from core.jobs.services import enqueue
from core.tasks import generate_system_health_report
from stack.servers import free_port
from tests.delivery.outbox import an_email, an_sms, meanwhile
from tests.jobs.doorbell import Doorbell

pytestmark = pytest.mark.django_db

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def alive(monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    """A system in order, on a disk with room."""
    services.beat("w1@test")
    services.beat_for(["beat@test"], Kind.BEAT)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100, 60, 40))
    cache.delete("system:health")


def made(**about: Any) -> dict[str, Any]:
    result: dict[str, Any] = generate_system_health_report(**about)
    return result


def found(name: str) -> dict[str, Any]:
    check: dict[str, Any] = HealthReport.objects.latest("at").checks[name]
    return check


def notices() -> list[str]:
    runs = TaskRun.objects.filter(task="core.tasks.send_admin_notification").order_by("asked_at")
    assert {run.args[0] for run in runs} <= {"health_change"}
    return [run.args[1]["report_id"] for run in runs]


def runs_waiting(count: int, queue: str = "bulk", **about: Any) -> None:
    now = clock.now()
    row = {"task": "core.tasks.x", "queue": queue, "state": "pending", "asked_at": now, "ring_at": now}
    TaskRun.objects.bulk_create([TaskRun(**(row | about)) for _ in range(count)])


def test_a_system_in_order_is_healthy_and_nobody_is_told() -> None:
    assert made() == {"status": "ok", "overall": "healthy", "failed": []}
    stored = HealthReport.objects.get()
    assert set(stored.checks) == {
        *("database", "cache", "broker", "workers", "queues", "beat", "disk", "sms_balance", "oldest_unsent")
    }
    assert stored.checks["sms_balance"]["state"] == "unknown"
    assert stored.checks["workers"]["value"] == 1
    assert {check["state"] for check in stored.checks.values()} == {"healthy", "unknown"}
    assert notices() == []


@pytest.mark.django_db(transaction=True)
def test_the_pages_read_it_from_the_cache() -> None:
    made()
    stored = HealthReport.objects.get()
    shown = cache.get("system:health")
    assert (shown["overall"], shown["at"]) == ("healthy", stored.at.isoformat())
    assert shown["checks"] == stored.checks


def no_worker() -> None:
    Heartbeat.objects.filter(kind="worker").update(seen_at=Now() - timedelta(minutes=6))


def old_beat() -> None:
    Heartbeat.objects.filter(kind="beat").update(seen_at=Now() - timedelta(minutes=11))


def no_beat() -> None:
    Heartbeat.objects.filter(kind="beat").delete()


def long_queue() -> None:
    runs_waiting(1_001)


def old_message() -> None:
    an_email()
    OutboundMessage.objects.update(created_at=Now() - timedelta(minutes=16))


@pytest.mark.parametrize(
    ("fault", "overall", "name", "words"),
    [
        (no_worker, "down", "workers", "celery -A core worker"),
        (old_beat, "degraded", "beat", "11 min ago"),
        (no_beat, "degraded", "beat", "celery -A core beat"),
        (long_queue, "degraded", "queues", "1,001 due tasks wait in the lane bulk"),
        (old_message, "degraded", "oldest_unsent", "16 min"),
    ],
)
def test_what_is_wrong_is_found_and_said(fault: Callable[[], None], overall: str, name: str, words: str) -> None:
    fault()
    assert made() == {"status": "ok", "overall": overall, "failed": [name]}
    assert words in found(name)["words"]
    assert len(notices()) == 1


def test_a_full_disk_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1000, 905, 95))
    assert made()["failed"] == ["disk"]
    assert "9.5 % free, less than 10 %" in found("disk")["words"]


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("health.queue_depth", 2, "queues"),
        ("health.disk_free_pct", 41, "disk"),
        ("health.worker_silence_min", "soon", "workers"),
    ],
)
def test_the_limits_are_settings_and_a_bad_one_is_a_finding(key: str, value: Any, name: str) -> None:
    runs_waiting(3)
    Setting.objects.create(key=key, value=value)
    assert made()["failed"] == [name]


def test_what_is_not_due_or_taken_does_not_wait() -> None:
    later = clock.now() + timedelta(hours=1)
    runs_waiting(3, due_at=later, ring_at=later)
    runs_waiting(2, queue="urgent")
    assert selectors.waiting_runs() == {"urgent": 2, "default": 0, "bulk": 0}


@pytest.mark.parametrize("fault", ["dead", "frozen"])
def test_without_a_broker_it_is_down_and_told_in_time(doorbell: Doorbell, fault: str) -> None:
    with doorbell.dead() if fault == "dead" else doorbell.frozen():
        began = time.monotonic()
        assert made()["overall"] == "down"
        assert time.monotonic() - began < 5
    assert "CELERY_BROKER_URL" in found("broker")["words"]
    assert len(notices()) == 1, "asked for as a row, although Redis is away"


@pytest.mark.parametrize("fault", ["dead", "frozen"])
def test_without_a_cache_it_is_degraded_and_told_in_time(
    settings: LazySettings, doorbell: Doorbell, fault: str
) -> None:
    redis = "django.core.cache.backends.redis.RedisCache"
    server = doorbell.server.url(1) if fault == "frozen" else f"redis://127.0.0.1:{free_port()}/1"
    settings.CACHES = {"default": {"BACKEND": redis, "LOCATION": server}}
    with doorbell.frozen() if fault == "frozen" else transaction.atomic():
        began = time.monotonic()
        finding = report.cached()
        assert time.monotonic() - began < 4
    assert finding.state == State.DEGRADED
    assert "REDIS_URL" in finding.words


@pytest.mark.django_db(transaction=True)
def test_a_query_that_takes_too_long_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "QUERY_SECONDS", 0.2)

    def slow() -> dict[str, int]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(20)")
        return {}

    monkeypatch.setattr(selectors, "waiting_runs", slow)
    assert made()["failed"] == ["queues"]
    assert "in time" in found("queues")["words"]
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("0",)


@pytest.mark.django_db(transaction=True)
def test_the_task_fails_when_the_report_cannot_be_written() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE health_healthreport RENAME TO away")
    try:
        with pytest.raises(DatabaseError):
            made()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE away RENAME TO health_healthreport")


# --- messages that wait --------------------------------------------------------------------------------------------


def test_a_message_waits_from_the_opening_of_its_window(
    settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SENDING_WINDOWS = True
    an_sms()
    now: datetime = clock.now()
    noon = now.replace(hour=12, minute=0)
    monkeypatch.setattr(clock, "now", lambda: noon)
    OutboundMessage.objects.update(created_at=now - timedelta(days=2), status="queued")
    waited = selectors.oldest_unsent()
    assert waited is not None
    opened = now.replace(hour=7, minute=0, second=0, microsecond=0)
    assert abs(waited - (now - opened)) < timedelta(seconds=10)
    OutboundMessage.objects.update(any_hour=True)
    assert selectors.oldest_unsent() > timedelta(days=1, hours=23)  # type: ignore[operator]
    OutboundMessage.objects.update(not_before=now - timedelta(minutes=3))
    assert selectors.oldest_unsent() < timedelta(minutes=4)  # type: ignore[operator]


def test_a_held_message_does_not_wait() -> None:
    an_email()
    OutboundMessage.objects.update(created_at=Now() - timedelta(hours=9), status="held")
    assert selectors.oldest_unsent() is None


# --- the notice ----------------------------------------------------------------------------------------------------


def test_the_admins_are_told_of_a_change_and_only_then() -> None:
    made()
    no_beat()
    made()
    made()
    assert len(notices()) == 1
    services.beat_for(["beat@test"], Kind.BEAT)
    made()
    made()
    changed = [HealthReport.objects.get(pk=pk).overall for pk in notices()]
    assert changed == ["degraded", "healthy"]
    assert HealthReport.objects.count() == 5


@pytest.mark.django_db(transaction=True)
def test_two_reports_at_once_tell_of_one_change() -> None:
    no_beat()
    with meanwhile(made, made, made):
        pass
    assert HealthReport.objects.count() == 3
    assert len(notices()) == 1


@pytest.mark.django_db(transaction=True)
def test_killed_before_the_commit_neither_report_nor_notice_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    no_beat()

    def dies(*args: Any) -> None:
        enqueue(*args)
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(report, "enqueue", dies)
        with pytest.raises(SystemExit):
            made()
    assert not HealthReport.objects.exists()
    assert notices() == []
    assert made()["overall"] == "degraded"
    assert len(notices()) == 1


@pytest.mark.parametrize("as_of", ["yesterday", 5])
def test_a_bad_as_of_is_refused(as_of: Any) -> None:
    with pytest.raises(InvalidInput):
        made(as_of=as_of)
    assert not HealthReport.objects.exists()


def findings(**states: State) -> dict[str, Finding]:
    return {name: Finding(state, "") for name, state in states.items()}


@pytest.mark.parametrize(
    ("states", "overall"),
    [
        ({}, State.HEALTHY),
        ({"a": State.HEALTHY, "b": State.UNKNOWN}, State.HEALTHY),
        ({"a": State.HEALTHY, "b": State.DEGRADED}, State.DEGRADED),
        ({"a": State.DEGRADED, "b": State.DOWN, "c": State.UNKNOWN}, State.DOWN),
    ],
)
def test_the_worst_that_is_known_decides(states: dict[str, State], overall: State) -> None:
    assert rules.overall(findings(**states)) == overall
