"""The activity report of a farm: its figures, its events in order, one row, and no link to nothing (domain.md 6.4)."""

from __future__ import annotations

import uuid
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest

from accounts.models import User
from accounts.rules import Role
from core import clock
from core.base.registries import FarmActivity, FarmEvent, Registry, activity_sections
from core.delivery.models import OutboundMessage
from core.errors import InvalidInput, NotFound
from core.jobs.models import TaskRun
from core.reporting.models import Report
from farms.models import Alert, ApplicationEvent, EnrollmentEvent, Farm, FarmScore
from farms.tasks import generate_farm_activity_report
from tests.factories import BatchEnrollmentFactory, DailyProductionFactory, FlockFactory, UserFactory, a_farm
from tests.factories.farms import today
from tests.farms.conftest import living_in

pytestmark = pytest.mark.django_db


def ago(days: int) -> date:
    return today() - timedelta(days=days)


def report(farm: Farm, *args: Any, **kwargs: Any) -> Report:
    told = generate_farm_activity_report(str(farm.pk), *args, **kwargs)
    assert told["status"] == "ok"
    return Report.objects.get(pk=told["report_id"])


def content(farm: Farm, days: int = 30) -> dict[str, Any]:
    found: dict[str, Any] | None = report(farm, days).content
    assert found is not None
    return found


# --- what it says --------------------------------------------------------------------------------------------------


def test_the_production_is_that_of_the_worked_example() -> None:
    """The flock and week of domain.md 5.5, as the last seven days; what lies before is not in the sums."""
    farm = a_farm(total_bird_capacity=1_000)
    flock = FlockFactory.create(farm=farm, arrival_date=ago(60), initial_count=500, current_count=466)
    DailyProductionFactory.create(flock=flock, production_date=ago(30), good_eggs=300, birds_died=20)
    eggs = [400, 402, 396, 398, 401, 392, 394]
    good = [388, 391, 380, 386, 389, 381, 380]
    feed = [Decimal("52.8")] * 5 + [Decimal("51.5")] * 2
    for number, (died, sold) in enumerate(zip([1, 0, 2, 0, 1, 0, 0], [0, 0, 0, 0, 10, 0, 0], strict=True)):
        DailyProductionFactory.create(
            flock=flock,
            production_date=ago(6 - number),
            good_eggs=good[number],
            broken_eggs=eggs[number] - good[number],
            eggs_collected=eggs[number],
            birds_died=died,
            birds_sold=sold,
            feed_consumed_kg=feed[number],
        )
    found = content(farm, 7)
    assert (found["farm"], found["from"], found["to"]) == (farm.farm_number, str(ago(6)), str(today()))
    total = found["sections"]["production"]["total"]
    assert total == total | {
        "eggs": 2_783,
        "good_eggs": 2_695,
        "deaths": 4,
        "birds_at_start": 480,
        "birds_at_end": 466,
        "birds_now": 466,
        "hen_day_pct": "83.72",
        "mortality_pct": "0.83",
        "egg_quality_pct": "96.84",
        "feed_kg": "367.00",
        "feed_kg_per_dozen": "1.58",
        "utilisation_pct": "46.60",
        "days_recorded": 7,
        "days_reported": 7,
        "days_with_birds": 7,
        "compliance_pct": "100.00",
    }
    [one] = found["sections"]["production"]["flocks"]
    assert one == one | {
        "flock": flock.flock_number,
        "type": "layers",
        "age_weeks": 18 + 60 // 7,
        "days_possible": 7,
        "cumulative_mortality_pct": "4.80",
        "survival_pct": "93.20",
        "hen_day_pct": "83.72",
    }


def test_a_farm_without_birds_has_figures_without_values() -> None:
    found = content(a_farm())
    assert found["sections"]["production"]["flocks"] == []
    assert found["sections"]["production"]["total"]["hen_day_pct"] is None
    assert found["sections"]["production"]["total"]["eggs"] == 0
    assert found["events"] == []
    assert found["sections"]["farm"] == {"status": "active", "readiness": "0.00", "biosecurity": "0.00"}


def test_a_flock_that_was_gone_before_is_left_out_and_one_that_came_later_counts_from_then() -> None:
    farm = a_farm()
    gone = {"current_count": 0, "left_at_end": 500, "status": "sold"}
    FlockFactory.create(farm=farm, flock_number=1, arrival_date=ago(90), ended_on=ago(10), **gone)
    FlockFactory.create(farm=farm, flock_number=2, arrival_date=ago(90), ended_on=ago(5), **gone)
    FlockFactory.create(farm=farm, flock_number=3, arrival_date=ago(2), age_at_arrival_weeks=2)
    found = content(farm, 7)
    flocks = found["sections"]["production"]["flocks"]
    assert [(one["flock"], one["days_possible"], one["age_weeks"]) for one in flocks] == [
        (2, 2, 18 + 85 // 7),
        (3, 3, 2),
    ]
    assert [(event["what"], event["flock"]) for event in found["events"]] == [("flock_ended", 2), ("flock_arrived", 3)]
    assert found["events"][0] == found["events"][0] | {"how": "sold", "birds": 500, "type": "layers"}


def test_events_of_all_kinds_come_in_the_order_of_time(bantama: Any) -> None:
    farm = a_farm()
    flock = FlockFactory.create(farm=farm, arrival_date=ago(9), flock_number=1)
    enrollment = BatchEnrollmentFactory.create(farm=farm)

    def at(days: int) -> datetime:
        return clock.at(ago(days), time(9))

    ApplicationEvent.objects.create(
        application=farm.application, from_status="approved", to_status="account_created", at=at(10)
    )
    ApplicationEvent.objects.create(application=farm.application, to_status="submitted", at=at(40))
    FarmScore.objects.create(
        farm=farm, day=ago(8), formula_version=1, readiness=Decimal("72.50"), biosecurity=Decimal("68.75"), parts={}
    )
    EnrollmentEvent.objects.create(
        enrollment=enrollment, from_status="regional_review", to_status="rejected", reason="No land", at=at(7)
    )
    alert = Alert.objects.create(
        farm=farm, flock=flock, kind="mortality_daily", day=ago(6), value=7, threshold=5, severity="warning"
    )
    Alert.objects.filter(pk=alert.pk).update(created_at=at(5))
    other = a_farm()
    ApplicationEvent.objects.create(application=other.application, to_status="submitted", at=at(3))
    events = content(farm)["events"]
    assert [event["what"] for event in events] == ["application", "flock_arrived", "score", "enrollment", "alert"]
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    application, _, score, step, told = events
    assert (application["from"], application["to"]) == ("approved", "account_created")
    assert application["number"] == farm.application.application_number
    assert score == score | {"readiness": "72.50", "biosecurity": "68.75"}
    assert step == step | {"to": "rejected", "reason": "No land", "batch": enrollment.batch.batch_code}
    assert told == told | {"severity": "warning", "day": str(ago(6)), "value_pct": "7.00", "flock": 1}


@pytest.mark.parametrize(("days", "inside"), [(1, False), (2, True)])
def test_the_days_end_today_and_both_ends_count(days: int, inside: bool) -> None:
    farm = a_farm()
    FlockFactory.create(farm=farm, arrival_date=ago(1))
    assert bool(content(farm, days)["events"]) == inside


def test_other_apps_add_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    farm, asked = a_farm(), []

    def orders(farm_id: uuid.UUID, first: date, last: date) -> FarmActivity:
        asked.append((farm_id, first, last))
        payment = FarmEvent(clock.at(ago(2), time(9)), "payment", {"amount": "50.00"})
        return FarmActivity({"completed": 3, "net": "140.00"}, [payment])

    extended: Registry[Any] = Registry(activity_sections)
    extended.register("orders", orders)
    monkeypatch.setattr("farms.services.activity.activity_sections", extended)
    FlockFactory.create(farm=farm, arrival_date=ago(1))
    found = content(farm, 10)
    assert asked == [(farm.pk, ago(9), today())]
    assert found["sections"]["orders"] == {"completed": 3, "net": "140.00"}
    assert [event["what"] for event in found["events"]] == ["payment", "flock_arrived"]
    assert set(found["sections"]) == {"production", "farm", "orders"}


# --- its row -------------------------------------------------------------------------------------------------------


def test_asked_for_again_it_is_the_same_row_and_a_revision_only_when_it_says_something_else() -> None:
    farm = a_farm()
    first = report(farm)
    assert (first.kind, first.scope, first.status, first.revision) == ("farm_activity", f"farm:{farm.pk}", "ready", 1)
    assert (first.period_from, first.period_to) == (ago(29), today())
    again = report(farm)
    assert (again.pk, again.revision, again.content_hash) == (first.pk, 1, first.content_hash)
    FlockFactory.create(farm=farm, arrival_date=ago(1))
    changed = report(farm)
    assert (changed.pk, changed.revision) == (first.pk, 2)
    assert changed.content_hash != first.content_hash
    assert report(farm, 7).pk != first.pk


@pytest.mark.parametrize("days", [0, 367, -1, True, "30", 1.5, None])
def test_days_that_cannot_be_are_refused(days: Any) -> None:
    with pytest.raises(InvalidInput, match="days must be a whole number from 1 to 366"):
        generate_farm_activity_report(str(a_farm().pk), days)
    assert not Report.objects.exists()


@pytest.mark.parametrize("days", [1, 366])
def test_from_one_day_to_a_leap_year(days: int) -> None:
    assert report(a_farm(), days).period_from == ago(days - 1)


def test_an_unknown_farm_fails_for_good() -> None:
    with pytest.raises(NotFound, match="There is no farm"):
        generate_farm_activity_report(str(uuid.uuid4()))
    with pytest.raises(InvalidInput, match="id of a farm"):
        generate_farm_activity_report("7")


# --- who may get it ------------------------------------------------------------------------------------------------


def answer(farm: Farm, email: str | None) -> tuple[bool, str]:
    told = generate_farm_activity_report(str(farm.pk), days=30, email=email)
    assert not OutboundMessage.objects.exists(), "there is no document that a link could lead to"
    return told["emailed"], told["reason"]


@pytest.fixture
def farm() -> Farm:
    farm = a_farm()
    User.objects.filter(pk=farm.user_id).update(email="farmer@example.com")
    return farm


@pytest.mark.parametrize("email", ["farmer@example.com", " Farmer@Example.COM "])
def test_the_farmer_may_and_hears_that_there_is_no_document_yet(farm: Farm, email: str) -> None:
    assert answer(farm, email) == (False, "no_document")


def test_without_an_address_nothing_was_to_be_sent(farm: Farm) -> None:
    assert answer(farm, None) == (False, "not_asked_for")


@pytest.mark.parametrize(
    ("role", "place", "may"),
    [
        (Role.CONSTITUENCY_ADMIN, "BNT", True),
        (Role.CONSTITUENCY_ADMIN, "TMW", False),
        (Role.REGIONAL_ADMIN, "BNT", True),
        (Role.AUDITOR, "TMW", True),
        (Role.FINANCE_OFFICER, "BNT", False),
        (Role.FARMER, "BNT", False),
        (Role.EXTENSION_OFFICER, "BNT", False),
    ],
)
def test_officers_may_by_their_scope(farm: Farm, role: Role, place: str, may: bool) -> None:
    officer = living_in(place, role, email="esi@example.com")
    assert answer(farm, "esi@example.com") == (False, "no_document" if may else "recipient_not_allowed")
    if may:
        User.objects.filter(pk=officer.pk).update(is_active=False)
        assert answer(farm, "esi@example.com") == (False, "recipient_not_allowed")


@pytest.mark.parametrize("email", ["nobody@example.com", "", "no address", "farmer@example.com\n"])
def test_an_address_of_nobody_who_may_is_told_alike(email: str) -> None:
    assert answer(a_farm(), email) == (False, "recipient_not_allowed")


def test_the_address_leaves_the_ledger_when_the_run_has_succeeded(farm: Farm) -> None:
    asked = generate_farm_activity_report.delay(str(farm.pk), days=30, email="farmer@example.com")
    assert TaskRun.objects.get(pk=asked.id).kwargs["email"] == "farmer@example.com"
    assert generate_farm_activity_report.personal == ("email",)
    assert UserFactory.create().email == ""
