"""RETENTION: every table that grows, how long its rows are kept and who removes them.

`cleanup_old_notifications` and the trimmers named under `by` follow these rules. A test finds tables that stand neither
here nor among those that do not grow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

from core.base.figures import NOTIFICATION_DAYS, Whole, read
from core.base.registries import CleanupStep, cleanup_steps

CHUNK = 1_000
WEEKLY = "core.tasks.cleanup_old_notifications"
EXPIRY = "accounts.tasks.cleanup_expired_tokens"


@dataclass(frozen=True)
class Rule:
    """`when` is SQL that is true for a row to be cleaned, `%(before)s` the moment before which it is old enough.

    `blank` is the SET clause for rows that stay with less in them; '' deletes the row. `keep` None: for ever.
    """

    name: str
    table: str
    keep: int | Whole | None  # days
    by: str
    why: str
    when: str = ""
    blank: str = ""


UNMATCHED_RECEIPTS = Rule(
    "unmatched_receipts",
    table="delivery_deliveryreceipt",
    keep=1,
    when="message_id IS NULL AND received_at < %(before)s",
    by="core.delivery.receipts.settle_unmatched",
    why="a receipt may come before we know its message's id, but not a day before",
)
RULES = (
    Rule(
        "runs",
        table="jobs_taskrun",
        keep=30,
        when="finished_at < %(before)s",
        by="core.tasks.prune_finished_runs",
        why="results and failures are looked up for weeks; arguments of failed runs may be personal data",
    ),
    Rule(
        "occurrences",
        table="jobs_occurrence",
        keep=400,
        when="due_at < %(before)s",
        by="core.tasks.prune_finished_runs",
        why="a year of on time, late and missed, with the month before it to compare",
    ),
    Rule(
        "notifications",
        table="delivery_notification",
        keep=NOTIFICATION_DAYS,
        when="created_at < %(before)s",
        by=WEEKLY,
        why="domain.md 7.2",
    ),
    Rule(
        "codes",
        table="delivery_outboundmessage",
        keep=30,
        when="created_at < %(before)s AND (body IS NOT NULL OR NOT (recipient = '')) AND purpose IN ('otp', 'security')"
        " AND status NOT IN ('queued', 'held', 'claimed', 'submitting')",
        blank="recipient = '', title = '', body = NULL, html = '', sealed = NULL, last_attempt_id = NULL",
        by=WEEKLY,
        why="who asked for a code or was warned is needed for a complaint within the month, no longer",
    ),
    Rule(
        "messages",
        table="delivery_outboundmessage",
        keep=NOTIFICATION_DAYS,
        when="created_at < %(before)s AND (body IS NOT NULL OR NOT (recipient = ''))"
        " AND status NOT IN ('queued', 'held', 'claimed', 'submitting')",
        blank="recipient = '', title = '', body = NULL, html = '', sealed = NULL, last_attempt_id = NULL",
        by=WEEKLY,
        why="text and recipient are personal data; row, key and hash stay, so that nothing is ever sent twice",
    ),
    Rule(
        "attempts",
        table="delivery_deliveryattempt",
        keep=NOTIFICATION_DAYS,
        when="started_at < %(before)s AND finished_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM"
        " delivery_outboundmessage AS message WHERE message.last_attempt_id = delivery_deliveryattempt.id)",
        by=WEEKLY,
        why="evidence for a dispute with the provider, as long as the text it is about; outcome and cost stay in the"
        " message",
    ),
    Rule(
        "campaigns",
        table="delivery_campaign",
        keep=NOTIFICATION_DAYS,
        when="updated_at < %(before)s AND status IN ('draft', 'done', 'cancelled') AND NOT (message = '')",
        blank="message = '', seeds = '[]'",
        by=WEEKLY,
        why="one row a campaign says who sent how many and when; its text may name people, its seeds are phones."
        " A draft without its text is not started any more",
    ),
    Rule(
        "campaign_recipients",
        table="delivery_campaignrecipient",
        keep=NOTIFICATION_DAYS,
        when="campaign_id IN (SELECT id FROM delivery_campaign WHERE updated_at < %(before)s"
        " AND (status IN ('done', 'cancelled') OR status = 'draft' AND message = ''))",
        by=WEEKLY,
        why="phone numbers; the message rows tell by id what became of each, the campaign keeps its counts",
    ),
    Rule(
        "message_events",
        table="delivery_messageevent",
        keep=NOTIFICATION_DAYS,
        when="at < %(before)s",
        by=WEEKLY,
        why="the trail of a message, as long as its text; the database refuses to remove a younger one",
    ),
    UNMATCHED_RECEIPTS,
    Rule(
        "receipts",
        table="delivery_deliveryreceipt",
        keep=NOTIFICATION_DAYS,
        when="received_at < %(before)s",
        by=WEEKLY,
        why="evidence for a dispute with the provider, as long as the attempts; the outcome stays in the message",
    ),
    Rule(
        "attachments",
        table="delivery_attachment",
        keep=NOTIFICATION_DAYS,
        when="created_at < %(before)s AND NOT EXISTS (SELECT 1 FROM delivery_outboundmessage AS message"
        " WHERE message.id = delivery_attachment.message_id"
        " AND message.status IN ('queued', 'held', 'claimed', 'submitting'))",
        by=WEEKLY,
        why="files that went with e-mails, as long as the text they went with",
    ),
    Rule(
        "opt_outs",
        table="delivery_optout",
        keep=None,
        by="",
        why="proof of who declined what and when; writing to them again would be an offence",
    ),
    Rule(
        "suppressions",
        table="delivery_suppression",
        keep=None,
        by="",
        why="addresses that refused us are not to be tried again",
    ),
    Rule(
        "reminders",
        table="delivery_reminderlog",
        keep=None,
        by="",
        why="domain.md 4.6: it says who was reminded of what, and is why nobody is reminded of it twice",
    ),
    Rule(
        "spend",
        table="delivery_spend",
        keep=400,
        when="day < %(before)s",
        by=WEEKLY,
        why="a year of costs, with the month before it to compare",
    ),
    Rule(
        "reports",
        table="reporting_report",
        keep=0,
        when="expires_at < %(before)s AND content IS NOT NULL",
        blank="content = NULL",
        by=WEEKLY,
        why="domain.md 6.4: what a report says is kept for 30 days; that it was made, and its hash, stay",
    ),
    Rule(
        "health_reports",
        table="health_healthreport",
        keep=NOTIFICATION_DAYS,
        when="at < %(before)s",
        by=WEEKLY,
        why="domain.md 4.6",
    ),
    Rule(
        "metrics",
        table="health_systemmetric",
        keep=400,
        when="hour < %(before)s",
        by=WEEKLY,
        why="domain.md 4.6: a year, with the month before it to compare",
    ),
    Rule(
        "heartbeats",
        table="health_heartbeat",
        keep=7,
        when="seen_at < %(before)s",
        by="core.health.services.heartbeat",
        why="worker names of containers change with each deploy; who was silent for a week is not coming back",
    ),
    Rule(
        "idempotent_requests",
        table="api_idempotentrequest",
        keep=1,
        when="created_at < %(before)s",
        by="core.api.idempotency.idempotent",
        why="a client that repeats a request does so within a day; the answers kept may hold personal data",
    ),
    Rule(
        "tokens",
        table="accounts_accounttoken",
        keep=7,
        when="LEAST(used_at, superseded_at, expires_at) < %(before)s",
        by=EXPIRY,
        why="domain.md 7.6: a complaint about a link comes within days; the limits look back for one",
    ),
    Rule(
        "one_time_codes",
        table="accounts_onetimecode",
        keep=7,
        when="LEAST(used_at, superseded_at, expires_at) < %(before)s",
        by=EXPIRY,
        why="domain.md 7.6: as tokens",
    ),
    Rule(
        "invitations",
        table="accounts_staffinvitation",
        keep=None,
        by="",
        why="who let whom into which role is asked years later",
    ),
    Rule(
        "login_records",
        table="accounts_loginrecord",
        keep=400,
        when="at < %(before)s",
        by=WEEKLY,
        why="domain.md 7.2: a year of who signed in from where, with the month before it to compare",
    ),
    Rule(
        "trusted_devices",
        table="accounts_trusteddevice",
        keep=0,
        when="trust_expires_at < %(before)s",
        by="accounts.services.sign_in.forget_devices",
        why="a device is trusted for 30 days",
    ),
    Rule(
        "role_changes",
        table="accounts_rolechange",
        keep=None,
        by="",
        why="who had which rights when is asked years later; the database refuses to remove a row",
    ),
    Rule(
        "security_events",
        table="accounts_securityevent",
        keep=None,
        by="",
        why="what happened to an account is asked years later; the database refuses to remove a row",
    ),
    Rule(
        "application_events",
        table="farms_applicationevent",
        keep=None,
        by="",
        why="how an application was decided is asked years later; the database refuses to remove a row",
    ),
    Rule(
        "enrollment_events",
        table="farms_enrollmentevent",
        keep=None,
        by="",
        why="how an enrolment was decided is asked years later; the database refuses to remove a row",
    ),
    Rule(
        "review_notes",
        table="farms_reviewnote",
        keep=None,
        by="",
        why="what those knew who decided belongs to the decision; the database refuses to remove a row",
    ),
    Rule(
        "production",
        table="farms_dailyproduction",
        keep=None,
        by="",
        why="domain.md 1.2: business rows are never deleted; a flock's life is its days",
    ),
    Rule(
        "production_corrections",
        table="farms_productioncorrection",
        keep=None,
        by="",
        why="what a record said before; the database refuses to remove a row",
    ),
    Rule(
        "mortality_records",
        table="farms_mortalityrecord",
        keep=None,
        by="",
        why="domain.md 1.2: business rows are never deleted; an outbreak is looked for in those before",
    ),
    Rule(
        "alerts",
        table="farms_alert",
        keep=None,
        by="",
        why="domain.md 1.2: business rows are never deleted; farms are compared by them over years",
    ),
    Rule(
        "farm_scores",
        table="farms_farmscore",
        keep=None,
        by="",
        why="domain.md 5.6: older rows stay; one is written only when a score changes",
    ),
    Rule(
        "audit",
        table="base_auditlog",
        keep=None,
        by="",
        why="who changed what is asked years later; the database refuses to remove a row",
    ),
    Rule(
        "audit_chain",
        table="base_auditchain",
        keep=None,
        by="",
        why="proof for the rows it stands for, which are kept for ever; without one link those after it prove nothing",
    ),
    Rule(
        "audit_pending",
        table="base_auditpending",
        keep=None,
        by="",
        why="a queue: the sweep `audit` of every worker takes a row within seconds, whatever its age",
    ),
)


def cleanup(*, days: int | None, now: datetime) -> dict[str, int]:
    """Clean what the weekly task cleans, rule by rule, then the registered steps of the other apps. Counts by name.

    `days` replaces the figure `retention.notification_days` for the rules that follow it. Raises InvalidInput when it
    is out of the figure's range; then nothing was cleaned.
    """
    [kept] = read(NOTIFICATION_DAYS) if days is None else [NOTIFICATION_DAYS.parse(days)]
    counts: dict[str, int] = {}
    for rule in RULES:
        if rule.by == WEEKLY:
            counts[rule.name] = clean(rule, days=rule.keep if isinstance(rule.keep, int) else kept, now=now)
    return counts | run_steps(cleanup_steps, now)


def run_steps(steps: Mapping[str, CleanupStep], now: datetime) -> dict[str, int]:
    """Call each step until it has nothing to do. Returns how many rows, by name."""
    counts = dict.fromkeys(steps, 0)
    for name, step in steps.items():
        while count := step(now, CHUNK):
            counts[name] += count
    return counts


def clean(rule: Rule, *, days: int, now: datetime, chunk: int = CHUNK) -> int:
    """Delete or blank what is older than so many days, a chunk in a short transaction of its own at a time.

    Returns how many rows. Safe to repeat and to run twice at once: it goes by age, and skips rows another one holds.
    A clock that runs ahead of the database's removes nothing early.
    """
    done = 0
    while count := _chunk(rule, now - timedelta(days=days), days, chunk):
        done += count
    return done


def _chunk(rule: Rule, before: datetime, days: int, limit: int) -> int:
    act = f"UPDATE {rule.table} SET {rule.blank}" if rule.blank else f"DELETE FROM {rule.table}"  # noqa: S608
    due = rule.when.replace("%(before)s", "LEAST(%(before)s, statement_timestamp() - make_interval(days => %(days)s))")
    with connection.cursor() as cursor:
        cursor.execute(
            f"{act} WHERE ctid = ANY (ARRAY (SELECT ctid FROM {rule.table} WHERE {due}"  # noqa: S608 - constants only
            " LIMIT %(limit)s FOR UPDATE SKIP LOCKED))",
            {"before": before, "days": days, "limit": limit},
        )
        return int(cursor.rowcount)
