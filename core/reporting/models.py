"""Reports: one row for a kind, scope and period, made anew in place."""

from __future__ import annotations

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q

from core.base.ids import new_id
from core.reporting.rules import Kind, Status


class Report(models.Model):
    """A report's data, of which its document is made. `revision` counts how often they came out differently; 0: never
    made. `scope` is what it is about: farm:<id>, region:RR or all.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=20, choices=[(kind.value, kind.value) for kind in Kind])
    scope = models.CharField(max_length=60)
    period_from = models.DateField()
    period_to = models.DateField()
    status = models.CharField(
        max_length=8, choices=[(status.value, status.value) for status in Status], default=Status.RUNNING.value
    )
    revision = models.PositiveIntegerField(default=0)
    content = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    content_hash = models.CharField(max_length=64, default="", blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    expires_at = models.DateTimeField(null=True, blank=True, help_text="until when its content is kept")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["kind", "scope", "period_from", "period_to"], name="report_once"),
            models.CheckConstraint(condition=Q(kind__in=list(map(str, Kind))), name="report_kind_known"),
            models.CheckConstraint(condition=Q(status__in=list(map(str, Status))), name="report_status_known"),
            models.CheckConstraint(condition=Q(period_from__lte=F("period_to")), name="report_period_in_order"),
            models.CheckConstraint(
                condition=~Q(status="ready") | (Q(revision__gte=1, expires_at__isnull=False) & ~Q(content_hash="")),
                name="report_ready_was_made",
            ),
        ]
        indexes = [models.Index(fields=["expires_at"], condition=Q(content__isnull=False), name="report_with_content")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.scope}, {self.period_from} to {self.period_to}"
