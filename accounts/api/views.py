"""People in my scope and what may be done to them; roles and regions to choose from."""

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
from accounts.models import Region, User
from accounts.rules import Role
from accounts.services import people
from accounts.services.trail import Origin
from accounts.visits import visit
from core import clock
from core.api.idempotency import idempotent
from core.api.views import Endpoint
from core.errors import NotFound

if TYPE_CHECKING:
    ListBase = generics.ListAPIView[User]
else:
    ListBase = generics.ListAPIView


def me(request: Request) -> User:
    user = request.user
    assert isinstance(user, User)  # noqa: S101 - the permission classes let nobody else in
    return user


def sent(form: type[forms.Plain], request: Request) -> dict[str, Any]:
    filled = form(data=request.data)
    filled.is_valid(raise_exception=True)
    values: dict[str, Any] = filled.validated_data
    return values


def origin(request: Request) -> Origin:
    return visit(request._request).origin


class Me(Endpoint):
    @extend_schema(operation_id="me", responses=forms.Me)
    def get(self, request: Request) -> Response:
        """Who I am, where I work, and what I was granted."""
        user = User.objects.select_related("region", "constituency").get(pk=me(request).pk)
        return Response(forms.Me(user).data)


class People(Endpoint, ListBase):
    serializer_class = forms.PersonRow
    ordering = ("username",)

    def get_queryset(self) -> QuerySet[User]:
        wanted = self.request.query_params
        found = selectors.people(
            role=wanted.get("role", ""), region=wanted.get("region", ""), search=wanted.get("search", "")
        )
        return selectors.in_scope(me(self.request), found)

    @extend_schema(
        operation_id="users_list",
        parameters=[
            OpenApiParameter("role", description="a role's code"),
            OpenApiParameter("region", description="a region's code"),
            OpenApiParameter("search", description="the beginning of a username, a name or a phone number"),
        ],
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The people in my scope, by username. Phone numbers are masked."""
        return super().get(request, *args, **kwargs)


def visible(request: Request, user_id: uuid.UUID) -> User:
    """The person, when they are in the scope of who asks."""
    user = selectors.in_scope(me(request), selectors.people()).filter(pk=user_id).first()
    if user is None:
        raise NotFound("There is no such person, or not in your scope.")
    return user


def shown(request: Request, user_id: uuid.UUID) -> Response:
    return Response(forms.Person(visible(request, user_id)).data)


class OnePerson(Endpoint):
    @extend_schema(operation_id="users_retrieve", responses=forms.Person)
    def get(self, request: Request, user_id: uuid.UUID) -> Response:
        """One person in my scope."""
        return shown(request, user_id)


class ChangeRole(Endpoint):
    @extend_schema(operation_id="users_change_role", request=forms.NewRole, responses={201: forms.RoleChangeInfo})
    @idempotent
    def post(self, request: Request, user_id: uuid.UUID) -> Response:
        """Give a person another role or place. It ends their sessions and takes their grants back."""
        change = people.change_role(actor=me(request), user_id=user_id, now=clock.now(), **sent(forms.NewRole, request))
        return Response(forms.RoleChangeInfo(change).data, status=201)


class Suspend(Endpoint):
    @extend_schema(operation_id="users_suspend", request=forms.Suspension, responses=forms.Person)
    @idempotent
    def post(self, request: Request, user_id: uuid.UUID) -> Response:
        """Keep a person out, until a time or without end. It ends their sessions."""
        given = sent(forms.Suspension, request)
        people.suspend(actor=me(request), user_id=user_id, now=clock.now(), origin=origin(request), **given)
        return shown(request, user_id)


class LiftSuspension(Endpoint):
    @extend_schema(operation_id="users_lift_suspension", request=forms.Reason, responses=forms.Person)
    @idempotent
    def post(self, request: Request, user_id: uuid.UUID) -> Response:
        """Let a suspended person in again."""
        given = sent(forms.Reason, request)
        people.lift_suspension(actor=me(request), user_id=user_id, now=clock.now(), origin=origin(request), **given)
        return shown(request, user_id)


class Unlock(Endpoint):
    @extend_schema(operation_id="users_unlock", request=None, responses=forms.Person)
    @idempotent
    def post(self, request: Request, user_id: uuid.UUID) -> Response:
        """End the lock that failed sign-ins have put on an account."""
        people.unlock(actor=me(request), user_id=user_id, now=clock.now())
        return shown(request, user_id)


class Roles(Endpoint):
    @extend_schema(operation_id="roles_list", responses=forms.RoleInfo(many=True))
    def get(self, request: Request) -> Response:  # noqa: ARG002 - the signature of REST framework
        """The fifteen roles."""
        return Response([forms.RoleInfo.of(role) for role in Role])


class Regions(Endpoint):
    @extend_schema(operation_id="regions_list", responses=forms.RegionInfo(many=True))
    def get(self, request: Request) -> Response:  # noqa: ARG002 - the signature of REST framework
        """The sixteen regions with their constituencies."""
        return Response(forms.RegionInfo(Region.objects.prefetch_related("constituency_set"), many=True).data)
