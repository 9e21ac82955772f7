"""Celery's consumer, with a steady look for a Redis that is away: Celery's own pauses grow to 30 s."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.worker import consumer


class Consumer(consumer.Consumer):
    def ensure_connected(self, conn: Any) -> Any:
        conn.ensure_connection = partial(conn.ensure_connection, interval_start=1, interval_step=0, interval_max=1)
        return super().ensure_connected(conn)
