"""Primary keys: UUID version 7 where the runtime has it, else 4. No code depends on which (domain.md 1.2)."""

from __future__ import annotations

import uuid

_make = getattr(uuid, "uuid7", uuid.uuid4)


def new_id() -> uuid.UUID:
    made: uuid.UUID = _make()
    return made
