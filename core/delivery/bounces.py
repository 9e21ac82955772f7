"""BOUNCES: mails that come back, and complaints, read from the mailbox of EMAIL_BOUNCE_ADDRESS.

Anybody can write to that mailbox, so a report counts only when it carries the signed mark of a message of ours
(core/delivery/links.py), and it changes nothing but that message and its own address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from enum import StrEnum

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from core.base.ids import new_id
from core.delivery import consent, links
from core.delivery.gateways.smtp import DEAD_ADDRESS
from core.delivery.models import DeliveryReceipt, OutboundMessage, Suppression
from core.delivery.rules import Channel, ReceiptSource, Status, SuppressionReason
from core.redact import redact

LARGEST = 1024 * 1024  # of a mail that is read; a report has what counts at its beginning
LONGEST_RAW = 2_000
KEPT = ("Reporting-MTA", "Remote-MTA", "Action", "Status", "Diagnostic-Code", "Feedback-Type", "Final-Recipient")
_CODE = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


class Read(StrEnum):
    """What became of one mail of the mailbox."""

    UNDELIVERED = "undelivered"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    COMPLAINT = "complaint"
    REPEATED = "repeated"  # the same was reported before
    NOT_OURS = "not_ours"  # no mark of ours, or of a message that is not there
    NO_REPORT = "no_report"  # an answer from a person or a machine on holiday


@dataclass(frozen=True)
class Report:
    """What a report says: `code` as in RFC 3463, such as 5.1.1, '' when it says none."""

    kind: Read
    code: str
    raw: str


def read(mail: bytes) -> Read:
    """Take in one mail. Safe to repeat: the same report changes nothing twice."""
    message = _message_of(mail[:LARGEST])
    if message is None:
        return Read.NOT_OURS
    report = parse(mail[:LARGEST])
    if report is None:
        return Read.NO_REPORT
    return report.kind if _store(message, report) else Read.REPEATED


def parse(mail: bytes) -> Report | None:
    """The report in a mail (RFC 3464, RFC 5965), None when there is none."""
    fields = list(_fields(BytesParser(policy=compat32).parsebytes(mail)))
    raw = redact("\n".join(f"{name}: {_one_line(each[name])}" for each in fields for name in KEPT if name in each))
    raw = raw.replace("\0", "").encode(errors="replace").decode()[:LONGEST_RAW]
    if any(_one_line(each["Feedback-Type"]).lower() in ("abuse", "not-spam") for each in fields):
        abuse = any(_one_line(each["Feedback-Type"]).lower() == "abuse" for each in fields)
        return Report(Read.COMPLAINT, "", raw) if abuse else None
    kinds = {"failed": Read.UNDELIVERED, "delayed": Read.DELAYED, "delivered": Read.DELIVERED}
    for action, kind in kinds.items():  # the worst that is told counts
        for each in fields:
            if _one_line(each["Action"]).lower() == action:
                code = _CODE.match(_one_line(each["Status"]))
                return Report(kind, code[0] if code else "", raw)
    return None


def _fields(mail: Message) -> Iterator[Message]:
    """The blocks of fields of the mail's reports."""
    if mail.get_content_type() != "multipart/report":
        return
    for part in mail.walk():
        if part.get_content_type() in ("message/delivery-status", "message/feedback-report"):
            blocks = part.get_payload()
            yield from (block for block in blocks if isinstance(block, Message)) if isinstance(blocks, list) else ()


def _one_line(value: object) -> str:
    return " ".join(str(value or "").split())


def _message_of(mail: bytes) -> OutboundMessage | None:
    """The message whose signed mark stands in the mail: in an address of its head or in the head it brings back."""
    name, at, domain = settings.EMAIL_BOUNCE_ADDRESS.rpartition("@")
    if not at:
        return None
    marks = re.findall(rb"(?i)%s\+([a-z2-7]{42})@%s" % (re.escape(name.encode()), re.escape(domain.encode())), mail)
    for mark in dict.fromkeys(marks):
        message_id = links.bounced_message(mark.decode())
        if message_id:
            return OutboundMessage.objects.filter(pk=message_id, channel=Channel.EMAIL).first()
    return None


_UPDATE = """
UPDATE delivery_outboundmessage SET status = %s, error = %s, outcome_at = statement_timestamp(), receipt_due_at = NULL,
    updated_at = statement_timestamp()
WHERE id = %s AND status IN ('accepted', 'in_doubt')
"""


@transaction.atomic
def _store(message: OutboundMessage, report: Report) -> bool:
    """Write the receipt and what follows from it. False when it was there already."""
    status = _status(report)
    row = DeliveryReceipt(
        id=new_id(),
        provider="smtp",
        provider_id=message.provider_id or str(message.pk),
        status_text=f"{report.kind} {report.code}".strip(),
        status=status.value if status else "",
        source=ReceiptSource.BOUNCE.value,
        raw=report.raw,
        message=message,
        received_at=Now(),
    )
    DeliveryReceipt.objects.bulk_create([row], ignore_conflicts=True)
    if not DeliveryReceipt.objects.filter(pk=row.pk).exists():
        return False
    if status:
        with connection.cursor() as cursor:
            why = "" if status == Status.DELIVERED else f"came back: {report.code or 'no code'}"
            cursor.execute(_UPDATE, [status.value, why, message.pk])
    reason = _suppressed(report)
    if reason and message.recipient:
        consent.note(
            [
                Suppression(
                    channel=Channel.EMAIL.value,
                    address=message.recipient,
                    reason=reason.value,
                    detail=row.status_text,
                    message=message,
                    at=Now(),
                )
            ]
        )
    return True


def _status(report: Report) -> Status | None:
    """What the report makes of its message; None when it says nothing of the outcome."""
    if report.kind == Read.DELIVERED:
        return Status.DELIVERED
    if report.kind != Read.UNDELIVERED:
        return None
    return Status.UNDELIVERED_TEMPORARY if report.code.startswith("4") else Status.UNDELIVERED_PERMANENT


def _suppressed(report: Report) -> SuppressionReason | None:
    """Whether the address takes no mail any more. A full mailbox or a policy may be over tomorrow."""
    if report.kind == Read.COMPLAINT:
        return SuppressionReason.COMPLAINED
    dead = report.kind == Read.UNDELIVERED and DEAD_ADDRESS.fullmatch(report.code)
    return SuppressionReason.BOUNCED if dead else None
