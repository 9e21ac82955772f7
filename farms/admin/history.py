"""What was done to a row, newest first, in words: from the audit log, and from the events of its steps."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db.models import QuerySet, TextChoices

from accounts.models import User
from core import clock, phones
from core.base import selectors
from core.base.models import AuditLog
from core.redact import redact
from farms import rules

MOST_SHOWN = 50
DONE = {  # what is no step of a table
    "assign": "given to a field official",
    "change": "changed",
    "change_details": "changed",
    "create": "planned",
    "inspect": "inspected",
    "name_extension_officer": "extension officer named",
    "remove_location": "location removed",
    "unassign": "taken from a field official",
    "verify_gps": "GPS point verified",
}
CARD = re.compile(rules.GHANA_CARD.strip("^$"))
CODE = re.compile(r"[a-z]+(_[a-z]+)*")
IDENTITIES: dict[str, Callable[[str], str]] = {"tin": rules.mask_tin, "primary_phone": phones.mask}


@dataclass(frozen=True)
class Entry:
    at: datetime
    who: str
    what: str
    reason: str
    changes: tuple[str, ...] = ()

    @property
    def when(self) -> str:
        return f"{clock.accra(self.at):%-d %b %Y, %H:%M}"


def of_audit(subject: tuple[str, str]) -> list[Entry]:
    """What the audit log says of it. Who is named in a row by id, such as an officer, is read beside it."""
    rows = selectors.audit_rows(subject, MOST_SHOWN)
    names = _names(rows)
    return [
        Entry(
            row.at,
            called(row.actor) if row.actor else row.actor_name,
            _done(row.action),
            masked(row.reason),
            tuple(_changes(row.before, row.after, names)),
        )
        for row in rows
    ]


def of_events(events: QuerySet[Any], statuses: type[TextChoices]) -> list[Entry]:
    """The steps of an application or enrolment."""
    return [
        Entry(
            event.at,
            called(event.actor) if event.actor else "applicant or system",
            " → ".join(statuses(one).label if one else "new" for one in (event.from_status, event.to_status)),
            masked(event.reason),
        )
        for event in events.select_related("actor").order_by("-at")[:MOST_SHOWN]
    ]


def called(user: User) -> str:
    return f"{user.get_full_name() or user.username}, {user.get_role_display()}"


def masked(text: str) -> str:
    """The text without whole phones, addresses and Ghana Cards."""
    return CARD.sub(lambda card: rules.mask_card(card[0]), redact(text))


def _done(action: str) -> str:
    act = action.rpartition(".")[2]
    known = rules.Act.__members__.get(act.upper())
    words = str(known.value if known else DONE.get(act, act.replace("_", " ")))
    return words[:1].upper() + words[1:]


def _changes(before: Any, after: Any, names: Mapping[str, str]) -> Iterable[str]:
    old, new = (one if isinstance(one, dict) else {} for one in (before, after))
    for field in sorted({**old, **new}):  # PostgreSQL keeps them by their length
        was, now = (_shown(field, one.get(field), names) for one in (old, new))
        if field not in old and now != "–":
            yield f"{field.replace('_', ' ')}: {now}"
        elif was != now:
            yield f"{field.replace('_', ' ')}: {was} → {now}"


def _shown(field: str, value: Any, names: Mapping[str, str]) -> str:
    if value in (None, "", [], {}):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_shown(field, one, names) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_shown(key, one, names)}" for key, one in sorted(value.items()))
    text = str(value)
    return IDENTITIES[field](text) if field in IDENTITIES else names.get(text) or _in_words(text)


def _in_words(text: str) -> str:
    with suppress(ValueError):  # no day
        return f"{date.fromisoformat(text):%-d %b %Y}"
    return text.replace("_", " ") if CODE.fullmatch(text) else masked(text)


def _names(rows: Iterable[AuditLog]) -> dict[str, str]:
    """Whom the rows name by id."""
    values = [one for row in rows for one in (row.before, row.after) if isinstance(one, dict)]
    found = {pk for one in values for pk in _ids(one)}
    return {str(user.pk): called(user) for user in User.objects.filter(pk__in=found)} if found else {}


def _ids(values: Mapping[str, Any]) -> Iterable[uuid.UUID]:
    for value in values.values():
        with suppress(ValueError, TypeError, AttributeError):  # no id
            yield uuid.UUID(value)
