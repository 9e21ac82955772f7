"""Writing messages. Nothing else in the house sends: a message is a row in the caller's transaction first.

`queue_sms` and `queue_email` are for services; `send_sms_now` and `send_emails_now` stand behind the documented tasks.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models.functions import Now

from core import clock, phones, sms_text
from core.base.ids import new_id
from core.delivery import dispatch, rules
from core.delivery.models import OutboundMessage
from core.delivery.rules import Channel, Purpose, Status
from core.delivery.windows import opening
from core.errors import DomainError, InvalidInput
from core.jobs.services import task_named

LONGEST_TITLE = 200
LONGEST_KEY = 200
LONGEST_ADDRESS = 254
_ENCODED_WORD = re.compile(r"=\?.*\?=")  # RFC 2047: mail programs read it as something else, line breaks included
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class MessageRefused(DomainError):
    """The provider refused the message for good. The row says why."""

    status = 422


class AnswerInDoubt(DomainError):
    """The request went out and the answer was lost. The message is not sent again without proof."""

    status = 502


class GatewayNotConfigured(DomainError):
    """No provider can be used. The message waits in the outbox and leaves by itself once that is put right."""

    status = 503


def queue_sms(
    phone: str,
    text: str,
    *,
    purpose: Purpose,
    key: str,
    any_hour: bool = False,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    subject: tuple[str, str] = ("", ""),
    user_id: uuid.UUID | None = None,
    template: str = "",
    hint: bool = True,
) -> OutboundMessage:
    """Write one SMS in the caller's transaction and have it sent after the commit.

    A second call with the same `key` returns the message of the first and sends nothing. `hint=False` leaves telling a
    worker to the caller, who delivers at once. Raises InvalidInput when the
    number is not a Ghanaian mobile or the text is empty or too long; then nothing was written.
    """
    body, parts = checked_sms(text)
    return _queue(
        channel=Channel.SMS,
        recipient=phones.normalise(phone),
        body=body,
        parts=parts,
        purpose=purpose,
        key=key,
        any_hour=any_hour,
        not_before=not_before,
        not_after=not_after,
        subject=subject,
        user_id=user_id,
        template=template,
        hint=hint,
    )


def queue_email(
    address: str,
    title: str,
    text: str,
    *,
    purpose: Purpose,
    key: str,
    html: str = "",
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    subject: tuple[str, str] = ("", ""),
    user_id: uuid.UUID | None = None,
    template: str = "",
    hint: bool = True,
) -> OutboundMessage:
    """Write one e-mail in the caller's transaction and have it sent after the commit. As `queue_sms`.

    An address that cannot be one gives a message that is `suppressed` with the reason, and is not sent.
    """
    recipient, problem = checked_address(address)
    return _queue(
        channel=Channel.EMAIL,
        recipient=recipient,
        title=checked_title(title),
        body=checked_text(text, "The e-mail's text"),
        html=html,
        purpose=purpose,
        key=key,
        any_hour=True,
        not_before=not_before,
        not_after=not_after,
        subject=subject,
        user_id=user_id,
        template=template,
        problem=problem,
        hint=hint,
    )


def _queue(
    *,
    channel: Channel,
    recipient: str,
    body: str,
    purpose: Purpose,
    key: str,
    any_hour: bool,
    not_before: datetime | None,
    not_after: datetime | None,
    subject: tuple[str, str],
    user_id: uuid.UUID | None,
    template: str,
    hint: bool,
    title: str = "",
    html: str = "",
    parts: int = 1,
    problem: str = "",
) -> OutboundMessage:
    checked_key(key)
    now = clock.now()
    leaves = opening(purpose, channel, max(now, not_before or now), any_hour=any_hour)
    waits = Status.HELD if leaves > now else Status.QUEUED
    soon = timedelta(seconds=rules.LOOK_AGAIN_SECONDS)
    # what may leave at once is due by the database's clock, which decides
    due_at, ring_at = (leaves, leaves) if leaves > now else (Now(), Now() + soon)
    message = OutboundMessage(
        id=new_id(),
        idempotency_key=key,
        channel=channel.value,
        purpose=purpose.value,
        lane=rules.lane(purpose, channel),
        recipient=recipient,
        title=title,
        body=body,
        html=html,
        body_hash=hashed(body),
        parts=parts,
        any_hour=any_hour,
        user_id=user_id,
        subject_type=subject[0],
        subject_id=subject[1],
        template=template,
        not_before=not_before,
        not_after=not_after,
        status=(Status.SUPPRESSED if problem else waits).value,
        error=problem,
        due_at=None if problem else due_at,
        ring_at=None if problem else ring_at,
        created_at=Now(),
        request_id=str(structlog.contextvars.get_contextvars().get("request_id", ""))[:64],
    )
    OutboundMessage.objects.bulk_create([message], ignore_conflicts=True)
    stored = OutboundMessage.objects.get(idempotency_key=key)
    if hint and stored.pk == message.pk and stored.status == Status.QUEUED:
        # told to a worker on commit; if Redis does not hear it, the dispatch sweep finds the row
        task_named("core.tasks.deliver_message").apply_async((str(stored.pk),), queue=stored.lane)
    return stored


# --- checks at the door --------------------------------------------------------------------------------------------


def checked_key(key: str) -> None:
    if not key or len(key) > LONGEST_KEY or _UNSTORABLE.search(key):
        raise InvalidInput(
            f"A message needs a key (a reference) of 1 to {LONGEST_KEY} whole characters, unique to what it tells."
        )


def checked_text(text: object, what: str) -> str:
    if not isinstance(text, str):
        raise InvalidInput(f"{what} must be text, not {type(text).__name__}.")
    if not text.strip():
        raise InvalidInput(f"{what} is empty. Write what the recipient is to read.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{what} contains half of a character. Send whole Unicode characters.") from error
    if "\x00" in text:
        raise InvalidInput(f"{what} contains a NUL character. Remove it.")
    return text


def checked_sms(text: object) -> tuple[str, int]:
    """The text as it will be sent and the number of SMS it costs. Raises InvalidInput when it is empty or too long."""
    body = sms_text.prepare(checked_text(text, "The SMS text"))
    size = sms_text.measure(body)
    if size.parts > settings.SMS_MAX_PARTS:
        raise InvalidInput(
            f"The SMS text takes {size.parts} parts ({size.units} units, {size.encoding}); at most"
            f" {settings.SMS_MAX_PARTS} are sent. Shorten it."
        )
    return body, size.parts


def checked_title(title: object) -> str:
    text = checked_text(title, "The e-mail's subject")
    if text.splitlines() != [text]:  # every sign that a mail program may take for the end of a header
        raise InvalidInput("The e-mail's subject has a line break. Write it on one line.")
    if _ENCODED_WORD.search(text):
        raise InvalidInput(
            "The e-mail's subject has the signs of an encoded word (=?...?=). Write it in plain letters."
        )
    if len(text) > LONGEST_TITLE:
        raise InvalidInput(f"The e-mail's subject is longer than {LONGEST_TITLE} characters. Shorten it.")
    return text


def checked_address(address: object) -> tuple[str, str]:
    """The address in lower case as it is stored, and what is wrong with it ('' when nothing is).

    What cannot be stored is replaced by signs that no address has, so it never turns into somebody else's.
    """
    if not isinstance(address, str):
        raise InvalidInput(f"An e-mail address must be text, not {type(address).__name__}.")
    stored = _UNSTORABLE.sub("\ufffd", address.strip().lower())
    if len(stored) > LONGEST_ADDRESS:
        stored = f"{stored[: LONGEST_ADDRESS - 1]}…"
    if not stored.isascii():
        return stored, "not an e-mail address of plain letters"
    try:
        validate_email(stored)
    except ValidationError:
        return stored, "not an e-mail address"
    return stored, ""


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# --- behind the documented tasks -----------------------------------------------------------------------------------


def send_sms_now(*, phone: str, text: str, key: str, purpose: str | None) -> dict[str, str]:
    """Write one SMS and make its first attempt at once; what is then open is left to the outbox (domain.md 7.2).

    Without a purpose it is a service message sent at any hour. Repeating it with the same key never sends again.
    """
    kind = checked_purpose(purpose) if purpose is not None else Purpose.SERVICE
    message = queue_sms(phone, text, purpose=kind, key=f"sms:{key}", any_hour=purpose is None, hint=False)
    dispatch.deliver(message.pk)
    message.refresh_from_db()
    return {"status": told(message), "message_id": str(message.pk)}


def send_emails_now(*, title: str, text: str, addresses: object, html: str | None, key: str) -> dict[str, Any]:
    """Write one e-mail per address and make each one's first attempt. Counts: accepted, queued, suppressed.

    Raises MessageRefused after all of them when any address was finally refused.
    """
    if isinstance(addresses, str) or not isinstance(addresses, Iterable):
        raise InvalidInput("recipient_list must be a list of e-mail addresses, such as ['farmer@example.com'].")
    listed = list(dict.fromkeys(checked_address(address)[0] for address in addresses))
    if not listed:
        raise InvalidInput("recipient_list is empty. Name at least one e-mail address.")
    checked_html = "" if html is None else checked_text(html, "The e-mail's HTML") if html else ""
    with transaction.atomic():
        messages = [
            queue_email(
                address,
                title,
                text,
                html=checked_html,
                purpose=Purpose.SERVICE,
                key=f"email:{key}:{hashed(address)[:32]}",
                hint=False,
            )
            for address in listed
        ]
    counts = Counter({"accepted": 0, "queued": 0, "suppressed": 0})
    problems: list[DomainError] = []
    for message in messages:
        dispatch.deliver(message.pk)
        message.refresh_from_db()
        try:
            state = told(message)
        except DomainError as problem:
            problems.append(problem)
        else:
            counts["accepted" if state == "ok" else state] += 1
    if problems:
        raise type(problems[0])(f"{len(problems)} of {len(messages)} e-mails: {problems[0]}")
    status = "ok" if counts["accepted"] else "queued" if counts["queued"] else "suppressed"
    return {"status": status, **counts}


def told(message: OutboundMessage) -> str:
    """What a caller is told of a message: 'ok' (accepted), 'queued', 'held' or 'suppressed'. Raises what it must."""
    status = Status(message.status)
    if status in (Status.REJECTED, Status.EXPIRED, Status.DEAD):
        raise MessageRefused(f"Message {message.pk} was not sent: {message.error or status}.")
    if status == Status.IN_DOUBT:
        raise AnswerInDoubt(f"Message {message.pk} may or may not have arrived: {message.error}. It is not sent again.")
    if status == Status.QUEUED and not dispatch.gateway(message).configured():
        raise GatewayNotConfigured(f"Message {message.pk} waits in the outbox: {message.error}.")
    waiting = {
        Status.QUEUED: "queued",
        Status.CLAIMED: "queued",
        Status.SUBMITTING: "queued",
        Status.HELD: "held",
        Status.SUPPRESSED: "suppressed",
    }
    return waiting.get(status, "ok")


def checked_purpose(purpose: str) -> Purpose:
    try:
        return Purpose(str(purpose).strip().lower())
    except ValueError as error:
        known = ", ".join(p.value for p in Purpose)
        raise InvalidInput(f"There is no purpose {purpose!r}. Use one of: {known}.") from error
