"""Signing in as people do: on a phone, with the app, without it, with a key, and ending another session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import LoginRecord, User
from accounts.rules import Role
from tests.accounts.signing_in import now_shown, recovery_codes, secret_on_page
from tests.browser.test_pages import fits
from tests.factories import UserFactory
from tests.factories.accounts import PASSWORD

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.django_db(transaction=True),
]

ANDROID = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Mobile Safari/537.36"


@pytest.fixture
def esi(live_server: LiveServer) -> User:
    return UserFactory.create(username="esi", role=Role.AUDITOR, first_name="Esi", last_name="Quaye", is_demo=False)


@pytest.fixture
def phone(chromium: Browser, live_server: LiveServer) -> Iterator[Page]:
    context = chromium.new_context(
        viewport={"width": 360, "height": 740}, user_agent=ANDROID, base_url=live_server.url, has_touch=True
    )
    yield context.new_page()
    context.close()


@pytest.fixture
def desk(chromium: Browser, live_server: LiveServer) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, base_url=live_server.url)
    yield context.new_page()
    context.close()


def sign_in(page: Page, name: str) -> None:
    page.goto("/accounts/login/")
    page.get_by_label("Phone number, e-mail or username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def type_code(page: Page, code: str) -> None:
    page.get_by_label("Code of the app, or a recovery code").fill(code)
    assert fits(page)
    page.get_by_role("button", name="Sign in").click()


def sign_out(page: Page) -> None:
    page.goto("/accounts/logout/")
    page.get_by_role("main").get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You have signed out")).to_be_visible()


def is_signed_in(page: Page) -> None:
    expect(page.get_by_text("Signed in as Esi Quaye")).to_be_visible()
    assert fits(page)


def set_up_app(page: Page) -> str:
    page.get_by_role("link", name="Set up the app").click()
    expect(page.get_by_alt_text("QR code for the authenticator app")).to_be_visible()
    assert fits(page)
    secret = secret_on_page(page.content())
    page.get_by_label("Code of six digits").fill(now_shown(secret))
    page.get_by_role("button", name="Switch on").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    return secret


def test_the_way_of_an_auditor_from_the_first_sign_in_to_the_lost_phone(esi: User, phone: Page, desk: Page) -> None:
    sign_in(phone, "esi")
    expect(phone.get_by_text("Your role needs a second factor.")).to_be_visible()
    secret = set_up_app(phone)
    codes = recovery_codes(esi)
    shown = phone.locator(".codes code").all_inner_texts()
    assert [one.replace(" ", "") for one in shown] == codes
    assert fits(phone)
    with phone.expect_download() as download:
        phone.get_by_role("link", name="Save as a file").click()
    assert download.value.path().read_text().splitlines() == shown
    phone.get_by_role("link", name="I have them, go on").click()
    is_signed_in(phone)

    # at the desk, with the app, and trusted from now on
    sign_in(desk, "esi")
    type_code(desk, "000000")
    expect(desk.get_by_role("alert").first).to_contain_text("This does not fit")
    type_code(desk, now_shown(secret, 1))
    desk.get_by_role("button", name="Yes, trust it").click()
    is_signed_in(desk)
    sign_out(desk)
    sign_in(desk, "esi")
    is_signed_in(desk)

    # the phone is lost: its session is ended at the desk, and another phone gets in by a recovery code
    desk.get_by_role("link", name="Sessions").click()
    lost = desk.locator("section", has_text="Chrome on Android")
    lost.get_by_role("button", name="Sign out there").click()
    expect(desk.get_by_text("Done. You are signed out there.")).to_be_visible()
    expect(lost).to_have_count(0)
    phone.goto("/accounts/sessions/")
    expect(phone.get_by_role("heading", name="Sign in")).to_be_visible()
    sign_in(phone, "esi")
    type_code(phone, shown[0])
    phone.get_by_role("button", name="No, ask each time").click()
    is_signed_in(phone)
    desk.goto("/accounts/2fa/")
    expect(desk.get_by_text("9 of 10 left")).to_be_visible()
    desk.goto("/accounts/devices/")
    desk.get_by_role("button", name="Trust it no longer").click()
    sign_out(desk)
    sign_in(desk, "esi")
    expect(desk.get_by_role("heading", name="Confirm your sign-in")).to_be_visible()
    assert LoginRecord.objects.filter(success=True, is_new_device=True).count() == 2


def test_a_security_key_signs_in_and_its_absence_is_told(esi: User, desk: Page) -> None:
    sign_in(desk, "esi")
    desk.get_by_role("link", name="Add a key").click()
    desk.get_by_role("button", name="Add the key").wait_for()
    devtools = desk.context.new_cdp_session(desk)
    devtools.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "usb", "hasUserVerification": True, "isUserVerified": True}
    key = devtools.send(
        "WebAuthn.addVirtualAuthenticator", {"options": {**options, "automaticPresenceSimulation": True}}
    )
    desk.get_by_role("button", name="Add the key").click()
    expect(desk.get_by_role("heading", name="Recovery codes")).to_be_visible()
    sign_out(desk)
    sign_in(desk, "esi")
    desk.get_by_role("button", name="Use a security key").click()
    desk.get_by_role("button", name="No, ask each time").click()
    is_signed_in(desk)
    sign_out(desk)
    devtools.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": key["authenticatorId"]})
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": {**options, "automaticPresenceSimulation": True}})
    sign_in(desk, "esi")
    desk.get_by_role("button", name="Use a security key").click()
    expect(desk.get_by_text("The key could not be used.")).to_be_visible()


@pytest.mark.parametrize("address", ["/", "/accounts/login/"])
def test_what_strangers_see_fits_and_says_no_errors(page: Page, live_server: LiveServer, address: str) -> None:
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(f"{live_server.url}{address}")
    assert fits(page)
    assert errors == []


def test_every_page_of_an_account_fits_and_its_targets_are_large(
    esi: User, page: Page, live_server: LiveServer
) -> None:
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(f"{live_server.url}/accounts/login/")
    page.get_by_label("Phone number, e-mail or username").fill("esi")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    set_up_app(page)
    for address in (
        "",
        "accounts/2fa/",
        "accounts/2fa/recovery-codes/",
        "accounts/2fa/recovery-codes/generate/",
        "accounts/2fa/totp/deactivate/",
        "accounts/2fa/webauthn/",
        "accounts/2fa/webauthn/add/",
        "accounts/sessions/",
        "accounts/devices/",
        "accounts/password/change/",
        "accounts/reauthenticate/",
        "accounts/logout/",
    ):
        page.goto(f"{live_server.url}/{address}")
        assert fits(page), address
        assert page.get_by_role("heading", level=1).count() == 1, address
        low = "nodes => nodes.filter(one => one.offsetParent && one.getBoundingClientRect().height < 44).length"
        assert page.locator("button, .button, input:not([type=hidden]), nav a").evaluate_all(low) == 0, address
    assert errors == []
