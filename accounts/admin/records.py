"""Sign-ins, security events and changes of role: read only, newest first."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts import selectors
from accounts.admin.asking import ReadOnly, me
from accounts.models import LoginRecord, RoleChange, SecurityEvent
from accounts.policy import Action
from accounts.rules import device_name

BY_PERSON = ("^user__username", "=user__phone", "=user__email")


@admin.register(LoginRecord)
class LoginRecordAdmin(ReadOnly):
    action = Action.READ_SIGN_INS
    list_display = ("at", "user", "success", "failure_reason", "place", "ip", "device", "is_new_device", "is_new_place")
    list_filter = ("success", "failure_reason", "is_new_device", "is_new_place", "at")
    list_select_related = ("user",)
    search_fields = (*BY_PERSON, "=ip")
    search_help_text = "the beginning of a username, or a whole phone number, e-mail or IP address"
    ordering = ("-at", "-id")

    @admin.display
    def device(self, record: LoginRecord) -> str:
        return device_name(record.user_agent)


@admin.register(SecurityEvent)
class SecurityEventAdmin(ReadOnly):
    action = Action.READ_SECURITY_EVENTS
    list_display = ("at", "kind", "user", "actor", "ip", "device_used")
    list_filter = ("kind", "at")
    list_select_related = ("user", "actor")
    search_fields = BY_PERSON
    search_help_text = "the beginning of a username, or a whole phone number or e-mail address"
    ordering = ("-at", "-id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[SecurityEvent]:
        return selectors.security_events_in_scope(me(request)).order_by(*self.ordering)

    @admin.display(description="device")
    def device_used(self, event: SecurityEvent) -> str:
        return device_name(event.device)


@admin.register(RoleChange)
class RoleChangeAdmin(ReadOnly):
    action = Action.READ_SIGN_INS
    list_display = ("created_at", "user", "old", "new", "changed_by", "reason")
    list_filter = ("new_role", "new_region", "created_at")
    list_select_related = (*("user", "changed_by", "old_region", "new_region", "old_constituency", "new_constituency"),)
    search_fields = (*BY_PERSON, "^changed_by__username")
    ordering = ("-created_at", "-id")

    @admin.display
    def old(self, change: RoleChange) -> str:
        return _position(change.get_old_role_display(), change.old_region, change.old_constituency)

    @admin.display
    def new(self, change: RoleChange) -> str:
        return _position(change.get_new_role_display(), change.new_region, change.new_constituency)


def _position(role: str, *places: object) -> str:
    return ", ".join([role, *(str(place) for place in places if place)])
