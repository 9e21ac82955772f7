"""Signing in as a person or a phone does, by the pages and by the doors of the app."""

from __future__ import annotations

import json
import re
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from django.test import Client

from accounts import sealed
from accounts.models import User
from tests.factories.accounts import PASSWORD

WRONG = "This does not fit."
APP = "/_allauth/app/v1"


def sign_in(client: Client, name: str, password: str = PASSWORD, **more: Any) -> Any:
    return client.post("/accounts/login/", {"login": name, "password": password}, **more)


def code(client: Client, typed: str) -> Any:
    return client.post("/accounts/2fa/authenticate/", {"code": typed})


def who(client: Client) -> str:
    """The username of whoever the API takes the client for, or ''."""
    answer = client.get("/api/v1/me/")
    return str(answer.json()["username"]) if answer.status_code == 200 else ""


def with_app(user: User) -> str:
    """Give a person an authenticator app and recovery codes; answers the secret of the app."""
    secret: str = totp.generate_totp_secret()
    totp.TOTP.activate(user, secret)
    RecoveryCodes.activate(user)
    return secret


def now_shown(secret: str, steps: int = 0) -> str:
    """The code that the app shows now, or so many steps of 30 seconds later."""
    middle = list(totp.yield_hotp_counters_from_time())[1]
    shown: str = totp.format_hotp_value(totp.hotp_value(secret, middle + steps))
    return shown


def recovery_codes(user: User) -> list[str]:
    codes: list[str] = Authenticator.objects.get(user=user, type="recovery_codes").wrap().get_unused_codes()
    return codes


class App:
    """The app on a phone: it keeps what it is given."""

    def __init__(self, device: str = "a-phone-of-ama-12345") -> None:
        self.client = Client(raise_request_exception=False)
        self.headers = {"X-Device-Id": device, "User-Agent": "YEA-App/1.0 Android"}
        self.session = self.access = self.refresh = ""

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        sent = {**self.headers, **headers}
        if self.session and not self.access:
            sent["X-Session-Token"] = self.session
        if self.access:
            sent["Authorization"] = f"Bearer {self.access}"
        answer = self.client.generic(
            method, path, json.dumps(body or {}), content_type="application/json", headers=sent
        )
        meta = answer.json().get("meta", {}) if answer.headers["Content-Type"] == "application/json" else {}
        self.session = meta.get("session_token", self.session)
        self.access = meta.get("access_token", self.access)
        self.refresh = meta.get("refresh_token", self.refresh)
        return answer

    def sign_in(self, name: str, password: str = PASSWORD) -> Any:
        return self.call("POST", f"{APP}/auth/login", {"username": name, "password": password})

    def code(self, typed: str, **headers: str) -> Any:
        return self.call("POST", f"{APP}/auth/2fa/authenticate", {"code": typed}, **headers)

    def renew(self) -> Any:
        answer = self.call("POST", f"{APP}/tokens/refresh", {"refresh_token": self.refresh})
        if answer.status_code == 200:
            self.access, self.refresh = answer.json()["data"]["access_token"], answer.json()["data"]["refresh_token"]
        return answer

    def who(self) -> str:
        answer = self.client.get("/api/v1/me/", headers={"Authorization": f"Bearer {self.access}"})
        return str(answer.json()["username"]) if answer.status_code == 200 else ""


def secret_on_page(page: str) -> str:
    """The key that the page for setting up the app shows."""
    found = re.search(r"<code>([A-Z2-7 ]+)</code>", page)
    assert found
    return found[1].replace(" ", "")


def kept_secret(user: User) -> str:
    return sealed.unseal(Authenticator.objects.get(user=user, type="totp").data["secret"])
