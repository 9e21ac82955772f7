"""The second factor: who needs one, setting it up, codes that work once, recovery codes, trust, and taking it away."""

from __future__ import annotations

from typing import Any

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from django.conf import LazySettings
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client

from accounts import rules, selectors
from accounts.models import LoginRecord, SecurityEvent, TrustedDevice, User
from accounts.rules import Role
from accounts.services import sign_in as service
from accounts.services.trail import NOWHERE
from core import clock
from core.base.models import AuditLog
from core.delivery.sealing import CannotBeRead
from core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from core.jobs.models import TaskRun
from tests.accounts.signing_in import (
    WRONG,
    App,
    code,
    kept_secret,
    now_shown,
    recovery_codes,
    secret_on_page,
    sign_in,
    who,
    with_app,
)
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

ACTIVATE = "/accounts/2fa/totp/activate/"
DEACTIVATE = "/accounts/2fa/totp/deactivate/"
MINE = "a-phone-of-my-own-123"


@pytest.fixture
def ama() -> User:
    """A farmer, who may have a second factor."""
    return UserFactory.create(username="ama")


@pytest.fixture
def esi() -> User:
    """An auditor, who must have one."""
    return UserFactory.create(username="esi", role=Role.AUDITOR, is_demo=False)


def kinds() -> list[str]:
    return list(SecurityEvent.objects.order_by("at").values_list("kind", flat=True))


def alerts() -> int:
    return TaskRun.objects.filter(task="accounts.tasks.send_mfa_alert").count()


def reasons() -> list[str]:
    return list(LoginRecord.objects.order_by("at").values_list("failure_reason", flat=True))


def past_second_factor(user: User, client: Client, secret: str, trust: str = "no") -> Any:
    sign_in(client, user.username)
    assert code(client, now_shown(secret)).headers["Location"] == "/accounts/2fa/trust/"
    return client.post("/accounts/2fa/trust/", {"trust": trust})


# --- who needs one -------------------------------------------------------------------------------------------------


def test_all_but_farmers_and_buyers_of_data_need_one() -> None:
    assert {role for role in Role if not rules.needs_second_factor(role)} == {"FARMER", "INSTITUTIONAL_SUBSCRIBER"}
    assert UserFactory.build(role=Role.AUDITOR, is_demo=False).must_have_second_factor
    assert not UserFactory.build(role=Role.AUDITOR, is_demo=True).must_have_second_factor


@pytest.mark.parametrize("role", [role for role in Role if rules.needs_second_factor(role)])
def test_without_one_nothing_but_setting_it_up_is_open(client: Client, role: Role) -> None:
    user = UserFactory.create(role=role, is_demo=False)
    assert sign_in(client, user.username).headers["Location"] == "/"
    for closed in ("/", "/accounts/sessions/", "/accounts/devices/", "/accounts/password/change/"):
        assert client.get(closed).headers["Location"] == "/accounts/2fa/", closed
    assert client.get("/admin/").status_code == 302
    assert "Your role needs a second factor" in client.get("/accounts/2fa/").content.decode()
    for opened in (ACTIVATE, "/accounts/2fa/webauthn/add/", "/accounts/2fa/webauthn/", "/accounts/logout/"):
        assert client.get(opened).status_code == 200, opened
    refused = client.get("/api/v1/me/")
    assert (refused.status_code, refused.headers["Content-Type"]) == (403, "application/problem+json")
    assert refused.json()["code"] == "second_factor_required"
    assert "/accounts/2fa/" in refused.json()["detail"]
    assert client.post("/accounts/logout/").status_code == 302
    assert client.get("/").status_code == 200


def test_the_app_is_held_to_the_same(esi: User) -> None:
    app = App()
    app.sign_in("esi")
    refused = app.client.get("/api/v1/me/", headers={"Authorization": f"Bearer {app.access}"})
    assert refused.json()["code"] == "second_factor_required"
    there = app.call("GET", "/_allauth/app/v1/account/authenticators/totp")
    assert there.status_code == 404, "not set up yet: the answer brings a secret"
    secret = there.json()["meta"]["secret"]
    answer = app.call("POST", "/_allauth/app/v1/account/authenticators/totp", {"code": now_shown(secret)})
    assert answer.status_code == 200
    assert app.who() == "esi"
    assert (kinds(), alerts()) == (["mfa_enabled"], 1)
    gone = app.call("DELETE", "/_allauth/app/v1/account/authenticators/totp")
    assert gone.status_code == 403
    assert "Your role needs" in gone.json()["errors"][0]["message"]
    assert app.who() == "esi"


# --- setting it up -------------------------------------------------------------------------------------------------


def test_setting_up_the_app_gives_ten_recovery_codes_that_are_shown_once(client: Client, esi: User) -> None:
    sign_in(client, "esi")
    secret = secret_on_page(client.get(ACTIVATE).content.decode())
    assert "does not show this code now" in client.post(ACTIVATE, {"code": "000000"}).content.decode()
    assert not Authenticator.objects.exists()
    answer = client.post(ACTIVATE, {"code": now_shown(secret)})
    assert answer.headers["Location"] == "/accounts/2fa/recovery-codes/"
    assert (kinds(), alerts()) == (["mfa_enabled"], 1)
    page = client.get("/accounts/2fa/recovery-codes/").content.decode()
    codes = recovery_codes(esi)
    assert len(set(codes)) == 10
    for one in codes:
        assert len(one) == 16, "53 random bits"
        assert " ".join(one[at : at + 4] for at in range(0, 16, 4)) in page
    again = client.get("/accounts/2fa/recovery-codes/").content.decode()
    assert codes[0][:4] not in again
    assert client.get("/accounts/2fa/recovery-codes/download/").status_code == 404
    assert client.get("/").status_code == 200, "now the rest is open"


def test_secrets_are_encrypted_in_every_table_also_while_they_are_set_up(client: Client, ama: User) -> None:
    sign_in(client, "ama")
    secret = secret_on_page(client.get(ACTIVATE).content.decode())

    def everything() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SELECT session_data FROM django_session UNION ALL SELECT data::text FROM mfa_authenticator")
            stored = [row[0] for row in cursor.fetchall()]
        return "".join(stored) + str([Session(session_data=data).session_data for data in stored])

    assert secret not in everything()
    stored = Session.objects.get().session_data
    assert stored.startswith((".", "A")) or ":" in stored
    client.post(ACTIVATE, {"code": now_shown(secret)})
    assert secret not in everything()
    assert kept_secret(ama) == secret
    for one in recovery_codes(ama):
        assert one not in everything()


def test_sessions_and_secrets_are_read_after_a_change_of_the_key(
    ama: User, client: Client, settings: LazySettings
) -> None:
    before = Client()
    sign_in(before, "ama")
    secret = with_app(ama)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-key-of-fifty-letters-0123456789-0123456789-xyz"
    assert who(before) == "ama"
    assert kept_secret(ama) == secret
    past_second_factor(ama, client, secret)
    assert who(client) == "ama"
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(CannotBeRead):
        kept_secret(ama)


def test_a_key_is_added_by_name_and_needs_its_ceremony(client: Client, ama: User) -> None:
    sign_in(client, "ama")
    page = client.get("/accounts/2fa/webauthn/add/").content.decode()
    assert '"name": "YEA Poultry"' in page
    for credential in ("", "{}", '{"id": "x"}', "[]", "not json"):
        answer = client.post("/accounts/2fa/webauthn/add/", {"name": "Key", "credential": credential})
        assert answer.status_code == 200, credential
    assert not Authenticator.objects.exists()


# --- codes ---------------------------------------------------------------------------------------------------------


def test_signing_in_asks_for_the_code_and_records_one_success(client: Client, ama: User) -> None:
    secret = with_app(ama)
    assert sign_in(client, "ama").headers["Location"] == "/accounts/2fa/authenticate/"
    assert who(client) == ""
    assert not LoginRecord.objects.exists(), "nothing is decided yet"
    assert code(client, now_shown(secret)).headers["Location"] == "/accounts/2fa/trust/"
    assert who(client) == ""
    assert client.post("/accounts/2fa/trust/", {"trust": "no"}).headers["Location"] == "/"
    assert who(client) == "ama"
    assert reasons() == [""]
    assert not TrustedDevice.objects.exists()


@pytest.mark.parametrize(("steps", "right"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_clock_may_be_one_step_off(client: Client, ama: User, steps: int, right: bool) -> None:
    secret = with_app(ama)
    with time_machine.travel("2026-03-02T08:00:10Z", tick=False):
        sign_in(client, "ama")
        answer = code(client, now_shown(secret, steps))
    assert (answer.status_code == 302) is right


def test_a_code_works_once_also_without_the_cache(client: Client, ama: User, settings: LazySettings) -> None:
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/1"}}
    secret = with_app(ama)
    with time_machine.travel("2026-03-02T08:00:10Z", tick=False):
        shown = now_shown(secret)
        past_second_factor(ama, client, secret)
        other = Client()
        sign_in(other, "ama")
        assert WRONG in code(other, shown).content.decode()
        assert WRONG in code(other, now_shown(secret, -1)).content.decode(), "nor an earlier one"
        assert code(other, now_shown(secret, 1)).status_code == 302


@pytest.mark.parametrize("typed", ["", "000000", "x" * 5_000, "\N{ARABIC-INDIC DIGIT ONE}" * 6, "12 34 56", "----"])
def test_any_code_is_an_answer_and_no_error(client: Client, ama: User, typed: str) -> None:
    secret = with_app(ama)
    if typed == now_shown(secret):
        return
    sign_in(client, "ama")
    assert code(client, typed).status_code == 200
    assert who(client) == ""


def test_wrong_codes_count_and_lock_whichever_window_they_come_from(ama: User) -> None:
    secret = with_app(ama)
    windows = [Client() for _ in range(3)]
    for window in windows:
        sign_in(window, "ama")
    for number in range(5):
        assert WRONG in code(windows[number % 2], "000000").content.decode()
    ama.refresh_from_db()
    assert ama.locked_until
    assert WRONG in code(windows[2], now_shown(secret)).content.decode(), "the right one is too late"
    assert reasons() == [*["second_factor"] * 5, "locked"]


def test_passwords_and_codes_count_together(client: Client, ama: User) -> None:
    with_app(ama)
    for _ in range(3):
        sign_in(Client(), "ama", "wrong")
    sign_in(client, "ama")
    code(client, "000000")
    ama.refresh_from_db()
    assert (ama.failed_login_attempts, ama.locked_until) == (4, None), "the right password alone resets nothing"
    code(client, "000000")
    ama.refresh_from_db()
    assert ama.locked_until


def test_a_recovery_code_works_once_and_is_told(client: Client, ama: User) -> None:
    with_app(ama)
    [first, *_] = recovery_codes(ama)
    sign_in(client, "ama")
    assert code(client, f"{first[:4]} {first[4:8]}-{first[8:]}").status_code == 302
    assert (kinds(), alerts()) == (["backup_code_used"], 1)
    client.post("/accounts/2fa/trust/", {})
    assert who(client) == "ama"
    other = Client()
    sign_in(other, "ama")
    assert WRONG in code(other, first).content.decode()
    assert len(recovery_codes(ama)) == 9


# --- trusted devices -----------------------------------------------------------------------------------------------


def test_a_trusted_device_is_not_asked_for_thirty_days(client: Client, ama: User) -> None:
    secret = with_app(ama)
    with time_machine.travel("2026-03-02T08:00:00Z", tick=False):
        past_second_factor(ama, client, secret, trust="yes")
        assert who(client) == "ama"
        client.post("/accounts/logout/")
    with time_machine.travel("2026-04-01T07:59:00Z", tick=False):
        assert sign_in(client, "ama").headers["Location"] == "/"
        assert sign_in(Client(), "ama").headers["Location"] == "/accounts/2fa/authenticate/", "another browser"
        client.post("/accounts/logout/")
    with time_machine.travel("2026-04-01T08:00:01Z", tick=False):
        assert sign_in(client, "ama").headers["Location"] == "/accounts/2fa/authenticate/"


def test_trust_is_of_one_person(client: Client, ama: User, esi: User) -> None:
    past_second_factor(ama, client, with_app(ama), trust="yes")
    client.post("/accounts/logout/")
    with_app(esi)
    assert sign_in(client, "esi").headers["Location"] == "/accounts/2fa/authenticate/"


def test_trust_is_listed_and_taken_back(client: Client, ama: User) -> None:
    past_second_factor(ama, client, with_app(ama), trust="yes")
    page = client.get("/accounts/devices/").content.decode()
    assert "this device" in page
    device = TrustedDevice.objects.get()
    stranger = UserFactory.create(username="stranger")
    other = Client()
    sign_in(other, "stranger")
    assert (
        "no such device" in other.post("/accounts/devices/", {"device": str(device.pk)}, follow=True).content.decode()
    )
    assert selectors.trusted_devices(stranger.pk, clock.now()).count() == 0
    assert selectors.trusted_devices(ama.pk, clock.now()).count() == 1
    assert other.post("/accounts/devices/", {"device": "x"}).status_code == 404
    client.post("/accounts/devices/", {"device": str(device.pk)})
    assert "No device is trusted" in client.get("/accounts/devices/").content.decode()
    client.post("/accounts/logout/")
    assert sign_in(client, "ama").headers["Location"] == "/accounts/2fa/authenticate/"


def test_the_question_of_trust_is_for_who_has_passed_the_second_factor(client: Client, ama: User) -> None:
    with_app(ama)
    sign_in(client, "ama")
    for method in ("get", "post"):
        assert getattr(client, method)("/accounts/2fa/trust/").headers["Location"] == "/accounts/login/"
    assert not TrustedDevice.objects.exists()


def test_the_app_trusts_its_phone_by_a_header_and_only_with_an_id_of_its_own(ama: User) -> None:
    secret = with_app(ama)
    for device, trusted in (("short", False), (MINE, True)):
        app = App(device)
        app.sign_in("ama")
        assert not app.access
        with time_machine.travel(clock.now() if trusted else "2026-03-02T08:00:00Z"):
            assert app.code(now_shown(secret), **{"X-Trust-Device": "true"}).status_code == 200
        assert TrustedDevice.objects.exists() is trusted
        again = App(device)
        again.sign_in("ama")
        assert bool(again.access) is trusted
    browser = Client()
    sign_in(browser, "ama", headers={"X-Device-Id": MINE})
    assert who(browser) == "", "a browser has no such id"


# --- taking it away ------------------------------------------------------------------------------------------------


def test_who_may_takes_the_last_one_away_with_all_that_hangs_on_it(client: Client, ama: User) -> None:
    past_second_factor(ama, client, with_app(ama), trust="yes")
    assert client.post(DEACTIVATE).headers["Location"] == "/accounts/2fa/"
    assert not Authenticator.objects.exists(), "recovery codes too"
    assert not selectors.trusted_devices(ama.pk, clock.now()).exists()
    assert (kinds(), alerts()) == (["mfa_disabled"], 1)


def test_who_must_have_one_keeps_the_last(client: Client, esi: User) -> None:
    past_second_factor(esi, client, with_app(esi), trust="yes")
    page = client.get(DEACTIVATE).content.decode()
    assert "the last one stays" in page
    assert "Remove the app</button>" not in page
    client.post(DEACTIVATE)
    key = Authenticator.objects.create(user=esi, type="webauthn", data={"name": "Key"})
    assert client.post(DEACTIVATE).headers["Location"] == "/accounts/2fa/"
    answer = client.post(f"/accounts/2fa/webauthn/keys/{key.pk}/remove/", follow=True)
    assert "so the last one stays" in answer.content.decode()
    assert [one.type for one in Authenticator.objects.order_by("pk")] == ["recovery_codes", "webauthn"]
    assert kinds() == []


def test_what_fails_half_way_leaves_nothing_behind(client: Client, ama: User, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_in(client, "ama")
    secret = secret_on_page(client.get(ACTIVATE).content.decode())

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the ledger is away")

    monkeypatch.setattr(service, "enqueue", broken)
    with pytest.raises(RuntimeError):
        client.post(ACTIVATE, {"code": now_shown(secret)})
    assert not Authenticator.objects.exists()
    assert kinds() == []


def test_an_owner_resets_what_somebody_has_lost(esi: User, client: Client) -> None:
    owner = UserFactory.create(role=Role.SUPER_ADMIN)
    past_second_factor(esi, client, with_app(esi), trust="yes")
    asked = {"actor": owner, "user_id": esi.pk, "now": clock.now(), "origin": NOWHERE}
    with pytest.raises(InvalidInput):
        service.reset_mfa(**asked, reason=" ")  # type: ignore[arg-type]
    event = service.reset_mfa(**asked, reason="phone lost")  # type: ignore[arg-type]
    assert (event.kind, event.actor, event.user) == ("mfa_reset", owner, esi)
    assert not Authenticator.objects.exists()
    assert not selectors.trusted_devices(esi.pk, clock.now()).exists()
    assert AuditLog.objects.get().action == "user.reset_mfa"
    tasks = sorted(TaskRun.objects.values_list("task", flat=True))
    assert tasks == ["accounts.tasks.send_mfa_alert", "core.tasks.send_admin_notification"]
    assert client.get("/").headers["Location"] == "/accounts/2fa/", "signed in, and setting up a new one"
    with pytest.raises(Conflict, match="no second factor"):
        service.reset_mfa(**asked, reason="again")  # type: ignore[arg-type]


def test_nobody_else_resets_it_nor_anybody_for_themselves(esi: User) -> None:
    with_app(esi)
    owner = UserFactory.create(role=Role.SUPER_ADMIN)
    with_app(owner)
    head = UserFactory.create(role=Role.NATIONAL_ADMIN)
    for actor, user, error in ((head, esi, NotAllowed), (owner, owner, NotAllowed), (esi, head, NotAllowed)):
        with pytest.raises(error):
            service.reset_mfa(actor=actor, user_id=user.pk, reason="x", now=clock.now(), origin=NOWHERE)
    with pytest.raises(NotFound):
        service.reset_mfa(actor=UserFactory.create(), user_id=esi.pk, reason="x", now=clock.now(), origin=NOWHERE)
    assert Authenticator.objects.count() == 4


def test_a_secret_has_the_length_that_apps_expect() -> None:
    assert len(totp.generate_totp_secret()) == 32
