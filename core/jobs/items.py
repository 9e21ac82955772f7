"""Work over many items of which one that fails does not stop the others (domain.md C5).

    items = Items()
    for part in parts:
        with items.contained(f"farms after {part.after}"):
            ...
    items.end()

Each item is a transaction of its own. An error of one is logged with its name, and the run fails at its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import structlog
from celery.exceptions import Ignore, SoftTimeLimitExceeded
from django.db import transaction

from core.jobs import failures

log = structlog.get_logger(__name__)


class SomeFailed(Exception):
    """Some of the items failed; the others are done. The run is tried again, and does what is left."""


class Items:
    def __init__(self) -> None:
        self.done = 0
        self.failed: list[str] = []

    @contextmanager
    def contained(self, name: str) -> Iterator[None]:
        """One item. `name` says which, without personal data."""
        try:
            with transaction.atomic():
                yield
        except (Ignore, SoftTimeLimitExceeded):
            raise  # of the run, not of the item
        except Exception as error:  # noqa: BLE001 - whatever it is, the other items have nothing to do with it
            kind, text, trace = failures.told(error)
            log.error("item_failed", item=name, error=kind, reason=text, traceback=trace)  # noqa: TRY400
            self.failed.append(name)
        else:
            self.done += 1

    def end(self, counts: Mapping[str, object]) -> None:
        """Raises SomeFailed, with what was done all the same, when an item has failed."""
        if self.failed:
            told = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise SomeFailed(
                f"{len(self.failed)} of {self.done + len(self.failed)} parts failed, first {self.failed[0]}. The log"
                f" has the errors (item_failed). Done: {told}."
            )
