"""The rate limit: never above, nearly reached, a reserve for codes, and what happens without Redis."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.delivery import bucket
from stack.servers import Redis, free_port
from tests.delivery.conftest import forget_lines
from tests.delivery.outbox import Hints

ROOT = Path(__file__).resolve().parents[2]


def drained(limit: int, lane: str = "bulk") -> int:
    """What the lane gets at once, a part at a time."""
    return bucket.take("p", lane, [1] * 200, limit).go


def full(limit: int) -> None:
    """A bucket nobody has drawn from for a while."""
    bucket.take("p", "bulk", [], limit)
    time.sleep(0.7)


# --- alone ---------------------------------------------------------------------------------------------------------


def test_without_a_limit_everything_goes() -> None:
    assert bucket.take("p", "bulk", [6] * 100, 0) == bucket.Grant(100, 0)
    assert bucket.room("p", "bulk", 0) == (None, 0)


def test_a_new_bucket_begins_empty_so_that_an_emptied_redis_gives_nothing_away(hints: Hints) -> None:
    full(100)
    assert drained(100) > 10
    for _ in range(3):
        hints.forget()
        assert drained(100) == 0


def test_the_first_that_fit_may_go_and_the_wait_is_for_the_next() -> None:
    full(100)
    grant = bucket.take("p", "urgent", [2, 3, 90, 1], 100)
    assert grant.go == 2
    assert 0 < grant.wait < 1
    time.sleep(grant.wait + 0.02)
    assert bucket.take("p", "urgent", [900], 100).go == 1, "what costs more than the bucket holds goes when it is full"


def test_bulk_leaves_a_share_to_default_and_default_one_to_urgent() -> None:
    full(100)
    bulk, default, urgent = (drained(100, lane) for lane in ("bulk", "default", "urgent"))
    assert 52 <= bulk <= 58
    assert 3 <= default <= 9
    assert 33 <= urgent <= 42


def test_the_smallest_limit_still_lets_the_longest_text_through() -> None:
    deadline = time.monotonic() + 5
    while not bucket.take("p", "bulk", [10], 1).go:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert bucket.take("p", "urgent", [10], 1).go == 0


def test_ten_seconds_never_see_more_than_their_share_whoever_asks() -> None:
    began, taken = time.monotonic(), 0
    while time.monotonic() - began < 9.8:
        taken += drained(20, "bulk") + drained(20, "default") + drained(20, "urgent")
        time.sleep(0.01)
    assert 180 <= taken <= 200


def test_the_limit_is_the_one_that_was_asked_with() -> None:
    full(100)
    drained(100)
    assert [drained(0) for _ in range(6)] == [200] * 6
    assert drained(100) == 0, "what went without a limit counts for the next 10 s"
    assert bucket.room("p", "bulk", 100)[0] == 0


def test_room_is_a_lump_worth_a_call() -> None:
    full(100)
    parts, wait = bucket.room("p", "bulk", 100)
    assert parts is not None
    assert (parts, wait) == (20, 0)
    drained(100)
    parts, wait = bucket.room("p", "bulk", 100)
    assert parts == 0
    assert 0.02 < wait < 0.2


# --- too many requests ---------------------------------------------------------------------------------------------


def test_a_provider_that_says_stop_is_left_alone_and_then_gets_less() -> None:
    assert bucket.take("p", "bulk", [1] * 10_000, 0).go == 10_000
    bucket.slow_down("p", 0, 0.3)
    grant = bucket.take("p", "urgent", [1], 0)
    assert grant.go == 0
    assert grant.wait == pytest.approx(0.3, abs=0.1)
    assert bucket.room("p", "bulk", 0)[1] == pytest.approx(0.3, abs=0.1)
    time.sleep(0.4)
    rate = bucket.rate("p", 0)
    assert rate is not None
    assert rate.parts_per_second == pytest.approx(7_000, rel=0.05), "of 10,000 in a second"
    assert 0 < bucket.take("p", "bulk", [1] * 10_000, 0).go < 5_000


def test_calls_in_flight_cut_the_rate_once() -> None:
    full(100)
    for _ in range(5):
        bucket.slow_down("p", 100, 0.01)
    rate = bucket.rate("p", 100)
    assert rate is not None
    assert rate.parts_per_second is not None
    assert rate.parts_per_second < 2, "nothing had been sent: it begins at the lowest"
    bucket.take("p", "bulk", [], 100)


def test_the_rate_climbs_back_to_the_limit_and_no_further() -> None:
    full(100)
    drained(100, "urgent")
    bucket.slow_down("p", 50, 0.01)
    low = bucket.rate("p", 50)
    time.sleep(1)
    higher = bucket.rate("p", 50)
    assert low is not None
    assert higher is not None
    assert low.parts_per_second is not None
    assert higher.parts_per_second is not None
    assert low.parts_per_second < higher.parts_per_second <= 50
    client = bucket._line.client
    client.hset("pms:bucket:p", "cap", 49.9)
    time.sleep(0.5)
    climbed = bucket.rate("p", 50)
    assert climbed is not None
    assert climbed.parts_per_second == 50
    assert client.hget("pms:bucket:p", "cap") is None


# --- without Redis -------------------------------------------------------------------------------------------------


def test_without_redis_bulk_waits_and_codes_go_at_a_small_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", f"redis://127.0.0.1:{free_port()}/0")
    forget_lines()
    assert bucket.take("p", "bulk", [1], 0) == bucket.Grant(0, bucket.CLOSED_SECONDS)
    assert bucket.room("p", "bulk", 0) == (0, bucket.CLOSED_SECONDS)
    assert bucket.take("p", "urgent", [1] * 50, 0).go == 5
    assert 0 < bucket.take("p", "urgent", [1], 0).wait <= 0.2
    assert bucket.take("p", "default", [1] * 50, 0).go == 1
    assert bucket.rate("p", 0) is None
    bucket.slow_down("p", 0, None)  # cannot be shared, and raises nothing


def test_a_redis_that_hangs_costs_one_short_wait_and_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    with Redis(tmp_path / "redis", free_port(), durable=False) as server:
        monkeypatch.setenv("CELERY_BROKER_URL", server.url(0))
        forget_lines()
        assert bucket.take("p", "bulk", [1], 0).go == 1
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            assert bucket.take("p", "urgent", [1], 0).go == 1
            first = time.monotonic() - began
            for _ in range(20):
                bucket.take("p", "bulk", [1], 0)
            rest = time.monotonic() - began - first
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        assert 0.2 < first < 1.0
        assert rest < 0.2
        time.sleep(bucket.SILENCE_SECONDS)
        assert bucket.take("p", "bulk", [1], 0).go == 1
        server.stop()
        assert bucket.take("p", "bulk", [1], 0).go == 0
    forget_lines()


# --- four processes ------------------------------------------------------------------------------------------------


def test_four_processes_reach_the_limit_and_never_pass_it() -> None:
    """Also when everything on Redis is lost in mid-run."""
    limit, seconds = 100, 14.0
    command = [sys.executable, "-m", "tests.delivery.take_parts", "p", str(limit), str(seconds)]
    with_output = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    lines = [process.communicate(timeout=60)[0].splitlines() for process in with_output]
    assert all(process.returncode == 0 for process in with_output)
    assert all(lines), "every process had its share"
    taken = sorted((float(at), int(parts)) for each in lines for at, parts in [line.split() for line in each])
    for first, _ in taken:
        assert sum(parts for at, parts in taken if first <= at < first + 10) <= limit * 10
    span = taken[-1][0] - taken[0][0]
    assert sum(parts for _, parts in taken) >= 0.9 * limit * span
