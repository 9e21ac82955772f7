"""What the lanes look up: waiting messages of one channel, calls by time, ends of waiting; who was told of the budget."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("delivery", "0006_campaigns_by_people")]

    operations = [
        migrations.RemoveIndex("outboundmessage", "message_waiting"),
        migrations.RemoveIndex("outboundmessage", "message_to_ring"),
        migrations.AddIndex(
            "outboundmessage",
            models.Index(
                condition=Q(due_at__isnull=False), fields=["lane", "channel", "due_at"], name="message_waiting"
            ),
        ),
        migrations.AddIndex(
            "outboundmessage",
            models.Index(
                condition=Q(ring_at__isnull=False), fields=["lane", "channel", "ring_at"], name="message_to_ring"
            ),
        ),
        migrations.AddIndex(
            "outboundmessage",
            models.Index(
                condition=Q(due_at__isnull=False, not_after__isnull=False), fields=["not_after"], name="message_ends"
            ),
        ),
        migrations.AddIndex("deliveryattempt", models.Index(fields=["started_at"], name="attempt_started")),
        migrations.AddField(
            "spend",
            "told",
            models.BooleanField(default=False, help_text="the admins know that the day's budget is used up"),
        ),
    ]
