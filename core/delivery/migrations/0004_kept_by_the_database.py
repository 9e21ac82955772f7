"""What the database itself keeps, whoever writes: the transition tables of core/delivery/rules.py, the events of
messages, and that proof is neither changed nor removed.

TRUNCATE stays possible in databases named test_…, which pytest-django empties between tests.
"""

from django.db import migrations

MESSAGE = (
    "queued>held queued>suppressed queued>claimed queued>submitting queued>expired queued>dead"
    " held>queued held>suppressed held>expired"
    " claimed>submitting claimed>queued"
    " submitting>accepted submitting>rejected submitting>queued submitting>in_doubt submitting>dead"
    " accepted>delivered accepted>undelivered_temporary accepted>undelivered_permanent accepted>outcome_unknown"
    " in_doubt>accepted in_doubt>queued in_doubt>delivered in_doubt>undelivered_temporary"
    " in_doubt>undelivered_permanent in_doubt>outcome_unknown"
    " dead>queued"
)
CAMPAIGN = (
    "draft>queued draft>cancelled queued>running queued>cancelled running>paused running>done running>cancelled"
    " paused>running paused>cancelled"
)

REFUSE = """
CREATE FUNCTION refuse_status_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% may not go from % to %', TG_TABLE_NAME, OLD.status, NEW.status
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
END $$
"""

# An attempt tells how a message came to `submitting` and out of it, a receipt what became of it after that.
EVENTS = """
CREATE FUNCTION delivery_message_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO delivery_messageevent (message_id, from_status, to_status, reason, actor_id, actor_name, at)
    VALUES (NEW.id, OLD.status, NEW.status, CASE WHEN NEW.error = OLD.error THEN '' ELSE NEW.error END,
        NULLIF(current_setting('pms.actor_id', true), '')::uuid,
        COALESCE(current_setting('pms.actor_name', true), ''), statement_timestamp());
    RETURN NULL;
END $$;
CREATE TRIGGER message_event AFTER UPDATE OF status ON delivery_outboundmessage FOR EACH ROW
    WHEN (OLD.status <> NEW.status AND OLD.status NOT IN ('submitting', 'claimed')
          AND NEW.status NOT IN ('submitting', 'claimed')
          AND (OLD.status <> 'accepted' OR NEW.status = 'outcome_unknown'))
    EXECUTE FUNCTION delivery_message_event();
"""
NO_EVENTS = """
DROP TRIGGER message_event ON delivery_outboundmessage;
DROP FUNCTION delivery_message_event();
"""

PROOF = """
CREATE FUNCTION delivery_proof() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        IF starts_with(current_database(), 'test_') THEN
            RETURN NULL;
        END IF;
    ELSIF TG_OP = 'DELETE' AND OLD.at < now() - interval '30 days' THEN
        RETURN OLD;  -- its retention is over
    END IF;
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER messageevent_rows_stay BEFORE UPDATE OR DELETE ON delivery_messageevent
    FOR EACH ROW EXECUTE FUNCTION delivery_proof();
CREATE TRIGGER messageevent_table_stays BEFORE TRUNCATE ON delivery_messageevent
    FOR EACH STATEMENT EXECUTE FUNCTION delivery_proof();
"""
NO_PROOF = """
DROP TRIGGER messageevent_table_stays ON delivery_messageevent;
DROP TRIGGER messageevent_rows_stay ON delivery_messageevent;
DROP FUNCTION delivery_proof();
"""

FROZEN = """
CREATE FUNCTION delivery_template_frozen() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'This version of % is approved or used: write a new version instead of changing it', OLD.key
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER template_frozen BEFORE UPDATE ON delivery_messagetemplate FOR EACH ROW
    WHEN (OLD.status <> 'draft' AND (NEW.status = 'draft' OR ROW (OLD.key, OLD.language, OLD.version, OLD.sms,
        OLD.sms_plain, OLD.title, OLD.text) IS DISTINCT FROM ROW (NEW.key, NEW.language, NEW.version, NEW.sms,
        NEW.sms_plain, NEW.title, NEW.text)))
    EXECUTE FUNCTION delivery_template_frozen();
CREATE TRIGGER template_stays BEFORE DELETE ON delivery_messagetemplate FOR EACH ROW
    WHEN (OLD.status <> 'draft') EXECUTE FUNCTION delivery_template_frozen();
"""
NOT_FROZEN = """
DROP TRIGGER template_stays ON delivery_messagetemplate;
DROP TRIGGER template_frozen ON delivery_messagetemplate;
DROP FUNCTION delivery_template_frozen();
"""


def transitions(table: str, name: str, allowed: str) -> migrations.RunSQL:
    pairs = ",".join(allowed.split())
    return migrations.RunSQL(
        f"CREATE TRIGGER {name} BEFORE UPDATE OF status ON {table} FOR EACH ROW"
        f" WHEN (OLD.status <> NEW.status AND NOT OLD.status || '>' || NEW.status = ANY ('{{{pairs}}}'::text[]))"
        " EXECUTE FUNCTION refuse_status_transition()",
        f"DROP TRIGGER {name} ON {table}",
    )


class Migration(migrations.Migration):
    dependencies = [("delivery", "0003_outbox_whole")]

    operations = [
        migrations.RunSQL(REFUSE, "DROP FUNCTION refuse_status_transition()"),
        transitions("delivery_outboundmessage", "message_transition", MESSAGE),
        transitions("delivery_campaign", "campaign_transition", CAMPAIGN),
        migrations.RunSQL(EVENTS, NO_EVENTS),
        migrations.RunSQL(PROOF, NO_PROOF),
        migrations.RunSQL(FROZEN, NOT_FROZEN),
    ]
