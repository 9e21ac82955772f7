"""The answers that are given again when a request is repeated under its key."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from core.base.ids import new_id


class IdempotentRequest(models.Model):
    """A POST with an `Idempotency-Key`, written in the transaction of what it did. `status` is 0 until that is done."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    key = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=64, help_text="of method, address and body")
    status = models.PositiveSmallIntegerField(default=0)
    answer = models.TextField(default="", help_text="JSON, in the order it was given")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="api_idempotency_key")]
        indexes = [models.Index(fields=["created_at"], name="api_idempotency_age")]

    def __str__(self) -> str:
        return f"{self.user_id} {self.key}"
