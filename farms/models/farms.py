"""Farms with their places, equipment, measures, documents and scores."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from accounts.fields import PhoneField
from accounts.models import Constituency, District, Region, Row
from core.base.ids import new_id
from core.base.registries import Place
from farms import rules
from farms.models import checks
from farms.rules import (
    Condition,
    DocumentKind,
    FarmStatus,
    InfrastructureStatus,
    InfrastructureType,
    ProductionType,
)


class Farm(Row):
    """Made when an approved applicant accepts the invitation. Birds, utilisation and visibility are computed.

    The region of a farm is that of its primary location; `constituency` follows it (`sync_farmer_locations`).
    """

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="farm")
    application = models.OneToOneField("farms.FarmApplication", on_delete=models.PROTECT, related_name="farm")
    farm_number = models.CharField(max_length=20, unique=True)
    farm_name = models.CharField(max_length=100)
    constituency = models.ForeignKey(Constituency, on_delete=models.PROTECT, related_name="+", db_index=False)
    ghana_card_number = models.CharField(max_length=15)
    tin = models.CharField(max_length=11, blank=True, default="", verbose_name="TIN")
    primary_phone = PhoneField(max_length=13)
    number_of_poultry_houses = models.PositiveSmallIntegerField()
    total_bird_capacity = models.PositiveIntegerField(help_text="birds")
    primary_production_type = models.CharField(max_length=8, choices=ProductionType.choices)
    extension_officer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="extension_farms"
    )
    farm_status = models.CharField(max_length=9, choices=FarmStatus.choices, default=FarmStatus.ACTIVE, editable=False)
    is_government = models.BooleanField(default=False)
    biosecurity_score = models.DecimalField(max_digits=5, decimal_places=2, default=0, editable=False)
    readiness_score = models.DecimalField(max_digits=5, decimal_places=2, default=0, editable=False)
    score_version = models.PositiveSmallIntegerField(
        default=0, editable=False, help_text="of the formula of these scores; 0: not scored yet"
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(farm_number__regex=r"^YEA-[A-Z]{2}-[A-Z]{3}-[0-9]{4,}$"), name="farms_farm_number_form"
            ),
            models.UniqueConstraint(
                "constituency",
                Lower("farm_name"),
                name="farms_farm_name_in_constituency",
                violation_error_message="There is a farm of this name in this constituency already: choose another.",
            ),
            # as constraints, without the second index that Django gives a unique text for searching by its beginning
            models.UniqueConstraint(
                fields=["ghana_card_number"],
                name="farms_farm_ghana_card_unique",
                violation_error_message="There is a farm with this Ghana Card already.",
            ),
            models.UniqueConstraint(
                fields=["primary_phone"],
                name="farms_farm_phone_unique",
                violation_error_message="There is a farm with this phone number already.",
            ),
            models.UniqueConstraint(
                fields=["tin"],
                condition=~Q(tin=""),
                name="farms_farm_tin_unique",
                violation_error_message="There is a farm with this TIN already.",
            ),
            *checks.identity("farm"),
            checks.one_of("farm", "primary_production_type", ProductionType),
            checks.one_of("farm", "farm_status", FarmStatus),
            checks.filled("farm", "farm_name"),
            checks.at_least("farm", "number_of_poultry_houses", 1),
            checks.at_least("farm", "total_bird_capacity", 1),
            checks.score("farm", "biosecurity_score"),
            checks.score("farm", "readiness_score"),
        ]

    def __str__(self) -> str:
        return self.farm_number

    @property
    def place(self) -> Place:
        return Place(self.constituency.region_id, self.constituency_id)


class FarmAssignment(Row):
    """A farm that a field official of YEA looks after."""

    farm = models.ForeignKey(Farm, on_delete=models.PROTECT, related_name="assignments", db_index=False)
    officer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="farm_assignments")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["farm", "officer"], name="farms_farmassignment_once")]

    def __str__(self) -> str:
        return f"{self.officer_id} for {self.farm_id}"


class FarmLocation(Row):
    farm = models.ForeignKey(Farm, on_delete=models.PROTECT, related_name="locations")
    is_primary = models.BooleanField(default=False)
    digital_address = models.CharField(max_length=12, blank=True, default="")
    region = models.ForeignKey(Region, on_delete=models.PROTECT, related_name="+", db_index=False)
    district = models.ForeignKey(
        District, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    constituency = models.ForeignKey(Constituency, on_delete=models.PROTECT, related_name="+", db_index=False)
    community = models.CharField(max_length=100, blank=True, default="")
    latitude = models.DecimalField(max_digits=8, decimal_places=6, null=True, blank=True)
    longitude = models.DecimalField(max_digits=9, decimal_places=6, null=True, blank=True)
    land_size_acres = models.DecimalField(max_digits=8, decimal_places=2, null=True, blank=True)
    gps_verified = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["farm"], condition=Q(is_primary=True), name="farms_farmlocation_one_primary"
            ),
            models.UniqueConstraint(
                fields=["farm", "digital_address"],
                condition=~Q(digital_address=""),
                name="farms_farmlocation_address_once",
                violation_error_message="This farm has a location with this digital address already.",
            ),
            models.CheckConstraint(
                condition=Q(digital_address="") | Q(digital_address__regex=rules.DIGITAL_ADDRESS),
                name="farms_farmlocation_address_form",
                violation_error_message="Digital address: write it like GA-184-2278.",
            ),
            models.CheckConstraint(
                condition=Q(latitude__isnull=True, longitude__isnull=True)
                | Q(
                    latitude__isnull=False,
                    longitude__isnull=False,
                    latitude__range=rules.LATITUDES,
                    longitude__range=rules.LONGITUDES,
                ),
                name="farms_farmlocation_in_ghana",
                violation_error_message="GPS: give latitude (4.5 to 11.5) and longitude (-3.5 to 1.5), or neither.",
            ),
            models.CheckConstraint(
                condition=Q(land_size_acres__isnull=True) | Q(land_size_acres__gt=0),
                name="farms_farmlocation_land_size",
                violation_error_message="The size of the land must be above 0 acres.",
            ),
        ]

    def __str__(self) -> str:
        return self.digital_address or f"location {self.pk}"


class Infrastructure(Row):
    farm = models.ForeignKey(Farm, on_delete=models.PROTECT, related_name="infrastructure")
    infrastructure_type = models.CharField(max_length=16, choices=InfrastructureType.choices)
    bird_capacity = models.PositiveIntegerField(default=0, help_text="birds, of a poultry house")
    year_round = models.BooleanField(default=False, help_text="water that does not run dry")
    status = models.CharField(
        max_length=18, choices=InfrastructureStatus.choices, default=InfrastructureStatus.OPERATIONAL
    )
    condition = models.CharField(max_length=9, choices=Condition.choices, default=Condition.GOOD)
    next_maintenance_due = models.DateField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "infrastructure"
        constraints = [
            checks.one_of("infrastructure", "infrastructure_type", InfrastructureType),
            checks.one_of("infrastructure", "status", InfrastructureStatus),
            checks.one_of("infrastructure", "condition", Condition),
        ]

    def __str__(self) -> str:
        return f"{self.infrastructure_type} of {self.farm_id}"


class Biosecurity(Row):
    """The sixteen measures of domain.md 5.6. Made empty with the farm."""

    farm = models.OneToOneField(Farm, on_delete=models.PROTECT, related_name="biosecurity")
    perimeter_fencing = models.BooleanField(default=False)
    fencing_type_recorded = models.BooleanField(default=False)
    controlled_entry = models.BooleanField(default=False)
    visitor_log = models.BooleanField(default=False)
    footbath = models.BooleanField(default=False)
    disinfectant_in_use = models.BooleanField(default=False)
    hand_washing = models.BooleanField(default=False)
    dedicated_clothing = models.BooleanField(default=False)
    quarantine_area = models.BooleanField(default=False)
    sick_bird_isolation = models.BooleanField(default=False)
    regular_vaccination = models.BooleanField(default=False)
    vaccination_records = models.BooleanField(default=False)
    manure_management = models.BooleanField(default=False, help_text="any system but none")
    dead_bird_disposal = models.BooleanField(default=False)
    rodent_control = models.BooleanField(default=False)
    wild_bird_exclusion = models.BooleanField(default=False)

    class Meta:
        verbose_name_plural = "biosecurity"

    def __str__(self) -> str:
        return f"biosecurity of {self.farm_id}"


def document_path(document: FarmDocument, name: str) -> str:
    """Where a document lies: nothing of its path comes from a person."""
    return f"farm-documents/{document.pk.hex[:2]}/{document.pk.hex}{name}"


class FarmDocument(Row):
    """A file of a farm, or of an application until it becomes one."""

    farm = models.ForeignKey(Farm, on_delete=models.PROTECT, null=True, blank=True, related_name="documents")
    application = models.ForeignKey(
        "farms.FarmApplication", on_delete=models.PROTECT, null=True, blank=True, related_name="documents"
    )
    kind = models.CharField(max_length=21, choices=DocumentKind.choices)
    file = models.FileField(upload_to=document_path, max_length=100)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(farm__isnull=False, application__isnull=True)
                | Q(farm__isnull=True, application__isnull=False),
                name="farms_farmdocument_one_owner",
            ),
            checks.one_of("farmdocument", "kind", DocumentKind),
            checks.filled("farmdocument", "file"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class FarmScore(models.Model):
    """The scores of a farm from a day on, by one version of the formula. Only a row of today may change (0002)."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    farm = models.ForeignKey(Farm, on_delete=models.PROTECT, related_name="scores", db_index=False)
    day = models.DateField()
    formula_version = models.PositiveSmallIntegerField()
    readiness = models.DecimalField(max_digits=5, decimal_places=2)
    biosecurity = models.DecimalField(max_digits=5, decimal_places=2)
    parts = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["farm", "day", "formula_version"], name="farms_farmscore_once"),
            checks.score("farmscore", "readiness"),
            checks.score("farmscore", "biosecurity"),
        ]

    def __str__(self) -> str:
        return f"{self.farm_id} on {self.day}"
