"""How people come to be: made by a manager or registered by themselves; and what they are told."""

from __future__ import annotations

import statistics
import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from accounts import selectors
from accounts.models import AccountToken, Constituency, OneTimeCode, User
from accounts.rules import Role
from accounts.services import people, secrets
from accounts.services.secrets import LinkNotGood
from accounts.tasks import send_one_time_code, send_verification_link, send_welcome_notification
from core import clock
from core.base.models import AuditLog
from core.delivery import consent
from core.delivery.consent import Source
from core.delivery.rules import Channel, Purpose
from core.errors import InvalidInput, NotAllowed, NotFound
from core.jobs.models import TaskRun
from tests.accounts.letters import asked_for, letter, letters
from tests.delivery.outbox import meanwhile
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

PASSWORD = "a-better-password-2026"
ESI: dict[str, Any] = {
    "phone": "0244 000 555",
    "first_name": "Esi",
    "last_name": "Quaye",
    "email": "Esi@Example.com",
}


def living_in(code: str, role: Role = Role.FARMER, **fields: Any) -> User:
    return UserFactory.create(role=role, constituency=Constituency.objects.get(code=code), **fields)


def create(actor: User, role: str = "AUDITOR", place: str = "", **more: Any) -> User:
    home = selectors.constituency(place) if place else None
    return people.create_person(actor=actor, role=role, constituency=home, now=clock.now(), **ESI | more)


def register(**more: Any) -> User | None:
    return people.register_farmer(**{**ESI, "password": PASSWORD, "now": clock.now(), **more})


# --- made by a manager


def test_a_manager_makes_an_invited_person_who_chooses_a_password_by_a_link(head: User, client: Client) -> None:
    user = create(head, preferred_contact_method="email")
    assert (user.is_active, user.activated_at, user.has_usable_password()) == (False, None, False)
    assert (user.phone, user.email, user.role) == ("+233244000555", "esi@example.com", "AUDITOR")
    assert user.username.startswith("esi.quaye.")
    log = AuditLog.objects.get()
    assert (log.action, log.actor, log.subject_id) == ("user.create", head, str(user.pk))
    assert asked_for() == [("send_welcome_notification", [str(user.pk)])]

    assert send_welcome_notification(str(user.pk)) == {"status": "ok", "channel": "email"}
    first = letter("first_password")
    assert (first.to, first.purpose) == ("esi@example.com", "service")
    assert "Auditor" in first.text
    origin_of_time = clock.now()
    user = secrets.set_password_by_token(token=first.token, password=PASSWORD, now=origin_of_time)
    assert (user.is_active, user.activated_at) == (True, origin_of_time)
    assert client.login(username=user.username, password=PASSWORD)
    assert letters("password_changed") == [], "a first password is no change"
    with pytest.raises(LinkNotGood):
        secrets.set_password_by_token(token=first.token, password=PASSWORD, now=clock.now())


def test_the_link_to_a_first_password_goes_by_the_preferred_way_and_the_address_gets_its_own_link(head: User) -> None:
    user = create(head)
    assert send_welcome_notification(str(user.pk)) == {"status": "ok", "channel": "sms"}
    first = letter("first_password")
    assert (first.channel, first.to) == ("sms", "+233244000555")
    token = AccountToken.objects.get(purpose="email_verification")
    assert asked_for()[-1] == ("send_verification_link", [str(token.pk)])
    send_verification_link(str(token.pk))
    assert letter("verify_email").to == "esi@example.com"
    assert first.message.not_after == AccountToken.objects.get(purpose="set_password").expires_at
    week = clock.now() + timedelta(days=7)
    with pytest.raises(LinkNotGood):
        secrets.set_password_by_token(token=first.token, password=PASSWORD, now=week)
    secrets.set_password_by_token(token=first.token, password=PASSWORD, now=week - timedelta(minutes=1))


def test_a_second_welcome_sends_nothing_and_the_first_link_stays_good(head: User) -> None:
    user = create(head)
    send_welcome_notification(str(user.pk))
    assert send_welcome_notification(str(user.pk)) == {"status": "duplicate", "channel": ""}
    User.objects.filter(pk=user.pk).update(preferred_contact_method="EMAIL")
    assert send_welcome_notification(str(user.pk))["status"] == "duplicate"
    assert [each.template for each in letters()] == ["accounts.first_password"]
    assert len([name for name, _ in asked_for() if name == "send_verification_link"]) == 1
    secrets.set_password_by_token(token=letter("first_password").token, password=PASSWORD, now=clock.now())


def test_a_first_password_is_not_set_by_link_once_there_is_one_or_the_account_was_switched_off(head: User) -> None:
    user = create(head)
    send_welcome_notification(str(user.pk))
    token = letter("first_password").token
    for change in ({"password": "x"}, {"activated_at": clock.now()}):
        before = User.objects.filter(pk=user.pk).values(*change).get()
        User.objects.filter(pk=user.pk).update(**change)
        with pytest.raises(LinkNotGood):
            secrets.set_password_by_token(token=token, password=PASSWORD, now=clock.now())
        User.objects.filter(pk=user.pk).update(**before)
    secrets.set_password_by_token(token=token, password=PASSWORD, now=clock.now())


@pytest.mark.parametrize(
    ("actor", "role", "place", "more", "error"),
    [
        ("REGIONAL_ADMIN", "CONSTITUENCY_STAFF", "TMW", {}, NotAllowed),
        ("REGIONAL_ADMIN", "REGIONAL_ADMIN", "BNT", {}, NotAllowed),
        ("CONSTITUENCY_ADMIN", "EXTENSION_OFFICER", "EJS", {}, NotAllowed),
        ("NATIONAL_ADMIN", "NATIONAL_ADMIN", "", {}, NotAllowed),
        ("SUPER_ADMIN", "SUPER_ADMIN", "", {}, NotAllowed),
        ("NATIONAL_STAFF", "AUDITOR", "", {}, NotAllowed),
        ("FARMER", "FARMER", "BNT", {}, NotAllowed),
        ("NATIONAL_ADMIN", "king", "", {}, InvalidInput),
        ("NATIONAL_ADMIN", "REGIONAL_STAFF", "", {}, InvalidInput),
        ("NATIONAL_ADMIN", "AUDITOR", "", {"email": ""}, InvalidInput),
        ("NATIONAL_ADMIN", "AUDITOR", "", {"phone": "0302123456"}, InvalidInput),
        ("NATIONAL_ADMIN", "AUDITOR", "", {"username": "a b"}, InvalidInput),
    ],
)
def test_whom_a_manager_cannot_make(
    actor: str, role: str, place: str, more: dict[str, Any], error: type[Exception]
) -> None:
    who = living_in("BNT", Role(actor))
    with pytest.raises(error):
        create(who, role, place, **more)
    assert User.objects.count() == 1
    assert (asked_for(), AuditLog.objects.count()) == ([], 0)


def test_a_manager_who_is_suspended_since_the_request_began_makes_nobody(head: User) -> None:
    User.objects.filter(pk=head.pk).update(is_suspended=True, suspended_at=clock.now(), suspension_reason="x")
    with pytest.raises(NotAllowed):
        create(head)


@pytest.mark.parametrize(
    ("first", "last", "begins"),
    [("Esi", "Quaye", "esi.quaye."), ("", "", "person."), ("Ɛsi", "Ɔkyere", "ɛsi.ɔkyere."), ("x" * 150, "y", "x" * 60)],
)
def test_a_username_is_made_of_any_name(head: User, first: str, last: str, begins: str) -> None:
    names = {create(head, first_name=first, last_name=last).username}
    names.add(create(head, first_name=first, last_name=last, phone="0244000556", email="b@example.com").username)
    assert len(names) == 2
    assert all(name.startswith(begins) for name in names)


# --- registered by themselves


def test_a_farmer_registers_is_welcomed_and_gets_a_code(client: Client) -> None:
    user = register()
    assert user is not None
    assert (user.role, user.is_active, user.phone, user.email) == ("FARMER", True, "+233244000555", "esi@example.com")
    assert (user.phone_verified, user.email_verified) == (False, False)
    code = OneTimeCode.objects.get()
    assert asked_for() == [
        ("send_welcome_notification", [str(user.pk)]),
        ("send_one_time_code", [str(code.pk)]),
    ]
    assert send_welcome_notification(str(user.pk)) == {"status": "ok", "channel": "sms"}
    send_one_time_code(str(code.pk))
    secrets.verify_phone(user=user, code=letter("phone_code").code, now=clock.now())
    assert asked_for()[-1][0] == "send_verification_link"
    assert client.login(username=user.username, password=PASSWORD)


def test_a_place_is_kept_and_the_region_follows() -> None:
    user = register(constituency=selectors.constituency("TMW"))
    assert user is not None
    assert (user.region, user.district) == (selectors.region("Greater Accra"), user.constituency.district)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "known", [{"phone": "+233244000555"}, {"email": "esi@example.com"}, {"phone": "+233244000555", "is_active": False}]
)
def test_a_known_number_or_address_opens_nothing_and_its_owner_is_told_once_a_day(known: dict[str, Any]) -> None:
    owner = UserFactory.create(**known)
    before = User.objects.filter(pk=owner.pk).values().get()
    assert register() is None
    assert register() is None
    assert User.objects.count() == 1
    assert User.objects.filter(pk=owner.pk).values().get() == before
    assert asked_for() == []
    told = letters("already_registered")
    assert {each.purpose for each in told} == {"security"}
    assert sorted(each.to for each in told) == sorted(filter(None, [owner.phone, owner.email]))
    register(now=clock.now() + timedelta(days=1))
    assert len(letters("already_registered")) == 2 * len(told)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"phone": "0302123456"}, "landline"),
        ({"phone": ""}, "phone"),
        ({"email": "esi"}, "valid email"),
        ({"language": "fr"}, "language"),
        ({"first_name": "x" * 151}, "first_name"),
        ({"first_name": "a\0b"}, "first_name: Write the name on one line"),
        ({"last_name": "Quaye\nCall 0200000000"}, "last_name: Write the name on one line"),
        ({"password": "short"}, "too short"),
        ({"password": "esi@example.com"}, "too similar"),
    ],
)
@pytest.mark.parametrize("known", [False, True])
def test_what_cannot_be_stored_is_refused_alike_for_a_known_and_a_new_number(
    change: dict[str, Any], says: str, known: bool
) -> None:
    if known:
        UserFactory.create(phone="+233244000555", email="esi@example.com")
    with pytest.raises(InvalidInput, match=says):
        register(**change)
    assert User.objects.count() == known
    assert letters() == []


@pytest.mark.django_db(transaction=True)
def test_of_many_who_register_one_number_at_once_one_is_written_and_all_get_the_same_answer() -> None:
    results: list[User | None] = []
    with meanwhile(*[lambda: results.append(register())] * 6):
        pass
    assert len([user for user in results if user]) == 1
    assert len(results) == 6
    assert User.objects.count() == 1
    assert len(letters("already_registered")) == 2, "by e-mail and SMS, once"


@pytest.mark.django_db(transaction=True)
def test_a_known_and_a_new_number_take_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "ANSWER_SECONDS", 0.6)
    UserFactory.create(phone="+233244000555")
    times: dict[str, list[float]] = {"known": [], "new": []}
    for number in range(4):
        for which, phone in (("known", "0244000555"), ("new", f"024400066{number}")):
            began = time.perf_counter()
            register(phone=phone, email="")
            times[which].append(time.perf_counter() - began)
    assert abs(statistics.median(times["known"]) - statistics.median(times["new"])) < 0.05


# --- the welcome


@pytest.mark.parametrize(
    ("about", "called"),
    [
        ({}, "farmer"),
        ({"phone_verified": True}, "farmer"),
        ({"email_verified": True}, "farmer"),
        ({"phone_verified": True, "email_verified": True}, "Esi"),
        ({"phone_verified": True, "email": ""}, "Esi"),
        ({"role": Role.AUDITOR}, "Esi"),
    ],
)
def test_nobody_reads_a_name_that_somebody_else_may_have_chosen_for_their_address(
    about: dict[str, Any], called: str
) -> None:
    row = {"first_name": "Esi", "email": "esi@example.com", "preferred_contact_method": "EMAIL", **about}
    user = UserFactory.create(**row)
    assert user.called == called
    send_welcome_notification(str(user.pk))
    [told] = letters("welcome")
    assert ("Esi" in told.text) == (called == "Esi" and told.channel == "email")


def test_an_unknown_person_is_told_and_a_closed_account_is_skipped() -> None:
    with pytest.raises(NotFound):
        send_welcome_notification(str(uuid.uuid4()))
    with pytest.raises(InvalidInput):
        send_welcome_notification("x")
    closed = UserFactory.create(is_active=False)
    assert send_welcome_notification(str(closed.pk))["status"] == "skipped"


def test_who_has_declined_messages_is_not_welcomed_and_the_result_says_so() -> None:
    user = UserFactory.create()
    consent.choose(Channel.SMS, user.phone, Purpose.SERVICE, wanted=False, source=Source.LINK)
    assert send_welcome_notification(str(user.pk)) == {"status": "suppressed", "channel": "sms"}


@pytest.mark.django_db(transaction=True)
def test_two_welcomes_at_once_send_one_and_its_link_is_good(head: User) -> None:
    user = create(head)
    results: list[str] = []
    with meanwhile(*[lambda: results.append(send_welcome_notification(str(user.pk))["status"])] * 4):
        pass
    assert sorted(results) == ["duplicate"] * 3 + ["ok"]
    assert TaskRun.objects.filter(task="accounts.tasks.send_verification_link").count() == 1
    secrets.set_password_by_token(token=letter("first_password").token, password=PASSWORD, now=clock.now())
