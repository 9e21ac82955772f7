"""The Celery app and the schedule.

`celery -A core worker`, `celery -A core beat` and `celery -A core inspect` find the app here. How tasks are kept from
being lost or doubled is the ledger's matter (core/jobs); settings are in core/settings.py under CELERY_.
"""

from __future__ import annotations

import os

from celery import Celery

from core.jobs.rules import Late
from core.jobs.schedule import Entry

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")

app = Celery("core", task_cls="core.jobs.task:LedgerTask", control="core.jobs.control:LedgerControl")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.loader.override_backends = {
    "redis": "core.jobs.backend:LedgerRedisBackend",
    "rediss": "core.jobs.backend:LedgerRedisBackend",
    "sentinel": "core.jobs.backend:LedgerSentinelBackend",
}
app.Beat = app.subclass_with_self("core.jobs.beat:Beat")  # type: ignore[arg-type,misc]  # as Celery itself names it
app.autodiscover_tasks()
app.steps["worker"].add("core.jobs.sweeper:SweepStep")
app.steps["worker"].add("core.jobs.shutdown:StopStep")

# THE SCHEDULE. Times are Africa/Accra: minute, hour, day of the month, month, weekday. What each task does stands in
# docs/tasks.md. Occurrences (core/jobs/occurrences.py) see to it that each time runs once, also without beat; `late`
# says what becomes of one that was missed. Written into the database by `migrate` and at every start of beat.
SCHEDULE: dict[str, Entry] = {
    # every 30 minutes, every hour: a picture of the present, which a later one replaces
    "generate-system-health-report": Entry("core.tasks.generate_system_health_report", "*/30 * * * *", late=Late.SKIP),
    "aggregate-system-metrics": Entry("core.tasks.aggregate_system_metrics", "5 * * * *", late=Late.SKIP),
    # in the morning, on working days: farmers first, then those who decide
    "send-enrollment-reminders": Entry("farms.tasks.send_enrollment_reminders", "0 9 * * 1-5"),
    "check-pending-applications": Entry("farms.tasks.check_pending_applications", "0 10 * * 1-5"),
    # twice a day: what has run out
    "cleanup-expired-tokens": Entry("accounts.tasks.cleanup_expired_tokens", "45 */12 * * *"),
    # at night: what is past its retention
    "cleanup-old-notifications": Entry("core.tasks.cleanup_old_notifications", "0 2 * * 0"),
    "prune-finished-runs": Entry("core.tasks.prune_finished_runs", "20 2 * * *"),
    # at night, before people start: the farms
    "calculate-farm-scores": Entry("farms.tasks.calculate_farm_scores", "0 3 * * *"),
    "sync-farmer-locations": Entry("farms.tasks.sync_farmer_locations", "30 3 * * *"),
}
app.conf.beat_schedule = {name: entry.for_beat() for name, entry in SCHEDULE.items()}
