"""Small tasks whose effects can be counted, and a schedule that is fast."""

from __future__ import annotations

import random
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from celery import shared_task
from django.db import InterfaceError, OperationalError, connection

from core.celery import SCHEDULE, app
from core.jobs import progress
from core.jobs.rules import Late
from core.jobs.schedule import Entry
from core.jobs.task import HandBack, LedgerTask
from core.jobs.timetable import Every, Timetable

CHILDREN = uuid.UUID("b1c0b7a8-37f3-4d62-9f4e-3d0d4f3f9c11")
# A task that expects its database to go away now and then, and may be killed as often as chance will have it.
TOUGH: dict[str, Any] = {
    "base": LedgerTask,
    "bind": True,
    "max_retries": None,
    "default_retry_delay": 1,
    "autoretry_for": (OperationalError, InterfaceError),
}


def body(task: LedgerTask, key: str) -> None:
    """A trace of every time that the body of a task is run, whatever comes of it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO chaos_body (key, run_id, clock_wrong_by)"
            " VALUES (%s, %s, %s - extract(epoch FROM clock_timestamp()))",
            [key, task.request.id, time.time()],
        )


def effect(task: LedgerTask, key: str, version: int | None = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO chaos_effect (key, run_id, version, once) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [key, task.request.id, version, None if task.atomic else task.request.id],
        )


@shared_task(**TOUGH)
def keyed(self: Any, key: str) -> dict[str, int]:
    """Safe to repeat: its effect has the run's id as its key."""
    body(self, key)
    effect(self, key)
    return {"done": 1}


@shared_task(**TOUGH, atomic=True)
def atomic(self: Any, key: str) -> dict[str, int]:
    """Its effect has no key: body and end are one transaction."""
    effect(self, key)
    return {"done": 1}


@shared_task(**TOUGH, lane="bulk")
def slow(self: Any, key: str, seconds: float) -> dict[str, int]:
    body(self, key)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.1)
        progress.checkpoint()
    effect(self, key)
    return {"done": 1}


@shared_task(**TOUGH)
def fails_once(self: Any, key: str) -> dict[str, int]:
    body(self, key)
    if self.request.retries == 0:
        raise self.retry(countdown=random.uniform(0.5, 3))
    effect(self, key)
    return {"done": 1}


@shared_task(base=LedgerTask, bind=True, max_retries=None)
def stumbles_once(self: Any, key: str) -> dict[str, int]:
    """Fails as any task may, and is tried again by the ordinary rule, after a minute."""
    body(self, key)
    if self.request.retries == 0:
        raise OSError("the network is away")
    effect(self, key)
    return {"done": 1}


@shared_task(**TOUGH, lane="bulk")
def slices(self: Any, key: str, many: int) -> dict[str, int]:
    body(self, key)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO chaos_slices VALUES (%s, 1) ON CONFLICT (key) DO UPDATE SET done = chaos_slices.done + 1"
            " RETURNING done",
            [key],
        )
        done = cursor.fetchone()[0]
    if done < many:
        raise HandBack
    effect(self, key)
    return {"done": done}


@shared_task(**TOUGH)
def topic(self: Any, name: str) -> dict[str, int]:
    """Asked for with a coalesce key: its effect is the version that it has seen."""
    body(self, name)
    with connection.cursor() as cursor:
        cursor.execute("SELECT version FROM chaos_topic WHERE topic = %s", [name])
        version = cursor.fetchone()[0]
    effect(self, name, version)
    return {"version": version}


@shared_task(**TOUGH)
def parent(self: Any, key: str, child: str) -> dict[str, int]:
    """Asks for another run with a key, since its body may be repeated."""
    body(self, key)
    atomic.apply_async((child,), task_id=str(uuid.uuid5(CHILDREN, child)))
    effect(self, key)
    return {"done": 1}


@shared_task(**TOUGH, atomic=True)
def atomic_parent(self: Any, key: str, child: str) -> dict[str, int]:
    """Asks for another run without a key: what it asks for commits with its end."""
    keyed.delay(child)
    effect(self, key)
    return {"done": 1}


def due_time(task: LedgerTask, as_of: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT schedule_entry FROM jobs_taskrun WHERE id = %s", [task.request.id])
        return f"{cursor.fetchone()[0]} {as_of}"


@shared_task(**TOUGH, atomic=True, takes_due_time=True)
def tick(self: Any, as_of: str = "") -> dict[str, int]:
    effect(self, due_time(self, as_of))
    return {"done": 1}


@shared_task(**TOUGH, takes_due_time=True, lane="urgent")
def keyed_tick(self: Any, as_of: str = "") -> dict[str, int]:
    key = due_time(self, as_of)
    body(self, key)
    effect(self, key)
    return {"done": 1}


@dataclass(frozen=True)
class Often(Entry):
    """An entry of the code that is due every few seconds: `cron` says how many."""

    @property
    def timetable(self) -> Timetable:  # type: ignore[override]
        return Every(int(self.cron))

    def for_beat(self) -> dict[str, Any]:
        return {"task": self.task, "schedule": timedelta(seconds=int(self.cron))}


FAST: dict[str, Entry] = {
    "each": Often("tests.chaos.tasks.tick", "2", Late.RUN_EACH),
    "each-keyed": Often("tests.chaos.tasks.keyed_tick", "3", Late.RUN_EACH),
    "each-minute": Entry("tests.chaos.tasks.tick", "* * * * *", Late.RUN_EACH),
    "once": Often("tests.chaos.tasks.tick", "2", Late.RUN_ONCE),
    "skip": Often("tests.chaos.tasks.keyed_tick", "4", Late.SKIP, grace=timedelta(seconds=3)),
}
# as if it were written there: beat and `migrate` take the whole table
SCHEDULE.update(FAST)
app.conf.beat_schedule |= {name: entry.for_beat() for name, entry in FAST.items()}
