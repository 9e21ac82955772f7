"""The table of everything that runs in the background."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q

from core.base.ids import new_id
from core.jobs.rules import FINAL, State, Trigger

_FINAL = sorted(state.value for state in FINAL)
_WAITING = [State.PENDING.value, State.RETRYING.value]


class TaskRun(models.Model):
    """One ask for one task: written before Redis hears of it, and kept after it has run.

    `ring_at` is when a run that nobody has taken is to be announced on Redis (again); `lease_until` how long the
    worker that took it is believed to be alive; `fence` grows with every claim, so a worker that lost its claim
    cannot write.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    task = models.CharField(max_length=200)
    args = models.JSONField(default=list)
    kwargs = models.JSONField(default=dict)
    options = models.JSONField(default=dict, help_text="Celery's options for the call: links, chains, time limits")
    queue = models.CharField(max_length=20)
    state = models.CharField(max_length=10, default=State.PENDING.value, choices=[(s.value, s.value) for s in State])
    trigger = models.CharField(
        max_length=10, default=Trigger.REQUEST.value, choices=[(t.value, t.value) for t in Trigger]
    )
    schedule_entry = models.CharField(max_length=200, default="", blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    request_id = models.CharField(max_length=64, default="", blank=True)
    parent = models.UUIDField(null=True, blank=True, help_text="the run that asked for this one")

    asked_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True, blank=True, help_text="not before")
    expires_at = models.DateTimeField(null=True, blank=True)
    ring_at = models.DateTimeField(null=True, blank=True)

    attempts = models.PositiveSmallIntegerField(default=0)
    fence = models.PositiveIntegerField(default=0)
    worker = models.CharField(max_length=200, default="", blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    result = models.JSONField(null=True, blank=True)
    error_class = models.CharField(max_length=200, default="", blank=True)
    error_text = models.TextField(default="", blank=True)
    traceback = models.TextField(default="", blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=[s.value for s in State]), name="taskrun_state_known"),
            models.CheckConstraint(
                condition=Q(state=State.RUNNING.value, lease_until__isnull=False)
                | (~Q(state=State.RUNNING.value) & Q(lease_until__isnull=True)),
                name="taskrun_lease_while_running",
            ),
            models.CheckConstraint(
                condition=Q(state__in=_FINAL, finished_at__isnull=False)
                | (~Q(state__in=_FINAL) & Q(finished_at__isnull=True)),
                name="taskrun_finished_when_final",
            ),
            models.CheckConstraint(
                condition=Q(state__in=_WAITING, ring_at__isnull=False)
                | (~Q(state__in=_WAITING) & Q(ring_at__isnull=True)),
                name="taskrun_rings_while_waiting",
            ),
        ]
        indexes = [
            models.Index(fields=["queue", "ring_at"], condition=Q(ring_at__isnull=False), name="taskrun_to_ring"),
            models.Index(fields=["lease_until"], condition=Q(state=State.RUNNING.value), name="taskrun_leases"),
            BrinIndex(fields=["finished_at"], autosummarize=True, name="taskrun_finished"),
        ]

    def __str__(self) -> str:
        return f"{self.task}[{self.id}] {self.state}"
