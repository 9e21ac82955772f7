"""Asks that join a pending run, runs of which there is one at a time, runs in one transaction, tasks that are gone."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
from celery.result import AsyncResult
from django.db import connection, transaction

from core import clock
from core.base.models import Setting
from core.errors import InvalidInput
from core.jobs import relay, repairs, runs, services
from core.jobs.models import TaskRun
from tests.jobs import tasks
from tests.jobs.doorbell import Doorbell

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("at_once")]

ECHO = "tests.jobs.tasks.echo"


def test_asks_with_one_key_are_one_run(doorbell: Doorbell, calls: list[Any]) -> None:
    ids = {services.enqueue_coalesced(ECHO, "farm-1", "first").id for _ in range(3)}
    other = services.enqueue_coalesced(ECHO, "farm-2", "second").id
    assert len(ids) == 1
    assert other not in ids
    doorbell.work()
    assert calls == ["first", "second"]


def test_the_key_belongs_to_the_task() -> None:
    services.enqueue_coalesced(ECHO, "same", 1)
    services.enqueue_coalesced("tests.jobs.tasks.add", "same", 1)
    assert TaskRun.objects.count() == 2


def test_who_asks_after_the_run_was_taken_asks_for_a_new_one() -> None:
    first = services.enqueue_coalesced(ECHO, "k", 1).id
    assert runs.claim(uuid.UUID(first), "w@test")
    assert services.enqueue_coalesced(ECHO, "k", 1).id != first


@pytest.mark.parametrize("end", ["cancelled", "expired", "handed back", "lost"])
def test_the_key_is_free_after_every_end(end: str) -> None:
    first = uuid.UUID(services.enqueue_coalesced(ECHO, "k", 1).id)
    if end == "cancelled":
        runs.cancel([first])
    elif end == "expired":
        TaskRun.objects.update(expires_at=clock.now(), ring_at=clock.now())
        repairs.expire()
    else:
        claim = runs.claim(first, "w@test")
        assert claim
        services.enqueue_coalesced(ECHO, "k", 1)
        if end == "handed back":
            runs.hand_back(claim)
        else:
            TaskRun.objects.filter(pk=first).update(lease_until=clock.now() - timedelta(seconds=1))
            repairs.recover_lost()
    assert services.enqueue_coalesced(ECHO, "k", 1).id != str(first)


@pytest.mark.django_db(transaction=True)
def test_a_joined_run_is_not_taken_before_the_one_who_joined_has_committed() -> None:
    """Else it would not see what was written there, and nobody would look again."""
    asked = uuid.UUID(services.enqueue_coalesced(ECHO, "k", 1).id)
    claims: list[Any] = []

    def take() -> None:
        try:
            claims.append(runs.claim(asked, "w@test"))
        finally:
            connection.close()

    with transaction.atomic():
        assert services.enqueue_coalesced(ECHO, "k", 1).id == str(asked)
        early = threading.Thread(target=take)
        early.start()
        early.join(10)
        assert claims == [None], "and the worker does not wait for it either"
    take()
    assert claims[1]


@pytest.mark.django_db(transaction=True)
def test_who_asks_never_waits_for_another_s_transaction_and_the_later_ones_still_join() -> None:
    """An import that has asked early in its long transaction must not hold up every page that asks too."""
    others: list[str] = []

    def ask() -> None:
        try:
            others.append(services.enqueue_coalesced(ECHO, "k", 1).id)
        finally:
            connection.close()

    with transaction.atomic():
        first = services.enqueue_coalesced(ECHO, "k", 1).id
        for _ in range(2):
            thread = threading.Thread(target=ask)
            thread.start()
            thread.join(10)
            assert not thread.is_alive()
    assert len(others) == 2
    assert first not in others
    assert len(set(others)) == 1


@pytest.mark.django_db(transaction=True)
def test_a_run_that_is_joined_again_and_again_is_taken_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = uuid.UUID(services.enqueue_coalesced(ECHO, "k", 1).id)
    over = threading.Event()

    def join() -> None:
        try:
            while not over.is_set():
                with transaction.atomic():
                    services.enqueue_coalesced(ECHO, "k", 1)
                    over.wait(0.05)
        finally:
            connection.close()

    threads = [threading.Thread(target=join) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        assert any(runs.claim(asked, "w@test") for _ in range(5))
    finally:
        over.set()
        for thread in threads:
            thread.join(20)


def test_what_is_asked_for_anew_is_not_skipped_because_the_old_one_runs(doorbell: Doorbell, calls: list[Any]) -> None:
    assert runs.claim(uuid.UUID(tasks.alone.delay().id), "w1@test")
    services.enqueue_coalesced("tests.jobs.tasks.alone", "k")
    doorbell.work()
    assert calls == [""]


@pytest.mark.parametrize("time", [{"countdown": 5}, {"eta": clock.now()}, {"expires": 5}])
def test_an_ask_that_joins_has_no_time_of_its_own(time: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="time of its own"):
        tasks.echo.apply_async((1,), coalesce="k", **time)


@pytest.mark.django_db(transaction=True)
def test_of_many_who_ask_at_once_one_can_be_joined() -> None:
    gate = threading.Barrier(8, timeout=20)
    ids: list[str] = []

    def ask() -> None:
        try:
            gate.wait()
            ids.append(services.enqueue_coalesced(ECHO, "k", 1).id)
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(ids) == 8
    assert TaskRun.objects.count() == len(set(ids))
    assert TaskRun.objects.filter(coalesce_key__isnull=False).exists(), "however many there were, one can be joined"
    assert services.enqueue_coalesced(ECHO, "k", 1).id in ids, "and who comes later joins one of them"


def test_a_second_run_ends_as_skipped_while_the_first_is_worked_on(doorbell: Doorbell, calls: list[Any]) -> None:
    first = tasks.alone.delay()
    assert runs.claim(uuid.UUID(first.id), "w1@test")
    second = tasks.alone.delay()
    doorbell.work()
    run = TaskRun.objects.get(pk=second.id)
    assert (run.state, run.result) == ("skipped", {"status": "skipped", "reason": "already_running"})
    assert calls == []


def test_a_call_for_one_thing_is_never_skipped_for_that(doorbell: Doorbell, calls: list[Any]) -> None:
    assert runs.claim(uuid.UUID(tasks.alone.delay().id), "w1@test")
    tasks.alone.delay("farm")
    doorbell.work()
    assert calls == ["farm"]


def test_one_after_the_other_both_run(doorbell: Doorbell, calls: list[Any]) -> None:
    tasks.alone.delay()
    doorbell.work()
    tasks.alone.delay()
    doorbell.work()
    assert calls == ["", ""]


@pytest.mark.django_db(transaction=True)
def test_of_many_at_the_same_moment_one_is_worked_on() -> None:
    ids = [uuid.UUID(tasks.alone.delay().id) for _ in range(6)]
    gate = threading.Barrier(len(ids), timeout=20)
    claims: list[Any] = []

    def take(run_id: uuid.UUID) -> None:
        try:
            gate.wait()
            claims.append(runs.claim(run_id, "w@test"))
        finally:
            connection.close()

    threads = [threading.Thread(target=take, args=(run_id,)) for run_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(claims) == len(ids)
    assert len([claim for claim in claims if claim]) == 1
    assert TaskRun.objects.filter(state="running").count() == 1


def test_an_atomic_task_that_fails_leaves_nothing(doorbell: Doorbell, calls: list[Any]) -> None:
    tasks.note.delay("a", fail=True)
    doorbell.work()
    assert calls == ["a"]
    assert TaskRun.objects.get().state == "retrying"
    assert not Setting.objects.exists()


def test_an_atomic_task_that_lost_its_run_leaves_nothing(
    doorbell: Doorbell, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker was believed dead: somebody else has the run, and will have the effect."""
    body = tasks.note.run

    def taken_over(text: str) -> None:
        body(text)
        TaskRun.objects.update(fence=99)

    monkeypatch.setattr(tasks.note, "run", taken_over)
    tasks.note.delay("a")
    doorbell.work()
    assert calls == ["a"]
    assert not Setting.objects.exists()


def test_a_task_that_is_gone_is_waited_for_and_then_fails_with_a_hint() -> None:
    young, old = tasks.echo.delay(1).id, tasks.echo.delay(2).id
    TaskRun.objects.update(task="farms.tasks.renamed", schedule_entry="entry")
    TaskRun.objects.filter(pk=old).update(asked_at=clock.now() - timedelta(minutes=61))
    relay.contain_unknown()
    assert TaskRun.objects.get(pk=young).state == "pending"
    run = TaskRun.objects.get(pk=old)
    assert (run.state, run.error_class) == ("failed", "UnknownTask")
    assert AsyncResult(old).status == "FAILURE"
    assert f"manage.py runs retry {old} --task NAME" in run.error_text


def test_a_task_that_keeps_no_rows_cannot_be_asked_for_in_bulk() -> None:
    with pytest.raises(InvalidInput, match="keeps no rows"):
        services.enqueue_many("tests.jobs.tasks.only_a_hint", [((1,), {})])


def test_a_task_has_as_many_tries_as_it_says(doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.stumble, "max_retries", 1)
    tasks.stumble.delay("0244123456")
    doorbell.work()
    assert TaskRun.objects.get().state == "retrying"
    TaskRun.objects.update(due_at=clock.now(), ring_at=clock.now())
    relay.sweep()
    doorbell.work()
    assert TaskRun.objects.get().state == "failed"
