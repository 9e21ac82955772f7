"""Telling people what happened to the safety of their account (domain.md 7.6)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db import transaction

from accounts import rules
from accounts.models import LoginRecord, SecurityEvent
from accounts.rules import SecurityKind
from core import clock
from core.delivery import services as outbox
from core.delivery.services import Told
from core.errors import InvalidInput, NotFound

FEW_CODES = 3  # fewer recovery codes than this are told
TEMPLATES = {
    SecurityKind.MFA_ENABLED: "accounts.second_factor_added",
    SecurityKind.MFA_DISABLED: "accounts.second_factor_off",
    SecurityKind.MFA_RESET: "accounts.second_factor_reset",
    SecurityKind.BACKUP_CODE_USED: "accounts.recovery_code_used",
}
SERIOUS = frozenset(TEMPLATES) - {SecurityKind.MFA_ENABLED}  # an SMS besides the e-mail


@dataclass(frozen=True)
class Alert:
    """What was written: `channels` is empty for who has no usable address."""

    channels: tuple[str, ...]


@transaction.atomic
def tell_of_sign_in(*, login_id: uuid.UUID) -> Alert | None:
    """Tell a person of a sign-in from a new device or place; None when it was neither.

    Safe to repeat: the key is the login id. Raises NotFound for an unknown record, InvalidInput for a failed one.
    """
    record = LoginRecord.objects.select_related("user").filter(pk=login_id).first()
    if record is None:
        raise NotFound(f"There is no login record {login_id}.")
    if not record.success or record.user is None:
        raise InvalidInput("This sign-in failed. Only successful ones are told.")
    if not record.is_new_device and not record.is_new_place:
        return None
    return _alert(
        outbox.queue_templated(
            "accounts.new_sign_in",
            to=outbox.addressee(record.user.pk),
            values={
                "username": record.user.username,
                "when": clock.words(record.at),
                "place": record.place or "not known",
                "ip": record.ip or "not known",
                "where": record.place or (f"IP {record.ip}" if record.ip else "place not known"),
                "device": rules.device_name(record.user_agent),
                "site": settings.BASE_URL,
            },
            once=f"login-alert:{record.pk}",
            subject=("login", str(record.pk)),
        )
    )


@transaction.atomic
def tell_of_second_factor(*, event_id: uuid.UUID) -> Alert:
    """Tell a person what became of their second factor.

    Safe to repeat: the key is the event id. Raises NotFound for an unknown event, InvalidInput for one of another kind.
    """
    event = SecurityEvent.objects.select_related("user", "actor").filter(pk=event_id).first()
    if event is None:
        raise NotFound(f"There is no security event {event_id}.")
    kind = SecurityKind(event.kind)
    if kind not in TEMPLATES:
        raise InvalidInput(f"Of {kind.label.lower()} this task does not tell. Pass an event of a second factor.")
    values = {"username": event.user.username, "when": clock.words(event.at), "site": settings.BASE_URL}
    if kind == SecurityKind.MFA_RESET:
        values["by"] = event.actor.username if event.actor else "the system"
    else:
        values |= {"place": _place(event), "ip": event.ip or "not known", "device": rules.device_name(event.device)}
    if kind == SecurityKind.BACKUP_CODE_USED:
        left = _codes_left(event.user_id)
        values["left"] = str(left)
        values["few"] = "Make new ones now." if left < FEW_CODES else "Keep them safe."
    told = outbox.queue_templated(
        TEMPLATES[kind],
        to=outbox.addressee(event.user_id),
        values=values,
        once=f"mfa-alert:{event.pk}",
        subject=("security_event", str(event.pk)),
        serious=kind in SERIOUS,
    )
    return _alert(told)


def _alert(told: Told) -> Alert:
    return Alert(tuple(message.channel for message in told.messages))


def _place(event: SecurityEvent) -> str:
    """Where the person last signed in from the address of the event."""
    same = LoginRecord.objects.filter(user=event.user_id, success=True, ip=event.ip, at__lte=event.at)
    found = same.exclude(place="").order_by("-at").values_list("place", flat=True).first()
    return found or "not known"


def _codes_left(user_id: uuid.UUID) -> int:
    codes = Authenticator.objects.filter(user=user_id, type=Authenticator.Type.RECOVERY_CODES).first()
    return len(codes.wrap().get_unused_codes()) if codes else 0
