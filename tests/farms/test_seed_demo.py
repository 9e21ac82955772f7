"""The demonstration country is one that the services could have made: believable, and every rule holds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.apps import apps
from django.db import transaction
from django.db.models import Count, F, Max, Model, Q, Sum
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from accounts import selectors as people
from accounts.models import Region, User
from core import clock
from core.delivery.models import OutboundMessage
from core.jobs.models import TaskRun
from farms import rules, selectors
from farms.demo import ghana
from farms.demo.seeding import seed
from farms.models import (
    Alert,
    Batch,
    BatchEnrollment,
    DailyProduction,
    Farm,
    FarmApplication,
    FarmInvitation,
    FarmLocation,
    FarmScore,
    Flock,
    MortalityRecord,
    ReviewItem,
)
from farms.rules import ApplicationStatus, BatchStatus, EnrollmentStatus, FlockStatus, ReviewLevel, ReviewStatus
from farms.services import enrollments, places, scores
from tests.factories import a_farm
from tests.farms.journey import apply

TODAY = date(2026, 3, 20)  # in the heat


pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("demonstration country")]


@pytest.fixture(scope="module", autouse=True)
def _country(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """One for all tests of this file, which write into a transaction inside its own."""
    with django_db_blocker.unblock(), transaction.atomic():
        with override_settings(MEDIA_ROOT=str(tmp_path_factory.mktemp("files"))):
            seed(farms=600, days=20, seed=1, today=TODAY)
        yield
        transaction.set_rollback(True)


# --- believable ----------------------------------------------------------------------------------------------------


def test_the_regions_are_those_of_the_database() -> None:
    assert set(ghana.REGIONS) == set(Region.objects.values_list("code", flat=True))


def test_there_is_something_in_every_state() -> None:
    assert set(FarmApplication.objects.values_list("status", flat=True)) == set(ApplicationStatus.values) - {
        "submitted"
    }
    assert set(Batch.objects.values_list("status", flat=True)) == set(BatchStatus.values)
    waiting = {EnrollmentStatus.SUBMITTED, EnrollmentStatus.ELIGIBILITY_CHECK}  # passed in one transaction
    found = set(BatchEnrollment.objects.values_list("status", flat=True))
    assert found == {status.value for status in set(EnrollmentStatus) - waiting}
    opened = ReviewItem.objects.exclude(status=ReviewStatus.COMPLETED)
    assert set(opened.values_list("level", flat=True)) == set(ReviewLevel.values)
    assert set(opened.values_list("status", flat=True)) == {"pending", "claimed", "in_progress"}
    assert set(FarmInvitation.objects.values_list("status", flat=True)) == {"accepted", "sent", "expired"}
    assert set(Farm.objects.values_list("farm_status", flat=True)) == {"active", "inactive", "suspended"}
    assert {"sold", "active"} == set(Flock.objects.values_list("status", flat=True))
    assert set(Alert.objects.values_list("severity", flat=True)) == {"warning", "critical"}
    assert set(Alert.objects.values_list("status", flat=True)) == {"open", "acknowledged", "closed"}
    full = Batch.objects.filter(slots_filled=F("total_slots"))
    assert full.exists()


def test_hens_lay_as_hens_do_and_suffer_in_the_heat() -> None:
    first, total = TODAY - timedelta(days=20), rules.Production()
    for flock in Flock.objects.filter(flock_type="layers", status=FlockStatus.ACTIVE)[:60]:
        days = selectors.days_of([flock.pk], last=TODAY)[flock.pk]
        total += rules.production(selectors.as_birds(flock), days, first=first, last=TODAY)
    assert total.hen_day_pct
    assert 60 < total.hen_day_pct < 88
    assert total.mortality_pct
    assert 0.3 < total.mortality_pct < 4
    assert DailyProduction.objects.filter(mortality_reason="heat").exists()
    recorded = set(DailyProduction.objects.values_list("production_date", flat=True))
    assert recorded == {first + timedelta(days=number) for number in range(20)}


def written() -> list[type[Model]]:
    return [User, *apps.get_app_config("farms").get_models()]


# --- as the services would have done it ----------------------------------------------------------------------------


def test_every_row_passes_the_checks_of_its_form() -> None:
    for model in written():
        left_out = ["password"] if model is User else []
        rows = list(model._default_manager.order_by("pk")[:60])
        for row in rows:
            row.clean_fields(exclude=left_out)


def test_nothing_lies_in_the_future() -> None:
    now = clock.at(TODAY, datetime.min.time())
    for model in written():
        names = {field.name for field in model._meta.local_concrete_fields}
        for name in names & {"created_at", "updated_at", "at", "submitted_at", "last_movement_at", "completed_at"}:
            if model is Batch:
                continue  # plans are about the time to come
            latest = model._default_manager.aggregate(latest=Max(name))["latest"]
            assert latest is None or latest <= now + timedelta(hours=24), (model, name)


@pytest.mark.parametrize(
    ("subjects", "machine", "pending"),
    [
        (FarmApplication, rules.APPLICATION, rules.APPLICATION_REVIEWS),
        (BatchEnrollment, rules.ENROLLMENT, rules.ENROLLMENT_REVIEWS),
    ],
)
def test_every_way_is_one_of_the_table_and_its_reviews_fit(subjects: Any, machine: Any, pending: Any) -> None:
    ways = rules.ways(machine)
    reviewed = {status.value for status in pending}
    for subject in subjects.objects.prefetch_related("events", "reviews"):
        steps = sorted(subject.events.all(), key=lambda event: event.at)
        items = {item.level: item for item in subject.reviews.all()}
        passed = {rules.level_of(step.to_status).value for step in steps if step.to_status in reviewed}  # type: ignore[union-attr]
        assert set(items) == passed
        opened = {level for level, item in items.items() if item.status != ReviewStatus.COMPLETED}
        assert opened == ({rules.level_of(subject.status)} if subject.status in reviewed else set())
        if not steps:
            assert subject.status == EnrollmentStatus.DRAFT
            continue
        assert (steps[-1].to_status, steps[-1].at) == (subject.status, subject.last_movement_at)
        assert steps[0].at == subject.submitted_at
        assert all(one.to_status == two.from_status and one.at < two.at for one, two in pairwise(steps))
        assert all(two.to_status in ways[one.to_status] for one, two in pairwise(steps))
        for level, item in items.items():
            entered = next(step for step in steps if rules.level_of(step.to_status) == level)
            left = next((step for step in steps if step.from_status == entered.to_status), None)
            assert (item.entered_at, item.completed_at) == (entered.at, left.at if left else None)
            decides = item.claimed_by_id
            assert left is None or decides == left.actor_id or subject.status == EnrollmentStatus.WITHDRAWN


def test_who_decided_may_decide_there() -> None:
    for item in ReviewItem.objects.exclude(claimed_by=None).select_related(
        "claimed_by", "application", "enrollment__farm__constituency"
    )[:200]:
        assert item.claimed_by
        level = ReviewLevel(item.level)
        assert people.may(item.claimed_by, selectors.DECIDES[level], selectors.place_of(item))


def test_the_points_of_an_application_are_those_of_the_rules() -> None:
    for one in FarmApplication.objects.all():
        assert one.priority_score == rules.priority_score(
            government=one.application_type == "government_program",
            email_verified=one.email_verified,
            phone_verified=one.phone_verified,
            spam=one.spam_score,
            experience_years=one.experience_years,
            has_existing_farm=one.has_existing_farm,
        )


def test_only_farms_that_a_batch_takes_are_enrolled_and_slots_are_counted() -> None:
    submitted = BatchEnrollment.objects.exclude(status=EnrollmentStatus.DRAFT)
    for enrollment in submitted.select_related("batch", "farm__application", "farm__constituency"):
        batch = enrollment.batch
        begun = enrollment.submitted_at
        assert begun
        assert batch.start_date <= begun.date() <= batch.application_deadline
        batch.status = BatchStatus.LIVE
        batch.slots_filled, batch.total_slots = 0, 1
        found = rules.eligibility(enrollments._candidate(enrollment.farm), enrollments._terms(batch, begun))
        assert (found.failed, enrollment.eligibility_score) == ((), found.score)
    given = Q(enrollments__status__in=[EnrollmentStatus.APPROVED, EnrollmentStatus.ENROLLED])
    for batch in Batch.objects.annotate(given=Count("enrollments", filter=given)):
        assert batch.slots_filled == batch.given <= batch.total_slots


def test_every_bird_is_accounted_for_on_every_day() -> None:
    for flock in Flock.objects.prefetch_related("days"):
        left = flock.initial_count
        for day in sorted(flock.days.all(), key=lambda one: one.production_date):
            assert flock.arrival_date <= day.production_date
            assert 0 <= day.birds_died + day.birds_sold + day.birds_culled <= left
            assert day.eggs_collected <= left
            left -= day.birds_died + day.birds_sold + day.birds_culled
        assert left == flock.current_count + flock.left_at_end


def test_no_farm_has_more_birds_than_room() -> None:
    active = Q(flocks__status=FlockStatus.ACTIVE)
    for farm in Farm.objects.annotate(birds=Sum("flocks__initial_count", filter=active)):
        assert (farm.birds or 0) <= farm.total_bird_capacity
        gone = farm.flocks.filter(status=FlockStatus.SOLD).first()
        if gone and gone.ended_on:
            assert all(one.arrival_date > gone.ended_on for one in farm.flocks.filter(status=FlockStatus.ACTIVE))


def test_alerts_and_inspections_are_those_of_the_recorded_days() -> None:
    limits = rules.Thresholds(daily=5, daily_critical=10, weekly=10)
    expected, inspected = set(), set()
    for flock in Flock.objects.prefetch_related("days"):
        birds = selectors.as_birds(flock)
        days = [
            rules.Day(day.production_date, died=day.birds_died, sold=day.birds_sold, culled=day.birds_culled)
            for day in flock.days.all()
        ]
        history = rules.History(birds, flock.current_count + flock.left_at_end, days)
        for day in flock.days.all():
            for finding in rules.push_alerts(history.exposure(day.production_date), limits):
                expected.add((flock.pk, day.production_date, finding.kind.value, finding.severity.value, finding.value))
            if rules.needs_inspection(died=day.birds_died, signs_of_disease=day.signs_of_disease):
                inspected.add(day.pk)
    assert expected
    assert set(Alert.objects.values_list("flock", "day", "kind", "severity", "value")) == expected
    assert set(MortalityRecord.objects.values_list("production", flat=True)) == inspected


def test_numbers_go_on_and_new_people_find_their_way() -> None:
    last = max(
        int(number.split("-")[-1]) for number in FarmApplication.objects.values_list("application_number", flat=True)
    )
    application = apply()
    assert int(application.application_number.split("-")[-1]) == last + 1
    assert "-" in a_farm().farm_number


# --- what comes right after ----------------------------------------------------------------------------------------


def test_scores_and_places_can_be_worked_on_at_once() -> None:
    active = Farm.objects.filter(farm_status="active").count()
    assert not FarmScore.objects.exists()
    assert scores.calculate(day=TODAY) == {"farms": active, "changed": active, "formula_version": 1}
    assert scores.calculate(day=TODAY)["changed"] == 0
    assert Farm.objects.values("readiness_score").distinct().count() > 10
    nowhere = Farm.objects.exclude(locations__is_primary=True).count()
    moved = FarmLocation.objects.exclude(constituency=F("farm__constituency")).count()
    found = places.sync_locations()
    assert nowhere > 0
    assert moved > 0
    assert (found["without_location"], found["changed"]) == (nowhere, moved)
    assert places.sync_locations()["changed"] == 0


def test_nobody_of_them_is_real() -> None:
    assert not User.objects.filter(is_demo=False).exists()
    assert not any(user.has_usable_password() for user in User.objects.all())
    for model, name in ((User, "phone"), (FarmApplication, "primary_phone")):
        assert not model._default_manager.exclude(**{f"{name}__startswith": "+23328"}).exists()
        assert not model._default_manager.exclude(email="").exclude(email__endswith="@demo.example").exists()
    assert not OutboundMessage.objects.exists()
    assert not TaskRun.objects.exists()
