"""LedgerTask: Celery's task, with a memory. Set as `task_cls` in core/celery.py; a task body stays a plain function.

    @shared_task(base=LedgerTask, lane="bulk", personal=("phone",))
    def remind(phone: str) -> dict[str, int]: ...

`lane` is the queue. `personal` names arguments that are masked wherever they are shown, and in the row once the run
has succeeded. `in_ledger=False` is for cheap internals that are harmless when lost or doubled: no row, only a hint.
"""

from __future__ import annotations

import inspect
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

import structlog
from celery import current_app
from celery.contrib.django.task import DjangoTask
from celery.exceptions import Ignore, Reject, Retry
from celery.result import AsyncResult
from django.utils.dateparse import parse_datetime

from core.errors import DomainError, InvalidInput
from core.jobs.rules import Again, GiveUp, State, Trigger, after_failure
from core.redact import redact

if TYPE_CHECKING:
    from core.jobs.runs import Ask, Claim

log = structlog.get_logger(__name__)

MASK = "***"
# Celery's own options that the worker needs when the run's turn comes; they wait in the row, not on Redis.
KEPT_OPTIONS = (
    *("chain", "chord", "group_id", "group_index", "root_id"),
    *("time_limit", "soft_time_limit", "ignore_result", "replaced_task_nesting"),
)
# What of them the tracer reads from the request.
REQUEST_NAMES = {"link": "callbacks", "link_error": "errbacks", "group_id": "group"}


class HandBack(Exception):
    """Raised by a task that wants to go on later: the run waits in line again and no try is used up.

    For long work done in short slices, so that one worker process is never held for long. What was done so far must
    have been committed.
    """


class ArgumentsDoNotFit(DomainError):
    """The stored arguments do not fit the task's signature, for example after an upgrade."""


def route(name: str, _args: Any, _kwargs: Any, _options: Any, task: Any = None, **_: Any) -> dict[str, str] | None:
    """Celery's router: a task goes to its lane, also when it is asked for by name from outside."""
    if task is None and name not in current_app.tasks:
        current_app.loader.import_default_modules()  # `celery call` has not looked for tasks yet
    known = current_app.tasks.get(name) if task is None else task
    lane = getattr(known, "lane", None)
    return {"queue": lane} if lane else None


class LedgerTask(DjangoTask[Any, Any]):
    __header__: Callable[..., None]  # set by Celery: raises TypeError when arguments do not fit the signature
    _get_exec_options: Callable[[], dict[str, Any]]  # the same: the task's own defaults for a call
    abstract = True
    in_ledger = True
    lane = "default"
    personal: tuple[str, ...] = ()

    @classmethod
    def on_bound(cls, app: Any) -> None:  # noqa: ARG003 - Celery's signature
        if cls.name and cls.name.startswith("celery."):  # Celery's own helpers
            cls.in_ledger = False
        if cls.in_ledger:
            cls.track_started = False  # the row says so

    # --- asking ----------------------------------------------------------------------------------------------------

    def apply_async(
        self,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Ask for a run, as Celery documents it. The ask is a row in the caller's transaction; Redis hears of it on
        commit. A broker that is away neither raises nor blocks.

        Raises TypeError when the arguments do not fit the signature, InvalidInput when they are not JSON or the
        task id is not a UUID, and the database's error when the row cannot be written.
        """
        if self.app.conf.task_always_eager or self.name.startswith("celery."):
            return super().apply_async(args, kwargs, task_id, producer, link, link_error, shadow, **options)
        from django.db import transaction

        from core.jobs import bell, runs

        if self.typing:
            self.__header__(*(args or ()), **(kwargs or {}))
        if not self.in_ledger:
            task_id = task_id or str(uuid.uuid4())
            options = {"link": link, "link_error": link_error, "shadow": shadow} | options
            message = (task_id, args or (), kwargs or {}, options)
            transaction.on_commit(lambda: bell.hint(self.name, *message), robust=True)
            return self._result(task_id, options)
        ask = self.ask(args, kwargs, task_id, {"link": link, "link_error": link_error} | options)
        if runs.insert([ask]) and (ask.due_at is None or ask.due_at <= datetime.now(UTC)):
            announced = runs.bell_of(ask.id, ask.task, ask.queue, options)
            transaction.on_commit(lambda: bell.ring([announced]), robust=True)
        return self._result(str(ask.id), options)

    def ask(
        self,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        task_id: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Ask:
        """The row of a call, not yet written."""
        from core.base.ids import new_id
        from core.jobs.runs import Ask, to_json

        options = {**self._get_exec_options(), **(options or {})}
        kept = {name: options[name] for name in KEPT_OPTIONS if options.get(name) is not None}
        for name in ("link", "link_error"):
            if options.get(name):
                linked = options[name]
                kept[name] = list(linked) if isinstance(linked, list | tuple) else [linked]
        entry = (options.get("headers") or {}).get("periodic_task_name", "")
        parent = self.app.current_worker_task
        context = structlog.contextvars.get_contextvars()
        queue = options.get("queue") or self.lane
        queue = getattr(queue, "name", queue)
        if queue not in self.app.amqp.queues:
            raise InvalidInput(f"There is no queue {queue!r}. Use one of: {', '.join(self.app.amqp.queues)}.")
        return Ask(
            id=_as_uuid(task_id) if task_id else new_id(),
            task=self.name,
            args=to_json(list(args or ()), f"An argument of {self.name}"),
            kwargs=to_json(dict(kwargs or {}), f"An argument of {self.name}"),
            options=to_json(kept, f"An option of {self.name}"),
            queue=queue,
            trigger=Trigger.SCHEDULE if entry else Trigger.TASK if parent else Trigger.REQUEST,
            schedule_entry=entry,
            requested_by=_as_uuid(context["user_id"]) if context.get("user_id") else None,
            request_id=str(context.get("request_id", ""))[:64],
            parent=_as_uuid(parent.request.id) if parent and parent.request.id else None,
            due_at=_moment(options.get("eta"), options.get("countdown")),
            expires_at=_moment(*_eta_or_seconds(options.get("expires"))),
        )

    def _result(self, task_id: str, options: Mapping[str, Any]) -> AsyncResult[Any]:
        result = self.AsyncResult(task_id)
        result.ignored = options.get("ignore_result", self.ignore_result)
        parent = self.app.current_worker_task
        if parent and options.get("add_to_parent", True):
            parent.add_trail(result)
        return result

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: Exception | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Celery's `self.retry()`, kept as a row: nothing is published and no countdown waits on Redis."""
        if not self.in_ledger or self.request.called_directly or self.request.is_eager:
            return super().retry(args, kwargs, exc, throw, eta, countdown, max_retries, **options)
        limit = self.max_retries if max_retries is None else max_retries
        if limit is not None and self.request.retries >= limit:
            self.request.update(retries_used_up=True)
            raise exc or self.MaxRetriesExceededError(
                f"Can't retry {self.name}[{self.request.id}]: its {limit} retries are used up"
            )
        when: Any = eta or (countdown if countdown is not None else self.default_retry_delay)
        again = Retry(exc=exc, when=when)
        if throw:
            raise again
        return again

    # --- running ---------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        request = self.request
        if request.called_directly or getattr(request, "claimed", False):
            return super().__call__(*args, **kwargs)
        if request.is_eager or not self.in_ledger:
            return self.run(*args, **kwargs)
        claim = self._claim(args, kwargs, worker=request.hostname or "")
        if claim is None:
            raise Ignore  # another worker has it, or it is over: a doubled message is harmless
        return self._work(claim)

    def _claim(self, args: Sequence[Any], kwargs: Mapping[str, Any], *, worker: str) -> Claim | None:
        from core.jobs import runs
        from core.jobs.bell import LEDGER_HEADER

        request = self.request
        if request.get(LEDGER_HEADER):
            return runs.claim(_as_uuid(request.id), worker)
        options: dict[str, Any] = {
            name: value
            for name in ("chain", "chord", "group_index", "root_id")
            if (value := getattr(request, name, None))
        }
        options |= {"link": request.callbacks, "link_error": request.errbacks, "group_id": request.group}
        queue = (request.delivery_info or {}).get("routing_key") or self.lane
        entry = request.get("periodic_task_name")
        options |= {"queue": queue, "headers": {"periodic_task_name": entry} if entry else {}}
        ask = self.ask(args, kwargs, request.id, options)
        trigger = Trigger.SCHEDULE if entry else Trigger.BY_HAND
        return runs.claim_by_hand(replace(ask, trigger=trigger), worker)

    def _work(self, claim: Claim) -> Any:
        from core.jobs import runs
        from core.jobs.leases import keeper

        request = self.request
        request.update(claimed=True, args=claim.args, kwargs=claim.kwargs, retries=claim.attempts - 1)
        request.update({REQUEST_NAMES.get(name, name): value for name, value in claim.options.items()})
        context = {"request_id": claim.request_id} if claim.request_id else {}
        if claim.requested_by:
            context["user_id"] = str(claim.requested_by)
        with structlog.contextvars.bound_contextvars(task=self.name, task_id=str(claim.id), **context):
            try:
                with keeper.keep(claim):
                    self._check_fit(claim)
                    value = self.run(*claim.args, **claim.kwargs)
                    result = runs.to_json(value, f"The result of {self.name}")
            except HandBack:
                runs.hand_back(claim)
                self._ring_again(claim)
                raise Ignore from None
            except Retry as again:
                self._try_again(claim, _seconds_until(again.when), again.exc or again)
            except (Ignore, Reject):
                runs.finish(claim, State.SKIPPED, "null", None)
                raise
            except Exception as error:  # noqa: BLE001 - every failure is judged, kept and raised
                final = getattr(request, "retries_used_up", False)  # the task's own limit, by self.retry()
                decision = GiveUp() if final else after_failure(error, claim.attempts)
                if isinstance(decision, Again):
                    self._try_again(claim, decision.seconds, error)
                if not runs.fail(claim, _told(error)):
                    self._too_late(claim)
                raise _safe(error) from None
            skipped = isinstance(value, dict) and value.get("status") == "skipped"
            state = State.SKIPPED if skipped else State.SUCCEEDED
            if not runs.finish(claim, state, result, self._masked(claim) if self.personal else None):
                self._too_late(claim)
            return value

    def _try_again(self, claim: Claim, seconds: Any, error: BaseException) -> NoReturn:
        from core.jobs import runs

        if not runs.retry(claim, seconds, _told(error)):
            self._too_late(claim)
        raise Retry(exc=_safe(error) if isinstance(error, Exception) else None, when=seconds) from None

    def _ring_again(self, claim: Claim) -> None:
        from core.jobs import bell, runs

        bell.ring([runs.bell_of(claim.id, self.name, claim.queue, claim.options)])

    def _too_late(self, claim: Claim) -> NoReturn:
        """Another worker has the run by now: what this one found out must not be written over it."""
        log.warning("claim_lost", fence=claim.fence)
        raise Ignore

    def _check_fit(self, claim: Claim) -> None:
        try:
            inspect.signature(self.run).bind(*claim.args, **claim.kwargs)
        except TypeError as error:
            raise ArgumentsDoNotFit(
                f"The stored arguments do not fit {self.name} ({error}). Ask for it again with its present arguments."
            ) from error

    def _masked(self, claim: Claim) -> tuple[str, str]:
        from core.jobs.runs import to_json

        names = list(inspect.signature(self.run).parameters)
        args = [MASK if name in self.personal else arg for name, arg in zip(names, claim.args, strict=False)]
        kwargs = {name: MASK if name in self.personal else arg for name, arg in claim.kwargs.items()}
        return to_json(args, "args"), to_json(kwargs, "kwargs")


def _told(error: BaseException) -> tuple[str, str, str]:
    """An error as it is kept: class, text and traceback, personal data masked."""
    text = "".join(traceback.format_exception(error))
    return type(error).__name__, _writable(str(error))[:4000], _writable(text)[-20_000:]


def _writable(text: str) -> str:
    """Masked, and without what PostgreSQL cannot keep: a failure must be written down whatever its words are."""
    return redact(text).replace("\x00", "").encode(errors="backslashreplace").decode()


def _safe(error: Exception) -> Exception:
    """The error as it may travel on Redis, in results and events: personal data masked. The row keeps the traceback."""
    text, hidden = str(error), repr(error.args)  # Celery sends the arguments too
    clean = redact(text)
    if clean == text and redact(hidden) == hidden and not isinstance(error, UnicodeError):  # which carries its text
        return error
    return RuntimeError(f"{type(error).__name__}: {clean}").with_traceback(error.__traceback__)


def _as_uuid(text: Any) -> uuid.UUID:
    try:
        return uuid.UUID(str(text))
    except ValueError as error:
        raise InvalidInput(f"The id {text!r} is not a UUID. Leave task_id out, or pass a UUID.") from error


def _eta_or_seconds(value: Any) -> tuple[Any, float | None]:
    return (None, float(value)) if isinstance(value, int | float) else (value, None)


def _moment(eta: datetime | str | None, countdown: float | None) -> datetime | None:
    if isinstance(eta, str):
        eta = _parsed(eta)
    if eta is not None:
        return eta if eta.tzinfo else eta.replace(tzinfo=current_app.timezone)
    if countdown is not None:
        return datetime.now(UTC) + timedelta(seconds=float(countdown))
    return None


def _parsed(text: str) -> datetime:
    with suppress(ValueError):
        if moment := parse_datetime(text):
            return moment
    raise InvalidInput(f"The time {text!r} (eta, expires) cannot be read. Write it like 2026-03-01T08:00:00+00:00.")


def _seconds_until(when: Any) -> float:
    if isinstance(when, datetime):
        aware = when if when.tzinfo else when.replace(tzinfo=current_app.timezone)
        return max(0.0, (aware - datetime.now(UTC)).total_seconds())
    return float(when or 0)
