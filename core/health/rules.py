"""What the findings of a health check come to. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Of whom a sign of life is."""

    WORKER = "worker"
    BEAT = "beat"
    SWEEP = "sweep"


# So long may one be silent before the admins are told, in seconds. A worker beats every 10 s.
GRACE_SECONDS = {Kind.WORKER: 30, Kind.BEAT: 60, Kind.SWEEP: 60}

OLDEST_UNSENT_MINUTES = 15  # all four tries of a message take about 8


class State(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    DOWN = "down"
    UNKNOWN = "unknown"  # cannot be found out, and nobody is to be woken for it


@dataclass(frozen=True)
class Finding:
    """What one check found: its figure, if there is one, and words that say what to do when it is not healthy."""

    state: State
    words: str
    value: float | None = None


def overall(findings: Mapping[str, Finding]) -> State:
    """`down`: background work stands still (database, broker or every worker gone; those checks say `down`).

    `degraded`: it goes on, but something needs a person. What is unknown counts for neither.
    """
    states = {finding.state for finding in findings.values()}
    return next((state for state in (State.DOWN, State.DEGRADED) if state in states), State.HEALTHY)
