"""Who asks, what they have sent, and where from."""

from __future__ import annotations

from typing import Any

from allauth.headless.tokens.strategies.jwt.internal import session_key_from_sid
from rest_framework.request import Request

from accounts import visits
from accounts.api import serializers as forms
from accounts.models import User
from accounts.services.trail import Origin


def me(request: Request) -> User:
    user = request.user
    assert isinstance(user, User)  # noqa: S101 - the permission classes let nobody else in
    return user


def sent(form: type[forms.Plain], request: Request, *, partial: bool = False) -> dict[str, Any]:
    """What the body holds. Raises ValidationError, which names the fields at fault."""
    return _checked(form(data=request.data, partial=partial))


def asked(form: type[forms.Plain], request: Request) -> dict[str, Any]:
    """What the address holds behind the `?`, as `sent`."""
    return _checked(form(data=request.query_params))


def _checked(filled: forms.Plain) -> dict[str, Any]:
    filled.is_valid(raise_exception=True)
    values: dict[str, Any] = filled.validated_data
    return values


def origin(request: Request) -> Origin:
    return visits.visit(request._request).origin


def session_key(request: Request) -> str:
    """The session that the request belongs to, by its cookie or by the token of the app."""
    if isinstance(request.auth, dict):
        return session_key_from_sid(request.auth["sid"]) or ""
    return request._request.session.session_key or ""
