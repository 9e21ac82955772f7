"""Receipts that are pushed: kept as they come, once; they change no state and only lead to a question."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import LazySettings
from django.db.models.functions import Now
from django.test import Client, RequestFactory
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from core import logs
from core.delivery import dispatch, hooks, receipts
from core.delivery.models import DeliveryReceipt, OutboundMessage
from core.delivery.rules import Purpose
from core.middleware import RequestLog
from tests.delivery.outbox import PHONE, again, an_sms, meanwhile, phones, wait_for
from tests.delivery.raw_server import answering, http
from tests.sandbox.process import Sandbox

pytestmark = pytest.mark.django_db

TOKEN = "a-token-of-32-letters-and-more-000"
URL = f"/hooks/hubtel/receipts/{TOKEN}"
Push = Callable[..., Any]


@pytest.fixture(autouse=True)
def door(settings: LazySettings) -> None:
    settings.HUBTEL_RECEIPT_TOKEN = TOKEN
    settings.SECURE_SSL_REDIRECT = False
    settings.ALLOWED_HOSTS = ["testserver", "localhost"]


def push(body: object, content_type: str = "application/json", url: str = URL) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Client(enforce_csrf_checks=True).post(url, content, content_type=content_type)


def said(provider_id: str, word: str = "Delivered", **more: object) -> dict[str, object]:
    return {"messageId": provider_id, "status": word, "updateTime": "2026-11-22T10:00:00", **more}


def accepted() -> OutboundMessage:
    message = an_sms(hint=False)
    dispatch.deliver(message.pk)
    return again(message)


def is_due(message: OutboundMessage) -> bool:
    return OutboundMessage.objects.filter(pk=message.pk, receipt_due_at__lte=Now()).exists()


# --- who may -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["wrong", TOKEN[:-1], TOKEN + "x", "%C3%A9", "%FF"])
def test_a_wrong_token_finds_no_page(token: str) -> None:
    assert push(said("x"), url=f"/hooks/hubtel/receipts/{token}").status_code == 404
    assert not DeliveryReceipt.objects.exists()


def test_without_a_token_in_the_settings_there_is_no_door(settings: LazySettings) -> None:
    settings.HUBTEL_RECEIPT_TOKEN = ""
    assert push(said("x")).status_code == 404
    assert push(said("x"), url="/hooks/hubtel/receipts/").status_code == 404


def test_looking_is_not_pushing() -> None:
    assert Client().get(URL).status_code == 405


def test_the_token_is_in_no_log() -> None:
    line = {"event": "request_started", "request": f"POST {URL}?a=b", "nested": [f"http://host{URL} {URL}"]}
    shown = str(logs.redact_values(None, "info", line))
    assert TOKEN not in shown
    assert "/hooks/hubtel/receipts/***" in shown
    assert "a=b" in shown


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (URL, "/hooks/hubtel/receipts/***"),
        (f"{URL}/more", "/hooks/hubtel/receipts/***"),
        ("/m/a-token", "/m/***"),
        ("/farms/invitation/a-token/", "/farms/invitation/***"),
        ("/m/a-token/again", "/m/***"),
        ("/m/", "/m/"),
        ("/api/m/seen", "/api/m/seen"),
    ],
)
def test_a_request_is_named_without_the_token_in_its_address(path: str, shown: str) -> None:
    assert RequestLog.format_request(RequestFactory().post(f"{path}?a=b")) == f"POST {shown}"


# --- what it does --------------------------------------------------------------------------------------------------


def test_a_push_changes_no_state_and_has_the_provider_asked(sandbox: Sandbox, settings: LazySettings) -> None:
    message = accepted()
    assert push(said(message.provider_id)).status_code == 200
    assert again(message).status == "accepted"
    assert is_due(message)
    receipt = DeliveryReceipt.objects.get()
    assert (receipt.message_id, receipt.source, receipt.status_text, receipt.status) == (
        message.pk,
        "push",
        "Delivered",
        "delivered",
    )
    assert receipt.provider_at == datetime(2026, 11, 22, 10, tzinfo=UTC)
    with answering(http(200, said(message.provider_id, "Expired"))) as server:
        settings.HUBTEL_BASE_URL = server.url
        receipts.poll(seconds=1)
    assert again(message).status == "undelivered_temporary", "what the provider answers counts, not what was pushed"


def test_the_same_push_again_is_kept_once_and_asks_nothing_again(sandbox: Sandbox) -> None:
    message = accepted()
    push(said(message.provider_id))
    receipts.poll(seconds=1)
    due_at = again(message).receipt_due_at
    for _ in range(3):
        assert push(said(message.provider_id)).status_code == 200
    assert DeliveryReceipt.objects.filter(source="push").count() == 1
    assert again(message).receipt_due_at == due_at


@pytest.mark.django_db(transaction=True)
def test_the_same_push_at_the_same_moment_is_kept_once(sandbox: Sandbox) -> None:
    message = accepted()
    with meanwhile(*[lambda: push(said(message.provider_id))] * 6):
        pass
    assert DeliveryReceipt.objects.count() == 1


def test_a_push_after_the_end_is_kept_and_changes_nothing(sandbox: Sandbox) -> None:
    message = accepted()
    OutboundMessage.objects.update(status="delivered", receipt_due_at=None)
    assert push(said(message.provider_id, "Expired")).status_code == 200
    row = again(message)
    assert (row.status, row.receipt_due_at) == ("delivered", None)
    assert DeliveryReceipt.objects.get().message_id == message.pk


BODIES: dict[str, tuple[Callable[[str], bytes], str]] = {
    "JSON": (lambda found: json.dumps(said(found)).encode(), "application/json"),
    "JSON without its type": (lambda found: json.dumps(said(found)).encode(), "text/plain"),
    "other case": (
        lambda found: json.dumps({"MESSAGEID": found, "STATUS": "Delivered"}).encode(),
        "application/json",
    ),
    "a list": (lambda found: json.dumps([said("another"), said(found)]).encode(), "application/json"),
    "in an envelope": (
        lambda found: json.dumps({"responseCode": "00", "data": said(found)}).encode(),
        "application/json",
    ),
    "in a list in an envelope": (
        lambda found: json.dumps({"status": 0, "data": [said("another"), said(found)]}).encode(),
        "application/json",
    ),
    "a form": (
        lambda found: urlencode({"MessageId": found, "Status": "Delivered"}).encode(),
        "application/x-www-form-urlencoded",
    ),
    "a number for a status": (lambda found: json.dumps({"messageId": found, "status": 7}).encode(), "application/json"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_receipt_is_understood_as(sandbox: Sandbox, name: str) -> None:
    message = accepted()
    body, content_type = BODIES[name]
    assert push(body(message.provider_id), content_type).status_code == 200
    assert DeliveryReceipt.objects.get(message=message.pk).provider_id == message.provider_id
    assert is_due(message)


def test_only_what_is_known_and_names_nobody_is_kept() -> None:
    known = {"rate": 0.03, "units": 1, "networkId": "62001", "batchId": "b", "clientReference": "ours"}
    personal = {
        "Content": "Your code is 123456",
        "text": "123456",
        "to": PHONE[1:],
        "mobile": int(PHONE[1:]),
        "customerName": "Ama Mensah",
        "more": {"messageBody": "Your code is 123456"},
        "time": [PHONE],
        "reference": f"to {PHONE}",
    }
    push({**said("x"), **known, **personal})
    raw = DeliveryReceipt.objects.get().raw
    assert set(json.loads(raw)) == {name.lower() for name in (*said("x"), *known, "reference")}
    for one in ("123456", PHONE[1:], "Ama"):
        assert one not in raw


@pytest.mark.parametrize("content_type", ["text/xml", "application/json", "application/x-www-form-urlencoded"])
def test_of_what_is_not_understood_only_its_size_and_sum_are_kept(content_type: str) -> None:
    body = f"<x><to>{PHONE[1:]}</to><content>Your code is 123456</content></x>".encode()
    push(body, content_type)
    raw = DeliveryReceipt.objects.get().raw
    assert json.loads(raw) == {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}


@pytest.mark.django_db(transaction=True)
def test_pushes_questions_and_answers_about_the_same_messages_never_wait_in_a_ring(sandbox: Sandbox) -> None:
    messages = [an_sms(phone, purpose=Purpose.BULK, hint=False) for phone in phones(100)]
    dispatch.dispatch_bulk(seconds=30)
    rows = [again(message) for message in messages]
    assert {row.status for row in rows} == {"accepted"}
    heard = [receipts.Heard(row.pk, row.last_attempt_id, None, 60.0, looked=True) for row in rows]

    def answered() -> None:
        for turn in range(30):
            receipts.store(heard if turn % 2 else heard[::-1], [])

    def pushed(order: int) -> None:
        for turn in range(30):
            said_now = [receipts.Receipt(row.provider_id, f"Sent {turn}", "accepted", None, "{}") for row in rows]
            receipts.pushed(said_now[::order], [(row.pk, row.provider_id) for row in rows])

    def asked() -> None:
        for _ in range(30):
            receipts.ask_now([row.pk for row in rows[::-1]])

    with meanwhile(answered, lambda: pushed(1), lambda: pushed(-1), asked):
        pass
    assert {again(row).receipt_looks for row in rows} == {30}, "every answer was written"


# --- before its message, and in doubt ------------------------------------------------------------------------------


def test_a_receipt_that_comes_before_its_message_is_matched_when_that_turns_up(sandbox: Sandbox) -> None:
    push(said("early-id", "Sent"))
    receipts.settle_unmatched()
    assert DeliveryReceipt.objects.get().message_id is None
    message = accepted()
    OutboundMessage.objects.filter(pk=message.pk).update(provider_id="early-id")
    receipts.settle_unmatched()
    assert DeliveryReceipt.objects.get().message_id == message.pk
    assert is_due(message)


def test_a_receipt_that_nobody_claims_is_forgotten_after_a_day() -> None:
    push(said("nobody", "Sent"))
    push(b"garbage")
    DeliveryReceipt.objects.update(received_at=Now() - timedelta(hours=23))
    receipts.settle_unmatched()
    assert DeliveryReceipt.objects.count() == 2
    DeliveryReceipt.objects.update(received_at=Now() - timedelta(hours=25))
    receipts.settle_unmatched()
    assert not DeliveryReceipt.objects.exists()


def in_doubt(sandbox: Sandbox) -> tuple[OutboundMessage, str]:
    """A message in doubt that has arrived, and the provider's id of it."""
    message = an_sms(hint=False)
    sandbox.faults(reset_after_accept=True, deliver_after_ms=0)
    dispatch.deliver(message.pk)
    sandbox.faults()
    assert again(message).status == "in_doubt"
    return message, sandbox.messages()[0]["id"]


def test_a_push_with_our_reference_proves_what_became_of_a_message_in_doubt(sandbox: Sandbox) -> None:
    message, provider_id = in_doubt(sandbox)
    push(said(provider_id, clientReference=str(message.pk)))
    assert again(message).status == "in_doubt", "a push alone proves nothing"
    receipts.poll(seconds=1)
    row = again(message)
    assert (row.status, row.provider_id) == ("delivered", provider_id)
    assert row.accepted_at is not None


def test_a_push_that_names_the_text_of_another_phone_proves_nothing(sandbox: Sandbox) -> None:
    message, _ = in_doubt(sandbox)
    other = sandbox.send(phones(1)[0]).json()["messageId"]
    push(said(other, clientReference=str(message.pk)))
    receipts.poll(seconds=1)
    assert again(message).status == "in_doubt"


# --- whatever is thrown at it --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"garbage", "application/json"),
        (b"<xml>Delivered</xml>", "text/xml"),
        (b"\xff\xfe\x00\x01", "application/octet-stream"),
        (b"[" * 60_000, "application/json"),
        (b'{"messageId": "x"}', "application/json"),
        (b'{"status": "Delivered"}', "application/json"),
        (b"9" * 5_000, "application/json"),
        (b"null", "application/json"),
        (b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--x--", "multipart/form-data; boundary=x"),
        (b"--x", "multipart/form-data"),
        (b"a=%00%ff&%zz", "application/x-www-form-urlencoded"),
    ],
)
def test_that_something_was_not_understood_is_kept_for_a_day(body: bytes, content_type: str) -> None:
    for _ in range(2):
        answer = push(body, content_type)
        assert (answer.status_code, answer.json()) == (200, {"receipts": 0})
    receipt = DeliveryReceipt.objects.get()
    assert (receipt.message_id, receipt.status) == (None, "")
    assert receipt.raw


@pytest.mark.parametrize("body", [b"", b"  \n"])
def test_an_empty_body_is_refused(body: bytes) -> None:
    assert push(body).status_code == 400


def test_a_body_over_64_kb_is_refused(sandbox: Sandbox) -> None:
    message = accepted()
    fits = json.dumps(said(message.provider_id)).encode().ljust(hooks.LARGEST)
    assert push(fits + b" ").status_code == 413
    assert not DeliveryReceipt.objects.exists()
    assert push(fits).status_code == 200


def test_a_thousand_receipts_in_one_call_are_two_statements(
    sandbox: Sandbox, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    body = [{"messageId": f"m{n}", "status": "Sent"} for n in range(1_000)]
    with django_assert_max_num_queries(4):
        assert push(body).json() == {"receipts": 1_000}
    assert DeliveryReceipt.objects.count() == 1_000


@pytest.mark.parametrize(
    "strange",
    [
        said("\x00"),
        said("x" * 5_000, "y" * 5_000),
        said("\ud800", "\ud800"),
        said("x", "Delivered", updateTime="0001-01-01"),
        said("x", "Delivered", updateTime="9999-12-31T23:59:59-23:59"),
        said("x", "Delivered", updateTime={"a": 1}),
        said("x", "Delivered", clientReference="not an id"),
        {"id": 5, "status": True, "a": {"b": {"c": {"d": {"e": said("x")}}}}},
    ],
)
def test_strange_values_are_no_failure(strange: dict[str, object]) -> None:
    assert push(strange).status_code == 200


@effort(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=300)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["messageId", "status", "time", "data", "id", "clientReference"]), inner)
        ),
        max_leaves=12,
    ).map(lambda found: json.dumps(found).encode()),
    st.sampled_from(["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]),
)
def test_whatever_is_pushed_is_kept_or_refused(body: bytes, content_type: str) -> None:
    assert push(body, content_type).status_code in (200, 400)


# --- from the network's side ---------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_receipts_early_reordered_doubled_and_unknown_end_in_the_truth(sandbox: Sandbox, live_server: Any) -> None:
    sandbox.faults(
        receipts_to=live_server.url + URL,
        receipts_early=True,
        receipts_reordered=True,
        receipts_doubled=True,
        receipts_unknown=True,
        delay_ms=700,
        deliver_after_ms=100,
    )
    message = an_sms(hint=False)
    dispatch.deliver(message.pk)
    wait_for(lambda: sandbox.stats()["faults_hit"].get("receipts_pushed") == 9, "all are pushed")
    assert again(message).status == "accepted"
    receipts.settle_unmatched()
    mine = DeliveryReceipt.objects.filter(message=message.pk)
    assert sorted(mine.values_list("status_text", flat=True)) == ["Delivered", "Pending", "Sent"]
    assert DeliveryReceipt.objects.filter(message=None).count() == 3
    assert is_due(message), "asked about long before the minute is over"
    receipts.poll(seconds=1)
    assert again(message).status == "delivered"


def test_a_status_that_goes_back_takes_nothing_back(sandbox: Sandbox) -> None:
    sandbox.faults(status_goes_back=True, deliver_after_ms=600)
    message = accepted()
    words = []
    for wait in (0.35, 0, 0.35):
        time.sleep(wait)
        OutboundMessage.objects.update(receipt_due_at=Now())
        receipts.poll(seconds=1)
        words.append(DeliveryReceipt.objects.order_by("-received_at").values_list("status_text", flat=True)[0])
    assert words == ["Sent", "Pending", "Delivered"]
    assert again(message).status == "delivered"
    push(said(message.provider_id, "Sent"))
    receipts.poll(seconds=1)
    assert again(message).status == "delivered"
