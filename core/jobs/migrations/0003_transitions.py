"""The transition tables of core/jobs/rules.py, kept by the database whoever writes; and what millions of short-lived
rows need of autovacuum.
"""

from django.db import migrations

RUN = (
    "pending>running pending>cancelled pending>skipped pending>failed running>succeeded running>failed"
    " running>retrying running>skipped running>cancelled running>pending retrying>running retrying>cancelled"
    " retrying>skipped retrying>failed"
)
OCCURRENCE = "expected>run expected>missed expected>skipped missed>run missed>skipped skipped>run"


def trigger(table: str, name: str, allowed: str) -> migrations.RunSQL:
    pairs = ",".join(allowed.split())
    return migrations.RunSQL(
        f"CREATE TRIGGER {name} BEFORE UPDATE OF state ON {table} FOR EACH ROW"
        f" WHEN (OLD.state <> NEW.state AND NOT OLD.state || '>' || NEW.state = ANY ('{{{pairs}}}'::text[]))"
        " EXECUTE FUNCTION refuse_transition()",
        f"DROP TRIGGER {name} ON {table}",
    )


class Migration(migrations.Migration):
    dependencies = [("jobs", "0002_ledger_whole")]

    operations = [
        migrations.RunSQL(
            """
            CREATE FUNCTION refuse_transition() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE EXCEPTION '% may not go from % to %', TG_TABLE_NAME, OLD.state, NEW.state
                    USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
            END $$
            """,
            "DROP FUNCTION refuse_transition()",
        ),
        trigger("jobs_taskrun", "taskrun_transition", RUN),
        trigger("jobs_occurrence", "occurrence_transition", OCCURRENCE),
        migrations.RunSQL(
            "ALTER TABLE jobs_taskrun SET (autovacuum_vacuum_scale_factor = 0.01,"
            " autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_insert_scale_factor = 0.05,"
            " autovacuum_analyze_scale_factor = 0.02)",
            "ALTER TABLE jobs_taskrun RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold,"
            " autovacuum_vacuum_insert_scale_factor, autovacuum_analyze_scale_factor)",
        ),
    ]
