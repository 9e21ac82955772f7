"""The configuration against the world: schedule, lanes, names, and the settings Celery must have."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from celery import current_app
from celery.app.backends import by_url
from django.conf import settings

from core.jobs.backend import LedgerRedisBackend, LedgerSentinelBackend
from core.jobs.rules import LEASE_SECONDS
from core.jobs.task import LedgerTask

current_app.loader.import_default_modules()
QUEUES = [queue.name for queue in settings.CELERY_TASK_QUEUES]
TASKS: list[Any] = [task for name, task in sorted(current_app.tasks.items()) if not name.startswith("celery.")]
of_each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def test_there_are_three_queues_and_redis_takes_them_in_turn() -> None:
    assert QUEUES == ["urgent", "default", "bulk"]
    assert set(current_app.amqp.queues) == set(QUEUES), "a plain worker consumes all of them"
    assert settings.CELERY_BROKER_TRANSPORT_OPTIONS["queue_order_strategy"] == "round_robin"


@pytest.mark.parametrize(("entry", "line"), sorted(current_app.conf.beat_schedule.items()))
def test_every_line_of_the_schedule_names_a_task_that_takes_its_arguments(entry: str, line: dict[str, Any]) -> None:
    assert line["task"] in current_app.tasks
    task: Any = current_app.tasks[line["task"]]
    inspect.signature(task.run).bind(*line.get("args", ()), **line.get("kwargs", {}))
    assert task.in_ledger, "a scheduled run must be seen afterwards"
    assert set(line) <= {"task", "schedule", "args", "kwargs", "options"}


@of_each_task
def test_a_task_is_named_by_its_dotted_path(task: Any) -> None:
    assert task.name == f"{task.run.__module__}.{task.run.__name__}"


@of_each_task
def test_a_task_is_in_the_ledger_way_and_its_lane_is_a_queue(task: Any) -> None:
    assert isinstance(task, LedgerTask)
    assert task.lane in QUEUES
    assert current_app.amqp.router.route({}, task.name)["queue"].name == task.lane, "also when asked for from outside"


@of_each_task
def test_what_a_task_calls_personal_are_arguments_it_has(task: Any) -> None:
    assert set(task.personal) <= set(inspect.signature(task.run).parameters)


@of_each_task
def test_a_task_says_what_it_promises(task: Any) -> None:
    if task.run.__module__.startswith("tests."):
        return
    assert task.run.__doc__


def test_the_documented_tasks_are_there() -> None:
    documented = {"core.tasks.send_sms_async", "core.tasks.send_email_async", "core.tasks.process_bulk_sms"}
    assert documented <= set(current_app.tasks)


def test_celerys_own_helpers_keep_out_of_the_ledger() -> None:
    helpers: list[Any] = [task for name, task in current_app.tasks.items() if name.startswith("celery.")]
    assert helpers
    assert not any(getattr(task, "in_ledger", False) for task in helpers)


def test_the_ledger_is_the_class_of_every_task_also_of_a_plain_shared_one() -> None:
    assert issubclass(current_app.Task, LedgerTask)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_acks_late", True),
        ("task_reject_on_worker_lost", True),
        ("worker_prefetch_multiplier", 1),
        ("task_serializer", "json"),
        ("result_serializer", "json"),
        ("accept_content", ["json"]),
        ("task_track_started", True),
        ("timezone", "Africa/Accra"),
        ("beat_scheduler", "django_celery_beat.schedulers:DatabaseScheduler"),
        ("beat_sync_every", 1),
        ("broker_connection_max_retries", None),
        ("broker_channel_error_retry", True),
        ("worker_cancel_long_running_tasks_on_connection_loss", False),
        ("task_create_missing_queues", False),
    ],
)
def test_celery_reads_the_settings_that_the_measurements_ask_for(name: str, value: object) -> None:
    assert getattr(current_app.conf, name) == value


def test_the_visibility_timeout_is_short_and_longer_than_a_lease() -> None:
    """A redelivered message finds its run claimed, so nothing needs the hour of Celery's default."""
    options: dict[str, Any] = settings.CELERY_BROKER_TRANSPORT_OPTIONS
    assert LEASE_SECONDS < options["visibility_timeout"] <= 120


def test_the_results_at_the_documented_address_are_kept_by_our_backend() -> None:
    assert isinstance(current_app.backend, LedgerRedisBackend)
    for address, kind in (
        ("rediss://localhost:6379/0", LedgerRedisBackend),
        ("sentinel://localhost:26379/0", LedgerSentinelBackend),
    ):
        found: Any = by_url(address, current_app.loader)
        assert found[0] is kind
