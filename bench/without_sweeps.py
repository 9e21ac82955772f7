"""The product's Celery app without its sweeps: `celery -A bench.without_sweeps worker`."""

from __future__ import annotations

from core.celery import app

__all__ = ["app"]

app.steps["worker"] = {step for step in app.steps["worker"] if "sweeper" not in str(step)}
