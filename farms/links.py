"""Addresses of pages that messages lead to. `farms/urls.py` builds its paths from the same templates."""

from __future__ import annotations

import base64
import binascii
import uuid

from django.conf import settings
from django.urls import reverse
from django.utils.crypto import constant_time_compare, salted_hmac

MOUNT = "farms/"  # as in core/urls.py; core/middleware.py hides the tokens in logs
TOKEN = "<str:token>"  # noqa: S105 - a converter of Django's paths
INVITATION = f"invitation/{TOKEN}/"
CHANGES = f"changes/{TOKEN}/"
SIGNED = 12  # bytes of a signature: the link goes into an SMS


def invitation(token: str) -> str:
    """The page on which an approved applicant opens the account."""
    return _address(INVITATION, token)


def changes(event_id: uuid.UUID) -> str:
    """The page on which an applicant changes the application, as this event of it asks: always the same for it."""
    return _address(CHANGES, _written(event_id.bytes + _signature(event_id.bytes, settings.SECRET_KEY)))


def reviews() -> str:
    """The list of reviews of whoever is signed in."""
    return settings.BASE_URL.rstrip("/") + reverse("admin:farms_reviewitem_changelist")


def event_of(token: str) -> uuid.UUID | None:
    """The event of a link's token, or None when we have not made it."""
    try:
        made = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if _written(made) != token:  # another spelling of the same bytes would be counted apart
        return None
    data, signature = made[:16], made[16:]
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    is_ours = any(constant_time_compare(signature, _signature(data, key)) for key in keys)
    return uuid.UUID(bytes=data) if is_ours else None


def _written(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _signature(data: bytes, key: str | bytes) -> bytes:
    return salted_hmac("farms.links.changes", data, secret=key, algorithm="sha256").digest()[:SIGNED]


def _address(path: str, token: str) -> str:
    return f"{settings.BASE_URL.rstrip('/')}/{MOUNT}{path.replace(TOKEN, token)}"
