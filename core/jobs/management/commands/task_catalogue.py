"""docs/tasks.md: every background task, as the code declares it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from celery import current_app
from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from core.celery import SCHEDULE
from core.jobs.rules import Again, Late, after_failure
from core.jobs.schedule import Entry

PAGE = settings.BASE_DIR / "docs" / "tasks.md"
HEAD = """# Tasks

Everything that runs in the background. Made from the code by `python manage.py task_catalogue`: what a task does and
why repeating it is safe stands in its docstring, its schedule in `core/celery.py`. Times are Accra's.

A task on a schedule may also be asked for at any time, and who asks may name another queue. Attempts include the first;
an error that trying again cannot mend (`core.errors.DomainError`) ends a run at once. The first of the two time limits
raises an error that the task may still handle, the second ends its process. Arguments that are personal data leave the
ledger when the run has succeeded.

| task | queue | schedule |
|---|---|---|
"""
LATE = {
    Late.RUN_ONCE: "of missed times the newest runs, however late, and makes up for the others",
    Late.RUN_EACH: "missed times all run, oldest first",
    Late.SKIP: "missed times are skipped",
}


class Command(BaseCommand):
    help = "Writes docs/tasks.md from the code. Safe to repeat."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="write nothing; fail if docs/tasks.md is not fresh")

    def handle(self, *args: Any, check: bool, **options: Any) -> None:
        text = catalogue()
        if not check:
            PAGE.write_text(text)
        elif not PAGE.exists() or PAGE.read_text() != text:
            raise CommandError(f"{PAGE.name} is not what the code says. Run: python manage.py task_catalogue")


def catalogue() -> str:
    """The page. Raises CommandError for a task whose docstring does not say what the page must."""
    current_app.loader.import_default_modules()
    found: dict[str, Any] = current_app.tasks
    tasks = [task for name, task in sorted(found.items()) if apps.is_installed(name.partition(".")[0])]
    lines = [f"| [{task.name}](#{task.name.replace('.', '')}) | {task.lane} | {_times(task)} |\n" for task in tasks]
    return HEAD + "".join(lines) + "".join(_section(task) for task in tasks)


def _entries(task: Any) -> dict[str, Entry]:
    return {name: entry for name, entry in SCHEDULE.items() if entry.task == task.name}


def _times(task: Any) -> str:
    return "; ".join(entry.timetable.in_words() for entry in _entries(task).values()) or "on demand"


def _section(task: Any) -> str:
    what, why = _told(task)
    facts = "".join(f"- {name}: {fact}\n" for name, fact in _facts(task))
    return f"\n## {task.name}\n\n    {task.name.rpartition('.')[2]}{_signature(task)}\n\n{what}\n\n{facts}- {why}\n"


def _facts(task: Any) -> Iterator[tuple[str, str]]:
    yield "Queue", f"`{task.lane}`"
    yield "Schedule", _times(task)
    for name, entry in _entries(task).items():
        yield f"Entry `{name}`", f"`{entry.cron}`; missed when {_duration(entry.grace)} late; {LATE[entry.late]}"
    if task.takes_due_time:
        yield "Scheduled runs", "get their due time as `as_of`, so that a late one computes the right day"
    if task.once_at_a_time:
        yield "One at a time", "a call without arguments ends as skipped while another is being worked on"
    if task.in_ledger:
        yield "Attempts", _attempts(task)
    else:
        yield "Ledger", "none: it is only a hint, without a row, a retry or a result"
    soft = task.soft_time_limit or task.app.conf.task_soft_time_limit
    hard = task.time_limit or task.app.conf.task_time_limit
    yield "Time limits", f"{soft:g} s, {hard:g} s"
    if task.personal:
        yield "Personal arguments", ", ".join(f"`{name}`" for name in task.personal)
    if task.atomic:
        yield "One transaction", "its effects and its end, so none of them can double"


def _attempts(task: Any) -> str:
    if task.max_retries is None:
        return "without limit"
    most = task.max_retries + 1
    steps = (after_failure(OSError(), attempts, most=most, jitter=0) for attempts in range(1, most))
    apart = ", ".join(f"{step.seconds:g}" for step in steps if isinstance(step, Again))
    return f"{most}, about {apart} s apart" if apart else f"{most}"


def _told(task: Any) -> tuple[str, str]:
    """The docstring's first sentence, and the one that says why a second run does no harm."""
    sentences = re.split(r"(?<=\.)\s+(?=[A-Z])", " ".join((inspect.getdoc(task.run) or "").split()))
    safe = [text for text in sentences if re.match(r"(Safe to repeat|Harmless when [a-z ]+): ", text)]
    if len(safe) != 1 or safe[0] == sentences[0]:
        raise CommandError(
            f"The docstring of {task.name} must say in its first sentence what it does, and in one other, which begins"
            " with 'Safe to repeat:' or 'Harmless when lost:', why a second run does no harm."
        )
    return sentences[0], safe[0]


class _Bare(str):
    """An annotation that is written as it stands in the code."""

    __slots__ = ()
    __repr__ = str.__str__


def _signature(task: Any) -> str:
    """Annotations are text here (`from __future__ import annotations`), and would be shown in quotes."""
    plain = inspect.signature(task.run)
    parameters = [parameter.replace(annotation=_Bare(parameter.annotation)) for parameter in plain.parameters.values()]
    return str(plain.replace(parameters=parameters, return_annotation=_Bare(plain.return_annotation)))


def _duration(span: timedelta) -> str:
    minutes, seconds = divmod(int(span.total_seconds()), 60)
    return f"{minutes} minutes" if not seconds else f"{minutes * 60 + seconds} s"
