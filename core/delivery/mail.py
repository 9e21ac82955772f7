"""E-MAIL as it is read: plain text always, our own mails also as a page of one base template.

The page is made when the mail is sent, so that a million mails are not stored as a million pages. HTML that a caller of
`send_email_async` gives goes out as it was given.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from django.conf import settings
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

from core.delivery import links, sealing
from core.delivery.gateways.smtp import Enclosure, Mail
from core.delivery.models import Attachment, OutboundMessage
from core.delivery.rules import Channel, Purpose
from core.errors import InvalidInput

NAME = "YEA Poultry Management System"
LARGEST_FILES = 10 * 1024 * 1024
LONGEST_NAME = 150
TAKES_PART = "you take part in the poultry programme of the Youth Employment Agency"
WHY: dict[Purpose, str] = {
    Purpose.OTP: "You get this e-mail because somebody asked for a code for your account.",
    Purpose.SECURITY: "You get this e-mail because it is about the safety of your account.",
    Purpose.SERVICE: f"You get this e-mail because {TAKES_PART}.",
    Purpose.ADMIN: "You get this e-mail because you help to run the system.",
    Purpose.BULK: f"You get this e-mail because {TAKES_PART}.",
    Purpose.REPORT: "You get this e-mail because you receive reports of the poultry programme.",
}
STOP = "To get no more of these e-mails:"
PREHEADER = 120
BUTTON = (
    "display:inline-block;padding:12px 20px;border-radius:6px;background:#0b5c3b;color:#ffffff;font-weight:600;"
    "text-decoration:none"
)
SMALL = "margin:0 0 16px;font-size:14px;color:#55605a"
_URL = re.compile(r"https?://[^\s<>\"]+[^\s<>\".,;:!?)\]}']")
_TYPE = re.compile(r"(?!multipart/|message/)[a-z]+/[a-z0-9][a-z0-9.+-]{0,80}")


@dataclass(frozen=True)
class File:
    """A file to go with an e-mail."""

    name: str
    content_type: str
    content: bytes = field(repr=False)


def outgoing(message: OutboundMessage) -> Mail:
    """The mail of an e-mail message. Raises CannotBeRead for a sealed text whose key is gone."""
    content = sealing.content_of(message)
    stop = links.link(Channel.EMAIL, message.recipient, Purpose(message.purpose))
    text, html = content.text, content.html
    if message.template:
        why = WHY[Purpose(message.purpose)]
        html = page(content.title, text, inside=html, why=why, stop=stop)
        text = signed(text, why=why, stop=stop)
    return Mail(
        message.recipient,
        content.title,
        text,
        html,
        str(message.pk),
        message.created_at,
        stop=stop,
        bounces_to=links.bounce_address(message.pk),
        files=tuple(
            Enclosure(file.name, file.content_type, bytes(file.content))
            for file in message.attachments.order_by("created_at", "name")
        ),
    )


def signed(text: str, *, why: str, stop: str) -> str:
    """The text with who sent it, why, and how to get no more."""
    lines = [f"{NAME}, {settings.BASE_URL}", why, *([f"{STOP} {stop}"] if stop else [])]
    return f"{text.rstrip()}\n\n-- \n" + "\n".join(lines) + "\n"


def page(title: str, text: str, *, inside: str = "", why: str, stop: str) -> str:
    """The mail as HTML: `inside`, else the text as paragraphs."""
    return render_to_string(
        "core/mail/base.html",
        {
            "title": title,
            "preheader": " ".join(text.split())[:PREHEADER],
            "inside": mark_safe(inside) if inside else paragraphs(text),  # noqa: S308 - values were escaped when filled in
            "name": NAME,
            "site": settings.BASE_URL,
            "why": why,
            "stop": stop,
        },
    )


def paragraphs(text: str) -> SafeString:
    """Plain text as HTML: a blank line ends a paragraph, an address that is one alone becomes a button."""
    blocks = re.split(r"\n\s*\n", text.strip())
    return mark_safe("\n".join(_block(block) for block in blocks if block))  # noqa: S308 - every piece is escaped


def _block(block: str) -> str:
    link = _URL.fullmatch(block.strip())
    if link:
        address = escape(link[0])
        return (
            f'<p style="margin:0 0 20px"><a class="button" href="{address}" style="{BUTTON}">Open the page</a></p>'
            f'<p class="soft" style="{SMALL}">Or copy this address: {_linked(link[0])}</p>'
        )
    *lines, last = (_linked(line) for line in block.splitlines())
    return "\n".join(
        [*(f'<p style="margin:0 0 8px">{line}</p>' for line in lines), f'<p style="margin:0 0 16px">{last}</p>']
    )


def _linked(line: str) -> str:
    parts, end = [], 0
    for match in _URL.finditer(line):
        address = escape(match[0])
        parts += [escape(line[end : match.start()]), f'<a href="{address}" style="color:#0b5c3b">{address}</a>']
        end = match.end()
    return "".join([*parts, escape(line[end:])])


def checked_files(files: Sequence[File]) -> list[Attachment]:
    """The files as rows without their message. Raises InvalidInput for a name, type or size that cannot go."""
    if sum(len(file.content) for file in files) > LARGEST_FILES:
        raise InvalidInput("The files are larger than 10 MB together, which mail servers refuse. Send a link instead.")
    rows = []
    for file in files:
        name = unicodedata.normalize("NFC", file.name.strip())
        if not 0 < len(name) <= LONGEST_NAME or name.startswith(".") or re.search(r"[/\\:<>|?*\"]", name):
            raise InvalidInput(
                f"The file name {name[:40]!r} cannot be used: letters, digits, spaces and a point, as in eggs.pdf."
            )
        if not name.isprintable():
            raise InvalidInput("A file name holds a character that cannot be seen. Use letters, digits and a point.")
        if not _TYPE.fullmatch(file.content_type):
            raise InvalidInput(f"{name}: the type {file.content_type[:40]!r} is none, such as application/pdf.")
        digest = hashlib.sha256(file.content).hexdigest()
        rows.append(Attachment(name=name, content_type=file.content_type, content=file.content, content_hash=digest))
    return rows
