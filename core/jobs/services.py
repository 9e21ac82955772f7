"""Asking for background work from services, which never import tasks: by dotted name, in the caller's transaction."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import structlog
from celery import current_app
from celery.app.task import Context
from celery.result import AsyncResult
from django.db import transaction
from redis.exceptions import RedisError

from core.errors import InvalidInput
from core.jobs import bell, runs
from core.jobs.models import TaskRun
from core.jobs.task import MASK, LedgerTask
from core.redact import redact

log = structlog.get_logger(__name__)

MOST_BELLS = 10_000  # a few seconds


def is_known(name: str) -> bool:
    """Whether this process has a task of that name."""
    if name not in current_app.tasks:
        current_app.loader.import_default_modules()  # a web process or a command has not looked for tasks yet
    return name in current_app.tasks


def task_named(name: str) -> LedgerTask:
    """The registered task. Raises InvalidInput with the nearest fix when there is none of that name."""
    if not is_known(name):
        raise InvalidInput(f"There is no task {name!r}. Use its dotted path, such as core.tasks.send_sms_async.")
    return cast(LedgerTask, current_app.tasks[name])


def enqueue(name: str, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
    """Ask for one run. It runs if and only if the surrounding transaction commits."""
    return task_named(name).apply_async(args, kwargs)


def enqueue_coalesced(name: str, key: str, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
    """Ask for one run, or join the pending one of this task with the same key: for work that is the same however often
    it was asked for. A run that is joined starts after the surrounding transaction, so it sees what was written there.
    """
    return task_named(name).apply_async(args, kwargs, coalesce=key)


def enqueue_many(name: str, calls: Iterable[tuple[Sequence[Any], Mapping[str, Any]]]) -> list[str]:
    """Ask for many runs of one task in one statement and one batch of bells. Returns the run ids."""
    task = task_named(name)
    if not task.in_ledger:
        raise InvalidInput(f"{name} keeps no rows. Ask for each run by itself.")
    asks = []
    for args, kwargs in calls:
        if task.typing:
            task.__header__(*args, **kwargs)
        asks.append(task.ask(args, kwargs))
    if asks:
        runs.insert(asks)
        # the caller rings for the first; the relay for the rest, as the queue grows shorter
        bells = [runs.bell_of(ask.id, ask.task, ask.queue, {}) for ask in asks[:MOST_BELLS]]
        transaction.on_commit(lambda: bell.ring(bells), robust=True)
    return [str(ask.id) for ask in asks]


def tell_chord(run_id: uuid.UUID, options: dict[str, Any]) -> bool:
    """Have the chord that counts a run, if there is one, hear that it ended without a result outside of a worker. False
    when Redis does not answer. Who waits for the run itself looks at its row.
    """
    if not options.get("chord"):
        return True
    request = Context(
        id=str(run_id),
        chord=options["chord"],
        group=options.get("group_id"),
        group_index=options.get("group_index"),
    )
    try:
        current_app.backend.mark_as_revoked(str(run_id), "not run", request=request, store_result=False)
    except (RedisError, OSError) as error:
        log.warning("chord_not_told", task_id=str(run_id), error=type(error).__name__)
        return False
    return True


def shown_arguments(run: TaskRun) -> tuple[list[Any], dict[str, Any]]:
    """A run's arguments as people may see them: those that its task calls personal are masked, and in the others, or
    when nobody knows the task, whatever is a phone number or an e-mail address.
    """
    task = cast(LedgerTask, current_app.tasks[run.task]) if is_known(run.task) else None
    personal = getattr(task, "personal", ())
    parameters = list(inspect.signature(task.run).parameters.values()) if task else []
    names = [one.name for one in parameters if one.kind is not one.KEYWORD_ONLY]
    names += names[-1:] * (len(run.args) - len(names))  # those of `*args`
    names += [""] * (len(run.args) - len(names))
    args = [_shown(name, value, personal) for name, value in zip(names, run.args, strict=False)]
    return args, {name: _shown(name, value, personal) for name, value in run.kwargs.items()}


def _shown(name: str, value: Any, personal: Sequence[str]) -> Any:
    return MASK if name in personal else redacted(value)


def redacted(value: Any) -> Any:
    """A JSON value with the phone numbers and e-mail addresses in its texts masked."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [redacted(one) for one in value]
    if isinstance(value, dict):
        return {redact(key): redacted(one) for key, one in value.items()}
    return value
