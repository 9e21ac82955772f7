"""Batches and enrolments: who manages, the hard rules at submission, slots that are never oversold."""

from __future__ import annotations

import threading
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction

from accounts.models import Constituency, Region, StaffPermission, User
from accounts.rules import Code, Role
from core import clock
from core.base.models import AuditLog
from core.errors import Conflict, DomainError, InvalidInput, NotAllowed, NotFound
from farms import selectors
from farms.models import Batch, BatchEnrollment, EnrollmentEvent, Farm, FarmDocument, ReviewItem
from farms.rules import BatchStatus, DocumentKind, EnrollmentStatus, ReviewLevel
from farms.services import batches, enrollments, farms
from farms.services.batches import Round
from tests.delivery.outbox import meanwhile, somebody_waits_for_us, wait_for
from tests.factories import BatchEnrollmentFactory, BatchFactory, UserFactory, a_farm
from tests.factories.farms import today
from tests.farms.conftest import living_in
from tests.farms.journey import asked, at_the_nation, steps

pytestmark = pytest.mark.django_db

TELL = "notify_batch_enrollment_status"


def a_round(**changes: Any) -> Round:
    plan: dict[str, Any] = {
        "batch_name": "Layers 2026",
        "batch_code": "LAY-2026",
        "start_date": today(),
        "end_date": today() + timedelta(days=60),
        "application_deadline": today() + timedelta(days=10),
        "total_slots": 2,
    }
    return Round(**plan | changes)


def submitted(**about: Any) -> BatchEnrollment:
    enrollment = BatchEnrollmentFactory.create(**about)
    return enrollments.submit(actor=enrollment.farm.user, enrollment_id=enrollment.pk, now=clock.now())


def again(row: Any) -> Any:
    return type(row).objects.get(pk=row.pk)


# --- batches -------------------------------------------------------------------------------------------------------


def test_a_batch_lives_from_draft_to_archive_and_each_step_is_written_down(national: User) -> None:
    batch = batches.create(actor=national, plan=a_round(support_package_value=Decimal("1500.50")))
    assert (batch.status, batch.support_package_value) == ("draft", Decimal("1500.50"))
    for act, status in (
        (batches.publish, "live"),
        (batches.pause, "paused"),
        (batches.resume, "live"),
        (batches.close, "closed"),
        (batches.archive, "archived"),
    ):
        assert act(actor=national, batch_id=batch.pk).status == status
    assert list(AuditLog.objects.order_by("at").values_list("action", flat=True)) == [
        f"batch.{act}" for act in ("create", "publish", "pause", "resume", "close", "archive")
    ]
    with pytest.raises(Conflict, match="archived: it cannot be published"):
        batches.publish(actor=national, batch_id=batch.pk)


@pytest.mark.parametrize("role", [role for role in Role if role != Role.NATIONAL_ADMIN])
def test_nobody_else_manages_batches(role: Role) -> None:
    person, batch = living_in("BNT", role), BatchFactory.create()
    with pytest.raises(NotAllowed):
        batches.create(actor=person, plan=a_round())
    with pytest.raises(NotAllowed):
        batches.pause(actor=person, batch_id=batch.pk)


def test_national_staff_do_with_the_code(national: User) -> None:
    staff = UserFactory.create(role=Role.NATIONAL_STAFF)
    StaffPermission.objects.create(user=staff, code=Code.MANAGE_BATCHES, granted_by=national)
    assert batches.create(actor=staff, plan=a_round())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"application_deadline": date(2100, 1, 1)}, "application_deadline must not be after"),
        ({"start_date": date(2100, 1, 1)}, "start_date must not be after"),
        ({"min_age": 30, "max_age": 20}, "min_age must not be"),
        ({"min_bird_capacity": 30, "max_bird_capacity": 20}, "min_bird_capacity must not be"),
        ({"batch_name": " "}, "batch_name"),
        ({"total_slots": -1}, "total_slots"),
        ({"support_package_value": Decimal("1.005")}, "support_package_value"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(national: User, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        batches.create(actor=national, plan=a_round(**changes))
    assert not Batch.objects.exists()


def test_eligible_constituencies_lie_in_the_target_region(national: User) -> None:
    tema, ashanti = Constituency.objects.get(code="TMW"), Region.objects.get(code="AH")
    with pytest.raises(InvalidInput, match="outside the target region"):
        batches.create(actor=national, plan=a_round(target_region=ashanti, eligible_constituencies=[tema]))


def test_a_batch_is_planned_anew_until_it_is_closed(national: User) -> None:
    batch = BatchFactory.create(slots_filled=2)
    changed = batches.change(actor=national, batch_id=batch.pk, plan=a_round(total_slots=5))
    assert (changed.total_slots, changed.batch_code, changed.slots_filled) == (5, "LAY-2026", 2)
    with pytest.raises(InvalidInput, match="2 farms are approved already"):
        batches.change(actor=national, batch_id=batch.pk, plan=a_round(total_slots=1))
    batches.close(actor=national, batch_id=batch.pk)
    with pytest.raises(Conflict, match="closed"):
        batches.change(actor=national, batch_id=batch.pk, plan=a_round())


def test_what_is_past_its_deadline_is_closed_and_the_deadline_day_counts() -> None:
    past, last_day = (
        BatchFactory.create(
            start_date=today() - timedelta(days=9), end_date=today(), application_deadline=today() - timedelta(days=ago)
        )
        for ago in (1, 0)
    )
    paused = BatchFactory.create(
        start_date=today() - timedelta(days=9),
        end_date=today(),
        application_deadline=today() - timedelta(days=1),
        status=BatchStatus.PAUSED,
    )
    draft = BatchFactory.create(
        start_date=today() - timedelta(days=9),
        end_date=today(),
        application_deadline=today() - timedelta(days=1),
        status=BatchStatus.DRAFT,
    )
    assert set(selectors.accepting(today=today())) == {last_day}
    assert batches.close_past(today=today(), now=clock.now()) == 2
    assert batches.close_past(today=today(), now=clock.now()) == 0
    assert [again(one).status for one in (past, paused, last_day, draft)] == ["closed", "closed", "live", "draft"]


# --- submission ----------------------------------------------------------------------------------------------------


def test_a_farm_that_meets_the_rules_comes_before_its_constituency() -> None:
    enrollment = submitted()
    assert steps(enrollment) == ["submitted", "eligibility_check", "constituency_review"]
    assert enrollment.enrollment_number.startswith(f"PROG-{clock.now():%Y}-")  # type: ignore[union-attr]
    assert again(enrollment).eligibility_score == 80
    assert ReviewItem.objects.get().enrollment == enrollment
    assert asked(TELL) == [[str(enrollment.pk), "submitted"]]


def test_documents_and_the_programme_give_points() -> None:
    farm = a_farm(is_government=True)
    for kind in (*DocumentKind.values,):
        FarmDocument.objects.create(farm=farm, kind=kind, file="x.jpg")
    assert submitted(farm=farm).eligibility_score == 100


def test_what_is_not_met_is_the_reason_of_the_rejection() -> None:
    farm = a_farm(total_bird_capacity=100)
    enrollment = submitted(farm=farm, batch=BatchFactory.create(min_bird_capacity=500, min_farm_age_months=1))
    assert steps(enrollment) == ["submitted", "eligibility_check", "rejected"]
    event = EnrollmentEvent.objects.get(to_status="rejected")
    assert (event.actor, event.reason) == (
        None,
        "Not met: the farm's bird capacity; the farm's age on the deadline day.",
    )
    assert not ReviewItem.objects.exists()
    assert [args[1] for args in asked(TELL)] == ["submitted", "rejected"]


def test_the_place_of_the_farm_counts() -> None:
    ashanti, ejisu = Region.objects.get(code="AH"), Constituency.objects.get(code="EJS")
    assert submitted(batch=BatchFactory.create(target_region=ashanti)).status == "constituency_review"
    batch = BatchFactory.create(target_region=ashanti)
    batch.eligible_constituencies.add(ejisu)
    assert submitted(batch=batch).status == "rejected"
    assert submitted(batch=BatchFactory.create(target_region=Region.objects.get(code="AA"))).status == "rejected"


@pytest.mark.parametrize(
    "about", [{"status": "paused"}, {"slots_filled": 10}, {"application_deadline": today() - timedelta(days=1)}]
)
def test_a_batch_that_accepts_nothing_now_rejects(about: dict[str, Any]) -> None:
    enrollment = BatchEnrollmentFactory.create()
    start = {"start_date": today() - timedelta(days=30)}
    Batch.objects.filter(pk=enrollment.batch_id).update(**start, **about)
    enrollments.submit(actor=enrollment.farm.user, enrollment_id=enrollment.pk, now=clock.now())
    assert EnrollmentEvent.objects.get(to_status="rejected").reason.endswith("does not accept applications now.")


def test_a_farm_applies_once_to_a_batch_that_it_sees() -> None:
    farm, batch, hidden = a_farm(), BatchFactory.create(), BatchFactory.create(status=BatchStatus.DRAFT)
    draft = enrollments.draft(actor=farm.user, farm_id=farm.pk, batch_id=batch.pk, now=clock.now())
    assert (draft.status, draft.enrollment_number) == ("draft", None)
    with pytest.raises(InvalidInput, match="has an enrolment in this batch already"):
        enrollments.draft(actor=farm.user, farm_id=farm.pk, batch_id=batch.pk, now=clock.now())
    with pytest.raises(NotFound, match="no such batch"):
        enrollments.draft(actor=farm.user, farm_id=farm.pk, batch_id=hidden.pk, now=clock.now())
    with pytest.raises(NotFound, match="not yours"):
        enrollments.draft(actor=a_farm().user, farm_id=farm.pk, batch_id=batch.pk, now=clock.now())


@pytest.mark.django_db(transaction=True)
def test_of_two_drafts_at_once_the_second_is_refused() -> None:
    farm, batch = a_farm(), BatchFactory.create()
    refused: list[DomainError] = []

    def attempt() -> None:
        try:
            enrollments.draft(actor=farm.user, farm_id=farm.pk, batch_id=batch.pk, now=clock.now())
        except DomainError as error:
            refused.append(error)

    with meanwhile(*[attempt] * 4):
        pass
    assert [type(error) for error in refused] == [InvalidInput] * 3
    assert BatchEnrollment.objects.count() == 1


def test_only_an_active_farm_applies() -> None:
    enrollment = BatchEnrollmentFactory.create(farm=a_farm(farm_status="suspended"))
    with pytest.raises(Conflict, match="only an active farm"):
        enrollments.submit(actor=enrollment.farm.user, enrollment_id=enrollment.pk, now=clock.now())
    assert not EnrollmentEvent.objects.exists()


def test_a_review_is_never_due_after_the_days_of_the_batch(local: User) -> None:
    enrollment = submitted(batch=BatchFactory.create(approval_sla_days=9))
    enrollments.forward(actor=local, enrollment_id=enrollment.pk, now=clock.now() + timedelta(days=6))
    due = ReviewItem.objects.get(level="regional").due_at
    assert due == again(enrollment).submitted_at + timedelta(days=9)


# --- decisions -----------------------------------------------------------------------------------------------------


def test_an_approval_takes_a_slot_and_a_withdrawal_frees_it(local: User, regional: User, national: User) -> None:
    batch = BatchFactory.create(total_slots=1)
    first, second = (at_the_nation(BatchEnrollmentFactory.create(batch=batch), local, regional) for _ in range(2))
    enrollments.approve(actor=national, enrollment_id=first.pk, now=clock.now())
    assert again(batch).slots_filled == 1
    with pytest.raises(Conflict, match="full: every slot is taken"):
        enrollments.approve(actor=national, enrollment_id=second.pk, now=clock.now())
    assert (again(second).status, steps(second)[-1]) == ("national_review", "national_review")
    assert ReviewItem.objects.get(enrollment=second, level="national").status == "pending"
    enrollments.withdraw(actor=first.farm.user, enrollment_id=first.pk, now=clock.now())
    assert again(batch).slots_filled == 0
    enrollments.approve(actor=national, enrollment_id=second.pk, now=clock.now())
    assert again(batch).slots_filled == 1
    assert [args for args in asked(TELL) if args[0] == str(first.pk)][-1] == [str(first.pk), "withdrawn"]


def test_an_act_that_waited_for_another_comes_after_it_whatever_its_clock_said(local: User, regional: User) -> None:
    one, now = submitted(), clock.now()
    enrollments.forward(actor=local, enrollment_id=one.pk, now=now + timedelta(seconds=2))
    enrollments.withdraw(actor=one.farm.user, enrollment_id=one.pk, now=now + timedelta(seconds=1))
    assert steps(one)[-2:] == ["regional_review", "withdrawn"]


@pytest.mark.django_db(transaction=True)
def test_the_last_slot_goes_to_one_of_fifty() -> None:
    regional, national = (UserFactory.create(role=role) for role in (Role.REGIONAL_ADMIN, Role.NATIONAL_ADMIN))
    local = UserFactory.create(role=Role.CONSTITUENCY_ADMIN)
    batch = BatchFactory.create(total_slots=1)
    rivals = [at_the_nation(BatchEnrollmentFactory.create(batch=batch), local, regional) for _ in range(50)]
    refused: list[str] = []

    def attempt(some: list[BatchEnrollment]) -> None:
        for one in some:
            try:
                enrollments.approve(actor=national, enrollment_id=one.pk, now=clock.now())
            except Conflict as error:
                refused.append(str(error))

    with meanwhile(*[lambda part=rivals[n::10]: attempt(part) for n in range(10)], seconds=60):
        pass
    assert len(refused) == 49
    assert set(refused) == {"This batch is full: every slot is taken."}
    assert BatchEnrollment.objects.filter(status="approved").count() == again(batch).slots_filled == 1
    assert EnrollmentEvent.objects.filter(to_status="approved").count() == 1
    assert len([args for args in asked(TELL) if args[1] == "approved"]) == 1


def test_an_overbooked_batch_takes_more(local: User, regional: User, national: User) -> None:
    batch = BatchFactory.create(total_slots=0, allow_overbooking=True)
    one = at_the_nation(BatchEnrollmentFactory.create(batch=batch), local, regional)
    enrollments.approve(actor=national, enrollment_id=one.pk, now=clock.now())
    assert again(batch).slots_filled == 1


def test_a_government_farm_needs_an_extension_officer_first(local: User, regional: User, national: User) -> None:
    farm = a_farm(is_government=True)
    one = at_the_nation(BatchEnrollmentFactory.create(farm=farm), local, regional)
    with pytest.raises(Conflict, match="needs an extension officer"):
        enrollments.approve(actor=national, enrollment_id=one.pk, now=clock.now())
    Farm.objects.filter(pk=farm.pk).update(extension_officer=living_in("BNT", Role.EXTENSION_OFFICER))
    assert enrollments.approve(actor=national, enrollment_id=one.pk, now=clock.now()).status == "approved"


@pytest.mark.django_db(transaction=True)
def test_who_approves_while_the_extension_officer_leaves_the_farm_waits_and_is_refused() -> None:
    local, regional, national, officer = (
        UserFactory.create(role=role)
        for role in (Role.CONSTITUENCY_ADMIN, Role.REGIONAL_ADMIN, Role.NATIONAL_ADMIN, Role.EXTENSION_OFFICER)
    )
    farm = a_farm(is_government=True, extension_officer=officer)
    one = at_the_nation(BatchEnrollmentFactory.create(farm=farm), local, regional)
    left, refused = threading.Event(), []

    def attempt() -> None:
        assert left.wait(20)
        with pytest.raises(Conflict, match="needs an extension officer") as error:
            enrollments.approve(actor=national, enrollment_id=one.pk, now=clock.now())
        refused.append(error)

    with meanwhile(attempt), transaction.atomic():
        farms.name_extension_officer(actor=national, farm_id=farm.pk, officer_id=None)
        left.set()
        wait_for(somebody_waits_for_us, "the other waits for the farm")
    assert refused
    assert (again(one).status, again(one.batch).slots_filled) == ("national_review", 0)


def test_changes_come_back_to_the_same_review(local: User, regional: User) -> None:
    one = submitted()
    enrollments.forward(actor=local, enrollment_id=one.pk, now=clock.now())
    enrollments.request_changes(actor=regional, enrollment_id=one.pk, reason="photos", now=clock.now())
    waiting = again(one)
    assert (waiting.status, waiting.changes_from_status) == ("changes_requested", "regional_review")
    assert waiting.changes_deadline == today() + timedelta(days=14)
    with pytest.raises(NotFound, match="not yours"):
        enrollments.resubmit(actor=local, enrollment_id=one.pk, now=clock.now())
    enrollments.resubmit(actor=one.farm.user, enrollment_id=one.pk, now=clock.now())
    assert (again(one).status, again(one).changes_from_status) == ("regional_review", "")
    assert ReviewItem.objects.get(level="regional").status == "pending"
    assert [args[1] for args in asked(TELL)] == ["submitted", "regional_review", "changes_requested", "regional_review"]


def test_what_was_not_sent_back_is_not_resubmitted_and_a_draft_not_decided(local: User) -> None:
    one = submitted()
    with pytest.raises(Conflict, match="cannot be resubmitted"):
        enrollments.resubmit(actor=one.farm.user, enrollment_id=one.pk, now=clock.now())
    with pytest.raises(Conflict, match="draft: there is nothing to decide"):
        enrollments.forward(actor=local, enrollment_id=BatchEnrollmentFactory.create().pk, now=clock.now())


@pytest.mark.parametrize("status", [EnrollmentStatus.ENROLLED, EnrollmentStatus.REJECTED, EnrollmentStatus.WITHDRAWN])
def test_an_end_is_an_end(local: User, regional: User, national: User, status: EnrollmentStatus) -> None:
    one = at_the_nation(BatchEnrollmentFactory.create(), local, regional)
    if status == EnrollmentStatus.ENROLLED:
        enrollments.approve(actor=national, enrollment_id=one.pk, now=clock.now())
        enrollments.mark_enrolled(actor=national, enrollment_id=one.pk, now=clock.now())
    elif status == EnrollmentStatus.REJECTED:
        enrollments.reject(actor=national, enrollment_id=one.pk, reason="no land", now=clock.now())
    else:
        enrollments.withdraw(actor=one.farm.user, enrollment_id=one.pk, now=clock.now())
    assert not ReviewItem.objects.exclude(status="completed").exists()
    with pytest.raises(Conflict):
        enrollments.withdraw(actor=one.farm.user, enrollment_id=one.pk, now=clock.now())
    with pytest.raises(Conflict):
        enrollments.approve(actor=national, enrollment_id=one.pk, now=clock.now())


@pytest.mark.parametrize(
    ("role", "outcome"),
    [
        (Role.CONSTITUENCY_ADMIN, None),
        (Role.CONSTITUENCY_STAFF, NotAllowed),
        (Role.REGIONAL_ADMIN, NotAllowed),
        (Role.NATIONAL_ADMIN, NotAllowed),
        (Role.AUDITOR, NotAllowed),
        (Role.FARMER, NotFound),
        (Role.FINANCE_OFFICER, NotFound),
    ],
)
def test_the_constituency_decides_first(role: Role, outcome: type[DomainError] | None) -> None:
    one, person = submitted(), living_in("BNT", role)
    if outcome is None:
        enrollments.forward(actor=person, enrollment_id=one.pk, now=clock.now())
        return
    with pytest.raises(outcome):
        enrollments.forward(actor=person, enrollment_id=one.pk, now=clock.now())


def test_who_marks_as_enrolled(local: User, regional: User, national: User) -> None:
    one = at_the_nation(BatchEnrollmentFactory.create(), local, regional)
    enrollments.approve(actor=national, enrollment_id=one.pk, now=clock.now())
    staff = living_in("BNT", Role.REGIONAL_STAFF)
    refused = {local: NotAllowed, one.farm.user: NotAllowed, living_in("TMW", Role.REGIONAL_ADMIN): NotFound}
    for person, error in {**refused, staff: NotFound}.items():
        with pytest.raises(error):
            enrollments.mark_enrolled(actor=person, enrollment_id=one.pk, now=clock.now())
    staff = User.objects.get(pk=staff.pk)
    StaffPermission.objects.create(user=staff, code=Code.MANAGE_ENROLLMENT, granted_by=national)
    assert list(selectors.enrollments_in_scope(staff)) == [one], "who may mark it sees it"
    assert not selectors.applications_in_scope(staff)
    assert enrollments.mark_enrolled(actor=staff, enrollment_id=one.pk, now=clock.now()).status == "enrolled"


def test_the_list_of_enrolments_to_review_is_in_the_order_of_their_scores(local: User) -> None:
    weak, strong = submitted(), submitted(farm=a_farm(is_government=True))
    submitted(farm=a_farm(place=Constituency.objects.get(code="EJS")))
    rows = list(selectors.enrollments_to_review(local, ReviewLevel.CONSTITUENCY))
    assert [row.enrollment for row in rows] == [strong, weak]


def test_reviewers_of_a_level_are_those_who_decide_there(local: User, regional: User, national: User) -> None:
    staff = living_in("EJS", Role.REGIONAL_STAFF)
    living_in("EJS", Role.REGIONAL_STAFF)
    living_in("TMW", Role.REGIONAL_ADMIN)
    StaffPermission.objects.create(user=staff, code=Code.APPROVE_APPLICATIONS, granted_by=national)
    place = a_farm().place
    told = {level: {one.user_id for one in selectors.reviewers(level, place)} for level in ReviewLevel}
    assert told == {
        ReviewLevel.CONSTITUENCY: {local.pk},
        ReviewLevel.REGIONAL: {regional.pk, staff.pk},
        ReviewLevel.NATIONAL: {national.pk},
    }
