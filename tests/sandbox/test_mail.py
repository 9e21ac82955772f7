"""What an SMTP client sends and what the mailbox shows of it."""

import smtplib

import pytest

from sandbox.mail import read_letter
from tests.sandbox.process import Sandbox


def test_a_mail_with_text_and_html(sandbox: Sandbox) -> None:
    sandbox.mail(subject="Día – ɛkɔ", text="Eggs: 12", html="<p>Eggs: <b>12</b></p>", message_id="<7@example.org>")
    [message] = sandbox.messages(kind="email")
    assert message | {"id": "", "received_at": ""} == {
        "id": "",
        "kind": "email",
        "to": "ama@example.com",
        "from": "YEA <pms@example.org>",
        "subject": "Día – ɛkɔ",
        "text": "Eggs: 12\n",
        "html": "<p>Eggs: <b>12</b></p>\n",
        "message_id": "<7@example.org>",
        "received_at": "",
        "client_reference": None,
    }


def test_every_recipient_has_a_copy(sandbox: Sandbox) -> None:
    with smtplib.SMTP("127.0.0.1", sandbox.smtp_port) as line:
        line.sendmail("a@example.org", ["ama@example.com", "kofi@example.com"], b"Subject: x\r\n\r\n.dot\r\n")
    assert sorted(message["to"] for message in sandbox.messages()) == ["ama@example.com", "kofi@example.com"]
    [found] = sandbox.messages(to="AMA@example.com")
    assert (found["text"], found["from"]) == (".dot\n", "a@example.org")
    assert sandbox.stats()["emails"] == 2


def test_a_second_copy_of_a_mail_is_counted(sandbox: Sandbox) -> None:
    sandbox.mail()
    sandbox.mail()
    assert sandbox.stats()["duplicates"] == {"same_text": 1, "same_reference": 0, "same_message_id": 1}


def test_signing_in_is_possible_but_not_needed(sandbox: Sandbox) -> None:
    with smtplib.SMTP("127.0.0.1", sandbox.smtp_port) as line:
        line.login("anyone", "anything")
        line.sendmail("a@example.org", ["ama@example.com"], b"Subject: x\r\n\r\nx\r\n")
    with (
        smtplib.SMTP("127.0.0.1", sandbox.smtp_port) as line,
        pytest.raises(smtplib.SMTPAuthenticationError),
    ):
        line.login("anyone", "wrong")
    assert sandbox.total() == 1


def test_an_attachment_is_no_text() -> None:
    letter = read_letter(
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nHello\n"
        b"--b\nContent-Type: text/plain\nContent-Disposition: attachment; filename=a.txt\n\nattached\n--b--\n"
    )
    assert letter.text == "Hello"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"Subject: =?nope?b?///?=\n\nx",
        b"Subject: =?utf-7?q?+2AA-?=\n\nx",
        b"Subject: \xff\xfe\n\n\xff",
        b"Content-Type: text/plain; charset=nope\n\nx",
        b'Content-Type: text/plain; charset="utf-7"\n\n+2AA-',
        b'Content-Type: text/plain; charset="\x00"\n\nx',
        b"Content-Type: text/html\nContent-Transfer-Encoding: base64\n\n!!!",
        b"Content-Type: multipart/mixed\n\nno boundary",
    ],
)
def test_a_broken_mail_is_still_a_letter(content: bytes) -> None:
    letter = read_letter(content)
    (letter.subject + letter.text + letter.html).encode()
