"""Flocks and what is recorded of them day by day (domain.md 4.2.7). DailyProduction is the house's largest table."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q

from accounts.models import Row
from core.base.ids import new_id
from core.base.registries import Severity
from farms.models import checks
from farms.models.farms import Farm
from farms.rules import AlertKind, AlertStatus, Cause, FlockStatus, FlockType, Health

SEVERITIES = [(severity.value, severity.value.title()) for severity in Severity]


class Flock(Row):
    """Birds that came together. At any time current_count + left_at_end + all deaths, sales and culls = initial_count,
    kept in the transaction that writes the record, with the row locked.
    """

    farm = models.ForeignKey(Farm, on_delete=models.PROTECT, related_name="flocks", db_index=False)
    flock_number = models.PositiveSmallIntegerField()
    flock_type = models.CharField(max_length=8, choices=FlockType.choices)
    breed = models.CharField(max_length=60, blank=True, default="")
    arrival_date = models.DateField()
    age_at_arrival_weeks = models.PositiveSmallIntegerField(default=0)
    initial_count = models.PositiveIntegerField()
    current_count = models.PositiveIntegerField(editable=False)
    status = models.CharField(max_length=8, choices=FlockStatus.choices, default=FlockStatus.ACTIVE, editable=False)
    ended_on = models.DateField(null=True, blank=True, editable=False)
    left_at_end = models.PositiveIntegerField(default=0, editable=False, help_text="birds that left when it ended")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["farm", "flock_number"], name="farms_flock_number_in_farm"),
            checks.one_of("flock", "flock_type", FlockType),
            checks.one_of("flock", "status", FlockStatus),
            checks.at_least("flock", "initial_count", 1),
            models.CheckConstraint(
                condition=Q(current_count__gte=0, current_count__lte=F("initial_count")),
                name="farms_flock_current_count",
                violation_error_message="A flock has neither fewer birds than none nor more than came.",
            ),
            models.CheckConstraint(
                condition=Q(left_at_end__lte=F("initial_count") - F("current_count")), name="farms_flock_left_at_end"
            ),
            models.CheckConstraint(
                condition=Q(status=FlockStatus.ACTIVE, ended_on__isnull=True, left_at_end=0)
                | (~Q(status=FlockStatus.ACTIVE) & Q(ended_on__gte=F("arrival_date"), current_count=0)),
                name="farms_flock_end",
            ),
        ]

    def __str__(self) -> str:
        return f"flock {self.flock_number} of {self.farm_id}"


class DailyProduction(models.Model):
    """What a farmer recorded of one flock on one day. The order of the columns leaves no gaps in a row.

    Days are mostly written as they come, so that the block ranges of `production_date` find a month among years.
    """

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    production_date = models.DateField()
    good_eggs = models.PositiveIntegerField(default=0)
    broken_eggs = models.PositiveIntegerField(default=0)
    dirty_eggs = models.PositiveIntegerField(default=0)
    small_eggs = models.PositiveIntegerField(default=0)
    soft_shell_eggs = models.PositiveIntegerField(default=0)
    eggs_collected = models.PositiveIntegerField(default=0)
    birds_died = models.PositiveIntegerField(default=0)
    birds_sold = models.PositiveIntegerField(default=0)
    birds_culled = models.PositiveIntegerField(default=0)
    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    flock = models.ForeignKey(Flock, on_delete=models.PROTECT, related_name="days", db_index=False)
    recorded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    signs_of_disease = models.BooleanField(default=False)
    feed_consumed_kg = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    mortality_reason = models.CharField(max_length=8, choices=Cause.choices, blank=True, default="")
    general_health = models.CharField(max_length=4, choices=Health.choices, blank=True, default="")

    class Meta:
        verbose_name_plural = "daily production"
        constraints = [
            models.UniqueConstraint(
                fields=["flock", "production_date"],
                name="farms_dailyproduction_once",
                violation_error_message="This day of the flock is recorded already.",
            ),
            models.CheckConstraint(
                condition=Q(
                    eggs_collected=F("good_eggs")
                    + F("broken_eggs")
                    + F("dirty_eggs")
                    + F("small_eggs")
                    + F("soft_shell_eggs")
                ),
                name="farms_dailyproduction_eggs",
                violation_error_message="eggs_collected must be the sum of the five egg counts.",
            ),
            checks.at_least("dailyproduction", "feed_consumed_kg", 0),
            checks.one_of("dailyproduction", "mortality_reason", Cause, or_empty=True),
            checks.one_of("dailyproduction", "general_health", Health, or_empty=True),
        ]
        indexes = [BrinIndex(fields=["production_date"], name="farms_dailyproduction_days", pages_per_range=32)]

    def __str__(self) -> str:
        return f"{self.flock_id} on {self.production_date}"


class ProductionCorrection(models.Model):
    """What a record said before it was corrected. Append-only (migration 0002)."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    production = models.ForeignKey(DailyProduction, on_delete=models.PROTECT, related_name="corrections")
    corrected_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    reason = models.CharField(max_length=200)
    before = models.JSONField(help_text="the fields that changed, with their old values")
    after = models.JSONField()
    at = models.DateTimeField()

    class Meta:
        constraints = [checks.filled("productioncorrection", "reason")]

    def __str__(self) -> str:
        return f"correction of {self.production_id}"


class MortalityRecord(Row):
    """Deaths that a veterinary officer is to look into."""

    production = models.OneToOneField(DailyProduction, on_delete=models.PROTECT, related_name="mortality")
    number_of_birds = models.PositiveIntegerField()
    probable_cause = models.CharField(max_length=8, choices=Cause.choices, blank=True, default="")
    vet_inspection_required = models.BooleanField(default=True)
    inspect_by = models.DateTimeField()
    inspected_at = models.DateTimeField(null=True, blank=True)
    inspected_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )

    class Meta:
        constraints = [
            checks.one_of("mortalityrecord", "probable_cause", Cause, or_empty=True),
            models.CheckConstraint(
                condition=Q(inspected_at__isnull=True, inspected_by__isnull=True)
                | Q(inspected_at__isnull=False, inspected_by__isnull=False),
                name="farms_mortalityrecord_inspected",
            ),
        ]
        indexes = [
            models.Index(
                fields=["inspect_by"],
                condition=Q(vet_inspection_required=True, inspected_at__isnull=True),
                name="farms_mortalityrecord_open",
            )
        ]

    def __str__(self) -> str:
        return f"mortality {self.pk}"


class Alert(Row):
    """Too many deaths. Its severity may rise and never falls (migration 0002)."""

    kind = models.CharField(max_length=16, choices=AlertKind.choices)
    farm = models.ForeignKey(Farm, on_delete=models.PROTECT, related_name="alerts")
    flock = models.ForeignKey(Flock, on_delete=models.PROTECT, related_name="alerts", db_index=False)
    day = models.DateField()
    value = models.DecimalField(max_digits=5, decimal_places=2, help_text="percent")
    threshold = models.DecimalField(max_digits=5, decimal_places=2, help_text="percent")
    severity = models.CharField(max_length=8, choices=SEVERITIES)
    status = models.CharField(max_length=12, choices=AlertStatus.choices, default=AlertStatus.OPEN, editable=False)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    acknowledged_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["flock", "kind", "day"], name="farms_alert_once"),
            checks.one_of("alert", "kind", AlertKind),
            checks.one_of("alert", "status", AlertStatus),
            models.CheckConstraint(
                condition=Q(severity__in=[severity for severity, _ in SEVERITIES]), name="farms_alert_severity"
            ),
            checks.score("alert", "value"),
            models.CheckConstraint(
                condition=Q(acknowledged_by__isnull=True, acknowledged_at__isnull=True)
                | Q(acknowledged_by__isnull=False, acknowledged_at__isnull=False),
                name="farms_alert_acknowledged",
            ),
            models.CheckConstraint(
                condition=~Q(status=AlertStatus.ACKNOWLEDGED) | Q(acknowledged_by__isnull=False),
                name="farms_alert_acknowledged_by",
            ),
        ]
        indexes = [models.Index(fields=["day", "severity"], name="farms_alert_by_day")]

    def __str__(self) -> str:
        return f"{self.kind} {self.flock_id} {self.day}"
