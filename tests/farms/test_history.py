"""Every step of farms leaves a row: an event of its subject, or a row of the audit log with who did what."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from accounts.models import User
from accounts.rules import Role
from core import clock
from core.base.models import AuditLog
from core.base.registries import expiry_steps
from core.errors import Conflict
from farms.models import Alert, Batch, FarmInvitation, MortalityRecord
from farms.rules import FlockStatus
from farms.services import applications, batches, production, reviews
from farms.services.production import DayRecord
from tests.factories import BatchFactory, FlockFactory
from tests.factories.farms import today
from tests.farms.conftest import living_in
from tests.farms.journey import apply, approved
from tests.farms.test_invitations import linked

pytestmark = pytest.mark.django_db

SYSTEM = (None, "the system")


def written(row: Any) -> list[tuple[Any, ...]]:
    """The audit rows of a row: action, who, statuses before and after."""
    found = AuditLog.objects.filter(subject_id=str(row.pk)).order_by("at", "pk")
    return [
        (one.action, (one.actor_id, one.actor_name), (one.before or {}).get("status"), (one.after or {}).get("status"))
        for one in found
    ]


def by(user: User) -> tuple[object, str]:
    return user.pk, ""


def over(**about: Any) -> Batch:
    days = {"start_date": today() - timedelta(days=9), "end_date": today()}
    return BatchFactory.create(**days, application_deadline=today() - timedelta(days=1), **about)


def test_what_a_reviewer_does_with_a_review_is_written_down(local: User) -> None:
    item = apply().reviews.get()
    for act in (reviews.claim, reviews.release, reviews.claim, reviews.start):
        act(actor=local, item_id=item.pk, now=clock.now())
    with pytest.raises(Conflict):
        reviews.release(actor=local, item_id=item.pk, now=clock.now())
    assert written(item) == [
        ("review.claim", by(local), "pending", "claimed"),
        ("review.release", by(local), "claimed", "pending"),
        ("review.claim", by(local), "pending", "claimed"),
        ("review.start", by(local), "claimed", "in_progress"),
    ]


def test_a_decision_is_an_event_of_the_subject_and_no_second_row_of_its_review(local: User) -> None:
    application = apply()
    applications.forward(actor=local, application_id=application.pk, now=clock.now())
    assert not AuditLog.objects.exists()
    assert application.events.filter(to_status="regional_review", actor=local).count() == 1


def test_an_invitation_that_is_replaced_is_revoked_by_who_invites_again(
    local: User, regional: User, national: User
) -> None:
    application = approved(local, regional, national)
    first = application.invitations.get()
    applications.invite_again(actor=national, application_id=application.pk, now=clock.now())
    second = application.invitations.get(status="pending")
    linked(application)
    applications.invite_again(actor=national, application_id=application.pk, now=clock.now())
    assert written(first) == [("farm_invitation.revoke", by(national), "pending", "revoked")]
    assert written(second) == [("farm_invitation.revoke", by(national), "sent", "revoked")]


def test_an_invitation_ends_by_itself(local: User, regional: User, national: User) -> None:
    application = approved(local, regional, national)
    linked(application)
    late = clock.now() + timedelta(days=31)
    for _ in range(2):
        expiry_steps["farm_invitations"](late, 1_000)
    assert written(application.invitations.get()) == [("farm_invitation.expire", SYSTEM, "sent", "expired")]


def test_a_batch_is_closed_at_its_deadline_by_the_system(national: User) -> None:
    live, paused, left = over(status="live"), over(status="paused"), over(status="draft")
    for _ in range(2):
        batches.close_past(today=today(), now=clock.now())
    assert written(live) == [("batch.close", SYSTEM, "live", "closed")]
    assert written(paused) == [("batch.close", SYSTEM, "paused", "closed")]
    assert written(left) == []


def test_many_that_end_by_themselves_cost_as_much_as_one(
    local: User, regional: User, national: User, django_assert_num_queries: Any
) -> None:
    late = clock.now() + timedelta(days=31)
    for count in (1, 4):
        for _ in range(count):
            over(status="live")
            linked(approved(local, regional, national))
        with django_assert_num_queries(5):
            assert batches.close_past(today=today(), now=clock.now()) == count
        with django_assert_num_queries(5):
            assert expiry_steps["farm_invitations"](late, 1_000) == count


@pytest.mark.parametrize(
    ("how", "action"),
    [
        (FlockStatus.SOLD, "flock.sell"),
        (FlockStatus.CULLED, "flock.cull"),
        (FlockStatus.DEPLETED, "flock.deplete"),
    ],
)
def test_the_end_of_a_flock_is_written_down(how: FlockStatus, action: str) -> None:
    flock = FlockFactory.create()
    farmer = flock.farm.user
    production.end_flock(actor=farmer, flock_id=flock.pk, how=how, on=today(), now=clock.now())
    assert written(flock) == [(action, by(farmer), "active", how.value)]
    row = AuditLog.objects.get()
    assert row.before == {"status": "active", "current_count": flock.initial_count}
    assert row.after == {"status": how.value, "current_count": 0, "ended_on": str(today())}


def deaths(birds: int = 60) -> tuple[Alert, MortalityRecord]:
    flock = FlockFactory.create(farm__constituency=living_in("BNT", Role.FARMER).constituency)
    record = DayRecord(flock_id=flock.pk, production_date=today(), birds_died=birds)
    production.record_day(actor=flock.farm.user, record=record, now=clock.now())
    return flock.alerts.get(kind="mortality_daily"), MortalityRecord.objects.get(production__flock=flock)


def test_who_acknowledged_and_closed_an_alert_is_written_down(local: User) -> None:
    alert, _ = deaths()
    farmer = alert.farm.user
    production.acknowledge(actor=farmer, alert_id=alert.pk, now=clock.now())
    production.close_alert(actor=local, alert_id=alert.pk)
    with pytest.raises(Conflict):
        production.close_alert(actor=local, alert_id=alert.pk)
    assert written(alert) == [
        ("alert.acknowledge", by(farmer), "open", "acknowledged"),
        ("alert.close", by(local), "acknowledged", "closed"),
    ]


def test_who_inspected_deaths_is_written_down(bantama: object) -> None:
    _, record = deaths()
    vet = living_in("BNT", Role.VETERINARY_OFFICER)
    production.mark_inspected(actor=vet, record_id=record.pk, now=clock.now())
    assert [one[:2] for one in written(record)] == [("mortality.inspect", by(vet))]


def claims(local: User) -> tuple[Any, Callable[[], object]]:
    item = apply().reviews.get()
    return item, lambda: reviews.claim(actor=local, item_id=item.pk, now=clock.now())


def revokes(local: User) -> tuple[Any, Callable[[], object]]:
    application = approved(local, living_in("BNT", Role.REGIONAL_ADMIN), chief := living_in("BNT", Role.NATIONAL_ADMIN))
    invitation = application.invitations.get()
    return invitation, lambda: applications.invite_again(actor=chief, application_id=application.pk, now=clock.now())


def expires(local: User) -> tuple[Any, Callable[[], object]]:
    application = approved(local, living_in("BNT", Role.REGIONAL_ADMIN), living_in("BNT", Role.NATIONAL_ADMIN))
    linked(application)
    late = clock.now() + timedelta(days=31)
    return FarmInvitation.objects.get(), lambda: expiry_steps["farm_invitations"](late, 10)


def ends_a_flock(_local: User) -> tuple[Any, Callable[[], object]]:
    flock = FlockFactory.create()
    end: dict[str, Any] = {
        "actor": flock.farm.user,
        "flock_id": flock.pk,
        "how": FlockStatus.SOLD,
        "on": today(),
        "now": clock.now(),
    }
    return flock, lambda: production.end_flock(**end)


def closes_an_alert(local: User) -> tuple[Any, Callable[[], object]]:
    alert, _ = deaths()
    return alert, lambda: production.close_alert(actor=local, alert_id=alert.pk)


def closes_a_batch(_local: User) -> tuple[Any, Callable[[], object]]:
    return over(status="live"), lambda: batches.close_past(today=today(), now=clock.now())


@pytest.mark.parametrize("way", [claims, revokes, expires, ends_a_flock, closes_an_alert, closes_a_batch])
def test_a_step_that_cannot_be_written_down_is_not_taken(
    way: Callable[[User], tuple[Any, Callable[[], object]]], local: User
) -> None:
    row, step = way(local)
    row.refresh_from_db()
    before = row.status
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE base_auditlog ADD CONSTRAINT nothing_more CHECK (false) NOT VALID")
    with pytest.raises(DatabaseError, match="nothing_more"), transaction.atomic():
        step()
    row.refresh_from_db()
    assert row.status == before
