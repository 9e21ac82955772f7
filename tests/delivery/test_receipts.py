"""What became of messages: asked on the ladder, batch by batch, stored once, and only ever forward."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.cache import cache
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from core.delivery import dispatch, receipts, rules
from core.delivery.models import DeliveryAttempt, DeliveryReceipt, MessageEvent, OutboundMessage
from core.delivery.rules import LOOK_AGES, Purpose
from core.tasks import poll_receipts
from stack.servers import free_port
from tests.delivery.outbox import Hints, again, an_sms, meanwhile, phones, wait_for
from tests.delivery.raw_server import answering, http
from tests.sandbox.process import Sandbox
from tests.system.product import Process

pytestmark = pytest.mark.django_db

MINUTE, HOUR, DAY = 60, 3_600, 86_400


@pytest.fixture(autouse=True)
def nobody_has_hinted() -> Iterator[None]:
    cache.delete(receipts.HINT)
    yield
    cache.delete(receipts.HINT)


def accepted(count: int = 1, *, purpose: Purpose = Purpose.SERVICE) -> list[OutboundMessage]:
    """Messages that the sandbox has taken: bulk ones in one batch, others one by one."""
    messages = [an_sms(phone, purpose=purpose, hint=False) for phone in phones(count)]
    if purpose == Purpose.BULK:
        dispatch.dispatch_bulk(seconds=30)
    else:
        for message in messages:
            dispatch.deliver(message.pk)
    assert {again(message).status for message in messages} == {"accepted"}
    return [again(message) for message in messages]


def passes(seconds: float) -> None:
    """Let so much time pass for every message and its call."""
    gone = timedelta(seconds=seconds)
    moments = ("accepted_at", "receipt_due_at", "created_at", "updated_at", "due_at", "ring_at", "lease_until")
    OutboundMessage.objects.update(**{name: F(name) - gone for name in moments})
    DeliveryAttempt.objects.update(started_at=F("started_at") - gone, finished_at=F("finished_at") - gone)


def look_in(message: OutboundMessage) -> float | None:
    """In how many seconds it is asked about."""
    row = OutboundMessage.objects.annotate(wait=F("receipt_due_at") - Now()).get(pk=message.pk)
    return None if row.receipt_due_at is None else float(row.wait.total_seconds())


def asked(sandbox: Sandbox) -> int:
    return sum(count for what, count in sandbox.stats()["requests"].items() if what.startswith("GET /v1/messages"))


# --- the ladder ----------------------------------------------------------------------------------------------------


def test_a_message_is_asked_about_a_minute_after_it_was_accepted(sandbox: Sandbox) -> None:
    [message] = accepted()
    assert look_in(message) == pytest.approx(60, abs=2)
    assert receipts.poll(seconds=1) == (0, False)
    assert asked(sandbox) == 0
    passes(MINUTE)
    assert receipts.poll(seconds=1) == (1, False)
    assert asked(sandbox) == 1


def test_a_delivered_message_has_its_receipt_price_and_network(sandbox: Sandbox) -> None:
    sandbox.faults(deliver_after_ms=0)
    [message] = accepted()
    OutboundMessage.objects.update(cost=None, network="")
    passes(MINUTE)
    receipts.poll(seconds=1)
    row = again(message)
    assert (row.status, row.receipt_due_at, row.receipt_looks) == ("delivered", None, 1)
    assert (row.cost, row.network, row.error) == (Decimal("0.0300"), "62001", "")
    assert row.outcome_at is not None
    receipt = DeliveryReceipt.objects.get()
    assert (receipt.message_id, receipt.provider, receipt.provider_id) == (row.pk, "hubtel", row.provider_id)
    assert (receipt.status_text, receipt.status, receipt.source) == ("Delivered", "delivered", "poll")
    assert receipt.provider_at is not None
    assert row.recipient[1:] not in receipt.raw
    assert "Hello" not in receipt.raw
    passes(DAY)
    assert receipts.poll(seconds=1) == (0, False), "final is final: nobody asks again"
    assert not MessageEvent.objects.exists(), "the receipt tells it"


def test_the_ladder_ends_after_72_hours_in_an_unknown_outcome(sandbox: Sandbox) -> None:
    sandbox.faults(deliver_after_ms=86_400_000)
    [message] = accepted()
    seen = []
    for before, rung in zip((0, *LOOK_AGES[:-1]), LOOK_AGES, strict=True):
        passes(rung - before)
        assert receipts.poll(seconds=1) == (1, False), rung
        seen.append(look_in(message))
    gaps = [later - sooner for sooner, later in pairwise(LOOK_AGES)]
    assert seen[:-1] == [pytest.approx(gap, abs=3) for gap in gaps]
    assert LOOK_AGES == (MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 8 * HOUR, DAY, 2 * DAY, 3 * DAY)
    row = again(message)
    assert (row.status, row.receipt_due_at, row.receipt_looks) == ("outcome_unknown", None, len(LOOK_AGES))
    assert "72 hours" in row.error
    event = MessageEvent.objects.get()
    assert (event.from_status, event.to_status, event.reason) == ("accepted", "outcome_unknown", row.error)


@pytest.mark.parametrize(
    ("number", "status"),
    [
        ("+233240099991", "undelivered_permanent"),
        ("+233240099993", "undelivered_permanent"),
        ("+233240099994", "undelivered_temporary"),
        ("+233240099992", "accepted"),
    ],
)
def test_a_phone_that_does_not_get_it(sandbox: Sandbox, number: str, status: str) -> None:
    sandbox.faults(deliver_after_ms=0)
    message = an_sms(number, hint=False)
    dispatch.deliver(message.pk)
    passes(MINUTE)
    receipts.poll(seconds=1)
    row = again(message)
    assert row.status == status
    assert (row.receipt_due_at is None) == (status != "accepted")
    assert row.error.startswith("Hubtel: ") == (status != "accepted")


@pytest.mark.parametrize(
    "faults",
    [
        {"error_status": 401},
        {"error_status": 429},
        {"error_status": 500},
        {"error_status": 503},
        {"hang": True},
        {"reset_after_headers": True},
        {"truncate": True},
    ],
)
def test_a_provider_that_does_not_answer_costs_no_look(sandbox: Sandbox, faults: dict[str, object]) -> None:
    [message] = accepted()
    passes(MINUTE)
    sandbox.faults(on="status", **faults)
    assert receipts.poll(seconds=1) == (0, False)
    row = again(message)
    assert (row.status, row.receipt_looks, row.error) == ("accepted", 0, "")
    wait = look_in(message)
    assert wait is not None
    assert 10 < wait <= 66
    sandbox.faults()
    passes(wait + 1)
    assert receipts.poll(seconds=1) == (1, False)


def test_missing_credentials_cost_no_look_and_no_call(sandbox: Sandbox, settings: LazySettings) -> None:
    [message] = accepted()
    passes(MINUTE)
    settings.HUBTEL_CLIENT_ID = ""
    assert receipts.poll(seconds=1) == (0, False)
    assert (again(message).receipt_looks, asked(sandbox)) == (0, 0)


def test_how_long_the_provider_asks_us_to_wait_is_heeded(settings: LazySettings, sandbox: Sandbox) -> None:
    [message] = accepted()
    passes(MINUTE)
    with answering(http(429, b"", Retry_After="300")) as server:
        settings.HUBTEL_BASE_URL = server.url
        receipts.poll(seconds=1)
    wait = look_in(message)
    assert wait is not None
    assert wait > 290


def test_a_provider_that_stays_away_leaves_the_outcome_unknown_in_the_end(
    settings: LazySettings, sandbox: Sandbox
) -> None:
    [message] = accepted()
    settings.HUBTEL_BASE_URL = f"http://127.0.0.1:{free_port()}/v1/messages"
    passes(3 * DAY)
    receipts.poll(seconds=1)
    assert again(message).status == "accepted", "the last question is still to be answered"
    passes(DAY)
    receipts.poll(seconds=1)
    assert again(message).status == "outcome_unknown"


def test_one_away_puts_off_what_was_taken_and_asks_no_further(settings: LazySettings, sandbox: Sandbox) -> None:
    messages = accepted(5)
    passes(MINUTE)
    with answering(http(503)) as server:
        settings.HUBTEL_BASE_URL = server.url
        receipts.poll(seconds=5)
    assert len(server.heard) == 1
    assert [(look_in(message) or 0) > 10 for message in messages] == [True, *[False] * 4]
    assert set(OutboundMessage.objects.values_list("receipt_looks", flat=True)) == {0}


@pytest.mark.parametrize(
    "answer", [http(404), http(200, b"<html>"), http(200, {"messageId": "x", "status": "Delivered"})]
)
def test_an_answer_that_tells_nothing_uses_up_a_look(settings: LazySettings, sandbox: Sandbox, answer: bytes) -> None:
    [message] = accepted()
    passes(MINUTE)
    with answering(answer) as server:
        settings.HUBTEL_BASE_URL = server.url
        assert receipts.poll(seconds=1) == (1, False)
    row = again(message)
    assert (row.status, row.receipt_looks) == ("accepted", 1)
    assert look_in(message) == pytest.approx(240, abs=3)
    assert not DeliveryReceipt.objects.exists()


# --- batches -------------------------------------------------------------------------------------------------------


def test_the_messages_of_a_batch_are_asked_about_by_one_question_and_stored_at_once(sandbox: Sandbox) -> None:
    sandbox.faults(deliver_after_ms=0)
    accepted(100, purpose=Purpose.BULK)
    passes(MINUTE)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert receipts.poll(seconds=10) == (100, False)
    assert asked(sandbox) == 1
    assert set(OutboundMessage.objects.values_list("status", "cost")) == {("delivered", Decimal("0.0300"))}
    assert DeliveryReceipt.objects.filter(message__isnull=False).count() == 100
    writes = [query["sql"].split()[0] for query in queries if "SAVEPOINT" not in query["sql"]]
    assert writes == ["WITH", "SELECT", "UPDATE", "INSERT", "WITH"], "take, lock, messages, receipts, no more to take"


def test_those_who_have_waited_longest_are_asked_about_first(sandbox: Sandbox) -> None:
    messages = accepted(3)
    for place, message in enumerate(reversed(messages)):
        OutboundMessage.objects.filter(pk=message.pk).update(receipt_due_at=Now() - timedelta(minutes=9 - place))
    sandbox.faults(delay_ms=50)
    assert receipts.poll(seconds=0) == (1, True), "the others are given back when the time is up"
    assert [again(message).receipt_looks for message in messages] == [0, 0, 1]
    assert receipts.poll(seconds=1) == (2, False)


def test_100_000_would_go_the_same_way(sandbox: Sandbox) -> None:
    """1,000 here, 100,000 in the benchmark: ten questions, four statements for each, and a last look."""
    sandbox.faults(deliver_after_ms=0)
    accepted(1_000, purpose=Purpose.BULK)
    passes(MINUTE)
    with CaptureQueriesContext(connection) as queries:
        assert receipts.poll(seconds=30) == (1_000, False)
    assert asked(sandbox) == 10
    assert len([query for query in queries if "SAVEPOINT" not in query["sql"]]) == 41
    assert OutboundMessage.objects.filter(status="delivered").count() == 1_000


def test_numbers_that_a_batch_status_does_not_name_stay_on_the_ladder(sandbox: Sandbox, settings: LazySettings) -> None:
    messages = accepted(4, purpose=Purpose.BULK)
    passes(MINUTE)
    named = messages[0]
    entry = {"messageId": named.provider_id.upper(), "status": "Delivered", "rate": 0.05, "to": named.recipient[1:]}
    foreign = {"messageId": "of-somebody-else", "status": "Delivered", "to": messages[1].recipient[1:]}
    assert named.last_attempt
    batch = named.last_attempt.batch_id
    with answering(http(200, {"batchId": batch, "rate": 0.1, "data": [entry, foreign]})) as server:
        settings.HUBTEL_BASE_URL = server.url
        assert receipts.poll(seconds=1) == (4, False)
    assert [again(message).status for message in messages] == ["delivered", *["accepted"] * 3]
    assert again(named).cost == Decimal("0.0500")
    assert DeliveryReceipt.objects.count() == 1


# --- only forward, once --------------------------------------------------------------------------------------------


def test_the_same_receipt_is_kept_once_and_each_word_by_itself(sandbox: Sandbox, settings: LazySettings) -> None:
    [message] = accepted()
    said = [("Pending", 0), ("Sent", 1), ("Sent", 1), ("Pending", 0), ("Teleported", 2), ("Delivered", 3)]
    for word, minute in said:
        passes(DAY / 20)
        OutboundMessage.objects.update(receipt_due_at=Now())
        answer = {"messageId": message.provider_id, "status": word, "updateTime": f"2026-11-22T10:0{minute}:00"}
        with answering(http(200, answer)) as server:
            settings.HUBTEL_BASE_URL = server.url
            receipts.poll(seconds=1)
        assert again(message).status == ("delivered" if word == "Delivered" else "accepted")
    kept = DeliveryReceipt.objects.order_by("provider_at").values_list("status_text", "status")
    assert list(kept) == [("Pending", "accepted"), ("Sent", "accepted"), ("Teleported", ""), ("Delivered", "delivered")]


def test_what_is_final_meanwhile_stays_so_and_the_late_word_is_kept(sandbox: Sandbox, settings: LazySettings) -> None:
    [message] = accepted()
    passes(MINUTE)

    taken = receipts._take()
    OutboundMessage.objects.filter(pk=message.pk).update(status="delivered", receipt_due_at=None)
    with answering(http(200, {"messageId": message.provider_id, "status": "Expired"})) as server:
        settings.HUBTEL_BASE_URL = server.url
        answer = receipts._ask(taken)
    [report] = answer.reports
    receipts.store([receipts.decide(taken[0], answer, report)], [receipts._receipt(taken[0], report)])
    assert again(message).status == "delivered"
    assert DeliveryReceipt.objects.get().status_text == "Expired"


# --- side by side, and killed --------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_pollers_never_ask_the_same_twice(sandbox: Sandbox) -> None:
    accepted(3)
    numbers = phones(1_500, first=100)
    for number in numbers:
        an_sms(number, purpose=Purpose.BULK, hint=False)
    dispatch.dispatch_bulk(seconds=60)
    passes(MINUTE)
    sandbox.faults(latency_ms=30)
    with meanwhile(*[lambda: receipts.poll(seconds=20)] * 4):
        pass
    assert asked(sandbox) == 3 + 15
    assert OutboundMessage.objects.filter(receipt_looks=1).count() == 1_503


@pytest.mark.django_db(transaction=True)
def test_while_one_asks_another_takes_nothing_of_it(sandbox: Sandbox) -> None:
    accepted(100, purpose=Purpose.BULK)
    passes(MINUTE)
    sandbox.faults(hang=True, on="status")
    with meanwhile(lambda: receipts.poll(seconds=1)):
        wait_for(lambda: sandbox.stats()["faults_hit"].get("hang"), "the first asks")
        assert receipts._take() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("known_call", [True, False])
def test_what_somebody_writes_just_now_is_passed_over_and_taken_the_next_time(
    sandbox: Sandbox, known_call: bool
) -> None:
    held, free = accepted(2, purpose=Purpose.BULK)
    if not known_call:
        OutboundMessage.objects.update(last_attempt=None)
    passes(MINUTE)
    found: list[list[uuid.UUID]] = []

    def take() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '2s'")
            found.append([row.id for row in receipts._take()])

    with transaction.atomic():
        OutboundMessage.objects.select_for_update(no_key=True).get(pk=held.pk)
        with meanwhile(take):
            pass
    take()
    assert found == [[free.pk], [held.pk]]


@pytest.mark.django_db(transaction=True)
def test_a_poller_killed_while_it_asks_costs_two_minutes_and_nothing_else(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUBTEL_TIMEOUT_SECONDS", "30")
    sandbox.faults(deliver_after_ms=0)
    accepted(20, purpose=Purpose.BULK)
    passes(MINUTE)
    sandbox.faults(hang=True, on="status")
    worker = Process(tmp_path / "worker.log", "tests.delivery.poll_once")
    try:
        wait_for(lambda: sandbox.stats()["faults_hit"].get("hang"), "it asks", seconds=20)
    finally:
        worker.signal(signal.SIGKILL)
        worker.popen.wait(5)
    sandbox.faults()
    assert set(OutboundMessage.objects.values_list("status", "receipt_looks")) == {("accepted", 0)}
    assert receipts.poll(seconds=1) == (0, False), "nobody knows that it is gone"
    passes(receipts.TAKEN_SECONDS)
    assert receipts.poll(seconds=1) == (20, False)
    assert set(OutboundMessage.objects.values_list("status", flat=True)) == {"delivered"}


# --- being called --------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_sweep_hints_once_for_all_that_is_due(sandbox: Sandbox, hints: Hints) -> None:
    accepted(3)
    receipts.sweep()
    assert hints() == [], "nothing is due"
    passes(MINUTE)
    with meanwhile(*[receipts.sweep] * 4):
        pass
    receipts.sweep()
    assert hints() == [("bulk", "core.tasks.poll_receipts", [])]
    poll_receipts.apply()
    assert OutboundMessage.objects.filter(receipt_looks=1).count() == 3
    hints.forget()
    receipts.sweep()
    assert hints() == [], "nothing is left"


@pytest.mark.django_db(transaction=True)
def test_a_slice_with_more_to_do_gets_in_line_again(
    sandbox: Sandbox, hints: Hints, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted(3)
    passes(MINUTE)
    assert receipts.run_slice(seconds=0) == 1
    assert hints() == [("bulk", "core.tasks.poll_receipts", [])]
    receipts.sweep()
    assert len(hints()) == 1


@pytest.mark.django_db(transaction=True)
def test_a_hint_that_redis_has_lost_is_given_again(sandbox: Sandbox, hints: Hints) -> None:
    accepted()
    passes(MINUTE)
    receipts.sweep()
    hints.forget()
    cache.clear()  # the same Redis, as a rule
    receipts.sweep()
    assert len(hints()) == 1


def test_a_sweep_with_nothing_to_do_is_one_look(sandbox: Sandbox) -> None:
    accepted(2)
    with CaptureQueriesContext(connection) as queries:
        receipts.sweep()
        receipts.settle_unmatched()
    assert len(queries) == 2


def test_a_message_can_be_asked_about_at_once(sandbox: Sandbox) -> None:
    sandbox.faults(deliver_after_ms=0)
    [message] = accepted()
    assert receipts.ask_now([message.pk]) == 1
    assert receipts.poll(seconds=1) == (1, False)
    assert receipts.ask_now([message.pk]) == 0


def test_mails_and_messages_without_an_id_are_not_asked_about() -> None:
    assert rules.first_look(rules.Channel.EMAIL, "an-id") is None
    assert rules.first_look(rules.Channel.SMS, "") is None
