"""The bell: what Redis does not take is said, and never raised to whoever asked."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest

from core.jobs import bell
from core.jobs.runs import Bell
from tests.jobs.doorbell import Doorbell


def bells(count: int) -> list[Bell]:
    return [Bell(id=uuid.uuid4(), task="tests.jobs.tasks.add", queue="default") for _ in range(count)]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("opened", [True, False], ids=["with a connection", "without one"])
def test_a_redis_that_dies_is_said_and_not_raised(doorbell: Doorbell, count: int, opened: bool) -> None:
    if opened:
        assert bell.ring(bells(1))
    with doorbell.dead():
        assert bell.ring(bells(count)) is False
    bell.listen_again()
    some = bells(2)
    assert bell.ring(some), "back, with a connection of its own"
    assert doorbell.ids()[-2:] == [str(one.id) for one in some]


def test_a_batch_larger_than_one_pipeline_arrives_whole_and_in_order(doorbell: Doorbell) -> None:
    many = bells(bell.BATCH + 1)
    assert bell.ring(many)
    assert doorbell.ids() == [str(one.id) for one in many]


@pytest.mark.parametrize("asked", [None, True, False])
def test_whether_the_result_is_kept_is_left_to_the_task_unless_the_call_says(
    doorbell: Doorbell, asked: bool | None
) -> None:
    bell.ring([replace(bells(1)[0], ignore_result=asked)])
    assert doorbell.rung()[0]["headers"]["ignore_result"] is asked


def test_a_hint_that_is_no_json_leaves_the_line_usable(doorbell: Doorbell) -> None:
    wrong: Any = object()
    with pytest.raises(Exception, match="not JSON serializable"):
        bell.hint("tests.jobs.tasks.add", str(uuid.uuid4()), (wrong,), {}, {"queue": "default"})
    some = bells(1)
    assert bell.ring(some)
    assert doorbell.ids() == [str(some[0].id)]
