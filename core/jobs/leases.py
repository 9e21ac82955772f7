"""Keeping the leases of long runs, by one resident thread per worker process.

A run shorter than a third of the lease costs nothing here. The thread has a database connection of its own, so a
lease is kept during one long SQL statement too; a killed or frozen process keeps nothing, and its runs are taken over.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from django.db import DatabaseError, InterfaceError, connection

from core.jobs import runs
from core.jobs.rules import LEASE_SECONDS
from core.jobs.runs import Claim

log = structlog.get_logger(__name__)

EVERY_SECONDS = LEASE_SECONDS / 3


class Keeper:
    def __init__(self) -> None:
        self.pid = 0
        self.reset()

    def reset(self) -> None:
        self.lock = threading.Lock()
        self.held: dict[Claim, float] = {}

    @contextmanager
    def keep(self, claim: Claim) -> Iterator[None]:
        """While inside, the claim's lease is extended every few seconds."""
        if self.pid != os.getpid():  # a thread does not survive a fork, and its lock may have been held
            self.pid = os.getpid()
            self.reset()
            threading.Thread(target=self.run, name="leases", daemon=True).start()
        with self.lock:
            self.held[claim] = time.monotonic() + EVERY_SECONDS
        try:
            yield
        finally:
            with self.lock:
                self.held.pop(claim, None)

    def run(self) -> None:
        while True:
            time.sleep(1)
            now = time.monotonic()
            with self.lock:
                due = [claim for claim, at in self.held.items() if at <= now]
                for claim in due:
                    self.held[claim] = now + EVERY_SECONDS
                idle = not self.held
            if due:
                self.extend(due)
            elif idle:
                connection.close()  # this thread's own

    def extend(self, due: list[Claim]) -> None:
        try:
            kept = runs.extend([(claim.id, claim.fence) for claim in due])
        except (DatabaseError, InterfaceError) as error:
            connection.close()
            log.warning("lease_not_extended", error=type(error).__name__)
        else:
            if kept < len(due):
                log.warning("lease_lost", runs=[str(claim.id) for claim in due])


keeper = Keeper()
