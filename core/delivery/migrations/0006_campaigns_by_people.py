"""Campaigns that people plan and steer: seeds, a stored place in the selection, and since when it runs."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("delivery", "0005_sealed_texts")]

    operations = [
        migrations.AddField(
            "campaign",
            "after",
            models.UUIDField(blank=True, help_text="the last person of the selection that was read", null=True),
        ),
        migrations.AddField(
            "campaign", "complete", models.BooleanField(default=True, help_text="its whole audience is stored")
        ),
        migrations.AddField(
            "campaign",
            "region",
            models.UUIDField(blank=True, help_text="where its people live; empty: anywhere", null=True),
        ),
        migrations.AddField("campaign", "constituency", models.UUIDField(blank=True, null=True)),
        migrations.AddField(
            "campaign",
            "seeds_only",
            models.BooleanField(default=False, help_text="after the seeds it waits until a person goes on"),
        ),
        migrations.AddField("campaign", "written", models.PositiveIntegerField(default=0, help_text="message rows")),
        migrations.AddField("campaign", "started_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField(
            "campaign", "running_since", models.DateTimeField(blank=True, help_text="without a pause", null=True)
        ),
        migrations.AddField(
            "campaign",
            "gone_before",
            models.PositiveIntegerField(default=0, help_text="messages that had left when it last went on"),
        ),
        migrations.AddField("campaign", "finished_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField(
            "campaignrecipient",
            "seed",
            models.BooleanField(default=False, help_text="a phone of our own that gets the text first"),
        ),
        migrations.AddIndex(
            "campaign",
            models.Index(
                condition=Q(status__in=["queued", "running", "paused"]), fields=["status"], name="campaign_open"
            ),
        ),
        migrations.AddIndex(
            "campaignrecipient", models.Index(condition=Q(seed=True), fields=["campaign"], name="recipient_seed")
        ),
    ]
