"""Invitations: listed, made, taken back and sent again through the services."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from accounts import selectors
from accounts.admin.asking import ManagedForm, ReadOnly, add_page, for_each, may_somewhere, me
from accounts.models import StaffInvitation
from accounts.policy import Action
from accounts.rules import InvitationStatus
from accounts.services import invitations
from core import clock


class InvitationForm(ManagedForm):
    email = forms.EmailField(label="E-mail")
    field_order = ("email",)


class StatusFilter(admin.SimpleListFilter):
    """By how an invitation stands now: one whose time is over has expired."""

    title = "status"
    parameter_name = "status"

    def lookups(self, _request: HttpRequest, _model_admin: object) -> list[tuple[str, str]]:
        return [(status.value, str(status.label)) for status in InvitationStatus]

    def queryset(self, request: HttpRequest, queryset: QuerySet[StaffInvitation]) -> QuerySet[StaffInvitation]:
        if self.value() not in InvitationStatus.values:
            return queryset
        wanted = selectors.invitations_in_scope(me(request), status=str(self.value()), now=clock.now())
        return queryset.filter(pk__in=wanted.values("pk"))


@admin.register(StaffInvitation)
class InvitationAdmin(ReadOnly):
    action = Action.CREATE_PERSON
    actions = ("cancel", "send_again")
    list_display = ("email", "role", "region", "constituency", "standing", "invited_by", "created_at", "expires_at")
    list_filter = (StatusFilter, "role", "region")
    search_fields = ("^email", "^invited_by__username")
    ordering = ("-created_at", "-id")
    exclude = ("token_hash",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[StaffInvitation]:
        return selectors.invitations_in_scope(me(request), now=clock.now()).order_by(*self.ordering)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return may_somewhere(request, self.action)

    def add_view(
        self, request: HttpRequest, _form_url: str = "", _extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        done = "The invitation is on its way. Its link is good for seven days."
        return add_page(self, request, "Invite somebody", InvitationForm, invitations.invite, done)

    @admin.display(description="status")
    def standing(self, invitation: StaffInvitation) -> str:
        return str(invitation.status_at(clock.now()).label)

    @admin.action(description="Cancel the invitations")
    def cancel(self, request: HttpRequest, chosen: QuerySet[StaffInvitation]) -> None:
        user, now = me(request), clock.now()
        rows = list(chosen)
        for_each(request, rows, lambda one: invitations.cancel(actor=user, invitation_id=one.pk, now=now), "Taken back")

    @admin.action(description="Send the invitations again, with a new link")
    def send_again(self, request: HttpRequest, chosen: QuerySet[StaffInvitation]) -> None:
        user, now = me(request), clock.now()
        rows = list(chosen)
        for_each(request, rows, lambda one: invitations.again(actor=user, invitation_id=one.pk, now=now), "Sent again")
