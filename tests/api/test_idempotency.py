"""A POST under a key is done once: repeated, at the same time, after a failure, by another person, a day later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from accounts.models import RoleChange, User
from accounts.rules import Role
from core import clock
from core.api import idempotency
from core.api.models import IdempotentRequest
from core.base import retention
from tests.api.conftest import API, SignIn
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db(transaction=True)
Ask = Callable[..., Any]


@pytest.fixture
def owner() -> User:
    return UserFactory.create(role=Role.SUPER_ADMIN)


@pytest.fixture
def user() -> User:
    return UserFactory.create(role=Role.AUDITOR)


def post(client: Client, user: User, key: str | None = "a-key", *, door: str = "role", **fields: str) -> Any:
    body = {"role": "FINANCE_OFFICER", "reason": "moved"} | fields
    headers = {"Idempotency-Key": key} if key is not None else None
    return client.post(f"{API}/users/{user.pk}/{door}/", body, "application/json", headers=headers)


def test_the_same_again_gets_the_same_answer_and_does_nothing(sign_in: SignIn, owner: User, user: User) -> None:
    client = sign_in(owner)
    first, second = post(client, user), post(client, user)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    assert "Idempotent-Replayed" not in first
    assert second["Idempotent-Replayed"] == "true"
    assert RoleChange.objects.count() == 1
    assert post(client, user, key=None).status_code == 409, "without a key it is another request"


def test_the_key_of_another_request_is_refused(sign_in: SignIn, owner: User, user: User) -> None:
    client = sign_in(owner)
    post(client, user)
    for answer in (
        post(client, user, reason="other"),
        post(client, UserFactory.create(role=Role.AUDITOR)),
        post(client, user, door="suspend"),
    ):
        assert answer.status_code == 422
        assert answer["Content-Type"] == "application/problem+json"
    assert RoleChange.objects.count() == 1


def test_a_key_belongs_to_its_person(sign_in: SignIn, owner: User, user: User) -> None:
    post(sign_in(owner), user)
    other = UserFactory.create(role=Role.SUPER_ADMIN)
    assert post(sign_in(other), user, role="AUDITOR").status_code == 201
    assert IdempotentRequest.objects.count() == 2


def test_a_request_that_failed_leaves_its_key_free(sign_in: SignIn, owner: User, user: User) -> None:
    client = sign_in(owner)
    assert post(client, user, role="AUDITOR").status_code == 409
    assert not IdempotentRequest.objects.exists()
    assert post(client, user).status_code == 201


@pytest.mark.parametrize("key", ["", " ", "x" * 201, "a\tb", "ké"])
def test_a_key_that_is_none_is_refused(sign_in: SignIn, owner: User, user: User, key: str) -> None:
    answer = post(sign_in(owner), user, key)
    assert answer.status_code == 400
    assert "Idempotency-Key must be" in answer.json()["detail"]
    assert not RoleChange.objects.exists()


def together(count: int, act: Callable[[int], Any]) -> list[Any]:
    answers: list[Any] = []
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            barrier.wait()
            answers.append(act(number))
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == count
    return answers


def test_of_many_at_once_one_is_done_and_all_get_its_answer(sign_in: SignIn, owner: User, user: User) -> None:
    clients = [sign_in(owner) for _ in range(8)]
    answers = together(8, lambda number: post(clients[number], user))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotent-Replayed" in answer for answer in answers) == 7
    assert RoleChange.objects.count() == 1


def test_when_the_first_of_two_at_once_fails_the_second_does_the_work(
    sign_in: SignIn, owner: User, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accounts.services import people, trail

    whole, calls = trail.write_down, []

    def once_broken(*args: Any, **kwargs: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("the first one breaks")
        whole(*args, **kwargs)

    monkeypatch.setattr(people, "write_down", once_broken)
    clients = [sign_in(owner) for _ in range(2)]
    answers = together(2, lambda number: post(clients[number], user))
    assert sorted(answer.status_code for answer in answers) == [201, 500]
    assert RoleChange.objects.count() == 1


def test_who_waits_too_long_for_the_first_is_told_to_come_again(
    sign_in: SignIn, owner: User, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "WAIT_MS", 200)
    client, begun, end = sign_in(owner), threading.Event(), threading.Event()

    def first() -> None:
        from django.db import transaction

        try:
            with transaction.atomic():
                assert idempotency._claim(owner.pk, "a-key", "f" * 64)
                begun.set()
                end.wait(20)
                transaction.set_rollback(True)
        finally:
            connection.close()

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(20)
    answer = post(client, user)
    end.set()
    thread.join(20)
    assert answer.status_code == 409
    assert "still being worked on" in answer.json()["detail"]
    assert not RoleChange.objects.exists()
    assert post(client, user).status_code == 201


def test_a_key_is_kept_for_a_day(sign_in: SignIn, owner: User, user: User) -> None:
    client = sign_in(owner)
    post(client, user)
    IdempotentRequest.objects.update(created_at=clock.now() - timedelta(hours=23, minutes=59))
    assert "Idempotent-Replayed" in post(client, user)
    IdempotentRequest.objects.update(created_at=clock.now() - timedelta(hours=24, minutes=1))
    User.objects.filter(pk=user.pk).update(role=Role.AUDITOR)
    again = post(client, user)
    assert again.status_code == 201
    assert "Idempotent-Replayed" not in again
    [rule] = [rule for rule in retention.RULES if rule.table == "api_idempotentrequest"]
    assert f"interval '{24 * int(str(rule.keep))} hours'" == idempotency.KEPT


def test_new_keys_take_old_ones_away(sign_in: SignIn, owner: User, user: User) -> None:
    old = clock.now() - timedelta(hours=25)
    IdempotentRequest.objects.bulk_create(
        IdempotentRequest(user=owner, key=str(number), fingerprint="f", status=200, created_at=old)
        for number in range(idempotency.TRIMMED + 5)
    )
    post(sign_in(owner), user)
    assert IdempotentRequest.objects.count() == 5 + 1


def test_somebody_not_signed_in_claims_no_key(client: Client) -> None:
    assert post(client, UserFactory.create()).status_code == 401
    assert not IdempotentRequest.objects.exists()
