"""Phone numbers, addresses and texts in the logs, on Redis, in results and to Flower: masked, or not there at all.

Messages are sent, fail, are refused and end in doubt with numbers and words of their own, which are then looked for.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import current_app
from django.conf import LazySettings
from django.db import connection

from core.delivery import consent, dispatch
from core.delivery.consent import Source
from core.delivery.models import OutboundMessage
from core.delivery.rules import Channel, Purpose
from core.errors import DomainError
from core.jobs.models import TaskRun
from core.tasks import process_bulk_sms, send_email_async, send_sms_async
from tests.delivery.outbox import Hints, an_email, an_sms
from tests.delivery.test_tasks import work_off
from tests.sandbox.process import Sandbox
from tests.system.product import wait_until, worker

pytestmark = pytest.mark.django_db(transaction=True)

NATIONAL = "244917365"  # of the number that is looked for, in whatever form
NAME = "xaverine.quartey"
WORD = "Zibblewick"
SIGNS = (NATIONAL, "244 917 365", NAME, WORD)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that is logged from DEBUG on, as our own handler writes it."""
    root, stream = logging.getLogger(), io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(next(each.formatter for each in root.handlers if type(each) is logging.StreamHandler))
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.setLevel(level)
    root.removeHandler(handler)


class Eavesdropper(threading.Thread):
    """Hears every command that a Redis is given."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.client = redis.Redis.from_url(url, socket_timeout=None)
        self.heard: list[str] = []
        self.ready = threading.Event()

    def run(self) -> None:
        with self.client.monitor() as monitor:
            self.ready.set()
            for command in monitor.listen():
                self.heard.append(str(command["command"]))
                if "the end of the test" in self.heard[-1]:
                    return

    def text(self) -> str:
        """All of it, with what is in base64 decoded."""
        redis.Redis.from_url(self._url()).echo("the end of the test")
        self.join(10)
        assert not self.is_alive()
        found = "\n".join(self.heard)
        decoded = [_decoded(match[0]) for match in re.finditer(r"[A-Za-z0-9+/]{24,}={0,2}", found)]
        return "\n".join([found, *decoded])

    def _url(self) -> str:
        made = self.client.connection_pool.connection_kwargs
        return f"redis://{made['host']}:{made['port']}/0"


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4)).decode(errors="replace")
    except ValueError:
        return ""


@pytest.fixture
def eavesdropper(hints: Hints) -> Eavesdropper:
    made = hints.client.connection_pool.connection_kwargs
    one = Eavesdropper(f"redis://{made['host']}:{made['port']}/0")
    one.start()
    assert one.ready.wait(5)
    return one


def ledger() -> str:
    """What the runs of tasks say of themselves, but for the arguments of runs that are not over or have failed: these
    are shown masked.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT result::text, error_class, error_text, traceback, progress_note FROM jobs_taskrun")
        return "\n".join(str(row) for row in cursor.fetchall())


def found_in(places: dict[str, str]) -> list[tuple[str, str, str]]:
    """Where one of the signs is, with what stands around it."""
    return [
        (name, sign, text[max(0, at - 120) : at + 80])
        for name, text in places.items()
        for sign in SIGNS
        if (at := text.lower().find(sign.lower())) >= 0
    ]


def ask(task: Any, *args: Any, **kwargs: Any) -> str:
    """Ask for a run and do it as a worker would. Returns what it ended with."""
    run = task.delay(*args, **kwargs)
    try:
        return repr(work_off(run.id))
    except DomainError as error:
        return f"{error!r} {error}"


PHONE = f"0{NATIONAL}"


def everything_that_can_happen(sandbox: Sandbox, settings: LazySettings) -> list[str]:
    """Sends that go, fail, are refused and are in doubt. Returns what their runs ended with."""
    text, address = f"{WORD} waits for you", f"{NAME}@example.com"
    ends = [
        ask(send_sms_async, PHONE, text, reference="goes"),
        ask(send_sms_async, f"0{NATIONAL[:3]} {NATIONAL[3:6]} {NATIONAL[6:]}", f"Your code is 604713, {WORD}"),
        ask(send_email_async, WORD, text, [address, f"{NAME}@"], f"<p>{text}</p>"),
        ask(send_sms_async, f"{PHONE}9", text),
        ask(send_sms_async, PHONE, f"{WORD} " * 400),
        ask(send_email_async, f"{WORD}\nBcc: {address}", text, [address]),
        ask(process_bulk_sms, [PHONE, f"{PHONE}9", "0302123456", f"{NAME} {PHONE}"], text),
        ask(process_bulk_sms, [], text),
    ]
    for faults in (
        {"error_status": 400, "body_status": 1},
        {"error_status": 403},
        {"error_status": 500},
        {"truncate": True},
    ):
        sandbox.faults(**faults)
        ends.append(ask(send_sms_async, PHONE, text, purpose="security"))
    for faults in ({"smtp_error": 550}, {"smtp_error": 451}, {"smtp_drop_after_data": True}):
        sandbox.faults(**faults)
        ends.append(ask(send_email_async, WORD, text, [address]))
    sandbox.faults()
    settings.HUBTEL_BASE_URL = "http://127.0.0.1:9/v1/messages"
    ends.append(ask(send_sms_async, PHONE, text, purpose="security"))
    consent.choose(Channel.EMAIL, address, Purpose.SERVICE, wanted=False, source=Source.LINK)
    an_email(address, title=WORD, text=text)
    message = an_sms(PHONE, text, purpose=Purpose.SECURITY)
    logging.getLogger("careless").error("sending %s to %s and %s", message, message.recipient, address)
    dispatch.sweep()
    dispatch.dispatch_bulk(seconds=0.1)
    return ends


def test_nothing_that_happens_to_a_message_tells_whose_it_is(
    sandbox: Sandbox, settings: LazySettings, logged: io.StringIO, eavesdropper: Eavesdropper
) -> None:
    ends = everything_that_can_happen(sandbox, settings)
    assert OutboundMessage.objects.filter(recipient=f"+233{NATIONAL}").count() >= 7
    assert len(logged.getvalue()) > 1_000
    heard = eavesdropper.text()
    assert "deliver_message" in heard or "send_sms_async" in heard, "the eavesdropper hears something"
    runs = [repr(run) for run in TaskRun.objects.all()]
    rows = [f"{message!r} {message.error}" for message in OutboundMessage.objects.all()]
    attempts = [f"{m.last_attempt!r} {m.last_attempt.error}" for m in OutboundMessage.objects.all() if m.last_attempt]
    shown = {
        "log": logged.getvalue(),
        "redis": heard,
        "ledger": ledger(),
        "results": "\n".join(ends),
        "repr": "\n".join([*runs, *rows, *attempts, *map(repr, current_app.tasks.values())]),
    }
    assert found_in(shown) == []


def test_the_search_finds_what_is_there(logged: io.StringIO, eavesdropper: Eavesdropper, hints: Hints) -> None:
    logging.getLogger("careless").warning("the text was %s", WORD)
    hints.client.set("note", base64.b64encode(json.dumps({"name": NAME}).encode()))
    found = found_in({"log": logged.getvalue(), "redis": eavesdropper.text()})
    assert [(place, sign) for place, sign, _ in found] == [("log", WORD), ("redis", NAME)]


@pytest.mark.system
def test_a_worker_and_the_events_of_flower_tell_nothing(
    sandbox: Sandbox, eavesdropper: Eavesdropper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMAIL_PORT", str(sandbox.smtp_port))
    process = worker(tmp_path / "worker.log", "-c", "2", "-E")
    try:
        text = f"{WORD} waits for you"
        asked = [
            send_sms_async.delay(PHONE, text),
            send_sms_async.delay(f"{PHONE}9", text),
            send_email_async.delay(WORD, text, [f"{NAME}@example.com"], f"<p>{text}</p>"),
            process_bulk_sms.delay([PHONE, "0302123456"], f"{text} too"),
        ]
        ended = TaskRun.objects.filter(pk__in=[run.id for run in asked], finished_at__isnull=False)
        wait_until(lambda: ended.count() == len(asked), 30, "every run has ended")
        wait_until(lambda: sandbox.total() == 3, 15, "three have arrived")
    finally:
        process.stop()
    heard = eavesdropper.text()
    assert "task-received" in heard, "the events that Flower reads"
    assert found_in({"log of the worker": process.output(), "redis": heard, "ledger": ledger()}) == []
