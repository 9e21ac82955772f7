"""Flocks and their days: what is taken, what is refused, bird counts, corrections, deaths and alerts."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Constituency, User
from accounts.rules import Role
from core import clock
from core.base.models import Setting
from core.base.registries import notice_types
from core.delivery.models import Notification, OutboundMessage
from core.errors import Conflict, DomainError, InvalidInput, NotAllowed, NotFound
from core.tasks import send_admin_notification
from farms import rules, selectors
from farms.models import Alert, DailyProduction, Farm, FarmAssignment, Flock, MortalityRecord, ProductionCorrection
from farms.rules import FlockStatus, FlockType
from farms.services import production
from farms.services.production import DayRecord, Outcome
from tests.delivery.outbox import meanwhile
from tests.factories import FlockFactory, UserFactory, a_farm
from tests.factories.farms import today
from tests.farms.conftest import living_in
from tests.farms.journey import asked

pytestmark = pytest.mark.django_db

TELL = "send_admin_notification"


@pytest.fixture
def flock() -> Flock:
    """Five hundred layers of a farm with room for a thousand birds."""
    return FlockFactory.create()


def ago(days: int) -> Any:
    return today() - timedelta(days=days)


def record(flock: Flock, days_ago: int = 0, *, by: User | None = None, **figures: Any) -> Outcome:
    return production.record_day(
        actor=by or flock.farm.user,
        record=DayRecord(flock_id=flock.pk, production_date=ago(days_ago), **figures),
        now=clock.now(),
    )


def again(row: Any) -> Any:
    return type(row).objects.get(pk=row.pk)


# --- flocks --------------------------------------------------------------------------------------------------------


def add(farm: Farm, birds: int, **about: Any) -> Flock:
    plan = {"flock_type": FlockType.LAYERS, "arrival_date": today(), "initial_count": birds, "now": clock.now()}
    return production.add_flock(**{"actor": farm.user, "farm_id": farm.pk, **plan, **about})


def test_a_flock_takes_the_next_number_and_the_room_there_is() -> None:
    farm = a_farm(total_bird_capacity=1_000)
    first = add(farm, 600, breed=" Lohmann  Brown ")
    assert (first.flock_number, first.current_count, first.breed) == (1, 600, "Lohmann Brown")
    with pytest.raises(Conflict, match=r"room for 1000 birds and 600 are there: at most 400"):
        add(farm, 401)
    assert add(farm, 400).flock_number == 2
    production.end_flock(actor=farm.user, flock_id=first.pk, how=FlockStatus.SOLD, on=today(), now=clock.now())
    assert add(farm, 600).flock_number == 3


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"arrival_date": today() + timedelta(days=1)}, "have not come yet"),
        ({"arrival_date": date(1999, 12, 31)}, "No bird is so old"),
        ({"initial_count": 0}, "initial_count must be at least 1"),
        ({"initial_count": -5}, "initial_count"),
        ({"flock_type": "ducks"}, "flock_type"),
        ({"age_at_arrival_weeks": -1}, "age_at_arrival_weeks"),
    ],
)
def test_a_flock_that_cannot_be_is_refused(about: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        add(a_farm(), 10, **about)


@pytest.mark.django_db(transaction=True)
def test_two_flocks_at_once_do_not_overfill_a_farm() -> None:
    farm = a_farm(total_bird_capacity=1_000)
    refused: list[Conflict] = []

    def attempt() -> None:
        try:
            add(farm, 600)
        except Conflict as error:
            refused.append(error)

    with meanwhile(attempt, attempt):
        pass
    assert (Flock.objects.count(), len(refused)) == (1, 1)


def test_a_flock_ends_once_and_nothing_is_recorded_after_it(flock: Flock) -> None:
    farmer = flock.farm.user
    record(flock, 2, birds_died=3)
    for on in (ago(3), today() + timedelta(days=1)):
        with pytest.raises(InvalidInput, match="last recorded day"):
            production.end_flock(actor=farmer, flock_id=flock.pk, how=FlockStatus.SOLD, on=on, now=clock.now())
    with pytest.raises(InvalidInput, match="sold, culled, depleted"):
        production.end_flock(actor=farmer, flock_id=flock.pk, how=FlockStatus.ACTIVE, on=today(), now=clock.now())
    production.end_flock(actor=farmer, flock_id=flock.pk, how=FlockStatus.SOLD, on=ago(1), now=clock.now())
    ended = again(flock)
    assert (ended.status, ended.current_count, ended.left_at_end, ended.ended_on) == ("sold", 0, 497, ago(1))
    with pytest.raises(Conflict, match="sold: it cannot be culled"):
        production.end_flock(actor=farmer, flock_id=flock.pk, how=FlockStatus.CULLED, on=today(), now=clock.now())
    with pytest.raises(Conflict, match="nothing is recorded after that"):
        record(flock)


def test_a_forgotten_day_before_the_end_is_taken_out_of_those_that_left_with_it(flock: Flock) -> None:
    production.end_flock(actor=flock.farm.user, flock_id=flock.pk, how=FlockStatus.SOLD, on=today(), now=clock.now())
    record(flock, 5, birds_died=100)
    assert (again(flock).current_count, again(flock).left_at_end) == (0, 400)
    with pytest.raises(Conflict, match="at most 400 more"):
        record(flock, 6, birds_died=401)


# --- days ----------------------------------------------------------------------------------------------------------


def test_a_day_is_kept_with_the_bird_count(flock: Flock) -> None:
    outcome = record(
        flock, good_eggs=388, broken_eggs=2, dirty_eggs=3, small_eggs=4, soft_shell_eggs=3, birds_died=1, birds_sold=2
    )
    assert outcome.is_new
    row = DailyProduction.objects.get()
    assert (row.eggs_collected, row.birds_died, row.recorded_by) == (400, 1, flock.farm.user)
    assert again(flock).current_count == 497


def test_the_same_report_again_changes_nothing_and_another_is_refused(flock: Flock) -> None:
    first = record(flock, good_eggs=10, birds_died=2, feed_consumed_kg=Decimal("5.5"))
    repeated = record(flock, good_eggs=10, birds_died=2, feed_consumed_kg=Decimal("5.50"), eggs_collected=10)
    assert first.kept
    assert repeated.kept
    assert (repeated.is_new, repeated.kept.pk) == (False, first.kept.pk)
    with pytest.raises(Conflict, match="recorded already, with other figures"):
        record(flock, good_eggs=11)
    assert again(flock).current_count == 498
    assert DailyProduction.objects.count() == 1


@pytest.mark.parametrize(
    ("days_ago", "figures", "error", "words"),
    [
        (-1, {}, InvalidInput, "in the future"),
        (61, {}, InvalidInput, "came later"),
        (0, {"good_eggs": -1}, InvalidInput, "good_eggs must be a whole number"),
        (0, {"good_eggs": True}, InvalidInput, "good_eggs"),
        (0, {"good_eggs": 1.5}, InvalidInput, "good_eggs"),
        (0, {"good_eggs": "12"}, InvalidInput, "good_eggs"),
        (0, {"good_eggs": 2**31}, InvalidInput, "good_eggs"),
        (0, {"good_eggs": 2**31 - 1, "broken_eggs": 1}, InvalidInput, "more eggs"),
        (0, {"good_eggs": 5, "eggs_collected": 6}, InvalidInput, "add up to 5"),
        (0, {"birds_died": -1}, InvalidInput, "birds_died"),
        (0, {"birds_died": 501}, Conflict, "at most 500 more"),
        (0, {"birds_died": 200, "birds_sold": 200, "birds_culled": 101}, Conflict, "at most 500"),
        (0, {"feed_consumed_kg": Decimal("-0.01")}, InvalidInput, "feed_consumed_kg"),
        (0, {"feed_consumed_kg": Decimal("1.005")}, InvalidInput, "feed_consumed_kg"),
        (0, {"feed_consumed_kg": Decimal("1e6")}, InvalidInput, "feed_consumed_kg"),
        (0, {"feed_consumed_kg": Decimal("NaN")}, InvalidInput, "feed_consumed_kg"),
        (0, {"feed_consumed_kg": Decimal("1e-999999")}, InvalidInput, "feed_consumed_kg"),
        (0, {"mortality_reason": "witches"}, InvalidInput, "mortality_reason"),
        (0, {"general_health": "fine"}, InvalidInput, "general_health"),
        (0, {"signs_of_disease": "no"}, InvalidInput, "signs_of_disease"),
    ],
)
def test_a_report_that_cannot_be_is_refused(
    flock: Flock, days_ago: int, figures: dict[str, Any], error: type, words: str
) -> None:
    with pytest.raises(error, match=words):
        record(flock, days_ago, **figures)
    assert not DailyProduction.objects.exists()
    assert again(flock).current_count == 500


def test_the_first_day_may_be_the_day_of_arrival_and_all_birds_may_go(flock: Flock) -> None:
    record(flock, 60, birds_culled=500)
    assert again(flock).current_count == 0
    with pytest.raises(Conflict, match="at most 0 more"):
        record(flock, 59, birds_died=1)
    record(flock, 59)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 300)), max_size=15))
def test_no_day_ever_takes_more_birds_than_were_there(db: None, reports: list[tuple[int, int]]) -> None:
    """Whatever is reported, in whatever order of days: at the start of each day there were enough birds."""
    flock = FlockFactory.create()
    for days_ago, died in reports:
        try:
            record(flock, days_ago, birds_died=died)
        except DomainError:
            continue
    left = flock.initial_count
    for row in DailyProduction.objects.filter(flock=flock).order_by("production_date"):
        assert row.birds_died <= left
        left -= row.birds_died
    assert again(flock).current_count == left


def test_one_wrong_date_reads_no_years(flock: Flock) -> None:
    for days in range(1, 40):
        record(flock, days, good_eggs=days)
    far = DayRecord(flock_id=flock.pk, production_date=date(2001, 1, 1))
    known = production._known([far, DayRecord(flock_id=flock.pk, production_date=ago(3))])
    assert [row.production_date for row in known.values()] == [ago(3)]


def test_many_days_are_judged_one_by_one(flock: Flock, django_assert_max_num_queries: Any) -> None:
    foreign = FlockFactory.create()
    good = [DayRecord(flock_id=flock.pk, production_date=ago(n), good_eggs=n) for n in range(30)]
    bad = [
        replace(good[0], good_eggs=99),
        replace(good[1], production_date=today() + timedelta(days=1)),
        DayRecord(flock_id=foreign.pk, production_date=today()),
        DayRecord(flock_id=uuid.uuid4(), production_date=today()),
    ]
    with django_assert_max_num_queries(14):
        outcomes = production.record_days(actor=flock.farm.user, records=[*good, *bad, good[3]], now=clock.now())
    assert [one.is_new for one in outcomes] == [True] * 30 + [False] * 5
    assert [type(one.refused) for one in outcomes[30:]] == [Conflict, InvalidInput, NotFound, NotFound, type(None)]
    assert outcomes[34].kept == outcomes[3].kept
    assert DailyProduction.objects.count() == 30
    repeated = production.record_days(actor=flock.farm.user, records=good, now=clock.now())
    assert not any(one.is_new or one.refused for one in repeated)


def test_an_upload_for_many_farms_costs_as_much_as_one_for_few(django_assert_max_num_queries: Any) -> None:
    officer = living_in("BNT", Role.EXTENSION_OFFICER)
    flocks = [FlockFactory.create(farm=a_farm(extension_officer=officer)) for _ in range(20)]
    records = [DayRecord(flock_id=flock.pk, production_date=today(), good_eggs=5) for flock in flocks]
    with django_assert_max_num_queries(14):
        outcomes = production.record_days(actor=officer, records=records, now=clock.now())
    assert all(one.is_new for one in outcomes)


def test_nothing_to_write_is_nothing_written(flock: Flock) -> None:
    assert production.record_days(actor=flock.farm.user, records=[], now=clock.now()) == []


@pytest.mark.django_db(transaction=True)
def test_two_uploads_of_a_day_at_once_give_one_row() -> None:
    flock = FlockFactory.create()
    outcomes: list[Outcome] = []
    with meanwhile(*[lambda: outcomes.append(record(flock, good_eggs=5, birds_died=3))] * 3):
        pass
    assert sorted(one.is_new for one in outcomes) == [False, False, True]
    assert again(flock).current_count == 497


@pytest.mark.parametrize(
    ("role", "bound", "outcome"),
    [
        (Role.EXTENSION_OFFICER, True, None),
        (Role.EXTENSION_OFFICER, False, NotFound),
        (Role.YEA_OFFICIAL, True, None),
        (Role.YEA_OFFICIAL, False, NotFound),
        (Role.VETERINARY_OFFICER, False, None),
        (Role.CONSTITUENCY_ADMIN, False, NotAllowed),
        (Role.AUDITOR, False, NotAllowed),
        (Role.FARMER, False, NotFound),
        (Role.INSTITUTIONAL_SUBSCRIBER, False, NotFound),
    ],
)
def test_who_records(flock: Flock, role: Role, bound: bool, outcome: type[DomainError] | None) -> None:
    person = living_in("BNT", role)
    if bound and role == Role.EXTENSION_OFFICER:
        Farm.objects.filter(pk=flock.farm_id).update(extension_officer=person)
    elif bound:
        FarmAssignment.objects.create(farm=flock.farm, officer=person)
    if outcome is None:
        assert record(flock, by=person).is_new
        return
    with pytest.raises(outcome):
        record(flock, by=person)


# --- corrections ---------------------------------------------------------------------------------------------------


def correct(row: DailyProduction, *, by: User | None = None, reason: str = "counted anew", **figures: Any) -> Any:
    new = DayRecord(flock_id=row.flock_id, production_date=row.production_date, **figures)
    return production.correct_day(
        actor=by or row.recorded_by, production_id=row.pk, record=new, reason=reason, now=clock.now()
    )


def test_a_correction_keeps_what_was_said_before_and_the_bird_count(flock: Flock) -> None:
    row = record(flock, good_eggs=400, birds_died=20, feed_consumed_kg=Decimal(50)).kept
    assert row
    corrected = correct(row, good_eggs=300, birds_died=2, feed_consumed_kg=Decimal("49.50"))
    assert (corrected.eggs_collected, again(flock).current_count) == (300, 498)
    kept = ProductionCorrection.objects.get()
    assert (kept.corrected_by, kept.reason) == (flock.farm.user, "counted anew")
    assert kept.before == {"good_eggs": 400, "birds_died": 20, "feed_consumed_kg": "50.00"}
    assert kept.after == {"good_eggs": 300, "birds_died": 2, "feed_consumed_kg": "49.50"}
    correct(again(row), good_eggs=300, birds_died=2, feed_consumed_kg=Decimal("49.50"))
    assert ProductionCorrection.objects.count() == 1, "nothing is corrected to what it says already"


def test_what_was_recorded_first_may_come_again_after_corrections(flock: Flock) -> None:
    said: dict[str, Any] = {
        "good_eggs": 400,
        "birds_died": 20,
        "mortality_reason": "heat",
        "feed_consumed_kg": Decimal(50),
    }
    row = record(flock, **said).kept
    assert row
    correct(row, good_eggs=390, birds_died=20, mortality_reason="heat", feed_consumed_kg=Decimal("49.5"))
    correct(again(row), good_eggs=380, birds_died=2, mortality_reason="disease", feed_consumed_kg=Decimal("49.5"))
    repeated = record(flock, **said)
    assert repeated.kept
    assert (repeated.is_new, repeated.kept.good_eggs) == (False, 380), "the correction stays in force"
    assert (again(flock).current_count, ProductionCorrection.objects.count()) == (498, 2)
    for other in (
        {**said, "good_eggs": 390, "feed_consumed_kg": Decimal("49.5")},  # as the first correction said
        {**said, "good_eggs": 380},
        {**said, "broken_eggs": 1},
    ):
        with pytest.raises(Conflict, match="recorded already, with other figures"):
            record(flock, **other)


def test_of_two_corrections_the_one_that_came_last_is_the_newest(flock: Flock) -> None:
    """Whatever the clock said that each of them read before it waited for the flock."""
    row = record(flock, good_eggs=400).kept
    assert row
    correct(row, good_eggs=390)
    production.correct_day(
        actor=flock.farm.user,
        production_id=row.pk,
        record=DayRecord(flock_id=flock.pk, production_date=row.production_date, good_eggs=380),
        reason="counted again",
        now=clock.now() - timedelta(minutes=1),
    )
    assert [one.before["good_eggs"] for one in row.corrections.order_by("at")] == [400, 390]
    assert record(flock, good_eggs=400).kept, "what was recorded first"


def test_an_upload_that_comes_again_after_corrections_costs_no_more_for_many(
    flock: Flock, django_assert_num_queries: Any
) -> None:
    records = [DayRecord(flock_id=flock.pk, production_date=ago(n), good_eggs=n, birds_died=1) for n in range(40)]
    first = production.record_days(actor=flock.farm.user, records=records, now=clock.now())
    for outcome in first[:30]:
        assert outcome.kept
        correct(outcome.kept, good_eggs=500)
        correct(again(outcome.kept), good_eggs=501)
    for some in (records[:2], records):
        with django_assert_num_queries(6):
            outcomes = production.record_days(actor=flock.farm.user, records=some, now=clock.now())
        assert [one.kept for one in outcomes] == [one.kept for one in first[: len(some)]]
        assert not any(one.is_new or one.refused for one in outcomes)
    assert again(flock).current_count == 490
    others = [replace(one, birds_died=3) for one in records]
    refused = production.record_days(actor=flock.farm.user, records=others, now=clock.now())
    assert {type(one.refused) for one in refused} == {Conflict}


def test_a_correction_is_judged_as_a_report_is(flock: Flock) -> None:
    row = record(flock, 3, birds_died=10).kept
    record(flock, 1, birds_sold=480)
    assert row
    with pytest.raises(Conflict, match="at most 10 more"):
        correct(row, birds_died=21)
    with pytest.raises(InvalidInput, match="good_eggs"):
        correct(row, good_eggs=-1)
    with pytest.raises(InvalidInput, match="reason"):
        correct(row, reason=" ", birds_died=1)
    with pytest.raises(NotFound):
        correct(row, by=a_farm().user, birds_died=1)
    correct(row, birds_died=20)
    assert again(flock).current_count == 0


# --- deaths --------------------------------------------------------------------------------------------------------


def test_many_deaths_or_signs_of_disease_call_for_a_veterinary_officer(flock: Flock) -> None:
    record(flock, 3, birds_died=9)
    many = record(flock, 2, birds_died=10, mortality_reason="disease").kept
    sick = record(flock, 1, signs_of_disease=True).kept
    assert {one.production_id: one.number_of_birds for one in MortalityRecord.objects.all()} == {
        many.pk: 10,  # type: ignore[union-attr]
        sick.pk: 0,  # type: ignore[union-attr]
    }
    found = MortalityRecord.objects.get(production=many)
    assert (found.probable_cause, found.vet_inspection_required) == ("disease", True)
    assert found.inspect_by - found.created_at <= timedelta(hours=48)
    correct(many, birds_died=3)  # type: ignore[arg-type]
    assert not again(found).vet_inspection_required
    correct(again(many), birds_died=12)
    assert (again(found).vet_inspection_required, again(found).number_of_birds) == (True, 12)


def test_a_veterinary_officer_of_the_place_inspects_once(flock: Flock) -> None:
    record(flock, birds_died=10)
    found, vet = MortalityRecord.objects.get(), living_in("BNT", Role.VETERINARY_OFFICER)
    with pytest.raises(NotAllowed):
        production.mark_inspected(actor=flock.farm.user, record_id=found.pk, now=clock.now())
    with pytest.raises(NotFound):
        production.mark_inspected(actor=living_in("EJS", Role.VETERINARY_OFFICER), record_id=found.pk, now=clock.now())
    assert production.mark_inspected(actor=vet, record_id=found.pk, now=clock.now()).inspected_by == vet
    with pytest.raises(Conflict, match="already"):
        production.mark_inspected(actor=vet, record_id=found.pk, now=clock.now())


def flock_of(birds: int) -> Flock:
    return FlockFactory.create(initial_count=birds)


@pytest.mark.parametrize(
    ("died", "found"),
    [
        (24, []),
        (25, [("mortality_daily", "warning", "5.21", "5.00")]),
        (49, [("mortality_daily", "critical", "10.21", "10.00"), ("mortality_weekly", "critical", "10.21", "10.00")]),
    ],
)
def test_too_many_deaths_of_a_day_raise_an_alert_that_is_told(died: int, found: list[tuple[str, ...]]) -> None:
    record(flock_of(480), birds_died=died)
    alerts = Alert.objects.order_by("kind")
    assert [(one.kind, one.severity, str(one.value), str(one.threshold)) for one in alerts] == found
    assert sorted(args[1]["alert_id"] for args in asked(TELL)) == sorted(str(one.pk) for one in alerts)
    assert {args[0] for args in asked(TELL)} <= {"high_mortality"}


def test_deaths_of_a_week_add_up(flock: Flock) -> None:
    for days_ago in range(6, -1, -1):
        record(flock, days_ago, birds_died=8)
    alert = Alert.objects.get()
    assert (alert.kind, alert.day, str(alert.value)) == ("mortality_weekly", today(), "11.20")
    assert asked(TELL) == [["high_mortality", {"alert_id": str(alert.pk)}]]


def test_an_alert_rises_by_a_correction_and_never_falls() -> None:
    flock = flock_of(1_000)
    row = record(flock, birds_died=60).kept
    alert = Alert.objects.get()
    assert alert.severity == "warning"
    correct(row, birds_died=105)  # type: ignore[arg-type]
    assert again(alert).severity == "critical"
    assert len(asked(TELL)) == 3, "the daily one twice, the weekly one once"
    correct(again(row), birds_died=60)
    assert (again(alert).severity, len(asked(TELL))) == ("critical", 3)


def test_thresholds_are_settings(flock: Flock) -> None:
    Setting.objects.create(key="push.mortality_daily_pct", value=1)
    record(flock, birds_died=6)
    assert Alert.objects.get().severity == "warning"


def test_farmer_and_officers_of_the_place_are_told(flock: Flock) -> None:
    officer = living_in("EJS", Role.EXTENSION_OFFICER)
    Farm.objects.filter(pk=flock.farm_id).update(extension_officer=officer)
    vet, vet_of_region = (
        living_in("BNT", Role.VETERINARY_OFFICER),
        UserFactory.create(role=Role.VETERINARY_OFFICER, region=Constituency.objects.get(code="BNT").region),
    )
    admin = living_in("BNT", Role.CONSTITUENCY_ADMIN)
    for role in (Role.VETERINARY_OFFICER, Role.CONSTITUENCY_ADMIN):
        living_in("EJS", role)
    record(flock, birds_died=60)
    [daily] = Alert.objects.filter(kind="mortality_daily")
    told = send_admin_notification("high_mortality", {"alert_id": str(daily.pk)})
    assert told["recipients"] == 5
    assert set(Notification.objects.values_list("user", flat=True)) == {
        one.pk for one in (flock.farm.user, officer, vet, vet_of_region, admin)
    }
    notice = Notification.objects.filter(user=officer).get()
    assert notice.title == f"Many deaths: flock {flock.flock_number} of {flock.farm.farm_number}, 12.00 %"
    assert "12.00 % of the birds" in notice.text
    assert "Above 10 % is told." in notice.text
    assert OutboundMessage.objects.filter(channel="sms").count() == 5, "it is critical"


def test_without_an_admin_of_the_constituency_the_next_above_is_told(flock: Flock, regional: User) -> None:
    record(flock, birds_died=60)
    alert = Alert.objects.filter(kind="mortality_daily").get()
    assert {one.user_id for one in selectors.told_of_alert(alert)} == {flock.farm.user_id, regional.pk}


@pytest.mark.parametrize(
    ("context", "error"),
    [({}, InvalidInput), ({"alert_id": "7"}, InvalidInput), ({"alert_id": str(uuid.uuid4())}, NotFound)],
    ids=["none", "bad", "unknown"],
)
def test_a_notice_without_its_alert_fails_for_good(context: dict[str, str], error: type) -> None:
    assert "high_mortality" in notice_types
    with pytest.raises(error):
        send_admin_notification("high_mortality", context)


def test_an_alert_is_acknowledged_by_who_was_told_and_closed_by_an_officer(flock: Flock, local: User) -> None:
    record(flock, birds_died=30)
    alert = Alert.objects.get()
    with pytest.raises(NotFound):
        production.acknowledge(actor=a_farm().user, alert_id=alert.pk, now=clock.now())
    assert production.acknowledge(actor=flock.farm.user, alert_id=alert.pk, now=clock.now()).status == "acknowledged"
    with pytest.raises(Conflict, match="acknowledged: it cannot be acknowledged"):
        production.acknowledge(actor=local, alert_id=alert.pk, now=clock.now())
    with pytest.raises(NotAllowed, match="officer"):
        production.close_alert(actor=flock.farm.user, alert_id=alert.pk)
    with pytest.raises(NotFound):
        production.close_alert(actor=living_in("EJS", Role.CONSTITUENCY_ADMIN), alert_id=alert.pk)
    assert production.close_alert(actor=local, alert_id=alert.pk).status == "closed"


# --- figures -------------------------------------------------------------------------------------------------------


def test_the_figures_of_a_farm_are_those_of_the_specification(django_assert_num_queries: Any) -> None:
    farm = a_farm(total_bird_capacity=1_000)
    flock = FlockFactory.create(farm=farm)
    record(flock, 20, birds_died=20)
    eggs, good = (400, 402, 396, 398, 401, 392, 394), (388, 391, 380, 386, 389, 381, 380)
    died, sold = (1, 0, 2, 0, 1, 0, 0), (0, 0, 0, 0, 10, 0, 0)
    feed = ("52.8", "52.8", "52.8", "52.8", "52.8", "51.5", "51.5")
    for n in range(7):
        record(
            flock,
            6 - n,
            good_eggs=good[n],
            dirty_eggs=eggs[n] - good[n],
            birds_died=died[n],
            birds_sold=sold[n],
            feed_consumed_kg=Decimal(feed[n]),
        )
    with django_assert_num_queries(2):
        found = selectors.production_figures(farm, first=ago(6), last=today())
    assert (found.total.hen_day_pct, found.total.mortality_pct) == (Decimal("83.72"), Decimal("0.83"))
    assert (found.total.egg_quality_pct, found.total.feed_per_dozen) == (Decimal("96.84"), Decimal("1.58"))
    [one] = found.flocks
    assert (one.cumulative_mortality_pct, one.survival_pct) == (Decimal("4.80"), Decimal("93.20"))
    assert one.hen_housed == Decimal("5.57")
    assert (found.birds, found.utilisation_pct) == (466, Decimal("46.60"))
    assert (found.days_reported, found.days_active, found.compliance_pct) == (7, 7, Decimal("100.00"))
    month = selectors.production_figures(farm, first=ago(29), last=today())
    assert month.compliance_pct == rules.percent(8, 30)


def test_a_farm_without_birds_has_no_figures() -> None:
    found = selectors.production_figures(a_farm(), first=ago(6), last=today())
    assert (found.flocks, found.compliance_pct, found.total.hen_day_pct) == ((), None, None)
    assert found.utilisation_pct == 0


def test_the_system_counts_farms_and_flocks(flock: Flock) -> None:
    from core.base.registries import Hour, system_figures

    FlockFactory.create(status="sold", ended_on=today(), current_count=0, farm=a_farm(farm_status="suspended"))
    hour = Hour(clock.now())
    assert system_figures["farms"].count(hour) == {"farms_by_status": {"active": 1, "inactive": 0, "suspended": 1}}
    assert system_figures["flocks"].count(hour) == {"flocks": 1, "birds": 500}
