"""LedgerTask: Celery's task, with a memory. Set as `task_cls` in core/celery.py; a task body stays a plain function.

    @shared_task(base=LedgerTask, lane="bulk", personal=("phone",))
    def remind(phone: str) -> dict[str, int]: ...

`lane` is the queue. `personal` names arguments that are masked wherever they are shown, and in the row once the run
has succeeded. `atomic=True` is for a task that touches PostgreSQL alone: its body and its end are one transaction, so
no effect can double. `once_at_a_time=True`: a call without arguments ends as skipped while another is being worked on
(domain.md C7). `takes_due_time=True`: a scheduled run gets its due time as `as_of` (C9). `max_retries` counts all
kinds of retries. `in_ledger=False` is for cheap internals that are harmless when lost or doubled: no row, only a hint.
"""

from __future__ import annotations

import inspect
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

import structlog
from celery import current_app
from celery.contrib.django.task import DjangoTask
from celery.exceptions import Ignore, Reject, Retry
from celery.result import AsyncResult
from django.utils.dateparse import parse_datetime

from core.errors import DomainError, InvalidInput
from core.jobs import failures
from core.jobs.failures import ClaimLostError, RunCancelled, TimeLimitExceeded
from core.jobs.rules import SOFT_SHARE, Again, GiveUp, State, Trigger, after_failure

if TYPE_CHECKING:
    from core.jobs.leases import Held
    from core.jobs.runs import Ask, Claim

log = structlog.get_logger(__name__)

MASK = "***"
WRITING_TRIES = 15  # about a second apart
LEDGER_HEADER = "ledger"  # a message with it carries no arguments: they are in the row
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


class WorkerLost(Exception):
    """The last try of this run ended with its worker, or with its process."""


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
    __header__: Callable[..., None]  # set by Celery: raises TypeError for arguments that do not fit
    abstract = True
    Request = "core.jobs.request:LedgerRequest"
    in_ledger = True
    lane = "default"
    personal: tuple[str, ...] = ()
    atomic = False
    once_at_a_time = False
    takes_due_time = False

    @classmethod
    def on_bound(cls, app: Any) -> None:  # noqa: ARG003 - Celery's signature
        if cls.name and cls.name.startswith("celery."):  # Celery's own helpers
            cls.in_ledger = False
        if cls.in_ledger:
            cls.track_started = False  # the row says so
        if cls.time_limit and cls.soft_time_limit is None:
            cls.soft_time_limit = max(1, int(cls.time_limit * SOFT_SHARE))

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
        commit. A broker that is away neither raises nor blocks. With `coalesce="key"` the ask joins a pending run of
        this task with the same key, if there is one, and the result is that run's.

        Raises TypeError when the arguments do not fit the signature, InvalidInput when they are not JSON or the
        task id is not a UUID, and the database's error when the row cannot be written.
        """
        if self.app.conf.task_always_eager or self.name.startswith("celery."):
            return super().apply_async(args, kwargs, task_id, producer, link, link_error, shadow, **options)
        from django.db import transaction

        from core.jobs import bell, runs

        if self.typing:
            self.__header__(*(args or ()), **(kwargs or {}))
        if not self.in_ledger and not (options.get("headers") or {}).get("periodic_task_name"):
            task_id = task_id or str(uuid.uuid4())
            options = {"link": link, "link_error": link_error, "shadow": shadow} | options
            message = (task_id, args or (), kwargs or {}, options)
            transaction.on_commit(lambda: bell.hint(self.name, *message), robust=True)
            return self._result(task_id, options)
        ask = self.ask(args, kwargs, task_id, {"link": link, "link_error": link_error} | options)
        if ask.trigger == Trigger.SCHEDULE:
            return self._hint_of_beat(ask)
        run_id, new = runs.insert_or_join(ask)
        if new and ask.due_now():
            announced = runs.bell_of(ask.id, ask.task, ask.queue, options)
            transaction.on_commit(lambda: bell.ring([announced]), robust=True)
        return self._result(str(run_id), options)

    def _hint_of_beat(self, ask: Ask) -> AsyncResult[Any]:
        """Beat says that an entry may be due. Which of its times is, and whether it has been run, the ledger knows."""
        from core.jobs import occurrences

        run_ids = occurrences.heed(ask.schedule_entry)
        return self.AsyncResult(str(run_ids[-1] if run_ids else ask.id))

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

        options = options or {}
        kept = {name: options[name] for name in KEPT_OPTIONS if options.get(name) is not None}
        for name in ("link", "link_error"):
            if options.get(name):
                linked = options[name]
                kept[name] = list(linked) if isinstance(linked, list | tuple) else [linked]
        coalesce = options.get("coalesce")
        if coalesce and any(options.get(name) is not None for name in ("countdown", "eta", "expires")):
            raise InvalidInput(
                "An ask that joins another cannot have a time of its own. Leave out the one or the other."
            )
        entry = (options.get("headers") or {}).get("periodic_task_name", "")
        parent = self.app.current_worker_task
        context = structlog.contextvars.get_contextvars()
        if entry:  # from beat, or from a person in the administration of the schedule
            trigger = Trigger.OPERATOR if context.get("request_id") else Trigger.SCHEDULE
        else:
            trigger = Trigger.TASK if parent else Trigger.REQUEST
        expires = options.get("expires", self.expires)
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
            trigger=trigger,
            schedule_entry=entry,
            requested_by=_as_uuid(context["user_id"]) if context.get("user_id") else None,
            request_id=str(context.get("request_id", ""))[:64],
            parent=_as_uuid(parent.request.id) if parent and parent.request.id else None,
            due_at=_moment(options.get("eta")),
            due_in=_seconds(options.get("countdown")),
            expires_at=_moment(expires),
            expires_in=_seconds(expires),
            coalesce_key=f"{self.name}:{coalesce}" if coalesce else None,
            # who asks to have something done anew after the present run has read its data must not be skipped
            exclusive=self.name if self.once_at_a_time and not (args or kwargs or coalesce) else None,
            max_attempts=None if self.max_retries is None else self.max_retries + 1,
        )

    def _result(self, task_id: str, options: Mapping[str, Any]) -> AsyncResult[Any]:
        result = self.AsyncResult(task_id)
        result.ignored = options.get("ignore_result", self.ignore_result)
        parent = self.app.current_worker_task
        if parent and options.get("add_to_parent", True):
            parent.add_trail(result)
        return result

    def replace(self, sig: Any) -> NoReturn:
        """Celery's replacement runs under the same id, which a run of the ledger has for itself."""
        raise InvalidInput(f"{self.name} cannot replace itself by {sig.task}. Ask for that task, or chain the two.")

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
        """Celery's `self.retry()`, kept as a row: nothing is published and no countdown waits on Redis.

        Takes no further options of a call, such as another queue: raises InvalidInput.
        """
        if not self.in_ledger or self.request.called_directly or self.request.is_eager:
            return super().retry(args, kwargs, exc, throw, eta, countdown, max_retries, **options)
        if options:
            raise InvalidInput(f"A retry of {self.name} cannot change {', '.join(options)}. Ask for a new run instead.")
        limit = self.max_retries if max_retries is None else max_retries
        if limit is not None and self.request.retries >= limit:
            self.request.update(retries_used_up=True)
            raise exc or self.MaxRetriesExceededError(
                f"Can't retry {self.name}[{self.request.id}]: its {limit} retries are used up"
            )
        self.request.update(again={"args": args, "kwargs": kwargs, "limit": limit})
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
        if request.is_eager:
            return self.run(*args, **kwargs)
        _mend_connection()
        if not self.in_ledger and not request.get(LEDGER_HEADER):
            return self.run(*args, **kwargs)
        claim = self._claim(args, kwargs, worker=request.hostname or "")
        if claim is None:
            raise Ignore  # another worker has it, or it is over: a doubled message is harmless
        return self._work(claim)

    def _claim(self, args: Sequence[Any], kwargs: Mapping[str, Any], *, worker: str) -> Claim | None:
        from django.db import InterfaceError, OperationalError

        from core.jobs import runs

        request = self.request
        if request.get(LEDGER_HEADER):
            try:
                return runs.claim(_as_uuid(request.id), worker)
            except (OperationalError, InterfaceError) as error:
                log.warning("claim_without_database", error=type(error).__name__)
                raise Ignore from None  # the row waits, and the relay rings it again
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
        try:
            if ask.trigger == Trigger.SCHEDULE:
                self._hint_of_beat(ask)
                raise Ignore
            runs.insert([replace(ask, trigger=Trigger.BY_HAND, parent=None)])  # asked for by nobody here
            return runs.claim(ask.id, worker)
        except (OperationalError, InterfaceError) as error:
            log.warning("claim_without_database", error=type(error).__name__)
            time.sleep(1)  # only the message knows of this run: back into its queue
            raise Reject(requeue=True) from None

    def _work(self, claim: Claim) -> Any:
        from core.jobs import runs
        from core.jobs.leases import keeper

        request = self.request
        request.update(claimed=True, args=claim.args, kwargs=claim.kwargs, retries=claim.attempts - 1)
        request.update({REQUEST_NAMES.get(name, name): value for name, value in claim.options.items()})
        context = {"request_id": claim.request_id} if claim.request_id else {}
        if claim.requested_by:
            context["user_id"] = str(claim.requested_by)
        with (
            structlog.contextvars.bound_contextvars(task=self.name, task_id=str(claim.id), **context),
            keeper.keep(claim) as held,
        ):
            try:
                return self._run_to_its_end(claim, held)
            except ClaimLostError:
                log.warning("claim_lost", fence=claim.fence)
                raise
            except RunCancelled:
                self._write(claim, State.CANCELLED, lambda: runs.stop(claim))
                self._tell_cancelled()
            except HandBack:
                if self._write(claim, State.PENDING, lambda: runs.hand_back(claim)) == State.CANCELLED:
                    self._tell_cancelled()
                self._ring_again(claim)
                raise Ignore from None
            except Retry as again:
                asked = getattr(request, "again", None) or {}
                self._try_again(claim, _seconds_until(again.when), again.exc or again, **asked)
            except (Ignore, Reject):
                self._write(claim, State.SKIPPED, lambda: runs.finish(claim, State.SKIPPED, "null", None, None))
                raise
            except Exception as error:  # noqa: BLE001 - every failure is judged, kept and raised
                # `throws` are errors the task expects; `retries_used_up` is its own limit, by self.retry()
                final = getattr(request, "retries_used_up", False) or isinstance(error, tuple(self.throws or ()))
                most = claim.max_attempts or sys.maxsize
                decision = GiveUp() if final else after_failure(error, claim.attempts, most=most)
                if isinstance(decision, Again):
                    self._try_again(claim, decision.seconds, error)
                self._fail(claim, error)
                raise failures.safe(error) from None

    def _run_to_its_end(self, claim: Claim, held: Held) -> Any:
        from django.db import transaction

        from core.jobs import runs

        if claim.max_attempts and claim.attempts > claim.max_attempts:
            lost, text = runs.last_error(claim)
            raise TimeLimitExceeded(text) if lost == TimeLimitExceeded.__name__ else WorkerLost(text)
        self._check_fit(claim)
        if not self.atomic:
            value = self.run(*claim.args, **claim.kwargs)
            self._write(claim, self._end_of(value), lambda: self._end(claim, held, value))
        else:
            with transaction.atomic():
                value = self.run(*claim.args, **claim.kwargs)
                if not self._end(claim, held, value):
                    raise ClaimLostError
        self.request.update(callbacks=None, chain=None)  # asked for already
        return value

    def _end_of(self, value: Any) -> State:
        return State.SKIPPED if isinstance(value, dict) and value.get("status") == "skipped" else State.SUCCEEDED

    def _end(self, claim: Claim, held: Held, value: Any) -> State | None:
        """Write the result, and with it, in one transaction, what Celery would only ask for afterwards: links and the
        next step of a chain. A crash between the two would lose them.
        """
        from django.db import transaction

        from core.jobs import runs

        request = self.request
        result = runs.to_json(value, f"The result of {self.name}")
        masked = self._masked(claim) if self.personal else None
        follows = request.callbacks or request.chain
        with transaction.atomic() if follows else nullcontext():  # one statement alone needs no BEGIN and COMMIT
            written = runs.finish(claim, self._end_of(value), result, masked, held.progress)
            if written:
                follow: dict[str, Any] = {"parent_id": request.id, "root_id": request.root_id or request.id}
                try:
                    for link in request.callbacks or ():
                        self.app.signature(link).apply_async((value,), **follow)
                    if request.chain:
                        following, rest = self.app.signature(request.chain[-1]), request.chain[:-1]
                        following.apply_async((value,), chain=rest, **follow)
                except TypeError as error:  # doing this task again would not mend it
                    raise ArgumentsDoNotFit(
                        f"What was to follow {self.name} does not take its result: {error}"
                    ) from error
            return written

    def _fail(self, claim: Claim, error: BaseException) -> None:
        from django.db import transaction

        from core.jobs import notices, runs

        told = failures.told(error)

        def end() -> State | None:
            with transaction.atomic():
                written = runs.fail(claim, told)
                if written and claim.schedule_entry:
                    notices.scheduled_task_failed(self.name, claim.id)
                return written

        self._write(claim, State.FAILED, end)

    def _tell_cancelled(self) -> NoReturn:
        """Who waits for the result, and the chord that counts it, hear of it."""
        request = self.request
        self.backend.mark_as_revoked(str(request.id), "cancelled", request=request)
        raise Ignore

    def _write(self, claim: Claim, state: State, write: Callable[[], State | None]) -> State:
        """Write the end of an attempt, for a while also against a database that is away. What cannot be written is left
        to the lease: the run is tried again. Returns the state that the row has now.
        """
        from django.db import InterfaceError, OperationalError, connection

        from core.jobs import runs

        for attempt in range(WRITING_TRIES):
            if attempt:
                time.sleep(1)
            try:
                if written := write():
                    return written
                # after a commit whose answer was lost the row says already what was to be written
                if runs.stands(claim, state):
                    return state
                raise ClaimLostError
            except (OperationalError, InterfaceError) as error:
                connection.close()
                log.warning("end_not_written", attempt=attempt + 1, error=type(error).__name__)
        raise ClaimLostError

    def _try_again(
        self,
        claim: Claim,
        seconds: Any,
        error: BaseException,
        *,
        args: Any = None,
        kwargs: Any = None,
        limit: int | None = 0,
    ) -> NoReturn:
        from core.jobs import runs

        told = failures.told(error)
        new_args = None if args is None else runs.to_json(list(args), f"An argument of {self.name}")
        new_kwargs = None if kwargs is None else runs.to_json(dict(kwargs), f"An argument of {self.name}")
        most = None if limit is None else limit + 1

        def again() -> State | None:
            return runs.retry(claim, seconds, told, args=new_args, kwargs=new_kwargs, max_attempts=most)

        if self._write(claim, State.RETRYING, again) == State.CANCELLED:
            self._tell_cancelled()
        raise Retry(exc=failures.safe(error) if isinstance(error, Exception) else None, when=seconds) from None

    def _ring_again(self, claim: Claim) -> None:
        from core.jobs import bell, runs

        bell.ring([runs.bell_of(claim.id, self.name, claim.queue, claim.options)])

    @cache  # noqa: B019 - a task lives as long as its process
    def signature_of_run(self) -> inspect.Signature:
        return inspect.signature(self.run)

    def _check_fit(self, claim: Claim) -> None:
        try:
            self.signature_of_run().bind(*claim.args, **claim.kwargs)
        except TypeError as error:
            raise ArgumentsDoNotFit(
                f"The stored arguments do not fit {self.name} ({error}). Ask for it again with its present arguments."
            ) from error

    def _masked(self, claim: Claim) -> tuple[str, str]:
        from core.jobs.runs import to_json

        names = list(self.signature_of_run().parameters)
        args = [MASK if name in self.personal else arg for name, arg in zip(names, claim.args, strict=False)]
        kwargs = {name: MASK if name in self.personal else arg for name, arg in claim.kwargs.items()}
        return to_json(args, "args"), to_json(kwargs, "kwargs")


def _mend_connection() -> None:
    """Celery leaves the connection open between tasks (CELERY_DB_REUSE_MAX) without a look whether it still works."""
    from django.db import connection

    if connection.errors_occurred and not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()


def _as_uuid(text: Any) -> uuid.UUID:
    try:
        return uuid.UUID(str(text))
    except ValueError as error:
        raise InvalidInput(f"The id {text!r} is not a UUID. Leave task_id out, or pass a UUID.") from error


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _moment(value: Any) -> datetime | None:
    if value is None or isinstance(value, int | float):
        return None
    moment = _parsed(value) if isinstance(value, str) else value
    return moment if moment.tzinfo else moment.replace(tzinfo=current_app.timezone)


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
