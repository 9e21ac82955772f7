"""The database refuses rows that cannot be, whoever writes them."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import Error, IntegrityError, connection, transaction

from core import clock
from core.jobs.models import Occurrence, ScheduleEntry, TaskRun
from core.jobs.rules import FINAL, OCCURRENCE_TRANSITIONS, TRANSITIONS, OccurrenceState, State

pytestmark = pytest.mark.django_db


def fields(state: str) -> dict[str, Any]:
    now = clock.now()
    return {
        "task": "t",
        "queue": "default",
        "asked_at": now,
        "state": state,
        "ring_at": now if state in ("pending", "retrying") else None,
        "lease_until": now if state == "running" else None,
        "finished_at": now if State(state) in FINAL else None,
    }


@pytest.mark.parametrize("state", [state.value for state in State])
def test_every_state_has_a_row_that_is_allowed(state: str) -> None:
    TaskRun.objects.create(**fields(state))


@pytest.mark.parametrize("state", [state.value for state in State])
@pytest.mark.parametrize("name", ["ring_at", "lease_until", "finished_at"])
def test_a_time_that_does_not_belong_to_the_state_is_refused_and_so_is_its_absence(state: str, name: str) -> None:
    wrong = fields(state)
    wrong[name] = None if wrong[name] else clock.now()
    with pytest.raises(Error, match="taskrun_"), transaction.atomic():
        TaskRun.objects.create(**wrong)


def test_an_unknown_state_is_refused() -> None:
    with pytest.raises(Error, match="taskrun_"), transaction.atomic():
        TaskRun.objects.create(**fields("pending") | {"state": "lost"})


@pytest.mark.parametrize("name", ["attempts", "fence", "max_attempts"])
def test_nothing_is_counted_below_nothing(name: str) -> None:
    with pytest.raises(Error, match="taskrun_whole"), transaction.atomic():
        TaskRun.objects.create(**fields("pending"), **{name: -1})


def become(row: TaskRun | Occurrence, fields: dict[str, Any]) -> None:
    type(row).objects.filter(pk=row.pk).update(**fields)


@pytest.mark.parametrize("after", list(State))
@pytest.mark.parametrize("before", list(State))
def test_the_database_knows_what_may_follow(before: State, after: State) -> None:
    row = TaskRun.objects.create(**fields(before.value))
    if after in TRANSITIONS[before] or after == before:
        become(row, fields(after.value))
    else:
        with pytest.raises(IntegrityError, match="may not go"), transaction.atomic():
            become(row, fields(after.value))


def decided(state: OccurrenceState) -> dict[str, Any]:
    return {
        "state": state.value,
        "run": uuid.uuid4() if state == OccurrenceState.RUN else None,
        "decided_at": None if state == OccurrenceState.EXPECTED else clock.now(),
    }


@pytest.mark.parametrize("after", list(OccurrenceState))
@pytest.mark.parametrize("before", list(OccurrenceState))
def test_the_database_knows_what_may_become_of_an_occurrence(before: OccurrenceState, after: OccurrenceState) -> None:
    entry = ScheduleEntry.objects.create(
        name="e", task="t", spec="every 60", grace=timedelta(minutes=5), followed_until=clock.now()
    )
    row = Occurrence.objects.create(entry=entry, due_at=clock.now(), **decided(before))
    if after in OCCURRENCE_TRANSITIONS[before] or after == before:
        become(row, decided(after))
    else:
        with pytest.raises(IntegrityError, match="may not go"), transaction.atomic():
            become(row, decided(after))


def test_an_entry_has_one_occurrence_at_a_time_of_day() -> None:
    entry = ScheduleEntry.objects.create(
        name="e", task="t", spec="every 60", grace=timedelta(minutes=5), followed_until=clock.now()
    )
    due = Occurrence.objects.create(entry=entry, due_at=clock.now()).due_at
    with pytest.raises(IntegrityError, match="occurrence_once"), transaction.atomic():
        Occurrence.objects.create(entry=entry, due_at=due)


def test_the_migrations_can_be_undone() -> None:
    """The newest first; the tables come back as they were."""
    quiet: dict[str, Any] = {"verbosity": 0}
    call_command("migrate", "jobs", "0001", **quiet)
    call_command("migrate", **quiet)


@pytest.mark.parametrize("name", ["task", "args", "queue", "asked_at"])
def test_what_every_run_needs_may_not_be_missing(name: str) -> None:
    with pytest.raises(Error, match="null"), transaction.atomic():
        TaskRun.objects.create(**fields("pending") | {name: None})


def test_the_indexes_serve_the_sweeps() -> None:
    """The sweeps run every second in every worker: they must never read the whole table."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        for statement, index in (
            ("SELECT id FROM jobs_taskrun WHERE state = 'running' AND lease_until < now()", "taskrun_leases"),
            (
                "SELECT id FROM jobs_taskrun WHERE queue = 'bulk' AND ring_at IS NOT NULL AND ring_at <= now()",
                "taskrun_to_ring",
            ),
        ):
            cursor.execute(f"EXPLAIN {statement}")
            assert index in "\n".join(row[0] for row in cursor.fetchall())


def test_the_migrations_are_what_the_models_say() -> None:
    call_command("makemigrations", "jobs", "health", check=True, dry_run=True, verbosity=0)
