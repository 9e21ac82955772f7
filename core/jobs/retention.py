"""How long the ledger's rows are kept."""

from __future__ import annotations

from core.jobs import progress, runs

KEEP_FINISHED_DAYS = 30
SLICE = 2000


def prune() -> int:
    """Delete finished runs older than the retention in short transactions. Returns how many. May be cancelled."""
    deleted, place = 0, runs.BEGINNING
    while True:
        count, reached = runs.prune(KEEP_FINISHED_DAYS, place, SLICE)
        deleted += count
        if reached is None:
            return deleted
        place = reached
        progress.report(deleted, note=f"up to {reached[0]:%Y-%m-%d %H:%M}")
