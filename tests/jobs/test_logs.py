"""Logs: one JSON object a line, the request's id from the website into the task, nobody's number or address."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import structlog
from django.test import Client

from core.jobs.models import TaskRun
from tests.factories import UserFactory
from tests.jobs import tasks
from tests.jobs.doorbell import Doorbell
from tests.jobs.test_settings import ROOT

LOGGING = """
import logging, django
django.setup()
import structlog
log, old = structlog.get_logger("ours"), logging.getLogger("theirs")
class Thing:
    def __str__(self): return "thing of +233244123456"
with structlog.contextvars.bound_contextvars(request_id="request-7"):
    log.info("to 0244123456", phone="0244 123 456", nested={"list": [{"mail": "ama@example.com"}, ("+233244123456",)]})
    log.info("object", thing=Thing(), whole=233244123456, flag=True, none=None, keys={"0244123456": 1})
    old.warning("sent to %s and %s", "0244123456", "ama@example.com")
    old.warning("mapping %(who)s", {"who": "+233244123456"})
    try:
        raise ValueError("no such number 0244123456 of ama@example.com")
    except ValueError:
        log.exception("failed")
        old.exception("failed too")
    log.info("line\\nbreak")
"""


def logged(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LOGGING],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "core.settings"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == ""
    return done.stderr


def test_in_production_every_line_is_a_json_object_with_the_requests_id_and_nobodys_data() -> None:
    text = logged(LOG_FORMAT="json")
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    assert len(lines) == 7
    for line in lines:
        assert {"event", "level", "logger", "timestamp"} <= set(line)
        assert line["request_id"] == "request-7", "also on the lines of other people's code"
    for secret in ("244123456", "244 123 456", "ama@"):
        assert secret not in text
    first, second, *_ = lines
    assert first["event"] == "to +233*****3456"
    assert first["nested"] == {"list": [{"mail": "***@example.com"}, ["+233*****3456"]]}
    assert (second["flag"], second["none"]) == (True, None)
    failures = [line for line in lines if "exception" in line]
    assert len(failures) == 2
    assert all("ValueError: no such number +233*****3456" in line["exception"] for line in failures)


def test_for_people_the_lines_are_readable_and_masked_too() -> None:
    text = logged(LOG_FORMAT="console")
    assert "request-7" in text
    assert "244123456" not in text
    assert "ama@" not in text


def test_quiet_logs_leave_the_unimportant_out() -> None:
    lines = [json.loads(line) for line in logged(LOG_FORMAT="json", LOG_LEVEL="WARNING").splitlines()]
    assert {line["level"] for line in lines} == {"warning", "error"}


@pytest.mark.django_db
@pytest.mark.usefixtures("at_once")
@pytest.mark.urls("tests.jobs.urls")
class TestRequestId:
    def test_the_id_of_a_web_request_is_on_the_run_it_asked_for_and_in_the_tasks_log(
        self, client: Client, doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[dict[str, Any]] = []
        monkeypatch.setattr(tasks.echo, "run", lambda value: seen.append(structlog.contextvars.get_contextvars()))
        request_id = client.get("/ask").content.decode()
        run = TaskRun.objects.get()
        assert (run.request_id, run.trigger) == (request_id, "request")
        structlog.contextvars.clear_contextvars()  # the worker is another process
        doorbell.work()
        assert (seen[0]["request_id"], seen[0]["task_id"]) == (request_id, str(run.pk))
        assert structlog.contextvars.get_contextvars() == {}, "nothing is left for the next task"

    def test_every_request_has_an_id_of_its_own_and_a_stranger_cannot_choose_it(self, client: Client) -> None:
        for _ in range(2):
            client.get("/ask", headers={"X-Request-ID": "chosen" * 1000})
        ids = set(TaskRun.objects.values_list("request_id", flat=True))
        assert len(ids) == 2
        assert not any("chosen" in one for one in ids)

    def test_the_run_says_who_was_signed_in(self, client: Client) -> None:
        user = UserFactory.create()
        client.force_login(user)
        client.get("/ask")
        assert TaskRun.objects.get().requested_by == user
