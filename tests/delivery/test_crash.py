"""Workers that die in mid-call, come late, or work side by side: each text once, and doubt where there is doubt."""

from __future__ import annotations

import signal
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from django.conf import LazySettings

from core.delivery import dispatch
from core.delivery.models import DeliveryAttempt, OutboundMessage
from core.delivery.rules import Purpose
from core.delivery.settling import open_attempt
from tests.delivery.outbox import again, an_email, an_sms, meanwhile, phones, wait_for
from tests.sandbox.process import Sandbox
from tests.system.product import Process

pytestmark = pytest.mark.django_db(transaction=True)


def being_sent(message: OutboundMessage) -> bool:
    return again(message).status == "submitting"


def test_the_attempt_is_committed_before_the_call(sandbox: Sandbox) -> None:
    message = an_sms(hint=False)
    sandbox.faults(hang=True)
    with meanwhile(lambda: dispatch.deliver(message.pk)):
        wait_for(lambda: sandbox.stats()["faults_hit"].get("hang"), "the request is out")
        row = again(message)  # read through another connection than the one that sends
        assert row.status == "submitting"
        assert row.lease_until is not None
        assert row.last_attempt is not None
        assert (row.last_attempt.provider, row.last_attempt.messages) == ("hubtel", 1)
        assert (row.last_attempt.verdict, row.last_attempt.finished_at) == ("", None)
        assert dispatch.deliver(message.pk) is False, "another worker leaves it alone"
    assert again(message).status == "in_doubt"


@pytest.mark.parametrize("fault", ["hang", "hang_after_accept"])
def test_a_worker_killed_in_mid_call_leaves_doubt_and_nobody_sends_again(
    sandbox: Sandbox,
    tmp_path: Path,
    leases_over: Callable[[], int],
    make_due: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    monkeypatch.setenv("HUBTEL_TIMEOUT_SECONDS", "30")
    message = an_sms(hint=False)
    sandbox.faults(**{fault: True})
    worker = Process(tmp_path / "worker.log", "tests.delivery.deliver_one", str(message.pk))
    try:
        wait_for(lambda: sandbox.stats()["faults_hit"].get(fault), "the request is out", seconds=20)
        assert being_sent(message)
    finally:
        worker.signal(signal.SIGKILL)
        worker.popen.wait(5)
    sandbox.faults()
    arrived = sandbox.total()

    dispatch.sweep()
    assert being_sent(message), "the lease still runs: the worker may only be slow"
    assert leases_over() == 1
    dispatch.sweep()
    row = again(message)
    assert (row.status, row.lease_until, row.attempts) == ("in_doubt", None, 1)
    assert row.last_attempt is not None
    assert (row.last_attempt.verdict, row.last_attempt.error) == ("in_doubt", "the worker stopped")
    assert row.last_attempt.finished_at is not None

    for _ in range(2):
        make_due()
        dispatch.sweep()
        dispatch.dispatch_due()
        assert dispatch.deliver(message.pk) is False
    assert (again(message).status, sandbox.total()) == ("in_doubt", arrived)
    assert DeliveryAttempt.objects.count() == 1


@pytest.mark.parametrize(
    ("faults", "ends"),
    [
        ({}, "accepted"),
        ({"body_status": 1}, "in_doubt"),
        ({"error_status": 403}, "in_doubt"),
        ({"error_status": 429}, "in_doubt"),
        ({"error_status": 500}, "in_doubt"),
    ],
)
def test_an_answer_after_the_lease_can_only_turn_doubt_into_proof(
    sandbox: Sandbox, leases_over: Callable[[], int], settings: LazySettings, faults: dict[str, object], ends: str
) -> None:
    settings.HUBTEL_TIMEOUT_SECONDS = 5
    message = an_sms(hint=False)
    sandbox.faults(delay_ms=500, **faults)
    with meanwhile(lambda: dispatch.deliver(message.pk)):
        wait_for(lambda: being_sent(message), "the call has begun")
        leases_over()
        dispatch.sweep()
        assert again(message).status == "in_doubt"
    row = again(message)
    assert (row.status, row.attempts, row.due_at, row.lease_until) == (ends, 1, None, None)
    assert bool(row.provider_id) == (ends == "accepted")


def test_a_late_answer_does_not_touch_what_a_person_has_decided_meanwhile(
    sandbox: Sandbox, leases_over: Callable[[], int], settings: LazySettings
) -> None:
    """Put back by a person and taken anew: the first worker's answer belongs to another fence."""
    settings.HUBTEL_TIMEOUT_SECONDS = 5
    message = an_sms(hint=False)
    sandbox.faults(delay_ms=800, body_status=1)
    with meanwhile(lambda: dispatch.deliver(message.pk)):
        wait_for(lambda: sandbox.stats()["faults_hit"].get("delay_ms"), "the first request is out")
        leases_over()
        dispatch.sweep()
        OutboundMessage.objects.filter(pk=message.pk).update(
            status="queued", due_at=message.created_at, ring_at=message.created_at
        )
        sandbox.faults()
        assert dispatch.deliver(message.pk) is True
        assert again(message).status == "accepted"
    assert (again(message).status, again(message).fence) == ("accepted", 2)


def test_a_late_refusal_does_not_end_a_call_that_another_worker_has_open(
    sandbox: Sandbox, leases_over: Callable[[], int], settings: LazySettings
) -> None:
    settings.HUBTEL_TIMEOUT_SECONDS = 5
    message = an_sms(hint=False)
    sandbox.faults(delay_ms=500, body_status=1)
    with meanwhile(lambda: dispatch.deliver(message.pk)):
        wait_for(lambda: being_sent(message), "the call has begun")
        leases_over()
        dispatch.sweep()
        OutboundMessage.objects.filter(pk=message.pk).update(
            status="queued", due_at=message.created_at, ring_at=message.created_at
        )
        open_attempt([again(message)], price=Decimal("0.03"))
    assert (again(message).status, again(message).fence) == ("submitting", 2)


def test_many_workers_at_one_message_send_it_once(sandbox: Sandbox) -> None:
    message, mail = an_sms(hint=False), an_email(hint=False)
    sandbox.faults(latency_ms=100)
    with meanwhile(*[lambda each=each: dispatch.deliver(each.pk) for each in [message, mail] * 4]):
        pass
    assert len(sandbox.messages(kind="sms")) == len(sandbox.messages(kind="email")) == 1
    assert again(message).status == again(mail).status == "accepted"
    assert DeliveryAttempt.objects.count() == 2


def test_many_dispatchers_send_each_message_once(sandbox: Sandbox) -> None:
    numbers = phones(450)
    for number in numbers:
        an_sms(number, purpose=Purpose.BULK, hint=False)
    sandbox.faults(latency_ms=20)
    with meanwhile(*[lambda: dispatch.dispatch_bulk(seconds=20)] * 4):
        pass
    assert sorted(m["to"] for m in sandbox.messages(limit=1000)) == numbers
    assert OutboundMessage.objects.filter(status="accepted", fence=1, attempts=1).count() == 450
    assert sum(DeliveryAttempt.objects.values_list("messages", flat=True)) == 450


def test_sweeps_side_by_side_give_each_lost_call_back_once(sandbox: Sandbox, leases_over: Callable[[], int]) -> None:
    messages = [an_sms(number, hint=False) for number in phones(20)]
    for message in messages:
        open_attempt([message], price=Decimal("0.03"))
    leases_over()
    with meanwhile(*[dispatch.sweep] * 4):
        pass
    assert set(OutboundMessage.objects.values_list("status", "attempts")) == {("in_doubt", 1)}
    assert set(DeliveryAttempt.objects.values_list("verdict", flat=True)) == {"in_doubt"}
