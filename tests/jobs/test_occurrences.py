"""Every scheduled time runs once, whoever fires it and however late."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import current_app
from django.db import connection
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule

from core import clock
from core.jobs import occurrences, relay
from core.jobs.models import Occurrence, ScheduleEntry, TaskRun
from core.jobs.rules import Late
from core.jobs.schedule import Entry
from tests.jobs import tasks
from tests.jobs.doorbell import Doorbell

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("at_once")]

ADD = "tests.jobs.tasks.dated"


def table(cron: str = "* * * * *", late: Late = Late.RUN_ONCE, task: str = ADD, **more: Any) -> dict[str, Entry]:
    return {"dated": Entry(task, cron, late=late, **more)}


def entry(name: str = "dated") -> ScheduleEntry:
    return ScheduleEntry.objects.get(name=name)


def away(minutes: float, name: str = "dated") -> None:
    """Nobody has looked for so long."""
    Occurrence.objects.filter(entry=name).delete()
    since = clock.now() - timedelta(minutes=minutes)
    ScheduleEntry.objects.filter(name=name).update(followed_until=since, next_at=since)


def past(name: str = "dated") -> list[tuple[str, bool]]:
    rows = Occurrence.objects.filter(entry=name, due_at__lte=clock.now()).order_by("due_at")
    return list(rows.values_list("state", "late"))


def dues() -> list[datetime]:
    return list(Occurrence.objects.order_by("due_at").values_list("due_at", flat=True))


@pytest.fixture(autouse=True)
def only_ours() -> None:
    Occurrence.objects.all().delete()
    ScheduleEntry.objects.all().delete()


def test_a_new_entry_is_followed_from_now_on() -> None:
    occurrences.follow_code(table("0 9 * * 1-5"))
    assert len(dues()) >= 1
    assert min(dues()) > clock.now()
    assert entry().next_at == min(dues())
    assert not TaskRun.objects.exists()


def test_a_frequent_entry_is_written_ahead_but_not_without_end() -> None:
    occurrences.follow_code(table("* * * * *"))
    for _ in range(3):
        occurrences.settle("dated")
    assert len(dues()) == occurrences.MOST_AHEAD
    assert all(later - earlier == timedelta(minutes=1) for earlier, later in zip(dues(), dues()[1:], strict=False))


@pytest.mark.django_db(transaction=True)
def test_what_is_due_runs_once_and_gets_its_due_time(doorbell: Doorbell, calls: list[Any]) -> None:
    occurrences.follow_code(table("* * * * *"))
    away(1.2)
    assert len(occurrences.settle("dated")) == 1
    assert occurrences.settle("dated") == [], "a second hint finds it decided"
    doorbell.work()
    run = TaskRun.objects.get()
    done = Occurrence.objects.get(run=run.pk)
    assert calls == [done.due_at.isoformat()]
    assert (run.trigger, run.schedule_entry, run.occurrence) == ("schedule", "dated", done.pk)


@pytest.mark.parametrize(
    ("late", "older", "newest"),
    [(Late.RUN_ONCE, "skipped", "run"), (Late.RUN_EACH, "run", "run"), (Late.SKIP, "skipped", "run")],
)
def test_after_a_gap_the_policy_decides(late: Late, older: str, newest: str) -> None:
    occurrences.follow_code(table("* * * * *", late))
    away(30)
    settled = occurrences.settle("dated")
    states = [state for state, _ in past() if state != "expected"]  # one may have come due since
    assert states[-1] == newest
    assert set(states[:-1]) == {older}
    assert 29 <= len(states) - 1 <= 31, "one a minute; the clock may pass one or two meanwhile"
    assert len(settled) == states.count("run") == TaskRun.objects.filter(schedule_entry="dated").count()
    five_minutes_ago = clock.now() - timedelta(minutes=5)
    for one in Occurrence.objects.filter(due_at__lte=clock.now()):
        if abs(one.due_at - five_minutes_ago) > timedelta(seconds=10):
            assert one.late == (one.due_at < five_minutes_ago)


def test_a_whole_night_missed_by_a_skipping_entry_is_skipped_with_its_reason() -> None:
    occurrences.follow_code(table("0 0 1 1 *", Late.SKIP))
    now = clock.now()
    Occurrence.objects.all().delete()
    due = Occurrence.objects.create(entry_id="dated", due_at=now - timedelta(hours=3))
    ScheduleEntry.objects.update(next_at=due.due_at)
    assert occurrences.settle("dated") == []
    due.refresh_from_db()
    assert (due.state, due.late) == ("skipped", True)
    assert "too late" in due.reason


def test_the_admins_hear_of_missed_times_once_a_day() -> None:
    occurrences.follow_code(table("0 0 1 1 *"))
    for hours in (5, 4):
        due = clock.now() - timedelta(hours=hours)
        Occurrence.objects.create(entry_id="dated", due_at=due)
        ScheduleEntry.objects.update(next_at=due)
        occurrences.settle("dated")
    told = TaskRun.objects.filter(task="core.tasks.send_admin_notification")
    assert [run.args[0] for run in told] == ["occurrences_missed"]


def test_a_changed_cron_fires_nothing_by_surprise() -> None:
    occurrences.follow_code(table("0 9 * * *"))
    before = dues()
    occurrences.follow_code(table("0 8 * * *"))
    assert not set(before) & set(dues())
    assert all(due > clock.now() and clock.accra(due).hour == 8 for due in dues())
    occurrences.settle("dated")
    assert not TaskRun.objects.exists()


def test_what_was_due_before_a_change_stays_due() -> None:
    occurrences.follow_code(table("0 9 * * *"))
    due = Occurrence.objects.create(entry_id="dated", due_at=clock.now() - timedelta(seconds=5))
    occurrences.follow_code(table("0 8 * * *"))
    assert len(occurrences.settle("dated")) == 1
    due.refresh_from_db()
    assert due.state == "run"


def test_an_entry_that_left_the_code_is_switched_off_and_its_history_stays() -> None:
    occurrences.follow_code(table())
    away(3)
    occurrences.settle("dated")
    PeriodicTask.objects.create(
        name="dated", task=ADD, crontab=CrontabSchedule.objects.create(timezone="Africa/Accra"), enabled=True
    )
    occurrences.follow_code({})
    assert entry().retired_at
    assert not PeriodicTask.objects.get(name="dated").enabled
    assert not Occurrence.objects.filter(state="expected").exists()
    assert Occurrence.objects.filter(state="run").exists()
    assert occurrences.settle("dated") == []
    occurrences.follow_code(table())
    occurrences.follow_administration()
    assert (entry().retired_at, entry().paused_at) == (None, None)
    assert PeriodicTask.objects.get(name="dated").enabled
    assert min(Occurrence.objects.filter(state="expected").values_list("due_at", flat=True)) > clock.now()


def test_a_beat_of_the_old_code_retires_nothing() -> None:
    occurrences.follow_code(table())
    occurrences.follow_code({}, retire=False)
    assert entry().retired_at is None


def test_what_the_old_times_missed_in_an_outage_is_not_lost_by_a_deploy_with_new_ones() -> None:
    occurrences.follow_code(table("0 2 * * *", Late.RUN_EACH))
    away(60 * 24 * 3)
    occurrences.follow_code(table("0 3 * * *", Late.RUN_EACH))
    occurrences.settle("dated")
    assert past() == [("run", True)] * 3
    assert all(clock.accra(one.due_at).hour == 2 for one in Occurrence.objects.filter(state="run"))


def test_every_missed_time_of_an_entry_that_wants_each_is_run_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occurrences, "MOST_MISSED", 10)
    occurrences.follow_code(table("* * * * *", Late.RUN_EACH))
    away(25)
    for _ in range(3):
        occurrences.settle("dated")
    assert len(past()) in (24, 25)
    assert {state for state, _ in past()} == {"run"}


def test_following_the_code_again_changes_nothing() -> None:
    occurrences.follow_code(table())
    before = (dues(), entry().followed_until)
    occurrences.follow_code(table())
    assert (dues(), entry().followed_until) == before


def operators(**fields: Any) -> PeriodicTask:
    given = {"name": "own", "task": ADD}
    if not {"interval", "clocked", "solar", "crontab"} & set(fields):
        given["crontab"] = CrontabSchedule.objects.create(timezone="Africa/Accra")
    return PeriodicTask.objects.create(**(given | fields))


@pytest.mark.django_db(transaction=True)
def test_an_operators_entry_is_followed(doorbell: Doorbell, calls: list[Any]) -> None:
    operators(task="tests.jobs.tasks.add", args="[1]", kwargs='{"b": 2}', queue="bulk")
    occurrences.follow_administration()
    away(1.2, "own")
    assert len(occurrences.settle("own")) == 1
    doorbell.work("bulk")
    assert calls == [(1, 2)]


def test_a_change_by_a_clock_that_is_ahead_is_followed_from_now_on() -> None:
    operators()
    PeriodicTask.objects.update(date_changed=clock.now() + timedelta(days=1))
    occurrences.follow_administration()
    assert min(dues()) < clock.now() + timedelta(minutes=2)


def test_an_entry_with_a_start_is_not_followed_before_it() -> None:
    start = clock.now() + timedelta(days=3)
    operators(start_time=start)
    occurrences.follow_administration()
    assert min(dues()) > start


def test_an_interval_is_followed() -> None:
    operators(interval=IntervalSchedule.objects.create(every=10, period="seconds"))
    occurrences.follow_administration()
    assert entry("own").spec == "every 10"
    assert all(due.second % 10 == 0 for due in dues())


def test_a_single_time_runs_once_and_is_over() -> None:
    moment = clock.now() + timedelta(seconds=30)
    operators(clocked=ClockedSchedule.objects.create(clocked_time=moment), one_off=True)
    occurrences.follow_administration()
    assert dues() == [moment]
    Occurrence.objects.update(due_at=clock.now() - timedelta(seconds=1))
    assert len(occurrences.settle("own")) == 1
    assert not PeriodicTask.objects.get(name="own").enabled
    occurrences.follow_administration()
    assert occurrences.settle("own") == []
    assert entry("own").problem == ""


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"args": "[1"}, "not JSON"),
        ({"kwargs": "[]"}, "not JSON"),
        ({"solar": {"event": "sunset", "latitude": 5, "longitude": 0}}, "sun"),
        ({"crontab": {"timezone": "Europe/Berlin"}}, "Europe/Berlin"),
        ({"crontab": {"timezone": "Africa/Accra", "day_of_month": "30", "month_of_year": "2"}}, "never"),
    ],
)
def test_an_entry_that_cannot_fire_says_why_and_the_others_go_on(fields: dict[str, Any], problem: str) -> None:
    if "solar" in fields:
        fields = {"solar": SolarSchedule.objects.create(**fields["solar"])}
    if "crontab" in fields:
        fields = {"crontab": CrontabSchedule.objects.create(**fields["crontab"])}
    operators(**fields)
    operators(name="good", crontab=CrontabSchedule.objects.create(timezone="Africa/Accra", minute="7"))
    occurrences.follow_administration()
    assert problem in entry("own").problem
    assert entry("own").next_at is None
    assert entry("good").next_at
    occurrences.follow_administration()


def test_an_entry_whose_run_cannot_be_asked_for_says_why_and_is_told() -> None:
    operators(queue="no-such-queue")
    occurrences.follow_administration()
    away(2, "own")
    occurrences.settle_due()
    assert {state for state, _ in past("own")} == {"missed"}
    assert "no queue 'no-such-queue'" in entry("own").problem
    assert TaskRun.objects.get().task == "core.tasks.send_admin_notification"


def test_one_plan_that_cannot_be_read_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    operators(name="a-bad-one")
    operators(name="good")
    read = occurrences._of_plan

    def fail(plan: PeriodicTask) -> ScheduleEntry:
        if plan.name == "a-bad-one":
            raise TypeError("unforeseen")
        return read(plan)

    monkeypatch.setattr(occurrences, "_of_plan", fail)
    occurrences.follow_administration()
    assert entry("good").next_at


def test_an_unknown_task_is_waited_for_and_then_said() -> None:
    operators(task="farms.tasks.renamed")
    occurrences.follow_administration()
    away(1.5, "own")
    assert occurrences.settle("own") == []
    assert past("own")[-1][0] == "expected", "a newer worker may know it"
    away(15, "own")
    occurrences.settle_due()
    assert {state for state, _ in past("own")} == {"missed"}
    assert "no task farms.tasks.renamed" in entry("own").problem


def test_what_is_switched_off_in_the_administration_is_paused_and_resumes_without_surprise() -> None:
    plan = operators()
    occurrences.follow_administration()
    plan.enabled = False
    plan.save()
    occurrences.follow_administration()
    assert entry("own").paused_at
    away(3, "own")
    occurrences.settle_due()
    assert {state for state, _ in past("own")} == {"missed"}
    plan.enabled = True
    plan.save()
    occurrences.follow_administration()
    assert entry("own").paused_at is None
    assert {state for state, _ in past("own")} == {"skipped"}
    assert not TaskRun.objects.exists()


def test_a_removed_entry_is_retired() -> None:
    plan = operators()
    occurrences.follow_administration()
    plan.delete()
    occurrences.follow_administration()
    assert entry("own").retired_at


def test_a_pause_ends_by_itself_and_the_time_after_it_is_not_lost() -> None:
    occurrences.follow_code(table("0 0 1 1 *"))
    now = clock.now()
    Occurrence.objects.all().delete()
    for minutes in (60, 1):
        Occurrence.objects.create(entry_id="dated", due_at=now - timedelta(minutes=minutes))
    ScheduleEntry.objects.update(
        paused_at=now - timedelta(hours=2),
        paused_until=now - timedelta(minutes=30),
        paused_by="ama",
        pause_reason="roof",
        next_at=now,
    )
    assert len(occurrences.settle("dated")) == 1
    assert past() == [("skipped", False), ("run", False)]
    assert entry().paused_at is None


@pytest.mark.django_db(transaction=True)
def test_the_hint_of_beat_fires_what_is_due_and_nothing_else(doorbell: Doorbell, calls: list[Any]) -> None:
    occurrences.follow_code(table())
    headers = {"periodic_task_name": "dated"}
    tasks.dated.apply_async(headers=headers)
    assert not TaskRun.objects.exists(), "nothing is due yet"
    away(1.2)
    for _ in range(3):
        tasks.dated.apply_async(headers=headers)
    current_app.send_task(ADD, queue="default", headers=headers)
    doorbell.work()
    assert len(calls) == 1


def test_an_entry_that_beat_knows_first_is_followed_at_its_first_hint() -> None:
    operators()
    tasks.dated.apply_async(headers={"periodic_task_name": "own"})
    assert entry("own").next_at


@pytest.mark.django_db(transaction=True)
def test_the_sweep_fires_without_beat(doorbell: Doorbell, calls: list[Any]) -> None:
    occurrences.follow_code(table())
    away(1.2)
    relay.sweep()
    doorbell.work()
    assert len(calls) == 1


def test_one_entry_that_cannot_be_settled_does_not_hold_up_the_others() -> None:
    occurrences.follow_code(table() | {"broken": Entry(ADD, "* * * * *")})
    away(1.2)
    away(1.2, "broken")
    ScheduleEntry.objects.filter(name="broken").update(spec="nonsense")
    occurrences.settle_due()
    assert TaskRun.objects.filter(schedule_entry="dated").count() == 1
    broken_at = entry("broken").next_at
    assert broken_at
    assert broken_at > clock.now()


def test_a_gap_of_months_is_not_written_down_row_by_row() -> None:
    occurrences.follow_code(table())
    away(60 * 24 * 90)
    assert len(occurrences.settle("dated")) == 1
    assert len(past()) == occurrences.MOST_MISSED


def test_a_due_time_in_the_far_past_of_a_moved_clock_changes_nothing() -> None:
    occurrences.follow_code(table())
    ahead = datetime(2090, 1, 1, tzinfo=UTC)
    ScheduleEntry.objects.update(followed_until=ahead)
    assert occurrences.settle("dated") == []
    assert entry().followed_until == ahead or entry().followed_until > clock.now()


@pytest.mark.django_db(transaction=True)
def test_many_at_the_same_moment_give_one_run() -> None:
    occurrences.follow_code(table("0 0 1 1 *"))
    Occurrence.objects.create(entry_id="dated", due_at=clock.now() - timedelta(seconds=1))
    ScheduleEntry.objects.update(next_at=clock.now())
    gate = threading.Barrier(8, timeout=20)
    errors: list[Exception] = []

    def fire() -> None:
        try:
            gate.wait()
            occurrences.settle("dated")
        except Exception as error:  # noqa: BLE001 - told below
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=fire) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert errors == []
    assert TaskRun.objects.filter(task=ADD).count() == 1
