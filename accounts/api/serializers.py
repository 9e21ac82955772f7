"""What people, roles and places look like in the API, and what may be sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from allauth.usersessions.models import UserSession
from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts import selectors
from accounts.models import (
    Constituency,
    LoginRecord,
    Region,
    RoleChange,
    SecurityEvent,
    StaffInvitation,
    StaffPermission,
    TrustedDevice,
    User,
)
from accounts.rules import (
    LEVELS,
    Code,
    ContactMethod,
    InvitationStatus,
    Kind,
    Language,
    Level,
    Refusal,
    Role,
    SecurityKind,
    device_name,
    kind,
)
from accounts.services.secrets import LONGEST_PASSWORD
from core import clock, phones
from core.errors import InvalidInput
from core.phones import HOW, LONGEST_INPUT

PlaceT = TypeVar("PlaceT", Region, Constituency)
ROLE_LEVELS = [level.value for level in Level]
EMAIL_HELP = "empty for a farmer without one"
ROLE_HELP = "a role's code, in any case"
CONTACT_HELP = f"{', '.join(ContactMethod.values)}, in any case"

if TYPE_CHECKING:
    UserBase = serializers.ModelSerializer[User]
    RegionBase = serializers.ModelSerializer[Region]
    ConstituencyBase = serializers.ModelSerializer[Constituency]
    RoleChangeBase = serializers.ModelSerializer[RoleChange]
    GrantBase = serializers.ModelSerializer[StaffPermission]
    SessionBase = serializers.ModelSerializer[UserSession]
    DeviceBase = serializers.ModelSerializer[TrustedDevice]
    LoginBase = serializers.ModelSerializer[LoginRecord]
    EventBase = serializers.ModelSerializer[SecurityEvent]
    InvitationBase = serializers.ModelSerializer[StaffInvitation]
    Plain = serializers.Serializer[Any]
else:
    UserBase = RegionBase = ConstituencyBase = RoleChangeBase = GrantBase = serializers.ModelSerializer
    SessionBase = DeviceBase = LoginBase = EventBase = InvitationBase = serializers.ModelSerializer
    Plain = serializers.Serializer


class Place(Plain):
    code = serializers.CharField()
    name = serializers.CharField()


class Named(Plain):
    id = serializers.UUIDField()
    username = serializers.CharField()


class PersonRow(UserBase):
    """A person in a list: the phone number is masked."""

    COLUMNS: ClassVar = (  # what it reads of a row; the rest of a page of them takes as long to load
        *("username", "first_name", "last_name", "phone", "role", "is_active", "is_suspended", "suspended_until"),
        *("region__code", "region__name", "constituency__code", "constituency__name"),
    )

    phone = serializers.SerializerMethodField(help_text="masked")
    level = serializers.ChoiceField(choices=ROLE_LEVELS, read_only=True)
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
    email = serializers.CharField(read_only=True, help_text=EMAIL_HELP)

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

    level = serializers.ChoiceField(choices=ROLE_LEVELS, read_only=True)
    region = Place(read_only=True, allow_null=True)
    constituency = Place(read_only=True, allow_null=True)
    email = serializers.CharField(read_only=True, help_text=EMAIL_HELP)
    grants = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = [
            "id",
            "username",
            "first_name",
            "last_name",
            "phone",
            "phone_verified",
            "email",
            "email_verified",
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
    level = serializers.ChoiceField(choices=ROLE_LEVELS)
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


class InPlace(Plain):
    """A region or a constituency, by its code; the region follows from the constituency."""

    region = serializers.CharField(max_length=2, required=False, allow_blank=True, default="", help_text="code")
    constituency = serializers.CharField(max_length=3, required=False, allow_blank=True, default="", help_text="code")

    def validate_region(self, code: str) -> Region | None:
        return _found(selectors.region_by_code, code)

    def validate_constituency(self, code: str) -> Constituency | None:
        return _found(selectors.constituency, code)


class NewRole(Reason, InPlace):
    role = serializers.CharField(max_length=40, help_text=ROLE_HELP)


class Details(Plain):
    """What people say of themselves."""

    first_name = serializers.CharField(max_length=150)
    last_name = serializers.CharField(max_length=150)
    language = serializers.ChoiceField(choices=Language.choices, required=False)


class NewPerson(Details, InPlace):
    role = serializers.CharField(max_length=40, help_text=ROLE_HELP)
    phone = serializers.CharField(max_length=LONGEST_INPUT, help_text=HOW)
    email = serializers.CharField(
        max_length=254, required=False, allow_blank=True, help_text="all but farmers have one"
    )
    username = serializers.CharField(max_length=150, required=False, allow_blank=True, help_text="made of the name")
    preferred_contact_method = serializers.CharField(max_length=20, required=False, help_text=CONTACT_HELP)


class MyDetails(Details):
    preferred_contact_method = serializers.CharField(max_length=20, required=False, help_text=CONTACT_HELP)


class NewInvitation(InPlace):
    role = serializers.CharField(max_length=40, help_text=ROLE_HELP)
    email = serializers.CharField(max_length=254)


class NewGrant(Plain):
    code = serializers.ChoiceField(choices=Code.choices)


class Password(Plain):
    password = serializers.CharField(max_length=LONGEST_PASSWORD, trim_whitespace=False)


class NewFarmer(Details, Password, InPlace):
    phone = serializers.CharField(max_length=LONGEST_INPUT, help_text=HOW)
    email = serializers.CharField(max_length=254, required=False, allow_blank=True)


class Identifier(Plain):
    identifier = serializers.CharField(max_length=254, help_text="a phone number, an e-mail address or a username")


class Token(Plain):
    token = serializers.CharField(max_length=200, help_text="the last part of the link")


class Typed(Plain):
    code = serializers.CharField(max_length=20, help_text="six digits")


class FirstPassword(Token, Password):
    pass


class ResetPassword(Password):
    """By the token of a link, or by the code of an SMS for a phone number or e-mail address."""

    token = serializers.CharField(max_length=200, required=False)
    identifier = serializers.CharField(max_length=254, required=False)
    code = serializers.CharField(max_length=20, required=False, help_text="six digits")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if set(attrs) not in ({"password", "token"}, {"password", "identifier", "code"}):
            raise serializers.ValidationError("Give the token of the link, or identifier and code.")
        return attrs


class Acceptance(Details, Token, Password):
    phone = serializers.CharField(max_length=LONGEST_INPUT, help_text=HOW)
    username = serializers.CharField(max_length=150, required=False, allow_blank=True, help_text="made of the name")


class EventFilter(Plain):
    user = serializers.UUIDField(required=False, default=None, help_text="of this person")
    kind = serializers.CharField(required=False, default="", help_text=", ".join(SecurityKind.values))
    since = serializers.DateTimeField(required=False, default=None, help_text="at this time or later")


def _found(look: Callable[[str], PlaceT], code: str) -> PlaceT | None:
    """The place of a code, None for none; an unknown one is the fault of its field."""
    try:
        return look(code) if code else None
    except InvalidInput as unknown:
        raise serializers.ValidationError(str(unknown)) from unknown


# --- what is told ---------------------------------------------------------------------------------------------------


class Told(Plain):
    detail = serializers.CharField(help_text="what to do now")


class Username(UserBase):
    class Meta:
        model = User
        fields = ["username"]
        read_only_fields = fields


class GrantInfo(GrantBase):
    granted_by = serializers.UUIDField(source="granted_by_id", read_only=True)

    class Meta:
        model = StaffPermission
        fields = ["code", "granted_by", "created_at"]
        read_only_fields = fields


class SessionInfo(SessionBase):
    number = serializers.IntegerField(source="pk", read_only=True, help_text="for its address")
    device = serializers.SerializerMethodField(help_text="such as Chrome on Android")
    is_app = serializers.SerializerMethodField(help_text="the app of a phone, not a browser")
    is_current = serializers.SerializerMethodField(help_text="the one that asks")

    class Meta:
        model = UserSession
        fields = ["number", "device", "is_app", "is_current", "ip", "created_at", "last_seen_at"]
        read_only_fields = fields

    def get_device(self, session: UserSession) -> str:
        return device_name(session.user_agent)

    def get_is_app(self, session: UserSession) -> bool:
        return bool(session.data.get("app"))

    def get_is_current(self, session: UserSession) -> bool:
        return bool(session.session_key == self.context["here"])


class DeviceInfo(DeviceBase):
    device = serializers.SerializerMethodField(help_text="such as Chrome on Android")

    class Meta:
        model = TrustedDevice
        fields = ["id", "device", "trust_expires_at", "created_at"]
        read_only_fields = fields

    def get_device(self, device: TrustedDevice) -> str:
        return device_name(device.user_agent)


class LoginInfo(LoginBase):
    device = serializers.SerializerMethodField(help_text="such as Chrome on Android")
    failure_reason = serializers.ChoiceField(choices=["", *Refusal.values], read_only=True)

    class Meta:
        model = LoginRecord
        fields = ["id", "at", "success", "failure_reason", "device", "ip", "place", "is_new_device", "is_new_place"]
        read_only_fields = fields

    def get_device(self, record: LoginRecord) -> str:
        return device_name(record.user_agent)


class SecurityEventInfo(EventBase):
    user = Named(read_only=True)
    actor = Named(read_only=True, allow_null=True)
    device = serializers.SerializerMethodField(help_text="such as Chrome on Android")

    class Meta:
        model = SecurityEvent
        fields = ["id", "at", "kind", "user", "actor", "device", "ip"]
        read_only_fields = fields

    def get_device(self, event: SecurityEvent) -> str:
        return device_name(event.device)


class InvitationInfo(InvitationBase):
    region = Place(read_only=True, allow_null=True)
    constituency = Place(read_only=True, allow_null=True)
    status = serializers.SerializerMethodField()
    invited_by = Named(read_only=True)
    user = serializers.UUIDField(source="user_id", read_only=True, allow_null=True, help_text="who accepted it")

    class Meta:
        model = StaffInvitation
        fields = [
            *("id", "email", "role", "region", "constituency", "status", "invited_by", "user"),
            *("created_at", "sent_at", "expires_at"),
        ]
        read_only_fields = fields

    @extend_schema_field(serializers.ChoiceField(choices=InvitationStatus.choices))
    def get_status(self, invitation: StaffInvitation) -> str:
        return invitation.status_at(clock.now())


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
