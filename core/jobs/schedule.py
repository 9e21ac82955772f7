"""A line of the schedule table in core/celery.py."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from celery.schedules import crontab

from core.jobs.rules import Late
from core.jobs.timetable import Cron

GRACE = timedelta(minutes=5)


@dataclass(frozen=True)
class Entry:
    """`cron` is minute, hour, day of the month, month and weekday in Africa/Accra, as Celery's crontab reads them.

    `late` says what to do with times that were missed, `grace` from when on a time counts as missed.
    """

    task: str
    cron: str
    late: Late = Late.RUN_ONCE
    grace: timedelta = GRACE

    @property
    def timetable(self) -> Cron:
        return Cron(*self.cron.split())

    def for_beat(self) -> dict[str, Any]:
        """The entry as Celery's `beat_schedule` takes it, which has no place for the policy."""
        minute, hour, day_of_month, month_of_year, day_of_week = self.cron.split()
        when = crontab(
            minute=minute,
            hour=hour,
            day_of_month=day_of_month,
            month_of_year=month_of_year,
            day_of_week=day_of_week,
        )
        return {"task": self.task, "schedule": when}
