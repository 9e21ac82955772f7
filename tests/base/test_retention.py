"""One table says how long everything is kept; the cleaner does what it says and nothing else."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import DatabaseError, connection, transaction

from accounts.models import LoginRecord
from core import clock
from core.base import registries, retention
from core.base.models import AuditLog, Setting
from core.delivery import campaign_life
from core.delivery.models import (
    Attachment,
    Campaign,
    CampaignRecipient,
    DeliveryAttempt,
    DeliveryReceipt,
    MessageEvent,
    Notification,
    OutboundMessage,
    Spend,
)
from core.errors import Conflict, InvalidInput
from core.health.models import HealthReport, SystemMetric
from core.jobs.operations import Actor
from core.reporting.rules import Kind
from core.reporting.services import make
from core.tasks import cleanup_old_notifications
from tests.delivery.outbox import Aside, meanwhile
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

OURS = ("core", "accounts", "farms", "sales_revenue", "advertising", "dashboards")
STAYS = {
    "base_setting": "one row a figure",
    "jobs_scheduleentry": "one row an entry of the schedule",
    "delivery_messagetemplate": "messages point to the version they were written from",
    "delivery_lanestate": "one row a lane",
    "delivery_breaker": "one row a provider and fault",
    "accounts_region": "reference",
    "accounts_district": "reference",
    "accounts_constituency": "reference",
    "accounts_staffpermission": "one row a grant that is in force",
    "accounts_user": "people are never deleted (domain.md 1.2)",
    "accounts_user_groups": "as people",
    "accounts_user_user_permissions": "as people",
    "farms_farmapplication": "business rows are never deleted (domain.md 1.2)",
    "farms_reviewitem": "at most three a subject",
    "farms_farminvitation": "a few an application",
    "farms_farm": "as applications",
    "farms_farmassignment": "one row an assignment that is in force",
    "farms_farmlocation": "a few a farm",
    "farms_infrastructure": "a few a farm",
    "farms_biosecurity": "one row a farm",
    "farms_farmdocument": "a few a farm",
    "farms_batch": "a few a year",
    "farms_batch_eligible_constituencies": "as batches",
    "farms_batchenrollment": "as applications",
    "farms_flock": "as applications",
}


def tables() -> set[str]:
    return {
        model._meta.db_table
        for model in apps.get_models(include_auto_created=True)
        if model.__module__.split(".")[0] in OURS
    }


def test_every_table_of_the_house_has_a_rule_or_a_reason_to_stay() -> None:
    ruled = {rule.table for rule in retention.RULES}
    assert tables() - ruled - set(STAYS) == set(), "say in core/base/retention.py how long its rows are kept"
    assert ruled & set(STAYS) == set()


def test_every_rule_names_a_table_and_somebody_who_follows_it() -> None:
    for rule in retention.RULES:
        assert rule.table in tables()
        assert rule.why
        if rule.keep is None:
            assert not rule.when
            assert not rule.by
            continue
        module, _, name = rule.by.rpartition(".")
        assert callable(getattr(import_module(module), name))


# --- what the weekly task does -------------------------------------------------------------------------------------


def ago(days: float) -> Any:
    return clock.now() - timedelta(days=days)


def a_message(status: str = "accepted", days: float = 100, **about: Any) -> OutboundMessage:
    waits = status in ("queued", "held")
    taken = status in ("claimed", "submitting")
    row = {
        "idempotency_key": str(uuid.uuid4()),
        "channel": "email",
        "purpose": "service",
        "lane": "default",
        "recipient": "ama@example.com",
        "title": "Ama, your eggs",
        "body": "Eggs: 12",
        "html": "<p>Eggs: 12</p>",
        "body_hash": "h" * 64,
        "status": status,
        "due_at": ago(days) if waits else None,
        "ring_at": ago(days) if waits else None,
        "lease_until": ago(days) if taken else None,
        "created_at": ago(days),
    }
    return OutboundMessage.objects.create(**(row | about))


def an_attempt(days: float, *, finished: bool = True) -> DeliveryAttempt:
    ended = ago(days) if finished else None
    return DeliveryAttempt.objects.create(provider="smtp", messages=1, started_at=ago(days), finished_at=ended)


def a_notification(days: float) -> Notification:
    user = UserFactory.create(role="NATIONAL_ADMIN")
    return Notification.objects.create(
        user=user, kind="x", severity="info", title="t", text="t", idempotency_key=str(days), created_at=ago(days)
    )


def a_campaign(status: str, days: float) -> Campaign:
    campaign = Campaign.objects.create(message="Dear Ama", status=status, accepted=1)
    CampaignRecipient.objects.create(campaign=campaign, phone="+233244123456", status="written")
    Campaign.objects.filter(pk=campaign.pk).update(updated_at=ago(days))
    return campaign


def traces(message: OutboundMessage, days: float) -> None:
    MessageEvent.objects.create(message=message, from_status="queued", to_status="held", at=ago(days))
    DeliveryReceipt.objects.create(
        provider="hubtel", provider_id=str(days), status_text="Delivered", source="poll", received_at=ago(days)
    )
    file = Attachment.objects.create(message=message, name="a.pdf", content_type="application/pdf", content=b"x")
    Attachment.objects.filter(pk=file.pk).update(created_at=ago(days))


def a_report(days: float) -> None:
    day = ago(days).date()
    make(kind=Kind.BRIEF, scope="all", first=day, last=day, content=lambda: {"farms": 1}, now=ago(days))


def test_what_is_old_goes_and_what_is_young_stays() -> None:
    for days in (89, 91):
        a_notification(days)
        HealthReport.objects.create(at=ago(days), overall="healthy", checks={})
        an_attempt(days)
        a_campaign("done", days)
        traces(a_message(days=days), days)
    for days in (29, 31):
        a_message(days=days, purpose="security")
        a_report(days)
    for days in (399, 401):
        Spend.objects.create(day=ago(days).date(), shard=0)
        SystemMetric.objects.create(
            hour=ago(days).replace(minute=0, second=0, microsecond=0),
            payload={},
            created_at=ago(days),
            updated_at=ago(1),
        )
        LoginRecord.objects.create(at=ago(days), success=False, failure_reason="unknown")
    counts = cleanup_old_notifications()
    assert counts == {
        "status": "ok",
        "notifications": 1,
        "message_events": 1,
        "receipts": 1,
        "attachments": 1,
        "spend": 1,
        "codes": 1,
        "messages": 1,
        "attempts": 1,
        "campaign_recipients": 1,
        "campaigns": 1,
        "reports": 1,
        "health_reports": 1,
        "metrics": 1,
        "login_records": 1,
    }
    for model in (Notification, HealthReport, DeliveryAttempt, CampaignRecipient, SystemMetric):
        assert model.objects.count() == 1
    assert {campaign.message for campaign in Campaign.objects.all()} == {"Dear Ama", ""}
    assert {count for name, count in cleanup_old_notifications().items() if name != "status"} == {0}, "a second run"


def test_a_finished_message_keeps_row_key_hash_and_cost_but_no_personal_data() -> None:
    message = a_message(last_attempt=an_attempt(100), cost="0.0300", provider_id="p-1")
    counts = cleanup_old_notifications()
    assert (counts["messages"], counts["attempts"]) == (1, 1)
    kept = OutboundMessage.objects.get()
    assert (kept.recipient, kept.title, kept.body, kept.html) == ("", "", None, "")
    assert (kept.idempotency_key, kept.body_hash) == (message.idempotency_key, message.body_hash)
    assert (kept.status, str(kept.cost), kept.provider_id) == ("accepted", "0.0300", "p-1")
    assert not DeliveryAttempt.objects.exists()


def test_codes_and_warnings_lose_their_recipient_after_a_month() -> None:
    for purpose in ("otp", "security", "service"):
        text: dict[str, Any] = {"body": None, "title": "", "html": ""} if purpose == "otp" else {}
        a_message(days=31, purpose=purpose, last_attempt=an_attempt(31), **text)
    assert cleanup_old_notifications()["codes"] == 2
    left = {(m.purpose, m.recipient, m.body, m.last_attempt is None) for m in OutboundMessage.objects.all()}
    assert left == {
        ("otp", "", None, True),
        ("security", "", None, True),
        ("service", "ama@example.com", "Eggs: 12", False),
    }


@pytest.mark.parametrize("status", ["queued", "held", "claimed", "submitting"])
def test_a_message_that_may_still_be_sent_keeps_its_text_however_old(status: str) -> None:
    a_message(status, days=900, last_attempt=an_attempt(900, finished=False))
    assert cleanup_old_notifications()["messages"] == 0
    assert OutboundMessage.objects.get().body == "Eggs: 12"
    assert DeliveryAttempt.objects.exists()


def test_what_has_no_text_any_more_cannot_be_sent_again() -> None:
    a_message("dead")
    cleanup_old_notifications()
    now = clock.now()
    with pytest.raises(DatabaseError, match="message_waiting_has_recipient"), transaction.atomic():
        OutboundMessage.objects.update(status="queued", due_at=now, ring_at=now)


def test_a_draft_that_nobody_started_loses_text_and_numbers_and_is_started_no_more() -> None:
    campaign, young = a_campaign("draft", 900), a_campaign("draft", 5)
    counts = cleanup_old_notifications()
    assert (counts["campaigns"], counts["campaign_recipients"]) == (1, 1)
    assert [one.campaign_id for one in CampaignRecipient.objects.all()] == [young.pk]
    with pytest.raises(Conflict, match="Create it anew"):
        campaign_life.start(campaign_id=campaign.pk, actor=Actor(None, "test"))
    assert Campaign.objects.get(pk=campaign.pk).status == "draft"


@pytest.mark.parametrize("status", ["queued", "running", "paused"])
def test_a_campaign_that_is_not_over_keeps_its_numbers(status: str) -> None:
    a_campaign(status, 900)
    counts = cleanup_old_notifications()
    assert (counts["campaigns"], counts["campaign_recipients"]) == (0, 0)


def test_days_replace_the_setting_and_the_setting_the_default() -> None:
    a_notification(50)
    assert cleanup_old_notifications()["notifications"] == 0
    Setting.objects.create(key="retention.notification_days", value=60)
    assert cleanup_old_notifications()["notifications"] == 0
    assert cleanup_old_notifications(days=45)["notifications"] == 1
    a_notification(61)
    assert cleanup_old_notifications()["notifications"] == 1


@pytest.mark.parametrize("days", [29, 0, -1, 1.5, "90", True, 10_000])
def test_too_few_days_and_what_is_no_number_are_refused_and_nothing_is_removed(days: Any) -> None:
    a_notification(5_000)
    with pytest.raises(InvalidInput, match="30"):
        cleanup_old_notifications(days=days)
    assert Notification.objects.exists()


def test_it_can_be_run_as_of_a_past_day_and_never_early() -> None:
    a_notification(100)
    assert cleanup_old_notifications(as_of=ago(30).isoformat())["notifications"] == 0
    ahead = clock.now() + timedelta(days=3_000)
    assert retention.cleanup(days=None, now=ahead)["notifications"] == 1, "as old as it is by the database's clock"
    a_notification(50)
    assert retention.cleanup(days=None, now=ahead)["notifications"] == 0


def test_audit_rows_are_kept_for_ever() -> None:
    AuditLog.objects.create(action="x", subject_type="y", subject_id="z", actor_name="ama", at=ago(9_000))
    cleanup_old_notifications()
    assert AuditLog.objects.exists()


def test_the_steps_of_other_apps_are_repeated_until_they_have_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    left = [2_500]

    def step(now: Any, limit: int) -> int:
        done = min(left[0], limit)
        left[0] -= done
        return done

    monkeypatch.setitem(registries.cleanup_steps, "login_records", step)
    assert cleanup_old_notifications()["login_records"] == 2_500


# --- in chunks -----------------------------------------------------------------------------------------------------


@pytest.fixture
def many(transactional_db: None) -> int:
    HealthReport.objects.bulk_create([HealthReport(at=ago(100), overall="healthy", checks={}) for _ in range(2_300)])
    return 2_300


def cleaner() -> Callable[[], int]:
    [rule] = [rule for rule in retention.RULES if rule.name == "health_reports"]
    return lambda: retention.clean(rule, days=90, now=clock.now())


def test_it_goes_in_short_transactions_of_a_thousand(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    chunk = retention._chunk

    def counted(*args: Any) -> int:
        sizes.append(chunk(*args))
        assert not connection.in_atomic_block
        return sizes[-1]

    monkeypatch.setattr(retention, "_chunk", counted)
    assert cleaner()() == many
    assert sizes == [1_000, 1_000, 300, 0]


def test_killed_between_two_chunks_the_next_run_does_the_rest(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chunk = retention._chunk
    calls: list[int] = []

    def killed(*args: Any) -> int:
        if calls:
            raise SystemExit
        calls.append(1)
        return chunk(*args)

    with monkeypatch.context() as patch:
        patch.setattr(retention, "_chunk", killed)
        with pytest.raises(SystemExit):
            cleaner()()
    assert HealthReport.objects.count() == many - 1_000
    assert cleaner()() == many - 1_000


def test_two_at_once_remove_each_row_once_and_wait_for_nobody(many: int) -> None:
    counts: list[int] = []
    lock = threading.Lock()

    def clean() -> None:
        count = cleaner()()
        with lock:
            counts.append(count)

    with meanwhile(clean, clean):
        pass
    assert sum(counts) == many
    with transaction.atomic():
        HealthReport.objects.create(at=ago(100), overall="healthy", checks={})
    with transaction.atomic():
        list(HealthReport.objects.select_for_update())
        other = Aside(cleaner())
        other.start()
        other.join(5)
        assert not other.is_alive(), "a row that somebody holds is left for the next run"
        assert other.error is None
    assert HealthReport.objects.count() == 1
