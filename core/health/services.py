"""Signs of life."""

from __future__ import annotations

from django.db import connection

HEARTBEAT_SECONDS = 10.0
FORGET_DAYS = 7


def beat(worker: str) -> None:
    """Note that a worker is alive, by the database's clock, and forget workers not seen for a week."""
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH gone AS (DELETE FROM health_heartbeat WHERE seen_at < now() - make_interval(days => %s)"
            " AND name <> %s)"
            " INSERT INTO health_heartbeat (name, seen_at) VALUES (%s, now())"
            " ON CONFLICT (name) DO UPDATE SET seen_at = EXCLUDED.seen_at",
            [FORGET_DAYS, worker, worker],
        )
