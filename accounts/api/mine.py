"""What people read and do about their own account."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import selectors
from accounts.api import serializers as forms
from accounts.api.asking import me, sent, session_key
from accounts.models import LoginRecord, User
from accounts.rules import CodePurpose
from accounts.services import people, secrets, sign_in
from core import clock
from core.api.idempotency import idempotent
from core.api.views import Access, Endpoint

if TYPE_CHECKING:
    LoginList = generics.ListAPIView[LoginRecord]
else:
    LoginList = generics.ListAPIView

BY_MAIL = "Look into your mailbox: we have sent a link."
BY_SMS = "Look at your phone: we have sent a code."


def accepted(detail: str) -> Response:
    return Response(forms.Told({"detail": detail}).data, status=202)


class Me(Endpoint):
    access = {"get": Access.OWN, "patch": Access.OWN}

    @extend_schema(operation_id="me", responses=forms.Me)
    def get(self, request: Request) -> Response:
        """Who I am, where I work, and what I was granted."""
        user = User.objects.select_related("region", "constituency").get(pk=me(request).pk)
        return Response(forms.Me(user).data)

    @extend_schema(operation_id="me_change", request=forms.MyDetails, responses=forms.Me)
    def patch(self, request: Request) -> Response:
        """Change my name, my language, or how I would like to be reached. What is left out stays."""
        given = sent(forms.MyDetails, request, partial=True)
        return Response(forms.Me(people.change_details(user=me(request), now=clock.now(), **given)).data)


class AskToVerifyEmail(Endpoint):
    access = {"post": Access.OWN}

    @extend_schema(operation_id="me_email_verification", request=None, responses={202: forms.Told})
    @idempotent
    def post(self, request: Request) -> Response:
        """Send a link to my e-mail address, which confirms it."""
        secrets.ask_to_verify_email(user=me(request), now=clock.now())
        return accepted(BY_MAIL)


class AskToVerifyPhone(Endpoint):
    access = {"post": Access.OWN}

    @extend_schema(operation_id="me_phone_verification", request=None, responses={202: forms.Told})
    @idempotent
    def post(self, request: Request) -> Response:
        """Send a code to my phone, which confirms it."""
        secrets.ask_for_code(user=me(request), purpose=CodePurpose.PHONE_VERIFICATION, now=clock.now())
        return accepted(BY_SMS)


class VerifyPhone(Endpoint):
    access = {"post": Access.OWN}

    @extend_schema(operation_id="me_phone_verification_confirm", request=forms.Typed, responses={204: None})
    def post(self, request: Request) -> Response:  # a wrong code stays counted: not one transaction as a whole
        """Confirm my phone by the code that went to it."""
        secrets.verify_phone(user=me(request), **sent(forms.Typed, request), now=clock.now())
        return Response(status=204)


class MySessions(Endpoint):
    access = {"get": Access.OWN, "delete": Access.OWN}

    @extend_schema(operation_id="me_sessions", responses=forms.SessionInfo(many=True))
    def get(self, request: Request) -> Response:
        """Where I am signed in, oldest first."""
        user = me(request)
        found = sign_in.sessions_of(actor=user, user_id=user.pk, now=clock.now())
        return Response(forms.SessionInfo(found, many=True, context={"here": session_key(request)}).data)

    @extend_schema(operation_id="me_sessions_end_others", responses={204: None})
    def delete(self, request: Request) -> Response:
        """Sign me out everywhere but here."""
        user, here, now = me(request), session_key(request), clock.now()
        for session in sign_in.sessions_of(actor=user, user_id=user.pk, now=now):
            if session.session_key != here:
                sign_in.end_session(actor=user, user_id=user.pk, session_id=session.pk, now=now)
        return Response(status=204)


class OneOfMySessions(Endpoint):
    access = {"delete": Access.OWN}

    @extend_schema(operation_id="me_sessions_end", responses={204: None})
    def delete(self, request: Request, number: int) -> Response:
        """Sign me out in one place."""
        user = me(request)
        sign_in.end_session(actor=user, user_id=user.pk, session_id=number, now=clock.now())
        return Response(status=204)


class MyDevices(Endpoint):
    access = {"get": Access.OWN}

    @extend_schema(operation_id="me_devices", responses=forms.DeviceInfo(many=True))
    def get(self, request: Request) -> Response:
        """The devices on which I am not asked for the second factor, the latest first."""
        return Response(forms.DeviceInfo(selectors.trusted_devices(me(request).pk, clock.now()), many=True).data)


class OneOfMyDevices(Endpoint):
    access = {"delete": Access.OWN}

    @extend_schema(operation_id="me_devices_revoke", responses={204: None})
    def delete(self, request: Request, device_id: uuid.UUID) -> Response:
        """Ask me for the second factor there again."""
        sign_in.revoke_device(user_id=me(request).pk, device_id=device_id)
        return Response(status=204)


class MyLogins(Endpoint, LoginList):
    access = {"get": Access.OWN}
    serializer_class = forms.LoginInfo
    ordering = ("-at", "-id")

    def get_queryset(self) -> QuerySet[LoginRecord]:
        return selectors.sign_ins_of(me(self.request).pk)

    @extend_schema(operation_id="me_logins")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Each attempt to sign in to my account, newest first."""
        return super().get(request, *args, **kwargs)
