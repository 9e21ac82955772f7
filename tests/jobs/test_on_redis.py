"""Redis is a doorbell: it holds ids and nothing about anybody."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from celery import current_app
from celery.result import AsyncResult
from django.db import IntegrityError, connection, transaction

from core.jobs import relay
from core.jobs.models import TaskRun
from core.tasks import process_bulk_sms, send_email_async, send_sms_async
from tests.jobs import tasks
from tests.jobs.doorbell import Doorbell

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("at_once")]

PHONE = "+233244123456"
TEXT = "Your code is 918273"


def assert_silent_about_people(doorbell: Doorbell) -> None:
    everything = doorbell.everything()
    assert everything, "there was nothing to look at"
    for secret in ("244123456", "918273", "ama@example.com", "Your code"):
        assert secret not in everything


def test_the_bell_carries_ids_only(doorbell: Doorbell) -> None:
    asked = tasks.tell.delay(PHONE, text=TEXT)
    [message] = doorbell.rung()
    assert message["headers"]["id"] == asked.id
    assert message["headers"]["task"] == "tests.jobs.tasks.tell"
    assert (message["headers"]["argsrepr"], message["headers"]["kwargsrepr"]) == ("()", "{}")
    assert_silent_about_people(doorbell)


def test_the_documented_calls_put_nobodys_data_on_redis(doorbell: Doorbell) -> None:
    send_sms_async.delay(PHONE, TEXT)
    send_email_async.delay(subject=TEXT, message=TEXT, recipient_list=["ama@example.com"], html_message=TEXT)
    process_bulk_sms.delay([PHONE, "0244123456"], TEXT)
    assert len(doorbell.ids()) == 2
    assert len(doorbell.ids("bulk")) == 1
    assert_silent_about_people(doorbell)


def test_links_chains_and_due_times_wait_in_the_row(doorbell: Doorbell) -> None:
    after = tasks.tell.s(PHONE, TEXT)
    tasks.tell.apply_async((PHONE, TEXT), link=after.clone(), link_error=[after.clone()], expires=600)
    (tasks.tell.si(PHONE, TEXT) | tasks.tell.si(PHONE, TEXT)).apply_async()
    tasks.tell.apply_async((PHONE, TEXT), countdown=600)
    assert len(doorbell.ids()) == 2
    assert_silent_about_people(doorbell)


def test_nothing_about_anybody_is_left_after_success(doorbell: Doorbell, calls: list[Any]) -> None:
    asked = tasks.tell.delay(PHONE, TEXT, times=2)
    doorbell.work()
    assert calls == [(PHONE, TEXT, 2)]
    assert AsyncResult(asked.id).get(timeout=1) == {"told": 2}
    assert_silent_about_people(doorbell)


@pytest.mark.parametrize("task", [tasks.refuse, tasks.stumble], ids=["for good", "to be tried again"])
def test_nothing_about_anybody_is_left_after_a_failure(doorbell: Doorbell, task: Any) -> None:
    asked = task.delay(PHONE)
    doorbell.work()
    if task is tasks.refuse:
        assert_silent_about_people(doorbell)
        assert doorbell.client.exists(f"celery-task-meta-{asked.id}")
        result: Any = AsyncResult(asked.id)
        assert "+233*****3456" in str(result.result)
        assert "244123456" not in f"{result.result!r}{result.traceback}"
    run = TaskRun.objects.get(pk=asked.id)
    assert "244123456" not in run.error_text + run.traceback
    assert "+233*****3456" in run.error_text


class Quiet(Exception):
    """An error that says nothing and carries everything: Celery sends an error's arguments as its result."""

    def __str__(self) -> str:
        return "something went wrong"


@pytest.mark.parametrize(
    "error",
    [
        Quiet(PHONE),
        OSError(2, "no such file", f"/var/{PHONE}"),
        KeyError(PHONE),
        UnicodeEncodeError("ascii", f"{TEXT} ɛ", 20, 21, "not ASCII"),
        ValueError({"phones": [PHONE], "mail": "ama@example.com"}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_an_error_carries_besides_its_words_stays_off_redis(
    doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(value: Any) -> None:
        raise error

    monkeypatch.setattr(tasks.echo, "max_retries", 0)
    monkeypatch.setattr(tasks.echo, "run", fail)
    asked = tasks.echo.delay(1)
    doorbell.work()
    assert TaskRun.objects.get(pk=asked.id).state == "failed"
    assert AsyncResult(asked.id).status == "FAILURE"
    assert doorbell.client.exists(f"celery-task-meta-{asked.id}")
    assert_silent_about_people(doorbell)


def test_an_error_under_an_error_stays_off_redis(doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(value: Any) -> None:
        try:
            int(f"inner {PHONE}")
        except ValueError as error:
            raise RuntimeError("outer") from error

    monkeypatch.setattr(tasks.echo, "max_retries", 0)
    monkeypatch.setattr(tasks.echo, "run", fail)
    asked = tasks.echo.delay(1)
    doorbell.work()
    assert_silent_about_people(doorbell)
    run = TaskRun.objects.get(pk=asked.id)
    assert "inner +233*****3456" in run.traceback, "the row keeps the whole story, masked"


def test_a_refused_number_of_send_sms_stays_off_redis(doorbell: Doorbell) -> None:
    landline = "0302123456"
    asked = send_sms_async.delay(landline, TEXT)
    doorbell.work()
    assert AsyncResult(asked.id).status == "FAILURE"
    assert "302123456" not in doorbell.everything()
    run = TaskRun.objects.get(pk=asked.id)
    assert run.error_class == "InvalidInput"
    assert "302123456" not in run.error_text + run.traceback


def test_a_message_made_by_hand_takes_its_arguments_from_redis_into_a_row(doorbell: Doorbell, calls: list[Any]) -> None:
    run_id = str(uuid.uuid4())
    current_app.send_task("tests.jobs.tasks.add", (1,), {"b": 2}, task_id=run_id, queue="default")
    assert not TaskRun.objects.exists()
    doorbell.work()
    run = TaskRun.objects.get()
    assert (str(run.pk), run.args, run.kwargs, run.state, run.trigger) == (
        run_id,
        [1],
        {"b": 2},
        "succeeded",
        "by_hand",
    )
    assert calls == [(1, 2)]


@pytest.mark.django_db(transaction=True)
def test_asking_with_redis_dead_neither_raises_nor_waits_and_the_row_is_there(
    doorbell: Doorbell, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.jobs.runs.RING_AGAIN_SECONDS", 0)
    waits = []
    tasks.add.delay(0)
    doorbell.client.flushall()
    with doorbell.dead():
        for number in range(5):
            began = time.monotonic()
            with transaction.atomic():
                tasks.add.delay(number)
            waits.append(time.monotonic() - began)
        assert AsyncResult(str(TaskRun.objects.first().pk)).status == "PENDING"  # type: ignore[union-attr]
    assert max(waits) < 1
    assert TaskRun.objects.filter(state="pending").count() == 6
    relay.sweep()
    assert len(doorbell.ids()) == 6
    doorbell.work()
    assert sorted(calls) == [(0, 0), (0, 0), (1, 0), (2, 0), (3, 0), (4, 0)]


@pytest.mark.django_db(transaction=True)
def test_asking_with_redis_frozen_waits_once_and_not_again(doorbell: Doorbell) -> None:
    waits = []
    tasks.add.delay(0)
    with doorbell.frozen():
        for number in range(5):
            began = time.monotonic()
            tasks.add.delay(number)
            waits.append(time.monotonic() - began)
    assert waits[0] < 1
    assert max(waits[1:]) < waits[0], "only the first one waited for an answer"
    assert TaskRun.objects.count() == 6


def test_the_database_and_not_redis_refuses_an_ask(doorbell: Doorbell) -> None:
    """When the row cannot be written the caller hears of it: nothing is rung that is not written."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE jobs_taskrun ADD CONSTRAINT no_more CHECK (task <> 'tests.jobs.tasks.add')")
    with pytest.raises(IntegrityError), transaction.atomic():
        tasks.add.delay(1)
    assert doorbell.ids() == []
