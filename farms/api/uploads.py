"""Many days at once: from an array or a CSV to records, each row read by itself."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from core.api.parsing import FileParser, JSONParser
from core.errors import DomainError, InvalidInput
from farms.services.production import EGGS, LOSSES, DayRecord, Outcome

MOST_ROWS = 10_000
LARGEST_UPLOAD = 5_000_000  # bytes: so many rows with every field
NEEDED = ("flock", "production_date")
COUNTS = (*EGGS, "eggs_collected", *LOSSES)
WORDS = ("mortality_reason", "general_health")
COLUMNS = ("client_id", *NEEDED, *COUNTS, *WORDS, "feed_consumed_kg", "signs_of_disease")
LONGEST_CLIENT_ID = 100
TRUTH = {"": False, "true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
TOO_MANY = f"At most {MOST_ROWS:,} rows are taken at once. Send the rest in another upload."


class UploadJSONParser(JSONParser):
    largest = LARGEST_UPLOAD


class CSVParser(FileParser):
    media_type = "text/csv"
    largest = LARGEST_UPLOAD


@dataclass(frozen=True)
class Row:
    """A row as it came: its place, and the record that it holds or why it holds none."""

    number: int
    client_id: str
    record: DayRecord | None
    refused: DomainError | None = None


def rows_of(body: object) -> list[Row]:
    """The rows of an upload in their order. Raises InvalidInput for an upload that cannot be read as a whole."""
    given = list(_lines(body) if isinstance(body, bytes) else _array(body))
    return [_row(number, row) for number, row in given]


def _row(number: int, row: object) -> Row:
    client_id = str(row.get("client_id") or "") if isinstance(row, Mapping) else ""
    try:
        if isinstance(row, DomainError):
            raise row
        return Row(number, client_id[:LONGEST_CLIENT_ID], _record(row))
    except DomainError as refused:
        return Row(number, client_id[:LONGEST_CLIENT_ID], None, refused)


def _record(row: object) -> DayRecord:
    if not isinstance(row, Mapping):
        raise InvalidInput('A row is an object such as {"flock": "…", "production_date": "2026-11-26"}.')
    if unknown := sorted(str(name)[:40] for name in row.keys() - set(COLUMNS)):
        raise InvalidInput(f"A row has no field {unknown[0]}. There are: {', '.join(COLUMNS)}.")
    values = {
        name: row[name] for name in (*COUNTS, "feed_consumed_kg", "signs_of_disease") if row.get(name) is not None
    }
    values |= {name: _word(row[name]) for name in WORDS if row.get(name) is not None}
    return DayRecord(flock_id=_flock(row.get("flock")), production_date=_day(row.get("production_date")), **values)


def _flock(text: object) -> UUID:
    try:
        return UUID(str(text))
    except ValueError as error:
        raise InvalidInput("flock must be the id of a flock.") from error


def _day(text: object) -> date:
    try:
        return date.fromisoformat(str(text))
    except ValueError as error:
        raise InvalidInput("production_date must be a day such as 2026-11-26.") from error


def _word(text: object) -> object:
    return text.strip().lower() if isinstance(text, str) else text


# --- an array ------------------------------------------------------------------------------------------------------


def _array(body: object) -> Iterator[tuple[int, object]]:
    if not isinstance(body, list) or not body:
        raise InvalidInput("Send an array of rows as application/json, or a CSV with a header as text/csv.")
    if len(body) > MOST_ROWS:
        raise InvalidInput(TOO_MANY)
    yield from enumerate(body, start=1)


# --- a CSV ---------------------------------------------------------------------------------------------------------


def _lines(body: bytes) -> Iterator[tuple[int, object]]:
    """Each row with the number of its last line. What stands in a cell is taken for what its column holds."""
    text = _text(body)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: Sequence[str] = ()
    rows = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            raise InvalidInput(
                f"Line {reader.line_num} cannot be read: {error}. Look at its quotation marks."
            ) from error
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            header = _header(cells, reader.line_num)
            continue
        rows += 1
        if rows > MOST_ROWS:
            raise InvalidInput(TOO_MANY)
        yield reader.line_num, _cells(header, cells)
    if not rows:
        raise InvalidInput(f"The CSV holds no rows. Its first line names the columns, such as {', '.join(NEEDED)}.")


def _text(body: bytes) -> str:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise InvalidInput(f"Line {line} is not UTF-8. Save the file as CSV UTF-8.") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InvalidInput(f"Line {line} holds a NUL character, which no text has. Save the file as CSV UTF-8.")
    return text


def _header(cells: Sequence[str], line: int) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    if len(names) == 1 and any(sign in names[0] for sign in ";\t"):
        raise InvalidInput(f"Line {line}: the columns must be separated by commas. Save the file as CSV UTF-8 (comma).")
    if unknown := [name for name in names if name not in COLUMNS]:
        raise InvalidInput(f"Line {line}: there is no column {unknown[0][:40]!r}. There are: {', '.join(COLUMNS)}.")
    if double := [name for name in names if names.count(name) > 1]:
        raise InvalidInput(f"Line {line} names the column {double[0]} twice.")
    if missing := [name for name in NEEDED if name not in names]:
        raise InvalidInput(f"Line {line}: the column {missing[0]} is missing. The first line names the columns.")
    return names


def _cells(header: Sequence[str], cells: Sequence[str]) -> object:
    if len(cells) != len(header):
        return InvalidInput(f"This row has {len(cells)} cells and the first line {len(header)}.")
    row: dict[str, Any] = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    for name in COUNTS:
        if name in row:
            row[name] = _number(row[name])
    row["feed_consumed_kg"] = row.get("feed_consumed_kg") or None
    truth = row.get("signs_of_disease", "").lower()
    row["signs_of_disease"] = TRUTH.get(truth, truth)
    return row


def _number(cell: str) -> object:
    """A whole number as one; an empty cell says nothing; anything else stays, and is refused by its name."""
    return int(cell) if cell.isascii() and cell.isdigit() and len(cell) <= 10 else cell or None  # noqa: PLR2004


# --- what became of them -------------------------------------------------------------------------------------------


def told(rows: Sequence[Row], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The answer to an upload; `outcomes` are those of the rows that hold a record."""
    left = iter(outcomes)
    answers = [_told(row, Outcome(refused=row.refused) if row.refused else next(left)) for row in rows]
    counts = {word: sum(one["outcome"] == word for one in answers) for word in ("kept", "unchanged", "refused")}
    return {**counts, "rows": answers}


def _told(row: Row, outcome: Outcome) -> dict[str, Any]:
    refused = outcome.refused
    return {
        "row": row.number,
        "client_id": row.client_id,
        "outcome": "refused" if refused else "kept" if outcome.is_new else "unchanged",
        "id": outcome.kept.pk if outcome.kept else None,
        "status": refused.status if refused else None,
        "detail": str(refused) if refused else "",
    }
