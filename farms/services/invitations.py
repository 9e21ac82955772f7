"""From the approval to account and farm: the link, its acceptance, its end (domain.md 4.2.3)."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import QuerySet

from accounts.models import User
from accounts.rules import Role
from accounts.services import people as accounts
from accounts.services.secrets import LinkNotGood, checked_password
from core.base import cleaning
from core.base.services import record_of_itself
from core.errors import Conflict, InvalidInput
from core.jobs.services import enqueue
from farms import rules
from farms.models import (
    ApplicationEvent,
    Biosecurity,
    Farm,
    FarmApplication,
    FarmDocument,
    FarmInvitation,
    FarmLocation,
)
from farms.rules import Act, ApplicationStatus, ApplicationType, FarmStatus, InvitationStatus
from farms.services.common import in_order, number, score, sync_places

LIFE = timedelta(days=30)
GONE = "This invitation is not valid any more. Ask the office that approved your application for a new one."


@dataclass(frozen=True, kw_only=True)
class Where:
    """What of the farm's place the application does not say."""

    digital_address: str = ""
    community: str = ""
    latitude: Decimal | None = None
    longitude: Decimal | None = None
    land_size_acres: Decimal | None = None


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def mint(invitation: FarmInvitation, *, now: datetime) -> str:
    """Make the code of a pending invitation, whose row the caller has locked; only its hash is kept."""
    token = secrets.token_urlsafe(32)
    invitation.code_hash, invitation.expires_at = hashed(token), now + LIFE
    _move(invitation, Act.SEND)
    return token


def find(*, token: str, now: datetime) -> FarmInvitation:
    """The invitation that a link leads to, with its application. Raises LinkNotGood when it is none, used or over."""
    return _good(FarmInvitation.objects.select_related("application__constituency"), token, now)


def has_account(application: FarmApplication) -> bool:
    """Whether there is an account with the phone of the application: then no password is chosen for it."""
    return User.objects.filter(phone=application.primary_phone).exists()


@transaction.atomic
def accept(*, token: str, password: str | None, where: Where, now: datetime, farm_name: str = "") -> Farm:
    """Open account and farm: user, farm, measures and primary location at once (domain.md 4.2.3).

    An account with the same verified phone and without a farm becomes the owner, with its own password. Single use.
    `farm_name` replaces that of the application, where another farm has it. Raises LinkNotGood for an invitation that
    is used or over, InvalidInput, and Conflict when phone, Ghana Card or TIN belong to another farm or account.
    """
    application = (
        FarmApplication.objects.select_for_update(of=("self",), no_key=True)
        .select_related("region", "district", "constituency")
        .get(pk=_good(FarmInvitation.objects.all(), token, now).application_id)
    )
    invitation = _good(FarmInvitation.objects.select_for_update(no_key=True), token, now)  # after it, as who invites
    before = ApplicationStatus(application.status)
    after = rules.following(rules.APPLICATION, before, Act.ACCEPT, what="application")
    prefix = f"YEA-{application.region.code}-{application.constituency.code}"
    farm_number = number("farms_farm_number", prefix, 4)
    farm = _farm(application, _owner(application, farm_number, password, now), farm_number, farm_name)
    Biosecurity.objects.create(farm=farm)
    location = FarmLocation(
        farm=farm,
        is_primary=True,
        region=application.region,
        district=application.district,
        constituency=application.constituency,
        digital_address=where.digital_address.strip().upper(),
        community=" ".join(where.community.split()),
        latitude=where.latitude,
        longitude=where.longitude,
        land_size_acres=where.land_size_acres,
    )
    cleaning.check(location)
    location.save(force_insert=True)
    if FarmDocument.objects.filter(application=application).update(application=None, farm=farm):
        score(farm.pk)
    _move(invitation, Act.ACCEPT)
    application.status, application.last_movement_at = after, now
    application.save(update_fields=["status", "last_movement_at", "updated_at"])
    ApplicationEvent.objects.create(
        application=application,
        from_status=before,
        to_status=after,
        actor=farm.user,
        at=in_order(application.events.all(), now),
    )
    enqueue("accounts.tasks.send_welcome_notification", str(farm.user_id))
    sync_places(farm.pk)
    return farm


@transaction.atomic
def expire(now: datetime, limit: int) -> int:
    """End invitations whose time is over, at most `limit` (core.base.registries.expiry_steps). Returns how many.

    Safe to repeat and to run twice at once: it goes by time and state. The applications stay approved.
    """
    due = (
        FarmInvitation.objects.select_for_update(no_key=True, skip_locked=True)
        .filter(status=InvitationStatus.SENT, expires_at__lte=now)
        .order_by("expires_at")
        .values_list("pk", flat=True)[:limit]
    )
    ids = list(due)
    FarmInvitation.objects.filter(pk__in=ids).update(status=InvitationStatus.EXPIRED, updated_at=now)
    change = ({"status": InvitationStatus.SENT}, {"status": InvitationStatus.EXPIRED})
    changes = dict.fromkeys(ids, change)
    record_of_itself(action="farm_invitation.expire", subject_type="farm_invitation", changes=changes)
    return len(ids)


def _good(invitations: QuerySet[FarmInvitation], token: str, now: datetime) -> FarmInvitation:
    invitation = invitations.filter(code_hash=hashed(token), status=InvitationStatus.SENT).first() if token else None
    if invitation is None or invitation.status_at(now) != InvitationStatus.SENT:
        raise LinkNotGood(GONE)
    return invitation


def _move(invitation: FarmInvitation, act: Act) -> None:
    invitation.status = rules.following(rules.INVITATION, InvitationStatus(invitation.status), act, what="invitation")
    invitation.save(update_fields=["status", "code_hash", "expires_at", "updated_at"])


def _owner(application: FarmApplication, farm_number: str, password: str | None, now: datetime) -> User:
    known = User.objects.select_for_update(no_key=True, of=("self",)).filter(phone=application.primary_phone).first()
    if known is not None:
        _must_be_able(known, now)
        return known
    if not password:
        raise InvalidInput("password: Choose a password for your account.")
    first, _, last = application.full_name.rpartition(" ")
    taken = application.email and User.objects.filter(email=application.email).exists()
    about = {
        "username": farm_number.lower(),
        "phone": application.primary_phone,
        "email": "" if taken else application.email,  # somebody's account has it: people of one house share an address
        "first_name": first or last,
        "last_name": last if first else "",
    }
    checked_password(password, User(**about))
    return accounts.create_user(
        **about,
        role=Role.FARMER,
        activated_at=now,
        password=password,
        region=application.region,
        district=application.district,
        constituency=application.constituency,
        language=application.language,
    )


def _must_be_able(known: User, now: datetime) -> None:
    able = known.role == Role.FARMER and known.is_active and not known.is_suspended_at(now)
    if not able or Farm.objects.filter(user=known).exists():
        raise Conflict("An account with this phone number exists and cannot take the farm. Ask your office.")
    if not known.phone_verified:
        raise Conflict(
            "The account with this phone number cannot take the farm before the number is confirmed. Sign in, confirm"
            " it, and open this link again."
        )


def _farm(application: FarmApplication, owner: User, farm_number: str, farm_name: str) -> Farm:
    farm = Farm(
        user=owner,
        application=application,
        farm_number=farm_number,
        farm_name=" ".join(farm_name.split()) or application.farm_name,
        constituency=application.constituency,
        ghana_card_number=application.ghana_card_number,
        tin=application.tin,
        primary_phone=application.primary_phone,
        number_of_poultry_houses=application.number_of_poultry_houses,
        total_bird_capacity=application.total_bird_capacity,
        primary_production_type=application.primary_production_type,
        farm_status=FarmStatus.ACTIVE,
        is_government=application.application_type == ApplicationType.GOVERNMENT_PROGRAM,
    )
    cleaning.check(farm)
    farm.save(force_insert=True)
    return farm
