"""The ledger's rules: states, what may follow what, and what a failure leads to. Pure: no database, no clock."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from core.errors import DomainError

LEASE_SECONDS = 20  # a dead worker's runs are taken over this long after its last sign of life
RING_AGAIN_SECONDS = 3  # a run nobody took is rung again this soon, if its message is missing on Redis
MAX_ATTEMPTS = 4  # the first and three more (domain.md C4)
RETRY_BASE_SECONDS = 60


class State(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class Trigger(StrEnum):
    """What asked for a run."""

    REQUEST = "request"
    SCHEDULE = "schedule"
    TASK = "task"
    BY_HAND = "by_hand"  # a message published without the ledger, such as `celery call`


TRANSITIONS: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.RUNNING, State.CANCELLED, State.SKIPPED, State.FAILED}),
    State.RUNNING: frozenset(
        {State.SUCCEEDED, State.FAILED, State.RETRYING, State.SKIPPED, State.CANCELLED, State.PENDING}
    ),
    State.RETRYING: frozenset({State.RUNNING, State.CANCELLED, State.SKIPPED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
    State.SKIPPED: frozenset(),
}
FINAL = frozenset(state for state, following in TRANSITIONS.items() if not following)

# What `AsyncResult.status` says of a state (design.md 4).
CELERY_STATUS: dict[State, str] = {
    State.PENDING: "PENDING",
    State.RUNNING: "STARTED",
    State.RETRYING: "RETRY",
    State.SUCCEEDED: "SUCCESS",
    State.SKIPPED: "SUCCESS",
    State.FAILED: "FAILURE",
    State.CANCELLED: "REVOKED",
}


@dataclass(frozen=True)
class Again:
    """Run again after this many seconds."""

    seconds: float


@dataclass(frozen=True)
class GiveUp:
    """Failed for good."""


def after_failure(error: BaseException, attempts: int, *, jitter: float | None = None) -> Again | GiveUp:
    """What follows a failed attempt (domain.md C4).

    A `DomainError` is permanent. Anything else may be temporary and is tried again after about 60, 120 and 240 s.
    `attempts` counts the one that just failed; `jitter` is a share from -1 to 1, random unless given.
    """
    if isinstance(error, DomainError) or attempts >= MAX_ATTEMPTS:
        return GiveUp()
    share = random.uniform(-1, 1) if jitter is None else jitter  # noqa: S311 - spreads load, guards nothing
    return Again(RETRY_BASE_SECONDS * 2 ** (attempts - 1) * (1 + share / 10))
