"""`manage.py messages`, as it answers at the terminal and to programs."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now

from core.base.models import AuditLog
from core.delivery import dispatch
from core.delivery.models import MessageEvent, OutboundMessage
from core.delivery.rules import Purpose
from tests.delivery.outbox import again, an_email, an_sms, phones
from tests.factories import UserFactory
from tests.sandbox.process import Sandbox

pytestmark = pytest.mark.django_db

WHY = ("--reason", "Hubtel has no record of it")


def text(*words: str) -> str:
    out = io.StringIO()
    call_command("messages", *words, stdout=out)
    return out.getvalue()


def answer(*words: str) -> Any:
    return json.loads(text(*words, "--json"))


def refused(*words: str) -> str:
    with pytest.raises(CommandError) as error:
        text(*words)
    with pytest.raises(SystemExit):
        text(*words, "--json")
    return str(error.value)


def accepted(sandbox: Sandbox) -> OutboundMessage:
    sandbox.faults(deliver_after_ms=0)
    message = an_sms(hint=False)
    dispatch.deliver(message.pk)
    return again(message)


def in_doubt(sandbox: Sandbox) -> OutboundMessage:
    message = an_sms(hint=False)
    sandbox.faults(reset_after_headers=True)
    dispatch.deliver(message.pk)
    sandbox.faults()
    assert again(message).status == "in_doubt"
    return message


def test_the_newest_messages_with_numbers_masked(sandbox: Sandbox) -> None:
    message = accepted(sandbox)
    mail = an_email(hint=False)
    shown = text("list")
    assert "+233*****3456" in shown
    assert "a***@example.com" in shown
    assert "244123456" not in shown
    assert "accepted" in shown
    assert max(map(len, shown.splitlines())) <= 100
    assert {one["id"] for one in answer("list")["messages"]} == {str(message.pk), str(mail.pk)}


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["--status", "accepted"], 1),
        (["--status", "accepted", "--status", "queued"], 3),
        (["--purpose", "bulk"], 1),
        (["--channel", "email"], 1),
        (["--lane", "bulk"], 1),
        (["--since", "1h"], 3),
        (["--since", "2100-01-01"], 0),
        (["--limit", "2"], 2),
    ],
)
def test_a_filter(sandbox: Sandbox, words: list[str], count: int) -> None:
    accepted(sandbox)
    an_email(hint=False)
    an_sms(phones(1)[0], purpose=Purpose.BULK, hint=False)
    assert len(answer("list", *words)["messages"]) == count


def test_nothing_there(sandbox: Sandbox) -> None:
    assert "No message has been written yet." in text("list")
    assert "No such message." in text("list", "--status", "dead")
    assert "Nothing was written to it" in text("phone", "0244123456")


def test_one_message_from_cause_to_what_comes_next(sandbox: Sandbox) -> None:
    message = accepted(sandbox)
    shown = text("show", message.pk.hex[:12])
    for word in ("accepted", "hubtel was called: accepted", "GHS 0.0300", "asked what became of it in", "Accra"):
        assert word in shown
    assert "244123456" not in shown
    assert "Hello" not in shown
    given = answer("show", str(message.pk))
    assert [step["kind"] for step in given["steps"]] == ["written", "called"]
    assert given["messages"][0]["text"] is None


def test_looking_at_number_and_text_needs_a_reason_and_is_kept(sandbox: Sandbox) -> None:
    message = accepted(sandbox)
    assert "--reason" in refused("show", str(message.pk), "--reveal")
    shown = text("show", str(message.pk), "--reveal", "--reason", "a complaint")
    assert message.recipient in shown
    assert "Hello" in shown
    assert AuditLog.objects.get(action="message.revealed").reason == "a complaint"


def test_everything_that_went_to_a_phone(sandbox: Sandbox) -> None:
    message = accepted(sandbox)
    given = answer("phone", "024 412 3456")
    assert [one["id"] for one in given["messages"]] == [str(message.pk)]
    assert "hubtel was called: accepted" in text("phone", "0244123456")
    an_email(hint=False)
    assert len(answer("phone", "ama@example.com")["messages"]) == 1
    assert "phone number" in refused("phone", "12345")


def test_a_dead_message_goes_once_more(sandbox: Sandbox) -> None:
    message = an_sms(hint=False)
    assert "not dead" in refused("resend", str(message.pk), *WHY)
    OutboundMessage.objects.update(status="dead", due_at=None, ring_at=None, attempts=4)
    assert "messages resend" in text("show", str(message.pk))
    assert "--reason" in refused("resend", str(message.pk))
    assert answer("resend", str(message.pk), *WHY) == {"id": str(message.pk), "status": "queued"}
    assert dispatch.deliver(message.pk) is True


@pytest.mark.parametrize(("said", "status"), [("--sent", "accepted"), ("--not-sent", "queued")])
def test_what_is_in_doubt_is_decided_by_a_person_with_a_name(sandbox: Sandbox, said: str, status: str) -> None:
    message = in_doubt(sandbox)
    admin = UserFactory.create(role="NATIONAL_ADMIN", phone="+233201234567")
    assert "messages resolve" in text("show", str(message.pk))
    given = answer("resolve", str(message.pk), said, *WHY, "--as", "0201234567")
    assert given == {"id": str(message.pk), "status": status}
    assert MessageEvent.objects.get().actor_id == admin.pk
    assert AuditLog.objects.get(action="message.resolved").actor_id == admin.pk
    assert "not in doubt" in refused("resolve", str(message.pk), said, *WHY)


@pytest.mark.parametrize("words", [(), ("--sent", "--not-sent")])
def test_it_must_be_said_whether_it_was_sent(sandbox: Sandbox, words: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="sent"):
        text("resolve", str(in_doubt(sandbox).pk), *words, *WHY)


def test_what_is_no_longer_kept_is_refused_in_words(sandbox: Sandbox) -> None:
    message = in_doubt(sandbox)
    OutboundMessage.objects.update(body=None)
    assert "no longer kept" in refused("resolve", str(message.pk), "--not-sent", *WHY)


def test_receipts_are_asked_for_now(sandbox: Sandbox) -> None:
    first, second = accepted(sandbox), accepted(sandbox)
    assert answer("receipts", "now") == {"asked": 0, "more": False}
    assert answer("receipts", "now", str(first.pk)) == {"asked": 1, "more": False}
    assert (again(first).status, again(second).status) == ("delivered", "accepted")
    assert "None of these waits" in refused("receipts", "now", str(first.pk))
    OutboundMessage.objects.filter(pk=second.pk).update(receipt_due_at=Now() - timedelta(seconds=1))
    assert "asked about 1 messages" in text("receipts", "now")


def test_what_cannot_be_found_is_said() -> None:
    assert "no message" in refused("show", "00000000")
    assert "no message id" in refused("show", "?")
    assert "is no time" in refused("list", "--since", "soon")
