"""The doors that are open to everybody: opening an account, forgotten passwords, links and codes over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client

from accounts.models import OneTimeCode, StaffInvitation, User
from accounts.rules import CODE_ATTEMPTS
from accounts.services import invitations, people, secrets
from accounts.tasks import send_password_reset_notification, send_staff_invitation, send_verification_link
from accounts.tasks import send_welcome_notification as welcome
from core import clock
from tests.accounts.letters import asked_for, letter, letters
from tests.api.conftest import API, SignIn
from tests.factories.accounts import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db
NEW = "a-better-password-2026"
AMA = {"phone": "024 400 0999", "first_name": "Ama", "last_name": "Darko", "password": NEW}


@pytest.fixture
def stranger() -> Client:
    return Client(raise_request_exception=False)


@pytest.fixture
def ama(db: None) -> User:
    return UserFactory.create(username="ama", phone="+233244000111", email="ama@example.com")


def post(client: Client, door: str, status: int, **sent: Any) -> Any:
    answer = client.post(f"{API}/{door}/", sent, "application/json")
    assert answer.status_code == status, answer.content
    return answer.json() if answer.content else None


def fits(user: User, password: str) -> bool:
    user.refresh_from_db()
    return user.check_password(password)


def reset_of(client: Client, identifier: str) -> None:
    """Ask for a reset and let the worker send it."""
    post(client, "auth/password/reset", 202, identifier=identifier)
    for task, arguments in asked_for():
        if task == "send_password_reset_notification":
            send_password_reset_notification(*arguments)


# --- opening an account ---------------------------------------------------------------------------------------------


def test_a_farmer_opens_an_account_and_is_answered_as_one_who_has_one(stranger: Client) -> None:
    told = post(stranger, "auth/register", 202, **AMA, region="ah", language="tw")
    user = User.objects.get()
    assert (user.phone, user.role, user.language, user.is_active) == ("+233244000999", "FARMER", "tw", True)
    assert user.region
    assert user.region.code == "AH"
    assert {task for task, _ in asked_for()} == {"send_welcome_notification", "send_one_time_code"}
    assert post(stranger, "auth/register", 202, **AMA) == told
    assert User.objects.count() == 1
    assert letters("already_registered", "sms")[0].to == user.phone


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"phone": "0302123456"}, "landline"),
        ({"password": "short"}, "too short"),
        ({"password": "0244000999"}, "numeric"),
        ({"first_name": ""}, "errors"),
        ({"language": "fr"}, "errors"),
        ({"region": "XX"}, "not known"),
        ({"email": "ama"}, "email"),
    ],
)
def test_what_cannot_be_used_is_told_for_a_known_number_as_for_a_new_one(
    stranger: Client, wrong: dict[str, str], said: str
) -> None:
    first = post(stranger, "auth/register", 400, **{**AMA, **wrong})
    assert said in str(first)
    UserFactory.create(phone="+233244000999")
    assert post(stranger, "auth/register", 400, **{**AMA, **wrong}) == first


def test_an_invitation_is_accepted_by_the_token_in_the_body(stranger: Client, head: User) -> None:
    invitation = invitations.invite(actor=head, email="esi@example.com", role="auditor", now=clock.now())
    send_staff_invitation(str(invitation.pk))
    sent = {**AMA, "token": letter("staff_invitation").token}
    assert "too short" in str(post(stranger, "invitations/accept", 400, **{**sent, "password": "short"}))
    told = post(stranger, "invitations/accept", 201, **sent)
    esi = User.objects.get(email="esi@example.com")
    assert told == {"username": esi.username}
    assert (esi.role, esi.is_active, esi.email_verified) == ("AUDITOR", True, True)
    assert "not good any more" in post(stranger, "invitations/accept", 404, **sent)["detail"]
    assert StaffInvitation.objects.get().status == "accepted"


def test_whoever_was_created_chooses_a_password_by_the_link(stranger: Client, head: User) -> None:
    esi = people.create_person(
        actor=head,
        phone="0244000555",
        role="auditor",
        first_name="Esi",
        last_name="Quaye",
        email="esi@example.com",
        now=clock.now(),
    )
    welcome(str(esi.pk))
    token = letters("first_password")[0].token
    post(stranger, "auth/password/set", 204, token=token, password=NEW)
    assert fits(esi, NEW)
    assert esi.is_active
    post(stranger, "auth/password/set", 404, token=token, password=NEW)


# --- forgotten passwords --------------------------------------------------------------------------------------------


def test_a_reset_is_answered_alike_for_known_unknown_and_closed_accounts(stranger: Client, ama: User) -> None:
    suspended = UserFactory.create(is_suspended=True, suspended_at=clock.now(), suspension_reason="fraud")
    answers = {
        str(post(stranger, "auth/password/reset", 202, identifier=name))
        for name in ("ama@example.com", "0244000111", "nobody@example.com", "0244999999", suspended.phone, "\u0254")
    }
    assert len(answers) == 1
    assert [task for task, _ in asked_for()] == ["send_password_reset_notification"] * 2, "both of them are Ama's"


def test_a_password_is_reset_by_the_link_or_by_the_code(stranger: Client, sign_in: SignIn, ama: User) -> None:
    signed_in = sign_in(ama)
    reset_of(stranger, "ama@example.com")
    token, code = letter("reset_link").token, letter("reset_code").code
    post(stranger, "auth/password/reset/confirm", 400, identifier="ama", code=code, password="short")
    post(stranger, "auth/password/reset/confirm", 204, identifier="024 400 0111", code=code, password=NEW)
    assert fits(ama, NEW)
    assert signed_in.get(f"{API}/me/").status_code == 401
    post(stranger, "auth/password/reset/confirm", 404, token=token, password=PASSWORD)
    reset_of(stranger, "ama")
    post(stranger, "auth/password/reset/confirm", 204, token=letters("reset_link")[-1].token, password=PASSWORD)
    assert fits(ama, PASSWORD)


def test_a_code_is_tried_five_times_and_each_try_stays_counted(stranger: Client, ama: User) -> None:
    reset_of(stranger, "ama")
    code = letter("reset_code").code
    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    for _ in range(CODE_ATTEMPTS):
        post(stranger, "auth/password/reset/confirm", 400, identifier="ama", code=wrong, password=NEW)
    assert OneTimeCode.objects.get().attempts == CODE_ATTEMPTS
    told = post(stranger, "auth/password/reset/confirm", 400, identifier="ama", code=code, password=NEW)
    unknown = post(stranger, "auth/password/reset/confirm", 400, identifier="nobody", code=code, password=NEW)
    assert told == unknown
    assert not fits(ama, NEW)


@pytest.mark.parametrize("sent", [{}, {"token": "x", "code": "1"}, {"identifier": "ama"}, {"code": "123456"}])
def test_a_reset_needs_the_token_or_name_and_code(stranger: Client, sent: dict[str, str]) -> None:
    told = post(stranger, "auth/password/reset/confirm", 400, password=NEW, **sent)
    assert "token of the link, or identifier and code" in str(told)


def test_an_address_is_confirmed_by_the_link_that_went_to_it(stranger: Client, ama: User) -> None:
    token = secrets.ask_to_verify_email(user=ama, now=clock.now())
    send_verification_link(str(token.pk))
    post(stranger, "auth/email/verify", 204, token=letter("verify_email").token)
    ama.refresh_from_db()
    assert ama.email_verified
    post(stranger, "auth/email/verify", 404, token="no-such-token")


# --- who comes too often --------------------------------------------------------------------------------------------


def tries(client: Client, door: str, names: list[str], field: str = "identifier") -> list[int]:
    return [client.post(f"{API}/{door}/", {field: name}, "application/json").status_code for name in names]


def test_an_address_may_knock_so_often(stranger: Client, settings: LazySettings, one_minute: None) -> None:
    settings.API_LIMITS = settings.API_LIMITS | {"door": 3}
    assert tries(stranger, "auth/password/reset", [f"nobody{n}" for n in range(5)]) == [202, 202, 202, 429, 429]
    assert tries(stranger, "invitations/accept", ["x"], "token") == [429], "the doors are counted together"
    assert stranger.get(f"{API}/schema/").status_code == 200, "what cannot be tried has no such limit"


def test_an_account_may_be_named_so_often_from_anywhere(
    stranger: Client, ama: User, settings: LazySettings, one_minute: None
) -> None:
    settings.API_LIMITS = settings.API_LIMITS | {"account": 3}
    written = ["0244000111", "+233 24 400-0111", "233244000111", "024 400 0111"]
    assert tries(stranger, "auth/password/reset", written) == [202, 202, 202, 429]
    assert tries(stranger, "auth/password/reset", ["Nobody@x.com", "nobody@X.com"] * 2) == [202, 202, 202, 429]
    assert tries(stranger, "auth/password/reset", ["another"]) == [202]


@pytest.mark.parametrize("strange", ["\ud800", "\x00", ["a"], {"a": 1}, None, 7])
def test_a_name_of_any_kind_is_counted_without_failing(
    stranger: Client, settings: LazySettings, one_minute: None, strange: Any
) -> None:
    settings.API_LIMITS = settings.API_LIMITS | {"account": 1}
    [first, second] = tries(stranger, "auth/password/reset", [strange, strange])
    assert first in (202, 400)
    assert second == (429 if strange is not None else 400)


def test_a_session_that_is_over_does_not_close_a_public_door(sign_in: SignIn, ama: User) -> None:
    client = sign_in(ama, enforce_csrf_checks=True)
    User.objects.update(token_version=7)
    post(client, "auth/password/reset", 202, identifier="ama")
    client.defaults["HTTP_AUTHORIZATION"] = "Bearer nonsense"
    post(client, "auth/password/reset", 202, identifier="ama")


def test_doors_say_nothing_of_what_was_sent_in_their_addresses(caplog: pytest.LogCaptureFixture, ama: User) -> None:
    client = Client()
    with caplog.at_level("INFO"):
        reset_of(client, "ama")
        link, code = letter("reset_link").token, letter("reset_code").code
        post(client, "auth/password/reset/confirm", 204, token=link, password=NEW)
    for secret in (link, code, NEW):
        assert secret not in caplog.text
