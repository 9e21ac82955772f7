"""Signs of life: who gives them, who misses them, and that each silence is told once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest
from celery import signals
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from core.delivery.models import OutboundMessage
from core.health import pulse, selectors, services
from core.health.models import Heartbeat
from core.health.notices import ALL_WORKERS
from core.health.rules import Kind
from core.jobs import sweeper
from core.jobs.models import TaskRun
from core.tasks import send_admin_notification
from tests.delivery.outbox import meanwhile
from tests.factories import UserFactory
from tests.jobs.doorbell import Doorbell
from tests.sandbox.process import Sandbox

pytestmark = pytest.mark.django_db


def seen(name: str, kind: Kind, seconds_ago: float) -> None:
    services.beat_for([name], kind)
    Heartbeat.objects.filter(name=name).update(seen_at=Now() - timedelta(seconds=seconds_ago))


def asked() -> list[dict[str, Any]]:
    """The contexts of the notices that were asked for."""
    runs = TaskRun.objects.filter(task=send_admin_notification.name).order_by("asked_at")
    assert {run.args[0] for run in runs} <= {"process_silent"}
    return [run.args[1] for run in runs]


def names() -> list[str]:
    return sorted(context["name"] for context in asked())


# --- signs of life -------------------------------------------------------------------------------------------------


@pytest.fixture
def sweeps(monkeypatch: pytest.MonkeyPatch) -> dict[str, sweeper.Sweep]:
    found: dict[str, sweeper.Sweep] = {}
    monkeypatch.setattr(sweeper, "_registered", found)
    return found


def failing(_worker: str) -> None:
    raise ValueError


def test_a_worker_tells_of_itself_and_of_the_sweeps_that_go_well(sweeps: dict[str, sweeper.Sweep]) -> None:
    sweeper.register("good", every_seconds=1, run=lambda _: None)
    sweeper.register("bad", every_seconds=1, run=failing)
    sweeper.register("not-yet", every_seconds=1, run=lambda _: None)
    sweeps["not-yet"].next_at = float("inf")
    sweeper.sweep_once("w1@test", time.monotonic())
    with CaptureQueriesContext(connection) as queries:
        services.heartbeat("w1@test")
    assert len(queries) == 1
    assert dict(Heartbeat.objects.values_list("name", "kind")) == {"w1@test": "worker", "sweep:good": "sweep"}


@pytest.mark.parametrize(("every", "after", "well"), [(1, 9, True), (1, 11, False), (60, 130, True), (60, 140, False)])
def test_a_sweep_that_fails_from_now_on_is_not_told_of_any_more(
    sweeps: dict[str, sweeper.Sweep], every: float, after: float, well: bool
) -> None:
    sweeper.register("s", every_seconds=every, run=lambda _: None)
    sweeper.sweep_once("w", 1_000.0)
    sweeps["s"].run = failing
    sweeper.sweep_once("w", 1_000.0 + every * 1.2)
    assert sweeper.going_well(1_000.0 + after) == (["s"] if well else [])


def test_a_sign_of_life_ends_the_alarm_and_who_is_long_gone_is_forgotten() -> None:
    seen("w1@test", Kind.WORKER, 100)
    seen("gone@test", Kind.WORKER, 8 * 86_400)
    services.watch()
    assert Heartbeat.objects.get(name="w1@test").alarmed_at
    services.beat("w1@test")
    assert Heartbeat.objects.get().alarmed_at is None


def test_beat_and_sweeps_are_no_workers() -> None:
    services.beat_for(["beat@test"], Kind.BEAT)
    services.beat_for(["sweep:relay"], Kind.SWEEP)
    assert selectors.workers_alive() == 0
    assert "celery -A core worker" in selectors.worker()


# --- silence -------------------------------------------------------------------------------------------------------

GRACES = [(Kind.WORKER, 30), (Kind.BEAT, 60), (Kind.SWEEP, 60)]


@pytest.mark.parametrize(("kind", "grace"), GRACES)
def test_silence_is_told_once_after_its_grace(kind: Kind, grace: int) -> None:
    services.beat("alive@test")
    seen("x@test", kind, grace - 3)
    assert services.watch() == []
    seen("x@test", kind, grace + 3)
    [context] = services.watch()
    assert (context["name"], context["kind"]) == ("x@test", kind)
    assert services.watch() == []
    assert asked() == [context]
    services.beat_for(["x@test"], kind)
    seen("x@test", kind, grace + 3)
    assert len(services.watch()) == 1, "silent again is told again"
    assert len(asked()) == 2


def test_what_watch_asks_for_the_admins_can_read() -> None:
    UserFactory.create(role="SUPER_ADMIN")
    services.beat("alive@test")
    seen("celery@accra", Kind.WORKER, 40)
    services.watch()
    [run] = TaskRun.objects.all()
    assert send_admin_notification(*run.args)["recipients"] == 1
    assert OutboundMessage.objects.get().title == "The worker celery@accra has stopped"


def test_an_idle_watch_costs_one_query() -> None:
    services.beat("alive@test")
    with CaptureQueriesContext(connection) as queries:
        services.watch()
    assert len(queries) == 1


@pytest.mark.django_db(transaction=True)
def test_many_who_watch_at_once_tell_each_silence_once() -> None:
    services.beat("alive@test")
    silent = [f"w{n}@test" for n in range(20)]
    for name in silent:
        seen(name, Kind.WORKER, 60)
    with meanwhile(*[services.watch] * 6):
        pass
    assert names() == sorted(silent)


@pytest.mark.django_db(transaction=True)
def test_a_watcher_that_dies_before_its_commit_leaves_the_silence_to_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    services.beat("alive@test")
    seen("x@test", Kind.WORKER, 60)

    def dies(*_: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(services, "enqueue", dies)
        with pytest.raises(SystemExit):
            services.watch()
    assert asked() == []
    services.watch()
    assert names() == ["x@test"]


def test_when_all_workers_are_gone_that_is_what_is_told_and_once() -> None:
    seen("w1@test", Kind.WORKER, 62)
    seen("w2@test", Kind.WORKER, 61)
    seen("sweep:relay", Kind.SWEEP, 61)
    services.beat_for(["beat@test"], Kind.BEAT)
    told = services.watch()
    seen("sweep:dispatch", Kind.SWEEP, 63)
    told += services.watch()
    assert [context["name"] for context in told] == [ALL_WORKERS] * 2
    UserFactory.create(role="SUPER_ADMIN")
    for context in asked():
        send_admin_notification("process_silent", context)
    assert OutboundMessage.objects.filter(channel="email").count() == 1
    assert OutboundMessage.objects.filter(channel="sms").count() == 1, "it is critical"


def test_after_all_workers_stopped_in_order_their_sweeps_are_missed() -> None:
    services.beat("w1@test")
    seen("sweep:relay", Kind.SWEEP, 61)
    services.say_goodbye("w1@test")
    assert [context["name"] for context in services.watch()] == [ALL_WORKERS]


# --- patience ------------------------------------------------------------------------------------------------------


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now

    monotonic = staticmethod(monotonic)


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    moved = Hand()
    monkeypatch.setattr(services, "time", moved)
    return moved


def watched(hand: Hand, watchman: services.Watchman, *steps: float) -> list[int]:
    found = []
    for seconds in steps:
        hand.now += seconds
        found.append(len(watchman.watch()))
    return found


def test_after_a_start_everybody_has_a_minute(hand: Hand) -> None:
    services.beat("alive@test")
    seen("x@test", Kind.WORKER, 600)
    assert watched(hand, services.Watchman(), 0, 15, 15, 15, 14, 1) == [0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("jump", [3_600, 30, -3_600])
def test_after_a_sleep_or_a_jump_of_the_clock_everybody_has_a_minute_again(hand: Hand, jump: float) -> None:
    services.beat("alive@test")
    watchman = services.Watchman()
    assert watched(hand, watchman, 0, 20, 20, 20) == [0, 0, 0, 0]
    seen("x@test", Kind.WORKER, 600)
    assert watched(hand, watchman, jump, 20, 20, 19, 1) == [0, 0, 0, 0, 1]


def test_after_the_database_was_away_everybody_has_a_minute_again(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    services.beat("alive@test")
    watchman = services.Watchman()
    assert watched(hand, watchman, 0, 20, 20, 20) == [0, 0, 0, 0]
    with monkeypatch.context() as patch:
        patch.setattr(services, "watch", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            watched(hand, watchman, 15)
    seen("x@test", Kind.WORKER, 600)
    assert watched(hand, watchman, 15, 20, 20, 20) == [0, 0, 0, 1]


# --- beat ----------------------------------------------------------------------------------------------------------


class Service:
    """What of celery.beat.Service the pulse looks at."""

    _last_tick: float | None = None


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.mark.parametrize(("ago", "alive"), [(None, False), (1, True), (59, True), (61, False)])
def test_beat_is_alive_while_it_looks_at_its_schedule(service: Service, ago: float | None, alive: bool) -> None:
    service._last_tick = None if ago is None else time.monotonic() - ago
    beating = pulse.Pulse(service)
    beating.give_sign(beating.beat)
    assert Heartbeat.objects.filter(kind="beat").exists() is alive


@pytest.fixture
def watching(hand: Hand, service: Service) -> pulse.Pulse:
    """A beat that has been up for a while."""
    beating = pulse.Pulse(service)
    for _ in range(4):
        beating.watch(beating.beat)
        hand.now += 20
    return beating


def test_when_all_workers_are_gone_beat_sends_the_message_itself(
    watching: pulse.Pulse, sandbox: Sandbox, doorbell: Doorbell
) -> None:
    UserFactory.create(role="SUPER_ADMIN", email="kofi@example.com")
    UserFactory.create(role="NATIONAL_ADMIN", email="ama@example.com")
    seen("w1@test", Kind.WORKER, 61)
    watching.watch(watching.beat)
    mails = [message for message in sandbox.messages() if "@" in message["to"]]
    assert sorted(mail["to"] for mail in mails) == ["ama@example.com", "kofi@example.com"]
    assert {mail["subject"] for mail in mails} == {"No worker is running: no SMS, e-mail or report goes out"}
    assert sandbox.total() == 4, "two e-mails and two SMS"
    [context] = asked()
    send_admin_notification("process_silent", context)  # what a worker does when it is back
    assert OutboundMessage.objects.count() == 4
    watching.watch(watching.beat)
    assert sandbox.total() == 4


def test_while_a_worker_lives_beat_leaves_sending_to_it(
    watching: pulse.Pulse, sandbox: Sandbox, doorbell: Doorbell
) -> None:
    UserFactory.create(role="SUPER_ADMIN")
    services.beat("alive@test")
    seen("w1@test", Kind.WORKER, 61)
    watching.watch(watching.beat)
    assert names() == ["w1@test"]
    assert not OutboundMessage.objects.exists()


def test_without_an_admin_the_ask_stays_for_all_to_see(watching: pulse.Pulse) -> None:
    seen("w1@test", Kind.WORKER, 61)
    sweeper.contained("watch", watching.watch, watching.beat)
    assert names() == [ALL_WORKERS]


@pytest.fixture
def threads() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if isinstance(thread, pulse.Pulse):
            thread.stop()


@pytest.mark.django_db(transaction=True)
def test_the_thread_begins_with_celerys_signal_and_says_goodbye(service: Service, threads: None) -> None:
    service._last_tick = time.monotonic()
    signals.beat_init.send(sender=service)
    [thread] = [thread for thread in threading.enumerate() if isinstance(thread, pulse.Pulse)]
    ends = time.monotonic() + 5
    while not Heartbeat.objects.filter(kind="beat").exists():
        assert time.monotonic() < ends
        time.sleep(0.05)
    thread.stop()
    assert not thread.is_alive()
    assert not Heartbeat.objects.exists()
