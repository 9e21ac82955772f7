"""Mails that come back: what a signed report changes, and that nothing else does."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.db.models.functions import Now
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from core.delivery import bounces, links
from core.delivery.bounces import Read
from core.delivery.models import DeliveryReceipt, OutboundMessage, Suppression
from core.delivery.rules import Status
from tests.delivery.outbox import again, an_email

pytestmark = pytest.mark.django_db(transaction=True)

# As Postfix writes it (RFC 3464), and a complaint as in RFC 5965.
DSN = """Return-Path: <>
From: MAILER-DAEMON@mx.example (Mail Delivery System)
To: {to}
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b1"

--b1
Content-Type: text/plain

I'm sorry to have to inform you that your message could not be delivered to ama@example.com.

--b1
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example
Arrival-Date: Sun, 22 Nov 2026 08:30:00 +0000

Final-Recipient: rfc822; ama@example.com
Action: {action}
Status: {code}
Remote-MTA: dns; mail.example.com
Diagnostic-Code: smtp; 550 5.1.1 <ama@example.com>: user unknown, call 0244123456

--b1
Content-Type: text/rfc822-headers

From: YEA <no-reply@yea.example>
Subject: Report

--b1--
"""
COMPLAINT = """From: abuse@mailprovider.example
To: {to}
Subject: Complaint
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b1"

--b1
Content-Type: text/plain

This is an abuse report.

--b1
Content-Type: message/feedback-report

Feedback-Type: {kind}
User-Agent: Provider/1.0
Version: 1

--b1
Content-Type: message/rfc822

Return-Path: <{inside}>
From: YEA <no-reply@yea.example>
Subject: Report

Hello
--b1--
"""


@pytest.fixture(autouse=True)
def mailbox(settings: LazySettings) -> None:
    settings.EMAIL_BOUNCE_ADDRESS = "bounces@mail.example"


def accepted(status: str = "accepted", **about: Any) -> OutboundMessage:
    message = an_email(**about)
    row = OutboundMessage.objects.filter(pk=message.pk)
    row.update(status="submitting", due_at=None, ring_at=None, lease_until=Now())
    row.update(status=status, lease_until=None, provider_id=f"<{message.pk}@yea.example>")
    return again(message)


def dsn(message: OutboundMessage, action: str = "failed", code: str = "5.1.1", to: str = "") -> bytes:
    return DSN.format(to=to or links.bounce_address(message.pk), action=action, code=code).encode()


def left(message: OutboundMessage) -> tuple[str, list[str]]:
    return again(message).status, list(Suppression.objects.values_list("reason", flat=True))


# --- what a report means -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "code", "read", "status", "suppressed"),
    [
        ("failed", "5.1.1", Read.UNDELIVERED, "undelivered_permanent", ["bounced"]),
        ("failed", "5.1.10", Read.UNDELIVERED, "undelivered_permanent", ["bounced"]),
        ("failed", "5.2.1", Read.UNDELIVERED, "undelivered_permanent", ["bounced"]),
        ("failed", "5.2.2", Read.UNDELIVERED, "undelivered_permanent", []),
        ("failed", "5.7.1", Read.UNDELIVERED, "undelivered_permanent", []),
        ("failed", "4.4.7", Read.UNDELIVERED, "undelivered_temporary", []),
        ("FAILED", "5.1.1", Read.UNDELIVERED, "undelivered_permanent", ["bounced"]),
        ("failed", "nonsense", Read.UNDELIVERED, "undelivered_permanent", []),
        ("delayed", "4.4.1", Read.DELAYED, "accepted", []),
        ("delivered", "2.0.0", Read.DELIVERED, "delivered", []),
        ("relayed", "2.0.0", Read.NO_REPORT, "accepted", []),
    ],
)
def test_a_signed_report_settles_its_message(
    action: str, code: str, read: Read, status: str, suppressed: list[str]
) -> None:
    message, other = accepted(), accepted()
    assert bounces.read(dsn(message, action, code)) == read
    assert left(message) == (status, suppressed)
    assert again(other).status == Status.ACCEPTED
    if read != Read.NO_REPORT:
        receipt = DeliveryReceipt.objects.get()
        assert (receipt.source, receipt.message_id, receipt.provider) == ("bounce", message.pk, "smtp")
        assert receipt.status == ("" if status == "accepted" else status)
        assert (again(message).outcome_at is None) == (status == "accepted")


def test_a_report_is_kept_without_addresses_or_what_was_written() -> None:
    message = accepted()
    bounces.read(dsn(message))
    raw = DeliveryReceipt.objects.get().raw
    assert "Status: 5.1.1" in raw
    assert "ama@" not in raw
    assert "0244123456" not in raw
    assert "Report" not in raw.replace("Reporting-MTA", "")


def test_after_a_bounce_the_address_gets_nothing_more() -> None:
    bounces.read(dsn(accepted()))
    assert an_email(key="next").status == Status.SUPPRESSED


def test_the_same_report_twice_changes_nothing_more() -> None:
    message = accepted()
    assert [bounces.read(dsn(message)) for _ in range(2)] == [Read.UNDELIVERED, Read.REPEATED]
    assert DeliveryReceipt.objects.count() == Suppression.objects.count() == 1


def test_a_report_for_one_in_doubt_is_proof_that_it_was_sent() -> None:
    message = accepted("in_doubt")
    bounces.read(dsn(message, code="4.4.7"))
    assert again(message).status == "undelivered_temporary"


def test_final_is_final_and_the_late_report_is_kept() -> None:
    message = accepted()
    bounces.read(dsn(message, "delivered", "2.0.0"))
    assert bounces.read(dsn(message, "failed", "4.4.7")) == Read.UNDELIVERED
    assert again(message).status == "delivered"
    assert DeliveryReceipt.objects.count() == 2


def test_a_complaint_suppresses_the_address_and_leaves_the_message() -> None:
    message = accepted()
    mark = links.bounce_address(message.pk)
    mail = COMPLAINT.format(to="abuse@yea.example", kind="abuse", inside=mark).encode()
    assert bounces.read(mail) == Read.COMPLAINT
    assert left(message) == ("accepted", ["complained"])
    other = accepted(address="kofi@example.com")
    mark = links.bounce_address(other.pk)
    assert bounces.read(COMPLAINT.format(to=mark, kind="not-spam", inside=mark).encode()) == Read.NO_REPORT


def test_a_message_without_its_recipient_any_more_is_settled_all_the_same() -> None:
    message = accepted()
    OutboundMessage.objects.filter(pk=message.pk).update(recipient="", body=None)
    bounces.read(dsn(message))
    assert left(message) == ("undelivered_permanent", [])


# --- what is not ours ----------------------------------------------------------------------------------------------


def forged(message: OutboundMessage) -> list[str]:
    good = links.bounce_address(message.pk)
    name = good.partition("@")[0]
    mark = name.partition("+")[2]
    flipped = ("a" if mark[-2] != "a" else "b") + mark[-1]
    return [
        "bounces@mail.example",
        f"bounces+{message.pk.hex}@mail.example",
        f"bounces+{mark[:-2]}{flipped}@mail.example",
        f"bounces+{'a' * 42}@mail.example",
        f"bounces+{mark[:-1]}@mail.example",
        f"other+{mark}@mail.example",
        f"bounces+{mark}@evil.example",
    ]


def test_what_is_not_signed_by_us_changes_nothing() -> None:
    message = accepted()
    for to in forged(message):
        assert bounces.read(dsn(message, to=to)) == Read.NOT_OURS, to
    assert left(message) == ("accepted", [])
    assert not DeliveryReceipt.objects.exists()


def test_a_mark_made_with_another_key_changes_nothing(settings: LazySettings) -> None:
    message = accepted()
    mail = dsn(message)
    old, settings.SECRET_KEY = settings.SECRET_KEY, "another-secret-key-" + "x" * 40
    assert bounces.read(mail) == Read.NOT_OURS
    settings.SECRET_KEY_FALLBACKS = [old]
    assert bounces.read(mail) == Read.UNDELIVERED


def test_an_answer_from_a_person_or_of_a_holiday_is_no_report() -> None:
    message = accepted()
    to = links.bounce_address(message.pk)
    for text in (
        f"To: {to}\nSubject: Out of office\nAuto-Submitted: auto-replied\n\nI am away. Status: 5.1.1 Action: failed\n",
        f"To: {to}\nContent-Type: text/plain\n\nAction: failed\nStatus: 5.1.1\n",
        f"To: {to}\nContent-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n--b--",
    ):
        assert bounces.read(text.encode()) == Read.NO_REPORT
    assert left(message) == ("accepted", [])


@effort(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=600), st.integers(0, 1_200))
def test_no_junk_stops_the_reading(junk: bytes, place: int) -> None:
    mail = DSN.format(to="x@mail.example", action="failed", code="5.1.1").encode()
    bounces.parse(mail[:place] + junk + mail[place:])
    bounces.parse(junk)


def test_without_a_mailbox_nothing_is_ours(settings: LazySettings) -> None:
    message = accepted()
    mail = dsn(message)
    settings.EMAIL_BOUNCE_ADDRESS = ""
    assert bounces.read(mail) == Read.NOT_OURS
    with pytest.raises(CommandError, match="EMAIL_BOUNCE_ADDRESS is not set"):
        call_command("read_bounces")


# --- the command ---------------------------------------------------------------------------------------------------


def told(*words: str) -> str:
    out = io.StringIO()
    call_command("read_bounces", *words, stdout=out)
    return out.getvalue().strip()


def test_a_maildir_is_read_once_and_marked_seen(tmp_path: Path) -> None:
    messages = [accepted(address=f"p{n}@example.com") for n in range(3)]
    for folder in ("new", "cur", "tmp"):
        (tmp_path / folder).mkdir()
    for n, message in enumerate(messages):
        (tmp_path / "new" / f"17{n}.M1.host").write_bytes(dsn(message))
    (tmp_path / "new" / "180.M1.host").write_bytes(b"Subject: buy\n\njunk")
    assert told("--maildir", str(tmp_path)) == "not ours 1, undelivered 3"
    assert {again(message).status for message in messages} == {"undelivered_permanent"}
    assert not list((tmp_path / "new").iterdir())
    assert all(path.name.endswith(":2,S") for path in (tmp_path / "cur").iterdir())
    assert told("--maildir", str(tmp_path)) == "no new mail"
    with pytest.raises(CommandError, match="is no maildir"):
        told("--maildir", str(tmp_path / "new"))


def test_files_and_standard_input_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = accepted(address="a@example.com"), accepted(address="b@example.com")
    file = tmp_path / "mail"
    file.write_bytes(dsn(one))
    assert told(str(file)) == "undelivered 1"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(dsn(two))))
    assert told() == "undelivered 1"
    with pytest.raises(CommandError, match="cannot be read"):
        told(str(tmp_path / "none"))


def test_a_mail_server_keeps_the_mail_while_the_database_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_mail: bytes) -> Read:
        raise OperationalError

    (tmp_path / "mail").write_bytes(b"x")
    monkeypatch.setattr(bounces, "read", away)
    with pytest.raises(SystemExit) as stopped:
        told(str(tmp_path / "mail"))
    assert stopped.value.code == 75
