"""Batches in every state, and the farms that applied to them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from farms import rules
from farms.demo import applicants, sql, ways
from farms.demo.sql import Values
from farms.models import Batch, BatchEnrollment, EnrollmentEvent
from farms.rules import BatchStatus, DocumentKind


@dataclass(frozen=True)
class Plan:
    """Days are counted from today. `stands` names the list of where its enrolments are."""

    name: str
    status: BatchStatus
    starts: int
    deadline: int
    ends: int
    stands: str
    region: str = ""
    constituency: str = ""
    least: int = 100
    full: bool = False


PLANS = (
    Plan("Layers for Youth, first round", BatchStatus.ARCHIVED, -820, -720, -400, "over"),
    Plan("Broilers for Youth", BatchStatus.CLOSED, -260, -150, 60, "over", least=200),
    Plan("Layers for Youth, second round", BatchStatus.LIVE, -60, 21, 300, "under way"),
    Plan("Ashanti Layers", BatchStatus.LIVE, -60, 6, 240, "under way", region="AH"),
    Plan("Bantama Urban Poultry", BatchStatus.LIVE, -60, 1, 200, "under way", region="AH", constituency="BNT"),
    Plan("Northern Poultry", BatchStatus.PAUSED, -60, 40, 300, "under way", region="NP"),
    Plan("Women in Poultry", BatchStatus.LIVE, -60, 14, 280, "under way", full=True),
    Plan("Guinea Fowl Pilot", BatchStatus.DRAFT, 30, 75, 400, ""),
)
_TABLES = """
CREATE TEMP TABLE demo_batch (
    number int, name text, code text, status text, starts date, deadline date, ends date, stands text, region text,
    constituency text, least int, is_full boolean
) ON COMMIT DROP;
CREATE TEMP TABLE demo_standing (name text, number int, steps int, ending text) ON COMMIT DROP;
INSERT INTO demo_standing VALUES
    ('over', 0, 7, ''), ('over', 1, 7, ''), ('over', 2, 7, ''), ('over', 3, 7, ''), ('over', 4, 7, ''),
    ('over', 5, 6, ''), ('over', 6, 3, 'rejected'), ('over', 7, 4, 'rejected'),
    ('over', 8, 3, 'withdrawn'), ('over', 9, 5, 'rejected'),
    ('under way', 0, 0, ''), ('under way', 1, 3, ''), ('under way', 2, 3, ''), ('under way', 3, 4, ''),
    ('under way', 4, 5, ''), ('under way', 5, 6, ''), ('under way', 6, 4, 'changes_requested'),
    ('under way', 7, 3, 'rejected'), ('under way', 8, 6, 'withdrawn'), ('under way', 9, 6, '')
"""
# Slots are taken by whom was approved; but for a full batch there are some left.
_SLOTS = """
WITH taken AS (
    SELECT batch_id, count(*) AS slots FROM farms_batchenrollment WHERE status IN ('approved', 'enrolled') GROUP BY 1
)
UPDATE farms_batch AS batch SET slots_filled = COALESCE(slots, 0),
    total_slots = greatest(1, COALESCE(slots, 0)) + CASE WHEN is_full THEN 0 ELSE 10 + COALESCE(slots, 0) / 5 END
FROM demo_batch LEFT JOIN taken ON batch_id = pg_temp.id('batch', number) WHERE batch.id = pg_temp.id('batch', number)
"""
# A farm applies to one batch, whose rules it meets; `begun` is when, early enough for all that came after.
_ENROLLED = f"""
WITH chosen AS (
    SELECT one.n, place, owner_id, farm_id, kind, moved_at, wait, pg_temp.id('batch', batch.number) AS batch_id,
        starts, deadline, stands,
        CASE WHEN n BETWEEN 2 AND 9 THEN n - 1 ELSE floor(10 * pg_temp.roll(n, 'standing')) END AS standing,
        100 - 10 * (NOT {applicants.has(DocumentKind.BUSINESS_REGISTRATION)})::int
            - 10 * (NOT ({applicants.has(*rules.PHOTOS)}))::int + 10 * (kind = 'government_program')::int AS points
    FROM demo_applicant AS one JOIN demo_place AS home ON home.number = place
        JOIN demo_batch AS batch ON batch.number = CASE WHEN n <= 9 THEN 2 + mod(n, 3)
            ELSE floor(7 * pg_temp.roll(n, 'batch')) END
    WHERE n <= %(farms)s AND farm_status = 'active' AND (n <= 20 OR pg_temp.roll(n, 'enrolled') < 0.35)
        AND capacity >= least AND batch.region IN ('', region_code) AND batch.constituency IN ('', home.code)
), begun AS (
    SELECT chosen.*, demo_standing.steps, ending, waits,
        least(deadline + interval '10 hours', %(midnight)s - (waits + (ending <> '')::int) * wait)
            - interval '1 day' * 8 * pg_temp.roll(n, 'enrolled at') AS begun
    FROM chosen JOIN demo_standing ON demo_standing.name = stands AND demo_standing.number = standing
        JOIN demo_step ON demo_step.route = 'enrollment' AND demo_step.step = steps
)
SELECT n, place, owner_id, farm_id, batch_id, 'enrollment' AS route, steps, ending, begun, wait,
    least(100, points) AS points, begun + interval '30 days' AS latest, begun + (waits + (ending <> '')::int) * wait
        + interval '1 us' * (steps + (ending <> '')::int) AS moved_at,
    pg_temp.id('enrolment', n) AS subject_id, CASE WHEN steps > 0 THEN 'PROG-' || to_char(begun, 'YYYY') || '-'
        || pg_temp.digits(nextval('farms_enrollment_number'), 5) END AS number
FROM (SELECT * FROM begun WHERE begun > starts AND begun > moved_at ORDER BY n) AS begun
"""  # noqa: S608 - constants only


def make_table(values: Values) -> None:
    today = values["today"]
    sql.run(_TABLES)
    sql.fill(
        "demo_batch",
        [
            (
                *(number, plan.name, f"DEMO-{number + 1}", plan.status.value),
                *(today + timedelta(days=days) for days in (plan.starts, plan.deadline, plan.ends)),
                *(plan.stands, plan.region, plan.constituency, plan.least, plan.full),
            )
            for number, plan in enumerate(PLANS)
        ],
    )
    sql.run(f"CREATE TEMP TABLE demo_enrolled ON COMMIT DROP AS {_ENROLLED} WITH NO DATA", values)
    sql.insert(
        Batch,
        "demo_batch LEFT JOIN accounts_region AS region ON region.code = demo_batch.region ORDER BY number",
        values,
        made="starts::timestamptz - interval '40 days'",
        id="pg_temp.id('batch', number)",
        batch_name="demo_batch.name",
        batch_code="demo_batch.code",
        target_region_id="region.id",
        start_date="starts",
        end_date="ends",
        application_deadline="deadline",
        total_slots="1",
        min_bird_capacity="least",
        support_package_value="5000 + 500 * number",
        support_package_details="'Pullets, feed for eight weeks and vaccines.'",
        status="status",
    )
    sql.run(
        "INSERT INTO farms_batch_eligible_constituencies (batch_id, constituency_id)"
        " SELECT pg_temp.id('batch', demo_batch.number), constituency_id"
        " FROM demo_batch JOIN demo_place ON demo_place.code = constituency"
    )


def write(values: Values) -> None:
    """The enrolments of the farms at hand."""
    sql.run("TRUNCATE demo_enrolled")
    sql.run(f"INSERT INTO demo_enrolled {_ENROLLED}", values)
    sql.insert(
        BatchEnrollment,
        "demo_enrolled AS one JOIN demo_step AS now ON now.route = one.route AND now.step = steps",
        values,
        made="begun",
        updated_at="moved_at",
        id="subject_id",
        enrollment_number="one.number",
        farm_id="farm_id",
        batch_id="batch_id",
        status="CASE WHEN ending = '' THEN now.status ELSE ending END",
        changes_from_status="CASE WHEN ending = 'changes_requested' THEN now.status ELSE '' END",
        changes_deadline="CASE WHEN ending = 'changes_requested' THEN moved_at::date + %(changes_days)s END",
        eligibility_score="CASE WHEN steps = 0 THEN 0 ELSE points END",
        submitted_at="CASE WHEN steps > 0 THEN begun + interval '1 us' END",
        last_movement_at="moved_at",
    )
    ways.write("enrollment", "demo_enrolled", EnrollmentEvent, values)


def count_slots() -> None:
    sql.run(_SLOTS)
