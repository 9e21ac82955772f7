"""Whether the audit chain and the rows it stands for are as they were, and what exactly is not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db import connection, transaction

from core.base import chain, rules
from core.base.chain import Head
from core.base.registries import chained_tables
from core.base.rules import Link
from core.errors import InvalidInput

CHUNK = 2_000
MOST_KEPT = 100  # faults told one by one; all are counted
MOST_TRACED = 20  # faults until which a link's old place is searched for: each search reads the whole chain
NEAR = 100  # places before and after a link that are tried first

_CHUNK = """
SELECT position, source, row_id::text, form, row_hash, previous_hash, to_jsonb(chained_at) #>> '{}', hash
FROM base_auditchain WHERE position > %s AND position <= %s ORDER BY position LIMIT %s
"""
_AT = "SELECT hash FROM base_auditchain WHERE position = %s"
_NEIGHBOURS = """
SELECT position + 1 FROM base_auditchain WHERE hash = %s
UNION SELECT position - 1 FROM base_auditchain WHERE previous_hash = %s
"""
# One statement, so one moment: a row and its note commit together, and so do its link and the end of the note.
_LEFT_OUT = """
SELECT kept.id::text, count(*) OVER () FROM {table} AS kept
WHERE NOT EXISTS (SELECT FROM base_auditchain AS link WHERE link.source = %(source)s AND link.row_id = kept.id)
  AND NOT EXISTS (SELECT FROM base_auditpending AS note WHERE note.source = %(source)s AND note.row_id = kept.id)
LIMIT %(most)s
"""
_UNGUARDED = """
SELECT guard.table_name, guard.name FROM unnest(%s::text[], %s::text[]) AS guard(table_name, name)
WHERE NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = guard.table_name::regclass AND tgname = guard.name
    AND tgenabled IN ('O', 'A'))
"""


class FaultKind(StrEnum):
    ROW_CHANGED = "row_changed"
    ROW_REMOVED = "row_removed"
    ROW_LEFT_OUT = "row_left_out"
    LINK_CHANGED = "link_changed"
    LINK_MOVED = "link_moved"
    LINK_REMOVED = "link_removed"
    LINK_UNKNOWN = "link_unknown"
    HEAD_CUT_OFF = "head_cut_off"
    HEAD_CHANGED = "head_changed"
    GUARD_OFF = "guard_off"


@dataclass(frozen=True)
class Fault:
    kind: FaultKind
    words: str
    position: int | None = None
    table: str = ""
    row_id: str = ""


@dataclass
class Finding:
    """What a check came to. `faults` are the first ones, `counts` all of them."""

    since: int
    head: Head | None
    links: int = 0
    pending: int = 0
    oldest_pending: datetime | None = None
    faults: list[Fault] = field(default_factory=list)
    counts: Counter[FaultKind] = field(default_factory=Counter)

    @property
    def intact(self) -> bool:
        return not self.counts

    def add(self, fault: Fault, count: int = 1) -> None:
        self.counts[fault.kind] += count
        if len(self.faults) < MOST_KEPT:
            self.faults.append(fault)


@dataclass(frozen=True)
class _Step:
    """Where the walk stands. `doubted`: a fault of this link has been told."""

    position: int
    hash: bytes
    doubted: bool = False
    named: tuple[str, str] = ("", "")


def verify(*, since: int = 0, heads: Sequence[Head] = ()) -> Finding:
    """Read the chain from the link after `since` to its end and do every sum again; then look for rows that have
    neither a link nor a note, for heads that were written down earlier, and for the triggers that guard it all.

    Only reads, in short transactions, a chunk of rows in memory at a time. What is written meanwhile is no fault.
    Raises InvalidInput when there is no link at `since`.
    """
    start = _start(since)
    found = Finding(since, chain.head())
    _walk(found, start)
    for table in chained_tables:
        _left_out(found, table)
    for head in heads:
        _still_there(found, head)
    _guards(found)
    found.pending, found.oldest_pending = chain.pending()
    return found


def _start(since: int) -> _Step:
    if since == 0:
        return _Step(0, rules.FIRST, doubted=True)
    known = _hash_at(since)
    if known is None:
        raise InvalidInput(f"There is no link {since:,} in the chain. Begin at another one, or at the first: 0.")
    return _Step(since, known, doubted=True)


# --- link by link ---------------------------------------------------------------------------------------------------


def _walk(found: Finding, step: _Step) -> None:
    end = found.head.position if found.head else 0
    shift = 0  # by how much the last link that was moved was: a link taken out shifts all after it
    while chunk := _chunk(step.position, end):
        for link, own_hash, row_hash in chunk:
            place: int | None = link.position
            if rules.link_hash(link) != own_hash:
                place = _place(link, own_hash, shift, search=found.counts.total() < MOST_TRACED)
                shift = place - link.position if place else shift
            fault = _fault_of_link(link, place)
            if link.position > step.position + 1:
                found.add(*_gap(step.position + 1, link.position - 1))
            elif fault is None and link.previous_hash != step.hash and not step.doubted:
                found.add(_rewritten(step))
            if fault:
                found.add(fault)
            of_row = _fault_of_row(link, row_hash) if fault is None or fault.kind == FaultKind.LINK_MOVED else None
            if of_row:
                found.add(of_row)
            step = _Step(link.position, own_hash, fault is not None, (link.source, link.row_id))
        found.links += len(chunk)


def _chunk(after: int, end: int) -> list[tuple[Link, bytes, bytes | None]]:
    """Links with the hash they have, and with the one that their row has now: None when it is not there."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL TimeZone = 'UTC'")
        cursor.execute(_CHUNK, [after, end, CHUNK])
        links = [(Link(*parts), own_hash) for *parts, own_hash in cursor.fetchall()]
        ids = defaultdict(list)
        for link, _ in links:
            if _known(link):
                ids[link.source, link.form].append(link.row_id)
        now = {
            (table, form, row_id): row_hash
            for (table, form), row_ids in ids.items()
            for row_id, row_hash in chain.row_hashes(table, form, row_ids).items()
        }
    return [(link, own_hash, now.get((link.source, link.form, link.row_id))) for link, own_hash in links]


def _known(link: Link) -> bool:
    table = chained_tables.get(link.source)
    return table is not None and 1 <= link.form <= len(table.forms)


def _fault_of_link(link: Link, place: int | None) -> Fault | None:
    about: dict[str, Any] = {"position": link.position, "table": link.source, "row_id": link.row_id}
    if place is None:
        return Fault(FaultKind.LINK_CHANGED, "does not have the hash of what stands in it", **about)
    if place != link.position:
        return Fault(FaultKind.LINK_MOVED, f"stood at {place:,} when it was made", **about)
    if link.position == 1 and link.previous_hash != rules.FIRST:
        return Fault(FaultKind.LINK_CHANGED, "is not the first that was made: it follows another one", **about)
    return None


def _place(link: Link, own_hash: bytes, shift: int, *, search: bool) -> int | None:
    """Where a link fits that does not fit where it stands: moved as the last one was, or, when a search is allowed, not
    far off, or next to the one it follows or the one that follows it.
    """
    place = _fits(link, own_hash, [link.position + shift])
    if place or not search:
        return place
    near = range(max(1, link.position - NEAR), link.position + NEAR + 1)
    return _fits(link, own_hash, near) or _fits(link, own_hash, _neighbours(link, own_hash))


def _fits(link: Link, own_hash: bytes, places: Iterable[int]) -> int | None:
    return next((place for place in places if rules.link_hash(replace(link, position=place)) == own_hash), None)


def _neighbours(link: Link, own_hash: bytes) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(_NEIGHBOURS, [link.previous_hash, own_hash])
        return [1, *(row[0] for row in cursor.fetchall())]


def _gap(first: int, last: int) -> tuple[Fault, int]:
    words = "is not there" if first == last else f"and all up to {last:,} are not there"
    return Fault(FaultKind.LINK_REMOVED, words, position=first), last - first + 1


def _rewritten(step: _Step) -> Fault:
    table, row_id = step.named
    words = "was written anew: the next link follows another one"
    return Fault(FaultKind.LINK_CHANGED, words, position=step.position, table=table, row_id=row_id)


def _fault_of_row(link: Link, row_hash: bytes | None) -> Fault | None:
    about: dict[str, Any] = {"position": link.position, "table": link.source, "row_id": link.row_id}
    if not _known(link):
        return Fault(FaultKind.LINK_UNKNOWN, f"this version knows no form {link.form} of this table", **about)
    if link.row_hash is None:
        return Fault(FaultKind.ROW_REMOVED, "was removed before it was chained", **about)
    if row_hash is None:
        return Fault(FaultKind.ROW_REMOVED, "is not there any more", **about)
    if row_hash != link.row_hash:
        return Fault(FaultKind.ROW_CHANGED, "is not as it was when it was chained", **about)
    return None


# --- beside the links -----------------------------------------------------------------------------------------------


def _left_out(found: Finding, table: str) -> None:
    with connection.cursor() as cursor:
        quoted = connection.ops.quote_name(table)
        cursor.execute(_LEFT_OUT.format(table=quoted), {"source": table, "most": MOST_KEPT})
        rows = cursor.fetchall()
    for number, (row_id, count) in enumerate(rows):
        words = "has no link and does not wait for one"
        fault = Fault(FaultKind.ROW_LEFT_OUT, words, table=table, row_id=row_id)
        found.add(fault, count - len(rows) + 1 if number == 0 else 1)


def _still_there(found: Finding, head: Head) -> None:
    known = _hash_at(head.position)
    if known is None:
        end = f"{found.head.position:,}" if found.head else "nothing"
        words = f"was written down as the head and is not there: the chain ends with {end}"
        found.add(Fault(FaultKind.HEAD_CUT_OFF, words, position=head.position))
    elif known != head.hash:
        words = "has another hash than the one written down: everything up to it may be written anew"
        found.add(Fault(FaultKind.HEAD_CHANGED, words, position=head.position))


def _hash_at(position: int) -> bytes | None:
    with connection.cursor() as cursor:
        cursor.execute(_AT, [position])
        row = cursor.fetchone()
    return row[0] if row else None


def _guards(found: Finding) -> None:
    guards = [("base_auditchain", f"base_auditchain_{what}") for what in ("rows_stay", "table_stays")]
    guards += [(table, f"{table}_{what}") for table in chained_tables for what in ("rows_stay", "table_stays", "noted")]
    with connection.cursor() as cursor:
        cursor.execute(_UNGUARDED, [list(column) for column in zip(*guards, strict=True)])
        for table, name in cursor.fetchall():
            found.add(Fault(FaultKind.GUARD_OFF, f"the trigger {name} is off or not there", table=table))
