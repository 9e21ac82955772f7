"""Celery's Redis result backend at the documented address, with the ledger behind it.

Three differences: asking for a task does not subscribe to its result (who waits does); a result that cannot be
stored does not fail the task; and what Redis does not know is answered from the row, so a status survives Redis.
"""

from __future__ import annotations

import uuid
from typing import Any

import structlog
from celery import current_app, states
from celery.backends.redis import RedisBackend, SentinelBackend
from celery.exceptions import BackendStoreError, TimeLimitExceeded, WorkerLostError
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from core.jobs.rules import CELERY_STATUS, State

log = structlog.get_logger(__name__)


class _FromTheLedger:
    """Mixed into Celery's backends for Redis."""

    connparams: dict[str, Any]

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Celery subscribes here; with Redis away that would hold up `.delay()` for 19 s or for ever."""

    def _create_client(self, **params: Any) -> Redis:
        client: Redis = super()._create_client(**params)  # type: ignore[misc]
        client.set_retry(Retry(NoBackoff(), 0))
        return client

    def ensure(self, fun: Any, args: tuple[Any, ...], **policy: Any) -> Any:  # noqa: ARG002 - Celery's signature
        """Once: Celery's 20 tries would hold a worker up, and the row has the outcome."""
        return fun(*args)

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: str | None = None, request: Any = None, **kwargs: Any
    ) -> Any:
        if state == states.RETRY:  # the row says so, and Redis would go on saying it while the run is tried again
            return result
        try:
            return super()._store_result(task_id, result, state, traceback, request=request, **kwargs)  # type: ignore[misc]
        except (RedisError, BackendStoreError, OSError) as error:
            log.warning("result_not_on_redis", task_id=task_id, state=state, error=type(error).__name__)
            return result

    def mark_as_failure(self, task_id: str, exc: Exception, *args: Any, **kwargs: Any) -> None:
        """Not for a run whose process was lost or ran out of time: it is tried again, and its row says so."""
        task = current_app.tasks.get(str(getattr(kwargs.get("request"), "task", "")))
        if isinstance(exc, TimeLimitExceeded | WorkerLostError) and getattr(task, "in_ledger", False):
            return
        super().mark_as_failure(task_id, exc, *args, **kwargs)  # type: ignore[misc]

    def wait_for_pending(self, result: Any, *args: Any, on_interval: Any = None, **kwargs: Any) -> Any:
        """Also looks at the row now and then: an end that Redis was not told of is not waited for in vain."""

        def look() -> None:
            self.result_consumer.on_wait_for_pending(result)  # type: ignore[attr-defined]
            if on_interval:
                on_interval()

        return super().wait_for_pending(result, *args, on_interval=look, **kwargs)  # type: ignore[misc]

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        try:
            meta: dict[str, Any] = super().get_task_meta(task_id, cache)  # type: ignore[misc]
        except (RedisError, OSError) as error:
            log.warning("redis_not_asked", error=type(error).__name__)
            meta = {"status": states.PENDING, "result": None}
        return meta if meta["status"] != states.PENDING else self._from_row(task_id) or meta

    def _from_row(self, task_id: str) -> dict[str, Any] | None:
        from core.jobs.models import TaskRun

        try:
            run_id = uuid.UUID(str(task_id))
        except ValueError:
            return None
        run = TaskRun.objects.filter(pk=run_id).first()
        if run is None:
            return None
        result: Any = run.result
        if run.state in (State.FAILED, State.RETRYING, State.CANCELLED):
            kind = "TaskRevokedError" if run.state == State.CANCELLED else run.error_class
            module = "celery.exceptions" if run.state == State.CANCELLED else "core.jobs"
            result = self.exception_to_python(  # type: ignore[attr-defined]
                {"exc_type": kind or "Exception", "exc_message": [run.error_text], "exc_module": module}
            )
        return {
            "status": CELERY_STATUS[State(run.state)],
            "result": result,
            "traceback": run.traceback or None,
            "children": [],
            "task_id": str(run.id),
            "date_done": run.finished_at and run.finished_at.isoformat(),
        }


class LedgerRedisBackend(_FromTheLedger, RedisBackend):
    pass


class LedgerSentinelBackend(_FromTheLedger, SentinelBackend):
    pass
