"""The farm tasks. Each parses, calls one service, returns counts. Call shapes and promises: domain.md 7.4."""

from __future__ import annotations

import uuid
from typing import Any

from celery import shared_task

from core import clock
from core.errors import InvalidInput
from core.jobs.task import LedgerTask
from farms.services import activity, notifications, pending, places, reminders, scores


@shared_task(base=LedgerTask, personal=("message",))
def notify_application_status_change(application_id: str, new_status: str, message: str = "") -> dict[str, str]:
    """Tell an applicant that the application has a status, in any case, with the reason and an optional text.

    For an approval the link to the account is made here. Returns `status` ('queued', 'duplicate', 'skipped') and
    `event_id`. Fails for an unknown application or status.

    Safe to repeat: once per step of the application and text, and a link that was sent is not made again.
    """
    return notifications.tell_applicant(
        application_id=application_id, new_status=new_status, note=message, now=clock.now()
    )


@shared_task(base=LedgerTask, personal=("message",))
def notify_batch_enrollment_status(enrollment_id: str, new_status: str, message: str = "") -> dict[str, str]:
    """Tell a farmer that an enrolment has a status, in any case, with the reason and an optional text.

    Returns `status` ('queued', 'duplicate', 'skipped') and `event_id`. Fails for an unknown enrolment or status.

    Safe to repeat: once per step of the enrolment and text.
    """
    return notifications.tell_farmer(enrollment_id=enrollment_id, new_status=new_status, note=message)


@shared_task(base=LedgerTask, lane="bulk", once_at_a_time=True)
def send_enrollment_reminders(as_of: str | None = None) -> dict[str, int | str]:
    """Close the batches whose deadline has passed, and remind the farmers who may still apply to one of the others.

    7, 3 and 1 days before (setting `reminder.enrollment_days`), on the Friday before where that is a weekend. Returns
    `batches_closed`, `sent`, `covered` (reminders that a later one stands for) and `no_contact`: farmers whom no
    message reaches, who have the notice in the application alone. When some farms fail, the others are told, and then
    it fails.

    Safe to repeat: once for each farm, batch, kind and due day, by the rows of ReminderLog.
    """
    now = clock.moment(as_of)
    return {"status": "ok", **reminders.remind_of_batches(now=now, today=clock.accra(now).date())}


@shared_task(base=LedgerTask, lane="bulk", once_at_a_time=True)
def check_pending_applications(as_of: str | None = None) -> dict[str, int | str]:
    """Tell officers of the reviews that are due soon or late, and the admins above of what has not moved for a week.

    One digest for each officer; of what does not move headquarters are told how many. Returns how many subjects are new
    in a digest, `sla_soon`, `sla_overdue` and `stale`, and to how many `officers`. When some subjects fail, the others
    are told, and then it fails.

    Safe to repeat: once for each review, kind and due day, by the rows of ReminderLog, and one digest for an officer
    and day.
    """
    return {"status": "ok", **pending.check(today=clock.accra(clock.moment(as_of)).date())}


@shared_task(base=LedgerTask, lane="bulk", once_at_a_time=True)
def sync_farmer_locations(farm_id: str | None = None, as_of: str | None = None) -> dict[str, int | str]:
    """Copy the place of each farm's primary location to farmer and farm. Returns how many were `checked`, `changed`,
    are `without_location`, and are left as they were by a clash of names (`conflicts`).

    Always works on how things stand: `as_of` is checked and has no effect. Fails for an unknown farm.

    Safe to repeat: only differences are written.
    """
    clock.moment(as_of)
    return {"status": "ok", **places.sync_locations(farm_id=_farm(farm_id))}


@shared_task(base=LedgerTask, lane="bulk", once_at_a_time=True, takes_due_time=True)
def calculate_farm_scores(farm_id: str | None = None, as_of: str | None = None) -> dict[str, int | str]:
    """Compute biosecurity and readiness of every active farm, or of one. Returns `farms`, `changed`, `formula_version`.

    Fails for an unknown farm.

    Safe to repeat: an unchanged score writes nothing, and the row of a day and version is written over.
    """
    day = clock.accra(clock.moment(as_of)).date()
    return {"status": "ok", **scores.calculate(day=day, farm_id=_farm(farm_id))}


@shared_task(base=LedgerTask, personal=("email",))
def generate_farm_activity_report(farm_id: str, days: int = 30, email: str | None = None) -> dict[str, Any]:
    """Put together what a farm did in the last days, today included, and store it as a Report.

    Production in sums, what other apps add, and events in the order of time. Returns `report_id`, `emailed` and, when
    no e-mail went out, the `reason`: 'not_asked_for', 'recipient_not_allowed' (nobody active has the address who may
    see the farm), or 'no_document': there is no file yet that a link could lead to. Fails for an unknown farm and for
    days outside of 1 to 366.

    Safe to repeat: one row for a farm and its days, written over, with a new revision when it says something else.
    """
    now = clock.now()
    made = activity.report(farm_id=_id(farm_id), days=days, email=email, today=clock.accra(now).date(), now=now)
    return {"status": "ok", **made}


def _farm(farm_id: str | None) -> uuid.UUID | None:
    return None if farm_id is None else _id(farm_id)


def _id(farm_id: str) -> uuid.UUID:
    try:
        return uuid.UUID(str(farm_id))
    except ValueError as error:
        raise InvalidInput("farm_id must be the id of a farm, such as str(farm.id).") from error
