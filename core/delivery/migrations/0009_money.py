"""Money: what a message has reserved is freed when it leaves `submitting`, and the day and the campaign are charged,
by the database itself, whoever changes the message. One statement for a whole batch.

A day's row is that of the call, in Accra. Held messages get an index of their own.
"""

from django.db import migrations, models
from django.db.models import Q

FREE = """
CREATE FUNCTION delivery_free_reserved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status = 'accepted' THEN
        NEW.cost := COALESCE(NEW.cost, OLD.reserved);  -- until the provider says more
    END IF;
    NEW.reserved := NULL;
    RETURN NEW;
END $$;
CREATE TRIGGER message_free_reserved BEFORE UPDATE OF status ON delivery_outboundmessage FOR EACH ROW
    WHEN (OLD.status = 'submitting' AND NEW.status <> 'submitting' AND OLD.reserved IS NOT NULL)
    EXECUTE FUNCTION delivery_free_reserved();
"""
NO_FREE = """
DROP TRIGGER message_free_reserved ON delivery_outboundmessage;
DROP FUNCTION delivery_free_reserved();
"""

# Campaigns before days, and both in their order: who waits for one holds none that comes later.
BOOK = """
CREATE FUNCTION delivery_book_spend() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM new_rows AS present JOIN old_rows AS past ON past.id = present.id
        WHERE present.cost IS DISTINCT FROM past.cost OR present.reserved IS DISTINCT FROM past.reserved
    ) THEN
        RETURN NULL;
    END IF;
    PERFORM 1 FROM delivery_campaign WHERE id IN (
        SELECT present.campaign_id FROM new_rows AS present JOIN old_rows AS past ON past.id = present.id
        WHERE present.cost IS DISTINCT FROM past.cost
    ) ORDER BY id FOR NO KEY UPDATE;
    UPDATE delivery_campaign AS campaign SET spent = campaign.spent + due.spent
    FROM (
        SELECT present.campaign_id AS id, sum(COALESCE(present.cost, 0) - COALESCE(past.cost, 0)) AS spent
        FROM new_rows AS present JOIN old_rows AS past ON past.id = present.id
        WHERE present.cost IS DISTINCT FROM past.cost AND present.campaign_id IS NOT NULL
        GROUP BY 1
    ) AS due
    WHERE campaign.id = due.id AND due.spent <> 0;
    INSERT INTO delivery_spend AS spend (day, shard, reserved, spent, messages, parts, told)
    SELECT (COALESCE(attempt.started_at, present.accepted_at, statement_timestamp()) AT TIME ZONE 'Africa/Accra')::date,
        get_byte(uuid_send(COALESCE(attempt.id, present.id)), 15) % 16,
        sum(COALESCE(present.reserved, 0) - COALESCE(past.reserved, 0)),
        sum(COALESCE(present.cost, 0) - COALESCE(past.cost, 0)),
        count(*) FILTER (WHERE past.cost IS NULL AND present.cost IS NOT NULL),
        COALESCE(sum(present.parts) FILTER (WHERE past.cost IS NULL AND present.cost IS NOT NULL), 0),
        false
    FROM new_rows AS present
    JOIN old_rows AS past ON past.id = present.id
    LEFT JOIN delivery_deliveryattempt AS attempt ON attempt.id = COALESCE(present.last_attempt_id, past.last_attempt_id)
    WHERE present.cost IS DISTINCT FROM past.cost OR present.reserved IS DISTINCT FROM past.reserved
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (day, shard) DO UPDATE SET reserved = spend.reserved + excluded.reserved,
        spent = spend.spent + excluded.spent, messages = spend.messages + excluded.messages,
        parts = spend.parts + excluded.parts;
    RETURN NULL;
END $$;
CREATE TRIGGER message_book_spend AFTER UPDATE ON delivery_outboundmessage
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION delivery_book_spend();
"""
NO_BOOK = """
DROP TRIGGER message_book_spend ON delivery_outboundmessage;
DROP FUNCTION delivery_book_spend();
"""


class Migration(migrations.Migration):
    dependencies = [("delivery", "0008_earlier_attempts")]

    operations = [
        migrations.RunSQL(FREE, NO_FREE),
        migrations.RunSQL(BOOK, NO_BOOK),
        migrations.AddIndex(
            "outboundmessage",
            models.Index(condition=Q(status="held"), fields=["lane", "due_at"], name="message_held"),
        ),
    ]
