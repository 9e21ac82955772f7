"""The sending window in force: the rule of `rules.opening` with the figures of the settings rows."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings

from core import clock
from core.base import figures
from core.delivery import rules
from core.delivery.rules import Channel, Purpose


def opening(purpose: Purpose, channel: Channel, moment: datetime, *, any_hour: bool = False) -> datetime:
    """When a message may leave: `moment` itself inside its window, else the next opening."""
    if any_hour or not settings.SENDING_WINDOWS:
        return moment
    windows = rules.Windows(
        *figures.times_of_day(
            figures.WINDOW_START, figures.WINDOW_END, figures.BULK_WINDOW_START, figures.BULK_WINDOW_END
        )
    )
    return rules.opening(purpose, channel, clock.accra(moment), windows)
