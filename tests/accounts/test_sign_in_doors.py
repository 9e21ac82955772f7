"""Which doors of allauth are open. A door that a newer version brings is closed until somebody opens it here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, resolve

from accounts import views
from accounts.rules import Role
from tests.accounts.signing_in import WRONG
from tests.factories import UserFactory
from tests.factories.accounts import PASSWORD

OPEN = {
    "/accounts/",
    "/accounts/login/",
    "/accounts/logout/",
    "/accounts/reauthenticate/",
    "/accounts/password/change/",
    "/accounts/register/",
    "/accounts/password/reset/",
    "/accounts/password/reset/code/",
    "/accounts/password/new/1/",
    "/accounts/phone/verify/",
    "/accounts/email/verify/",
    "/accounts/email/verify/1/",
    "/accounts/invitation/1/",
    "/accounts/sessions/",
    "/accounts/devices/",
    "/accounts/2fa/",
    "/accounts/2fa/authenticate/",
    "/accounts/2fa/reauthenticate/",
    "/accounts/2fa/trust/",
    "/accounts/2fa/totp/activate/",
    "/accounts/2fa/totp/deactivate/",
    "/accounts/2fa/recovery-codes/",
    "/accounts/2fa/recovery-codes/generate/",
    "/accounts/2fa/webauthn/",
    "/accounts/2fa/webauthn/add/",
    "/accounts/2fa/webauthn/reauthenticate/",
    "/accounts/2fa/webauthn/keys/1/edit/",
    "/accounts/2fa/webauthn/keys/1/remove/",
    "/_allauth/app/v1/config",
    "/_allauth/app/v1/auth/login",
    "/_allauth/app/v1/auth/session",
    "/_allauth/app/v1/auth/sessions",
    "/_allauth/app/v1/auth/reauthenticate",
    "/_allauth/app/v1/auth/2fa/authenticate",
    "/_allauth/app/v1/auth/2fa/reauthenticate",
    "/_allauth/app/v1/auth/webauthn/authenticate",
    "/_allauth/app/v1/auth/webauthn/reauthenticate",
    "/_allauth/app/v1/account/authenticators",
    "/_allauth/app/v1/account/authenticators/totp",
    "/_allauth/app/v1/account/authenticators/recovery-codes",
    "/_allauth/app/v1/account/authenticators/webauthn",
    "/_allauth/app/v1/tokens/refresh",
}


def addresses(patterns: list[URLPattern | URLResolver], before: str = "/") -> Iterator[str]:
    for pattern in patterns:
        here = before + re.sub(r"<int:\w+>|<\w+:\w+>", "1", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, here)
        elif "(" not in here:
            yield here


def every_address() -> set[str]:
    found = set(addresses(get_resolver().url_patterns))
    return {address for address in found if address.startswith(("/accounts/", "/_allauth/"))}


def test_these_doors_are_open_and_no_others() -> None:
    everything = every_address()
    assert len(everything) > len(OPEN), "allauth has more than we want"
    assert {address for address in everything if resolve(address).func is not views.nowhere} == OPEN


@pytest.mark.django_db
def test_a_closed_door_answers_that_there_is_nothing() -> None:
    for address in sorted(every_address() - OPEN):
        for method in ("get", "post"):
            assert getattr(Client(), method)(address).status_code == 404, address
    for address in ("/accounts/confirm-email/x/", "/accounts/password/reset/key/1-x/", "/_allauth/browser/v1/config"):
        assert Client().get(address).status_code == 404, address


@pytest.mark.django_db
def test_an_address_without_its_last_slash_leads_on() -> None:
    for address in ("/accounts/login", "/accounts/sessions", "/accounts/2fa"):
        assert Client().get(address).headers["Location"] == f"{address}/"


@pytest.mark.django_db
def test_allauth_sends_nothing() -> None:
    with pytest.raises(ImproperlyConfigured, match="Nothing but the outbox sends"):
        get_adapter().send_mail("account/email/x", "ama@example.com", {})


@pytest.mark.django_db
def test_what_allauth_keeps_is_not_changed_in_the_administration(client: Client) -> None:
    for model in (EmailAddress, Authenticator, UserSession):
        assert not admin.site.is_registered(model)
    client.force_login(UserFactory.create(role=Role.SUPER_ADMIN))
    page = client.get("/admin/").content.decode()
    for name in ("mfa", "usersessions", "emailaddress"):
        assert f"/admin/{name}" not in page


@pytest.mark.django_db
def test_pages_that_change_something_ask_for_the_csrf_token() -> None:
    UserFactory.create(username="ama")
    strict = Client(enforce_csrf_checks=True)
    assert strict.post("/accounts/login/", {"login": "ama", "password": PASSWORD}).status_code == 403
    token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', strict.get("/accounts/login/").content.decode())
    assert token
    asked = {"login": "ama", "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
    assert strict.post("/accounts/login/", asked).status_code == 302
    for address in ("/accounts/logout/", "/accounts/sessions/", "/accounts/devices/", "/accounts/2fa/totp/activate/"):
        assert strict.post(address).status_code == 403, address


@pytest.mark.django_db
@pytest.mark.parametrize(
    "body", ["", "[]", "x", '{"username": null}', '{"username": "\\u0000", "password": "\\ud800"}']
)
def test_the_doors_of_the_app_answer_any_body(body: str) -> None:
    for address in sorted(address for address in OPEN if address.startswith("/_allauth/")):
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            answer = Client().generic(method, address, body, content_type="application/json")
            assert answer.status_code < 500, (method, address)


@pytest.mark.django_db
@pytest.mark.parametrize("login", ["\0", "x" * 1_000, "\N{PILE OF POO}", "<script>alert(1)</script>", "a\nb"])
def test_the_sign_in_page_answers_any_name(login: str) -> None:
    answer = Client().post("/accounts/login/", {"login": login, "password": "x"})
    assert answer.status_code == 200
    page = answer.content.decode()
    assert WRONG in page or "characters" in page
    assert "<script>alert" not in page


def test_in_production_cookies_are_bound_to_this_host_and_https() -> None:
    said = "print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME, s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE)"
    told = subprocess.run(
        [sys.executable, "-c", f"from core import settings as s; {said}"],
        cwd=settings.BASE_DIR,
        env={**os.environ, "PMS_ENV": "production"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == ["__Host-sessionid", "__Host-csrftoken", "True", "True"]
