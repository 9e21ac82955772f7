"""The judge of the fault test sees each wrong that it is there for."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from core import clock
from core.jobs.models import Occurrence, ScheduleEntry, TaskRun
from tests.chaos import judge, tables

pytestmark = pytest.mark.django_db

FIRST = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def chaos_tables(db: None) -> None:
    tables.create(["topic-0"])


def a_run(key: str, state: str = "succeeded", task: str = "keyed", **fields: Any) -> uuid.UUID:
    now = clock.now()
    ended = None if state in {"pending", "running"} else now
    ring = now if state == "pending" else None
    values = {"asked_at": now, "finished_at": ended, "ring_at": ring, "fence": 1, "queue": "default"} | fields
    return TaskRun.objects.create(task=f"tests.chaos.tasks.{task}", args=[key], state=state, **values).pk


def an_ask(key: str, run_id: uuid.UUID | None, kind: str = "plain", version: int | None = None, early: int = 0) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO chaos_ask VALUES (%s, %s, %s, 'topic-0', %s, now() + make_interval(secs => %s))",
            [key, kind, run_id, version, early],
        )


def an_effect(key: str, run_id: uuid.UUID, version: int | None = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO chaos_effect (key, run_id, version) VALUES (%s, %s, %s)", [key, run_id, version])


def found() -> set[str]:
    return {finding.what for finding in judge.findings()}


def test_what_was_asked_for_and_done_once_is_well() -> None:
    for kind in ("plain", "cancelled"):
        run = a_run(kind)
        an_ask(kind, run, kind)
        an_effect(kind, run)
    an_ask("never taken", a_run("never taken", "cancelled", fence=0), "cancelled")
    joined = a_run("topic-0", task="topic")
    an_ask("joined", joined, "coalesced", version=3)
    an_effect("topic-0", joined, version=4)
    assert judge.findings() == []


def test_each_wrong_of_an_ask_is_found() -> None:
    an_ask("a", a_run("a"))
    assert found() == {"lost"}
    an_effect("a", uuid.uuid4())
    assert found() == set()
    an_effect("a", uuid.uuid4())
    assert found() == {"doubled"}


def test_a_run_that_was_never_written_is_found() -> None:
    run = uuid.uuid4()
    an_ask("a", run)
    an_effect("a", run)
    assert found() == {"lost (its row)"}


def test_what_was_not_committed_and_yet_came_is_found() -> None:
    run = a_run("undone")
    an_effect("undone", run)
    assert found() == {"effect of an ask that was not committed", "run of an ask that was not committed"}


def test_an_effect_before_its_time_is_found() -> None:
    run = a_run("a")
    an_ask("a", run, early=60)
    an_effect("a", run)
    assert found() == {"before its time"}


def test_an_ask_that_joined_a_run_too_late_is_found() -> None:
    run = a_run("topic-0", task="topic")
    an_ask("joined", run, "coalesced", version=3)
    an_effect("topic-0", run, version=2)
    assert found() == {"lost (joined a run that did not see it)"}


def test_what_was_cancelled_before_anybody_took_it_and_yet_came_is_found() -> None:
    run = a_run("a", "cancelled", fence=0)
    an_ask("a", run, "cancelled")
    an_effect("a", run)
    assert found() == {"cancelled, and yet"}


@pytest.mark.parametrize(("state", "what"), [("pending", "not over"), ("failed", "failed"), ("cancelled", "failed")])
def test_a_run_that_did_not_end_well_is_found(state: str, what: str) -> None:
    run = a_run("a", state)
    an_ask("a", run)
    an_effect("a", run)
    assert found() == {what}


def test_two_runs_of_one_occurrence_are_found() -> None:
    one = uuid.uuid4()
    for _ in range(2):
        a_run("", task="tick", occurrence=one, schedule_entry="each")
    assert found() == {"one occurrence, many runs"}


# --- the schedule --------------------------------------------------------------------------------------------------


def times(states: list[str], late: str = "run_each") -> ScheduleEntry:
    """An entry every two seconds, its occurrences in these states, those that were run with their effect."""
    entry = ScheduleEntry.objects.create(
        name="each", task="t", spec="every 2", late=late, grace=timedelta(seconds=5), followed_until=FIRST
    )
    for number, state in enumerate(states):
        due, run = FIRST + number * timedelta(seconds=2), uuid.uuid4() if state == "run" else None
        if state == "none":
            continue
        decided = None if state == "expected" else FIRST
        Occurrence.objects.create(entry=entry, due_at=due, state=state, run=run, decided_at=decided)
        if run:
            an_effect(f"each {due.isoformat()}", run)
    return entry


def judged(states: list[str]) -> judge.Schedule:
    return judge.schedule(
        {"each": FIRST - timedelta(seconds=1)}, {"each": FIRST + timedelta(seconds=2 * len(states) - 1)}
    )


@pytest.mark.parametrize("second", ["none", "expected", "missed", "skipped"])
def test_a_time_that_was_not_run_is_missed(second: str) -> None:
    states = ["run", second, "run"]
    times(states)
    counts = judged(states).counts
    assert (counts["expected"], counts["run"], counts["missed"], counts["doubled"]) == (3, 2, 1, 0)


def test_a_time_at_the_beginning_is_missed_too() -> None:
    states = ["none", "run"]
    times(states)
    assert judged(states).counts["missed"] == 1


def test_a_time_that_its_policy_skips_is_not_missed() -> None:
    states = ["run", "skipped", "run"]
    times(states, late="run_once")
    assert judged(states).findings == []


def test_a_time_that_was_run_twice_or_to_no_effect_is_found() -> None:
    states = ["run", "run"]
    times(states)
    an_effect(f"each {FIRST.isoformat()}", uuid.uuid4())
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM chaos_effect WHERE key LIKE '%08:00:02%'")
    schedule = judged(states)
    assert (schedule.counts["doubled"], schedule.counts["missed"]) == (1, 1)
    assert {one.what for one in schedule.findings} == {"occurrence doubled", "occurrence without an effect"}


def test_what_was_run_at_a_time_that_is_none_is_found() -> None:
    times(["run"])
    an_effect("each 2026-03-01T08:00:01+00:00", uuid.uuid4())
    assert {one.what for one in judged(["run"]).findings} == {"effect of no occurrence"}
