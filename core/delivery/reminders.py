"""REMINDERS: what is told before a date or after an event, and once (domain.md 5.4).

The days are `rules.due_day`'s and `rules.notice_due`'s. What was dealt with is a row of ReminderLog, written in the
transaction of its message: a run that dies repeats nothing, and two at once tell nobody twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from typing import Any

from django.db import connection, transaction

from core import clock
from core.base import ids
from core.delivery import rules
from core.delivery.mass import People, tell
from core.delivery.rules import ReminderOutcome


@dataclass(frozen=True)
class Concerned:
    """Whom a date concerns, in SQL: a SELECT of subject, user_id, phone, email, language and prefers, in one order
    always, so that two runs at once wait for each other and no more. `subject` is what ReminderLog calls it, such as
    batch:<id>/farm:<id>.
    """

    rows: str
    given: Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """A reminder to be logged."""

    subject: str
    kind: str
    due_day: date
    outcome: ReminderOutcome = ReminderOutcome.SENT


_CLAIM = f"""
INSERT INTO delivery_reminderlog (id, subject, kind, due_day, sent_on, outcome)
SELECT {ids.in_sql("subject || kind || due_day")}, subject, kind, due_day, %s, outcome
FROM unnest(%s::text[], %s::text[], %s::date[], %s::text[]) AS entry(subject, kind, due_day, outcome)
ON CONFLICT (subject, kind, due_day) DO NOTHING RETURNING subject, kind
"""  # noqa: S608 - constants only
_NEW = f"""
concerned AS MATERIALIZED ({{rows}}
), missing AS MATERIALIZED (
    SELECT concerned.*, due.kind, due.day, row_number() OVER (PARTITION BY subject ORDER BY due.place) AS turn
    FROM concerned CROSS JOIN unnest(%(kinds)s::text[], %(days)s::date[]) WITH ORDINALITY AS due(kind, day, place)
    WHERE NOT EXISTS (SELECT FROM delivery_reminderlog AS log
        WHERE log.subject = concerned.subject AND log.kind = due.kind AND log.due_day = due.day)
), new AS (
    INSERT INTO delivery_reminderlog (id, subject, kind, due_day, sent_on, outcome)
    SELECT {ids.in_sql("subject || kind || day")}, subject, kind, day, %(today)s,
        CASE WHEN turn = 1 THEN 'sent' ELSE 'covered' END
    FROM missing
    ON CONFLICT (subject, kind, due_day) DO NOTHING RETURNING subject, kind, outcome
)"""  # noqa: S608 - constants only
# COALESCE: PostgreSQL looks them up in a hash then, also where it expects few.
_TOLD = """
SELECT 'reminder:' || missing.subject || ':' || missing.kind || ':' || missing.day AS once,
    user_id, phone, email, language, prefers
FROM missing WHERE turn = 1 AND COALESCE((subject, kind) IN (SELECT subject, kind FROM new), false)
"""
_COVERED = "(SELECT count(*) FROM new WHERE outcome = 'covered')"
_NOT_REACHED = """
UPDATE delivery_reminderlog SET outcome = 'no_contact'
FROM unnest(%s::text[], %s::text[], %s::date[]) AS entry(subject_of_it, kind_of_it, day_of_it)
WHERE subject = subject_of_it AND kind = kind_of_it AND due_day = day_of_it
"""


def claim(entries: Sequence[Entry], *, today: date) -> set[tuple[str, str]]:
    """Log these, in the caller's transaction, which writes their messages. Returns subject and kind of those that
    nobody has logged before. Pass them in one order always: two runs at once then wait for each other, and no more.
    """
    if not entries:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, [today, *_columns(entries)])
        return set(cursor.fetchall())


@transaction.atomic
def remind(
    template: str,
    concerned: Concerned,
    *,
    kind: str,
    deadline: date,
    days: Iterable[int],
    today: date,
    values: Mapping[str, object],
    about: tuple[str, str] = ("", ""),
) -> Counter[str]:
    """Remind people of a date, in a few statements however many they are: of what is due and not logged one message
    goes out, the one that is nearest to the date, and covers the others. Counts `sent`, `covered` and `no_contact`.

    The kinds are `<kind>_<days>`. A message is no longer sent when the day of the deadline is over. Safe to repeat: by
    subject, kind and due day. Raises as `mass.tell`.
    """
    due = {f"{kind}_{number}": day for number, day in rules.reminders_due(deadline, days, today).items()}
    if not due:
        return Counter()
    people = People(
        rows=_TOLD,
        ctes=_NEW.format(rows=concerned.rows),
        also=_COVERED,
        given={**concerned.given, "kinds": list(due), "days": list(due.values()), "today": today},
    )
    not_after = clock.at(deadline + timedelta(days=1), time())
    outcome = tell(template, people, values=values, about=about, not_after=not_after)
    if outcome.unreached:
        parts = [once.removeprefix("reminder:").rsplit(":", 2) for once in outcome.unreached]
        with connection.cursor() as cursor:
            cursor.execute(_NOT_REACHED, [list(column) for column in zip(*parts, strict=True)])
    return Counter(sent=outcome.told, covered=outcome.also, no_contact=len(outcome.unreached))


def left(deadline: date, today: date) -> str:
    """The days that are left, in words."""
    days = (deadline - today).days
    if days == 0:
        return "today is the last day"
    return "1 day left" if days == 1 else f"{days} days left"


def _columns(entries: Sequence[Entry]) -> list[list[object]]:
    return [
        [entry.subject for entry in entries],
        [entry.kind for entry in entries],
        [entry.due_day for entry in entries],
        [entry.outcome.value for entry in entries],
    ]
