"""Officers are told of reviews that are due, late or do not move: who, when, once (domain.md 5.4, 7.4)."""

from __future__ import annotations

import threading
from datetime import date, datetime, time, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import StaffPermission, User
from accounts.rules import Code, Role
from core import clock
from core.base.models import Setting
from core.delivery import notices
from core.delivery.models import Notification, OutboundMessage, ReminderLog
from core.errors import InvalidInput
from core.jobs.items import SomeFailed
from core.jobs.models import TaskRun
from farms.models import BatchEnrollment, FarmApplication, ReviewItem
from farms.rules import ApplicationStatus, EnrollmentStatus, ReviewLevel, ReviewStatus
from farms.services import applications, pending, reviews
from farms.tasks import check_pending_applications
from tests.factories import BatchEnrollmentFactory, BatchFactory, FarmApplicationFactory, UserFactory, a_farm
from tests.farms.conftest import living_in
from tests.farms.journey import apply

pytestmark = pytest.mark.django_db

MONDAY = date(2026, 6, 15)
AT_LEVEL = {
    ReviewLevel.CONSTITUENCY: ApplicationStatus.CONSTITUENCY_REVIEW,
    ReviewLevel.REGIONAL: ApplicationStatus.REGIONAL_REVIEW,
    ReviewLevel.NATIONAL: ApplicationStatus.NATIONAL_REVIEW,
}


@pytest.fixture(autouse=True)
def in_july(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands in July 2026, so that runs of June are of the past."""
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 7, 20, 9, tzinfo=clock.ACCRA))


def moment(day: date, hour: int = 9) -> datetime:
    return clock.at(day, time(hour))


def an_application(level: ReviewLevel = ReviewLevel.CONSTITUENCY, **about: Any) -> FarmApplication:
    """One that has moved on the day of the run, in review at this level."""
    fields = {"status": AT_LEVEL[level], "submitted_at": moment(date(2026, 6, 1)), "last_movement_at": moment(MONDAY)}
    return FarmApplicationFactory.create(**fields | about)


def a_review(due: date, level: ReviewLevel = ReviewLevel.CONSTITUENCY, **about: Any) -> ReviewItem:
    """The open review of an application, or of an enrolment that is given."""
    subject = about if "enrollment" in about else {"application": an_application(level)}
    return ReviewItem.objects.create(
        level=level, entered_at=moment(date(2026, 5, 1)), due_at=moment(due, 15), **subject | about
    )


def an_enrollment(status: EnrollmentStatus, moved: datetime) -> BatchEnrollment:
    batch = BatchFactory.create(start_date=date(2026, 1, 1), application_deadline=date(2026, 6, 1), end_date=MONDAY)
    number = f"PROG-2026-{BatchEnrollment.objects.count() + 1:05}"
    return BatchEnrollmentFactory.create(
        batch=batch, status=status, last_movement_at=moved, submitted_at=moved, enrollment_number=number
    )


def on(day: date) -> dict[str, Any]:
    """The run of ten in the morning of a day."""
    counts: dict[str, Any] = check_pending_applications(as_of=f"{day}T10:00")
    assert counts.pop("status") == "ok"
    return counts


def nothing() -> dict[str, int]:
    return {"sla_soon": 0, "sla_overdue": 0, "stale": 0, "officers": 0}


def readers(day: date = MONDAY) -> set[Any]:
    return set(OutboundMessage.objects.filter(template="farms.review_digest").values_list("user", flat=True))


def digest(user: User) -> str:
    [message] = OutboundMessage.objects.filter(template="farms.review_digest", user=user)
    return str(message.body)


# --- when ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("due", "day", "kind"),
    [
        (date(2026, 6, 18), date(2026, 6, 15), ""),
        (date(2026, 6, 18), date(2026, 6, 16), "sla_soon"),
        (date(2026, 6, 16), date(2026, 6, 12), "sla_soon"),  # Sunday the 14th, and so Friday
        (date(2026, 6, 15), date(2026, 6, 12), "sla_soon"),  # Saturday the 13th, and so Friday
        (date(2026, 6, 17), date(2026, 6, 12), ""),  # Monday the 15th
        (date(2026, 6, 15), date(2026, 6, 15), "sla_soon"),  # the last day: missed until then
        (date(2026, 6, 14), date(2026, 6, 15), "sla_overdue"),
        (date(2026, 5, 20), date(2026, 6, 15), "sla_overdue"),  # missed for weeks
    ],
)
def test_a_review_is_told_two_days_before_it_is_due_and_the_day_after(
    local: User, due: date, day: date, kind: str
) -> None:
    item = a_review(due)
    FarmApplication.objects.update(last_movement_at=moment(day))
    expected = nothing() | ({kind: 1, "officers": 1} if kind else {})
    assert on(day) == expected
    rows = list(ReminderLog.objects.values_list("subject", "kind", "outcome"))
    assert rows == ([(f"review:{item.pk}", kind, "sent")] if kind else [])


@pytest.mark.parametrize(
    ("moved", "day", "due"),
    [
        (date(2026, 6, 8), MONDAY, None),  # seven days are not more than seven
        (date(2026, 6, 7), MONDAY, date(2026, 6, 15)),
        (date(2026, 6, 5), MONDAY, date(2026, 6, 13)),  # a Saturday: not shifted, told on Monday
        (date(2026, 5, 31), MONDAY, date(2026, 6, 15)),  # the second time
        (date(2026, 5, 28), MONDAY, date(2026, 6, 12)),  # the second time, missed on Friday
    ],
)
def test_what_does_not_move_is_told_after_more_than_a_week_and_every_week(
    regional: User, moved: date, day: date, due: date | None
) -> None:
    application = an_application(last_movement_at=moment(moved))
    assert on(day) == nothing() | ({"stale": 1, "officers": 1} if due else {})
    rows = list(ReminderLog.objects.values_list("subject", "kind", "due_day", "sent_on"))
    assert rows == ([(f"application:{application.pk}", "stale", due, day)] if due else [])


def test_over_the_weeks_it_is_told_on_these_days_and_no_others(local: User, regional: User) -> None:
    """Entered on Monday the 1st, due on the 8th, and nobody moves: two notices of the review, and one a week."""
    application = an_application(last_movement_at=moment(date(2026, 6, 1)))
    ReviewItem.objects.create(
        level="constituency",
        application=application,
        entered_at=moment(date(2026, 6, 1)),
        due_at=moment(date(2026, 6, 8)),
    )
    days = [date(2026, 6, 1) + timedelta(days=number) for number in range(30)]
    told = {day.day: {kind for kind, count in on(day).items() if count} for day in days if day.weekday() < 5}
    assert {day: kinds - {"officers"} for day, kinds in told.items() if kinds} == {
        5: {"sla_soon"},  # two days before is Saturday the 6th
        9: {"sla_overdue", "stale"},
        16: {"stale"},
        23: {"stale"},
        30: {"stale"},
    }


def test_the_figures_may_be_changed(local: User, regional: User) -> None:
    Setting.objects.create(key="review.sla_notice_days", value=1)
    Setting.objects.create(key="review.stale_days", value=2)
    a_review(date(2026, 6, 17))
    FarmApplication.objects.update(last_movement_at=moment(date(2026, 6, 12)))
    assert on(MONDAY) == nothing() | {"stale": 1, "officers": 1}
    assert digest(regional).count("Not moved for more than 2 days: 1") == 1
    assert on(date(2026, 6, 16)) == nothing() | {"sla_soon": 1, "officers": 1}
    assert "Due within 1 day: 1" in digest(local)
    assert "/admin/farms/reviewitem/\n" in digest(local)


def test_a_stopped_clock_is_not_told(local: User, regional: User) -> None:
    application = apply(now=moment(date(2026, 6, 1)))
    applications.request_changes(
        actor=local, application_id=application.pk, reason="The photo is dark", now=moment(date(2026, 6, 2))
    )
    assert ReviewItem.objects.get().status == ReviewStatus.COMPLETED
    assert on(date(2026, 6, 30)) == nothing()


@pytest.mark.parametrize("status", [one for one in ApplicationStatus if one not in pending.WAITING])
def test_what_nobody_reviews_is_not_stale(regional: User, status: ApplicationStatus) -> None:
    about: dict[str, Any] = {"changes_from_status": "national_review", "changes_deadline": MONDAY}
    an_application(
        status=status,
        last_movement_at=moment(date(2026, 5, 1)),
        **about if status == ApplicationStatus.CHANGES_REQUESTED else {},
    )
    assert on(MONDAY) == nothing()


def test_a_review_that_comes_back_is_told_anew(local: User) -> None:
    item = a_review(date(2026, 6, 10))
    on(MONDAY)
    ReviewItem.objects.filter(pk=item.pk).update(due_at=moment(date(2026, 6, 18)))
    assert on(date(2026, 6, 16))["sla_soon"] == 1


# --- to whom -------------------------------------------------------------------------------------------------------


@pytest.fixture
def officers(local: User, regional: User, national: User) -> dict[str, User]:
    """One of each, the staff who may decide, those of other places, and those who are away."""
    staff = living_in("BNT", Role.REGIONAL_STAFF)
    StaffPermission.objects.create(user=staff, code=Code.APPROVE_APPLICATIONS, granted_by=national)
    living_in("BNT", Role.REGIONAL_STAFF)
    living_in("TMW", Role.REGIONAL_ADMIN)
    living_in("TMW", Role.CONSTITUENCY_ADMIN)
    living_in("BNT", Role.CONSTITUENCY_ADMIN, is_active=False)
    living_in("BNT", Role.CONSTITUENCY_STAFF)
    owner = UserFactory.create(role=Role.SUPER_ADMIN)
    return {"local": local, "regional": regional, "staff": staff, "national": national, "owner": owner}


@pytest.mark.parametrize(
    ("level", "soon", "stale"),
    [
        (ReviewLevel.CONSTITUENCY, {"local"}, {"regional"}),
        (ReviewLevel.REGIONAL, {"regional", "staff"}, {"national"}),
        (ReviewLevel.NATIONAL, {"national"}, {"national", "owner"}),
    ],
)
def test_each_level_has_its_readers(
    officers: dict[str, User], level: ReviewLevel, soon: set[str], stale: set[str]
) -> None:
    item = a_review(MONDAY, level)
    on(MONDAY)
    assert readers() == {officers[name].pk for name in soon}
    ReviewItem.objects.filter(pk=item.pk).delete()
    OutboundMessage.objects.all().delete()
    Notification.objects.all().delete()
    FarmApplication.objects.update(last_movement_at=moment(date(2026, 6, 1)))
    on(MONDAY)
    assert readers() == {officers[name].pk for name in stale}


@pytest.mark.parametrize("status", ["submitted", "constituency_review"])
def test_what_was_submitted_counts_as_before_the_first_level(officers: dict[str, User], status: str) -> None:
    an_application(status=status, last_movement_at=moment(date(2026, 6, 1)))
    on(MONDAY)
    assert readers() == {officers["regional"].pk}


def test_an_enrolment_is_told_as_an_application_is(officers: dict[str, User]) -> None:
    enrollment = an_enrollment(EnrollmentStatus.REGIONAL_REVIEW, moment(date(2026, 6, 1)))
    a_review(MONDAY, ReviewLevel.REGIONAL, enrollment=enrollment)
    assert on(MONDAY) == {"sla_soon": 1, "sla_overdue": 0, "stale": 1, "officers": 3}
    assert digest(officers["staff"]).count(str(enrollment.enrollment_number)) == 1
    assert "Not moved for more than 7 days: 1" in digest(officers["national"])
    assert set(ReminderLog.objects.values_list("kind", flat=True)) == {"sla_soon", "stale"}


def test_who_claimed_it_is_told_and_when_it_is_late_the_admin_of_the_level_too(officers: dict[str, User]) -> None:
    for due in (MONDAY, date(2026, 6, 12)):
        item = a_review(due, ReviewLevel.REGIONAL)
        reviews.claim(actor=officers["staff"], item_id=item.pk, now=moment(MONDAY))
    assert on(MONDAY) == {"sla_soon": 1, "sla_overdue": 1, "stale": 0, "officers": 2}
    assert "Due within 2 days: 1" in digest(officers["staff"])
    assert "Overdue: 1" in digest(officers["staff"])
    assert "Due within" not in digest(officers["regional"])
    assert "Overdue: 1" in digest(officers["regional"])


@pytest.mark.parametrize("change", [{"is_active": False}, {"role": Role.EXTENSION_OFFICER}])
def test_a_claim_of_somebody_who_left_counts_for_nothing(officers: dict[str, User], change: dict[str, Any]) -> None:
    item = a_review(MONDAY, ReviewLevel.REGIONAL)
    reviews.claim(actor=officers["staff"], item_id=item.pk, now=moment(MONDAY))
    User.objects.filter(pk=officers["staff"].pk).update(**change)
    on(MONDAY)
    assert readers() == {officers["regional"].pk}


def test_where_a_level_has_nobody_the_next_one_up_hears_that_it_is_late(regional: User, national: User) -> None:
    soon, late = a_review(MONDAY), a_review(date(2026, 6, 12))
    assert on(MONDAY) == {"sla_soon": 1, "sla_overdue": 1, "stale": 0, "officers": 1}
    assert readers() == {regional.pk}
    outcomes = dict(ReminderLog.objects.values_list("subject", "outcome"))
    assert outcomes == {f"review:{soon.pk}": "no_contact", f"review:{late.pk}": "sent"}


# --- the digest ----------------------------------------------------------------------------------------------------


def test_one_digest_holds_everything_of_an_officer(local: User) -> None:
    soon = [a_review(MONDAY) for _ in range(2)]
    late = [a_review(date(2026, 5, 1) + timedelta(days=number)) for number in range(12)]
    assert on(MONDAY) == {"sla_soon": 2, "sla_overdue": 12, "stale": 0, "officers": 1}
    text = digest(local)
    longest = [str(item.application and item.application.application_number) for item in late]
    assert f"Overdue: 12 ({', '.join(longest[:10])} and 2 more)" in text
    assert text.index("Overdue: 12") < text.index("Due within 2 days: 2")
    assert all(str(item.application and item.application.application_number) in text for item in soon)
    [message] = OutboundMessage.objects.all()
    assert (message.channel, message.purpose, message.title) == (
        "email",
        "admin",
        "Reviews that wait for you, Mon 15 Jun 2026",
    )
    [notice] = Notification.objects.all()
    assert notice.user_id == local.pk


def test_a_run_again_tells_nothing_and_what_came_up_meanwhile_the_next_day(local: User) -> None:
    a_review(MONDAY)
    on(MONDAY)
    assert on(MONDAY) == nothing()
    new = a_review(date(2026, 6, 17))
    assert on(MONDAY) == nothing(), "the officer has the digest of the day"
    assert not ReminderLog.objects.filter(subject=f"review:{new.pk}").exists()
    assert on(date(2026, 6, 16))["sla_soon"] == 1
    assert OutboundMessage.objects.count() == 2


def test_headquarters_are_told_how_many_do_not_move(regional: User, national: User) -> None:
    for _ in range(2):
        an_application(last_movement_at=moment(date(2026, 6, 1)))
    on(MONDAY)
    [run] = TaskRun.objects.filter(task="core.tasks.send_admin_notification")
    assert run.args == ["stale_applications", {"count": 2, "day": "2026-06-15"}]
    owner = UserFactory.create(role=Role.SUPER_ADMIN)
    for _ in range(2):
        told = notices.send(*run.args, otherwise_once_per="x")
        assert told.recipients == 2
    rows = Notification.objects.filter(kind="stale_applications")
    assert set(rows.values_list("user", flat=True)) == {national.pk, owner.pk}
    assert set(rows.values_list("title", flat=True)) == {"2 applications and enrolments do not move"}


def test_nobody_is_told_of_none(local: User, national: User) -> None:
    a_review(MONDAY)
    on(MONDAY)
    assert not TaskRun.objects.exists()


@pytest.mark.parametrize("context", [{}, {"count": 0, "day": "2026-06-15"}, {"count": 1}, {"count": True, "day": "x"}])
def test_a_notice_without_its_count_and_day_is_refused(national: User, context: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="must"):
        notices.send("stale_applications", context, otherwise_once_per="x")


# --- many ----------------------------------------------------------------------------------------------------------


def test_more_reviews_cost_queries_by_the_chunk_not_by_the_review(local: User, regional: User) -> None:
    counts = []
    for number in (2, 20):
        for _ in range(number):
            a_review(date(2026, 6, 12), claimed_by=local, status=ReviewStatus.CLAIMED)
        for rows in (ReminderLog, OutboundMessage, Notification):
            rows.objects.all().delete()
        with CaptureQueriesContext(connection) as captured:
            assert pending.check(today=MONDAY)["sla_overdue"] >= number
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_chunks_end_in_one_digest(local: User) -> None:
    for _ in range(5):
        a_review(MONDAY)
    assert pending.check(today=MONDAY, size=2) == {"sla_soon": 5, "sla_overdue": 0, "stale": 0, "officers": 1}
    assert "Due within 2 days: 5" in digest(local)


def test_a_chunk_that_fails_does_not_stop_the_others(local: User) -> None:
    items = sorted((a_review(MONDAY) for _ in range(4)), key=lambda item: item.pk)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse_a_review() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'not this one'; END $$;"
            "CREATE TRIGGER refuse BEFORE INSERT ON delivery_reminderlog FOR EACH ROW"
            f" WHEN (NEW.subject = 'review:{items[0].pk}') EXECUTE FUNCTION refuse_a_review()"
        )
    with pytest.raises(SomeFailed, match="sla_soon 2"):
        pending.check(today=MONDAY, size=2)
    assert "Due within 2 days: 2" in digest(local)
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER refuse ON delivery_reminderlog")
    assert on(date(2026, 6, 16))["sla_overdue"] == 4


@pytest.mark.django_db(transaction=True)
def test_two_runs_at_once_send_one_digest() -> None:
    local = UserFactory.create(role=Role.CONSTITUENCY_ADMIN)  # with geography: real transactions have emptied it
    for _ in range(4):
        a_review(MONDAY)
    counts: list[dict[str, int]] = []
    ready = threading.Barrier(2)

    def run() -> None:
        ready.wait()
        try:
            counts.append(pending.check(today=MONDAY, size=2))
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(one["sla_soon"] for one in counts) == [0, 4]
    assert "Due within 2 days: 4" in digest(local)
    assert not a_farm().enrollments.exists()
