"""Small tasks that exist in the tests only."""

from __future__ import annotations

import time
from typing import Any

from celery import shared_task

from core.base.models import Setting
from core.errors import InvalidInput, TemporaryError
from core.jobs import progress
from core.jobs.task import HandBack, LedgerTask

calls: list[Any] = []  # what ran, in this process; emptied by the fixture `calls`


@shared_task(base=LedgerTask)
def add(a: int, b: int = 0) -> int:
    calls.append((a, b))
    return a + b


@shared_task(base=LedgerTask)
def echo(value: Any) -> Any:
    calls.append(value)
    return value


@shared_task(base=LedgerTask, personal=("phone", "text"))
def tell(phone: str, text: str, times: int = 1) -> dict[str, int]:
    calls.append((phone, text, times))
    return {"told": times}


@shared_task(base=LedgerTask, personal=("phone",))
def refuse(phone: str) -> None:
    raise InvalidInput(f"The number {phone} is not a mobile.")


@shared_task(base=LedgerTask, personal=("phone",))
def stumble(phone: str) -> None:
    raise TemporaryError(f"Nobody answers at {phone}.")


@shared_task(base=LedgerTask, bind=True)
def try_again(self: Any, countdown: float | None = None, max_retries: int | None = None) -> str:
    calls.append(self.request.retries)
    raise self.retry(exc=TemporaryError("not yet"), countdown=countdown, max_retries=max_retries)


@shared_task(base=LedgerTask, lane="bulk")
def slices(many: int) -> dict[str, int]:
    """Done in `many` slices."""
    calls.append("slice")
    if len(calls) < many:
        raise HandBack
    return {"slices": len(calls)}


@shared_task(base=LedgerTask)
def nothing_to_do() -> dict[str, str]:
    return {"status": "skipped", "reason": "nothing to do"}


@shared_task(base=LedgerTask)
def unwritable() -> object:
    return object()


@shared_task(base=LedgerTask, bind=True)
def ask_another(self: Any) -> str:
    calls.append(self.request.id)
    return str(add.delay(1, 2).id)


@shared_task(base=LedgerTask, in_ledger=False, ignore_result=True)
def only_a_hint(row_id: str) -> None:
    calls.append(row_id)


@shared_task(base=LedgerTask, takes_due_time=True)
def dated(as_of: str | None = None) -> None:
    calls.append(as_of)


@shared_task(base=LedgerTask, once_at_a_time=True)
def alone(what: str = "") -> str:
    calls.append(what)
    return what


@shared_task(base=LedgerTask, atomic=True)
def note(text: str, fail: bool = False) -> None:
    """Touches PostgreSQL alone, with no key."""
    Setting.objects.create(key=f"{text}-{len(calls)}", value=text)
    calls.append(text)
    if fail:
        raise TemporaryError("after the effect")


@shared_task(base=LedgerTask)
def long_work(seconds: float) -> dict[str, int]:
    """Counts up, and says so, until it is stopped."""
    ends = time.monotonic() + seconds
    done = 0
    while time.monotonic() < ends:
        done += 1
        progress.report(done, 1_000, "counting")
        time.sleep(0.01)
    return {"done": done}
