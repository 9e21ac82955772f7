"""What farms tells the officers: which rows each notice reads (words: farms.messages)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from core.base.registries import Notice, Recipient, Severity
from core.errors import InvalidInput, NotFound
from farms import messages, selectors
from farms.models import Alert
from farms.rules import AlertKind


def high_mortality(context: Mapping[str, Any]) -> Notice:
    """`alert_id` is an Alert (domain.md 5.7). Once per alert and severity."""
    alert = _alert(context)
    title, text = messages.high_mortality(
        farm=alert.farm.farm_number,
        flock=alert.flock.flock_number,
        day=f"{alert.day:%a %-d %b}",
        value=str(alert.value),
        threshold=str(int(alert.threshold)),
        weekly=alert.kind == AlertKind.MORTALITY_WEEKLY,
        critical=alert.severity == Severity.CRITICAL,
    )
    return Notice(title, text, Severity(alert.severity), ("alert", str(alert.pk)), str(alert.pk))


def told_of_mortality(context: Mapping[str, Any]) -> Sequence[Recipient]:
    return selectors.told_of_alert(_alert(context))


def _alert(context: Mapping[str, Any]) -> Alert:
    try:
        alert_id = uuid.UUID(str(context.get("alert_id")))
    except ValueError as error:
        raise InvalidInput("alert_id must be the id of an alert.") from error
    alert = Alert.objects.select_related("farm__constituency", "flock").filter(pk=alert_id).first()
    if alert is None:
        raise NotFound(f"There is no alert {alert_id}. Pass the id of a stored one.")
    return alert


def stale_applications(context: Mapping[str, Any]) -> Notice:
    """`count` and `day`: so many applications and enrolments were told of that day, since they do not move."""
    count = context.get("count")
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InvalidInput("count must say how many applications and enrolments do not move, at least 1.")
    try:
        day = date.fromisoformat(context.get("day", ""))
    except (TypeError, ValueError) as error:
        raise InvalidInput("day must be a date such as 2026-11-23.") from error
    title, text = messages.stale_applications(count=count, day=f"{day:%a %-d %b}")
    return Notice(title, text, Severity.WARNING, ("day", day.isoformat()), day.isoformat())
