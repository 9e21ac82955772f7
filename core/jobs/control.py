"""Celery's remote control with the ledger behind `revoke`: a run that waits is cancelled in its row."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from celery.app.control import Control


class LedgerControl(Control):
    def revoke(
        self, task_id: str | Sequence[str], destination: Any = None, terminate: bool = False, *args: Any, **kwargs: Any
    ) -> Any:
        """As Celery's: a waiting run is cancelled, a running one only with `terminate`. It is final in the row, so it
        holds also for workers that do not hear of it.
        """
        from core.jobs import runs, services

        ids = []
        for text in [task_id] if isinstance(task_id, str) else list(task_id):
            with suppress(ValueError):  # not an id of the ledger
                ids.append(uuid.UUID(text))
        for run_id, options in runs.cancel(ids, also_running=terminate):
            services.tell_chord(run_id, options)
        return super().revoke(task_id, destination, terminate, *args, **kwargs)
