"""What the ledger holds, for people: the commands and the console read here."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from itertools import islice

from celery import current_app
from django.db import connection
from django.db.models import F, Model, Q, QuerySet

from core.errors import InvalidInput, NotFound
from core.jobs.models import Occurrence, ScheduleEntry, TaskRun
from core.jobs.rules import FINAL, OccurrenceState, State
from core.jobs.timetable import Timetable, parse

WAITING = (State.PENDING, State.RETRYING)
OPEN = (*WAITING, State.RUNNING)
MOST_WALKED = 100_000  # runs looked through for what no index finds, unless `since` says how far to go
SHORTEST_ID = 8  # digits of an id that are shown, or more where they fit several runs
MOST_NAMED = 5  # runs or names in an error
SLOTS = 14  # of a schedule entry, in the console and on the terminal


def database_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        moment: datetime = cursor.fetchone()[0]
        return moment


def nearest(name: str, known: Sequence[str]) -> str:
    """The end of an error about an unknown name: those that were probably meant."""
    lower = name.lower()
    found = get_close_matches(name, known, n=MOST_NAMED, cutoff=0.6)
    found += [other for other in known if lower and lower in other.lower() and other not in found]
    return f" Did you mean {', '.join(found[:MOST_NAMED])}?" if found else ""


# --- runs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunFilter:
    """Which runs. `task` is a name or a part of one; empty means any."""

    states: tuple[State, ...] = ()
    task: str = ""
    queue: str = ""
    entry: str = ""
    since: datetime | None = None  # asked for at that time or later

    @property
    def few(self) -> bool:
        """Whether only runs that have not ended are meant: partial indexes have just these."""
        return bool(self.states) and set(self.states) <= set(OPEN)

    @property
    def walks(self) -> bool:
        """Whether no index finds these runs, so that others must be looked through."""
        indexed = self.few or self.entry or self.states == (State.FAILED,)
        return not indexed and bool(self.states or self.task or self.queue)

    def runs(self) -> QuerySet[TaskRun]:
        found = TaskRun.objects.all()
        if self.few:
            waiting = Q(state__in=[state.value for state in self.states if state in WAITING], ring_at__isnull=False)
            running = Q(state=State.RUNNING.value) if State.RUNNING in self.states else Q()
            found = found.filter(waiting | running if set(self.states) & set(WAITING) else running)
        elif len(self.states) == 1:
            found = found.filter(state=self.states[0].value)
        elif self.states:
            found = found.filter(state__in=[state.value for state in self.states])
        if self.task:
            found = found.filter(task__icontains=self.task)
        if self.queue:
            found = found.filter(queue=self.queue)
        if self.entry:
            found = found.filter(schedule_entry=self.entry)
        if self.since:
            found = found.filter(asked_at__gte=self.since)
        return found


@dataclass(frozen=True)
class Runs:
    """Runs, newest first. `looked_back_to`: older ones than of this time were not looked at; None when all were."""

    rows: list[TaskRun]
    looked_back_to: datetime | None = None


def recent_runs(which: RunFilter, limit: int) -> Runs:
    """The newest runs that fit, at most `limit`. Reads no more of the table than MOST_WALKED rows, unless `since` asks
    for it.
    """
    found = which.runs().select_related("requested_by").order_by("-asked_at", "-id")
    if which.few:
        # As an expression, or PostgreSQL would walk back from the newest run in the hope to meet enough of them soon.
        found = found.order_by((F("asked_at") + timedelta()).desc(), "-id")
    if not which.walks or which.since:
        return Runs(list(found[:limit]))
    edge = TaskRun.objects.order_by("-asked_at", "-id").values_list("asked_at", flat=True)
    back_to = next(iter(edge[MOST_WALKED : MOST_WALKED + 1]), None)
    if back_to:
        found = found.filter(asked_at__gt=back_to)
    return Runs(list(found[:limit]), back_to)


def run_of(text: str) -> TaskRun:
    """The run with this id, or the only one whose id begins so. Raises NotFound and InvalidInput."""
    digits = text.strip().lower().replace("-", "")
    if not re.fullmatch(r"[0-9a-f]{4,32}", digits):
        raise InvalidInput(
            f"{text[:40]!r} is no run id. Give the id, or its first digits (at least 4), as `runs list` shows it."
        )
    first, last = uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f"))
    found = TaskRun.objects.select_related("requested_by").filter(id__gte=first, id__lte=last).order_by("id")
    rows = list(found[: MOST_NAMED + 1])
    if not rows:
        raise NotFound(f"There is no run {text}. Finished runs are kept for a time; `runs list` shows what there is.")
    if len(rows) > 1:
        named = "; ".join(f"{row.pk} {row.task} {row.state}" for row in rows[:MOST_NAMED])
        more = " and more" if len(rows) > MOST_NAMED else ""
        raise InvalidInput(f"{text} fits several runs: {named}{more}. Give more of the id.")
    return rows[0]


_NEIGHBOURS = """
SELECT wanted.id,
  (SELECT id FROM {table} AS other WHERE other.id < wanted.id ORDER BY id DESC LIMIT 1),
  (SELECT id FROM {table} AS other WHERE other.id > wanted.id ORDER BY id LIMIT 1)
FROM unnest(%s::uuid[]) AS wanted(id)
"""


def short_ids(ids: Sequence[uuid.UUID], model: type[Model] = TaskRun) -> dict[uuid.UUID, str]:
    """The first digits of each id that no other run (or other row) has now. Two looks into the index for each."""
    with connection.cursor() as cursor:
        cursor.execute(_NEIGHBOURS.format(table=model._meta.db_table), [list(ids)])
        rows = cursor.fetchall()
    short = {}
    for run_id, *neighbours in rows:
        same = max((_same_digits(run_id, other) for other in neighbours if other), default=0)
        short[run_id] = run_id.hex[: max(SHORTEST_ID, same + 1)]
    return short


def _same_digits(one: uuid.UUID, other: uuid.UUID) -> int:
    return next(number for number in range(32) if one.hex[number] != other.hex[number])


@dataclass(frozen=True)
class RunDetail:
    """A run with its relations. `parent` and `retried` may have been removed by now."""

    run: TaskRun
    now: datetime
    occurrence: Occurrence | None
    parent: TaskRun | None
    retried: TaskRun | None
    children: list[TaskRun]  # the first ones
    children_count: int
    retries: list[TaskRun]


def detail(run: TaskRun, most_children: int = 10) -> RunDetail:
    children = TaskRun.objects.filter(parent=run.pk)
    return RunDetail(
        run=run,
        now=database_time(),
        occurrence=Occurrence.objects.filter(pk=run.occurrence).first() if run.occurrence else None,
        parent=TaskRun.objects.filter(pk=run.parent).first() if run.parent else None,
        retried=TaskRun.objects.filter(pk=run.retry_of).first() if run.retry_of else None,
        children=list(children.order_by("asked_at", "id")[:most_children]),
        children_count=children.count(),
        retries=list(TaskRun.objects.filter(retry_of=run.pk).order_by("asked_at", "id")),
    )


# --- the schedule ---------------------------------------------------------------------------------------------------


class EntryState(StrEnum):
    ON_TIME = "on time"
    LATE = "late"  # its newest run came, or is to come, after its grace
    MISSED = "missed"  # a time passed without a run
    FAILED = "failed"  # its newest run
    PAUSED = "paused"
    NEVER_RAN = "never ran"
    RETIRED = "retired"  # no longer in the code or the administration
    PROBLEM = "problem"  # it cannot be followed; `problem` says why


@dataclass(frozen=True)
class EntryLine:
    """A schedule entry as it stands: its newest run, the newest of its times that has passed, and what it all means."""

    entry: ScheduleEntry
    state: EntryState
    in_words: str
    last_run: TaskRun | None
    last_time: Occurrence | None
    missed: int  # times that passed and wait for a person
    next_at: datetime | None


def schedule(now: datetime | None = None) -> list[EntryLine]:
    """Every entry, those in use first."""
    now = now or database_time()
    entries = ScheduleEntry.objects.order_by("name")
    return sorted((_line(entry, now) for entry in entries), key=lambda line: line.state == EntryState.RETIRED)


def entry_named(name: str) -> ScheduleEntry:
    """Raises NotFound with the nearest names."""
    entry = ScheduleEntry.objects.filter(name=name).first()
    if entry is None:
        raise NotFound(no_entry(name))
    return entry


def no_entry(name: str) -> str:
    known = list(ScheduleEntry.objects.filter(retired_at=None).values_list("name", flat=True))
    return f"There is no schedule entry {name!r}.{nearest(name, known) or ' `schedule list` shows those there are.'}"


def tasks_like(name: str) -> str:
    """As `nearest`, of the tasks."""
    known = sorted(task for task in current_app.tasks if not task.startswith("celery."))
    return nearest(name, known) or " Was it renamed or removed? docs/tasks.md has those there are."


def _line(entry: ScheduleEntry, now: datetime) -> EntryLine:
    of_entry = Occurrence.objects.filter(entry=entry)
    last_time = of_entry.filter(due_at__lte=now).order_by("-due_at").first()
    coming = of_entry.filter(state=OccurrenceState.EXPECTED.value, due_at__gt=now).order_by("due_at").first()
    last_run = TaskRun.objects.filter(schedule_entry=entry.name).order_by("-asked_at").first()
    return EntryLine(
        entry=entry,
        state=_state(entry, last_time, last_run, now),
        in_words=in_words(entry),
        last_run=last_run,
        last_time=last_time,
        missed=of_entry.filter(state=OccurrenceState.MISSED.value).count(),
        next_at=None if entry.paused_at or coming is None else coming.due_at,
    )


def line_of(entry: ScheduleEntry) -> EntryLine:
    return _line(entry, database_time())


def in_words(entry: ScheduleEntry) -> str:
    timetable = _timetable(entry)
    return timetable.in_words() if timetable else "cannot be followed"


def _timetable(entry: ScheduleEntry) -> Timetable | None:
    """None also for a text that this version cannot read: one entry must not hide the others."""
    with suppress(InvalidInput):
        return parse(entry.spec) if entry.spec else None
    return None


def _state(entry: ScheduleEntry, last: Occurrence | None, run: TaskRun | None, now: datetime) -> EntryState:
    """Of several that are true the one that a person must know first."""
    fired = last is not None and last.state == OccurrenceState.RUN
    over = fired and bool(entry.options.get("one_off"))  # it is switched off, as it should be
    made_up = last is not None and run is not None and run.asked_at > (last.decided_at or now)
    waits = run is not None and run.state in WAITING and run.attempts == 0
    states = {
        EntryState.RETIRED: entry.retired_at is not None,
        EntryState.PAUSED: entry.paused_at is not None and not over,
        EntryState.PROBLEM: bool(entry.problem),
        EntryState.LATE: last is not None
        and last.state == OccurrenceState.EXPECTED
        and now - last.due_at > entry.grace,
        EntryState.MISSED: last is not None
        and not made_up
        and (last.state == OccurrenceState.MISSED or (last.state == OccurrenceState.SKIPPED and last.late)),
        EntryState.NEVER_RAN: run is None and not fired,
        EntryState.FAILED: run is not None and run.state == State.FAILED,
    }
    found = next((state for state, true in states.items() if true), None)
    if found:
        return found
    late = (fired and last is not None and last.late) or (
        waits and run is not None and now - (run.due_at or run.asked_at) > entry.grace
    )
    return EntryState.LATE if late else EntryState.ON_TIME


@dataclass(frozen=True)
class Slot:
    """One scheduled time and what became of it."""

    occurrence: Occurrence
    run: TaskRun | None  # None: none was asked for, or it has been removed by now


def slots(entry: ScheduleEntry, now: datetime, most: int = SLOTS) -> list[Slot]:
    """The newest times that have passed, newest first."""
    passed = Occurrence.objects.filter(entry=entry, due_at__lte=now).order_by("-due_at")
    newest = list(passed[:most])
    runs = TaskRun.objects.in_bulk([one.run for one in newest if one.run])
    return [Slot(one, runs.get(one.run) if one.run else None) for one in newest]


def next_times(entry: ScheduleEntry, now: datetime, most: int = 5) -> list[datetime]:
    timetable = None if entry.retired_at else _timetable(entry)
    return list(islice(timetable.after(now), most)) if timetable else []


def open_run(entry: ScheduleEntry) -> TaskRun | None:
    """A run of the entry that waits or is being worked on."""
    unfinished = ~Q(state__in=[state.value for state in FINAL])
    return TaskRun.objects.filter(unfinished, schedule_entry=entry.name).order_by("-asked_at").first()
