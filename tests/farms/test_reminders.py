"""Farmers are reminded of a batch: who, on which days, once, also after a crash (domain.md 5.3, 5.4, 7.4)."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Constituency, Region
from core import clock
from core.base.models import Setting
from core.delivery.models import Notification, OutboundMessage, ReminderLog
from core.delivery.reminders import Concerned
from core.jobs.items import SomeFailed
from core.jobs.models import TaskRun
from farms import rules
from farms.models import Batch, BatchEnrollment, Farm
from farms.rules import BatchStatus, EnrollmentStatus, FarmStatus
from farms.services import enrollments, reminders
from farms.services.common import parts
from farms.tasks import send_enrollment_reminders
from tests.factories import BatchEnrollmentFactory, BatchFactory, FarmApplicationFactory, a_farm
from tests.factories.farms import today
from tests.system.product import Process

pytestmark = pytest.mark.django_db


def a_batch(deadline: date, **about: Any) -> Batch:
    return BatchFactory.create(
        application_deadline=deadline, start_date=date(2020, 1, 1), end_date=max(deadline, date(2030, 1, 1)), **about
    )


def on(day: date) -> dict[str, Any]:
    """The run of nine in the morning of a day."""
    counts: dict[str, Any] = send_enrollment_reminders(as_of=f"{day}T09:00")
    assert counts.pop("status") == "ok"
    return counts


def logged(farm: Farm) -> list[tuple[str, date, str]]:
    rows = ReminderLog.objects.filter(subject__endswith=f"/farm:{farm.pk}").order_by("due_day", "-kind")
    return list(rows.values_list("kind", "sent_on", "outcome"))


def told(farm: Farm) -> list[str]:
    """What the farmer has read, without the words that are the same in all."""
    rows = OutboundMessage.objects.filter(user=farm.user_id).order_by("created_at")
    return [(row.body or "").rpartition(": ")[2].removesuffix(".") for row in rows]


def eligible(batch: Batch) -> set[str]:
    """The subjects that would be reminded."""
    found = set()
    for part in parts(None):
        asked: Concerned = reminders.eligible(batch, part)
        with connection.cursor() as cursor:
            cursor.execute(asked.rows, asked.given)
            found |= {row[0] for row in cursor.fetchall()}
    return found


# --- the table of 5.4 ----------------------------------------------------------------------------------------------

JUNE = [date(2026, 6, day) for day in range(1, 19)]
WORKING = [day for day in JUNE if day.weekday() < 5]


@pytest.fixture
def in_june(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands in July 2026, so that runs of June are of the past."""
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 7, 1, 9, tzinfo=clock.ACCRA))


@pytest.mark.parametrize(
    ("deadline", "down", "sent"),
    [
        (date(2026, 6, 17), (), {10: ("7", "7 days left"), 12: ("3", "5 days left"), 16: ("1", "1 day left")}),
        (date(2026, 6, 14), (), {5: ("7", "9 days left"), 11: ("3", "3 days left"), 12: ("1", "2 days left")}),
        (date(2026, 6, 15), (), {8: ("7", "7 days left"), 12: ("1", "3 days left")}),
        (date(2026, 6, 17), (10, 11, 12, 13), {15: ("3", "2 days left"), 16: ("1", "1 day left")}),
    ],
)
def test_the_table_of_the_specification(
    in_june: None, deadline: date, down: tuple[int, ...], sent: dict[int, tuple[str, str]]
) -> None:
    farm, _ = a_farm(), a_batch(deadline)
    for day in WORKING:
        if day.day not in down:
            assert on(day)["sent"] == (day.day in sent)
    assert told(farm) == [words for _, words in sent.values()]
    rows = logged(farm)
    assert {(f"enrollment_{kind}", date(2026, 6, day), "sent") for day, (kind, _) in sent.items()} == {
        row for row in rows if row[2] == "sent"
    }
    assert sorted(kind for kind, _, _ in rows) == ["enrollment_1", "enrollment_3", "enrollment_7"]
    assert Counter(outcome for *_, outcome in rows)["covered"] == 3 - len(sent)


def test_the_message_names_the_batch_the_deadline_and_the_days_left(in_june: None) -> None:
    farm, batch = a_farm(), a_batch(date(2026, 6, 17))
    assert on(date(2026, 6, 15)) == {"batches_closed": 0, "sent": 1, "covered": 1, "no_contact": 0}
    [message] = OutboundMessage.objects.all()
    assert message.body == (
        f"YEA Poultry: your farm can apply to batch {batch.batch_code} until Wed 17 Jun 2026: 2 days left."
    )
    assert (message.channel, message.parts, message.user_id) == ("sms", 1, farm.user_id)
    assert message.not_after == datetime(2026, 6, 18, tzinfo=clock.ACCRA)
    [notice] = Notification.objects.all()
    assert "2 days left" in notice.text
    assert batch.batch_name in notice.title


def test_a_run_again_tells_nobody_twice_and_a_new_farm_still(in_june: None) -> None:
    first, _ = a_farm(), a_batch(date(2026, 6, 17))
    on(date(2026, 6, 16))
    kept = list(OutboundMessage.objects.values())
    assert on(date(2026, 6, 16)) == {"batches_closed": 0, "sent": 0, "covered": 0, "no_contact": 0}
    assert on(date(2026, 6, 17))["sent"] == 0
    assert list(OutboundMessage.objects.values()) == kept
    second = a_farm()
    Farm.objects.filter(pk=second.pk).update(created_at=first.created_at)
    assert on(date(2026, 6, 17)) == {"batches_closed": 0, "sent": 1, "covered": 2, "no_contact": 0}
    assert told(second) == ["today is the last day"]


def test_a_deadline_that_has_passed_is_told_to_nobody(in_june: None) -> None:
    batch, _ = a_batch(date(2026, 6, 12)), a_farm()
    assert on(date(2026, 6, 15)) == {"batches_closed": 1, "sent": 0, "covered": 0, "no_contact": 0}
    batch.refresh_from_db()
    assert batch.status == BatchStatus.CLOSED


def test_a_moved_deadline_is_told_anew(in_june: None) -> None:
    farm, batch = a_farm(), a_batch(date(2026, 6, 17))
    on(date(2026, 6, 16))
    Batch.objects.filter(pk=batch.pk).update(application_deadline=date(2026, 6, 24))
    assert on(date(2026, 6, 17)) == {"batches_closed": 0, "sent": 1, "covered": 0, "no_contact": 0}
    assert told(farm) == ["1 day left", "7 days left"]


def test_the_days_are_a_figure_that_may_be_changed(in_june: None) -> None:
    farm, _ = a_farm(), a_batch(date(2026, 6, 17))
    Setting.objects.create(key="reminder.enrollment_days", value=[10])
    assert on(date(2026, 6, 5))["sent"] == 1, "Sunday the 7th, and so Friday the 5th"
    assert logged(farm) == [("enrollment_10", date(2026, 6, 5), "sent")]


# --- who is told ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [*EnrollmentStatus.values, ""])
def test_who_has_applied_is_not_reminded_and_a_draft_is_no_application(status: str) -> None:
    farm, batch = a_farm(), a_batch(today() + timedelta(days=1))
    if status:
        about = {"enrollment_number": "PROG-2020-00001", "submitted_at": clock.now()}
        if status == EnrollmentStatus.CHANGES_REQUESTED:
            about |= {"changes_from_status": "national_review", "changes_deadline": today()}
        BatchEnrollmentFactory.create(farm=farm, batch=batch, status=status, **about)
    assert bool(eligible(batch)) == (status in ("", "draft"))


@pytest.mark.parametrize("status", FarmStatus)
def test_only_active_farms_are_reminded(status: FarmStatus) -> None:
    a_farm(farm_status=status)
    assert bool(eligible(a_batch(today()))) == (status == FarmStatus.ACTIVE)


@pytest.mark.parametrize(
    ("about", "reminded"),
    [
        ({}, 1),
        ({"status": BatchStatus.PAUSED}, 0),
        ({"status": BatchStatus.DRAFT}, 0),
        ({"total_slots": 3, "slots_filled": 3}, 0),
        ({"total_slots": 3, "slots_filled": 3, "allow_overbooking": True}, 1),
    ],
)
def test_only_of_a_batch_that_takes_applications(about: dict[str, Any], reminded: int) -> None:
    a_farm()
    a_batch(today() + timedelta(days=1), **about)
    assert send_enrollment_reminders()["sent"] == reminded


def test_by_the_way_each_farmer_prefers_and_who_has_no_address_in_the_application(in_june: None) -> None:
    by_sms, by_mail, nowhere = a_farm(), a_farm(), a_farm()
    by_mail.user.email, by_mail.user.preferred_contact_method = "ama@example.com", "EMAIL"
    by_mail.user.save()
    with connection.cursor() as cursor:  # a landline: no door of the house takes one
        cursor.execute("UPDATE accounts_user SET phone = '+233302000000' WHERE id = %s", [nowhere.user_id])
    a_batch(date(2026, 6, 17))
    assert on(date(2026, 6, 16)) == {"batches_closed": 0, "sent": 2, "covered": 6, "no_contact": 1}
    assert dict(OutboundMessage.objects.values_list("user", "channel")) == {
        by_sms.user_id: "sms",
        by_mail.user_id: "email",
    }
    assert Notification.objects.count() == 3
    assert logged(nowhere)[-1] == ("enrollment_1", date(2026, 6, 16), "no_contact")
    assert on(date(2026, 6, 17))["no_contact"] == 0


LIMITS = st.one_of(st.none(), st.integers(0, 40))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    born=st.dates(date(1955, 1, 1), date(2007, 12, 31)) | st.sampled_from([date(2000, 2, 29), date(1988, 2, 29)]),
    deadline=st.dates(date(2026, 1, 1), date(2028, 12, 31)) | st.sampled_from([date(2027, 2, 28), date(2028, 2, 29)]),
    ages=st.tuples(st.integers(16, 40), st.integers(0, 40)),
    capacity=st.integers(1, 40),
    capacities=st.tuples(LIMITS, LIMITS),
    since=st.dates(date(2016, 1, 1), date(2027, 12, 31)),
    farm_age=st.tuples(LIMITS, st.one_of(st.none(), st.integers(0, 10))),
    place=st.sampled_from(["BNT", "TMW"]),
    region=st.sampled_from(["", "AH", "AA"]),
    constituencies=st.sets(st.sampled_from(["BNT", "EJS", "TMW"])),
)
def test_postgresql_says_who_may_apply_as_the_rules_do(
    bantama: Constituency,
    born: date,
    deadline: date,
    ages: tuple[int, int],
    capacity: int,
    capacities: tuple[int | None, int | None],
    since: date,
    farm_age: tuple[int | None, int | None],
    place: str,
    region: str,
    constituencies: set[str],
) -> None:
    """Against the very functions by which an application is judged; birthdays on 29 February and ends of months too."""
    low, high = capacities
    if low is not None and high is not None and low > high:
        low, high = high, low
    home = Constituency.objects.select_related("region", "district").get(code=place)
    application = FarmApplicationFactory.create(
        constituency=home, status="account_created", date_of_birth=born, submitted_at=adult(born)
    )
    farm = a_farm(place=home, total_bird_capacity=capacity, application=application)
    Farm.objects.filter(pk=farm.pk).update(created_at=clock.at(since, time(23, 30)))
    batch = a_batch(
        deadline,
        target_region=Region.objects.get(code=region) if region else None,
        min_age=ages[0],
        max_age=ages[0] + ages[1],
        min_bird_capacity=low,
        max_bird_capacity=high,
        min_farm_age_months=farm_age[0],
        max_farm_age_years=farm_age[1],
    )
    batch.eligible_constituencies.set(Constituency.objects.filter(code__in=constituencies))
    judged = rules.eligibility(
        enrollments._candidate(Farm.objects.select_related("constituency", "application").get(pk=farm.pk)),
        enrollments._terms(batch, clock.at(deadline, time(9))),
    )
    mine = f"batch:{batch.pk}/farm:{farm.pk}"
    assert (mine in eligible(batch)) == (not judged.failed), judged.failed


def adult(born: date) -> datetime:
    """When somebody of this birthday may have applied: at 18, as the database asks for."""
    return clock.at(date(born.year + 20, 6, 1), time(9))


# --- many, twice at once, and a crash ------------------------------------------------------------------------------


def test_farms_are_worked_on_in_parts_of_a_fixed_number_of_queries() -> None:
    for _ in range(5):
        a_farm()
    a_batch(today() + timedelta(days=1))
    now = clock.now()
    counts = []
    for size in (5, 1):
        ReminderLog.objects.all().delete()
        OutboundMessage.objects.all().delete()
        with CaptureQueriesContext(connection) as captured:
            assert reminders.remind_of_batches(now=now, today=today(), size=size)["sent"] == 5
        counts.append(len(captured))
    one_part, five = counts
    assert five - one_part == 4 * ((five - one_part) // 4), "each further part costs the same"
    assert (five - one_part) // 4 < 20


def test_a_part_that_fails_does_not_stop_the_others_and_is_done_by_the_next_run() -> None:
    farms = sorted((a_farm() for _ in range(4)), key=lambda farm: farm.pk)
    batch = a_batch(today() + timedelta(days=1))
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse_a_farm() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'not this one'; END $$;"
            "CREATE TRIGGER refuse BEFORE INSERT ON delivery_reminderlog FOR EACH ROW"
            f" WHEN (NEW.subject = 'batch:{batch.pk}/farm:{farms[1].pk}') EXECUTE FUNCTION refuse_a_farm()"
        )
    with pytest.raises(SomeFailed, match=r"1 of 2 parts failed, first batch .* Done: batches_closed 0, sent 2"):
        reminders.remind_of_batches(now=clock.now(), today=today(), size=2)
    assert {farm.pk for farm in farms if told(farm)} == {farms[2].pk, farms[3].pk}
    assert not logged(farms[0]), "the part was one transaction"
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER refuse ON delivery_reminderlog")
    assert send_enrollment_reminders()["sent"] == 2
    assert [len(told(farm)) for farm in farms] == [1] * 4


@pytest.mark.django_db(transaction=True)
def test_two_runs_at_once_tell_everybody_once() -> None:
    farms = [a_farm() for _ in range(6)]
    a_batch(today() + timedelta(days=1))
    counts: list[dict[str, int]] = []
    ready = threading.Barrier(3)

    def run() -> None:
        ready.wait()
        try:
            counts.append(reminders.remind_of_batches(now=clock.now(), today=today(), size=2))
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(counts) == 3
    assert sum(one["sent"] for one in counts) == 6
    assert [len(told(farm)) for farm in farms] == [1] * 6


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("after", [0, 1])
def test_a_killed_run_neither_loses_nor_doubles_a_reminder(tmp_path: Path, moment: str, after: int) -> None:
    """kill -9 in the middle of the farms, then a run that goes through."""
    farms = [a_farm() for _ in range(6)]
    a_batch(today() + timedelta(days=1))
    worker = Process(tmp_path / "worker.log", "tests.farms.run_and_die", moment, str(after))
    assert worker.popen.wait(60) == -signal.SIGKILL, worker.output()
    assert f"part {after}" in worker.output()
    done = 2 * (after + (moment == "after"))
    assert OutboundMessage.objects.count() == Notification.objects.count() == done
    assert ReminderLog.objects.filter(outcome="sent").count() == done
    assert send_enrollment_reminders()["sent"] == 6 - done
    assert [len(told(farm)) for farm in farms] == [1] * 6
    assert Notification.objects.count() == 6


def test_it_runs_on_the_bulk_lane_once_at_a_time() -> None:
    first, second = send_enrollment_reminders.delay(), send_enrollment_reminders.delay()
    rows = TaskRun.objects.filter(pk__in=[first.id, second.id])
    assert {(row.queue, row.exclusive) for row in rows} == {("bulk", "farms.tasks.send_enrollment_reminders")}
    assert not BatchEnrollment.objects.exists()
