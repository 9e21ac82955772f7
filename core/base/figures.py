"""The settings rows with their defaults and limits (domain.md 4.6.1). A row in `Setting` overrides a default."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time

from core.base.models import Setting
from core.errors import InvalidInput


@dataclass(frozen=True)
class TimeOfDay:
    key: str
    default: time
    description: str


WINDOW_START = TimeOfDay("messages.window_start", time(7), "SMS to people: not before")
WINDOW_END = TimeOfDay("messages.window_end", time(20), "SMS to people: not from this time on")
BULK_WINDOW_START = TimeOfDay("messages.bulk_window_start", time(8), "bulk SMS: not before")
BULK_WINDOW_END = TimeOfDay("messages.bulk_window_end", time(19), "bulk SMS: not from this time on")


def times_of_day(*figures: TimeOfDay) -> list[time]:
    """The values in force, in the order asked, read in one query."""
    rows = dict(Setting.objects.filter(key__in=[figure.key for figure in figures]).values_list("key", "value"))
    return [_parse(figure.key, rows[figure.key]) if figure.key in rows else figure.default for figure in figures]


def _parse(key: str, value: object) -> time:
    try:
        return time.fromisoformat(str(value))
    except ValueError as error:
        raise InvalidInput(f"The setting {key} is not a time of day. Set it to HH:MM, such as 07:00.") from error
