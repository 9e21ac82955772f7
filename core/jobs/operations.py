"""What a person may do to runs and to the schedule: the services behind `manage.py runs`, `manage.py schedule` and the
console.

Each is one transaction with its AuditLog row: who, what, why, before and after. What is refused writes nothing.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Q
from django_celery_beat.models import PeriodicTask, PeriodicTasks

from core import clock, phones
from core.base.services import at_the_command_line, record
from core.errors import DomainError, InvalidInput, NotFound
from core.jobs import bell, occurrences, runs, selectors, services
from core.jobs.models import Occurrence, ScheduleEntry, TaskRun
from core.jobs.rules import FINAL, Late, OccurrenceState, State, Trigger, Verdict, decide
from core.jobs.selectors import OPEN, WAITING, RunFilter
from core.jobs.task import MASK, LedgerTask

OPERATORS = ("SUPER_ADMIN", "NATIONAL_ADMIN")
MOST_AT_ONCE = 10_000  # runs cancelled in one go
# What a retry takes over. Links and the rest of a chain stand in the row only while they have not been asked for. A
# chord has counted the end of the old run and cannot count another one.
CARRIED = ("link", "link_error", "chain", "root_id", "time_limit", "soft_time_limit", "ignore_result")


class Refused(DomainError):
    """It would be done twice, or it does not apply as things stand. Nothing was written."""

    status = 409


@dataclass(frozen=True)
class Actor:
    """Who does it: a person with an account, or whoever sits at the machine."""

    user_id: uuid.UUID | None
    name: str


def actor_named(text: str) -> Actor:
    """The person with this phone number or e-mail address, if they may do this. Raises NotFound and Refused."""
    named = Q(email=text.strip().lower()) if "@" in text else Q(phone=phones.normalise(text))
    user = get_user_model().objects.filter(named).first()
    if user is None:
        raise NotFound("No account has this phone number or e-mail address.")
    if user.role not in OPERATORS or not user.is_active or user.is_suspended:
        raise Refused(f"{user.get_username()} may not do this: it takes an active {' or '.join(OPERATORS)}.")
    return Actor(user.pk, user.get_username())


def at_the_terminal() -> Actor:
    return Actor(None, at_the_command_line())


# --- runs -----------------------------------------------------------------------------------------------------------


@transaction.atomic
def retry_run(*, run_id: uuid.UUID, reason: str, actor: Actor, task: str = "", again: bool = False) -> uuid.UUID:
    """Ask for an ended run once more: a new run that points to the old one. Returns its id.

    It takes over arguments, queue, time limits and what was to follow and has not (links, the rest of a chain), but no
    place in a group or chord. `task` names another task, for one that was renamed; `again` allows what has been done
    already. Of two people who ask at the same moment one is refused. Raises NotFound, InvalidInput, Refused.
    """
    why = check_reason(reason)
    began = selectors.database_time()
    old = _locked_run(run_id)
    if State(old.state) not in FINAL:
        raise Refused(f"Run {old.pk} has not ended: it is {old.state}. Cancel it first, or wait for its end.")
    if old.state == State.SUCCEEDED and not again:
        raise Refused(f"Run {old.pk} succeeded. Its work would be done once more; --again says that this is meant.")
    others = TaskRun.objects.filter(retry_of=old.pk).order_by("-asked_at")
    waits = others.filter(Q(state__in=[state.value for state in OPEN]) | Q(asked_at__gte=began)).first()
    if waits:
        raise Refused(f"Run {old.pk} is being retried already: run {waits.pk} is {waits.state}.")
    done = others.filter(state=State.SUCCEEDED.value).first()
    if done and not again:
        raise Refused(f"Run {old.pk} was retried, and run {done.pk} succeeded. --again says that once more is meant.")
    if old.state in (State.SUCCEEDED, State.SKIPPED) and MASK in [*old.args, *old.kwargs.values()]:
        raise Refused(
            f"Run {old.pk} can never be retried: its arguments were personal data and left the row when it had ended."
            " Ask for the task anew."
        )
    name = task or old.task
    wanted = _task(name)
    _check_fit(wanted, old)
    with _acting(actor):
        plain = wanted.ask(
            old.args,
            old.kwargs,
            options={key: old.options[key] for key in CARRIED if key in old.options} | {"queue": old.queue},
        )
    ask = replace(
        plain,
        trigger=Trigger.RETRY,
        retry_of=old.pk,
        schedule_entry=old.schedule_entry,
        occurrence=old.occurrence,
        exclusive=plain.exclusive if task else old.exclusive,
    )
    runs.insert([ask])
    announced = runs.bell_of(ask.id, ask.task, ask.queue, old.options)
    transaction.on_commit(lambda: bell.ring([announced]), robust=True)
    _audit(
        actor,
        "run.retried",
        ("run", str(old.pk)),
        why,
        {"task": old.task, "state": old.state},
        {"task": name, "run": str(ask.id)},
    )
    return ask.id


def _check_fit(task: LedgerTask, old: TaskRun) -> None:
    if not task.in_ledger:
        raise Refused(f"{task.name} keeps no rows, so there is nothing to retry. Ask for the task itself.")
    try:
        inspect.signature(task.run).bind(*old.args, **old.kwargs)
    except TypeError as error:
        raise InvalidInput(f"The arguments of run {old.pk} do not fit {task.name}: {error}.") from error


@transaction.atomic
def cancel_run(*, run_id: uuid.UUID, reason: str, actor: Actor) -> State:
    """Cancel a run that waits, or ask one that is being worked on to stop at its next checkpoint. Returns the state it
    has now: cancelled or running. Raises NotFound, InvalidInput, Refused.
    """
    why = check_reason(reason)
    old = _locked_run(run_id)
    before: dict[str, Any] = {"task": old.task, "state": old.state}
    if State(old.state) in FINAL:
        raise Refused(f"Run {old.pk} has ended already: it {_ended(old)}.")
    if old.state == State.RUNNING:
        if old.cancel_asked_at:
            raise Refused(f"Run {old.pk} was asked to stop already, {clock.words(old.cancel_asked_at)}.")
        runs.ask_to_cancel(old.pk)
        _audit(actor, "run.cancelled", ("run", str(old.pk)), why, before, {"state": "running", "asked_to_stop": True})
        return State.RUNNING
    cancelled = runs.cancel([old.pk])
    transaction.on_commit(lambda: _tell(cancelled), robust=True)
    _audit(actor, "run.cancelled", ("run", str(old.pk)), why, before, {"state": "cancelled"})
    return State.CANCELLED


@transaction.atomic
def cancel_waiting(*, which: RunFilter, confirmed: int, reason: str, actor: Actor) -> list[uuid.UUID]:
    """Cancel the waiting runs that fit. Returns their ids: fewer than confirmed when workers have taken some meanwhile.

    Raises Refused when there are more than the person has `confirmed`; of more than MOST_AT_ONCE the oldest.
    """
    why = check_reason(reason)
    fitting = waiting(which).order_by("asked_at", "id").select_for_update(skip_locked=True)
    ids = list(fitting.values_list("id", flat=True)[: min(confirmed, MOST_AT_ONCE) + 1])
    if len(ids) > confirmed and confirmed < MOST_AT_ONCE:
        raise Refused(f"There are more than {confirmed} by now. Nothing was cancelled; look again.")
    cancelled = runs.cancel(ids[:MOST_AT_ONCE])
    if not cancelled:
        raise Refused("No such run waits any more. Nothing was cancelled.")
    transaction.on_commit(lambda: _tell(cancelled), robust=True)
    gone = [run_id for run_id, _ in cancelled]
    _audit(
        actor,
        "run.cancelled",
        ("runs", _in_words(which)[:200]),
        why,
        {"waiting": len(gone)},
        {"cancelled": len(gone), "runs": [str(run_id) for run_id in gone]},
    )
    return gone


def waiting(which: RunFilter) -> Any:
    """The waiting runs that fit, whose cancelling must be bounded. Raises InvalidInput for a filter that takes all."""
    if not (which.task or which.queue or which.entry):
        raise InvalidInput("Say which runs: name a task, a queue or a schedule entry.")
    if not set(which.states) <= set(WAITING):
        raise InvalidInput("Only waiting runs are cancelled together. Use the state pending or retrying.")
    return replace(which, states=which.states or WAITING).runs()


def _in_words(which: RunFilter) -> str:
    given = {"task": which.task, "queue": which.queue, "entry": which.entry, "state": " or ".join(which.states)}
    return ", ".join(f"{name} {value}" for name, value in given.items() if value)


def _tell(cancelled: Sequence[tuple[uuid.UUID, dict[str, Any]]]) -> None:
    for run_id, options in cancelled:
        if not services.tell_chord(run_id, options):
            break  # without Redis each would take its time; the rows say so in any case


def _locked_run(run_id: uuid.UUID) -> TaskRun:
    run = TaskRun.objects.select_for_update().filter(pk=run_id).first()
    if run is None:
        raise NotFound(f"There is no run {run_id}.")
    return run


def _ended(run: TaskRun) -> str:
    word = {State.SUCCEEDED: "succeeded", State.FAILED: "failed"}.get(State(run.state), f"was {run.state}")
    return f"{word} {clock.words(run.finished_at)}" if run.finished_at else word


# --- the schedule ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fate:
    """What became, or would become, of one scheduled time."""

    due_at: datetime
    run: bool
    late: bool
    reason: str
    run_id: uuid.UUID | None = None


@dataclass(frozen=True)
class RunNow:
    """`fates` are the scheduled times that the run is for or covers; without any it is an extra one."""

    run_id: uuid.UUID
    fates: list[Fate]
    paused: bool


@transaction.atomic
def run_now(*, name: str, reason: str, actor: Actor, as_of: datetime | None = None) -> RunNow:
    """Run an entry out of turn: its newest scheduled time that was not run (of `run_each` the oldest), or the one at
    `as_of`, or else an extra run. Also while it is paused, and it stays paused.

    However many ask at the same moment, one run is asked for. Raises NotFound, InvalidInput, Refused.
    """
    why = check_reason(reason)
    began = selectors.database_time()
    entry, now = _locked_entry(name)
    task = _task(entry.task)
    busy = selectors.open_run(entry)
    busy = busy or TaskRun.objects.filter(schedule_entry=name, asked_at__gte=began).first()
    if busy:
        raise Refused(f"Nothing was asked for: run {busy.pk} of {name} is {busy.state}, {_since(busy)}.")
    occurrences.write_ahead(entry, now)
    due, verdicts = _next_of(entry, now) if as_of is None else _at(entry, as_of, now, extra=task.takes_due_time)
    with _acting(actor):
        if due:
            run_ids = occurrences.carry_out(entry, due, verdicts, trigger=Trigger.OPERATOR)
        else:
            run_ids = [occurrences.ask(entry, trigger=Trigger.OPERATOR, as_of=as_of)]
    occurrences.save(entry)
    fates = _fates(due, verdicts)
    _audit(actor, "schedule.run_now", ("schedule", name), why, None, {"run": str(run_ids[0]), "slots": _kept(fates)})
    return RunNow(run_ids[0], fates, paused=entry.paused_at is not None)


@transaction.atomic
def pause(*, name: str, reason: str, actor: Actor, until: datetime | None = None) -> list[uuid.UUID]:
    """Fire nothing from now on, until somebody resumes or until that time. What was due before still runs: its ids are
    returned. Raises NotFound, InvalidInput, Refused.
    """
    why = check_reason(reason)
    entry, now = _locked_entry(name)
    if entry.paused_at:
        raise Refused(f"{name} is paused already, by {entry.paused_by}: {entry.pause_reason}. Resume it first.")
    if until and until <= now:
        raise InvalidInput("The end of the pause is over already. Give a time that is still to come.")
    if why == occurrences.SWITCHED_OFF:
        raise InvalidInput("Give a reason of your own: this one is the administration's.")
    run_ids = occurrences.settle_locked(entry, now)
    occurrences.pause(entry, now, by=actor.name, reason=why, until=until)
    after = {"paused_until": until.isoformat() if until else None}
    _audit(actor, "schedule.paused", ("schedule", name), why, {"paused": False}, {"paused": True} | after)
    return run_ids


@transaction.atomic
def resume(*, name: str, reason: str, actor: Actor, catch_up: bool = False, dry_run: bool = False) -> list[Fate]:
    """Fire again from now on. The times that passed are skipped, or with `catch_up` treated by the entry's policy.

    Returns what becomes of each; `dry_run` only says so. An entry that was switched off in the administration is
    switched on there too. Raises NotFound, InvalidInput, Refused.
    """
    why = "" if dry_run else check_reason(reason)
    entry, now = _locked_entry(name)
    if not entry.paused_at:
        raise Refused(f"{name} is not paused.")
    occurrences.write_ahead(entry, now)
    until = entry.paused_until
    passed = [one for one in _open(entry, now) if until is None or one.due_at <= until]
    if catch_up:
        verdicts = decide(Late(entry.late), entry.grace, [one.due_at for one in passed], now)
    else:
        skipped = f"passed while paused: {entry.pause_reason}"
        verdicts = [Verdict(one.due_at, run=False, late=False, reason=skipped) for one in passed]
    fates = _carry_out(entry, passed, verdicts, actor)
    before = {"paused_by": entry.paused_by, "paused_at": entry.paused_at.isoformat(), "reason": entry.pause_reason}
    occurrences.resume(entry)
    if PeriodicTask.objects.filter(name=name, enabled=False).update(enabled=True):
        PeriodicTasks.update_changed()
    if dry_run:
        transaction.set_rollback(True)
    else:
        _audit(actor, "schedule.resumed", ("schedule", name), why, before, {"slots": _kept(fates)})
    return fates


@transaction.atomic
def catch_up(*, name: str, reason: str, actor: Actor, at: datetime | None = None, dry_run: bool = False) -> list[Fate]:
    """Treat the times that passed without a run by the entry's policy, or run the one `at`, also one that was skipped.

    Returns what becomes of each; `dry_run` only says so. A paused entry stays paused. Safe to repeat: what has a run
    never gets another. Raises NotFound, InvalidInput, Refused.
    """
    why = "" if dry_run else check_reason(reason)
    entry, now = _locked_entry(name)
    occurrences.write_ahead(entry, now)
    if at:
        due, verdicts = _at(entry, at, now, extra=False)
    else:
        due = _open(entry, now)
        verdicts = decide(Late(entry.late), entry.grace, [one.due_at for one in due], now)
    fates = _carry_out(entry, due, verdicts, actor)
    if any(fate.run for fate in fates):
        entry.problem = ""  # such as a task that nobody knew
    occurrences.save(entry)
    if dry_run:
        transaction.set_rollback(True)
    elif fates:
        _audit(actor, "schedule.caught_up", ("schedule", name), why, None, {"slots": _kept(fates)})
    return fates


def to_catch_up() -> list[str]:
    """The entries in use with times that have passed without a run. Those that are paused are left to `resume`."""
    now = selectors.database_time()
    open_states = [OccurrenceState.EXPECTED.value, OccurrenceState.MISSED.value]
    open_ones = Occurrence.objects.filter(state__in=open_states, due_at__lte=now).values("entry")
    unsettled = ScheduleEntry.objects.filter(Q(name__in=open_ones) | Q(next_at__lte=now))
    return list(unsettled.filter(retired_at=None, paused_at=None).order_by("name").values_list("name", flat=True))


def _next_of(entry: ScheduleEntry, now: datetime) -> tuple[list[Occurrence], list[Verdict]]:
    due = _open(entry, now)
    if entry.late == Late.RUN_EACH:
        due = due[:1]
    return due, decide(Late.RUN_ONCE, entry.grace, [one.due_at for one in due], now)


def _at(entry: ScheduleEntry, at: datetime, now: datetime, *, extra: bool) -> tuple[list[Occurrence], list[Verdict]]:
    """The occurrence at that time, to be run; none when there is none and an extra run may have the time."""
    if at > now:
        raise InvalidInput("That time is still to come. Give one that has passed.")
    found = Occurrence.objects.filter(entry=entry, due_at=at).first()
    if found is None and extra:
        return [], []
    if found is None:
        past = Occurrence.objects.filter(entry=entry, due_at__lte=now)
        around = [past.filter(due_at__lt=at).order_by("-due_at").first(), past.filter(due_at__gt=at).first()]
        near = " and ".join(one.due_at.isoformat() for one in around if one)
        raise InvalidInput(f"{entry.name} was not due at {at.isoformat()}." + (f" It was at {near}." if near else ""))
    if found.state == OccurrenceState.RUN:
        raise Refused(f"That time of {entry.name} has its run already: {found.run}. To do it again, retry that run.")
    return [found], [Verdict(at, run=True, late=now - at > entry.grace)]


def _open(entry: ScheduleEntry, now: datetime) -> list[Occurrence]:
    """What passed without a decision, oldest first."""
    states = OccurrenceState.EXPECTED, OccurrenceState.MISSED
    return list(occurrences.with_state(entry, *states).filter(due_at__lte=now))


def _carry_out(entry: ScheduleEntry, due: list[Occurrence], verdicts: list[Verdict], actor: Actor) -> list[Fate]:
    if any(verdict.run for verdict in verdicts):
        _task(entry.task)
    with _acting(actor):
        occurrences.carry_out(entry, due, verdicts, trigger=Trigger.OPERATOR)
    return _fates(due, verdicts)


def _fates(due: list[Occurrence], verdicts: list[Verdict]) -> list[Fate]:
    return [
        Fate(one.due_at, verdict.run, verdict.late, verdict.reason, one.run)
        for one, verdict in zip(due, verdicts, strict=True)
    ]


def _kept(fates: list[Fate]) -> list[dict[str, Any]]:
    return [
        {"due_at": fate.due_at.isoformat(), "run": str(fate.run_id) if fate.run_id else None, "reason": fate.reason}
        for fate in fates
    ]


def _locked_entry(name: str) -> tuple[ScheduleEntry, datetime]:
    entry, now = occurrences.locked(name)
    if entry is None:
        raise NotFound(selectors.no_entry(name))
    if entry.retired_at:
        raise Refused(f"{name} is retired: it is no longer in the code or the administration.")
    return entry, now


# --- both -----------------------------------------------------------------------------------------------------------


def _task(name: str) -> LedgerTask:
    if not services.is_known(name):
        raise InvalidInput(f"There is no task {name!r}.{selectors.tasks_like(name)}")
    return services.task_named(name)


def _since(run: TaskRun) -> str:
    if run.state == State.RUNNING and run.started_at:
        return f"since {clock.words(run.started_at)}"
    return f"asked for {clock.words(run.asked_at)}"


def check_reason(reason: str) -> str:
    """The reason as it is kept. Raises InvalidInput when there is none."""
    if not reason.strip():
        raise InvalidInput('Say why, in a few words: --reason "…". It is kept with your name.')
    return reason.strip()[:500]


@contextmanager
def _acting(actor: Actor) -> Iterator[None]:
    """Runs that are asked for meanwhile are the actor's."""
    with structlog.contextvars.bound_contextvars(**({"user_id": str(actor.user_id)} if actor.user_id else {})):
        yield


def _audit(actor: Actor, action: str, subject: tuple[str, str], why: str, before: Any, after: Any) -> None:
    record(
        action=action,
        subject=subject,
        actor_id=actor.user_id,
        actor_name="" if actor.user_id else actor.name,
        before=before,
        after=after,
        reason=why,
    )
