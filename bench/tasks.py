"""Tasks of the benchmarks, on the product's worker: `celery -A core worker -I bench.tasks`."""

from __future__ import annotations

import time

from celery import shared_task

from bench import marks
from core.jobs.task import LedgerTask


@shared_task(base=LedgerTask, ignore_result=True)
def noop(_number: int) -> None:
    """In the ledger; its result is in the row alone."""


@shared_task(base=LedgerTask)
def noop_with_result(number: int) -> int:
    """In the ledger; its result is in the row and on Redis."""
    return number


@shared_task(base=LedgerTask, in_ledger=False, ignore_result=True)
def noop_opted_out(_number: int) -> None:
    """No row."""


@shared_task(base=LedgerTask, in_ledger=False, ignore_result=True)
def mark(name: str = "") -> None:
    marks.leave(name)


@shared_task(base=LedgerTask, ignore_result=True)
def marked(name: str, seconds: float = 0) -> None:
    """Says that it has begun, works for so many seconds."""
    marks.leave(name)
    time.sleep(seconds)
