"""How PostgreSQL joins a part of very many farms, whose ids it knows too little of to guess how many lie in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from farms.demo.seeding import seed
from farms.services import places, scores
from farms.services.common import parts

pytestmark = pytest.mark.django_db

TODAY = date(2026, 6, 15)
COLUMNS = (
    *("farms_farm.id", "farms_biosecurity.farm_id", "farms_infrastructure.farm_id", "farms_farmdocument.farm_id"),
    *("farms_farmlocation.farm_id", "accounts_user.id"),
)


@pytest.fixture
def parts_of_100(monkeypatch: pytest.MonkeyPatch) -> None:
    """Farms whose ids are one bucket of the statistics, as the 10,000 of a million are, taken a hundred at a time."""
    call_command("demo_data", verbosity=0)
    seed(farms=600, days=0, seed=1, today=TODAY)
    with connection.cursor() as cursor:
        for column in COLUMNS:
            table, name = column.split(".")
            cursor.execute(f"ALTER TABLE {table} ALTER COLUMN {name} SET STATISTICS 1")
            cursor.execute(f"ANALYZE {table}")
    for service in (places, scores):
        monkeypatch.setattr(service, "parts", partial(parts, size=100))


def plans(statement: str, work: Callable[[], object]) -> list[dict[str, Any]]:
    """The plan of each time that the statement is executed."""
    found = []

    def explained(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql == statement:
            execute(f"EXPLAIN (FORMAT JSON) {sql}", params, many, context)
            [(plan,)] = context["cursor"].fetchall()
            found.append((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explained):
        work()
    return found


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def test_scores_of_a_part_are_not_joined_by_loops_inside_loops(parts_of_100: None) -> None:
    found = plans(scores.SCORE, lambda: scores.calculate(day=TODAY))
    assert len(found) == 6
    assert "Nested Loop" not in {node["Node Type"] for plan in found for node in nodes(plan)}


def test_places_of_a_part_are_planned_for_as_many_farms_as_it_has(parts_of_100: None) -> None:
    found = plans(places.SYNC, places.sync_locations)
    assert len(found) == 6
    for plan in found:
        [chunk] = [node for node in nodes(plan) if node.get("Subplan Name") == "CTE chunk"]
        assert chunk["Plan Rows"] > 20, "of a hundred"
