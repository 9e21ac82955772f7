"""Is the system ready? One named check per thing that must work, each bounded in time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, cast

from celery import current_app
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models.functions import Now
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from core import clock
from core.base import figures
from core.health.models import Heartbeat
from core.health.rules import GRACE_SECONDS, Kind


def readiness() -> dict[str, str]:
    """Each check with 'ok' or what is wrong and what to do, in words without addresses or secrets."""
    return {name: check() for name, check in CHECKS.items()}


def database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "PostgreSQL does not answer: check DATABASE_URL and the server"
    return "ok"


def migrations() -> str:
    try:
        executor = MigrationExecutor(connection)
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return "unknown: PostgreSQL does not answer"
    return f"{len(waiting)} not applied: run manage.py migrate" if waiting else "ok"


def broker() -> str:
    options: dict[str, Any] = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5, "max_retries": 0}
    link: Any = current_app.connection_for_read(transport_options=options)
    try:
        link.default_channel.client.ping()
    except (BrokerError, RedisError, OSError):
        return "Redis does not answer: check CELERY_BROKER_URL and the server; nothing is lost meanwhile"
    finally:
        link.release()
    return "ok"


def worker() -> str:
    try:
        alive = workers_alive()
    except DatabaseError:
        return "unknown: PostgreSQL does not answer"
    return "ok" if alive else "no worker seen: start one with celery -A core worker -l INFO"


def workers_alive(silence_seconds: float = GRACE_SECONDS[Kind.WORKER]) -> int:
    """How many workers gave a sign of life within so many seconds, by the database's clock."""
    seen = Heartbeat.objects.filter(kind=Kind.WORKER, seen_at__gt=Now() - timedelta(seconds=silence_seconds))
    return seen.count()


def last_sign_of_work() -> datetime:
    """When a worker, or a sweep of one, last gave a sign of life. There must be one that ever did."""
    return Heartbeat.objects.exclude(kind=Kind.BEAT).latest("seen_at").seen_at


_WAITING = """
SELECT queue, count(*) FROM (
    SELECT queue FROM jobs_taskrun
    WHERE ring_at IS NOT NULL AND (due_at IS NULL OR due_at <= statement_timestamp()) LIMIT %s) AS due
GROUP BY queue
"""
MOST_COUNTED = 1_000_000


def waiting_runs() -> dict[str, int]:
    """How many runs of each lane are due and not taken, whatever Redis knows of them."""
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, [MOST_COUNTED])
        found = dict(cursor.fetchall())
    return {lane: found.get(lane, 0) for lane in current_app.amqp.queues}


def beat_age() -> timedelta | None:
    """How long ago the last beat to give a sign of life did so; None when none is known."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT statement_timestamp() - max(seen_at) FROM health_heartbeat WHERE kind = %s", [Kind.BEAT.value]
        )
        [age] = cursor.fetchone()
    return cast("timedelta | None", age)


_OLDEST = """
SELECT statement_timestamp() - min(GREATEST(created_at, not_before, CASE WHEN NOT any_hour THEN
    CASE WHEN lane = 'bulk' THEN %s::timestamptz ELSE %s::timestamptz END END))
FROM delivery_outboundmessage WHERE due_at IS NOT NULL AND status = 'queued'
"""


def oldest_unsent() -> timedelta | None:
    """How long the oldest message that may leave has waited, since it was written or its sending window opened."""
    day, now = clock.accra(clock.now()).date(), clock.now()
    times = figures.times_of_day(figures.BULK_WINDOW_START, figures.WINDOW_START)
    opened = [clock.at(day, start) for start in times] if settings.SENDING_WINDOWS else [None, None]
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST, [moment if moment and moment <= now else None for moment in opened])
        [age] = cursor.fetchone()
    return cast("timedelta | None", age)


CHECKS: dict[str, Callable[[], str]] = {
    "database": database,
    "migrations": migrations,
    "broker": broker,
    "worker": worker,
}
