"""The sending window in force: the rule of `rules.opening` with the figures of the settings rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice

from django.conf import settings

from core import clock
from core.base import figures
from core.delivery import rules
from core.delivery.rules import Channel, Purpose

LONGEST_DAYS = 730
LONGEST_SECONDS = LONGEST_DAYS * 86_400


def opening(purpose: Purpose, channel: Channel, moment: datetime, *, any_hour: bool = False) -> datetime:
    """When a message may leave: `moment` itself inside its window, else the next opening."""
    if any_hour or not settings.SENDING_WINDOWS:
        return moment
    return rules.opening(purpose, channel, clock.accra(moment), _windows())


def _windows() -> rules.Windows:
    return rules.Windows(
        *figures.times_of_day(
            figures.WINDOW_START, figures.WINDOW_END, figures.BULK_WINDOW_START, figures.BULK_WINDOW_END
        )
    )


def bulk_end(begins: datetime, seconds: float) -> datetime | None:
    """When bulk SMS that take so many seconds are over, hours and days outside their window left out. None: not within
    two years.
    """
    if not settings.SENDING_WINDOWS:
        return begins + timedelta(seconds=seconds) if seconds < LONGEST_SECONDS else None
    left = timedelta(seconds=min(seconds, LONGEST_SECONDS))
    for opens, closes in islice(_bulk_spans(begins), LONGEST_DAYS):
        if left <= closes - opens:
            return opens + left
        left -= closes - opens
    return None


def bulk_open_seconds(since: datetime, until: datetime) -> float:
    """How many seconds of this time lay inside the window of bulk SMS."""
    if not settings.SENDING_WINDOWS:
        return max(0.0, (until - since).total_seconds())
    total = timedelta()
    for opens, closes in islice(_bulk_spans(since), LONGEST_DAYS):
        if opens >= until:
            break
        total += min(closes, until) - opens
    return total.total_seconds()


def _bulk_spans(moment: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The stretches of open time from a moment on."""
    windows = _windows()
    moment = clock.accra(moment)
    while True:
        opens = rules.opening(Purpose.BULK, Channel.SMS, moment, windows)
        closes = opens.replace(hour=windows.bulk_end.hour, minute=windows.bulk_end.minute, second=0, microsecond=0)
        yield opens, closes
        moment = closes
