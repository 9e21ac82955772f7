"""Signs of life."""

from __future__ import annotations

from typing import Any

from django.db import connection

from core.jobs import sweeper

HEARTBEAT_SECONDS = 10.0
FORGET_DAYS = 7


def begin_beating(**_: Any) -> None:
    """From the moment a worker consumes, not from its start."""
    sweeper.register("heartbeat", every_seconds=HEARTBEAT_SECONDS, run=beat, at_end=say_goodbye)


def say_goodbye(worker: str) -> None:
    """A worker that stops is not counted on any more. One that is killed is forgotten by its silence."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM health_heartbeat WHERE name = %s", [worker])


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
