"""Bulk SMS in slices: it may stop anywhere, goes on where it was, and counts right."""

from __future__ import annotations

import itertools
import signal
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import transaction
from structlog.testing import capture_logs

from core import clock
from core.delivery import campaign_life, campaigns, dispatch, holds
from core.delivery.campaigns import Progress
from core.delivery.models import Campaign, CampaignRecipient, OutboundMessage
from core.jobs.models import TaskRun
from tests.delivery.campaign import TERMINAL, admin, begun, carried_out, states
from tests.delivery.outbox import meanwhile, phones, wait_for
from tests.sandbox.process import Sandbox
from tests.system.product import Process

pytestmark = pytest.mark.django_db

RUN = uuid.UUID("00000000-0000-7000-8000-000000000001")


class Killed(BaseException):
    """The process is gone: nothing of ours catches it."""


@pytest.fixture
def one_step(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Progress]:
    """`work` that has time for a single step: each look at the clock costs a second."""

    def work(*args: Any, **kwargs: Any) -> Progress:
        ticks = itertools.count()
        monkeypatch.setattr(campaigns, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
        return campaigns.work(*args, **kwargs, seconds=1.5)

    return work


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigns, "STORE_CHUNK", 7)
    monkeypatch.setattr(campaigns, "WRITE_CHUNK", 5)
    monkeypatch.setattr(campaigns, "WRITTEN_AT_ONCE", 4)


def start(numbers: list[Any]) -> Campaign:
    return campaigns.start(RUN, numbers, "Hello", batch_size=50)


def counts() -> tuple[int, int, int, int]:
    campaign = Campaign.objects.get(pk=RUN)
    return campaign.position, campaign.accepted, campaign.duplicates, campaign.invalid


def a_list() -> list[Any]:
    """40 entries: 30 good, 6 double (also over chunk borders), 4 bad (one of them twice)."""
    good = phones(30)
    return [
        *good[:10],
        "bad",
        good[0],
        *good[10:20],
        good[15],
        good[3],
        None,
        *good[20:],
        *good[:3],
        "bad",
        "0302123456",
    ]


@pytest.mark.usefixtures("small_chunks")
def test_one_step_at_a_time_gives_the_same_as_one_go(one_step: Callable[..., Progress]) -> None:
    numbers = a_list()
    steps, seen = 0, set()
    while True:
        progress = one_step(start(numbers), numbers, batch_size=4)
        seen.add(counts()[0])
        if progress.done:
            break
        steps += 1
        assert steps < 100
    assert counts() == (40, 30, 6, 4)
    assert {7, 14, 21, 28, 35, 40} <= seen
    assert steps >= 6 + 30 // 4
    assert OutboundMessage.objects.count() == 30
    campaign = Campaign.objects.get()
    assert (campaign.status, campaign.complete, campaign.written) == ("running", True, 30)


@pytest.mark.parametrize("step", ["_store_some", "_write_some"])
@pytest.mark.parametrize("after", [0, 1, 2, 3, 5])
@pytest.mark.usefixtures("small_chunks")
def test_killed_between_two_steps_it_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch, step: str, after: int
) -> None:
    numbers, real, calls = a_list(), getattr(campaigns, step), itertools.count()

    def dying(*args: Any) -> int:
        if next(calls) == after:
            raise Killed
        return int(real(*args))

    monkeypatch.setattr(campaigns, step, dying)
    with pytest.raises(Killed):
        campaigns.work(start(numbers), numbers, batch_size=4, seconds=60)
    assert campaigns.work(start(numbers), numbers, batch_size=4, seconds=60).done
    check_all_there()


def check_all_there() -> None:
    assert counts() == (40, 30, 6, 4)
    assert sorted(OutboundMessage.objects.values_list("recipient", flat=True)) == phones(30)
    assert not CampaignRecipient.objects.filter(status="waiting").exists()


@pytest.mark.usefixtures("small_chunks")
def test_a_run_that_is_repeated_when_it_is_done_adds_nothing(sandbox: Sandbox) -> None:
    numbers = a_list()
    for _ in range(3):
        assert campaigns.work(start(numbers), numbers, batch_size=4, seconds=60).done
        check_all_there()
        dispatch.dispatch_bulk(seconds=10)
    assert sandbox.total() == 30
    assert Campaign.objects.get().status == "done"


def test_a_slice_without_time_says_that_it_is_not_done() -> None:
    numbers = phones(3)
    assert campaigns.work(start(numbers), numbers, batch_size=4, seconds=0).done is False


@pytest.mark.usefixtures("small_chunks")
def test_a_campaign_that_is_paused_meanwhile_stops_writing_and_goes_on_later(one_step: Callable[..., Progress]) -> None:
    numbers = phones(20)
    for _ in range(4):
        one_step(start(numbers), numbers, batch_size=4)
    written = OutboundMessage.objects.count()
    assert 0 < written < 20
    Campaign.objects.update(status="paused")
    told = campaigns.work(start(numbers), numbers, batch_size=4, seconds=60).result()
    assert (told["status"], told["reason"], told["accepted_for_sending"]) == ("held", "campaign paused", 20)
    assert (OutboundMessage.objects.count(), Campaign.objects.get().status) == (written, "paused")
    assert set(OutboundMessage.objects.values_list("status", "error")) == {("held", "campaign paused")}
    Campaign.objects.update(status="running")
    assert campaigns.work(start(numbers), numbers, batch_size=4, seconds=60).result()["status"] == "ok"
    assert (OutboundMessage.objects.count(), Campaign.objects.get().status) == (20, "running")
    assert set(OutboundMessage.objects.values_list("status", "error")) == {("queued", "")}


def test_ten_thousand_numbers_are_written_within_seconds() -> None:
    numbers = phones(10_000)
    progress = campaigns.work(start(numbers), numbers, batch_size=50, seconds=45)
    assert progress.done
    assert counts() == (10_000, 10_000, 0, 0)
    assert OutboundMessage.objects.filter(lane="bulk", status="queued").count() == 10_000


def test_a_row_of_a_campaign_is_like_any_other() -> None:
    numbers = phones(1)
    campaigns.work(start(numbers), numbers, batch_size=1, seconds=5)
    message = OutboundMessage.objects.get()
    assert (message.subject_type, message.subject_id) == ("campaign", str(RUN))
    assert (message.channel, message.purpose, message.lane, message.parts) == ("sms", "bulk", "bulk", 1)
    assert (message.body, message.any_hour, message.attempts) == ("Hello", False, 0)
    assert len(message.body_hash) == 64


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("small_chunks")
def test_two_runs_of_one_campaign_at_once_write_each_number_once() -> None:
    numbers = a_list()
    start(numbers)
    with meanwhile(*[lambda: campaigns.work(start(numbers), numbers, batch_size=4, seconds=20)] * 3):
        pass
    check_all_there()
    assert campaigns.work(start(numbers), numbers, batch_size=4, seconds=60).done
    assert Campaign.objects.get().written == 30


@pytest.mark.django_db(transaction=True)
def test_a_campaign_is_not_done_while_another_run_holds_some_of_its_recipients() -> None:
    numbers = phones(20)
    campaign = start(numbers)
    campaigns._store_some(campaign, numbers)
    with transaction.atomic():
        held = CampaignRecipient.objects.select_for_update().order_by("id")[:5]
        assert len(held) == 5
        with meanwhile(lambda: campaigns.work(start(numbers), numbers, batch_size=50, seconds=20)):
            pass
    assert OutboundMessage.objects.update(status="suppressed", due_at=None, ring_at=None) == 15
    assert campaigns.finish() == 0, "five have no message yet"
    assert campaigns.work(start(numbers), numbers, batch_size=50, seconds=20).done
    assert OutboundMessage.objects.count() == 20
    assert campaigns.finish() == 0, "five have not left"
    OutboundMessage.objects.filter(status="queued").update(status="suppressed", due_at=None, ring_at=None)
    assert campaigns.finish() == 1
    assert Campaign.objects.get().status == "done"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("state", ["running", "paused", "cancelled"])
def test_a_worker_killed_in_the_middle_of_its_work_leaves_it_to_the_next(tmp_path: Path, state: str) -> None:
    """kill -9 while messages are written, held or suppressed."""
    campaign = campaigns.start(RUN, phones(20_000), "Hello", batch_size=50)
    end = {"running": "queued", "paused": "held", "cancelled": "suppressed"}[state]
    if state == "running":
        while campaigns._store_some(campaign, phones(20_000)):
            pass
    else:
        assert campaigns.work(campaign, phones(20_000), batch_size=500, seconds=120).done
        Campaign.objects.update(status=state)

    def dealt_with() -> int:
        return OutboundMessage.objects.filter(status=end).count()

    worker = Process(tmp_path / "worker.log", "tests.delivery.work_on", str(RUN))
    try:
        wait_for(dealt_with, "the work has begun", seconds=30)
    finally:
        worker.signal(signal.SIGKILL)
        worker.popen.wait(5)
    assert 0 < dealt_with() < 20_000, "killed in the middle"
    progress = campaigns.work(start(phones(20_000)), phones(20_000), batch_size=500, seconds=120)
    assert progress.done
    assert dealt_with() == 20_000
    assert OutboundMessage.objects.values("recipient").distinct().count() == OutboundMessage.objects.count() == 20_000
    assert Campaign.objects.get().written == 20_000


# --- without a run -------------------------------------------------------------------------------------------------


def long_ago(campaign: Campaign) -> None:
    Campaign.objects.filter(pk=campaign.pk).update(updated_at=clock.now() - timedelta(seconds=90))


def runs_are_taken() -> None:
    TaskRun.objects.filter(finished_at=None).update(
        state="running", ring_at=None, lease_until=clock.now(), coalesce_key=None
    )


def runs_end(state: str) -> None:
    """Every run that is open is taken and ends so, for good."""
    runs_are_taken()
    TaskRun.objects.filter(finished_at=None).update(state=state, lease_until=None, finished_at=clock.now())


def open_runs() -> int:
    return TaskRun.objects.filter(finished_at=None).count()


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_campaign_whose_run_ended_for_good_is_brought_to_its_end(sandbox: Sandbox, state: str) -> None:
    campaign = begun(admin(), phones(3))
    campaigns.sweep()
    runs_end(state)
    campaigns.sweep()
    assert open_runs() == 0, "something has just happened to it"
    long_ago(campaign)
    campaigns.sweep()
    assert open_runs() == 1
    long_ago(campaign)
    campaigns.sweep()
    assert open_runs() == 1, "one is open"
    assert TaskRun.objects.count() == 2
    carried_out(campaign)
    runs_end("succeeded")
    dispatch.dispatch_bulk(seconds=20)
    campaigns.sweep()
    assert Campaign.objects.get().status == "done"
    assert sandbox.total() == 3
    long_ago(campaign)
    campaigns.sweep()
    assert open_runs() == 0


@pytest.mark.parametrize("state", ["running", "retrying"])
def test_a_run_that_is_at_work_or_tries_again_is_left_to_it(state: str) -> None:
    campaign = begun(admin(), phones(3))
    runs_are_taken()
    if state == "retrying":
        TaskRun.objects.update(state=state, lease_until=None, ring_at=clock.now())
    long_ago(campaign)
    campaigns.sweep()
    assert TaskRun.objects.count() == 1


def test_what_a_pause_held_is_let_go_though_the_run_of_the_resume_was_cancelled_half_way() -> None:
    campaign = begun(admin(), phones(10))
    carried_out(campaign)
    campaign_life.pause(campaign_id=campaign.pk, actor=TERMINAL, reason="test")
    carried_out(campaign)
    runs_end("succeeded")
    campaign_life.resume(campaign_id=campaign.pk, actor=TERMINAL)
    assert holds.release_some(campaign.pk, limit=4) == 4
    runs_end("cancelled")
    long_ago(campaign)
    campaigns.sweep()
    assert open_runs() == 1
    carried_out(campaign)
    assert states(campaign) == {"queued": 10}


@pytest.mark.parametrize(
    ("decide", "end"), [("pause", "held: campaign paused"), ("cancel", "suppressed: campaign cancelled")]
)
def test_stopping_is_carried_out_though_its_run_failed(decide: str, end: str) -> None:
    campaign = begun(admin(), phones(5))
    carried_out(campaign)
    runs_end("succeeded")
    getattr(campaign_life, decide)(campaign_id=campaign.pk, actor=TERMINAL, reason="test")
    runs_end("failed")
    long_ago(campaign)
    campaigns.sweep()
    assert open_runs() == 1
    carried_out(campaign)
    assert states(campaign) == {end: 5}
    runs_end("succeeded")
    long_ago(campaign)
    campaigns.sweep()
    assert open_runs() == 0, "nothing is left to do"


@pytest.mark.usefixtures("small_chunks")
def test_a_list_that_went_with_its_run_is_told_once_and_what_is_stored_is_sent() -> None:
    numbers = phones(20)
    campaign = start(numbers)
    campaigns._store_some(campaign, numbers)
    long_ago(campaign)
    with capture_logs() as logs:
        campaigns.sweep()
        assert Campaign.objects.get().reason == campaigns.LIST_LOST
        assert open_runs() == 1
        carried_out(campaign)
        runs_end("succeeded")
        for _ in range(2):
            long_ago(campaign)
            campaigns.sweep()
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["campaign_list_lost"]
    assert open_runs() == 0, "it is not asked for without end"
    assert states(campaign) == {"queued": 7}
    assert Campaign.objects.get().status == "running"


def test_a_text_that_was_allowed_stays_so(settings: LazySettings) -> None:
    numbers, text = phones(2), "a" * 200
    campaign = campaigns.start(RUN, numbers, text, batch_size=50)
    settings.SMS_MAX_PARTS = 1
    again = campaigns.start(RUN, numbers, text, batch_size=50)
    assert again == campaign
    assert campaigns.work(again, numbers, batch_size=50, seconds=20).done
    assert {(one.body, one.parts) for one in OutboundMessage.objects.all()} == {(text, 2)}


def test_a_sweep_with_nothing_to_do_is_one_statement(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        campaigns.sweep()
    Campaign.objects.create(message="Hello", status="paused")
    with django_assert_num_queries(1):
        campaigns.sweep()


@pytest.mark.django_db(transaction=True)
def test_workers_that_sweep_at_once_ask_for_one_run() -> None:
    campaign = begun(admin(), phones(3))
    runs_end("failed")
    long_ago(campaign)
    with meanwhile(*[campaigns.sweep] * 4):
        pass
    assert open_runs() == 1
    assert TaskRun.objects.count() == 2
