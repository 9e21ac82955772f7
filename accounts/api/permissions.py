"""What the API asks of everybody who is signed in (settings: DEFAULT_PERMISSION_CLASSES)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts import selectors
from accounts.models import User

if TYPE_CHECKING:  # REST framework's views import this module
    from rest_framework.views import APIView


class SecondFactorFirst(BasePermission):
    """Whoever must have a second factor and has none sets one up first."""

    message = (
        f"Your role needs a second factor. Set one up at {settings.BASE_URL}/accounts/2fa/, then ask again: before that"
        " nothing else is open to you."
    )
    code = "second_factor_required"

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 - the signature of REST framework
        return not (isinstance(request.user, User) and selectors.lacks_second_factor(request.user))
