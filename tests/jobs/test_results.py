"""`AsyncResult` says where a run is, also when Redis knows nothing of it or does not answer."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from celery.exceptions import TaskRevokedError
from celery.exceptions import TimeoutError as TooLate
from celery.result import AsyncResult

from core import clock
from core.jobs.models import TaskRun
from core.tasks import send_sms_async
from tests.jobs import tasks
from tests.jobs.doorbell import Doorbell

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("at_once")]


def run_in(state: str, **fields: Any) -> str:
    now = clock.now()
    final = state in ("succeeded", "failed", "cancelled", "skipped")
    run = TaskRun.objects.create(
        task="core.tasks.send_sms_async",
        queue="default",
        state=state,
        asked_at=now,
        ring_at=now if state in ("pending", "retrying") else None,
        lease_until=now + timedelta(minutes=1) if state == "running" else None,
        finished_at=now if final else None,
        **fields,
    )
    return str(run.pk)


STATES = [
    ("pending", "PENDING", False),
    ("running", "STARTED", False),
    ("retrying", "RETRY", False),
    ("succeeded", "SUCCESS", True),
    ("skipped", "SUCCESS", True),
    ("failed", "FAILURE", True),
    ("cancelled", "REVOKED", True),
]


@pytest.mark.parametrize(("state", "status", "ready"), STATES)
def test_every_state_of_a_row_is_told_without_redis_knowing_it(
    doorbell: Doorbell, state: str, status: str, ready: bool
) -> None:
    result: Any = AsyncResult(run_in(state))
    assert doorbell.client.dbsize() == 0
    assert (result.status, result.state, result.ready()) == (status, status, ready)
    assert result.successful() == (status == "SUCCESS")
    assert result.failed() == (status == "FAILURE")


@pytest.mark.parametrize("fault", ["frozen", "dead"])
def test_a_status_is_told_in_time_when_redis_does_not_answer(doorbell: Doorbell, fault: str) -> None:
    run_id = run_in("succeeded")
    with doorbell.frozen() if fault == "frozen" else doorbell.dead():
        began = time.monotonic()
        assert AsyncResult(run_id).status == "SUCCESS"
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("task_id", ["task-id", "0192f0c1-7a54-4f9b-8f0e-5d2f1c3b4a59", "0"])
def test_an_unknown_id_is_pending_as_celery_says(task_id: str) -> None:
    assert AsyncResult(task_id).status == "PENDING"
    assert send_sms_async.AsyncResult(task_id).status == "PENDING"
    assert not TaskRun.objects.exists()


def test_a_result_is_the_rows(doorbell: Doorbell) -> None:
    assert AsyncResult(run_in("succeeded", result={"status": "ok", "n": 1})).get(timeout=1) == {"status": "ok", "n": 1}


def test_a_failure_is_raised_from_the_row_with_its_class_and_words(doorbell: Doorbell) -> None:
    run_id = run_in("failed", error_class="MessageRefused", error_text="not sent", traceback="Traceback …")
    result: Any = AsyncResult(run_id)
    assert (type(result.result).__name__, str(result.result)) == ("MessageRefused", "not sent")
    assert result.traceback == "Traceback …"
    with pytest.raises(Exception, match="not sent"):
        result.get(timeout=1)
    assert result.get(timeout=1, propagate=False).args == ("not sent",)


def test_a_cancelled_run_raises_celerys_error(doorbell: Doorbell) -> None:
    with pytest.raises(TaskRevokedError):
        AsyncResult(run_in("cancelled")).get(timeout=1)


@pytest.mark.parametrize("name", ["Exception", "system", "os.system", "no such name!", ""])
def test_whatever_stands_in_the_error_class_is_only_a_name(doorbell: Doorbell, name: str) -> None:
    assert isinstance(AsyncResult(run_in("failed", error_class=name, error_text="ls")).result, Exception)


def test_waiting_ends_when_the_run_does(doorbell: Doorbell, calls: list[Any]) -> None:
    asked = tasks.add.delay(1, 2)
    doorbell.work()
    assert asked.get(timeout=5) == 3


def test_waiting_is_bounded_by_its_timeout(doorbell: Doorbell) -> None:
    asked: Any = tasks.add.delay(1)
    with pytest.raises(TooLate):
        asked.get(timeout=0.3)
    asked.backend.remove_pending_result(asked)  # while this Redis lives


def test_a_status_of_retry_does_not_stay_on_redis(doorbell: Doorbell) -> None:
    asked = tasks.stumble.delay("0244123456")
    doorbell.work()
    assert asked.status == "RETRY"
    TaskRun.objects.update(state="running", ring_at=None, lease_until=clock.now())
    TaskRun.objects.update(state="succeeded", finished_at=clock.now(), lease_until=None, result=1)
    assert AsyncResult(asked.id).status == "SUCCESS"


def test_an_ignored_result_is_not_stored_on_redis(doorbell: Doorbell, calls: list[Any]) -> None:
    asked = tasks.add.apply_async((1, 2), ignore_result=True)
    doorbell.work()
    assert not doorbell.client.exists(f"celery-task-meta-{asked.id}")
    assert TaskRun.objects.get().result == 3


def test_forgetting_a_result_on_redis_leaves_the_ledger(doorbell: Doorbell, calls: list[Any]) -> None:
    asked = tasks.add.delay(1, 2)
    doorbell.work()
    asked.forget()
    assert AsyncResult(asked.id).get(timeout=1) == 3
