"""Whatever officers, applicants and farmers try, in whatever order: no path leaves the tables of farms.rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from accounts.models import User
from accounts.rules import Role
from core import clock
from core.errors import DomainError
from core.jobs.models import TaskRun
from farms import rules
from farms.models import (
    ApplicationEvent,
    Batch,
    BatchEnrollment,
    EnrollmentEvent,
    FarmApplication,
    FarmInvitation,
    ReviewItem,
)
from farms.rules import ApplicationStatus, BatchStatus, EnrollmentStatus
from farms.services import applications, batches, enrollments
from tests.factories import UserFactory
from tests.factories.farms import BatchEnrollmentFactory
from tests.farms.conftest import living_in
from tests.farms.journey import apply, details

pytestmark = pytest.mark.django_db

Try = Callable[[User, Any], object]
NOW = clock.now()
ROLES = (Role.CONSTITUENCY_ADMIN, Role.REGIONAL_ADMIN, Role.NATIONAL_ADMIN, Role.FARMER)

APPLICATION: dict[str, Try] = {
    "forward": lambda who, one: applications.forward(actor=who, application_id=one.pk, now=NOW),
    "approve": lambda who, one: applications.approve(actor=who, application_id=one.pk, now=NOW),
    "changes": lambda who, one: applications.request_changes(actor=who, application_id=one.pk, reason="x", now=NOW),
    "reject": lambda who, one: applications.reject(actor=who, application_id=one.pk, reason="x", now=NOW),
    "resubmit": lambda who, one: applications.resubmit(
        actor=who,
        application_id=one.pk,
        details=replace(details(), primary_phone=one.primary_phone, ghana_card_number=one.ghana_card_number),
        now=NOW,
    ),
    "invite": lambda who, one: applications.invite_again(actor=who, application_id=one.pk, now=NOW),
}
ENROLLMENT: dict[str, Try] = {
    "submit": lambda who, one: enrollments.submit(actor=who, enrollment_id=one.pk, now=NOW),
    "forward": lambda who, one: enrollments.forward(actor=who, enrollment_id=one.pk, now=NOW),
    "approve": lambda who, one: enrollments.approve(actor=who, enrollment_id=one.pk, now=NOW),
    "changes": lambda who, one: enrollments.request_changes(actor=who, enrollment_id=one.pk, reason="x", now=NOW),
    "reject": lambda who, one: enrollments.reject(actor=who, enrollment_id=one.pk, reason="x", now=NOW),
    "resubmit": lambda who, one: enrollments.resubmit(actor=who, enrollment_id=one.pk, now=NOW),
    "withdraw": lambda who, one: enrollments.withdraw(actor=who, enrollment_id=one.pk, now=NOW),
    "enrolled": lambda who, one: enrollments.mark_enrolled(actor=who, enrollment_id=one.pk, now=NOW),
}
BATCH: dict[str, Try] = {
    "publish": lambda who, one: batches.publish(actor=who, batch_id=one.pk),
    "pause": lambda who, one: batches.pause(actor=who, batch_id=one.pk),
    "resume": lambda who, one: batches.resume(actor=who, batch_id=one.pk),
    "close": lambda who, one: batches.close(actor=who, batch_id=one.pk),
    "archive": lambda who, one: batches.archive(actor=who, batch_id=one.pk),
    "close past": lambda who, one: batches.close_past(today=one.application_deadline, now=NOW),
}

some_paths = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def paths(acts: Mapping[str, Try]) -> st.SearchStrategy[list[tuple[str, list[Role]]]]:
    """Acts, each tried by one or by everybody in turn, so that a path gets far."""
    who = st.sampled_from([list(ROLES), list(ROLES), *([role] for role in ROLES)])
    return st.lists(st.tuples(st.sampled_from(sorted(acts)), who), max_size=16)


def attempts(path: list[tuple[str, list[Role]]]) -> Iterator[tuple[str, Role]]:
    for act, roles in path:
        for role in roles:
            yield act, role


def officers(farmer: User) -> dict[Role, User]:
    return {
        Role.CONSTITUENCY_ADMIN: living_in("BNT", Role.CONSTITUENCY_ADMIN),
        Role.REGIONAL_ADMIN: living_in("BNT", Role.REGIONAL_ADMIN),
        Role.NATIONAL_ADMIN: UserFactory.create(role=Role.NATIONAL_ADMIN),
        Role.FARMER: farmer,
    }


def asked_for() -> int:
    return TaskRun.objects.count()


@some_paths
@given(path=paths(APPLICATION))
@example(path=[("forward", list(ROLES)), ("approve", list(ROLES)), ("invite", list(ROLES)), ("reject", list(ROLES))])
def test_no_path_of_an_application_leaves_the_table(bantama: object, path: list[tuple[str, list[Role]]]) -> None:
    people = officers(living_in("BNT", Role.FARMER))
    one = apply()
    for act, role in attempts(path):
        before = FarmApplication.objects.get(pk=one.pk)
        events, runs = ApplicationEvent.objects.filter(application=one), asked_for()
        seen = events.count()
        try:
            APPLICATION[act](people[role], before)
        except DomainError:
            assert FarmApplication.objects.get(pk=one.pk).updated_at == before.updated_at, (
                "refused, and nothing written"
            )
            assert (events.count(), asked_for()) == (seen, runs)
            continue
        after = FarmApplication.objects.get(pk=one.pk)
        allowed = rules.ways(rules.APPLICATION)[ApplicationStatus(before.status)]
        assert after.status == before.status == "approved" if act == "invite" else after.status in allowed
        assert events.count() == seen + 1
        assert events.filter(from_status=before.status, to_status=after.status).exists()
        assert asked_for() == runs + 1, "each step is told once"
    what_goes_on(FarmApplication.objects.get(pk=one.pk))


def what_goes_on(application: FarmApplication) -> None:
    """A review is open exactly in a review state, at its level; an invitation is open exactly once approved."""
    level = rules.level_of(application.status)
    open_reviews = ReviewItem.objects.filter(application=application).exclude(status="completed")
    assert [item.level for item in open_reviews] == ([level] if level else [])
    live = FarmInvitation.objects.filter(application=application, status__in=("pending", "sent")).count()
    assert live == (application.status == ApplicationStatus.APPROVED)


@some_paths
@given(path=paths(ENROLLMENT))
@example(path=[(act, list(ROLES)) for act in ("submit", "changes", "resubmit", "forward", "approve", "enrolled")])
def test_no_path_of_an_enrolment_leaves_the_table(bantama: object, path: list[tuple[str, list[Role]]]) -> None:
    one = BatchEnrollmentFactory.create()
    people = officers(one.farm.user)
    for act, role in attempts(path):
        before = BatchEnrollment.objects.get(pk=one.pk)
        events, runs = EnrollmentEvent.objects.filter(enrollment=one), asked_for()
        seen = list(events.values_list("pk", flat=True))
        try:
            ENROLLMENT[act](people[role], before)
        except DomainError:
            assert BatchEnrollment.objects.get(pk=one.pk).updated_at == before.updated_at
            assert (events.count(), asked_for()) == (len(seen), runs)
            continue
        state = before.status
        for event in events.exclude(pk__in=seen).order_by("at", "pk"):  # a submission goes on to its first review
            assert event.from_status == state
            assert event.to_status in rules.ways(rules.ENROLLMENT)[EnrollmentStatus(state)]
            state = event.to_status
        assert (BatchEnrollment.objects.get(pk=one.pk).status, state != before.status) == (state, True)
        assert asked_for() > runs
        batch = Batch.objects.get(pk=one.batch_id)
        assert batch.slots_filled == (state in ("approved", "enrolled")), "a slot is taken from approval on"


@some_paths
@given(path=paths(BATCH))
@example(path=[(act, list(ROLES)) for act in ("publish", "pause", "resume", "close", "archive")])
def test_no_path_of_a_batch_leaves_the_table(db: None, path: list[tuple[str, list[Role]]]) -> None:
    one = BatchEnrollmentFactory.create(batch__status=BatchStatus.DRAFT).batch
    people = officers(UserFactory.create(role=Role.FARMER))
    for act, role in attempts(path):
        before = Batch.objects.get(pk=one.pk)
        try:
            BATCH[act](people[role], before)
        except DomainError:
            assert Batch.objects.get(pk=one.pk).status == before.status
            continue
        after = Batch.objects.get(pk=one.pk).status
        if act == "close past":
            assert after == before.status, "its deadline has not passed"
        else:
            assert role == Role.NATIONAL_ADMIN
            assert after in rules.ways(rules.BATCH)[BatchStatus(before.status)]
