"""Recruitment rounds of the programme (domain.md 4.2.4)."""

from __future__ import annotations

from decimal import Decimal

from django.db import models
from django.db.models import F, Q

from accounts.models import Constituency, Region, Row
from farms import rules
from farms.models import checks
from farms.rules import BatchStatus


def _in_order(first: str, second: str) -> models.CheckConstraint:
    return models.CheckConstraint(
        condition=Q(**{f"{first}__lte": F(second)}),
        name=f"farms_batch_{first}",
        violation_error_message=f"{first} must not be after or above {second}.",
    )


class Batch(Row):
    """A round with a deadline and a number of slots. "Full" is computed, so a freed slot reopens it."""

    batch_name = models.CharField(max_length=100, unique=True)
    batch_code = models.CharField(max_length=20, unique=True)
    target_region = models.ForeignKey(
        Region, on_delete=models.PROTECT, null=True, blank=True, related_name="+", help_text="empty: all regions"
    )
    eligible_constituencies = models.ManyToManyField(
        Constituency, blank=True, related_name="+", help_text="empty: all constituencies"
    )
    start_date = models.DateField()
    end_date = models.DateField()
    application_deadline = models.DateField(help_text="this day counts")
    total_slots = models.PositiveIntegerField()
    slots_filled = models.PositiveIntegerField(default=0, editable=False)
    allow_overbooking = models.BooleanField(default=False)
    min_age = models.PositiveSmallIntegerField(default=rules.YOUNGEST)
    max_age = models.PositiveSmallIntegerField(default=rules.OLDEST)
    min_bird_capacity = models.PositiveIntegerField(null=True, blank=True)
    max_bird_capacity = models.PositiveIntegerField(null=True, blank=True)
    min_farm_age_months = models.PositiveSmallIntegerField(null=True, blank=True)
    max_farm_age_years = models.PositiveSmallIntegerField(null=True, blank=True)
    support_package_value = models.DecimalField(
        max_digits=12, decimal_places=2, default=Decimal("0.00"), help_text="GHS"
    )
    support_package_details = models.TextField(blank=True, default="")
    approval_sla_days = models.PositiveSmallIntegerField(default=30)
    status = models.CharField(max_length=8, choices=BatchStatus.choices, default=BatchStatus.DRAFT, editable=False)

    class Meta:
        verbose_name_plural = "batches"
        constraints = [
            checks.one_of("batch", "status", BatchStatus),
            checks.filled("batch", "batch_name"),
            checks.filled("batch", "batch_code"),
            checks.at_least("batch", "approval_sla_days", 1),
            checks.at_least("batch", "support_package_value", 0),
            models.CheckConstraint(
                condition=Q(slots_filled__lte=F("total_slots")) | Q(allow_overbooking=True),
                name="farms_batch_slots",
                violation_error_message="More farms are approved than there would be slots.",
            ),
            _in_order("application_deadline", "end_date"),
            _in_order("start_date", "end_date"),
            _in_order("min_age", "max_age"),
            _in_order("min_bird_capacity", "max_bird_capacity"),
        ]
        indexes = [models.Index(fields=["status", "application_deadline"], name="farms_batch_by_deadline")]

    def __str__(self) -> str:
        return self.batch_code
