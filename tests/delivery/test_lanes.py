"""Lanes: people pause and resume them, what is stopped is not touched, codes go first, Redis may go."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from core import clock
from core.base.models import AuditLog
from core.base.services import change_setting
from core.delivery import bucket, dispatch, lanes
from core.delivery.models import Breaker, LaneState, OutboundMessage
from core.delivery.rules import Channel, Purpose
from core.errors import Conflict, InvalidInput
from core.jobs.operations import Actor
from stack.servers import Redis, free_port
from tests.delivery.conftest import forget_lines
from tests.delivery.outbox import Hints, again, an_email, an_sms, meanwhile, phones, wait_for
from tests.factories import UserFactory
from tests.sandbox.process import Sandbox

pytestmark = pytest.mark.django_db

AMA = Actor(None, "ama")


def bulk(count: int, first: int = 0) -> list[OutboundMessage]:
    return [an_sms(number, purpose=Purpose.BULK, hint=False) for number in phones(count, first)]


def pause(channel: Channel = Channel.SMS, lane: str = "bulk") -> None:
    lanes.pause(channel, lane, reason="wrong text", actor=AMA)


def limit(parts_per_second: int) -> None:
    change_setting("sms.parts_per_second", parts_per_second, actor_name="ama")


# --- pausing -------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_paused_lane_sends_nothing_the_others_do_and_it_goes_on(sandbox: Sandbox, hints: Hints) -> None:
    messages, code = bulk(150), an_sms(purpose=Purpose.OTP, hint=False)
    stamps = dict(OutboundMessage.objects.values_list("pk", "updated_at"))
    pause()
    assert dispatch.dispatch_bulk(seconds=5) == (0, False)
    assert dispatch.deliver(messages[0].pk) is False
    OutboundMessage.objects.update(ring_at=Now())
    hints.forget()
    dispatch.sweep()
    assert hints() == [("urgent", "core.tasks.deliver_message", [str(code.pk)])]
    assert dispatch.deliver(code.pk) is True
    assert again(messages[0]).error == "the lane is paused: wrong text"
    assert {message.pk: again(message).updated_at for message in messages} == {m.pk: stamps[m.pk] for m in messages}

    lanes.resume(Channel.SMS, "bulk", reason="text approved", actor=AMA)
    dispatch.sweep()
    assert ("bulk", "core.tasks.dispatch_bulk", []) in hints()
    assert dispatch.dispatch_bulk(seconds=10)[0] == 150
    assert sandbox.total() == 151


def test_email_and_sms_of_one_lane_are_paused_apart(sandbox: Sandbox, hints: Hints) -> None:
    sms, mail = an_sms(hint=False), an_email(hint=False)
    pause(Channel.SMS, "default")
    OutboundMessage.objects.update(ring_at=Now() - timedelta(seconds=1))
    assert dispatch.dispatch_due() == {"urgent": 0, "default": 1, "bulk": 0}
    assert dispatch.deliver(sms.pk) is False
    assert dispatch.deliver(mail.pk) is True


def test_who_paused_and_resumed_and_why_is_written_down() -> None:
    user = UserFactory.create(role="NATIONAL_ADMIN")
    actor = Actor(user.pk, "ama@example.com")
    lanes.pause(Channel.SMS, "bulk", reason="wrong text", actor=actor)
    row = LaneState.objects.get()
    assert (row.reason, row.paused_by_id, row.paused_by_name) == ("wrong text", user.pk, "ama@example.com")
    lanes.resume(Channel.SMS, "bulk", reason="approved", actor=actor)
    row.refresh_from_db()
    assert (row.paused_at, row.reason) == (None, "")
    found = AuditLog.objects.order_by("at").values_list("action", "subject_id", "reason", "actor_id")
    assert list(found) == [
        ("lane.pause", "sms:bulk", "wrong text", user.pk),
        ("lane.resume", "sms:bulk", "approved", user.pk),
    ]


def test_what_cannot_be_done_is_refused_and_writes_nothing() -> None:
    with pytest.raises(InvalidInput):
        lanes.pause(Channel.SMS, "bulk", reason=" ", actor=AMA)
    with pytest.raises(InvalidInput):
        lanes.pause(Channel.EMAIL, "bulk", reason="why", actor=AMA)
    with pytest.raises(Conflict, match="not paused"):
        lanes.resume(Channel.SMS, "bulk", reason="why", actor=AMA)
    pause()
    with pytest.raises(Conflict, match="by ama: wrong text"):
        pause()
    assert AuditLog.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_who_pause_at_once_one_is_told() -> None:
    refused: list[Conflict] = []

    def try_it() -> None:
        try:
            pause()
        except Conflict as error:
            refused.append(error)

    with meanwhile(*[try_it] * 4):
        pass
    assert len(refused) == 3
    assert AuditLog.objects.count() == 1


# --- the gate ------------------------------------------------------------------------------------------------------


def test_the_gate_is_one_query(sandbox: Sandbox) -> None:
    pause()
    Breaker.objects.create(provider="hubtel", fault="no_funds", open=True, opened_at=Now(), reason="no credit")
    Breaker.objects.create(
        provider="hubtel", fault="no_answer", open=True, probe_at=Now() + timedelta(seconds=9), reason="no answer"
    )
    with CaptureQueriesContext(connection) as queries:
        gate = lanes.gate()
    assert len(queries) == 1
    assert gate.shut(Channel.SMS, "bulk") == "the lane is paused: wrong text"
    assert gate.shut(Channel.SMS, "urgent") == "no credit; no answer"
    assert gate.shut(Channel.EMAIL, "urgent") == ""
    assert gate.probe_due(Channel.SMS), "one of the two is due"
    Breaker.objects.update(probe_until=Now() + timedelta(seconds=9))
    assert not lanes.gate().probe_due(Channel.SMS)


def test_without_credentials_nothing_is_announced_and_no_row_is_touched(
    sandbox: Sandbox, hints: Hints, settings: LazySettings
) -> None:
    bulk(5)
    settings.HUBTEL_CLIENT_ID = ""
    assert dispatch.dispatch_due() == {"urgent": 0, "default": 0, "bulk": 0}
    assert dispatch.dispatch_bulk(seconds=1) == (0, False)
    assert set(OutboundMessage.objects.values_list("error", flat=True)) == {""}


def test_what_waits_behind_a_shut_gate_still_ends_at_its_time(sandbox: Sandbox) -> None:
    soon = clock.now() - timedelta(seconds=1)
    late = [an_sms(number, purpose=Purpose.BULK, not_after=soon, hint=False) for number in phones(5)]
    kept = an_sms("+233201234567", purpose=Purpose.BULK, not_after=clock.now() + timedelta(hours=1), hint=False)
    pause()
    dispatch.sweep()
    assert {again(message).status for message in late} == {"expired"}
    assert again(kept).status == "queued"


def test_a_held_message_ends_at_its_time_too(sandbox: Sandbox) -> None:
    held = an_sms(not_before=clock.now() + timedelta(hours=1), not_after=clock.now() + timedelta(hours=2), hint=False)
    OutboundMessage.objects.filter(pk=held.pk).update(not_after=Now() - timedelta(seconds=1))
    dispatch.sweep()
    assert again(held).status == "expired"


# --- the rate ------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_bulk_keeps_to_the_limit_uses_no_tries_and_the_limit_may_change_meanwhile(sandbox: Sandbox) -> None:
    bulk(100)
    limit(20)
    began = time.monotonic()
    while time.monotonic() - began < 2:
        dispatch.dispatch_bulk(seconds=0.5)
    taken = sandbox.total()
    assert 20 <= taken <= 20 * (time.monotonic() - began) + 6
    assert set(OutboundMessage.objects.filter(status="queued").values_list("attempts", "fence")) == {(0, 0)}
    limit(0)
    dispatch.dispatch_bulk(seconds=10)
    assert sandbox.total() == 100


@pytest.mark.django_db(transaction=True)
def test_a_code_goes_while_bulk_has_taken_all_it_may(sandbox: Sandbox) -> None:
    limit(10)
    bulk(100)
    dispatch.dispatch_bulk(seconds=1.5)
    service, code = an_sms(hint=False), an_sms("+233201234567", purpose=Purpose.OTP, hint=False)
    assert dispatch.deliver(code.pk) is True
    while dispatch.deliver(service.pk) is False:  # comes in its turn
        assert (again(service).status, again(service).attempts) == ("queued", 0)
        time.sleep(0.05)
    assert again(code).status == again(service).status == "accepted"


@pytest.mark.django_db(transaction=True)
def test_a_network_that_throttles_gets_less_and_all_arrive_once(sandbox: Sandbox) -> None:
    numbers = phones(300)
    bulk(300)
    sandbox.faults(rate_limit=60)
    deadline = time.monotonic() + 60
    while OutboundMessage.objects.filter(status="queued").exists():
        assert time.monotonic() < deadline
        dispatch.dispatch_bulk(seconds=1)
        time.sleep(0.05)
    assert sorted(m["to"] for m in sandbox.messages(limit=1000)) == numbers
    assert sandbox.stats()["faults_hit"]["rate_limit"] >= 1
    assert set(OutboundMessage.objects.values_list("status", "attempts")) == {("accepted", 1)}
    assert not Breaker.objects.filter(open=True).exists(), "too many requests is no breaker's business"
    rate = bucket.rate("hubtel", 0)
    assert rate is not None
    assert rate.parts_per_second is not None


# --- Redis goes ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_an_emptied_redis_in_mid_send_costs_nothing(sandbox: Sandbox, hints: Hints) -> None:
    numbers = phones(300)
    bulk(300)
    limit(1000)
    sandbox.faults(latency_ms=50)
    with meanwhile(*[lambda: _until_sent(300)] * 2):
        for _ in range(10):
            time.sleep(0.05)
            hints.forget()
    assert sorted(m["to"] for m in sandbox.messages(limit=1000)) == numbers


def _until_sent(count: int) -> None:
    deadline = time.monotonic() + 20
    while OutboundMessage.objects.filter(status="accepted").count() < count and time.monotonic() < deadline:
        dispatch.dispatch_bulk(seconds=0.5)


@pytest.mark.django_db(transaction=True)
def test_a_redis_that_is_killed_in_mid_send_stops_bulk_and_not_the_codes(
    sandbox: Sandbox, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bulk(400)
    sandbox.faults(latency_ms=50)
    with Redis(tmp_path / "redis", free_port(), durable=False) as server:
        monkeypatch.setenv("CELERY_BROKER_URL", server.url(0))
        forget_lines()
        with meanwhile(lambda: dispatch.dispatch_bulk(seconds=10)):
            wait_for(lambda: sandbox.total() >= 100, "the first batch has gone")
            assert server.process is not None
            server.process.kill()
            server.process.wait()
        gone = sandbox.total()
        assert 100 <= gone < 400
        assert dispatch.dispatch_bulk(seconds=1) == (0, False)
        codes = [an_sms(number, purpose=Purpose.OTP, hint=False) for number in phones(5, first=9000)]
        began = time.monotonic()
        assert [dispatch.deliver(code.pk) for code in codes] == [True] * 5
        assert time.monotonic() - began < 3
        assert OutboundMessage.objects.filter(status="in_doubt").count() == 0
    forget_lines()


# --- the command ---------------------------------------------------------------------------------------------------


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("lanes", *arguments, stdout=out)
    return out.getvalue()


def test_the_list_says_what_stands_still_why_and_what_waits(sandbox: Sandbox, make_due: Callable[[], int]) -> None:
    bulk(3)
    OutboundMessage.objects.update(created_at=Now() - timedelta(minutes=5))
    an_sms(not_before=clock.now() + timedelta(hours=1), hint=False)
    pause()
    Breaker.objects.create(provider="smtp", fault="unreachable", open=True, opened_at=Now(), reason="SMTP: not reached")
    limit(50)
    text = run("list")
    lines = {line.split()[0]: line for line in text.splitlines() if ":" in line.partition(" ")[0]}
    assert set(lines) == {"sms:urgent", "sms:default", "sms:bulk", "email:urgent", "email:default"}
    assert "paused" in lines["sms:bulk"]
    assert "ama: wrong text" in lines["sms:bulk"]
    assert "5m" in lines["sms:bulk"]
    assert "open" in lines["sms:default"]
    assert "stopped" in lines["email:default"]
    assert "SMTP: not reached" in lines["email:default"]
    assert "limit 50 parts a second" in text
    assert "no ceiling" in text
    assert max(map(len, text.splitlines())) <= 100
    found = json.loads(run("list", "--json"))
    [row] = [row for row in found["lanes"] if (row["channel"], row["lane"]) == ("sms", "bulk")]
    assert (row["state"], row["waiting"], row["by"]) == ("paused", 3, "ama")
    assert row["oldest_waits_seconds"] > 290
    [row] = [row for row in found["lanes"] if (row["channel"], row["lane"]) == ("sms", "default")]
    assert (row["state"], row["waiting"], row["later"]) == ("open", 0, 1)
    assert found["sms_rate"]["limit"] == 50


def test_the_list_answers_without_redis(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", f"redis://127.0.0.1:{free_port()}/0")
    forget_lines()
    assert "Redis does not answer" in run("list")


def test_a_lane_is_paused_and_resumed_from_the_terminal() -> None:
    assert "paused" in run("pause", "bulk", "--reason", "wrong text")
    assert lanes.gate().paused(Channel.SMS, "bulk")
    assert "no longer paused" in run("resume", "sms:bulk", "--reason", "approved")
    assert not lanes.gate().paused(Channel.SMS, "bulk")
    Breaker.objects.create(provider="hubtel", fault="no_funds", open=True, reason="no credit")
    run("pause", "bulk", "--reason", "wrong text")
    assert "Still nothing leaves: no credit" in run("resume", "bulk", "--reason", "approved")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pause", "bulk"], "reason"),
        (["pause", "urgent", "--reason", "x"], "sms:urgent"),
        (["pause", "pigeon", "--reason", "x"], "Use one of"),
        (["resume", "bulk", "--reason", "x"], "not paused"),
    ],
)
def test_a_refusal_says_what_to_do(arguments: list[str], says: str) -> None:
    with pytest.raises(CommandError, match=says):
        run(*arguments)


def test_what_is_held_for_the_morning_stands_in_the_way_of_no_pick() -> None:
    [message] = bulk(1)
    columns = [str(field.column) for field in OutboundMessage._meta.concrete_fields]
    changed = {
        "id": "gen_random_uuid()",
        "idempotency_key": "'held:' || number",
        "status": "'held'",
        "due_at": "statement_timestamp() - interval '1 hour'",
    }
    values = ", ".join(changed.get(column, column) for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO delivery_outboundmessage ({', '.join(columns)}) SELECT {values}"
            " FROM delivery_outboundmessage, generate_series(1, 20000) AS number WHERE id = %s",
            [message.pk],
        )
        cursor.execute("ANALYZE delivery_outboundmessage")
    pick = dispatch._due().filter(lane="bulk", channel=Channel.SMS).order_by("due_at")[:100]
    [plan] = json.loads(pick.explain(format="JSON", ANALYZE=True))
    assert plan["Plan"]["Actual Rows"] == 1
    assert "Rows Removed by Filter" not in json.dumps(plan)
