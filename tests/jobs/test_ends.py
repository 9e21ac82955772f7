"""Ends that a worker cannot tell in the ordinary way: revoked, out of time, lost, or the database is away."""

from __future__ import annotations

import time
from typing import Any

import pytest
from celery import current_app
from celery.app.task import Context
from celery.exceptions import TimeLimitExceeded, WorkerLostError
from celery.result import AsyncResult
from django.db import OperationalError, connection

from core import clock
from core.errors import InvalidInput
from core.jobs import repairs, runs
from core.jobs.models import TaskRun
from tests.jobs import tasks
from tests.jobs.doorbell import Doorbell

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)


def test_a_revoked_run_is_cancelled_in_its_row_and_never_runs(doorbell: Doorbell, calls: list[Any]) -> None:
    asked = tasks.add.delay(1, 2)
    asked.revoke()
    doorbell.work()
    run = TaskRun.objects.get()
    assert (run.state, run.ring_at, calls) == ("cancelled", None, [])
    assert str(AsyncResult(asked.id).status) == "REVOKED"


def test_a_run_that_is_worked_on_is_revoked_only_with_terminate(doorbell: Doorbell) -> None:
    asked = tasks.add.delay(1, 2)
    claim = runs.claim(TaskRun.objects.get().pk, "w1@test")
    assert claim
    asked.revoke()
    assert TaskRun.objects.get().state == "running"
    asked.revoke(terminate=True)
    assert TaskRun.objects.get().state == "cancelled"
    assert not runs.fail(claim, ("E", "late", "")), "what its worker finds out later is not written"


def test_who_waits_for_a_run_whose_worker_was_lost_is_told_its_end(doorbell: Doorbell) -> None:
    asked = tasks.add.delay(1, 2)
    TaskRun.objects.update(
        state="failed", ring_at=None, finished_at=clock.now(), error_class="WorkerLost", error_text="it is gone"
    )
    with pytest.raises(Exception, match="it is gone"):
        asked.get(timeout=5)


@pytest.mark.parametrize("error", [TimeLimitExceeded(300), WorkerLostError("killed")])
def test_a_run_that_is_tried_again_is_not_called_a_failure_meanwhile(doorbell: Doorbell, error: Exception) -> None:
    asked = tasks.add.delay(1, 2)
    current_app.backend.mark_as_failure(asked.id, error, request=Context(id=asked.id, task=tasks.add.name))
    assert not doorbell.client.exists(f"celery-task-meta-{asked.id}")
    assert AsyncResult(asked.id).status == "PENDING"


def away(times: int, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The statement finds no database so many times."""
    real, left = getattr(runs, name), [times]

    def statement(*args: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise OperationalError("the server closed the connection")
        return real(*args)

    monkeypatch.setattr(runs, name, statement)


def test_an_end_is_written_when_the_database_is_back(
    doorbell: Doorbell, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    away(3, monkeypatch, "finish")
    asked = tasks.add.delay(1, 2)
    doorbell.work()
    assert (TaskRun.objects.get().state, calls) == ("succeeded", [(1, 2)])
    assert asked.get(timeout=5) == 3


def test_an_end_that_cannot_be_written_is_left_to_the_lease(
    doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    away(1_000, monkeypatch, "finish")
    asked = tasks.add.delay(1, 2)
    doorbell.work()
    assert TaskRun.objects.get().state == "running"
    assert not doorbell.client.exists(f"celery-task-meta-{asked.id}"), "nothing is told that may yet change"


def test_a_commit_whose_answer_was_lost_is_not_done_again(
    doorbell: Doorbell, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, answers = connection.commit, [False]

    def lose_the_answer() -> None:
        real()
        if connection.in_atomic_block or answers[0] or not TaskRun.objects.filter(state="succeeded").exists():
            return
        answers[0] = True
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(connection, "commit", lose_the_answer)
    tasks.add.apply_async((1, 2), link=tasks.add.s(10))
    doorbell.work()
    assert answers == [True]
    TaskRun.objects.filter(state="pending").update(ring_at=clock.now())
    for bell in repairs.unheard("default", on_redis=0):
        current_app.send_task(bell.task, task_id=str(bell.id), queue="default", headers={"ledger": True})
    doorbell.work()
    assert calls == [(1, 2), (3, 10)]


def test_a_bell_heard_without_a_database_leaves_the_row_waiting(
    doorbell: Doorbell, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    away(1, monkeypatch, "claim")
    tasks.add.delay(1, 2)
    doorbell.work()
    assert (TaskRun.objects.get().state, calls) == ("pending", [])


def test_a_task_cannot_replace_itself_and_says_what_to_do(doorbell: Doorbell) -> None:
    with pytest.raises(InvalidInput, match="chain"):
        tasks.add.replace(tasks.echo.s(1))
