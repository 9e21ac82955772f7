"""The doors that are open to everybody: opening an account, passwords that were forgotten, links and codes.

They answer alike, and after about the same time, whether or not there is such an account (accounts.services.secrets).
A try of a code is counted by a transaction of its own, so none of them is one transaction as a whole.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle

from accounts.api import serializers as forms
from accounts.api.asking import origin, sent
from accounts.services import invitations, people, secrets
from core import clock
from core.api.throttles import AccountLimit, DoorLimit
from core.api.views import Access, Endpoint

REGISTERED = "Look at your phone: we have sent an SMS to this number."
RESET = "If there is such an account, a link or a code is on its way to it."


class Door(Endpoint):
    access = {"post": Access.PUBLIC}

    def get_throttles(self) -> list[BaseThrottle]:
        return [*super().get_throttles(), DoorLimit(), AccountLimit()]


def accepted(detail: str) -> Response:
    return Response(forms.Told({"detail": detail}).data, status=202)


class Register(Door):
    @extend_schema(operation_id="auth_register", request=forms.NewFarmer, responses={202: forms.Told})
    def post(self, request: Request) -> Response:
        """Open the account of a farmer. The answer is the same for a number that has one: its owner is told."""
        people.register_farmer(**sent(forms.NewFarmer, request), now=clock.now())
        return accepted(REGISTERED)


class AskForReset(Door):
    @extend_schema(operation_id="auth_password_reset", request=forms.Identifier, responses={202: forms.Told})
    def post(self, request: Request) -> Response:
        """Send a link and a code for a new password, when there is such an account. The answer is always the same."""
        given = sent(forms.Identifier, request)
        secrets.request_password_reset(**given, ip=origin(request).ip, now=clock.now())
        return accepted(RESET)


class ConfirmReset(Door):
    @extend_schema(operation_id="auth_password_reset_confirm", request=forms.ResetPassword, responses={204: None})
    def post(self, request: Request) -> Response:
        """Set a new password by the code of an SMS, or by the token of a link. It ends all sessions."""
        given: dict[str, Any] = {**sent(forms.ResetPassword, request), "now": clock.now(), "origin": origin(request)}
        set_password = secrets.set_password_by_token if "token" in given else secrets.reset_password_by_code
        set_password(**given)
        return Response(status=204)


class SetPassword(Door):
    @extend_schema(operation_id="auth_password_set", request=forms.FirstPassword, responses={204: None})
    def post(self, request: Request) -> Response:
        """Choose the first password, by the token of the link that came with the account."""
        given = sent(forms.FirstPassword, request)
        secrets.set_password_by_token(**given, now=clock.now(), origin=origin(request))
        return Response(status=204)


class VerifyEmail(Door):
    @extend_schema(operation_id="auth_email_verify", request=forms.Token, responses={204: None})
    def post(self, request: Request) -> Response:
        """Confirm an e-mail address, by the token of the link that went to it."""
        secrets.verify_email(**sent(forms.Token, request), now=clock.now())
        return Response(status=204)


class AcceptInvitation(Door):
    @extend_schema(operation_id="invitations_accept", request=forms.Acceptance, responses={201: forms.Username})
    def post(self, request: Request) -> Response:
        """Open the account that an invitation is for, by the token of its link."""
        user = invitations.accept(**sent(forms.Acceptance, request), now=clock.now())
        return Response(forms.Username(user).data, status=201)
