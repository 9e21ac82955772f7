"""A message remembers the calls before its last one, so that its whole way can be told. The database does it itself.

It keeps the last 20: a provider that is away for an hour is called more often than anybody wants to read.
"""

import django.contrib.postgres.fields
from django.db import migrations, models

KEEP = """
CREATE FUNCTION delivery_keep_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.earlier_attempts := (OLD.earlier_attempts || OLD.last_attempt_id)
        [GREATEST(1, cardinality(OLD.earlier_attempts) - 18):];
    RETURN NEW;
END $$;
CREATE TRIGGER message_keep_attempt BEFORE UPDATE OF last_attempt_id ON delivery_outboundmessage FOR EACH ROW
    WHEN (OLD.last_attempt_id IS NOT NULL AND OLD.last_attempt_id <> NEW.last_attempt_id)
    EXECUTE FUNCTION delivery_keep_attempt();
"""
NO_KEEP = """
DROP TRIGGER message_keep_attempt ON delivery_outboundmessage;
DROP FUNCTION delivery_keep_attempt();
"""


class Migration(migrations.Migration):
    dependencies = [("delivery", "0007_lanes")]

    operations = [
        migrations.AddField(
            model_name="outboundmessage",
            name="earlier_attempts",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.UUIDField(),
                blank=True,
                db_default=[],
                default=list,
                help_text="the calls before the last",
                size=None,
            ),
        ),
        migrations.RunSQL(KEEP, NO_KEEP),
    ]
