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
from accounts.api.asking import me, origin, sent
from accounts.models import Region, StaffPermission, User
from accounts.policy import Action
from accounts.rules import Role
from accounts.services import people, sign_in
from core import clock
from core.api.idempotency import idempotent
from core.api.views import Access, Endpoint
from core.errors import NotFound

if TYPE_CHECKING:
    ListBase = generics.ListAPIView[User]
else:
    ListBase = generics.ListAPIView


class People(Endpoint, ListBase):
    access = {"get": Action.SEE_PERSON, "post": Action.CREATE_PERSON}
    serializer_class = forms.PersonRow
    ordering: tuple[str, ...] = ("username",)

    def get_queryset(self) -> QuerySet[User]:
        asked = self.request.query_params
        place = {name: asked.get(name, "") for name in ("role", "region")}
        found = selectors.people(**place, search=asked.get("search", ""))
        if asked.get("search", "").strip():
            by = selectors.order_of_search(me(self.request), **place)
            if by is None:
                self.ordering = ("id",)
            else:
                self.sorted_by = (by,)
        return selectors.in_scope(me(self.request), found).only(*forms.PersonRow.COLUMNS)

    @extend_schema(
        operation_id="users_list",
        parameters=[
            OpenApiParameter("role", description="a role's code"),
            OpenApiParameter("region", description="a region's code"),
            OpenApiParameter("search", description="the beginning of a username, a name or a phone number"),
        ],
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The people in my scope, by username; what a search finds in all of Ghana comes by id. Phones are masked."""
        return super().get(request, *args, **kwargs)

    @extend_schema(operation_id="users_create", request=forms.NewPerson, responses={201: forms.Person})
    @idempotent
    def post(self, request: Request) -> Response:
        """Create a person of a role that I manage. They get a link to choose their password."""
        user = people.create_person(actor=me(request), now=clock.now(), **sent(forms.NewPerson, request))
        return Response(shown(request, user.pk).data, status=201)


def visible(request: Request, user_id: uuid.UUID) -> User:
    """The person, when they are in the scope of who asks."""
    user = selectors.in_scope(me(request), selectors.people()).filter(pk=user_id).first()
    if user is None:
        raise NotFound("There is no such person, or not in your scope.")
    return user


def shown(request: Request, user_id: uuid.UUID) -> Response:
    return Response(forms.Person(visible(request, user_id)).data)


class OnePerson(Endpoint):
    access = {"get": Action.SEE_PERSON}

    @extend_schema(operation_id="users_retrieve", responses=forms.Person)
    def get(self, request: Request, user_id: uuid.UUID) -> Response:
        """One person in my scope."""
        return shown(request, user_id)


class ChangeRole(Endpoint):
    access = {"post": Action.CHANGE_ROLE}

    @extend_schema(operation_id="users_change_role", request=forms.NewRole, responses={201: forms.RoleChangeInfo})
    @idempotent
    def post(self, request: Request, user_id: uuid.UUID) -> Response:
        """Give a person another role or place. It ends their sessions and takes their grants back."""
        change = people.change_role(actor=me(request), user_id=user_id, now=clock.now(), **sent(forms.NewRole, request))
        return Response(forms.RoleChangeInfo(change).data, status=201)


class Suspend(Endpoint):
    access = {"post": Action.SUSPEND}

    @extend_schema(operation_id="users_suspend", request=forms.Suspension, responses=forms.Person)
    @idempotent
    def post(self, request: Request, user_id: uuid.UUID) -> Response:
        """Keep a person out, until a time or without end. It ends their sessions."""
        given = sent(forms.Suspension, request)
        people.suspend(actor=me(request), user_id=user_id, now=clock.now(), origin=origin(request), **given)
        return shown(request, user_id)


class LiftSuspension(Endpoint):
    access = {"post": Action.SUSPEND}

    @extend_schema(operation_id="users_lift_suspension", request=forms.Reason, responses=forms.Person)
    @idempotent
    def post(self, request: Request, user_id: uuid.UUID) -> Response:
        """Let a suspended person in again."""
        given = sent(forms.Reason, request)
        people.lift_suspension(actor=me(request), user_id=user_id, now=clock.now(), origin=origin(request), **given)
        return shown(request, user_id)


class Unlock(Endpoint):
    access = {"post": Action.UNLOCK}

    @extend_schema(operation_id="users_unlock", request=None, responses=forms.Person)
    @idempotent
    def post(self, request: Request, user_id: uuid.UUID) -> Response:
        """End the lock that failed sign-ins have put on an account."""
        people.unlock(actor=me(request), user_id=user_id, now=clock.now())
        return shown(request, user_id)


class SignOut(Endpoint):
    access = {"post": Action.FORCE_SIGN_OUT}

    @extend_schema(operation_id="users_sign_out", request=forms.Reason, responses=forms.Person)
    @idempotent
    def post(self, request: Request, user_id: uuid.UUID) -> Response:
        """End all sessions of a person, who may sign in again."""
        given = sent(forms.Reason, request)
        people.force_sign_out(actor=me(request), user_id=user_id, now=clock.now(), origin=origin(request), **given)
        return shown(request, user_id)


class ResetMfa(Endpoint):
    access = {"post": Action.RESET_MFA}

    @extend_schema(operation_id="users_reset_mfa", request=forms.Reason, responses=forms.Person)
    @idempotent
    def post(self, request: Request, user_id: uuid.UUID) -> Response:
        """Take the second factors, recovery codes and trusted devices of a person away, who has lost them."""
        given = sent(forms.Reason, request)
        sign_in.reset_mfa(actor=me(request), user_id=user_id, now=clock.now(), origin=origin(request), **given)
        return shown(request, user_id)


class Grants(Endpoint):
    access = {"get": Action.SEE_PERSON, "post": Action.GRANT}

    @extend_schema(operation_id="users_grants", responses=forms.GrantInfo(many=True))
    def get(self, request: Request, user_id: uuid.UUID) -> Response:
        """The codes that a person of the staff was granted."""
        return Response(forms.GrantInfo(visible(request, user_id).staff_permissions.order_by("code"), many=True).data)

    @extend_schema(
        operation_id="users_grant",
        request=forms.NewGrant,
        responses={200: forms.GrantInfo, 201: forms.GrantInfo},
    )
    @idempotent
    def post(self, request: Request, user_id: uuid.UUID) -> Response:
        """Grant a code to a person of the staff; 200 when it was granted already."""
        given = sent(forms.NewGrant, request)
        is_new = people.grant(actor=me(request), user_id=user_id, now=clock.now(), **given)
        row = StaffPermission.objects.get(user=user_id, code=given["code"])
        return Response(forms.GrantInfo(row).data, status=201 if is_new else 200)


class OneGrant(Endpoint):
    access = {"delete": Action.GRANT}

    @extend_schema(operation_id="users_revoke", responses={204: None})
    def delete(self, request: Request, user_id: uuid.UUID, code: str) -> Response:
        """Take a granted code back; safe to repeat."""
        people.revoke(actor=me(request), user_id=user_id, code=code, now=clock.now())
        return Response(status=204)


class Roles(Endpoint):
    access = {"get": Access.SIGNED_IN}

    @extend_schema(operation_id="roles_list", responses=forms.RoleInfo(many=True))
    def get(self, request: Request) -> Response:  # noqa: ARG002 - the signature of REST framework
        """The fifteen roles."""
        return Response([forms.RoleInfo.of(role) for role in Role])


class Regions(Endpoint):
    access = {"get": Access.SIGNED_IN}

    @extend_schema(operation_id="regions_list", responses=forms.RegionInfo(many=True))
    def get(self, request: Request) -> Response:  # noqa: ARG002 - the signature of REST framework
        """The sixteen regions with their constituencies."""
        return Response(forms.RegionInfo(Region.objects.prefetch_related("constituency_set"), many=True).data)
