"""The commands and snippets of docs/background-tasks.md that need processes: typed as the page has them."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django_celery_beat.models import PeriodicTask

from accounts.models import User
from accounts.rules import Role
from core.jobs.models import TaskRun
from core.reporting.models import Report
from core.tasks import prune_finished_runs
from farms.models import FarmInvitation
from stack.servers import free_port
from tests.docs.specification import ROOT, commands, snippet
from tests.factories import UserFactory, a_farm
from tests.farms.journey import apply
from tests.sandbox.process import Sandbox
from tests.system.product import Process, database_url, wait_until, worker

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]
DOCUMENTED = ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "CELERY_BEAT_SCHEDULER", "CELERY_TIMEZONE")
TOLD = f"""
import json
from core import settings
told = {{name: getattr(settings, name) for name in {DOCUMENTED}}}
print(json.dumps(told | {{"cache": settings.CACHES["default"]["LOCATION"]}}))
"""


def settings_with(**variables: str) -> dict[str, str]:
    """The settings of a process that has these variables and no other of the page's."""
    page = ("REDIS_ENABLED", "REDIS_URL", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND")
    kept = {name: value for name, value in os.environ.items() if name not in page}
    said = subprocess.run(
        [sys.executable, "-c", TOLD], cwd=ROOT, env=kept | variables, capture_output=True, text=True, check=True
    )
    found: dict[str, str] = json.loads(said.stdout)
    return found


def test_the_variables_reach_the_settings() -> None:
    pairs = dict(re.findall(r"^(\w+)=(.+)$", snippet("Environment Variables"), re.MULTILINE))
    assert len(pairs) == 4
    found = settings_with(**pairs)
    assert found["cache"] == pairs["REDIS_URL"]
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        assert found[name] == pairs[name]
        assert settings_with(**pairs | {name: "redis://localhost:6379/7"})[name] == "redis://localhost:6379/7"
    assert settings_with(**pairs | {"REDIS_ENABLED": "False"})["cache"] != pairs["REDIS_URL"]


def test_without_variables_the_settings_are_those_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DOCUMENTED:
        monkeypatch.delenv(name, raising=False)
    names: dict[str, Any] = {"os": os}
    exec(snippet("Settings (core/settings.py)"), names)
    found = settings_with()
    assert {name: found[name] for name in DOCUMENTED} == {name: names[name] for name in DOCUMENTED}


def test_the_calls_of_the_page_arrive_and_their_results_are_told(
    sandbox: Sandbox, a_worker: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(snippet("Sending SMS Asynchronously"), {})
    exec(snippet("Sending Email"), {})
    wait_until(lambda: sandbox.messages(kind="sms") and sandbox.messages(kind="email"), 20, "both messages")
    [text], [mail] = sandbox.messages(kind="sms"), sandbox.messages(kind="email")
    assert (text["to"], text["text"]) == ("+233244123456", "Your verification code is 123456")
    assert (mail["to"], mail["subject"]) == ("farmer@example.com", "Welcome to YEA Poultry")
    assert "Your account has been created." in mail["text"]
    assert "<h1>Welcome!</h1><p>Your account is ready.</p>" in mail["html"]

    exec(snippet("View Task Results"), {})
    assert capsys.readouterr().out == "PENDING\nNone\n"
    asked = prune_finished_runs.delay()
    asked.get(timeout=20)
    exec(snippet("View Task Results").replace("task-id", asked.id), {})
    assert capsys.readouterr().out == "SUCCESS\n{'status': 'ok', 'runs': 0, 'occurrences': 0}\n"


def test_an_applicant_reads_of_the_approval(sandbox: Sandbox, a_worker: Process) -> None:
    admin = UserFactory.create(role=Role.CONSTITUENCY_ADMIN)
    application = apply("independent", phone_verified=True, constituency=admin.constituency)
    exec(snippet("Notifying Application Status"), {"application": application})

    def told() -> list[str]:
        texts = [message["text"] for message in sandbox.messages(kind="sms")]
        return [text for text in texts if text.endswith("Congratulations! Your farm has been approved.")]

    wait_until(told, 20, "the text of the page")
    wait_until(lambda: FarmInvitation.objects.get().status == "sent", 20, "the link")
    assert f"application {application.application_number} is approved" in told()[0]
    links = [message for message in sandbox.messages(kind="sms") if "/farms/invitation/" in message["text"]]
    assert len(links) <= 1, "the link goes out once"


def test_a_report_is_asked_for_and_made(sandbox: Sandbox, a_worker: Process) -> None:
    farm = a_farm()
    User.objects.filter(pk=farm.user_id).update(email="farmer@example.com")
    exec(snippet("Generating Reports"), {"farm": farm})
    wait_until(lambda: TaskRun.objects.get().state == "succeeded", 20, "the report")
    run, report = TaskRun.objects.get(), Report.objects.get()
    assert run.result == {"status": "ok", "report_id": str(report.pk), "emailed": False, "reason": "no_document"}
    assert (report.scope, report.status) == (f"farm:{farm.pk}", "ready")
    assert (report.period_to - report.period_from).days == 29
    assert run.kwargs == {"days": 30, "email": "***"}
    assert not sandbox.messages()


def test_the_migrations_of_beat_can_be_run() -> None:
    [command] = [line for line in commands() if "migrate" in line]
    done = subprocess.run(
        [sys.executable, *shlex.split(command)[1:]],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": database_url()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "No migrations to apply" in done.stdout


def test_flower_shows_the_tasks(tmp_path: Path, a_worker: Process) -> None:
    """As the page has it, but for the port."""
    [command] = [line for line in commands() if " flower " in line]
    port = free_port()
    arguments = shlex.split(command.replace("5555", str(port)))
    flower = Process(tmp_path / "flower.log", *arguments, FLOWER_UNAUTHENTICATED_API="true")

    def shows(path: str, *words: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                text = answer.read().decode()
        except OSError:
            return False
        return all(word in text for word in words)

    def shows_a_task() -> bool:
        """It has the workers' events switched on every 5 s: what ran before that is not seen."""
        prune_finished_runs.delay().get(timeout=20)
        return shows("/api/tasks", "core.tasks.prune_finished_runs", "SUCCESS")

    try:
        wait_until(lambda: shows("/", "Flower"), 30, "Flower's page")
        workers = ("/api/workers?refresh=1", "celery@", "core.tasks.send_sms_async")
        wait_until(lambda: shows(*workers), 30, "the worker in it")
        wait_until(shows_a_task, 30, "a task in it")
    finally:
        flower.stop()


def test_a_worker_with_a_limit_of_memory_works(tmp_path: Path, empty_redis: None) -> None:
    [option] = [line for line in commands() if line.startswith("--max-memory")]
    process = worker(tmp_path / "worker.log", option, "-c", "1")
    try:
        assert prune_finished_runs.delay().get(timeout=20)["status"] == "ok"
    finally:
        process.stop()


@pytest.mark.parametrize("which", ["Worker", "Beat"])
def test_a_unit_s_process_starts_detached_and_ends_on_term(which: str, tmp_path: Path, empty_redis: None) -> None:
    """The unit's own command line, but for where Celery and the file of the process id are."""
    unit = configparser.RawConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(snippet(f"Systemd Service for Celery {which}"))
    service = unit["Service"]
    pidfile = tmp_path / "process.pid"
    PeriodicTask.objects.all().delete()
    assert f"--pidfile={service['PIDFile']}" in service["ExecStart"]
    assert service["ExecStop"] == "/bin/kill -s TERM $MAINPID"
    assert service["Environment"] == f"DJANGO_SETTINGS_MODULE={os.environ['DJANGO_SETTINGS_MODULE']}"
    _, *arguments = shlex.split(service["ExecStart"].replace(service["PIDFile"], str(pidfile)))
    started = subprocess.run(
        [sys.executable, "-m", "celery", *arguments],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": database_url()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
    assert started.returncode == 0
    written: list[str] = []

    def read() -> bool:
        with suppress(FileNotFoundError):  # not yet, or being written anew
            written.append(pidfile.read_text().strip())
        return bool(written and written[-1])

    wait_until(read, 20, "the process id")
    pid = int(written[-1])
    try:
        if which == "Worker":
            assert prune_finished_runs.delay().get(timeout=30)["status"] == "ok"
        else:
            wait_until(PeriodicTask.objects.exists, 20, "the schedule as rows")
            time.sleep(2)  # asleep: in the middle of a query Celery's handler of TERM waits for ever
        os.kill(pid, 0)
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), 20, "its end")
    assert not pidfile.exists()
