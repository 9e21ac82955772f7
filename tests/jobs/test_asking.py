"""Asking for a run: a row in the caller's transaction, a bell on commit, a clear error and nothing half-done."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import structlog
from django.db import transaction

from accounts.models import Region
from core import clock
from core.errors import InvalidInput
from core.jobs import repairs, runs, services
from core.jobs.models import TaskRun
from tests.factories import RegionFactory, UserFactory
from tests.jobs import tasks
from tests.jobs.doorbell import QUEUES, Doorbell

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("at_once")]
real_commits = pytest.mark.django_db(transaction=True)


class Broken(Exception):
    pass


@contextmanager
def rolled_back() -> Iterator[None]:
    with suppress(Broken), transaction.atomic():
        yield
        raise Broken


def silence(doorbell: Doorbell) -> bool:
    return not any(doorbell.rung(queue) for queue in QUEUES)


def test_an_ask_is_a_row_and_a_bell(doorbell: Doorbell) -> None:
    before = clock.now()
    asked = tasks.add.delay(1, b=2)
    run = TaskRun.objects.get()
    assert (str(run.pk), run.task, run.args, run.kwargs) == (asked.id, "tests.jobs.tasks.add", [1], {"b": 2})
    assert (run.queue, run.state, run.trigger) == ("default", "pending", "request")
    assert (run.attempts, run.fence, run.parent, run.due_at, run.expires_at) == (0, 0, None, None, None)
    assert before - timedelta(seconds=5) < run.asked_at < clock.now() + timedelta(seconds=5)
    assert run.ring_at
    assert run.ring_at > run.asked_at, "rung again only when nobody hears the first bell"
    assert doorbell.ids() == [asked.id]


@real_commits
def test_a_transaction_that_rolls_back_leaves_nothing_and_rings_nothing(doorbell: Doorbell) -> None:
    with rolled_back():
        tasks.add.delay(1)
        services.enqueue("tests.jobs.tasks.add", 2)
        services.enqueue_many("tests.jobs.tasks.add", [((3,), {})])
        tasks.only_a_hint.delay("x")
        assert TaskRun.objects.count() == 3
    assert not TaskRun.objects.exists()
    assert silence(doorbell)


@real_commits
def test_the_bell_rings_when_the_transaction_commits_and_not_before(doorbell: Doorbell) -> None:
    with transaction.atomic():
        with transaction.atomic():
            asked = tasks.add.delay(1)
        assert silence(doorbell), "a savepoint is not a commit"
    assert doorbell.ids() == [asked.id]


@real_commits
def test_an_inner_block_that_rolls_back_takes_its_ask_with_it(doorbell: Doorbell) -> None:
    with transaction.atomic():
        kept = tasks.add.delay(1)
        with rolled_back():
            tasks.add.delay(2)
    assert [str(run.pk) for run in TaskRun.objects.all()] == doorbell.ids() == [kept.id]


@real_commits
def test_an_ask_stands_on_the_same_commit_as_the_callers_rows(doorbell: Doorbell) -> None:
    with rolled_back():
        RegionFactory.create(code="ZZ", name="Nowhere")
        tasks.add.delay(1)
    assert not Region.objects.filter(code="ZZ").exists()
    assert not TaskRun.objects.exists()


def test_the_same_task_id_asked_twice_is_one_row_and_one_bell(doorbell: Doorbell) -> None:
    same = str(uuid.uuid4())
    first = tasks.add.apply_async((1,), task_id=same)
    second = tasks.add.apply_async((1,), task_id=same)
    assert first.id == second.id == same
    assert TaskRun.objects.count() == 1
    assert doorbell.ids() == [same]


def test_an_ask_after_the_run_is_over_does_not_start_it_again(doorbell: Doorbell, calls: list[Any]) -> None:
    same = str(uuid.uuid4())
    tasks.add.apply_async((1,), task_id=same)
    doorbell.work()
    tasks.add.apply_async((1,), task_id=same)
    assert silence(doorbell)
    assert TaskRun.objects.get().state == "succeeded"
    assert calls == [(1, 0)]


VALUES = [
    datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
    date(2026, 3, 1),
    Decimal("12.3400"),
    uuid.UUID("12345678-1234-5678-1234-567812345678"),
    {"nested": [1, 2.5, None, True, "ɛ and 🐔"]},
    'line\nbreak, "quotes", back\\slash, \\u0000 as six letters',
    "",
    2**70,
]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_arguments_arrive_as_they_were_given(doorbell: Doorbell, calls: list[Any], value: object) -> None:
    tasks.echo.delay(value)
    doorbell.work()
    assert calls == [value]
    assert type(calls[0]) is type(value)


REFUSED: list[tuple[str, Callable[[], object], type[Exception], str]] = [
    ("too many arguments", lambda: tasks.add.delay(1, 2, 3), TypeError, "argument"),
    ("too few arguments", tasks.add.delay, TypeError, "'a'"),
    ("an unknown name", lambda: tasks.add.delay(1, c=2), TypeError, "'c'"),
    ("too many for enqueue", lambda: services.enqueue("tests.jobs.tasks.add", 1, 2, 3), TypeError, "argument"),
    (
        "one of many calls does not fit",
        lambda: services.enqueue_many("tests.jobs.tasks.add", [((1,), {}), ((), {})]),
        TypeError,
        "'a'",
    ),
    ("an object", lambda: tasks.echo.delay(object()), InvalidInput, "JSON"),
    ("a set", lambda: tasks.echo.delay({1}), InvalidInput, "JSON"),
    ("a NUL", lambda: tasks.echo.delay("a\x00b"), InvalidInput, "NUL"),
    ("a NUL deep inside", lambda: tasks.echo.delay({"list": [{"a\x00": 1}]}), InvalidInput, "NUL"),
    ("half a character", lambda: tasks.echo.delay("half \ud83d of one"), InvalidInput, "JSON"),
    ("not a number", lambda: tasks.echo.delay(math.nan), InvalidInput, "JSON"),
    ("infinity", lambda: tasks.echo.delay([-math.inf]), InvalidInput, "JSON"),
    ("a task id that is no UUID", lambda: tasks.add.apply_async((1,), task_id="task-id"), InvalidInput, "UUID"),
    ("a queue nobody works", lambda: tasks.add.apply_async((1,), queue="slow"), InvalidInput, "urgent, default, bulk"),
    ("a name nobody knows", lambda: services.enqueue("core.tasks.no_such"), InvalidInput, "core.tasks.no_such"),
    ("an empty name", lambda: services.enqueue(""), InvalidInput, "no task"),
    ("a linked call that is not JSON", lambda: tasks.add.apply_async((1,), link=object()), InvalidInput, "JSON"),
]


@pytest.mark.parametrize(("ask", "error", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_bad_ask_is_refused_in_words_and_the_callers_transaction_goes_on(
    doorbell: Doorbell, ask: Callable[[], object], error: type[Exception], words: str
) -> None:
    RegionFactory.create(code="BF", name="Before")
    with pytest.raises(error, match=words):
        ask()
    RegionFactory.create(code="AF", name="After")  # the test's own transaction is not broken
    good = tasks.add.delay(7)
    assert Region.objects.filter(code__in=["BF", "AF"]).count() == 2
    assert [str(run.pk) for run in TaskRun.objects.all()] == doorbell.ids() == [good.id]


def test_a_refusal_does_not_repeat_the_value() -> None:
    for value in ("0244123456\x00", ["0244123456", object()], "0244123456\ud83d"):
        with pytest.raises(InvalidInput) as refusal:
            tasks.echo.delay(value)
        assert "0244" not in str(refusal.value)


def test_what_cannot_be_encoded_is_refused_outside_a_transaction_too() -> None:
    with pytest.raises(InvalidInput):
        tasks.echo.delay("\x00")
    assert not TaskRun.objects.exists()


def test_a_task_is_asked_for_by_name(doorbell: Doorbell, calls: list[Any]) -> None:
    asked = services.enqueue("tests.jobs.tasks.add", 1, b=2)
    assert doorbell.ids() == [asked.id]
    doorbell.work()
    assert calls == [(1, 2)]


def test_many_are_asked_for_in_one_statement(
    doorbell: Doorbell, calls: list[Any], django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        ids = services.enqueue_many("tests.jobs.tasks.add", [((n,), {"b": n}) for n in range(50)])
    assert doorbell.ids() == ids
    assert doorbell.work() == 50
    assert calls == [(n, n) for n in range(50)]
    assert services.enqueue_many("tests.jobs.tasks.add", []) == []


def test_an_ask_goes_to_its_tasks_lane_or_to_the_queue_named(doorbell: Doorbell) -> None:
    bulk = tasks.slices.delay(1)
    urgent = tasks.add.apply_async((1,), queue="urgent")
    assert (doorbell.ids("bulk"), doorbell.ids("urgent"), doorbell.ids("default")) == ([bulk.id], [urgent.id], [])
    assert TaskRun.objects.get(pk=urgent.id).queue == "urgent"


@pytest.mark.parametrize("way", ["countdown", "eta", "eta text", "naive eta"])
def test_a_due_time_is_a_row_and_redis_hears_nothing_before_it(doorbell: Doorbell, way: str) -> None:
    due = clock.now() + timedelta(minutes=10)
    given: dict[str, dict[str, Any]] = {
        "countdown": {"countdown": 600},
        "eta": {"eta": due},
        "eta text": {"eta": due.isoformat()},
        "naive eta": {"eta": clock.accra(due).replace(tzinfo=None)},
    }
    asked = tasks.add.apply_async((1,), **given[way])
    run = TaskRun.objects.get(pk=asked.id)
    assert run.due_at
    assert abs(run.due_at - due) < timedelta(seconds=5)
    assert run.ring_at == run.due_at
    assert silence(doorbell)
    assert runs.claim(run.pk, "worker@test") is None, "not before its time"
    assert repairs.unheard("default", on_redis=0) == []
    TaskRun.objects.update(due_at=clock.now(), ring_at=clock.now())
    assert [bell.id for bell in repairs.unheard("default", on_redis=0)] == [run.pk]
    assert runs.claim(run.pk, "worker@test")


def test_a_due_time_that_is_over_rings_at_once(doorbell: Doorbell) -> None:
    asked = tasks.add.apply_async((1,), eta=clock.now() - timedelta(minutes=1))
    assert doorbell.ids() == [asked.id]
    assert doorbell.rung()[0]["headers"]["eta"] is None, "no due time waits on Redis"


@pytest.mark.parametrize("text", ["tomorrow", "2026-13-45T00:00:00", ""])
def test_a_due_time_that_cannot_be_read_is_refused_and_not_taken_for_now(text: str) -> None:
    with pytest.raises(InvalidInput, match="eta"):
        tasks.add.apply_async((1,), eta=text)
    assert not TaskRun.objects.exists()


@pytest.mark.parametrize("given", [60, 60.0, "moment"])
def test_an_expiry_is_a_row(doorbell: Doorbell, given: Any) -> None:
    expires = clock.now() + timedelta(seconds=60) if given == "moment" else given
    asked = tasks.add.apply_async((1,), expires=expires)
    run = TaskRun.objects.get(pk=asked.id)
    assert run.expires_at
    assert abs(run.expires_at - clock.now() - timedelta(seconds=60)) < timedelta(seconds=20)


def test_the_row_says_who_asked_in_which_request_and_from_which_run(doorbell: Doorbell, calls: list[Any]) -> None:
    user = UserFactory.create()
    with structlog.contextvars.bound_contextvars(request_id="request-1", user_id=str(user.pk)):
        outer = tasks.ask_another.delay()
    run = TaskRun.objects.get(pk=outer.id)
    assert (run.trigger, run.request_id, run.requested_by) == ("request", "request-1", user)
    assert doorbell.work() == 2
    inner = TaskRun.objects.get(task="tests.jobs.tasks.add")
    assert (inner.trigger, inner.parent) == ("task", run.pk)
    assert (inner.request_id, inner.requested_by) == ("request-1", user), "the request travels into the task"


def test_a_long_request_id_is_cut_to_what_the_row_holds() -> None:
    with structlog.contextvars.bound_contextvars(request_id="x" * 500):
        tasks.add.delay(1)
    assert TaskRun.objects.get().request_id == "x" * 64


def test_called_directly_a_task_is_a_function_without_a_row(calls: list[Any]) -> None:
    assert tasks.add(1, 2) == 3
    assert tasks.add.run(1, 2) == 3
    with pytest.raises(InvalidInput):
        tasks.refuse("0244123456")
    assert not TaskRun.objects.exists()


def test_applied_here_and_now_a_task_runs_without_a_row(doorbell: Doorbell, calls: list[Any]) -> None:
    assert tasks.add.apply((1, 2)).get() == 3
    assert tasks.refuse.apply(("0244123456",)).status == "FAILURE"
    assert not TaskRun.objects.exists()
    assert silence(doorbell)


def test_a_hint_is_no_row(doorbell: Doorbell, calls: list[Any]) -> None:
    tasks.only_a_hint.delay("row 1")
    assert not TaskRun.objects.exists()
    assert doorbell.work() == 1
    assert calls == ["row 1"]
