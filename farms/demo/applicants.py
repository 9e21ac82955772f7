"""Who applied, how far each came, and what belongs to those who have a farm."""

from __future__ import annotations

from datetime import timedelta

from accounts.models import User
from farms import rules
from farms.demo import sql, ways
from farms.demo.sql import Values
from farms.models import (
    ApplicationEvent,
    Biosecurity,
    Farm,
    FarmApplication,
    FarmAssignment,
    FarmDocument,
    FarmInvitation,
    FarmLocation,
    Infrastructure,
)
from farms.rules import DocumentKind

# Where an application without a farm stands: each of them once in Bantama first, then most were rejected some day.
_STANDS = """
CREATE TEMP TABLE demo_stand (number int, route text, steps int, ending text) ON COMMIT DROP;
INSERT INTO demo_stand VALUES
    (0, 'programme', 1, ''), (1, 'programme', 2, ''), (2, 'programme', 3, ''), (3, 'one_check', 1, ''),
    (4, 'programme', 1, 'changes_requested'), (5, 'programme', 2, 'changes_requested'), (6, 'programme', 1, 'rejected'),
    (7, 'one_check', 1, 'rejected'), (8, 'programme', 4, ''), (9, 'straight', 1, ''), (10, 'programme', 1, ''),
    (11, 'programme', 1, ''), (12, 'one_check', 1, 'changes_requested'), (13, 'programme', 3, 'rejected'),
    (14, 'programme', 2, ''), (15, 'programme', 3, 'changes_requested'),
    (16, 'programme', 5, ''), (17, 'one_check', 3, ''), (18, 'straight', 2, '')
"""
FEWEST_OTHERS = 16  # applications without a farm: each stand once
ONE_IN = 4  # and else so many farms to one of them
NEWEST = timedelta(days=40)  # the last farm applied so long ago

# Farm 1 is the demonstration farmer's in Tema West; the next ones lie where the demonstration officers work.
_APPLICANTS = """
WITH place AS (
    SELECT n, CASE WHEN n = 1 THEN %(tema)s WHEN n <= 9 OR n - %(farms)s BETWEEN 1 AND 16 THEN %(bantama)s
        WHEN n <= 13 THEN %(ho)s WHEN n <= 17 THEN %(tamale)s
        ELSE width_bucket(pg_temp.roll(n, 'place'), %(lows)s::float8[]) END AS place,
        CASE WHEN n - %(farms)s BETWEEN 1 AND 16 THEN (n - %(farms)s - 1)::int
        WHEN n > %(farms)s AND pg_temp.roll(n, 'stand') < 0.8 THEN 6 + mod(n, 2)::int
        WHEN n > %(farms)s THEN floor(16 * pg_temp.roll(n, 'stands'))::int
        WHEN pg_temp.roll(n, 'route') < 0.55 THEN 16 WHEN pg_temp.roll(n, 'route') < 0.89 THEN 18 ELSE 17 END AS stand,
        pg_temp.roll(n, 'size') AS size, 0.55 + 1.05 * pg_temp.roll(n, 'pace') AS pace
    FROM generate_series(%(first)s::bigint, %(last)s) AS n
), person AS (
    SELECT place.*, demo_stand.route, steps, ending, code, region_code,
        pg_temp.pick(CASE WHEN pg_temp.roll(n, 'woman') < 0.42 THEN women ELSE men END, pg_temp.roll(n, 'first name'))
            AS first_name,
        pg_temp.pick(families, pg_temp.roll(n, 'family')) AS last_name,
        pg_temp.pick(languages, pg_temp.roll(n, 'language')) AS language,
        (ARRAY[100, 150, 200, 250, 300, 400, 500, 500, 500, 750, 800, 1000, 1000, 1500, 2000, 3000, 5000, 10000])
            [1 + floor(18 * size)::int] AS capacity,
        CASE WHEN demo_stand.route = 'programme' THEN 'government_program'
            WHEN demo_stand.route = 'one_check' AND pg_temp.roll(n, 'migrated') < 0.4 THEN 'migrated'
            ELSE 'independent' END AS kind,
        demo_stand.route = 'straight' OR (demo_stand.route = 'programme' AND pg_temp.roll(n, 'phone known') < 0.8)
            AS phone_verified,
        waits + (ending <> '')::int AS waits,
        -- farms came one after another, and so did those who were rejected; those who wait came lately
        CASE WHEN n <= %(farms)s
            THEN %(began)s + (n - 1 + pg_temp.roll(n, 'day')) / %(farms)s * (%(span)s * interval '1 day')
            ELSE %(midnight)s - interval '1 day' * (0.2 + (waits + (ending <> '')::int) * pace * 2.5
                + CASE ending WHEN 'rejected' THEN 900 ELSE 16 END * pg_temp.roll(n, 'waiting') ^ 2) END AS applied_at
    FROM place JOIN demo_stand ON demo_stand.number = stand JOIN demo_place ON demo_place.number = place
        JOIN demo_step ON demo_step.route = demo_stand.route AND demo_step.step = steps
), whole AS (
    SELECT *, interval '1 day' * pace * 2.5 AS wait,
        applied_at + interval '1 day' * pace * 2.5 * waits + interval '1 us' * (steps + (ending <> '')::int)
            AS moved_at,
        last_name || ' ' || pg_temp.pick(%(farm_words)s, pg_temp.roll(n, 'farm name')) AS called,
        CASE WHEN pg_temp.roll(n, 'e-mail') < 0.25
            THEN lower(first_name || '.' || last_name || '.' || n || '@demo.example') ELSE '' END AS email,
        CASE WHEN kind = 'independent' AND pg_temp.roll(n, 'spam') < 0.04
            THEN (ARRAY[10, 20, 30, 40])[1 + floor(100 * pg_temp.roll(n, 'spam'))::int] ELSE 0 END AS spam,
        floor(10 * pg_temp.roll(n, 'experience') ^ 2)::int AS experience, pg_temp.roll(n, 'existing') < 0.3 AS existing
    FROM person
)
SELECT n, place, route, steps, ending, first_name, last_name, language,
    kind, phone_verified, email, email <> '' AND pg_temp.roll(n, 'e-mail known') < 0.6 AS email_verified,
    spam, experience, existing, capacity, applied_at AS begun, moved_at, wait,
    CASE WHEN n <= %(neat)s AND namesakes = 1 THEN called ELSE called || ' ' || n END AS farm_name,
    CASE WHEN n = 1 OR pg_temp.roll(n, 'birds') < 0.6 THEN 'layers'
        WHEN pg_temp.roll(n, 'birds') < 0.9 THEN 'broilers' ELSE 'both' END AS production,
    (applied_at::date - (interval '1 year' * (19 + 15 * pg_temp.roll(n, 'age'))))::date AS born,
    pg_temp.phone(n) AS phone,
    'GHA-' || pg_temp.digits(mod(n * 736878713, 1000000000), 9) || '-' || mod(n, 10) AS card,
    CASE WHEN pg_temp.roll(n, 'tin') < 0.5 THEN ''
        ELSE 'P00' || pg_temp.digits(mod(n * 73687, 100000000), 8) END AS tin,
    CASE WHEN n <= %(farms)s THEN 'YEA-' || region_code || '-' || code || '-'
        || pg_temp.digits(nextval('farms_farm_number'), 4) ELSE '' END AS farm_number,
    'APP-' || to_char(applied_at, 'YYYY') || '-' || pg_temp.digits(nextval('farms_application_number'), 5)
        AS application_number,
    pg_temp.id('application', n) AS subject_id, pg_temp.id('farm', n) AS farm_id, pg_temp.id('farmer', n) AS owner_id,
    true AS is_new, NULL::timestamptz AS latest, pg_temp.roll(n, 'quality') AS quality,
    CASE WHEN n > 20 AND pg_temp.roll(n, 'status') < 0.02 THEN 'inactive'
        WHEN n > 20 AND pg_temp.roll(n, 'status') < 0.03 THEN 'suspended' ELSE 'active' END AS farm_status
FROM (SELECT *, row_number() OVER (PARTITION BY place, lower(called) ORDER BY n) AS namesakes
    FROM whole ORDER BY n) AS whole
"""
_ALL = "demo_applicant AS one JOIN demo_place AS home ON home.number = place"
_FARMS = f"{_ALL} WHERE n <= %(farms)s"


def make_table(values: Values) -> None:
    sql.run(_STANDS)
    nobody = values | {"first": 1, "last": 0}
    sql.run(f"CREATE TEMP TABLE demo_applicant ON COMMIT DROP AS {_APPLICANTS} WITH NO DATA", nobody)


def draw(values: Values) -> None:
    """The applicants from `first` to `last` into the table of those at hand."""
    sql.run("TRUNCATE demo_applicant")
    sql.run(f"INSERT INTO demo_applicant {_APPLICANTS}", values)
    if values["demo_farmer"] and values["first"] == 1:
        sql.run(
            "UPDATE demo_applicant SET owner_id = %(demo_farmer)s, is_new = false, phone = %(demo_phone)s,"
            " first_name = %(demo_first)s, last_name = %(demo_last)s, language = %(demo_language)s,"
            " farm_name = %(demo_first)s || ' ' || %(demo_last)s || ' Farms' WHERE n = 1",
            values,
        )


def write(values: Values) -> None:
    """People, applications with their way, and farms of the applicants at hand."""
    sql.insert(
        User,
        f"{_FARMS} AND is_new",
        values,
        made="moved_at",
        id="owner_id",
        password=sql.NO_PASSWORD,
        username="lower(farm_number)",
        email="email",
        phone="phone",
        first_name="first_name",
        last_name="last_name",
        role="'FARMER'",
        region_id="region_id",
        district_id="district_id",
        constituency_id="constituency_id",
        language="language",
        email_verified="email_verified",
        phone_verified="true",
        is_active="true",
        activated_at="moved_at",
        is_demo="true",
    )
    sql.insert(
        FarmApplication,
        f"{_ALL} JOIN demo_step AS now ON now.route = one.route AND now.step = steps",
        values,
        made="begun",
        updated_at="moved_at",
        id="subject_id",
        application_number="application_number",
        application_type="kind",
        full_name="first_name || ' ' || last_name",
        date_of_birth="born",
        primary_phone="phone",
        email="email",
        phone_verified="phone_verified",
        email_verified="email_verified",
        ghana_card_number="card",
        tin="tin",
        region_id="region_id",
        district_id="district_id",
        constituency_id="constituency_id",
        farm_name="farm_name",
        number_of_poultry_houses="1 + capacity / 1000",
        language="language",
        total_bird_capacity="capacity",
        primary_production_type="production",
        planned_monthly_eggs="CASE WHEN production <> 'broilers' THEN capacity * 20 END",
        planned_monthly_bird_sales="CASE WHEN production <> 'layers' THEN capacity / 2 END",
        experience_years="experience",
        has_existing_farm="existing",
        status="CASE WHEN ending = '' THEN now.status ELSE ending END",
        submitted_at="begun",
        last_movement_at="moved_at",
        changes_from_status="CASE WHEN ending = 'changes_requested' THEN now.status ELSE '' END",
        changes_deadline="CASE WHEN ending = 'changes_requested' THEN moved_at::date + %(changes_days)s END",
        spam_score="spam",
        priority_score=(
            "50 * (kind = 'government_program')::int + 25 * email_verified::int + 25 * phone_verified::int"
            " + CASE WHEN spam < 20 THEN 30 WHEN spam < 50 THEN 15 ELSE 0 END"
            " + 10 * (experience >= 2)::int + 10 * existing::int"
        ),
    )
    ways.write("application", "demo_applicant", ApplicationEvent, values)
    sql.insert(
        FarmInvitation,
        "demo_applicant AS one JOIN demo_step AS now ON now.route = one.route AND now.status = 'approved'"
        " WHERE now.step <= steps",
        values,
        made=ways.AT,
        id="pg_temp.id('invitation', n)",
        application_id="subject_id",
        event_id="pg_temp.id('application event', n * 8 + now.step)",
        code_hash=_NO_CODE,
        expires_at=_ENDS,
        status=(
            f"CASE WHEN steps > now.step THEN 'accepted' WHEN {_ENDS} <= %(midnight)s THEN 'expired' ELSE 'sent' END"
        ),
    )
    _open_farms(values)


# What nobody has a code for: it is no hash of anything. Of those who were approved lately every third was too late.
_NO_CODE = " || ".join(f"lpad(to_hex(pg_temp.hash(n, 'code {part}')), 16, '0')" for part in range(4))
_ENDS = f"({ways.AT} + interval '1 day' * CASE WHEN steps = now.step AND mod(n, 3) = 0 THEN 0.1 ELSE 30 END)"

# --- what belongs to a farm ----------------------------------------------------------------------------------------

# id, kind, chance of the poorest and of the best farm
_EQUIPMENT = """(VALUES
    (3, 'feeders_drinkers', 0.5, 1.0), (4, 'water_system', 0.6, 1.0), (5, 'power_supply', 0.4, 0.95),
    (6, 'storage', 0.2, 0.9), (7, 'waste_management', 0.2, 0.85), (8, 'ventilation', 0.1, 0.4),
    (9, 'lighting', 0.3, 0.8), (10, 'security', 0.1, 0.5)) AS piece (k, kind, poorest, best)"""
_CONDITION = (
    "pg_temp.pick('{excellent,good,good,good,good,fair,fair,poor,critical}', pg_temp.roll(n * 16 + %s, 'condition'))"
)
_WORKS = (
    "pg_temp.pick('{operational,operational,operational,operational,operational,operational,operational,operational,"
    "under_maintenance,non_operational}', pg_temp.roll(n * 16 + %s, 'works'))"
)
_DOCUMENTS = {
    DocumentKind.GHANA_CARD: 0.97,
    DocumentKind.PHOTO_EXTERIOR: 0.9,
    DocumentKind.PHOTO_INTERIOR: 0.88,
    DocumentKind.PHOTO_SITE: 0.92,
    DocumentKind.BUSINESS_REGISTRATION: 0.45,
}
_KINDS = ", ".join(f"({number}, '{kind}', {chance})" for number, (kind, chance) in enumerate(_DOCUMENTS.items()))


def has(*kinds: DocumentKind) -> str:
    """Whether farm `n` has all these documents."""
    return " AND ".join(f"pg_temp.roll(n, '{kind}') < {_DOCUMENTS[kind]}" for kind in kinds)


def _open_farms(values: Values) -> None:
    sql.insert(
        Farm,
        _FARMS,
        values,
        made="moved_at",
        id="farm_id",
        user_id="owner_id",
        application_id="subject_id",
        farm_number="farm_number",
        farm_name="farm_name",
        constituency_id="constituency_id",
        ghana_card_number="card",
        tin="tin",
        primary_phone="phone",
        number_of_poultry_houses="1 + capacity / 1000",
        total_bird_capacity="capacity",
        primary_production_type="production",
        extension_officer_id=(
            "CASE WHEN kind = 'government_program' OR pg_temp.roll(n, 'looked after') < 0.85 THEN"
            " pg_temp.id('EXTENSION_OFFICER', first_officer + floor(officers * pg_temp.roll(n, 'officer'))::int) END"
        ),
        farm_status="farm_status",
        is_government="kind = 'government_program'",
    )
    sql.insert(
        Biosecurity,
        _FARMS,
        values,
        made="moved_at",
        id="pg_temp.id('biosecurity', n)",
        farm_id="farm_id",
        **{name: f"pg_temp.roll(n, '{name}') < 0.12 + 0.8 * quality" for name in rules.MEASURES},
    )
    _locate(values)
    _equip(values)
    sql.insert(
        FarmAssignment,
        f"{_FARMS} AND pg_temp.roll(n, 'assigned') < 0.2",
        values,
        made="moved_at",
        id="pg_temp.id('assignment', n)",
        farm_id="farm_id",
        officer_id="pg_temp.id('YEA_OFFICIAL', first_official + floor(officials * pg_temp.roll(n, 'official'))::int)",
    )


def _locate(values: Values) -> None:
    """Most farms lie where their farmer lives; a few have moved since, or nobody knows where they are."""
    sql.insert(
        FarmLocation,
        "(SELECT *, CASE WHEN n > 20 AND pg_temp.roll(n, 'moved') < 0.03"
        " THEN width_bucket(pg_temp.roll(n, 'moved to'), %(lows)s::float8[]) ELSE place END AS lies_in"
        " FROM demo_applicant) AS one"
        " JOIN demo_place AS home ON home.number = lies_in"
        " WHERE n <= %(farms)s AND NOT (n > 20 AND pg_temp.roll(n, 'nowhere') < 0.02)",
        values,
        made="moved_at",
        id="pg_temp.id('location', n)",
        farm_id="farm_id",
        is_primary="true",
        digital_address=(
            "region_code || '-' || lpad((1 + floor(999 * pg_temp.roll(n, 'address')))::text, 3, '0') || '-'"
            " || lpad(floor(10000 * pg_temp.roll(n, 'house'))::text, 4, '0')"
        ),
        region_id="region_id",
        district_id="district_id",
        constituency_id="constituency_id",
        community="home.name || ' ' || pg_temp.pick(%(quarters)s, pg_temp.roll(n, 'quarter'))",
        latitude="(latitude + 0.25 * pg_temp.roll(n, 'latitude'))::numeric(8, 6)",
        longitude="(longitude + 0.3 * (pg_temp.roll(n, 'longitude') - 0.5))::numeric(9, 6)",
        land_size_acres="(0.5 + 9.5 * pg_temp.roll(n, 'land') ^ 2)::numeric(8, 2)",
        gps_verified="pg_temp.roll(n, 'verified') < 0.6",
    )


def _equip(values: Values) -> None:
    """Houses that mostly hold the birds, and what else the better farms have more of."""
    sql.insert(
        Infrastructure,
        f"{_ALL} CROSS JOIN LATERAL generate_series(0, least(2, capacity / 1000)) AS house WHERE n <= %(farms)s",
        values,
        made="moved_at",
        id="pg_temp.id('infrastructure', n * 16 + house)",
        farm_id="farm_id",
        infrastructure_type="'accommodation'",
        bird_capacity=(
            "(CASE WHEN pg_temp.roll(n, 'room') < 0.1 + 0.2 * (1 - quality) THEN 0.7 ELSE 1 END"
            " * ceil(capacity / (1.0 + least(2, capacity / 1000))))::int"
        ),
        status=_WORKS % "house",
        condition=_CONDITION % "house",
    )
    sql.insert(
        Infrastructure,
        f"{_ALL} CROSS JOIN {_EQUIPMENT} WHERE n <= %(farms)s"
        " AND pg_temp.roll(n * 16 + k, 'equipped') < poorest + (best - poorest) * quality",
        values,
        made="moved_at",
        id="pg_temp.id('infrastructure', n * 16 + k)",
        farm_id="farm_id",
        infrastructure_type="piece.kind",
        year_round="piece.kind = 'water_system' AND pg_temp.roll(n, 'dry season') < 0.4 + 0.6 * quality",
        status=_WORKS % "k",
        condition=_CONDITION % "k",
        next_maintenance_due=(
            "CASE WHEN pg_temp.roll(n * 16 + k, 'care') < 0.5"
            " THEN %(today)s::date + floor(180 * pg_temp.roll(n * 16 + k, 'care'))::int - 10 END"
        ),
    )
    sql.insert(
        FarmDocument,
        f"{_ALL} CROSS JOIN (VALUES {_KINDS}) AS file (k, kind, chance)"
        " WHERE n <= %(farms)s AND pg_temp.roll(n, file.kind) < chance",
        values,
        made="moved_at",
        id="pg_temp.id('document', n * 8 + k)",
        farm_id="farm_id",
        kind="file.kind",
        file="%(picture)s",
    )
