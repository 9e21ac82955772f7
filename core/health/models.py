"""What was last heard of the processes that must be alive."""

from __future__ import annotations

from django.db import models


class Heartbeat(models.Model):
    """A worker's last sign of life, written by its sweeps."""

    name = models.CharField(primary_key=True, max_length=200)
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
