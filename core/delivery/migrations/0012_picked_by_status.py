"""Picking reads what may leave, and walks past nothing that is held: a million texts wait for the same morning."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("delivery", "0011_lean_messages")]

    operations = [
        migrations.RemoveIndex(model_name="outboundmessage", name="message_waiting"),
        migrations.AddIndex(
            model_name="outboundmessage",
            index=models.Index(
                condition=models.Q(("due_at__isnull", False)),
                fields=["lane", "channel", "status", "due_at"],
                name="message_waiting",
            ),
        ),
    ]
