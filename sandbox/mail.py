"""The mailbox: an SMTP server that keeps every recipient's copy. AUTH is taken but not needed."""

import asyncio
import logging
import re
import sqlite3
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message as Mail
from email.parser import BytesParser
from email.policy import compat32
from uuid import uuid4

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from sandbox.faults import WRONG_SECRET, FaultBoard, Faults
from sandbox.store import Message, Store, now

log = logging.getLogger("sandbox.mail")

SIZE_LIMIT = 32 * 1024 * 1024
FOLD = re.compile(r"\r?\n(?=[ \t])")


@dataclass(frozen=True, slots=True)
class Letter:
    """What a person reads of a mail."""

    sender: str
    subject: str
    message_id: str | None
    text: str
    html: str


def read_letter(content: bytes) -> Letter:
    """Any bytes give a letter: what cannot be decoded shows replacement characters, as in mail programs."""
    mail = BytesParser(policy=compat32).parsebytes(content)
    shown = [part for part in mail.walk() if not part.is_multipart() and part.get_content_disposition() != "attachment"]
    return Letter(
        sender=_header(mail, "from"),
        subject=_header(mail, "subject"),
        message_id=_header(mail, "message-id") or None,
        text="\n".join(_body(part) for part in shown if part.get_content_type() == "text/plain"),
        html="\n".join(_body(part) for part in shown if part.get_content_type() == "text/html"),
    )


def _header(mail: Mail, name: str) -> str:
    """The first header of that name, decoded (RFC 2047), or as raw UTF-8 (RFC 6532)."""
    values = [str(value) for key, value in mail.raw_items() if key.lower() == name]
    if not values:
        return ""
    raw = FOLD.sub("", values[0]).encode("utf-8", "surrogateescape").decode("utf-8", "replace").strip()
    try:
        return _storable(str(make_header(decode_header(raw))))
    except (HeaderParseError, LookupError, ValueError):
        return raw


def _body(part: Mail) -> str:
    payload = part.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    try:
        text = content.decode(str(part.get_content_charset("utf-8")), "replace")
    except (LookupError, ValueError):
        text = content.decode("utf-8", "replace")
    return _storable(text).replace("\r\n", "\n")


def _storable(text: str) -> str:
    """Without lone surrogates, which no database takes."""
    return text.encode("utf-8", "replace").decode()


def _mask(address: str) -> str:
    name, _, domain = address.rpartition("@")
    return f"{name[:1]}***@{domain}"


class Mailbox:
    """The SMTP server."""

    def __init__(self, store: Store, board: FaultBoard) -> None:
        self._store, self._board = store, board

    async def start(self, host: str, port: int) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            lambda: SMTP(
                _Postman(self._store, self._board),
                loop=loop,
                hostname="sandbox",
                ident="SMTP sandbox",
                data_size_limit=SIZE_LIMIT,
                enable_SMTPUTF8=True,
                auth_require_tls=False,
                authenticator=_authenticate,
            ),
            host,
            port,
            backlog=1024,
        )


class _Postman:
    """One connection: the hooks that aiosmtpd calls. 250 after DATA means that the mail is stored."""

    def __init__(self, store: Store, board: FaultBoard) -> None:
        self._store, self._board = store, board
        self._faults = Faults()

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """One fate for the whole mail."""
        self._faults = self._board.draw("smtp")
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        faults = self._faults
        if faults.smtp_error:
            self._board.hits["smtp_error"] += 1
            log.info("mail to %s %d", _mask(_storable(address)), faults.smtp_error)
            return f"{faults.smtp_error} refused (sandbox fault)"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        faults = self._faults
        if faults.smtp_drop_before_accept:
            self._board.hits["smtp_drop_before_accept"] += 1
            await _drop(server)
        letter = read_letter(envelope.original_content or b"")
        self._store.add([_message(letter, envelope.mail_from or "", to) for to in envelope.rcpt_tos])
        log.info("mail to %s stored", ", ".join(_mask(_storable(to)) for to in envelope.rcpt_tos[:3]))
        if faults.smtp_drop_after_data:
            self._board.hits["smtp_drop_after_data"] += 1
            await _drop(server)
        if faults.smtp_delay_ms:
            self._board.hits["smtp_delay_ms"] += 1
            await asyncio.sleep(faults.smtp_delay_ms / 1000)
        return "250 OK: stored"

    async def handle_exception(self, error: Exception) -> str:
        """Of one connection; the server goes on."""
        if isinstance(error, sqlite3.Error):
            log.error("mail cannot be stored: %s", error)
            return "451 the sandbox cannot store the mail"
        log.warning("SMTP command refused: %r", error)
        return f"500 {type(error).__name__}"


def _message(letter: Letter, envelope_from: str, recipient: str) -> Message:
    received = now()
    return Message(
        id=str(uuid4()),
        kind="email",
        recipient=_storable(recipient),
        sender=letter.sender or _storable(envelope_from),
        subject=letter.subject,
        text=letter.text,
        html=letter.html,
        message_id=letter.message_id,
        received_at=received,
        settled_at=received,
    )


def _authenticate(
    _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, pair: LoginPassword
) -> AuthResult:
    return AuthResult(success=pair.password != WRONG_SECRET.encode(), handled=False)


async def _drop(server: SMTP) -> None:
    """Close the connection and wait: aiosmtpd cancels its task, and so this one, when the connection is gone."""
    if isinstance(server.transport, asyncio.Transport):
        server.transport.abort()
    await asyncio.get_running_loop().create_future()
