"""Applications: submission and its limits, the reviews, who decides, and what is written at each step."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import transaction

from accounts import selectors as people
from accounts.models import Constituency, StaffPermission, User
from accounts.policy import Action
from accounts.rules import Code, Role
from core import clock
from core.base.models import Setting
from core.errors import Conflict, DomainError, InvalidInput, NotAllowed, NotFound
from core.jobs.models import TaskRun
from farms import selectors
from farms.models import ApplicationEvent, FarmApplication, FarmInvitation, ReviewItem, ReviewNote
from farms.rules import ReviewLevel
from farms.services import applications, reviews
from farms.services.applications import TooMany
from tests.delivery.outbox import meanwhile
from tests.factories import UserFactory
from tests.farms.conftest import living_in
from tests.farms.journey import apply, approved, asked, details, steps

pytestmark = pytest.mark.django_db

NOW = clock.now()
TELL = "notify_application_status_change"


def again(application: FarmApplication) -> FarmApplication:
    return FarmApplication.objects.get(pk=application.pk)


def the_item(application: FarmApplication, level: str = "constituency") -> ReviewItem:
    return ReviewItem.objects.get(application=application, level=level)


# --- submission ----------------------------------------------------------------------------------------------------


def test_an_application_of_the_programme_goes_to_its_constituency_and_the_applicant_is_told() -> None:
    application = apply(
        primary_phone="020 712-3456",
        email=" Ama@Example.com",
        ghana_card_number=" gha-712345678-1",
        now=NOW,
        ip="10.0.0.1",
    )
    stored = again(application)
    assert stored.application_number.startswith(f"APP-{NOW:%Y}-")
    assert len(stored.application_number) == len("APP-2026-00001")
    assert (stored.primary_phone, stored.email) == ("+233207123456", "ama@example.com")
    assert stored.ghana_card_number == "GHA-712345678-1"
    assert (stored.region.code, stored.district) == ("AH", stored.constituency.district)
    assert (stored.status, stored.submitted_at, stored.submitted_ip) == ("constituency_review", NOW, "10.0.0.1")
    assert stored.priority_score == 50 + 30
    assert steps(application) == ["submitted", "constituency_review"]
    assert ApplicationEvent.objects.earliest("at").from_status == ""
    item = the_item(application)
    assert (item.status, item.entered_at.date(), item.due_at - item.entered_at) == (
        "pending",
        NOW.date(),
        timedelta(days=7),
    )
    assert asked(TELL) == [[str(application.pk), "submitted"]]


def test_numbers_follow_each_other() -> None:
    first, second = (int(apply().application_number[-5:]) for _ in range(2))
    assert second == first + 1


def test_a_clean_independent_application_with_a_verified_phone_is_approved_at_once() -> None:
    application = apply("Independent", phone_verified=True)
    assert steps(application) == ["submitted", "approved"]
    assert FarmInvitation.objects.get(application=application).status == "pending"
    assert not ReviewItem.objects.exists()
    assert asked(TELL) == [[str(application.pk), "submitted"], [str(application.pk), "approved"]]


def test_another_independent_one_is_reviewed_in_the_region() -> None:
    application = apply("independent")
    assert steps(application) == ["submitted", "regional_review"]
    assert the_item(application, "regional").due_at - NOW > timedelta(days=4)


def test_a_migrated_farm_is_entered_by_an_officer(local: User) -> None:
    with pytest.raises(NotAllowed, match="migrated by officers"):
        apply("migrated")
    application = apply("migrated", actor=local)
    assert again(application).status == "regional_review"
    assert ApplicationEvent.objects.get(to_status="submitted").actor == local


def test_an_officer_enters_applications_of_the_own_area_only(local: User) -> None:
    apply(actor=local)
    with pytest.raises(NotAllowed, match="enter applications there"):
        apply(actor=local, constituency=Constituency.objects.get(code="TMW"))
    with pytest.raises(NotAllowed):
        apply(actor=UserFactory.create(role=Role.AUDITOR))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"primary_phone": "0302123456"}, "primary_phone: .* landline"),
        ({"ghana_card_number": "GHA-1"}, "Ghana Card: write the number as"),
        ({"tin": "12"}, "TIN: write"),
        ({"email": "ama"}, "email: Enter a valid email"),
        ({"full_name": " "}, "full_name"),
        ({"farm_name": ""}, "farm_name"),
        ({"total_bird_capacity": 0}, "total_bird_capacity must be at least 1"),
        ({"number_of_poultry_houses": -1}, "number_of_poultry_houses"),
        ({"number_of_poultry_houses": 99_999}, "number_of_poultry_houses"),
        ({"primary_production_type": "ducks"}, "primary_production_type"),
        ({"language": "xx"}, "language"),
        ({"experience_years": -1}, "experience_years"),
        ({"date_of_birth": date(2010, 1, 1)}, "18 to 65 years old"),
        ({"date_of_birth": date(1950, 1, 1)}, "18 to 65 years old"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field_and_nothing_is_written(said: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        apply(**said)
    assert not FarmApplication.objects.exists()
    assert not TaskRun.objects.exists()


def test_an_unknown_kind_and_a_district_elsewhere_are_refused() -> None:
    with pytest.raises(InvalidInput, match="government_program"):
        apply("charity")
    with pytest.raises(InvalidInput, match="another region"):
        apply(district=Constituency.objects.get(code="TMW").district)


@pytest.mark.parametrize("same", ["primary_phone", "ghana_card_number"])
def test_a_second_application_with_the_same_phone_or_card_is_refused_while_the_first_lives(
    local: User, same: str
) -> None:
    first = apply()
    with pytest.raises(InvalidInput, match="There is an application with this"):
        apply(**{same: getattr(first, same)})
    applications.reject(actor=local, application_id=first.pk, reason="no land", now=clock.now())
    second = apply(**{same: getattr(first, same)})
    assert again(second).spam_score == 50, "it was rejected a short time ago"
    assert steps(second)[-1] == "constituency_review"


def test_a_rejection_of_long_ago_is_forgotten(local: User) -> None:
    first = apply(now=NOW - timedelta(days=32))
    applications.reject(actor=local, application_id=first.pk, reason="no land", now=NOW - timedelta(days=31))
    assert again(apply(primary_phone=first.primary_phone)).spam_score == 0


def test_a_crowded_address_is_suspicious_and_then_full() -> None:
    Setting.objects.create(key="applications.per_ip_per_day", value=12)
    scores = [again(apply(ip="10.0.0.9")).spam_score for _ in range(12)]
    assert scores == [0] * 11 + [10]
    with pytest.raises(TooMany, match="internet connection"):
        apply(ip="10.0.0.9")
    assert again(apply(ip="10.0.0.8")).spam_score == 0
    assert again(apply(ip="10.0.0.9", now=NOW + timedelta(days=1))).spam_score == 0, "a new day"


def test_who_was_rejected_three_times_in_a_day_waits_for_the_next(local: User) -> None:
    phone = "0207555555"
    for _ in range(3):
        one = apply(primary_phone=phone)
        applications.reject(actor=local, application_id=one.pk, reason="no land", now=clock.now())
    with pytest.raises(TooMany, match="too often today"):
        apply(primary_phone=phone)
    assert apply(primary_phone=phone, now=NOW + timedelta(days=1))


@pytest.mark.django_db(transaction=True)
def test_of_two_applications_at_once_with_one_phone_one_is_taken() -> None:
    refused: list[DomainError] = []
    same = details(constituency=UserFactory.create(role=Role.CONSTITUENCY_ADMIN).constituency)

    def attempt() -> None:
        try:
            applications.submit(kind="government_program", details=same, now=clock.now())
        except DomainError as error:
            refused.append(error)

    with meanwhile(attempt, attempt, attempt):
        pass
    assert FarmApplication.objects.count() == 1
    assert [type(error) for error in refused] == [InvalidInput, InvalidInput]


# --- the way through the levels ------------------------------------------------------------------------------------


def test_three_levels_lead_to_an_invitation(local: User, regional: User, national: User) -> None:
    application = approved(local, regional, national)
    assert steps(application) == [
        *("submitted", "constituency_review", "regional_review", "national_review", "approved"),
    ]
    items = list(ReviewItem.objects.filter(application=application).order_by("entered_at"))
    assert [(item.level, item.status, item.claimed_by) for item in items] == [
        ("constituency", "completed", local),
        ("regional", "completed", regional),
        ("national", "completed", national),
    ]
    assert [(item.due_at - item.entered_at).days for item in items] == [7, 5, 3]
    assert [args[1] for args in asked(TELL)] == ["submitted", "regional_review", "national_review", "approved"]
    assert list(ApplicationEvent.objects.exclude(actor=None).order_by("at").values_list("actor", flat=True)) == [
        local.pk,
        regional.pk,
        national.pk,
    ]
    assert FarmInvitation.objects.get().event.to_status == "approved"


def test_the_days_of_a_level_are_a_setting(local: User) -> None:
    Setting.objects.create(key="review.sla_days_regional", value=9)
    application = apply()
    applications.forward(actor=local, application_id=application.pk, now=NOW)
    assert the_item(application, "regional").due_at == NOW + timedelta(days=9)


def test_a_level_forwards_or_approves_as_its_kind_says(local: User, regional: User, national: User) -> None:
    application = apply()
    with pytest.raises(Conflict, match="does not approve this application: forward it"):
        applications.approve(actor=local, application_id=application.pk, now=NOW)
    applications.forward(actor=local, application_id=application.pk, now=NOW)
    applications.forward(actor=regional, application_id=application.pk, now=NOW)
    with pytest.raises(Conflict, match="the last for this application"):
        applications.forward(actor=national, application_id=application.pk, now=NOW)
    alone = apply("independent")
    with pytest.raises(Conflict, match="the last for this application"):
        applications.forward(actor=regional, application_id=alone.pk, now=NOW)
    assert applications.approve(actor=regional, application_id=alone.pk, now=NOW).status == "approved"


def test_changes_are_asked_for_and_come_back_to_the_same_review(local: User, regional: User) -> None:
    application = apply()
    applications.forward(actor=local, application_id=application.pk, now=NOW)
    item = the_item(application, "regional")
    applications.request_changes(actor=regional, application_id=application.pk, reason=" photo\nmissing ", now=NOW)
    asked_for = again(application)
    assert (asked_for.status, asked_for.changes_from_status) == ("changes_requested", "regional_review")
    assert asked_for.changes_deadline == clock.accra(NOW).date() + timedelta(days=14)
    assert the_item(application, "regional").status == "completed", "its clock stands still"
    later = NOW + timedelta(days=3)
    new = details(
        primary_phone=application.primary_phone, ghana_card_number=application.ghana_card_number, farm_name="New Name"
    )
    applications.resubmit(application_id=application.pk, details=new, now=later)
    back = again(application)
    assert (back.status, back.farm_name, back.changes_from_status, back.changes_deadline) == (
        "regional_review",
        "New Name",
        "",
        None,
    )
    reopened = the_item(application, "regional")
    assert (reopened.pk, reopened.status, reopened.claimed_by) == (item.pk, "pending", None)
    assert (reopened.entered_at, reopened.due_at) == (later, later + timedelta(days=5))
    assert [args[1] for args in asked(TELL)][-2:] == ["changes_requested", "regional_review"]
    assert ApplicationEvent.objects.get(to_status="changes_requested").reason == "photo missing"


def test_phone_and_card_do_not_change_on_the_way(local: User) -> None:
    application = apply()
    applications.request_changes(actor=local, application_id=application.pk, reason="photo", now=NOW)
    with pytest.raises(InvalidInput, match="do not change"):
        applications.resubmit(application_id=application.pk, details=details(), now=NOW)
    assert again(application).status == "changes_requested"


def test_an_officer_enters_changes_of_the_own_area_only(local: User) -> None:
    application = apply()
    applications.request_changes(actor=local, application_id=application.pk, reason="photo", now=NOW)
    elsewhere = living_in("TMW", Role.CONSTITUENCY_ADMIN)
    assert elsewhere.constituency
    same = {"primary_phone": application.primary_phone, "ghana_card_number": application.ghana_card_number}
    taken = details(**same, constituency=elsewhere.constituency)
    for person, said, error in (
        (elsewhere, taken, NotFound),
        (living_in("BNT", Role.AUDITOR), details(**same), NotAllowed),
        (local, taken, NotAllowed),
    ):
        with pytest.raises(error):
            applications.resubmit(application_id=application.pk, details=said, actor=person, now=NOW)
    back = applications.resubmit(application_id=application.pk, details=details(**same), actor=local, now=NOW)
    assert back.status == "constituency_review"


def test_what_was_not_sent_back_is_not_resubmitted() -> None:
    application = apply()
    same = details(primary_phone=application.primary_phone, ghana_card_number=application.ghana_card_number)
    with pytest.raises(Conflict, match="cannot be resubmitted now"):
        applications.resubmit(application_id=application.pk, details=same, now=NOW)


def test_a_rejection_has_a_reason_and_is_final(local: User) -> None:
    application = apply(now=NOW - timedelta(hours=1))
    for reason in ("", "  ", "x" * 201, "a\x00b"):
        with pytest.raises(InvalidInput, match="reason of 1 to 200"):
            applications.reject(actor=local, application_id=application.pk, reason=reason, now=NOW)
    applications.reject(actor=local, application_id=application.pk, reason="no land", now=NOW)
    assert the_item(application).status == "completed"
    for act in (applications.forward, applications.approve):
        with pytest.raises(Conflict, match="rejected: there is nothing to decide"):
            act(actor=local, application_id=application.pk, now=NOW)
    assert steps(application)[-1] == "rejected"


def test_while_changes_are_waited_for_the_level_it_came_from_may_reject(local: User, regional: User) -> None:
    application = apply()
    applications.forward(actor=local, application_id=application.pk, now=NOW)
    applications.request_changes(actor=regional, application_id=application.pk, reason="photo", now=NOW)
    with pytest.raises(NotAllowed):
        applications.reject(actor=local, application_id=application.pk, reason="lapsed", now=NOW)
    applications.reject(actor=regional, application_id=application.pk, reason="lapsed", now=NOW)
    assert again(application).status == "rejected"


def test_a_new_invitation_revokes_the_one_before(local: User, regional: User, national: User) -> None:
    application = approved(local, regional, national)
    first = FarmInvitation.objects.get()
    with pytest.raises(NotAllowed):
        applications.invite_again(actor=regional, application_id=application.pk, now=NOW)
    second = applications.invite_again(actor=national, application_id=application.pk, now=clock.now())
    first.refresh_from_db()
    assert (first.status, second.status) == ("revoked", "pending")
    assert steps(application)[-2:] == ["approved", "approved"]
    assert asked(TELL)[-1] == [str(application.pk), "approved"]


def test_only_who_is_approved_is_invited(national: User) -> None:
    application = apply()
    with pytest.raises(Conflict, match="constituency review: only who is approved"):
        applications.invite_again(actor=national, application_id=application.pk, now=NOW)


# --- who may -------------------------------------------------------------------------------------------------------


Decision = Callable[[User, FarmApplication], object]
DECISIONS: dict[str, Decision] = {
    "forward": lambda who, one: applications.forward(actor=who, application_id=one.pk, now=NOW),
    "changes": lambda who, one: applications.request_changes(actor=who, application_id=one.pk, reason="x", now=NOW),
    "reject": lambda who, one: applications.reject(actor=who, application_id=one.pk, reason="x", now=NOW),
}


@pytest.mark.parametrize("decision", DECISIONS)
@pytest.mark.parametrize(
    ("role", "place", "outcome"),
    [
        (Role.CONSTITUENCY_ADMIN, "BNT", None),
        (Role.CONSTITUENCY_ADMIN, "EJS", NotFound),
        (Role.CONSTITUENCY_STAFF, "BNT", NotAllowed),
        (Role.EXTENSION_OFFICER, "BNT", NotAllowed),
        (Role.REGIONAL_ADMIN, "BNT", NotAllowed),
        (Role.REGIONAL_ADMIN, "TMW", NotFound),
        (Role.NATIONAL_ADMIN, "BNT", NotAllowed),
        (Role.SUPER_ADMIN, "BNT", NotAllowed),
        (Role.AUDITOR, "BNT", NotAllowed),
        (Role.VETERINARY_OFFICER, "BNT", NotFound),
        (Role.FARMER, "BNT", NotFound),
        (Role.FINANCE_OFFICER, "BNT", NotFound),
    ],
)
def test_the_constituency_decides_in_its_own_constituency(
    decision: str, role: Role, place: str, outcome: type[DomainError] | None
) -> None:
    application, person = apply(), living_in(place, role)
    if outcome:
        with pytest.raises(outcome):
            DECISIONS[decision](person, application)
        assert again(application).status == "constituency_review"
    else:
        DECISIONS[decision](person, application)
        assert again(application).status != "constituency_review"


def test_regional_staff_decide_with_the_code_only(local: User, national: User) -> None:
    staff, application = living_in("BNT", Role.REGIONAL_STAFF), apply("independent")
    with pytest.raises(NotFound):
        applications.approve(actor=staff, application_id=application.pk, now=NOW)
    StaffPermission.objects.create(user=staff, code=Code.APPROVE_APPLICATIONS, granted_by=national)
    staff = User.objects.get(pk=staff.pk)
    assert applications.approve(actor=staff, application_id=application.pk, now=NOW).status == "approved"


def test_who_is_suspended_decides_nothing() -> None:
    person = living_in(
        "BNT", Role.CONSTITUENCY_ADMIN, is_suspended=True, suspended_at=NOW, suspension_reason="on leave"
    )
    with pytest.raises(NotFound):
        applications.forward(actor=person, application_id=apply().pk, now=NOW)


@pytest.mark.django_db(transaction=True)
def test_two_officers_who_act_at_once_give_one_event() -> None:
    first = UserFactory.create(role=Role.CONSTITUENCY_ADMIN)
    second = UserFactory.create(role=Role.CONSTITUENCY_ADMIN)
    application = apply(constituency=first.constituency)
    refused: list[DomainError] = []

    def attempt(who: User, decide: Decision) -> None:
        try:
            decide(who, application)
        except DomainError as error:
            refused.append(error)

    with meanwhile(
        lambda: attempt(first, DECISIONS["forward"]),
        lambda: attempt(second, DECISIONS["forward"]),
        lambda: attempt(first, DECISIONS["changes"]),
    ):
        pass
    assert len(refused) == 2
    assert ApplicationEvent.objects.filter(from_status="constituency_review").count() == 1
    assert len(asked(TELL)) == 2, "the submission and the one decision"


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_does_not_end_well_tells_nobody() -> None:
    admin = UserFactory.create(role=Role.CONSTITUENCY_ADMIN)
    application = apply(constituency=admin.constituency)
    before = (TaskRun.objects.count(), ApplicationEvent.objects.count())

    class Stop(Exception):
        pass

    @transaction.atomic
    def break_off() -> None:
        applications.reject(actor=admin, application_id=application.pk, reason="no land", now=NOW)
        raise Stop

    with pytest.raises(Stop):
        break_off()
    assert (TaskRun.objects.count(), ApplicationEvent.objects.count()) == before
    assert again(application).status == "constituency_review"


# --- claims and notes ----------------------------------------------------------------------------------------------


def test_a_review_is_claimed_begun_and_released_by_its_reviewer(local: User) -> None:
    item, other = the_item(apply()), living_in("BNT", Role.CONSTITUENCY_ADMIN)
    assert reviews.claim(actor=local, item_id=item.pk, now=NOW).claimed_by == local
    for who in (local, other):
        with pytest.raises(Conflict, match="claimed"):
            reviews.claim(actor=who, item_id=item.pk, now=NOW)
    for act in (reviews.start, reviews.release):
        with pytest.raises(Conflict, match="Somebody else"):
            act(actor=other, item_id=item.pk, now=NOW)
    assert reviews.release(actor=local, item_id=item.pk, now=NOW).status == "pending"
    reviews.claim(actor=other, item_id=item.pk, now=NOW)
    assert reviews.start(actor=other, item_id=item.pk, now=NOW).status == "in_progress"
    with pytest.raises(Conflict, match="in progress: it cannot be released"):
        reviews.release(actor=other, item_id=item.pk, now=NOW)


def test_the_absence_of_who_claimed_it_stops_nothing(local: User) -> None:
    application = apply()
    reviews.claim(actor=living_in("BNT", Role.CONSTITUENCY_ADMIN), item_id=the_item(application).pk, now=NOW)
    applications.forward(actor=local, application_id=application.pk, now=NOW)
    assert ApplicationEvent.objects.get(to_status="regional_review").actor == local


def test_who_does_not_decide_at_the_level_claims_nothing(regional: User) -> None:
    with pytest.raises(NotAllowed):
        reviews.claim(actor=regional, item_id=the_item(apply()).pk, now=NOW)
    with pytest.raises(NotFound):
        reviews.claim(actor=living_in("TMW", Role.CONSTITUENCY_ADMIN), item_id=ReviewItem.objects.get().pk, now=NOW)


@pytest.mark.parametrize("role", [Role.CONSTITUENCY_STAFF, Role.EXTENSION_OFFICER, Role.CONSTITUENCY_ADMIN])
def test_staff_and_extension_officers_may_note_for_those_who_decide(role: Role) -> None:
    item = the_item(apply())
    note = reviews.note(actor=living_in("BNT", role), item_id=item.pk, text=" I have seen the house. ", now=NOW)
    assert ReviewNote.objects.get(item=item).text == note.text == "I have seen the house."


def test_others_note_nothing_and_not_after_the_decision(local: User, regional: User) -> None:
    application = apply()
    item = the_item(application)
    with pytest.raises(NotAllowed, match="note at the constituency level"):
        reviews.note(actor=regional, item_id=item.pk, text="x", now=NOW)
    for text in ("", " ", "x" * 1001, "a\0"):
        with pytest.raises(InvalidInput, match="1 to 1000"):
            reviews.note(actor=local, item_id=item.pk, text=text, now=NOW)
    applications.forward(actor=local, application_id=application.pk, now=NOW)
    with pytest.raises(Conflict, match="over"):
        reviews.note(actor=local, item_id=item.pk, text="late", now=NOW)


# --- lists ---------------------------------------------------------------------------------------------------------


def test_the_review_list_is_in_the_order_of_priority_with_the_waiting_days(local: User) -> None:
    fresh = apply(experience_years=5, has_existing_farm=True)
    waited = apply(now=NOW - timedelta(days=25))
    other = apply(constituency=Constituency.objects.get(code="EJS"))
    rows = list(selectors.applications_to_review(local, ReviewLevel.CONSTITUENCY, now=clock.now()))
    assert [row.application for row in rows] == [waited, fresh]
    assert [row.priority for row in rows] == [80 + 25, 80 + 20]  # type: ignore[attr-defined]
    assert the_item(other)
    applications.forward(actor=local, application_id=fresh.pk, now=NOW)
    assert [
        row.application for row in selectors.applications_to_review(local, ReviewLevel.CONSTITUENCY, now=clock.now())
    ] == [waited]


@pytest.mark.parametrize("role", Role)
def test_the_applications_somebody_sees_are_those_the_policy_shows(role: Role) -> None:
    made = [apply(constituency=Constituency.objects.get(code=code)) for code in ("BNT", "EJS", "TMW")]
    person = living_in("BNT", role)
    seen = {one for one in made if people.may(person, Action.SEE_APPLICATIONS, one.place)}
    assert set(selectors.applications_in_scope(person)) == seen


def test_a_list_costs_as_many_queries_however_long_it_is(local: User, django_assert_num_queries: Any) -> None:
    for _ in range(5):
        apply()
    with django_assert_num_queries(1):
        rows = list(selectors.applications_to_review(local, ReviewLevel.CONSTITUENCY, now=clock.now()))
        assert {row.application.constituency.code for row in rows if row.application} == {"BNT"}
    assert len(rows) == 5
