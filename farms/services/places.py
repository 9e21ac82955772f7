"""Bringing people and farms in line with the primary location, set-based (domain.md 7.4)."""

from __future__ import annotations

import uuid
from collections import Counter

from django.db import connection

from core.jobs import progress
from core.jobs.items import Items
from farms.services.common import parts

# A farm moves unless its name is taken where it goes, by a farm that stays or one that moves there too.
# By a number and not up to an id: of two ids in one hundredth of a large table PostgreSQL expects a single row between.
SYNC = """
WITH chunk AS MATERIALIZED (
    SELECT farm.id, farm.user_id, farm.constituency_id, lower(farm.farm_name) AS name,
        place.region_id AS new_region, place.district_id AS new_district, place.constituency_id AS new_constituency
    FROM (SELECT * FROM farms_farm WHERE id > %(after)s ORDER BY id LIMIT %(farms)s) AS farm
    JOIN farms_farmlocation AS place ON place.farm_id = farm.id AND place.is_primary
), people AS (
    UPDATE accounts_user AS person
    SET region_id = new_region, district_id = new_district, constituency_id = new_constituency, updated_at = now()
    FROM chunk WHERE person.id = chunk.user_id
        AND (person.region_id, person.district_id, person.constituency_id)
            IS DISTINCT FROM (new_region, new_district, new_constituency)
    RETURNING chunk.id
), moving AS (
    SELECT *, row_number() OVER (PARTITION BY new_constituency, name ORDER BY id) AS place_in_line
    FROM chunk WHERE constituency_id <> new_constituency
), free AS (
    SELECT moving.id, moving.new_constituency FROM moving
    WHERE place_in_line = 1 AND NOT EXISTS (
        SELECT FROM farms_farm AS other
        WHERE other.constituency_id = moving.new_constituency AND lower(other.farm_name) = moving.name)
), moved AS (
    UPDATE farms_farm AS farm SET constituency_id = free.new_constituency, updated_at = now()
    FROM free WHERE farm.id = free.id RETURNING farm.id
)
SELECT (SELECT count(*) FROM chunk),
    (SELECT count(*) FROM (SELECT id FROM people UNION SELECT id FROM moved) AS changed),
    (SELECT count(*) FROM moving) - (SELECT count(*) FROM moved)
"""


def sync_locations(*, farm_id: uuid.UUID | None = None) -> dict[str, int]:
    """Copy region, district and constituency of the primary location to the farmer, and the constituency to the farm,
    whose number never changes. A farm whose name is taken there stays and is counted in `conflicts`.

    Of one farm or of all, a chunk in a short transaction at a time. Safe to repeat: only differences are written.
    Raises NotFound for an unknown farm, and SomeFailed when a part has failed; the others are done then.
    """
    items = Items()
    counts = Counter({"checked": 0, "changed": 0, "without_location": 0, "conflicts": 0})
    for part in parts(farm_id):
        found: Counter[str] = Counter()
        with items.contained(f"farms after {part.after}"), connection.cursor() as cursor:
            cursor.execute(SYNC, {"after": part.after, "farms": part.farms})
            located, changed, conflicts = cursor.fetchone()
            lost = part.farms - located
            found = Counter(checked=part.farms, changed=changed, without_location=lost, conflicts=conflicts)
        counts.update(found)  # not before it is committed
        progress.report(counts["checked"])
    items.end(counts)
    return dict(counts)
