"""Writing messages. Nothing else in the house sends: a message is a row in the caller's transaction first.

`queue_sms` and `queue_email` are for services; `send_sms_now` and `send_emails_now` stand behind the documented tasks.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models.functions import Now

from core import clock, phones, sms_text
from core.base.ids import new_id
from core.base.registries import Severity
from core.delivery import consent, dispatch, rules, sealing, templates
from core.delivery.mail import File, checked_files
from core.delivery.models import Attachment, Notification, OutboundMessage
from core.delivery.rules import Channel, Purpose, Status
from core.delivery.sealing import Content
from core.delivery.templates import InForce, Written
from core.delivery.windows import opening
from core.delivery.wording import ENGLISH, Template
from core.errors import DomainError, InvalidInput, NotFound
from core.jobs.services import task_named

LONGEST_TITLE = 200
LONGEST_KEY = 200
LONGEST_ADDRESS = 254
MOST_HINTS = 500  # of one call; the rest is found by the dispatch sweep
EMAIL_PREFERRED, SMS_PREFERRED = "EMAIL", "SMS"
# A text of the documented tasks that holds a code: nobody has said so, since they take any text.
_CODE_WORD = re.compile(r"\b(?:code|pin|otp|password|passcode|token)\b", re.IGNORECASE)
_CODE = re.compile(r"(?<![\d.,])\d{4,8}(?![\d.,]\d|\d)")
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


@dataclass(frozen=True)
class Addressee:
    """Whom a message is for, with an account or without. `prefers` is EMAIL, SMS, WHATSAPP or PHONE."""

    phone: str = ""
    email: str = ""
    language: str = ENGLISH
    prefers: str = SMS_PREFERRED
    user_id: uuid.UUID | None = None


@dataclass(frozen=True)
class Told:
    """The messages of one addressee. `no_contact`: there is no usable address; `noticed`: told in the application."""

    messages: tuple[OutboundMessage, ...]
    noticed: bool
    no_contact: bool


@dataclass(frozen=True)
class Telling:
    """One message to be written: `once` is its key without the channel."""

    to: Addressee
    values: Mapping[str, object]
    once: str
    subject: tuple[str, str] = ("", "")
    not_after: datetime | None = None


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
    secret: bool = False,
    hint: bool = True,
) -> OutboundMessage:
    """Write one SMS in the caller's transaction and have it sent after the commit.

    A second call with the same `key` returns the message of the first and sends nothing. What its recipient has
    declined is written as `suppressed`, with the reason. `secret`: the text holds a code or token and is stored
    encrypted until it is sent; without `not_after` it is good for ten minutes when its purpose is otp (which is always
    secret), else for a day. `hint=False` leaves telling a worker to the caller, who delivers at once. Raises
    InvalidInput when the number is not a Ghanaian mobile or the text is empty or too long; then nothing was written.
    """
    body, parts = checked_sms(text)
    row = _row(
        channel=Channel.SMS,
        recipient=phones.normalise(phone),
        content=Content("", body, ""),
        parts=parts,
        purpose=purpose,
        key=key,
        any_hour=any_hour,
        not_before=not_before,
        not_after=not_after,
        subject=subject,
        user_id=user_id,
        template=template,
        secret=secret,
    )
    return _write([row], hint=hint)[0]


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
    secret: bool = False,
    files: Sequence[File] = (),
    hint: bool = True,
) -> OutboundMessage:
    """Write one e-mail in the caller's transaction and have it sent after the commit. As `queue_sms`.

    An address that cannot be one gives a message that is `suppressed` with the reason, and is not sent. With
    `template`, the name of what is told, it goes out as a page of the base template, of which `html` is the inside;
    without, `html` goes out as it is. `files` are at most 10 MB in all.
    """
    recipient, problem = checked_address(address)
    attachments = checked_files(files)
    if attachments and (secret or purpose == Purpose.OTP):
        raise InvalidInput("A secret e-mail takes no files, which are stored in clear. Send a link to them.")
    row = _row(
        channel=Channel.EMAIL,
        recipient=recipient,
        content=Content(checked_title(title), checked_text(text, "The e-mail's text"), html),
        purpose=purpose,
        key=key,
        any_hour=True,
        not_before=not_before,
        not_after=not_after,
        subject=subject,
        user_id=user_id,
        template=template,
        secret=secret,
        problem=problem,
    )
    return _write([row], hint=hint, attachments=attachments)[0]


def addressee(user_id: uuid.UUID) -> Addressee:
    """A person with an account. Raises NotFound."""
    user = get_user_model().objects.filter(pk=user_id).first()
    if user is None:
        raise NotFound(f"There is no person {user_id}.")
    return addressee_of(user)


def addressee_of(user: Any) -> Addressee:
    """A person with an account whose row has been read."""
    return Addressee(user.phone, user.email, user.language, user.preferred_contact_method, user.pk)


def queue_templated(
    template: str,
    *,
    to: Addressee,
    values: Mapping[str, object],
    once: str,
    subject: tuple[str, str] = ("", ""),
    not_after: datetime | None = None,
    serious: bool = False,
) -> Told:
    """Tell one person what a template says, in their language and by the channels of its purpose (domain.md 4.6.3).

    `once` says what is told: a second call with it sends nothing. `serious` adds an SMS to a security or admin e-mail.
    A person with an account is told in the application too, unless the text is secret. Raises NotFound for an unknown
    template and InvalidInput for values that do not fit it; then nothing was written.
    """
    return queue_templated_all(template, [Telling(to, values, once, subject, not_after)], serious=serious)[0]


def is_told(once: str) -> bool:
    """Whether a message was written with this `once`, by whatever channel."""
    keys = [f"{once}:{channel}" for channel in Channel]
    return OutboundMessage.objects.filter(idempotency_key__in=keys).exists()


@transaction.atomic
def queue_templated_all(template: str, tellings: Sequence[Telling], *, serious: bool = False) -> list[Told]:
    """As `queue_templated` for many people, in a fixed number of statements."""
    found = templates.in_force(template, {telling.to.language for telling in tellings})
    policy = templates.plain_letters()
    now = clock.now()
    purpose = templates.named(template).purpose
    leaves = {channel: opening(purpose, channel, now, any_hour=channel == Channel.EMAIL) for channel in Channel}
    rows: list[OutboundMessage] = []
    notices: dict[int, Notification] = {}
    mine: list[list[int]] = []
    for number, telling in enumerate(tellings):
        words = found[telling.to.language]
        written = templates.fill(words, telling.values, plain_letters=policy)
        places = []
        for channel, recipient in _ways(words.template, telling.to, serious=serious).items():
            places.append(len(rows))
            rows.append(templated(words, written, telling, channel, recipient, leaves[channel]))
        mine.append(places)
        if telling.to.user_id and not words.template.secret:
            notices[number] = notice(words, written, telling, telling.to.user_id)
    stored = _write(rows, hint=True)
    Notification.objects.bulk_create(notices.values(), ignore_conflicts=True)
    return [
        Told(tuple(stored[place] for place in places), number in notices, no_contact=not places)
        for number, places in enumerate(mine)
    ]


def _ways(template: Template, to: Addressee, *, serious: bool) -> dict[Channel, str]:
    """By which channels a person is told, each with the address in its stored form; none when none is usable."""

    def sms() -> dict[Channel, str]:
        number = _usable(to.phone) if template.sms else ""
        return {Channel.SMS: number} if number else {}

    def email() -> dict[Channel, str]:
        address, problem = checked_address(to.email)
        return {} if problem else {Channel.EMAIL: address}

    if template.purpose in (Purpose.OTP, Purpose.BULK):
        return sms()
    if template.purpose == Purpose.REPORT:
        return email()
    if template.purpose in (Purpose.SECURITY, Purpose.ADMIN):
        return email() | sms() if serious else email() or sms()
    if to.user_id is None:
        return sms() | email()
    return email() or sms() if to.prefers == EMAIL_PREFERRED else sms() or email()


def _usable(phone: str) -> str:
    try:
        return phones.normalise(phone)
    except InvalidInput:
        return ""


def templated(
    found: InForce, written: Written, telling: Telling, channel: Channel, recipient: str, leaves: datetime
) -> OutboundMessage:
    """A message that is not written yet. Raises InvalidInput when it is too long for its channel."""
    template, to = found.template, telling.to
    if channel == Channel.SMS:
        text, parts = checked_sms(written.sms)
        content = Content("", text, "")
    else:
        text, parts = checked_text(written.text, "The e-mail's text"), 1
        content = Content(checked_title(written.title), text, written.html)
    row = _row(
        channel=channel,
        recipient=recipient,
        content=content,
        parts=parts,
        purpose=template.purpose,
        key=f"{telling.once}:{channel}",
        any_hour=channel == Channel.EMAIL,
        not_before=None,
        not_after=telling.not_after,
        subject=telling.subject,
        user_id=to.user_id,
        template=template.key,
        secret=template.secret,
        leaves=leaves,
    )
    row.language, row.template_version = found.language, found.version
    return row


def notice(found: InForce, written: Written, telling: Telling, user_id: uuid.UUID) -> Notification:
    return Notification(
        user_id=user_id,
        kind=found.template.key[:50],
        severity=Severity.INFO.value,
        title=written.title,
        text=written.text,
        subject_type=telling.subject[0],
        subject_id=telling.subject[1],
        idempotency_key=telling.once,
        created_at=Now(),
    )


def _row(
    *,
    channel: Channel,
    recipient: str,
    content: Content,
    purpose: Purpose,
    key: str,
    any_hour: bool,
    not_before: datetime | None,
    not_after: datetime | None,
    subject: tuple[str, str],
    user_id: uuid.UUID | None,
    template: str,
    secret: bool,
    parts: int = 1,
    problem: str = "",
    leaves: datetime | None = None,
) -> OutboundMessage:
    """A message that is not written yet. `leaves` saves asking for the sending window again."""
    checked_key(key)
    secret = secret or purpose == Purpose.OTP
    if secret and purpose == Purpose.BULK:
        raise InvalidInput("A text with a code or token does not go to many. Send it to each, with another purpose.")
    now = clock.now()
    leaves = leaves or opening(purpose, channel, max(now, not_before or now), any_hour=any_hour)
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
        title="" if secret else content.title,
        body=None if secret else content.text,
        html="" if secret else content.html,
        body_hash=sealing.keyed_hash(content.text) if secret else hashed(content.text),
        parts=parts,
        any_hour=any_hour,
        user_id=user_id,
        subject_type=subject[0],
        subject_id=subject[1],
        template=template,
        not_before=not_before,
        not_after=not_after or (now + rules.secret_life(purpose) if secret else None),
        status=waits.value,
        due_at=due_at,
        ring_at=ring_at,
        created_at=Now(),
        request_id=str(structlog.contextvars.get_contextvars().get("request_id", ""))[:64],
    )
    if secret:
        message.sealed = sealing.seal(message.pk, content)
    if problem:
        _suppress(message, problem)
    return message


def _suppress(message: OutboundMessage, problem: str) -> None:
    message.status, message.error = Status.SUPPRESSED.value, problem
    message.due_at = message.ring_at = message.sealed = None


def _write(
    rows: Sequence[OutboundMessage], *, hint: bool, attachments: Sequence[Attachment] = ()
) -> list[OutboundMessage]:
    """Write these messages and return what is stored under their keys, in their order."""
    findings = consent.look([row for row in rows if row.status != Status.SUPPRESSED])
    for row in rows:
        finding = findings.get(row.pk, consent.NOTHING)
        row.bypassed = finding.bypassed
        if finding.problem:
            _suppress(row, finding.problem)
    OutboundMessage.objects.bulk_create(rows, ignore_conflicts=True)
    found = OutboundMessage.objects.in_bulk([row.idempotency_key for row in rows], field_name="idempotency_key")
    stored = [found[row.idempotency_key] for row in rows]
    written = [message for message, row in zip(stored, rows, strict=True) if message.pk == row.pk]
    if attachments and written:
        for attachment in attachments:
            attachment.message = written[0]
        Attachment.objects.bulk_create(attachments)
    if hint:
        # told to a worker on commit; if Redis does not hear it, the dispatch sweep finds the row
        for message in [message for message in written if message.status == Status.QUEUED][:MOST_HINTS]:
            task_named("core.tasks.deliver_message").apply_async((str(message.pk),), queue=message.lane)
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


def holds_a_code(text: object) -> bool:
    """Whether a text seems to hold a code or password, and so is better kept sealed."""
    return isinstance(text, str) and bool(_CODE_WORD.search(text) and _CODE.search(text))


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# --- behind the documented tasks -----------------------------------------------------------------------------------


def send_sms_now(*, phone: str, text: str, key: str, purpose: str | None) -> dict[str, str]:
    """Write one SMS and make its first attempt at once; what is then open is left to the outbox (domain.md 7.2).

    Without a purpose it is a service message sent at any hour. Repeating it with the same key never sends again.
    """
    kind = checked_purpose(purpose) if purpose is not None else Purpose.SERVICE
    message = queue_sms(
        phone,
        text,
        purpose=kind,
        key=f"sms:{key}",
        any_hour=purpose is None,
        secret=kind != Purpose.BULK and holds_a_code(text),
        hint=False,
    )
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
                secret=holds_a_code(text),
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
