"""The addresses of the pages behind links with a token. `accounts/urls.py` builds its paths from the same templates."""

from __future__ import annotations

from django.conf import settings

MOUNT = "accounts/"  # as in core/urls.py; core/middleware.py hides the tokens in logs
TOKEN = "<str:token>"  # noqa: S105 - a converter of Django's paths
NEW_PASSWORD = f"password/new/{TOKEN}/"  # a first one, or a new one
VERIFY_EMAIL = f"email/verify/{TOKEN}/"
INVITATION = f"invitation/{TOKEN}/"


def absolute(path: str, token: str) -> str:
    """The whole address of one of these paths, with its token."""
    return f"{settings.BASE_URL.rstrip('/')}/{MOUNT}{path.replace(TOKEN, token)}"
