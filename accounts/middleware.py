"""Whoever must have a second factor and has none sets one up before anything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts import selectors
from accounts.models import User

# What one needs to set it up, to sign out, and what asks for no sign-in.
OPEN = frozenset({
    "mfa_index",
    "mfa_activate_totp",
    "mfa_add_webauthn",
    "mfa_list_webauthn",
    "mfa_view_recovery_codes",
    "account_reauthenticate",
    "account_login",
    "account_logout",
    "opt_out",
    "register",
    "password_reset",
    "password_reset_code",
    "new_password",
    "confirm_email",
    "accept_invitation",
    "farm_invitation",
})  # fmt: skip
API = "/api/"  # answers by itself, to sessions and tokens alike: accounts.api.permissions


class SecondFactorFirst:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, _view: Callable[..., HttpResponse], _args: list[Any], _kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        name = request.resolver_match.url_name if request.resolver_match else None
        if name in OPEN or request.path.startswith(API):
            return None
        user = request.user
        return redirect("mfa_index") if isinstance(user, User) and selectors.lacks_second_factor(user) else None
