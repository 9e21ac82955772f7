"""cleanup_expired_tokens: what has run out, in chunks, by time and state only."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import connection

from accounts.models import AccountToken, OneTimeCode, StaffInvitation, User
from accounts.rules import Role
from accounts.services import expiry
from accounts.tasks import cleanup_expired_tokens
from core import clock
from core.base import registries
from core.errors import InvalidInput
from tests.delivery.outbox import meanwhile
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

CLEANED = dict.fromkeys([*registries.expiry_steps, "tokens", "one_time_codes"], 0)
NOTHING = {"status": "ok"} | CLEANED


def ago(days: float) -> datetime:
    return clock.now() - timedelta(days=days)


def a_token(**about: Any) -> AccountToken:
    row = {"user": UserFactory.create(), "purpose": "password_reset", "expires_at": ago(-1), **about}
    return AccountToken.objects.create(**row)


def a_code(**about: Any) -> OneTimeCode:
    row = {"user": UserFactory.create(), "purpose": "password_reset", "expires_at": ago(-1), **about}
    return OneTimeCode.objects.create(**row)


def an_invitation(by: User, email: str, days: float, **about: Any) -> StaffInvitation:
    return StaffInvitation.objects.create(email=email, role=Role.AUDITOR, invited_by=by, expires_at=ago(days), **about)


def test_invitations_that_have_run_out_expire_and_no_others(owner: User) -> None:
    waiting, over = an_invitation(owner, "a@example.com", -1), an_invitation(owner, "b@example.com", 0.01)
    cancelled = an_invitation(owner, "c@example.com", 1, status="cancelled")
    assert cleanup_expired_tokens() == NOTHING | {"invitations": 1}
    for row in (waiting, over, cancelled):
        row.refresh_from_db()
    assert (waiting.status, over.status, cancelled.status) == ("pending", "expired", "cancelled")
    assert cleanup_expired_tokens() == NOTHING


@pytest.mark.parametrize("make", [a_token, a_code])
def test_what_was_closed_or_has_expired_more_than_seven_days_ago_goes(make: Any) -> None:
    used = {"token_hash": "a" * 64, "sent_to": "x"} if make is a_token else {"code_hash": "a" * 64}
    for days in (6.9, 7.1):
        made = used | {next(iter(used)): f"{days * 10:064.0f}"}
        make(expires_at=ago(days))
        make(superseded_at=ago(days))
        make(used_at=ago(days), sent_at=ago(days), **made)
    make()
    name = "tokens" if make is a_token else "one_time_codes"
    assert cleanup_expired_tokens() == NOTHING | {name: 3}
    model = AccountToken if make is a_token else OneTimeCode
    assert model.objects.count() == 4
    assert cleanup_expired_tokens() == NOTHING


def test_sessions_that_have_ended_go_in_chunks_of_a_thousand(
    monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    rows = [Session(session_key=f"s{n}", session_data="x", expire_date=ago(1)) for n in range(2_300)]
    Session.objects.bulk_create([*rows, Session(session_key="alive", session_data="x", expire_date=ago(-1))])
    chunks = []
    step = registries.expiry_steps["sessions"]

    def counted(now: datetime, limit: int) -> int:
        chunks.append(step(now, limit))
        return chunks[-1]

    monkeypatch.setitem(registries.expiry_steps, "sessions", counted)
    with django_assert_max_num_queries(60):
        assert cleanup_expired_tokens() == NOTHING | {"sessions": 2_300}
    assert chunks == [1_000, 1_000, 300, 0]
    assert [session.session_key for session in Session.objects.all()] == ["alive"]


def test_the_steps_of_other_apps_run_until_they_have_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    left, seen = [1_700], []

    def step(now: datetime, limit: int) -> int:
        done = min(left[0], limit)
        left[0] -= done
        seen.append(now)
        return done

    monkeypatch.setitem(registries.expiry_steps, "orders", step)
    day = ago(3)
    assert cleanup_expired_tokens(as_of=day.isoformat()) == NOTHING | {"orders": 1_700}
    assert set(seen) == {day}


def test_it_can_be_run_as_of_a_past_day_and_never_early(owner: User) -> None:
    an_invitation(owner, "a@example.com", 1)
    a_token(expires_at=ago(8))
    assert cleanup_expired_tokens(as_of=ago(2).isoformat()) == NOTHING
    an_invitation(owner, "b@example.com", -0.5)
    a_token(expires_at=ago(6.5))
    Session.objects.create(session_key="alive", session_data="x", expire_date=ago(-0.5))
    ahead = clock.now() + timedelta(days=30)
    done = expiry.cleanup(now=ahead)
    assert done == CLEANED | {"invitations": 1, "tokens": 1}, "by the database's clock"
    with pytest.raises(InvalidInput):
        cleanup_expired_tokens(as_of=ahead.isoformat())


@pytest.mark.django_db(transaction=True)
def test_two_runs_at_once_do_each_thing_once_and_wait_for_nobody(owner: User) -> None:
    for number in range(40):
        an_invitation(owner, f"a{number}@example.com", 1)
        a_token(expires_at=ago(8))
    Session.objects.bulk_create([Session(session_key=f"s{n}", session_data="x", expire_date=ago(1)) for n in range(40)])
    counts: list[dict[str, int]] = []
    with meanwhile(*[lambda: counts.append(expiry.cleanup(now=clock.now()))] * 3):
        assert not connection.in_atomic_block
    for name in ("invitations", "tokens", "sessions"):
        assert sum(count[name] for count in counts) == 40
