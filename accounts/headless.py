"""Signing in for the app: allauth's doors under /_allauth/app/v1/ that are open, and where they count as ours do.

https://docs.allauth.org/en/latest/headless/openapi-specification/ describes them; docs/sign-in.md lists ours.
"""

from __future__ import annotations

from allauth.headless.constants import Client
from allauth.headless.internal.restkit.inputs import Input
from allauth.headless.mfa import views as allauth
from allauth.headless.usersessions.response import SessionsResponse
from allauth.headless.usersessions.views import SessionsView
from django.urls import include, path, re_path

from accounts import forms
from accounts.services import sign_in
from accounts.views import Watched, me, nowhere
from core import clock


class CodeInput(forms.Code, Input):
    pass


class CodeAgainInput(forms.CodeAgain, Input):
    pass


class KeyInput(forms.Key, Input):
    pass


class KeyAgainInput(forms.KeyAgain, Input):
    pass


class NewKeyInput(forms.NewKey, Input):
    pass


class Authenticate(allauth.AuthenticateView):
    input_class = CodeInput  # type: ignore[assignment]


class Reauthenticate(allauth.ReauthenticateView):
    input_class = CodeAgainInput  # type: ignore[assignment]


class Sessions(SessionsView):
    def _respond_session_list(self) -> SessionsResponse:
        user = me(self.request)
        return SessionsResponse(self.request, sign_in.sessions_of(actor=user, user_id=user.pk, now=clock.now()))


class App(Watched, allauth.ManageTOTPView):
    pass


class Keys(Watched, allauth.ManageWebAuthnView):
    input_class = {**allauth.ManageWebAuthnView.input_class, "POST": NewKeyInput}


class AuthenticateByKey(allauth.AuthenticateWebAuthnView):
    input_class = {"POST": KeyInput}


class ReauthenticateByKey(allauth.ReauthenticateWebAuthnView):
    input_class = {"POST": KeyAgainInput}


OURS = {
    "auth/2fa/authenticate": Authenticate,
    "auth/2fa/reauthenticate": Reauthenticate,
    "auth/webauthn/authenticate": AuthenticateByKey,
    "auth/webauthn/reauthenticate": ReauthenticateByKey,
    "auth/sessions": Sessions,
    "account/authenticators/totp": App,
    "account/authenticators/webauthn": Keys,
}
OPEN = (  # of allauth's own; whatever a newer allauth adds stays closed
    "config",
    "auth/session",
    "auth/login",
    "auth/reauthenticate",
    "account/authenticators",
    "account/authenticators/recovery-codes",
    "tokens/refresh",
)

urlpatterns = [
    *(path(f"app/v1/{address}", view.as_api_view(client=Client.APP)) for address, view in OURS.items()),
    re_path(rf"^(?!app/v1/(?:{'|'.join(OPEN)})$)", nowhere),
    path("", include("allauth.headless.urls")),
]
