"""Asking for background work from services, which never import tasks: by dotted name, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from celery import current_app
from celery.result import AsyncResult
from django.db import transaction

from core.errors import InvalidInput
from core.jobs import bell, runs
from core.jobs.task import LedgerTask


def task_named(name: str) -> LedgerTask:
    """The registered task. Raises InvalidInput with the nearest fix when there is none of that name."""
    if name not in current_app.tasks:
        current_app.loader.import_default_modules()
    if name not in current_app.tasks:
        raise InvalidInput(f"There is no task {name!r}. Use its dotted path, such as core.tasks.send_sms_async.")
    return cast(LedgerTask, current_app.tasks[name])


def enqueue(name: str, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
    """Ask for one run. It runs if and only if the surrounding transaction commits."""
    return task_named(name).apply_async(args, kwargs)


def enqueue_many(name: str, calls: Iterable[tuple[Sequence[Any], Mapping[str, Any]]]) -> list[str]:
    """Ask for many runs of one task in one statement and one batch of bells. Returns the run ids."""
    task = task_named(name)
    asks = []
    for args, kwargs in calls:
        if task.typing:
            task.__header__(*args, **kwargs)
        asks.append(task.ask(args, kwargs))
    if asks:
        runs.insert(asks)
        bells = [runs.bell_of(ask.id, ask.task, ask.queue, {}) for ask in asks]
        transaction.on_commit(lambda: bell.ring(bells), robust=True)
    return [str(ask.id) for ask in asks]
