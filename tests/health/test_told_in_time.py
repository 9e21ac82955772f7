"""With real processes: who is killed is told to the admins in time, once, by those who are left."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from core.health.models import Heartbeat
from core.health.rules import GRACE_SECONDS, Kind
from core.health.services import PATIENCE_SECONDS
from tests.factories import UserFactory
from tests.sandbox.process import Sandbox
from tests.system.conftest import empty_redis, sandbox
from tests.system.product import Process, wait_until, worker

__all__ = ["empty_redis", "sandbox"]

PROMISED = GRACE_SECONDS[Kind.WORKER] + 120

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def doorbell() -> None:
    """Not the Redis of this package's other tests: the processes have the run's own."""


@pytest.fixture
def processes(tmp_path: Path, sandbox: Sandbox, empty_redis: None) -> Iterator[tuple[Process, Process, Process]]:
    with ExitStack() as stack:
        first = worker(tmp_path / "a.log", "-c", "1", "-n", "a@test")
        stack.callback(first.stop)
        second = worker(tmp_path / "b.log", "-c", "1", "-n", "b@test")
        stack.callback(second.stop)
        beat = Process(tmp_path / "beat.log", "celery", "-A", "core", "beat", "-l", "INFO", "--pidfile=")
        stack.callback(beat.stop)
        wait_until(lambda: Heartbeat.objects.filter(kind="beat").exists(), 30, "a sign of life of beat")
        yield first, second, beat


def subjects(sandbox: Sandbox) -> list[str]:
    return [mail["subject"] for mail in sandbox.messages() if mail["to"] == "ama@example.com"]


def test_a_killed_worker_is_told_by_the_others_and_the_last_one_by_beat(
    sandbox: Sandbox, processes: tuple[Process, Process, Process]
) -> None:
    UserFactory.create(role="SUPER_ADMIN", email="ama@example.com")
    first, second, beat = processes
    with pytest.raises(AssertionError):
        wait_until(lambda: subjects(sandbox), PATIENCE_SECONDS + 5, "nothing, while all are alive")
    first.signal(signal.SIGKILL)
    took = wait_until(lambda: subjects(sandbox), PROMISED, "a message of the dead worker")
    print(f"a worker: {took:.0f} s")
    assert subjects(sandbox) == ["The worker a@test has stopped"]
    second.signal(signal.SIGKILL)
    took = wait_until(lambda: len(subjects(sandbox)) > 1, PROMISED, "a message that no worker is left")
    print(f"the last worker: {took:.0f} s")
    with pytest.raises(AssertionError):
        wait_until(lambda: len(subjects(sandbox)) > 2, 40, "nothing more, when the sweeps are missed too")
    assert sorted(subjects(sandbox)) == [
        "No worker is running: no SMS, e-mail or report goes out",
        "The worker a@test has stopped",
    ]
    assert Heartbeat.objects.filter(kind="beat").exists()
    beat.stop()
    assert not Heartbeat.objects.filter(kind="beat").exists(), "who stops in order is not missed"
