"""How long the ledger's rows are kept."""

from __future__ import annotations

from core.jobs import runs

KEEP_FINISHED_DAYS = 30


def prune() -> int:
    """Delete finished runs older than the retention, a thousand in a short transaction at a time. Returns how many."""
    deleted = 0
    while count := runs.prune(KEEP_FINISHED_DAYS):
        deleted += count
    return deleted
