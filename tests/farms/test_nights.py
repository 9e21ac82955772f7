"""The works of a night when one part of the farms fails, and when the process is killed in the middle of them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from accounts.models import User
from accounts.rules import Role
from core import clock
from core.delivery.models import OutboundMessage, ReminderLog
from core.jobs.items import SomeFailed
from farms.models import Biosecurity, Farm, FarmScore, ReviewItem
from farms.services import places, scores
from farms.services.common import parts
from farms.tasks import calculate_farm_scores, check_pending_applications, sync_farmer_locations
from tests.factories import UserFactory, a_farm
from tests.farms.journey import apply
from tests.system.product import Process

pytestmark = pytest.mark.django_db(transaction=True)

FARMS = 6
MOMENTS = [("before", 0), ("after", 0), ("before", 1), ("after", 1)]


def farms_to_score() -> list[Farm]:
    farms = sorted((a_farm() for _ in range(FARMS)), key=lambda farm: farm.pk)
    Biosecurity.objects.update(footbath=True)
    return farms


def farms_to_place() -> list[Farm]:
    """Their people have lost their homes."""
    farms = sorted((a_farm() for _ in range(FARMS)), key=lambda farm: farm.pk)
    User.objects.filter(role=Role.FARMER).update(region=None, district=None, constituency=None)
    return farms


def scored() -> list[Farm]:
    return list(Farm.objects.filter(biosecurity_score__gt=0).order_by("pk"))


def placed() -> list[Farm]:
    return list(Farm.objects.filter(user__constituency__isnull=False).order_by("pk"))


WORKS: dict[str, tuple[Callable[[], list[Farm]], Callable[[], list[Farm]], Any]] = {
    "scores": (farms_to_score, scored, calculate_farm_scores),
    "places": (farms_to_place, placed, sync_farmer_locations),
}


@pytest.mark.parametrize(("moment", "after"), MOMENTS)
@pytest.mark.parametrize("work", WORKS)
def test_a_killed_work_of_the_night_is_done_by_the_next_run(tmp_path: Path, work: str, moment: str, after: int) -> None:
    make, reached, task = WORKS[work]
    farms = make()
    worker = Process(tmp_path / "worker.log", "tests.farms.run_and_die_at_night", work, moment, str(after))
    assert worker.popen.wait(60) == -signal.SIGKILL, worker.output()
    assert f"part {after}" in worker.output()
    done = 2 * (after + (moment == "after"))
    assert reached() == farms[:done]
    assert task()["changed"] == FARMS - done
    assert reached() == farms
    if work == "scores":
        assert FarmScore.objects.count() == FARMS


@pytest.mark.parametrize(("moment", "after"), MOMENTS)
def test_a_killed_look_at_the_reviews_tells_each_officer_once(tmp_path: Path, moment: str, after: int) -> None:
    """Logs and digests are one transaction, so what was killed leaves nothing."""
    admin = UserFactory.create(role=Role.CONSTITUENCY_ADMIN)
    for _ in range(FARMS):
        apply(constituency=admin.constituency)
    ReviewItem.objects.update(due_at=clock.now() + timedelta(hours=1))
    worker = Process(tmp_path / "worker.log", "tests.farms.run_and_die_at_night", "pending", moment, str(after))
    assert worker.popen.wait(60) == -signal.SIGKILL, worker.output()
    assert not ReminderLog.objects.exists()
    assert not OutboundMessage.objects.filter(template="farms.review_digest").exists()
    assert check_pending_applications()["sla_soon"] == FARMS
    assert OutboundMessage.objects.filter(template="farms.review_digest").count() == 1


@pytest.mark.parametrize("work", WORKS)
def test_a_part_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch, work: str) -> None:
    make, reached, task = WORKS[work]
    farms = make()
    for service in (places, scores):
        monkeypatch.setattr(service, "parts", partial(parts, size=2))
    table, column = {"scores": ("farms_farm", "id"), "places": ("accounts_user", "id")}[work]
    refused = farms[1].pk if work == "scores" else farms[1].user_id
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse_one() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
            f"CREATE TRIGGER refuse BEFORE UPDATE ON {table} FOR EACH ROW"
            f" WHEN (NEW.{column} = '{refused}') EXECUTE FUNCTION refuse_one()"
        )
    try:
        with pytest.raises(SomeFailed, match="1 of 3 parts failed, first farms after 00000000"):
            task()
        assert reached() == farms[2:]
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TRIGGER refuse ON {table}; DROP FUNCTION refuse_one()")
    assert task()["changed"] == 2
    assert reached() == farms
