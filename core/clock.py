"""The clock, read at the doors and passed down. Every date rule is evaluated in Africa/Accra (domain.md 1.2)."""

from __future__ import annotations

from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from django.utils import timezone

ACCRA = ZoneInfo("Africa/Accra")


def now() -> datetime:
    """This moment, aware, in UTC."""
    return timezone.now()


def accra(moment: datetime) -> datetime:
    return moment.astimezone(ACCRA)


def at(day: date, clock_time: time) -> datetime:
    """The moment of a time of day in Accra."""
    return datetime.combine(day, clock_time, tzinfo=ACCRA)
