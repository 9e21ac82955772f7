"""What accounts tells the admins: which rows each notice reads (words: accounts.messages)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from accounts import messages
from accounts.models import SecurityEvent
from accounts.rules import SecurityKind
from core import clock
from core.base.registries import Notice, Severity
from core.errors import InvalidInput, NotFound


def security_event(context: Mapping[str, Any]) -> Notice:
    """`event_id` is a SecurityEvent (domain.md 4.1.2). Once per event."""
    try:
        event_id = uuid.UUID(str(context.get("event_id")))
    except ValueError as error:
        raise InvalidInput("event_id must be the id of a security event.") from error
    event = SecurityEvent.objects.select_related("user", "actor").filter(pk=event_id).first()
    if event is None:
        raise NotFound(f"There is no security event {event_id}. Pass the id of a stored one.")
    user = event.user
    title, text = messages.security_event(
        what=SecurityKind(event.kind).label,
        username=user.username,
        role=user.get_role_display(),
        by=event.actor.username if event.actor else "the system",
        when=clock.words(event.at),
        reason=user.suspension_reason if event.kind == SecurityKind.SUSPENDED else "",
    )
    return Notice(title, text, Severity.WARNING, ("user", str(user.pk)), str(event.pk))
