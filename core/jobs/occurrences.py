"""Occurrences: every scheduled time is a row, and runs at most once, whoever fires it.

Beat, the workers' sweeps and people all come here. Who locks the entry's row decides, by the database's clock and the
entry's written policy; the others find the occurrence decided. So beat may be down, doubled or wrong about the time.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django_celery_beat.models import PeriodicTask, PeriodicTasks

from core.errors import InvalidInput
from core.jobs import bell, notices, runs
from core.jobs.models import Occurrence, ScheduleEntry
from core.jobs.rules import Late, OccurrenceState, Trigger, Verdict, decide
from core.jobs.schedule import GRACE, Entry
from core.jobs.services import is_known, task_named
from core.jobs.timetable import SAME_AS_ACCRA, Cron, Timetable, of_celery, parse

log = structlog.get_logger(__name__)

AHEAD = timedelta(hours=24)  # occurrences are written so far ahead,
MOST_AHEAD = 50  # but no more than so many of one entry, and at least one
MOST_MISSED = 1000  # of a gap, so many are written down: the newest; with run_each the oldest, and the rest later
UNKNOWN_TASK_GRACE = timedelta(minutes=10)  # in the middle of a deploy a worker may not know a task yet
LOOK_AGAIN = timedelta(seconds=30)
FOLLOW_EVERY_SECONDS = 15.0
NOTICED_WITHIN = timedelta(seconds=30)  # a change in the administration
SWITCHED_OFF = "switched off in the administration"
NEVER = "It is never due again: no day fits its times. Correct them."


# --- what is due ----------------------------------------------------------------------------------------------------


def settle_due() -> None:
    """Settle every entry that somebody must look at. One that cannot be settled does not hold up the others."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM jobs_scheduleentry WHERE next_at <= statement_timestamp() ORDER BY next_at LIMIT 100"
        )
        names = [row[0] for row in cursor.fetchall()]
    for name in names:
        try:
            settle(name)
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            log.exception("entry_not_settled", entry=name)
            ScheduleEntry.objects.filter(name=name).update(next_at=Now() + LOOK_AGAIN)


def settle(name: str) -> list[uuid.UUID]:
    """Decide what is due of one entry and ask for the runs. Returns their ids; none when there was nothing to do, or
    somebody else is at it.
    """
    with transaction.atomic():
        entry, now = locked(name, skip_locked=True)
        return settle_locked(entry, now) if entry and not entry.retired_at else []


def heed(name: str) -> list[uuid.UUID]:
    """Somebody says that an entry may be due. As `settle`; an entry not seen yet is followed first."""
    if not ScheduleEntry.objects.filter(name=name).exists():
        follow_administration()
    return settle(name)


def locked(name: str, *, skip_locked: bool = False) -> tuple[ScheduleEntry | None, datetime]:
    """The entry, nobody else's for the length of the transaction, and the database's time."""
    entry = ScheduleEntry.objects.select_for_update(skip_locked=skip_locked).filter(name=name).first()
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        return entry, cursor.fetchone()[0]


def settle_locked(entry: ScheduleEntry, now: datetime) -> list[uuid.UUID]:
    """As `settle`, of an entry that is locked."""
    write_ahead(entry, now)
    due = list(with_state(entry, OccurrenceState.EXPECTED).filter(due_at__lte=now))
    if entry.paused_at:
        until = entry.paused_until
        paused = [one for one in due if until is None or one.due_at <= until]
        _decide(paused, OccurrenceState.MISSED, late=False, reason=f"paused: {entry.pause_reason}")
        due = due[len(paused) :]
        if until and until <= now:
            resume(entry)
    run_ids: list[uuid.UUID] = []
    if due and not is_known(entry.task):
        if now - due[0].due_at < UNKNOWN_TASK_GRACE:
            entry.next_at = now + LOOK_AGAIN
            entry.save()
            return []
        entry.problem = f"There is no task {entry.task}. Correct the entry."
        _decide(due, OccurrenceState.MISSED, late=True, reason=entry.problem)
        notices.occurrences_missed(entry.name, len(due))
    elif due:
        verdicts = decide(Late(entry.late), entry.grace, [one.due_at for one in due], now)
        try:
            with transaction.atomic():
                run_ids = carry_out(entry, due, verdicts)
            entry.problem = ""
        except InvalidInput as error:
            entry.problem = str(error)[:300]
            for one in due:
                one.run = None
            _decide(due, OccurrenceState.MISSED, late=True, reason=entry.problem)
            notices.occurrences_missed(entry.name, len(due))
    save(entry)
    return run_ids


def write_ahead(entry: ScheduleEntry, now: datetime) -> None:
    """Write the occurrences since the entry was last looked at, and some of the coming ones."""
    if not entry.spec:
        return
    timetable, since = parse(entry.spec), entry.followed_until
    if entry.late == Late.RUN_EACH:  # all of them, some at a time
        times = list(islice(timetable.between(since, now), MOST_MISSED))
        until = times[-1] if len(times) == MOST_MISSED else now
    else:
        times, until = _newest(timetable, since, now), now
    if until == now:
        written = with_state(entry, OccurrenceState.EXPECTED).filter(due_at__gt=now).count()
        coming = timetable.between(max(since, now), now + AHEAD)
        ahead = list(islice(coming, max(0, MOST_AHEAD - written)))
        if not ahead and not written:
            ahead = list(islice(timetable.after(max(since, now)), 1))
        times += ahead
    Occurrence.objects.bulk_create([Occurrence(entry=entry, due_at=due) for due in times], ignore_conflicts=True)
    entry.followed_until = max([until, since, *times])


def _newest(timetable: Timetable, since: datetime, now: datetime) -> list[datetime]:
    """The newest times of a gap, oldest first."""
    times: list[datetime] = []
    due = timetable.last_until(now, since)
    while due and len(times) < MOST_MISSED:
        times.append(due)
        due = timetable.last_until(due - timedelta(microseconds=1), since)
    return times[::-1]


def carry_out(
    entry: ScheduleEntry,
    due: Iterable[Occurrence],
    verdicts: Iterable[Verdict],
    *,
    trigger: Trigger = Trigger.SCHEDULE,
) -> list[uuid.UUID]:
    """Run or skip occurrences of a locked entry, and tell the admins of the late ones, unless a person decided. Returns
    the ids of the runs.
    """
    run_ids = []
    missed = 0
    for occurrence, verdict in zip(due, verdicts, strict=True):
        missed += verdict.late
        if verdict.run:
            run_ids.append(run(entry, occurrence, late=verdict.late, trigger=trigger))
        else:
            _decide([occurrence], OccurrenceState.SKIPPED, late=verdict.late, reason=verdict.reason)
    if missed and trigger == Trigger.SCHEDULE:
        notices.occurrences_missed(entry.name, missed)
        log.warning("occurrences_missed", entry=entry.name, missed=missed, run_late=len(run_ids))
    if run_ids and entry.options.get("one_off"):
        PeriodicTask.objects.filter(name=entry.name).update(enabled=False)
    return run_ids


def run(entry: ScheduleEntry, occurrence: Occurrence, *, late: bool, trigger: Trigger) -> uuid.UUID:
    """Ask for the run of an occurrence of a locked entry."""
    occurrence.run = ask(entry, trigger=trigger, occurrence=occurrence)
    _decide([occurrence], OccurrenceState.RUN, late=late, reason="")
    return occurrence.run


def ask(
    entry: ScheduleEntry,
    *,
    trigger: Trigger,
    occurrence: Occurrence | None = None,
    as_of: datetime | None = None,
) -> uuid.UUID:
    """Ask for a run of an entry's task. A computing task gets the due time of its occurrence (domain.md C9), or the
    moment that a person named.
    """
    task = task_named(entry.task)
    kwargs = dict(entry.kwargs)
    moment = occurrence.due_at if occurrence else as_of
    if moment and task.takes_due_time:
        kwargs.setdefault("as_of", moment.isoformat())
    plain = task.ask(entry.args, kwargs, options=entry.options)
    wanted = replace(
        plain,
        trigger=trigger,
        schedule_entry=entry.name,
        occurrence=occurrence.pk if occurrence else None,
        # each of these is wanted: none is skipped because another one runs
        exclusive=None if entry.late == Late.RUN_EACH else plain.exclusive,
    )
    runs.insert([wanted])
    announced = runs.bell_of(wanted.id, wanted.task, wanted.queue, {})
    transaction.on_commit(lambda: bell.ring([announced]), robust=True)
    return wanted.id


def with_state(entry: ScheduleEntry, *states: OccurrenceState) -> QuerySet[Occurrence]:
    """An entry's occurrences in these states, oldest first."""
    return Occurrence.objects.filter(entry=entry, state__in=[state.value for state in states]).order_by("due_at")


def _decide(occurrences: Iterable[Occurrence], state: OccurrenceState, *, late: bool, reason: str) -> None:
    for one in occurrences:
        Occurrence.objects.filter(pk=one.pk).update(
            state=state.value, late=late, reason=reason[:300], run=one.run, decided_at=Now()
        )


def pause(entry: ScheduleEntry, now: datetime, *, by: str, reason: str, until: datetime | None = None) -> None:
    """Fire nothing until somebody resumes. What becomes due meanwhile is written down as missed. Entry is locked."""
    entry.paused_at = now
    entry.paused_by, entry.pause_reason, entry.paused_until = by[:200], reason[:500], until
    save(entry)


def resume(entry: ScheduleEntry) -> None:
    """Fire again from now on. What passed during the pause is skipped: no surprise. The entry is locked."""
    missed = with_state(entry, OccurrenceState.MISSED)
    _decide(missed, OccurrenceState.SKIPPED, late=False, reason=f"passed while paused: {entry.pause_reason}")
    entry.paused_at = entry.paused_until = None
    entry.paused_by = entry.pause_reason = ""
    save(entry)


def save(entry: ScheduleEntry) -> None:
    """With the moment when somebody must look again: the next expected time, or the end of a pause."""
    following = with_state(entry, OccurrenceState.EXPECTED).values_list("due_at", flat=True).first()
    entry.next_at = min((moment for moment in (following, entry.paused_until) if moment), default=None)
    if following is None and entry.spec and not entry.options.get("one_off"):
        entry.problem = entry.problem or NEVER
    entry.save()


# --- which entries there are ----------------------------------------------------------------------------------------


def follow_code(table: Mapping[str, Entry], *, retire: bool = True) -> None:
    """Write the schedule table of the code down, and switch off what has left it. Safe to repeat.

    What comes back after it had left is switched on again.
    """
    back = list(ScheduleEntry.objects.filter(name__in=table).exclude(retired_at=None).values_list("name", flat=True))
    if PeriodicTask.objects.filter(name__in=back, enabled=False).update(enabled=True):
        PeriodicTasks.update_changed()
    for name, line in table.items():
        _follow(
            ScheduleEntry(
                name=name,
                task=line.task,
                spec=line.timetable.spec,
                from_code=True,
                late=line.late.value,
                grace=line.grace,
            )
        )
    if not retire:
        return
    gone = list(
        ScheduleEntry.objects.filter(from_code=True, retired_at=None)
        .exclude(name__in=table)
        .values_list("name", flat=True)
    )
    for name in gone:
        _retire(name)
    if PeriodicTask.objects.filter(name__in=gone, enabled=True).update(enabled=False):
        PeriodicTasks.update_changed()


def follow_administration(_worker: str = "") -> None:
    """Follow what operators have entered, changed, switched off or removed in django-celery-beat's administration."""
    known = {entry.name: entry for entry in ScheduleEntry.objects.filter(retired_at=None)}
    plans = PeriodicTask.objects.exclude(task__startswith="celery.")
    seen = set()
    for plan in plans.select_related("crontab", "interval", "clocked", "solar"):
        seen.add(plan.name)
        try:
            _follow_plan(plan, known.get(plan.name))
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            log.exception("plan_not_followed", entry=plan.name)
    for name, entry in known.items():
        if name not in seen and not entry.from_code:
            _retire(name)


def _follow_plan(plan: PeriodicTask, entry: ScheduleEntry | None) -> None:
    if plan.enabled and (entry is None or not entry.from_code):
        wanted = _of_plan(plan)
        if entry is None or _differs(entry, wanted):
            _follow(wanted, changed=plan.date_changed, not_before=plan.start_time)
    if entry and (entry.pause_reason == SWITCHED_OFF) == plan.enabled:
        _switch(plan.name, on=plan.enabled)


def _of_plan(plan: PeriodicTask) -> ScheduleEntry:
    entry = ScheduleEntry(name=plan.name, task=plan.task, spec="", grace=GRACE)
    try:
        timetable = _timetable(plan)
        entry.args, entry.kwargs = _json(plan.args, list), _json(plan.kwargs, dict)
        if timetable:
            entry.spec = timetable.spec
        else:
            entry.problem = "Schedules by the sun are not followed. Use a crontab."
    except InvalidInput as error:
        entry.problem = str(error)[:300]
    options = {"queue": plan.queue, "one_off": plan.one_off, "expires": plan.expires_}
    if plan.expires:
        options["expires"] = plan.expires.isoformat()
    entry.options = {name: value for name, value in options.items() if value}
    return entry


def _timetable(plan: PeriodicTask) -> Timetable | None:
    if plan.crontab:  # its own text: Celery's crontab refuses some that the administration takes
        row = plan.crontab
        if str(row.timezone) not in SAME_AS_ACCRA:
            raise InvalidInput(f"Its times are in {row.timezone}. Set the time zone to Africa/Accra and convert them.")
        return Cron(row.minute, row.hour, row.day_of_month, row.month_of_year, row.day_of_week)
    return None if plan.solar else of_celery(plan.schedule)


def _json(text: str, kind: type) -> Any:
    try:
        value = json.loads(text) if text else kind()
    except ValueError:
        value = None
    if not isinstance(value, kind):
        raise InvalidInput("Its arguments are not JSON. Write a list, and an object for the named ones.")
    return value


_FOLLOWED = ("task", "args", "kwargs", "options", "spec", "from_code", "late", "grace")


def _differs(entry: ScheduleEntry, wanted: ScheduleEntry) -> bool:
    return any(getattr(entry, name) != getattr(wanted, name) for name in _FOLLOWED) or (
        not wanted.spec and entry.problem != wanted.problem
    )


def _follow(wanted: ScheduleEntry, *, changed: datetime | None = None, not_before: datetime | None = None) -> None:
    """Write an entry down, or change it. New times count from now on, or from the moment it was `changed` if that was
    just now by a clock that may be wrong, and not before `not_before`; what was due before stays due.
    """
    with transaction.atomic():
        ScheduleEntry.objects.bulk_create([_fresh(wanted)], ignore_conflicts=True)
        entry, now = locked(wanted.name)
        assert entry  # noqa: S101 - written just now, and entries are never deleted
        if entry.next_at is None or entry.retired_at or entry.spec != wanted.spec:
            if entry.next_at and not entry.retired_at:
                write_ahead(entry, now)  # what became due by the old times, and nobody looked
            _forget_coming(entry, now)
            noticed = min(max(now - NOTICED_WITHIN, changed), now) if changed else now
            entry.followed_until = max(noticed, not_before or noticed)
        elif not _differs(entry, wanted):
            return
        for name in (*_FOLLOWED, "problem"):
            setattr(entry, name, getattr(wanted, name))
        entry.retired_at = None
        write_ahead(entry, now)
        save(entry)


def _fresh(wanted: ScheduleEntry) -> ScheduleEntry:
    wanted.followed_until = Now()
    return wanted


def _switch(name: str, *, on: bool) -> None:
    with transaction.atomic():
        entry, now = locked(name)
        if entry and not on and not entry.paused_at:
            pause(entry, now, by="administration", reason=SWITCHED_OFF)
        elif entry and on and entry.pause_reason == SWITCHED_OFF:
            settle_locked(entry, now)
            resume(entry)


def _retire(name: str) -> None:
    """No longer fire an entry that has been removed. Its history stays."""
    with transaction.atomic():
        entry, now = locked(name)
        if entry is None or entry.retired_at:
            return
        _forget_coming(entry, now)
        left = with_state(entry, OccurrenceState.EXPECTED, OccurrenceState.MISSED)
        _decide(left, OccurrenceState.SKIPPED, late=False, reason="the entry was removed")
        entry.retired_at, entry.next_at = now, None
        entry.save()


def _forget_coming(entry: ScheduleEntry, now: datetime) -> None:
    with_state(entry, OccurrenceState.EXPECTED).filter(due_at__gt=now).delete()
