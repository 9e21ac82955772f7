"""The tasks of accounts: what people are told, and what has run out. Each parses, calls one service, returns counts.

Promises: docs/background-tasks.md and domain.md 7.6, 7.8. A secret is made in the task that sends it; none is ever an
argument or a result.
"""

from __future__ import annotations

import uuid
from typing import Any

from celery import shared_task

from accounts.services import alerts, expiry, invitations, secrets, telling
from core import clock
from core.errors import InvalidInput
from core.jobs.task import LedgerTask


@shared_task(base=LedgerTask)
def send_welcome_notification(user_id: str) -> dict[str, Any]:
    """Welcome a new person by the way they prefer, who is invited with a link to choose a password. An e-mail address
    that is not confirmed gets its link too. Returns `status` ('ok', 'held', 'suppressed', 'duplicate', 'skipped' for a
    closed account) and `channel`.

    Safe to repeat: once for each person; a link is made with its message, both or neither.
    """
    return telling.welcome(user_id=_id(user_id, "a person"), now=clock.now())


@shared_task(base=LedgerTask, lane="urgent")
def send_password_reset_notification(request_id: str) -> dict[str, Any]:
    """Make and send the link by e-mail and the code by SMS of a password reset. Returns `status` and `channels`.

    Safe to repeat: what was sent is 'duplicate', what was used, replaced or has expired is 'skipped'; link and code are
    made with their messages, all or none.
    """
    return secrets.send_reset(request_id=_id(request_id, "a reset"), now=clock.now())


@shared_task(base=LedgerTask)
def notify_role_change(change_id: str) -> dict[str, Any]:
    """Tell a person their new role and place, and the admins of the level above. Returns `recipients`.

    Safe to repeat: one message for each change, person and channel.
    """
    return {"status": "ok", "recipients": telling.role_change(change_id=_id(change_id, "a change of role"))}


@shared_task(base=LedgerTask, lane="urgent")
def send_one_time_code(code_id: str) -> dict[str, Any]:
    """Make and send a code by SMS. Returns `status` and `channels`.

    Safe to repeat: what was sent is 'duplicate', what is over is 'skipped'; the secret is made with its message, both
    or neither.
    """
    return secrets.send_code(code_id=_id(code_id, "a code"), now=clock.now())


@shared_task(base=LedgerTask, lane="urgent")
def send_verification_link(token_id: str) -> dict[str, Any]:
    """Make and send the link by which an e-mail address is confirmed. Returns `status` and `channels`.

    Safe to repeat: what was sent is 'duplicate', what is over is 'skipped'; the secret is made with its message, both
    or neither.
    """
    return secrets.send_verification(token_id=_id(token_id, "a token"), now=clock.now())


@shared_task(base=LedgerTask)
def send_staff_invitation(invitation_id: str) -> dict[str, Any]:
    """Make and send the link of an invitation by e-mail. Returns `status` and `channels`.

    Safe to repeat: what was sent is 'duplicate', what is over is 'skipped'; the secret is made with its message, both
    or neither.
    """
    return invitations.send(invitation_id=_id(invitation_id, "an invitation"), now=clock.now())


@shared_task(base=LedgerTask, lane="bulk", once_at_a_time=True)
def cleanup_expired_tokens(as_of: str | None = None) -> dict[str, int | str]:
    """Expire what has run out, invitations first, and delete old tokens, codes and sessions. Returns how many of each.

    The apps above register their steps in `core.base.registries.expiry_steps`.

    Safe to repeat: it goes by time and state only, a thousand rows in a short transaction at a time.
    """
    return {"status": "ok", **expiry.cleanup(now=clock.moment(as_of))}


@shared_task(base=LedgerTask, lane="urgent")
def send_login_alert(login_id: str) -> dict[str, str]:
    """Tell a person that somebody signed in to their account from a new device or place. Returns `channels`.

    By e-mail, or by SMS to whoever has none. 'skipped' when the LoginRecord says neither new device nor new place.
    Fails for an unknown record and for one of a failed sign-in.

    Safe to repeat: the key is the id of the record.
    """
    alert = alerts.tell_of_sign_in(login_id=_id(login_id, "a sign-in"))
    if alert is None:
        return {"status": "skipped", "reason": "neither new device nor new place"}
    return {"status": "ok", "channels": ", ".join(alert.channels)}


@shared_task(base=LedgerTask, lane="urgent")
def send_mfa_alert(event_id: str) -> dict[str, str]:
    """Tell a person what became of the second factor of their account: added, off, reset, recovery code used.

    By e-mail; by SMS too unless one was added, and to whoever has no e-mail address. Returns `channels`. Fails for an
    unknown SecurityEvent and for one of another kind.

    Safe to repeat: the key is the id of the event and the channel.
    """
    alert = alerts.tell_of_second_factor(event_id=_id(event_id, "a security event"))
    return {"status": "ok", "channels": ", ".join(alert.channels)}


def _id(text: object, what: str) -> uuid.UUID:
    try:
        return uuid.UUID(str(text))
    except ValueError as error:
        raise InvalidInput(f"This task needs the id of {what}.") from error
