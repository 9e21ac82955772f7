"""`as_of` of the scheduled tasks, and how moments are told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core import clock
from core.errors import InvalidInput


@pytest.mark.parametrize(
    ("given", "moment"),
    [
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-11-22T06:05:00", datetime(2026, 11, 22, 6, 5, tzinfo=UTC)),
        ("2026-11-22T06:05:00+00:00", datetime(2026, 11, 22, 6, 5, tzinfo=UTC)),
        ("2026-11-22T08:05:00+02:00", datetime(2026, 11, 22, 6, 5, tzinfo=UTC)),
        ("2026-11-22 06:05", datetime(2026, 11, 22, 6, 5, tzinfo=UTC)),
    ],
)
def test_a_day_or_a_moment_replaces_the_clock(given: str, moment: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 11, 23, tzinfo=UTC))
    assert clock.moment(given) == moment


def test_without_it_the_clock_holds() -> None:
    assert clock.now() - clock.moment() < timedelta(seconds=5)


BAD: list[Any] = ["", "yesterday", "22.11.2026", "2026-13-01", "0001-01-01T00:00:00+14:00", "\0", 5, 0.5, True, []]


@pytest.mark.parametrize("given", BAD, ids=ascii)
def test_what_is_no_moment_is_refused_with_an_example(given: Any) -> None:
    with pytest.raises(InvalidInput, match=r"2026-11-23T06:05:00\+00:00"):
        clock.moment(given)


def test_a_future_that_no_wrong_clock_explains_is_refused() -> None:
    clock.moment((clock.now() + timedelta(minutes=5)).isoformat())
    with pytest.raises(InvalidInput, match="future"):
        clock.moment((clock.now() + timedelta(days=2)).isoformat())


def test_moments_are_told_as_people_read_them() -> None:
    assert clock.words(datetime(2026, 11, 23, 6, 0, tzinfo=UTC)) == "Mon 23 Nov, 06:00 (Accra)"
    assert clock.words(datetime(2026, 11, 3, 23, 59, tzinfo=UTC)) == "Tue 3 Nov, 23:59 (Accra)"
