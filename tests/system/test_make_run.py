"""`make run` as a newcomer meets it: a fresh copy of the files, one command, then all that a second terminal needs."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.processes import sweep, wait_until
from tests.stack.product import Run

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("make run")]
ROOT = Path(__file__).resolve().parents[2]
COLD_SECONDS, WARM_SECONDS, STOP_SECONDS = 180, 15, 15


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("clone").resolve()
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    made = Run(folder)
    yield made
    sweep(str(folder), patience=0)


@pytest.fixture(autouse=True)
def _leaves_nothing_behind(run: Run) -> Iterator[None]:
    yield
    if run.process is not None and run.process.poll() is None:
        run.stop()
    assert run.living == set()


def start(run: Run, seconds: float) -> float:
    begin = time.monotonic()
    run.start(("make", "run"))
    run.wait_ready(seconds)
    return time.monotonic() - begin


def second_terminal(run: Run, *command: str) -> str:
    """With nothing but .venv activated; the addresses come from .env or, in this test, from the environment."""
    environment = {**run.environment, "PATH": f"{run.folder}/.venv/bin:/usr/bin:/bin"}
    done = subprocess.run(
        command, cwd=run.folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def inbox(run: Run) -> list[dict[str, str]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{run.variables['SANDBOX_HTTP_PORT']}/api/v1/messages") as answer:
        messages: list[dict[str, str]] = json.load(answer)["messages"]
        return messages


def test_from_nothing_to_a_message_in_the_inbox(run: Run) -> None:
    taken = start(run, COLD_SECONDS)
    print(f"cold start: {taken:.1f} s")
    assert "super_admin" in run.output
    second_terminal(
        run, "python", "manage.py", "shell", "-c",
        "from core.tasks import send_sms_async; send_sms_async.delay('+233244123456', 'Good morning')",
    )  # fmt: skip
    assert wait_until(lambda: any(message.get("text") == "Good morning" for message in inbox(run)), 20)
    port = run.variables["CELERY_BROKER_URL"].rpartition(":")[2].partition("/")[0]
    assert second_terminal(run, "redis-cli", "-p", port, "ping").strip() == "PONG"
    for what in ("active", "scheduled", "reserved"):
        said = second_terminal(run, "celery", "-A", "core", "inspect", what)
        assert "main@" in said
        assert "urgent@" in said
    refused = subprocess.run(
        ["make", "clean"], cwd=run.folder, env=run.environment, capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    assert "make run is running" in refused.stderr
    stopped = run.stop(signal.SIGTERM)
    print(f"stop: {stopped:.1f} s")
    assert stopped < STOP_SECONDS


def test_the_second_start_is_warm_and_ctrl_c_ends_it(run: Run) -> None:
    taken = start(run, WARM_SECONDS)
    print(f"warm start: {taken:.1f} s")
    assert "Installing" not in run.output
    assert run.stop(signal.SIGINT, group=True) < STOP_SECONDS


def test_sigint_to_make_alone_is_heard_too(run: Run) -> None:
    start(run, WARM_SECONDS * 2)
    assert run.stop(signal.SIGINT) < STOP_SECONDS


def test_kill_9_of_the_supervisor_leaves_nothing_and_the_next_start_works(run: Run) -> None:
    start(run, WARM_SECONDS * 2)
    assert run.process
    supervisor = int((run.folder / "var/run/supervisor.pid").read_text())
    subprocess.run(["kill", "-9", str(supervisor)], check=True)
    run.process.wait(30)
    assert wait_until(lambda: not run.living, STOP_SECONDS), run.living
    start(run, WARM_SECONDS * 2)
    assert run.stop() < STOP_SECONDS


def test_state_is_in_var_alone_and_make_clean_removes_it(run: Run) -> None:
    here = {path.name for path in run.folder.iterdir()} - {"output.txt"}
    there = {path.name for path in ROOT.iterdir()}
    assert here - there <= {".env", ".venv", "var"}
    subprocess.run(["make", "clean"], cwd=run.folder, env=run.environment, check=True)
    assert not (run.folder / "var").exists()
