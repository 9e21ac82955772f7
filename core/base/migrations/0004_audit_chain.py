"""The audit chain (core/base/chain.py): what waits to be chained, and the links, which are append-only.

TRUNCATE stays possible in databases named test_…, which pytest-django empties between tests. The audit rows there are
already wait to be chained as if they had just been written.
"""

from django.db import migrations, models

CHAIN = "base_auditchain"
APPEND_ONLY = f"""
CREATE FUNCTION {CHAIN}_append_only() RETURNS trigger AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' AND starts_with(current_database(), 'test_') THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'The audit chain is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$ LANGUAGE plpgsql;
CREATE TRIGGER {CHAIN}_rows_stay BEFORE UPDATE OR DELETE ON {CHAIN}
    FOR EACH ROW EXECUTE FUNCTION {CHAIN}_append_only();
CREATE TRIGGER {CHAIN}_table_stays BEFORE TRUNCATE ON {CHAIN}
    FOR EACH STATEMENT EXECUTE FUNCTION {CHAIN}_append_only();
"""
CHANGEABLE = f"""
DROP TRIGGER {CHAIN}_table_stays ON {CHAIN};
DROP TRIGGER {CHAIN}_rows_stay ON {CHAIN};
DROP FUNCTION {CHAIN}_append_only();
"""

NOTE = """
CREATE FUNCTION base_note_for_chain() RETURNS trigger AS $$
BEGIN
    INSERT INTO base_auditpending (source, row_id, at) SELECT TG_TABLE_NAME, id, statement_timestamp() FROM added;
    RETURN NULL;
END $$ LANGUAGE plpgsql;
"""

# The trigger first: it locks the table against writers until this is committed, so that no row is missed.
NOTED = """
CREATE TRIGGER base_auditlog_noted AFTER INSERT ON base_auditlog REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION base_note_for_chain();
INSERT INTO base_auditpending (source, row_id, at)
SELECT 'base_auditlog', id, statement_timestamp() FROM base_auditlog ORDER BY at, id;
"""


class Migration(migrations.Migration):
    dependencies = [("base", "0003_audit_log")]

    operations = [
        migrations.CreateModel(
            name="AuditPending",
            fields=[
                ("number", models.BigAutoField(primary_key=True, serialize=False)),
                ("source", models.CharField(max_length=63)),
                ("row_id", models.UUIDField()),
                ("at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="AuditChain",
            fields=[
                ("position", models.BigIntegerField(primary_key=True, serialize=False)),
                ("source", models.CharField(max_length=63)),
                ("row_id", models.UUIDField()),
                ("form", models.SmallIntegerField()),
                ("row_hash", models.BinaryField(null=True)),
                ("previous_hash", models.BinaryField()),
                ("hash", models.BinaryField()),
                ("chained_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("source", "row_id"), name="auditchain_a_row_once"),
                    models.CheckConstraint(condition=models.Q(("position__gte", 1)), name="auditchain_begins_at_1"),
                ],
            },
        ),
        migrations.RunSQL(APPEND_ONLY, CHANGEABLE),
        migrations.RunSQL(NOTE, "DROP FUNCTION base_note_for_chain();"),
        migrations.RunSQL(NOTED, "DROP TRIGGER base_auditlog_noted ON base_auditlog;"),
    ]
