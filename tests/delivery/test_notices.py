"""Telling the admins: who is told, in which words, once."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from accounts.models import User
from core import clock
from core.base import registries
from core.base.registries import Notice, NoticeType, Severity
from core.delivery import dispatch, notices
from core.delivery.models import Notification, OutboundMessage
from core.delivery.notices import NobodyToTell
from core.errors import InvalidInput, NotFound
from core.health.models import HealthReport, Heartbeat
from core.jobs.models import TaskRun
from core.tasks import send_admin_notification
from tests.delivery.outbox import meanwhile
from tests.factories import UserFactory
from tests.sandbox.process import Sandbox

pytestmark = pytest.mark.django_db


@pytest.fixture
def admins(db: None) -> list[User]:
    """Two who are told and many who are not."""
    for role in ("NATIONAL_STAFF", "REGIONAL_ADMIN", "AUDITOR", "FARMER"):
        UserFactory.create(role=role)
    UserFactory.create(role="NATIONAL_ADMIN", is_active=False)
    UserFactory.create(role="NATIONAL_ADMIN", is_suspended=True, suspended_at=clock.now(), suspension_reason="on leave")
    return [
        UserFactory.create(role="SUPER_ADMIN", email="kofi@example.com"),
        UserFactory.create(role="NATIONAL_ADMIN", email="ama@example.com"),
    ]


def a_failed_run(task: str = "core.tasks.cleanup_old_notifications", **about: Any) -> TaskRun:
    now = clock.now()
    row = {
        "task": task,
        "queue": "default",
        "state": "failed",
        "trigger": "schedule",
        "schedule_entry": "cleanup-old-notifications",
        "asked_at": now,
        "started_at": now,
        "finished_at": now,
        "attempts": 4,
        "error_class": "OperationalError",
        "error_text": "connection to 10.0.0.7 refused for Ama Darko",
    }
    return TaskRun.objects.create(**(row | about))


def a_report(overall: str = "degraded", **checks: tuple[str, str]) -> HealthReport:
    found = {name: {"state": state, "words": words, "value": None} for name, (state, words) in checks.items()}
    return HealthReport.objects.create(at=clock.now(), overall=overall, checks=found)


def told(kind: str, /, **context: Any) -> dict[str, Any]:
    result: dict[str, Any] = send_admin_notification(kind, context)
    return result


def mails() -> list[OutboundMessage]:
    return list(OutboundMessage.objects.filter(channel="email").order_by("recipient"))


# --- who is told, and how ------------------------------------------------------------------------------------------


def test_every_active_admin_gets_an_e_mail_of_his_own_and_a_notice_in_the_application(
    admins: list[User], sandbox: Sandbox
) -> None:
    run = a_failed_run()
    assert told("system_error", task_id=str(run.pk)) == {"status": "ok", "recipients": 2, "no_contact": 0}
    assert [message.recipient for message in mails()] == ["ama@example.com", "kofi@example.com"]
    assert {message.purpose for message in mails()} == {"admin"}
    assert {message.user for message in mails()} == set(admins)
    assert set(Notification.objects.values_list("user", flat=True)) == {user.pk for user in admins}
    for message in mails():
        dispatch.deliver(message.pk)
    arrived = sandbox.messages()
    assert {mail["to"] for mail in arrived} == {"ama@example.com", "kofi@example.com"}
    assert sandbox.total() == 2
    assert not OutboundMessage.objects.filter(channel="sms").exists()
    [mail] = [mail for mail in arrived if mail["to"] == "ama@example.com"]
    assert mail["subject"] == 'The task "cleanup old notifications" has failed'
    assert f"manage.py runs show {run.pk}" in mail["text"]


def test_what_is_critical_goes_by_sms_too(admins: list[User], sandbox: Sandbox) -> None:
    report = a_report("down", broker=("down", "Redis does not answer"))
    assert told("health_change", report_id=str(report.pk))["recipients"] == 2
    texts = list(OutboundMessage.objects.filter(channel="sms"))
    assert {text.recipient for text in texts} == {user.phone for user in admins}
    assert {(text.purpose, text.parts) for text in texts} == {("admin", 1)}
    assert texts[0].body == "System health: down (broker). More in your e-mail and in the application."


@pytest.fixture
def of_severity(monkeypatch: pytest.MonkeyPatch) -> Callable[[Severity], None]:
    def choose(severity: Severity) -> None:
        notice = Notice("Eggs", "Eggs: 12", severity, ("farm", "7"), "7")
        monkeypatch.setitem(registries.notice_types, "eggs", NoticeType("platform", lambda _: notice))

    return choose


@pytest.mark.parametrize(("severity", "no_contact"), [(Severity.WARNING, 1), (Severity.CRITICAL, 0)])
def test_one_without_e_mail_is_counted_unless_an_sms_goes(
    monkeypatch: pytest.MonkeyPatch, of_severity: Callable[[Severity], None], severity: Severity, no_contact: int
) -> None:
    user = UserFactory.create(role="NATIONAL_ADMIN")
    nobody = registries.Recipient(user.pk, "", user.phone)
    monkeypatch.setitem(registries.audiences, "platform", lambda: [nobody])
    of_severity(severity)
    assert told("eggs") == {"status": "ok", "recipients": 1, "no_contact": no_contact}
    assert Notification.objects.get().user == user
    assert [sms.body for sms in OutboundMessage.objects.all()] == ["Eggs. More in the application."] * (1 - no_contact)


def test_an_address_that_is_none_is_no_contact(
    monkeypatch: pytest.MonkeyPatch, of_severity: Callable[[Severity], None]
) -> None:
    user = UserFactory.create(role="NATIONAL_ADMIN")
    monkeypatch.setitem(registries.audiences, "platform", lambda: [registries.Recipient(user.pk, "ama@", "")])
    of_severity(Severity.WARNING)
    assert told("eggs")["no_contact"] == 1


def test_a_suspension_that_is_over_does_not_keep_the_notice_back() -> None:
    before = clock.now() - timedelta(days=3)
    UserFactory.create(
        role="NATIONAL_ADMIN",
        is_suspended=True,
        suspended_at=before,
        suspended_until=before + timedelta(days=1),
        suspension_reason="on leave",
    )
    assert told("anything")["recipients"] == 1


def test_nobody_at_all_is_a_failure_that_says_what_to_do() -> None:
    UserFactory.create(role="FARMER")
    with pytest.raises(NobodyToTell, match="create an active"):
        told("anything")


# --- once ----------------------------------------------------------------------------------------------------------


def test_the_same_again_tells_nobody_twice(admins: list[User]) -> None:
    run = a_failed_run()
    first = told("system_error", task_id=str(run.pk))
    assert told("system_error", task_id=str(run.pk)) == first
    assert len(mails()) == Notification.objects.count() == 2


def test_a_task_that_fails_all_day_is_told_once_and_another_one_too(admins: list[User]) -> None:
    for task in ("core.tasks.cleanup_old_notifications", "core.tasks.prune_finished_runs"):
        for _ in range(3):
            told("system_error", task_id=str(a_failed_run(task).pk))
    assert Notification.objects.count() == 4
    yesterday = clock.now() - timedelta(days=1)
    told("system_error", task_id=str(a_failed_run(finished_at=yesterday).pk))
    assert Notification.objects.count() == 6


def test_a_raised_severity_is_told_again(admins: list[User], of_severity: Callable[[Severity], None]) -> None:
    for severity in (Severity.WARNING, Severity.WARNING, Severity.CRITICAL, Severity.CRITICAL):
        of_severity(severity)
        told("eggs")
    assert Notification.objects.count() == 4
    assert OutboundMessage.objects.filter(channel="sms").count() == 2


@pytest.mark.django_db(transaction=True)
def test_two_at_once_write_one_of_each(admins: list[User]) -> None:
    run = a_failed_run()
    with meanwhile(*[lambda: told("system_error", task_id=str(run.pk))] * 4):
        pass
    assert len(mails()) == Notification.objects.count() == 2


def test_a_run_that_is_repeated_tells_once_and_two_runs_tell_twice(admins: list[User]) -> None:
    for run_id in ("5e0d1f8e-7a51-4a4b-9c42-5d7f3a9f1f10", "5e0d1f8e-7a51-4a4b-9c42-5d7f3a9f1f11"):
        for _ in range(2):
            send_admin_notification.apply(args=("something",), task_id=run_id, throw=True)
    assert Notification.objects.count() == 4


def test_without_an_id_the_day_tells_two_notices_apart(admins: list[User]) -> None:
    for day in ("2026-11-22", "2026-11-22", "2026-11-23"):
        told("stale_applications", count=3, day=day)
    assert Notification.objects.count() == 4


def test_a_failure_after_some_were_written_leaves_nothing(admins: list[User], monkeypatch: pytest.MonkeyPatch) -> None:
    write = notices._write
    calls: list[int] = []

    def failing(*args: Any) -> Any:
        if calls:
            raise SystemExit
        calls.append(1)
        return write(*args)

    monkeypatch.setattr(notices, "_write", failing)
    with pytest.raises(SystemExit):
        told("anything")
    assert not Notification.objects.exists()
    assert not OutboundMessage.objects.exists()


# --- what cannot be told -------------------------------------------------------------------------------------------

NO_ROW = "5e0d1f8e-7a51-4a4b-9c42-5d7f3a9f1f12"


@pytest.mark.parametrize(
    ("kind", "context"),
    [
        ("system_error", {"task_id": NO_ROW}),
        ("health_change", {"report_id": NO_ROW}),
        ("process_silent", {"name": "celery@nowhere", "kind": "worker"}),
    ],
)
def test_a_row_that_does_not_exist_is_a_failure(admins: list[User], kind: str, context: Any) -> None:
    with pytest.raises(NotFound):
        send_admin_notification(kind, context)
    assert not Notification.objects.exists()


@pytest.mark.parametrize(
    ("kind", "context"),
    [
        ("system_error", None),
        ("system_error", {}),
        ("system_error", {"task_id": "the last one"}),
        ("system_error", []),
        ("system_error", "task_id"),
        ("health_change", {"report_id": None}),
        ("process_silent", {"name": "celery@a", "kind": "robot"}),
        ("process_silent", {"name": "two\nlines", "kind": "worker"}),
        ("process_silent", {"name": "celery@a", "kind": "worker", "since": "long ago"}),
        ("occurrences_missed", {"entry": "", "count": 1, "day": "2026-11-23"}),
        ("occurrences_missed", {"entry": "x", "count": 0, "day": "2026-11-23"}),
        ("occurrences_missed", {"entry": "x", "count": "many", "day": "2026-11-23"}),
        ("occurrences_missed", {"entry": "x", "count": 1, "day": "Monday"}),
        ("occurrences_missed", {"entry": "x", "count": 1}),
        ("", None),
        ("Ama Darko 0244123456", None),
        ("x" * 51, None),
        (None, None),
        (5, None),
    ],
)
def test_what_is_not_understood_is_refused_in_words(admins: list[User], kind: Any, context: Any) -> None:
    with pytest.raises(InvalidInput):
        send_admin_notification(kind, context)
    assert not Notification.objects.exists()


def test_a_type_that_nobody_registered_is_told_by_its_name_and_ids_alone(admins: list[User]) -> None:
    lead = str(uuid.uuid4())
    assert told("new_lead", lead_id=lead, name="Ama Darko", phone_id="0244123456")["recipients"] == 2
    notice = Notification.objects.first()
    assert notice
    assert (notice.title, notice.text) == ("Notice: new lead", f"The system reports: new lead.\nlead: {lead}")
    assert notice.subject_id == lead


# --- the words -----------------------------------------------------------------------------------------------------


def words(kind: str, /, **context: Any) -> tuple[str, str]:
    told(kind, **context)
    notice = Notification.objects.filter(kind=kind).latest("created_at")
    print(f"\n=== {kind}\nSubject: {notice.title}\n\n{notice.text}")
    return notice.title, notice.text


SINCE = "2026-11-23T06:00:00+00:00"


def test_the_words_of_a_failed_task(admins: list[User]) -> None:
    run = a_failed_run()
    title, text = words("system_error", task_id=str(run.pk))
    assert title == 'The task "cleanup old notifications" has failed'
    assert "after 4 attempts" in text
    assert "OperationalError" in text
    assert "Remove old notices and reports and the texts of old messages." in text
    assert f"manage.py runs show {run.pk}" in text
    assert "Ama" not in text, "the error's own text may name people"
    assert "(Accra)" in text


def test_the_words_of_a_failed_task_that_is_gone_from_the_code(admins: list[User]) -> None:
    _, text = words("system_error", task_id=str(a_failed_run("core.tasks.of_old", schedule_entry="").pk))
    assert "no longer part of the system" in text


def test_the_words_of_a_change_of_health(admins: list[User]) -> None:
    a_report("healthy", disk=("healthy", "40 % free"))
    worse = a_report(
        "degraded",
        disk=("degraded", "4.1 % free, less than 10 %: make room"),
        broker=("healthy", "answers"),
        sms_balance=("unknown", "not asked"),
    )
    title, text = words("health_change", report_id=str(worse.pk))
    assert title == "System health: degraded (disk)"
    assert "- disk: 4.1 % free, less than 10 %: make room" in text
    assert "Before, it was healthy." in text
    assert "Not known: sms balance." in text
    assert "broker" not in text
    again = a_report("healthy", disk=("healthy", "40 % free"))
    title, text = words("health_change", report_id=str(again.pk))
    assert title == "System health: healthy"
    assert "in order again" in text
    assert Notification.objects.latest("created_at").severity == "info"


@pytest.mark.parametrize(
    ("name", "kind", "title", "fix"),
    [
        ("celery@accra-1", "worker", "The worker celery@accra-1 has stopped", "celery -A core worker"),
        ("beat@accra-1", "beat", "The scheduler on accra-1 has stopped", "celery -A core beat"),
        ("sweep:dispatch", "sweep", 'The repair "dispatch" no longer works', "workers' log"),
        ("sweep:of-tomorrow", "sweep", 'The repair "of-tomorrow" no longer works', "workers' log"),
        ("all workers", "worker", "No worker is running: no SMS, e-mail or report goes out", "celery -A core worker"),
    ],
)
def test_the_words_of_silence(admins: list[User], name: str, kind: str, title: str, fix: str) -> None:
    found, text = words("process_silent", name=name, kind=kind, since=SINCE)
    assert found == title
    assert "Mon 23 Nov, 06:00 (Accra)" in text
    assert "What it means: " in text
    assert "What to do: " in text
    assert fix in text


def test_silence_without_a_time_is_read_from_the_last_sign_of_life(admins: list[User]) -> None:
    Heartbeat.objects.create(name="celery@a", kind="worker", seen_at=SINCE)
    assert "Mon 23 Nov, 06:00 (Accra)" in words("process_silent", name="celery@a", kind="worker")[1]


def test_each_silence_is_told_once(admins: list[User]) -> None:
    for since in (SINCE, SINCE, "2026-11-24T06:00:00+00:00"):
        told("process_silent", name="celery@a", kind="worker", since=since)
    assert Notification.objects.count() == 4


@pytest.mark.parametrize(("count", "begins"), [(1, "One scheduled time of"), (3, "3 scheduled times of")])
def test_the_words_of_missed_times(admins: list[User], count: int, begins: str) -> None:
    title, text = words("occurrences_missed", entry="generate-weekly-report", count=count, day="2026-11-23")
    assert title.startswith(f'{begins} "generate-weekly-report"')
    assert "Mon 23 Nov" in text
    assert "manage.py schedule" in text


def test_names_as_long_as_they_come(admins: list[User]) -> None:
    told("process_silent", name="celery@" + "a" * 190, kind="worker", since=SINCE)
    told("occurrences_missed", entry="e" * 200, count=1, day="2026-11-23")
    assert Notification.objects.count() == 4
