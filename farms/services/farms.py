"""What is kept of a farm: its state, officers, places, equipment, measures and documents (domain.md 4.2)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from django.core.files.base import ContentFile
from django.db import IntegrityError, transaction

from accounts import selectors as people
from accounts.models import Constituency, District, User
from accounts.policy import Action
from accounts.rules import Role
from core.base import cleaning
from core.base.services import record
from core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from farms import rules
from farms.models import (
    Biosecurity,
    Farm,
    FarmApplication,
    FarmAssignment,
    FarmDocument,
    FarmLocation,
    Infrastructure,
)
from farms.rules import Act, Condition, DocumentKind, FarmStatus, InfrastructureStatus, InfrastructureType
from farms.services.common import birds_in, checked_reason, farm_for, score, sync_places

LARGEST_DOCUMENT = 8 * 1024 * 1024
FORMS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png", b"%PDF-": ".pdf"}  # how a file of the kind begins


# --- state, officers, details ----------------------------------------------------------------------------------------


@transaction.atomic
def activate(*, actor: User, farm_id: uuid.UUID) -> Farm:
    """Take an inactive farm back into work: the farmer, the extension officer or an admin. Raises NotFound, NotAllowed,
    Conflict.
    """
    return _moved(actor, farm_for(actor, farm_id, Action.KEEP_FARM), Act.ACTIVATE)


@transaction.atomic
def deactivate(*, actor: User, farm_id: uuid.UUID) -> Farm:
    """Rest a farm: its products are not seen. Raises NotFound, NotAllowed, Conflict."""
    return _moved(actor, farm_for(actor, farm_id, Action.KEEP_FARM), Act.DEACTIVATE)


@transaction.atomic
def suspend(*, actor: User, farm_id: uuid.UUID, reason: str) -> Farm:
    """Stop a farm: an admin, with a reason. Raises NotFound, NotAllowed, Conflict, InvalidInput."""
    because = checked_reason(reason)
    return _moved(actor, farm_for(actor, farm_id, Action.MANAGE_FARM), Act.SUSPEND, because)


@transaction.atomic
def reinstate(*, actor: User, farm_id: uuid.UUID, reason: str) -> Farm:
    """End the suspension of a farm. Raises NotFound, NotAllowed, Conflict, InvalidInput."""
    because = checked_reason(reason)
    return _moved(actor, farm_for(actor, farm_id, Action.MANAGE_FARM), Act.REINSTATE, because)


@transaction.atomic
def name_extension_officer(*, actor: User, farm_id: uuid.UUID, officer_id: uuid.UUID | None) -> Farm:
    """Give a farm its extension officer, or none. Safe to repeat. Raises NotFound, NotAllowed, and InvalidInput for
    somebody who is no active extension officer.
    """
    farm = farm_for(actor, farm_id, Action.MANAGE_FARM)
    officer = _officer(officer_id, Role.EXTENSION_OFFICER) if officer_id else None
    if farm.extension_officer_id == officer_id:
        return farm
    before = {"extension_officer": farm.extension_officer_id}
    farm.extension_officer = officer
    farm.save(update_fields=["extension_officer", "updated_at"])
    _write_down("farm.name_extension_officer", actor, farm, before=before, after={"extension_officer": officer_id})
    return farm


@transaction.atomic
def assign(*, actor: User, farm_id: uuid.UUID, officer_id: uuid.UUID) -> bool:
    """Give a farm to a field official. False when it was so already; safe to repeat. Raises NotFound, NotAllowed, and
    InvalidInput for somebody who is no active YEA official.
    """
    farm = farm_for(actor, farm_id, Action.MANAGE_FARM)
    _, is_new = FarmAssignment.objects.get_or_create(farm=farm, officer=_officer(officer_id, Role.YEA_OFFICIAL))
    if is_new:
        _write_down("farm.assign", actor, farm, after={"officer": officer_id})
    return is_new


@transaction.atomic
def unassign(*, actor: User, farm_id: uuid.UUID, officer_id: uuid.UUID) -> bool:
    """Take a farm from a field official. False when it was not theirs; safe to repeat. Raises NotFound, NotAllowed."""
    farm = farm_for(actor, farm_id, Action.MANAGE_FARM)
    removed, _ = FarmAssignment.objects.filter(farm=farm, officer=officer_id).delete()
    if removed:
        _write_down("farm.unassign", actor, farm, before={"officer": officer_id})
    return bool(removed)


def _officer(officer_id: uuid.UUID, role: Role) -> User:
    officer = User.objects.filter(pk=officer_id, role=role, is_active=True).first()
    if officer is None:
        raise InvalidInput(f"Choose an active person with the role {role.label}.")
    return officer


@transaction.atomic
def change_details(
    *,
    actor: User,
    farm_id: uuid.UUID,
    farm_name: str | None = None,
    tin: str | None = None,
    number_of_poultry_houses: int | None = None,
    total_bird_capacity: int | None = None,
    primary_production_type: str | None = None,
) -> Farm:
    """Say anew how a farm is called and how large it is: whoever keeps it. What is None stays. The scores follow.

    Safe to repeat: what is so already writes nothing. Raises NotFound, NotAllowed, InvalidInput, also for a name or TIN
    that another farm has, and Conflict for less room than there are birds.
    """
    farm = farm_for(actor, farm_id, Action.KEEP_FARM)
    said = {
        "farm_name": None if farm_name is None else " ".join(farm_name.split()),
        "tin": None if tin is None else tin.strip().upper(),
        "number_of_poultry_houses": number_of_poultry_houses,
        "total_bird_capacity": total_bird_capacity,
        "primary_production_type": primary_production_type,
    }
    before = {name: getattr(farm, name) for name in said}
    for name, value in said.items():
        if value is not None:
            setattr(farm, name, value)
    cleaning.check(farm)
    changed = [name for name in said if getattr(farm, name) != before[name]]
    if not changed:
        return farm
    if "total_bird_capacity" in changed and farm.total_bird_capacity < (birds := birds_in(farm)):
        raise Conflict(
            f"There are {birds} birds in active flocks: give room for at least so many, or end a flock first."
        )
    try:
        with transaction.atomic():
            farm.save(update_fields=[*changed, "updated_at"])
    except IntegrityError:
        cleaning.check(farm)  # another farm took it in the meantime: it says what
        raise
    _write_down(
        "farm.change_details",
        actor,
        farm,
        before=_details(before, changed),
        after=_details(vars(farm), changed),
    )
    if "total_bird_capacity" in changed:
        score(farm.pk)
    if "farm_name" in changed:  # its old one may have kept it from moving to where it lies
        sync_places(farm.pk)
    return farm


def _details(values: Mapping[str, Any], changed: list[str]) -> dict[str, Any]:
    """For the audit log, which is kept for ever and read by many: the TIN is masked."""
    return {name: rules.mask_tin(values[name]) if name == "tin" else values[name] for name in changed}


def _moved(actor: User, farm: Farm, act: Act, reason: str = "") -> Farm:
    before = FarmStatus(farm.farm_status)
    farm.farm_status = rules.following(rules.FARM, before, act, what="farm")
    farm.save(update_fields=["farm_status", "updated_at"])
    _write_down(
        f"farm.{act.name.lower()}",
        actor,
        farm,
        before={"farm_status": before.value},
        after={"farm_status": farm.farm_status},
        reason=reason,
    )
    return farm


def _write_down(
    action: str, actor: User, farm: Farm, *, before: object = None, after: object = None, reason: str = ""
) -> None:
    record(action=action, subject=("farm", str(farm.pk)), actor_id=actor.pk, before=before, after=after, reason=reason)


# --- places --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Place:
    """A location of a farm. The region follows from the constituency."""

    constituency: Constituency
    district: District | None = None
    digital_address: str = ""
    community: str = ""
    latitude: Decimal | None = None
    longitude: Decimal | None = None
    land_size_acres: Decimal | None = None


PLACE = (
    *("constituency_id", "district_id", "digital_address", "community", "latitude", "longitude", "land_size_acres"),
    "gps_verified",
)


@transaction.atomic
def add_location(*, actor: User, farm_id: uuid.UUID, place: Place) -> FarmLocation:
    """Add a location; the first one is the primary. Raises NotFound, NotAllowed, and InvalidInput, also for a digital
    address that the farm has already.
    """
    farm = farm_for(actor, farm_id, Action.KEEP_FARM)
    location = FarmLocation(farm=farm, is_primary=not farm.locations.filter(is_primary=True).exists())
    return _put(location, place)


@transaction.atomic
def change_location(*, actor: User, location_id: uuid.UUID, place: Place) -> FarmLocation:
    """Say anew where a location is; another GPS point is not verified any more. Raises NotFound, NotAllowed,
    InvalidInput.
    """
    location = _location(actor, location_id, Action.KEEP_FARM)
    if (location.latitude, location.longitude) != (place.latitude, place.longitude):
        location.gps_verified = False
    return _put(location, place)


@transaction.atomic
def make_primary(*, actor: User, location_id: uuid.UUID) -> FarmLocation:
    """Make this the farm's primary location. Safe to repeat. Raises NotFound, NotAllowed."""
    location = _location(actor, location_id, Action.KEEP_FARM)
    if not location.is_primary:
        location.farm.locations.filter(is_primary=True).update(is_primary=False)
        location.is_primary = True
        location.save(update_fields=["is_primary", "updated_at"])
        sync_places(location.farm_id)
    return location


@transaction.atomic
def verify_gps(*, actor: User, location_id: uuid.UUID) -> FarmLocation:
    """Say that the GPS point is right: an officer who was there. Safe to repeat. Raises NotFound, NotAllowed, and
    Conflict when there is none.
    """
    location = _location(actor, location_id, Action.KEEP_FARM)
    if location.farm.user_id == actor.pk:
        raise NotAllowed("An officer verifies the place, not the farmer.")
    if location.latitude is None:
        raise Conflict("This location has no GPS point. Enter it first.")
    if not location.gps_verified:
        location.gps_verified = True
        location.save(update_fields=["gps_verified", "updated_at"])
        after = {"gps_verified": True, "latitude": location.latitude, "longitude": location.longitude}
        _write_down("farm.verify_gps", actor, location.farm, before={"gps_verified": False}, after=after)
    return location


@transaction.atomic
def remove_location(*, actor: User, location_id: uuid.UUID) -> None:
    """Remove a location that was entered by mistake. Raises NotFound, NotAllowed, and Conflict for the primary one."""
    location = _location(actor, location_id, Action.KEEP_FARM)
    if location.is_primary:
        raise Conflict("The primary location cannot be removed. Make another one primary first.")
    removed = {name.removesuffix("_id"): getattr(location, name.removesuffix("_id")) for name in PLACE}
    removed |= {"constituency": location.constituency.code, "district": location.district and location.district.name}
    location.delete()
    _write_down("farm.remove_location", actor, location.farm, before=removed)


def _location(actor: User, location_id: uuid.UUID, action: Action) -> FarmLocation:
    """The location, under the lock of its farm."""
    farm_id = FarmLocation.objects.filter(pk=location_id).values_list("farm_id", flat=True).first()
    if farm_id is None:
        raise NotFound("There is no such location, or not in your scope.")
    farm = farm_for(actor, farm_id, action)
    location = FarmLocation.objects.get(pk=location_id)
    location.farm = farm
    return location


def _put(location: FarmLocation, place: Place) -> FarmLocation:
    location.constituency, location.region = place.constituency, place.constituency.region
    location.district = place.district or place.constituency.district
    if location.district and location.district.region_id != location.region_id:
        raise InvalidInput("district: This district lies in another region than the constituency.")
    location.digital_address = place.digital_address.strip().upper()
    location.community = " ".join(place.community.split())
    location.latitude, location.longitude = place.latitude, place.longitude
    location.land_size_acres = place.land_size_acres
    cleaning.check(location)
    location.save()
    sync_places(location.farm_id)
    return location


# --- equipment, measures, documents --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Equipment:
    infrastructure_type: InfrastructureType
    bird_capacity: int = 0
    year_round: bool = False
    status: InfrastructureStatus = InfrastructureStatus.OPERATIONAL
    condition: Condition = Condition.GOOD
    next_maintenance_due: date | None = None


@transaction.atomic
def save_infrastructure(
    *, actor: User, farm_id: uuid.UUID, equipment: Equipment, infrastructure_id: uuid.UUID | None = None
) -> Infrastructure:
    """Add a piece of equipment, or say anew how one is. The scores follow. Raises NotFound, NotAllowed,
    InvalidInput.
    """
    farm = farm_for(actor, farm_id, Action.KEEP_FARM)
    if infrastructure_id is None:
        row = Infrastructure(farm=farm)
    else:
        found = farm.infrastructure.filter(pk=infrastructure_id).first()
        if found is None:
            raise NotFound("This farm has no such equipment.")
        row = found
    for name, value in vars(equipment).items():
        setattr(row, name, value)
    cleaning.check(row)
    row.save()
    score(farm.pk)
    return row


@transaction.atomic
def save_biosecurity(*, actor: User, farm_id: uuid.UUID, measures: Mapping[str, bool]) -> Biosecurity:
    """Say which of the sixteen measures are in place; those not named stay. The scores follow. Safe to repeat.

    Raises NotFound, NotAllowed, and InvalidInput for a measure that is none.
    """
    farm = farm_for(actor, farm_id, Action.KEEP_FARM)
    if unknown := sorted(measures.keys() - set(rules.MEASURES)):
        raise InvalidInput(f"These are no measures: {', '.join(unknown)}. There are: {', '.join(rules.MEASURES)}.")
    if not all(isinstance(value, bool) for value in measures.values()):
        raise InvalidInput("A measure is in place or not: true or false.")
    row = Biosecurity.objects.get(farm=farm)
    for name, value in measures.items():
        setattr(row, name, value)
    row.save()
    score(farm.pk)
    return row


@transaction.atomic
def add_document(*, actor: User, farm_id: uuid.UUID, kind: DocumentKind, content: bytes) -> FarmDocument:
    """Keep a file of a farm (JPEG, PNG or PDF). The scores follow. Not safe to repeat: each call is a document.

    Raises NotFound, NotAllowed, InvalidInput.
    """
    farm = farm_for(actor, farm_id, Action.KEEP_FARM)
    document = _stored(FarmDocument(farm=farm, kind=kind), content)
    score(farm.pk)
    return document


@transaction.atomic
def add_application_document(
    *, application_id: uuid.UUID, kind: DocumentKind, content: bytes, actor: User | None = None
) -> FarmDocument:
    """Keep a file of an application until it becomes one of the farm. The caller has made sure that it is the
    applicant; `actor` is an officer who enters it. Raises NotFound, NotAllowed, InvalidInput, and Conflict when the
    application is over.
    """
    application = FarmApplication.objects.select_for_update(no_key=True).filter(pk=application_id).first()
    if application is None or (actor and not people.may(actor, Action.SEE_APPLICATIONS, application.place)):
        raise NotFound("There is no such application, or not in your scope.")
    if actor and not people.may(actor, Action.ENTER_APPLICATION, application.place):
        raise NotAllowed("Your role does not let you enter documents there.")
    if not rules.ways(rules.APPLICATION)[rules.ApplicationStatus(application.status)]:
        raise Conflict("This application is over: nothing is added to it.")
    return _stored(FarmDocument(application=application, kind=kind), content)


def form_of(content: bytes) -> str:
    """The suffix of a document, by how it begins. Raises InvalidInput for one that is not taken."""
    if len(content) > LARGEST_DOCUMENT:
        raise InvalidInput(f"A document has at most {LARGEST_DOCUMENT // 1024 // 1024} MB.")
    for start, suffix in FORMS.items():
        if content.startswith(start):
            return suffix
    raise InvalidInput("A document is a JPEG, a PNG or a PDF file.")


def _stored(document: FarmDocument, content: bytes) -> FarmDocument:
    document.file.save(form_of(content), ContentFile(content), save=False)
    cleaning.check(document)
    document.save(force_insert=True)
    return document
