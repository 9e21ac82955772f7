"""Addresses of pages that messages lead to. `core.middleware` keeps their tokens out of the log."""

from __future__ import annotations

from django.conf import settings

INVITATION = "/farms/invitation/{token}/"


def invitation(token: str) -> str:
    """The page on which an approved applicant opens the account."""
    return f"{settings.BASE_URL.rstrip('/')}{INVITATION.format(token=token)}"
