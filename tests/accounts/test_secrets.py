"""Tokens and codes: asked for, made when they are sent, used once; nobody learns who has an account."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from accounts import selectors
from accounts.models import AccountToken, OneTimeCode, SecurityEvent, User
from accounts.rules import CodePurpose, Role, TokenPurpose, token_hash
from accounts.services import secrets
from accounts.services.secrets import LinkNotGood, TooMany, WrongCode
from accounts.services.trail import Origin
from accounts.tasks import send_one_time_code, send_password_reset_notification, send_verification_link
from core import clock
from core.delivery.models import OutboundMessage
from core.errors import Conflict, InvalidInput, NotFound
from core.jobs.models import TaskRun
from tests.accounts.letters import asked_for, letter, letters
from tests.delivery.outbox import meanwhile
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

NEW = "a-better-password-2026"
DONE: dict[str, Any] = {"status": "ok", "channels": ["email", "sms"]}
AGAIN: dict[str, Any] = {"status": "duplicate", "channels": []}
PHONE_CODE = CodePurpose.PHONE_VERIFICATION


def reset(identifier: str = "ama@example.com", ip: str | None = None, now: datetime | None = None) -> None:
    secrets.request_password_reset(identifier=identifier, ip=ip, now=now or clock.now())


def requested(identifier: str = "ama@example.com", **more: Any) -> AccountToken:
    reset(identifier, **more)
    return AccountToken.objects.latest("created_at")


def sent(identifier: str = "ama@example.com", **more: Any) -> AccountToken:
    token = requested(identifier, **more)
    assert send_password_reset_notification(str(token.pk))["status"] == "ok"
    return token


def code_asked(user: User | None = None, phone: str = "", **more: Any) -> OneTimeCode:
    more = {"purpose": PHONE_CODE, "now": clock.now(), **more}
    return secrets.ask_for_code(user=user, phone=phone, **more)


def code_sent(user: User | None = None, phone: str = "", **more: Any) -> str:
    code = code_asked(user, phone, **more)
    assert send_one_time_code(str(code.pk)) == {"status": "ok", "channels": ["sms"]}
    return letters(channel="sms")[-1].code


def use(code: str, user: User | None = None, phone: str = "", **more: Any) -> bool:
    more = {"purpose": PHONE_CODE, "now": clock.now(), **more}
    return secrets.use_code(code=code, user=user, phone=phone, **more)


def other_than(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06}"


def age(days: float = 0, minutes: float = 0) -> None:
    """Let everything that was asked for be so old."""
    past = clock.now() - timedelta(days=days, minutes=minutes)
    for model in (AccountToken, OneTimeCode):
        model.objects.update(created_at=past)


# --- a reset is asked for


@pytest.mark.parametrize(
    "identifier", ["ama@example.com", " AMA@Example.com ", "0244000111", "+233 24 400 0111", "ama"]
)
def test_a_reset_is_asked_for_by_phone_address_or_username(ama: User, identifier: str) -> None:
    token = requested(identifier, ip="10.1.2.3")
    assert (token.user, token.purpose, token.requested_ip) == (ama, "password_reset", "10.1.2.3")
    assert (token.token_hash, token.sent_at) == ("", None), "the secret is made when it is sent"
    assert asked_for() == [("send_password_reset_notification", [str(token.pk)])]
    assert TaskRun.objects.get().queue == "urgent"


@pytest.mark.parametrize(
    "state",
    [
        {"is_active": False},
        {"is_suspended": True, "suspended_at": clock.now(), "suspension_reason": "x"},
    ],
)
def test_whose_account_is_closed_gets_nothing_and_the_answer_is_the_same(ama: User, state: dict[str, Any]) -> None:
    User.objects.filter(pk=ama.pk).update(**state)
    assert reset() is None  # type: ignore[func-returns-value]
    assert not AccountToken.objects.exists()
    assert asked_for() == []


@pytest.mark.parametrize(
    "identifier", ["", " ", "x" * 300, "nobody", "0200000000", "a\0b", "\ud800@x", "no@example.com"]
)
def test_nobody_is_found_by_what_nobody_is_called(ama: User, identifier: str) -> None:
    reset(identifier)
    assert asked_for() == []


def test_who_is_locked_out_or_only_invited_may_set_a_password(ama: User) -> None:
    User.objects.filter(pk=ama.pk).update(locked_until=clock.now() + timedelta(minutes=15))
    sent()
    user = secrets.set_password_by_token(token=letter("reset_link").token, password=NEW, now=clock.now())
    assert (user.locked_until, user.failed_login_attempts) == (None, 0)
    invited = UserFactory.create(email="esi@example.com", is_active=False, activated_at=None)
    sent("esi@example.com")
    user = secrets.set_password_by_token(token=letters("reset_link")[-1].token, password=NEW, now=clock.now())
    assert (user, user.is_active) == (invited, True)
    assert user.activated_at is not None


def test_a_newer_request_replaces_the_older_and_its_link_and_code(ama: User) -> None:
    sent()
    first = letter("reset_link"), letter("reset_code")
    sent()
    assert AccountToken.objects.filter(superseded_at=None).count() == 1
    with pytest.raises(LinkNotGood):
        secrets.set_password_by_token(token=first[0].token, password=NEW, now=clock.now())
    with pytest.raises(WrongCode):
        secrets.reset_password_by_code(identifier="ama", code=first[1].code, password=NEW, now=clock.now())


def test_an_account_has_three_requests_an_hour_and_ten_a_day(ama: User) -> None:
    for number in range(5):
        reset()
        assert AccountToken.objects.count() == min(number + 1, 3)
    age(minutes=61)
    for _ in range(3):
        reset()
    assert AccountToken.objects.count() == 6
    age(minutes=61)
    for _ in range(9):
        reset()
        age(minutes=61)
    assert AccountToken.objects.count() == 10
    age(days=1.01)
    reset()
    assert AccountToken.objects.count() == 11


def test_an_address_has_twenty_requests_an_hour_and_others_are_not_held_up() -> None:
    for _ in range(22):
        reset(UserFactory.create(email=f"{uuid.uuid4()}@example.com").email, ip="10.1.2.3")
    assert AccountToken.objects.count() == 20
    reset(UserFactory.create().username, ip="10.1.2.4")
    reset(UserFactory.create().username)
    assert AccountToken.objects.count() == 22


@pytest.mark.django_db(transaction=True)
def test_of_requests_at_once_one_stays_open_and_the_limit_holds(ama: User) -> None:
    with meanwhile(*[reset] * 6):
        pass
    assert AccountToken.objects.count() == 3
    assert AccountToken.objects.filter(superseded_at=None).count() == 1
    assert len(asked_for()) == 3


@pytest.mark.django_db(transaction=True)
def test_requests_from_one_address_at_once_keep_its_limit() -> None:
    people = [UserFactory.create() for _ in range(24)]
    with meanwhile(*[lambda who=who: reset(who.username, ip="10.1.2.3") for who in people]):
        pass
    assert AccountToken.objects.count() == 20


@pytest.mark.django_db(transaction=True)
def test_known_and_unknown_take_the_same_time(ama: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(identifier: str) -> None:
        with pytest.raises(WrongCode):
            secrets.reset_password_by_code(identifier=identifier, code="000000", password=NEW, now=clock.now())

    def seconds(act: Callable[[str], None], who: str) -> float:
        began = time.perf_counter()
        act(who)
        return time.perf_counter() - began

    for act in (reset, wrong):
        assert statistics.median(seconds(act, "ama") for _ in range(3)) < 0.2, "less than all of them wait"
    monkeypatch.setattr(secrets, "ANSWER_SECONDS", 0.5)
    for act in (reset, wrong):
        times = {who: [seconds(act, who) for _ in range(4)] for who in ("ama", "nobody")}
        assert min(*times["ama"], *times["nobody"]) >= 0.5
        assert abs(statistics.median(times["ama"]) - statistics.median(times["nobody"])) < 0.05


# --- it is made and sent


def test_a_link_and_a_code_go_out_and_only_their_hashes_stay(ama: User) -> None:
    token = requested()
    assert send_password_reset_notification(str(token.pk)) == DONE
    link, code = letter("reset_link"), letter("reset_code")
    assert (link.channel, link.to, link.purpose) == ("email", "ama@example.com", "security")
    assert (code.channel, code.to, code.purpose) == ("sms", "+233244000111", "otp")
    assert {each.message.lane for each in (link, code)} == {"urgent"}
    token.refresh_from_db()
    assert (token.token_hash, token.sent_to) == (token_hash(link.token), "ama@example.com")
    assert token.sent_at is not None
    assert link.message.not_after == token.expires_at
    stored = OneTimeCode.objects.get()
    assert stored.code_hash
    assert code.code not in stored.code_hash
    assert code.message.not_after == stored.expires_at
    assert timedelta(minutes=9) < stored.expires_at - clock.now() <= timedelta(minutes=10)


def test_who_has_no_address_gets_the_code_alone() -> None:
    user = UserFactory.create()
    token = requested(user.username)
    assert send_password_reset_notification(str(token.pk)) == {"status": "ok", "channels": ["sms"]}
    assert send_password_reset_notification(str(token.pk)) == AGAIN
    secrets.reset_password_by_code(identifier=user.phone, code=letter("reset_code").code, password=NEW, now=clock.now())
    token.refresh_from_db()
    assert (token.token_hash, token.used_at) == ("", None)
    assert token.superseded_at is not None


def test_a_second_run_sends_nothing(ama: User) -> None:
    token = sent()
    before = AccountToken.objects.values().get(), OneTimeCode.objects.values().get()
    assert send_password_reset_notification(str(token.pk)) == AGAIN
    assert (AccountToken.objects.values().get(), OneTimeCode.objects.values().get()) == before
    assert len(letters()) == 2


def test_a_run_that_is_undone_before_its_commit_leaves_nothing_and_the_next_makes_another_secret(ama: User) -> None:
    token = requested()
    with transaction.atomic():
        send_password_reset_notification(str(token.pk))
        lost = letter("reset_link").token
        transaction.set_rollback(True)  # the worker dies here
    assert letters() == []
    assert send_password_reset_notification(str(token.pk)) == DONE
    with pytest.raises(LinkNotGood):
        secrets.set_password_by_token(token=lost, password=NEW, now=clock.now())
    secrets.set_password_by_token(token=letter("reset_link").token, password=NEW, now=clock.now())


@pytest.mark.django_db(transaction=True)
def test_two_runs_at_once_send_once(ama: User) -> None:
    token = requested()
    results: list[str] = []
    with meanwhile(*[lambda: results.append(send_password_reset_notification(str(token.pk))["status"])] * 4):
        pass
    assert sorted(results) == ["duplicate"] * 3 + ["ok"]
    assert sorted(each.channel for each in letters()) == ["email", "sms"]


@pytest.mark.parametrize("change", ["superseded_at", "expires_at"])
def test_a_request_that_is_over_is_skipped(ama: User, change: str) -> None:
    token = requested()
    AccountToken.objects.filter(pk=token.pk).update(**{change: clock.now() - timedelta(minutes=1)})
    assert send_password_reset_notification(str(token.pk))["status"] == "skipped"
    assert letters() == []


def test_whose_account_is_closed_meanwhile_gets_nothing(ama: User) -> None:
    token, code = requested(), code_asked(ama)
    User.objects.filter(pk=ama.pk).update(is_active=False)
    for done in (send_password_reset_notification(str(token.pk)), send_one_time_code(str(code.pk))):
        assert (done["status"], done["reason"]) == ("skipped", "the account is closed")
    assert letters() == []


@pytest.mark.parametrize("task", [send_password_reset_notification, send_one_time_code, send_verification_link])
def test_an_unknown_id_and_what_is_none_fail(ama: User, task: Any) -> None:
    with pytest.raises(NotFound):
        task(str(uuid.uuid4()))
    for wrong in ("", "x", None, 7, "123456"):
        with pytest.raises(InvalidInput, match="needs the id of"):
            task(wrong)


def test_a_request_of_another_purpose_is_unknown_to_the_reset(ama: User) -> None:
    token = secrets.ask_to_verify_email(user=ama, now=clock.now())
    with pytest.raises(NotFound):
        send_password_reset_notification(str(token.pk))


# --- the password is set


def test_the_link_of_a_reset_sets_the_password_once(ama: User, client: Client) -> None:
    client.force_login(ama)
    sent()
    link, code = letter("reset_link"), letter("reset_code")
    origin = Origin("10.1.2.3", "Firefox")
    user = secrets.set_password_by_token(token=link.token, password=NEW, now=clock.now(), origin=origin)
    assert user.check_password(NEW)
    assert (user.token_version, user.is_active) == (1, True)
    assert client.get("/api/v1/me/").status_code == 401, "every session has ended"
    event = SecurityEvent.objects.get()
    assert (event.kind, event.user, event.actor, event.ip, event.device) == (
        "password_changed",
        ama,
        ama,
        "10.1.2.3",
        "Firefox",
    )
    told = letters("password_changed")
    assert [(each.channel, each.purpose) for each in told] == [("email", "security"), ("sms", "security")]
    for again in (link.token, f"{link.token}x", "", "\ud800"):
        with pytest.raises(LinkNotGood):
            secrets.set_password_by_token(token=again, password=NEW, now=clock.now())
    with pytest.raises(WrongCode):
        secrets.reset_password_by_code(identifier="ama", code=code.code, password=NEW, now=clock.now())


def test_the_code_of_a_reset_closes_its_link(ama: User) -> None:
    sent()
    link, code = letter("reset_link"), letter("reset_code")
    spaced = f" {code.code[:3]} {code.code[3:]} "
    user = secrets.reset_password_by_code(identifier="0244000111", code=spaced, password=NEW, now=clock.now())
    assert user.check_password(NEW)
    assert SecurityEvent.objects.get().kind == "password_changed"
    with pytest.raises(LinkNotGood):
        secrets.set_password_by_token(token=link.token, password=NEW, now=clock.now())
    with pytest.raises(WrongCode):
        secrets.reset_password_by_code(identifier="ama", code=code.code, password=NEW, now=clock.now())


@pytest.mark.parametrize(
    ("password", "says"),
    [
        ("short", "too short"),
        ("1029384756", "entirely numeric"),
        ("password123", "too common"),
        ("ama@example.com", "too similar"),
        ("x" * 300, "longer than"),
        ("half \ud800 of a character", "half of a character"),
    ],
)
def test_a_weak_password_is_refused_and_link_and_code_stay_good(ama: User, password: str, says: str) -> None:
    sent()
    link, code = letter("reset_link").token, letter("reset_code").code
    with pytest.raises(InvalidInput, match=says):
        secrets.set_password_by_token(token=link, password=password, now=clock.now())
    with pytest.raises(InvalidInput, match=says):
        secrets.reset_password_by_code(identifier="ama", code=code, password=password, now=clock.now())
    assert OneTimeCode.objects.get().attempts == 0
    secrets.set_password_by_token(token=link, password=NEW, now=clock.now())


def test_a_password_like_somebodys_name_is_told_to_who_has_the_code_alone(ama: User) -> None:
    """Otherwise the answer would say whose account it is."""
    sent()
    wrong: dict[str, Any] = {
        "code": other_than(letter("reset_code").code),
        "password": "ama@example.com",
        "now": clock.now(),
    }
    for identifier in ("ama", "nobody"):
        with pytest.raises(WrongCode):
            secrets.reset_password_by_code(identifier=identifier, **wrong)


def test_links_and_codes_have_their_time(ama: User) -> None:
    sent()
    link, code = letter("reset_link").token, letter("reset_code").code
    hour = clock.now() + timedelta(hours=1)
    with pytest.raises(LinkNotGood):
        secrets.set_password_by_token(token=link, password=NEW, now=hour)
    with pytest.raises(WrongCode):
        secrets.reset_password_by_code(
            identifier="ama", code=code, password=NEW, now=clock.now() + timedelta(minutes=10)
        )
    assert selectors.open_token(link, [TokenPurpose.PASSWORD_RESET], hour) is None
    secrets.set_password_by_token(token=link, password=NEW, now=hour - timedelta(seconds=30))


@pytest.mark.parametrize("change", [{"email": "other@example.com"}, {"is_suspended": True}, {"is_active": False}])
def test_a_link_is_not_good_for_an_address_that_is_not_the_persons_any_more_nor_for_a_closed_account(
    ama: User, change: dict[str, Any]
) -> None:
    sent()
    if "is_suspended" in change:
        change |= {"suspended_at": clock.now(), "suspension_reason": "x"}
    User.objects.filter(pk=ama.pk).update(**change)
    with pytest.raises(LinkNotGood):
        secrets.set_password_by_token(token=letter("reset_link").token, password=NEW, now=clock.now())


def test_a_link_for_one_thing_does_not_do_another(ama: User) -> None:
    token = secrets.ask_to_verify_email(user=ama, now=clock.now())
    send_verification_link(str(token.pk))
    with pytest.raises(LinkNotGood):
        secrets.set_password_by_token(token=letter("verify_email").token, password=NEW, now=clock.now())
    sent()
    with pytest.raises(LinkNotGood):
        secrets.verify_email(token=letter("reset_link").token, now=clock.now())


@pytest.mark.django_db(transaction=True)
def test_of_two_who_use_one_link_at_once_one_does(ama: User) -> None:
    sent()
    token = letter("reset_link").token
    results: list[str] = []

    def use_it(password: str) -> None:
        try:
            secrets.set_password_by_token(token=token, password=password, now=clock.now())
            results.append(password)
        except LinkNotGood:
            results.append("")

    with meanwhile(lambda: use_it(NEW), lambda: use_it(f"{NEW}-too")):
        pass
    assert len([each for each in results if each]) == 1
    ama.refresh_from_db()
    assert ama.check_password(max(results))
    assert (ama.token_version, SecurityEvent.objects.count()) == (1, 1)


# --- codes


def test_a_code_confirms_a_phone_once(ama: User) -> None:
    code = code_sent(ama)
    assert letter("phone_code").to == ama.phone
    secrets.verify_phone(user=ama, code=code, now=clock.now())
    ama.refresh_from_db()
    assert ama.phone_verified
    with pytest.raises(WrongCode):
        secrets.verify_phone(user=ama, code=code, now=clock.now())


def test_a_code_does_not_confirm_a_number_that_was_taken_since(ama: User) -> None:
    code = code_sent(ama)
    User.objects.filter(pk=ama.pk).update(phone="+233244000222")
    with pytest.raises(WrongCode):
        secrets.verify_phone(user=ama, code=code, now=clock.now())


def test_a_code_goes_to_a_phone_without_an_account_and_belongs_to_its_subject() -> None:
    order: dict[str, Any] = {"purpose": CodePurpose.GUEST_ORDER, "subject_id": "order-1", "phone": "0244000333"}
    code = code_sent(**order)
    assert letter("order_code").to == "+233244000333"
    assert not use(code, **order | {"subject_id": "order-2"})
    assert not use(code, **order | {"phone": "0244000334"})
    assert not use(code, **order | {"purpose": PHONE_CODE})
    assert use(code, **order)
    assert not use(code, **order)
    with pytest.raises(InvalidInput):
        code_asked(phone="0302123456")


@pytest.mark.parametrize("typed", ["", "12345", "1234567", "abcdef", "\ud800", "１２３４５６", "12.456", "٠١٢٣٤٥"])
def test_what_cannot_be_a_code_counts_as_a_try(ama: User, typed: str) -> None:
    code_sent(ama)
    assert not use(typed, ama)
    assert OneTimeCode.objects.get().attempts == 1


def test_after_five_wrong_tries_the_right_code_is_not_good_and_a_new_one_is(ama: User) -> None:
    code = code_sent(ama)
    for _ in range(5):
        assert not use(other_than(code), ama)
    assert not use(code, ama)
    assert OneTimeCode.objects.get().attempts == 5
    assert use(code_sent(ama), ama)


def test_the_fifth_try_may_be_right(ama: User) -> None:
    code = code_sent(ama)
    for _ in range(4):
        assert not use(other_than(code), ama)
    assert use(code, ama)


@pytest.mark.django_db(transaction=True)
def test_a_wrong_try_is_counted_though_the_door_raises(ama: User) -> None:
    code = code_sent(ama)
    for _ in range(2):
        with pytest.raises(WrongCode):
            secrets.verify_phone(user=ama, code=other_than(code), now=clock.now())
    assert OneTimeCode.objects.get().attempts == 2
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        secrets.verify_phone(user=ama, code=other_than(code), now=clock.now())


@pytest.mark.django_db(transaction=True)
def test_tries_at_once_are_all_counted_and_one_uses_the_code(ama: User) -> None:
    code = code_sent(ama)
    results: list[bool] = []
    with meanwhile(*[lambda: results.append(use(code, ama))] * 4):
        pass
    assert sorted(results) == [False, False, False, True]
    code = code_sent(ama)
    with meanwhile(*[lambda: use(other_than(code), ama)] * 8):
        pass
    assert OneTimeCode.objects.latest("created_at").attempts == 5
    assert not use(code, ama)


@pytest.mark.parametrize("guest", [False, True])
def test_three_codes_in_a_quarter_of_an_hour_and_ten_a_day(ama: User, guest: bool) -> None:
    whose: dict[str, Any] = {"phone": "0244000333"} if guest else {"user": ama}
    for _ in range(3):
        code_asked(**whose)
    with pytest.raises(TooMany, match="quarter of an hour"):
        code_asked(**whose)
    code_asked(**whose, purpose=CodePurpose.GUEST_ORDER)
    code_asked(UserFactory.create())
    OneTimeCode.objects.exclude(purpose=PHONE_CODE).delete()
    for _ in range(7):
        age(minutes=16)
        code_asked(**whose)
    age(minutes=16)
    with pytest.raises(TooMany):
        code_asked(**whose)
    assert TooMany.status == 429


@pytest.mark.django_db(transaction=True)
def test_codes_asked_for_at_once_keep_the_limit_and_leave_one_open() -> None:
    refused: list[str] = []

    def ask() -> None:
        try:
            code_asked(phone="0244000333")
        except TooMany:
            refused.append("x")

    with meanwhile(*[ask] * 6):
        pass
    assert (OneTimeCode.objects.count(), len(refused)) == (3, 3)
    assert OneTimeCode.objects.filter(superseded_at=None).count() == 1


def test_the_task_of_a_code_sends_it_once_and_skips_what_is_over(ama: User) -> None:
    first, second = code_asked(ama), code_asked(ama)
    assert send_one_time_code(str(first.pk))["reason"] == "used, replaced or expired"
    assert send_one_time_code(str(second.pk)) == {"status": "ok", "channels": ["sms"]}
    assert send_one_time_code(str(second.pk)) == AGAIN
    third = code_asked(ama)
    OneTimeCode.objects.filter(pk=third.pk).update(expires_at=clock.now())
    assert send_one_time_code(str(third.pk))["status"] == "skipped"
    assert len(letters()) == 1
    assert OutboundMessage.objects.get().lane == "urgent"


def test_a_code_lives_ten_minutes_from_when_it_is_sent(ama: User) -> None:
    code = code_asked(ama, now=clock.now() - timedelta(minutes=9))
    send_one_time_code(str(code.pk))
    assert use(letter("phone_code").code, ama, now=clock.now() + timedelta(minutes=9))


# --- an e-mail address is confirmed


def test_a_link_confirms_the_address_it_went_to(ama: User) -> None:
    token = secrets.ask_to_verify_email(user=ama, now=clock.now())
    assert asked_for() == [("send_verification_link", [str(token.pk)])]
    assert send_verification_link(str(token.pk)) == {"status": "ok", "channels": ["email"]}
    assert send_verification_link(str(token.pk)) == AGAIN
    link = letter("verify_email").token
    User.objects.filter(pk=ama.pk).update(email="new@example.com")
    with pytest.raises(LinkNotGood):
        secrets.verify_email(token=link, now=clock.now())
    User.objects.filter(pk=ama.pk).update(email="ama@example.com")
    assert secrets.verify_email(token=link, now=clock.now()).email_verified
    with pytest.raises(LinkNotGood):
        secrets.verify_email(token=link, now=clock.now())
    with pytest.raises(Conflict, match="confirmed already"):
        secrets.ask_to_verify_email(user=ama, now=clock.now())


def test_a_link_to_confirm_an_address_has_its_limits_and_needs_an_address(ama: User) -> None:
    for _ in range(3):
        secrets.ask_to_verify_email(user=ama, now=clock.now())
    with pytest.raises(TooMany):
        secrets.ask_to_verify_email(user=ama, now=clock.now())
    with pytest.raises(InvalidInput, match="no e-mail address"):
        secrets.ask_to_verify_email(user=UserFactory.create(), now=clock.now())


def test_a_username_that_looks_like_an_address_does_not_get_the_links_of_its_owner(ama: User) -> None:
    UserFactory.create(username="ama@example.com", role=Role.AUDITOR)
    assert requested("ama@example.com").user == ama
