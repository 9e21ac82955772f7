"""Keeping the leases of long runs, by one resident thread per worker process.

The same thread writes how far a run has come, and learns whether somebody asked to cancel it. A run shorter than a
second costs nothing here. The thread has a database connection of its own, so it works during one long SQL statement
or transaction too; a killed or frozen process keeps nothing, and its runs are taken over.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from django.db import InterfaceError, OperationalError, connection

from core.jobs import runs
from core.jobs.rules import LEASE_SECONDS
from core.jobs.runs import Claim, Progress

log = structlog.get_logger(__name__)

EVERY_SECONDS = LEASE_SECONDS / 3
LOOK_SECONDS = 1.0


@dataclass(eq=False)
class Held:
    """A run that this process works on."""

    claim: Claim
    extend_at: float
    since: float
    progress: Progress | None = None
    told: Progress | None = None  # of it, what the row says
    cancel_asked: bool = False
    lost: bool = False


class Keeper(threading.local):
    """What the current thread works on is `current`; the resident thread looks after all of them."""

    current: Held | None = None

    @contextmanager
    def keep(self, claim: Claim) -> Iterator[Held]:
        """While inside, the claim's lease is extended every few seconds."""
        now = time.monotonic()
        held = Held(claim, extend_at=now + EVERY_SECONDS, since=now)
        before, self.current = self.current, held
        _resident.add(held)
        try:
            yield held
        finally:
            _resident.remove(held)
            self.current = before


class _Resident:
    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """A new process has neither the thread nor the runs of the one that made it."""
        self.lock = threading.Lock()
        self.held: set[Held] = set()
        self.thread: threading.Thread | None = None

    def add(self, held: Held) -> None:
        with self.lock:
            self.held.add(held)
            if self.thread is None:
                self.thread = threading.Thread(target=self.run, name="leases", daemon=True)
                self.thread.start()

    def remove(self, held: Held) -> None:
        with self.lock:
            self.held.discard(held)

    def run(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            with self.lock:
                held = list(self.held)
            try:
                self.look_after(held)
            except (OperationalError, InterfaceError) as error:
                connection.close()
                log.warning("lease_not_extended", error=type(error).__name__)
            except Exception:
                log.exception("lease_not_extended")  # the thread must live on: others depend on it

    def look_after(self, held: list[Held]) -> None:
        now = time.monotonic()
        long = [one for one in held if now - one.since >= LOOK_SECONDS]
        if not long:
            if not held:
                connection.close()  # this thread's own
            return
        due = [(one, one.progress) for one in long if one.extend_at <= now or one.progress != one.told]
        if due:
            runs.extend([(one.claim.id, one.claim.fence, progress) for one, progress in due])
            for one, progress in due:
                one.extend_at, one.told = now + EVERY_SECONDS, progress
        still = runs.asked_to_cancel([(one.claim.id, one.claim.fence) for one in long])
        for one in long:
            ours = still.get((one.claim.id, one.claim.fence))
            if ours is None:
                one.lost = True  # or it has just ended
            else:
                one.cancel_asked = ours


_resident = _Resident()
os.register_at_fork(after_in_child=_resident.forget)
keeper = Keeper()
