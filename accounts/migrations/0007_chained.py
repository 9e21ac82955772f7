"""Changes of roles and security events are noted for the audit chain (core/base/chain.py), those there are already too."""

from django.db import migrations

TABLES = {"accounts_rolechange": "created_at", "accounts_securityevent": "at"}

# The trigger first: it locks the table against writers until this is committed, so that no row is missed. When this was
# taken back and comes again, some rows have their link.
NOTED = """
CREATE TRIGGER {table}_noted AFTER INSERT ON {table} REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION base_note_for_chain();
INSERT INTO base_auditpending (source, row_id, at)
SELECT '{table}', id, statement_timestamp() FROM {table} AS kept
WHERE NOT EXISTS (SELECT FROM base_auditchain AS link WHERE link.source = '{table}' AND link.row_id = kept.id)
ORDER BY {time}, id;
"""
NOT_NOTED = """
DROP TRIGGER {table}_noted ON {table};
DELETE FROM base_auditpending WHERE source = '{table}';
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0006_sign_in"), ("base", "0004_audit_chain")]

    operations = [
        migrations.RunSQL(NOTED.format(table=table, time=time), NOT_NOTED.format(table=table))
        for table, time in TABLES.items()
    ]
