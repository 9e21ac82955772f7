"""Signing in from a phone: access tokens, their renewal, and what ends them at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import jwt
import pytest
import time_machine
from allauth.usersessions.models import UserSession
from django.conf import LazySettings
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import LoginRecord, TrustedDevice, User
from accounts.rules import Role
from accounts.services import people, sign_in
from core import clock
from core.base.models import AuditLog
from core.base.registries import expiry_steps
from core.errors import NotAllowed, NotFound
from tests.accounts import signing_in
from tests.accounts.signing_in import APP, App, now_shown, who, with_app
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def ama() -> User:
    return UserFactory.create(username="ama", phone="+233244123456")


@pytest.fixture
def app(ama: User) -> App:
    signed_in = App()
    assert signed_in.sign_in("0244123456").status_code == 200
    return signed_in


def test_a_phone_signs_in_and_brings_its_token(app: App) -> None:
    assert app.who() == "ama"
    claims = jwt.decode(app.access, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 3_600
    renewal = jwt.decode(app.refresh, options={"verify_signature": False})
    assert renewal["exp"] - renewal["iat"] == 7 * 86_400
    record = LoginRecord.objects.get()
    assert (record.success, record.user_agent) == (True, "YEA-App/1.0 Android")
    assert UserSession.objects.get().data == {"app": True}


def test_refusals_read_the_same(ama: User) -> None:
    answers = {App().sign_in(name, "wrong").content for name in ("ama", "nobody")}
    assert len(answers) == 1
    assert App().sign_in("ama", "wrong").status_code == 400


def test_with_a_second_factor_the_token_comes_after_the_code(ama: User) -> None:
    secret = with_app(ama)
    app = App()
    pending = app.sign_in("ama")
    assert pending.status_code == 401
    assert {"id": "mfa_authenticate", "is_pending": True, "types": ["recovery_codes", "totp"]} in [
        {**flow, "types": sorted(flow.get("types", []))} if flow.get("is_pending") else flow
        for flow in pending.json()["data"]["flows"]
    ]
    assert not app.access
    assert app.code("000000").status_code == 400
    assert app.code(now_shown(secret)).status_code == 200
    assert app.who() == "ama"
    assert list(LoginRecord.objects.order_by("at").values_list("failure_reason", flat=True)) == ["second_factor", ""]


def test_a_renewal_works_once_and_the_access_token_lasts_an_hour(app: App) -> None:
    old_access, old_refresh = app.access, app.refresh
    with time_machine.travel(clock.now() + timedelta(minutes=61)):
        assert app.who() == ""
        assert app.renew().status_code == 200
        assert app.who() == "ama"
        app.refresh = old_refresh
        assert app.renew().status_code == 400, "it was replaced"
    assert old_access != app.access


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "Bearer", "\xff"])
def test_a_token_that_is_none_is_refused(client: Client, ama: User, token: str) -> None:
    assert client.get("/api/v1/me/", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_a_token_of_another_use_or_key_is_refused(app: App, settings: LazySettings) -> None:
    app.access, app.refresh = app.refresh, app.access
    assert app.who() == ""
    claims = jwt.decode(app.refresh, options={"verify_signature": False})
    for key, algorithm in (("x" * 64, "HS256"), (settings.SECRET_KEY, "HS256"), ("", "none")):
        app.access = jwt.encode(claims, key, algorithm=algorithm)
        assert app.who() == ""


# --- what ends a token at once -------------------------------------------------------------------------------------


def test_a_suspension_ends_access_tokens_and_renewals(app: App, ama: User) -> None:
    head = UserFactory.create(role=Role.NATIONAL_ADMIN)
    people.suspend(actor=head, user_id=ama.pk, reason="fraud", now=clock.now())
    assert app.who() == ""
    assert app.renew().status_code == 400


def test_a_raised_token_version_ends_them(app: App, ama: User) -> None:
    User.objects.filter(pk=ama.pk).update(token_version=1)
    assert app.who() == ""
    assert app.renew().status_code == 400


def test_a_session_that_is_ended_ends_them(app: App, ama: User) -> None:
    session = UserSession.objects.get()
    sign_in.end_session(actor=ama, user_id=ama.pk, session_id=session.pk, now=clock.now())
    assert app.who() == ""
    assert app.renew().status_code == 400


def test_signing_out_on_the_phone_ends_them(app: App) -> None:
    access = app.access
    assert app.call("DELETE", f"{APP}/auth/session").status_code == 401
    app.access = access
    assert app.who() == ""


def test_a_new_password_ends_them(app: App, ama: User, client: Client) -> None:
    signing_in.sign_in(client, "ama")
    asked = {
        "oldpassword": "a-password-of-a-test",
        "password1": "a-much-better-one",
        "password2": "a-much-better-one",
    }
    client.post("/accounts/password/change/", asked)
    assert (who(client), app.who()) == ("ama", "")


# --- sessions ------------------------------------------------------------------------------------------------------


def test_a_person_sees_where_they_are_signed_in_and_ends_one_of_them(app: App, ama: User, client: Client) -> None:
    signing_in.sign_in(client, "ama", headers={"User-Agent": "Mozilla/5.0 (X11; Linux) Firefox/127.0"})
    other = Client()
    signing_in.sign_in(other, "ama")
    page = client.get("/accounts/sessions/").content.decode()
    assert page.count("Sign out there") == 2
    assert "App, YEA-App/1.0 Android" in page
    assert "Firefox on Linux" in page
    phone = next(one for one in UserSession.objects.all() if one.data)
    assert client.post("/accounts/sessions/", {"session": str(phone.pk)}).status_code == 302
    assert (who(client), who(other), app.who()) == ("ama", "ama", "")
    client.post("/accounts/sessions/", {"session": "others"})
    assert (who(client), who(other)) == ("ama", "")
    again = client.post("/accounts/sessions/", {"session": str(phone.pk)}, follow=True).content.decode()
    assert "has ended already" in again


def test_nobody_ends_the_session_of_another_by_its_number(app: App, client: Client) -> None:
    UserFactory.create(username="kofi")
    signing_in.sign_in(client, "kofi")
    client.post("/accounts/sessions/", {"session": str(UserSession.objects.get(user__username="ama").pk)})
    assert app.who() == "ama"


def test_the_app_lists_and_ends_sessions_too(app: App) -> None:
    other = App("another-phone-of-ama")
    other.sign_in("ama")
    listed = app.call("GET", f"{APP}/auth/sessions").json()["data"]
    assert [one["is_current"] for one in listed] == [True, False]
    app.call("DELETE", f"{APP}/auth/sessions", {"sessions": [listed[1]["id"]]})
    assert (app.who(), other.who()) == ("ama", "")


def test_an_owner_sees_and_ends_the_sessions_of_a_phone_that_is_lost(app: App, ama: User) -> None:
    owner = UserFactory.create(role=Role.SUPER_ADMIN)
    [session] = sign_in.sessions_of(actor=owner, user_id=ama.pk, now=clock.now())
    sign_in.end_session(actor=owner, user_id=ama.pk, session_id=session.pk, now=clock.now())
    assert app.who() == ""
    log = AuditLog.objects.get()
    assert (log.action, log.actor, log.subject_id) == ("user.end_session", owner, str(ama.pk))
    with pytest.raises(NotFound):
        sign_in.end_session(actor=owner, user_id=ama.pk, session_id=session.pk, now=clock.now())


def test_who_may_not_sign_others_out_does_not_see_their_sessions(app: App, ama: User) -> None:
    head, farmer = UserFactory.create(role=Role.NATIONAL_ADMIN), UserFactory.create()
    with pytest.raises(NotAllowed):
        sign_in.sessions_of(actor=head, user_id=ama.pk, now=clock.now())
    with pytest.raises(NotFound):
        sign_in.sessions_of(actor=farmer, user_id=ama.pk, now=clock.now())
    assert app.who() == "ama"


def test_a_session_whose_account_was_changed_is_not_listed_any_more(app: App, ama: User) -> None:
    User.objects.filter(pk=ama.pk).update(token_version=1)
    ama.refresh_from_db()
    assert sign_in.sessions_of(actor=ama, user_id=ama.pk, now=clock.now()) == []


def test_signing_in_and_listing_cost_the_same_however_many_sessions_there_are(
    ama: User,
) -> None:
    def queries(act: Callable[[], object]) -> int:
        with CaptureQueriesContext(connection) as ran:
            act()
        return len(ran)

    counts = set()
    for _ in range(4):
        at_the_door = queries(lambda: signing_in.sign_in(Client(), "ama"))
        listing = queries(lambda: sign_in.sessions_of(actor=ama, user_id=ama.pk, now=clock.now()))
        counts.add((at_the_door, listing))
        ama.refresh_from_db()
    assert len(counts) <= 2, "the first sign-in warns nobody"
    assert max(listing for _, listing in counts) == 2


# --- what is over --------------------------------------------------------------------------------------------------


def test_what_is_kept_of_sessions_that_are_gone_and_of_devices_is_removed_in_steps(ama: User) -> None:
    for _ in range(3):
        signing_in.sign_in(Client(), "ama")
    kept = App()
    kept.sign_in("ama")
    now = clock.now()
    living = UserSession.objects.get(data={"app": True}).session_key
    Session.objects.exclude(session_key=living).delete()
    for days in (-1, 1, 2):
        TrustedDevice.objects.create(user=ama, device_hash=str(days), trust_expires_at=now + timedelta(days=days))

    def all_steps(name: str) -> list[int]:
        counts = []
        while count := expiry_steps[name](now + timedelta(days=1, hours=1), 2):
            counts.append(count)
        return counts

    assert all_steps("user_sessions") == [2, 1]
    assert all_steps("trusted_devices") == [1], "a clock that runs ahead ends nothing early"
    assert (UserSession.objects.count(), TrustedDevice.objects.count()) == (1, 2)
    assert kept.who() == "ama"
