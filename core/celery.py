"""The Celery app and the schedule.

`celery -A core worker`, `celery -A core beat` and `celery -A core inspect` find the app here. How tasks are kept from
being lost or doubled is the ledger's matter (core/jobs); settings are in core/settings.py under CELERY_.
"""

from __future__ import annotations

import os

from celery import Celery
from celery.schedules import crontab

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")

app = Celery("core", task_cls="core.jobs.task:LedgerTask", control="core.jobs.control:LedgerControl")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.loader.override_backends = {
    "redis": "core.jobs.backend:LedgerRedisBackend",
    "rediss": "core.jobs.backend:LedgerRedisBackend",
    "sentinel": "core.jobs.backend:LedgerSentinelBackend",
}
app.autodiscover_tasks()
app.steps["worker"].add("core.jobs.sweeper:SweepStep")

# THE SCHEDULE. Times are Africa/Accra. An entry comes with the task that it names (domain.md 7); beat writes these
# lines into the database at every start, so a line is changed here and nowhere else.
app.conf.beat_schedule = {
    # every day at 02:20: finished runs past their retention leave the ledger
    "prune-finished-runs": {"task": "core.tasks.prune_finished_runs", "schedule": crontab(minute="20", hour="2")},
}
