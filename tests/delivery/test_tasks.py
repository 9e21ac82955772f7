"""The documented tasks: their call shapes, what they return, and how they fail."""

from __future__ import annotations

import inspect
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import current_app
from celery.app.trace import build_tracer
from django.conf import LazySettings

from core import clock, tasks
from core.delivery import campaigns, dispatch
from core.delivery.models import Campaign, CampaignRecipient, OutboundMessage
from core.delivery.services import AnswerInDoubt, GatewayNotConfigured, MessageRefused
from core.errors import DomainError, InvalidInput, NotFound
from core.jobs.models import TaskRun
from core.tasks import process_bulk_sms, send_email_async, send_sms_async
from tests.delivery.outbox import PHONE, phones
from tests.sandbox.process import Sandbox

pytestmark = pytest.mark.django_db

NIGHT = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)


def work_off(run_id: str) -> Any:
    """Do what a worker does when it hears of a run. Returns the task's result."""
    run = TaskRun.objects.get(pk=run_id)
    task = current_app.tasks[run.task]
    request = {"id": run_id, "ledger": True, "hostname": "test", "is_eager": False, "delivery_info": {}}
    traced: Any = build_tracer(run.task, task, app=current_app, eager=True, propagate=True)
    return traced(run_id, (), {}, request)


def by_calling(task: Any, *args: Any, **kwargs: Any) -> Any:
    return task(*args, **kwargs)


def by_apply(task: Any, *args: Any, **kwargs: Any) -> Any:
    return task.apply(args=args, kwargs=kwargs, throw=True).get()


def by_delay(task: Any, *args: Any, **kwargs: Any) -> Any:
    asked = task.delay(*args, **kwargs)
    work_off(asked.id)
    return TaskRun.objects.get(pk=asked.id).result


ways = pytest.mark.parametrize("way", [by_calling, by_apply, by_delay])
Way = Callable[..., Any]


@pytest.mark.parametrize(
    ("task", "signature"),
    [
        (send_sms_async, "(phone: str, message: str, reference: str | None = None, purpose: str | None = None)"),
        (
            send_email_async,
            (
                "(subject: str, message: str, recipient_list: list[str], html_message: str | None = None,"
                " reference: str | None = None)"
            ),
        ),
        (
            process_bulk_sms,
            "(phones: list[str], message: str, batch_size: int = 50, campaign_id: str | None = None)",
        ),
    ],
)
def test_a_task_has_the_documented_name_and_signature(task: Any, signature: str) -> None:
    assert task.name == f"core.tasks.{task.__name__}"
    found = str(inspect.signature(task.run)).partition(" -> ")[0].replace("'", "")
    assert found == signature


# --- send_sms_async ------------------------------------------------------------------------------------------------


@ways
def test_an_sms_as_documented(sandbox: Sandbox, way: Way) -> None:
    result = way(send_sms_async, "+233244123456", "Your verification code is 123456")
    [arrived] = sandbox.messages()
    assert result == {"status": "ok", "message_id": arrived["client_reference"]}
    assert (arrived["to"], arrived["text"]) == ("+233244123456", "Your verification code is 123456")


@ways
def test_an_sms_by_keywords(sandbox: Sandbox, way: Way) -> None:
    result = way(send_sms_async, phone="0244123456", message="Hello", reference="r-1", purpose="otp")
    assert result["status"] == "ok"
    message = OutboundMessage.objects.get()
    assert (message.purpose, message.lane, message.recipient) == ("otp", "urgent", PHONE)


@ways
def test_the_same_reference_is_one_text_however_often_it_is_asked_for(sandbox: Sandbox, way: Way) -> None:
    first = way(send_sms_async, PHONE, "Hello", reference="r-1")
    second = way(send_sms_async, PHONE, "Hello", reference="r-1")
    assert first == second
    assert sandbox.total() == 1


def test_a_run_that_is_repeated_sends_one_text(sandbox: Sandbox) -> None:
    run = str(uuid.uuid4())
    for _ in range(3):
        send_sms_async.apply(args=(PHONE, "Hello"), task_id=run, throw=True)
    assert sandbox.total() == 1


def test_two_calls_without_a_reference_are_two_texts(sandbox: Sandbox) -> None:
    send_sms_async(PHONE, "Hello")
    send_sms_async(PHONE, "Hello")
    assert sandbox.total() == 2


@pytest.mark.parametrize("purpose", [None, "service"])
def test_a_service_message_is_held_at_night_and_one_without_purpose_is_not(
    sandbox: Sandbox, settings: LazySettings, monkeypatch: pytest.MonkeyPatch, purpose: str | None
) -> None:
    settings.SENDING_WINDOWS = True
    # a night that is over for the database, so that only the window can hold the text
    monkeypatch.setattr(clock, "now", lambda: NIGHT.replace(year=2020))
    result = send_sms_async(PHONE, "Hello", purpose=purpose)
    assert result["status"] == ("held" if purpose else "ok")
    assert sandbox.total() == (0 if purpose else 1)


@ways
@pytest.mark.parametrize("faults", [{"refuse": 60}, {"error_status": 503}, {"error_status": 429}, {"body_status": 12}])
def test_a_missing_provider_is_never_reported_as_sent(sandbox: Sandbox, way: Way, faults: dict[str, Any]) -> None:
    sandbox.faults(**faults)
    assert way(send_sms_async, PHONE, "Hello")["status"] == "queued"
    sandbox.faults()


FAILURES: list[tuple[dict[str, Any], type[DomainError], str]] = [
    ({"body_status": 1}, MessageRefused, "rejected"),
    ({"error_status": 403}, MessageRefused, "rejected"),
    ({"hang_after_accept": True}, AnswerInDoubt, "in_doubt"),
    ({"reset_after_headers": True}, AnswerInDoubt, "in_doubt"),
    ({"error_status": 502}, AnswerInDoubt, "in_doubt"),
]


@pytest.mark.parametrize(("faults", "error", "status"), FAILURES)
def test_a_refusal_and_a_lost_answer_are_failures_that_name_no_number(
    sandbox: Sandbox, faults: dict[str, Any], error: type[DomainError], status: str
) -> None:
    sandbox.faults(**faults)
    with pytest.raises(error) as raised:
        send_sms_async(PHONE, "A secret text")
    message = OutboundMessage.objects.get()
    assert message.status == status
    assert str(message.pk) in str(raised.value)
    assert "244123456" not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_without_credentials_the_row_stays_and_the_task_fails_with_words(
    sandbox: Sandbox, settings: LazySettings, make_due: Callable[[], int]
) -> None:
    client_id, settings.HUBTEL_CLIENT_ID = settings.HUBTEL_CLIENT_ID, ""
    with pytest.raises(GatewayNotConfigured, match="credentials") as raised:
        send_sms_async(PHONE, "Hello", reference="r")
    assert "244123456" not in str(raised.value)
    message = OutboundMessage.objects.get()
    assert message.status == "queued"
    settings.HUBTEL_CLIENT_ID = client_id
    make_due()
    dispatch.deliver(message.pk)
    assert send_sms_async(PHONE, "Hello", reference="r") == {"status": "ok", "message_id": str(message.pk)}
    assert sandbox.total() == 1


def test_a_failure_is_a_failed_run_without_personal_data(sandbox: Sandbox) -> None:
    asked = send_sms_async.delay("0302123456", "A text")
    with pytest.raises(Exception, match="landline"):
        work_off(asked.id)
    run = TaskRun.objects.get(pk=asked.id)
    assert (run.state, run.error_class, run.attempts) == ("failed", "InvalidInput", 1)
    assert "0302123456" not in run.error_text + run.traceback
    assert "302123456" not in run.error_text + run.traceback


BAD_PHONES: list[Any] = [
    *("", " ", "nonsense", "0302123456", "0800123456", "+447911123456", "024412345", "02441234567", "O244123456"),
    *("0244123456x12", "٠٢٤٤١٢٣٤٥٦", "2330244123456", "0244123456\n0201234567", "+233244123456;", "0" * 10_000),
    *("\0", "0244\0123456", "\ud800", None, 244123456, 0.5, True, [], ["0244123456"], {"phone": "0244123456"}, b"024"),
]


@pytest.mark.parametrize("phone", BAD_PHONES, ids=[ascii(p)[:20] for p in BAD_PHONES])
def test_what_is_no_ghanaian_mobile_is_refused_and_nothing_is_written(sandbox: Sandbox, phone: Any) -> None:
    with pytest.raises(InvalidInput) as raised:
        send_sms_async(phone, "Hello")
    assert not re.search(r"[0-9]{6}", str(raised.value))
    assert not OutboundMessage.objects.exists()
    assert sandbox.total() == 0


BAD_TEXTS: list[Any] = ["", " \n\t", "\0", "a\0b", "\ud800", "a" * 919, "ɛ" * 403, "🐔" * 200, None, 5, [], {}, b"text"]


@pytest.mark.parametrize("text", BAD_TEXTS, ids=[ascii(t)[:20] for t in BAD_TEXTS])
def test_a_text_that_is_empty_too_long_or_no_text_is_refused_and_nothing_is_written(
    sandbox: Sandbox, text: Any
) -> None:
    with pytest.raises(InvalidInput):
        send_sms_async(PHONE, text)
    with pytest.raises(InvalidInput):
        process_bulk_sms([PHONE], text)
    assert not OutboundMessage.objects.exists()
    assert not Campaign.objects.exists()
    assert sandbox.total() == 0


@pytest.mark.parametrize("text", ["a" * 918, "ɛ" * 402, "€" * 456])
def test_a_text_of_exactly_the_longest_size_goes(sandbox: Sandbox, text: str) -> None:
    assert send_sms_async(PHONE, text)["status"] == "ok"
    assert OutboundMessage.objects.get().parts == 6
    [arrived] = sandbox.messages()
    assert arrived["text"] == text


@pytest.mark.parametrize("reference", ["r" * 197, "a\0b", "\ud800"])
def test_a_reference_that_cannot_be_kept_is_refused(sandbox: Sandbox, reference: str) -> None:
    with pytest.raises(InvalidInput):
        send_sms_async(PHONE, "Hello", reference=reference)
    with pytest.raises(InvalidInput):
        send_email_async("Report", "Eggs", ["a@b.com"], reference=reference * 2)
    assert sandbox.total() == 0


@pytest.mark.parametrize("purpose", ["", "sms", "\0", "\ud800", 5, [], "otp;"])
def test_an_unknown_purpose_is_refused_with_the_known_ones(purpose: Any) -> None:
    with pytest.raises(InvalidInput, match="otp, security, service"):
        send_sms_async(PHONE, "Hello", purpose=purpose)


# --- send_email_async ----------------------------------------------------------------------------------------------


@ways
def test_an_email_as_documented(sandbox: Sandbox, way: Way) -> None:
    result = way(
        send_email_async,
        subject="Welcome to YEA Poultry",
        message="Your account has been created.",
        recipient_list=["farmer@example.com"],
        html_message="<h1>Welcome!</h1><p>Your account is ready.</p>",
    )
    assert result == {"status": "ok", "accepted": 1, "queued": 0, "suppressed": 0}
    [arrived] = sandbox.messages()
    assert (arrived["to"], arrived["subject"]) == ("farmer@example.com", "Welcome to YEA Poultry")
    assert "<h1>Welcome!</h1>" in arrived["html"]
    assert "Your account has been created." in arrived["text"]


@ways
def test_an_email_by_position_to_many(sandbox: Sandbox, way: Way) -> None:
    addresses = ["a@example.com", "B@example.com", "b@EXAMPLE.com ", "a@example.com", "nonsense"]
    result = way(send_email_async, "Report", "Eggs: 12", addresses)
    assert result == {"status": "ok", "accepted": 2, "queued": 0, "suppressed": 1}
    assert sorted(m["to"] for m in sandbox.messages()) == ["a@example.com", "b@example.com"]
    [bad] = OutboundMessage.objects.filter(status="suppressed")
    assert bad.error


def test_an_email_to_nobody_who_exists_is_suppressed(sandbox: Sandbox) -> None:
    result = send_email_async("Report", "Eggs: 12", ["nonsense"])
    assert result == {"status": "suppressed", "accepted": 0, "queued": 0, "suppressed": 1}


def test_a_changed_address_is_never_written_to(sandbox: Sandbox) -> None:
    result = send_email_async("Report", "Eggs", ["ama\0@example.com", "am\ud800a@example.com", "ama@example.com"])
    assert (result["accepted"], result["suppressed"]) == (1, 2)
    assert sandbox.total() == 1


def test_the_same_reference_is_one_mail_an_address(sandbox: Sandbox) -> None:
    send_email_async("Report", "Eggs", ["a@example.com"], reference="r")
    result = send_email_async("Report", "Eggs", ["a@example.com", "b@example.com"], reference="r")
    assert result["accepted"] == 2
    assert sorted(m["to"] for m in sandbox.messages()) == ["a@example.com", "b@example.com"]


def test_one_refused_address_fails_the_task_and_the_others_go(sandbox: Sandbox) -> None:
    sandbox.faults(smtp_error=550, share=0.5, seed=1)
    addresses = [f"farmer{n}@example.com" for n in range(8)]
    with pytest.raises(MessageRefused, match="of 8 e-mails") as raised:
        send_email_async("Report", "Eggs", addresses)
    assert "@" not in str(raised.value)
    states = sorted(OutboundMessage.objects.values_list("status", flat=True))
    assert set(states) == {"accepted", "rejected"}
    assert sandbox.total() == states.count("accepted")


def test_a_mailbox_that_is_away_leaves_the_mails_queued(sandbox: Sandbox) -> None:
    sandbox.faults(smtp_refuse=60)
    result = send_email_async("Report", "Eggs", ["a@example.com", "b@example.com"])
    assert result == {"status": "queued", "accepted": 0, "queued": 2, "suppressed": 0}
    sandbox.faults()


@pytest.mark.parametrize(
    ("subject", "text", "addresses", "html"),
    [
        ("", "Eggs", ["a@b.com"], None),
        ("a\nBcc: x@y.com", "Eggs", ["a@b.com"], None),
        ("a\u2028Bcc: x@y.com", "Eggs", ["a@b.com"], None),
        ("a" * 201, "Eggs", ["a@b.com"], None),
        ("a\0", "Eggs", ["a@b.com"], None),
        ("\ud800", "Eggs", ["a@b.com"], None),
        (None, "Eggs", ["a@b.com"], None),
        (7, "Eggs", ["a@b.com"], None),
        ("Report", "", ["a@b.com"], None),
        ("Report", "\0", ["a@b.com"], None),
        ("Report", None, ["a@b.com"], None),
        ("Report", {}, ["a@b.com"], None),
        ("Report", "Eggs", [], None),
        ("Report", "Eggs", "a@b.com", None),
        ("Report", "Eggs", None, None),
        ("Report", "Eggs", 7, None),
        ("Report", "Eggs", b"a@b.com", None),
        ("Report", "Eggs", [None], None),
        ("Report", "Eggs", ["a@b.com", 7], None),
        ("Report", "Eggs", [["a@b.com"]], None),
        ("Report", "Eggs", ["a@b.com"], "\0"),
        ("Report", "Eggs", ["a@b.com"], 7),
        ("Report", "Eggs", ["a@b.com"], "<b>\ud800</b>"),
    ],
)
def test_a_broken_email_is_refused_whole(sandbox: Sandbox, subject: Any, text: Any, addresses: Any, html: Any) -> None:
    with pytest.raises(InvalidInput):
        send_email_async(subject, text, addresses, html)
    assert not OutboundMessage.objects.exists()
    assert sandbox.total() == 0


# --- process_bulk_sms ----------------------------------------------------------------------------------------------

MIXED: list[Any] = [
    "0244123456",
    "+233 24 412 3457",
    "0302123456",
    "nonsense",
    "233244123456",
    None,
    7,
    ["0244123458"],
    "",
]


@ways
def test_good_numbers_go_and_refused_ones_are_told_with_the_reason(sandbox: Sandbox, way: Way) -> None:
    result = way(process_bulk_sms, MIXED, "Vaccination day is Friday")
    campaign = Campaign.objects.get()
    assert result == {
        "status": "ok",
        "campaign_id": str(campaign.pk),
        "accepted_for_sending": 2,
        "duplicates": 1,
        "invalid": 6,
    }
    assert (campaign.status, campaign.complete) == ("running", True)
    recipients = CampaignRecipient.objects.filter(campaign=campaign)
    assert set(recipients.filter(status="written").values_list("phone", flat=True)) == {PHONE, "+233244123457"}
    refused = dict(recipients.filter(status="invalid").values_list("phone", "reason"))
    assert set(refused) == {"0302123456", "nonsense", "None", "7", "['0244123458']", ""}
    assert "landline" in refused["0302123456"]
    assert all(refused.values())
    dispatch.dispatch_bulk(seconds=5)
    assert {m["to"] for m in sandbox.messages()} == {PHONE, "+233244123457"}
    assert campaigns.finish() == 1
    assert Campaign.objects.get().status == "done"


def test_only_bad_numbers_are_all_told_and_nothing_goes(sandbox: Sandbox) -> None:
    result = process_bulk_sms(["nonsense", "0302123456"], "Hello")
    assert (result["accepted_for_sending"], result["invalid"]) == (0, 2)
    assert Campaign.objects.get().status == "done"
    assert not OutboundMessage.objects.exists()


BAD_LISTS: list[Any] = [[], (), None, "0244123456", b"0244123456", {"0244123456": 1}, 7, True, {PHONE}, iter([PHONE])]


@pytest.mark.parametrize("numbers", BAD_LISTS, ids=[type(each).__name__ for each in BAD_LISTS])
def test_what_is_no_list_or_empty_is_refused_and_nothing_is_written(numbers: Any) -> None:
    with pytest.raises(InvalidInput, match="phones"):
        process_bulk_sms(numbers, "Hello")
    assert not Campaign.objects.exists()


@pytest.mark.parametrize("size", [0, -1, 501, 10**30, True, None, "50", 1.5])
def test_a_batch_size_out_of_bounds_leaves_nothing_behind(size: Any) -> None:
    with pytest.raises(InvalidInput, match="batch_size"):
        process_bulk_sms([PHONE], "Hello", batch_size=size)
    assert not Campaign.objects.exists()


@pytest.mark.parametrize("size", [1, 3, 500])
def test_any_batch_size_within_its_bounds_gives_the_same(size: int) -> None:
    result = process_bulk_sms(phones(7), "Hello", batch_size=size)
    assert result["accepted_for_sending"] == OutboundMessage.objects.count() == 7


def test_more_than_a_hundred_thousand_numbers_are_refused_before_anything_is_written() -> None:
    with pytest.raises(InvalidInput, match="100,001"):
        process_bulk_sms([PHONE] * 100_001, "Hello")
    assert not Campaign.objects.exists()


def test_a_hundred_thousand_numbers_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of them double or bad, so that it is the list that is long and not the test."""
    numbers: list[Any] = [*phones(2_000), *phones(2_000) * 24, *["nonsense"] * 50_000]
    result = process_bulk_sms(numbers, "Hello", batch_size=500)
    told = {key: result[key] for key in ("accepted_for_sending", "duplicates", "invalid")}
    assert told == {"accepted_for_sending": 2_000, "duplicates": 48_000, "invalid": 50_000}
    assert OutboundMessage.objects.count() == 2_000


@pytest.mark.parametrize("campaign_id", ["", "nonsense", "00000000-0000-7000-8000-000000000001", "\0", "\ud800", 7, []])
def test_an_unknown_campaign_is_a_failure(campaign_id: Any) -> None:
    with pytest.raises(NotFound, match="no campaign"):
        process_bulk_sms([], "", campaign_id=campaign_id)


@ways
def test_a_stored_campaign_is_sent_by_its_id(sandbox: Sandbox, way: Way) -> None:
    campaign = Campaign.objects.create(message="Stored text", accepted=3)
    CampaignRecipient.objects.bulk_create(
        CampaignRecipient(campaign=campaign, phone=phone, status="waiting") for phone in phones(3)
    )
    result = way(process_bulk_sms, [], "", campaign_id=str(campaign.pk))
    assert (result["campaign_id"], result["accepted_for_sending"]) == (str(campaign.pk), 3)
    campaign.refresh_from_db()
    assert campaign.status == "running", "nothing has left yet"
    dispatch.dispatch_bulk(seconds=5)
    assert {(m["to"], m["text"]) for m in sandbox.messages()} == {(phone, "Stored text") for phone in phones(3)}


@pytest.mark.parametrize(
    ("status", "told", "reason"),
    [
        ("draft", "held", "is a draft: start it"),
        ("paused", "held", "campaign paused"),
        ("cancelled", "skipped", "campaign cancelled"),
    ],
)
def test_a_campaign_that_may_not_go_writes_no_message_and_says_so(status: str, told: str, reason: str) -> None:
    campaign = Campaign.objects.create(message="Text", status=status)
    CampaignRecipient.objects.create(campaign=campaign, phone=PHONE, status="waiting")
    result = process_bulk_sms([], "", campaign_id=str(campaign.pk))
    assert (result["status"], result["campaign_id"]) == (told, str(campaign.pk))
    assert reason in result["reason"]
    campaign.refresh_from_db()
    assert campaign.status == status
    assert not OutboundMessage.objects.exists()


# --- the machinery's own tasks -------------------------------------------------------------------------------------


def test_a_hint_for_a_message_that_is_gone_or_over_is_harmless(sandbox: Sandbox) -> None:
    tasks.deliver_message(str(uuid.uuid4()))
    result = send_sms_async(PHONE, "Hello")
    tasks.deliver_message(result["message_id"])
    assert sandbox.total() == 1


def test_bulk_hints_end_when_there_is_nothing_left(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(dispatch, "go_on_with_bulk", lambda: asked.append(1))
    process_bulk_sms(phones(5), "Hello")
    tasks.dispatch_bulk()
    assert (sandbox.total(), asked) == (5, [])
    monkeypatch.setattr(tasks, "SLICE_SECONDS", 0.0)
    process_bulk_sms(phones(250, first=100), "Hello")
    tasks.dispatch_bulk()
    assert (sandbox.total(), asked) == (105, [1])
