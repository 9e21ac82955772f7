"""What is going to be done to the house, and when: decided by the seed before anything starts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

DAY = 86_400
WRONG_CLOCKS = (DAY, -DAY, 600, -600)  # seconds


@dataclass(frozen=True)
class Kind:
    weight: int
    longest: float = 0.0  # seconds, of a fault that lasts
    long_form_only: bool = False


KINDS: dict[str, Kind] = {
    "worker killed": Kind(4),
    "worker told to stop": Kind(2),
    "worker frozen": Kind(1, 25, long_form_only=True),  # longer than its lease
    "pool child killed": Kind(4),
    "beat killed": Kind(2),
    "asker killed": Kind(2),
    "clock moved": Kind(2),
    "Redis killed": Kind(2, 8),
    "Redis frozen": Kind(1, 3),
    "Redis emptied": Kind(2),
    "PostgreSQL restarted": Kind(1, 2),
    "PostgreSQL killed": Kind(1, 2, long_form_only=True),
    "database lines cut": Kind(2),
}


@dataclass(frozen=True)
class Fault:
    at: float  # seconds after the beginning
    kind: str
    lasts: float
    which: float  # 0 to 1: of those there are then
    clock: int

    def __str__(self) -> str:
        return f"{self.at:6.1f} s  {self.kind}" + (f" for {self.lasts:.1f} s" if self.lasts else "")


def faults(seed: int, seconds: float, *, every: float, long: bool) -> list[Fault]:
    """Each kind once if there is time, then by weight; in between about `every` seconds, and now and then none."""
    rng = random.Random(f"{seed}/faults")
    kinds = {name: kind for name, kind in KINDS.items() if long or not kind.long_form_only}

    def names() -> Iterator[str]:
        yield from rng.sample(list(kinds), len(kinds))
        while True:
            yield from rng.choices(list(kinds), [kind.weight for kind in kinds.values()])

    planned: list[Fault] = []
    at = 2.0
    for name in names():
        longest = kinds[name].longest
        # a freeze is of use only if it is as long as that
        lasts = 0.0 if not longest else longest if "frozen" in name else rng.uniform(0.5, longest)
        planned.append(Fault(at, name, lasts, rng.random(), rng.choice(WRONG_CLOCKS)))
        at += rng.choice((0.2, rng.uniform(0.6, 1.6) * every, rng.uniform(0.6, 1.6) * every))
        if at > seconds:
            return planned
    raise AssertionError("names() never ends")
