"""The life of an account on a phone: a second factor, a lost device, a forgotten password, a stranger's sign-in.

What was secret in it is then looked for in every table, on both Redis and in the logs.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from django.conf import LazySettings
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.rules import Role
from accounts.services import invitations, secrets
from core import clock
from tests.accounts.letters import letter
from tests.accounts.signing_in import now_shown
from tests.accounts.test_no_secret_is_kept import Postman, found_in
from tests.accounts.test_pages_for_strangers import deliver
from tests.browser.test_pages import fits
from tests.delivery.conftest import hints, impatient, network, no_context, private_redis, sandbox
from tests.delivery.test_privacy import Eavesdropper, eavesdropper, logged
from tests.factories import UserFactory
from tests.factories.accounts import PASSWORD
from tests.sandbox.process import Sandbox

__all__ = ["eavesdropper", "hints", "impatient", "logged", "network", "no_context", "private_redis", "sandbox"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.django_db(transaction=True),
]

NEW = "second-Xaverine-password"
MAIL, PHONE = "esi@example.com", "+233244000555"
FIREFOX = "Mozilla/5.0 (Android 14; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0"
OpenPhone = Callable[..., Page]


@pytest.fixture
def phone(chromium: Browser, live_server: LiveServer, settings: LazySettings) -> Iterator[OpenPhone]:
    """Another phone of 360 px with the sign-in page open; it fails what does not fit at once."""
    settings.BASE_URL = live_server.url
    contexts = []

    def another(user_agent: str | None = None) -> Page:
        context = chromium.new_context(
            viewport={"width": 360, "height": 740}, base_url=live_server.url, has_touch=True, user_agent=user_agent
        )
        contexts.append(context)
        page = context.new_page()
        page.goto("/accounts/login/")
        return page

    yield another
    for context in contexts:
        context.close()


def path(page: Page) -> str:
    """Where the page is, once it is seen to fit."""
    page.wait_for_load_state()
    here = urlsplit(page.url).path
    assert fits(page), here
    return here


def sign_in(page: Page, password: str) -> None:
    assert path(page) == "/accounts/login/"
    page.get_by_label("Phone number, e-mail or username").fill("0244 000 555")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def use_recovery_code(page: Page, code: str) -> None:
    assert path(page) == "/accounts/2fa/authenticate/"
    page.get_by_label("Code of the app, or a recovery code").fill(code)
    page.get_by_role("button", name="Sign in", exact=True).click()
    assert path(page) == "/accounts/2fa/trust/"
    page.get_by_role("button", name="No, ask each time").click()
    expect(page.get_by_text("Signed in as")).to_be_visible()
    assert path(page) == "/"


def alerts(post: Postman, inbox: Sandbox) -> list[str]:
    """The texts of the mails about sign-ins, the newest first."""
    post.goes_round()
    return [
        str(mail["text"])
        for mail in inbox.messages(limit=100)
        if mail["kind"] == "email" and MAIL in mail["to"] and "New sign-in" in str(mail["subject"])
    ]


def test_an_account_lives_through_a_lost_device_and_a_forgotten_password(
    phone: OpenPhone, sandbox: Sandbox, eavesdropper: Eavesdropper, logged: io.StringIO, settings: LazySettings
) -> None:
    cache = Eavesdropper(str(settings.CACHES["default"]["LOCATION"]))
    cache.start()
    assert cache.ready.wait(5)
    post = Postman(sandbox)
    UserFactory.create(username="esi", role=Role.AUDITOR, email=MAIL, phone=PHONE, is_demo=False)

    # The role needs a second factor: nothing else is open before.
    first = phone()
    sign_in(first, PASSWORD)
    assert path(first) == "/accounts/2fa/"
    first.get_by_role("link", name="Set up the app").click()
    assert path(first) == "/accounts/2fa/totp/activate/"
    totp_secret = first.locator("code").inner_text().replace(" ", "")
    totp_code = now_shown(totp_secret)
    first.get_by_label("Code of six digits").fill(totp_code)
    first.get_by_role("button", name="Switch on").click()
    expect(first.get_by_text("Write these codes down now.")).to_be_visible()
    path(first)
    codes = first.locator("li > code").all_inner_texts()
    assert len(codes) == 10
    first.get_by_role("link", name="I have them, go on").click()
    assert path(first) == "/"

    # The phone with the app is lost.
    second = phone()
    sign_in(second, PASSWORD)
    use_recovery_code(second, codes[0])
    second.get_by_role("link", name="Overview").click()
    assert path(second) == "/accounts/"
    expect(second.get_by_text("signed in at 2 places")).to_be_visible()

    # The password is forgotten too.
    third = phone()
    third.get_by_role("link", name="I have forgotten my password").click()
    assert path(third) == "/accounts/password/reset/"
    third.get_by_label("Phone number, e-mail or username").fill("0244 000 555")
    third.get_by_role("button", name="Send me a code").click()
    assert path(third) == "/accounts/password/reset/code/"
    expect(third.get_by_label("Phone number, e-mail or username")).to_have_value("0244 000 555")
    third.get_by_label("Code of the SMS").fill(post.delivers(PHONE))
    post.delivers(MAIL)  # the link, which works no more after the code
    third.get_by_label("New password", exact=True).fill(NEW)
    third.get_by_label("New password once more").fill(NEW)
    third.get_by_role("button", name="Set the password").click()
    expect(third.get_by_text("Your password is changed")).to_be_visible()
    second.goto("/accounts/")
    assert path(second) == "/accounts/login/", "a new password ends all sessions"
    sign_in(third, NEW)
    use_recovery_code(third, codes[1])

    # A sign-in from elsewhere is told, and one session ends the other.
    before = alerts(post, sandbox)
    fourth = phone(user_agent=FIREFOX)
    sign_in(fourth, NEW)
    use_recovery_code(fourth, codes[2])
    after = alerts(post, sandbox)
    assert len(after) == len(before) + 1
    assert "Firefox on Android" in after[0]
    assert "If it was not" in after[0]
    fourth.goto("/accounts/sessions/")
    assert path(fourth) == "/accounts/sessions/"
    fourth.get_by_role("button", name="Sign out there").click()
    expect(fourth.get_by_text("You are signed out there")).to_be_visible()
    path(fourth)
    third.goto("/accounts/")
    assert path(third) == "/accounts/login/"
    fourth.goto("/accounts/")
    assert path(fourth) == "/accounts/"

    used = [PASSWORD, NEW, *post.secrets, totp_secret, totp_code, *codes, *(code.replace(" ", "") for code in codes)]
    heard = {"jobs on redis": eavesdropper.text(), "cache on redis": cache.text()}
    assert "sign-in:name" in heard["cache on redis"]
    assert "POST /accounts/password/reset/code/" in logged.getvalue()
    assert found_in({**post.tables, **heard, "logs": logged.getvalue()}, used) == []


STRANGERS = ("login/", "register/", "password/reset/", "password/reset/code/", "invitation/none/", "password/new/none/")
OWN = ("", "phone/verify/", "email/verify/", "sessions/", "devices/", "password/change/")


def test_each_page_fits(page: Page, live_server: LiveServer, settings: LazySettings) -> None:
    settings.BASE_URL = live_server.url
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    ama = UserFactory.create(username="ama", phone="+233244000111", email=f"{'a' * 50}@poultry.example.com")
    owner = UserFactory.create(role=Role.SUPER_ADMIN, first_name="Akosua", last_name="Agyemang-Badu")
    secrets.ask_to_verify_email(user=ama, now=clock.now())
    secrets.request_password_reset(identifier="ama", ip=None, now=clock.now())
    invitations.invite(actor=owner, email="kofi@example.com", role="auditor", now=clock.now())
    deliver()
    links = {
        "password/new": letter("reset_link").token,
        "email/verify": letter("verify_email").token,
        "invitation": letter("staff_invitation").token,
    }
    for address in (*STRANGERS, *(f"{place}/{token}/" for place, token in links.items())):
        page.goto(f"{live_server.url}/accounts/{address}")
        path(page)
    for address in ("register/", "password/reset/code/"):
        page.goto(f"{live_server.url}/accounts/{address}")
        page.locator("form").first.evaluate("form => { form.noValidate = true; form.requestSubmit() }")
        expect(page.get_by_role("alert").first).to_be_visible()
        path(page)

    page.goto(f"{live_server.url}/accounts/password/new/{links['password/new']}/")
    page.get_by_label("New password", exact=True).fill(NEW)
    page.get_by_label("New password once more").fill(NEW)
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_text("Your password is changed")).to_be_visible()
    page.get_by_label("Phone number, e-mail or username").fill("ama")
    page.get_by_label("Password").fill(NEW)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Signed in as")).to_be_visible()
    for address in OWN:
        page.goto(f"{live_server.url}/accounts/{address}")
        path(page)
    page.goto(f"{live_server.url}/accounts/email/verify/{links['email/verify']}/")
    page.get_by_role("button", name="Yes, confirm it").click()
    expect(page.get_by_text("Your e-mail address is confirmed")).to_be_visible()
    path(page)
    assert errors == []
