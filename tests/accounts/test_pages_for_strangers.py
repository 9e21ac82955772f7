"""Opening an account and getting back into one: the pages for whom nobody knows yet."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client

from accounts import pages
from accounts.adapters import TOO_MANY
from accounts.models import User
from core.jobs.models import TaskRun
from tests.accounts.letters import asked_for, letter, letters
from tests.accounts.signing_in import sign_in, who
from tests.delivery.test_tasks import work_off
from tests.factories import UserFactory
from tests.factories.accounts import PASSWORD

pytestmark = pytest.mark.django_db

REGISTER = "/accounts/register/"
RESET = "/accounts/password/reset/"
CODE = "/accounts/password/reset/code/"
NEW = "a-password-that-is-new"
ESI = {
    "phone": "024 400 0555",
    "first_name": "Esi",
    "last_name": "Quaye",
    "email": "",
    "password": NEW,
    "password_again": NEW,
}


def deliver() -> None:
    """What a worker does with the runs that were asked for."""
    for run in TaskRun.objects.filter(state="pending", task__startswith="accounts.tasks."):
        work_off(str(run.pk))


def seen(answer: Any) -> str:
    """The page without what differs on every page."""
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", answer.content.decode())


def told(answer: Any, client: Client) -> str:
    assert answer.status_code == 302, seen(answer)
    return seen(client.get(answer.headers["Location"]))


# --- register ------------------------------------------------------------------------------------------------------


def test_a_farmer_registers_signs_in_and_confirms_the_number(client: Client) -> None:
    answer = client.post(REGISTER, ESI)
    assert answer.headers["Location"] == "/accounts/login/?next=/accounts/phone/verify/"
    assert "Look at your phone" in told(answer, client)
    deliver()
    signed = client.post(answer.headers["Location"], {"login": "0244000555", "password": NEW})
    assert signed.headers["Location"] == "/accounts/phone/verify/"
    done = client.post("/accounts/phone/verify/", {"code": letter("phone_code").code})
    assert "Your phone number is confirmed" in told(done, client)
    assert User.objects.get(phone="+233244000555").phone_verified


def test_a_number_that_is_known_gets_the_same_answer_and_opens_nothing(ama: User) -> None:
    there, here = Client(), Client()
    known, new = there.post(REGISTER, {**ESI, "phone": "0244000111"}), here.post(REGISTER, ESI)
    assert (known.status_code, known.headers["Location"]) == (new.status_code, new.headers["Location"])
    assert told(known, there) == told(new, here)
    assert set(User.objects.values_list("phone", flat=True)) == {ama.phone, "+233244000555"}
    assert {each.to for each in letters("already_registered")} == {ama.phone, ama.email}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"phone": "12345"}, "does not have the right form"),
        ({"phone": "030 222 1111"}, "phone number"),
        ({"first_name": ""}, "This field is required"),
        ({"email": "esi@"}, "valid email"),
        ({"password": "short", "password_again": "short"}, "too short"),
        ({"password": "x0244000555", "password_again": "x0244000555"}, "too similar"),
        ({"password_again": "another-password"}, "not the same"),
        ({"password": "x" * 300, "password_again": "x" * 300}, "longer than 256"),
        ({"first_name": "Esi\x00"}, "Null characters"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_at_its_field_and_what_was_typed_stays(
    client: Client, wrong: dict[str, str], said: str
) -> None:
    answer = client.post(REGISTER, {**ESI, **wrong})
    page = seen(answer)
    name = list(wrong)[-1] if "password" not in wrong else "password"
    field = page[page.index(f'for="id_{name}"') :].split("</div>\n</div>")[0].split("<input")[0]
    assert answer.status_code == 200
    assert said in field
    assert 'value="Quaye"' in page
    assert not [typed for typed in {**ESI, **wrong}.values() if "password" in typed and typed in page]
    assert not User.objects.exists()


def test_who_is_signed_in_does_not_register(client: Client, ama: User) -> None:
    client.force_login(ama)
    assert client.get(REGISTER).headers["Location"] == "/accounts/"


# --- reset ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["0244000111", "Ama@Example.com", "ama"])
def test_a_forgotten_password_is_replaced_by_the_code_of_the_sms(client: Client, ama: User, typed: str) -> None:
    signed_in = Client()
    sign_in(signed_in, "ama")
    asked = client.post(RESET, {"identifier": typed})
    assert asked.headers["Location"] == CODE
    page = told(asked, client)
    assert "If there is such an account" in page
    assert f'value="{typed}"' in page, "nobody types it twice"
    deliver()
    code = letter("reset_code").code
    done = client.post(CODE, {"identifier": typed, "code": code, "password": NEW, "password_again": NEW})
    assert "Your password is changed" in told(done, client)
    assert pages.TYPED not in client.cookies or not client.cookies[pages.TYPED].value
    assert who(signed_in) == ""
    sign_in(client, "ama", NEW)
    assert who(client) == "ama"
    again = {"identifier": typed, "code": code, "password": PASSWORD, "password_again": PASSWORD}
    assert "This code is wrong" in seen(Client().post(CODE, again))


@pytest.mark.parametrize("typed", ["0244999888", "nobody@example.com", "nobody", "x" * 254, "<b>"])
def test_an_unknown_account_is_answered_as_a_known_one(ama: User, typed: str) -> None:
    there, here = Client(), Client()
    unknown, known = there.post(RESET, {"identifier": typed}), here.post(RESET, {"identifier": ama.username})
    assert (unknown.status_code, unknown.headers["Location"]) == (known.status_code, known.headers["Location"])
    pages_seen = [told(unknown, there), told(known, here)]
    assert "<b>" not in pages_seen[0]
    assert re.sub(r'value="[^"]*"', "", pages_seen[0]) == re.sub(r'value="[^"]*"', "", pages_seen[1])
    given = {"code": "123456", "password": NEW, "password_again": NEW}
    wrong = [client.post(CODE, {**given, "identifier": name}) for client, name in ((there, typed), (here, "ama"))]
    assert {each.status_code for each in wrong} == {200}
    assert len({re.sub(r'value="[^"]*"', "", seen(each)) for each in wrong}) == 1
    assert [task for task, _ in asked_for() if "reset" in task] == ["send_password_reset_notification"]


def test_a_code_and_passwords_do_not_come_back_on_the_page(client: Client, ama: User) -> None:
    page = seen(client.post(CODE, {"identifier": "ama", "code": "918273", "password": NEW, "password_again": "other"}))
    assert 'value="ama"' in page
    assert "not the same" in page
    assert "918273" not in page
    assert NEW not in page


def test_a_weak_password_leaves_the_code_good(client: Client, ama: User) -> None:
    client.post(RESET, {"identifier": "ama"})
    deliver()
    given = {"identifier": "ama", "code": letter("reset_code").code}
    weak = client.post(CODE, {**given, "password": "ama@example.com", "password_again": "ama@example.com"})
    assert "too similar" in seen(weak)
    assert client.post(CODE, {**given, "password": NEW, "password_again": NEW}).status_code == 302


def test_a_cookie_that_is_not_ours_is_passed_over(client: Client) -> None:
    client.cookies[pages.TYPED] = "somebody:else"
    assert client.get(CODE).status_code == 200


# --- all -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [REGISTER, RESET, CODE])
def test_forms_ask_for_the_csrf_token_and_are_not_cached(address: str, ama: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    assert strict.post(address, {**ESI, "identifier": "ama"}).status_code == 403
    assert "no-store" in strict.get(address).headers["Cache-Control"]


def test_the_pages_lead_to_one_another(client: Client) -> None:
    leads = {
        "/": {"/accounts/login/", REGISTER},
        "/accounts/login/": {RESET, REGISTER},
        REGISTER: {"/accounts/login/", RESET},
        RESET: {"/accounts/login/", REGISTER, CODE},
        CODE: {"/accounts/login/", RESET},
    }
    for address, to in leads.items():
        assert to <= set(re.findall(r'<a [^>]*href="([^"]+)"', seen(client.get(address)))), address


@pytest.mark.parametrize("limit", ["door", "account"])
@pytest.mark.parametrize("address", [REGISTER, RESET, CODE])
def test_too_many_tries_are_told_to_wait_and_do_nothing(
    settings: LazySettings, client: Client, ama: User, address: str, limit: str
) -> None:
    settings.API_LIMITS = {**settings.API_LIMITS, limit: 0}
    answer = client.post(address, {**ESI, "phone": "0244000777", "identifier": "ama", "code": "123456"})
    assert answer.status_code == 429
    assert TOO_MANY in seen(answer)
    assert User.objects.count() == 1
    assert asked_for() == []


def test_a_number_counts_as_one_however_it_is_written(settings: LazySettings, one_minute: None) -> None:
    settings.API_LIMITS = {**settings.API_LIMITS, "account": 2}
    number = UserFactory.build().phone
    written = (number, number.removeprefix("+"), f"0{number[4:]}")
    statuses = [Client().post(RESET, {"identifier": form}).status_code for form in written]
    assert statuses == [302, 302, 429]
