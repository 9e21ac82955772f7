"""The table of everything that runs in the background."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from core.base.ids import new_id
from core.jobs.rules import FINAL, MAX_ATTEMPTS, Late, OccurrenceState, State, Trigger

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
    occurrence = models.UUIDField(null=True, blank=True, help_text="the scheduled time that this run is for")
    retry_of = models.UUIDField(null=True, blank=True, help_text="the ended run that a person asked for again")
    coalesce_key = models.CharField(  # noqa: DJ001 - unique where there is one
        max_length=300, null=True, blank=True, help_text="asks with it join a pending run"
    )
    exclusive = models.CharField(  # noqa: DJ001
        max_length=300, null=True, blank=True, help_text="one run with it at a time"
    )
    max_attempts = models.SmallIntegerField(
        null=True, blank=True, default=MAX_ATTEMPTS, help_text="null: without limit"
    )

    asked_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True, blank=True, help_text="not before")
    expires_at = models.DateTimeField(null=True, blank=True)
    ring_at = models.DateTimeField(null=True, blank=True)

    attempts = models.SmallIntegerField(default=0)
    fence = models.IntegerField(default=0)
    worker = models.CharField(max_length=200, default="", blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    cancel_asked_at = models.DateTimeField(null=True, blank=True)
    progress_done = models.BigIntegerField(null=True, blank=True)
    progress_total = models.BigIntegerField(null=True, blank=True)
    progress_note = models.CharField(max_length=200, default="", blank=True)

    result = models.JSONField(null=True, blank=True)
    error_class = models.CharField(max_length=200, default="", blank=True)
    error_text = models.TextField(default="", blank=True)
    traceback = models.TextField(default="", blank=True)

    class Meta:
        constraints = [
            # one, because PostgreSQL reads the text of each anew for every statement; NULL may stand for no limit
            models.CheckConstraint(
                condition=Q(attempts__gte=0, fence__gte=0, max_attempts__gte=0)
                & (
                    Q(state__in=_WAITING, ring_at__isnull=False, lease_until__isnull=True, finished_at__isnull=True)
                    | Q(state="running", ring_at__isnull=True, lease_until__isnull=False, finished_at__isnull=True)
                    | Q(state__in=_FINAL, ring_at__isnull=True, lease_until__isnull=True, finished_at__isnull=False)
                ),
                name="taskrun_whole",
            ),
            # cleared by the claim: who asks after that asks for a new run
            models.UniqueConstraint(
                fields=["coalesce_key"], condition=Q(coalesce_key__isnull=False), name="taskrun_coalesced"
            ),
            models.UniqueConstraint(
                fields=["exclusive"],
                condition=Q(state=State.RUNNING.value, exclusive__isnull=False),
                name="taskrun_one_at_a_time",
            ),
        ]
        indexes = [
            models.Index(fields=["queue", "ring_at"], condition=Q(ring_at__isnull=False), name="taskrun_to_ring"),
            models.Index(fields=["lease_until"], condition=Q(state=State.RUNNING.value), name="taskrun_leases"),
            models.Index(  # their time has come, and they were never announced
                fields=["queue", "ring_at"], condition=Q(ring_at=F("due_at")), name="taskrun_to_ring_first"
            ),
            models.Index(
                fields=["expires_at"],
                condition=Q(ring_at__isnull=False, expires_at__isnull=False, fence=0),
                name="taskrun_expires",
            ),
            models.Index(fields=["asked_at", "id"], name="taskrun_asked"),
            models.Index(fields=["retry_of"], condition=Q(retry_of__isnull=False), name="taskrun_retry_of"),
            models.Index(fields=["parent"], condition=Q(parent__isnull=False), name="taskrun_parent"),
            models.Index(fields=["asked_at"], condition=Q(state=State.FAILED.value), name="taskrun_failed"),
            models.Index(
                fields=["schedule_entry", "asked_at"], condition=Q(schedule_entry__gt=""), name="taskrun_of_entry"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task}[{self.id}] {self.state}"


class ScheduleEntry(models.Model):
    """One line of the schedule: from the table in core/celery.py, or an operator's own (django-celery-beat's admin).

    `followed_until` is the moment up to which its occurrences have been written; `next_at` when somebody must look at
    it again. Times before an entry was first seen, changed or resumed are never made up for by surprise.
    """

    name = models.CharField(primary_key=True, max_length=200)
    task = models.CharField(max_length=200)
    args = models.JSONField(default=list)
    kwargs = models.JSONField(default=dict)
    options = models.JSONField(default=dict, help_text="queue, expires in seconds")
    spec = models.TextField(help_text="when: cron …, every …, once …; empty when that cannot be followed")
    from_code = models.BooleanField(default=False)
    late = models.CharField(max_length=10, default=Late.RUN_ONCE.value, choices=[(p.value, p.value) for p in Late])
    grace = models.DurationField()
    followed_until = models.DateTimeField()
    next_at = models.DateTimeField(null=True, blank=True)
    problem = models.CharField(max_length=300, default="", blank=True)
    paused_at = models.DateTimeField(null=True, blank=True)
    paused_until = models.DateTimeField(null=True, blank=True)
    paused_by = models.CharField(max_length=200, default="", blank=True)
    pause_reason = models.CharField(max_length=500, default="", blank=True)
    retired_at = models.DateTimeField(null=True, blank=True, help_text="no longer in the code or the administration")

    class Meta:
        verbose_name_plural = "schedule entries"
        constraints = [
            models.CheckConstraint(condition=Q(late__in=[p.value for p in Late]), name="scheduleentry_late_known"),
            models.CheckConstraint(
                condition=Q(paused_at__isnull=True, paused_until__isnull=True) | Q(paused_at__isnull=False),
                name="scheduleentry_pause_whole",
            ),
        ]
        indexes = [models.Index(fields=["next_at"], condition=Q(next_at__isnull=False), name="scheduleentry_next")]

    def __str__(self) -> str:
        return self.name


class Occurrence(models.Model):
    """One scheduled time of an entry: written ahead, and run at most once, whoever fires it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    entry = models.ForeignKey(ScheduleEntry, on_delete=models.PROTECT, related_name="occurrences", db_index=False)
    due_at = models.DateTimeField()
    state = models.CharField(
        max_length=10, default=OccurrenceState.EXPECTED.value, choices=[(s.value, s.value) for s in OccurrenceState]
    )
    late = models.BooleanField(default=False, help_text="decided after its grace")
    run = models.UUIDField(null=True, blank=True)
    reason = models.CharField(max_length=300, default="", blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["entry", "due_at"], name="occurrence_once"),
            models.CheckConstraint(
                condition=Q(state__in=[s.value for s in OccurrenceState]), name="occurrence_state_known"
            ),
            models.CheckConstraint(
                condition=Q(state=OccurrenceState.RUN.value, run__isnull=False)
                | (~Q(state=OccurrenceState.RUN.value) & Q(run__isnull=True)),
                name="occurrence_run_when_run",
            ),
            models.CheckConstraint(
                condition=Q(state=OccurrenceState.EXPECTED.value, decided_at__isnull=True)
                | (~Q(state=OccurrenceState.EXPECTED.value) & Q(decided_at__isnull=False)),
                name="occurrence_decided",
            ),
        ]
        indexes = [
            models.Index(
                fields=["entry", "due_at"],
                condition=Q(state__in=[OccurrenceState.EXPECTED.value, OccurrenceState.MISSED.value]),
                name="occurrence_open",
            ),
            models.Index(fields=["due_at"], name="occurrence_due"),
        ]

    def __str__(self) -> str:
        return f"{self.entry_id} at {self.due_at:%Y-%m-%d %H:%M:%S} {self.state}"
