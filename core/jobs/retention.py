"""Removing what is past its retention from the ledger. The days stand in core/base/retention.py."""

from __future__ import annotations

from datetime import datetime

from core.base.retention import RULES, clean
from core.jobs import progress, repairs

KEEP = {rule.name: int(rule.keep) for rule in RULES if isinstance(rule.keep, int)}
SLICE = 2000


def prune(now: datetime) -> dict[str, int]:
    """Delete old finished runs and occurrences in short transactions. Returns how many. May be cancelled."""
    occurrences = next(rule for rule in RULES if rule.name == "occurrences")
    return {"runs": _finished_runs(), "occurrences": clean(occurrences, days=KEEP["occurrences"], now=now)}


def _finished_runs() -> int:
    deleted, place = 0, repairs.BEGINNING
    while True:
        count, reached = repairs.prune(KEEP["runs"], place, SLICE)
        deleted += count
        if reached is None:
            return deleted
        place = reached
        progress.report(deleted, note=f"up to {reached[0]:%Y-%m-%d %H:%M}")
