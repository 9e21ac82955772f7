"""Changing settings, and the record of every such change."""

from __future__ import annotations

import getpass
import os
import socket
import uuid
from collections.abc import Mapping
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now

from core.base import figures
from core.base.models import AuditLog, Setting
from core.errors import InvalidInput

THE_SYSTEM = "the system"  # the `actor_name` of what happens by itself


def record(
    *,
    action: str,
    subject: tuple[str, str],
    actor_id: uuid.UUID | None = None,
    actor_name: str = "",
    before: Any = None,
    after: Any = None,
    reason: str = "",
) -> AuditLog:
    """Write down in the caller's transaction who did what: `subject` is a type and an id, `before` and `after` JSON.

    Not safe to repeat: each call is a row. Raises InvalidInput when nobody is named.
    """
    if actor_id is None and not actor_name.strip():
        raise InvalidInput("An audit row needs to say who did it: pass actor_id or actor_name.")
    return AuditLog.objects.create(
        actor_id=actor_id,
        actor_name=actor_name[:200],
        action=action,
        subject_type=subject[0],
        subject_id=subject[1],
        before=before,
        after=after,
        reason=reason[:500],
        at=Now(),
    )


def record_of_itself(*, action: str, subject_type: str, changes: Mapping[uuid.UUID, tuple[Any, Any]]) -> None:
    """Write down in the caller's transaction what happened to many by itself: by id what was `before` and is `after`.

    One statement for a thousand of them. Not safe to repeat: each call writes a row for each.
    """
    rows = (
        AuditLog(
            actor_name=THE_SYSTEM,
            action=action,
            subject_type=subject_type,
            subject_id=str(subject_id),
            before=before,
            after=after,
            at=Now(),
        )
        for subject_id, (before, after) in changes.items()
    )
    AuditLog.objects.bulk_create(rows, batch_size=1_000)


def at_the_command_line() -> str:
    """The `actor_name` of whoever runs a command: ama@host (command line)."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        name = f"user {os.getuid()}"
    return f"{name}@{socket.gethostname()} (command line)"


@transaction.atomic
def change_setting(
    key: str, value: object, *, actor_id: uuid.UUID | None = None, actor_name: str = "", reason: str = ""
) -> bool:
    """Put a figure of `core.base.figures` in force from now on. False when it was so already; then nothing is written.

    Raises InvalidInput for an unknown key and for a value out of its form or range, or of its order with another.
    """
    figure = figures.named(key)
    new = figure.parse(value)
    with connection.cursor() as cursor:  # one change at a time: two that are good alone may not be so together
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('core.base.change_setting'))")
    for first, second in figures.PAIRS:
        if figure in (first, second):
            other = second if figure is first else first
            [kept] = figures.read(other)
            start, end = (new, kept) if figure is first else (kept, new)
            if start >= end:
                raise InvalidInput(
                    f"{first.key} must lie before {second.key}, which would be {first.show(start)} and"
                    f" {second.show(end)}. Change {other.key} first, or choose another time."
                )
    row = Setting.objects.filter(key=key).first()
    old = row.value if row else figure.show(figure.default)
    stored = figure.show(new)
    if old == stored:
        return False
    if row is None:
        row = Setting(key=key)
    row.value, row.updated_by_id = stored, actor_id
    row.save()
    record(
        action="setting.change",
        subject=("setting", key),
        actor_id=actor_id,
        actor_name=actor_name,
        before=old,
        after=stored,
        reason=reason,
    )
    return True
