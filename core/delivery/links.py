"""The link by which a person declines messages without signing in, and the mark by which a bounce is known.

A link holds its purpose and address encrypted: nobody can read or make one, and it does not expire.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from typing import NamedTuple

from django.conf import settings

from core.delivery import sealing
from core.delivery.rules import Channel, Purpose

PATH = "/m/"
LONGEST_TOKEN = 400
MARK_BYTES = 10
PHONE_BYTES = 5
_USE = b"opt-out"
_CHANNELS = (Channel.SMS, Channel.EMAIL)
_PURPOSES = (Purpose.SERVICE, Purpose.BULK, Purpose.REPORT)  # their order is in the links that are out: only append


class Choice(NamedTuple):
    """What a link is for."""

    channel: Channel
    address: str
    purpose: Purpose


class NotOurs(Exception):
    """This was not made here, or is cut off."""


def link(channel: Channel, address: str, purpose: Purpose) -> str:
    """The address of the page where this person declines messages of this purpose, '' when they cannot be."""
    if purpose not in _PURPOSES:
        return ""
    return f"{settings.BASE_URL.rstrip('/')}{PATH}{token(Choice(channel, address, purpose))}"


def token(choice: Choice) -> str:
    kind = bytes([_CHANNELS.index(choice.channel) * 16 + _PURPOSES.index(choice.purpose)])
    if choice.channel == Channel.SMS:
        address = int(choice.address.removeprefix("+")).to_bytes(PHONE_BYTES)
    else:
        address = choice.address.encode()
    return base64.urlsafe_b64encode(sealing.hide(kind + address, _USE)).decode().rstrip("=")


def choice(token: str) -> Choice:
    """What the token is for. Raises NotOurs."""
    try:
        if len(token) > LONGEST_TOKEN or not token.isascii():
            raise NotOurs
        plain = sealing.find(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True), _USE)
    except (binascii.Error, sealing.CannotBeRead) as error:
        raise NotOurs from error
    channel, purpose, address = _CHANNELS[plain[0] // 16], _PURPOSES[plain[0] % 16], plain[1:]
    shown = f"+{int.from_bytes(address)}" if channel == Channel.SMS else address.decode()
    return Choice(channel, shown, purpose)


# --- bounces -------------------------------------------------------------------------------------------------------


def bounce_address(message_id: uuid.UUID) -> str:
    """Where the report of an undeliverable mail is to go: it names the message, signed. '' when there is no mailbox."""
    name, at, domain = settings.EMAIL_BOUNCE_ADDRESS.rpartition("@")
    return f"{name}+{_marked(message_id)}@{domain}" if at else ""


def _marked(message_id: uuid.UUID) -> str:
    return base64.b32encode(message_id.bytes + sealing.mark(message_id.bytes, MARK_BYTES)).decode().rstrip("=").lower()


def bounced_message(mark: str) -> uuid.UUID | None:
    """The message of a bounce address's mark, or None when we have not made it. Letters may have changed their case."""
    try:
        data = base64.b32decode(mark.upper() + "=" * (-len(mark) % 8))
    except (binascii.Error, ValueError):
        return None
    if len(data) != 16 + MARK_BYTES or not sealing.is_marked(data[:16], data[16:]):
        return None
    return uuid.UUID(bytes=data[:16])
