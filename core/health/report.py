"""The health report: every check bounded in time, one row, and a notice when the overall state has changed."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection, connections, transaction
from django.db.models.functions import Now

from core.base import figures
from core.errors import InvalidInput
from core.health import rules, selectors
from core.health.models import HealthReport
from core.health.rules import Finding, State
from core.jobs.services import enqueue

ASIDE_SECONDS = 2.0  # for a check that asks something other than PostgreSQL
QUERY_SECONDS = 3
CACHE_KEY = "system:health"
CACHE_SECONDS = 26 * 3600


def make() -> HealthReport:
    """Check everything, write the report, and have the admins told when `overall` is not what it was before.

    Not safe to repeat in the sense of doing nothing: each call is a row; a notice goes out only on a change.
    """
    findings = check()
    overall = rules.overall(findings)
    with transaction.atomic():
        with connection.cursor() as cursor:  # two at once would both see a change
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('core.health.report'))")
        before = HealthReport.objects.order_by("-at").values_list("overall", flat=True).first()
        report = HealthReport.objects.create(
            at=Now(), overall=overall.value, checks={name: asdict(finding) for name, finding in findings.items()}
        )
        report.refresh_from_db()
        if overall != (before or State.HEALTHY):
            enqueue("core.tasks.send_admin_notification", "health_change", {"report_id": str(report.pk)})
        shown = {"at": report.at.isoformat(), "overall": report.overall, "checks": report.checks}
        transaction.on_commit(lambda: _aside(lambda: cache.set(CACHE_KEY, shown, CACHE_SECONDS)), robust=True)
    return report


def check() -> dict[str, Finding]:
    """What each check finds. None of them takes longer than a few seconds or raises."""
    checks: dict[str, Callable[[], Finding]] = {
        "database": database,
        "cache": cached,
        "broker": broker,
        "workers": workers,
        "queues": queues,
        "beat": beat,
        "disk": disk,
        "sms_balance": sms_balance,
        "oldest_unsent": oldest_unsent,
    }
    return {name: _contained(each) for name, each in checks.items()}


def _contained(each: Callable[[], Finding]) -> Finding:
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:  # for this transaction: behind PgBouncer the session is not ours
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{QUERY_SECONDS}s"])
            return each()
    except DatabaseError:
        return Finding(State.DEGRADED, "PostgreSQL did not answer in time: look at its load")
    except InvalidInput as error:  # a bad row among the limits
        return Finding(State.DEGRADED, str(error))


def _aside(work: Callable[[], Any]) -> str:
    """Do this in a thread that may be left behind. Returns what went wrong, '' when nothing did."""
    problem = "no answer in time"

    def run() -> None:
        nonlocal problem
        try:
            work()
            problem = ""
        except Exception as error:  # noqa: BLE001 - a cache or disk may fail in any way; that is what is asked
            problem = type(error).__name__
        finally:
            connections.close_all()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(ASIDE_SECONDS)
    return problem


# --- the checks ----------------------------------------------------------------------------------------------------


def database() -> Finding:
    began = time.monotonic()
    state = selectors.database()
    took = round((time.monotonic() - began) * 1000, 1)
    return Finding(State.HEALTHY, f"answers in {took} ms", took) if state == "ok" else Finding(State.DOWN, state)


def cached() -> Finding:
    def round_trip() -> None:
        cache.set("system:health:probe", "ok", 60)
        if cache.get("system:health:probe") != "ok":
            raise LookupError

    problem = _aside(round_trip)
    if problem:
        return Finding(State.DEGRADED, f"does not answer ({problem}): check REDIS_URL; pages are slower meanwhile")
    return Finding(State.HEALTHY, "answers")


def broker() -> Finding:
    state = selectors.broker()
    return Finding(State.HEALTHY, "answers") if state == "ok" else Finding(State.DOWN, state)


def workers() -> Finding:
    [minutes] = figures.read(figures.WORKER_SILENCE_MIN)
    seen = selectors.workers_alive(minutes * 60)
    if not seen:
        return Finding(State.DOWN, f"none seen in {minutes} min: start one with celery -A core worker -l INFO", 0)
    return Finding(State.HEALTHY, f"{seen} seen in {minutes} min", seen)


def queues() -> Finding:
    [limit] = figures.read(figures.QUEUE_DEPTH)
    waiting = selectors.waiting_runs()
    deepest = max(waiting, key=lambda queue: waiting[queue])
    depth = waiting[deepest]
    words = f"{depth:,} due tasks wait in the lane {deepest}"
    if depth > limit:
        return Finding(
            State.DEGRADED, f"{words}, more than {limit:,}: start more workers, or look what holds them", depth
        )
    return Finding(State.HEALTHY, words if depth else "nothing waits", depth)


def beat() -> Finding:
    [minutes] = figures.read(figures.BEAT_SILENCE_MIN)
    age = selectors.beat_age()
    if age is None:
        return Finding(State.DEGRADED, "no scheduler seen: start one with celery -A core beat -l INFO")
    seconds = round(age.total_seconds())
    if age > timedelta(minutes=minutes):
        told = f"the scheduler was last seen {seconds // 60} min ago, the limit is {minutes}: start celery -A core beat"
        return Finding(State.DEGRADED, told, seconds)
    return Finding(State.HEALTHY, f"seen {seconds} s ago", seconds)


def disk() -> Finding:
    [limit] = figures.read(figures.DISK_FREE_PCT)
    found: list[float] = []

    def look() -> None:
        usage = shutil.disk_usage(settings.BASE_DIR)
        found.append(round(100 * usage.free / usage.total, 1))

    problem = _aside(look)
    if problem:
        return Finding(State.DEGRADED, f"the disk does not answer ({problem}): look at its mount")
    [free] = found
    if free < limit:
        return Finding(State.DEGRADED, f"{free} % free, less than {limit} %: make room", free)
    return Finding(State.HEALTHY, f"{free} % free", free)


def sms_balance() -> Finding:
    limit: Decimal = figures.read(figures.SMS_BALANCE_GHS)[0]
    return Finding(State.UNKNOWN, f"not asked: look at the provider's page whether more than GHS {limit} are left")


def oldest_unsent() -> Finding:
    waiting = selectors.oldest_unsent()
    if waiting is None:
        return Finding(State.HEALTHY, "nothing waits", 0)
    minutes = int(waiting.total_seconds() // 60)
    words = f"the oldest message that may leave has waited {minutes} min"
    if minutes >= rules.OLDEST_UNSENT_MINUTES:
        why = "look at the gateway's credentials and the provider"
        return Finding(State.DEGRADED, f"{words}, more than {rules.OLDEST_UNSENT_MINUTES}: {why}", minutes)
    return Finding(State.HEALTHY, words, minutes)
