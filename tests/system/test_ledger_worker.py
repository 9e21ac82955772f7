"""The ledger through real workers: kills, cut database lines, backlogs, messages by hand, documented commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from celery.result import AsyncResult
from django.db import connection
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from core import clock
from core.delivery.models import Campaign, OutboundMessage
from core.health.models import Heartbeat
from core.jobs.models import TaskRun
from core.tasks import process_bulk_sms, prune_finished_runs, send_sms_async
from tests.sandbox.process import Sandbox
from tests.system.product import ROOT, Process, database_url, wait_until, worker

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]


def celery(*arguments: str) -> str:
    """A documented command from a second terminal: what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "core", *arguments],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": database_url()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
    return done.stdout


@pytest.fixture(scope="class")
def shared_worker(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = worker(tmp_path_factory.mktemp("worker") / "worker.log", "-c", "2")
    yield process
    process.stop()


def ended(run_id: str) -> Any:
    return lambda: TaskRun.objects.filter(pk=run_id, finished_at__isnull=False).first()


NOTHING_OLD = {"status": "ok", "runs": 0, "occurrences": 0}


# --- one worker for all of these -----------------------------------------------------------------------------------


class TestOneWorker:
    def test_a_task_published_by_hand_gets_its_row(self, shared_worker: Process) -> None:
        run_id = celery("call", "core.tasks.prune_finished_runs").strip()
        wait_until(ended(run_id), 20, "the run of a message by hand")
        run = TaskRun.objects.get()
        assert (str(run.pk), run.task, run.state) == (run_id, "core.tasks.prune_finished_runs", "succeeded")
        assert (run.trigger, run.queue, run.result) == ("by_hand", "bulk", NOTHING_OLD)
        assert AsyncResult(run_id).get(timeout=10) == NOTHING_OLD

    def test_a_message_that_comes_five_times_runs_once(self, shared_worker: Process) -> None:
        run_id = str(uuid.uuid4())
        for _ in range(5):
            current_app.send_task("core.tasks.prune_finished_runs", task_id=run_id, queue="bulk")
        wait_until(ended(run_id), 20, "the run")
        last = prune_finished_runs.apply_async(queue="bulk")
        wait_until(ended(last.id), 20, "a run asked for later, so the five have been taken from Redis")
        run = TaskRun.objects.get(pk=run_id)
        assert (run.attempts, run.fence, run.state) == (1, 1, "succeeded")
        assert TaskRun.objects.count() == 2

    def test_the_worker_goes_on_when_its_database_lines_are_cut(self, shared_worker: Process) -> None:
        for _ in range(3):
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                    " AND datname = current_database() AND backend_type = 'client backend'"
                )
                assert cursor.fetchone()[0] >= 1
            now = clock.now().isoformat()  # with an argument it may run at the same time as another
            asked = [prune_finished_runs.delay(as_of=now) for _ in range(4)]  # both children of the pool
            for run in asked:
                assert run.get(timeout=20) == NOTHING_OLD
        assert set(TaskRun.objects.values_list("state", "attempts")) == {("succeeded", 1)}
        assert shared_worker.popen.poll() is None

    def test_the_documented_questions_are_answered_while_a_worker_runs(self, shared_worker: Process) -> None:
        for question in ("active", "scheduled", "reserved"):
            answer = celery("inspect", question, "-t", "3")
            assert ": OK" in answer
            assert "1 node online." in answer

    def test_the_worker_consumes_the_three_queues_and_shows_itself(self, shared_worker: Process) -> None:
        head = shared_worker.output()
        for queue in ("urgent", "default", "bulk"):
            assert f"{queue} " in head.partition("[queues]")[2].partition("[tasks]")[0]
            assert prune_finished_runs.apply_async(queue=queue).get(timeout=20)["status"] == "ok"
        wait_until(Heartbeat.objects.exists, 30, "a sign of life")


# --- commands with a process of their own --------------------------------------------------------------------------


def test_beat_starts_as_documented_and_writes_the_schedule(tmp_path: Path, empty_redis: None) -> None:
    PeriodicTask.objects.all().delete()
    beat = Process(tmp_path / "beat.log", "celery", "-A", "core", "beat", "-l", "INFO")
    try:
        beat.wait_for_line("DatabaseScheduler")
        written = set(current_app.conf.beat_schedule)
        wait_until(
            lambda: written <= set(PeriodicTask.objects.values_list("name", flat=True)), 30, "the schedule as rows"
        )
        lines = PeriodicTask.objects.filter(name__in=written).select_related("crontab")
        assert {str(line.crontab.timezone) for line in lines} == {"Africa/Accra"}
        assert beat.popen.poll() is None
    finally:
        beat.stop()
    assert "Traceback" not in beat.output()


def test_what_beat_sends_is_a_scheduled_run_with_its_entry(tmp_path: Path, empty_redis: None) -> None:
    """A worker with beat inside, as documented."""
    second, _ = IntervalSchedule.objects.get_or_create(every=1, period=IntervalSchedule.SECONDS)
    PeriodicTask.objects.update_or_create(
        name="often", defaults={"task": "core.tasks.prune_finished_runs", "interval": second, "enabled": True}
    )
    process = worker(tmp_path / "worker.log", "--beat", "-c", "1")
    try:
        done = TaskRun.objects.filter(schedule_entry="often", trigger="schedule", state="succeeded")
        wait_until(done.exists, 40, "a run that beat has sent")
    finally:
        process.stop()


# --- with a sandbox ------------------------------------------------------------------------------------------------


def all_texts(sandbox: Sandbox) -> Counter[str]:
    found: Counter[str] = Counter()
    total, offset = sandbox.total(), 0
    while offset < total:
        page = sandbox.messages(kind="sms", limit=1000, offset=offset)
        assert page
        found.update(message["to"] for message in page)
        offset += len(page)
    return found


def test_a_bulk_run_whose_worker_is_killed_is_taken_over_and_ends_once(
    tmp_path: Path, sandbox: Sandbox, empty_redis: None
) -> None:
    phones = [f"+23324{number:07}" for number in range(12_000)]
    sandbox.faults(delay_ms=100)
    first = worker(tmp_path / "first.log", "-c", "2", "-n", "first@%h")
    asked = process_bulk_sms.delay(phones, "Vaccination day is Friday", batch_size=10)
    try:
        wait_until(
            lambda: (
                TaskRun.objects.filter(pk=asked.id, state="running").exists()
                and Campaign.objects.exists()
                and OutboundMessage.objects.filter(status="submitting").exists()
            ),
            30,
            "the worker in the middle of it",
        )
    finally:
        first.signal(signal.SIGKILL)
        first.popen.wait(10)
    # the time until the leases are over is not waited for
    over = clock.now() - timedelta(seconds=1)
    TaskRun.objects.filter(state="running").update(lease_until=over)
    cut_off = OutboundMessage.objects.filter(status="submitting").update(lease_until=over)
    sandbox.faults()
    second = worker(tmp_path / "second.log", "-c", "2", "-n", "second@%h")
    try:
        result = asked.get(timeout=60)
        assert (result["accepted_for_sending"], result["duplicates"], result["invalid"]) == (len(phones), 0, 0)
        settled = OutboundMessage.objects.filter(status__in=["accepted", "in_doubt"])
        wait_until(lambda: settled.count() == len(phones), 120, "every message settled")
    finally:
        second.stop()
    run = TaskRun.objects.get()
    assert run.state == "succeeded"
    assert run.worker.startswith("second@")
    assert Counter(OutboundMessage.objects.values_list("recipient", flat=True)) == Counter(phones)
    texts = all_texts(sandbox)
    assert max(texts.values()) == 1, "nobody got it twice"
    doubtful = set(OutboundMessage.objects.filter(status="in_doubt").values_list("recipient", flat=True))
    assert 0 < len(doubtful) <= cut_off, "what was open at the kill is visible, and nothing else"
    assert set(phones) - doubtful <= set(texts), "who is not in doubt has it"


def test_a_single_run_whose_worker_is_killed_is_taken_over_when_its_lease_is_over(
    tmp_path: Path, sandbox: Sandbox, empty_redis: None
) -> None:
    """The lease is waited for here: recovery needs nobody and no restart of the second worker."""
    sandbox.faults(delay_ms=9000)  # longer than a worker takes to start
    first = worker(tmp_path / "first.log", "-c", "1", "-n", "first@%h")
    asked = send_sms_async.delay("+233244123456", "Vaccination day is Friday")
    try:
        wait_until(lambda: OutboundMessage.objects.filter(status="submitting").exists(), 20, "the text on its way")
        second = worker(tmp_path / "second.log", "-c", "1", "-n", "second@%h")
    finally:
        first.signal(signal.SIGKILL)
        first.popen.wait(10)
    try:
        seconds = wait_until(
            lambda: TaskRun.objects.filter(worker__startswith="second@").exists(), 60, "the second worker takes it"
        )
        print(f"\ntaken over {seconds:.1f} s after the kill")
        wait_until(ended(asked.id), 30, "the end of the run")
    finally:
        second.stop()
    assert sandbox.total() <= 1, "the first request may have arrived, a second one was not made"
    assert OutboundMessage.objects.get().attempts <= 1
    assert TaskRun.objects.get().attempts == 2


def test_a_long_backlog_of_bulk_work_holds_up_nobody_else(sandbox: Sandbox, a_worker: Process) -> None:
    sandbox.faults(delay_ms=200)
    began = time.monotonic()
    bulk = [
        process_bulk_sms.delay([f"+23320{run:02}{number:05}" for number in range(2000)], "Vaccination day")
        for run in range(4)
    ]
    wait_until(lambda: OutboundMessage.objects.filter(lane="bulk").exists(), 20, "the backlog at work")
    waits: dict[str, list[float]] = {"urgent": [], "default": []}
    for number in range(4):
        for queue, seconds in waits.items():
            asked = time.monotonic()
            phone = f"+23355{number:06}{len(queue) % 10}"
            send_sms_async.apply_async((phone, "Your code is 1"), queue=queue).get(timeout=60)
            seconds.append(time.monotonic() - asked)
    still_waiting = OutboundMessage.objects.filter(lane="bulk", status="queued").count()
    assert [run.get(timeout=90)["status"] for run in bulk] == ["ok"] * 4
    wait_until(
        lambda: OutboundMessage.objects.filter(lane="bulk", status="accepted").count() == 8000, 90, "the bulk texts"
    )
    total = time.monotonic() - began
    print(f"\nbulk {total:.1f} s; meanwhile, slowest: " + ", ".join(f"{q} {max(s):.2f} s" for q, s in waits.items()))
    assert still_waiting, "the backlog was to outlast the others"
    for seconds in waits.values():
        assert sorted(seconds)[len(seconds) // 2] < total / 4
