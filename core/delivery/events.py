"""Who changes a message. The database writes the event itself (migration 0004); a person's name comes from here."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

_NAMED = "SELECT set_config('pms.actor_id', %s, true), set_config('pms.actor_name', %s, true)"
_WHO = """
SELECT coalesce(current_setting('pms.actor_id', true), ''), coalesce(current_setting('pms.actor_name', true), '')
"""


@contextmanager
def by(actor_id: uuid.UUID | None = None, actor_name: str = "") -> Iterator[None]:
    """The events of the changes inside say that this person made them. One transaction, or part of the caller's.

    Nothing of it stays behind: not after the block, not when it fails, and not on the connection.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_WHO)
        before = cursor.fetchone()
        cursor.execute(_NAMED, [str(actor_id or ""), actor_name[:200]])
        yield
        cursor.execute(_NAMED, before)
