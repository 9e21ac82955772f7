"""The activity report of a farm: what its sections say of some days (domain.md 6.4, 7.4)."""

from __future__ import annotations

import uuid
from datetime import date, datetime, timedelta
from typing import Any

from accounts import selectors as people
from accounts.policy import Action
from core.base.registries import activity_sections
from core.errors import InvalidInput, NotFound
from core.reporting import services as reporting
from core.reporting.rules import Kind
from farms import selectors
from farms.models import Farm

LONGEST_DAYS = 366


def report(*, farm_id: uuid.UUID, days: int, email: str | None, today: date, now: datetime) -> dict[str, Any]:
    """Make the report of the last days of a farm, today included. Returns `report_id`, `emailed` and the `reason` when
    no e-mail went out.

    Safe to repeat: one row for a farm and its days, with a new revision when it says something else. Raises NotFound
    and InvalidInput.
    """
    if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= LONGEST_DAYS:
        raise InvalidInput(f"days must be a whole number from 1 to {LONGEST_DAYS}.")
    farm = Farm.objects.select_related("constituency").filter(pk=farm_id).first()
    if farm is None:
        raise NotFound(f"There is no farm {farm_id}. Pass the id of a stored one, such as str(farm.id).")
    first = today - timedelta(days=days - 1)
    made = reporting.make(
        kind=Kind.FARM_ACTIVITY,
        scope=f"farm:{farm.pk}",
        first=first,
        last=today,
        content=lambda: _content(farm, first, today),
        now=now,
    )
    return {"report_id": str(made.pk), "emailed": False, "reason": _why_not_sent(farm, email)}


def _content(farm: Farm, first: date, last: date) -> dict[str, Any]:
    """The figures of each section, and the events of all in the order of time."""
    found = {name: section(farm.pk, first, last) for name, section in activity_sections.items()}
    events = sorted(
        (event for activity in found.values() for event in activity.events), key=lambda event: (event.at, event.what)
    )
    return {
        "farm": farm.farm_number,
        "from": first.isoformat(),
        "to": last.isoformat(),
        "sections": {name: activity.figures for name, activity in found.items()},
        "events": [{"at": event.at.isoformat(), "what": event.what, **event.about} for event in events],
    }


def _why_not_sent(farm: Farm, email: str | None) -> str:
    """An e-mail carries the link to the document, and only to an active user who may see the farm (domain.md 6.4)."""
    if email is None:
        return "not_asked_for"
    readers = people.owners(email=str(email).strip().lower())
    if not any(people.may(user, Action.READ_FARM_REPORT, selectors.subject(farm)) for user in readers):
        return "recipient_not_allowed"
    return "no_document"  # a link is not sent before there is something behind it
