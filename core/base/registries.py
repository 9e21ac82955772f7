"""What core needs of the apps above it, each under a name (domain.md 7.1 C10). They register in AppConfig.ready."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

T = TypeVar("T")


class Registry(dict[str, T]):
    """Things by name; a name is given once."""

    def register(self, name: str, thing: T) -> None:
        if name in self:
            raise ValueError(f"{name!r} is registered already: choose another name, or register it once")
        self[name] = thing


# --- admin notices -------------------------------------------------------------------------------------------------


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"  # goes by SMS too


@dataclass(frozen=True)
class Recipient:
    user_id: uuid.UUID
    email: str
    phone: str


@dataclass(frozen=True)
class Notice:
    """What an admin is told. `once_per` tells two notices of a type apart: the same again is not sent again."""

    title: str
    text: str
    severity: Severity
    subject: tuple[str, str]
    once_per: str


@dataclass(frozen=True)
class NoticeType:
    """`build` gets the context, reads the rows it names, and raises a DomainError when one of them is not there."""

    audience: str
    build: Callable[[Mapping[str, Any]], Notice]


PLATFORM = "platform"  # every active SUPER_ADMIN and NATIONAL_ADMIN (domain.md 2.4)

audiences: Registry[Callable[[], Sequence[Recipient]]] = Registry()
notice_types: Registry[NoticeType] = Registry()


# --- cleaning up and counting --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hour:
    """A full hour by the clock of Accra."""

    start: datetime

    @property
    def end(self) -> datetime:
        return self.start + timedelta(hours=1)


@dataclass(frozen=True)
class SystemFigure:
    """Adds its keys to the metrics of an hour. `of_now`: it tells how things stand, which later nobody can know."""

    count: Callable[[Hour], Mapping[str, Any]]
    of_now: bool


# A step cleans at most `limit` rows as of a moment in one short transaction; it is called until it returns 0.
CleanupStep = Callable[[datetime, int], int]

cleanup_steps: Registry[CleanupStep] = Registry()
system_figures: Registry[SystemFigure] = Registry()
after_metrics: Registry[Callable[[Hour], None]] = Registry()  # in the transaction that writes the metrics
