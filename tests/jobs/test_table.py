"""The database refuses rows that cannot be, whoever writes them."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.db import Error, connection, transaction

from core import clock
from core.jobs.models import TaskRun
from core.jobs.rules import FINAL, State

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
