"""Addresses of pages that messages lead to. `farms/urls.py` builds its paths from the same templates."""

from __future__ import annotations

import base64
import binascii
import uuid
from datetime import datetime, timedelta

from django.conf import settings
from django.urls import reverse
from django.utils.crypto import constant_time_compare, salted_hmac

MOUNT = "farms/"  # as in core/urls.py; core/middleware.py hides the tokens in logs
TOKEN = "<str:token>"  # noqa: S105 - a converter of Django's paths
INVITATION = f"invitation/{TOKEN}/"
CHANGES = f"changes/{TOKEN}/"
SIGNED = 12  # bytes of a signature: the link goes into an SMS
UPLOAD_LIFE = timedelta(hours=1)
FOR_CHANGES, FOR_UPLOADS = "farms.links.changes", "farms.links.uploads"  # salts: a token is good for one thing


def invitation(token: str) -> str:
    """The page on which an approved applicant opens the account."""
    return _address(INVITATION, token)


def changes(event_id: uuid.UUID) -> str:
    """The page on which an applicant changes the application, as this event of it asks: always the same for it."""
    return _address(CHANGES, _token(event_id.bytes, FOR_CHANGES))


def reviews() -> str:
    """The list of reviews of whoever is signed in."""
    return settings.BASE_URL.rstrip("/") + reverse("admin:farms_reviewitem_changelist")


def event_of(token: str) -> uuid.UUID | None:
    """The event of a link's token, or None when we have not made it."""
    data = _signed(token, FOR_CHANGES)
    return uuid.UUID(bytes=data) if data else None


def upload_token(application_id: uuid.UUID, *, now: datetime) -> str:
    """By it whoever has just applied adds documents to the application, for an hour."""
    until = int((now + UPLOAD_LIFE).timestamp())
    return _token(application_id.bytes + until.to_bytes(5), FOR_UPLOADS)


def application_of(token: str, *, now: datetime) -> uuid.UUID | None:
    """The application of an upload token, or None when we have not made it or its hour is over."""
    data = _signed(token, FOR_UPLOADS)
    if not data or int.from_bytes(data[16:]) <= now.timestamp():
        return None
    return uuid.UUID(bytes=data[:16])


def _token(data: bytes, salt: str) -> str:
    return _written(data + _signature(data, salt, settings.SECRET_KEY))


def _signed(token: str, salt: str) -> bytes | None:
    """What we have signed with this salt, or None."""
    try:
        made = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if _written(made) != token:  # another spelling of the same bytes would be counted apart
        return None
    data, signature = made[:-SIGNED], made[-SIGNED:]
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    is_ours = any(constant_time_compare(signature, _signature(data, salt, key)) for key in keys)
    return data if is_ours else None


def _written(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _signature(data: bytes, salt: str, key: str | bytes) -> bytes:
    return salted_hmac(salt, data, secret=key, algorithm="sha256").digest()[:SIGNED]


def _address(path: str, token: str) -> str:
    return f"{settings.BASE_URL.rstrip('/')}/{MOUNT}{path.replace(TOKEN, token)}"
