"""Whom a campaign is for: a list of numbers, or a saved selection of people that a source describes.

A selection is stored as {"source": name, "where": {...}} and read when the campaign runs: `core.base.registries`
knows the sources. Lists come as Python lists, as one number a line, or as a column of a CSV file.
"""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from django.db import connection

from core import phones
from core.base import figures
from core.base.registries import NATION, USERS, PeopleSource, Place, SelectedPerson, audiences_of_people
from core.delivery.rules import Channel, Purpose
from core.errors import InvalidInput

LARGEST_LIST = 100_000
LONGEST_FILE = 5_000_000  # characters
COLUMNS = ("phone", "phone_number", "phone number", "mobile", "msisdn", "number", "tel", "telephone", "contact")
DELIMITERS = ",;\t|"
LONGEST_GIVEN = 40  # of what was given instead of a number
LOOKS_AT = 100_000  # people of a selection that are looked at one by one for a plan
CHUNK = 2_000


@dataclass(frozen=True)
class Audience:
    """`numbers` of a list, or the stored form of a `selection`. `place`: where its people live; a list is anywhere."""

    description: str
    place: Place = NATION
    numbers: Sequence[object] = ()
    selection: dict[str, Any] | None = None


def listed(numbers: object, *, what: str = "phones") -> Audience:
    """The audience of a list. Raises InvalidInput for what is no list, is empty or too long."""
    if isinstance(numbers, str | bytes | dict) or not isinstance(numbers, Sequence):
        raise InvalidInput(f"{what} must be a list of phone numbers, such as ['0244123456'].")
    if not numbers:
        raise InvalidInput(f"{what} is empty. Name at least one phone number.")
    if len(numbers) > LARGEST_LIST:
        raise InvalidInput(
            f"{what} has {len(numbers):,} numbers; at most {LARGEST_LIST:,} go in one call. Split it, or select people."
        )
    within_cap(len(numbers))
    return Audience(f"list of {len(numbers):,}", numbers=numbers)


def selected(where: Mapping[str, object], *, source: str = USERS) -> Audience:
    """The audience of a selection, such as {"region": "AH", "role": "FARMER"}. Raises InvalidInput."""
    checked = _source(source).check(where)
    chosen = [f"{name} {value}" for name, value in checked.stored.items() if value]
    return Audience(
        f"{source}: {', '.join(chosen) or 'everybody'}"[:200],
        place=checked.place,
        selection={"source": source, "where": checked.stored},
    )


def within_cap(count: int) -> None:
    [most] = figures.read(figures.CAMPAIGN_MAX_RECIPIENTS)
    if count > most:
        raise InvalidInput(
            f"{count:,} recipients are more than one campaign may have ({most:,}). Choose fewer, or have"
            f" {figures.CAMPAIGN_MAX_RECIPIENTS.key} raised."
        )


def count(selection: Mapping[str, Any]) -> int:
    """How many people a stored selection means now."""
    return _source(selection["source"]).count(selection["where"])


def people(selection: Mapping[str, Any], after: uuid.UUID | None = None) -> Iterator[SelectedPerson]:
    """The people of a stored selection in the order of their ids, those after `after`; read a chunk at a time."""
    return _source(selection["source"]).people(selection["where"], after)


def _source(name: object) -> PeopleSource:
    if not isinstance(name, str) or name not in audiences_of_people:
        known = ", ".join(sorted(audiences_of_people))
        raise InvalidInput(f"There is no source of people {str(name)[:40]!r}. Use one of: {known}.")
    return audiences_of_people[name]


# --- lists as text -------------------------------------------------------------------------------------------------


def numbers_of(text: str, column: str = "") -> list[str]:
    """The phone numbers of a text: one a line, or a column of a CSV with a line of headings.

    `column` names the column when none of the usual headings is there. Raises InvalidInput.
    """
    if len(text) > LONGEST_FILE:
        raise InvalidInput(f"The list is longer than {LONGEST_FILE:,} characters. Split it.")
    lines = [line for line in text.lstrip("\ufeff").replace("\x00", "\ufffd").splitlines() if line.strip()]
    if not lines:
        raise InvalidInput("The list is empty. Write one phone number a line, or a CSV with a column of them.")
    delimiter = max(DELIMITERS, key=lines[0].count)
    if delimiter not in lines[0]:
        alone = [line.strip().strip('"') for line in lines]
        return alone[1:] if _is_heading(alone[0], column) else alone
    try:
        head, *rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter))
    except csv.Error as error:
        raise InvalidInput(f"The list cannot be read as CSV: {error}.") from error
    at = _column(head, column)
    return [row[at] if at < len(row) else "" for row in rows]


def _is_heading(cell: str, column: str) -> bool:
    return cell.lower() in (column.strip().lower(), *COLUMNS)


def _column(head: Sequence[str], column: str) -> int:
    names = [cell.strip().lower() for cell in head]
    for wanted in (column.strip().lower(),) if column.strip() else COLUMNS:
        if wanted in names:
            return names.index(wanted)
    shown = ", ".join(phones.mask(name) if any(sign.isdigit() for sign in name) else name[:20] for name in names[:10])
    raise InvalidInput(
        f"The list has no column {column or 'phone'!r}. Name the column of the phone numbers; its first line has:"
        f" {shown}."
    )


# --- sifting -------------------------------------------------------------------------------------------------------


@dataclass
class Sifted:
    """Entries of a list: `valid` numbers in the order given, doubles included; the others `refused` with the reason."""

    valid: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    given: int = 0

    @property
    def invalid(self) -> int:
        return self.given - len(self.valid)


def sift(entries: Iterable[object]) -> Sifted:
    found = Sifted()
    for given in entries:
        found.given += 1
        try:
            found.valid.append(phones.normalise(given))
        except InvalidInput as error:
            found.refused[as_given(given)] = str(error)[:200]
    return found


def as_given(given: object) -> str:
    """What was given instead of a number, short enough to keep."""
    return str(given).replace("\x00", "").encode(errors="replace").decode()[:LONGEST_GIVEN]


# --- looking ahead -------------------------------------------------------------------------------------------------


@dataclass
class Outlook:
    """What is known of an audience before it is written to. `examined` people of `expected` were looked at one by one;
    the counts of the others, except `expected`, are not known.
    """

    expected: int = 0
    examined: int = 0
    duplicates: int = 0
    invalid: int = 0
    opted_out: int = 0
    suppressed: int = 0
    samples: list[str] = field(default_factory=list)

    @property
    def to_be_sent(self) -> int:
        return max(0, self.expected - self.opted_out - self.suppressed)


def look_ahead(audience: Audience, seeds: Sequence[str] = ()) -> Outlook:
    """Count an audience without storing it. A selection of more than `LOOKS_AT` people is looked at in part."""
    outlook = Outlook()
    if audience.selection is None:
        entries: Iterator[object] = iter(audience.numbers)
    else:
        outlook.expected = count(audience.selection)
        within_cap(outlook.expected)
        entries = (person.phone for person in people(audience.selection))
    seen = set(seeds)
    while outlook.examined < LOOKS_AT:
        chunk = list(islice(entries, CHUNK))
        if not chunk:
            break
        sifted = sift(chunk)
        new = list(dict.fromkeys(phone for phone in sifted.valid if phone not in seen))
        seen.update(new)
        outlook.examined += len(chunk)
        outlook.invalid += sifted.invalid
        outlook.duplicates += len(sifted.valid) - len(new)
        outlook.samples += new[: 3 - len(outlook.samples)]
        opted_out, suppressed = declined(new)
        outlook.opted_out += opted_out
        outlook.suppressed += suppressed
    if audience.selection is None or outlook.expected <= outlook.examined:
        outlook.expected = outlook.examined - outlook.invalid - outlook.duplicates
    return outlook


_DECLINED = """
SELECT count(*) FILTER (WHERE NOT suppressed), count(*) FILTER (WHERE suppressed) FROM (
    SELECT EXISTS (SELECT 1 FROM delivery_suppression AS s WHERE s.channel = %(channel)s AND s.address = phone
                   AND s.lifted_at IS NULL) AS suppressed,
        EXISTS (SELECT 1 FROM delivery_optout AS o WHERE o.channel = %(channel)s AND o.address = phone
                AND o.purpose = %(purpose)s AND o.ended_at IS NULL) AS opted_out
    FROM unnest(%(phones)s::text[]) AS phone) AS each
WHERE suppressed OR opted_out
"""


def declined(numbers: Sequence[str]) -> tuple[int, int]:
    """How many of these numbers have opted out of bulk SMS, and how many take no SMS at all."""
    with connection.cursor() as cursor:
        cursor.execute(
            _DECLINED, {"channel": Channel.SMS.value, "purpose": Purpose.BULK.value, "phones": list(numbers)}
        )
        opted_out, suppressed = cursor.fetchone()
        return int(opted_out), int(suppressed)
