"""Texts with a code or a token: encrypted while they wait, gone once they are sent.

The keys are derived from SECRET_KEY, each for one use. After a change of SECRET_KEY what the old one has sealed is
still read while that stands in SECRET_KEY_FALLBACKS. The database wipes it when a message is accepted or over
(migration 0005), and `forget` when its time has passed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import connection

from core.delivery.models import OutboundMessage

NONCE = 12
KEY_BYTES = 64
CHUNK = 1_000
_TEXTS, _HASHES, _LINKS, _MARKS = "texts", "hashes", "links", "marks"


class CannotBeRead(Exception):
    """It was sealed with a key that is not known any more, or changed since."""


@dataclass(frozen=True)
class Content:
    """What the recipient reads. Never shown by repr: it may be a code."""

    title: str = field(repr=False)
    text: str = field(repr=False)
    html: str = field(repr=False)


def seal(message_id: uuid.UUID, content: Content) -> bytes:
    """The content encrypted for this message alone: in another row it cannot be read."""
    nonce = os.urandom(NONCE)
    plain = json.dumps([content.title, content.text, content.html]).encode()
    return nonce + AESGCM(next(_keys(_TEXTS))[:32]).encrypt(nonce, plain, message_id.bytes)


def content_of(message: OutboundMessage) -> Content:
    """What is to be sent. Raises CannotBeRead for a sealed text whose key is gone."""
    if message.sealed is None:
        return Content(message.title, message.body or "", message.html)
    sealed = bytes(message.sealed)
    for key in _keys(_TEXTS):
        try:
            plain = AESGCM(key[:32]).decrypt(sealed[:NONCE], sealed[NONCE:], message.pk.bytes)
        except InvalidTag:
            continue
        return Content(*json.loads(plain))
    raise CannotBeRead(
        "the sealed text cannot be read: SECRET_KEY was changed. Put the old one into SECRET_KEY_FALLBACKS"
    )


def keyed_hash(text: str) -> str:
    """For texts so short or regular that a plain hash could be guessed: a code has only a million."""
    return hmac.new(next(_keys(_HASHES)), text.encode(), hashlib.sha256).hexdigest()


def hide(plain: bytes, purpose: bytes) -> bytes:
    """Encrypted and signed, the same each time: for links. 16 bytes longer than `plain`."""
    return AESSIV(next(_keys(_LINKS))).encrypt(plain, [purpose])


def find(hidden: bytes, purpose: bytes) -> bytes:
    """What `hide` has hidden. Raises CannotBeRead for anything it did not make."""
    for key in _keys(_LINKS):
        try:
            return AESSIV(key).decrypt(hidden, [purpose])
        except (InvalidTag, ValueError):
            continue
    raise CannotBeRead("this was not made here")


def mark(data: bytes, size: int) -> bytes:
    """A signature of so many bytes."""
    return hmac.new(next(_keys(_MARKS)), data, hashlib.sha256).digest()[:size]


def is_marked(data: bytes, signature: bytes) -> bool:
    return any(
        hmac.compare_digest(hmac.new(key, data, hashlib.sha256).digest()[: len(signature)], signature)
        for key in _keys(_MARKS)
    )


def _keys(label: str) -> Iterator[bytes]:
    """The key in use, then those it replaced."""
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        yield _derived(str(secret), label)


@lru_cache(maxsize=64)
def _derived(secret: str, label: str) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"pms delivery {label}".encode()).derive(secret.encode())


_EXPIRE = """
UPDATE delivery_outboundmessage SET status = 'expired', due_at = NULL, ring_at = NULL,
    error = 'not sent before its time was over', updated_at = statement_timestamp()
WHERE id IN (SELECT id FROM delivery_outboundmessage WHERE sealed IS NOT NULL AND not_after < statement_timestamp()
             AND status IN ('queued', 'held') ORDER BY not_after LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
"""
_WIPE = """
UPDATE delivery_outboundmessage SET sealed = NULL, updated_at = statement_timestamp()
WHERE id IN (SELECT id FROM delivery_outboundmessage WHERE sealed IS NOT NULL AND not_after < statement_timestamp()
             AND status = 'in_doubt' ORDER BY not_after LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
"""


def forget(_worker: str = "") -> None:
    """Wipe what is sealed in messages whose time has passed; those that still waited have expired.

    What is being sent at this moment is left: its answer wipes it.
    """
    with connection.cursor() as cursor:
        for statement in (_EXPIRE, _WIPE):
            cursor.execute(statement, {"limit": CHUNK})
