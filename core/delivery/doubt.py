"""IN DOUBT: the request went out and its answer was lost. Who decides what became of it, and when.

The evidence is the attempt (what was sent when, and how the call ended) and what the provider says of a batch or an id
that we know (core/delivery/receipts.py asks). Without proof nothing is sent again, but by the rule of its purpose: a
code that is still good, once, after 20 s. Whatever else stays in doubt waits for a person, and after 72 hours its
outcome is unknown. It is never handed to another provider.
"""

from __future__ import annotations

import uuid

import structlog
from django.db import connection, transaction

from core.base.services import record
from core.delivery import events, rules
from core.delivery.models import OutboundMessage
from core.delivery.rules import Channel, Purpose, Status
from core.errors import Conflict, NotFound
from core.jobs.operations import Actor, check_reason
from core.jobs.selectors import database_time

log = structlog.get_logger(__name__)

EVERY_SECONDS = 10.0
AT_ONCE = 1_000
SENT_AGAIN = "in doubt, and sent once more: the rule for codes"
OVER = "in doubt for 72 hours, without proof"
RESENDING = [purpose.value for purpose in Purpose if rules.resends(purpose)]

_LOOK = """
SELECT
  EXISTS (SELECT 1 FROM delivery_outboundmessage WHERE status = 'in_doubt' AND purpose = ANY (%s) AND NOT resent
          AND updated_at > statement_timestamp() - make_interval(secs => %s)),
  EXISTS (SELECT 1 FROM delivery_outboundmessage WHERE status = 'in_doubt'
          AND updated_at < statement_timestamp() - make_interval(secs => %s))
"""

# The time counts from the call: a worker that was killed has kept the code waiting long enough.
_SEND_AGAIN = """
UPDATE delivery_outboundmessage SET status = 'queued', resent = true, receipt_due_at = NULL, error = %s,
    due_at = statement_timestamp(), ring_at = statement_timestamp(), updated_at = statement_timestamp()
WHERE id IN (
    SELECT message.id FROM delivery_outboundmessage AS message
    JOIN delivery_deliveryattempt AS attempt ON attempt.id = message.last_attempt_id
    WHERE message.status = 'in_doubt' AND message.purpose = ANY (%s) AND NOT message.resent
      AND message.updated_at > statement_timestamp() - make_interval(secs => %s)
      AND attempt.started_at BETWEEN statement_timestamp() - make_interval(secs => %s)
          AND statement_timestamp() - make_interval(secs => %s)
      AND (message.not_after IS NULL OR message.not_after > statement_timestamp())
      AND (message.sealed IS NOT NULL OR message.body IS NOT NULL) AND message.recipient <> ''
      AND message.provider_id = '' AND attempt.batch_id = ''
    LIMIT %s FOR NO KEY UPDATE OF message SKIP LOCKED)
"""

_GIVE_UP = """
UPDATE delivery_outboundmessage SET status = 'outcome_unknown', receipt_due_at = NULL, error = %s,
    outcome_at = statement_timestamp(), updated_at = statement_timestamp()
WHERE id IN (
    SELECT id FROM delivery_outboundmessage
    WHERE status = 'in_doubt' AND updated_at < statement_timestamp() - make_interval(secs => %s)
    ORDER BY updated_at LIMIT %s FOR NO KEY UPDATE SKIP LOCKED)
"""


def sweep(_worker: str = "") -> None:
    """Follow the rules that need nobody: codes go once more, what is old becomes unknown."""
    with connection.cursor() as cursor:
        cursor.execute(_LOOK, [RESENDING, rules.RESEND_WITHIN_SECONDS, rules.DOUBT_SECONDS])
        fresh, old = cursor.fetchone()
        if fresh:
            within, after = rules.RESEND_WITHIN_SECONDS, rules.RESEND_AFTER_SECONDS
            cursor.execute(_SEND_AGAIN, [SENT_AGAIN, RESENDING, within, within, after, AT_ONCE])
            if cursor.rowcount:
                log.warning("codes_sent_again", messages=cursor.rowcount)
        if old:
            cursor.execute(_GIVE_UP, [OVER, rules.DOUBT_SECONDS, AT_ONCE])
            if cursor.rowcount:
                log.error("outcome_unknown", messages=cursor.rowcount)


# --- what a person decides -----------------------------------------------------------------------------------------


@transaction.atomic
def resolve(message_id: uuid.UUID, *, sent: bool, actor: Actor, reason: str) -> OutboundMessage:
    """A person has found out what became of a message in doubt: it was sent, or it was not and goes again.

    Raises NotFound, InvalidInput without a reason, and Conflict when it is not in doubt or can not be sent again; then
    nothing was written. Of two people at once one is refused.
    """
    why = check_reason(reason)
    message = _locked(message_id)
    if message.status != Status.IN_DOUBT:
        raise Conflict(f"Message {message.pk} is not in doubt: it is {message.status}.")
    if sent:
        look = rules.first_look(Channel(message.channel), message.provider_id or _batch(message))
        ends = rules.DOUBT_SECONDS if message.channel == Channel.SMS else None
        _decide(message, Status.ACCEPTED, f"a person says it was sent: {why}", actor, look_in=look or ends)
    else:
        _send_again(message, f"a person says it was not sent: {why}", actor)
    _audit(message, "message.resolved", Status.IN_DOUBT, actor, why)
    return message


@transaction.atomic
def resend(message_id: uuid.UUID, *, actor: Actor, reason: str) -> OutboundMessage:
    """Give a dead message its tries once more. Raises as `resolve`, for a message that is not dead."""
    why = check_reason(reason)
    message = _locked(message_id)
    if message.status != Status.DEAD:
        hint = " Use resolve: whether it was sent must be known first." if message.status == Status.IN_DOUBT else ""
        raise Conflict(f"Message {message.pk} is not dead: it is {message.status}.{hint}")
    _send_again(message, f"sent again by a person: {why}", actor)
    _audit(message, "message.resent", Status.DEAD, actor, why)
    return message


def _locked(message_id: uuid.UUID) -> OutboundMessage:
    message = (
        OutboundMessage.objects.select_for_update(of=("self",), no_key=True)
        .select_related("last_attempt")
        .filter(pk=message_id)
        .first()
    )
    if message is None:
        raise NotFound(f"There is no message {message_id}.")
    return message


def _batch(message: OutboundMessage) -> str:
    return message.last_attempt.batch_id if message.last_attempt else ""


def _send_again(message: OutboundMessage, why: str, actor: Actor) -> None:
    now = database_time()
    if not message.recipient or (message.body is None and message.sealed is None):
        raise Conflict(
            f"Message {message.pk} can not be sent again: its recipient or its text is no longer kept. Write a new one."
        )
    if message.not_after and message.not_after <= now:
        raise Conflict(f"Message {message.pk} can not be sent again: its time was over. Write a new one.")
    _decide(message, Status.QUEUED, why, actor)


def _decide(message: OutboundMessage, status: Status, why: str, actor: Actor, look_in: float | None = None) -> None:
    again = status == Status.QUEUED
    with events.by(actor.user_id, actor.name), connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE delivery_outboundmessage SET status = %(status)s, error = %(why)s,
                updated_at = statement_timestamp(),
                attempts = CASE WHEN status = 'dead' THEN 0 ELSE attempts END,
                due_at = CASE WHEN %(again)s THEN statement_timestamp() END,
                ring_at = CASE WHEN %(again)s THEN statement_timestamp() END,
                provider_id = CASE WHEN %(again)s THEN '' ELSE provider_id END,
                accepted_at = CASE WHEN %(again)s THEN NULL ELSE statement_timestamp() END,
                receipt_due_at = statement_timestamp() + make_interval(secs => %(look_in)s)
            WHERE id = %(id)s
            """,
            {"status": str(status), "why": why[:500], "again": again, "look_in": look_in, "id": message.pk},
        )
    message.refresh_from_db()


def _audit(message: OutboundMessage, action: str, before: Status, actor: Actor, reason: str) -> None:
    record(
        action=action,
        subject=("message", str(message.pk)),
        actor_id=actor.user_id,
        actor_name=actor.name,
        before={"status": str(before)},
        after={"status": message.status},
        reason=reason,
    )
