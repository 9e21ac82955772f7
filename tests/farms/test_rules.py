"""The rules of farms: the worked examples of domain.md 5, and what holds whatever the figures."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.base.registries import Severity
from core.errors import Conflict, InvalidInput
from farms import rules
from farms.rules import (
    Act,
    AlertKind,
    ApplicationStatus,
    ApplicationType,
    BatchStatus,
    Birds,
    Candidate,
    Day,
    EnrollmentStatus,
    Equipment,
    Exposure,
    FlockType,
    HardRule,
    History,
    Light,
    Production,
    Rating,
    ReviewLevel,
    Terms,
    Thresholds,
)

MACHINES: dict[str, Any] = {
    "application": rules.APPLICATION,
    "enrolment": rules.ENROLLMENT,
    "batch": rules.BATCH,
    "review": rules.REVIEW,
    "invitation": rules.INVITATION,
    "farm": rules.FARM,
    "flock": rules.FLOCK,
    "alert": rules.ALERT,
}
ENDS = {
    "application": {"rejected", "account_created"},
    "enrolment": {"enrolled", "rejected", "withdrawn"},
    "batch": {"archived"},
    "review": set(),
    "invitation": {"accepted", "expired", "revoked"},
    "farm": set(),
    "flock": {"sold", "culled", "depleted"},
    "alert": {"closed"},
}
day = st.dates(date(2000, 1, 1), date(2100, 12, 31))
count = st.integers(0, 100_000)

# --- machines ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_knows_all_states_of_its_table_and_ends_where_it_should(name: str) -> None:
    machine = MACHINES[name]
    assert list(machine) == list(type(next(iter(machine))).__members__.values())
    assert {state.value for state, acts in machine.items() if not acts} == ENDS[name]
    reached = frozenset().union(*rules.ways(machine).values())
    first = next(iter(machine))
    assert set(machine) - reached <= {first, ApplicationStatus.SUBMITTED, EnrollmentStatus.DRAFT}


@given(st.sampled_from(sorted(MACHINES)), st.data())
def test_no_path_leaves_the_table(name: str, data: st.DataObject) -> None:
    machine = MACHINES[name]
    state = next(iter(machine))
    for _ in range(12):
        act = data.draw(st.sampled_from(list(Act)))
        to = data.draw(st.sampled_from([None, *machine]))
        allowed = machine[state].get(act, frozenset())
        fits = allowed & {to} if to is not None else allowed
        if len(fits) == 1:
            after = rules.following(machine, state, act, what=name, to=to)
            assert after in rules.ways(machine)[state]
            state = after
        else:
            with pytest.raises(Conflict, match=f"This {name} is .*: it cannot be"):
                rules.following(machine, state, act, what=name, to=to)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Approved", ApplicationStatus.APPROVED),
        ("CHANGES REQUESTED", ApplicationStatus.CHANGES_REQUESTED),
        ("changes-requested", ApplicationStatus.CHANGES_REQUESTED),
        ("  Regional__Review ", ApplicationStatus.REGIONAL_REVIEW),
    ],
)
def test_a_status_is_read_in_any_case(text: str, status: ApplicationStatus) -> None:
    assert rules.parse_status(ApplicationStatus, text) == status


@pytest.mark.parametrize("text", ["", "aproved", "draft", "approved;"])
def test_an_unknown_status_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(InvalidInput, match="constituency_review"):
        rules.parse_status(ApplicationStatus, text)


def test_levels_follow_each_other_and_belong_to_the_reviews() -> None:
    assert rules.next_level(ReviewLevel.CONSTITUENCY) == ReviewLevel.REGIONAL
    assert rules.next_level(ReviewLevel.REGIONAL) == ReviewLevel.NATIONAL
    assert rules.next_level(ReviewLevel.NATIONAL) is None
    assert rules.level_of("regional_review") == ReviewLevel.REGIONAL
    assert rules.level_of(EnrollmentStatus.NATIONAL_REVIEW) == ReviewLevel.NATIONAL
    assert rules.level_of("approved") is rules.level_of("") is None
    assert rules.final_level(ApplicationType.GOVERNMENT_PROGRAM) == ReviewLevel.NATIONAL
    assert rules.final_level(ApplicationType.INDEPENDENT) == rules.final_level(ApplicationType.MIGRATED)


@pytest.mark.parametrize(
    ("kind", "verified", "spam", "to"),
    [
        ("government_program", True, 0, "constituency_review"),
        ("independent", True, 49, "approved"),
        ("independent", True, 50, "regional_review"),
        ("independent", False, 0, "regional_review"),
        ("migrated", True, 0, "regional_review"),
    ],
)
def test_an_application_is_screened_by_kind_phone_and_spam(kind: str, verified: bool, spam: int, to: str) -> None:
    assert rules.screened(ApplicationType(kind), phone_verified=verified, spam=spam) == to


# --- dates ---------------------------------------------------------------------------------------------------------


def test_a_review_is_due_after_its_days_and_not_after_the_latest() -> None:
    entered = datetime(2026, 6, 1, 9, tzinfo=UTC)
    assert rules.due_at(entered, 7) == datetime(2026, 6, 8, 9, tzinfo=UTC)
    assert rules.due_at(entered, 7, latest=entered + timedelta(days=3)) == datetime(2026, 6, 4, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("born", "on", "age"),
    [
        (date(2008, 6, 17), date(2026, 6, 16), 17),
        (date(2008, 6, 17), date(2026, 6, 17), 18),
        (date(2008, 2, 29), date(2026, 2, 28), 17),
        (date(2008, 2, 29), date(2026, 3, 1), 18),
        (date(2008, 2, 29), date(2028, 2, 29), 20),
    ],
)
def test_an_age_is_counted_in_full_years(born: date, on: date, age: int) -> None:
    assert rules.age_on(born, on) == age


@given(day, st.integers(0, 600))
def test_months_end_where_the_month_does(start: date, months: int) -> None:
    end = rules.add_months(start, months)
    assert (end.year * 12 + end.month) - (start.year * 12 + start.month) == months
    assert end.day == start.day or (end + timedelta(days=1)).day == 1


# --- scores of applications ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("earlier", "rejected", "score"), [(0, False, 0), (10, False, 0), (11, False, 10), (15, True, 100), (29, True, 100)]
)
def test_the_spam_score_counts_a_crowded_address_and_a_fresh_rejection(
    earlier: int, rejected: bool, score: int
) -> None:
    assert rules.spam_score(earlier_from_address=earlier, rejected_lately=rejected) == score


def test_priority_adds_up() -> None:
    best: dict[str, Any] = {
        "government": True,
        "email_verified": True,
        "phone_verified": True,
        "spam": 19,
        "experience_years": 2,
        "has_existing_farm": True,
    }
    assert rules.priority_score(**best) == 150
    assert rules.priority_score(**best, waiting_days=12) == 162
    assert rules.priority_score(**best, waiting_days=900) == 180
    assert rules.priority_score(**best | {"spam": 20}) == 135
    assert rules.priority_score(**best | {"spam": 50, "experience_years": 1}) == 110


# --- eligibility ---------------------------------------------------------------------------------------------------

ASHANTI, ACCRA, EJISU, TEMA = (uuid.uuid4() for _ in range(4))
DEADLINE = date(2026, 6, 17)
FARM = Candidate(
    born=date(1996, 1, 1),
    region_id=ASHANTI,
    constituency_id=EJISU,
    capacity=500,
    since=date(2025, 12, 17),
    is_government=False,
    has_registration=False,
    has_photos=True,
)
BATCH = Terms(
    accepts=True,
    deadline=DEADLINE,
    region_id=ASHANTI,
    constituency_ids=frozenset({EJISU}),
    min_age=18,
    max_age=35,
    min_capacity=500,
    max_capacity=500,
    min_farm_age_months=6,
    max_farm_age_years=1,
)


def with_farm(**changes: Any) -> Candidate:
    return Candidate(**vars(FARM) | changes)


def with_batch(**changes: Any) -> Terms:
    return Terms(**vars(BATCH) | changes)


def test_the_example_farm_gets_ninety_points() -> None:
    assert rules.eligibility(FARM, BATCH) == rules.Eligibility((), 90)


@pytest.mark.parametrize(
    ("farm", "score"),
    [
        ({"has_registration": True}, 100),
        ({"has_registration": True, "is_government": True}, 100),
        ({"is_government": True}, 100),
        ({"has_photos": False}, 80),
    ],
)
def test_soft_points_only_order(farm: dict[str, Any], score: int) -> None:
    assert rules.eligibility(with_farm(**farm), BATCH) == rules.Eligibility((), score)


@pytest.mark.parametrize(
    ("farm", "batch", "failed"),
    [
        ({"born": date(2008, 6, 18)}, {}, HardRule.AGE),
        ({"born": date(1990, 6, 17)}, {}, HardRule.AGE),
        ({"region_id": ACCRA}, {"constituency_ids": frozenset()}, HardRule.PLACE),
        ({"constituency_id": TEMA}, {}, HardRule.PLACE),
        ({"capacity": 499}, {}, HardRule.CAPACITY),
        ({"capacity": 501}, {}, HardRule.CAPACITY),
        ({"since": date(2025, 12, 18)}, {}, HardRule.FARM_AGE),
        ({"since": date(2025, 6, 16)}, {}, HardRule.FARM_AGE),
        ({}, {"accepts": False}, HardRule.OPEN),
    ],
)
def test_each_hard_rule_fails_by_its_name(farm: dict[str, Any], batch: dict[str, Any], failed: HardRule) -> None:
    found = rules.eligibility(with_farm(**farm), with_batch(**batch))
    assert found.failed == (failed,)
    assert found.reason == f"Not met: {failed}."


def test_empty_limits_mean_any() -> None:
    anywhere = Terms(
        accepts=True, deadline=DEADLINE, region_id=None, constituency_ids=frozenset(), min_age=18, max_age=65
    )
    assert not rules.eligibility(with_farm(region_id=ACCRA, constituency_id=TEMA, capacity=1), anywhere).failed


def test_the_reason_with_every_rule_fits_into_an_event() -> None:
    everything = rules.Eligibility(tuple(HardRule), 0).reason
    assert len(everything) <= rules.LONGEST_REASON


@pytest.mark.parametrize(
    ("status", "today", "filled", "overbooking", "open_"),
    [
        ("live", DEADLINE, 9, False, True),
        ("live", DEADLINE + timedelta(days=1), 0, False, False),
        ("live", DEADLINE, 10, False, False),
        ("live", DEADLINE, 10, True, True),
        ("paused", DEADLINE, 0, False, False),
        ("closed", DEADLINE, 0, True, False),
    ],
)
def test_a_batch_accepts_while_live_in_time_and_not_full(
    status: str, today: date, filled: int, overbooking: bool, open_: bool
) -> None:
    found = rules.accepts(
        BatchStatus(status), today=today, deadline=DEADLINE, filled=filled, slots=10, overbooking=overbooking
    )
    assert found == open_


# --- scores of farms -----------------------------------------------------------------------------------------------


def test_the_example_farm_is_ready_by_seventy_two_and_a_half() -> None:
    biosecurity = rules.biosecurity_score(11)
    assert biosecurity == Decimal("68.75")
    farm = Equipment(
        capacity=1_000,
        sound_places=600,
        all_places=1_000,
        feeders_drinkers=True,
        water=True,
        power=True,
        storage=False,
        waste=True,
        documents=False,
    )
    parts = rules.readiness_parts(farm, biosecurity)
    assert parts["housing"] == Decimal("12.5")
    assert sum(parts.values()) == Decimal("72.5")


def test_a_farm_with_everything_has_a_hundred_and_sixteen_measures() -> None:
    assert len(set(rules.MEASURES)) == 16
    assert rules.biosecurity_score(16) == 100
    assert sum(rules.POINTS.values()) == 100


# --- production ----------------------------------------------------------------------------------------------------

MONDAY = date(2026, 6, 1)
LAYERS = Birds(FlockType.LAYERS, date(2025, 12, 1), 18, 500)
DEATHS, SOLD = (1, 0, 2, 0, 1, 0, 0), (0, 0, 0, 0, 10, 0, 0)
EGGS = (400, 402, 396, 398, 401, 392, 394)
GOOD = (388, 391, 380, 386, 389, 381, 380)
FEED = ("52.8", "52.8", "52.8", "52.8", "52.8", "51.5", "51.5")
EXAMPLE = [Day(MONDAY - timedelta(days=30), died=20)] + [
    Day(MONDAY + timedelta(days=n), EGGS[n], GOOD[n], DEATHS[n], SOLD[n], 0, Decimal(FEED[n])) for n in range(7)
]
SUNDAY = MONDAY + timedelta(days=6)


def test_the_example_week_has_the_figures_of_the_specification() -> None:
    week = rules.production(LAYERS, EXAMPLE, first=MONDAY, last=SUNDAY)
    assert (week.hen_days, week.eggs, week.good_eggs, week.deaths) == (3_324, 2_783, 2_695, 4)
    assert (week.exposed, week.birds_at_end, week.feed_kg, week.days_recorded) == (480, 466, Decimal("367.0"), 7)
    assert week.hen_day_pct == Decimal("83.72")
    assert week.mortality_pct == Decimal("0.83")
    assert week.egg_quality_pct == Decimal("96.84")
    assert week.feed_per_dozen == Decimal("1.58")
    assert rules.percent(24, 500) == Decimal("4.80")
    assert rules.percent(466, 500) == Decimal("93.20")


def test_figures_of_nothing_are_none() -> None:
    nothing = Production()
    assert nothing.hen_day_pct is nothing.mortality_pct is nothing.egg_quality_pct is nothing.feed_per_dozen is None


def test_young_layers_and_broilers_have_no_hens() -> None:
    young = Birds(FlockType.LAYERS, MONDAY, 17, 100)
    assert not young.lays_on(MONDAY + timedelta(days=6))
    assert young.lays_on(MONDAY + timedelta(days=7))
    broilers = Birds(FlockType.BROILERS, MONDAY, 30, 100)
    figures = rules.production(broilers, [Day(MONDAY, feed_kg=Decimal(5))], first=MONDAY, last=SUNDAY)
    assert (figures.hen_days, figures.layer_feed_kg, figures.feed_kg) == (0, Decimal(0), Decimal(5))


def test_birds_that_arrive_in_the_period_count_once_and_those_that_had_gone_not_at_all() -> None:
    late = Birds(FlockType.LAYERS, MONDAY + timedelta(days=2), 20, 100)
    assert rules.production(late, [], first=MONDAY, last=SUNDAY).exposed == 100
    gone = Birds(FlockType.LAYERS, date(2025, 1, 1), 20, 100, ended_on=MONDAY - timedelta(days=1))
    figures = rules.production(gone, [], first=MONDAY, last=SUNDAY)
    assert (figures.exposed, figures.birds_at_end) == (0, 0)
    later = Birds(FlockType.LAYERS, SUNDAY + timedelta(days=1), 20, 100)
    assert rules.production(later, [], first=MONDAY, last=SUNDAY).exposed == 0


@st.composite
def lives(draw: st.DrawFn) -> tuple[Birds, list[Day]]:
    """A flock and days that take no more birds than came."""
    birds = Birds(FlockType.LAYERS, MONDAY, draw(st.integers(0, 40)), draw(st.integers(1, 500)))
    left, days = birds.initial, []
    for number in sorted(draw(st.sets(st.integers(0, 60), max_size=25))):
        died, sold, culled = (draw(st.integers(0, left // 4)) for _ in range(3))
        left -= died + sold + culled
        eggs = draw(st.integers(0, 500))
        days.append(Day(MONDAY + timedelta(days=number), eggs, draw(st.integers(0, eggs)), died, sold, culled))
    return birds, days


@given(lives(), st.integers(1, 60))
def test_two_periods_add_up_to_the_whole(life: tuple[Birds, list[Day]], cut: int) -> None:
    birds, days = life
    last = MONDAY + timedelta(days=60)
    middle = MONDAY + timedelta(days=cut)
    whole = rules.production(birds, days, first=MONDAY, last=last)
    before = rules.production(birds, days, first=MONDAY, last=middle - timedelta(days=1))
    after = rules.production(birds, days, first=middle, last=last)
    both = before + after
    for name in ("eggs", "good_eggs", "hen_days", "deaths", "days_recorded"):
        assert getattr(both, name) == getattr(whole, name)
    assert before.birds_at_end == after.exposed
    assert after.birds_at_end == whole.birds_at_end == birds.initial - sum(day.removed for day in days)
    assert 0 <= whole.birds_at_end <= whole.exposed


@pytest.mark.parametrize(("pct", "rating"), [("80", "good"), ("79.99", "watch"), ("60", "watch"), ("59.99", "poor")])
def test_laying_is_rated(pct: str, rating: str) -> None:
    assert rules.rate_laying(Decimal(pct)) == Rating(rating)


@pytest.mark.parametrize(
    ("pct", "light"), [("4.99", "green"), ("5", "amber"), ("10", "amber"), ("10.01", "red"), ("0", "green")]
)
def test_mortality_is_rated(pct: str, light: str) -> None:
    assert rules.rate_mortality(Decimal(pct)) == Light(light)


# --- the push alert ------------------------------------------------------------------------------------------------

LIMITS = Thresholds(daily=5, daily_critical=10, weekly=10)


@pytest.mark.parametrize(
    ("died", "birds", "week", "birds_in_week", "found"),
    [
        (24, 480, 24, 480, []),
        (25, 480, 25, 480, [("mortality_daily", "warning", "5.21")]),
        (48, 480, 48, 480, [("mortality_daily", "warning", "10.00")]),
        (49, 480, 49, 500, [("mortality_daily", "critical", "10.21")]),
        (0, 400, 51, 500, [("mortality_weekly", "critical", "10.20")]),
        (0, 0, 0, 0, []),
    ],
)
def test_too_many_deaths_are_found(
    died: int, birds: int, week: int, birds_in_week: int, found: list[tuple[str, str, str]]
) -> None:
    told = rules.push_alerts(Exposure(died, birds, week, birds_in_week), LIMITS)
    assert [(one.kind.value, one.severity.value, str(one.value)) for one in told] == found


@given(count, count, count, count)
def test_severity_grows_with_deaths(died: int, more: int, birds: int, others: int) -> None:
    def rank(deaths: int) -> int:
        told = rules.push_alerts(Exposure(min(deaths, birds), birds, 0, birds + others), LIMITS)
        return max((rules.RANK[one.severity] for one in told if one.kind == AlertKind.MORTALITY_DAILY), default=-1)

    assert rank(died) <= rank(died + more)
    assert {Severity.WARNING, Severity.CRITICAL} >= {
        one.severity for one in rules.push_alerts(Exposure(died, birds, died, birds), LIMITS)
    }


@given(lives(), st.integers(0, 60))
def test_a_history_from_any_day_on_tells_what_the_whole_life_tells(life: tuple[Birds, list[Day]], number: int) -> None:
    birds, days = life
    day = MONDAY + timedelta(days=number)
    left = birds.initial - sum(one.removed for one in days)
    known = [one for one in days if one.day >= day - rules.WEEK]
    seen = History(birds, left, known).exposure(day)
    week = [one for one in days if day - rules.WEEK <= one.day <= day]
    assert seen.died == sum(one.died for one in days if one.day == day)
    assert seen.birds == birds.initial - sum(one.removed for one in days if one.day < day)
    assert seen.died_in_week == sum(one.died for one in week)
    first = day - rules.WEEK
    came = birds.arrived_on > first
    assert seen.birds_in_week == birds.initial - (0 if came else sum(one.removed for one in days if one.day < first))


@pytest.mark.parametrize(
    ("died", "signs", "needed"), [(9, False, False), (10, False, True), (0, True, True), (0, False, False)]
)
def test_ten_deaths_or_signs_of_disease_call_for_an_inspection(died: int, signs: bool, needed: bool) -> None:
    assert rules.needs_inspection(died=died, signs_of_disease=signs) == needed
