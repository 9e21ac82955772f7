"""The short form of the randomised fault test (`make chaos` is the long one), and what its own parts promise."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from stack.testrun import ROOT
from tests.chaos.plan import KINDS, faults

CLOCK = """
import datetime, os, time
if os.fork() == 0:
    print(time.time(), datetime.datetime.now(datetime.UTC).timestamp(), flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.system
def test_faults_of_all_kinds_lose_and_double_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--short"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]


def test_the_same_seed_plans_the_same_faults_and_each_kind_comes() -> None:
    long = faults(7, 300, every=4, long=True)
    assert long == faults(7, 300, every=4, long=True)
    assert long != faults(8, 300, every=4, long=True)
    assert {fault.kind for fault in long} == set(KINDS)
    short = {fault.kind for fault in faults(7, 30, every=2.5, long=False)}
    assert short <= {name for name, kind in KINDS.items() if not kind.long_form_only}


def test_a_wrong_clock_is_wrong_in_forked_children_too_and_goes_on() -> None:
    wrong = {"PYTHONPATH": str(ROOT / "tests" / "chaos" / "clock"), "CHAOS_CLOCK_SECONDS": "-86400"}
    said = subprocess.run(
        [sys.executable, "-c", CLOCK], env=os.environ | wrong, capture_output=True, text=True, check=True, timeout=30
    ).stdout
    for moment in map(float, said.split()):
        assert 86_300 < datetime.now(UTC).timestamp() - moment < 86_500
