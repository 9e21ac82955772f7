"""What was last heard of the processes that must be alive, how the system was, and what it did."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from core.base.ids import new_id
from core.health.rules import Kind, State


class Heartbeat(models.Model):
    """The last sign of life of a worker, of beat, or of a sweep (the last time that any worker did it well).

    `alarmed_at`: its silence has been told; the next sign of life clears it.
    """

    name = models.CharField(primary_key=True, max_length=200)
    # a default in the database too: a worker of the version before writes rows without it while both run
    kind = models.CharField(max_length=10, db_default=Kind.WORKER.value, choices=[(k.value, k.value) for k in Kind])
    seen_at = models.DateTimeField()
    alarmed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=[k.value for k in Kind]), name="heartbeat_kind_known")
        ]

    def __str__(self) -> str:
        return self.name


class HealthReport(models.Model):
    """How everything was at one moment; `checks` is name -> state, value, words (core.health.report)."""

    OVERALL = (State.HEALTHY.value, State.DEGRADED.value, State.DOWN.value)

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    at = models.DateTimeField()
    overall = models.CharField(max_length=10, choices=[(state, state) for state in OVERALL])
    checks = models.JSONField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(overall__in=["healthy", "degraded", "down"]), name="healthreport_overall_known"
            )
        ]
        indexes = [models.Index(fields=["at"], name="healthreport_at")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.overall}"

    @property
    def failed(self) -> list[str]:
        """The names of the checks that were not in order."""
        return [name for name, check in self.checks.items() if check["state"] in (State.DEGRADED, State.DOWN)]


class SystemMetric(models.Model):
    """What the system held and did in one full hour; `hour` is its beginning."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    hour = models.DateTimeField(unique=True)
    payload = models.JSONField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:%M}"
