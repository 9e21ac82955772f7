"""A provider at fault is spared: it opens when it should, one probe at a time goes, nobody's tries are used up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from core import clock
from core.base.registries import Severity
from core.delivery import alarms, breaker, dispatch, lanes
from core.delivery.models import Breaker, DeliveryAttempt, OutboundMessage
from core.delivery.rules import Channel, Purpose
from core.jobs.models import TaskRun
from tests.delivery.outbox import Hints, again, an_email, an_sms, meanwhile, phones, wait_for
from tests.sandbox.process import Sandbox

pytestmark = pytest.mark.django_db


def told() -> list[tuple[str, str]]:
    """The notices that were asked for: type and fault."""
    runs = TaskRun.objects.filter(task="core.tasks.send_admin_notification").order_by("asked_at")
    return [(run.args[0], run.args[1]["fault"]) for run in runs]


def opened() -> set[str]:
    return set(Breaker.objects.filter(open=True).values_list("fault", flat=True))


def probe_due() -> None:
    assert Breaker.objects.filter(open=True).update(probe_at=Now())


def written(count: int, purpose: Purpose = Purpose.SERVICE) -> list[OutboundMessage]:
    return [an_sms(number, purpose=purpose, hint=False) for number in phones(count)]


# --- opening -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "fault"),
    [
        ({"body_status": 12}, "no_funds"),
        ({"error_status": 402}, "no_funds"),
        ({"error_status": 401}, "credentials"),
        ({"body_status": 2}, "credentials"),
        ({"error_status": 404}, "credentials"),
    ],
)
def test_what_a_person_must_mend_stops_the_provider_at_once_and_is_told_once(
    sandbox: Sandbox, faults: dict[str, object], fault: str
) -> None:
    messages = written(5)
    sandbox.faults(**faults)
    assert dispatch.deliver(messages[0].pk) is True
    assert opened() == {fault}
    assert [dispatch.deliver(message.pk) for message in messages[1:]] == [False] * 4
    assert sum(sandbox.stats()["faults_hit"].values()) == 1
    assert told() == [("gateway_stopped", fault)]
    assert set(OutboundMessage.objects.values_list("status", "attempts")) == {("queued", 0)}
    assert "Hubtel" in again(messages[1]).error, "the row says why it waits"


@pytest.mark.parametrize(
    ("faults", "fault", "status"),
    [
        ({"error_status": 503}, "unavailable", "queued"),
        ({"refuse": 60}, "unreachable", "queued"),
        ({"error_status": 500}, "no_answer", "in_doubt"),
    ],
)
def test_what_passes_by_itself_stops_the_provider_at_the_fifth_call(
    sandbox: Sandbox, faults: dict[str, object], fault: str, status: str
) -> None:
    messages = written(8)
    sandbox.faults(**faults)
    sent = [dispatch.deliver(message.pk) for message in messages]
    assert sent == [True] * breaker.FEWEST_CALLS + [False] * 3
    assert opened() == {fault}
    states = list(OutboundMessage.objects.order_by("recipient").values_list("status", flat=True))
    assert states == [status] * 5 + ["queued"] * 3
    assert told() == [("gateway_stopped", fault)]
    row = Breaker.objects.get()
    assert (row.failures, row.successes) == (5, 0)
    assert row.window_at is not None


def test_a_gateway_that_hangs_costs_five_doubts_and_no_more(sandbox: Sandbox, settings: LazySettings) -> None:
    settings.HUBTEL_TIMEOUT_SECONDS = 0.2
    for message in written(12):
        sandbox.faults(hang_after_accept=True)
        dispatch.deliver(message.pk)
    states = list(OutboundMessage.objects.values_list("status", flat=True))
    assert (states.count("in_doubt"), states.count("queued")) == (5, 7)
    assert sandbox.total() == 5


def test_now_and_then_a_fault_stops_nothing(sandbox: Sandbox) -> None:
    for number, message in enumerate(written(18)):
        sandbox.faults(**({"error_status": 503} if number % 3 == 0 else {}))
        assert dispatch.deliver(message.pk) is True
    assert opened() == set()
    assert OutboundMessage.objects.filter(status="accepted").count() == 12


def test_calls_of_a_while_ago_do_not_count(sandbox: Sandbox) -> None:
    messages = written(5)
    sandbox.faults(error_status=503)
    for message in messages[:4]:
        dispatch.deliver(message.pk)
    DeliveryAttempt.objects.update(
        started_at=F("started_at") - timedelta(minutes=2), finished_at=F("finished_at") - timedelta(minutes=2)
    )
    dispatch.deliver(messages[4].pk)
    assert opened() == set()


def test_a_refused_number_or_text_says_nothing_of_the_provider(sandbox: Sandbox) -> None:
    messages = written(8)
    sandbox.faults(body_status=1)
    assert [dispatch.deliver(message.pk) for message in messages] == [True] * 8
    assert not Breaker.objects.exists()


def test_one_provider_does_not_stop_the_other(sandbox: Sandbox) -> None:
    sandbox.faults(body_status=12)
    dispatch.deliver(an_sms(hint=False).pk)
    mail = an_email(hint=False)
    assert dispatch.deliver(mail.pk) is True
    assert again(mail).status == "accepted"


def test_a_mail_server_that_is_away_or_refuses_us_is_spared_too(sandbox: Sandbox, settings: LazySettings) -> None:
    mails = [an_email(f"ama{number}@example.com", hint=False) for number in range(8)]
    sandbox.faults(smtp_refuse=60)
    assert [dispatch.deliver(mail.pk) for mail in mails] == [True] * 5 + [False] * 3
    assert told() == [("gateway_stopped", "unreachable")]
    sandbox.faults()
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "pms", "wrong"
    probe_due()
    assert dispatch.deliver(mails[5].pk) is True
    assert opened() == {"credentials"}
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
    probe_due()
    assert dispatch.deliver(mails[6].pk) is True
    assert opened() == set()
    assert again(mails[6]).status == "accepted"


def test_a_call_that_goes_well_writes_nothing_here(sandbox: Sandbox) -> None:
    message = an_sms(hint=False)
    with CaptureQueriesContext(connection) as queries:
        dispatch.deliver(message.pk)
    touching = [query["sql"] for query in queries if "delivery_breaker" in query["sql"]]
    assert len(touching) == 1
    assert touching[0].lstrip().startswith("SELECT"), "only the gate looks"


# --- probing and closing -------------------------------------------------------------------------------------------


def stop(sandbox: Sandbox, **faults: object) -> None:
    """Open the breaker by one message that stays."""
    sandbox.faults(**faults)
    dispatch.deliver(an_sms("+233201111111", hint=False).pk)
    assert opened()


@pytest.mark.parametrize("faults", [{"body_status": 12}, {"error_status": 401}])
def test_the_next_probe_opens_everything_when_the_cause_is_mended(sandbox: Sandbox, faults: dict[str, object]) -> None:
    messages = written(3)
    stop(sandbox, **faults)
    probe_due()
    assert dispatch.deliver(messages[0].pk) is True
    row = Breaker.objects.get()
    assert row.probe_until is None
    assert row.probe_at is not None
    assert timedelta(seconds=40) < row.probe_at - clock.now() < timedelta(seconds=51)
    assert (again(messages[0]).status, again(messages[0]).attempts) == ("queued", 0)
    sandbox.faults()
    assert dispatch.deliver(messages[1].pk) is False, "not yet time for a probe"
    probe_due()
    assert dispatch.deliver(messages[1].pk) is True
    assert opened() == set()
    assert dispatch.deliver(messages[2].pk) is True
    assert [kind for kind, _ in told()] == ["gateway_stopped", "gateway_back"]


@pytest.mark.django_db(transaction=True)
def test_of_eight_threads_one_sends_the_probe(sandbox: Sandbox) -> None:
    messages = written(8)
    stop(sandbox, body_status=12)
    sandbox.faults(body_status=12, latency_ms=500)
    probe_due()
    together = threading.Barrier(8)
    sent: list[bool] = []

    def race(message: OutboundMessage) -> None:
        together.wait()
        sent.append(dispatch.deliver(message.pk))

    with meanwhile(*[lambda message=message: race(message) for message in messages]):
        pass
    assert sorted(sent) == [False] * 7 + [True]
    assert sandbox.stats()["faults_hit"]["body_status"] == 2


@pytest.mark.django_db(transaction=True)
def test_a_probe_whose_worker_died_makes_room_for_another(sandbox: Sandbox) -> None:
    first, second = written(2)
    stop(sandbox, body_status=12)
    probe_due()
    sandbox.faults(hang=True)
    with meanwhile(lambda: dispatch.deliver(first.pk)):
        wait_for(lambda: sandbox.stats()["faults_hit"].get("hang"), "the probe is out")
        probe_due()
        assert dispatch.deliver(second.pk) is False, "its lease holds"
        Breaker.objects.update(probe_until=Now() - timedelta(seconds=1))
        sandbox.faults()
        assert dispatch.deliver(second.pk) is True
    assert opened() == set()


def test_a_probe_that_meets_another_fault_closes_the_first(sandbox: Sandbox) -> None:
    messages = written(7)
    sandbox.faults(refuse=60)
    for message in messages[:5]:
        dispatch.deliver(message.pk)
    assert opened() == {"unreachable"}
    sandbox.faults(body_status=12)
    probe_due()
    dispatch.deliver(messages[5].pk)
    assert opened() == {"no_funds"}
    assert told() == [
        ("gateway_stopped", "unreachable"),
        ("gateway_back", "unreachable"),
        ("gateway_stopped", "no_funds"),
    ]


def test_a_probe_that_is_refused_for_its_own_sake_does_not_prove_that_there_is_credit(sandbox: Sandbox) -> None:
    messages = written(2)
    stop(sandbox, body_status=12)
    sandbox.faults(body_status=1)
    probe_due()
    dispatch.deliver(messages[0].pk)
    assert opened() == {"no_funds"}
    sandbox.faults()
    assert dispatch.deliver(messages[1].pk) is True, "the next may tell at once"
    assert opened() == set()


@pytest.mark.django_db(transaction=True)
def test_calls_that_began_before_the_return_do_not_stop_it_again(sandbox: Sandbox, settings: LazySettings) -> None:
    settings.HUBTEL_TIMEOUT_SECONDS = 5
    late, probe = written(2)
    sandbox.faults(body_status=12, latency_ms=700)
    with meanwhile(lambda: dispatch.deliver(late.pk)):
        wait_for(lambda: again(late).status == "submitting", "the slow call is out")
        time.sleep(0.1)
        stop(sandbox, body_status=12)
        sandbox.faults()
        probe_due()
        assert dispatch.deliver(probe.pk) is True
        assert opened() == set()
    assert again(late).status == "queued"
    assert opened() == set()


def test_a_message_that_may_not_leave_is_no_probe(sandbox: Sandbox) -> None:
    stop(sandbox, body_status=12)
    late = an_sms(not_after=clock.now() - timedelta(seconds=1), hint=False)
    probe_due()
    assert dispatch.deliver(late.pk) is False
    assert again(late).status == "expired"
    assert lanes.gate().probe_due(Channel.SMS), "the probe is still to be had"


# --- an hour away --------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_an_hour_away_costs_nothing_and_ends_within_a_sweep(
    sandbox: Sandbox, hints: Hints, make_due: Callable[[], int]
) -> None:
    numbers = phones(400)
    for number in numbers[:300]:
        an_sms(number, purpose=Purpose.BULK, hint=False)
    default = [an_sms(number, hint=False) for number in numbers[300:399]]
    code = an_sms(numbers[399], purpose=Purpose.OTP, hint=False)
    short = an_sms("+233202222222", not_after=clock.now() + timedelta(minutes=30), hint=False)
    sandbox.faults(refuse=600)
    for message in default[:5]:
        dispatch.deliver(message.pk)
    make_due()
    stamps = dict(OutboundMessage.objects.values_list("pk", "updated_at"))

    for probe in range(180):  # an hour of probes, one every 20 s
        probe_due()
        if probe % 60 == 0:
            hints.forget()
            dispatch.sweep()
            assert hints() == [("urgent", "core.tasks.deliver_message", [str(code.pk)])], "nothing but the probe"
        assert dispatch.dispatch_bulk(seconds=1) == (0, False)
        assert dispatch.deliver(code.pk) is True
        OutboundMessage.objects.filter(pk=code.pk).update(due_at=Now() - timedelta(minutes=1))
    OutboundMessage.objects.filter(pk=short.pk).update(not_after=Now() - timedelta(seconds=1))
    dispatch.sweep()
    assert again(short).status == "expired"
    waiting = OutboundMessage.objects.exclude(pk=short.pk)
    assert set(waiting.values_list("status", "attempts")) == {("queued", 0)}
    untouched = dict(waiting.exclude(pk=code.pk).values_list("pk", "updated_at"))
    assert untouched == {pk: stamps[pk] for pk in untouched}, "waiting has cost no row a write"

    sandbox.faults()
    hints.forget()
    probe_due()
    dispatch.sweep()
    [(_, _, [probed])] = hints()
    assert probed == str(code.pk)
    assert dispatch.deliver(code.pk) is True
    assert opened() == set()
    asked = set()
    for _ in range(2):  # what else waits on Redis counts as heard: the next sweep asks for the rest
        dispatch.sweep()
        for _, task, args in hints():
            asked.add(task)
            if task == "core.tasks.deliver_message":
                dispatch.deliver(OutboundMessage.objects.get(pk=args[0]).pk)
        hints.forget()
    assert "core.tasks.dispatch_bulk" in asked
    dispatch.dispatch_bulk(seconds=20)
    left = OutboundMessage.objects.exclude(status__in=["accepted", "expired"])
    assert list(left.values_list("recipient", "status", "error")) == []
    assert sorted(m["to"] for m in sandbox.messages(limit=1000)) == numbers


@pytest.mark.django_db(transaction=True)
def test_the_sweep_asks_for_the_default_lane_when_no_code_waits(sandbox: Sandbox, hints: Hints) -> None:
    [message] = written(1, Purpose.BULK)
    stop(sandbox, body_status=12)
    OutboundMessage.objects.update(due_at=Now() + timedelta(hours=1), ring_at=Now() + timedelta(hours=1))
    OutboundMessage.objects.filter(pk=message.pk).update(due_at=Now(), ring_at=Now())
    probe_due()
    hints.forget()
    dispatch.sweep()
    assert hints() == [("bulk", "core.tasks.deliver_message", [str(message.pk)])]


# --- the notices ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "severity", "says"),
    [
        ("no_funds", Severity.CRITICAL, "top up"),
        ("credentials", Severity.CRITICAL, "settings"),
        ("unreachable", Severity.WARNING, "nothing, if it passes"),
        ("unavailable", Severity.WARNING, "nothing, if it passes"),
        ("no_answer", Severity.WARNING, "nothing, if it passes"),
    ],
)
def test_a_notice_says_what_it_means_and_what_to_do(fault: str, severity: Severity, says: str) -> None:
    context = {"provider": "hubtel", "fault": fault, "since": "2026-11-23T10:05:00+00:00", "reason": "Hubtel: why"}
    stopped, back = alarms.gateway_stopped(context), alarms.gateway_back(context)
    assert (stopped.severity, back.severity) == (severity, Severity.INFO)
    assert says in stopped.text
    assert "Hubtel: why" in stopped.text
    assert "SMS" in stopped.title
    assert "10:05" in back.text
    soon = alarms.gateway_stopped(context | {"since": "2026-11-23T10:40:00+00:00"})
    assert (soon.once_per == stopped.once_per) == (severity == Severity.WARNING)


@pytest.mark.parametrize("broken", [{"provider": "x"}, {"fault": "x"}, {"since": "soon"}, {"since": None}])
def test_a_notice_about_nothing_is_refused(broken: dict[str, object]) -> None:
    context = {"provider": "smtp", "fault": "no_funds", "since": "2026-11-23T10:05:00", "reason": ""}
    assert alarms.gateway_stopped(context)
    with pytest.raises(ValueError, match="one of"):
        alarms.gateway_stopped(context | broken)
