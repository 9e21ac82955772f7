"""The overview of an account, and confirming its phone and e-mail address."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import OneTimeCode, User
from accounts.rules import Role
from tests.accounts.letters import letter, letters
from tests.accounts.signing_in import sign_in, with_app
from tests.accounts.test_pages_for_strangers import deliver, seen, told
from tests.factories import ConstituencyFactory, UserFactory

pytestmark = pytest.mark.django_db

PHONE, EMAIL = "/accounts/phone/verify/", "/accounts/email/verify/"


@pytest.fixture
def as_ama(client: Client, ama: User) -> Client:
    sign_in(client, "ama")
    return client


def test_the_overview_says_who_one_is_and_what_is_confirmed(as_ama: Client) -> None:
    sign_in(Client(), "ama", "a wrong one")
    page = seen(as_ama.get("/accounts/"))
    for shown in ("Farmer", "+233244000111", "ama@example.com", PHONE, EMAIL, "Signed in", "Refused"):
        assert shown in page
    assert "at 1 place" in page
    User.objects.update(phone_verified=True, email_verified=True)
    page = seen(as_ama.get("/accounts/"))
    assert page.count("confirmed</span>") == 2
    assert PHONE not in page


def test_the_overview_names_role_and_place_and_the_second_factor(client: Client) -> None:
    yaa = UserFactory.create(role=Role.CONSTITUENCY_STAFF, constituency=ConstituencyFactory.create())
    with_app(yaa)
    client.force_login(yaa)
    page = seen(client.get("/accounts/"))
    assert "Constituency staff, Bantama (Ashanti)" in page
    assert "Second factor</a> – on" in page


def test_strangers_are_asked_to_sign_in(client: Client) -> None:
    for address in ("/accounts/", PHONE, EMAIL):
        for method in (client.get, client.post):
            assert method(address).headers["Location"] == f"/accounts/login/?next={address}"


def test_a_phone_is_confirmed_by_its_code(as_ama: Client, ama: User) -> None:
    assert "we have sent a code" in told(as_ama.post(PHONE, {"do": "send"}), as_ama)
    deliver()
    code = letter("phone_code").code
    wrong = as_ama.post(PHONE, {"code": "000000" if code != "000000" else "111111"})
    assert wrong.status_code == 200
    assert "This code is wrong" in seen(wrong).split('id="id_code"')[0]
    assert OneTimeCode.objects.get().attempts == 1
    assert "is confirmed" in told(as_ama.post(PHONE, {"code": f"{code[:3]} {code[3:]}"}), as_ama)
    assert "is confirmed" in seen(as_ama.get(PHONE))
    as_ama.post(PHONE, {"do": "send"})
    assert OneTimeCode.objects.count() == 1


def test_what_is_no_code_is_refused_and_not_shown_again(as_ama: Client) -> None:
    for typed, said in (("", "required"), ("x" * 21, "at most 20"), ("<b>9", "This code is wrong")):
        page = seen(as_ama.post(PHONE, {"code": typed}))
        assert said in page
        assert "b&gt;9" not in page


def test_a_mailbox_is_confirmed_by_its_link(as_ama: Client) -> None:
    assert "we have sent a link" in told(as_ama.post(EMAIL), as_ama)
    deliver()
    as_ama.post(f"/accounts/email/verify/{letter('verify_email').token}/")
    assert "is confirmed" in seen(as_ama.get(EMAIL))
    assert as_ama.post(EMAIL).status_code == 409


def test_who_has_no_mailbox_is_told_so(client: Client) -> None:
    client.force_login(UserFactory.create(role=Role.FARMER, email=""))
    assert "no e-mail address" in seen(client.get(EMAIL))
    assert client.post(EMAIL).status_code == 400


@pytest.mark.parametrize(("address", "given"), [(PHONE, {"do": "send"}), (EMAIL, {})])
def test_asking_too_often_is_told_so(as_ama: Client, address: str, given: dict[str, str]) -> None:
    assert [as_ama.post(address, given).status_code for _ in range(4)] == [302, 302, 302, 429]
    assert "were sent" in seen(as_ama.post(address, given))
    deliver()
    assert len(letters()) == 1, "a newer one replaces the one before"


def test_forms_of_ones_own_ask_for_the_csrf_token(ama: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(ama)
    for address in (PHONE, EMAIL):
        assert strict.post(address, {"do": "send"}).status_code == 403
        assert "no-store" in strict.get(address).headers["Cache-Control"]
