"""The docs page of the API in a browser that reaches nothing but this machine."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Route, expect
from pytest_django.live_server_helper import LiveServer

from accounts.rules import Role
from tests.factories import UserFactory
from tests.factories.accounts import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


@pytest.mark.django_db(transaction=True)
def test_the_docs_page_lists_the_endpoints_and_tries_them_without_the_internet(
    chromium: Browser, live_server: LiveServer
) -> None:
    owner = UserFactory.create(role=Role.SUPER_ADMIN, username="akosua")
    elsewhere: list[str] = []
    errors: list[str] = []

    def only_here(route: Route) -> None:
        if route.request.url.startswith((live_server.url, "data:")):
            route.continue_()
        else:
            elsewhere.append(route.request.url)
            route.abort()

    context = chromium.new_context()
    page = context.new_page()
    page.route("**/*", only_here)
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(f"{live_server.url}/accounts/login/")
    page.get_by_label("Phone number, e-mail or username").fill(owner.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Signed in as")).to_be_visible()
    page.goto(f"{live_server.url}/api/v1/docs/")
    expect(page.locator(".opblock-tag")).not_to_have_count(0)
    assert page.locator(".opblock-tag").count() > 10
    page.locator("#operations-tag-me").click()
    me = page.locator("#operations-me-me")
    expect(me).to_be_visible()
    me.locator(".opblock-summary").click()
    me.get_by_role("button", name="Try it out").click()
    me.get_by_role("button", name="Execute").click()
    expect(me.locator(".live-responses-table").get_by_text('"akosua"').first).to_be_visible()
    context.close()
    assert elsewhere == []
    assert errors == []
