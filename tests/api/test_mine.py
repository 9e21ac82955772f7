"""What people read and do about their own account over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from accounts.models import LoginRecord, TrustedDevice, User
from accounts.rules import CODE_ATTEMPTS
from accounts.tasks import send_one_time_code, send_verification_link
from core import clock
from tests.accounts.letters import asked_for, letter
from tests.accounts.signing_in import App
from tests.accounts.signing_in import sign_in as on_page
from tests.api.conftest import API, SignIn
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db
JSON = "application/json"
CHROME = "Mozilla/5.0 (Linux; Android 14) Chrome/130.0"


@pytest.fixture
def ama(db: None) -> User:
    return UserFactory.create(username="ama", phone="+233244000111", email="ama@example.com")


@pytest.fixture
def client_of_ama(sign_in: SignIn, ama: User) -> Client:
    return sign_in(ama)


def test_i_change_my_name_my_language_and_how_i_am_reached(client_of_ama: Client, ama: User) -> None:
    told = client_of_ama.patch(
        f"{API}/me/", {"first_name": "Akua", "language": "ee", "preferred_contact_method": "whatsapp"}, JSON
    ).json()
    assert (told["first_name"], told["last_name"], told["language"]) == ("Akua", "Darko", "ee")
    assert told["preferred_contact_method"] == "WHATSAPP"
    ama.refresh_from_db()
    assert (ama.first_name, ama.language) == ("Akua", "ee")


@pytest.mark.parametrize(
    "sent",
    [{"language": "fr"}, {"preferred_contact_method": "pigeon"}, {"first_name": ""}, {"first_name": None}, [], "x"],
)
def test_what_i_cannot_be_is_told(client_of_ama: Client, sent: Any) -> None:
    assert client_of_ama.patch(f"{API}/me/", sent, JSON).status_code == 400


def test_what_is_not_mine_to_change_stays(client_of_ama: Client, ama: User) -> None:
    sent = {"role": "SUPER_ADMIN", "phone": "0244999999", "email": "x@example.com", "phone_verified": True}
    assert client_of_ama.patch(f"{API}/me/", sent, JSON).status_code == 200
    before = (ama.role, ama.phone, ama.email, ama.phone_verified)
    ama.refresh_from_db()
    assert (ama.role, ama.phone, ama.email, ama.phone_verified) == before


def test_i_confirm_my_phone_by_the_code_that_went_to_it(client_of_ama: Client, ama: User) -> None:
    assert client_of_ama.post(f"{API}/me/phone/verification/").status_code == 202
    [(task, arguments)] = asked_for()
    assert task == "send_one_time_code"
    send_one_time_code(*arguments)
    code = letter("phone_code").code
    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    confirm = f"{API}/me/phone/verification/confirm/"
    for _ in range(CODE_ATTEMPTS - 1):
        assert client_of_ama.post(confirm, {"code": wrong}, JSON).status_code == 400
    assert client_of_ama.post(confirm, {"code": code}, JSON).status_code == 204
    ama.refresh_from_db()
    assert ama.phone_verified
    assert client_of_ama.post(confirm, {"code": code}, JSON).status_code == 400


def test_too_many_codes_are_refused_with_what_to_do(client_of_ama: Client) -> None:
    answers = [client_of_ama.post(f"{API}/me/phone/verification/") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
    assert "quarter of an hour" in answers[-1].json()["detail"]


def test_i_confirm_my_address_by_a_link(client_of_ama: Client, ama: User) -> None:
    assert client_of_ama.post(f"{API}/me/email/verification/").status_code == 202
    [(task, arguments)] = asked_for()
    assert task == "send_verification_link"
    send_verification_link(*arguments)
    token = letter("verify_email").token
    assert Client().post(f"{API}/auth/email/verify/", {"token": token}, JSON).status_code == 204
    assert client_of_ama.post(f"{API}/me/email/verification/").status_code == 409


def test_i_see_where_i_am_signed_in_and_end_it_there(ama: User) -> None:
    here, there, elsewhere = (Client(headers={"User-Agent": CHROME}) for _ in range(3))
    for browser in (here, there, elsewhere):
        on_page(browser, "ama")
    phone = App()
    phone.sign_in("ama")
    listed = here.get(f"{API}/me/sessions/").json()
    assert [(one["device"], one["is_app"], one["is_current"]) for one in listed] == [
        ("Chrome on Android", False, True),
        ("Chrome on Android", False, False),
        ("Chrome on Android", False, False),
        ("YEA-App/1.0 Android", True, False),
    ]
    assert here.delete(f"{API}/me/sessions/{listed[1]['number']}/").status_code == 204
    assert here.delete(f"{API}/me/sessions/{listed[1]['number']}/").status_code == 404
    assert [browser.get(f"{API}/me/").status_code for browser in (here, there, elsewhere)] == [200, 401, 200]
    assert here.delete(f"{API}/me/sessions/").status_code == 204
    assert [browser.get(f"{API}/me/").status_code for browser in (here, elsewhere)] == [200, 401]
    assert phone.who() == "", "the tokens of the app ended with its session"


def test_the_app_knows_its_own_session_by_its_token(ama: User) -> None:
    phone, other = App(), App("another-phone-of-ama-1")
    for app in (phone, other):
        app.sign_in("ama")
    bearer = {"Authorization": f"Bearer {phone.access}"}
    listed = Client().get(f"{API}/me/sessions/", headers=bearer).json()
    assert [one["is_current"] for one in listed] == [True, False]
    assert Client().delete(f"{API}/me/sessions/", headers=bearer).status_code == 204
    assert (phone.who(), other.who()) == ("ama", "")


def test_i_see_the_devices_that_are_trusted_and_take_that_back(client_of_ama: Client, ama: User) -> None:
    later = clock.now() + timedelta(days=30)
    mine = TrustedDevice.objects.create(user=ama, device_hash="a", user_agent=CHROME, trust_expires_at=later)
    TrustedDevice.objects.create(user=ama, device_hash="b", trust_expires_at=clock.now())
    TrustedDevice.objects.create(user=UserFactory.create(), device_hash="c", trust_expires_at=later)
    [one] = client_of_ama.get(f"{API}/me/devices/").json()
    assert (one["id"], one["device"]) == (str(mine.pk), "Chrome on Android")
    assert client_of_ama.delete(f"{API}/me/devices/{mine.pk}/").status_code == 204
    assert client_of_ama.get(f"{API}/me/devices/").json() == []


def test_i_see_each_attempt_to_sign_in_as_me_newest_first(client_of_ama: Client, ama: User) -> None:
    for number in range(3):
        LoginRecord.objects.create(
            user=ama, at=clock.now() + timedelta(seconds=number), success=True, place=str(number)
        )
    LoginRecord.objects.create(user=ama, at=clock.now(), success=False, failure_reason="password", user_agent=CHROME)
    LoginRecord.objects.create(user=UserFactory.create(), at=clock.now(), success=True)
    first = client_of_ama.get(f"{API}/me/logins/?limit=2").json()
    second = client_of_ama.get(first["next"]).json()
    rows = [*first["results"], *second["results"]]
    assert [row["place"] for row in rows] == ["2", "1", "", "0"]
    assert (rows[2]["success"], rows[2]["failure_reason"], rows[2]["device"]) == (
        False,
        "password",
        "Chrome on Android",
    )
    assert second["next"] is None
