"""What the ledger tells the admins of by itself. The words are `send_admin_notification`'s (core/tasks.py)."""

from __future__ import annotations

import uuid
from typing import Any

from core import clock
from core.jobs.services import task_named

TASK = "core.tasks.send_admin_notification"
_NAMES = uuid.UUID("5b6b0f6e-6f0e-4d3c-9a53-0d2f4b1d8a10")


def scheduled_task_failed(task: str, run_id: uuid.UUID) -> None:
    """Once per task name and day (domain.md C5)."""
    _once_a_day("system_error", task, {"task_id": str(run_id)})


def occurrences_missed(entry: str, count: int) -> None:
    """Once per entry and day: scheduled times passed without a run."""
    _once_a_day("occurrences_missed", entry, {"entry": entry, "count": count})


def _once_a_day(notice: str, subject: str, context: dict[str, Any]) -> None:
    day = clock.accra(clock.now()).date().isoformat()
    run_id = uuid.uuid5(_NAMES, f"{notice}:{subject}:{day}")  # asked for again, it is the same run
    task_named(TASK).apply_async((notice, context | {"day": day}), task_id=str(run_id))
