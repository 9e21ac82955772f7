"""The runs of a schedule entry are found without reading the others."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0003_transitions")]

    operations = [
        migrations.AddIndex(
            model_name="taskrun",
            index=models.Index(
                condition=models.Q(("schedule_entry__gt", "")),
                fields=["schedule_entry", "asked_at"],
                name="taskrun_of_entry",
            ),
        ),
    ]
