"""The relay: what nobody heard is rung again, what is rung already is not doubled."""

from __future__ import annotations

import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from celery import chord
from django.conf import settings
from django.db import InterfaceError, ProgrammingError, connection
from structlog.testing import capture_logs

from core import clock
from core.jobs import relay, repairs, runs, services, sweeper
from core.jobs.models import TaskRun
from tests.jobs import tasks
from tests.jobs.doorbell import Doorbell

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("at_once")]


def unheard(*, since_seconds: float = 0, queue: str = "default") -> TaskRun:
    """A run that was to be rung again so long ago."""
    asked = tasks.add.apply_async((1,), queue=queue)
    TaskRun.objects.filter(pk=asked.id).update(ring_at=clock.now() - timedelta(seconds=since_seconds))
    return TaskRun.objects.get(pk=asked.id)


def test_what_redis_forgot_is_rung_again_when_its_time_has_come(doorbell: Doorbell, calls: list[Any]) -> None:
    run = unheard()
    doorbell.client.flushall()
    relay.sweep()
    assert doorbell.ids() == [str(run.pk)]
    doorbell.work()
    assert calls == [(1, 0)]


def test_a_bell_that_was_just_rung_is_given_time(doorbell: Doorbell) -> None:
    tasks.add.delay(1)
    doorbell.client.flushall()
    relay.sweep()
    assert doorbell.ids() == []


def test_ringing_again_puts_the_next_ring_off(doorbell: Doorbell) -> None:
    run = unheard()
    doorbell.client.flushall()
    relay.sweep()
    relay.sweep()
    assert doorbell.ids() == [str(run.pk)], "once, not once a sweep"
    run.refresh_from_db()
    assert run.ring_at
    assert run.ring_at > clock.now()


def test_a_backlog_is_not_doubled(doorbell: Doorbell) -> None:
    runs_waiting = {str(unheard(since_seconds=30).pk) for _ in range(5)}
    relay.sweep()
    assert sorted(doorbell.ids()) == sorted(runs_waiting), "each of them waits in the line once"


def test_what_redis_lost_of_a_long_line_does_not_wait_until_the_line_is_over(doorbell: Doorbell) -> None:
    lost = unheard(since_seconds=90)
    doorbell.client.flushall()
    in_line = [str(unheard(since_seconds=30).pk) for _ in range(5)]
    relay.sweep()
    assert sorted(doorbell.ids()) == sorted([str(lost.pk), *in_line]), "the missing one is rung, the others are not"


@pytest.mark.parametrize(("waiting", "on_redis", "rung"), [(1, 0, 1), (3, 3, 0), (3, 1, 2), (1, 5, 0)])
def test_as_many_are_rung_as_are_missing_on_redis(waiting: int, on_redis: int, rung: int) -> None:
    for _ in range(waiting):
        unheard(since_seconds=30)
    assert len(repairs.unheard("default", on_redis=on_redis)) == rung


def test_each_queue_is_judged_by_itself(doorbell: Doorbell) -> None:
    forgotten = unheard(since_seconds=30, queue="urgent")
    doorbell.client.flushall()
    in_line = unheard(since_seconds=30, queue="bulk")
    relay.sweep()
    assert doorbell.ids("urgent") == [str(forgotten.pk)]
    assert doorbell.ids("bulk") == [str(in_line.pk)]


def test_the_longest_overdue_ring_first_and_not_more_than_the_limit() -> None:
    ids = [unheard(since_seconds=seconds).pk for seconds in (10, 40, 20)]
    first, second = repairs.unheard("default", on_redis=0, limit=2)
    assert {first.id, second.id} == {ids[1], ids[2]}


def test_a_task_that_waits_for_its_next_try_is_rung_when_it_is_due(doorbell: Doorbell) -> None:
    tasks.stumble.delay("0244123456")
    doorbell.work()
    relay.sweep()
    assert doorbell.ids() == []
    TaskRun.objects.update(ring_at=clock.now(), due_at=clock.now())
    relay.sweep()
    assert len(doorbell.ids()) == 1


def test_a_swarm_is_rung_in_one_batch(doorbell: Doorbell) -> None:
    ids = services.enqueue_many("tests.jobs.tasks.add", [((n,), {}) for n in range(600)])
    doorbell.client.flushall()
    TaskRun.objects.update(ring_at=clock.now() - timedelta(seconds=1))
    relay.sweep()
    assert len(doorbell.ids()) == 500, "at most so many a sweep"
    TaskRun.objects.filter(ring_at__lte=clock.now()).update(ring_at=clock.now() - timedelta(seconds=90))
    relay.sweep()
    assert sorted(doorbell.ids()) == sorted(ids)


def test_lost_runs_are_taken_back_and_rung_in_the_same_sweep(doorbell: Doorbell) -> None:
    run = unheard()
    doorbell.client.flushall()
    assert runs.claim(run.pk, "gone@test")
    TaskRun.objects.update(lease_until=clock.now() - timedelta(seconds=1))
    relay.sweep()
    assert doorbell.ids() == [str(run.pk)]


def test_with_nothing_to_do_a_sweep_is_one_statement_and_leaves_redis_alone(
    doorbell: Doorbell, django_assert_num_queries: Any
) -> None:
    with doorbell.frozen(), django_assert_num_queries(1):
        relay.sweep()


def test_with_redis_away_rows_stay_as_they_are_and_the_sweeper_goes_on(
    doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = unheard()
    monkeypatch.setattr(sweeper, "_registered", {})
    sweeper.register("relay", every_seconds=1, run=relay.sweep)
    with doorbell.dead():
        began = time.monotonic()
        sweeper.sweep_once("w@test", 1e9)
        assert time.monotonic() - began < 2, "the other sweeps would wait as long"
    before = run.ring_at
    run.refresh_from_db()
    assert run.ring_at == before, "not put off: it was not rung"
    sweeper.sweep_once("w@test", 2e9)
    assert doorbell.ids() == [str(run.pk)]


def test_every_queue_of_the_settings_is_looked_at(doorbell: Doorbell) -> None:
    for queue in settings.CELERY_TASK_QUEUES:
        unheard(queue=queue.name)
    doorbell.client.flushall()
    relay.sweep()
    assert all(len(doorbell.ids(queue.name)) == 1 for queue in settings.CELERY_TASK_QUEUES)


# --- the sweeper ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError("a fault"), OSError("no line"), "database"])
def test_a_sweep_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch, error: Any) -> None:
    seen: list[str] = []
    monkeypatch.setattr(sweeper, "_registered", {})
    monkeypatch.setattr(connection, "close", lambda: seen.append("closed"))

    def fail(worker: str) -> None:
        seen.append("failed")
        raise InterfaceError if error == "database" else error

    sweeper.register("broken", every_seconds=1, run=fail)
    sweeper.register("good", every_seconds=1, run=seen.append)
    sweeper.sweep_once("w@test", 1000)
    sweeper.sweep_once("w@test", 1002)
    assert [what for what in seen if what != "closed"] == ["failed", "w@test", "failed", "w@test"]
    assert ("closed" in seen) == (error == "database"), "a broken line to PostgreSQL is not used again"


def test_a_wrong_statement_of_a_sweep_is_not_taken_for_a_database_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(worker: str) -> None:
        raise ProgrammingError("syntax error")

    monkeypatch.setattr(sweeper, "_registered", {})
    sweeper.register("broken", every_seconds=1, run=fail)
    with capture_logs() as said:
        sweeper.sweep_once("w@test", 1000)
    assert [(line["event"], line["log_level"], line["exc_info"]) for line in said] == [("sweep_failed", "error", True)]


def test_a_sweep_comes_about_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(sweeper, "_registered", {})
    sweeper.register("slow", every_seconds=10, run=seen.append)
    for tenth_of_a_second in range(1000):
        sweeper.sweep_once("w@test", 500 + tenth_of_a_second / 10)
    assert 9 <= len(seen) <= 12


def test_the_product_registers_its_sweeps() -> None:
    assert {"relay", "dispatch"} <= set(sweeper._registered)


def test_a_bell_for_a_run_of_an_unknown_task_is_no_harm(doorbell: Doorbell) -> None:
    """A worker of an older release may hold the row of a task that this one no longer has: the bell still rings."""
    run = runs.Ask(uuid.uuid4(), "gone.tasks.old", "[]", "{}", "{}", "default")
    runs.insert([run])
    TaskRun.objects.update(ring_at=clock.now() - timedelta(seconds=1))
    relay.sweep()
    assert doorbell.ids() == [str(run.id)]


def test_a_run_whose_time_has_come_is_rung_however_long_the_queue() -> None:
    """A retry has no message yet; behind foreign ones it would never get one."""
    run = unheard(since_seconds=30)
    moment = clock.now() - timedelta(seconds=1)
    TaskRun.objects.update(due_at=moment, ring_at=moment)
    assert [bell.id for bell in repairs.unheard("default", on_redis=5_000)] == [run.pk]
    assert repairs.unheard("default", on_redis=5_000) == []


def test_runs_that_wait_for_a_later_time_are_not_counted() -> None:
    later = clock.now() + timedelta(hours=1)
    for _ in range(3):
        unheard()
    TaskRun.objects.update(due_at=later, ring_at=later)
    assert repairs.unheard("default", on_redis=0) == []


def test_a_run_that_expired_is_over_for_who_waits_and_for_its_chord(doorbell: Doorbell) -> None:
    asked = tasks.echo.apply_async((1,), expires=60)
    TaskRun.objects.update(expires_at=clock.now())
    relay.sweep()
    assert TaskRun.objects.get().state == "skipped"
    assert asked.status == "SUCCESS", "as its row says"
    whole = chord([tasks.add.s(1).set(expires=60), tasks.add.s(2)])(tasks.echo.s())
    TaskRun.objects.filter(state="pending", args=[1]).update(expires_at=clock.now())
    relay.sweep()
    doorbell.work()
    assert whole.status == "FAILURE", "it does not wait for ever"


def test_a_run_that_was_begun_in_time_goes_on_after_its_expiry() -> None:
    """It was handed back by a worker that stopped: half of it is done."""
    asked = tasks.echo.apply_async((1,), expires=60)
    claim = runs.claim(uuid.UUID(asked.id), "w@test")
    assert claim
    runs.hand_back(claim)
    TaskRun.objects.update(expires_at=clock.now())
    assert repairs.expire() == []
    assert runs.claim(claim.id, "w2@test")


def test_after_a_gap_the_living_have_their_chance_before_their_runs_are_taken_back() -> None:
    calm = relay._Calm()
    moments = iter([0.0, 1.0, 5.0, 8.0, 9.0, 40.0, 41.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.jobs.relay.time.monotonic", lambda: next(moments))
        assert [calm.sweep() for _ in range(7)] == [False, False, False, True, True, False, False]
