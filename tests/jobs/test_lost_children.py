"""Processes of a worker's pool that are killed, run out of time or are replaced: no run waits for its lease."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from celery.exceptions import WorkerLostError
from celery.worker.request import Request
from django.db import DatabaseError, connection

from core import clock
from core.jobs import request, runs
from core.jobs.failures import TimeLimitExceeded
from core.jobs.models import TaskRun
from core.jobs.request import LedgerRequest
from core.jobs.rules import LEASE_SECONDS
from tests.jobs.doorbell import Doorbell
from tests.jobs.tasks import add
from tests.system import tasks
from tests.system.product import Process, wait_until, worker

ME = "me@here"


@pytest.fixture(autouse=True)
def no_notes() -> Iterator[None]:
    request._notes.clear()
    yield
    request._notes.clear()


def taken(by: str = ME, *, seconds_ago: float = 5.0) -> TaskRun:
    """A run that a worker has been working on for so long."""
    run_id = add.delay(1, 2).id
    assert runs.claim(uuid.UUID(run_id), by)
    TaskRun.objects.filter(pk=run_id).update(started_at=clock.now() - timedelta(seconds=seconds_ago))
    return TaskRun.objects.get(pk=run_id)


def ended(**kind: Any) -> Any:
    """What Celery calls when a process of the pool has ended."""
    error = kind.pop("error", None) or WorkerLostError("Worker exited prematurely: signal 9 (SIGKILL).")
    try:
        raise error
    except type(error):
        return ExceptionInfo()


def heard(run_id: object) -> LedgerRequest:
    """As much of a request as is looked at."""
    made = LedgerRequest.__new__(LedgerRequest)
    made.id = str(run_id)
    return made


def lose(run: TaskRun) -> None:
    request._note(str(run.pk))


@pytest.mark.django_db
@pytest.mark.usefixtures("at_once")
class TestWritingItDown:
    def test_a_run_whose_process_was_lost_is_back_in_line_at_once_and_rung(self, doorbell: Doorbell) -> None:
        run = taken()
        doorbell.client.flushall()
        lose(run)
        request.sweep(ME)
        run.refresh_from_db()
        assert (run.state, run.attempts, run.lease_until, run.error_class) == ("pending", 1, None, "WorkerLost")
        assert doorbell.client.llen("default") == 1
        assert runs.claim(run.pk, "another")

    def test_out_of_time_is_tried_again_by_the_ordinary_rule(self) -> None:
        run = taken()
        request._note(str(run.pk), 330)
        request.sweep(ME)
        run.refresh_from_db()
        assert (run.state, run.attempts, run.error_class) == ("retrying", 1, "TimeLimitExceeded")
        assert "hard time limit of 330 s" in run.error_text
        assert run.due_at
        assert 50 < (run.due_at - clock.now()).total_seconds() < 70

    def test_what_was_noted_before_the_present_attempt_began_is_old(self) -> None:
        run = taken(seconds_ago=0)
        request._notes.append(request.Note(run.pk, at=time.monotonic() - 2))
        request.sweep(ME)
        run.refresh_from_db()
        assert run.state == "running"

    @pytest.mark.parametrize("how", ["another worker has it", "it is over"])
    def test_it_touches_nothing_else(self, how: str) -> None:
        run = taken("another@here" if how == "another worker has it" else ME)
        if how == "it is over":
            TaskRun.objects.filter(pk=run.pk).update(state="succeeded", lease_until=None, finished_at=clock.now())
        before = TaskRun.objects.values().get()
        lose(run)
        request.sweep(ME)
        assert TaskRun.objects.values().get() == before

    def test_a_note_is_kept_while_the_database_is_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run = taken()
        lose(run)
        with monkeypatch.context() as broken:
            broken.setattr(connection, "cursor", lambda: (_ for _ in ()).throw(DatabaseError("away")))
            with pytest.raises(DatabaseError):
                request.sweep(ME)
        request.sweep(ME)
        run.refresh_from_db()
        assert run.state == "pending"

    def test_a_worker_that_stops_hands_back_its_own_and_no_try_is_used_up(self) -> None:
        mine, others, done = taken(), taken("another@here"), taken()
        TaskRun.objects.filter(pk=done.pk).update(state="succeeded", lease_until=None, finished_at=clock.now())
        asked = [mine.pk, others.pk, done.pk]
        assert [bell.id for bell in runs.hand_back_of(ME, asked)] == [mine.pk]
        assert dict(TaskRun.objects.values_list("pk", "state")) == {
            mine.pk: "pending",
            others.pk: "running",
            done.pk: "succeeded",
        }
        mine.refresh_from_db()
        assert (mine.attempts, mine.lease_until) == (0, None)
        assert mine.ring_at is not None

    def test_one_of_its_name_on_the_same_machine_keeps_what_it_has(self) -> None:
        mine, of_its_namesake = taken(), taken()
        runs.hand_back_of(ME, [mine.pk])
        of_its_namesake.refresh_from_db()
        assert of_its_namesake.state == "running"


class TestNoting:
    @pytest.fixture(autouse=True)
    def celery_does_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("on_failure", "on_timeout"):
            monkeypatch.setattr(Request, name, lambda *_, **__: None)

    @pytest.mark.parametrize("error", [WorkerLostError("gone"), SystemExit(1), KeyboardInterrupt()])
    def test_a_lost_process_is_noted(self, error: BaseException) -> None:
        run_id = uuid.uuid4()
        LedgerRequest.on_failure(heard(run_id), ended(error=error))
        assert [(note.run_id, note.time_limit) for note in request._notes] == [(run_id, None)]

    def test_an_ordinary_failure_is_not(self) -> None:
        LedgerRequest.on_failure(heard(uuid.uuid4()), ended(error=ValueError("no")))
        assert not request._notes

    def test_a_hard_time_limit_is_noted_and_a_soft_one_is_not(self) -> None:
        run_id = uuid.uuid4()
        LedgerRequest.on_timeout(heard(run_id), True, 300)
        LedgerRequest.on_timeout(heard(run_id), False, 330)
        assert [(note.run_id, note.time_limit) for note in request._notes] == [(run_id, 330)]
        assert isinstance(request._notes[0].error(), TimeLimitExceeded)

    def test_an_id_that_is_not_the_ledger_s_is_left_alone(self) -> None:
        LedgerRequest.on_failure(heard("my-own-id"), ended())
        assert not request._notes

    @pytest.mark.parametrize(
        ("asked", "sent"),
        [(None, signal.SIGQUIT), ("SIGTERM", signal.SIGQUIT), (15, signal.SIGQUIT), ("KILL", "KILL"), (9, 9)],
    )
    def test_a_busy_process_is_ended_by_a_signal_that_it_listens_to(self, asked: Any, sent: Any) -> None:
        assert request._to_child(asked) == sent


# --- a real worker -------------------------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path: Path, transactional_db: None) -> Iterator[Any]:
    started: list[Process] = []

    def one(*arguments: str) -> Process:
        started.append(worker(tmp_path / "worker.log", "-I", "tests.system.tasks", "-n", "one@%h", *arguments))
        return started[-1]

    yield one
    for process in started:
        process.stop()


def the(run_id: str) -> TaskRun:
    return TaskRun.objects.get(pk=run_id)


@pytest.mark.system
def test_runs_of_killed_processes_are_taken_up_within_seconds(start: Any) -> None:
    start("-c", "2")
    twice, always, slow = (
        tasks.kill_own_process.delay("twice", 2),
        tasks.kill_own_process.delay("always", 99),
        tasks.too_long.delay("slow"),
    )
    seconds = wait_until(lambda: the(twice.id).finished_at, 15, "its third try")
    print(f"\nthird try over after {seconds:.1f} s; one lease is {LEASE_SECONDS} s")
    assert (the(twice.id).state, the(twice.id).attempts) == ("succeeded", 3)
    wait_until(lambda: the(always.id).finished_at, 15, "the end of what always kills its process")
    assert (the(always.id).state, the(always.id).error_class) == ("failed", "WorkerLost")
    assert tasks.counted("begun")["always"] == 4
    wait_until(lambda: the(slow.id).state == "retrying", 15, "out of time")
    assert (the(slow.id).error_class, the(slow.id).attempts) == ("TimeLimitExceeded", 1)
    assert "limit of 2 s" in the(slow.id).error_text


@pytest.mark.system
def test_replaced_processes_lose_and_double_nothing(start: Any) -> None:
    """After five tasks each, or when they have grown; the new ones have working leases, bells and connections."""
    process = start("-c", "2", "--max-tasks-per-child", "5", "--max-memory-per-child", "150000")
    short = [tasks.work.delay(f"short-{number}", 0.01) for number in range(100)]
    big = [tasks.grow.delay(f"big-{number}", 100) for number in range(8)]
    long = tasks.work.delay("long", LEASE_SECONDS / 3 + 2)
    wait_until(lambda: not TaskRun.objects.filter(finished_at__isnull=True).exists(), 90, "everything done")
    assert set(TaskRun.objects.values_list("state", "attempts", "fence")) == {("succeeded", 1, 1)}
    keys = [f"short-{number}" for number in range(100)] + [f"big-{number}" for number in range(8)] + ["long"]
    assert tasks.counted("begun") == tasks.counted("ended") == dict.fromkeys(keys, 1)
    assert len(short) + len(big) + 1 == TaskRun.objects.count()
    used = set(TaskRun.objects.filter(task="tests.system.tasks.grow").values_list("result", flat=True))
    assert len(used) > 2
    assert the(long.id).worker.startswith("one@")
    assert "[error" not in process.output()
