"""What the database itself keeps, whoever writes: places inside their region, ages, the transition tables of
farms/rules.py, tables that only grow, scores of past days, alerts that never become milder. And the sequences of numbers.
"""

from django.db import migrations

# Composite keys as in accounts 0001.
INSIDE_THE_REGION = [
    ("farms_farmapplication", "district"),
    ("farms_farmapplication", "constituency"),
    ("farms_farmlocation", "district"),
    ("farms_farmlocation", "constituency"),
]

SEQUENCES = ("farms_application_number", "farms_enrollment_number", "farms_farm_number")

AGE = """
ALTER TABLE farms_farmapplication ADD CONSTRAINT farms_farmapplication_age CHECK (
    date_of_birth <= (submitted_at AT TIME ZONE 'Africa/Accra')::date - interval '18 years'
    AND date_of_birth > (submitted_at AT TIME ZONE 'Africa/Accra')::date - interval '66 years')
"""

_REVIEWS = "constituency_review regional_review national_review"
APPLICATION = (
    "submitted>constituency_review submitted>regional_review submitted>approved"
    " constituency_review>regional_review regional_review>national_review"
    " regional_review>approved national_review>approved approved>account_created changes_requested>rejected "
    + " ".join(f"{s}>changes_requested {s}>rejected changes_requested>{s}" for s in _REVIEWS.split())
)
ENROLLMENT = (
    "draft>submitted draft>withdrawn submitted>eligibility_check eligibility_check>constituency_review"
    " eligibility_check>rejected constituency_review>regional_review regional_review>national_review"
    " national_review>approved approved>enrolled approved>withdrawn changes_requested>rejected"
    " changes_requested>withdrawn "
    + " ".join(
        f"{s}>changes_requested {s}>rejected {s}>withdrawn changes_requested>{s}" for s in _REVIEWS.split()
    )
)
STATUSES = {
    "farms_farmapplication": APPLICATION,
    "farms_batchenrollment": ENROLLMENT,
    "farms_batch": "draft>live live>paused live>closed paused>live paused>closed closed>archived",
    "farms_reviewitem": (
        "pending>claimed pending>completed claimed>in_progress claimed>pending claimed>completed"
        " in_progress>completed completed>pending"
    ),
    "farms_farminvitation": "pending>sent pending>revoked sent>accepted sent>expired sent>revoked",
    "farms_flock": "active>sold active>culled active>depleted",
    "farms_alert": "open>acknowledged open>closed acknowledged>closed",
}
FARM = "active>inactive active>suspended inactive>active inactive>suspended suspended>active"

# refuse_status_transition() is of delivery 0004; the column of farms has another name.
REFUSE_FARM = """
CREATE FUNCTION farms_refuse_farm_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% may not go from % to %', TG_TABLE_NAME, OLD.farm_status, NEW.farm_status
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
END $$
"""

APPEND_ONLY = (
    "farms_applicationevent",
    "farms_enrollmentevent",
    "farms_reviewnote",
    "farms_productioncorrection",
)
# accounts_append_only() is of accounts 0003
GUARD = """
CREATE TRIGGER {table}_rows_stay BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION accounts_append_only();
CREATE TRIGGER {table}_table_stays BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION accounts_append_only();
"""
UNGUARD = """
DROP TRIGGER {table}_table_stays ON {table};
DROP TRIGGER {table}_rows_stay ON {table};
"""

SCORES = """
CREATE FUNCTION farms_past_score() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The score of % is history: only a row of today may change', OLD.day
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER farms_farmscore_history BEFORE UPDATE ON farms_farmscore FOR EACH ROW
    WHEN (OLD.day < (statement_timestamp() AT TIME ZONE 'Africa/Accra')::date OR NEW.day <> OLD.day)
    EXECUTE FUNCTION farms_past_score();
CREATE TRIGGER farms_farmscore_stays BEFORE DELETE ON farms_farmscore FOR EACH ROW
    EXECUTE FUNCTION accounts_append_only();
"""
NO_SCORES = """
DROP TRIGGER farms_farmscore_stays ON farms_farmscore;
DROP TRIGGER farms_farmscore_history ON farms_farmscore;
DROP FUNCTION farms_past_score();
"""

ALERTS = """
CREATE FUNCTION farms_milder_alert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The severity of an alert may rise, never fall: % to % is refused', OLD.severity, NEW.severity
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER farms_alert_rises BEFORE UPDATE OF severity ON farms_alert FOR EACH ROW
    WHEN (array_position('{info,warning,critical}'::text[], NEW.severity::text)
        < array_position('{info,warning,critical}'::text[], OLD.severity::text))
    EXECUTE FUNCTION farms_milder_alert();
"""
NO_ALERTS = """
DROP TRIGGER farms_alert_rises ON farms_alert;
DROP FUNCTION farms_milder_alert();
"""

# Scores and bird counts change in rows that stay: room in their page saves an entry in every index.
ROOM = "ALTER TABLE farms_flock SET (fillfactor = 80); ALTER TABLE farms_farm SET (fillfactor = 90)"
NO_ROOM = "ALTER TABLE farms_farm RESET (fillfactor); ALTER TABLE farms_flock RESET (fillfactor)"


def transitions(table: str, column: str, allowed: str, function: str) -> migrations.RunSQL:
    pairs = ",".join(allowed.split())
    return migrations.RunSQL(
        f"CREATE TRIGGER {table}_transition BEFORE UPDATE OF {column} ON {table} FOR EACH ROW"
        f" WHEN (OLD.{column} <> NEW.{column} AND NOT OLD.{column} || '>' || NEW.{column}"
        f" = ANY ('{{{pairs}}}'::text[])) EXECUTE FUNCTION {function}()",
        f"DROP TRIGGER {table}_transition ON {table}",
    )


class Migration(migrations.Migration):
    dependencies = [
        ("farms", "0001_schema"),
        ("accounts", "0003_staff_and_security"),
        ("delivery", "0004_kept_by_the_database"),
    ]

    operations = [
        *(
            migrations.RunSQL(
                f"ALTER TABLE {table} ADD CONSTRAINT {table}_{place}_in_region "
                f"FOREIGN KEY (region_id, {place}_id) REFERENCES accounts_{place} (region_id, id)",
                f"ALTER TABLE {table} DROP CONSTRAINT {table}_{place}_in_region",
            )
            for table, place in INSIDE_THE_REGION
        ),
        *(migrations.RunSQL(f"CREATE SEQUENCE {name}", f"DROP SEQUENCE {name}") for name in SEQUENCES),
        migrations.RunSQL(AGE, "ALTER TABLE farms_farmapplication DROP CONSTRAINT farms_farmapplication_age"),
        *(transitions(table, "status", allowed, "refuse_status_transition") for table, allowed in STATUSES.items()),
        migrations.RunSQL(REFUSE_FARM, "DROP FUNCTION farms_refuse_farm_transition()"),
        transitions("farms_farm", "farm_status", FARM, "farms_refuse_farm_transition"),
        *(migrations.RunSQL(GUARD.format(table=table), UNGUARD.format(table=table)) for table in APPEND_ONLY),
        migrations.RunSQL(SCORES, NO_SCORES),
        migrations.RunSQL(ALERTS, NO_ALERTS),
        migrations.RunSQL(ROOM, NO_ROOM),
    ]
