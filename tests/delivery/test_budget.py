"""Money: put aside before the call, charged by the answer, freed after a crash; ceilings for bulk and for campaigns."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.db import connection
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext

from core import clock
from core.base.services import change_setting
from core.delivery import alarms, budget, dispatch, lanes
from core.delivery.models import Campaign, OutboundMessage, Spend
from core.delivery.rules import Channel, Purpose
from core.delivery.settling import open_attempt
from core.errors import DomainError
from core.jobs.models import TaskRun
from tests.delivery.outbox import again, an_email, an_sms, meanwhile, phones, wait_for
from tests.delivery.raw_server import http, replying
from tests.sandbox.process import Sandbox
from tests.system.product import Process

pytestmark = pytest.mark.django_db

PRICE = Decimal("0.03")


def set_figure(key: str, value: object) -> None:
    change_setting(key, value, actor_name="ama")


def agree() -> bool:
    """The days' rows say what the messages say."""
    days = Spend.objects.aggregate(reserved=Sum("reserved"), spent=Sum("spent"))
    messages = OutboundMessage.objects.aggregate(reserved=Sum("reserved"), spent=Sum("cost"))
    return all((days[name] or 0) == (messages[name] or 0) for name in days)


def bulk(count: int, text: str = "Hello", campaign: Campaign | None = None, first: int = 0) -> list[OutboundMessage]:
    messages = [an_sms(number, text, purpose=Purpose.BULK, hint=False) for number in phones(count, first)]
    if campaign:
        OutboundMessage.objects.filter(pk__in=[message.pk for message in messages]).update(campaign=campaign)
    return messages


def a_campaign(ceiling: str | None = None) -> Campaign:
    about = {"message": "Hello", "audience": "list of 10", "status": "running", "name": "Vaccination"}
    return Campaign.objects.create(ceiling=Decimal(ceiling) if ceiling else None, **about)


def told(kind: str) -> int:
    return TaskRun.objects.filter(task="core.tasks.send_admin_notification", args__0=kind).count()


# --- what a message costs ------------------------------------------------------------------------------------------


def test_money_is_put_aside_for_the_call_and_charged_by_the_answer(sandbox: Sandbox) -> None:
    message = an_sms(text="x" * 161, hint=False)
    open_attempt([message], price=Decimal("0.05"))
    assert again(message).reserved == Decimal("0.10")
    assert (budget.today().reserved, budget.today().spent) == (Decimal("0.10"), Decimal(0))
    assert agree()

    other = an_sms(text="y" * 161, hint=False)
    dispatch.deliver(other.pk)
    assert (again(other).reserved, again(other).cost) == (None, Decimal("0.06"))
    day = budget.today()
    assert (day.spent, day.reserved, day.messages, day.parts) == (Decimal("0.06"), Decimal("0.10"), 1, 2)
    assert (day.paid_per_part, day.left) == (PRICE, None)
    assert agree()


def test_until_the_provider_says_the_price_it_is_the_expected_one(settings: LazySettings) -> None:
    set_figure("sms.ghs_per_part", "0.0415")
    message = an_sms(hint=False)
    with replying(lambda _: http(201, {"status": 0, "messageId": "m"})) as network:
        settings.HUBTEL_BASE_URL = network.url
        dispatch.deliver(message.pk)
    assert again(message).cost == Decimal("0.0415")
    assert agree()
    OutboundMessage.objects.filter(pk=message.pk).update(cost=Decimal("0.0300"))  # the receipt says it
    assert agree()
    assert (budget.today().spent, budget.today().messages) == (Decimal("0.03"), 1)


@pytest.mark.parametrize(
    "faults", [{"body_status": 1}, {"error_status": 503}, {"hang_after_accept": True}, {"body_status": 12}]
)
def test_what_was_not_accepted_frees_its_money(sandbox: Sandbox, faults: dict[str, object]) -> None:
    message = an_sms(hint=False)
    sandbox.faults(**faults)
    dispatch.deliver(message.pk)
    assert (again(message).reserved, again(message).cost) == (None, None)
    assert budget.today().used == 0
    assert agree()


def test_an_email_costs_nothing(sandbox: Sandbox) -> None:
    message = an_email(hint=False)
    dispatch.deliver(message.pk)
    assert (again(message).status, again(message).cost) == ("accepted", None)
    assert not Spend.objects.exists()


def test_a_batch_is_booked_in_one_go_and_its_campaign_with_it(sandbox: Sandbox) -> None:
    campaign = a_campaign()
    bulk(60, campaign=campaign)
    with CaptureQueriesContext(connection) as queries:
        dispatch.dispatch_bulk(seconds=0)
    assert OutboundMessage.objects.filter(status="accepted").count() == 60
    assert len(queries) < 30
    campaign.refresh_from_db()
    assert campaign.spent == budget.today().spent == Decimal("1.80")
    assert Spend.objects.count() == 1
    assert agree()


def test_a_refused_batch_that_is_taken_apart_is_booked_right(settings: LazySettings) -> None:
    bulk(5)

    def refuse_batches(request: bytes) -> bytes:
        single = b"/batch/" not in request.partition(b"\r\n")[0]
        return http(201, {"status": 0, "messageId": uuid.uuid4().hex}) if single else http(400, {"status": 100})

    with replying(refuse_batches) as network:
        settings.HUBTEL_BASE_URL = network.url
        dispatch.dispatch_bulk(seconds=10)
    assert OutboundMessage.objects.filter(status="accepted").count() == 5
    assert budget.today().spent == 5 * PRICE
    assert agree()


@pytest.mark.django_db(transaction=True)
def test_after_a_kill_the_money_of_open_calls_is_freed(
    sandbox: Sandbox, tmp_path: Path, leases_over: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUBTEL_TIMEOUT_SECONDS", "30")
    message = an_sms(hint=False)
    dispatch.deliver(an_sms("+233201234567", hint=False).pk)
    sandbox.faults(hang=True)
    worker = Process(tmp_path / "worker.log", "tests.delivery.deliver_one", str(message.pk))
    try:
        wait_for(lambda: sandbox.stats()["faults_hit"].get("hang"), "the request is out", seconds=20)
    finally:
        worker.signal(signal.SIGKILL)
        worker.popen.wait(5)
    assert (again(message).reserved, budget.today().reserved) == (PRICE, PRICE)
    assert agree()
    leases_over()
    dispatch.sweep()
    assert (again(message).status, again(message).reserved) == ("in_doubt", None)
    assert (budget.today().reserved, budget.today().spent) == (Decimal(0), PRICE)
    assert agree()


@pytest.mark.django_db(transaction=True)
def test_many_dispatchers_book_every_text_once(sandbox: Sandbox) -> None:
    campaigns = [a_campaign() for _ in range(3)]
    for number, campaign in enumerate(campaigns):
        bulk(150, campaign=campaign, first=number * 1000)
    OutboundMessage.objects.update(due_at=clock.now())
    sandbox.faults(latency_ms=20, error_status=503, share=0.2, seed=3)
    with meanwhile(*[lambda: dispatch.dispatch_bulk(seconds=20)] * 4, seconds=60):
        pass
    accepted = OutboundMessage.objects.filter(status="accepted").count()
    assert accepted > 100
    assert (budget.today().spent, budget.today().messages) == (accepted * PRICE, accepted)
    assert sum(Campaign.objects.values_list("spent", flat=True)) == accepted * PRICE
    assert agree()


# --- the day's ceiling ---------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_bulk_waits_when_the_day_is_used_up_and_nothing_else_does(sandbox: Sandbox) -> None:
    set_figure("sms.daily_budget_ghs", "0.30")
    messages = bulk(25)
    assert dispatch.dispatch_bulk(seconds=5)[0] == 10
    assert budget.today().used_up
    assert budget.today().left == 0
    code, service = an_sms(purpose=Purpose.OTP, hint=False), an_sms(hint=False)
    assert dispatch.deliver(code.pk) is True
    assert dispatch.deliver(service.pk) is True
    assert dispatch.dispatch_bulk(seconds=5) == (0, False)
    states = [again(message).status for message in messages]
    assert (states.count("accepted"), states.count("queued")) == (10, 15)
    assert told("sms_budget_used") == 1

    set_figure("sms.daily_budget_ghs", "0.45")  # 0.36 are spent
    assert dispatch.dispatch_bulk(seconds=5)[0] == 3
    assert told("sms_budget_used") == 1, "once a day"
    assert agree()


@pytest.mark.django_db(transaction=True)
def test_the_next_day_bulk_goes_on(sandbox: Sandbox) -> None:
    set_figure("sms.daily_budget_ghs", "0.30")
    bulk(12)
    dispatch.dispatch_bulk(seconds=5)
    assert dispatch.dispatch_bulk(seconds=5) == (0, False)
    Spend.objects.update(day=clock.accra(clock.now()).date() - timedelta(days=1))
    assert dispatch.dispatch_bulk(seconds=5)[0] == 2


@pytest.mark.django_db(transaction=True)
def test_many_dispatchers_never_pass_the_ceilings_together(sandbox: Sandbox) -> None:
    set_figure("sms.daily_budget_ghs", "6.00")
    campaign = a_campaign("3.00")
    bulk(300, campaign=campaign)
    bulk(300, first=5000)
    sandbox.faults(latency_ms=50)
    with meanwhile(*[lambda: dispatch.dispatch_bulk(seconds=10)] * 4, seconds=60):
        pass
    campaign.refresh_from_db()
    assert (campaign.spent, budget.today().spent) == (Decimal("3.00"), Decimal("6.00"))
    assert sandbox.total() == 200


def test_the_sweep_asks_for_no_bulk_that_nobody_can_pay(sandbox: Sandbox) -> None:
    set_figure("sms.daily_budget_ghs", "0.02")
    bulk(3)
    assert dispatch.dispatch_due(["bulk"]) == {"bulk": 0}
    set_figure("sms.daily_budget_ghs", "0.03")
    assert dispatch.dispatch_due(["bulk"]) == {"bulk": 1}


# --- a campaign's ceiling ------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_campaign_at_its_ceiling_is_paused_and_holds_up_no_other(sandbox: Sandbox) -> None:
    campaign = a_campaign("0.15")
    mine = bulk(20, campaign=campaign)
    others = bulk(20, first=5000)
    dispatch.dispatch_bulk(seconds=5)
    assert [again(message).status for message in others] == ["accepted"] * 20
    states = [again(message).status for message in mine]
    assert (states.count("accepted"), states.count("held")) == (5, 15)
    campaign.refresh_from_db()
    assert (campaign.status, campaign.spent) == ("paused", Decimal("0.15"))
    assert "ceiling of GHS 0.15" in campaign.reason
    assert told("campaign_over_ceiling") == 1
    assert agree()


def test_pausing_a_campaign_for_money_twice_tells_once() -> None:
    campaign = a_campaign("1.00")
    budget.pause_campaign(campaign.pk)
    budget.pause_campaign(campaign.pk)
    assert told("campaign_over_ceiling") == 1
    without = a_campaign()
    budget.pause_campaign(without.pk)
    without.refresh_from_db()
    assert without.status == "running"


# --- the notices ---------------------------------------------------------------------------------------------------


def test_the_notices_say_what_it_costs_and_what_to_do() -> None:
    day = alarms.sms_budget_used({"day": "2026-11-23", "ceiling": "1500.00"})
    assert "GHS 1,500.00" in day.text
    assert "sms.daily_budget_ghs" in day.text
    assert day.once_per == "2026-11-23"
    campaign = a_campaign("20.00")
    over = alarms.campaign_over_ceiling({"campaign_id": str(campaign.pk), "ceiling": "20.00"})
    assert "Vaccination" in over.title
    assert "GHS 20.00" in over.text


@pytest.mark.parametrize(
    ("build", "context"),
    [
        (alarms.sms_budget_used, {"day": "soon", "ceiling": "1"}),
        (alarms.sms_budget_used, {"day": "2026-11-23"}),
        (alarms.campaign_over_ceiling, {"campaign_id": "x", "ceiling": "1"}),
        (alarms.campaign_over_ceiling, {"campaign_id": str(uuid.UUID(int=0)), "ceiling": "1"}),
    ],
)
def test_a_notice_about_nothing_is_refused(build: Callable[..., object], context: dict[str, str]) -> None:
    with pytest.raises(DomainError):
        build(context)


def test_the_gate_of_a_message_without_ceilings_asks_nothing() -> None:
    message = an_sms(hint=False)
    with CaptureQueriesContext(connection) as queries:
        assert budget.fitting([message], budget.Terms(0, PRICE, Decimal(1))).going == [message]
        assert budget.day_is_used_up(budget.Terms(0, PRICE, None)) is False
    assert len(queries) == 0
    assert lanes.gate().shut(Channel.SMS, "bulk") == ""
