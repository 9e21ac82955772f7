"""The page behind the link of an approved application."""

from __future__ import annotations

import io
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client
from django.urls import resolve

from accounts.models import User
from accounts.rules import Role
from core import clock
from farms import links
from farms.models import Farm, FarmApplication, FarmInvitation, FarmLocation
from farms.services import applications
from tests.accounts.signing_in import sign_in, who
from tests.accounts.test_pages_for_strangers import NEW, seen, told
from tests.delivery.outbox import meanwhile
from tests.delivery.test_privacy import logged
from tests.factories import UserFactory, a_farm
from tests.farms.journey import apply, approved
from tests.farms.test_invitations import linked
from tests.limits import one_minute, wide_limits

__all__ = ["logged", "one_minute", "wide_limits"]  # fixtures
pytestmark = pytest.mark.django_db

TWICE = {"password": NEW, "password_again": NEW}
OVER = "This link does not work any more"


@pytest.fixture
def application(local: User, regional: User, national: User) -> FarmApplication:
    return approved(local, regional, national, email="ama@example.com", tin="P0001234567")


def address_of(application: FarmApplication) -> str:
    return f"/farms/invitation/{linked(application)}/"


@pytest.fixture
def address(application: FarmApplication) -> str:
    return address_of(application)


def over(client: Client, address: str) -> None:
    for answer in (client.get(address), client.post(address, TWICE)):
        assert answer.status_code == 404
        assert OVER in seen(answer)
        assert "/accounts/login/" in seen(answer)
        assert "ask the office" in seen(answer)


# --- what it shows and does ----------------------------------------------------------------------------------------


def test_it_greets_by_the_first_name_and_shows_nothing_else_of_the_person(
    client: Client, application: FarmApplication, address: str
) -> None:
    page = seen(client.get(address))
    assert "<strong>Ama</strong>" in page
    assert application.application_number in page
    for hidden in ("Serwaa", "Darko", application.primary_phone, application.primary_phone[4:9], "ama@example.com"):
        assert hidden not in page, hidden
    for hidden in (application.ghana_card_number, "P0001234567", "Bantama", "1998"):
        assert hidden not in page, hidden


def test_a_password_opens_account_and_farm_and_leads_to_signing_in(
    client: Client, application: FarmApplication, address: str
) -> None:
    place = {"community": " Ahinsan ", "digital_address": "ak-184-2278", "land_size_acres": "2.5"}
    answer = client.post(address, {**TWICE, **place})
    assert answer.headers["Location"] == "/accounts/login/"
    assert "Your account and your farm are open. Sign in with your phone number and your password." in told(
        answer, client
    )
    farm = Farm.objects.get()
    kept = FarmLocation.objects.get(farm=farm)
    assert (kept.community, kept.digital_address, kept.land_size_acres) == ("Ahinsan", "AK-184-2278", Decimal("2.50"))
    assert (farm.farm_name, farm.application) == (application.farm_name, application)
    assert not who(client), "the page signs nobody in"
    sign_in(client, application.primary_phone, NEW)
    assert who(client) == farm.farm_number.lower()


def test_looking_uses_nothing_up(client: Client, address: str) -> None:
    for method in (client.get, client.head):
        assert method(address).status_code == 200
    assert not Farm.objects.exists()
    assert FarmInvitation.objects.get().status == "sent"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"password_again": "x"}, "not the same"),
        ({"password": "1234567890", "password_again": "1234567890"}, "numeric"),
        ({"password": "short", "password_again": "short"}, "too short"),
        ({"password": "serwaa darko", "password_again": "serwaa darko"}, "too similar to the first name"),
        ({"password": ""}, "required"),
        ({"digital_address": "somewhere"}, "Write it like AK-184-2278"),
        ({"land_size_acres": "0"}, "greater than or equal to 0.01"),
        ({"land_size_acres": "much"}, "Enter a number"),
        ({"community": "x" * 101}, "at most 100 characters"),
        ({"farm_name": "a\0b"}, "Null characters"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_at_its_field_and_leaves_the_link_good(
    client: Client, address: str, wrong: dict[str, str], said: str
) -> None:
    answer = client.post(address, {**TWICE, "community": "Ahinsan", **wrong})
    assert answer.status_code == 200
    field = next(iter(wrong))
    assert said in " ".join(answer.context["form"].errors[field])
    assert NEW not in seen(answer)
    assert wrong.get("community", "Ahinsan") in seen(answer), "what was typed stays"
    assert not Farm.objects.exists()
    assert client.post(address, TWICE).status_code == 302


def test_a_name_that_another_farm_has_is_replaced_by_the_one_that_is_typed(
    client: Client, application: FarmApplication, address: str
) -> None:
    a_farm(farm_name=application.farm_name.upper())
    assert "There is a farm of this name in this constituency already" in seen(client.post(address, TWICE))
    assert client.post(address, {**TWICE, "farm_name": "Serwaa Farms"}).status_code == 302
    assert Farm.objects.get(application=application).farm_name == "Serwaa Farms"


# --- who has an account --------------------------------------------------------------------------------------------


def test_who_has_an_account_takes_the_farm_over_with_the_password_it_has(
    client: Client, application: FarmApplication
) -> None:
    known = UserFactory.create(phone=application.primary_phone, phone_verified=True)
    address = address_of(application)
    page = client.get(address)
    assert "You have an account" in seen(page)
    assert "password" not in page.context["form"].fields
    answer = client.post(address, {**TWICE, "community": "Ahinsan"})
    assert "The farm belongs to your account now" in told(answer, client)
    again = User.objects.get(pk=known.pk)
    assert (again.password, again.token_version, again.email) == (known.password, known.token_version, known.email)
    assert Farm.objects.get().user == known
    assert not who(client), "whoever holds the link is not signed in by it"


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"phone_verified": False}, "Sign in, confirm it, and open this link again"),
        ({"phone_verified": True, "role": Role.EXTENSION_OFFICER}, "Ask your office"),
        ({"phone_verified": True, "is_active": False}, "Ask your office"),
    ],
)
def test_an_account_that_cannot_take_the_farm_is_left_as_it_is(
    client: Client, application: FarmApplication, about: dict[str, Any], said: str
) -> None:
    known = UserFactory.create(phone=application.primary_phone, **about)
    address = address_of(application)
    assert said in seen(client.post(address, TWICE))
    assert User.objects.get(pk=known.pk).password == known.password
    assert not Farm.objects.exists()
    assert FarmInvitation.objects.get().status == "sent"


def test_whoever_is_signed_in_there_stays_so_and_gets_nothing(client: Client, address: str) -> None:
    helper = UserFactory.create()
    client.force_login(helper)
    assert client.post(address, TWICE).status_code == 302
    assert Farm.objects.get().user != helper
    assert who(client) == helper.username


# --- links that are not good ---------------------------------------------------------------------------------------


def test_a_used_link_says_what_to_do(client: Client, address: str) -> None:
    assert client.post(address, TWICE).status_code == 302
    over(client, address)
    assert Farm.objects.count() == User.objects.filter(role=Role.FARMER).count() == 1


@pytest.mark.parametrize("token", ["x" * 43, "x", "%00", "\N{PILE OF POO}", "x" * 5_000])
def test_a_link_that_was_never_made_does_nothing(client: Client, address: str, token: str) -> None:
    over(client, f"/farms/invitation/{token}/")


def test_a_link_whose_time_is_over_does_nothing(client: Client, address: str) -> None:
    FarmInvitation.objects.update(expires_at=clock.now() - timedelta(seconds=1))
    over(client, address)


def test_a_link_that_was_replaced_does_nothing(
    client: Client, application: FarmApplication, national: User, address: str
) -> None:
    applications.invite_again(actor=national, application_id=application.pk, now=clock.now())
    over(client, address)
    assert client.get(address_of(application)).status_code == 200


# --- nobody else comes by the token --------------------------------------------------------------------------------


def headers_of(answer: Any) -> tuple[str, bool]:
    return answer.headers["Referrer-Policy"], "no-store" in answer.headers["Cache-Control"]


def test_the_token_leaves_the_page_by_no_way(client: Client, address: str, logged: io.StringIO) -> None:
    page = client.get(address)
    token = address.split("/")[-2]
    assert headers_of(page) == ("no-referrer", True)
    assert token not in seen(page), "the form posts to the same address"
    for answer in (client.post(address, {}), client.get(f"{address[:-2]}!/"), client.post(address, TWICE)):
        assert headers_of(answer) == ("no-referrer", True)
        assert token not in answer.headers.get("Location", "")
    assert "POST /farms/invitation/***" in logged.getvalue()
    assert token not in logged.getvalue()


@pytest.mark.parametrize("base", ["https://pms.example", "https://pms.example/"])
def test_a_message_leads_to_this_page(settings: LazySettings, base: str) -> None:
    settings.BASE_URL = base
    found = resolve(links.invitation("a-token").removeprefix("https://pms.example"))
    assert (found.url_name, found.kwargs) == ("farm_invitation", {"token": "a-token"})


def test_it_opens_for_who_has_yet_to_set_up_a_second_factor(client: Client, address: str) -> None:
    client.force_login(UserFactory.create(role=Role.AUDITOR, is_demo=False))
    assert client.get(address).status_code == 200


def test_the_form_comes_without_origin_and_cookies(address: str) -> None:
    """As browsers send it from a page with no-referrer."""
    strict = Client(enforce_csrf_checks=True)
    assert strict.post(address, TWICE, headers={"Origin": "null"}).status_code == 302


@pytest.mark.parametrize("scope", ["door", "account"])
def test_too_many_tries_wait(
    settings: LazySettings, client: Client, one_minute: None, address: str, scope: str
) -> None:
    settings.API_LIMITS = {**settings.API_LIMITS, scope: 1}
    assert client.post(address, {}).status_code == 200
    assert client.post(address, TWICE).status_code == 429
    assert not Farm.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_of_two_who_send_the_form_at_once_one_opens_the_account() -> None:
    application = apply(
        "independent", phone_verified=True, constituency=UserFactory.create(role=Role.CONSTITUENCY_ADMIN).constituency
    )
    address = address_of(application)
    answers: list[int] = []
    with meanwhile(*[lambda: answers.append(Client().post(address, TWICE).status_code)] * 3):
        pass
    assert sorted(answers) == [302, 404, 404]
    assert Farm.objects.count() == User.objects.filter(role=Role.FARMER).count() == 1
