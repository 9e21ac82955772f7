"""The hourly metrics: one row for each full hour, with figures that every app adds (core.base.registries)."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from django.core.cache import cache
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction
from django.db.models import Count, Q

from core import clock
from core.base.registries import Hour, after_metrics, system_figures
from core.delivery.models import OutboundMessage
from core.health import selectors
from core.health.models import SystemMetric

CACHE_KEY = "system:metrics"
CACHE_SECONDS = 26 * 3600
LATE = timedelta(hours=1)

_UPSERT = """
INSERT INTO health_systemmetric AS kept (id, hour, payload, created_at, updated_at)
VALUES (gen_random_uuid(), %s, %s::jsonb, statement_timestamp(), statement_timestamp())
ON CONFLICT (hour) DO UPDATE SET payload = kept.payload || EXCLUDED.payload, updated_at = EXCLUDED.updated_at
"""


def aggregate(*, moment: datetime) -> Hour:
    """Write the metrics of the full hour before `moment`: at 06:05 those of 05:00 to 06:00.

    Safe to repeat: one row an hour, overwritten. Figures that tell how things stand now are left as they were once the
    hour is an hour gone: nobody can know them later.
    """
    end = clock.accra(moment).replace(minute=0, second=0, microsecond=0)
    hour = Hour(start=end - timedelta(hours=1))
    past = clock.now() - hour.end > LATE
    payload: dict[str, Any] = {}
    for figure in system_figures.values():
        if not (figure.of_now and past):
            payload |= figure.count(hour)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_UPSERT, [hour.start, json.dumps(payload, cls=DjangoJSONEncoder)])
        for follow in after_metrics.values():
            follow(hour)
        transaction.on_commit(remember, robust=True)
    return hour


def remember() -> None:
    """The newest hour into the shared cache, for the pages."""
    newest = SystemMetric.objects.order_by("-hour").first()
    if newest:
        cache.set(CACHE_KEY, {"hour": newest.hour.isoformat(), **newest.payload}, CACHE_SECONDS)


def queues(_hour: Hour) -> dict[str, dict[str, int]]:
    return {"queue_depth": selectors.waiting_runs()}


def messages(hour: Hour) -> dict[str, dict[str, int]]:
    """Those written in the hour, by the state they have reached by now."""
    # the second condition is the index's; texts are kept for at least 30 days
    written = OutboundMessage.objects.filter(
        Q(body__isnull=False) | ~Q(recipient=""), created_at__gte=hour.start, created_at__lt=hour.end
    )
    counts = written.values_list("status").annotate(count=Count("pk")).order_by("status")
    return {"messages_by_state": dict(counts)}
