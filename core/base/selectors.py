"""The audit log, for people: the commands and the console read here."""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import OuterRef, Q, Subquery

from core import phones
from core.base.models import AuditChain, AuditLog
from core.errors import InvalidInput


@dataclass(frozen=True)
class AuditFilter:
    """Which rows; empty means any. `actor` is a phone number, an e-mail address, or a part of a name. `action` and
    `subject` are names or their beginning: run, run.retried; schedule, prune-finished-runs.
    """

    actor: str = ""
    action: str = ""
    subject: str = ""
    since: datetime | None = None


@dataclass(frozen=True)
class AuditEntry:
    """`position` in the audit chain: None while the row waits for its link."""

    id: uuid.UUID
    at: datetime
    actor_id: uuid.UUID | None
    actor: str
    action: str
    subject_type: str
    subject_id: str
    before: Any
    after: Any
    reason: str
    position: int | None


def audit_entries(which: AuditFilter, limit: int) -> list[AuditEntry]:
    """The newest that fit, newest first."""
    links = AuditChain.objects.filter(source=AuditLog._meta.db_table, row_id=OuterRef("pk"))
    rows = AuditLog.objects.filter(_fitting(which)).select_related("actor")
    found = rows.annotate(position=Subquery(links.values("position"))).order_by("-at", "-id")[:limit]
    return [
        AuditEntry(
            id=row.pk,
            at=row.at,
            actor_id=row.actor_id,
            actor=row.actor.get_username() if row.actor else row.actor_name,
            action=row.action,
            subject_type=row.subject_type,
            subject_id=row.subject_id,
            before=row.before,
            after=row.after,
            reason=row.reason,
            position=row.position,
        )
        for row in found
    ]


def audit_rows(subject: tuple[str, str], limit: int) -> list[AuditLog]:
    """The newest about one subject, a type and an id, with who acted; newest first, in one query."""
    rows = AuditLog.objects.filter(subject_type=subject[0], subject_id=subject[1]).select_related("actor")
    return list(rows.order_by("-at", "-id")[:limit])


def _fitting(which: AuditFilter) -> Q:
    fits = Q(action__startswith=which.action) if which.action else Q()
    if which.subject:
        fits &= Q(subject_type=which.subject) | Q(subject_id__startswith=which.subject)
    if which.since:
        fits &= Q(at__gte=which.since)
    return fits & _acted(which.actor) if which.actor else fits


def _acted(actor: str) -> Q:
    person = Q(actor__username__icontains=actor) | Q(actor__email=actor.strip().lower())
    with suppress(InvalidInput):  # a name
        person |= Q(actor__phone=phones.normalise(actor))
    return person | Q(actor_name__icontains=actor)
