"""E-mail by SMTP. `250` after the text is acceptance; a connection lost after DATA began leaves the answer in doubt."""

from __future__ import annotations

import re
import smtplib
import ssl
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, parseaddr

from django.conf import settings

from core.delivery.gateways import Answer
from core.delivery.rules import Fault, SuppressionReason, Verdict

_TEMPORARY = range(400, 500)
_FINAL = range(500, 600)
_GO_AHEAD = 354
_NO_MAILBOX = 550
_ENHANCED = re.compile(rb"\s*([245]\.\d{1,3}\.\d{1,3})\b")  # RFC 3463
# Addresses that do not exist or are switched off; a full mailbox or a policy may be over tomorrow.
DEAD_ADDRESS = re.compile(r"5\.1\.(?:1|2|3|6|10)|5\.2\.1")


@dataclass(frozen=True)
class Enclosure:
    """A file that goes with a mail."""

    name: str
    content_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Mail:
    """One mail to one address. `stop` is the link to get no more of them, `bounces_to` the envelope's sender."""

    recipient: str = field(repr=False)
    title: str = field(repr=False)
    text: str = field(repr=False)
    html: str = field(repr=False)
    reference: str
    written_at: datetime
    stop: str = field(default="", repr=False)
    bounces_to: str = ""
    files: tuple[Enclosure, ...] = ()


class Smtp:
    name = "smtp"

    def configured(self) -> bool:
        return bool(settings.EMAIL_HOST and settings.DEFAULT_FROM_EMAIL)

    def send(self, mail: Mail) -> Answer:
        """One mail to one address. The Message-ID is made of our own id, so a doubled mail can be told."""
        try:
            message = compose(mail)
            content = _dotted(message.as_bytes(policy=SMTP_POLICY))
            mail.recipient.encode("ascii")
        except ValueError as error:
            return Answer(
                Verdict.REFUSED, reason=f"SMTP: subject or address cannot be written ({type(error).__name__})"
            )
        try:
            connection = self._connect()
        except smtplib.SMTPAuthenticationError as error:
            return _answer(Verdict.NOT_CONFIGURED, "wrong credentials. Check EMAIL_HOST_USER", error.smtp_code)
        except (smtplib.SMTPException, ssl.SSLError, OSError) as error:
            reason = f"SMTP: not reached ({type(error).__name__})"
            return Answer(Verdict.PROVIDER_AWAY, reason=reason, fault=Fault.UNREACHABLE)
        try:
            return self._hand_over(connection, mail, str(message["Message-ID"]), content)
        finally:
            connection.close()

    def _connect(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if settings.EMAIL_USE_SSL:
            connection: smtplib.SMTP = smtplib.SMTP_SSL(
                settings.EMAIL_HOST, settings.EMAIL_PORT, timeout=settings.EMAIL_TIMEOUT, context=context
            )
        else:
            connection = smtplib.SMTP(settings.EMAIL_HOST, settings.EMAIL_PORT, timeout=settings.EMAIL_TIMEOUT)
        try:
            if settings.EMAIL_USE_TLS and not settings.EMAIL_USE_SSL:
                connection.starttls(context=context)
            if settings.EMAIL_HOST_USER:
                connection.login(settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD)
            connection.ehlo_or_helo_if_needed()
        except BaseException:
            connection.close()
            raise
        return connection

    def _hand_over(  # noqa: PLR0911 - one return per answer of the dialogue, in its order
        self, connection: smtplib.SMTP, mail: Mail, message_id: str, content: bytes
    ) -> Answer:
        data_began = False
        try:
            code, _ = connection.mail(mail.bounces_to or parseaddr(settings.DEFAULT_FROM_EMAIL)[1])
            if not _accepted(code):
                verdict = _refusal(code)
                if verdict == Verdict.REFUSED:
                    verdict = Verdict.NOT_CONFIGURED  # it is our sender that is refused
                name = "EMAIL_BOUNCE_ADDRESS" if mail.bounces_to else "DEFAULT_FROM_EMAIL"
                return _answer(verdict, f"sender not accepted. Check {name}", code)
            code, words = connection.rcpt(mail.recipient)
            if not _accepted(code):
                return replace(
                    _answer(_refusal(code), "recipient not accepted", code), suppress=_suppressed(code, words)
                )
            code, _ = connection.docmd("DATA")
            if code != _GO_AHEAD:
                return _answer(_refusal(code), "message not accepted", code)
            data_began = True
            connection.send(content + b".\r\n")
            code, _ = connection.getreply()
            if not _accepted(code):
                return _answer(_refusal(code, otherwise=Verdict.IN_DOUBT), "message not accepted", code)
        except (smtplib.SMTPException, OSError) as error:
            kind = type(error).__name__
            if data_began:
                reason = f"SMTP: the mail went out, the answer was lost ({kind})"
                return Answer(Verdict.IN_DOUBT, reason=reason, fault=Fault.NO_ANSWER)
            reason = f"SMTP: connection lost before the mail went out ({kind})"
            return Answer(Verdict.PROVIDER_AWAY, reason=reason, fault=Fault.UNREACHABLE)
        return Answer(Verdict.ACCEPTED, provider_id=message_id, body_status=str(code))


def compose(mail: Mail) -> EmailMessage:
    """The mail as it goes out: text always, HTML as the alternative. ValueError when a header cannot be written."""
    message = EmailMessage()
    message["From"] = settings.DEFAULT_FROM_EMAIL
    message["To"] = mail.recipient
    message["Subject"] = mail.title
    if len(str(message["Subject"]).splitlines()) > 1:
        raise ValueError("a line break in the subject")  # hidden in an encoded word, which the library decodes
    message["Date"] = format_datetime(mail.written_at)
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
    message["Message-ID"] = f"<{mail.reference}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    if mail.stop:  # RFC 2369 and 8058: mail programs show a button of their own
        message["List-Unsubscribe"] = f"<{mail.stop}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(mail.text)
    if mail.html:
        message.add_alternative(mail.html, subtype="html")
    for file in mail.files:
        main, _, sub = file.content_type.partition("/")
        message.add_attachment(file.content, maintype=main, subtype=sub, filename=file.name)
    return message


def _accepted(code: int) -> bool:
    return 200 <= code < 300  # noqa: PLR2004 - SMTP's own classes


def _refusal(code: int, otherwise: Verdict = Verdict.PROVIDER_AWAY) -> Verdict:
    """4xx: later. 5xx: never. What is no answer to a mail at all leaves open what became of it."""
    return Verdict.TRY_LATER if code in _TEMPORARY else Verdict.REFUSED if code in _FINAL else otherwise


def _suppressed(code: int, words: bytes) -> SuppressionReason | None:
    """Whether a refused recipient is one that does not exist: by the enhanced code, else by 550."""
    enhanced = _ENHANCED.match(words)
    dead = bool(DEAD_ADDRESS.fullmatch(enhanced[1].decode())) if enhanced else code == _NO_MAILBOX
    return SuppressionReason.BOUNCED if dead else None


def _answer(verdict: Verdict, reason: str, code: int) -> Answer:
    fault = Fault.CREDENTIALS if verdict == Verdict.NOT_CONFIGURED else None
    return Answer(verdict, reason=f"SMTP: {reason} ({code})", body_status=str(code), fault=fault)


def _dotted(content: bytes) -> bytes:
    """RFC 5321 4.5.2: a line that begins with a dot gets another one."""
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    return re.sub(rb"(?m)^\.", b"..", content)
