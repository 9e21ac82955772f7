"""Workers that are told to stop: short tasks finish, long ones are handed back, and nobody hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.jobs import bell, runs
from core.jobs.models import TaskRun
from tests.system import tasks
from tests.system.product import ROOT, Process, database_url, wait_until, worker

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_redis")]

STOPS = int(os.environ.get("STOPS", "2"))  # of the rolling restart
LONGEST_STOP = 10.0  # seconds; 5 for the tasks, 1 or 2 for the rest, and a busy machine


def a_worker(log: Path, *arguments: str) -> Process:
    """Named after its log up to a dash, so that its successor has the same name and a log of its own."""
    return worker(log, "-I", "tests.system.tasks", "-n", f"{log.stem.partition('-')[0]}@%h", *arguments)


def seconds_to_stop(process: Process, number: int = signal.SIGTERM) -> float:
    """Asks the main process, and only that. Fails unless it ends in order."""
    began = time.monotonic()
    process.popen.send_signal(number)
    try:
        assert process.popen.wait(20) == 0, process.output()[-3000:]
    except subprocess.TimeoutExpired:
        process.popen.send_signal(signal.SIGUSR1)  # Celery's own: where is every thread
        time.sleep(1)
        raise AssertionError(f"it hangs:\n{process.output()[-6000:]}") from None
    finally:
        process.signal(signal.SIGKILL)
    return time.monotonic() - began


def running(*run_ids: str) -> Any:
    return lambda: TaskRun.objects.filter(pk__in=run_ids, state="running").count() == len(run_ids)


def state(run_id: str) -> tuple[str, int]:
    run = TaskRun.objects.get(pk=run_id)
    return run.state, run.attempts


def test_an_idle_worker_stops_at_once(tmp_path: Path) -> None:
    process = a_worker(tmp_path / "idle.log", "-c", "2")
    tasks.work.delay("one").get(timeout=20)
    assert seconds_to_stop(process) < 5
    assert "Traceback" not in process.output()


def test_short_tasks_finish_and_long_ones_wait_in_line_again(tmp_path: Path) -> None:
    first = a_worker(tmp_path / "first.log", "-c", "2")
    long = tasks.work.delay("long", 60)
    wait_until(running(long.id), 20, "it is at work")
    bell.ring([runs.Bell(uuid.UUID(long.id), tasks.work.name, "default")])
    first.wait_for_line(f"[{long.id}] ignored")  # a doubled message, which Celery takes for the end of that task
    short = tasks.work.delay("short", 3)
    wait_until(running(short.id, long.id), 20, "both at work")
    assert seconds_to_stop(first) < LONGEST_STOP
    assert state(short.id) == ("succeeded", 1)
    assert state(long.id) == ("pending", 0), "no try was used up"
    assert tasks.counted("ended") == {"short": 1}
    assert "Traceback" not in first.output()
    second = a_worker(tmp_path / "second.log", "-c", "1")
    wait_until(running(long.id), 10, "another has it")
    assert seconds_to_stop(second) < LONGEST_STOP
    assert state(long.id) == ("pending", 0)


def descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [one for child in children for one in descendants(child)]


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_as_a_service_of_systemd_short_tasks_finish_too(tmp_path: Path) -> None:
    """The documented unit: --detach with a pidfile; ExecStop sends SIGTERM to the worker, then systemd to all of it.
    With beat inside.
    """
    pidfile = tmp_path / "worker.pid"
    options = [f"--pidfile={pidfile}", f"--logfile={tmp_path / 'worker.log'}", "--beat", "-c", "2"]
    subprocess.run(
        [sys.executable, "-m", "celery", "-A", "core", "worker", "--detach", "-l", "INFO", "-I", "tests.system.tasks"]
        + options,
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": database_url()},
        check=True,
        timeout=60,
    )
    wait_until(pidfile.exists, 30, "the pidfile")
    everybody = [int(pidfile.read_text())]
    try:
        short, long = tasks.work.delay("short", 3), tasks.work.delay("long", 60)
        wait_until(running(short.id, long.id), 30, "both at work")
        everybody += descendants(everybody[0])
        assert len(everybody) >= 4, "the worker, its two processes and beat"
        began = time.monotonic()
        os.kill(everybody[0], signal.SIGTERM)
        for pid in everybody:
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not any(lives(pid) for pid in everybody), 15, "the end of all")
        assert time.monotonic() - began < LONGEST_STOP
        assert (state(short.id), state(long.id)) == (("succeeded", 1), ("pending", 0))
        assert not pidfile.exists()
    finally:
        for pid in filter(lives, everybody):
            os.kill(pid, signal.SIGKILL)


class Load:
    """Short keyed tasks, about 30 a second, and now and then one of 3 s and one of 7 s."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        from django.db import connection

        number = 0
        while not self.over.wait(1 / 30):
            seconds = 7.0 if number % 200 == 30 else 3.0 if number % 60 == 10 else 0.0
            key = f"{seconds:.0f}s-{number}"
            tasks.work.delay(key, seconds)
            self.asked.append(key)
            number += 1
        connection.close()

    def stop(self) -> None:
        self.over.set()
        self.thread.join()


@pytest.fixture
def load() -> Iterator[Load]:
    load = Load()
    yield load
    load.stop()


def test_a_rolling_restart_under_load_loses_and_doubles_nothing(tmp_path: Path, load: Load) -> None:
    workers = [a_worker(tmp_path / f"w{number}-first.log", "-c", "3") for number in (0, 1)]
    stops = []
    try:
        for number in range(STOPS):
            time.sleep(1)
            stops.append(seconds_to_stop(workers[number % 2]))
            workers[number % 2] = a_worker(tmp_path / f"w{number % 2}-{number}.log", "-c", "3")
        load.stop()
        open_runs = TaskRun.objects.filter(finished_at__isnull=True)
        wait_until(lambda: not open_runs.exists(), 90, "everything done")
    finally:
        for process in workers:
            process.stop()
    cut = {key: times for key, times in tasks.counted("begun").items() if times > 1}
    again = list(TaskRun.objects.exclude(attempts=1).values_list("args", "attempts", "error_text"))
    print(f"\n{len(load.asked)} tasks, {len(cut)} begun again, stops {', '.join(f'{s:.1f}' for s in stops)} s")
    assert tasks.counted("ended") == dict.fromkeys(load.asked, 1), "lost 0, doubled 0"
    assert not [key for key in cut if key.startswith("0s")], "no short task was cut off"
    assert not again, "nothing had to wait for a lease"
    assert set(TaskRun.objects.values_list("state", flat=True)) == {"succeeded"}
    assert max(stops) < LONGEST_STOP
