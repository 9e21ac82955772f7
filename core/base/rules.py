"""The sums of the audit chain: what is hashed, and in which form. Whoever has a row and its link can do them again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

FIRST = bytes(32)  # what stands before the first link

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True)
class Link:
    """A link without its own hash. `row_hash` None: the row was gone before it was chained."""

    position: int
    source: str
    row_id: str
    form: int
    row_hash: bytes | None
    previous_hash: bytes
    chained_at: str  # in UTC, as PostgreSQL writes a time in JSON


def canonical_row(table: str, form: int, columns: Mapping[str, str | None]) -> str:
    """A row as one JSON text: the columns in the order of their names, each with the JSON that PostgreSQL's jsonb has
    for it, and left out where it is NULL. So numbers keep all their digits, and JSON's null is not NULL.
    """
    row = ",".join(f"{json.dumps(name)}:{value}" for name, value in sorted(columns.items()) if value is not None)
    return f'{{"columns":{{{row}}},"form":{form},"table":{json.dumps(table)}}}'


def row_hash(table: str, form: int, columns: Mapping[str, str | None]) -> bytes:
    return sha256(canonical_row(table, form, columns).encode()).digest()


def link_hash(link: Link) -> bytes:
    """Over everything in the link, the previous link's hash included."""
    parts = {
        "chained_at": link.chained_at,
        "form": link.form,
        "position": link.position,
        "previous_hash": link.previous_hash.hex(),
        "row_hash": link.row_hash.hex() if link.row_hash is not None else None,
        "row_id": link.row_id,
        "source": link.source,
    }
    return sha256(_encode(parts).encode()).digest()
