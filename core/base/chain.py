"""The audit chain: append-only rows are chained by hashes afterwards, so that those who write them never wait.

A trigger notes each new row in AuditPending; a sweep takes them in that order and appends a link for each to
AuditChain, with a hash over the row and over the link before. A row that commits late is chained late.
core/base/chain_check.py tells what was changed since.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from django.db import connection, transaction

from core.base import rules
from core.base.registries import Hour, chained_tables
from core.base.rules import Link

log = structlog.get_logger(__name__)

EVERY_SECONDS = 10.0
SLICE_SECONDS = 0.5  # of a sweep that has much to do: the other sweeps of the worker wait for it
BATCH = 1_000
FROZEN_SECONDS = 30.0  # a chainer that stands still for so long loses its session, and another one goes on

_WAITS = "SELECT EXISTS (SELECT FROM base_auditpending WHERE source = ANY (%s))"
# Times are hashed as they are written in UTC.
_BEGIN = """
SELECT pg_try_advisory_xact_lock(hashtext('core.base.chain')), set_config('TimeZone', 'UTC', true),
    set_config('idle_in_transaction_session_timeout', %s, true)
"""
_HEAD = "SELECT position, hash FROM base_auditchain ORDER BY position DESC LIMIT 1"
_NOW = "SELECT to_jsonb(statement_timestamp()) #>> '{}'"
# A row that has its link already is noted twice only by hand; it must not stop the others.
_TAKE = """
DELETE FROM base_auditpending WHERE number = ANY (ARRAY (
    SELECT number FROM base_auditpending WHERE source = ANY (%s) ORDER BY number LIMIT %s))
RETURNING number, source, row_id::text, EXISTS (SELECT FROM base_auditchain AS link
    WHERE link.source = base_auditpending.source AND link.row_id = base_auditpending.row_id)
"""
_APPEND = """
INSERT INTO base_auditchain (position, source, row_id, form, row_hash, previous_hash, hash, chained_at)
SELECT * FROM unnest(%s::bigint[], %s::text[], %s::uuid[], %s::smallint[], %s::bytea[], %s::bytea[], %s::bytea[],
    %s::timestamptz[])
"""
_PENDING = "SELECT count(*), min(at) FROM base_auditpending"


@dataclass(frozen=True)
class Head:
    """The end of the chain: whoever keeps it elsewhere can tell later that nothing before it was changed or cut off."""

    position: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.position}:{self.hash.hex()}"


def sweep(_worker: str = "") -> None:
    """Chain what waits, for half a second at most."""
    with connection.cursor() as cursor:
        cursor.execute(_WAITS, [list(chained_tables)])
        if not cursor.fetchone()[0]:
            return
    until = time.monotonic() + SLICE_SECONDS
    taken = rows = chain()
    while taken == BATCH and time.monotonic() < until:
        rows += (taken := chain())
    end = head()
    if rows and end:
        log.info("audit_chained", rows=rows, position=end.position, hash=end.hash.hex())


@transaction.atomic
def chain(limit: int = BATCH) -> int:
    """Append links for the rows that have waited longest. Returns how many were taken; 0 also while another one chains.

    Safe to repeat and to run many at once: taking a row from the queue and chaining it is one transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute(_BEGIN, [f"{FROZEN_SECONDS:.0f}s"])
        if not cursor.fetchone()[0]:
            return 0
        cursor.execute(_NOW)
        now: str = cursor.fetchone()[0]
        end = head()
        cursor.execute(_TAKE, [list(chained_tables), limit])
        taken = sorted(cursor.fetchall())
        noted = dict.fromkeys((table, row_id) for _, table, row_id, chained in taken if not chained)
        links = _links(end, noted, _hashes(noted), now)
        if links:
            cursor.execute(_APPEND, [list(column) for column in zip(*links, strict=True)])
    return len(taken)


Noted = tuple[str, str]


def _hashes(noted: Collection[Noted]) -> dict[Noted, bytes]:
    ids = defaultdict(list)
    for table, row_id in noted:
        ids[table].append(row_id)
    return {
        (table, row_id): row_hash
        for table, row_ids in ids.items()
        for row_id, row_hash in row_hashes(table, len(chained_tables[table].forms), row_ids).items()
    }


def _links(end: Head | None, noted: Iterable[Noted], hashes: dict[Noted, bytes], now: str) -> list[tuple[Any, ...]]:
    last, previous = (end.position, end.hash) if end else (0, rules.FIRST)
    links = []
    for position, (table, row_id) in enumerate(noted, last + 1):
        form = len(chained_tables[table].forms)
        row_hash = hashes.get((table, row_id))
        link = Link(position, table, row_id, form, row_hash, previous, now)
        following = rules.link_hash(link)
        links.append((position, table, row_id, form, row_hash, previous, following, now))
        previous = following
    return links


def row_hashes(table: str, form: int, ids: Sequence[str]) -> dict[str, bytes]:
    """What the rows of these ids hash to in this form; those that are not there are left out. The session is in UTC."""
    columns = chained_tables[table].forms[form - 1]
    quote = connection.ops.quote_name
    texts = ", ".join(f"to_jsonb({quote(column)})::text" for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id::text, {texts} FROM {quote(table)} WHERE id = ANY (%s::uuid[])", [list(ids)])  # noqa: S608
        return {
            row_id: rules.row_hash(table, form, dict(zip(columns, values, strict=True)))
            for row_id, *values in cursor.fetchall()
        }


def head() -> Head | None:
    with connection.cursor() as cursor:
        cursor.execute(_HEAD)
        row = cursor.fetchone()
    return Head(*row) if row else None


def pending() -> tuple[int, datetime | None]:
    """How many rows wait to be chained, and since when the oldest does."""
    with connection.cursor() as cursor:
        cursor.execute(_PENDING)
        count, oldest = cursor.fetchone()
    return count, oldest


def figures(_hour: Hour) -> dict[str, Any]:
    """For the metrics of an hour, which are kept for a year."""
    end = head()
    return {"audit_head": str(end) if end else None, "audit_pending": pending()[0]}
