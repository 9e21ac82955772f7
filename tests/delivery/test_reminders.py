"""Reminders: their days, one of each, and what is logged of them (domain.md 5.4)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import User
from core.base.registries import Registry
from core.delivery import consent, reminders, rules, templates
from core.delivery.consent import By
from core.delivery.models import OutboundMessage, ReminderLog
from core.delivery.reminders import Concerned, Entry
from core.delivery.rules import Channel, Purpose
from core.delivery.wording import Template
from core.jobs.operations import Actor
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

KEY = "farms.date_for_test"
day = st.dates(date(2020, 1, 1), date(2040, 12, 31))
DAYS = (7, 3, 1)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "_registered", Registry())
    templates.register(
        Template(
            key=KEY,
            purpose=Purpose.SERVICE,
            examples={"deadline": "Wed 17 Jun", "left": "2 days left"},
            title="Until {deadline}",
            sms="Until {deadline}: {left}.",
        )
    )


# --- days ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deadline", "days", "due"),
    [
        (date(2026, 6, 17), 7, date(2026, 6, 10)),
        (date(2026, 6, 17), 3, date(2026, 6, 12)),
        (date(2026, 6, 17), 1, date(2026, 6, 16)),
        (date(2026, 6, 14), 7, date(2026, 6, 5)),
        (date(2026, 6, 14), 3, date(2026, 6, 11)),
        (date(2026, 6, 14), 1, date(2026, 6, 12)),
        (date(2026, 6, 15), 7, date(2026, 6, 8)),
        (date(2026, 6, 15), 3, date(2026, 6, 12)),
        (date(2026, 6, 15), 1, date(2026, 6, 12)),
    ],
)
def test_a_reminder_due_on_a_weekend_goes_out_on_the_friday_before(deadline: date, days: int, due: date) -> None:
    assert rules.due_day(deadline, days) == due


@given(day, st.integers(0, 400))
def test_a_due_day_is_a_working_day_at_most_two_days_early(deadline: date, days: int) -> None:
    due = rules.due_day(deadline, days)
    assert due.weekday() < 5
    assert timedelta(0) <= deadline - timedelta(days=days) - due <= timedelta(days=2)


@given(day, day, st.sets(st.integers(1, 60), min_size=1, max_size=10))
def test_what_is_due_is_what_the_due_days_say_until_the_date_has_passed(
    deadline: date, today: date, days: set[int]
) -> None:
    due = rules.reminders_due(deadline, days, today)
    assert list(due) == sorted(due), "the one that is nearest to the date first"
    assert set(due) == {n for n in days if today <= deadline and rules.due_day(deadline, n) <= today}
    assert all(due[n] == rules.due_day(deadline, n) for n in due)


@given(day, st.integers(1, 60), st.integers(1, 30), st.integers(-10, 400))
def test_a_notice_after_an_event_comes_again_and_again(event: date, days: int, every: int, later: int) -> None:
    today = event + timedelta(days=later)
    due = rules.notice_due(event, days, every, today)
    if later < days:
        assert due is None
        return
    assert due is not None
    assert event + timedelta(days=days) <= due <= today < due + timedelta(days=every)
    assert (due - event).days % every == days % every


@pytest.mark.parametrize(
    ("deadline", "words"),
    [(17, "today is the last day"), (18, "1 day left"), (19, "2 days left")],
)
def test_the_days_left_in_words(deadline: int, words: str) -> None:
    assert reminders.left(date(2026, 6, deadline), date(2026, 6, 17)) == words


# --- the log -------------------------------------------------------------------------------------------------------


def people(*users: User) -> Concerned:
    return Concerned(
        "SELECT 'offer:' || id AS subject, id AS user_id, phone, email, language, preferred_contact_method AS prefers"
        " FROM accounts_user WHERE id = ANY (%(users)s) ORDER BY id",
        {"users": [user.pk for user in users]},
    )


def remind(*users: User, today: date, deadline: date = date(2026, 6, 17), days: Any = DAYS) -> dict[str, int]:
    return dict(
        reminders.remind(
            KEY,
            people(*users),
            kind="offer",
            deadline=deadline,
            days=days,
            today=today,
            values={"deadline": f"{deadline:%a %-d %b}", "left": reminders.left(deadline, today)},
            about=("offer", "1"),
        )
    )


def logged(user: User) -> list[tuple[str, date, date, str]]:
    rows = ReminderLog.objects.filter(subject=f"offer:{user.pk}").order_by("due_day", "kind")
    return list(rows.values_list("kind", "due_day", "sent_on", "outcome"))


def texts() -> list[str | None]:
    return list(OutboundMessage.objects.order_by("created_at").values_list("body", flat=True))


def test_one_message_goes_out_and_covers_the_others() -> None:
    ama, monday = UserFactory.create(), date(2026, 6, 15)
    assert remind(ama, today=monday) == {"sent": 1, "covered": 1, "no_contact": 0}
    assert logged(ama) == [
        ("offer_7", date(2026, 6, 10), monday, "covered"),
        ("offer_3", date(2026, 6, 12), monday, "sent"),
    ]
    assert texts() == ["Until Wed 17 Jun: 2 days left."]
    [message] = OutboundMessage.objects.all()
    assert message.not_after == datetime(2026, 6, 18, tzinfo=UTC), "the end of the deadline day"
    assert (message.subject_type, message.subject_id, message.user_id) == ("offer", "1", ama.pk)
    assert remind(ama, today=monday) == {"sent": 0, "covered": 0, "no_contact": 0}
    assert remind(ama, today=date(2026, 6, 16)) == {"sent": 1, "covered": 0, "no_contact": 0}
    assert len(texts()) == 2


def test_before_the_first_day_and_after_the_date_nobody_is_asked_for() -> None:
    ama = UserFactory.create()
    with CaptureQueriesContext(connection) as captured:
        assert remind(ama, today=date(2026, 6, 9)) == {}
        assert remind(ama, today=date(2026, 6, 18)) == {}
    assert [query for query in captured if "accounts_user" in query["sql"]] == []
    assert not ReminderLog.objects.exists()


def test_a_kind_that_was_added_later_is_told_though_a_nearer_one_was() -> None:
    """The figure of days was changed: what is missing is told by the nearest of it."""
    ama, tuesday = UserFactory.create(), date(2026, 6, 16)
    remind(ama, today=tuesday, days=(1,))
    assert remind(ama, today=tuesday, days=(7, 5, 1)) == {"sent": 1, "covered": 1, "no_contact": 0}
    assert {(kind, outcome) for kind, _, _, outcome in logged(ama)} == {
        ("offer_1", "sent"),
        ("offer_5", "sent"),
        ("offer_7", "covered"),
    }


def test_who_cannot_be_reached_is_logged_so_and_counted() -> None:
    ama, kofi, today = UserFactory.create(), UserFactory.create(), date(2026, 6, 16)
    by = By(consent.Source.COMMAND, Actor(None, "a test"), "they said so")
    consent.opt_out(Channel.SMS, ama.phone, [Purpose.SERVICE], by=by)
    assert remind(ama, kofi, today=today) == {"sent": 1, "covered": 4, "no_contact": 1}
    assert [outcome for *_, outcome in logged(ama)] == ["covered", "covered", "no_contact"]
    assert [outcome for *_, outcome in logged(kofi)] == ["covered", "covered", "sent"]
    assert remind(ama, kofi, today=today) == {"sent": 0, "covered": 0, "no_contact": 0}


def test_a_moved_date_is_told_anew() -> None:
    ama, today = UserFactory.create(), date(2026, 6, 16)
    remind(ama, today=today)
    assert remind(ama, today=today, deadline=date(2026, 6, 18)) == {"sent": 1, "covered": 1, "no_contact": 0}
    assert remind(ama, today=today, deadline=date(2026, 6, 18)) == {"sent": 0, "covered": 0, "no_contact": 0}


def test_ten_times_as_many_people_cost_no_more_queries() -> None:
    few, many = ([UserFactory.create() for _ in range(count)] for count in (3, 30))
    counts = []
    for group in (few, many):
        with CaptureQueriesContext(connection) as captured:
            assert remind(*group, today=date(2026, 6, 10))["sent"] == len(group)
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_what_was_logged_is_claimed_once() -> None:
    today = date(2026, 6, 16)
    entries = [Entry(f"review:{number}", "stale", today) for number in range(3)]
    assert reminders.claim(entries[:2], today=today) == {("review:0", "stale"), ("review:1", "stale")}
    assert reminders.claim(entries, today=today) == {("review:2", "stale")}
    assert reminders.claim([], today=today) == set()


def test_the_database_keeps_one_row_of_a_reminder_and_its_outcomes() -> None:
    row = {"subject": "review:1", "kind": "stale", "due_day": date(2026, 6, 1), "sent_on": date(2026, 6, 1)}
    ReminderLog.objects.create(**row, outcome="sent")
    for outcome in ("sent", "perhaps"):
        with pytest.raises(DatabaseError), transaction.atomic():
            ReminderLog.objects.create(**row | {"kind": "stale" if outcome == "sent" else "x"}, outcome=outcome)
