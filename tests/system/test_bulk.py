"""Bulk SMS at full length through a real worker with no setting changed, and a single text that overtakes it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.result import AsyncResult
from django.db.models import Min

from core.delivery.models import OutboundMessage
from core.tasks import process_bulk_sms, send_sms_async
from tests.sandbox.process import Sandbox
from tests.system.product import Process, wait_until, worker

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]

NUMBERS = [f"024{n:07d}" for n in range(10_000)]
URGENT = "+233201234567"


@pytest.fixture
def a_default_worker(tmp_path: Path, sandbox: Sandbox, empty_redis: None) -> Iterator[Process]:
    """`celery -A core worker -l INFO`, nothing more."""
    process = worker(tmp_path / "worker.log")
    yield process
    process.stop()


@pytest.fixture
def a_single_worker(tmp_path: Path, sandbox: Sandbox, empty_redis: None) -> Iterator[Process]:
    process = worker(tmp_path / "worker.log", "-c", "1")
    yield process
    process.stop()


def accepted_bulk() -> int:
    return OutboundMessage.objects.filter(lane="bulk", status="accepted").count()


def one_text_gets_through() -> float:
    """Asks for one SMS while the bulk is running. Seconds until its task was done."""
    began = time.monotonic()
    result = send_sms_async.delay(URGENT, "Your verification code is 123456").get(timeout=60)
    assert result["status"] == "ok"
    return time.monotonic() - began


def check_the_phones(sandbox: Sandbox) -> None:
    arrived = sandbox.messages(kind="sms", limit=10_000) + sandbox.messages(kind="sms", limit=10_000, offset=10_000)
    expected = Counter(f"+233{number[1:]}" for number in NUMBERS) | Counter([URGENT])
    assert Counter(message["to"] for message in arrived) == expected, "every number once, and nobody else"


def all_done(bulk: AsyncResult[Any]) -> None:
    assert bulk.get(timeout=180)["accepted_for_sending"] == len(NUMBERS)
    wait_until(lambda: accepted_bulk() == len(NUMBERS), 180, "all texts accepted")


def check_the_order(share: float) -> None:
    """The single text was accepted when no more than this share of the bulk had gone."""
    accepted_at = OutboundMessage.objects.get(lane="default").accepted_at
    before = OutboundMessage.objects.filter(lane="bulk", accepted_at__lt=accepted_at).count()
    first = OutboundMessage.objects.filter(lane="bulk").aggregate(first=Min("accepted_at"))["first"]
    print(f"{before} of {len(NUMBERS):,} bulk texts were accepted before the single one")
    assert first < accepted_at, "the bulk was under way"
    assert before < len(NUMBERS) * share


def test_ten_thousand_numbers_arrive_once_and_a_single_text_overtakes_them(
    sandbox: Sandbox, a_default_worker: Process
) -> None:
    sandbox.faults(delay_ms=20)
    began = time.monotonic()
    bulk = process_bulk_sms.delay(NUMBERS, "Vaccination day is Friday. Bring your card.")
    wait_until(lambda: accepted_bulk() > 0, 60, "the bulk is under way")
    latency = one_text_gets_through()
    all_done(bulk)
    print(f"10,000 texts in {time.monotonic() - began:.1f} s; a single one meanwhile in {latency:.2f} s")
    check_the_phones(sandbox)
    check_the_order(share=0.5)
    assert not OutboundMessage.objects.exclude(status="accepted").exists()


def test_a_worker_with_one_process_lets_a_single_text_overtake_the_bulk(
    sandbox: Sandbox, a_single_worker: Process
) -> None:
    sandbox.faults(delay_ms=20)
    bulk = process_bulk_sms.delay(NUMBERS, "Vaccination day is Friday. Bring your card.")
    wait_until(lambda: accepted_bulk() > 0, 60, "the bulk is under way")
    print(f"a single text meanwhile in {one_text_gets_through():.2f} s")
    all_done(bulk)
    check_the_phones(sandbox)
    check_the_order(share=0.8)
