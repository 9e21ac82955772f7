"""A run from its bell to its end, as a worker does it: taken once, ended once, every end kept."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from celery import chain, chord, current_app, group
from celery.exceptions import SoftTimeLimitExceeded
from celery.result import AsyncResult
from django.db import connection

from core import clock
from core.jobs import relay, repairs, runs
from core.jobs.models import TaskRun
from core.jobs.rules import MAX_ATTEMPTS
from core.jobs.task import HandBack
from tests.jobs import tasks
from tests.jobs.doorbell import Doorbell

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("at_once")]


def only() -> TaskRun:
    return TaskRun.objects.get()


def make_due() -> None:
    """The waiting time of every waiting run is over."""
    TaskRun.objects.filter(ring_at__isnull=False).update(due_at=clock.now(), ring_at=clock.now())


def test_a_run_that_works_is_succeeded_with_its_result(doorbell: Doorbell, calls: list[Any]) -> None:
    asked = tasks.add.delay(1, 2)
    doorbell.work(worker="w1@test")
    run = only()
    assert (run.state, run.result, run.attempts, run.fence, run.worker) == ("succeeded", 3, 1, 1, "w1@test")
    assert run.started_at
    assert run.finished_at
    assert run.asked_at <= run.started_at <= run.finished_at
    assert (run.ring_at, run.lease_until) == (None, None)
    assert asked.get(timeout=1) == 3


def test_a_message_delivered_three_times_runs_once(doorbell: Doorbell, calls: list[Any]) -> None:
    tasks.add.delay(1)
    doorbell.work_one(times=3)
    assert calls == [(1, 0)]
    assert (only().state, only().attempts) == ("succeeded", 1)


def test_a_run_that_lost_its_worker_at_every_try_fails_and_its_errback_hears_of_it(
    doorbell: Doorbell, calls: list[Any]
) -> None:
    asked = tasks.add.apply_async((1,), link_error=tasks.echo.s())
    TaskRun.objects.update(attempts=MAX_ATTEMPTS)
    doorbell.work()
    run = TaskRun.objects.get(pk=asked.id)
    assert (run.state, run.error_class, asked.status) == ("failed", "WorkerLost", "FAILURE")
    assert run.attempts == MAX_ATTEMPTS, "who only writes it down has not tried"
    assert calls == [asked.id], "the body did not run, the errback did"


def test_a_message_made_by_hand_and_delivered_twice_runs_once(doorbell: Doorbell, calls: list[Any]) -> None:
    same = str(uuid.uuid4())
    for _ in range(2):
        current_app.send_task("tests.jobs.tasks.add", (5,), task_id=same, queue="bulk")
    assert doorbell.work("bulk") == 2
    assert calls == [(5, 0)]
    assert (only().state, only().trigger, only().queue) == ("succeeded", "by_hand", "bulk")
    assert only().parent is None


def test_a_message_without_its_row_runs_nothing(doorbell: Doorbell, calls: list[Any]) -> None:
    """The transaction rolled back after the bell, or the row was pruned: a bell is not an ask."""
    tasks.add.delay(1)
    TaskRun.objects.all().delete()
    doorbell.work()
    assert calls == []
    assert not TaskRun.objects.exists()


def test_a_cancelled_run_is_not_started_by_its_message(doorbell: Doorbell, calls: list[Any]) -> None:
    tasks.add.delay(1)
    TaskRun.objects.update(state="cancelled", finished_at=clock.now(), ring_at=None)
    doorbell.work()
    assert calls == []
    assert only().state == "cancelled"


def test_an_expired_run_is_skipped_and_says_so(doorbell: Doorbell, calls: list[Any]) -> None:
    tasks.add.apply_async((1,), expires=60)
    TaskRun.objects.update(expires_at=clock.now() - timedelta(seconds=1))
    doorbell.work()
    assert calls == []
    make_due()
    relay.sweep()
    run = only()
    assert (run.state, run.ring_at) == ("skipped", None)
    assert run.finished_at
    assert "expires" in run.error_text
    assert doorbell.ids() == []


def test_a_broken_rule_fails_for_good_and_is_told(doorbell: Doorbell) -> None:
    asked = tasks.refuse.delay("0244123456")
    doorbell.work()
    run = only()
    assert (run.state, run.error_class, run.attempts) == ("failed", "InvalidInput", 1)
    assert run.error_text == "The number +233*****3456 is not a mobile."
    assert "in refuse" in run.traceback
    assert run.finished_at
    assert asked.status == "FAILURE"
    with pytest.raises(Exception, match="is not a mobile"):
        asked.get(timeout=1)


def test_arguments_of_a_failed_run_are_kept_for_a_retry_by_a_person(doorbell: Doorbell) -> None:
    tasks.refuse.delay("0244123456")
    doorbell.work()
    assert only().args == ["0244123456"]


def test_a_temporary_failure_is_tried_four_times_in_rows_and_never_by_a_countdown_on_redis(doorbell: Doorbell) -> None:
    asked = tasks.stumble.delay("0244123456")
    waits = []
    for attempt in range(1, 5):
        assert doorbell.work() == 1
        run = only()
        assert run.attempts == attempt
        assert run.error_class == "TemporaryError"
        assert doorbell.ids() == [], "Redis hears of it when its time has come"
        if attempt < 4:
            assert (run.state, asked.status) == ("retrying", "RETRY")
            assert run.due_at
            assert run.ring_at == run.due_at
            waits.append((run.due_at - clock.now()).total_seconds())
            assert runs.claim(run.pk, "w@test") is None, "not before its time"
            make_due()
            relay.sweep()
    assert (only().state, asked.status) == ("failed", "FAILURE")
    assert waits == [pytest.approx(60, rel=0.2), pytest.approx(120, rel=0.2), pytest.approx(240, rel=0.2)]


def test_a_run_that_was_tried_again_and_worked_shows_no_error(
    doorbell: Doorbell, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tasks.stumble.delay("0244123456")
    doorbell.work()
    monkeypatch.setattr(tasks.stumble, "run", lambda phone: "done")
    make_due()
    relay.sweep()
    doorbell.work()
    run = only()
    assert (run.state, run.attempts, run.error_class, run.error_text) == ("succeeded", 2, "", "")
    assert (asked.status, asked.get(timeout=1)) == ("SUCCESS", "done")


def test_self_retry_is_a_row_with_the_wait_that_was_asked_for(doorbell: Doorbell, calls: list[Any]) -> None:
    tasks.try_again.delay(countdown=45)
    doorbell.work()
    run = only()
    assert (run.state, run.error_text, calls) == ("retrying", "not yet", [0])
    assert run.due_at
    assert 25 < (run.due_at - clock.now()).total_seconds() <= 46
    assert doorbell.ids() == []
    make_due()
    relay.sweep()
    doorbell.work()
    assert calls == [0, 1], "self.request.retries counts"


@pytest.mark.parametrize("limit", [0, 1])
def test_self_retry_ends_where_the_task_says(doorbell: Doorbell, calls: list[Any], limit: int) -> None:
    asked = tasks.try_again.delay(countdown=0, max_retries=limit)
    for _ in range(6):
        doorbell.work()
        make_due()
        relay.sweep()
    assert calls == list(range(limit + 1))
    assert (only().state, only().attempts, asked.status) == ("failed", limit + 1, "FAILURE")


def test_a_run_handed_back_waits_in_line_again_and_uses_up_no_try(doorbell: Doorbell, calls: list[Any]) -> None:
    asked = tasks.slices.delay(10)
    assert doorbell.work_one("bulk")
    run = only()
    assert (run.state, run.attempts, asked.status) == ("pending", 0, "PENDING")
    assert doorbell.ids("bulk") == [asked.id], "rung at once"
    assert doorbell.work("bulk") == 9
    assert (only().state, only().result, only().attempts) == ("succeeded", {"slices": 10}, 1)


def test_a_task_with_nothing_to_do_is_skipped_and_that_is_a_success(doorbell: Doorbell) -> None:
    asked = tasks.nothing_to_do.delay()
    doorbell.work()
    assert (only().state, asked.status) == ("skipped", "SUCCESS")
    assert only().result == {"status": "skipped", "reason": "nothing to do"}


def test_a_result_that_is_not_json_fails_the_run_in_words(doorbell: Doorbell) -> None:
    asked = tasks.unwritable.delay()
    doorbell.work()
    assert (only().state, asked.status) == ("failed", "FAILURE")
    assert "result of tests.jobs.tasks.unwritable" in only().error_text


def test_a_result_with_a_nul_fails_the_run_and_not_the_worker(
    doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.echo, "run", lambda value: f"{value}\x00")
    tasks.echo.delay("x")
    doorbell.work()
    assert only().state == "failed"
    assert "NUL" in only().error_text


def test_an_error_text_with_a_nul_is_kept_all_the_same(doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(value: Any) -> None:
        raise ValueError("a\x00b half \ud83d of one")

    monkeypatch.setattr(tasks.echo, "max_retries", 0)
    monkeypatch.setattr(tasks.echo, "run", fail)
    asked = tasks.echo.delay(1)
    doorbell.work()
    assert (only().state, only().error_class, asked.status) == ("failed", "ValueError", "FAILURE")


def test_a_time_limit_is_a_failure_like_another(doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_slow(value: Any) -> None:
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(tasks.echo, "run", too_slow)
    tasks.echo.delay(1)
    doorbell.work()
    assert (only().state, only().error_class) == ("retrying", "SoftTimeLimitExceeded")


def test_stored_arguments_that_no_longer_fit_fail_for_good_with_the_fix(doorbell: Doorbell, calls: list[Any]) -> None:
    tasks.add.delay(1)
    TaskRun.objects.update(kwargs={"gone": 1})
    doorbell.work()
    assert (only().state, only().error_class) == ("failed", "ArgumentsDoNotFit")
    assert "Ask for it again" in only().error_text
    assert calls == []


def test_personal_arguments_are_masked_once_the_run_has_succeeded(doorbell: Doorbell, calls: list[Any]) -> None:
    tasks.tell.delay("0244123456", text="Your code is 1", times=3)
    assert only().args == ["0244123456"]
    doorbell.work()
    assert (only().args, only().kwargs) == (["***"], {"text": "***", "times": 3})


def test_a_claim_that_was_lost_is_not_written_over(doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker was away for longer than its lease; another one has the run by now."""

    def overtaken(value: Any) -> str:
        TaskRun.objects.update(lease_until=clock.now() - timedelta(minutes=1))
        repairs.recover_lost()
        assert runs.claim(only().pk, "other@test")
        return "too late"

    monkeypatch.setattr(tasks.echo, "run", overtaken)
    tasks.echo.delay(1)
    doorbell.work()
    run = only()
    assert (run.state, run.worker, run.fence, run.result) == ("running", "other@test", 2, None)
    assert not doorbell.client.exists(f"celery-task-meta-{run.pk}"), "and nothing of it is told on Redis"


@pytest.mark.parametrize("error", [ValueError("late"), None])
def test_a_late_failure_is_not_written_over_either(
    doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    def overtaken(value: Any) -> None:
        TaskRun.objects.update(state="cancelled", finished_at=clock.now(), lease_until=None)
        if error:
            raise error
        raise HandBack

    monkeypatch.setattr(tasks.echo, "run", overtaken)
    tasks.echo.delay(1)
    doorbell.work()
    assert (only().state, only().error_text) == ("cancelled", "")


@pytest.mark.django_db(transaction=True)
def test_a_linked_task_runs_after_success_with_the_result(doorbell: Doorbell, calls: list[Any]) -> None:
    tasks.add.apply_async((1, 2), link=tasks.add.s(10))
    doorbell.work()
    assert calls == [(1, 2), (3, 10)]
    assert TaskRun.objects.filter(state="succeeded").count() == 2


def test_a_linked_error_task_runs_after_a_failure(doorbell: Doorbell, calls: list[Any]) -> None:
    tasks.refuse.apply_async(("0244123456",), link_error=tasks.add.si(7))
    doorbell.work()
    assert calls == [(7, 0)]


@pytest.mark.django_db(transaction=True)
def test_a_chain_hands_results_on(doorbell: Doorbell, calls: list[Any]) -> None:
    last = chain(tasks.add.s(1, 2), tasks.add.s(10), tasks.add.s(100)).apply_async()
    doorbell.work()
    assert calls == [(1, 2), (3, 10), (13, 100)]
    assert last.get(timeout=1) == 113
    assert TaskRun.objects.filter(state="succeeded").count() == 3


@pytest.mark.django_db(transaction=True)
def test_a_crash_after_the_end_of_a_step_does_not_lose_the_next(
    doorbell: Doorbell, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_args: object, **_kwargs: object) -> None:
        raise SystemExit

    chain(tasks.add.s(1, 2), tasks.add.s(10)).apply_async()
    with monkeypatch.context() as patched:
        patched.setattr(current_app.backend, "mark_as_done", crash)  # what the tracer does next
        with pytest.raises(SystemExit):
            doorbell.work_one()
    doorbell.work()
    assert calls == [(1, 2), (3, 10)]


@pytest.mark.django_db(transaction=True)
def test_a_link_that_cannot_be_asked_for_leaves_the_step_undone(doorbell: Doorbell, calls: list[Any]) -> None:
    tasks.add.apply_async((1, 2), link=tasks.add.s(1, 2, 3))
    doorbell.work()
    run = only()
    assert (run.state, run.error_class) == ("failed", "ArgumentsDoNotFit"), "doing the step again would not mend it"
    assert not TaskRun.objects.exclude(pk=run.pk).exists()


def test_an_expected_error_is_not_tried_again(doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(value: Any) -> None:
        raise KeyError(value)

    monkeypatch.setattr(tasks.echo, "run", fail)
    monkeypatch.setattr(tasks.echo, "throws", (KeyError,))
    tasks.echo.delay("x")
    doorbell.work()
    assert only().state == "failed"


@pytest.mark.django_db(transaction=True)
def test_a_row_quoted_by_postgresql_is_not_kept(doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"Your code is {424_000 + 242}\n\nKeep {'it'}"  # not in the source line that a traceback quotes

    def double(value: Any) -> None:
        for _ in range(2):
            with connection.cursor() as cursor:
                cursor.execute("CREATE TEMPORARY TABLE IF NOT EXISTS codes (code text UNIQUE)")
                cursor.execute("INSERT INTO codes VALUES (%s)", [text])

    monkeypatch.setattr(tasks.echo, "run", double)
    tasks.echo.delay("x")
    doorbell.work()
    run = only()
    assert run.error_class == "IntegrityError"
    assert "424242" not in run.error_text + run.traceback
    assert "Keep it" not in run.error_text + run.traceback
    assert "424242" not in doorbell.everything()


def test_a_group_and_a_chord_work_as_celery_says(doorbell: Doorbell, calls: list[Any]) -> None:
    together = group(tasks.add.s(n, n) for n in range(3)).apply_async()
    doorbell.work()
    assert together.get(timeout=1) == [0, 2, 4]
    summed = chord([tasks.add.s(n, n) for n in range(3)], tasks.echo.s()).apply_async()
    doorbell.work()
    assert summed.get(timeout=1) == [0, 2, 4]


def test_many_calls_by_map_and_chunks_of_celery_work(doorbell: Doorbell, calls: list[Any]) -> None:
    tasks.add.chunks([(1, 1), (2, 2), (3, 3)], 2).apply_async()
    doorbell.work()
    assert calls == [(1, 1), (2, 2), (3, 3)]


def test_a_hard_limit_that_stands_alone_does_not_wait_for_the_soft_one_of_all_tasks(doorbell: Doorbell) -> None:
    tasks.add.apply_async((1,), time_limit=20)
    assert doorbell.rung()[0]["headers"]["timelimit"] == [20, 18]


def test_time_limits_of_a_call_are_on_its_message_again_when_it_is_rung_again(doorbell: Doorbell) -> None:
    tasks.add.apply_async((1,), time_limit=20, soft_time_limit=10)
    assert doorbell.rung()[0]["headers"]["timelimit"] == [20, 10]
    doorbell.client.flushall()
    make_due()
    relay.sweep()
    assert doorbell.rung()[0]["headers"]["timelimit"] == [20, 10]


def test_the_result_of_a_run_whose_redis_went_away_is_told_from_the_row(
    doorbell: Doorbell, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tasks.add.delay(1, 2)

    def away(*_: Any, **__: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr("celery.backends.redis.RedisBackend._store_result", away)
    doorbell.work()
    assert only().state == "succeeded"
    told: Any = AsyncResult(asked.id)
    assert (told.status, told.result) == ("SUCCESS", 3)


def test_a_retry_with_other_arguments_goes_on_with_them(doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.echo, "run", lambda value: tasks.echo.retry(args=(value + 1,), countdown=0))
    tasks.echo.delay(1)
    doorbell.work()
    assert (only().state, only().args) == ("retrying", [2])


def test_a_retry_with_a_limit_of_its_own_has_so_many_tries(doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.echo, "run", lambda value: tasks.echo.retry(max_retries=10, countdown=0))
    tasks.echo.delay(1)
    for _ in range(6):
        doorbell.work()
        relay.sweep()
    assert (only().state, only().max_attempts) == ("retrying", 11)
    assert only().attempts >= 5


def test_a_retry_cannot_change_its_queue(doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.echo, "run", lambda value: tasks.echo.retry(queue="bulk"))
    tasks.echo.delay(1)
    doorbell.work()
    assert (only().state, only().error_class) == ("failed", "InvalidInput")


def test_an_error_that_cannot_say_what_it_is_is_written_down(
    doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    def fail(value: Any) -> None:
        raise Mute

    monkeypatch.setattr(tasks.echo, "run", fail)
    tasks.echo.delay(1)
    doorbell.work()
    assert (only().state, only().error_class) == ("retrying", "Mute")
