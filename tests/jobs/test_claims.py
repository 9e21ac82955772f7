"""Taking a run, keeping it and ending it: one worker at a time, whatever happens to the others."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from core import clock
from core.jobs import leases, repairs, retention, runs
from core.jobs.models import TaskRun
from core.jobs.rules import LEASE_SECONDS, MAX_ATTEMPTS, State
from core.jobs.runs import Ask, Claim

pytestmark = pytest.mark.django_db

ERROR = ("ValueError", "words", "traceback")


def ask(**fields: Any) -> Ask:
    given: dict[str, Any] = {
        "id": uuid.uuid4(),
        "task": "t",
        "args": "[1]",
        "kwargs": '{"b": 2}',
        "options": "{}",
        "queue": "default",
    }
    return Ask(**(given | fields))


def asked(**fields: Any) -> TaskRun:
    row = ask(**fields)
    runs.insert([row])
    return TaskRun.objects.get(pk=row.id)


def taken(worker: str = "w1@test", **fields: Any) -> Claim:
    claim = runs.claim(asked(**fields).pk, worker)
    assert claim
    return claim


def row(claim: Claim) -> TaskRun:
    return TaskRun.objects.get(pk=claim.id)


def lose(claim: Claim) -> None:
    """The worker's last sign of life is too old."""
    TaskRun.objects.filter(pk=claim.id).update(lease_until=clock.now() - timedelta(seconds=1))


ENDS: list[tuple[str, Callable[[Claim], State | None], str]] = [
    ("succeeded", lambda claim: runs.finish(claim, State.SUCCEEDED, "3", None, None), "succeeded"),
    ("skipped", lambda claim: runs.finish(claim, State.SKIPPED, "null", None, None), "skipped"),
    ("masked", lambda claim: runs.finish(claim, State.SUCCEEDED, "3", ('["***"]', "{}"), None), "succeeded"),
    ("failed", lambda claim: runs.fail(claim, ERROR), "failed"),
    ("retrying", lambda claim: runs.retry(claim, 60, ERROR), "retrying"),
    ("handed back", runs.hand_back, "pending"),
]
ends = pytest.mark.parametrize(("end", "state"), [case[1:] for case in ENDS], ids=[case[0] for case in ENDS])


def test_a_claim_brings_what_the_run_needs() -> None:
    parent = uuid.uuid4()
    run = asked(request_id="r1", parent=parent, options='{"time_limit": 5}')
    claim = runs.claim(run.pk, "w1@test")
    assert claim
    assert (claim.args, claim.kwargs, claim.options) == ([1], {"b": 2}, {"time_limit": 5})
    assert (claim.id, claim.fence, claim.attempts, claim.request_id, claim.queue) == (run.pk, 1, 1, "r1", "default")
    run.refresh_from_db()
    assert (run.state, run.worker, run.parent, run.ring_at) == ("running", "w1@test", parent, None)
    assert run.lease_until
    assert run.started_at
    assert run.lease_until - run.started_at == timedelta(seconds=LEASE_SECONDS)


def test_a_claim_does_not_show_its_arguments_when_printed() -> None:
    assert "0244" not in repr(taken(args='["0244123456"]'))


def test_a_run_that_is_taken_cannot_be_taken() -> None:
    claim = taken()
    assert runs.claim(claim.id, "w2@test") is None
    assert row(claim).worker == "w1@test"


def test_an_unknown_run_cannot_be_taken() -> None:
    assert runs.claim(uuid.uuid4(), "w@test") is None


@ends
def test_each_end_is_written_once(end: Callable[[Claim], State | None], state: str) -> None:
    claim = taken()
    assert end(claim)
    assert row(claim).state == state
    assert row(claim).lease_until is None
    assert not end(claim), "the claim is over"


@ends
def test_a_worker_that_lost_its_run_cannot_end_it(end: Callable[[Claim], State | None], state: str) -> None:
    late = taken()
    lose(late)
    repairs.recover_lost()
    now = runs.claim(late.id, "w2@test")
    assert now
    assert now.fence == late.fence + 1
    assert not end(late)
    assert (row(late).state, row(late).worker, row(late).fence) == ("running", "w2@test", now.fence)
    assert end(now)
    assert row(now).state == state


@ends
@pytest.mark.parametrize("final", ["succeeded", "failed", "cancelled", "skipped"])
def test_final_is_final_for_the_table_too(end: Callable[[Claim], State | None], state: str, final: str) -> None:
    claim = taken()
    TaskRun.objects.update(state=final, finished_at=clock.now(), lease_until=None)
    assert not end(claim)
    runs.extend([(claim.id, claim.fence, None)])
    assert runs.asked_to_cancel([(claim.id, claim.fence)]) == {}
    assert runs.claim(claim.id, "w2@test") is None
    assert repairs.recover_lost() == ([], [])
    assert row(claim).state == final


@pytest.mark.parametrize("case", ["not due", "expired"])
def test_a_run_is_not_taken_before_its_time_or_after_it(case: str) -> None:
    moment = clock.now() + timedelta(minutes=5 if case == "not due" else -5)
    run = asked(**{"due_at" if case == "not due" else "expires_at": moment})
    assert runs.claim(run.pk, "w@test") is None
    run.refresh_from_db()
    assert run.state == "pending"


def test_a_retry_counts_and_waits() -> None:
    claim = taken()
    runs.retry(claim, 90, ERROR)
    run = row(claim)
    assert (run.attempts, run.error_class, run.error_text, run.traceback) == (1, *ERROR)
    assert run.due_at
    assert run.ring_at == run.due_at
    assert timedelta(seconds=60) < run.due_at - clock.now() < timedelta(seconds=91)
    TaskRun.objects.update(due_at=clock.now() - timedelta(seconds=1))
    again = runs.claim(run.pk, "w2@test")
    assert again
    assert again.attempts == 2


def test_handing_back_uses_up_no_try_and_rings_soon() -> None:
    claim = taken()
    runs.hand_back(claim)
    run = row(claim)
    assert (run.state, run.attempts, run.fence) == ("pending", 0, 1)
    assert run.ring_at
    assert run.ring_at - clock.now() < timedelta(seconds=5)


def test_extending_keeps_what_is_still_ones_own() -> None:
    mine, lost = taken(), taken()
    lose(mine)
    lose(lost)
    TaskRun.objects.filter(pk=lost.id).update(fence=9)
    runs.extend([(mine.id, mine.fence, None), (lost.id, lost.fence, None)])
    assert runs.asked_to_cancel([(mine.id, mine.fence), (lost.id, lost.fence)]) == {(mine.id, mine.fence): False}
    kept = row(mine).lease_until
    assert kept
    assert kept > clock.now()
    assert [run_id for run_id, _ in repairs.recover_lost()[0]] == [lost.id]


def test_a_lost_run_goes_back_in_line_and_may_be_rung_at_once() -> None:
    claim = taken("w1@gone")
    assert repairs.recover_lost() == ([], []), "its worker is believed to live"
    lose(claim)
    assert repairs.recover_lost() == ([(claim.id, "default")], [])
    run = row(claim)
    assert (run.state, run.error_class, run.attempts) == ("pending", "WorkerLost", 1)
    assert "w1@gone" in run.error_text
    assert [bell.id for bell in repairs.unheard("default", on_redis=0)] == [claim.id]
    assert repairs.recover_lost() == ([], [])


def test_a_run_that_loses_its_worker_every_time_is_given_back_every_time() -> None:
    """Who takes it after its last try fails it: tests/jobs/test_running.py."""
    run = asked()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        claim = runs.claim(run.pk, f"w{attempt}@gone")
        assert claim
        assert (claim.attempts, claim.max_attempts) == (attempt, MAX_ATTEMPTS)
        lose(claim)
        repairs.recover_lost()
    run.refresh_from_db()
    assert (run.state, run.error_class, run.attempts) == ("pending", "WorkerLost", 4)


def test_success_after_a_lost_worker_leaves_no_error() -> None:
    claim = taken()
    lose(claim)
    repairs.recover_lost()
    again = runs.claim(claim.id, "w2@test")
    assert again
    runs.finish(again, State.SUCCEEDED, "1", None, None)
    assert (row(again).error_class, row(again).error_text) == ("", "")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", ["claim", "recover"])
def test_of_many_workers_at_once_exactly_one_gets_it(how: str) -> None:
    """Eight threads with connections of their own start in the same moment."""
    run = ask()
    runs.insert([run])
    if how == "recover":
        lost = runs.claim(run.id, "gone@test")
        assert lost
        lose(lost)
    gate = threading.Barrier(8, timeout=20)
    got: list[object] = []

    def compete(number: int) -> None:
        try:
            gate.wait()
            if how == "claim":
                got.append(runs.claim(run.id, f"w{number}@test"))
            else:
                got.append(repairs.recover_lost()[0] or None)
        finally:
            connection.close()

    threads = [threading.Thread(target=compete, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(got) == 8
    assert len([one for one in got if one]) == 1
    assert TaskRun.objects.get().fence == 1


@pytest.mark.django_db(transaction=True)
def test_a_run_longer_than_its_lease_is_kept_by_the_resident_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "EVERY_SECONDS", 0.1)
    claim = taken()
    with leases.keeper.keep(claim) as held:
        lose(claim)
        for _ in range(100):
            if (row(claim).lease_until or clock.now()) > clock.now() + timedelta(seconds=5):
                break
            threading.Event().wait(0.05)
        else:
            pytest.fail("the lease was not extended within 5 s")
    assert held not in leases._resident.held
    lose(claim)
    threading.Event().wait(1.5)
    assert repairs.recover_lost() == ([(claim.id, "default")], []), "a run that is over is not kept"


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_died_between_two_tasks_is_made_anew() -> None:
    run = asked()
    connection.ensure_connection()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    other.close()
    claim = runs.claim(run.pk, "w@test")
    assert claim
    assert runs.finish(claim, State.SUCCEEDED, "1", None, None)


def test_only_old_finished_rows_are_deleted_in_short_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    for days, state in ((29, "succeeded"), (31, "succeeded"), (400, "failed"), (31, "skipped"), (31, "cancelled")):
        run = asked()
        TaskRun.objects.filter(pk=run.pk).update(
            state="running", asked_at=(moment := clock.now() - timedelta(days=days)), lease_until=moment, ring_at=None
        )
        TaskRun.objects.filter(pk=run.pk).update(state=state, finished_at=moment, lease_until=None)
    waiting, working = asked(), taken()
    TaskRun.objects.filter(pk__in=[waiting.pk, working.id]).update(asked_at=clock.now() - timedelta(days=500))
    monkeypatch.setattr(retention, "SLICE", 3)
    assert retention.prune(clock.now())["runs"] == 4
    assert retention.prune(clock.now())["runs"] == 0
    assert sorted(TaskRun.objects.values_list("state", flat=True)) == ["pending", "running", "succeeded"]


@pytest.mark.django_db(transaction=True)
def test_a_claim_does_not_wait_for_the_disk_and_what_follows_it_does() -> None:
    run = asked()
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = on")  # the servers of the tests have none to wait for
        claim = runs.claim(run.pk, "w1@test")
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == ("on",)
    assert claim
    assert runs.finish(claim, State.SUCCEEDED, "1", None, None) == State.SUCCEEDED


def undone(claim: Claim) -> None:
    """As a crash of PostgreSQL leaves it, within the fraction of a second in which a claim is not on the disk yet."""
    TaskRun.objects.filter(pk=claim.id).update(
        state="pending", fence=claim.fence - 1, attempts=claim.attempts - 1, lease_until=None, ring_at=clock.now()
    )


@ends
def test_who_holds_a_claim_that_a_crash_has_undone_can_write_nothing(
    end: Callable[[Claim], State | None], state: str
) -> None:
    claim = taken()
    undone(claim)
    assert end(claim) is None
    assert row(claim).state == "pending"


def test_after_a_claim_that_a_crash_has_undone_the_run_still_ends_once() -> None:
    first = taken("w1@test")
    undone(first)
    second = runs.claim(first.id, "w2@test")
    assert second
    ends = [runs.finish(claim, State.SUCCEEDED, "1", None, None) for claim in (second, first)]
    assert ends == [State.SUCCEEDED, None]
