"""The farm tasks. Each parses, calls one service, returns counts. Call shapes and promises: domain.md 7.4."""

from __future__ import annotations

import uuid

from celery import shared_task

from core import clock
from core.errors import InvalidInput
from core.jobs.task import LedgerTask
from farms.services import notifications, places, scores


@shared_task(base=LedgerTask, personal=("message",))
def notify_application_status_change(application_id: str, new_status: str, message: str = "") -> dict[str, str]:
    """Tell an applicant that the application has a status, in any case, with the reason and an optional text.

    For an approval the link to the account is made here. Returns `status` ('queued', 'duplicate', 'skipped') and
    `event_id`. Fails for an unknown application or status.

    Safe to repeat: once per step of the application, channel and text, and a link that was sent is not made again.
    """
    return notifications.tell_applicant(
        application_id=application_id, new_status=new_status, note=message, now=clock.now()
    )


@shared_task(base=LedgerTask, personal=("message",))
def notify_batch_enrollment_status(enrollment_id: str, new_status: str, message: str = "") -> dict[str, str]:
    """Tell a farmer that an enrolment has a status, in any case, with the reason and an optional text.

    Returns `status` ('queued', 'skipped') and `event_id`. Fails for an unknown enrolment or status.

    Safe to repeat: once per step of the enrolment, channel and text.
    """
    return notifications.tell_farmer(enrollment_id=enrollment_id, new_status=new_status, note=message)


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


def _farm(farm_id: str | None) -> uuid.UUID | None:
    if farm_id is None:
        return None
    try:
        return uuid.UUID(str(farm_id))
    except ValueError as error:
        raise InvalidInput("farm_id must be the id of a farm, such as str(farm.id).") from error
