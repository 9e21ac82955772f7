"""The pages of signing in that allauth has not, or not so (docs/sign-in.md)."""

from __future__ import annotations

import uuid
from typing import Any

from allauth.account.internal.decorators import login_stage_required
from allauth.core.internal.httpkit import is_headless_request
from allauth.headless.internal.restkit.response import APIResponse
from allauth.mfa.totp.views import ActivateTOTPView, DeactivateTOTPView
from allauth.mfa.webauthn.views import AddWebAuthnView, RemoveWebAuthnView
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import rules, selectors, visits
from accounts.models import User
from accounts.services import sign_in
from accounts.stages import TrustDevice
from core import clock
from core.errors import DomainError, NotAllowed

pages = require_http_methods(["GET", "HEAD", "POST"])


def nowhere(_request: HttpRequest, **_: Any) -> HttpResponse:
    """In the place of a page of allauth that we have otherwise, or not at all."""
    raise Http404


def me(request: HttpRequest) -> User:
    user = request.user
    assert isinstance(user, User)  # noqa: S101 - login_required lets nobody else in
    return user


# --- second factors ------------------------------------------------------------------------------------------------


class Watched:
    """A view of allauth that adds or removes second factors: its writes and what follows from them are one transaction
    (accounts.services.sign_in.factors_watched).
    """

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method in ("GET", "HEAD", "OPTIONS") or not request.user.is_authenticated:
            return self._go_on(request, *args, **kwargs)
        try:
            with sign_in.factors_watched(user_id=me(request).pk, origin=visits.visit(request).origin):
                return self._go_on(request, *args, **kwargs)
        except NotAllowed as refused:
            if is_headless_request(request):
                errors = [{"code": "second_factor_required", "message": str(refused)}]
                answer: HttpResponseBase = APIResponse(request, errors=errors, status=refused.status)
                return answer
            messages.error(request, str(refused))
            return redirect("mfa_index")

    def _go_on(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        answer: HttpResponseBase = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        return answer


class ActivateApp(Watched, ActivateTOTPView):
    pass


class DeactivateApp(Watched, DeactivateTOTPView):
    pass


class AddKey(Watched, AddWebAuthnView):
    pass


class RemoveKey(Watched, RemoveWebAuthnView):
    pass


@login_stage_required(stage=TrustDevice.key, redirect_urlname="account_login")  # type: ignore[untyped-decorator]
@pages
def trust_device(request: HttpRequest) -> HttpResponse:
    """The question after the second factor."""
    if request.method != "POST":
        return render(request, "accounts/trust_device.html", {"days": sign_in.TRUSTED.days})
    stage: TrustDevice = request._login_stage  # type: ignore[attr-defined]
    if request.POST.get("trust") == "yes":
        stage.trust()
    answer: HttpResponse = stage.exit()  # type: ignore[no-untyped-call]
    return answer


# --- devices and sessions ------------------------------------------------------------------------------------------


@login_required
@never_cache
@pages
def devices(request: HttpRequest) -> HttpResponse:
    """The devices that are asked for no second factor, and taking that back."""
    user, now = me(request), clock.now()
    if request.method == "POST":
        try:
            if request.POST.get("device") == "all":
                sign_in.revoke_devices(user_id=user.pk)
            else:
                sign_in.revoke_device(user_id=user.pk, device_id=_device_id(request))
            messages.success(request, "Done. The second factor is asked for there again.")
        except DomainError as refused:
            messages.error(request, str(refused))
        return redirect("devices")
    here = visits.visit(request).device_hash
    rows = [
        {"device": device, "name": rules.device_name(device.user_agent), "here": device.device_hash == here}
        for device in selectors.trusted_devices(user.pk, now)
    ]
    return render(request, "accounts/devices.html", {"rows": rows, "days": sign_in.TRUSTED.days})


def _device_id(request: HttpRequest) -> uuid.UUID:
    try:
        return uuid.UUID(request.POST.get("device", ""))
    except ValueError:
        raise Http404 from None


@login_required
@never_cache
@pages
def sessions(request: HttpRequest) -> HttpResponse:
    """Where I am signed in, and signing out there."""
    user, now = me(request), clock.now()
    found = sign_in.sessions_of(actor=user, user_id=user.pk, now=now)
    others = [session for session in found if session.session_key != request.session.session_key]
    if request.method == "POST":
        chosen = request.POST.get("session", "")
        ended = [session for session in others if chosen in (str(session.pk), "others")]
        for session in ended:
            sign_in.end_session(actor=user, user_id=user.pk, session_id=session.pk, now=now)
        if ended:
            messages.success(request, "Done. You are signed out there.")
        else:
            messages.error(request, "That session has ended already.")
        return redirect("usersessions_list")
    rows = [
        {
            "session": session,
            "name": rules.device_name(session.user_agent),
            "app": session.data.get("app"),
            "here": session not in others,
        }
        for session in found
    ]
    return render(request, "accounts/sessions.html", {"rows": rows, "others": len(others)})
