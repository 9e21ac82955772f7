"""manage.py seed_demo: the same rows for the same seed, whole or not at all, and never in production."""

from __future__ import annotations

import hashlib
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import LazySettings
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import Count, Model, Sum

from accounts.management.commands import demo_data
from accounts.models import Region, User
from accounts.rules import Role
from core import clock
from core.errors import Conflict, InvalidInput
from core.jobs.models import TaskRun
from farms import selectors
from farms.demo import ghana
from farms.demo.seeding import seed
from farms.models import Alert, DailyProduction, Farm, FarmDocument
from farms.rules import FlockStatus, ReviewLevel
from tests.factories import ConstituencyFactory, DistrictFactory, RegionFactory, a_farm
from tests.system.product import Process

TODAY = date(2026, 3, 20)
SEQUENCES = ("farms_application_number", "farms_enrollment_number", "farms_farm_number")


def a_country(**changes: Any) -> dict[str, int]:
    asked: dict[str, Any] = {"farms": 60, "days": 8, "seed": 1, "today": TODAY}
    return seed(**asked | changes)


# --- the same again ------------------------------------------------------------------------------------------------


@contextmanager
def taken_back() -> Iterator[None]:
    """What is written in here is not there afterwards, numbers included."""
    with transaction.atomic(), connection.cursor() as cursor:
        for name in SEQUENCES:
            cursor.execute(f"ALTER SEQUENCE {name} RESTART")
        yield
        transaction.set_rollback(True)


def contents() -> dict[str, str]:
    """A sum of every row and column of each table of people and farms."""
    found = {}
    models: list[type[Model]] = [User, *apps.get_app_config("farms").get_models()]
    for table in [*(model._meta.db_table for model in models), "farms_batch_eligible_constituencies"]:
        with connection.cursor() as cursor:
            hidden = ", 'id', 0" if table.endswith("constituencies") else ""
            cursor.execute(
                f"SELECT (to_jsonb(one) || jsonb_build_object('n', 0{hidden}))::text FROM {table} AS one ORDER BY 1"
            )
            rows = [row for (row,) in cursor.fetchall()]
        found[table] = f"{len(rows)} {hashlib.sha256(chr(10).join(rows).encode()).hexdigest()}"
    return found


def country_of(**changes: Any) -> dict[str, str]:
    with taken_back():
        a_country(**changes)
        return contents()


@pytest.mark.django_db
def test_the_same_seed_writes_the_same_rows_and_another_one_others() -> None:
    first = country_of()
    assert country_of() == first
    other = country_of(seed=2)
    same = {table for table, rows in first.items() if other[table] == rows}
    assert same <= {"farms_farmscore", "farms_productioncorrection"}  # empty
    assert country_of(today=TODAY + timedelta(days=1)) != first


# --- believable -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_farms_lie_where_people_live() -> None:
    a_country(farms=2_000, days=0)
    whole = sum(home.population for home in ghana.REGIONS.values())
    assert whole == 30_832_019
    found = Counter(Farm.objects.values_list("constituency__region__code", flat=True))
    for code, home in ghana.REGIONS.items():
        assert abs(found[code] / 2_000 - home.population / whole) < 0.03, code
    share = Counter(Farm.objects.values_list("primary_production_type", flat=True))
    assert 0.5 < share["layers"] / 2_000 < 0.7
    assert 0.45 < Farm.objects.filter(is_government=True).count() / 2_000 < 0.65
    assert 0.35 < User.objects.filter(farm__isnull=False, language="en").count() / 2_000 < 0.6
    officers = Farm.objects.exclude(extension_officer=None).values("extension_officer").annotate(farms=Count("pk"))
    assert 9 < sum(one["farms"] for one in officers) / len(officers) < 20


@pytest.mark.django_db
def test_the_heat_costs_eggs() -> None:
    laid = []
    for today in (TODAY, date(2026, 8, 20)):
        with taken_back():
            a_country(today=today)
            rows = DailyProduction.objects.filter(flock__flock_type="layers", eggs_collected__gt=0)
            laid.append(rows.aggregate(share=Sum("eggs_collected") * 1.0 / Sum("flock__initial_count"))["share"])
    assert laid[0] < laid[1]


@pytest.mark.django_db
def test_documents_show_a_picture_that_is_there() -> None:
    a_country()
    [name] = set(FarmDocument.objects.values_list("file", flat=True))
    with default_storage.open(name) as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"


# --- the demonstration people --------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_demonstration_people_have_something_to_see() -> None:
    demo_data.load()
    a_country(farms=60, days=30)
    who = {user.role: user for user in User.objects.filter(username__in=[one.username for one in demo_data.PEOPLE])}
    farm = who[Role.FARMER].farm
    assert farm.farm_name == "Ama Darko Farms"
    assert farm.primary_phone == who[Role.FARMER].phone
    flock = farm.flocks.get(status=FlockStatus.ACTIVE)
    assert flock.days.count() > 25
    assert flock.days.aggregate(eggs=Sum("eggs_collected"))["eggs"] > 0
    now = clock.at(TODAY, datetime.min.time())
    for role, level in (
        (Role.CONSTITUENCY_ADMIN, ReviewLevel.CONSTITUENCY),
        (Role.REGIONAL_ADMIN, ReviewLevel.REGIONAL),
        (Role.NATIONAL_ADMIN, ReviewLevel.NATIONAL),
    ):
        assert selectors.applications_to_review(who[role], level, now=now).exists(), role
        assert selectors.enrollments_to_review(who[role], level).exists(), role
    for role in (Role.EXTENSION_OFFICER, Role.YEA_OFFICIAL, Role.VETERINARY_OFFICER, Role.FARMER, Role.AUDITOR):
        assert selectors.farms_in_scope(who[role]).exists(), role
    sick = Alert.objects.filter(status="open", farm__in=selectors.farms_in_scope(who[Role.VETERINARY_OFFICER]))
    assert sick.exists()


# --- the command ---------------------------------------------------------------------------------------------------


def command(*options: str) -> str:
    out = StringIO()
    call_command("seed_demo", "--farms", "20", "--days", "3", *options, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_the_command_says_what_it_wrote_and_asks_for_the_scores() -> None:
    assert "20 farms" in command()
    assert TaskRun.objects.get().task == "farms.tasks.calculate_farm_scores"


@pytest.mark.django_db
def test_where_there_are_farms_nothing_is_written() -> None:
    a_farm()
    with pytest.raises(CommandError, match=r"Nothing was written\. There are farms in this database already"):
        command()
    assert "No demonstration farms: there are farms." in command("--if-empty")
    assert Farm.objects.count() == 1
    with pytest.raises(Conflict):
        a_country()


@pytest.mark.django_db
@pytest.mark.parametrize("changes", [{"farms": 0}, {"days": 401}, {"seed": -1}, {"farms": 5_000_001}])
def test_what_cannot_be_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match="must be"):
        a_country(**changes)


@pytest.mark.django_db
def test_it_counts_from_the_day_that_is_named_and_from_none_to_come() -> None:
    with pytest.raises(CommandError, match="--today lies in the future"):
        command("--today", "2099-01-01")
    command("--today", "2026-03-20")
    last = DailyProduction.objects.order_by("-production_date").first()
    assert last
    assert last.production_date == date(2026, 3, 19)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("setting", "value"),
    [("HUBTEL_BASE_URL", "https://sms.hubtel.com/v1/messages"), ("EMAIL_HOST", "smtp.example.com")],
)
def test_production_and_a_real_gateway_refuse_it(settings: LazySettings, setting: str, value: str) -> None:
    setattr(settings, setting, value)
    with pytest.raises(CommandError, match=f"{setting} leads out"):
        command()
    assert f"No demonstration farms: {setting} leads out" in command("--if-empty")
    settings.PMS_ENV = "production"
    with pytest.raises(CommandError, match="refused in production"):
        command("--if-empty")
    assert not Farm.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_seed_that_is_killed_leaves_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    if not Region.objects.exists():
        ConstituencyFactory.create(
            code="BNT", name="Bantama", district=DistrictFactory.create(region=RegionFactory.create())
        )
    process = Process(
        *(tmp_path / "seed.log", "manage", "seed_demo", "--farms", "5000", "--days", "30", "-v", "2"),
        PYTHONUNBUFFERED="1",
        MEDIA_ROOT=str(tmp_path),
    )
    process.wait_for_line("days of flocks", 120)
    process.signal(signal.SIGKILL)
    process.popen.wait(10)
    assert not Farm.objects.exists()
    assert not User.objects.exists()
    a_country(farms=20, days=3)  # waits for the lock of the one that was killed
    assert Farm.objects.count() == 20
