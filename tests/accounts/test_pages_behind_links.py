"""The pages whose address holds a token."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import AccountToken, StaffInvitation, User
from accounts.rules import Role, TokenPurpose
from accounts.services import invitations, people, secrets
from core import clock
from tests.accounts.letters import letter
from tests.accounts.signing_in import sign_in, who
from tests.accounts.test_pages_for_strangers import NEW, deliver, seen, told
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

TWICE = {"password": NEW, "password_again": NEW}
KOFI = {**TWICE, "phone": "0244000556", "first_name": "Kofi", "last_name": "Mensah"}
OVER = "This link does not work any more"


@pytest.fixture
def reset(ama: User) -> str:
    secrets.request_password_reset(identifier="ama", ip=None, now=clock.now())
    deliver()
    return f"/accounts/password/new/{letter('reset_link').token}/"


@pytest.fixture
def confirm(ama: User) -> str:
    secrets.ask_to_verify_email(user=ama, now=clock.now())
    deliver()
    return f"/accounts/email/verify/{letter('verify_email').token}/"


@pytest.fixture
def invited(owner: User) -> str:
    invitations.invite(actor=owner, email="kofi@example.com", role="auditor", now=clock.now())
    deliver()
    return f"/accounts/invitation/{letter('staff_invitation').token}/"


def test_a_new_password_by_the_link_of_a_reset(client: Client, ama: User, reset: str) -> None:
    page = client.get(reset)
    assert "Set a new password" in seen(page)
    assert "ama" in seen(page)
    assert "Your password is changed" in told(client.post(reset, TWICE), client)
    sign_in(client, "ama", NEW)
    assert who(client) == "ama"
    assert OVER in seen(client.get(reset))


def test_a_first_password_opens_the_account(client: Client, owner: User) -> None:
    people.create_person(
        actor=owner, phone="0244000557", role="farmer", first_name="Yaa", last_name="Owusu", now=clock.now()
    )
    deliver()
    address = f"/accounts/password/new/{letter('first_password').token}/"
    assert "Choose your password" in seen(client.get(address))
    assert "Your account is open" in told(client.post(address, TWICE), client)
    sign_in(client, "0244000557", NEW)
    assert who(client)


def test_a_password_that_is_weak_or_differs_leaves_the_link_good(client: Client, reset: str) -> None:
    for given, said in (
        ({**TWICE, "password_again": "x"}, "not the same"),
        ({"password": "1234567890", "password_again": "1234567890"}, "numeric"),
        ({"password": "ama@example.com", "password_again": "ama@example.com"}, "too similar"),
        ({}, "required"),
    ):
        answer = client.post(reset, given)
        assert answer.status_code == 200
        assert said in seen(answer)
        assert NEW not in seen(answer)
    assert client.post(reset, TWICE).status_code == 302


def test_looking_at_the_link_to_an_address_confirms_nothing_and_the_button_does(
    client: Client, ama: User, confirm: str
) -> None:
    for method in (client.get, client.head):
        assert method(confirm).status_code == 200
    assert not User.objects.get(pk=ama.pk).email_verified
    assert "ama@example.com" in seen(client.get(confirm))
    client.force_login(ama)
    assert "is confirmed" in told(client.post(confirm), client)
    assert User.objects.get(pk=ama.pk).email_verified
    assert "there is nothing to do" in seen(client.get(confirm))


def test_an_invitation_says_who_invites_and_as_what_and_opens_the_account(
    client: Client, owner: User, invited: str
) -> None:
    page = seen(client.get(invited))
    assert (owner.get_full_name() or owner.username) in page
    assert "Auditor" in page
    assert "kofi@example.com" in page
    answer = client.post(invited, KOFI)
    assert "Your account is open" in told(answer, client)
    kofi = User.objects.get(email="kofi@example.com")
    assert (kofi.role, kofi.phone, kofi.email_verified) == ("AUDITOR", "+233244000556", True)
    assert OVER in seen(client.post(invited, KOFI))
    assert User.objects.filter(email="kofi@example.com").count() == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"phone": "0"}, "right form"), ({"last_name": ""}, "required"), ({"password_again": "x"}, "not the same")],
    ids=str,
)
def test_what_is_wrong_leaves_the_invitation_open(
    client: Client, invited: str, wrong: dict[str, str], said: str
) -> None:
    answer = client.post(invited, {**KOFI, **wrong})
    assert answer.status_code == 200
    assert said in seen(answer)
    assert 'value="Kofi"' in seen(answer)
    assert client.post(invited, KOFI).status_code == 302


def test_a_number_of_somebody_else_is_refused_at_its_field(client: Client, ama: User, invited: str) -> None:
    page = seen(client.post(invited, {**KOFI, "phone": ama.phone}))
    assert "already exists" in page.split('id="id_phone"')[0]


def over(address: str, client: Client, given: dict[str, str]) -> None:
    for answer in (client.get(address), client.post(address, given)):
        assert answer.status_code == 404
        assert OVER in seen(answer)


def test_a_link_whose_time_is_over_does_nothing(client: Client, reset: str, confirm: str, invited: str) -> None:
    AccountToken.objects.update(expires_at=clock.now())
    StaffInvitation.objects.update(expires_at=clock.now())
    for address in (reset, confirm, invited):
        over(address, client, KOFI)


def test_a_link_that_was_never_made_or_is_for_something_else_does_nothing(
    client: Client, reset: str, confirm: str, invited: str
) -> None:
    tokens = [address.split("/")[-2] for address in (reset, confirm, invited)]
    for at, path in enumerate(("password/new", "email/verify", "invitation")):
        for token in ("x" * 43, "%00", "\N{PILE OF POO}", *(tokens[:at] + tokens[at + 1 :])):
            over(f"/accounts/{path}/{token}/", client, KOFI)


def test_a_link_to_an_account_that_is_closed_does_nothing(client: Client, ama: User, reset: str, confirm: str) -> None:
    User.objects.filter(pk=ama.pk).update(is_active=False, activated_at=clock.now())
    for address in (reset, confirm):
        over(address, client, TWICE)


def headers_of(answer: Any) -> tuple[str, bool]:
    return answer.headers["Referrer-Policy"], "no-store" in answer.headers["Cache-Control"]


def test_the_token_leaves_the_page_by_no_way(client: Client, reset: str, confirm: str, invited: str) -> None:
    for address in (reset, confirm, invited):
        page = client.get(address)
        assert headers_of(page) == ("no-referrer", True)
        assert address.split("/")[-2] not in seen(page), "the form posts to the same address"
        assert headers_of(client.post(address, {"password": "x"})) == ("no-referrer", True)
        assert headers_of(client.get(f"{address[:-2]}!/")) == ("no-referrer", True)


def test_links_open_for_who_has_yet_to_set_up_a_second_factor(
    client: Client, reset: str, confirm: str, invited: str
) -> None:
    client.force_login(UserFactory.create(role=Role.AUDITOR, is_demo=False))
    assert client.get("/accounts/").headers["Location"] == "/accounts/2fa/"
    for address in (reset, confirm, invited, "/accounts/password/reset/", "/accounts/password/reset/code/"):
        assert client.get(address).status_code == 200, address


def test_a_form_behind_a_link_comes_without_origin_and_cookies(reset: str) -> None:
    """As browsers send it from a page with no-referrer."""
    strict = Client(enforce_csrf_checks=True)
    assert strict.post(reset, TWICE, headers={"Origin": "null"}).status_code == 302


def test_too_many_tries_of_a_link_wait(settings: Any, client: Client, one_minute: None, reset: str) -> None:
    settings.API_LIMITS = {**settings.API_LIMITS, "account": 1}
    assert client.post(reset, {}).status_code == 200
    assert client.post(reset, TWICE).status_code == 429
    assert AccountToken.objects.get(purpose=TokenPurpose.PASSWORD_RESET).used_at is None
