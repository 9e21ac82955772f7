"""`manage.py runs`: what ran, what waits, once more, and stop."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentTypeError
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from celery import current_app
from django.core.management.base import CommandParser
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from core.errors import InvalidInput
from core.jobs import operations, selectors, services
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
from core.jobs.models import TaskRun
from core.jobs.rules import FINAL, State, Trigger
from core.jobs.selectors import OPEN, WAITING, RunDetail, RunFilter

MOST_LISTED = 1_000
LISTENING_SECONDS = 1.0  # for the answers of workers
WAIT_SECONDS = 30.0
LONGEST_SHOWN = 1_000  # characters of arguments or a result
MOST_SHOWN = 10  # children
COLUMNS = (
    Column("id"),
    Column("task", cut=1),
    Column("state"),
    Column("asked"),
    Column("waited", right=True),
    Column("ran", right=True),
    Column("tries", right=True),
    Column("cause"),
    Column("worker", cut=2),
)
CAUSES = {  # in one word
    Trigger.REQUEST: "request",
    Trigger.SCHEDULE: "schedule",
    Trigger.TASK: "task",
    Trigger.BY_HAND: "by hand",
    Trigger.OPERATOR: "operator",
    Trigger.RETRY: "retry",
}


class Command(OperatorCommand):
    help = "Runs of background tasks: list, show, retry, cancel."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list | show | retry | cancel")

        listing = self.action(actions, "list", "The newest runs.")
        self.add_filter(listing)
        listing.add_argument("--since", default="", metavar="WHEN", help="asked for since then: 24h, 7d, 2026-03-01")
        listing.add_argument(
            "--limit", type=_limit, default=25, help=f"at most so many, 25 unless given (1 to {MOST_LISTED})"
        )

        show = self.action(actions, "show", "Everything about one run.")
        show.add_argument("id", metavar="ID", help="the id, or its first digits")
        show.add_argument("--traceback", action="store_true", help="also where it failed")

        retry = self.action(actions, "retry", "Ask for an ended run once more, as a new run.", change=True)
        retry.add_argument("id", metavar="ID", help="the id, or its first digits")
        retry.add_argument("--task", default="", metavar="NAME", help="the task's present name, if it was renamed")
        retry.add_argument("--again", action="store_true", help="also when it was done already")

        cancel = self.action(
            actions, "cancel", "Cancel what waits, or ask a run that is being worked on to stop.", change=True
        )
        cancel.add_argument("id", nargs="?", default="", metavar="ID", help="the id, or its first digits")
        cancel.add_argument(
            "--wait",
            nargs="?",
            type=float,
            const=WAIT_SECONDS,
            metavar="SECONDS",
            help=f"see whether it stops ({WAIT_SECONDS:g} s unless given)",
        )
        cancel.add_argument("--all", action="store_true", help="every waiting run that fits the filter")
        cancel.add_argument("--yes", type=int, metavar="N", help="with --all: up to so many, without being asked")
        self.add_filter(cancel)

    def add_filter(self, parser: CommandParser) -> None:
        parser.add_argument("--state", action="append", default=[], choices=[state.value for state in State])
        parser.add_argument("--task", default="", metavar="NAME", help="the task's name or a part of it")
        parser.add_argument("--queue", default="", help="urgent, default or bulk")
        parser.add_argument("--entry", default="", metavar="NAME", help="of this schedule entry")

    # --- list --------------------------------------------------------------------------------------------------------

    def list(self, options: dict[str, Any]) -> dict[str, Any]:
        which = _filter(options, since=options["since"])
        found = selectors.recent_runs(which, options["limit"])
        now = selectors.database_time()
        short = selectors.short_ids([run.pk for run in found.rows])
        rows = [_row(run, short[run.pk], now) for run in found.rows]
        workers = {row[-1] for row in rows} - {"–"}
        notes = []
        if not rows:
            notes.append("No such run." if which != RunFilter() else "Nothing has run yet, and nothing waits.")
        elif len(workers) > 1:
            self.say(*table(COLUMNS, rows, self.width()))
        else:  # the names of the tasks need the place
            self.say(*table(COLUMNS[:-1], [row[:-1] for row in rows], self.width()))
            notes += [f"Worker: {worker}." for worker in workers]
        if len(rows) == options["limit"]:
            notes.append(f"The newest {len(rows)}; more with --limit.")
        elif found.looked_back_to:
            far = f"Looked through the newest {selectors.MOST_WALKED:,} runs, back to {when(found.looked_back_to)}"
            notes.append(f"{far}; --since goes further.")
        self.say(*notes, *([ZONE] if rows else []))
        return {"runs": [_brief(run) for run in found.rows], "looked_back_to": found.looked_back_to}

    # --- show --------------------------------------------------------------------------------------------------------

    def show(self, options: dict[str, Any]) -> dict[str, Any]:
        found = selectors.detail(selectors.run_of(options["id"]), MOST_SHOWN)
        run = found.run
        args, kwargs = services.shown_arguments(run)
        result = services.redacted(run.result)
        following = _following(found)
        pairs = [
            ("run", str(run.pk)),
            ("task", run.task),
            ("state", run.state),
            ("queue", run.queue),
            ("cause", _cause_in_words(found)),
            *_timeline(found),
            ("arguments", _json(args) if args else ""),
            ("", _json(kwargs) if kwargs else ""),
            ("progress", _progress(run)),
            ("result", _json(result) if run.state in (State.SUCCEEDED, State.SKIPPED) else ""),
            (
                "error",
                f"{run.error_class}: {run.error_text}".removeprefix(": ") if run.error_text or run.error_class else "",
            ),
            ("retry of", _relative(found.retried, str(run.retry_of)) if run.retry_of else ""),
            *[("retried as" if n == 0 else "", _relative(one)) for n, one in enumerate(found.retries)],
            ("parent", _relative(found.parent, str(run.parent)) if run.parent else ""),
            *[("asked for" if n == 0 else "", _relative(one)) for n, one in enumerate(found.children)],
            ("", f"and {found.children_count - MOST_SHOWN:,} more" if found.children_count > MOST_SHOWN else ""),
            ("next", following),
        ]
        self.say(*facts([pair for pair in pairs if pair[1]], self.width()))
        if options["traceback"]:
            self.say("", run.traceback.rstrip() or "No traceback is kept.")
        elif run.traceback:
            self.say("Where it failed: --traceback. " + ZONE)
        else:
            self.say(ZONE)
        return _brief(run) | {
            "args": args,
            "kwargs": kwargs,
            "cause_in_words": _cause_in_words(found),
            "occurrence": found.occurrence and found.occurrence.due_at,
            "request_id": run.request_id,
            "requested_by": run.requested_by and str(run.requested_by),
            "max_attempts": run.max_attempts,
            "cancel_asked_at": run.cancel_asked_at,
            "expires_at": run.expires_at,
            "lease_until": run.lease_until,
            "ring_at": run.ring_at,
            "progress": {"done": run.progress_done, "total": run.progress_total, "note": run.progress_note},
            "result": result,
            "error_text": run.error_text,
            "traceback": run.traceback if options["traceback"] else None,
            "retries": [str(one.pk) for one in found.retries],
            "children": [str(one.pk) for one in found.children],
            "children_count": found.children_count,
            "next": following,
        }

    # --- retry and cancel --------------------------------------------------------------------------------------------

    def retry(self, options: dict[str, Any]) -> dict[str, Any]:
        old = selectors.run_of(options["id"])
        run_id = operations.retry_run(
            run_id=old.pk,
            reason=options["reason"],
            actor=actor(options),
            task=options["task"],
            again=options["again"],
        )
        self.say(
            f"{options['task'] or old.task} was asked for once more.",
            f"See how it goes: python manage.py runs show {run_id}",
        )
        return {"run": str(run_id), "retry_of": str(old.pk)}

    def cancel(self, options: dict[str, Any]) -> dict[str, Any]:
        if options["all"] == bool(options["id"]):
            raise InvalidInput("Give the id of one run, or --all with a filter such as --task NAME.")
        if options["all"]:
            return self.cancel_all(options)
        if _filter(options) != RunFilter():
            raise InvalidInput("A filter goes with --all. To cancel one run its id is enough.")
        run = selectors.run_of(options["id"])
        if not (options["wait"] and run.cancel_asked_at and run.state == State.RUNNING):  # only to wait for it
            operations.cancel_run(run_id=run.pk, reason=options["reason"], actor=actor(options))
        run.refresh_from_db()
        ends = time.monotonic() + (options["wait"] or 0)
        while State(run.state) not in FINAL and time.monotonic() < ends:
            time.sleep(0.2)
            run.refresh_from_db()
        self.say(_cancelled(run, options["wait"]))
        return {"run": str(run.pk), "state": run.state, "cancel_asked_at": run.cancel_asked_at}

    def cancel_all(self, options: dict[str, Any]) -> dict[str, Any]:
        which = _filter(options)
        fitting = operations.waiting(which)
        count = fitting.count()
        if not count:
            self.say("No such run waits.")
            return {"cancelled": 0, "runs": []}
        most = min(count, operations.MOST_AT_ONCE)
        confirmed = options["yes"]
        if confirmed is None:
            confirmed = self.confirm(fitting, count, most)
        gone = operations.cancel_waiting(
            which=which, confirmed=confirmed, reason=options["reason"], actor=actor(options)
        )
        self.say(f"{len(gone):,} cancelled.")
        return {"cancelled": len(gone), "runs": [str(run_id) for run_id in gone]}

    def confirm(self, fitting: Any, count: int, most: int) -> int:
        """Have the number typed that stands there."""
        if not (self.for_people and sys.stdin.isatty()):
            raise InvalidInput(f"{count:,} runs wait that fit. To cancel them add --yes {most}.")
        names = sorted(set(fitting.values_list("task", flat=True)))
        self.say(f"{count:,} runs wait that fit, of: {', '.join(names)}.")
        if count > most:
            self.say(f"The oldest {most:,} are cancelled in one go.")
        typed = ""
        with suppress(EOFError):
            typed = input(f"Type {most} to cancel them: ").replace(",", "").strip()
        if typed != str(most):
            raise InvalidInput("Not confirmed. Nothing was cancelled.")
        return most


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_LISTED:
        raise ArgumentTypeError(f"give a number from 1 to {MOST_LISTED}")
    return int(text)


def _filter(options: dict[str, Any], since: str = "") -> RunFilter:
    queue = options["queue"]
    if queue and queue not in current_app.amqp.queues:
        raise InvalidInput(f"There is no queue {queue!r}. Use one of: {', '.join(current_app.amqp.queues)}.")
    if options["entry"]:
        selectors.entry_named(options["entry"])
    return RunFilter(
        states=tuple(State(state) for state in options["state"]),
        task=options["task"],
        queue=queue,
        entry=options["entry"],
        since=moment(since) if since else None,
    )


# --- words ----------------------------------------------------------------------------------------------------------


def _row(run: TaskRun, short: str, now: datetime) -> tuple[str, ...]:
    return (
        short,
        run.task.rpartition(".")[2],
        run.state,
        when(run.asked_at),
        span(_waited(run, now)),
        span(_ran(run, now)),
        str(run.attempts) if run.attempts <= 1 or run.max_attempts is None else f"{run.attempts}/{run.max_attempts}",
        CAUSES[Trigger(run.trigger)],
        run.worker.removeprefix("celery@").partition(".")[0] or "–",
    )


def _waited(run: TaskRun, now: datetime) -> timedelta | None:
    """Until it was taken, the last time if it was taken more than once; None when it is not due or never was taken."""
    due = max(run.asked_at, run.due_at or run.asked_at)
    if run.state in WAITING:
        return now - due if now > due else None
    return run.started_at - due if run.started_at else None


def _ran(run: TaskRun, now: datetime) -> timedelta | None:
    if run.started_at is None or run.state in WAITING:
        return None
    return (run.finished_at or now) - run.started_at


def _cause_in_words(found: RunDetail) -> str:
    run = found.run
    slot = f" for its time {when(found.occurrence.due_at)}" if found.occurrence else ""
    entry = f"the schedule entry {run.schedule_entry}{slot}"
    request = f"the web request {run.request_id}" if run.request_id else "a program, outside of web requests"
    words = {
        Trigger.SCHEDULE: entry,
        Trigger.TASK: f"asked for by the run {run.parent}",
        Trigger.REQUEST: f"asked for by {request}",
        Trigger.BY_HAND: "by hand: a message that was published without the ledger, such as `celery call`",
        Trigger.OPERATOR: f"an operator, out of turn: {entry}" if run.schedule_entry else "an operator, out of turn",
        Trigger.RETRY: "an operator, once more" + (f": {entry}" if run.schedule_entry else ""),
    }[Trigger(run.trigger)]
    return f"{words}, by {run.requested_by}" if run.requested_by else words


def _timeline(found: RunDetail) -> list[tuple[str, str]]:
    run, now = found.run, found.now
    tries = f"try {run.attempts} of {run.max_attempts}" if run.max_attempts else f"try {run.attempts}"
    pairs = [("asked", f"{exactly(run.asked_at)}, {distance(run.asked_at, now)}")]
    if run.due_at and abs(run.due_at - run.asked_at) > timedelta(seconds=1):
        pairs.append(("due", f"{exactly(run.due_at)}, {distance(run.due_at, now)}"))
    if run.expires_at:
        pairs.append(("expires", f"{exactly(run.expires_at)}, {distance(run.expires_at, now)}"))
    if run.started_at:
        waited = _waited(run, now) if run.state not in WAITING else None
        after = f" after waiting {span(waited)}" if waited is not None and waited >= timedelta() else ""
        pairs.append(("started", f"{exactly(run.started_at)}{after}; {tries}, on {run.worker or 'a worker'}"))
    if run.cancel_asked_at:
        pairs.append(("stop asked", f"{exactly(run.cancel_asked_at)}, {distance(run.cancel_asked_at, now)}"))
    if run.finished_at:
        ran = f" after running {span(_ran(run, now))}" if run.started_at else " without having been taken"
        pairs.append(("finished", f"{exactly(run.finished_at)}{ran}"))
    return pairs


def _progress(run: TaskRun) -> str:
    if run.progress_done is None:
        return ""
    of = f" of {run.progress_total:,} ({100 * run.progress_done // run.progress_total} %)" if run.progress_total else ""
    return f"{run.progress_done:,}{of} {run.progress_note}".rstrip()


def _relative(run: TaskRun | None, run_id: str = "") -> str:
    return f"{run.pk} {run.task} {run.state}" if run else f"{run_id}, removed by now"


def _following(found: RunDetail) -> str:
    """What comes next, and what a person may do."""
    run, now = found.run, found.now
    short = selectors.short_ids([run.pk])[run.pk]
    if run.state in WAITING:
        return _starts(run, now)
    if run.state == State.FAILED and not found.retries:
        return f"nothing by itself. Once more: python manage.py runs retry {short} --reason …"
    if run.state != State.RUNNING:
        return ""
    if run.lease_until and run.lease_until < now:
        return "its worker is silent; another takes the run over within seconds if one is alive"
    if run.cancel_asked_at:
        return "stops at its next checkpoint; a task without one runs to its end"
    return f"ends by itself. To ask it to stop: python manage.py runs cancel {short} --reason …"


def _starts(run: TaskRun, now: datetime) -> str:
    begins = run.due_at or run.asked_at
    if begins > now:
        what = f"tries again (try {run.attempts + 1})" if run.state == State.RETRYING else "starts"
        return f"{what} {exactly(begins)}, {distance(begins, now)}"
    rung = f" It is announced again {distance(run.ring_at, now)}." if run.ring_at and run.ring_at > now else ""
    return _waits_for(run.queue) + rung


def _waits_for(queue: str) -> str:
    quickly: dict[str, Any] = {"socket_timeout": 2, "socket_connect_timeout": 1, "max_retries": 0}
    try:
        with current_app.connection_for_write(transport_options=quickly) as connection:
            answers = current_app.control.inspect(timeout=LISTENING_SECONDS, connection=connection).active_queues()
    except (BrokerError, RedisError, OSError):
        return "waits: Redis does not answer, so no worker hears of it. It starts within seconds once Redis is back."
    listening = [worker for worker, queues in (answers or {}).items() if queue in {one["name"] for one in queues}]
    if listening:
        return f"waits for a worker: {len(listening)} alive for {queue} ({', '.join(sorted(listening))})."
    return f"waits: no worker is alive for {queue}. Start one: celery -A core worker -Q {queue}"


def _cancelled(run: TaskRun, waited: float | None) -> str:
    if run.state == State.CANCELLED:
        return f"Cancelled: {run.task}."
    if run.state in OPEN:
        for_long = f" It has not within {waited:g} s." if waited else " --wait tells whether it does."
        return f"{run.task} is being worked on and was asked to stop at its next checkpoint.{for_long}"
    return f"{run.task} had {run.state} before it heard of it."


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}… (whole with --json)"


def _brief(run: TaskRun) -> dict[str, Any]:
    return {
        "id": str(run.pk),
        "task": run.task,
        "state": run.state,
        "queue": run.queue,
        "trigger": run.trigger,
        "entry": run.schedule_entry,
        "parent": run.parent and str(run.parent),
        "retry_of": run.retry_of and str(run.retry_of),
        "asked_at": run.asked_at,
        "due_at": run.due_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "attempts": run.attempts,
        "worker": run.worker,
        "error_class": run.error_class,
    }
