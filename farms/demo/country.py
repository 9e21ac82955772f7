"""Places by their weight, and the officers who work there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from accounts.models import Constituency, User
from accounts.rules import Role
from core.errors import Conflict
from farms.demo import ghana, sql
from farms.demo.sql import Values

FARMS_PER_OFFICER = 15  # domain.md 2.1: 10 to 20 farms each
FARMS_PER_OFFICIAL = 60

_TABLE = """
CREATE TEMP TABLE demo_place (
    number int PRIMARY KEY, constituency_id uuid, district_id uuid, region_id uuid, code text, region_code text,
        name text,
    latitude float8, longitude float8, hot float8, women text[], men text[], families text[], languages text[],
    region_number int, first_officer int, officers int, first_official int, officials int,
    admin uuid, staff uuid, vet uuid, regional uuid, national uuid
) ON COMMIT DROP
"""
_OFFICES = """
UPDATE demo_place SET admin = pg_temp.id('CONSTITUENCY_ADMIN', number), staff = pg_temp.id('CONSTITUENCY_STAFF',
    number),
    vet = pg_temp.id('VETERINARY_OFFICER', number), regional = pg_temp.id('REGIONAL_ADMIN', region_number),
    national = pg_temp.id('NATIONAL_ADMIN', 1)
"""
# who there is of each role, by number, and where
_POSTS = {
    Role.NATIONAL_ADMIN: (
        "(SELECT * FROM demo_place WHERE number = 1) AS place CROSS JOIN (VALUES (1)) AS post (number)"
    ),
    Role.REGIONAL_ADMIN: (
        "(SELECT DISTINCT ON (region_number) * FROM demo_place ORDER BY region_number, number) AS place"
        " CROSS JOIN LATERAL (VALUES (region_number)) AS post (number)"
    ),
    **dict.fromkeys(
        (Role.CONSTITUENCY_ADMIN, Role.CONSTITUENCY_STAFF, Role.VETERINARY_OFFICER),
        "demo_place AS place CROSS JOIN LATERAL (VALUES (place.number)) AS post (number)",
    ),
    Role.EXTENSION_OFFICER: (
        "demo_place AS place CROSS JOIN LATERAL"
        " generate_series(first_officer, first_officer + officers - 1) AS post (number)"
    ),
    Role.YEA_OFFICIAL: (
        "demo_place AS place CROSS JOIN LATERAL"
        " generate_series(first_official, first_official + officials - 1) AS post (number)"
    ),
}


def shares() -> dict[Constituency, float]:
    """How many of all live in each constituency: its region's share, in equal parts. Raises Conflict without any."""
    places = list(Constituency.objects.filter(region__code__in=ghana.REGIONS).select_related("region").order_by("code"))
    if not places:
        raise Conflict("There are no constituencies. Run manage.py migrate, which brings them.")
    in_region = Counter(place.region.code for place in places)
    weights = {place: ghana.REGIONS[place.region.code].population / in_region[place.region.code] for place in places}
    whole = sum(weights.values())
    return {place: weight / whole for place, weight in weights.items()}


def make_places(farms: int) -> Values:
    """The table of places. Returns `lows`, in which width_bucket finds the place of a chance, and some by name."""
    sql.run(_TABLE)
    known = shares()
    regions = {region: number for number, region in enumerate(sorted({place.region.code for place in known}), start=1)}
    rows, lows, low, officer, official = [], [], 0.0, 1, 1
    for number, (place, share) in enumerate(known.items(), start=1):
        home = ghana.REGIONS[place.region.code]
        officers, officials = (max(1, round(share * farms / each)) for each in (FARMS_PER_OFFICER, FARMS_PER_OFFICIAL))
        rows.append(
            (
                *(number, place.pk, place.district_id, place.region_id, place.code, place.region.code, place.name),
                *(home.latitude, home.longitude, 1.3 if home.latitude > ghana.HOT else 0.8),
                *map(list, (home.names.women, home.names.men, home.names.families)),
                [str(language) for language in home.names.languages],
                *(regions[place.region.code], officer, officers, official, officials),
                *(None,) * 5,
            )
        )
        lows.append(low)
        low, officer, official = low + share, officer + officers, official + officials
    sql.fill("demo_place", rows)
    sql.run(_OFFICES)
    return {"lows": lows, **_chosen({place.code: number for number, place in enumerate(known, start=1)})}


def _chosen(numbers: Mapping[str, int]) -> Values:
    """Where the demonstration people work (accounts demo_data); the first place where the list has other codes."""
    return {
        name: numbers.get(code, 1)
        for name, code in {"tema": "TMW", "bantama": "BNT", "ho": "HOC", "tamale": "TLC"}.items()
    }


def make_officers(values: Values) -> int:
    """An admin of the nation, of each region and constituency, and the officers in the field."""
    return sum(_hire(role, source, order, values) for order, (role, source) in enumerate(_POSTS.items(), start=1))


def _hire(role: Role, source: str, order: int, values: Values) -> int:
    """Their phones are counted from the top, those of farmers from the bottom."""
    local = role not in (Role.NATIONAL_ADMIN, Role.REGIONAL_ADMIN)
    return sql.insert(
        User,
        source,
        values | {"role": role.value, "username": role.lower(), "top": sql.MOST_PHONES - order},
        made="%(began)s",
        id="pg_temp.id(%(role)s, post.number)",
        password=sql.NO_PASSWORD,
        username="%(username)s || '.' || post.number",
        email="%(username)s || '.' || post.number || '@demo.example'",
        phone="pg_temp.phone(%(top)s - post.number * 8)",
        first_name="pg_temp.pick(women || men, pg_temp.roll(post.number, %(role)s))",
        last_name="pg_temp.pick(families, pg_temp.roll(post.number, %(role)s || ' family'))",
        role="%(role)s",
        region_id="NULL" if role == Role.NATIONAL_ADMIN else "region_id",
        district_id="district_id" if local else "NULL",
        constituency_id="constituency_id" if local else "NULL",
        email_verified="true",
        phone_verified="true",
        is_active="true",
        activated_at="%(began)s",
        is_demo="true",
    )
