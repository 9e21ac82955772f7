"""`manage.py schedule`: what runs when, whether it did, out of turn, pause and catch up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser

from core.errors import DomainError, InvalidInput
from core.jobs import operations, selectors
from core.jobs.management.terminal import (
    ZONE,
    Column,
    OperatorCommand,
    actor,
    distance,
    exactly,
    facts,
    moment,
    span,
    table,
    when,
)
from core.jobs.models import ScheduleEntry, TaskRun
from core.jobs.operations import Fate
from core.jobs.rules import Late
from core.jobs.selectors import EntryLine, EntryState, Slot

COLUMNS = (
    Column("entry", cut=1),
    Column("state"),
    Column("last run"),
    Column("result"),
    Column("ran", right=True),
    Column("next"),
)
SLOT_COLUMNS = (Column("time"), Column("state"), Column("run"), Column("result"), Column("reason", cut=1))
LATE = {
    Late.RUN_ONCE: "the newest missed time runs, however late, and covers the others",
    Late.RUN_EACH: "every missed time runs, oldest first",
    Late.SKIP: "a time that is later than its grace is skipped",
}


class Command(OperatorCommand):
    help = "The schedule: list, show, run-now, pause, resume, catch-up."

    def add_arguments(self, parser: CommandParser) -> None:
        names = "list | show | run-now | pause | resume | catch-up"
        actions = parser.add_subparsers(dest="action", required=True, metavar=names)

        listing = self.action(actions, "list", "Every entry: when, how it stands, last and next.")
        listing.add_argument("--all", action="store_true", help="also those that are retired")

        show = self.action(actions, "show", "One entry, its last times and its next.")
        show.add_argument("name", metavar="NAME")

        run_now = self.action(actions, "run-now", "Run an entry out of turn.", change=True)
        run_now.add_argument("name", metavar="NAME")
        run_now.add_argument("--as-of", default="", metavar="WHEN", help="for this past time, in Accra")

        pause = self.action(actions, "pause", "Fire nothing until somebody resumes.", change=True)
        pause.add_argument("name", metavar="NAME")
        pause.add_argument("--until", default="", metavar="WHEN", help="resume by itself then: 2h, 2026-03-01T06:00")

        resume = self.action(actions, "resume", "Fire again from now on.", change=True)
        resume.add_argument("name", metavar="NAME")
        resume.add_argument("--catch-up", action="store_true", help="treat the times that passed by the entry's policy")
        resume.add_argument("--dry-run", action="store_true", help="only say what would become of them")

        catch_up = self.action(actions, "catch-up", "Treat missed times by the entry's policy.", change=True)
        catch_up.add_argument("name", nargs="?", default="", metavar="NAME", help="every entry unless given")
        catch_up.add_argument("--at", default="", metavar="WHEN", help="run this one time, also when it was skipped")
        catch_up.add_argument("--dry-run", action="store_true", help="only say what would be done")

    # --- list and show -----------------------------------------------------------------------------------------------

    def list(self, options: dict[str, Any]) -> dict[str, Any]:
        lines = selectors.schedule()
        shown = [line for line in lines if options["all"] or line.state != EntryState.RETIRED]
        if not shown:
            self.say("No entry. The schedule is written down by: python manage.py migrate")
        else:
            head, *rows = table(COLUMNS, [_row(line) for line in shown], self.width())
            self.say(head)
            for line, row in zip(shown, rows, strict=True):
                self.say(row, *(f"  {words}" for words in _below(line)))
        retired = len(lines) - len(shown)
        self.say(ZONE + (f" {retired} retired: --all." if retired else ""))
        return {"entries": [_brief(line) for line in shown]}

    def show(self, options: dict[str, Any]) -> dict[str, Any]:
        entry = selectors.entry_named(options["name"])
        line = selectors.line_of(entry)
        now = selectors.database_time()
        slots = selectors.slots(entry, now)
        coming = selectors.next_times(entry, now)
        pairs = [
            ("entry", f"{entry.name}, from {_origin(entry)}"),
            ("task", entry.task),
            ("when", f"{line.in_words} ({entry.spec or 'no timetable'})"),
            ("when late", f"{LATE[Late(entry.late)]} ({entry.late}); missed after {span(entry.grace)}"),
            ("state", line.state.value),
            ("problem", entry.problem),
            ("pause", _paused(entry) if entry.paused_at else ""),
            ("last run", _last_run(line.last_run)),
            ("missed", f"{line.missed:,} wait for a decision: catch-up, or resume" if line.missed else ""),
            *[("next" if n == 0 else "", f"{exactly(due)}, {distance(due, now)}") for n, due in enumerate(coming)],
        ]
        self.say(*facts([pair for pair in pairs if pair[1]], self.width()), "")
        if slots:
            short = selectors.short_ids([slot.run.pk for slot in slots if slot.run])
            rows = [_slot_row(slot, short[slot.run.pk] if slot.run else "") for slot in slots]
            self.say(*table(SLOT_COLUMNS, rows, self.width()))
        else:
            self.say("None of its times has passed yet.")
        self.say(ZONE)
        return _brief(line) | {
            "spec": entry.spec,
            "next_times": coming,
            "slots": [
                {
                    "due_at": slot.occurrence.due_at,
                    "state": slot.occurrence.state,
                    "late": slot.occurrence.late,
                    "run": slot.occurrence.run and str(slot.occurrence.run),
                    "run_state": slot.run and slot.run.state,
                    "reason": slot.occurrence.reason,
                }
                for slot in slots
            ],
        }

    # --- changes -----------------------------------------------------------------------------------------------------

    def run_now(self, options: dict[str, Any]) -> dict[str, Any]:
        done = operations.run_now(
            name=options["name"],
            reason=options["reason"],
            actor=actor(options),
            as_of=moment(options["as_of"]) if options["as_of"] else None,
        )
        slot = next((fate for fate in done.fates if fate.run), None)
        what = f"for its time {when(slot.due_at)}" if slot else "as an extra run"
        self.say(f"{options['name']} was asked for, {what}.")
        self.say(*(f"{when(fate.due_at)} is skipped: {fate.reason}." for fate in done.fates if not fate.run))
        if done.paused:
            self.say("It stays paused.")
        self.say(f"See how it goes: python manage.py runs show {done.run_id}")
        return {"run": str(done.run_id), "paused": done.paused, "slots": [_fate(fate) for fate in done.fates]}

    def pause(self, options: dict[str, Any]) -> dict[str, Any]:
        until = moment(options["until"], ahead=True) if options["until"] else None
        run_ids = operations.pause(name=options["name"], reason=options["reason"], actor=actor(options), until=until)
        self.say(f"{options['name']} is paused until {f'{when(until)} (Accra)' if until else 'somebody resumes it'}.")
        if run_ids:
            self.say(f"What was due before still runs: {', '.join(map(str, run_ids))}.")
        return {"entry": options["name"], "paused_until": until, "runs": [str(run_id) for run_id in run_ids]}

    def resume(self, options: dict[str, Any]) -> dict[str, Any]:
        name, dry_run = options["name"], options["dry_run"]
        fates = operations.resume(
            name=name, reason=options["reason"], actor=actor(options), catch_up=options["catch_up"], dry_run=dry_run
        )
        self.say_fates(name, fates, dry_run)
        if not fates:
            self.say("None of its times passed meanwhile.")
        entry = ScheduleEntry.objects.get(name=name)
        coming = selectors.next_times(entry, selectors.database_time(), 1)
        following = f" Next: {when(coming[0])}." if coming else ""
        self.say(f"{name} {'would fire' if dry_run else 'fires'} again.{following} {ZONE}")
        return {"entry": name, "dry_run": dry_run, "slots": [_fate(fate) for fate in fates]}

    def catch_up(self, options: dict[str, Any]) -> dict[str, Any]:
        if options["at"] and not options["name"]:
            raise InvalidInput("A time goes with an entry: schedule catch-up NAME --at WHEN.")
        who, dry_run = actor(options), options["dry_run"]
        if not dry_run:
            operations.check_reason(options["reason"])
        names = [options["name"]] if options["name"] else operations.to_catch_up()
        entries: list[dict[str, Any]] = []
        for name in names:
            try:
                fates = operations.catch_up(
                    name=name,
                    reason=options["reason"],
                    actor=who,
                    at=moment(options["at"]) if options["at"] else None,
                    dry_run=dry_run,
                )
            except DomainError as error:
                if options["name"]:
                    raise
                self.partly = True
                self.say(f"{name}: {error}")
                entries.append({"entry": name, "error": str(error), "slots": []})
                continue
            self.say_fates(name, fates, dry_run)
            entries.append({"entry": name, "error": None, "slots": [_fate(fate) for fate in fates]})
        if not any(entry["slots"] or entry["error"] for entry in entries):
            self.say("Nothing was missed.")
        if not options["name"]:
            left = [line.entry.name for line in selectors.schedule() if line.state == EntryState.PAUSED]
            if left:
                self.say(f"Paused, and left alone: {', '.join(left)}. They are caught up when they are resumed.")
        return {"dry_run": dry_run, "entries": entries}

    def say_fates(self, name: str, fates: Sequence[Fate], dry_run: bool) -> None:
        for fate in fates:
            late = " (late)" if fate.late else ""
            if fate.run:
                done = "would run" if dry_run else f"run {fate.run_id}"
            else:
                done = f"{'would be skipped' if dry_run else 'skipped'}: {fate.reason}"
            self.say(f"{name}  {when(fate.due_at)}{late}  {done}")


# --- words ----------------------------------------------------------------------------------------------------------


def _origin(entry: ScheduleEntry) -> str:
    return "the code" if entry.from_code else "the administration (own)"


def _paused(entry: ScheduleEntry) -> str:
    until = f" until {when(entry.paused_until)}" if entry.paused_until else ""
    return f"paused{until} since {when(entry.paused_at)} by {entry.paused_by}: {entry.pause_reason}"


def _length(run: TaskRun | None) -> timedelta | None:
    return run.finished_at - run.started_at if run and run.finished_at and run.started_at else None


def _last_run(run: TaskRun | None) -> str:
    if run is None:
        return "none that is kept"
    length = _length(run)
    return f"{run.pk} {run.state}, {exactly(run.asked_at)}" + (f", ran {span(length)}" if length else "")


def _row(line: EntryLine) -> tuple[str, ...]:
    run = line.last_run
    return (
        line.entry.name,
        line.state.value,
        when(run.asked_at) if run else "–",
        run.state if run else "–",
        span(_length(run)),
        when(line.next_at),
    )


def _below(line: EntryLine) -> Iterator[str]:
    entry = line.entry
    yield f"{line.in_words}; {entry.late}, late after {span(entry.grace)}; from {_origin(entry)}"
    if line.state == EntryState.PAUSED:
        yield _paused(entry)
    if entry.problem:
        yield entry.problem
    if line.missed and not entry.paused_at:
        yield f"{line.missed:,} missed: python manage.py schedule catch-up {entry.name} --dry-run"
    elif line.missed:
        yield f"{line.missed:,} passed meanwhile: python manage.py schedule resume {entry.name} --dry-run"


def _slot_row(slot: Slot, short: str) -> tuple[str, ...]:
    one = slot.occurrence
    state = f"{one.state}, late" if one.late else one.state
    removed = "removed by now" if one.run else ""
    return exactly(one.due_at), state, short or removed or "–", slot.run.state if slot.run else "–", one.reason


def _fate(fate: Fate) -> dict[str, Any]:
    return asdict(fate) | {"run_id": fate.run_id and str(fate.run_id)}


def _brief(line: EntryLine) -> dict[str, Any]:
    entry, run = line.entry, line.last_run
    return {
        "name": entry.name,
        "task": entry.task,
        "in_words": line.in_words,
        "from_code": entry.from_code,
        "late": entry.late,
        "grace_seconds": entry.grace.total_seconds(),
        "state": line.state.value,
        "problem": entry.problem,
        "paused": entry.paused_at
        and {
            "since": entry.paused_at,
            "until": entry.paused_until,
            "by": entry.paused_by,
            "reason": entry.pause_reason,
        },
        "retired_at": entry.retired_at,
        "missed": line.missed,
        "last_run": run and {"id": str(run.pk), "state": run.state, "asked_at": run.asked_at, "seconds": _seconds(run)},
        "next_at": line.next_at,
    }


def _seconds(run: TaskRun) -> float | None:
    length = _length(run)
    return length.total_seconds() if length is not None else None
