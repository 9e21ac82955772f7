"""The pages as a person sees them, at 360 and 1280 px, light and dark."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from tests.sandbox.process import Sandbox

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def fits(page: Page) -> bool:
    """Nothing sticks out to the side, which a phone would show as a page that slides."""
    page.wait_for_load_state()  # with its style: without, anything sticks out
    return bool(page.evaluate("document.documentElement.scrollWidth === window.innerWidth"))


@pytest.mark.django_db(transaction=True)
def test_the_first_page_leads_on_and_fits(page: Page, live_server: LiveServer) -> None:
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(live_server.url)
    assert page.get_by_role("heading", level=1).inner_text() == "YEA Poultry Management System"
    assert fits(page)
    page.get_by_role("link", name="Administration").click()
    expect(page.get_by_label("Phone number, e-mail or username")).to_be_visible()
    assert fits(page)
    assert errors == []


def test_the_inbox_shows_texts_and_mail_and_fits(page: Page, inbox: Sandbox) -> None:
    inbox.send(content="Your flock is due for vaccination on Friday. " + "x" * 200)
    inbox.mail(to="ama.mensah.of.a.long.name@poultry.example.com", subject="Welcome", html="<h1>Welcome!</h1>")
    page.goto(inbox.url)
    page.get_by_role("link", name="+233 24 412 3456").click()
    page.wait_for_url("**to=*")
    expect(page.get_by_text("Your flock is due").last).to_be_visible()
    assert fits(page)
    page.get_by_role("link", name="Mailbox").click()
    page.get_by_text("ama.mensah").first.click()
    page.wait_for_url("**mail=*")
    expect(page.get_by_role("heading", name="Welcome").first).to_be_visible()
    assert fits(page)
