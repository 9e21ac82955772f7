"""The page where a person declines messages without signing in, and one click in a mail program."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from core.delivery import consent, links
from core.delivery.links import Choice, NotOurs
from core.delivery.models import OptOut
from core.delivery.rules import Channel, Purpose
from tests.browser.conftest import chromium, page
from tests.browser.test_pages import fits
from tests.delivery.outbox import PHONE

__all__ = ["chromium", "page"]
pytestmark = pytest.mark.django_db

EMAIL = "ama.mensah@example.com"
BY_SMS = Choice(Channel.SMS, PHONE, Purpose.BULK)
BY_MAIL = Choice(Channel.EMAIL, EMAIL, Purpose.REPORT)
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


def at(choice: Choice = BY_MAIL) -> str:
    return f"/m/{links.token(choice)}"


@pytest.fixture
def stranger() -> Client:
    """Somebody without a session, from whom a form without a CSRF token is refused."""
    return Client(enforce_csrf_checks=True)


def words(answer: Any) -> str:
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", answer.content.decode(), flags=re.DOTALL).split())


# --- the link ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", [BY_SMS, BY_MAIL])
def test_a_link_says_nothing_to_anybody_else(choice: Choice) -> None:
    token = links.token(choice)
    assert links.choice(token) == choice
    plain = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for part in (choice.address, choice.address.lstrip("+"), "mensah", "example"):
        assert part.encode() not in plain
        assert part not in token
    assert int(PHONE[1:]).to_bytes(5) not in plain


def test_a_link_fits_into_an_sms() -> None:
    assert len(links.token(BY_SMS)) == 30


def test_what_cannot_be_declined_has_no_link() -> None:
    assert links.link(Channel.SMS, PHONE, Purpose.OTP) == ""
    assert links.link(Channel.EMAIL, EMAIL, Purpose.ADMIN) == ""
    assert links.link(Channel.SMS, PHONE, Purpose.SERVICE).startswith("http")


def test_a_link_works_after_a_change_of_the_key(settings: LazySettings) -> None:
    token = links.token(BY_SMS)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-secret-key-" + "x" * 40
    assert links.choice(token) == BY_SMS
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(NotOurs):
        links.choice(token)


@effort(max_examples=200, deadline=None)
@given(st.text(max_size=80) | st.text(alphabet="abcXYZ019-_", max_size=80))
def test_no_other_token_is_taken(token: str) -> None:
    with pytest.raises(NotOurs):
        links.choice(token)


def test_a_changed_link_is_not_taken() -> None:
    token = links.token(BY_MAIL)
    for place in range(0, len(token), 3):
        other = "A" if token[place] != "A" else "B"
        with pytest.raises(NotOurs):
            links.choice(token[:place] + other + token[place + 1 :])


# --- the page ------------------------------------------------------------------------------------------------------


def test_looking_changes_nothing_and_tells_what_the_button_does(stranger: Client) -> None:
    for _ in range(2):
        answer = stranger.get(at())
    assert answer.status_code == 200
    assert "Stop e-mails with reports?" in words(answer)
    assert "a***@example.com" in words(answer)
    assert EMAIL not in answer.content.decode()
    assert stranger.head(at()).status_code == 200
    assert not OptOut.objects.exists()
    assert answer["Cache-Control"].startswith("max-age=0")
    assert (answer["Referrer-Policy"], answer["X-Robots-Tag"]) == ("no-referrer", "noindex")
    assert "<script" not in answer.content.decode()


def test_one_press_stops_and_another_takes_it_back(stranger: Client) -> None:
    answer = stranger.post(at(BY_SMS), {"do": "stop"}, follow=True)
    assert answer.redirect_chain == [(at(BY_SMS), 302)]
    assert "You get no SMS with announcements" in words(answer)
    assert "+233*****3456" in words(answer)
    [row] = consent.declined(Channel.SMS, PHONE)
    assert (row.purpose, row.source) == ("bulk", "link")
    answer = stranger.post(at(BY_SMS), {"do": "undo"}, follow=True)
    assert "Stop SMS with announcements?" in words(answer)
    assert not consent.declined(Channel.SMS, PHONE).exists()


def test_pressing_twice_is_pressing_once(stranger: Client) -> None:
    for _ in range(3):
        assert stranger.post(at(), {"do": "stop"}).status_code == 302
    assert OptOut.objects.count() == 1


def test_one_click_in_a_mail_program_needs_no_cookie_and_is_not_redirected(stranger: Client) -> None:
    for _ in range(2):
        answer = stranger.post(at(), ONE_CLICK)
        assert (answer.status_code, answer.content) == (200, b"Done.\n")
    [row] = OptOut.objects.all()
    assert (row.channel, row.address, row.purpose, row.source) == ("email", EMAIL, "report", "one_click")


def test_one_click_as_multipart_is_taken_too(stranger: Client) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--\r\n'
    assert stranger.post(at(), body, content_type="multipart/form-data; boundary=b").status_code == 200
    assert OptOut.objects.count() == 1


@pytest.mark.parametrize("form", [{}, {"do": "eggs"}, {"List-Unsubscribe": "yes"}])
def test_a_form_that_says_nothing_changes_nothing(stranger: Client, form: dict[str, str]) -> None:
    assert stranger.post(at(), form).status_code == 400
    assert not OptOut.objects.exists()


@pytest.mark.parametrize("method", ["put", "delete", "patch"])
def test_other_methods_are_refused(stranger: Client, method: str) -> None:
    assert getattr(stranger, method)(at()).status_code == 405


@pytest.mark.parametrize("token", ["x", "A" * 40, "%00", "é", "x" * 2000])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_broken_link_says_what_to_do_and_asks_the_database_nothing(
    stranger: Client, token: str, method: str, django_assert_num_queries: object
) -> None:
    with django_assert_num_queries(0):  # type: ignore[operator]
        answer = getattr(stranger, method)(f"/m/{token}", {"do": "stop"})
    assert answer.status_code == 404
    assert "This link does not work" in words(answer)


def test_pressing_to_and_fro_is_stopped(stranger: Client) -> None:
    for _ in range(consent.CHANGES_AN_HOUR):
        stranger.post(at(), {"do": "stop"})
        stranger.post(at(), {"do": "undo"})
    answer = stranger.post(at(), {"do": "stop"})
    assert answer.status_code == 429
    assert "Wait an hour" in words(answer)
    assert stranger.post(at(BY_SMS), {"do": "stop"}).status_code == 302, "another's choice is not touched by that"


@pytest.mark.browser
@pytest.mark.xdist_group("browser")
@pytest.mark.django_db(transaction=True)
def test_a_person_stops_messages_and_takes_it_back_on_a_phone_and_at_a_desk(
    page: Page, live_server: LiveServer
) -> None:
    page.goto(live_server.url + at(Choice(Channel.EMAIL, f"{'long.' * 12}name@poultry.example.com", Purpose.SERVICE)))
    assert fits(page)
    page.get_by_role("button", name="Stop these e-mails").click()
    expect(page.get_by_role("heading")).to_contain_text("You get no e-mails about your farm")
    assert fits(page)
    button = page.get_by_role("button", name="Send them to me again")
    assert (button.bounding_box() or {"height": 0})["height"] >= 44
    button.click()
    expect(page.get_by_role("button", name="Stop these e-mails")).to_be_visible()
    page.goto(f"{live_server.url}/m/broken")
    expect(page.get_by_role("heading")).to_have_text("This link does not work")
    assert fits(page)
