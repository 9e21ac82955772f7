"""E-mail as it is read: text always, one base page, headers to unsubscribe, files, and the envelope of bounces."""

from __future__ import annotations

import email
import email.policy
import logging
from email.message import EmailMessage
from typing import Any

import pytest
from django.conf import LazySettings
from playwright.sync_api import Page

from core.delivery import dispatch, links, mail, services
from core.delivery.gateways.smtp import compose
from core.delivery.mail import File
from core.delivery.models import Attachment, OutboundMessage, Suppression
from core.delivery.rules import Channel, Purpose, Status
from core.errors import InvalidInput
from tests.browser.conftest import chromium, page
from tests.browser.test_pages import fits
from tests.delivery.outbox import again, an_email
from tests.delivery.raw_server import smtp
from tests.sandbox.process import Sandbox

__all__ = ["chromium", "page"]
pytestmark = pytest.mark.django_db(transaction=True)

TEXT = """Dear Ama,

your application was approved. Your place is reserved until Friday.

Set your password here:

https://pms.example/invitation/3f8c2a71-9d0e-4b56-8a1f-c2d9e7b60413/set-password?next=%2Ffarm

Questions? Call the office in Tema West. Prices & rules <apply>: see https://pms.example/rules."""


def composed(message: OutboundMessage) -> EmailMessage:
    return compose(mail.outgoing(again(message)))


def sent(message: OutboundMessage, sandbox: Sandbox) -> dict[str, Any]:
    assert dispatch.deliver(message.pk)
    [arrived] = sandbox.messages(kind="email")
    found: dict[str, Any] = arrived
    return found


# --- what goes out -------------------------------------------------------------------------------------------------


def test_a_mail_of_ours_is_text_and_a_page_of_the_same_words(sandbox: Sandbox) -> None:
    arrived = sent(an_email(title="Approved", text=TEXT, template="farms.approved"), sandbox)
    assert arrived["text"].startswith(TEXT)
    assert "YEA Poultry Management System" in arrived["text"]
    html = arrived["html"]
    assert "<h1" in html
    assert "Prices &amp; rules &lt;apply&gt;" in html
    assert '<a href="https://pms.example/rules"' in html
    assert ">Open the page</a>" in html
    assert "take part in the poultry programme" in html


def test_the_page_brings_nothing_from_elsewhere() -> None:
    html = mail.page("Title", TEXT, why="because", stop="https://pms.example/m/x")
    assert not any(sign in html.lower() for sign in ("<img", "<script", "@import", "url(", "<link", "<form"))
    assert len(html.encode()) < 20_000, "Gmail cuts mails at 102 kB"


def test_what_a_caller_gives_goes_out_as_it_was_given(sandbox: Sandbox) -> None:
    given = "<h1>Welcome</h1><p>Dear Ama</p>"
    services.send_emails_now(title="Hi", text="Welcome", addresses=["ama@example.com"], html=given, key="1")
    [arrived] = sandbox.messages(kind="email")
    assert (arrived["text"].strip(), arrived["html"].strip()) == ("Welcome", given)


def test_without_html_given_a_mail_of_a_caller_is_plain_text(sandbox: Sandbox) -> None:
    services.send_emails_now(title="Hi", text="Welcome", addresses=["ama@example.com"], html=None, key="1")
    [arrived] = sandbox.messages(kind="email")
    assert (arrived["text"].strip(), arrived["html"]) == ("Welcome", "")


@pytest.mark.parametrize(
    ("purpose", "stoppable"),
    [
        (Purpose.SERVICE, True),
        (Purpose.BULK, True),
        (Purpose.REPORT, True),
        (Purpose.SECURITY, False),
        (Purpose.ADMIN, False),
        (Purpose.OTP, False),
    ],
)
def test_who_may_decline_finds_the_way_in_head_text_and_page(purpose: Purpose, stoppable: bool) -> None:
    built = composed(an_email(purpose=purpose, template="x.y"))
    url = links.link(Channel.EMAIL, "ama@example.com", Purpose.SERVICE if not stoppable else purpose)
    found = (built["List-Unsubscribe"], built["List-Unsubscribe-Post"])
    assert found == ((f"<{url}>", "List-Unsubscribe=One-Click") if stoppable else (None, None))
    text, html = (part.get_content() for part in built.iter_parts())
    assert (url in text, url in html, "/m/" in text + html) == (stoppable, stoppable, stoppable)


def test_a_long_unsubscribe_address_stays_whole() -> None:
    address = f"{'a' * 60}@{'b' * 60}.{'c' * 60}.example.com"
    built = email.message_from_bytes(
        composed(an_email(address)).as_bytes(policy=email.policy.SMTP), policy=email.policy.default
    )
    token = built["List-Unsubscribe"].strip("<>").rpartition("/")[2]
    assert links.choice(token).address == address


def test_a_mail_sent_again_is_the_same_mail() -> None:
    message = an_email(template="x.y")
    assert composed(message)["Message-ID"] == composed(message)["Message-ID"]


# --- files ---------------------------------------------------------------------------------------------------------


def test_files_go_with_the_mail_once(sandbox: Sandbox) -> None:
    files = [File("eggs Ɛ.csv", "text/csv", b"12"), File("report.pdf", "application/pdf", b"%PDF" + bytes(range(256)))]
    message = an_email(files=files, key="k")
    assert an_email(files=files, key="k") == message
    assert Attachment.objects.count() == 2
    parts = {part.get_filename(): part for part in composed(message).iter_attachments()}
    assert set(parts) == {"eggs Ɛ.csv", "report.pdf"}
    assert parts["report.pdf"].get_content() == files[1].content
    assert parts["report.pdf"].get_content_type() == "application/pdf"
    arrived = sent(message, sandbox)
    assert arrived["text"].strip() == "Eggs: 12"


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (File("", "text/csv", b""), "file name"),
        (File("../etc/passwd", "text/csv", b""), "file name"),
        (File("a\\b", "text/csv", b""), "file name"),
        (File(".hidden", "text/csv", b""), "file name"),
        (File('a"b', "text/csv", b""), "file name"),
        (File("a\r\nX: y", "text/csv", b""), "file name|cannot be seen"),
        (File("a\u202egpj.exe", "text/csv", b""), "cannot be seen"),
        (File("a" * 151, "text/csv", b""), "file name"),
        (File("a.csv", "text", b""), "is none"),
        (File("a.csv", "text/csv; x=y", b""), "is none"),
        (File("a.eml", "message/rfc822", b""), "is none"),
        (File("a.csv", "text/csv", b"x" * (10 * 1024 * 1024 + 1)), "larger than 10 MB"),
    ],
)
def test_a_file_that_cannot_go_is_refused_and_nothing_is_written(file: File, says: str) -> None:
    with pytest.raises(InvalidInput, match=rf"{says}"):
        an_email(files=[file])
    assert not OutboundMessage.objects.exists()


def test_a_secret_mail_takes_no_file() -> None:
    with pytest.raises(InvalidInput, match="takes no files"):
        an_email(secret=True, purpose=Purpose.SECURITY, files=[File("a.csv", "text/csv", b"")])


# --- the envelope --------------------------------------------------------------------------------------------------


def test_each_mail_has_a_bounce_address_of_its_own_when_there_is_a_mailbox(settings: LazySettings) -> None:
    message = an_email()
    assert mail.outgoing(again(message)).bounces_to == ""
    settings.EMAIL_BOUNCE_ADDRESS = "bounces@mail.example"
    address = mail.outgoing(again(message)).bounces_to
    name, _, domain = address.partition("@")
    assert (name.partition("+")[0], domain, len(name) <= 64) == ("bounces", "mail.example", True)
    assert links.bounced_message(name.partition("+")[2].upper()) == message.pk
    with smtp({}) as server:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        assert dispatch.deliver(message.pk)
    assert again(message).status == Status.ACCEPTED


@pytest.mark.parametrize(
    ("reply", "dead"),
    [
        ("550 no such user", True),
        ("550 5.1.1 no such user", True),
        ("551 5.1.6 moved", True),
        ("550 5.2.1 mailbox disabled", True),
        ("550 5.7.1 spam", False),
        ("552 5.2.2 mailbox full", False),
        ("553 bad name", False),
        ("450 4.1.1 perhaps", False),
    ],
)
def test_an_address_that_does_not_exist_is_suppressed_at_once(settings: LazySettings, reply: str, dead: bool) -> None:
    message = an_email()
    with smtp({"RCPT": reply}) as server:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        assert dispatch.deliver(message.pk)
    found = list(Suppression.objects.values_list("address", "reason"))
    assert found == ([("ama@example.com", "bounced")] if dead else [])
    assert (an_email(key="next").status == Status.SUPPRESSED) is dead


# --- as a person sees it -------------------------------------------------------------------------------------------


@pytest.mark.browser
@pytest.mark.xdist_group("browser")
def test_a_mail_can_be_read_on_a_phone_and_at_a_desk_in_light_and_dark(page: Page) -> None:
    html = mail.page(
        "Your application was approved", TEXT, why=mail.WHY[Purpose.SERVICE], stop="https://x.example/m/" + "a" * 90
    )
    page.set_content(html)
    assert fits(page)
    colours = page.evaluate(
        """() => [...document.querySelectorAll('.card p, .card h1, .soft p, .card a')].map(e => {
            const s = getComputedStyle(e); let b = e;
            while (getComputedStyle(b).backgroundColor === 'rgba(0, 0, 0, 0)') b = b.parentElement;
            return [s.color, getComputedStyle(b).backgroundColor]; })"""
    )
    assert min(_contrast(*pair) for pair in colours) >= 4.5
    [button] = [box for box in (page.get_by_role("link", name="Open the page").bounding_box(),) if box]
    assert button["height"] >= 44, "a thumb hits it"


def _contrast(text: str, ground: str) -> float:
    """WCAG 2.1."""

    def light(colour: str) -> float:
        parts = [int(value) / 255 for value in colour.removeprefix("rgb(").rstrip(")").split(",")[:3]]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(text), light(ground)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_a_title_for_a_log_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    message = an_email(title="Secret plan", text="Meet at noon")
    with caplog.at_level(logging.DEBUG):
        logging.getLogger(__name__).warning("%r", mail.outgoing(again(message)))
    assert "Secret plan" not in caplog.text
    assert "noon" not in caplog.text
