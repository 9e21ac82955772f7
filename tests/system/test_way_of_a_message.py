"""The documented calls, from `.delay()` to the phone, through a real worker."""

from __future__ import annotations

import pytest
from celery.result import AsyncResult

from core.delivery.models import OutboundMessage
from core.jobs.models import TaskRun
from core.tasks import process_bulk_sms, send_email_async, send_sms_async
from tests.sandbox.process import Sandbox
from tests.system.product import Process, wait_until

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]


def test_an_sms_arrives_and_its_result_is_told(sandbox: Sandbox, a_worker: Process) -> None:
    asked = send_sms_async.delay("+233244123456", "Your verification code is 123456")
    result = asked.get(timeout=15)
    assert result["status"] == "ok"
    assert AsyncResult(asked.id).status == "SUCCESS"
    [arrived] = sandbox.messages(kind="sms")
    assert (arrived["to"], arrived["text"]) == ("+233244123456", "Your verification code is 123456")
    assert arrived["client_reference"] == result["message_id"]
    run = TaskRun.objects.get(pk=asked.id)
    assert run.args == ["***", "***"], "personal data leaves the ledger once the run has succeeded"


def test_an_email_arrives_with_text_and_html(sandbox: Sandbox, a_worker: Process) -> None:
    result = send_email_async.delay(
        subject="Welcome to YEA Poultry",
        message="Your account has been created.",
        recipient_list=["farmer@example.com"],
        html_message="<h1>Welcome!</h1><p>Your account is ready.</p>",
    ).get(timeout=15)
    assert result == {"status": "ok", "accepted": 1, "queued": 0, "suppressed": 0}
    [arrived] = sandbox.messages(kind="email")
    assert arrived["to"] == "farmer@example.com"
    assert arrived["subject"] == "Welcome to YEA Poultry"
    assert "Your account has been created." in arrived["text"]
    assert "<h1>Welcome!</h1>" in arrived["html"]


def test_a_bulk_sms_reaches_each_good_number_once(sandbox: Sandbox, a_worker: Process) -> None:
    phones = ["0244123456", "+233 24 412 3457", "0302123456", "nonsense", "233244123456"]
    result = process_bulk_sms.delay(phones, "Vaccination day is Friday").get(timeout=15)
    assert (result["accepted_for_sending"], result["duplicates"], result["invalid"]) == (2, 1, 2)
    wait_until(lambda: len(sandbox.messages(kind="sms")) == 2, 15, "two texts on the phones")
    assert {m["to"] for m in sandbox.messages(kind="sms")} == {"+233244123456", "+233244123457"}
    wait_until(lambda: OutboundMessage.objects.filter(status="accepted").count() == 2, 5, "both accepted")
