"""Sign-ins, sessions and security events of the people in one's scope."""

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
from accounts.api.asking import asked, me
from accounts.api.people import visible
from accounts.models import LoginRecord, SecurityEvent
from accounts.policy import Action
from accounts.services import sign_in
from core import clock
from core.api.views import Endpoint
from core.errors import NotAllowed

if TYPE_CHECKING:
    LoginList = generics.ListAPIView[LoginRecord]
    EventList = generics.ListAPIView[SecurityEvent]
else:
    LoginList = EventList = generics.ListAPIView


class Sessions(Endpoint):
    access = {"get": Action.MANAGE_SESSIONS}

    @extend_schema(operation_id="users_sessions", responses=forms.SessionInfo(many=True))
    def get(self, request: Request, user_id: uuid.UUID) -> Response:
        """Where a person is signed in, oldest first."""
        found = sign_in.sessions_of(actor=me(request), user_id=user_id, now=clock.now())
        return Response(forms.SessionInfo(found, many=True, context={"here": ""}).data)


class OneSession(Endpoint):
    access = {"delete": Action.MANAGE_SESSIONS}

    @extend_schema(operation_id="users_sessions_end", responses={204: None})
    def delete(self, request: Request, user_id: uuid.UUID, number: int) -> Response:
        """Sign a person out in one place."""
        sign_in.end_session(actor=me(request), user_id=user_id, session_id=number, now=clock.now())
        return Response(status=204)


class Logins(Endpoint, LoginList):
    access = {"get": Action.READ_SIGN_INS}
    serializer_class = forms.LoginInfo
    ordering = ("-at", "-id")

    def get_queryset(self) -> QuerySet[LoginRecord]:
        user = visible(self.request, self.kwargs["user_id"])
        if not selectors.may(me(self.request), Action.READ_SIGN_INS, user):
            raise NotAllowed("Your role does not let you read the sign-ins of this person.")
        return selectors.sign_ins_of(user.pk)

    @extend_schema(operation_id="users_logins")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Each attempt to sign in to a person's account, newest first."""
        return super().get(request, *args, **kwargs)


class SecurityEvents(Endpoint, EventList):
    access = {"get": Action.READ_SECURITY_EVENTS}
    serializer_class = forms.SecurityEventInfo
    ordering = ("-at", "-id")

    def get_queryset(self) -> QuerySet[SecurityEvent]:
        wanted = asked(forms.EventFilter, self.request)
        return selectors.security_events_in_scope(
            me(self.request), of=wanted["user"], kind=wanted["kind"], since=wanted["since"]
        )

    @extend_schema(operation_id="security_events_list", parameters=[forms.EventFilter])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """What happened to the safety of my account and, for admins and auditors, of those in their scope; newest
        first.
        """
        return super().get(request, *args, **kwargs)
