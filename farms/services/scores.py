"""Biosecurity and readiness of farms, computed and written by PostgreSQL (domain.md 5.6).

`farms.rules` has the same formula for one farm; a test compares them.
"""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import date

from django.db import connection

from core.jobs import progress
from core.jobs.items import Items
from farms import rules
from farms.rules import DocumentKind
from farms.services.common import parts

_DOCUMENTS = (DocumentKind.GHANA_CARD, *rules.PHOTOS)


def _words(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def _points(part: str, condition: str) -> str:
    return f"CASE WHEN {condition} THEN {rules.POINTS[part]} ELSE 0 END"


_HOUSING = (
    f"CASE WHEN COALESCE(sound_places, 0) >= total_bird_capacity THEN {rules.POINTS['housing']}"
    f" WHEN COALESCE(all_places, 0) >= total_bird_capacity THEN {rules.POINTS['housing'] / 2} ELSE 0 END"
)
_PARTS = {
    "housing": _HOUSING,
    **{name: _points(name, name) for name in ("feeders_drinkers", "water", "power", "storage", "waste")},
    "biosecurity": _points("biosecurity", f"COALESCE(biosecurity, 0) >= {rules.SAFE_ENOUGH}"),
    "documents": _points("documents", "COALESCE(kinds, 0) = %(kinds)s"),
}
_EACH = ", ".join(f"({sql}) AS {name}_points" for name, sql in _PARTS.items())
_SUM = " + ".join(f"{name}_points" for name in _PARTS)
_MEASURES = " + ".join(f"{name}::int" for name in rules.MEASURES)
_TODAY = "(statement_timestamp() AT TIME ZONE 'Africa/Accra')::date"
_OF_PART = "farm_id > %(after)s AND farm_id <= %(last)s"

# Between two ids in one hundredth of a large table PostgreSQL expects a single row. It would join five thousand farms
# by loops inside loops then: 15 s for a part that takes 0.04.
PLAN = "SET LOCAL enable_nestloop = off"
# What differs from the farm's row is written there and into the history, which holds the farm's row of every day it
# changed. So a farm that is as it was costs no look at the history and no write. A late run that finds a row of its day
# or a later one writes today's: what was is not written over.
SCORE = f"""
WITH farm AS MATERIALIZED (
    SELECT id, total_bird_capacity, biosecurity_score, readiness_score, score_version FROM farms_farm
    WHERE farm_status = 'active' AND id > %(after)s AND id <= %(last)s
), measures AS (
    SELECT farm_id, ({_MEASURES}) * {rules.POINTS_PER_MEASURE} AS biosecurity
    FROM farms_biosecurity WHERE {_OF_PART}
), equipment AS (
    SELECT farm_id,
        sum(bird_capacity) FILTER (WHERE infrastructure_type = 'accommodation'
            AND condition IN ({_words(tuple(rules.SOUND))})) AS sound_places,
        sum(bird_capacity) FILTER (WHERE infrastructure_type = 'accommodation') AS all_places,
        bool_or(infrastructure_type = 'feeders_drinkers') AS feeders_drinkers,
        bool_or(infrastructure_type = 'water_system' AND year_round) AS water,
        bool_or(infrastructure_type = 'power_supply') AS power,
        bool_or(infrastructure_type = 'storage') AS storage,
        bool_or(infrastructure_type = 'waste_management') AS waste
    FROM farms_infrastructure WHERE status = 'operational' AND {_OF_PART} GROUP BY farm_id
), documents AS (
    SELECT farm_id, count(DISTINCT kind) AS kinds FROM farms_farmdocument
    WHERE kind IN ({_words(_DOCUMENTS)}) AND {_OF_PART} GROUP BY farm_id
), points AS (
    SELECT farm.id, COALESCE(biosecurity, 0) AS safety, {_EACH},
        farm.biosecurity_score, farm.readiness_score, farm.score_version
    FROM farm LEFT JOIN measures ON measures.farm_id = farm.id LEFT JOIN equipment ON equipment.farm_id = farm.id
        LEFT JOIN documents ON documents.farm_id = farm.id
), changed AS (
    SELECT *, {_SUM} AS readiness FROM points
    WHERE (safety, {_SUM}, %(version)s)
        IS DISTINCT FROM (biosecurity_score, readiness_score, score_version)
), updated AS (
    UPDATE farms_farm AS farm SET biosecurity_score = safety, readiness_score = readiness,
        score_version = %(version)s, updated_at = now()
    FROM changed WHERE farm.id = changed.id AND farm.id > %(after)s AND farm.id <= %(last)s
), history AS (
    INSERT INTO farms_farmscore AS kept
        (id, farm_id, day, formula_version, readiness, biosecurity, parts, created_at, updated_at)
    SELECT gen_random_uuid(), id,
        CASE WHEN later.farm_id IS NULL THEN %(day)s::date ELSE greatest(%(day)s::date, {_TODAY}) END,
        %(version)s, readiness, safety,
        jsonb_build_object({", ".join(f"'{name}', {name}_points::text" for name in _PARTS)}), now(), now()
    FROM changed LEFT JOIN (
        SELECT DISTINCT farm_id FROM farms_farmscore
        WHERE day >= %(day)s AND formula_version = %(version)s AND {_OF_PART}
    ) AS later ON later.farm_id = changed.id
    ON CONFLICT (farm_id, day, formula_version) DO UPDATE
    SET readiness = EXCLUDED.readiness, biosecurity = EXCLUDED.biosecurity, parts = EXCLUDED.parts, updated_at = now()
    WHERE kept.day >= {_TODAY}
)
SELECT (SELECT count(*) FROM farm), (SELECT count(*) FROM changed)
"""  # noqa: S608 - constants only


def calculate(*, day: date, farm_id: uuid.UUID | None = None) -> dict[str, int]:
    """Score every active farm, or one, with what is known of it now; a changed score is history from `day` on.

    A part of the farms in a short transaction at a time. Safe to repeat: a score that is unchanged writes nothing, and
    the row of a day is written over only on that day. Raises NotFound for an unknown farm, and SomeFailed when a part
    has failed; the others are done then.
    """
    items, counts = Items(), Counter(farms=0, changed=0)
    for part in parts(farm_id):
        here = differ = 0
        with items.contained(f"farms after {part.after}"), connection.cursor() as cursor:
            cursor.execute(PLAN)
            cursor.execute(
                SCORE,
                {
                    "after": part.after,
                    "last": part.last,
                    "day": day,
                    "version": rules.SCORE_VERSION,
                    "kinds": len(_DOCUMENTS),
                },
            )
            here, differ = cursor.fetchone()
        counts.update(farms=here, changed=differ)
        progress.report(counts["farms"])
    items.end(counts)
    return {**counts, "formula_version": rules.SCORE_VERSION}
