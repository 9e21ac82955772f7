"""Flocks and their days. What a flock has lost by a day follows from the day, so that each day can be written alone.

Days are counted from the first recorded one: 0, 1, 2 … One with an odd number may be missing: then its losses are in
the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, timedelta

from farms.demo import sql
from farms.demo.sql import Values
from farms.models import Alert, DailyProduction, Flock, MortalityRecord

CHUNK = 25_000  # farms of one statement of a day
PER_FARM = 4  # numbers of flocks: 1 one that was sold, 2 the first there is, 3 the second

# Kept for all flocks that are there: what their days follow from.
_TABLE = """
CREATE TEMP TABLE demo_flock (
    number bigint PRIMARY KEY, n bigint, id uuid, farm_id uuid, owner_id uuid, vet uuid, flock_number int, kind text,
    breed text, arrival date, age_weeks int, initial int, first_day date, last_day date, quality float8, hot float8,
    rate float8, phase float8, luck float8, misses float8, sick_from int, sick_share float8,
    sells_from int, sells_every int, lot int, lots int
) ON COMMIT DROP
"""
# Deaths come a little in waves; sick birds die within a week or two and some are culled; birds are sold in lots.
_FUNCTIONS = """
CREATE OR REPLACE FUNCTION pg_temp.died(f demo_flock, day int) RETURNS int LANGUAGE sql IMMUTABLE AS $$
    SELECT floor(f.initial * f.rate * (day + 1 + 5 * (sin((day + 1) / 5.5 + f.phase) - sin(f.phase))) + f.luck)::int
        + CASE WHEN day >= f.sick_from
            THEN floor(f.initial * f.sick_share * (1 - exp((f.sick_from - day - 1) / 2.5)))::int ELSE 0 END
$$;
CREATE OR REPLACE FUNCTION pg_temp.sold(f demo_flock, day int) RETURNS int LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN day < f.sells_from THEN 0
        ELSE f.lot * least(f.lots, 1 + (day - f.sells_from) / f.sells_every) END
$$;
CREATE OR REPLACE FUNCTION pg_temp.culled(f demo_flock, day int) RETURNS int LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN day >= f.sick_from + 3 THEN f.initial / 50 ELSE 0 END
$$;
CREATE OR REPLACE FUNCTION pg_temp.missed(f demo_flock, day int) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT mod(day, 2) = 1 AND pg_temp.roll(f.number * 1000 + day, 'missed') < f.misses
$$
"""
MOST_DAYS = 400  # a layer is not kept for longer

_ARRIVED = """
WITH farm AS (
    SELECT one.*, home.vet, home.hot, moved_at::date AS since,
        pg_temp.roll(n, 'earlier') < 0.3 AND moved_at::date < %(today)s::date - 300 AS earlier
    FROM demo_applicant AS one JOIN demo_place AS home ON home.number = place
    WHERE n <= %(farms)s AND farm_status = 'active' AND (n <= 20 OR pg_temp.roll(n, 'stocked') < 0.92)
), bird AS (
    SELECT farm.*, n * 4 + k AS number, k, of_kind, room FROM farm CROSS JOIN LATERAL (
        SELECT 2 AS k, CASE production WHEN 'broilers' THEN 'broilers' ELSE 'layers' END AS of_kind,
            CASE production WHEN 'both' THEN 0.6 ELSE 0.95 END AS room
        UNION ALL SELECT 3, 'broilers', 0.35 WHERE production = 'both'
    ) AS flock
), flock AS (
    SELECT *, greatest(since + CASE WHEN earlier THEN 260 ELSE 2 + floor(20 * pg_temp.roll(number, 'after'))::int END,
            %(today)s::date - CASE of_kind WHEN 'layers' THEN 30 + floor(370 * pg_temp.roll(number, 'since'))::int
                ELSE 6 + floor(42 * pg_temp.roll(number, 'since'))::int END) AS arrival,
        greatest(20, floor(capacity * room * (0.55 + 0.45 * pg_temp.roll(number, 'stock')))::int) AS initial,
        n = 3 OR n BETWEEN 14 AND 15 AS surely_sick
    FROM bird
), timed AS (
    SELECT *, greatest(arrival, %(today)s::date - %(days)s) AS first_day, %(today)s::date - 1
            - CASE WHEN n > 20 AND pg_temp.roll(number, 'lapsed') < 0.07
                THEN floor(0.7 * %(days)s * pg_temp.roll(number, 'lapse'))::int ELSE 0 END AS last_day
    FROM flock
)
INSERT INTO demo_flock
SELECT number, n, pg_temp.id('flock', number), farm_id, owner_id, vet,
    k - 1 + earlier::int, of_kind,
    pg_temp.pick(CASE of_kind WHEN 'layers' THEN %(layers)s::text[] ELSE %(broilers)s::text[] END,
        pg_temp.roll(number, 'breed')),
    arrival, CASE of_kind WHEN 'layers' THEN 16 + floor(6 * pg_temp.roll(number, 'age'))::int ELSE 0 END,
    initial, first_day, last_day, quality, hot,
    (CASE of_kind WHEN 'layers' THEN 0.0002 ELSE 0.0007 END) * (1.5 - quality) * hot,
    6.28 * pg_temp.roll(number, 'phase'), pg_temp.roll(number, 'luck'),
    0.02 + 0.2 * (1 - quality) * pg_temp.roll(number, 'misses'),
    CASE WHEN surely_sick THEN greatest(0, %(today)s::date - 4 - first_day)
        WHEN n > 1 AND pg_temp.roll(number, 'sick') < 0.03
        THEN floor((last_day - first_day + 1) * pg_temp.roll(number, 'sick from'))::int ELSE 100000 END,
    0.1 + 0.2 * pg_temp.roll(number, 'sick share'),
    CASE of_kind WHEN 'layers' THEN floor(14 * pg_temp.roll(number, 'sells'))::int
        ELSE greatest(0, arrival + 38 - first_day) END,
    CASE of_kind WHEN 'layers' THEN 14 ELSE 4 END,
    CASE of_kind WHEN 'layers' THEN initial / 100 ELSE initial / 5 END, CASE of_kind WHEN 'layers' THEN 28 ELSE 2 END
FROM timed
"""
_LAST = "last_day - first_day - pg_temp.missed(f, last_day - first_day)::int"
_GONE = f"pg_temp.died(f, {_LAST}) + pg_temp.sold(f, {_LAST}) + pg_temp.culled(f, {_LAST})"

# OFFSET 0: what one line works out is not worked out again for each use in the next.
_DAY = """
demo_flock AS f
CROSS JOIN LATERAL (SELECT %(day)s::date - first_day AS t, 7 * age_weeks + (%(day)s::date - arrival) AS age
    OFFSET 0) AS time
CROSS JOIN LATERAL (SELECT t - 1 - (t > 0 AND pg_temp.missed(f, t - 1))::int AS before, age / 7.0 AS weeks,
    t BETWEEN sick_from AND sick_from + 9 AS sick, %(heat)s * hot AS heat, number * 1000 + t AS fate OFFSET 0) AS state
CROSS JOIN LATERAL (SELECT pg_temp.died(f, before) AS died_before, pg_temp.sold(f, before) AS sold_before,
    pg_temp.culled(f, before) AS culled_before OFFSET 0) AS gone
CROSS JOIN LATERAL (SELECT pg_temp.died(f, t) - died_before AS died, pg_temp.sold(f, t) - sold_before AS sold,
    pg_temp.culled(f, t) - culled_before AS culled, initial - died_before - sold_before - culled_before AS birds
    OFFSET 0) AS loss
CROSS JOIN LATERAL (SELECT CASE WHEN kind <> 'layers' OR weeks < 18 THEN 0 ELSE floor(birds * least(0.98,
    (CASE WHEN weeks < 26 THEN (weeks - 18) / 8 * 0.93 ELSE greatest(0.5, 0.93 - (weeks - 26) * 0.004) END)
        * (0.88 + 0.12 * quality) * (1 - 0.06 * heat) * (CASE WHEN sick THEN 0.7 ELSE 1 END)
        * (0.97 + 0.06 * pg_temp.roll(fate, 'eggs'))))::int END AS eggs OFFSET 0) AS laid
CROSS JOIN LATERAL (SELECT round(eggs * (0.008 + 0.012 * pg_temp.roll(fate, 'broken')))::int AS broken,
    round(eggs * 0.015 * (1.5 - quality) * pg_temp.roll(fate, 'dirty'))::int AS dirty,
    round(eggs * CASE WHEN weeks < 24 THEN 0.12 ELSE 0.01 END)::int AS small,
    round(eggs * CASE WHEN weeks > 65 THEN 0.015 ELSE 0.004 END)::int AS soft OFFSET 0) AS sorted
WHERE number > %(after)s AND number <= %(until)s AND %(day)s BETWEEN first_day AND last_day AND NOT pg_temp.missed(f, t)
ORDER BY number
"""
_CAUSE = """CASE WHEN died = 0 THEN '' WHEN sick THEN 'disease'
    WHEN heat > 0.9 AND pg_temp.roll(fate, 'cause') < 0.5 THEN 'heat'
    ELSE pg_temp.pick('{predator,injury,other,unknown,unknown,unknown}', pg_temp.roll(fate, 'cause')) END"""


def make_table(_values: Values) -> None:
    sql.run(_TABLE)
    sql.run(_FUNCTIONS)


def write(values: Values) -> None:
    """The flocks of the farms at hand, and of a third of the older ones one that was sold before."""
    sql.insert(
        Flock,
        "(SELECT one.*, moved_at::date + 30 AS came FROM demo_applicant AS one) AS one"
        " WHERE n <= %(farms)s AND came < %(today)s::date - 270 AND pg_temp.roll(n, 'earlier') < 0.3",
        values,
        made="came",
        updated_at="came + 220",
        id=f"pg_temp.id('flock', n * {PER_FARM} + 1)",
        farm_id="farm_id",
        flock_number="1",
        flock_type="CASE production WHEN 'broilers' THEN 'broilers' ELSE 'layers' END",
        arrival_date="came",
        age_at_arrival_weeks="CASE production WHEN 'broilers' THEN 0 ELSE 17 END",
        initial_count="greatest(20, capacity * 8 / 10)",
        current_count="0",
        status="'sold'",
        ended_on="came + 220",
        left_at_end="greatest(20, capacity * 8 / 10)",
    )
    sql.run(_ARRIVED, values)
    sql.insert(
        Flock,
        "demo_flock AS f WHERE n BETWEEN %(first)s AND %(last)s",
        values,
        made="arrival",
        updated_at="greatest(arrival, last_day) + interval '19 hours'",
        id="id",
        farm_id="farm_id",
        flock_number="flock_number",
        flock_type="kind",
        breed="breed",
        arrival_date="arrival",
        age_at_arrival_weeks="age_weeks",
        initial_count="initial",
        current_count=f"initial - CASE WHEN last_day < first_day THEN 0 ELSE {_GONE} END",
    )


def write_days(values: Values, said: Callable[[str], None]) -> int:
    """One day of all flocks after another, as they would have come in. Says how many rows."""
    today, days = values["today"], min(values["days"], MOST_DAYS)
    last, rows = PER_FARM * (values["farms"] + 1), 0
    for number in range(days):
        day = today - timedelta(days=days - number)
        for after in range(0, last, PER_FARM * CHUNK):
            part = {"day": day, "nth": number, "heat": heat(day), "after": after, "until": after + PER_FARM * CHUNK}
            rows += _write_day(values | part | {"each": last})
        said(f"{day}: {rows:,} days of flocks")
    return rows


def heat(day: date) -> float:
    """From 0 to 1: the heat before the rains, which is greatest in the middle of March."""
    return max(0.0, math.cos(2 * math.pi * (day.timetuple().tm_yday - 75) / 365))


def _write_day(values: Values) -> int:
    return sql.insert(
        DailyProduction,
        _DAY,
        values,
        made="%(day)s::date + interval '17 hours' + pg_temp.roll(fate, 'time') * interval '3 hours'",
        id="pg_temp.id('day', %(nth)s::bigint * %(each)s + number)",
        production_date="%(day)s",
        flock_id="id",
        recorded_by_id="owner_id",
        good_eggs="eggs - broken - dirty - small - soft",
        broken_eggs="broken",
        dirty_eggs="dirty",
        small_eggs="small",
        soft_shell_eggs="soft",
        eggs_collected="eggs",
        birds_died="died",
        birds_sold="sold",
        birds_culled="culled",
        signs_of_disease="sick",
        feed_consumed_kg=(
            "round((birds * CASE kind WHEN 'layers' THEN 0.112 * (1 - 0.06 * heat)"
            " ELSE least(0.17, 0.015 + 0.0038 * age) END)::numeric, 2)"
        ),
        mortality_reason=_CAUSE,
        general_health="CASE WHEN sick THEN 'poor' WHEN died > 0 AND heat > 0.9 THEN 'fair' ELSE 'good' END",
    )


# --- what follows from the days ------------------------------------------------------------------------------------

# As rules.push_alerts: deaths of a day, and of the seven days ending on it, among the birds at the start of them.
_ALERTS = """(
SELECT f.number, f.id, f.farm_id, f.vet, day, alert.*, pg_temp.roll(number * 1000 + (day - first_day), 'read') AS chance
FROM (
    SELECT f.*, production_date AS day, birds_died AS died,
        initial - COALESCE(sum(birds_died + birds_sold + birds_culled)
            OVER (flock ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS birds,
        sum(birds_died) OVER (flock RANGE BETWEEN '6 days' PRECEDING AND CURRENT ROW) AS died_in_week,
        initial - CASE WHEN arrival > production_date - 6 THEN 0
            ELSE COALESCE(sum(birds_died + birds_sold + birds_culled)
            OVER (flock RANGE BETWEEN UNBOUNDED PRECEDING AND '7 days' PRECEDING), 0) END AS birds_in_week
    FROM demo_flock AS f JOIN farms_dailyproduction AS said ON said.flock_id = f.id WHERE sick_from < 100000
    WINDOW flock AS (PARTITION BY f.number ORDER BY production_date)
) AS f CROSS JOIN LATERAL (
    SELECT 'mortality_daily', 100.0 * died / birds, CASE WHEN 100 * died > %(critical)s * birds
        THEN %(critical)s ELSE %(daily)s END,
        CASE WHEN 100 * died > %(critical)s * birds THEN 'critical' ELSE 'warning' END,
            0 WHERE 100 * died > %(daily)s * birds
    UNION ALL
    SELECT 'mortality_weekly', 100.0 * died_in_week / birds_in_week, %(weekly)s, 'critical', 1
    WHERE 100 * died_in_week > %(weekly)s * birds_in_week
) AS alert (kind, value, threshold, severity, k)
) AS alert"""
_READ = "NOT (chance < 0.3 OR day >= %(today)s::date - 3)"


def write_consequences(values: Values) -> int:
    """The inspections and alerts that the recorded days bring with them. Says how many alerts."""
    inspected = "said.created_at + interval '1 hour' * (3 + 40 * pg_temp.roll(f.number, 'vet'))"
    is_over = "production_date < %(today)s::date - 3 AND pg_temp.roll(f.number, 'seen') < 0.8"
    sql.insert(
        MortalityRecord,
        "farms_dailyproduction AS said JOIN demo_flock AS f ON f.id = said.flock_id"
        " WHERE birds_died >= %(many_died)s OR signs_of_disease",
        values,
        made="said.created_at",
        updated_at=f"CASE WHEN {is_over} THEN {inspected} ELSE said.created_at END",
        id="pg_temp.id('mortality', f.number * 1000 + (production_date - first_day))",
        production_id="said.id",
        number_of_birds="birds_died",
        probable_cause="mortality_reason",
        inspect_by="said.created_at + %(inspect_within)s",
        inspected_at=f"CASE WHEN {is_over} THEN {inspected} END",
        inspected_by_id=f"CASE WHEN {is_over} THEN vet END",
    )
    return sql.insert(
        Alert,
        _ALERTS,
        values,
        made="day + interval '20 hours'",
        updated_at=f"day + interval '20 hours' + CASE WHEN {_READ} THEN interval '1 day' ELSE interval '0' END",
        id="pg_temp.id('alert', number * 2000 + (day - DATE '2000-01-01') %% 1000 * 2 + k)",
        kind="kind",
        farm_id="farm_id",
        flock_id="id",
        day="day",
        value="round(value, 2)",
        threshold="threshold",
        severity="severity",
        status=f"CASE WHEN NOT ({_READ}) THEN 'open' WHEN chance < 0.7 THEN 'closed' ELSE 'acknowledged' END",
        acknowledged_by_id=f"CASE WHEN {_READ} THEN vet END",
        acknowledged_at=f"CASE WHEN {_READ} THEN day + interval '44 hours' END",
    )
