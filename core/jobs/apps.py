from __future__ import annotations

from typing import Any

from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "core.jobs"
    label = "jobs"
    verbose_name = "Ledger"

    def ready(self) -> None:
        from celery import signals
        from django.db.models.signals import post_migrate

        from core.base import chain
        from core.jobs import kombu_guard, occurrences, relay, request, sweeper

        kombu_guard.install()
        signals.worker_init.connect(kombu_guard.spare, weak=False)
        sweeper.register("relay", every_seconds=relay.EVERY_SECONDS, run=relay.sweep)
        sweeper.register("processes", every_seconds=request.EVERY_SECONDS, run=request.sweep, at_end=request.sweep)
        sweeper.register(
            "schedule", every_seconds=occurrences.FOLLOW_EVERY_SECONDS, run=occurrences.follow_administration
        )
        sweeper.register("unknown", every_seconds=relay.UNKNOWN_EVERY_SECONDS, run=relay.contain_unknown)
        sweeper.register("audit", every_seconds=chain.EVERY_SECONDS, run=chain.sweep)
        post_migrate.connect(migrated, sender=self)
        signals.beat_init.connect(beat_started, weak=False)


def migrated(**_signal: Any) -> None:
    """A deploy migrates: from now on the schedule table of this code counts. Not when a worker starts: in the middle of
    a deploy one of the old code may.
    """
    from django.db import connection

    from core.celery import SCHEDULE
    from core.jobs import occurrences

    tables = connection.introspection.table_names()
    if {"jobs_scheduleentry", "jobs_occurrence", "django_celery_beat_periodictask"} <= set(tables):
        occurrences.follow_code(SCHEDULE)


def beat_started(**_signal: Any) -> None:
    """Beat has just written this code's crons into its own tables. It retires nothing: it may be of the old code."""
    from core.celery import SCHEDULE
    from core.jobs import occurrences

    occurrences.follow_code(SCHEDULE, retire=False)
