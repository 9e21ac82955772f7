"""What a person does to runs and to the schedule happens once, is written down, and otherwise not at all."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from core import clock
from core.base.models import AuditLog
from core.errors import InvalidInput, NotFound
from core.jobs import occurrences, operations, runs, selectors
from core.jobs.models import Occurrence, ScheduleEntry, TaskRun
from core.jobs.operations import Actor, Refused
from core.jobs.rules import Late, State, Trigger
from core.jobs.schedule import Entry
from core.jobs.selectors import EntryState, RunFilter
from tests.factories import UserFactory
from tests.jobs import tasks
from tests.jobs.doorbell import Doorbell

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("at_once")]

AMA = Actor(None, "ama@host (command line)")
WHY: dict[str, Any] = {"reason": "the roof leaked", "actor": AMA}
DATED = "tests.jobs.tasks.dated"
YEARLY = "0 0 1 1 *"


@pytest.fixture(autouse=True)
def only_ours() -> None:
    Occurrence.objects.all().delete()
    ScheduleEntry.objects.all().delete()


def run(state: str = "failed", task: str = "tests.jobs.tasks.add", **fields: Any) -> TaskRun:
    now = clock.now()
    return TaskRun.objects.create(
        **{
            "task": task,
            "args": [1, 2],
            "queue": "default",
            "asked_at": now,
            "state": state,
            "ring_at": now if state in ("pending", "retrying") else None,
            "lease_until": now + timedelta(minutes=1) if state == "running" else None,
            "started_at": now if state == "running" else None,
            "finished_at": now if state in ("succeeded", "failed", "cancelled", "skipped") else None,
        }
        | fields
    )


def audited() -> list[tuple[str, str]]:
    return list(AuditLog.objects.order_by("at").values_list("action", "reason"))


def at_once(*calls: Callable[[], Any]) -> tuple[list[Any], list[Exception]]:
    """All of them at the same moment, each with a connection of its own."""
    gate = threading.Barrier(len(calls), timeout=20)
    results: list[Any] = []
    errors: list[Exception] = []

    def one(call: Callable[[], Any]) -> None:
        try:
            gate.wait()
            results.append(call())
        except Exception as error:  # noqa: BLE001 - told to the test
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=one, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results, errors


# --- retry ----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_retry_is_a_new_run_that_points_to_the_old_one(doorbell: Doorbell, calls: list[Any]) -> None:
    old = run(queue="bulk", schedule_entry="dated", occurrence=uuid.uuid4(), options={"time_limit": 7})
    new = TaskRun.objects.get(pk=operations.retry_run(run_id=old.pk, **WHY))
    assert (new.retry_of, new.trigger, new.queue, new.args) == (old.pk, Trigger.RETRY, "bulk", [1, 2])
    assert (new.schedule_entry, new.occurrence, new.options) == ("dated", old.occurrence, {"time_limit": 7})
    doorbell.work("bulk")
    assert calls == [(1, 2)]
    old.refresh_from_db()
    assert old.state == "failed", "the old one stays what it was"
    row = AuditLog.objects.get()
    assert (row.action, row.subject_type, row.subject_id) == ("run.retried", "run", str(old.pk))
    assert (row.actor_name, row.reason) == (AMA.name, "the roof leaked")
    assert row.before == {"task": old.task, "state": "failed"}
    assert row.after == {"task": old.task, "run": str(new.pk)}


@pytest.mark.django_db(transaction=True)
def test_what_was_to_follow_a_failed_run_follows_its_retry(doorbell: Doorbell, calls: list[Any]) -> None:
    tasks.refuse.apply_async(("0244123456",), link=tasks.echo.si("after"))
    doorbell.work()
    old = TaskRun.objects.get()
    assert (old.state, calls) == ("failed", [])
    operations.retry_run(run_id=old.pk, task="tests.jobs.tasks.echo", **WHY)
    doorbell.work()
    assert calls == ["0244123456", "after"]
    again = TaskRun.objects.get(retry_of=old.pk)
    operations.retry_run(run_id=again.pk, again=True, **WHY)
    doorbell.work()
    assert calls == ["0244123456", "after", "0244123456"], "it has followed already"


def test_a_retry_takes_no_place_in_a_chord() -> None:
    old = run(options={"chord": {"x": 1}, "group_id": "g", "group_index": 3, "root_id": "r"})
    new = TaskRun.objects.get(pk=operations.retry_run(run_id=old.pk, **WHY))
    assert new.options == {"root_id": "r"}


def test_a_person_with_an_account_is_the_one_who_asked() -> None:
    user = UserFactory.create(role="NATIONAL_ADMIN")
    for who in (user.phone, user.email, user.email.upper(), "0" + user.phone[4:]):
        assert operations.actor_named(who) == Actor(user.pk, user.username)
    new = operations.retry_run(run_id=run().pk, reason="because", actor=operations.actor_named(user.phone))
    assert TaskRun.objects.get(pk=new).requested_by == user
    row = AuditLog.objects.get()
    assert (row.actor, row.actor_name) == (user, "")


@pytest.mark.parametrize(
    "fields", [{"role": "NATIONAL_STAFF"}, {"role": "SUPER_ADMIN", "is_active": False}, {"role": "FARMER"}]
)
def test_others_may_not(fields: dict[str, Any]) -> None:
    user = UserFactory.create(**fields)
    with pytest.raises(Refused, match="may not do this"):
        operations.actor_named(user.phone)


def test_nobody_is_not_a_person() -> None:
    with pytest.raises(NotFound):
        operations.actor_named("nobody@example.com")
    with pytest.raises(InvalidInput):
        operations.actor_named("ama")


@pytest.mark.parametrize(
    ("state", "again", "words"),
    [
        ("pending", False, "has not ended"),
        ("running", True, "has not ended"),
        ("retrying", False, "has not ended"),
        ("succeeded", False, "succeeded"),
        ("succeeded", True, ""),
        ("failed", False, ""),
        ("cancelled", False, ""),
        ("skipped", False, ""),
    ],
)
def test_only_what_has_ended_is_retried_and_what_succeeded_only_when_meant(state: str, again: bool, words: str) -> None:
    old = run(state)
    if words:
        with pytest.raises(Refused, match=words):
            operations.retry_run(run_id=old.pk, again=again, **WHY)
    else:
        operations.retry_run(run_id=old.pk, again=again, **WHY)
    assert len(audited()) == (0 if words else 1), "what is refused leaves no trace"
    assert TaskRun.objects.count() == (1 if words else 2)


def test_arguments_that_were_removed_cannot_be_used_again() -> None:
    old = run("succeeded", "tests.jobs.tasks.tell", args=["***", "***"])
    with pytest.raises(Refused, match="personal data"):
        operations.retry_run(run_id=old.pk, again=True, **WHY)


def test_an_unknown_task_is_refused_with_the_nearest_names_and_may_be_renamed() -> None:
    old = run(task="tests.jobs.tasks.ad")
    with pytest.raises(InvalidInput, match=r"Did you mean tests\.jobs\.tasks\.add"):
        operations.retry_run(run_id=old.pk, **WHY)
    new = operations.retry_run(run_id=old.pk, task="tests.jobs.tasks.add", **WHY)
    assert TaskRun.objects.get(pk=new).task == "tests.jobs.tasks.add"


def test_arguments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidInput, match="do not fit"):
        operations.retry_run(run_id=run(args=[1, 2, 3]).pk, **WHY)


def test_a_reason_is_needed_everywhere() -> None:
    for call in (
        lambda: operations.retry_run(run_id=run().pk, reason=" ", actor=AMA),
        lambda: operations.cancel_run(run_id=run("pending").pk, reason="", actor=AMA),
        lambda: operations.pause(name="dated", reason="", actor=AMA),
        lambda: operations.resume(name="dated", reason="", actor=AMA),
        lambda: operations.run_now(name="dated", reason="", actor=AMA),
        lambda: operations.catch_up(name="dated", reason="", actor=AMA),
    ):
        with pytest.raises(InvalidInput, match="Say why"):
            call()
    assert audited() == []


@pytest.mark.django_db(transaction=True)
def test_a_retry_that_is_open_or_was_done_is_not_doubled() -> None:
    old = run()
    new = operations.retry_run(run_id=old.pk, **WHY)
    with pytest.raises(Refused, match="already"):
        operations.retry_run(run_id=old.pk, again=True, **WHY)
    runs.cancel([new])
    third = operations.retry_run(run_id=old.pk, **WHY)
    claim = runs.claim(third, "w@test")
    assert claim
    runs.finish(claim, State.SUCCEEDED, "1", None, None)
    with pytest.raises(Refused, match="succeeded"):
        operations.retry_run(run_id=old.pk, **WHY)


@pytest.mark.django_db(transaction=True)
def test_of_many_who_retry_at_the_same_moment_one_does() -> None:
    old = run()
    results, errors = at_once(*[lambda: operations.retry_run(run_id=old.pk, **WHY)] * 6)
    assert len(results) == 1
    assert {type(error) for error in errors} == {Refused}
    assert TaskRun.objects.filter(retry_of=old.pk).count() == 1
    assert len(audited()) == 1


# --- cancel ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["pending", "retrying"])
def test_what_waits_is_cancelled_at_once(state: str) -> None:
    old = run(state)
    assert operations.cancel_run(run_id=old.pk, **WHY) == State.CANCELLED
    old.refresh_from_db()
    assert old.state == "cancelled"
    row = AuditLog.objects.get()
    assert (row.before, row.after) == ({"task": old.task, "state": state}, {"state": "cancelled"})


@pytest.mark.django_db(transaction=True)
def test_who_waits_for_the_result_hears_that_it_was_cancelled(doorbell: Doorbell) -> None:
    asked = tasks.add.delay(1)
    operations.cancel_run(run_id=uuid.UUID(asked.id), **WHY)
    assert str(asked.status) == "REVOKED"


def test_what_is_being_worked_on_is_asked_to_stop_once() -> None:
    old = run("running")
    assert operations.cancel_run(run_id=old.pk, **WHY) == State.RUNNING
    old.refresh_from_db()
    assert (old.state, old.cancel_asked_at is not None) == ("running", True)
    with pytest.raises(Refused, match="asked to stop already"):
        operations.cancel_run(run_id=old.pk, **WHY)
    assert len(audited()) == 1


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled", "skipped"])
def test_what_has_ended_cannot_be_cancelled(state: str) -> None:
    with pytest.raises(Refused, match="has ended already"):
        operations.cancel_run(run_id=run(state).pk, **WHY)
    assert audited() == []


def test_many_are_cancelled_together_but_no_more_than_were_confirmed() -> None:
    ids = {run("pending").pk for _ in range(3)} | {run("retrying").pk}
    others = [run("running"), run("failed"), run("pending", "tests.jobs.tasks.echo")]
    which = RunFilter(task="tasks.add")
    with pytest.raises(Refused, match="more than 3"):
        operations.cancel_waiting(which=which, confirmed=3, **WHY)
    assert audited() == []
    assert set(operations.cancel_waiting(which=which, confirmed=5, **WHY)) == ids
    assert set(TaskRun.objects.filter(state="cancelled").values_list("pk", flat=True)) == ids
    assert [TaskRun.objects.get(pk=other.pk).state for other in others] == ["running", "failed", "pending"]
    row = AuditLog.objects.get()
    assert set((row.after or {})["runs"]) == {str(run_id) for run_id in ids}
    assert row.subject_id == "task tasks.add"


def test_everything_is_no_filter_and_what_runs_is_not_cancelled_together() -> None:
    for which in (RunFilter(), RunFilter(states=(State.PENDING,)), RunFilter(task="x", states=(State.RUNNING,))):
        with pytest.raises(InvalidInput):
            operations.cancel_waiting(which=which, confirmed=10, **WHY)


# --- the schedule ---------------------------------------------------------------------------------------------------


@pytest.fixture
def dated() -> None:
    follow()


def follow(late: Late = Late.RUN_ONCE, cron: str = YEARLY, task: str = DATED) -> None:
    occurrences.follow_code({"dated": Entry(task, cron, late=late)})


def entry() -> ScheduleEntry:
    return ScheduleEntry.objects.get(name="dated")


def slot(hours: float, state: str = "expected", **fields: Any) -> Occurrence:
    """One of its times, so many hours ago."""
    now = clock.now()
    return Occurrence.objects.create(
        entry_id="dated",
        due_at=now - timedelta(hours=hours),
        state=state,
        decided_at=None if state == "expected" else now,
        **fields,
    )


def becomes(*slots: Occurrence) -> list[str]:
    for one in slots:
        one.refresh_from_db()
    return [one.state for one in slots]


@pytest.mark.usefixtures("dated")
def test_run_now_is_an_extra_run_when_nothing_is_due() -> None:
    done = operations.run_now(name="dated", **WHY)
    new = TaskRun.objects.get()
    assert (done.run_id, done.fates, new.trigger, new.occurrence) == (new.pk, [], "operator", None)
    assert (new.schedule_entry, new.kwargs) == ("dated", {})
    assert audited() == [("schedule.run_now", "the roof leaked")]


@pytest.mark.parametrize(
    ("late", "states"),
    [
        (Late.RUN_ONCE, ["skipped", "skipped", "run"]),
        (Late.RUN_EACH, ["run", "missed", "expected"]),
        (Late.SKIP, ["skipped", "skipped", "run"]),
    ],
)
def test_run_now_runs_what_is_due_and_not_yet_run(late: Late, states: list[str]) -> None:
    follow(late)
    slots = [slot(3, "missed"), slot(2, "missed"), slot(1)]
    operations.run_now(name="dated", **WHY)
    assert becomes(*slots) == states
    done = next(one for one in slots if one.state == "run")
    new = TaskRun.objects.get(occurrence=done.pk, trigger="operator")
    assert (new.pk, new.occurrence, new.kwargs) == (done.run, done.pk, {"as_of": done.due_at.isoformat()})
    assert not TaskRun.objects.filter(task="core.tasks.send_admin_notification").exists(), "a person knows already"


@pytest.mark.usefixtures("dated")
@pytest.mark.parametrize("state", ["pending", "running", "retrying"])
def test_run_now_asks_for_nothing_while_a_run_is_open(state: str) -> None:
    run(state, DATED, args=[], schedule_entry="dated")
    due = slot(1)
    with pytest.raises(Refused, match=f"is {state}"):
        operations.run_now(name="dated", **WHY)
    assert becomes(due) == ["expected"]
    assert audited() == []


@pytest.mark.usefixtures("dated")
def test_run_now_leaves_a_paused_entry_paused() -> None:
    operations.pause(name="dated", **WHY)
    assert operations.run_now(name="dated", **WHY).paused
    assert entry().paused_at


@pytest.mark.usefixtures("dated")
def test_run_now_for_a_time_of_its_own() -> None:
    skipped, missed = slot(5, "skipped"), slot(2, "missed")
    operations.run_now(name="dated", as_of=skipped.due_at, **WHY)
    assert becomes(skipped, missed) == ["run", "missed"]
    TaskRun.objects.all().delete()
    with pytest.raises(Refused, match="has its run already"):
        operations.run_now(name="dated", as_of=skipped.due_at, **WHY)
    with pytest.raises(InvalidInput, match="still to come"):
        operations.run_now(name="dated", as_of=clock.now() + timedelta(hours=1), **WHY)
    yesterday = clock.now() - timedelta(days=1)
    operations.run_now(name="dated", as_of=yesterday, **WHY)
    assert TaskRun.objects.get().kwargs == {"as_of": yesterday.isoformat()}


def test_a_task_that_takes_no_time_is_not_run_for_one() -> None:
    follow(task="tests.jobs.tasks.nothing_to_do")
    slot(3, "skipped")
    with pytest.raises(InvalidInput, match="was not due"):
        operations.run_now(name="dated", as_of=clock.now() - timedelta(hours=1), **WHY)


@pytest.mark.usefixtures("dated")
def test_names_that_are_not_there_are_refused() -> None:
    with pytest.raises(NotFound, match="Did you mean dated"):
        operations.run_now(name="date", **WHY)
    occurrences.follow_code({})
    with pytest.raises(Refused, match="retired"):
        operations.run_now(name="dated", **WHY)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("due", [True, False])
def test_run_now_beat_and_the_sweep_at_the_same_moment_give_one_run(due: bool) -> None:
    follow()
    if due:
        slot(0.001)
        ScheduleEntry.objects.update(next_at=clock.now())
    press = [lambda: operations.run_now(name="dated", **WHY)] * 10
    others: list[Callable[[], Any]] = [
        lambda: occurrences.settle("dated"),
        lambda: occurrences.heed("dated"),
        lambda: operations.catch_up(name="dated", **WHY),
    ]
    results, errors = at_once(*press, *others)
    assert {type(error) for error in errors} <= {Refused}
    assert len(results) + len(errors) == 13
    assert TaskRun.objects.filter(task=DATED).count() == 1
    assert len(audited()) <= 1


@pytest.mark.django_db(transaction=True)
def test_who_pressed_while_the_first_run_came_and_went_gets_no_second_one() -> None:
    follow()
    first = threading.Event()
    claimed = threading.Event()

    def quick_worker() -> None:
        first.wait(20)
        claim = runs.claim(TaskRun.objects.get(task=DATED).pk, "w@test")
        assert claim
        runs.finish(claim, State.SUCCEEDED, "1", None, None)
        claimed.set()

    def press() -> Any:
        result = operations.run_now(name="dated", **WHY)
        first.set()
        return result

    def press_later() -> Any:
        began = clock.now()
        first.wait(20)
        claimed.wait(20)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(selectors, "database_time", lambda: began)
            return operations.run_now(name="dated", **WHY)

    results, errors = at_once(press, quick_worker, press_later)
    assert [type(error) for error in errors] == [Refused]
    assert len(results) == 2
    assert TaskRun.objects.filter(task=DATED).count() == 1


@pytest.mark.usefixtures("dated")
def test_a_pause_runs_what_was_due_before_and_nothing_after() -> None:
    before = slot(0.01)
    assert len(operations.pause(name="dated", **WHY)) == 1
    assert becomes(before) == ["run"]
    after = slot(0.001)
    occurrences.settle("dated")
    assert becomes(after) == ["missed"]
    assert (entry().paused_by, entry().pause_reason) == (AMA.name, "the roof leaked")
    with pytest.raises(Refused, match="paused already, by ama@host"):
        operations.pause(name="dated", **WHY)
    assert audited() == [("schedule.paused", "the roof leaked")]


@pytest.mark.usefixtures("dated")
def test_a_pause_cannot_end_before_it_begins() -> None:
    with pytest.raises(InvalidInput, match="over already"):
        operations.pause(name="dated", until=clock.now() - timedelta(minutes=1), **WHY)
    assert not entry().paused_at


@pytest.mark.parametrize(
    ("late", "catch_up", "states"),
    [
        (Late.RUN_ONCE, False, ["skipped", "skipped"]),
        (Late.RUN_ONCE, True, ["skipped", "run"]),
        (Late.RUN_EACH, True, ["run", "run"]),
        (Late.SKIP, True, ["skipped", "skipped"]),
    ],
)
def test_resuming_does_what_it_said_it_would(late: Late, catch_up: bool, states: list[str]) -> None:
    follow(late)
    operations.pause(name="dated", **WHY)
    slots = [slot(2, "missed"), slot(1)]
    said = operations.resume(name="dated", catch_up=catch_up, dry_run=True, reason="", actor=AMA)
    assert becomes(*slots) == ["missed", "expected"], "a rehearsal writes nothing"
    assert entry().paused_at
    assert not TaskRun.objects.exists()
    done = operations.resume(name="dated", catch_up=catch_up, **WHY)
    assert [(fate.due_at, fate.run, fate.reason) for fate in said] == [
        (fate.due_at, fate.run, fate.reason) for fate in done
    ]
    assert becomes(*slots) == states
    assert not entry().paused_at
    assert [action for action, _ in audited()] == ["schedule.paused", "schedule.resumed"]
    assert occurrences.settle("dated") == []


@pytest.mark.usefixtures("dated")
def test_what_is_not_paused_is_not_resumed() -> None:
    with pytest.raises(Refused, match="not paused"):
        operations.resume(name="dated", **WHY)


def test_resuming_switches_an_entry_of_the_administration_on_again() -> None:
    plan = PeriodicTask.objects.create(
        name="dated", task=DATED, crontab=CrontabSchedule.objects.create(timezone="Africa/Accra")
    )
    occurrences.follow_administration()
    PeriodicTask.objects.update(enabled=False)
    occurrences.follow_administration()
    assert entry().paused_at
    operations.resume(name="dated", **WHY)
    occurrences.follow_administration()
    assert not entry().paused_at
    plan.refresh_from_db()
    assert plan.enabled


@pytest.mark.parametrize(
    ("late", "states"),
    [
        (Late.RUN_ONCE, ["skipped", "run"]),
        (Late.RUN_EACH, ["run", "run"]),
        (Late.SKIP, ["skipped", "skipped"]),
    ],
)
def test_catching_up_follows_the_policy_and_a_second_time_does_nothing(late: Late, states: list[str]) -> None:
    follow(late)
    slots = [slot(2, "missed"), slot(1, "missed")]
    assert operations.to_catch_up() == ["dated"]
    assert len(operations.catch_up(name="dated", dry_run=True, reason="", actor=AMA)) == 2
    assert becomes(*slots) == ["missed", "missed"]
    operations.catch_up(name="dated", **WHY)
    assert becomes(*slots) == states
    assert operations.catch_up(name="dated", **WHY) == []
    assert operations.to_catch_up() == []
    assert audited() == [("schedule.caught_up", "the roof leaked")]


@pytest.mark.usefixtures("dated")
def test_one_time_that_was_skipped_can_be_made_up_for_once() -> None:
    skipped, missed = slot(2, "skipped"), slot(1, "missed")
    [fate] = operations.catch_up(name="dated", at=skipped.due_at, **WHY)
    assert fate.run_id == TaskRun.objects.get().pk
    assert becomes(skipped, missed) == ["run", "missed"]
    with pytest.raises(Refused, match="has its run already"):
        operations.catch_up(name="dated", at=skipped.due_at, **WHY)
    with pytest.raises(InvalidInput, match="was not due"):
        operations.catch_up(name="dated", at=skipped.due_at + timedelta(minutes=1), **WHY)


def test_what_nobody_can_run_is_not_caught_up() -> None:
    follow(task="tests.jobs.tasks.date")
    missed = slot(1, "missed")
    with pytest.raises(InvalidInput, match=r"Did you mean tests\.jobs\.tasks\.dated"):
        operations.catch_up(name="dated", **WHY)
    assert becomes(missed) == ["missed"]


@pytest.mark.usefixtures("dated")
def test_a_paused_entry_is_left_out_when_everything_is_caught_up() -> None:
    operations.pause(name="dated", **WHY)
    slot(1, "missed")
    assert operations.to_catch_up() == []
    assert len(operations.catch_up(name="dated", **WHY)) == 1
    assert entry().paused_at


# --- reading --------------------------------------------------------------------------------------------------------


def state() -> str:
    return selectors.line_of(entry()).state


@pytest.mark.usefixtures("dated")
def test_the_state_of_an_entry_tells_what_a_person_must_know_first() -> None:
    assert state() == EntryState.NEVER_RAN
    slot(1)
    assert state() == EntryState.LATE, "nobody has settled it"
    operations.catch_up(name="dated", **WHY)
    assert state() == EntryState.LATE, "it ran an hour late"
    Occurrence.objects.filter(state="run").update(late=False)
    assert state() == EntryState.ON_TIME
    TaskRun.objects.update(state="failed", finished_at=clock.now(), ring_at=None)
    assert state() == EntryState.FAILED
    slot(0.5, "missed")
    assert state() == EntryState.MISSED
    ScheduleEntry.objects.update(problem="no day fits")
    assert state() == EntryState.PROBLEM
    operations.pause(name="dated", **WHY)
    assert state() == EntryState.PAUSED
    occurrences.follow_code({})
    assert state() == EntryState.RETIRED


@pytest.mark.usefixtures("dated")
def test_a_run_that_waits_past_its_grace_is_late() -> None:
    operations.run_now(name="dated", **WHY)
    assert state() == EntryState.ON_TIME
    TaskRun.objects.update(asked_at=clock.now() - timedelta(hours=1))
    assert state() == EntryState.LATE


@pytest.mark.usefixtures("dated")
def test_what_was_skipped_as_too_late_is_missed_until_somebody_makes_up_for_it() -> None:
    slot(1, "skipped", late=True)
    assert state() == EntryState.MISSED
    operations.run_now(name="dated", **WHY)
    assert state() == EntryState.ON_TIME


@pytest.mark.parametrize(
    ("which", "walks"),
    [
        (RunFilter(), False),
        (RunFilter(states=(State.FAILED,), task="add"), False),
        (RunFilter(states=(State.PENDING, State.RUNNING)), False),
        (RunFilter(states=(State.PENDING, State.FAILED)), True),
        (RunFilter(entry="dated", queue="bulk"), False),
        (RunFilter(states=(State.SUCCEEDED,)), True),
        (RunFilter(task="add"), True),
        (RunFilter(queue="bulk"), True),
    ],
)
def test_a_filter_without_an_index_looks_back_only_so_far(
    which: RunFilter, walks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selectors, "MOST_WALKED", 2)
    now = clock.now()
    for minutes in range(4):
        run("succeeded", asked_at=now - timedelta(minutes=minutes), queue="bulk", task="tests.jobs.tasks.add")
    found = selectors.recent_runs(which, 10)
    assert which.walks == walks
    assert found.looked_back_to == (now - timedelta(minutes=2) if walks else None)
    if walks and State.FAILED not in which.states:
        assert len(found.rows) == 2
    since = RunFilter(states=which.states, task=which.task, since=now - timedelta(hours=1))
    assert selectors.recent_runs(since, 10).looked_back_to is None


def test_a_run_is_found_by_the_beginning_of_its_id() -> None:
    ids = [uuid.UUID(text.ljust(32, "0")) for text in ("0123456789ab1", "0123456789ac", "ff")]
    for run_id in ids:
        run(id=run_id)
    assert selectors.run_of("ff00").pk == ids[2]
    assert selectors.run_of("01234567-89AB").pk == ids[0]
    assert selectors.short_ids(ids) == {ids[0]: "0123456789ab", ids[1]: "0123456789ac", ids[2]: "ff000000"}
    with pytest.raises(InvalidInput, match="fits several"):
        selectors.run_of("01234567")
    with pytest.raises(NotFound):
        selectors.run_of("aaaa")
    for wrong in ("", "abc", "xyz1", "0" * 33, "%%%%"):
        with pytest.raises(InvalidInput, match="no run id"):
            selectors.run_of(wrong)


@pytest.mark.django_db(transaction=True)
def test_what_is_listed_and_shown_is_found_by_an_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        for found, index in (
            (RunFilter(states=(State.FAILED,)).runs().order_by("-asked_at", "-id")[:25], "taskrun_failed"),
            (RunFilter(states=(State.RUNNING,)).runs()[:25], "taskrun_leases"),
            (RunFilter(states=(State.PENDING,)).runs().order_by("queue")[:25], "taskrun_to_ring"),
            (RunFilter(entry="dated").runs().order_by("-asked_at")[:25], "taskrun_of_entry"),
            (RunFilter().runs().order_by("-asked_at", "-id")[:25], "taskrun_asked"),
        ):
            plan = found.explain()
            assert index in plan, plan
        cursor.execute("RESET enable_seqscan")
