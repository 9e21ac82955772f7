"""Primary keys: UUID version 7 where the runtime has it, else 4. No code depends on which (domain.md 1.2)."""

from __future__ import annotations

import uuid

_make = getattr(uuid, "uuid7", uuid.uuid4)


def new_id() -> uuid.UUID:
    made: uuid.UUID = _make()
    return made


_TIME = "(SELECT lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7')"


def in_sql(key: str) -> str:
    """SQL of an id for each row that a statement writes; `key` is SQL of a text that no other row of it has.

    Of version 7, which keeps an index small: the time, then chance. Both are read once a statement, since asking the
    system for chance costs more than the rest of a row.
    """
    chance = f"encode(sha256(convert_to({key} || (SELECT gen_random_uuid()::text), 'UTF8')), 'hex')"
    return f"({_TIME} || substr({chance}, 14, 19))::uuid"
