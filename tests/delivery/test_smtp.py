"""The SMTP gateway: what each step of the dialogue means, and what the mail looks like."""

from __future__ import annotations

import email
import email.policy
import logging
import smtplib
from datetime import UTC, datetime
from email.message import EmailMessage

import pytest
from django.conf import LazySettings
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from core.delivery.gateways import Answer
from core.delivery.gateways.smtp import Mail, Smtp, _dotted, compose
from core.delivery.rules import Verdict
from core.delivery.services import checked_title
from core.errors import InvalidInput
from stack.servers import free_port
from tests.delivery.raw_server import RawServer, smtp
from tests.sandbox.process import Sandbox

ACCEPTED, REFUSED, IN_DOUBT = Verdict.ACCEPTED, Verdict.REFUSED, Verdict.IN_DOUBT
AWAY, NOT_CONFIGURED, TRY_LATER = Verdict.PROVIDER_AWAY, Verdict.NOT_CONFIGURED, Verdict.TRY_LATER
WRITTEN = datetime(2026, 11, 25, 8, 30, tzinfo=UTC)


def mail(recipient: str = "ama@example.com", title: str = "Report", text: str = "Eggs: 12", html: str = "") -> Mail:
    return Mail(recipient, title, text, html, "our-id", WRITTEN)


def send(written: Mail | None = None) -> Answer:
    return Smtp().send(written or mail())


def test_an_accepted_mail_has_arrived_with_text_html_and_an_id_made_of_ours(sandbox: Sandbox) -> None:
    answer = send(mail(html="<b>12</b> eggs"))
    [arrived] = sandbox.messages(kind="email")
    assert (answer.verdict, answer.provider_id) == (ACCEPTED, "<our-id@yea.example>")
    assert arrived["to"] == "ama@example.com"
    assert arrived["subject"] == "Report"
    assert arrived["text"].strip() == "Eggs: 12"
    assert arrived["html"].strip() == "<b>12</b> eggs"


def test_the_same_message_has_the_same_message_id_each_time() -> None:
    once, twice = compose(mail()), compose(mail())
    assert once["Message-ID"] == twice["Message-ID"] == "<our-id@yea.example>"
    assert once.as_bytes() == twice.as_bytes()
    assert once["Date"] == "Wed, 25 Nov 2026 08:30:00 +0000"
    assert once["Auto-Submitted"] == "auto-generated"


def test_plain_text_is_always_there() -> None:
    plain, both = compose(mail()), compose(mail(html="<b>12</b>"))
    assert plain.get_content_type() == "text/plain"
    assert [part.get_content_type() for part in both.iter_parts()] == ["text/plain", "text/html"]


DIALOGUES: dict[str, tuple[dict[str, str | None], Verdict]] = {
    "all well": ({}, ACCEPTED),
    "251 at RCPT": ({"RCPT": "251 forwarded"}, ACCEPTED),
    "greeted with 421": ({"": "421 too many"}, AWAY),
    "greeted with 554": ({"": "554 no service"}, AWAY),
    "hung up at once": ({"": None}, AWAY),
    "hung up at EHLO": ({"EHLO": None}, AWAY),
    "hung up at MAIL": ({"MAIL": None}, AWAY),
    "hung up at RCPT": ({"RCPT": None}, AWAY),
    "hung up at DATA": ({"DATA": None}, AWAY),
    "hung up after the text": ({".": None}, IN_DOUBT),
    "nonsense at RCPT": ({"RCPT": "what?"}, AWAY),
    "nonsense at DATA": ({"DATA": "what?"}, AWAY),
    "nonsense after the text": ({".": "what?"}, IN_DOUBT),
    "sender refused": ({"MAIL": "550 who are you"}, NOT_CONFIGURED),
    "sender later": ({"MAIL": "451 later"}, TRY_LATER),
    "recipient refused": ({"RCPT": "550 no such user"}, REFUSED),
    "recipient syntax": ({"RCPT": "501 bad address"}, REFUSED),
    "recipient later": ({"RCPT": "450 mailbox busy"}, TRY_LATER),
    "greylisted": ({"RCPT": "451 come back"}, TRY_LATER),
    "DATA refused": ({"DATA": "554 no"}, REFUSED),
    "DATA later": ({"DATA": "451 later"}, TRY_LATER),
    "text refused": ({".": "554 spam"}, REFUSED),
    "text too large": ({".": "552 too big"}, REFUSED),
    "text later": ({".": "452 disk full"}, TRY_LATER),
    "farewell refused": ({"QUIT": "500 no"}, ACCEPTED),
}


@pytest.mark.parametrize("name", DIALOGUES)
def test_a_dialogue_means(name: str, settings: LazySettings) -> None:
    replies, verdict = DIALOGUES[name]
    with smtp(replies) as server:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        answer = send()
    assert answer.verdict == verdict, answer
    assert "ama@" not in answer.reason


def test_silence_after_the_text_is_in_doubt_and_silence_before_it_is_not(settings: LazySettings) -> None:
    import time

    def silent_at_once(line: object) -> None:
        time.sleep(1.3)

    with RawServer(silent_at_once) as server:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        assert send().verdict == AWAY


def test_a_mailbox_that_is_slow_beyond_the_timeout_leaves_doubt(sandbox: Sandbox) -> None:
    sandbox.faults(smtp_delay_ms=2000)
    assert send().verdict == IN_DOUBT
    assert sandbox.total() == 1


@pytest.mark.parametrize(("fault", "arrived"), [("smtp_drop_before_accept", 0), ("smtp_drop_after_data", 1)])
def test_a_connection_lost_after_data_is_in_doubt_arrived_or_not(sandbox: Sandbox, fault: str, arrived: int) -> None:
    sandbox.faults(**{fault: True})
    assert send().verdict == IN_DOUBT
    assert sandbox.total() == arrived


@pytest.mark.parametrize(("code", "verdict"), [(450, TRY_LATER), (452, TRY_LATER), (550, REFUSED), (553, REFUSED)])
def test_the_recipient_is_refused_for_now_or_for_good(sandbox: Sandbox, code: int, verdict: Verdict) -> None:
    sandbox.faults(smtp_error=code)
    answer = send()
    assert (answer.verdict, answer.body_status) == (verdict, str(code))


def test_a_closed_port_and_an_unknown_host_are_no_doubt(settings: LazySettings) -> None:
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", free_port()
    assert send().verdict == AWAY
    settings.EMAIL_HOST = "no-such-host.invalid"
    assert send().verdict == AWAY


def test_a_server_without_tls_is_not_spoken_to_when_tls_is_asked_for(sandbox: Sandbox, settings: LazySettings) -> None:
    settings.EMAIL_USE_TLS = True
    assert send().verdict == AWAY
    settings.EMAIL_USE_TLS, settings.EMAIL_USE_SSL = False, True
    assert send().verdict == AWAY
    assert sandbox.total() == 0


def test_wrong_credentials_are_ours_to_put_right_and_are_in_no_log(
    sandbox: Sandbox, settings: LazySettings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "an-unseen-user", "wrong"
    with caplog.at_level(logging.DEBUG):
        answer = send()
    assert answer.verdict == NOT_CONFIGURED
    assert "EMAIL_HOST_USER" in answer.reason
    assert "an-unseen-user" not in caplog.text
    settings.EMAIL_HOST_PASSWORD = "right"
    assert send().verdict == ACCEPTED


# --- the text ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        ".",
        ".\n.",
        "before\n.\nafter",
        "..\n...\n.hidden",
        "a\n\n\n.",
        "Eggs ɛ ɔ ₵ 🐔: 12",
        "é" * 2000,
        "x" * 5000,
        ".\n" + "y" * 1200,
        "tab\tand space ",
    ],
)
def test_a_text_arrives_as_it_was_written(sandbox: Sandbox, text: str) -> None:
    assert send(mail(text=text)).verdict == ACCEPTED
    [arrived] = sandbox.messages(kind="email")
    assert arrived["text"].removesuffix("\n") == text


@pytest.mark.parametrize("title", ["Akwaaba ɛ ɔ", "Eggs 🐔", "é" * 200, "  spaced  out", ": x"])
def test_a_subject_arrives_as_it_was_written(sandbox: Sandbox, title: str) -> None:
    assert send(mail(title=title)).verdict == ACCEPTED
    [arrived] = sandbox.messages(kind="email")
    assert arrived["subject"].split() == title.split()


lines = st.lists(st.sampled_from([b".", b"..", b"", b"a", b".a", b"\xc3\xa9"]), max_size=8)


@given(lines)
def test_dots_are_doubled_so_that_nothing_ends_the_mail_early(listed: list[bytes]) -> None:
    content = b"".join(line + b"\r\n" for line in listed)
    sent = _dotted(content)
    assert sent.endswith(b"\r\n") or not sent
    received = [line[1:] if line.startswith(b".") else line for line in sent.split(b"\r\n")[:-1]]
    assert b"." not in sent.split(b"\r\n")
    assert received == (listed or [b""])


BREAKS = ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("sign", BREAKS)
def test_a_subject_cannot_bring_a_header_of_its_own(sign: str) -> None:
    for title in (f"Report{sign}Bcc: all@example.com", f"Report{sign}", f"{sign}Report"):
        with pytest.raises(InvalidInput, match="one line"):
            checked_title(title)


@pytest.mark.parametrize("sign", BREAKS)
def test_a_subject_that_cannot_be_written_is_refused_before_the_line_is_open(sandbox: Sandbox, sign: str) -> None:
    answer = send(mail(title=f"Report{sign}Bcc: all@example.com"))
    assert answer.verdict == REFUSED
    assert sandbox.total() == 0


HIDDEN_BREAK = "=?utf-8?q?Report=0D=0ABcc=3A_all=40example.com?="


def test_a_header_hidden_in_an_encoded_word_is_refused_at_the_door_and_in_the_gateway(sandbox: Sandbox) -> None:
    """Python's email package decodes such a subject and writes the line break out."""
    for title in (
        HIDDEN_BREAK,
        f"Hello {HIDDEN_BREAK}",
        f"x{HIDDEN_BREAK}",
        "=?utf-8?b?UmVwb3J0DQpCY2M6IGFAYi5jb20=?=",
    ):
        with pytest.raises(InvalidInput, match="encoded word"):
            checked_title(title)
    assert send(mail(title=HIDDEN_BREAK)).verdict == REFUSED
    assert sandbox.total() == 0


@pytest.mark.parametrize("address", ["ama@exämple.com", "ſ@example.com", "ama@example.com\r\nRCPT TO:<x@y.com>"])
def test_an_address_that_cannot_be_written_is_refused_without_a_crash(sandbox: Sandbox, address: str) -> None:
    answer = send(mail(recipient=address))
    assert answer.verdict == REFUSED
    assert address not in answer.reason
    assert sandbox.total() == 0


@effort(max_examples=200, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300))
def test_any_subject_and_text_that_pass_the_door_can_be_written(title: str, text: str) -> None:
    try:
        title = checked_title(title)
        text.encode()
    except (InvalidInput, UnicodeEncodeError):
        return
    content = compose(mail(title=title, text=text)).as_bytes(policy=email.policy.SMTP)
    head = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(head, EmailMessage)
    assert set(head.keys()) <= {
        *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version"),
        *("Content-Type", "Content-Transfer-Encoding"),
    }
    assert head["To"] == "ama@example.com"
    assert max(map(len, content.split(b"\r\n"))) <= 998
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert b"\r" not in content.replace(b"\r\n", b"")


def test_the_standard_library_doubles_dots_the_same_way() -> None:
    content = b".\r\n..a\r\nb\r\n.c\r\n"
    assert _dotted(content) == smtplib._quote_periods(content)  # type: ignore[attr-defined]
