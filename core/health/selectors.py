"""Is the system ready? One named check per thing that must work, each bounded in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import current_app
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

WORKER_SILENCE_SECONDS = 30


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
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM health_heartbeat WHERE seen_at > now() - make_interval(secs => %s)",
                [WORKER_SILENCE_SECONDS],
            )
            row = cursor.fetchone()
    except DatabaseError:
        return "unknown: PostgreSQL does not answer"
    return "ok" if row and row[0] else "no worker seen: start one with celery -A core worker -l INFO"


CHECKS: dict[str, Callable[[], str]] = {
    "database": database,
    "migrations": migrations,
    "broker": broker,
    "worker": worker,
}
