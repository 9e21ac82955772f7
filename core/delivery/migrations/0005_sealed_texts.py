"""A text with a code or token is never stored in clear, and its sealed form no longer than it may be needed."""

from django.db import migrations, models
from django.db.models import Q

# Codes written by an earlier version: what has left is wiped; what still waits is minutes old and asked for anew.
SWEEP = """
UPDATE delivery_outboundmessage SET body = NULL, title = '', html = '', lease_until = NULL, due_at = NULL, ring_at = NULL,
    status = CASE WHEN status IN ('queued', 'held') THEN 'expired' WHEN status = 'submitting' THEN 'in_doubt'
        ELSE status END,
    error = CASE WHEN status IN ('queued', 'held') THEN 'not sent before codes were sealed; ask for a new one'
        ELSE error END,
    sealed = CASE WHEN status IN ('queued', 'held') THEN NULL ELSE sealed END
WHERE purpose = 'otp';
"""

WIPE = """
CREATE FUNCTION delivery_wipe_sealed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.sealed := NULL;
    RETURN NEW;
END $$;
CREATE TRIGGER message_wipe_sealed BEFORE UPDATE OF status ON delivery_outboundmessage FOR EACH ROW
    WHEN (NEW.sealed IS NOT NULL AND (NEW.status NOT IN ('queued', 'held', 'claimed', 'submitting', 'in_doubt')
        OR (NEW.status = 'in_doubt' AND NEW.resent)))
    EXECUTE FUNCTION delivery_wipe_sealed();
"""
NO_WIPE = """
DROP TRIGGER message_wipe_sealed ON delivery_outboundmessage;
DROP FUNCTION delivery_wipe_sealed();
"""


class Migration(migrations.Migration):
    dependencies = [("delivery", "0004_kept_by_the_database")]

    operations = [
        migrations.RunSQL(f"{SWEEP} SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED;", migrations.RunSQL.noop),
        migrations.AddField(
            model_name="outboundmessage",
            name="bypassed",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="what its recipient had declined when it was written all the same, and why it could be",
                max_length=200,
            ),
        ),
        migrations.AddIndex(
            model_name="outboundmessage",
            index=models.Index(condition=~Q(bypassed=""), fields=["created_at"], name="message_bypassed"),
        ),
        migrations.AddIndex(
            model_name="outboundmessage",
            index=models.Index(condition=Q(sealed__isnull=False), fields=["not_after"], name="message_sealed"),
        ),
        migrations.AddConstraint(
            model_name="outboundmessage",
            constraint=models.CheckConstraint(
                condition=(Q(sealed__isnull=True) & ~Q(purpose="otp")) | Q(body__isnull=True, title="", html=""),
                name="message_secret_not_in_clear",
            ),
        ),
        migrations.AddConstraint(
            model_name="outboundmessage",
            constraint=models.CheckConstraint(
                condition=Q(sealed__isnull=True)
                | Q(not_after__isnull=False, status__in=["queued", "held", "claimed", "submitting", "in_doubt"]),
                name="message_sealed_while_needed",
            ),
        ),
        migrations.AddConstraint(
            model_name="outboundmessage",
            constraint=models.CheckConstraint(
                condition=~Q(status__in=["queued", "held", "claimed", "submitting"])
                | Q(body__isnull=False)
                | Q(sealed__isnull=False),
                name="message_waiting_has_text",
                violation_error_message="The text of this message is no longer kept: it cannot be sent again.",
            ),
        ),
        migrations.RunSQL(WIPE, NO_WIPE),
    ]
