"""Who did what: rows that only the database's owner could change, by removing the triggers first.

TRUNCATE stays possible in databases named test_…, which pytest-django empties between tests.
"""

import django.core.serializers.json
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import core.base.ids

TABLE = "base_auditlog"

APPEND_ONLY = f"""
CREATE FUNCTION {TABLE}_append_only() RETURNS trigger AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' AND starts_with(current_database(), 'test_') THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'The audit log is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$ LANGUAGE plpgsql;
CREATE TRIGGER {TABLE}_rows_stay BEFORE UPDATE OR DELETE ON {TABLE}
    FOR EACH ROW EXECUTE FUNCTION {TABLE}_append_only();
CREATE TRIGGER {TABLE}_table_stays BEFORE TRUNCATE ON {TABLE}
    FOR EACH STATEMENT EXECUTE FUNCTION {TABLE}_append_only();
"""

CHANGEABLE = f"""
DROP TRIGGER {TABLE}_table_stays ON {TABLE};
DROP TRIGGER {TABLE}_rows_stay ON {TABLE};
DROP FUNCTION {TABLE}_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("base", "0002_cache_table"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditLog",
            fields=[
                ("id", models.UUIDField(default=core.base.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("actor_name", models.CharField(blank=True, default="", max_length=200)),
                ("action", models.CharField(max_length=100)),
                ("subject_type", models.CharField(max_length=50)),
                ("subject_id", models.CharField(max_length=200)),
                ("before", models.JSONField(blank=True, encoder=django.core.serializers.json.DjangoJSONEncoder, null=True)),
                ("after", models.JSONField(blank=True, encoder=django.core.serializers.json.DjangoJSONEncoder, null=True)),
                ("reason", models.CharField(blank=True, default="", max_length=500)),
                ("at", models.DateTimeField()),
                (
                    "actor",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["subject_type", "subject_id", "at"], name="auditlog_subject"),
                    models.Index(fields=["at"], name="auditlog_at"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("actor__isnull", False), models.Q(("actor_name", ""), _negated=True), _connector="OR"),
                        name="auditlog_has_an_actor",
                    )
                ],
            },
        ),
        migrations.RunSQL(APPEND_ONLY, CHANGEABLE),
    ]
