"""A worker that dies at the worst moment loses no secret and sends none twice."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts import tasks
from accounts.models import AccountToken, User
from accounts.rules import CodePurpose, Role
from accounts.services import invitations, people, secrets
from core import clock
from core.delivery.models import OutboundMessage
from tests.accounts.letters import letters
from tests.factories import UserFactory
from tests.system.product import Process

pytestmark = pytest.mark.django_db(transaction=True)

NEW = "a-better-password-2026"


def a_reset(ama: User, _owner: User) -> str:
    secrets.request_password_reset(identifier="ama", ip=None, now=clock.now())
    return str(AccountToken.objects.get().pk)


def a_code(ama: User, _owner: User) -> str:
    return str(secrets.ask_for_code(user=ama, purpose=CodePurpose.PHONE_VERIFICATION, now=clock.now()).pk)


def a_verification(ama: User, _owner: User) -> str:
    return str(secrets.ask_to_verify_email(user=ama, now=clock.now()).pk)


def an_invitation(_ama: User, owner: User) -> str:
    return str(invitations.invite(actor=owner, email="esi@example.com", role="auditor", now=clock.now()).pk)


def an_invited_person(_ama: User, _owner: User) -> str:
    return str(UserFactory.create(email="esi@example.com", is_active=False, activated_at=None, password="!").pk)


def a_change_of_role(_ama: User, owner: User) -> str:
    user = UserFactory.create(role=Role.AUDITOR)
    change = people.change_role(actor=owner, user_id=user.pk, role="finance officer", reason="x", now=clock.now())
    return str(change.pk)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    ("task", "ask", "channels"),
    [
        ("send_password_reset_notification", a_reset, ["email", "sms"]),
        ("send_one_time_code", a_code, ["sms"]),
        ("send_verification_link", a_verification, ["email"]),
        ("send_staff_invitation", an_invitation, ["email"]),
        ("send_welcome_notification", an_invited_person, ["sms"]),
        ("notify_role_change", a_change_of_role, ["email", "sms"]),
    ],
)
def test_a_killed_worker_neither_loses_nor_doubles(
    ama: User, owner: User, tmp_path: Path, moment: str, task: str, ask: Callable[..., str], channels: list[str]
) -> None:
    row_id = ask(ama, owner)
    worker = Process(tmp_path / "worker.log", "tests.accounts.run_and_die", moment, task, row_id)
    assert worker.popen.wait(30) == -signal.SIGKILL, worker.output()
    assert "'status': 'ok'" in worker.output()
    assert OutboundMessage.objects.exists() == (moment == "after")
    done: dict[str, Any] = getattr(tasks, task)(row_id)
    expected = "ok" if moment == "before" or task == "notify_role_change" else "duplicate"
    assert done["status"] == expected
    assert sorted(each.channel for each in letters()) == channels


@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_was_sent_by_a_worker_that_died_can_be_used(ama: User, owner: User, tmp_path: Path, moment: str) -> None:
    """The link in the mailbox is the one whose hash is kept, whoever of the two made it."""
    request_id = a_reset(ama, owner)
    worker = Process(
        tmp_path / "worker.log", "tests.accounts.run_and_die", moment, "send_password_reset_notification", request_id
    )
    assert worker.popen.wait(30) == -signal.SIGKILL
    tasks.send_password_reset_notification(request_id)
    [link] = letters("reset_link")
    assert secrets.set_password_by_token(token=link.token, password=NEW, now=clock.now()) == ama
