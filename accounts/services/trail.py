"""What is written down of what happens to an account."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models.functions import Now

from accounts import rules
from accounts.models import SecurityEvent, User
from accounts.rules import Role, SecurityKind
from core.base.services import record
from core.jobs.services import enqueue


@dataclass(frozen=True)
class Origin:
    """Where a request came from, as far as it is known."""

    ip: str | None = None
    device: str = ""


NOWHERE = Origin()


def security_event(kind: SecurityKind, actor: User, user: User, origin: Origin) -> SecurityEvent:
    """Append the event; what happened to the account of anybody but a farmer is told to the platform's admins."""
    event = SecurityEvent.objects.create(
        user=user, kind=kind, actor=actor, ip=origin.ip, device=origin.device[:200], at=Now()
    )
    if kind in rules.TOLD_TO_ADMINS and user.role != Role.FARMER:
        enqueue("core.tasks.send_admin_notification", "security_event", {"event_id": str(event.pk)})
    return event


def write_down(
    action: str, actor: User, user: User, *, before: object = None, after: object = None, reason: str = ""
) -> None:
    """Say in the audit log what the actor did to the person."""
    record(
        action=action,
        subject=("user", str(user.pk)),
        actor_id=actor.pk,
        before=before,
        after=after,
        reason=reason,
    )
