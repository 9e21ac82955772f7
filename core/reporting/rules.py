"""The rules of reports: their kinds and states (domain.md 4.6). Pure."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

KEPT_FOR = timedelta(days=30)  # domain.md 6.4


class Kind(StrEnum):
    PRODUCTION = "production"
    FARM_ACTIVITY = "farm_activity"
    SELLER_PAYOUT = "seller_payout"
    WEEKLY = "weekly"
    PARTNER_STATEMENT = "partner_statement"
    BRIEF = "brief"


class Status(StrEnum):
    RUNNING = "running"
    READY = "ready"
    FAILED = "failed"


TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.RUNNING: frozenset({Status.READY, Status.FAILED}),
    Status.READY: frozenset({Status.RUNNING}),
    Status.FAILED: frozenset({Status.RUNNING, Status.READY}),  # ready: another run was at it at the same time
}
