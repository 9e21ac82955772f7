"""What people, roles and places look like in the API, and what may be sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from django.utils import timezone
from rest_framework import serializers

from accounts import selectors
from accounts.models import Constituency, Region, RoleChange, User
from accounts.rules import LEVELS, Kind, Level, Role, kind
from core import clock, phones
from core.errors import InvalidInput

PlaceT = TypeVar("PlaceT", Region, Constituency)

if TYPE_CHECKING:
    UserBase = serializers.ModelSerializer[User]
    RegionBase = serializers.ModelSerializer[Region]
    ConstituencyBase = serializers.ModelSerializer[Constituency]
    RoleChangeBase = serializers.ModelSerializer[RoleChange]
    Plain = serializers.Serializer[Any]
else:
    UserBase = RegionBase = ConstituencyBase = RoleChangeBase = serializers.ModelSerializer
    Plain = serializers.Serializer


class Place(Plain):
    code = serializers.CharField()
    name = serializers.CharField()


class PersonRow(UserBase):
    """A person in a list: the phone number is masked."""

    phone = serializers.SerializerMethodField(help_text="masked")
    level = serializers.ChoiceField(choices=[level.value for level in Level], read_only=True)
    region = Place(read_only=True, allow_null=True)
    constituency = Place(read_only=True, allow_null=True)
    is_suspended = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = [
            "id",
            "username",
            "first_name",
            "last_name",
            "phone",
            "role",
            "level",
            "region",
            "constituency",
            "is_active",
            "is_suspended",
        ]
        read_only_fields = fields

    def get_phone(self, user: User) -> str:
        return phones.mask(user.phone)

    def get_is_suspended(self, user: User) -> bool:
        return user.is_suspended_at(clock.now())


class Person(PersonRow):
    """A person by themselves, with how to reach them and how the account stands."""

    phone = serializers.CharField(read_only=True)  # type: ignore[assignment]

    class Meta(PersonRow.Meta):
        fields = [
            *PersonRow.Meta.fields,
            "email",
            "language",
            "preferred_contact_method",
            "suspended_until",
            "suspension_reason",
            "locked_until",
            "last_login",
            "created_at",
        ]
        read_only_fields = fields


class Me(UserBase):
    """The person who is signed in, and what staff were granted."""

    level = serializers.ChoiceField(choices=[level.value for level in Level], read_only=True)
    region = Place(read_only=True, allow_null=True)
    constituency = Place(read_only=True, allow_null=True)
    grants = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = [
            "id",
            "username",
            "first_name",
            "last_name",
            "phone",
            "email",
            "role",
            "level",
            "region",
            "constituency",
            "grants",
            "language",
            "preferred_contact_method",
        ]
        read_only_fields = fields

    def get_grants(self, user: User) -> list[str]:
        return sorted(code.value for code in user.grants)


class RoleInfo(Plain):
    code = serializers.ChoiceField(choices=Role.choices)
    name = serializers.CharField()
    level = serializers.ChoiceField(choices=[level.value for level in Level])
    kind = serializers.ChoiceField(choices=[kind.value for kind in Kind])

    @staticmethod
    def of(role: Role) -> dict[str, str]:
        return {"code": role.value, "name": role.label, "level": LEVELS[role].value, "kind": kind(role).value}


class ConstituencyInfo(ConstituencyBase):
    class Meta:
        model = Constituency
        fields = ["id", "code", "name"]


class RegionInfo(RegionBase):
    constituencies = ConstituencyInfo(source="constituency_set", many=True)

    class Meta:
        model = Region
        fields = ["id", "code", "name", "capital", "constituencies"]


# --- what may be sent ----------------------------------------------------------------------------------------------


class Reason(Plain):
    reason = serializers.CharField(max_length=500)


class Suspension(Reason):
    until = serializers.DateTimeField(required=False, allow_null=True, default=None, help_text="left out: without end")

    def validate_until(self, value: Any) -> Any:
        if value is not None and timezone.is_naive(value):
            raise serializers.ValidationError("Give a time with its offset, such as 2026-12-01T06:00:00Z.")
        return value


class NewRole(Reason):
    role = serializers.CharField(max_length=40, help_text="a role's code, in any case")
    region = serializers.CharField(max_length=2, required=False, allow_blank=True, default="", help_text="code")
    constituency = serializers.CharField(max_length=3, required=False, allow_blank=True, default="", help_text="code")

    def validate_region(self, code: str) -> Region | None:
        return _found(selectors.region_by_code, code)

    def validate_constituency(self, code: str) -> Constituency | None:
        return _found(selectors.constituency, code)


def _found(look: Callable[[str], PlaceT], code: str) -> PlaceT | None:
    """The place of a code, None for none; an unknown one is the fault of its field."""
    try:
        return look(code) if code else None
    except InvalidInput as unknown:
        raise serializers.ValidationError(str(unknown)) from unknown


class RoleChangeInfo(RoleChangeBase):
    user = serializers.UUIDField(source="user_id", read_only=True)
    changed_by = serializers.UUIDField(source="changed_by_id", read_only=True)
    old_region = serializers.CharField(source="old_region.code", default=None)
    new_region = serializers.CharField(source="new_region.code", default=None)
    old_constituency = serializers.CharField(source="old_constituency.code", default=None)
    new_constituency = serializers.CharField(source="new_constituency.code", default=None)

    class Meta:
        model = RoleChange
        fields = [
            "id",
            "user",
            "old_role",
            "new_role",
            "old_region",
            "new_region",
            "old_constituency",
            "new_constituency",
            "changed_by",
            "reason",
            "created_at",
        ]
        read_only_fields = fields
