"""Scores and places, written set-based: the same as the rules say, only differences, and history by day."""

from __future__ import annotations

import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Constituency
from core.errors import InvalidInput, NotFound
from farms import rules
from farms.models import Biosecurity, Farm, FarmDocument, FarmLocation, FarmScore, Infrastructure
from farms.rules import Condition, DocumentKind, InfrastructureStatus, InfrastructureType
from farms.services import places, scores
from farms.tasks import calculate_farm_scores, sync_farmer_locations
from tests.factories import a_farm
from tests.factories.farms import today

pytestmark = pytest.mark.django_db


def equip(farm: Farm, kind: str, **about: Any) -> None:
    Infrastructure.objects.create(farm=farm, infrastructure_type=kind, **about)


def with_measures(farm: Farm, count: int) -> None:
    Biosecurity.objects.filter(farm=farm).update(**dict.fromkeys(rules.MEASURES[:count], True))


def scored(farm: Farm) -> tuple[Decimal, Decimal]:
    farm = Farm.objects.get(pk=farm.pk)
    return farm.biosecurity_score, farm.readiness_score


@pytest.fixture
def example() -> Farm:
    """The farm of domain.md 5.6."""
    farm = a_farm(total_bird_capacity=1_000)
    with_measures(farm, 11)
    equip(farm, "accommodation", bird_capacity=600, condition="good")
    equip(farm, "accommodation", bird_capacity=400, condition="poor")
    equip(farm, "feeders_drinkers")
    equip(farm, "water_system", year_round=True)
    equip(farm, "power_supply")
    equip(farm, "storage", status="planned")
    equip(farm, "waste_management")
    for kind in ("ghana_card", "photo_exterior", "photo_interior", "other"):
        FarmDocument.objects.create(farm=farm, kind=kind, file="x.jpg")
    return farm


# --- scores --------------------------------------------------------------------------------------------------------


def test_the_example_farm_has_the_scores_of_the_specification(example: Farm) -> None:
    assert calculate_farm_scores() == {"status": "ok", "farms": 1, "changed": 1, "formula_version": 1}
    assert scored(example) == (Decimal("68.75"), Decimal("72.50"))
    row = FarmScore.objects.get()
    assert (row.day, row.formula_version, row.readiness, row.biosecurity) == (
        today(),
        1,
        Decimal("72.50"),
        Decimal("68.75"),
    )
    assert {part: Decimal(points) for part, points in row.parts.items()} == {
        "housing": Decimal("12.5"),
        "feeders_drinkers": 15,
        "water": 15,
        "power": 10,
        "storage": 0,
        "waste": 10,
        "biosecurity": 10,
        "documents": 0,
    }


def test_a_second_run_writes_nothing_and_a_change_is_history(example: Farm) -> None:
    other = a_farm()
    yesterday = (today() - timedelta(days=1)).isoformat()
    assert calculate_farm_scores(as_of=yesterday)["changed"] == 2
    before = Farm.objects.values_list("pk", "updated_at").order_by("pk")
    kept = list(before)
    assert calculate_farm_scores()["changed"] == 0
    assert list(before.all()) == kept
    equip(example, "storage")
    assert calculate_farm_scores()["changed"] == 1
    FarmDocument.objects.create(farm=example, kind="photo_site", file="x.jpg")
    assert calculate_farm_scores(farm_id=str(example.pk)) == {
        "status": "ok",
        "farms": 1,
        "changed": 1,
        "formula_version": 1,
    }
    history = FarmScore.objects.filter(farm=example).order_by("day")
    assert [(row.day, row.readiness) for row in history] == [
        (today() - timedelta(days=1), Decimal("72.50")),
        (today(), Decimal("87.50")),
    ]
    assert FarmScore.objects.filter(farm=other).count() == 1


def test_the_history_of_a_past_day_is_not_written_over(example: Farm) -> None:
    yesterday = today() - timedelta(days=1)
    scores.calculate(day=yesterday)
    equip(example, "storage")
    assert scores.calculate(day=yesterday)["changed"] == 1
    history = FarmScore.objects.order_by("day").values_list("day", "readiness")
    assert list(history) == [(yesterday, Decimal("72.50")), (today(), Decimal("82.50"))]
    assert scored(example)[1] == Decimal("82.50")
    equip(example, "water_system", year_round=True)
    scores.calculate(day=yesterday)
    assert list(history.all()) == [(yesterday, Decimal("72.50")), (today(), scored(example)[1])]


def test_a_farm_that_is_not_active_keeps_its_scores() -> None:
    farm = a_farm(farm_status="suspended")
    with_measures(farm, 3)
    assert calculate_farm_scores() == {"status": "ok", "farms": 0, "changed": 0, "formula_version": 1}
    assert scored(farm) == (Decimal(0), Decimal(0))


def test_a_new_formula_is_a_new_row(example: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    scores.calculate(day=today())
    monkeypatch.setattr(rules, "SCORE_VERSION", 2)
    assert scores.calculate(day=today())["changed"] == 1
    assert list(FarmScore.objects.order_by("formula_version").values_list("formula_version", "readiness")) == [
        (1, Decimal("72.50")),
        (2, Decimal("72.50")),
    ]


@pytest.mark.parametrize("task", [calculate_farm_scores, sync_farmer_locations])
def test_an_unknown_farm_fails_for_good(task: Any) -> None:
    with pytest.raises(NotFound, match="no such farm"):
        task(farm_id=str(uuid.uuid4()))
    with pytest.raises(InvalidInput, match="id of a farm"):
        task(farm_id="7")


_pieces = st.lists(
    st.tuples(
        st.sampled_from(InfrastructureType.values),
        st.sampled_from(InfrastructureStatus.values),
        st.sampled_from(Condition.values),
        st.integers(0, 800),
        st.booleans(),
    ),
    max_size=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 1_500), _pieces, st.integers(0, 16), st.sets(st.sampled_from(DocumentKind.values)))
def test_postgresql_scores_as_the_rules_do(
    db: None, capacity: int, pieces: list[tuple[Any, ...]], measures: int, documents: set[str]
) -> None:
    farm = a_farm(total_bird_capacity=capacity)
    with_measures(farm, measures)
    for kind, status, condition, places_in_it, year_round in pieces:
        equip(farm, kind, status=status, condition=condition, bird_capacity=places_in_it, year_round=year_round)
    for kind in documents:
        FarmDocument.objects.create(farm=farm, kind=kind, file="x.jpg")
    scores.calculate(day=today(), farm_id=farm.pk)

    working = [piece for piece in pieces if piece[1] == InfrastructureStatus.OPERATIONAL]
    houses = [piece for piece in working if piece[0] == InfrastructureType.ACCOMMODATION]
    kinds = {piece[0] for piece in working}
    biosecurity = rules.biosecurity_score(measures)
    parts = rules.readiness_parts(
        rules.Equipment(
            capacity=capacity,
            sound_places=sum(piece[3] for piece in houses if piece[2] in rules.SOUND),
            all_places=sum(piece[3] for piece in houses),
            feeders_drinkers="feeders_drinkers" in kinds,
            water=any(piece[0] == "water_system" and piece[4] for piece in working),
            power="power_supply" in kinds,
            storage="storage" in kinds,
            waste="waste_management" in kinds,
            documents={DocumentKind.GHANA_CARD, *rules.PHOTOS} <= documents,
        ),
        biosecurity,
    )
    assert scored(farm) == (biosecurity, sum(parts.values()))
    row = FarmScore.objects.get(farm=farm)
    assert {part: Decimal(points) for part, points in row.parts.items()} == parts


def test_farms_are_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from farms.services import common

    farms = [a_farm() for _ in range(5)]
    parts = list(common.parts(None, size=2))
    assert [part.farms for part in parts] == [2, 2, 1]
    assert [part.after for part in parts] == [uuid.UUID(int=0), parts[0].last, parts[1].last]
    assert parts[-1].last == max(farm.pk for farm in farms)
    assert scores.calculate(day=today())["farms"] == 5


# --- places --------------------------------------------------------------------------------------------------------


def move(farm: Farm, code: str) -> None:
    there = Constituency.objects.select_related("region", "district").get(code=code)
    FarmLocation.objects.filter(farm=farm, is_primary=True).update(
        region=there.region, district=there.district, constituency=there
    )


def test_farmer_and_farm_follow_the_primary_location_and_the_number_stays() -> None:
    moved, stays, nowhere = a_farm(), a_farm(), a_farm(located=False)
    number = moved.farm_number
    sync_farmer_locations()
    move(moved, "TMW")
    result = sync_farmer_locations()
    assert result == {"status": "ok", "checked": 3, "changed": 1, "without_location": 1, "conflicts": 0}
    farm = Farm.objects.select_related("user__region", "user__district", "constituency").get(pk=moved.pk)
    assert (farm.constituency.code, farm.farm_number) == ("TMW", number)
    assert farm.user.constituency == farm.constituency
    assert (farm.user.region.code, farm.user.district) == ("AA", farm.constituency.district)  # type: ignore[union-attr]
    assert Farm.objects.get(pk=stays.pk).constituency_id == stays.constituency_id
    assert Farm.objects.get(pk=nowhere.pk).constituency_id == nowhere.constituency_id
    assert sync_farmer_locations()["changed"] == 0


def test_one_farm_is_brought_in_line_alone() -> None:
    first, second = a_farm(), a_farm()
    for farm in (first, second):
        move(farm, "TMW")
    assert sync_farmer_locations(farm_id=str(first.pk))["checked"] == 1
    assert [Farm.objects.get(pk=farm.pk).constituency.code for farm in (first, second)] == ["TMW", "BNT"]


def test_a_farm_whose_name_is_taken_there_stays_and_its_farmer_moves() -> None:
    a_farm(farm_name="Darko Farms", place=Constituency.objects.get(code="TMW"))
    farm, free = a_farm(farm_name="DARKO farms"), a_farm()
    sync_farmer_locations()
    for one in (farm, free):
        move(one, "TMW")
    result = sync_farmer_locations()
    assert (result["changed"], result["conflicts"]) == (2, 1)
    left = Farm.objects.select_related("user__constituency").get(pk=farm.pk)
    assert left.constituency.code == "BNT"
    assert left.user.constituency.code == "TMW"  # type: ignore[union-attr]
    assert Farm.objects.get(pk=free.pk).constituency.code == "TMW"
    assert sync_farmer_locations()["conflicts"] == 1


def test_of_two_farms_of_one_name_that_move_together_one_does() -> None:
    twins = [a_farm(farm_name="Twin Farms", place=Constituency.objects.get(code=code)) for code in ("BNT", "EJS")]
    for one in twins:
        move(one, "TMW")
    assert places.sync_locations()["conflicts"] == 1
    assert sorted(Farm.objects.get(pk=one.pk).constituency.code for one in twins).count("TMW") == 1
