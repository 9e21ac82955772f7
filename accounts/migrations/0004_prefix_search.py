"""People are found by the beginning of a username or a name, in any case, among a million (as Django's istartswith asks)."""

from django.db import migrations

COLUMNS = ("username", "first_name", "last_name")


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_staff_and_security")]

    operations = [
        migrations.RunSQL(
            f"CREATE INDEX accounts_user_{column}_prefix ON accounts_user (upper({column}::text) text_pattern_ops)",
            f"DROP INDEX accounts_user_{column}_prefix",
        )
        for column in COLUMNS
    ]
