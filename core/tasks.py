"""The core tasks: the documented doors to the outbox, and housekeeping. Each parses, calls one service, returns counts.

Call shapes and promises: docs/background-tasks.md and domain.md 7.2.
"""

from __future__ import annotations

import uuid
from typing import Any

from celery import shared_task

from core import clock
from core.base.retention import cleanup
from core.delivery import campaigns, dispatch, notices, receipts, services
from core.health import metrics, report
from core.jobs import retention
from core.jobs.task import HandBack, LedgerTask

SLICE_SECONDS = 1.0  # a bulk task gives its worker process back this often, so that urgent work is never held up


@shared_task(base=LedgerTask, bind=True, personal=("phone", "message"))
def send_sms_async(
    self: Any, phone: str, message: str, reference: str | None = None, purpose: str | None = None
) -> dict[str, str]:
    """Send one SMS. Returns `status` ('ok' = the provider took it, 'queued', 'held') and `message_id`.

    Safe to repeat: the key is `reference`, else the task id. Fails on a bad number or text, a final refusal, an answer
    in doubt and missing credentials; the outbox retries, this task does not.
    """
    return services.send_sms_now(phone=phone, text=message, key=reference or _run_id(self), purpose=purpose)


@shared_task(base=LedgerTask, bind=True, personal=("subject", "message", "recipient_list", "html_message"))
def send_email_async(
    self: Any,
    subject: str,
    message: str,
    recipient_list: list[str],
    html_message: str | None = None,
    reference: str | None = None,
) -> dict[str, Any]:
    """Send one e-mail to each address. Returns `status` and the counts `accepted`, `queued` and `suppressed`.

    Safe to repeat: the key is `reference`, else the task id, and the address. Fails when an address was finally
    refused; the others still go.
    """
    return services.send_emails_now(
        title=subject, text=message, addresses=recipient_list, html=html_message, key=reference or _run_id(self)
    )


@shared_task(base=LedgerTask, bind=True, lane="bulk", personal=("phones", "message"))
def process_bulk_sms(
    self: Any, phones: list[str], message: str, batch_size: int = 50, campaign_id: str | None = None
) -> dict[str, Any]:
    """Store a campaign and write its messages. Returns `campaign_id`, `accepted_for_sending`, `duplicates`, `invalid`.

    `status` is 'ok' when every message is written; 'held' for a draft, a paused campaign and one that waits after its
    seeds, 'skipped' for a cancelled one, each with the `reason`. Whatever the state, what waits is brought into line
    with it. Works in short slices and goes on where it was, also after a crash. Safe to repeat: unique (campaign,
    phone).
    """
    if campaign_id is None:
        campaign, given = campaigns.start(uuid.UUID(_run_id(self)), phones, message, batch_size=batch_size), phones
    else:
        campaign, given = campaigns.find(campaign_id), []
    # called directly there is no line to go back to: it is done in one go
    seconds = float("inf") if self.request.called_directly or self.request.is_eager else SLICE_SECONDS
    progress = campaigns.work(campaign, given, batch_size=batch_size, seconds=seconds)
    if not progress.done:
        raise HandBack
    return progress.result()


@shared_task(base=LedgerTask, in_ledger=False, ignore_result=True)
def deliver_message(message_id: str) -> None:
    """Try one message of the outbox. Harmless when doubled or lost: the row decides, the sweep asks again."""
    dispatch.deliver(uuid.UUID(message_id))


@shared_task(base=LedgerTask, in_ledger=False, ignore_result=True, lane="bulk")
def dispatch_bulk() -> None:
    """Send due bulk SMS in batches for a short while, then let others in.

    Harmless when doubled or lost: the rows decide, the sweep asks again.
    """
    _, more = dispatch.dispatch_bulk(seconds=SLICE_SECONDS)
    if more:
        dispatch.go_on_with_bulk()


@shared_task(base=LedgerTask, in_ledger=False, ignore_result=True, lane="bulk")
def poll_receipts() -> None:
    """Ask the SMS provider for a short while what became of the messages that are due for it, and store what it says.

    Harmless when doubled or lost: the rows decide who asks, the sweep asks again.
    """
    receipts.run_slice(seconds=SLICE_SECONDS)


@shared_task(base=LedgerTask, in_ledger=False, ignore_result=True)
def dispatch_due_messages() -> None:
    """Announce due messages that nobody has heard of. The workers' sweeps do so by themselves; this is for a person.

    Harmless when doubled or lost: it announces as many as are missing on Redis.
    """
    dispatch.dispatch_due()


@shared_task(base=LedgerTask, lane="bulk", once_at_a_time=True)
def prune_finished_runs(as_of: str | None = None) -> dict[str, int | str]:
    """Delete finished runs and scheduled times past their retention. Returns how many `runs` and `occurrences`.

    Safe to repeat: it deletes by age only, in short transactions.
    """
    return {"status": "ok", **retention.prune(clock.moment(as_of))}


@shared_task(base=LedgerTask, bind=True)
def send_admin_notification(
    self: Any, notification_type: str, context: dict[str, Any] | None = None
) -> dict[str, int | str]:
    """Tell the admins whom it concerns: e-mail and in-app notice, an SMS too when it is critical.

    Returns `recipients`, and `no_contact`: those of them who have only the in-app notice. A type that nobody has
    registered is told with its name and the ids in `context` alone. Fails when a named row does not exist and when
    there is no recipient at all.

    Safe to repeat: the key is the type, what it is about (else the day, else the task id), severity and person.
    """
    told = notices.send(notification_type, context, otherwise_once_per=_run_id(self))
    return {"status": "ok", "recipients": told.recipients, "no_contact": told.no_contact}


@shared_task(base=LedgerTask, once_at_a_time=True)
def generate_system_health_report(as_of: str | None = None) -> dict[str, Any]:
    """Check everything the system needs, store what was found, and tell the admins when the whole has changed.

    Returns `overall` (healthy, degraded, down) and `failed`, the names of checks that were not in order; that is a
    finding, not a failure. Always tells of now: `as_of` is checked and has no effect.

    Safe to repeat: one row a run, and a notice only on a change.
    """
    clock.moment(as_of)
    made = report.make()
    return {"status": "ok", "overall": made.overall, "failed": made.failed}


@shared_task(base=LedgerTask, once_at_a_time=True, takes_due_time=True)
def aggregate_system_metrics(as_of: str | None = None) -> dict[str, str]:
    """Store the figures of the last full hour: at 06:05 those of 05:00 to 06:00. Returns `hour`, its beginning.

    Safe to repeat: one row an hour, overwritten.
    """
    return {"status": "ok", "hour": metrics.aggregate(moment=clock.moment(as_of)).start.isoformat()}


@shared_task(base=LedgerTask, lane="bulk", once_at_a_time=True)
def cleanup_old_notifications(days: int | None = None, as_of: str | None = None) -> dict[str, int | str]:
    """Remove old notices and reports and the texts of old messages. Returns how many of each kind.

    What is kept for how long is one table: `core.base.retention`. `days` (at least 30) replaces the setting
    `retention.notification_days`.

    Safe to repeat: it goes by age only, a thousand rows in a short transaction at a time.
    """
    return {"status": "ok", **cleanup(days=days, now=clock.moment(as_of))}


def _run_id(task: Any) -> str:
    return task.request.id or str(uuid.uuid4())
