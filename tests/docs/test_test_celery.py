"""./test_celery.sh on the test's own servers: all well, and each server away."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.system.product import database_url

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]
ROOT = Path(__file__).resolve().parents[2]
CHECKS = [
    "Redis connection",
    "Celery app import",
    "Task discovery",
    "Beat schedule configuration",
    "Synchronous task execution",
]
NOWHERE = "127.0.0.1:1"


def run(**environment: str) -> tuple[int, dict[str, str]]:
    """The exit code, and each line's name with `ok` or `FAIL`, in order."""
    done = subprocess.run(
        ["./test_celery.sh"],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": database_url()} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line]
    found = {name: line.split()[0] for line in lines for name in [*CHECKS, "Settings and app"] if name in line}
    assert len(found) == len(lines), done.stdout + done.stderr
    return done.returncode, found


def test_all_is_well() -> None:
    assert run() == (0, dict.fromkeys(CHECKS, "ok"))


def test_without_redis_the_rest_is_still_checked() -> None:
    code, lines = run(CELERY_BROKER_URL=f"redis://{NOWHERE}/0", CELERY_RESULT_BACKEND=f"redis://{NOWHERE}/0")
    assert code == 1
    assert lines == dict.fromkeys(CHECKS, "ok") | {"Redis connection": "FAIL"}


def test_without_a_database_the_task_is_not_run() -> None:
    code, lines = run(DATABASE_URL=f"postgres://pms:x@{NOWHERE}/pms")
    assert code == 1
    assert lines == dict.fromkeys(CHECKS, "ok") | {"Synchronous task execution": "FAIL"}


def test_a_wrong_setting_is_named() -> None:
    assert run(CELERY_BROKER_URL="nonsense") == (1, {"Settings and app": "FAIL"})
