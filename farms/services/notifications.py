"""Telling applicants and farmers what became of their applications and enrolments (domain.md 7.4, 4.6.3)."""

from __future__ import annotations

import hashlib
import uuid
from datetime import datetime, time, timedelta

from django.db import transaction

from core import clock
from core.delivery.services import Addressee, addressee, is_told, queue_templated
from core.errors import InvalidInput, NotFound
from farms import links, rules
from farms.messages import STAGES
from farms.models import ApplicationEvent, BatchEnrollment, EnrollmentEvent, FarmApplication, FarmInvitation
from farms.rules import ApplicationStatus, EnrollmentStatus, InvitationStatus
from farms.services import invitations
from farms.services.common import day_of

Result = dict[str, str]
SILENT = (EnrollmentStatus.DRAFT, EnrollmentStatus.ELIGIBILITY_CHECK)


@transaction.atomic
def tell_applicant(*, application_id: str, new_status: str, note: str, now: datetime) -> Result:
    """Tell an applicant of the newest step to this status; for an approval make the invitation link.

    Safe to repeat: once per event and note, 'duplicate' then. Raises NotFound and InvalidInput; 'skipped' when the
    application never had the status, or has answered already what it asks for.
    """
    application = FarmApplication.objects.filter(pk=_id(application_id)).first()
    if application is None:
        raise NotFound(f"There is no application {application_id}.")
    status = rules.parse_status(ApplicationStatus, new_status)
    extra = _note(note)
    event = application.events.filter(to_status=status).order_by("-at").first()
    if event is None:
        return {"status": "skipped", "reason": "status_not_reached"}
    key, values = _key(event, extra), {"name": application.full_name, "number": application.application_number}
    if is_told(key):
        return {"status": "duplicate", "event_id": str(event.pk)}
    not_after = None
    template = _named(status, came_from=event.from_status)
    if status == ApplicationStatus.CHANGES_REQUESTED and application.status != status:
        return {"status": "skipped", "reason": "answered_already"}
    if template == "approved":
        invitation = FarmInvitation.objects.select_for_update(no_key=True).filter(event=event).first()
        if invitation is not None and invitation.status == InvitationStatus.PENDING:
            values |= _link(invitation, now)
            not_after = invitation.expires_at
        elif extra:
            template = "approved_before"  # the link has gone out; it is not made again
        else:
            return {"status": "duplicate", "event_id": str(event.pk)}
    elif template == "account_created":
        values["farm"] = application.farm.farm_number
    else:
        values |= _about(template, status, event.reason, application)
    if template == "changes_requested":
        values["link"] = links.changes(event.pk)
        until = application.changes_deadline or day_of(now)  # a late answer is taken too
        not_after = clock.at(max(until, day_of(now)) + timedelta(days=1), time())
    told = queue_templated(
        f"farms.application_{template}",
        to=_applicant(application),
        values={**values, "note": extra, "brief": _brief(extra)},
        once=key,
        subject=("application", str(application.pk)),
        not_after=not_after,
    )
    return {"status": "suppressed" if told.no_contact else "queued", "event_id": str(event.pk)}


@transaction.atomic
def tell_farmer(*, enrollment_id: str, new_status: str, note: str) -> Result:
    """Tell a farmer of the newest step of an enrolment to this status. Draft and eligibility check are not told.

    Safe to repeat: once per event and note, 'duplicate' then. Raises NotFound and InvalidInput; 'skipped' when the
    enrolment never had the status.
    """
    enrollment = BatchEnrollment.objects.select_related("batch", "farm__user").filter(pk=_id(enrollment_id)).first()
    if enrollment is None:
        raise NotFound(f"There is no enrolment {enrollment_id}.")
    status = rules.parse_status(EnrollmentStatus, new_status)
    extra = _note(note)
    if status in SILENT:
        return {"status": "skipped", "reason": "nothing_to_tell"}
    event = enrollment.events.filter(to_status=status).order_by("-at").first()
    if event is None:
        return {"status": "skipped", "reason": "status_not_reached"}
    key = _key(event, extra)
    if is_told(key):
        return {"status": "duplicate", "event_id": str(event.pk)}
    template = _named(status, came_from=event.from_status)
    farmer = enrollment.farm.user
    told = queue_templated(
        f"farms.enrollment_{template}",
        to=addressee(farmer.pk),
        values={
            "name": farmer.get_full_name() or farmer.username,
            "number": enrollment.enrollment_number or "(draft)",
            "batch": enrollment.batch.batch_name,
            "code": enrollment.batch.batch_code,
            "note": extra,
            "brief": _brief(extra),
            **_about(template, status, event.reason, enrollment),
        },
        once=key,
        subject=("enrollment", str(enrollment.pk)),
    )
    return {"status": "suppressed" if told.no_contact else "queued", "event_id": str(event.pk)}


def _named(status: ApplicationStatus | EnrollmentStatus, *, came_from: str) -> str:
    """The template of a status: the reviews share one, and coming back from changes has another."""
    if rules.level_of(status) is None:
        return status.value
    return "resubmitted" if came_from == ApplicationStatus.CHANGES_REQUESTED else "in_review"


def _about(
    template: str,
    status: ApplicationStatus | EnrollmentStatus,
    reason: str,
    subject: FarmApplication | BatchEnrollment,
) -> dict[str, str]:
    """What else the words of a template need."""
    why = {"reason": reason.removesuffix(".")}
    if template == "rejected":
        return why
    if template == "changes_requested":
        until = subject.changes_deadline
        return {**why, "deadline": f"{until:%a %-d %b %Y}" if until else "soon"}
    level = rules.level_of(status)
    return {"stage": STAGES[level]} if level else {}


def _link(invitation: FarmInvitation, now: datetime) -> dict[str, str]:
    token = invitations.mint(invitation, now=now)
    until = clock.accra(now + invitations.LIFE)
    return {"link": links.invitation(token), "until": f"{until:%-d %b %Y}"}


def _applicant(application: FarmApplication) -> Addressee:
    """Without an account by SMS, and by e-mail too; with one as the person prefers (domain.md 4.6.3)."""
    if application.status == ApplicationStatus.ACCOUNT_CREATED:
        return addressee(application.farm.user_id)
    return Addressee(application.primary_phone, application.email, application.language)


def _key(event: ApplicationEvent | EnrollmentEvent, note: str) -> str:
    return f"event:{event.pk}:{hashlib.sha256(note.encode()).hexdigest()[:16]}" if note else f"event:{event.pk}"


def _note(text: str) -> str:
    note = " ".join(str(text).split())
    if len(note) > rules.LONGEST_TEXT or not note.isprintable():
        raise InvalidInput(f"message must be a text of at most {rules.LONGEST_TEXT} letters.")
    return f" {note}" if note else ""


def _brief(note: str) -> str:
    return note if len(note) <= rules.LONGEST_NOTE else f"{note[: rules.LONGEST_NOTE - 3].rpartition(' ')[0]}..."


def _id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(str(text))
    except ValueError as error:
        raise InvalidInput("The id must be that of a stored row, such as str(application.id).") from error
