"""When an entry is due: compared with Celery's own crontab, with counting by hand, and with the calendar."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from celery.schedules import crontab, schedule, solar
from django_celery_beat.clockedschedule import clocked
from django_celery_beat.tzcrontab import TzAwareCrontab
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core import clock
from core.celery import app
from core.errors import InvalidInput
from core.jobs.timetable import Cron, Every, Once, Timetable, of_celery, parse

WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


@st.composite
def field(draw: st.DrawFn, low: int, high: int, names: tuple[str, ...] = ()) -> str:
    """One field of a cron line in any form that Celery reads: *, steps, ranges (over the end too), lists, names."""

    def number() -> str:
        value = draw(st.integers(low, high))
        return draw(st.sampled_from([str(value), names[value - low]])) if names else str(value)

    parts = []
    for _ in range(draw(st.integers(1, 3))):
        shape = draw(st.sampled_from(["number", "number", "range", "range/step", "*/step"]))
        step = draw(st.integers(1, high + 1))
        parts.append(
            {
                "number": number(),
                "range": f"{number()}-{number()}",
                "range/step": f"{number()}-{number()}/{step}",
                "*/step": f"*/{step}",
            }[shape]
        )
    return ",".join(parts)


def or_star(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(st.just("*"), strategy)


crons = st.builds(
    Cron,
    or_star(field(0, 59)),
    or_star(field(0, 23)),
    or_star(field(1, 31)),
    or_star(field(1, 12, MONTHS)),
    or_star(field(0, 6, WEEKDAYS)),
)
THE_EDGES = (
    utc(1999, 12, 31, 23, 59, 59),
    utc(2000, 2, 28, 23, 59),
    utc(2000, 2, 29, 12),
    utc(2027, 2, 28, 23, 59, 59),
    utc(2028, 2, 28, 23, 59),
    utc(2028, 2, 29, 23, 59),
    utc(2096, 3, 1),
    utc(2100, 2, 28, 23, 59, 30),
    utc(2026, 4, 30, 23, 59),
    utc(2026, 12, 31, 23, 59, 59, 999_999),
    utc(2027, 1, 1),
)
moments = st.one_of(
    st.datetimes(datetime(1975, 1, 1), datetime(2110, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - as hypothesis wants
    st.sampled_from(THE_EDGES),
)
timetables: st.SearchStrategy[Timetable] = st.one_of(
    crons, st.builds(Every, st.integers(1, 10_000_000)), st.builds(Once, moments)
)


def next_by_celery(cron: Cron, moment: datetime) -> datetime | None:
    """What beat would wait for, had the entry run at `moment`."""
    try:
        plan = crontab(
            cron.minute,
            cron.hour,
            cron.day_of_week,
            cron.day_of_month,
            cron.month_of_year,
            app=app,
            nowfun=lambda: moment,
        )
    except ValueError as error:  # 30 February
        assert "never occurs" in str(error)  # noqa: PT017
        return None
    return moment + plan.remaining_estimate(moment)


@settings(max_examples=600, deadline=None)
@given(crons, moments)
@example(Cron("0", "0", "29", "2", "*"), utc(2026, 3, 1))
@example(Cron("0", "0", "29", "2", "*"), utc(2096, 2, 29))
@example(Cron("0", "0", "31", "*", "*"), utc(2026, 1, 31))
@example(Cron("0", "9", "1-31/7", "*", "*"), utc(2026, 1, 29, 9))
@example(Cron("0", "*/4", "*", "*", "*"), utc(2026, 12, 31, 20))
@example(Cron("59", "23", "31", "12", "*"), utc(2026, 12, 31, 23, 59))
@example(Cron("0", "9", "*", "*", "mon-fri"), utc(2026, 10, 30, 9))
def test_a_cron_line_is_due_when_celery_says_so(cron: Cron, moment: datetime) -> None:
    assert cron.next_after(moment) == next_by_celery(cron, moment)


@settings(max_examples=150, deadline=None)
@given(crons, moments)
def test_celery_finds_it_due_at_its_due_time_and_not_a_second_earlier(cron: Cron, moment: datetime) -> None:
    due = cron.next_after(moment)
    if due is None:
        return

    def is_due(now: datetime) -> bool:
        fields = (cron.minute, cron.hour, cron.day_of_week, cron.day_of_month, cron.month_of_year)
        return bool(crontab(*fields, app=app, nowfun=lambda: now).is_due(moment).is_due)

    assert is_due(due)
    if due - moment > timedelta(seconds=1):
        assert not is_due(due - timedelta(seconds=1))


@settings(max_examples=100, deadline=None)
@given(crons, moments)
def test_every_minute_of_two_days_is_due_or_not_as_its_fields_say(cron: Cron, start: datetime) -> None:
    first = start.replace(second=0, microsecond=0) + timedelta(minutes=1)
    minutes = [first + timedelta(minutes=number) for number in range(2 * 24 * 60)]
    fitting = [
        moment
        for moment in minutes
        if moment.minute in cron.minutes
        and moment.hour in cron.hours
        and moment.day in cron.days
        and moment.month in cron.months
        and moment.isoweekday() % 7 in cron.weekdays
    ]
    assert list(cron.between(start, minutes[-1])) == fitting


@settings(max_examples=200, deadline=None)
@given(timetables, moments, st.integers(0, 40))
def test_between_is_next_after_again_and_again(timetable: Timetable, moment: datetime, number: int) -> None:
    by_one, now = [], moment
    for _ in range(number):
        due = timetable.next_after(now)
        if due is None:
            break
        by_one.append(due)
        now = due
    assert all(earlier < later for earlier, later in pairwise([moment, *by_one]))
    assert all(due.tzinfo is UTC for due in by_one)
    assert list(islice(timetable.between(moment, utc(9999, 12, 31)), number)) == by_one
    if by_one:
        assert list(timetable.between(moment, by_one[-1])) == by_one
        assert list(timetable.between(moment, by_one[-1] - timedelta(microseconds=1))) == by_one[:-1]


@settings(max_examples=200, deadline=None)
@given(timetables, moments, st.timedeltas(timedelta(0), timedelta(days=3)))
def test_last_until_is_the_last_of_between(timetable: Timetable, not_before: datetime, length: timedelta) -> None:
    if isinstance(timetable, Every):
        length /= 100  # every second for three days is a long list
    moment = not_before + length
    assert timetable.last_until(moment, not_before) == max(timetable.between(not_before, moment), default=None)


@settings(max_examples=150, deadline=None)
@given(crons, moments)
def test_last_until_a_due_time_is_that_due_time(cron: Cron, moment: datetime) -> None:
    due = cron.next_after(moment)
    if due is None:
        assert cron.last_until(moment, utc(1900, 1, 1)) is None
        return
    assert cron.last_until(due, moment) == due
    assert cron.last_until(due - timedelta(microseconds=1), moment) is None
    assert cron.last_until(due, due) is None
    later = cron.next_after(due)
    assert later is not None
    assert cron.last_until(later - timedelta(microseconds=1), moment) == due


@settings(deadline=None)
@given(timetables)
def test_a_timetable_can_be_written_down_and_read_back(timetable: Timetable) -> None:
    again = parse(timetable.spec)
    assert again == timetable
    assert again.spec == timetable.spec
    assert hash(again) == hash(timetable)


@settings(max_examples=500, deadline=None)
@given(
    st.one_of(
        st.text(),
        st.text(alphabet="0123456789*/-, monjafebsu"),
        st.builds(str.__add__, st.sampled_from(["cron ", "every ", "once "]), st.text()),
        st.lists(st.text(alphabet="0179*/-,_monfeb٣", max_size=6), min_size=5, max_size=5).map(
            lambda fields: "cron " + " ".join(fields)
        ),
    )
)
@example("every 0")
@example("every -5")
@example("every 1.5")
@example("every " + "9" * 5000)
@example("every 99999999999999999999")
@example("every ٣")
@example("cron")
@example("cron * * * *")
@example("cron * * * * * *")
@example("cron */0 * * * *")
@example("cron */ * * * *")
@example("cron 1- * * * *")
@example("cron , * * * *")
@example("cron -1 * * * *")
@example("cron 60 * * * *")
@example("cron 0 0 0 * *")
@example("cron 0 0 * * 8")
@example("cron 0 0 * * 7-2/2")
@example("cron 0 0 * * 7-7")
@example("cron " + "9" * 5000 + " * * * *")
@example("cron */2\x00 * * * *")
@example("once")
@example("once tomorrow")
@example("once 2026-02-30T08:00:00+00:00")
@example("once 2026-03-01T08:00:00")
@example("once 0001-01-01T00:00:00+23:00")
@example("once 9999-12-31T23:59:59-23:00")
def test_any_text_is_read_or_refused_with_a_hint(text: str) -> None:
    try:
        timetable = parse(text)
    except InvalidInput as error:
        refused = str(error)
    else:
        assert parse(timetable.spec) == timetable
        assert timetable.in_words()
        assert timetable.spec.isascii()
        assert timetable.spec.isprintable()
        due = timetable.next_after(utc(2026, 1, 1))
        assert due is None or due > utc(2026, 1, 1)
        return
    assert len(refused) < 400
    assert any(hint in refused for hint in ("Write", "Give", "needs", "must"))


@pytest.mark.parametrize("text", ["*/2 x", "1 2", "1-5/2 ", "", " ", "*/2\t3"])
def test_a_field_stays_one_field(text: str) -> None:
    try:
        cron = Cron(text)
    except InvalidInput as refused:
        assert "minute" in str(refused)  # noqa: PT017
    else:
        assert parse(cron.spec) == cron


@pytest.mark.parametrize("seconds", [0, -1, -60])
def test_an_interval_of_nothing_is_refused(seconds: int) -> None:
    with pytest.raises(InvalidInput, match="at least 1"):
        Every(seconds)


def test_intervals_are_counted_from_the_epoch() -> None:
    assert Every(30).next_after(utc(2026, 3, 1, 8, 0, 0)) == utc(2026, 3, 1, 8, 0, 30)
    assert Every(30).next_after(utc(2026, 3, 1, 8, 0, 29, 999_999)) == utc(2026, 3, 1, 8, 0, 30)
    assert Every(86_400).next_after(utc(2026, 3, 1, 8)) == utc(2026, 3, 2)
    assert Every(7).last_until(utc(1970, 1, 1, 0, 0, 20), utc(1970, 1, 1)) == utc(1970, 1, 1, 0, 0, 14)
    assert Every(1).next_after(utc(9999, 12, 31, 23, 59, 59)) is None


def test_a_single_time_is_due_once() -> None:
    at = utc(2026, 3, 1, 8)
    assert Once(at).next_after(at - timedelta(microseconds=1)) == at
    assert Once(at).next_after(at) is None
    assert Once(at).last_until(at, at - timedelta(days=900)) == at
    assert Once(at).last_until(at, at) is None
    assert Once(at.astimezone(clock.ACCRA)) == Once(at)


RARE = [
    ("0 0 29 2 *", utc(2026, 1, 1), utc(2028, 2, 29)),
    ("0 0 29 2 *", utc(1999, 1, 1), utc(2000, 2, 29)),
    ("0 0 29 2 *", utc(2096, 2, 29), utc(2104, 2, 29)),  # 2100 is no leap year
    ("0 9 29 2 1", utc(2026, 1, 1), utc(2044, 2, 29, 9)),  # a Monday
    ("0 9 29 2 mon", utc(2072, 2, 29, 9), utc(2112, 2, 29, 9)),
    ("30 23 31 12 6", utc(2026, 1, 1), utc(2033, 12, 31, 23, 30)),
    ("0 0 31 * *", utc(2026, 3, 31), utc(2026, 5, 31)),
    ("0 0 30 2,4 *", utc(2026, 1, 1), utc(2026, 4, 30)),
    ("0 0 1-31/7 * *", utc(2027, 2, 22), utc(2027, 3, 1)),
    ("0 0 13 * fri", utc(2026, 3, 13), utc(2026, 11, 13)),
    ("59 23 31 12 *", utc(9999, 12, 31, 23, 59), None),
    ("0 9 29 2 1", utc(9999, 1, 1), None),
    ("0 0 30 2 *", utc(2026, 1, 1), None),
    ("0 0 31 2,4,6,9,11 *", utc(2026, 1, 1), None),
]


@pytest.mark.parametrize(("line", "moment", "due"), RARE)
def test_rare_days_are_exact_and_quickly_found(line: str, moment: datetime, due: datetime | None) -> None:
    cron = parse(f"cron {line}")
    began = time.process_time()
    assert cron.next_after(moment) == due
    assert list(cron.between(moment, moment + timedelta(days=1) if moment.year < 9999 else moment)) == []
    assert cron.last_until(moment, moment) is None
    assert time.process_time() - began < 0.05


def test_a_day_that_never_comes_says_so() -> None:
    assert parse("cron 0 0 30 2 *").in_words() == "never (at 00:00, on the 30th of February)"


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("0", {0}),
        ("7", {0}),
        ("07", {0}),
        ("sun", {0}),
        ("SUNDAY", {0}),
        ("mon-fri", {1, 2, 3, 4, 5}),
        ("5-1", {5, 6, 0, 1}),
        ("fri-mon", {5, 6, 0, 1}),
        ("5-7", {5, 6, 0}),
        ("1-7", {0, 1, 2, 3, 4, 5, 6}),
        ("0-7", {0, 1, 2, 3, 4, 5, 6}),
        ("7-2", {0, 1, 2}),
        ("7-2/2", {0, 2}),
        ("5-7/2", {5, 0}),
        ("1,7", {1, 0}),
        ("*/2", {0, 2, 4, 6}),
        ("1-5/2", {1, 3, 5}),
    ],
)
def test_weekdays(text: str, days: set[int]) -> None:
    assert Cron("0", "0", day_of_week=text).weekdays == days


def test_of_celery_reads_what_celery_and_beat_have() -> None:
    assert of_celery(crontab(minute="20", hour="2")) == Cron("20", "2")
    assert of_celery(crontab(minute=0, hour=[8, 20], day_of_week="mon-fri")) == Cron("0", "8,20", day_of_week="mon-fri")
    assert of_celery(crontab(minute=[30, 0], day_of_month="1, 15")) == Cron("0,30", day_of_month="1,15")
    assert of_celery(TzAwareCrontab("0", "2", tz=clock.ACCRA)) == Cron("0", "2")
    assert of_celery(TzAwareCrontab("0", "2", tz=UTC)) == Cron("0", "2")
    assert of_celery(schedule(30.0)) == Every(30)
    assert of_celery(schedule(timedelta(hours=6))) == Every(21_600)
    assert of_celery(30.0) == Every(30)
    assert of_celery(timedelta(minutes=1)) == Every(60)
    assert of_celery(clocked(utc(2026, 3, 1, 8))) == Once(utc(2026, 3, 1, 8))
    assert of_celery(object.__new__(solar)) is None  # building one asks for a library that is not here


def test_a_crontab_stays_the_same_after_celery_has_looked_at_its_zone() -> None:
    plan = crontab(minute="20", hour="2", app=app)
    before = of_celery(plan)
    assert str(plan.tz) == "Africa/Accra"
    assert of_celery(plan) == before


@pytest.mark.parametrize(
    ("plan", "hint"),
    [
        (TzAwareCrontab("0", "2", tz="Europe/London"), "Africa/Accra"),
        (schedule(0.5), "whole seconds"),
        (schedule(timedelta(0)), "at least 1"),
        (schedule(timedelta(seconds=-5)), "at least 1"),
    ],
)
def test_of_celery_refuses_what_would_mean_something_else(plan: object, hint: str) -> None:
    with pytest.raises(InvalidInput, match=hint):
        of_celery(plan)  # type: ignore[arg-type]


# The schedule of domain.md 7.
WORDS = {
    "0 2 * * 0": "at 02:00, only on Sunday",
    "*/30 * * * *": "every 30 minutes",
    "5 * * * *": "every hour, at 5 minutes past",
    "0 1 * * *": "at 01:00, every day",
    "30 1 * * *": "at 01:30, every day",
    "0 6 * * 1": "at 06:00, only on Monday",
    "0 9 * * 1-5": "at 09:00, Monday to Friday",
    "0 10 * * 1-5": "at 10:00, Monday to Friday",
    "30 3 * * *": "at 03:30, every day",
    "0 3 * * *": "at 03:00, every day",
    "0 */6 * * *": "every 6 hours from 00:00",
    "0 8 * * *": "at 08:00, every day",
    "0 2 * * *": "at 02:00, every day",
    "15 */4 * * *": "every 4 hours from 00:15",
    "45 */12 * * *": "at 00:45 and 12:45, every day",
    "0 4 * * *": "at 04:00, every day",
    "30 8 * * *": "at 08:30, every day",
    "0 0 * * *": "at 00:00, every day",
    "0 5 * * 0": "at 05:00, only on Sunday",
}
MORE_WORDS = {
    "* * * * *": "every minute",
    "0 * * * *": "every hour",
    "1 * * * *": "every hour, at 1 minute past",
    "3,9 * * * *": "every hour, at 3 and 9 minutes past",
    "5-59/15 * * * *": "every 15 minutes from 00:05",
    "*/45 * * * *": "every hour, at 0 and 45 minutes past",  # not every 45 minutes
    "0 */5 * * *": "every 5 hours from 00:00 to 20:00",  # not every 5 hours for ever
    "0 8-17 * * *": "every hour from 08:00 to 17:00",
    "*/15 8-17 * * mon-fri": "every 15 minutes from 08:00 to 17:45, Monday to Friday",
    "* 8,20 * * sat-mon": "every minute, in the hours 08 and 20, Saturday to Monday",
    "3,7 1,4-6,9 * * 1,3,5": "at 3 and 7 minutes past, in the hours 01, 04 to 06 and 09, "
    "only on Monday, Wednesday and Friday",
    "0 9 * * 6,0": "at 09:00, only on Saturday and Sunday",
    "0 9 * * 1-3,6": "at 09:00, only on Monday to Wednesday and Saturday",
    "0 9 1 * *": "at 09:00, on the 1st of the month",
    "0 9 1-31/7 * *": "at 09:00, on the 1st, 8th, 15th, 22nd and 29th of the month",
    "0 9 1-7 * 1": "at 09:00, on the 1st to 7th of the month, when that is a Monday",
    "0 9 13 * 1-5": "at 09:00, on the 13th of the month, when that is Monday to Friday",
    "0 9 29 2 1,3": "at 09:00, on the 29th of February, when that is a Monday or Wednesday",
    "0 9 1 1,4,7,10 *": "at 09:00, on the 1st of January, April, July and October",
    "0 0 * 2-5 7": "at 00:00, only on Sunday, from February to May",
    "0 0 * 12 *": "at 00:00, every day in December",
    "*/20 6 3 * *": "at 06:00, 06:20 and 06:40, on the 3rd of the month",
}


@pytest.mark.parametrize(("line", "words"), [*WORDS.items(), *MORE_WORDS.items()])
def test_a_cron_line_in_words(line: str, words: str) -> None:
    assert parse(f"cron {line}").in_words() == words


def test_the_schedule_has_nineteen_lines() -> None:
    assert len(WORDS) == 19


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("every 1", "every second"),
        ("every 30", "every 30 seconds"),
        ("every 60", "every minute"),
        ("every 90", "every 90 seconds"),
        ("every 1800", "every 30 minutes"),
        ("every 3600", "every hour"),
        ("every 5400", "every 90 minutes"),
        ("every 86400", "every day"),
        ("every 172800", "every 2 days"),
        ("once 2026-03-01T08:00:00+00:00", "once, on 1 March 2026 at 08:00"),
        ("once 2026-03-01T08:00:30+02:00", "once, on 1 March 2026 at 06:00:30"),
    ],
)
def test_intervals_and_single_times_in_words(spec: str, words: str) -> None:
    assert parse(spec).in_words() == words
