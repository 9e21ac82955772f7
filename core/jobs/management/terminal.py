"""What the commands for operators share: answers as text or JSON, errors in one line, times and tables."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import InterfaceError, OperationalError, ProgrammingError

from core import clock
from core.errors import DomainError, InvalidInput
from core.jobs import operations
from core.jobs.operations import Actor

WIDTH = 100
NARROWEST = 8  # of a column that may be cut
TENTHS_BELOW = 9.95  # seconds
ZONE = "Times are Accra's."
NO_DATABASE = "PostgreSQL does not answer. Start it, or correct DATABASE_URL, and try again."
NO_TABLES = "The database has not this version's tables. Run: python manage.py migrate"
UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
HOW = "Write it as 2026-03-01, 2026-03-01T06:00, or back from now as 30m, 24h, 7d."


class OperatorCommand(BaseCommand):
    """`manage.py <command> <action>`: each action is a method of that name that returns the answer for `--json` and
    prints the same for people.
    """

    requires_system_checks = []

    def action(self, actions: Any, name: str, words: str, *, change: bool = False) -> CommandParser:
        parser: CommandParser = actions.add_parser(name, help=words, description=words)
        parser.add_argument("--json", action="store_true", help="one JSON document instead of text")
        if change:
            parser.add_argument("--reason", default="", help="why; kept in the audit log")
            parser.add_argument(
                "--as", dest="who", default="", metavar="WHO", help="phone or e-mail of the admin who does it"
            )
        return parser

    def handle(self, *_args: Any, **options: Any) -> None:
        self.for_people = not options["json"]
        self.partly = False  # set when some of what was asked for could not be done
        try:
            answer = getattr(self, options["action"].replace("-", "_"))(options)
        except DomainError as error:
            self.refuse(str(error))
        except (OperationalError, InterfaceError):
            self.refuse(NO_DATABASE)
        except ProgrammingError as error:
            if getattr(error.__cause__, "sqlstate", "") != "42P01":  # undefined table
                raise
            self.refuse(NO_TABLES)
        except KeyboardInterrupt:
            self.refuse("Interrupted.")
        else:
            if not self.for_people:
                self.stdout.write(as_json(answer))
            if self.partly:
                sys.exit(1)

    def refuse(self, why: str) -> None:
        if self.for_people:
            raise CommandError(why)
        self.stdout.write(as_json({"error": why}))
        sys.exit(1)

    def say(self, *lines: str) -> None:
        if self.for_people:
            for line in lines:
                self.stdout.write(line)

    def width(self) -> int:
        return max(WIDTH, shutil.get_terminal_size().columns) if self.stdout.isatty() else WIDTH


def actor(options: dict[str, Any]) -> Actor:
    who = options["who"]
    return operations.actor_named(who) if who else operations.at_the_terminal()


def as_json(answer: Any) -> str:
    return json.dumps(answer, cls=DjangoJSONEncoder, indent=2, ensure_ascii=False)


# --- times ----------------------------------------------------------------------------------------------------------


def moment(text: str, *, ahead: bool = False) -> datetime:
    """A time as a person gives it: a day, a time in Accra, or a distance from now. Raises InvalidInput."""
    found = re.fullmatch(r"([0-9]{1,5})([mhd])", text.strip())
    try:
        if found:
            distance = int(found[1]) * UNITS[found[2]]
            return clock.now() + (distance if ahead else -distance)
        given = datetime.fromisoformat(text.strip())
        return (given if given.tzinfo else given.replace(tzinfo=clock.ACCRA)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        how = HOW.replace("back from now", "from now on") if ahead else HOW
        raise InvalidInput(f"{text[:40]!r} is no time. {how}") from error


def when(time: datetime | None) -> str:
    """Mon 23 Nov 06:00, and of another year 23 Nov 2025 06:00."""
    if time is None:
        return "–"
    local = clock.accra(time)
    same_year = local.year == clock.accra(clock.now()).year
    return f"{local:%a %-d %b %H:%M}" if same_year else f"{local:%-d %b %Y %H:%M}"


def exactly(time: datetime) -> str:
    """As `when`, with the seconds."""
    return f"{when(time)}:{clock.accra(time):%S}"


def span(time: timedelta | None) -> str:
    """0.4s, 12s, 5m, 3m05s, 2h05m, 3d04h."""
    if time is None:
        return "–"
    seconds = max(0.0, time.total_seconds())
    if seconds < TENTHS_BELOW:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    for unit, smaller, size, part in (("d", "h", 86_400, 3_600), ("h", "m", 3_600, 60), ("m", "s", 60, 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size}{unit}" + (f"{rest:02}{smaller}" if rest else "")
    return f"{whole}s"


def distance(time: datetime, now: datetime) -> str:
    return f"in {span(time - now)}" if time > now else f"{span(now - time)} ago"


# --- tables ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    name: str
    cut: int = 0  # when the table is too wide, this one is cut before those with a smaller number; 0: never
    right: bool = False


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Aligned text, no wider than `width` as long as there is something to cut."""
    widths = [max(map(len, (column.name, *cells))) for column, *cells in zip(columns, *rows, strict=True)]
    while sum(widths) + 2 * (len(widths) - 1) > width:
        able = [n for n, column in enumerate(columns) if column.cut and widths[n] > NARROWEST]
        if not able:
            break
        most = max(able, key=lambda n: widths[n] * columns[n].cut)
        widths[most] -= 1
    lines = []
    for cells in ([column.name for column in columns], *rows):
        shown = [
            _cut(cell, size).rjust(size) if column.right else _cut(cell, size).ljust(size)
            for column, cell, size in zip(columns, cells, widths, strict=True)
        ]
        lines.append("  ".join(shown).rstrip())
    return lines


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[: size - 1] + "…"


def facts(pairs: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Label and value, long values continued under themselves. Empty values are left out."""
    label_width = max((len(label) for label, _ in pairs), default=0) + 2
    lines = []
    for label, value in pairs:
        for number, part in enumerate(_wrapped(value, width - label_width)):
            lines.append((label if number == 0 else "").ljust(label_width) + part)
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    lines = []
    for line in text.splitlines():
        while len(line) > width:
            at = line.rfind(" ", 1, width + 1)
            at = at if at > width // 2 else width
            lines.append(line[:at])
            line = line[at:].lstrip()  # noqa: PLW2901
        lines.append(line)
    return lines
