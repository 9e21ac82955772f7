"""Making reports: one row for a kind, scope and period, whoever asks and however often."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

import structlog
from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction

from core.reporting.models import Report
from core.reporting.rules import KEPT_FOR, Kind, Status


def make(
    *, kind: Kind, scope: str, first: date, last: date, content: Callable[[], Mapping[str, Any]], now: datetime
) -> Report:
    """The report of this kind and scope from one day to another, made now of what `content` returns.

    `running` meanwhile, and `failed` when it raises, which goes on to the caller. Safe to repeat: the row is the same,
    and a content that is the same is no new revision.
    """
    report = _begun(kind, scope, first, last)
    try:
        found = content()
    except BaseException:
        Report.objects.filter(pk=report.pk, status=Status.RUNNING).update(status=Status.FAILED, updated_at=now)
        raise
    return _finished(report.pk, found, now)


@transaction.atomic
def _begun(kind: Kind, scope: str, first: date, last: date) -> Report:
    asked_by = structlog.contextvars.get_contextvars().get("user_id")
    report, new = Report.objects.select_for_update(no_key=True).get_or_create(
        kind=kind.value,
        scope=scope,
        period_from=first,
        period_to=last,
        defaults={"requested_by_id": uuid.UUID(asked_by) if asked_by else None},
    )
    if not new:
        report.status = Status.RUNNING.value
        report.save(update_fields=["status", "updated_at"])
    return report


@transaction.atomic
def _finished(report_id: uuid.UUID, found: Mapping[str, Any], now: datetime) -> Report:
    """Two that were made at once end one after the other; the row may be ready by then."""
    report = Report.objects.select_for_update(no_key=True).get(pk=report_id)
    digest = hashlib.sha256(json.dumps(found, sort_keys=True, cls=DjangoJSONEncoder).encode()).hexdigest()
    if digest != report.content_hash:
        report.content_hash, report.revision = digest, report.revision + 1
    report.content, report.expires_at, report.status = dict(found), now + KEPT_FOR, Status.READY.value
    report.save()
    return report
