"""Roles and their levels (domain.md 2.1), the codes a person's record may carry, and the lives of secrets (4.1)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from django.db import models

from core.errors import InvalidInput

ChoiceT = TypeVar("ChoiceT", bound=models.TextChoices)


class Level(StrEnum):
    PLATFORM = "platform"
    NATIONAL = "national"
    REGIONAL = "regional"
    CONSTITUENCY = "constituency"
    FIELD = "field"
    SPECIALIST = "specialist"
    BUSINESS = "business"
    END_USER = "end user"


class Kind(StrEnum):
    """What a role does at its level: admins decide and grant, staff work by what they were granted."""

    ADMIN = "admin"
    STAFF = "staff"
    OTHER = "other"


class Role(models.TextChoices):
    SUPER_ADMIN = "SUPER_ADMIN", "Super admin"
    NATIONAL_ADMIN = "NATIONAL_ADMIN", "National admin"
    NATIONAL_STAFF = "NATIONAL_STAFF", "National staff"
    REGIONAL_ADMIN = "REGIONAL_ADMIN", "Regional admin"
    REGIONAL_STAFF = "REGIONAL_STAFF", "Regional staff"
    CONSTITUENCY_ADMIN = "CONSTITUENCY_ADMIN", "Constituency admin"
    CONSTITUENCY_STAFF = "CONSTITUENCY_STAFF", "Constituency staff"
    EXTENSION_OFFICER = "EXTENSION_OFFICER", "Extension officer"
    VETERINARY_OFFICER = "VETERINARY_OFFICER", "Veterinary officer"
    YEA_OFFICIAL = "YEA_OFFICIAL", "YEA official"
    PROCUREMENT_OFFICER = "PROCUREMENT_OFFICER", "Procurement officer"
    FINANCE_OFFICER = "FINANCE_OFFICER", "Finance officer"
    AUDITOR = "AUDITOR", "Auditor"
    INSTITUTIONAL_SUBSCRIBER = "INSTITUTIONAL_SUBSCRIBER", "Institutional subscriber"
    FARMER = "FARMER", "Farmer"


class Code(models.TextChoices):
    """What is granted to staff one by one (domain.md 2.2)."""

    APPROVE_APPLICATIONS = "approve_applications", "Decide on applications"
    MANAGE_BATCHES = "manage_batches", "Create and change batches"
    MANAGE_ENROLLMENT = "manage_enrollment", "Mark enrolments as enrolled"
    RUN_REPORTS = "run_reports", "Run reports"
    SEND_BULK_SMS = "send_bulk_sms", "Send bulk SMS"
    VIEW_SYSTEM_HEALTH = "view_system_health", "See the health of the system"
    REFRESH_CACHE = "refresh_cache", "Refresh dashboards"
    MANAGE_LEADS = "manage_leads", "Work on leads and offers"


class ContactMethod(models.TextChoices):
    EMAIL = "EMAIL", "E-mail"
    PHONE = "PHONE", "Phone call"
    SMS = "SMS", "SMS"
    WHATSAPP = "WHATSAPP", "WhatsApp"


class Language(models.TextChoices):
    ENGLISH = "en", "English"
    TWI = "tw", "Twi"
    EWE = "ee", "Ewe"
    GA = "gaa", "Ga"
    DAGBANI = "dag", "Dagbani"


class SecurityKind(models.TextChoices):
    MFA_ENABLED = "mfa_enabled", "Two-step sign-in switched on"
    MFA_DISABLED = "mfa_disabled", "Two-step sign-in switched off"
    MFA_RESET = "mfa_reset", "Two-step sign-in reset"
    BACKUP_CODE_USED = "backup_code_used", "Recovery code used"
    PASSWORD_CHANGED = "password_changed", "Password changed"
    SUSPENDED = "suspended", "Suspended"
    UNSUSPENDED = "unsuspended", "Suspension lifted"
    FORCED_SIGN_OUT = "forced_sign_out", "Signed out by an administrator"


class TokenPurpose(models.TextChoices):
    PASSWORD_RESET = "password_reset", "Set a new password"
    EMAIL_VERIFICATION = "email_verification", "Confirm an e-mail address"
    SET_PASSWORD = "set_password", "Set the first password"


class CodePurpose(models.TextChoices):
    PHONE_VERIFICATION = "phone_verification", "Confirm a phone number"
    PASSWORD_RESET = "password_reset", "Set a new password"
    GUEST_ORDER = "guest_order", "Confirm an order without an account"


class InvitationStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    ACCEPTED = "accepted", "Accepted"
    CANCELLED = "cancelled", "Cancelled"
    EXPIRED = "expired", "Expired"


class Refusal(models.TextChoices):
    """Why a sign-in failed. Only the record says so: whoever tried gets the same answer for all."""

    UNKNOWN = "unknown", "No such account"
    INACTIVE = "inactive", "Invited, no password yet"
    DEMO = "demo", "A demonstration account, outside of development"
    SUSPENDED = "suspended", "Suspended"
    LOCKED = "locked", "Locked after failed sign-ins"
    PASSWORD = "password", "Wrong password"
    SECOND_FACTOR = "second_factor", "Wrong second factor"


COUNTED = frozenset({Refusal.PASSWORD, Refusal.SECOND_FACTOR})  # so many of these in a row lock the account


class DistrictKind(models.TextChoices):
    METROPOLITAN = "metropolitan", "Metropolitan"
    MUNICIPAL = "municipal", "Municipal"
    DISTRICT = "district", "District"


class Source(models.TextChoices):
    OFFICIAL = "official", "Official list"
    DEMO_SAMPLE = "demo_sample", "Demonstration sample"


LEVELS: dict[Role, Level] = {
    Role.SUPER_ADMIN: Level.PLATFORM,
    Role.NATIONAL_ADMIN: Level.NATIONAL,
    Role.NATIONAL_STAFF: Level.NATIONAL,
    Role.REGIONAL_ADMIN: Level.REGIONAL,
    Role.REGIONAL_STAFF: Level.REGIONAL,
    Role.CONSTITUENCY_ADMIN: Level.CONSTITUENCY,
    Role.CONSTITUENCY_STAFF: Level.CONSTITUENCY,
    Role.EXTENSION_OFFICER: Level.FIELD,
    Role.VETERINARY_OFFICER: Level.FIELD,
    Role.YEA_OFFICIAL: Level.FIELD,
    Role.PROCUREMENT_OFFICER: Level.SPECIALIST,
    Role.FINANCE_OFFICER: Level.SPECIALIST,
    Role.AUDITOR: Level.SPECIALIST,
    Role.INSTITUTIONAL_SUBSCRIBER: Level.BUSINESS,
    Role.FARMER: Level.END_USER,
}
KINDS: dict[Role, Kind] = {
    **dict.fromkeys((Role.SUPER_ADMIN, Role.NATIONAL_ADMIN, Role.REGIONAL_ADMIN, Role.CONSTITUENCY_ADMIN), Kind.ADMIN),
    **dict.fromkeys((Role.NATIONAL_STAFF, Role.REGIONAL_STAFF, Role.CONSTITUENCY_STAFF), Kind.STAFF),
}
ADMIN_SITE_LEVELS = frozenset(Level) - {Level.BUSINESS, Level.END_USER}  # whoever works for the programme

# Of these, on any account but a farmer's, the platform's admins are told (domain.md 4.1.2).
TOLD_TO_ADMINS = frozenset({SecurityKind.SUSPENDED, SecurityKind.MFA_RESET, SecurityKind.FORCED_SIGN_OUT})

NO_SUCH_REGION = "Brong-Ahafo is no longer a region: use Bono, Bono East or Ahafo"


# Everybody who works for the system signs in with a second factor.
WITHOUT_SECOND_FACTOR = frozenset({Role.INSTITUTIONAL_SUBSCRIBER, Role.FARMER})


def needs_second_factor(role: Role) -> bool:
    return role not in WITHOUT_SECOND_FACTOR


_BROWSERS = (  # the first that is named: each also names those it descends from
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("OPX/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("UCBrowser/", "UC Browser"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "Mac"),
    ("CrOS", "Chromebook"),
    ("Linux", "Linux"),
)
LONGEST_DEVICE = 40


def device_name(user_agent: str) -> str:
    """A device as people know it: Chrome on Android. What no browser sends is shown by its beginning."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    if browser:
        return f"{browser} on {system}" if system else browser
    begin = "".join(letter for letter in user_agent if letter.isascii() and (letter.isalnum() or letter in " ./-"))
    return begin[:LONGEST_DEVICE].strip() or "unknown device"


def kind(role: Role) -> Kind:
    return KINDS.get(role, Kind.OTHER)


def roles_of(*levels: Level) -> list[Role]:
    return [role for role, level in LEVELS.items() if level in levels]


NEED_REGION = roles_of(Level.REGIONAL, Level.CONSTITUENCY)
NEED_CONSTITUENCY = roles_of(Level.CONSTITUENCY)


def parse_role(text: str) -> Role:
    """The role named in any case, as in domain.md 1.2: `farmer`, `Super Admin`, `SUPER-ADMIN`. Raises InvalidInput."""
    return _parse(Role, text, "role")


def parse_contact_method(text: str) -> ContactMethod:
    """The contact method named in any case. Raises InvalidInput."""
    return _parse(ContactMethod, text, "contact method")


def parse_invitation_status(text: str) -> InvitationStatus:
    return _parse(InvitationStatus, text, "status")


def parse_security_kind(text: str) -> SecurityKind:
    return _parse(SecurityKind, text, "kind")


def _parse(choices: type[ChoiceT], text: str, what: str) -> ChoiceT:
    code = "_".join(str(text).upper().replace("-", " ").replace("_", " ").split())
    known = {str(value).upper(): choices(value) for value in choices.values}
    if code not in known:
        raise InvalidInput(f"This {what} is not known. Use one of: {', '.join(choices.values)}")
    return known[code]


def is_brong_ahafo(name: str) -> bool:
    """Whether the name is the region of before 2019 in any spelling: its letters alone are compared (domain.md 3.1)."""
    return "".join(letter for letter in name.lower() if letter.isalpha()) == "brongahafo"


# --- tokens, codes and invitations (domain.md 4.1) -------------------------------------------------------------------

TOKEN_LIFE: Mapping[TokenPurpose, timedelta] = {
    TokenPurpose.PASSWORD_RESET: timedelta(hours=1),
    TokenPurpose.EMAIL_VERIFICATION: timedelta(days=3),
    TokenPurpose.SET_PASSWORD: timedelta(days=7),
}
CODE_LIFE = timedelta(minutes=10)
CODE_DIGITS = 6
CODE_ATTEMPTS = 5
INVITATION_LIFE = timedelta(days=7)
INVITATION_TRANSITIONS: Mapping[InvitationStatus, frozenset[InvitationStatus]] = {
    InvitationStatus.PENDING: frozenset(
        {InvitationStatus.ACCEPTED, InvitationStatus.CANCELLED, InvitationStatus.EXPIRED}
    ),
    InvitationStatus.ACCEPTED: frozenset(),
    InvitationStatus.CANCELLED: frozenset(),
    InvitationStatus.EXPIRED: frozenset(),
}


@dataclass(frozen=True)
class Limit:
    """At most so many within a time."""

    most: int
    within: timedelta


DAY = timedelta(days=1)
SECRET_LIMITS = (Limit(3, timedelta(minutes=15)), Limit(10, DAY))  # for a person or phone, and a purpose
RESET_LIMITS = (Limit(3, timedelta(hours=1)), Limit(10, DAY))  # for an account; each brings a code
ADDRESS_RESET_LIMITS = (Limit(20, timedelta(hours=1)),)  # for an IP address
ADDRESS_CODE_LIMITS = (Limit(20, timedelta(hours=1)), Limit(60, DAY))  # the same: each code is an SMS that costs


def may_have_another(asked: Iterable[datetime], limits: Collection[Limit], now: datetime) -> bool:
    """Whether one more may be made, after those that were asked for at these times."""
    times = list(asked)
    return all(sum(when > now - limit.within for when in times) < limit.most for limit in limits)


def token_hash(token: str) -> str:
    """How a token is stored. It is long and random, so a plain hash cannot be guessed."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def typed_code(text: str) -> str:
    """The digits of a code as a person has typed it, '' when it cannot be one."""
    digits = re.sub(r"[\s-]", "", text)
    return digits if re.fullmatch(rf"[0-9]{{{CODE_DIGITS}}}", digits) else ""
