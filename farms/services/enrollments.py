"""From a farm's application to a batch to the support handed over (domain.md 4.2.6, 5.3)."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.db import transaction

from accounts import selectors as people
from accounts.models import User
from accounts.policy import Action
from core.base import cleaning, figures
from core.errors import Conflict, NotAllowed, NotFound
from core.jobs.services import enqueue
from farms import rules, selectors
from farms.models import Batch, BatchEnrollment, EnrollmentEvent, Farm
from farms.rules import Act, BatchStatus, DocumentKind, EnrollmentStatus, FarmStatus, ReviewLevel
from farms.services import reviews
from farms.services.common import checked_reason, day_of, in_order, number


@transaction.atomic
def draft(*, actor: User, farm_id: uuid.UUID, batch_id: uuid.UUID, now: datetime) -> BatchEnrollment:
    """Begin the application of one's own farm to a batch that can be seen. One per farm and batch: a second call is
    refused. Raises NotFound, InvalidInput.
    """
    rows = Farm.objects.select_related("constituency").select_for_update(of=("self",), no_key=True)
    farm = rows.filter(pk=farm_id, user=actor).first()  # locked: of two drafts at once the second is refused
    if farm is None or not people.may(actor, Action.KEEP_FARM, selectors.subject(farm)):
        raise NotFound("There is no such farm, or it is not yours.")
    batch = Batch.objects.filter(pk=batch_id, status__in=[BatchStatus.LIVE, BatchStatus.PAUSED]).first()
    if batch is None:
        raise NotFound("There is no such batch, or it is not open.")
    enrollment = BatchEnrollment(farm=farm, batch=batch, last_movement_at=now)
    cleaning.check(enrollment)
    enrollment.save(force_insert=True)
    return enrollment


@transaction.atomic
def submit(*, actor: User, enrollment_id: uuid.UUID, now: datetime) -> BatchEnrollment:
    """Submit a draft: the hard rules decide at once between the first review and a rejection that names those not met.

    Raises NotFound, and Conflict when it is no draft or the farm is not active.
    """
    enrollment = _own(actor, enrollment_id)
    farm = (
        Farm.objects.select_for_update(of=("self",), no_key=True)
        .select_related("constituency", "application")
        .get(pk=enrollment.farm_id)
    )
    batch = Batch.objects.select_for_update(no_key=True).get(pk=enrollment.batch_id)
    if farm.farm_status != FarmStatus.ACTIVE:
        raise Conflict(f"This farm is {farm.farm_status}: only an active farm applies to a batch.")
    _move(enrollment, Act.SUBMIT, actor=actor, now=now, fresh=True)
    _tell(enrollment)
    _move(enrollment, Act.SCREEN, actor=None, now=now)
    found = rules.eligibility(_candidate(farm), _terms(batch, now))
    enrollment.eligibility_score = found.score
    if found.failed:
        _move(enrollment, Act.REJECT, actor=None, now=now, reason=found.reason)
        _tell(enrollment)
        return enrollment
    _move(enrollment, Act.FORWARD, actor=None, now=now)
    _open(enrollment, ReviewLevel.CONSTITUENCY, now)
    return enrollment


@transaction.atomic
def withdraw(*, actor: User, enrollment_id: uuid.UUID, now: datetime) -> BatchEnrollment:
    """Take one's enrolment back; a slot that it had is free again. Raises NotFound, Conflict."""
    enrollment = _own(actor, enrollment_id)
    before = enrollment.status
    _move(enrollment, Act.WITHDRAW, actor=actor, now=now)
    if level := rules.level_of(before):
        reviews.complete(enrollment, level, actor, now=now)
    if before == EnrollmentStatus.APPROVED:
        batch = Batch.objects.select_for_update(no_key=True).get(pk=enrollment.batch_id)
        batch.slots_filled -= 1
        batch.save(update_fields=["slots_filled", "updated_at"])
    _tell(enrollment)
    return enrollment


@transaction.atomic
def resubmit(*, actor: User, enrollment_id: uuid.UUID, now: datetime) -> BatchEnrollment:
    """Bring an enrolment back to the review it came from, after what was asked for has been changed at the farm.

    Raises NotFound, Conflict.
    """
    enrollment = _own(actor, enrollment_id)
    level = rules.level_of(enrollment.changes_from_status)
    enrollment.changes_from_status, enrollment.changes_deadline = "", None
    _move(enrollment, Act.RESUBMIT, actor=actor, now=now, to=rules.ENROLLMENT_AT[level] if level else None)
    assert level  # noqa: S101 - the database keeps where it came from
    _open(enrollment, level, now)
    _tell(enrollment)
    return enrollment


@transaction.atomic
def forward(*, actor: User, enrollment_id: uuid.UUID, now: datetime) -> BatchEnrollment:
    """Pass an enrolment on to the next level. Raises NotFound, NotAllowed, Conflict."""
    enrollment, level = _at_review(actor, enrollment_id)
    following = rules.next_level(level)
    if following is None:
        raise Conflict("The national level is the last: approve or reject the enrolment.")
    reviews.complete(enrollment, level, actor, now=now)
    _move(enrollment, Act.FORWARD, actor=actor, now=now)
    _open(enrollment, following, now)
    _tell(enrollment)
    return enrollment


@transaction.atomic
def approve(*, actor: User, enrollment_id: uuid.UUID, now: datetime) -> BatchEnrollment:
    """Reserve a place at the national level. The batch's row is locked, so no slot is given twice.

    Raises NotFound, NotAllowed, and Conflict when the batch is full, or a government farm has no extension officer.
    """
    enrollment, level = _at_review(actor, enrollment_id)
    farm = Farm.objects.select_for_update(no_key=True).get(pk=enrollment.farm_id)  # the officer may be leaving it
    if farm.is_government and farm.extension_officer_id is None:
        raise Conflict("A government farm needs an extension officer before its enrolment is approved. Name one first.")
    _move(enrollment, Act.APPROVE, actor=actor, now=now)
    reviews.complete(enrollment, level, actor, now=now)
    batch = Batch.objects.select_for_update(no_key=True).get(pk=enrollment.batch_id)
    if batch.slots_filled >= batch.total_slots and not batch.allow_overbooking:
        raise Conflict("This batch is full: every slot is taken.")
    batch.slots_filled += 1
    batch.save(update_fields=["slots_filled", "updated_at"])
    _tell(enrollment)
    return enrollment


@transaction.atomic
def request_changes(*, actor: User, enrollment_id: uuid.UUID, reason: str, now: datetime) -> BatchEnrollment:
    """Ask the farmer for changes; the clock of the review stops. Raises NotFound, NotAllowed, Conflict,
    InvalidInput.
    """
    because = checked_reason(reason)
    enrollment, level = _at_review(actor, enrollment_id)
    reviews.complete(enrollment, level, actor, now=now)
    [days] = figures.read(figures.CHANGES_DAYS)
    enrollment.changes_from_status = enrollment.status
    enrollment.changes_deadline = day_of(now) + timedelta(days=days)
    _move(enrollment, Act.REQUEST_CHANGES, actor=actor, now=now, reason=because)
    _tell(enrollment)
    return enrollment


@transaction.atomic
def reject(*, actor: User, enrollment_id: uuid.UUID, reason: str, now: datetime) -> BatchEnrollment:
    """Reject for good, from a review or while changes are waited for. Raises NotFound, NotAllowed, Conflict,
    InvalidInput.
    """
    because = checked_reason(reason)
    enrollment, level = _at_review(actor, enrollment_id, or_changes=True)
    if enrollment.status != EnrollmentStatus.CHANGES_REQUESTED:
        reviews.complete(enrollment, level, actor, now=now)
    _move(enrollment, Act.REJECT, actor=actor, now=now, reason=because)
    _tell(enrollment)
    return enrollment


@transaction.atomic
def mark_enrolled(*, actor: User, enrollment_id: uuid.UUID, now: datetime) -> BatchEnrollment:
    """Say that the support was handed over. Raises NotFound, NotAllowed, Conflict."""
    enrollment = _seen(actor, enrollment_id)
    if not people.may(actor, Action.MARK_ENROLLED, enrollment.farm.place):
        raise NotAllowed("Your role does not let you mark enrolments there.")
    _move(enrollment, Act.MARK_ENROLLED, actor=actor, now=now)
    _tell(enrollment)
    return enrollment


# --- steps ---------------------------------------------------------------------------------------------------------


def _move(
    enrollment: BatchEnrollment,
    act: Act,
    *,
    actor: User | None,
    now: datetime,
    to: EnrollmentStatus | None = None,
    reason: str = "",
    fresh: bool = False,
) -> None:
    """One step of the table with its event row; the enrolment's row is locked. `fresh`: it gets its number."""
    before = EnrollmentStatus(enrollment.status)
    enrollment.status = rules.following(rules.ENROLLMENT, before, act, what="enrolment", to=to)
    enrollment.last_movement_at = now
    if fresh:
        enrollment.submitted_at = now
        enrollment.enrollment_number = number("farms_enrollment_number", f"PROG-{day_of(now):%Y}", 5)
    enrollment.save()
    EnrollmentEvent.objects.create(
        enrollment=enrollment,
        from_status=before,
        to_status=enrollment.status,
        actor=actor,
        reason=reason,
        at=in_order(enrollment.events.all(), now),
    )


def _open(enrollment: BatchEnrollment, level: ReviewLevel, now: datetime) -> None:
    days = timedelta(days=enrollment.batch.approval_sla_days)
    latest = enrollment.submitted_at + days if enrollment.submitted_at else None
    reviews.open_at(enrollment, level, now=now, latest=latest)


def _tell(enrollment: BatchEnrollment) -> None:
    enqueue("farms.tasks.notify_batch_enrollment_status", str(enrollment.pk), enrollment.status)


def _candidate(farm: Farm) -> rules.Candidate:
    kinds = set(farm.documents.values_list("kind", flat=True))
    return rules.Candidate(
        born=farm.application.date_of_birth,
        region_id=farm.constituency.region_id,
        constituency_id=farm.constituency_id,
        capacity=farm.total_bird_capacity,
        since=day_of(farm.created_at),
        is_government=farm.is_government,
        has_registration=DocumentKind.BUSINESS_REGISTRATION in kinds,
        has_photos=set(rules.PHOTOS) <= kinds,
    )


def _terms(batch: Batch, now: datetime) -> rules.Terms:
    return rules.Terms(
        accepts=rules.accepts(
            BatchStatus(batch.status),
            today=day_of(now),
            deadline=batch.application_deadline,
            filled=batch.slots_filled,
            slots=batch.total_slots,
            overbooking=batch.allow_overbooking,
        ),
        deadline=batch.application_deadline,
        region_id=batch.target_region_id,
        constituency_ids=frozenset(batch.eligible_constituencies.values_list("pk", flat=True)),
        min_age=batch.min_age,
        max_age=batch.max_age,
        min_capacity=batch.min_bird_capacity,
        max_capacity=batch.max_bird_capacity,
        min_farm_age_months=batch.min_farm_age_months,
        max_farm_age_years=batch.max_farm_age_years,
    )


# --- who and what --------------------------------------------------------------------------------------------------


def _locked(enrollment_id: uuid.UUID) -> BatchEnrollment:
    enrollment = (
        BatchEnrollment.objects.select_for_update(of=("self",), no_key=True)
        .select_related("batch", "farm__constituency")
        .filter(pk=enrollment_id)
        .first()
    )
    if enrollment is None:
        raise NotFound("There is no such enrolment.")
    return enrollment


def _seen(actor: User, enrollment_id: uuid.UUID) -> BatchEnrollment:
    enrollment = _locked(enrollment_id)
    if not selectors.enrollments_in_scope(actor).filter(pk=enrollment_id).exists():
        raise NotFound("There is no such enrolment, or not in your scope.")
    return enrollment


def _own(actor: User, enrollment_id: uuid.UUID) -> BatchEnrollment:
    enrollment = _locked(enrollment_id)
    farm = enrollment.farm
    if farm.user_id != actor.pk or not people.may(actor, Action.KEEP_FARM, selectors.subject(farm)):
        raise NotFound("There is no such enrolment, or it is not yours.")
    return enrollment


def _at_review(
    actor: User, enrollment_id: uuid.UUID, *, or_changes: bool = False
) -> tuple[BatchEnrollment, ReviewLevel]:
    """The enrolment, locked, and the level that decides on it now, where the actor may decide."""
    enrollment = _seen(actor, enrollment_id)
    waits = or_changes and enrollment.status == EnrollmentStatus.CHANGES_REQUESTED
    level = rules.level_of(enrollment.changes_from_status if waits else enrollment.status)
    if level is None:
        words = EnrollmentStatus(enrollment.status).label.lower()
        raise Conflict(f"This enrolment is {words}: there is nothing to decide now.")
    reviews.must_decide(actor, level, enrollment.farm.place)
    return enrollment, level
