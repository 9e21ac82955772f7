"""The day's and the campaign's spend is summed, not joined row by row: a statement over thousands of messages costs what
its rows cost, and one that touches no money next to nothing.
"""

from importlib import import_module

from django.db import migrations

# Each message with what came to it and what went; `first` is 1 for one that had no cost before.
BOOK = """
CREATE OR REPLACE FUNCTION delivery_book_spend() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM new_rows WHERE cost IS NOT NULL OR reserved IS NOT NULL)
        AND NOT EXISTS (SELECT 1 FROM old_rows WHERE cost IS NOT NULL OR reserved IS NOT NULL) THEN
        RETURN NULL;
    END IF;
    PERFORM 1 FROM delivery_campaign WHERE id IN (
        SELECT campaign_id FROM (
            SELECT campaign_id, cost FROM new_rows UNION ALL SELECT campaign_id, -cost FROM old_rows
        ) AS side WHERE campaign_id IS NOT NULL GROUP BY 1 HAVING COALESCE(sum(cost), 0) <> 0
    ) ORDER BY id FOR NO KEY UPDATE;
    UPDATE delivery_campaign AS campaign SET spent = campaign.spent + due.spent
    FROM (
        SELECT campaign_id AS id, sum(cost) AS spent FROM (
            SELECT campaign_id, cost FROM new_rows UNION ALL SELECT campaign_id, -cost FROM old_rows
        ) AS side WHERE campaign_id IS NOT NULL GROUP BY 1 HAVING COALESCE(sum(cost), 0) <> 0
    ) AS due
    WHERE campaign.id = due.id;
    INSERT INTO delivery_spend AS spend (day, shard, reserved, spent, messages, parts, told)
    SELECT (COALESCE(attempt.started_at, changed.accepted_at, statement_timestamp()) AT TIME ZONE 'Africa/Accra')::date,
        get_byte(uuid_send(COALESCE(attempt.id, changed.id)), 15) % 16,
        sum(changed.reserved), sum(changed.spent),
        count(*) FILTER (WHERE changed.first = 1),
        COALESCE(sum(changed.parts) FILTER (WHERE changed.first = 1), 0),
        false
    FROM (
        SELECT id, sum(side * COALESCE(cost, 0)) AS spent, sum(side * COALESCE(reserved, 0)) AS reserved,
            sum(side * (cost IS NOT NULL)::int) AS first, max(parts) FILTER (WHERE side = 1) AS parts,
            max(accepted_at) FILTER (WHERE side = 1) AS accepted_at,
            COALESCE((array_agg(last_attempt_id) FILTER (WHERE side = 1))[1],
                (array_agg(last_attempt_id) FILTER (WHERE side = -1))[1]) AS attempt
        FROM (
            SELECT id, cost, reserved, parts, accepted_at, last_attempt_id, 1 AS side FROM new_rows
            UNION ALL
            SELECT id, cost, reserved, parts, accepted_at, last_attempt_id, -1 FROM old_rows
        ) AS both_sides
        GROUP BY id
        HAVING sum(side * COALESCE(cost, 0)) <> 0 OR sum(side * COALESCE(reserved, 0)) <> 0
            OR sum(side * (cost IS NOT NULL)::int) <> 0
    ) AS changed
    LEFT JOIN delivery_deliveryattempt AS attempt ON attempt.id = changed.attempt
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (day, shard) DO UPDATE SET reserved = spend.reserved + excluded.reserved,
        spent = spend.spent + excluded.spent, messages = spend.messages + excluded.messages,
        parts = spend.parts + excluded.parts;
    RETURN NULL;
END $$;
"""
BEFORE = import_module("core.delivery.migrations.0009_money").BOOK.partition("CREATE TRIGGER")[0]


class Migration(migrations.Migration):
    dependencies = [("delivery", "0009_money")]

    operations = [migrations.RunSQL(BOOK, BEFORE.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))]
