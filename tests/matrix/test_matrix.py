"""The short form of the fault matrix (`make matrix` is the whole)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stack.testrun import ROOT
from tests.matrix.cases import CASES, KILLS
from tests.matrix.killer import STEPS


@pytest.mark.system
def test_one_fault_of_each_kind_loses_and_doubles_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.matrix", "--short"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]


def test_a_worker_can_be_killed_at_every_step_and_each_case_has_a_name_of_its_own() -> None:
    assert set(KILLS) == set(STEPS)
    names = [case.name(door) for case in CASES for door in case.doors]
    assert len(names) == len(set(names))
