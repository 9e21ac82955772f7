"""The secrets of a run of everything, looked for in every table, on Redis and in the logs: the inbox alone has them."""

from __future__ import annotations

import base64
import io
import json
import logging
import re

import pytest
from django.db import connection

from accounts.models import User
from accounts.rules import Role
from accounts.services import invitations, people, secrets
from core import clock
from core.base.models import Setting
from core.delivery import dispatch
from core.delivery.models import OutboundMessage
from core.jobs.models import TaskRun
from tests.delivery.conftest import hints, impatient, network, no_context, private_redis, sandbox
from tests.delivery.outbox import Hints
from tests.delivery.test_privacy import Eavesdropper, eavesdropper, logged
from tests.delivery.test_tasks import work_off
from tests.factories import UserFactory
from tests.sandbox.process import Sandbox

__all__ = ["eavesdropper", "hints", "impatient", "logged", "network", "no_context", "private_redis", "sandbox"]
pytestmark = pytest.mark.django_db(transaction=True)

SECRET = re.compile(r"/accounts/\S+/[\w-]{43}/|\b\d{6}\b")
PASSWORDS = (
    "first-Xaverine-password",
    "second-Xaverine-password",
    "third-Xaverine-password",
    "fourth-Xaverine-password",
)


def every_table() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'public'")
        names = [name for (name,) in cursor.fetchall()]
        assert len(names) > 30
        rows = []
        for name in names:
            cursor.execute(f"SELECT kept::text FROM {name} AS kept")
            rows += [f"{name}: {text}" for (text,) in cursor.fetchall()]
    found = "\n".join(rows)
    decoded = [
        bytes.fromhex(match[1]).decode(errors="replace") for match in re.finditer(r"\\\\?x((?:[0-9a-f]{2})+)", found)
    ]
    return "\n".join([found, *decoded])


def pattern(secret: str) -> re.Pattern[str]:
    """Six digits are looked for as a word: a time or a hash may hold them by chance."""
    return re.compile(rf"(?<![\w.+]){secret}(?!\w)" if secret.isdigit() else re.escape(secret))


def found_in(places: dict[str, str], kept_secret: list[str]) -> list[tuple[str, str, str]]:
    return [
        (name, secret, text[max(0, match.start() - 100) : match.end() + 50])
        for name, text in places.items()
        for secret in kept_secret
        if (match := pattern(secret).search(text))
    ]


class Postman:
    """Does the runs that were asked for as a worker would, looks into every table, and delivers."""

    def __init__(self, inbox: Sandbox) -> None:
        self.inbox = inbox
        self.secrets: list[str] = list(PASSWORDS)
        self.tables: dict[str, str] = {}

    def goes_round(self) -> None:
        for run in TaskRun.objects.filter(state="pending", task__startswith="accounts.tasks."):
            work_off(str(run.pk))
        number = len(self.tables)
        self.tables[f"tables {number}, not sent"] = every_table()
        for message in OutboundMessage.objects.filter(status="queued").order_by("created_at"):
            dispatch.deliver(message.pk)
        self.tables[f"tables {number}, sent"] = every_table()

    def delivers(self, to: str) -> str:
        """The secret of the last message to this address."""
        self.goes_round()
        texts = [str(each["text"]) for each in self.inbox.messages(limit=100) if to in each["to"]]  # the newest first
        secret = next(found[0] for text in texts if (found := SECRET.search(text)))
        secret = secret.removesuffix("/").rpartition("/")[2]
        self.secrets.append(secret)
        return secret


def test_no_secret_is_in_a_table_on_redis_or_in_the_logs(
    sandbox: Sandbox, logged: io.StringIO, eavesdropper: Eavesdropper
) -> None:
    post, now = Postman(sandbox), clock.now()
    owner = UserFactory.create(role=Role.SUPER_ADMIN)

    farmer = people.register_farmer(
        phone="0244000555", first_name="Esi", last_name="Quaye", email="esi@example.com", password=PASSWORDS[0], now=now
    )
    assert farmer is not None
    secrets.verify_phone(user=farmer, code=post.delivers("+233244000555"), now=now)
    secrets.verify_email(token=post.delivers("esi@example.com"), now=now)

    secrets.request_password_reset(identifier="esi@example.com", ip="10.1.2.3", now=now)
    post.delivers("+233244000555")
    link = post.delivers("esi@example.com")
    secrets.set_password_by_token(token=link, password=PASSWORDS[1], now=now)

    secrets.request_password_reset(identifier="0244000555", ip="10.1.2.3", now=now)
    post.delivers("esi@example.com")
    code = post.delivers("+233244000555")
    secrets.reset_password_by_code(identifier="0244000555", code=code, password=PASSWORDS[2], now=now)

    invitations.invite(actor=owner, email="kofi@example.com", role="auditor", now=now)
    link = post.delivers("kofi@example.com")
    invitations.accept(
        token=link, phone="0244000556", first_name="Kofi", last_name="Mensah", password=PASSWORDS[3], now=now
    )

    made = people.create_person(
        actor=owner,
        phone="0244000557",
        role="auditor",
        first_name="Yaa",
        last_name="Owusu",
        email="yaa@example.com",
        now=now,
    )
    secrets.set_password_by_token(token=post.delivers("+233244000557"), password=PASSWORDS[3], now=now)
    post.delivers("yaa@example.com")

    assert User.objects.get(pk=made.pk).check_password(PASSWORDS[3])
    assert len(post.secrets) == len(PASSWORDS) + 9
    assert not TaskRun.objects.filter(task__startswith="accounts.tasks.", state="failed").exists()
    heard, log = eavesdropper.text(), logged.getvalue()
    assert "send_one_time_code" in heard
    assert len(log) > 1_000
    results = "\n".join(json.dumps([run.args, run.kwargs, run.result]) for run in TaskRun.objects.all())
    assert found_in(post.tables | {"redis": heard, "logs": log, "runs": results}, post.secrets) == []


def test_the_search_finds_what_is_there(logged: io.StringIO, eavesdropper: Eavesdropper, hints: Hints) -> None:
    Setting.objects.create(key="a", value="the code is 604713")
    logging.getLogger("careless").warning("the token is %s", "abc-DEF_123")
    hints.client.set("note", base64.b64encode(json.dumps({"token": "abc-DEF_123"}).encode()))
    places = {"tables": every_table(), "logs": logged.getvalue(), "redis": eavesdropper.text()}
    found = found_in(places, ["604713", "abc-DEF_123"])
    assert [(place, secret) for place, secret, _ in found] == [
        ("tables", "604713"),
        ("logs", "abc-DEF_123"),
        ("redis", "abc-DEF_123"),
    ]
