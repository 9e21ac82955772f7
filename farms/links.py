"""Addresses of pages that messages lead to. `farms/urls.py` builds its paths from the same templates."""

from __future__ import annotations

from django.conf import settings

MOUNT = "farms/"  # as in core/urls.py; core/middleware.py hides the tokens in logs
TOKEN = "<str:token>"  # noqa: S105 - a converter of Django's paths
INVITATION = f"invitation/{TOKEN}/"


def invitation(token: str) -> str:
    """The page on which an approved applicant opens the account."""
    return f"{settings.BASE_URL.rstrip('/')}/{MOUNT}{INVITATION.replace(TOKEN, token)}"
