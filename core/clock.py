"""The clock, read at the doors and passed down. Every date rule is evaluated in Africa/Accra (domain.md 1.2)."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import cast
from zoneinfo import ZoneInfo

from django.utils import timezone

from core.errors import InvalidInput

ACCRA = ZoneInfo("Africa/Accra")
AHEAD = timedelta(days=1)  # the due time comes from the database, whose clock may differ from this machine's


def now() -> datetime:
    """This moment, aware, in UTC."""
    return timezone.now()


def accra(moment: datetime) -> datetime:
    return moment.astimezone(ACCRA)


def at(day: date, clock_time: time) -> datetime:
    """The moment of a time of day in Accra."""
    return datetime.combine(day, clock_time, tzinfo=ACCRA)


def moment(as_of: object = None) -> datetime:
    """The moment a scheduled task works for: now, or the one given as `as_of` so that a past day can be run again.

    A date is its 00:00; a time without an offset is Accra's. Raises InvalidInput for what is neither, and for a moment
    more than a day ahead.
    """
    if as_of is None:
        return now()
    try:
        given = datetime.fromisoformat(cast(str, as_of))
        found = (given if given.tzinfo else given.replace(tzinfo=ACCRA)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput("as_of cannot be read. Write it like 2026-11-23 or 2026-11-23T06:05:00+00:00.") from error
    if found > now() + AHEAD:
        raise InvalidInput("as_of lies in the future. Pass a moment that is over, or leave it out.")
    return found


def words(when: datetime) -> str:
    """A moment as people read it in messages: Mon 23 Nov, 06:00 (Accra)."""
    return f"{accra(when):%a %-d %b, %H:%M} (Accra)"
