"""Figures that an administrator can change, and the record of who changed what (domain.md 4.6)."""

from __future__ import annotations

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q

from core.base.ids import new_id


class Setting(models.Model):
    """A figure that differs from its default in `core.base.figures`. No row means the default."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    key = models.CharField(max_length=100, unique=True)
    value = models.JSONField()
    updated_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.key} = {self.value}"


class AuditLog(models.Model):
    """Who did what to what, and why. Append-only: the database refuses to change or remove a row (migration 0003).

    `actor_name` stands for a person without an account, such as one at the command line.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    actor_name = models.CharField(max_length=200, default="", blank=True)
    action = models.CharField(max_length=100)
    subject_type = models.CharField(max_length=50)
    subject_id = models.CharField(max_length=200)
    before = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    after = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    reason = models.CharField(max_length=500, default="", blank=True)
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(actor__isnull=False) | ~Q(actor_name=""), name="auditlog_has_an_actor")
        ]
        indexes = [
            models.Index(fields=["subject_type", "subject_id", "at"], name="auditlog_subject"),
            models.Index(fields=["at"], name="auditlog_at"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.subject_type} {self.subject_id}"


class AuditPending(models.Model):
    """Rows that wait to be chained, in the order in which they were written: noted by a trigger, taken by the sweep."""

    number = models.BigAutoField(primary_key=True)
    source = models.CharField(max_length=63)
    row_id = models.UUIDField()
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.source} {self.row_id}"


class AuditChain(models.Model):
    """A link for each row of the tables in `chained_tables`, in the order in which the sweep found them. Append-only.

    `hash` is over the rest of the link, `row_hash` over the row (core/base/rules.py); without one the row was gone
    before it was chained. `form` says which columns that covers.
    """

    position = models.BigIntegerField(primary_key=True)
    source = models.CharField(max_length=63)
    row_id = models.UUIDField()
    form = models.SmallIntegerField()
    row_hash = models.BinaryField(null=True)
    previous_hash = models.BinaryField()
    hash = models.BinaryField()
    chained_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "row_id"], name="auditchain_a_row_once"),
            models.CheckConstraint(condition=Q(position__gte=1), name="auditchain_begins_at_1"),
        ]

    def __str__(self) -> str:
        return f"{self.position} {self.source} {self.row_id}"
