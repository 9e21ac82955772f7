"""Figures that an administrator can change, each with its default in code (domain.md 4.6.1)."""

from __future__ import annotations

from django.conf import settings
from django.db import models

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
