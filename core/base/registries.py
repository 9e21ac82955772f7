"""What core needs of the apps above it, each under a name (domain.md 7.1 C10). They register in AppConfig.ready."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
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
    """`build` gets the context, reads the rows it names, and raises a DomainError when one of them is not there.

    `audience` is a name in `audiences`, or says whom the notice goes to from the same context.
    """

    audience: str | Callable[[Mapping[str, Any]], Sequence[Recipient]]
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
expiry_steps: Registry[CleanupStep] = Registry()  # of `accounts.tasks.cleanup_expired_tokens`: what has run out
system_figures: Registry[SystemFigure] = Registry()
after_metrics: Registry[Callable[[Hour], None]] = Registry()  # in the transaction that writes the metrics


# --- the activity of a farm ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FarmEvent:
    """Something that happened to a farm. `what` names its kind, `about` are texts and numbers of it."""

    at: datetime
    what: str
    about: Mapping[str, Any]


@dataclass(frozen=True)
class FarmActivity:
    """What an app adds to the activity report of a farm: figures under its name, and events among those of the others.

    All values are such as JSON has; amounts and rates are text.
    """

    figures: Mapping[str, Any]
    events: Sequence[FarmEvent] = ()


# Of a farm from one day to another, both included.
ActivitySection = Callable[[uuid.UUID, date, date], FarmActivity]
activity_sections: Registry[ActivitySection] = Registry()  # of `farms.tasks.generate_farm_activity_report`


# --- the audit chain -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChainedTable:
    """An append-only table, keyed by a UUID `id`, whose rows are chained by their hashes (core/base/chain.py).

    A form is the columns that a hash covers. The last one is used; a new column makes a new form at the end, and those
    before stay as they are, because links were made by them. The triggers are the table's migration's: `<table>_noted`,
    and `<table>_rows_stay` and `<table>_table_stays` that keep it append-only.
    """

    forms: tuple[tuple[str, ...], ...]


chained_tables: Registry[ChainedTable] = Registry()


# --- people: who may, and whom a selection means -------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A part of the country: all of it, a region, or a constituency of a region."""

    region_id: uuid.UUID | None = None
    constituency_id: uuid.UUID | None = None

    def __post_init__(self) -> None:
        if self.constituency_id and not self.region_id:
            raise ValueError("a constituency lies in a region: pass region_id too")

    def contains(self, other: Place) -> bool:
        return self.region_id in (None, other.region_id) and self.constituency_id in (None, other.constituency_id)


NATION = Place()

# May this person do it in all of this place? Reads the person anew: who is suspended or not active may nothing.
Permission = Callable[[uuid.UUID, Place], bool]

SEND_BULK_SMS = "send_bulk_sms"  # admins inside their scope, staff with the code (domain.md 2.3)
permissions: Registry[Permission] = Registry()


@dataclass(frozen=True)
class Selection:
    """A selection that was checked: its one form, to be stored as JSON, and the place that its people live in."""

    stored: dict[str, str]
    place: Place


@dataclass(frozen=True)
class SelectedPerson:
    user_id: uuid.UUID
    phone: str
    language: str


@dataclass(frozen=True)
class PeopleSource:
    """Whom a stored selection means now. Each of the three raises InvalidInput for a selection that cannot be used.

    `check` brings what was typed into one form. `people` streams in the order of their ids, reading a chunk at a time,
    and begins after the id it is given: a run that stopped goes on there. Suspended and inactive people are left out.
    """

    check: Callable[[Mapping[str, object]], Selection]
    count: Callable[[Mapping[str, object]], int]
    people: Callable[[Mapping[str, object], uuid.UUID | None], Iterator[SelectedPerson]]


# "users": {"region": code, "constituency": code, "role": role, "language": code}; left out or '' means any.
USERS = "users"
audiences_of_people: Registry[PeopleSource] = Registry()
