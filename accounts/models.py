"""People and the geography they belong to (domain.md 3.1, 4.1). What a constraint can hold, PostgreSQL holds.

Composite foreign keys keep district and constituency inside the region; Django cannot write them, so they are SQL in
migrations 0001 and 0005.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Lower
from django.db.models.lookups import Exact
from django.utils.crypto import salted_hmac

from accounts import rules
from accounts.fields import LowerEmailField, PhoneField
from accounts.rules import (
    Code,
    CodePurpose,
    ContactMethod,
    DistrictKind,
    InvitationStatus,
    Kind,
    Language,
    Refusal,
    Role,
    SecurityKind,
    Source,
    TokenPurpose,
)
from core import phones
from core.base.ids import new_id
from core.base.registries import Place


class Row(models.Model):
    """What every row of this app has."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True


class Region(Row):
    code = models.CharField(max_length=2, unique=True, help_text="second part of ISO 3166-2:GH")
    name = models.CharField(max_length=100, unique=True)
    capital = models.CharField(max_length=100)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(code__regex=r"^[A-Z]{2}$"),
                name="accounts_region_code_form",
                violation_error_message="The code of a region is two capital letters, such as AA.",
            ),
            models.CheckConstraint(
                condition=~Q(
                    Exact(
                        Lower(Func(F("name"), Value("[^[:alpha:]]"), Value(""), Value("g"), function="regexp_replace")),
                        Value("brongahafo"),
                    )
                ),
                name="accounts_region_not_brong_ahafo",
                violation_error_message=f"{rules.NO_SUCH_REGION}.",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class District(Row):
    region = models.ForeignKey(Region, on_delete=models.PROTECT)
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=12, choices=DistrictKind.choices)
    source = models.CharField(max_length=11, choices=Source.choices, default=Source.OFFICIAL)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["region", "name"], name="accounts_district_name_in_region"),
            models.UniqueConstraint(fields=["region", "id"], name="accounts_district_key_in_region"),
            models.CheckConstraint(condition=Q(kind__in=DistrictKind.values), name="accounts_district_kind"),
            models.CheckConstraint(condition=Q(source__in=Source.values), name="accounts_district_source"),
        ]

    def __str__(self) -> str:
        return self.name


class Constituency(Row):
    region = models.ForeignKey(Region, on_delete=models.PROTECT)
    district = models.ForeignKey(District, on_delete=models.PROTECT, null=True, blank=True)
    code = models.CharField(max_length=3, unique=True)
    name = models.CharField(max_length=100)
    source = models.CharField(max_length=11, choices=Source.choices, default=Source.OFFICIAL)

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "constituencies"
        constraints = [
            models.UniqueConstraint(fields=["region", "name"], name="accounts_constituency_name_in_region"),
            models.UniqueConstraint(fields=["region", "id"], name="accounts_constituency_key_in_region"),
            models.CheckConstraint(
                condition=Q(code__regex=r"^[A-Z]{3}$"),
                name="accounts_constituency_code_form",
                violation_error_message="The code of a constituency is three capital letters, such as TMW.",
            ),
            models.CheckConstraint(condition=Q(source__in=Source.values), name="accounts_constituency_source"),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.district_id and self.district and self.district.region_id != self.region_id:
            raise ValidationError({"district": "This district lies in another region."})


class UserManager(BaseUserManager["User"]):
    """Both ways of creating check everything and raise ValidationError; services.create_user speaks InvalidInput."""

    def create_user(self, username: str, password: str | None = None, **fields: object) -> User:
        user = self.model(username=username, **fields)
        user.set_password(password)
        user.full_clean()
        user.save(using=self._db, force_insert=True)
        return user

    def create_superuser(self, username: str, password: str | None = None, **fields: object) -> User:
        """The only way to a SUPER_ADMIN (domain.md 2.2); called by `manage.py createsuperuser`."""
        fields |= {"role": Role.SUPER_ADMIN, "is_superuser": True}
        return self.create_user(username, password, **fields)


class User(Row, AbstractBaseUser, PermissionsMixin):
    """A person who can sign in. Rules in domain.md 4.1.1, life in 4.1.2. Never deleted: an account is suspended."""

    username = models.CharField(max_length=150, unique=True, validators=[UnicodeUsernameValidator()])
    email = LowerEmailField(verbose_name="e-mail", blank=True, default="")
    phone = PhoneField(max_length=13, unique=True)
    first_name = models.CharField(max_length=150, blank=True, default="")
    last_name = models.CharField(max_length=150, blank=True, default="")
    role = models.CharField(max_length=30, choices=Role.choices, default=Role.FARMER)
    region = models.ForeignKey(Region, on_delete=models.PROTECT, null=True, blank=True)
    district = models.ForeignKey(District, on_delete=models.PROTECT, null=True, blank=True)
    constituency = models.ForeignKey(Constituency, on_delete=models.PROTECT, null=True, blank=True)
    preferred_contact_method = models.CharField(max_length=8, choices=ContactMethod.choices, default=ContactMethod.SMS)
    language = models.CharField(max_length=3, choices=Language.choices, default=Language.ENGLISH)
    email_verified = models.BooleanField(default=False)
    phone_verified = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True, help_text="False until an invited person has set a password")
    activated_at = models.DateTimeField(null=True, blank=True)
    is_suspended = models.BooleanField(default=False)
    suspended_at = models.DateTimeField(null=True, blank=True)
    suspended_until = models.DateTimeField(null=True, blank=True, help_text="empty: without end")
    suspended_by = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="suspensions_made"
    )
    suspension_reason = models.CharField(max_length=500, blank=True, default="")
    token_version = models.PositiveIntegerField(default=0, help_text="raising it ends every session and token")
    failed_login_attempts = models.PositiveSmallIntegerField(default=0)
    locked_until = models.DateTimeField(null=True, blank=True)
    is_demo = models.BooleanField(
        default=False, db_default=False, help_text="needs no second factor and signs in during development alone"
    )

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["phone", "email"]

    class Meta:
        ordering = ["username"]
        constraints = [
            models.CheckConstraint(
                condition=Q(phone__regex=phones.E164),
                name="accounts_user_phone_form",
                violation_error_message=f"Phone: {phones.HOW}.",
            ),
            models.UniqueConstraint(
                Lower("email"),
                condition=~Q(email=""),
                name="accounts_user_email_unique",
                violation_error_message="A person with this e-mail address already exists.",
            ),
            models.CheckConstraint(
                condition=Q(email=Lower("email")),
                name="accounts_user_email_lower",
                violation_error_message="E-mail: write it in lower case.",
            ),
            models.CheckConstraint(
                condition=Q(role=Role.FARMER) | ~Q(email=""),
                name="accounts_user_email_unless_farmer",
                violation_error_message="E-mail is required for every role but FARMER.",
            ),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="accounts_user_role"),
            models.CheckConstraint(
                condition=~Q(role__in=rules.NEED_REGION) | Q(region__isnull=False),
                name="accounts_user_region_for_role",
                violation_error_message="Regional and constituency roles need a region.",
            ),
            models.CheckConstraint(
                condition=~Q(role__in=rules.NEED_CONSTITUENCY) | Q(constituency__isnull=False),
                name="accounts_user_constituency_for_role",
                violation_error_message="Constituency roles need a constituency.",
            ),
            # A composite key with an empty half is not checked, so neither half may stand alone.
            models.CheckConstraint(
                condition=Q(region__isnull=False) | Q(district__isnull=True, constituency__isnull=True),
                name="accounts_user_place_has_region",
                violation_error_message="Name the region of the district or constituency too.",
            ),
            models.CheckConstraint(
                condition=Q(is_suspended=False) | (Q(suspended_at__isnull=False) & Q(suspension_reason__regex=r"\S")),
                name="accounts_user_suspension_explained",
                violation_error_message="A suspension needs its time and a reason.",
            ),
            models.CheckConstraint(
                condition=Q(preferred_contact_method__in=ContactMethod.values), name="accounts_user_contact_method"
            ),
            models.CheckConstraint(condition=Q(language__in=Language.values), name="accounts_user_language"),
            models.CheckConstraint(
                condition=Q(is_superuser=False) | Q(role=Role.SUPER_ADMIN),
                name="accounts_user_superuser_role",
                violation_error_message="Only a SUPER_ADMIN is a superuser.",
            ),
        ]
        indexes = [  # a list of people is in the order of their usernames: whole, of a role, of a place
            models.Index(fields=["role", "username"], name="accounts_user_by_role"),
            models.Index(fields=["region", "username"], name="accounts_user_by_region"),
            models.Index(fields=["constituency", "username"], name="accounts_user_by_constituency"),
        ]

    def __str__(self) -> str:
        return self.username

    @property
    def level(self) -> rules.Level:
        return rules.LEVELS[Role(self.role)]

    @property
    def is_staff(self) -> bool:
        """Whether Django's admin site opens for this person; what is in it, each page asks the policy."""
        return self.level in rules.ADMIN_SITE_LEVELS

    @property
    def home(self) -> Place:
        return Place(self.region_id, self.constituency_id)

    @cached_property
    def grants(self) -> frozenset[Code]:
        """The codes granted to this person, read once; only staff are asked about."""
        if rules.kind(Role(self.role)) != Kind.STAFF:
            return frozenset()
        return frozenset(
            Code(code) for code in StaffPermission.objects.filter(user=self).values_list("code", flat=True)
        )

    def is_suspended_at(self, now: datetime) -> bool:
        """A suspension whose time is over has ended by itself (domain.md 4.1.2)."""
        return self.is_suspended and (self.suspended_until is None or self.suspended_until > now)

    def is_open_at(self, now: datetime) -> bool:
        """Whether links and codes work for this person: active or invited only, neither suspended nor switched off."""
        return (self.is_active or self.activated_at is None) and not self.is_suspended_at(now)

    def is_locked_at(self, now: datetime) -> bool:
        return self.locked_until is not None and self.locked_until > now

    @property
    def must_have_second_factor(self) -> bool:
        return rules.needs_second_factor(Role(self.role)) and not self.is_demo

    def get_session_auth_hash(self) -> str:
        """A raised `token_version` ends every session, as a changed password does."""
        return salted_hmac("accounts.session", f"{self.password}:{self.token_version}", algorithm="sha256").hexdigest()

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        """The same under the keys that SECRET_KEY replaced."""
        for key in settings.SECRET_KEY_FALLBACKS:
            yield salted_hmac(
                "accounts.session", f"{self.password}:{self.token_version}", secret=key, algorithm="sha256"
            ).hexdigest()

    def get_full_name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()

    def get_short_name(self) -> str:
        return self.first_name or self.username

    @property
    def called(self) -> str:
        """How messages address this person. A farmer has chosen the name, and may have given another person's number or
        address: until they are confirmed, nobody reads the name there.
        """
        confirmed = self.phone_verified and (self.email_verified or not self.email)
        return self.get_short_name() if confirmed or self.role != Role.FARMER else "farmer"

    def clean(self) -> None:
        """What the composite foreign keys hold, said in words; and names that can be written into a message."""
        super().clean()
        for field, name in (("first_name", self.first_name), ("last_name", self.last_name)):
            if not name.isprintable():
                raise ValidationError({field: "Write the name on one line, in letters that can be read."})
        for name, place in (("district", self.district), ("constituency", self.constituency)):
            if place and self.region_id and place.region_id != self.region_id:
                raise ValidationError({name: f"This {name} lies in another region."})


class StaffPermission(Row):
    """A code that an admin has granted to one person of the staff (domain.md 2.2). Taking it back removes the row."""

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="staff_permissions")
    code = models.CharField(max_length=30, choices=Code.choices)
    granted_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "code"], name="accounts_staffpermission_once"),
            models.CheckConstraint(condition=Q(code__in=Code.values), name="accounts_staffpermission_code"),
            models.CheckConstraint(
                condition=~Q(user=F("granted_by")),
                name="accounts_staffpermission_by_another",
                violation_error_message="Nobody grants a permission to themselves.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code} for {self.user_id}"


def _differs(old: str, new: str) -> Q:
    """Whether two columns that may be empty differ: never unknown, which a CHECK would let pass."""
    both = Q(**{f"{old}__isnull": False, f"{new}__isnull": False})
    neither = Q(**{f"{old}__isnull": True, f"{new}__isnull": True})
    return ~(neither | both) | (both & ~Q(**{old: F(new)}))


class RoleChange(models.Model):
    """A change of role, region or constituency: who, when and why. Append-only (migration 0003)."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="role_changes")
    old_role = models.CharField(max_length=30, choices=Role.choices)
    new_role = models.CharField(max_length=30, choices=Role.choices)
    old_region = models.ForeignKey(Region, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    new_region = models.ForeignKey(Region, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    old_constituency = models.ForeignKey(
        Constituency, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    new_constituency = models.ForeignKey(
        Constituency, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    changed_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=500)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(old_role__in=Role.values, new_role__in=Role.values), name="accounts_rolechange_roles"
            ),
            models.CheckConstraint(
                condition=~Q(old_role=F("new_role"))
                | _differs("old_region", "new_region")
                | _differs("old_constituency", "new_constituency"),
                name="accounts_rolechange_changes_something",
            ),
            models.CheckConstraint(
                condition=~Q(user=F("changed_by")),
                name="accounts_rolechange_by_another",
                violation_error_message="Nobody changes their own role.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id}: {self.old_role} to {self.new_role}"


class SecurityEvent(models.Model):
    """What happened to the safety of an account, and by whom. Append-only (migration 0003)."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="security_events")
    kind = models.CharField(max_length=20, choices=SecurityKind.choices)
    actor = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="+", help_text="empty: the system"
    )
    ip = models.GenericIPAddressField(null=True, blank=True)
    device = models.CharField(max_length=200, blank=True, default="")
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=SecurityKind.values), name="accounts_securityevent_kind"),
        ]
        indexes = [
            models.Index(fields=["user", "at"], name="accounts_securityevent_of_user"),
            models.Index(fields=["at", "id"], name="accounts_securityevent_at"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.user_id}"


# --- secrets: only their hashes are here ---------------------------------------------------------------------------

HASH = r"^[0-9a-f]{64}$"
OPEN = Q(used_at__isnull=True, superseded_at__isnull=True)


def _is_hash_or_empty(column: str) -> Q:
    return Q(**{column: ""}) | Q(**{f"{column}__regex": HASH})


class AccountToken(Row):
    """The right to do one thing to one's account by a link. Open until it is used or a newer one takes its place.

    The token itself is made when it is sent; `token_hash` is empty until then, and stays so for a reset that went out
    as a code alone.
    """

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="tokens")
    purpose = models.CharField(max_length=20, choices=TokenPurpose.choices)
    token_hash = models.CharField(max_length=64, blank=True, default="")
    sent_to = models.CharField(
        max_length=254, blank=True, default="", help_text="the link is not good once this is not the person's any more"
    )
    expires_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    used_at = models.DateTimeField(null=True, blank=True)
    superseded_at = models.DateTimeField(null=True, blank=True)
    requested_ip = models.GenericIPAddressField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "purpose"], condition=OPEN, name="accounts_token_one_open"),
            models.UniqueConstraint(
                fields=["token_hash"], condition=~Q(token_hash=""), name="accounts_token_hash_unique"
            ),
            models.CheckConstraint(condition=_is_hash_or_empty("token_hash"), name="accounts_token_hash_form"),
            models.CheckConstraint(condition=Q(purpose__in=TokenPurpose.values), name="accounts_token_purpose"),
            models.CheckConstraint(
                condition=Q(used_at__isnull=True) | (Q(superseded_at__isnull=True) & ~Q(token_hash="")),
                name="accounts_token_used_once",
            ),
            models.CheckConstraint(
                condition=Q(token_hash="") | (Q(sent_at__isnull=False) & ~Q(sent_to="")),
                name="accounts_token_sent_when_made",
            ),
        ]
        indexes = [
            models.Index(fields=["user", "created_at"], name="accounts_token_of_user"),
            models.Index(
                fields=["requested_ip", "created_at"],
                condition=Q(requested_ip__isnull=False),
                name="accounts_token_of_address",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.purpose} of {self.user_id}"

    def is_open_at(self, now: datetime) -> bool:
        return self.used_at is None and self.superseded_at is None and self.expires_at > now


class OneTimeCode(Row):
    """A code of six digits for a phone: of a person, or of somebody without an account.

    `code_hash` is empty until the code is made and sent. It is keyed, since a million codes are soon tried.
    """

    user = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="codes")
    phone = PhoneField(max_length=13, blank=True, default="")
    purpose = models.CharField(max_length=20, choices=CodePurpose.choices)
    subject_id = models.CharField(max_length=64, blank=True, default="")
    code_hash = models.CharField(max_length=64, blank=True, default="")
    expires_at = models.DateTimeField()
    attempts = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField(null=True, blank=True)
    used_at = models.DateTimeField(null=True, blank=True)
    superseded_at = models.DateTimeField(null=True, blank=True)
    requested_ip = models.GenericIPAddressField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "purpose", "subject_id"],
                condition=OPEN & Q(user__isnull=False),
                name="accounts_code_one_open_of_user",
            ),
            models.UniqueConstraint(
                fields=["phone", "purpose", "subject_id"],
                condition=OPEN & ~Q(phone=""),
                name="accounts_code_one_open_of_phone",
            ),
            models.CheckConstraint(
                condition=Q(user__isnull=False, phone="") | Q(user__isnull=True, phone__regex=phones.E164),
                name="accounts_code_user_or_phone",
            ),
            models.CheckConstraint(condition=Q(purpose__in=CodePurpose.values), name="accounts_code_purpose"),
            models.CheckConstraint(condition=_is_hash_or_empty("code_hash"), name="accounts_code_hash_form"),
            models.CheckConstraint(condition=Q(attempts__lte=rules.CODE_ATTEMPTS), name="accounts_code_attempts"),
            models.CheckConstraint(
                condition=Q(used_at__isnull=True) | (Q(superseded_at__isnull=True) & ~Q(code_hash="")),
                name="accounts_code_used_once",
            ),
            models.CheckConstraint(
                condition=Q(code_hash="", sent_at__isnull=True) | (~Q(code_hash="") & Q(sent_at__isnull=False)),
                name="accounts_code_sent_when_made",
            ),
        ]
        indexes = [
            models.Index(fields=["user", "created_at"], condition=Q(user__isnull=False), name="accounts_code_of_user"),
            models.Index(fields=["phone", "created_at"], condition=~Q(phone=""), name="accounts_code_of_phone"),
            models.Index(
                fields=["requested_ip", "created_at"],
                condition=Q(requested_ip__isnull=False),
                name="accounts_code_of_address",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.purpose} {self.pk}"

    def is_open_at(self, now: datetime) -> bool:
        return self.used_at is None and self.superseded_at is None and self.expires_at > now


class StaffInvitation(Row):
    """An invitation to work for the system, in a role and at a place. Its end is final (migration 0005)."""

    email = LowerEmailField(verbose_name="e-mail")
    role = models.CharField(max_length=30, choices=Role.choices)
    region = models.ForeignKey(Region, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    constituency = models.ForeignKey(Constituency, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    invited_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="invitations")
    token_hash = models.CharField(max_length=64, blank=True, default="")
    expires_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    status = models.CharField(
        max_length=9, choices=InvitationStatus.choices, default=InvitationStatus.PENDING, editable=False
    )
    user = models.OneToOneField(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="invitation", help_text="who accepted it"
    )

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["email"],
                condition=Q(status=InvitationStatus.PENDING),
                name="accounts_invitation_one_pending",
                violation_error_message="This address has an invitation already.",
            ),
            models.UniqueConstraint(
                fields=["token_hash"], condition=~Q(token_hash=""), name="accounts_invitation_hash_unique"
            ),
            models.CheckConstraint(condition=_is_hash_or_empty("token_hash"), name="accounts_invitation_hash_form"),
            models.CheckConstraint(condition=Q(status__in=InvitationStatus.values), name="accounts_invitation_status"),
            models.CheckConstraint(
                condition=Q(email__contains="@") & Q(email=Lower("email")),
                name="accounts_invitation_email_lower",
                violation_error_message="E-mail: write it in lower case.",
            ),
            models.CheckConstraint(
                condition=Q(role__in=[role for role in Role.values if role != Role.SUPER_ADMIN]),
                name="accounts_invitation_role",
                violation_error_message="A super admin is made by the command createsuperuser only.",
            ),
            models.CheckConstraint(
                condition=~Q(role__in=rules.NEED_REGION) | Q(region__isnull=False),
                name="accounts_invitation_region_for_role",
                violation_error_message="Regional and constituency roles need a region.",
            ),
            models.CheckConstraint(
                condition=~Q(role__in=rules.NEED_CONSTITUENCY) | Q(constituency__isnull=False),
                name="accounts_invitation_constituency_for_role",
                violation_error_message="Constituency roles need a constituency.",
            ),
            models.CheckConstraint(
                condition=Q(region__isnull=False) | Q(constituency__isnull=True),
                name="accounts_invitation_place_has_region",
                violation_error_message="Name the region of the constituency too.",
            ),
            models.CheckConstraint(
                condition=(Q(token_hash="") & Q(sent_at__isnull=True)) | (~Q(token_hash="") & Q(sent_at__isnull=False)),
                name="accounts_invitation_sent_when_made",
            ),
            models.CheckConstraint(
                condition=Q(status=InvitationStatus.ACCEPTED, user__isnull=False)
                | (~Q(status=InvitationStatus.ACCEPTED) & Q(user__isnull=True)),
                name="accounts_invitation_accepted_by_somebody",
            ),
        ]
        indexes = [
            models.Index(
                fields=["expires_at"],
                condition=Q(status=InvitationStatus.PENDING),
                name="accounts_invitation_expires",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.pk}"

    @property
    def home(self) -> Place:
        return Place(self.region_id, self.constituency_id)

    def status_at(self, now: datetime) -> InvitationStatus:
        """One whose time is over has expired, whether or not the cleanup has come by."""
        is_over = self.status == InvitationStatus.PENDING and not self.is_open_at(now)
        return InvitationStatus.EXPIRED if is_over else InvitationStatus(self.status)

    def is_open_at(self, now: datetime) -> bool:
        return self.status == InvitationStatus.PENDING and self.expires_at > now


class LoginRecord(models.Model):
    """One attempt to sign in, with the true reason why it failed (domain.md 4.1). `user` is empty for unknown names,
    which are not kept: people type passwords there.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="login_records")
    at = models.DateTimeField()
    ip = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=200, blank=True, default="")
    device_hash = models.CharField(max_length=64, blank=True, default="")
    place = models.CharField(max_length=100, blank=True, default="", help_text="empty: unknown")
    success = models.BooleanField()
    failure_reason = models.CharField(max_length=20, choices=Refusal.choices, blank=True, default="")
    is_new_device = models.BooleanField(default=False)
    is_new_place = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(success=True, failure_reason="", user__isnull=False)
                | Q(success=False, failure_reason__in=Refusal.values, is_new_device=False, is_new_place=False),
                name="accounts_loginrecord_reason",
            )
        ]
        indexes = [
            models.Index(fields=["user", "at"], name="accounts_loginrecord_of_user"),
            models.Index(fields=["at"], name="accounts_loginrecord_at"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id}: {self.failure_reason or 'signed in'}"


class TrustedDevice(Row):
    """A device on which a person is not asked for the second factor for a while (domain.md 4.1)."""

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="trusted_devices")
    device_hash = models.CharField(max_length=64)
    user_agent = models.CharField(max_length=200, blank=True, default="")
    trust_expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "device_hash"], name="accounts_trusteddevice_once"),
            models.CheckConstraint(condition=~Q(device_hash=""), name="accounts_trusteddevice_named"),
        ]
        indexes = [models.Index(fields=["trust_expires_at"], name="accounts_trusteddevice_ends")]

    def __str__(self) -> str:
        return f"{self.user_id} until {self.trust_expires_at:%Y-%m-%d}"
