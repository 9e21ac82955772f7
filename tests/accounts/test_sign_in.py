"""Signing in by name and password: who gets in, what is written down, and when an account is locked."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
import time_machine
from django.conf import LazySettings
from django.db import connection
from django.test import Client

from accounts import selectors
from accounts.models import LoginRecord, User
from accounts.rules import Refusal, Role
from accounts.services import people, sign_in
from accounts.services.sign_in import Visit
from core import clock
from core.api import throttles
from core.base.models import Setting
from core.jobs.models import TaskRun
from tests.accounts import signing_in
from tests.accounts.letters import letters
from tests.accounts.signing_in import WRONG, who
from tests.factories import UserFactory
from tests.factories.accounts import PASSWORD

pytestmark = pytest.mark.django_db

PHONE = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36"


@pytest.fixture
def ama() -> User:
    return UserFactory.create(username="Ama", phone="+233244123456", email="ama@example.com")


def reasons() -> list[str]:
    return list(LoginRecord.objects.order_by("at").values_list("failure_reason", flat=True))


def fail(name: str, times: int = 1, password: str = "not-the-password") -> None:
    for _ in range(times):
        signing_in.sign_in(Client(), name, password)


# --- who gets in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "typed",
    ["Ama", "ama", " AMA ", "0244123456", "024 412-3456", "+233244123456", "ama@example.com", "AMA@Example.COM"],
)
def test_a_person_signs_in_by_phone_email_or_username(client: Client, ama: User, typed: str) -> None:
    answer = signing_in.sign_in(client, typed)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert who(client) == "Ama"
    record = LoginRecord.objects.get()
    assert (record.user, record.success, record.failure_reason, record.ip) == (ama, True, "", "127.0.0.1")


def test_who_takes_the_number_of_another_for_a_username_is_not_found_by_it(ama: User) -> None:
    UserFactory.create(username="0244123456")
    UserFactory.create(username="ama@example.com")
    assert selectors.who_signs_in("0244123456") == ama
    assert selectors.who_signs_in("ama@example.com") == ama


def test_usernames_that_differ_in_case_alone_are_typed_as_they_are(ama: User) -> None:
    small = UserFactory.create(username="ama")
    assert (selectors.who_signs_in("ama"), selectors.who_signs_in("Ama")) == (small, ama)
    assert selectors.who_signs_in("AMA") is None


@pytest.mark.parametrize("typed", ["", "nobody", "x" * 300, "a\0b", "\ud800", "0302123456", "' OR 1=1 --"])
def test_what_nobody_is_called_finds_nobody(ama: User, typed: str) -> None:
    assert selectors.who_signs_in(typed) is None


def test_a_name_is_found_by_the_indexes(ama: User) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        plan = User.objects.filter(selectors.names("ama@example.com")).explain()
        assert "Seq Scan" not in plan
        assert "Seq Scan" not in User.objects.filter(selectors.names("0244123456")).explain()


def test_after_signing_in_one_goes_where_one_wanted_to_go_but_never_to_another_site(client: Client, ama: User) -> None:
    wanted = {"login": "ama", "password": PASSWORD, "next": "/accounts/sessions/"}
    assert client.post("/accounts/login/", wanted).headers["Location"] == "/accounts/sessions/"
    elsewhere = {**wanted, "next": "https://evil.example/"}
    assert Client().post("/accounts/login/", elsewhere).headers["Location"] == "/"


def test_cookies_are_hidden_from_scripts_and_last_a_week_or_a_year(client: Client, ama: User) -> None:
    signing_in.sign_in(client, "ama")
    session, device = client.cookies["sessionid"], client.cookies["pms_device"]
    assert session["max-age"] == 7 * 86_400
    assert device["max-age"] == 400 * 86_400
    for cookie in (session, device):
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"
    assert client.get("/accounts/login/").status_code == 302
    assert Client().get("/accounts/login/").cookies["csrftoken"]["httponly"]


# --- who does not --------------------------------------------------------------------------------------------------


def test_every_refusal_reads_the_same_and_the_record_has_the_true_reason(client: Client, ama: User) -> None:
    now = clock.now()
    UserFactory.create(username="invited", is_active=False)
    UserFactory.create(username="locked", locked_until=now + timedelta(minutes=5), failed_login_attempts=5)
    UserFactory.create(
        username="suspended",
        is_suspended=True,
        suspended_at=now,
        suspension_reason="x",
        locked_until=now + timedelta(minutes=5),
    )
    pages = set()
    for name, password in (
        ("nobody", PASSWORD),
        ("ama", "not-the-password"),
        ("invited", PASSWORD),
        ("locked", PASSWORD),
        ("suspended", PASSWORD),
        ("suspended", "not-the-password"),
    ):
        answer = signing_in.sign_in(Client(), name, password)
        assert answer.status_code == 200
        page = answer.content.decode()
        assert WRONG in page
        pages.add(page.replace(name, "NAME").partition("csrfmiddlewaretoken")[0] + page.rpartition("</form>")[2])
    assert len(pages) == 1
    assert reasons() == ["unknown", "password", "inactive", "locked", "suspended", "suspended"]
    assert LoginRecord.objects.filter(user=None).count() == 1
    assert not LoginRecord.objects.filter(success=True).exists()


def test_a_name_that_nobody_has_is_not_kept_anywhere(client: Client) -> None:
    signing_in.sign_in(client, "my-secret-password-typed-in-the-wrong-place", "x")
    row = LoginRecord.objects.values().get()
    assert "secret" not in str(row)


def test_a_demonstration_account_is_refused_outside_of_development(client: Client, settings: LazySettings) -> None:
    UserFactory.create(username="demo", is_demo=True)
    signing_in.sign_in(client, "demo")
    assert who(client) == "demo"
    settings.DEVELOPMENT = False
    assert who(client) == "", "a session that is open ends too"
    assert WRONG in signing_in.sign_in(Client(), "demo").content.decode()
    assert reasons() == ["", "demo"]


@pytest.mark.parametrize("password", ["\ud800", "x" * 5_000, "\N{PILE OF POO}", " " + PASSWORD])
def test_any_password_is_an_answer_and_no_error(ama: User, password: str) -> None:
    assert sign_in.attempt(typed="ama", password=password, visit=Visit(), now=clock.now()) is None
    assert reasons() == ["password"]


def test_known_and_unknown_names_take_the_same_work(ama: User) -> None:
    """Loosely: one hash of the password takes some fifty times what is allowed to differ."""

    def took(name: str) -> float:
        began = time.perf_counter()
        sign_in.attempt(typed=name, password="not-the-password", visit=Visit(), now=clock.now())
        return time.perf_counter() - began

    Setting.objects.create(key="auth.lockout_failures", value=20)
    suspended = UserFactory.create(is_suspended=True, suspended_at=clock.now(), suspension_reason="x").username
    names = ("ama", "nobody", suspended)
    rounds = [[took(name) for name in names] for _ in range(8)]
    least = [min(times) for times in zip(*rounds, strict=True)]  # what the rest of the machine does only adds
    assert max(least) < 1.5 * min(least), dict(zip(names, least, strict=True))


# --- the lock ------------------------------------------------------------------------------------------------------


def test_the_fifth_failure_in_a_row_locks_for_a_quarter_of_an_hour(client: Client, ama: User) -> None:
    with time_machine.travel("2026-03-02T08:00:00Z", tick=False):
        fail("ama", 4)
        ama.refresh_from_db()
        assert (ama.failed_login_attempts, ama.locked_until) == (4, None)
        fail("ama")
        ama.refresh_from_db()
        assert ama.locked_until == clock.now() + timedelta(minutes=15)
        signing_in.sign_in(client, "ama")
        assert who(client) == "", "the right password does not help"
    assert reasons() == ["password"] * 5 + ["locked"]
    with time_machine.travel("2026-03-02T08:15:01Z", tick=False):
        fail("ama", 2)
        ama.refresh_from_db()
        assert ama.failed_login_attempts == 2, "a lock that is over begins anew"
        signing_in.sign_in(client, "ama")
        assert who(client) == "Ama"
        assert User.objects.filter(pk=ama.pk, failed_login_attempts=0, locked_until=None).exists()


def test_a_success_between_failures_begins_the_count_anew(ama: User) -> None:
    fail("ama", 4)
    signing_in.sign_in(Client(), "ama")
    fail("ama", 4)
    ama.refresh_from_db()
    assert ama.locked_until is None


def test_the_figures_of_the_lock_can_be_changed(ama: User) -> None:
    Setting.objects.create(key="auth.lockout_failures", value=3)
    Setting.objects.create(key="auth.lockout_minutes", value=60)
    fail("ama", 3)
    ama.refresh_from_db()
    assert ama.locked_until
    assert ama.locked_until > clock.now() + timedelta(minutes=59)


def test_a_lock_does_not_end_a_session_that_is_open_and_an_administrator_lifts_it(client: Client, ama: User) -> None:
    signing_in.sign_in(client, "ama")
    fail("ama", 5)
    assert who(client) == "Ama"
    other = Client()
    signing_in.sign_in(other, "ama")
    assert who(other) == ""
    head = UserFactory.create(role=Role.NATIONAL_ADMIN)
    people.unlock(actor=head, user_id=ama.pk, now=clock.now())
    signing_in.sign_in(other, "ama")
    assert who(other) == "Ama"


@pytest.mark.django_db(transaction=True)
def test_twenty_wrong_passwords_at_once_lock_once_and_are_counted_right() -> None:
    ama = UserFactory.create(username="ama")
    barrier = threading.Barrier(20)

    def guess() -> None:
        barrier.wait()
        try:
            sign_in.attempt(typed="ama", password="guess", visit=Visit(), now=clock.now())
        finally:
            connection.close()

    threads = [threading.Thread(target=guess) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ama.refresh_from_db()
    assert ama.failed_login_attempts == 5
    assert ama.locked_until
    assert sorted(reasons()) == ["locked"] * 15 + ["password"] * 5


def test_who_is_suspended_between_password_and_admission_is_refused(ama: User) -> None:
    found = sign_in.attempt(typed="ama", password=PASSWORD, visit=Visit(), now=clock.now())
    assert found == ama
    head = UserFactory.create(role=Role.NATIONAL_ADMIN)
    people.suspend(actor=head, user_id=ama.pk, reason="fraud", now=clock.now())
    record = sign_in.record_success(user_id=ama.pk, visit=Visit(), now=clock.now())
    assert (record.success, record.failure_reason) == (False, Refusal.SUSPENDED)


# --- limits of a minute --------------------------------------------------------------------------------------------


def test_a_name_known_or_not_and_an_address_may_try_so_often_a_minute(ama: User, settings: LazySettings) -> None:
    settings.SIGN_IN_LIMITS = {"name": 2, "address": 5}
    place = {"REMOTE_ADDR": "10.9.8.7"}
    with time_machine.travel("2026-03-02T11:11:11Z", tick=False):
        for name in ("ama", "nobody"):
            said = [signing_in.sign_in(Client(), name, "wrong", **place).content.decode() for _ in range(3)]
            assert ["Too many attempts" in page for page in said] == [False, False, True]
        assert "Too many attempts" in signing_in.sign_in(Client(), "other", "wrong", **place).content.decode()
        assert "Too many" not in signing_in.sign_in(Client(), "other", "wrong", REMOTE_ADDR="10.9.8.6").content.decode()
    assert reasons().count("unknown") == 3


def test_without_the_cache_one_signs_in_all_the_same(
    client: Client, ama: User, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttles.counts, "away_until", 0.0)
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/1"}}
    signing_in.sign_in(client, "ama")
    assert client.get("/").content.decode().count("Signed in as") == 1


# --- new devices and places ----------------------------------------------------------------------------------------


def told() -> list[str]:
    return [run.args[0] for run in TaskRun.objects.filter(task="accounts.tasks.send_login_alert").order_by("asked_at")]


def test_the_first_sign_in_warns_nobody_and_a_new_browser_does(ama: User) -> None:
    here, elsewhere = Client(), Client()
    signing_in.sign_in(here, "ama", headers={"User-Agent": PHONE})
    assert LoginRecord.objects.get().is_new_device
    assert told() == []
    here.post("/accounts/logout/")
    signing_in.sign_in(here, "ama", headers={"User-Agent": PHONE})
    assert told() == [], "the cookie tells the same browser"
    signing_in.sign_in(elsewhere, "ama", headers={"User-Agent": PHONE})
    newest = LoginRecord.objects.order_by("-at")[0]
    assert newest.is_new_device
    assert told() == [str(newest.pk)]
    assert LoginRecord.objects.values("device_hash").distinct().count() == 2


def test_a_device_that_was_not_seen_for_half_a_year_is_new_again(client: Client, ama: User) -> None:
    for day, count in (("2026-01-01", 0), ("2026-06-01", 0), ("2026-11-29", 1)):
        with time_machine.travel(f"{day}T08:00:00Z", tick=False):
            client.post("/accounts/logout/")
            signing_in.sign_in(client, "ama")
            assert len(told()) == count, day


def test_a_cookie_that_was_tampered_with_is_none(client: Client, ama: User) -> None:
    client.cookies["pms_device"] = "forged:1abc:def"
    signing_in.sign_in(client, "ama")
    assert client.cookies["pms_device"].value != "forged:1abc:def"


def test_a_new_place_is_told_when_the_proxy_names_it(client: Client, ama: User, settings: LazySettings) -> None:
    signing_in.sign_in(client, "ama", headers={"X-Geo": "Accra"})
    assert LoginRecord.objects.get().place == "", "nobody is believed unless the setting names the header"
    settings.PLACE_HEADER = "X-Geo"
    for place, new in (("Accra", True), ("Accra", False), ("Kumasi", True), ("", False)):
        client.post("/accounts/logout/")
        signing_in.sign_in(client, "ama", headers={"X-Geo": place})
        record = LoginRecord.objects.order_by("-at")[0]
        assert (record.place, record.is_new_place, record.is_new_device) == (place, new, False)
    assert len(told()) == 2


# --- the doors -----------------------------------------------------------------------------------------------------


def test_nobody_gets_into_the_admin_site_by_another_door(client: Client) -> None:
    UserFactory.create(role=Role.SUPER_ADMIN, username="akosua")
    answer = client.post("/admin/login/?next=/admin/", {"username": "akosua", "password": PASSWORD})
    assert answer.headers["Location"] == "/accounts/login/?next=%2Fadmin%2F"
    assert who(client) == ""
    answer = client.post("/accounts/login/", {"login": "akosua", "password": PASSWORD, "next": "/admin/"}, follow=True)
    assert answer.redirect_chain[-1][0] == "/admin/"
    assert answer.status_code == 200
    assert client.get("/admin/password_change/").headers["Location"] == "/accounts/password/change/"


def test_a_new_password_ends_the_other_sessions_and_keeps_this_one(client: Client, ama: User) -> None:
    other = Client()
    for one in (client, other):
        signing_in.sign_in(one, "ama")
    asked = {"oldpassword": PASSWORD, "password1": "a-much-better-one", "password2": "a-much-better-one"}
    assert client.post("/accounts/password/change/", asked).status_code == 302
    assert (who(client), who(other)) == ("Ama", "")
    ama.refresh_from_db()
    assert ama.token_version == 1
    assert ama.check_password("a-much-better-one")
    event = ama.security_events.get()
    assert (event.kind, event.actor, event.ip) == ("password_changed", ama, "127.0.0.1")
    assert {letter.channel for letter in letters("password_changed")} == {"email", "sms"}


def test_guessing_the_password_of_an_open_session_counts_and_locks(client: Client, ama: User) -> None:
    signing_in.sign_in(client, "ama")
    asked = {"oldpassword": "guess", "password1": "a-much-better-one", "password2": "a-much-better-one"}
    for _ in range(5):
        assert WRONG in client.post("/accounts/password/change/", asked).content.decode()
    assert WRONG in client.post("/accounts/password/change/", {**asked, "oldpassword": PASSWORD}).content.decode()
    assert reasons() == ["", *["password"] * 5, "locked"]
    ama.refresh_from_db()
    assert ama.check_password(PASSWORD)
