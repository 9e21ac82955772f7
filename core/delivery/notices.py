"""Telling the admins: an e-mail and an in-app notice for each, an SMS too when it is critical (domain.md 2.4, 4.6.3).

What there is to tell, and in which words, is registered under a name (core.base.registries).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from core.base.registries import PLATFORM, Notice, NoticeType, Recipient, Severity, audiences, notice_types
from core.delivery import services
from core.delivery.models import Notification, OutboundMessage
from core.delivery.rules import Purpose, Status
from core.errors import DomainError, InvalidInput

LONGEST_PART = 60  # of a key
_TYPE = re.compile(r"[a-z][a-z0-9_]{0,49}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class NobodyToTell(DomainError):
    """The notice has no recipient at all."""

    status = 409


@dataclass(frozen=True)
class Told:
    """`recipients` got the notice in the application; `no_contact` of them have no address for anything else."""

    recipients: int
    no_contact: int
    messages: tuple[uuid.UUID, ...]


@transaction.atomic
def send(notification_type: object, context: object, *, otherwise_once_per: str) -> Told:
    """Write a notice for everyone it concerns, in one transaction; sending follows the commit.

    Safe to repeat: its key is the type, what it is about (else the day, else `otherwise_once_per`), the severity and
    the person. Raises InvalidInput for a type or context that cannot be one, NotFound when a row that the context names
    does not exist, and NobodyToTell.
    """
    if not isinstance(notification_type, str) or not _TYPE.fullmatch(notification_type):
        raise InvalidInput("The notification type must be a short name of small letters, such as system_error.")
    if context is None:
        context = {}
    if not isinstance(context, Mapping):
        raise InvalidInput("The context of a notice must be a dictionary of ids, such as {'task_id': '...'}.")
    kind = notice_types.get(notification_type) or NoticeType(PLATFORM, lambda given: _generic(notification_type, given))
    notice = kind.build(context)
    people = _people(kind, context)
    if not people:
        raise NobodyToTell("There is nobody to tell: create an active SUPER_ADMIN or NATIONAL_ADMIN account.")
    once_per = notice.once_per or _day(context) or otherwise_once_per
    if len(once_per) > LONGEST_PART:
        once_per = services.hashed(once_per)[:LONGEST_PART]
    key = f"{notification_type}:{once_per}:{notice.severity}"
    Notification.objects.bulk_create(
        [
            Notification(
                user_id=person.user_id,
                kind=notification_type,
                severity=notice.severity.value,
                title=notice.title,
                text=notice.text,
                subject_type=notice.subject[0],
                subject_id=notice.subject[1],
                idempotency_key=key,
                created_at=Now(),
            )
            for person in people
        ],
        ignore_conflicts=True,
    )
    messages: list[OutboundMessage] = []
    no_contact = 0
    for person in people:
        written = _write(notice, person, f"notice:{key}:{person.user_id}", notification_type)
        no_contact += not written
        messages += written
    return Told(len(people), no_contact, tuple(message.pk for message in messages))


def _people(kind: NoticeType, context: Mapping[str, Any]) -> Sequence[Recipient]:
    if not isinstance(kind.audience, str):
        return kind.audience(context)
    return audiences[kind.audience]() if kind.audience in audiences else []


def _write(notice: Notice, person: Recipient, key: str, template: str) -> list[OutboundMessage]:
    """The messages that can reach this person."""
    about: dict[str, Any] = {
        "purpose": Purpose.ADMIN,
        "subject": (notice.subject[0], notice.subject[1][:64]),
        "user_id": person.user_id,
        "template": template,
    }
    written = []
    if person.email:
        written.append(services.queue_email(person.email, notice.title, notice.text, key=f"{key}:email", **about))
    if notice.severity == Severity.CRITICAL and person.phone:
        where = "your e-mail and in the application" if person.email else "the application"
        sms = f"{notice.title}. More in {where}."
        written.append(services.queue_sms(person.phone, sms, key=f"{key}:sms", **about))
    return [message for message in written if message.status != Status.SUPPRESSED]


def _generic(notification_type: str, context: Mapping[str, Any]) -> Notice:
    """A type nobody has registered: its name and the ids only, since anything else may be personal data."""
    ids = {str(name): str(value) for name, value in context.items() if str(name).endswith("_id") and _is_id(value)}
    words = notification_type.replace("_", " ")
    listed = "\n".join(f"{name.removesuffix('_id').replace('_', ' ')}: {value}" for name, value in ids.items())
    return Notice(
        title=f"Notice: {words}",
        text=f"The system reports: {words}.\n{listed}".strip(),
        severity=Severity.WARNING,
        subject=(notification_type, next(iter(ids.values()), "")),
        once_per="/".join(ids.values()),
    )


def _is_id(value: object) -> bool:
    try:
        return bool(uuid.UUID(str(value)))
    except ValueError:
        return False


def _day(context: Mapping[str, Any]) -> str:
    day = context.get("day")
    return day if isinstance(day, str) and _DAY.fullmatch(day) else ""
