"""What the state of a campaign means for its messages: held while it is paused, suppressed once it is cancelled.

Whoever pauses locks the campaign's row; picking, writing and the steps here hold it in share meanwhile. So when a pause
has committed, nothing leaves any more but the calls that had begun.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from django.db import connection, transaction

from core import clock
from core.delivery.models import OutboundMessage
from core.delivery.rules import Channel, Purpose
from core.delivery.windows import opening

PAUSED = "campaign paused"
CANCELLED = "campaign cancelled"
CLOSED = "outside the sending window"
UNTIL_RESUMED = datetime(2200, 1, 1, tzinfo=UTC)  # `due_at` of what waits for a person, out of every sweep's sight
CHUNK = 2_000

_GATE = """
WITH campaign AS MATERIALIZED (
    SELECT id, status FROM delivery_campaign WHERE id = ANY (%(campaigns)s) ORDER BY id FOR KEY SHARE
)
UPDATE delivery_outboundmessage AS message SET
    status = CASE campaign.status WHEN 'paused' THEN 'held' ELSE 'suppressed' END,
    error = CASE campaign.status WHEN 'paused' THEN %(paused)s ELSE %(cancelled)s END,
    due_at = CASE campaign.status WHEN 'paused' THEN %(never)s END,
    ring_at = CASE campaign.status WHEN 'paused' THEN %(never)s END,
    updated_at = statement_timestamp()
FROM campaign
WHERE message.id = ANY (%(messages)s) AND message.campaign_id = campaign.id
  AND campaign.status IN ('paused', 'cancelled')
RETURNING message.id
"""


def stopped(messages: Sequence[OutboundMessage]) -> set[uuid.UUID]:
    """Which of these picked messages may not leave because of their campaign: they are held or suppressed here, in the
    caller's transaction. One statement, and none for messages without a campaign.
    """
    theirs = [message for message in messages if message.campaign_id]
    if not theirs:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            _GATE,
            {
                "campaigns": list({message.campaign_id for message in theirs}),
                "messages": [message.pk for message in theirs],
                "paused": PAUSED,
                "cancelled": CANCELLED,
                "never": UNTIL_RESUMED,
            },
        )
        return {row[0] for row in cursor.fetchall()}


# Those that wait, by the index of waiting messages. What is locked is being picked: the gate sees to it.
_WAITING = """
WITH campaign AS MATERIALIZED (
    SELECT id FROM delivery_campaign WHERE id = %(campaign)s AND status = %(state)s FOR KEY SHARE
), waiting AS (
    SELECT id FROM delivery_outboundmessage
    WHERE lane = 'bulk' AND channel = 'sms' AND status IN ('queued', 'held') AND {which}
      AND campaign_id = (SELECT id FROM campaign)
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE delivery_outboundmessage AS message SET {change}, updated_at = statement_timestamp()
FROM waiting WHERE message.id = waiting.id
"""
_HOLD = _WAITING.format(
    which="due_at < %(never)s", change="status = 'held', error = %(why)s, due_at = %(never)s, ring_at = %(never)s"
)
_RELEASE = _WAITING.format(
    which="due_at = %(never)s",
    change="status = CASE WHEN %(opens)s::timestamptz IS NULL THEN 'queued' ELSE 'held' END, error = %(why)s,"
    " due_at = COALESCE(%(opens)s, statement_timestamp()), ring_at = COALESCE(%(opens)s, statement_timestamp())",
)
_SUPPRESS = _WAITING.format(
    which="due_at IS NOT NULL", change="status = 'suppressed', error = %(why)s, due_at = NULL, ring_at = NULL"
)


def hold_some(campaign_id: uuid.UUID, limit: int = CHUNK) -> int:
    """Hold the next waiting messages of a paused campaign. Returns how many; 0 also when it is not paused."""
    return _some(_HOLD, campaign_id, "paused", PAUSED, limit)


def release_some(campaign_id: uuid.UUID, limit: int = CHUNK) -> int:
    """Let go the next messages that a pause has held; while the sending window is closed they wait for it."""
    now = clock.now()
    opens = opening(Purpose.BULK, Channel.SMS, now)
    closed = opens > now
    return _some(_RELEASE, campaign_id, "running", CLOSED if closed else "", limit, opens=opens if closed else None)


def suppress_some(campaign_id: uuid.UUID, limit: int = CHUNK) -> int:
    """Suppress the next waiting messages of a cancelled campaign."""
    return _some(_SUPPRESS, campaign_id, "cancelled", CANCELLED, limit)


def _some(sql: str, campaign_id: uuid.UUID, state: str, why: str, limit: int, opens: datetime | None = None) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            sql,
            {
                "campaign": campaign_id,
                "state": state,
                "why": why,
                "never": UNTIL_RESUMED,
                "limit": limit,
                "opens": opens,
            },
        )
        return int(cursor.rowcount)
