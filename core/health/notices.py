"""What the admins are told of the system itself: which rows each notice reads (words: core.health.messages)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from celery import current_app

from core import clock
from core.base.registries import Notice, Severity
from core.errors import InvalidInput, NotFound
from core.health import messages
from core.health.models import HealthReport, Heartbeat
from core.health.rules import Kind, State
from core.jobs.models import TaskRun

LONGEST_NAME = 100
ALL_WORKERS = "all workers"
_SEVERITY = {State.HEALTHY: Severity.INFO, State.DEGRADED: Severity.WARNING, State.DOWN: Severity.CRITICAL}


def system_error(context: Mapping[str, Any]) -> Notice:
    """A task has failed for good: `task_id` is its run. Once per task name and day (domain.md C5)."""
    run_id = _id(context, "task_id")
    run = TaskRun.objects.filter(pk=run_id).first()
    if run is None:
        raise NotFound(f"There is no run {run_id}. Pass the id of a run that is still kept.")
    when = run.finished_at or run.started_at or run.asked_at
    title, text = messages.task_failed(
        name=run.task,
        does=_purpose(run.task),
        when=clock.words(when),
        error=run.error_class or "not recorded",
        attempts=run.attempts,
        run_id=str(run.pk),
        scheduled=bool(run.schedule_entry),
    )
    day = clock.accra(when).date()
    return Notice(title, text, Severity.WARNING, ("run", str(run.pk)), f"{run.task}/{day}")


def health_change(context: Mapping[str, Any]) -> Notice:
    report_id = _id(context, "report_id")
    report = HealthReport.objects.filter(pk=report_id).first()
    if report is None:
        raise NotFound(f"There is no health report {report_id}. Pass the id of a stored one.")
    before = HealthReport.objects.filter(at__lt=report.at).order_by("-at").first()
    title, text = messages.health_changed(
        overall=report.overall,
        before=before.overall if before else None,
        when=clock.words(report.at),
        wrong={name: report.checks[name]["words"] for name in report.failed},
        unknown=[name for name, check in report.checks.items() if check["state"] == State.UNKNOWN],
    )
    return Notice(title, text, _SEVERITY[State(report.overall)], ("health_report", str(report.pk)), str(report.pk))


def process_silent(context: Mapping[str, Any]) -> Notice:
    """`name`, `kind` and, when known, `since`: a process or sweep that gives no sign of life any more."""
    name = _name(context, "name")
    try:
        kind = Kind(context.get("kind", ""))
    except ValueError as error:
        raise InvalidInput(f"The kind of a process is one of: {', '.join(Kind)}.") from error
    since = _since(context)
    severity, when = Severity.WARNING, clock.words(since)
    if kind == Kind.WORKER and name == ALL_WORKERS:
        severity, (title, text) = Severity.CRITICAL, messages.no_worker(when=when)
    elif kind == Kind.WORKER:
        title, text = messages.worker_silent(name=name, when=when)
    elif kind == Kind.BEAT:
        title, text = messages.beat_silent(name=name, when=when)
    else:
        title, text = messages.sweep_silent(name=name, when=when)
    return Notice(title, text, severity, (kind.value, name), f"{name}/{since.isoformat()}")


def occurrences_missed(context: Mapping[str, Any]) -> Notice:
    """`entry`, `count` and `day`: scheduled times that passed without a run."""
    entry, count = _name(context, "entry"), context.get("count")
    if not isinstance(count, int) or count < 1:
        raise InvalidInput("count must say how many scheduled times were missed, at least 1.")
    try:
        day = date.fromisoformat(context.get("day", ""))
    except (TypeError, ValueError) as error:
        raise InvalidInput("day must be a date such as 2026-11-23.") from error
    title, text = messages.occurrences_missed(entry=entry, count=count, day=f"{day:%a %-d %b}")
    return Notice(title, text, Severity.WARNING, ("schedule", entry), f"{entry}/{day}")


def _id(context: Mapping[str, Any], name: str) -> uuid.UUID:
    try:
        return uuid.UUID(str(context[name]))
    except (KeyError, ValueError) as error:
        raise InvalidInput(f"This notice needs {name}, the id of a stored row.") from error


def _name(context: Mapping[str, Any], key: str) -> str:
    given = context.get(key)
    if not isinstance(given, str) or not given.strip() or not given.isprintable():
        raise InvalidInput(f"This notice needs {key}, a name on one line.")
    return given.strip()[:LONGEST_NAME]


def _since(context: Mapping[str, Any]) -> datetime:
    if "since" in context:
        try:
            since = datetime.fromisoformat(context["since"])
        except (TypeError, ValueError) as error:
            raise InvalidInput("since must be a time such as 2026-11-23T06:05:00+00:00.") from error
        return since if since.tzinfo else since.replace(tzinfo=clock.ACCRA)
    name = context.get("name")
    seen = Heartbeat.objects.filter(name=name).values_list("seen_at", flat=True).first()
    if seen is None:
        raise NotFound("This process has never given a sign of life. Pass `since`, or a name that was seen.")
    return seen


def _purpose(task: str) -> str:
    """The first sentence of the task's own description."""
    if task not in current_app.tasks:
        return "it is no longer part of the system."
    words = " ".join((current_app.tasks[task].__doc__ or "not described").split())
    return words.partition(". ")[0].removesuffix(".") + "."
