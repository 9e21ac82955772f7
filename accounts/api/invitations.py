"""Invitations of those who work for the system: to the roles and places that one manages."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import selectors
from accounts.api import serializers as forms
from accounts.api.asking import me, sent
from accounts.models import StaffInvitation
from accounts.policy import Action
from accounts.rules import InvitationStatus
from accounts.services import invitations
from core import clock
from core.api.idempotency import idempotent
from core.api.views import Endpoint
from core.errors import NotFound

if TYPE_CHECKING:
    InvitationList = generics.ListAPIView[StaffInvitation]
else:
    InvitationList = generics.ListAPIView


def shown(request: Request, invitation_id: uuid.UUID) -> dict[str, Any]:
    found = selectors.invitations_in_scope(me(request), now=clock.now()).filter(pk=invitation_id).first()
    if found is None:
        raise NotFound("There is no such invitation, or not in your scope.")
    return dict(forms.InvitationInfo(found).data)


class Invitations(Endpoint, InvitationList):
    access = {"get": Action.CREATE_PERSON, "post": Action.CREATE_PERSON}
    serializer_class = forms.InvitationInfo
    ordering = ("-created_at", "-id")

    def get_queryset(self) -> QuerySet[StaffInvitation]:
        status = self.request.query_params.get("status", "")
        return selectors.invitations_in_scope(me(self.request), status=status, now=clock.now())

    @extend_schema(
        operation_id="invitations_list",
        parameters=[OpenApiParameter("status", description=", ".join(InvitationStatus.values))],
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The invitations to what I manage, newest first."""
        return super().get(request, *args, **kwargs)

    @extend_schema(
        operation_id="invitations_create", request=forms.NewInvitation, responses={201: forms.InvitationInfo}
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Invite somebody, by e-mail, into a role that I manage. The link is good for seven days."""
        invitation = invitations.invite(actor=me(request), now=clock.now(), **sent(forms.NewInvitation, request))
        return Response(shown(request, invitation.pk), status=201)


class OneInvitation(Endpoint):
    access = {"get": Action.CREATE_PERSON}

    @extend_schema(operation_id="invitations_retrieve", responses=forms.InvitationInfo)
    def get(self, request: Request, invitation_id: uuid.UUID) -> Response:
        """One invitation."""
        return Response(shown(request, invitation_id))


class CancelInvitation(Endpoint):
    access = {"post": Action.CREATE_PERSON}

    @extend_schema(operation_id="invitations_cancel", request=None, responses=forms.InvitationInfo)
    @idempotent
    def post(self, request: Request, invitation_id: uuid.UUID) -> Response:
        """Take an invitation back: its link is not good any more."""
        invitations.cancel(actor=me(request), invitation_id=invitation_id, now=clock.now())
        return Response(shown(request, invitation_id))


class SendInvitationAgain(Endpoint):
    access = {"post": Action.CREATE_PERSON}

    @extend_schema(operation_id="invitations_send_again", request=None, responses=forms.InvitationInfo)
    @idempotent
    def post(self, request: Request, invitation_id: uuid.UUID) -> Response:
        """Send a new link, good for seven days; the one before is not good any more."""
        invitations.again(actor=me(request), invitation_id=invitation_id, now=clock.now())
        return Response(shown(request, invitation_id))
