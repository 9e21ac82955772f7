"""When a schedule entry is due: cron lines, intervals and single times. Pure: no database, no clock, no settings.

Due times are aware, in UTC. Cron lines mean what Celery's `crontab` means, in Africa/Accra: all five fields must fit,
so "29 February, Monday" is the 29 February that is a Monday.
"""

from __future__ import annotations

import calendar
import re
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from itertools import count, groupby, pairwise, takewhile

from celery.schedules import BaseSchedule, ParseException, crontab, crontab_parser, schedule
from django_celery_beat.clockedschedule import clocked

from core import clock
from core.errors import InvalidInput

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SAME_AS_ACCRA = frozenset({"Africa/Accra", "UTC", "Etc/UTC", "GMT", "Etc/GMT"})  # no zone of these changes its clock
LONGEST_MONTH = {month: calendar.monthrange(2000, month)[1] for month in range(1, 13)}  # 2000: February has 29

FEW_TIMES = 6  # so many times of day are read out one by one
RUN = 3  # so many neighbours are read out as "first to last"
MINUTE, HOUR, DAY_LENGTH = 60, 3_600, 86_400  # in seconds
UNITS = (("day", DAY_LENGTH), ("hour", HOUR), ("minute", MINUTE), ("second", 1))
ALL_HOURS = frozenset(range(24))
ALL_DAYS = frozenset(range(1, 32))
ALL_MONTHS = frozenset(range(1, 13))
ALL_WEEKDAYS = frozenset(range(7))
FIELD_TEXT = re.compile(r"[0-9a-z*/,-]+")
MOST_DIGITS = 20  # of an interval in text; Python refuses to read thousands


class Timetable(ABC):
    """The due times of one schedule entry. Equal timetables have equal `spec`."""

    @property
    @abstractmethod
    def spec(self) -> str:
        """The canonical text, which `parse` reads back."""

    @abstractmethod
    def after(self, moment: datetime) -> Iterator[datetime]:
        """The due times later than `moment`, ascending, without an end unless there are no more."""

    @abstractmethod
    def last_until(self, moment: datetime, not_before: datetime) -> datetime | None:
        """The newest due time that is not later than `moment` and later than `not_before`."""

    @abstractmethod
    def in_words(self) -> str:
        """Plain English, times in Accra: "at 09:00, Monday to Friday"."""

    def next_after(self, moment: datetime) -> datetime | None:
        """The first due time later than `moment`, or None when it is never due again."""
        return next(self.after(moment), None)

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The due times later than `after` and not later than `until`, ascending."""
        return takewhile(lambda due: due <= until, self.after(after))


@dataclass(frozen=True)
class Cron(Timetable):
    """The five fields as Celery's `crontab` reads them; Sunday may also be 7, which the admin's form offers.

    Raises `InvalidInput` for a field that cannot be read. A day that no calendar has (30 February) is never due.
    """

    minute: str = "*"
    hour: str = "*"
    day_of_month: str = "*"
    month_of_year: str = "*"
    day_of_week: str = "*"
    minutes: frozenset[int] = field(init=False, repr=False, compare=False)
    hours: frozenset[int] = field(init=False, repr=False, compare=False)
    days: frozenset[int] = field(init=False, repr=False, compare=False)
    months: frozenset[int] = field(init=False, repr=False, compare=False)
    weekdays: frozenset[int] = field(init=False, repr=False, compare=False)  # Sunday is 0

    def __post_init__(self) -> None:
        for name, numbers, reader, allowed in CRON_FIELDS:
            text = ",".join(part.strip() for part in getattr(self, name).lower().split(","))
            object.__setattr__(self, name, text)
            object.__setattr__(self, numbers, _read(name, text, reader, allowed))

    @property
    def spec(self) -> str:
        return f"cron {self.minute} {self.hour} {self.day_of_month} {self.month_of_year} {self.day_of_week}"

    def after(self, moment: datetime) -> Iterator[datetime]:
        local = clock.accra(moment)
        times = self._times[bisect_right(self._times, local.time()) :]
        for day in self._days(local.date()):
            for clock_time in times if day == local.date() else self._times:
                yield clock.at(day, clock_time).astimezone(UTC)

    def last_until(self, moment: datetime, not_before: datetime) -> datetime | None:
        local = clock.accra(moment)
        times = self._times[: bisect_right(self._times, local.time())]
        for day in self._days(local.date(), back=True):
            of_day = times if day == local.date() else self._times
            if of_day:
                due = clock.at(day, of_day[-1]).astimezone(UTC)
                return due if due > not_before else None
        return None

    def in_words(self) -> str:
        times, days = self._times_in_words(), self._days_in_words()
        if not days and times.startswith("at "):
            days = "every day"
        words = f"{times}, {days}" if days else times
        return words if self._has_days else f"never ({words})"

    @cached_property
    def _times(self) -> tuple[time, ...]:
        return tuple(time(hour, minute) for hour in sorted(self.hours) for minute in sorted(self.minutes))

    @property
    def _has_days(self) -> bool:
        return any(day <= LONGEST_MONTH[month] for month in self.months for day in self.days)

    def _days(self, start: date, *, back: bool = False) -> Iterator[date]:
        """The days that fit, from `start` on or back: month by month, so that 40 years to a rare day cost little."""
        # Each date there is falls on every weekday within 40 years, so only a day that no month has is never found.
        if not self._has_days:
            return
        first = start.year * 12 + start.month - 1
        for number in range(first, 12 * date.min.year - 1, -1) if back else range(first, 12 * (date.max.year + 1)):
            year, month = number // 12, number % 12 + 1
            if month not in self.months:
                continue
            length = calendar.monthrange(year, month)[1]
            for day in (date(year, month, day) for day in sorted(self.days, reverse=back) if day <= length):
                if day.isoweekday() % 7 in self.weekdays and (day <= start if back else day >= start):
                    yield day

    def _times_in_words(self) -> str:
        at = [f"{clock_time:%H:%M}" for clock_time in self._times]
        starts = [clock_time.hour * HOUR + clock_time.minute * MINUTE for clock_time in self._times]
        gap = _gap(starts)
        if gap and len(at) > RUN:
            how_often = f"every {_duration(gap)}"
            if gap * len(at) != DAY_LENGTH:
                return f"{how_often} from {at[0]} to {at[-1]}"
            if gap == HOUR and starts[0]:
                return f"{how_often}, at {_amount(starts[0] // MINUTE, 'minute')} past"
            return f"{how_often} from {at[0]}" if starts[0] or gap > HOUR else how_often
        if len(at) <= FEW_TIMES:
            return f"at {_listed(at)}"
        minutes = sorted(self.minutes)
        gap = _gap(minutes) * MINUTE
        if gap * len(minutes) == HOUR and minutes[0] == 0:
            within = f"every {_duration(gap)}"
        else:
            within = f"at {_runs(minutes, str)} minutes past"
        if self.hours == ALL_HOURS:
            return f"every hour, {within}"
        return f"{within}, in the hours {_runs(sorted(self.hours), '{:02}'.format)}"

    def _days_in_words(self) -> str:
        every_month, every_weekday = self.months == ALL_MONTHS, self.weekdays == ALL_WEEKDAYS
        months = _runs(sorted(self.months), calendar.month_name.__getitem__)
        within = "from" if _is_run(months) else "in"
        if self.days != ALL_DAYS:
            days = f"on the {_runs(sorted(self.days), _ordinal)} of {'the month' if every_month else months}"
            if every_weekday:
                return days
            names = _weekdays_in_words(self.weekdays, "or")
            return f"{days}, when that is {names if _is_run(names) else f'a {names}'}"
        if not every_weekday:
            names = _weekdays_in_words(self.weekdays, "and")
            days = names if _is_run(names) else f"only on {names}"
            return days if every_month else f"{days}, {within} {months}"
        return "" if every_month else f"every day {within} {months}"


@dataclass(frozen=True)
class Every(Timetable):
    """Every so many seconds, counted from the Unix epoch, so that all who ask find the same due times."""

    seconds: int

    def __post_init__(self) -> None:
        if not 1 <= self.seconds <= timedelta.max // timedelta(seconds=1):
            raise InvalidInput(
                f"An interval of {str(self.seconds)[:30]} s is impossible. Give whole seconds, at least 1."
            )

    @property
    def spec(self) -> str:
        return f"every {self.seconds}"

    def after(self, moment: datetime) -> Iterator[datetime]:
        for number in count((moment - EPOCH) // self._step + 1):
            due = self._due(number)
            if due is None:
                return
            yield due

    def last_until(self, moment: datetime, not_before: datetime) -> datetime | None:
        due = self._due((moment - EPOCH) // self._step)
        return due if due is not None and due > not_before else None

    def in_words(self) -> str:
        return f"every {_duration(self.seconds)}"

    @property
    def _step(self) -> timedelta:
        return timedelta(seconds=self.seconds)

    def _due(self, number: int) -> datetime | None:
        try:
            return EPOCH + number * self._step
        except OverflowError:  # before the year 1 or after 9999
            return None


@dataclass(frozen=True)
class Once(Timetable):
    """One moment."""

    at: datetime

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise InvalidInput("A single time needs its offset, such as 2026-03-01T08:00:00+00:00.")
        try:
            object.__setattr__(self, "at", self.at.astimezone(UTC))
        except OverflowError as error:
            raise InvalidInput("A single time must lie in the years 1 to 9999, in UTC.") from error

    @property
    def spec(self) -> str:
        return f"once {self.at.isoformat()}"

    def after(self, moment: datetime) -> Iterator[datetime]:
        if self.at > moment:
            yield self.at

    def last_until(self, moment: datetime, not_before: datetime) -> datetime | None:
        return self.at if not_before < self.at <= moment else None

    def in_words(self) -> str:
        local = clock.accra(self.at)
        return f"once, on {local.day} {local:%B %Y} at {local:%H:%M:%S}".removesuffix(":00")


def parse(spec: str) -> Timetable:
    """Read back what `.spec` wrote. Raises `InvalidInput` for anything else."""
    kind, _, rest = spec.strip().partition(" ")
    if kind == "cron":
        fields = rest.split()
        if len(fields) == len(CRON_FIELDS):
            return Cron(*fields)
    elif kind == "every":
        if rest.isascii() and rest.isdecimal() and len(rest) <= MOST_DIGITS:
            return Every(int(rest))
    elif kind == "once":
        try:
            return Once(datetime.fromisoformat(rest))
        except ValueError as error:
            raise InvalidInput(f"{rest[:40]!r} is no time. Write it as 2026-03-01T08:00:00+00:00.") from error
    raise InvalidInput(
        f"{spec[:60]!r} is no timetable. Write 'cron 0 9 * * 1-5' (minute, hour, day, month, weekday), 'every 30' "
        "(seconds) or 'once 2026-03-01T08:00:00+00:00'."
    )


def of_celery(plan: BaseSchedule | timedelta | float) -> Timetable | None:
    """The timetable of a Celery or django-celery-beat schedule; None for a kind that is not followed (solar).

    Raises `InvalidInput` where the meaning would differ: a time zone whose clock is not Accra's, parts of a second.
    """
    if isinstance(plan, crontab):
        zone = vars(plan).get("tz")  # django-celery-beat's; asking the attribute would ask the Celery app
        if zone is not None and str(zone) not in SAME_AS_ACCRA:
            raise InvalidInput(
                f"The cron line is in the time zone {zone}. Set it to Africa/Accra and convert its times."
            )
        return Cron(*(_field_text(getattr(plan, f"_orig_{name}")) for name, *_ in CRON_FIELDS))
    if isinstance(plan, clocked):
        return Once(plan.clocked_time)
    interval = getattr(plan, "run_every", plan) if isinstance(plan, schedule) else plan
    if isinstance(interval, int | float):
        interval = timedelta(seconds=interval)
    if not isinstance(interval, timedelta):
        return None
    if interval % timedelta(seconds=1):
        raise InvalidInput(f"An interval of {interval.total_seconds()} s is not followed. Give whole seconds.")
    return Every(interval // timedelta(seconds=1))


def _field_text(value: int | str | Iterable[int]) -> str:
    if isinstance(value, int | str):
        return str(value)
    return ",".join(str(number) for number in sorted(value))


def _weekdays(text: str) -> set[int]:
    """Celery's weekdays, and 7 for Sunday."""
    numbers: set[int] = set()
    for part in text.split(","):
        try:
            numbers |= crontab_parser(7).parse(part)
        except ValueError:
            from_sunday = re.sub(r"^7(?=$|-(?!7))", "0", part)
            numbers |= {number % 7 for number in crontab_parser(8).parse(from_sunday)}
    return numbers


# In the order of a cron line: field, the attribute with its numbers, its reader, what it takes.
CRON_FIELDS: tuple[tuple[str, str, Callable[[str], set[int]], str], ...] = (
    ("minute", "minutes", crontab_parser(60).parse, "0 to 59"),
    ("hour", "hours", crontab_parser(24).parse, "0 to 23"),
    ("day_of_month", "days", crontab_parser(31, 1).parse, "1 to 31"),
    ("month_of_year", "months", crontab_parser(12, 1).parse, "1 to 12 or jan to dec"),
    ("day_of_week", "weekdays", _weekdays, "0 to 6 (0 is Sunday) or sun to sat"),
)


def _read(name: str, text: str, reader: Callable[[str], set[int]], allowed: str) -> frozenset[int]:
    try:
        numbers = frozenset(reader(text))
    except (ParseException, ValueError):
        numbers = frozenset()
    # Celery's parser overlooks what follows a step, such as the blank in "*/2 x", which would make two fields of one.
    if not numbers or not FIELD_TEXT.fullmatch(text):
        raise InvalidInput(
            f"{text[:40]!r} is no {name.replace('_', ' ')} of a cron line. Write {allowed}, such as 1-5, 1,4, */2 or *."
        )
    return numbers


def _gap(numbers: Sequence[int]) -> int:
    """The distance that all neighbours have in common, or 0."""
    gaps = {later - earlier for earlier, later in pairwise(numbers)}
    return gaps.pop() if len(gaps) == 1 else 0


def _listed(words: Sequence[str], last: str = "and") -> str:
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _runs(numbers: Sequence[int], name: Callable[[int], str], last: str = "and") -> str:
    """The names of ascending numbers, three neighbours or more as "first to last"."""
    words: list[str] = []
    for _, group in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        run = [name(number) for _, number in group]
        words += [f"{run[0]} to {run[-1]}"] if len(run) >= RUN else run
    return _listed(words, last)


def _is_run(words: str) -> bool:
    return " to " in words and "," not in words and " and " not in words and " or " not in words


def _weekdays_in_words(weekdays: frozenset[int], last: str) -> str:
    """From Monday on, but a run over the week's end in one piece: Saturday to Monday."""
    from_monday = sorted((weekday - 1) % 7 for weekday in weekdays)
    starts = [day for day in from_monday if (day - 1) % 7 not in from_monday]
    first = starts[0] if len(starts) == 1 else 0
    positions = sorted((day - first) % 7 for day in from_monday)
    return _runs(positions, lambda position: calendar.day_name[(position + first) % 7], last)


def _ordinal(number: int) -> str:
    ending = "th" if number in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _amount(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _duration(seconds: int) -> str:
    """In the largest unit that fits: "30 minutes", "hour", "90 seconds"."""
    unit, length = next((unit, length) for unit, length in UNITS if seconds % length == 0)
    return unit if seconds == length else _amount(seconds // length, unit)
