"""The way of an application or an enrolment through its reviews: events, reviews and notes."""

from __future__ import annotations

from farms.demo import sql
from farms.demo.sql import Values
from farms.models import ApplicationEvent, EnrollmentEvent, ReviewItem, ReviewNote

# How a subject moves: the status it comes to, how many waits lie before that, who does it, whose review begins.
_STEPS = """
CREATE TEMP TABLE demo_step (route text, step int, status text, waits int, who text, level text) ON COMMIT DROP;
INSERT INTO demo_step VALUES
    ('programme', 0, 'submitted', 0, '', ''), ('programme', 1, 'constituency_review', 0, '', 'constituency'),
    ('programme', 2, 'regional_review', 1, 'constituency', 'regional'),
    ('programme', 3, 'national_review', 2, 'regional', 'national'),
    ('programme', 4, 'approved', 3, 'national', ''), ('programme', 5, 'account_created', 4, 'owner', ''),
    ('one_check', 0, 'submitted', 0, '', ''), ('one_check', 1, 'regional_review', 0, '', 'regional'),
    ('one_check', 2, 'approved', 1, 'regional', ''), ('one_check', 3, 'account_created', 2, 'owner', ''),
    ('straight', 0, 'submitted', 0, '', ''), ('straight', 1, 'approved', 0, '', ''),
    ('straight', 2, 'account_created', 1, 'owner', ''),
    ('enrollment', 0, 'draft', 0, '', ''), ('enrollment', 1, 'submitted', 0, 'owner', ''),
    ('enrollment', 2, 'eligibility_check', 0, '', ''), ('enrollment', 3, 'constituency_review', 0, '', 'constituency'),
    ('enrollment', 4, 'regional_review', 1, 'constituency', 'regional'),
    ('enrollment', 5, 'national_review', 2, 'regional', 'national'),
    ('enrollment', 6, 'approved', 3, 'national', ''), ('enrollment', 7, 'enrolled', 4, 'regional', '')
"""
_REASONS = {
    "changes_requested": [
        *(
            "The photos do not show the poultry house.",
            "The Ghana Card cannot be read.",
            "Say where the water comes from.",
        ),
        "The capacity does not fit the number of houses.",
    ],
    "rejected": [
        *("The land belongs to somebody else.", "The house stands in a flood plain.", "Nobody answered three visits."),
        "There were no birds where the photos show them.",
    ],
    "notes": [
        "I was there: the house is clean and dry.",
        "The fence is being built.",
        "Ask for a better photo.",
        "I know the family.",
    ],
}
AT = "(begun + now.waits * wait + now.step * interval '1 us')"
_NEXT = "(begun + (now.waits + 1) * wait + (now.step + 1) * interval '1 us')"
_DECIDES = "CASE {} WHEN 'constituency' THEN admin WHEN 'regional' THEN regional WHEN 'national' THEN national"
_OPEN = "(now.step = steps AND ending = '')"
_TAKEN = "pg_temp.roll(n * 8 + now.step, 'taken')"


def make_table(_values: Values) -> None:
    sql.run(_STEPS)


def write(kind: str, table: str, events: type[ApplicationEvent] | type[EnrollmentEvent], values: Values) -> None:
    """Of the subjects in a temporary table of `n`, `subject_id`, `place`, `owner_id`, `route`, `steps`, `ending`,
    `begun`, `wait` and `latest`.
    """
    values = values | _REASONS
    way = (
        f"{table} AS one JOIN demo_place AS home ON home.number = place JOIN demo_step AS now ON now.route = one.route"
    )
    event, review = f"'{kind} event'", f"'{kind} review'"
    of = {f"{kind}_id": "subject_id"}
    sql.insert(
        events,
        f"{way} LEFT JOIN demo_step AS before ON before.route = now.route AND before.step = now.step - 1"
        " WHERE now.step <= steps AND now.status <> 'draft'",
        values,
        id=f"pg_temp.id({event}, n * 8 + now.step)",
        from_status="COALESCE(before.status, '')",
        to_status="now.status",
        actor_id=f"{_DECIDES.format('now.who')} WHEN 'owner' THEN owner_id END",
        at=AT,
        **of,
    )
    sql.insert(
        events,
        f"{way} WHERE now.step = steps AND ending <> ''",
        values,
        id=f"pg_temp.id({event}, n * 8 + 7)",
        from_status="now.status",
        to_status="ending",
        actor_id=f"CASE WHEN ending = 'withdrawn' THEN owner_id ELSE {_DECIDES.format('now.level')} END END",
        reason=(
            "CASE ending WHEN 'rejected' THEN pg_temp.pick(%(rejected)s, pg_temp.roll(n, 'reason'))"
            " WHEN 'changes_requested' THEN pg_temp.pick(%(changes_requested)s, pg_temp.roll(n, 'reason')) ELSE '' END"
        ),
        at=_NEXT,
        **of,
    )
    sql.insert(
        ReviewItem,
        f"{way} WHERE now.step <= steps AND now.level <> ''",
        values,
        made=AT,
        updated_at=f"CASE WHEN {_OPEN} THEN {AT} ELSE {_NEXT} END",
        id=f"pg_temp.id({review}, n * 8 + now.step)",
        level="now.level",
        status=(
            f"CASE WHEN NOT {_OPEN} THEN 'completed' WHEN {_TAKEN} < 0.65 THEN 'pending'"
            f" WHEN {_TAKEN} < 0.9 THEN 'claimed' ELSE 'in_progress' END"
        ),
        claimed_by_id=(f"CASE WHEN NOT {_OPEN} OR {_TAKEN} >= 0.65 THEN {_DECIDES.format('now.level')} END END"),
        entered_at=AT,
        due_at=f"greatest({AT}, least({AT} + interval '1 day' * (%(sla)s::jsonb ->> now.level)::int, latest))",
        completed_at=f"CASE WHEN NOT {_OPEN} THEN {_NEXT} END",
        **of,
    )
    sql.insert(
        ReviewNote,
        f"{way} WHERE now.step <= steps AND now.level = 'constituency' AND pg_temp.roll(n, 'noted') < 0.2",
        values,
        id=f"pg_temp.id('{kind} note', n)",
        item_id=f"pg_temp.id({review}, n * 8 + now.step)",
        author_id="staff",
        text="pg_temp.pick(%(notes)s, pg_temp.roll(n, 'note'))",
        at=AT,
    )
