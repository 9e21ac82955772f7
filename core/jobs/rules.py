"""The ledger's rules: states, what may follow what, and what a failure leads to. Pure: no database, no clock."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from core.errors import DomainError

LEASE_SECONDS = 20  # a dead worker's runs are taken over this long after its last sign of life
RING_AGAIN_SECONDS = 3  # a run nobody took is rung again this soon, if its message is missing on Redis
MAX_ATTEMPTS = 4  # the first and three more (domain.md C4)
RETRY_BASE_SECONDS = 60
SOFT_SHARE = 0.9  # of a hard limit that stands alone: Celery counts it only after the soft one, which is 300 s
LONGEST_DOUBLING = 6  # a task that is tried more often than most waits an hour at most


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
    OPERATOR = "operator"  # a person, out of turn: run now, catch up
    RETRY = "retry"  # a person, once more after its end


TRANSITIONS: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.RUNNING, State.CANCELLED, State.SKIPPED, State.FAILED}),
    State.RUNNING: frozenset(
        {State.SUCCEEDED, State.FAILED, State.RETRYING, State.SKIPPED, State.CANCELLED, State.PENDING}
    ),
    State.RETRYING: frozenset({State.RUNNING, State.CANCELLED, State.SKIPPED, State.FAILED}),
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


def after_failure(
    error: BaseException, attempts: int, *, most: int = MAX_ATTEMPTS, jitter: float | None = None
) -> Again | GiveUp:
    """What follows a failed attempt (domain.md C4).

    A `DomainError` is permanent. Anything else may be temporary and is tried again after about 60, 120 and 240 s, up to
    `most` attempts. `attempts` counts the one that just failed; `jitter` is a share from -1 to 1, random unless given.
    """
    if isinstance(error, DomainError) or attempts >= most:
        return GiveUp()
    share = random.uniform(-1, 1) if jitter is None else jitter  # noqa: S311 - spreads load, guards nothing
    doublings = min(attempts - 1, LONGEST_DOUBLING)
    return Again(RETRY_BASE_SECONDS * 2**doublings * (1 + share / 10))


class Late(StrEnum):
    """What to do with scheduled times that passed without a run: the policy of a schedule entry."""

    RUN_ONCE = "run_once"  # the newest one, however late; the older ones are covered by it
    RUN_EACH = "run_each"  # all of them, oldest first
    SKIP = "skip"  # none that is late by more than its grace


class OccurrenceState(StrEnum):
    EXPECTED = "expected"  # its time has not come, or came this moment
    RUN = "run"  # a run was asked for
    MISSED = "missed"  # its time passed and nothing was decided: the entry is paused, or its task is not known here
    SKIPPED = "skipped"  # decided: not run, with the reason


OCCURRENCE_TRANSITIONS: dict[OccurrenceState, frozenset[OccurrenceState]] = {
    OccurrenceState.EXPECTED: frozenset({OccurrenceState.RUN, OccurrenceState.MISSED, OccurrenceState.SKIPPED}),
    OccurrenceState.MISSED: frozenset({OccurrenceState.RUN, OccurrenceState.SKIPPED}),
    OccurrenceState.SKIPPED: frozenset({OccurrenceState.RUN}),  # by a person alone: catch-up
    OccurrenceState.RUN: frozenset(),
}


@dataclass(frozen=True)
class Verdict:
    """What becomes of one due occurrence. `reason` is empty when it is run."""

    due_at: datetime
    run: bool
    late: bool
    reason: str = ""


def decide(policy: Late, grace: timedelta, due: Sequence[datetime], now: datetime) -> list[Verdict]:
    """Judge the due times of one entry that nobody has run, given oldest first.

    `run_each` runs all. `run_once` and `skip` run the newest, because a run works off what the older ones left; `skip`
    not even that when it is later than `grace`.
    """
    verdicts = []
    for due_at in due:
        late = now - due_at > grace
        if policy != Late.RUN_EACH and due_at != due[-1]:
            reason = f"covered by the one of {due[-1]:%Y-%m-%d %H:%M:%S} UTC"
        elif policy == Late.SKIP and late:
            reason = "too late: this entry skips what it missed"
        else:
            reason = ""
        verdicts.append(Verdict(due_at, run=not reason, late=late, reason=reason))
    return verdicts
