"""What Redis is asked to remember of a message that a worker has taken: of a bell nothing, of any other everything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app
from django.db import transaction
from kombu.transport.redis import Channel, QoS

from core.jobs import kombu_guard
from core.jobs.kombu_guard import BELL_HEADER
from core.jobs.models import TaskRun
from tests.jobs import tasks
from tests.jobs.doorbell import Doorbell

UNACKED = ("unacked", "unacked_index")
PATCHED = ((Channel, "_create_client"), *((QoS, name) for name in ("append", "ack", "reject", "restore_unacked")))


@pytest.fixture
def channel(doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A worker's channel to Redis."""
    for owner, name in PATCHED:
        monkeypatch.setattr(owner, name, getattr(owner, name))  # what `spare` puts in their place is taken away again
    kombu_guard.spare()
    with current_app.connection_for_read() as connection:
        yield connection.channel()


def remembered(doorbell: Doorbell) -> int:
    return sum(len(doorbell.client.keys(name)) for name in UNACKED)


def take(channel: Any, queue: str = "default") -> Any:
    message = channel.basic_get(queue)
    assert message is not None
    return message


@pytest.mark.django_db(transaction=True)
def test_a_bell_that_was_taken_is_not_remembered_since_its_row_is(channel: Any, doorbell: Doorbell) -> None:
    with transaction.atomic():
        result = tasks.note.delay("a")
    message = take(channel)
    assert message.headers[BELL_HEADER]
    assert remembered(doorbell) == 0
    message.ack()
    assert not channel.qos._delivered or channel.qos._dirty
    assert TaskRun.objects.get(pk=result.id).state == "pending"  # which the relay goes by


@pytest.mark.django_db(transaction=True)
def test_a_hint_that_was_taken_is_not_remembered_either(channel: Any, doorbell: Doorbell) -> None:
    tasks.only_a_hint.delay("a")
    message = take(channel)
    assert message.headers[BELL_HEADER]
    assert remembered(doorbell) == 0


def test_a_message_sent_by_hand_is_remembered_until_it_is_acknowledged(channel: Any, doorbell: Doorbell) -> None:
    publish_by_hand()
    message = take(channel)
    assert remembered(doorbell) == len(UNACKED)
    message.ack()
    assert remembered(doorbell) == 0


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_stops_puts_back_what_it_had_taken(channel: Any, doorbell: Doorbell) -> None:
    first, second = tasks.note.delay("a"), tasks.note.delay("b")
    publish_by_hand()
    for _ in range(3):
        take(channel)
    assert doorbell.ids() == []
    channel.close()
    assert set(doorbell.ids()) == {first.id, second.id, "by-hand"}
    assert remembered(doorbell) == 0


@pytest.mark.django_db(transaction=True)
def test_a_bell_that_is_refused_goes_back_once(channel: Any, doorbell: Doorbell) -> None:
    result = tasks.note.delay("a")
    take(channel).requeue()
    assert doorbell.ids() == [result.id]
    take(channel).reject()
    assert doorbell.ids() == []


def publish_by_hand() -> None:
    """As `celery call` does: no row, so nothing but the message knows of it."""
    with current_app.producer_or_acquire() as producer:
        message = current_app.amqp.as_task_v2("by-hand", "tests.note", ("x",), {})
        headers = message.headers
        producer.publish(message.body, exchange="", routing_key="default", headers=headers, **message.properties)
