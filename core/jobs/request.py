"""What only the main process of a worker sees: a process of its pool was lost, or one ran out of time.

Celery's own code goes on as ever; what happened is noted, and a sweep writes it into the ledger within a second. A note
that is lost costs 20 s: then the lease is over.
"""

from __future__ import annotations

import signal
import time
import uuid
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from celery.exceptions import WorkerLostError
from celery.platforms import signals
from celery.worker import state
from celery.worker.request import Request

from core.jobs.failures import TimeLimitExceeded
from core.jobs.shutdown import END_CHILD

log = structlog.get_logger(__name__)

EVERY_SECONDS = 1.0


@dataclass(frozen=True)
class Note:
    run_id: uuid.UUID
    time_limit: float | None = None  # None: its process was lost
    at: float = field(default_factory=time.monotonic)

    def error(self) -> Exception | None:
        if self.time_limit is None:
            return None
        return TimeLimitExceeded(
            f"It ran longer than its hard time limit of {self.time_limit:g} s, and its process was ended. "
            "Give the task a higher time_limit, or less to do at once."
        )


_notes: deque[Note] = deque()


def _note(task_id: str, time_limit: float | None = None) -> None:
    with suppress(ValueError):  # not an id of the ledger
        _notes.append(Note(uuid.UUID(task_id), time_limit))


class LedgerRequest(Request):
    def on_timeout(self, soft: bool, timeout: float) -> None:
        if not soft:
            _note(self.id, timeout)
        super().on_timeout(soft, timeout)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, WorkerLostError | SystemExit | KeyboardInterrupt):
            _note(self.id)
            return_ok = return_ok or state.should_stop is not None  # cut off: no error, and no traceback in the log
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def terminate(self, pool: Any, signal: Any = None) -> Any:
        return super().terminate(pool, _to_child(signal))

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> Any:
        return super().cancel(pool, _to_child(signal), emit_retry)


def _to_child(number: Any) -> Any:
    """A busy process of the pool does not listen to SIGTERM (core/jobs/shutdown.py)."""
    return END_CHILD if signals.signum(number or signal.SIGTERM) == signal.SIGTERM else number


def sweep(worker: str) -> None:
    """Write down what was noted. A run whose process was lost waits in line again at once, and the try is used up; one
    that ran out of time is tried again by the ordinary rule.
    """
    from core.jobs import bell, runs

    while _notes:
        note = _notes[0]  # and there it stays if the database is away
        rung = runs.process_lost(note.run_id, worker, seconds_ago=time.monotonic() - note.at, error=note.error())
        _notes.popleft()
        if rung:
            bell.ring([rung])
