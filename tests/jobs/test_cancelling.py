"""Progress, and stopping a run that is being worked on."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app
from django.db import connection, transaction

from core.jobs import leases, progress, repairs, runs
from core.jobs.failures import ClaimLostError, RunCancelled
from core.jobs.models import TaskRun
from core.jobs.rules import State
from tests.jobs import tasks
from tests.jobs.doorbell import Doorbell

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The resident thread looks more often, and lets go of its connection before the tables are emptied."""
    monkeypatch.setattr(leases, "LOOK_SECONDS", 0.05)
    yield
    time.sleep(0.3)


def working(task: Any, *args: Any, doorbell: Doorbell) -> tuple[Any, threading.Thread]:
    asked = task.delay(*args)

    def work() -> None:
        try:
            doorbell.work()
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    return asked, thread


def wait_for(true: Any, what: str) -> None:
    ends = time.monotonic() + 10
    while not true():
        assert time.monotonic() < ends, what
        time.sleep(0.02)


def test_progress_is_seen_while_the_run_goes_on_and_after_it(doorbell: Doorbell) -> None:
    asked, thread = working(tasks.long_work, 1.5, doorbell=doorbell)
    wait_for(lambda: TaskRun.objects.filter(pk=asked.id, progress_done__gt=0, state="running"), "no progress")
    run = TaskRun.objects.get(pk=asked.id)
    assert (run.progress_total, run.progress_note) == (1_000, "counting")
    thread.join(10)
    run.refresh_from_db()
    assert run.state == "succeeded"
    assert run.result
    assert run.progress_done == run.result["done"], "the last word is in the row"


def test_a_long_transaction_does_not_hide_progress(doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.long_work, "atomic", True)
    asked, thread = working(tasks.long_work, 1.5, doorbell=doorbell)
    wait_for(lambda: TaskRun.objects.filter(pk=asked.id, progress_done__gt=0, state="running"), "no progress")
    thread.join(10)
    assert TaskRun.objects.get(pk=asked.id).state == "succeeded"


def test_a_run_that_is_asked_to_stop_stops_and_says_so(doorbell: Doorbell) -> None:
    asked, thread = working(tasks.long_work, 20, doorbell=doorbell)
    wait_for(lambda: TaskRun.objects.filter(pk=asked.id, state="running"), "not taken")
    began = time.monotonic()
    assert runs.ask_to_cancel(uuid.UUID(asked.id))
    thread.join(10)
    assert time.monotonic() - began < 5
    run = TaskRun.objects.get(pk=asked.id)
    assert (run.state, run.lease_until) == ("cancelled", None)
    assert asked.status == "REVOKED"


def test_a_run_that_ends_before_it_hears_of_it_has_succeeded(doorbell: Doorbell, calls: list[Any]) -> None:
    claim = runs.claim(uuid.UUID(tasks.echo.delay(1).id), "w@test")
    assert claim
    runs.ask_to_cancel(claim.id)
    assert runs.finish(claim, State.SUCCEEDED, "1", None, None) == "succeeded"


@pytest.mark.parametrize("how", ["handed back", "retried", "lost"])
def test_a_run_that_is_asked_to_stop_is_not_begun_again(how: str) -> None:
    claim = runs.claim(uuid.UUID(tasks.echo.delay(1).id), "w@test")
    assert claim
    runs.ask_to_cancel(claim.id)
    match how:
        case "handed back":
            assert runs.hand_back(claim) == "cancelled"
        case "retried":
            assert runs.retry(claim, 60, ("E", "e", "t")) == "cancelled"
        case "lost":
            TaskRun.objects.update(lease_until="2020-01-01T00:00Z")
            assert repairs.recover_lost() == ([], [(claim.id, {})])
    assert TaskRun.objects.get().state == "cancelled"


def test_who_does_not_run_cannot_be_asked_to_stop() -> None:
    assert not runs.ask_to_cancel(uuid.UUID(tasks.echo.delay(1).id))


def test_outside_of_a_run_there_is_nothing_to_report_to() -> None:
    progress.report(1, 2, "note")
    progress.checkpoint()
    assert tasks.long_work(0) == {"done": 0}


def test_a_run_that_was_taken_over_stops_at_its_next_checkpoint() -> None:
    claim = runs.claim(uuid.UUID(tasks.echo.delay(1).id), "w@test")
    assert claim
    with leases.keeper.keep(claim):
        TaskRun.objects.update(fence=7)

        def reports() -> bool:
            try:
                progress.report(1)
            except ClaimLostError:
                return True
            return False

        wait_for(reports, "not told")


def test_stopping_passes_through_a_loop_that_contains_the_errors_of_single_items() -> None:
    assert not issubclass(RunCancelled, Exception)


def test_a_chord_hears_of_a_cancelled_part(doorbell: Doorbell, calls: list[Any]) -> None:
    from celery import chord

    with transaction.atomic():
        whole = chord([tasks.add.s(1), tasks.add.s(2)])(tasks.echo.s())
    part = TaskRun.objects.filter(task="tests.jobs.tasks.add").first()
    assert part
    current_app.control.revoke(str(part.pk))
    doorbell.work()
    assert whole.status == "FAILURE", "it does not wait for ever"
