"""The trail: everything from cause to receipt, in order, masked, in a fixed number of queries."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from core import clock
from core.base.models import AuditLog
from core.delivery import dispatch, doubt, receipts, services, trail
from core.delivery.models import (
    DeliveryAttempt,
    MessageTemplate,
    OptOut,
    OutboundMessage,
    Suppression,
)
from core.delivery.rules import Channel, Purpose, Status
from core.delivery.trail import Kind, MessageFilter, Trail
from core.errors import InvalidInput, NotFound
from core.jobs.models import TaskRun
from core.jobs.operations import Actor
from core.tasks import process_bulk_sms
from tests.delivery.outbox import PHONE, again, an_email, an_sms, phones
from tests.factories import UserFactory
from tests.sandbox.process import Sandbox

pytestmark = pytest.mark.django_db

AMA = Actor(None, "ama@terminal")


def passes(seconds: float) -> None:
    gone = timedelta(seconds=seconds)
    OutboundMessage.objects.update(
        **{name: F(name) - gone for name in ("accepted_at", "receipt_due_at", "due_at", "ring_at", "updated_at")}
    )
    DeliveryAttempt.objects.update(started_at=F("started_at") - gone, finished_at=F("finished_at") - gone)


def kinds(found: Trail) -> list[str]:
    return [step.kind.value for step in found.steps]


def words(found: Trail) -> str:
    return json.dumps([asdict(found)], cls=DjangoJSONEncoder, ensure_ascii=False)


def test_the_way_of_a_text_that_was_in_doubt_and_put_right(sandbox: Sandbox) -> None:
    user = UserFactory.create(role="NATIONAL_ADMIN")
    message = an_sms(hint=False, subject=("farm", "7"), template="welcome")
    sandbox.faults(error_status=503)
    dispatch.deliver(message.pk)
    passes(60)
    sandbox.faults(reset_after_headers=True, deliver_after_ms=0)
    dispatch.deliver(message.pk)
    doubt.resolve(message.pk, sent=False, actor=Actor(user.pk, "Ama"), reason="Hubtel has no record of it")
    sandbox.faults(deliver_after_ms=0)
    dispatch.deliver(message.pk)
    OutboundMessage.objects.update(receipt_due_at=clock.now())
    receipts.poll(seconds=1)

    found = trail.of_message(message.pk)
    [now] = found.messages
    assert (now.status, now.attempts, now.network, now.subject) == ("delivered", 2, "62001", ("farm", "7"))
    assert now.cost == "0.0300"
    after_writing = [kind for kind in kinds(found) if kind != "written"]
    assert sorted(after_writing) == sorted(["called"] * 3 + ["changed", "decided", "receipt"])
    calls = [step for step in found.steps if step.kind == Kind.CALLED]
    assert [step.facts["verdict"] for step in calls] == ["provider_away", "in_doubt", "accepted"]
    assert [step.facts["http_status"] for step in calls] == [503, None, 201]
    assert [step.facts["number"] for step in calls] == [1, 2, 3]
    [changed] = [step for step in found.steps if step.kind == Kind.CHANGED]
    assert (changed.facts["from"], changed.facts["to"], changed.actor) == ("in_doubt", "queued", "Ama")
    [decided] = [step for step in found.steps if step.kind == Kind.DECIDED]
    assert decided.facts["reason"] == "Hubtel has no record of it"
    [receipt] = [step for step in found.steps if step.kind == Kind.RECEIPT]
    assert (receipt.facts["text"], receipt.facts["source"]) == ("Delivered", "poll")
    assert [step.at for step in found.steps] == sorted(step.at for step in found.steps)


def test_what_asked_for_it_stands_first(sandbox: Sandbox) -> None:
    user = UserFactory.create()
    run = TaskRun.objects.create(
        id=uuid.uuid4(),
        task="core.tasks.send_sms_async",
        queue="default",
        trigger="request",
        requested_by=user,
        asked_at=clock.now(),
        due_at=clock.now(),
        ring_at=clock.now(),
    )
    services.send_sms_now(phone=PHONE, text="Hello", key=str(run.pk), purpose=None)
    found = trail.of_message(OutboundMessage.objects.get().pk)
    assert kinds(found)[:3] == ["cause", "written", "called"]
    assert found.steps[0].facts["run"] == str(run.pk)
    assert found.steps[0].actor
    assert user.phone[1:] not in words(found)


def test_a_campaign_and_a_template_are_named(sandbox: Sandbox) -> None:
    version = MessageTemplate.objects.create(key="welcome", language="tw", version=3, sms="Akwaaba")
    process_bulk_sms(phones(3), "Hello")
    message = OutboundMessage.objects.first()
    assert message is not None
    OutboundMessage.objects.filter(pk=message.pk).update(template="welcome", template_version=version, language="tw")
    dispatch.dispatch_bulk(seconds=5)
    found = trail.of_message(message.pk)
    assert (found.messages[0].campaign, found.messages[0].template_version) == (message.campaign_id, 3)
    cause = next(step for step in found.steps if step.kind == Kind.CAUSE)
    assert cause.facts["campaign"] == str(message.campaign_id)
    written = next(step for step in found.steps if step.kind == Kind.WRITTEN)
    assert "welcome tw v3" in written.text
    call = next(step for step in found.steps if step.kind == Kind.CALLED)
    assert (call.facts["messages"], bool(call.facts["batch"])) == (3, True)
    assert "with 2 others" in call.text


def test_numbers_and_texts_are_masked(sandbox: Sandbox) -> None:
    message = an_sms("0244123456", "Your eggs, Kofi", key="for 0244123456", hint=False)
    dispatch.deliver(message.pk)
    OutboundMessage.objects.update(error="refused for 0244123456")
    for found in (trail.of_message(message.pk), trail.of_phone("024 412 3456")):
        shown = words(found)
        assert "244123456" not in shown
        assert "Your eggs" not in shown
        assert found.messages[0].recipient == "+233*****3456"
        assert (found.messages[0].text, found.revealed) == (None, False)
    assert not AuditLog.objects.filter(action="message.revealed").exists()


def test_who_wants_to_see_them_is_written_down(sandbox: Sandbox) -> None:
    message = an_sms(text="Your eggs, Kofi", hint=False)
    user = UserFactory.create()
    found = trail.of_message(message.pk, reveal=True, actor=Actor(user.pk, "Ama"), reason="a complaint")
    assert (found.messages[0].recipient, found.messages[0].text, found.revealed) == (PHONE, "Your eggs, Kofi", True)
    audit = AuditLog.objects.get(action="message.revealed")
    assert (audit.subject_type, audit.subject_id, audit.actor_id) == ("message", str(message.pk), user.pk)
    assert audit.reason == "a complaint"
    trail.of_phone(PHONE, reveal=True, actor=AMA, reason="the same")
    of_phone = AuditLog.objects.get(action="message.revealed", subject_type="address")
    assert (of_phone.subject_id, of_phone.after) == ("+233*****3456", {"messages": [str(message.pk)]})
    assert "revealed: a complaint" in words(trail.of_message(message.pk)), "who looked is part of the trail"


@pytest.mark.parametrize(("actor", "reason"), [(None, "why"), (AMA, " ")])
def test_nothing_is_revealed_without_a_name_and_a_reason(actor: Actor | None, reason: str) -> None:
    message = an_sms(hint=False)
    with pytest.raises(InvalidInput):
        trail.of_message(message.pk, reveal=True, actor=actor, reason=reason)
    assert not AuditLog.objects.exists()


def test_a_code_is_never_shown(sandbox: Sandbox) -> None:
    message = an_sms(
        text="Your code is 123456", purpose=Purpose.OTP, hint=False, not_after=clock.now() + timedelta(minutes=5)
    )
    found = trail.of_message(message.pk, reveal=True, actor=AMA, reason="why")
    assert (found.messages[0].text, found.messages[0].sealed) == (None, True)
    assert "123456" not in words(found).replace("244123456", "")


def test_the_trail_of_a_phone_has_all_its_messages_and_what_it_declined(sandbox: Sandbox) -> None:
    messages = [an_sms(key=f"k{n}", hint=False) for n in range(3)]
    an_sms("0201234567", hint=False)
    for message in messages:
        dispatch.deliver(message.pk)
    now = clock.now()
    OptOut.objects.create(
        channel="sms", address=PHONE, purpose="bulk", source="link", at=now, ended_at=now, ended_source="officer"
    )
    Suppression.objects.create(channel="sms", address=PHONE, reason="refused", at=now)
    found = trail.of_phone("0244123456")
    assert {one.id for one in found.messages} == {message.pk for message in messages}
    assert kinds(found).count("called") == 3
    assert {step.text for step in found.steps if step.kind == Kind.DECLINED} == {
        "wants no more bulk by sms (link)",
        "wants bulk by sms again (officer)",
        "takes no messages: refused",
    }


def test_the_trail_of_an_address(sandbox: Sandbox) -> None:
    mail = an_email("Ama@Example.com", hint=False)
    dispatch.deliver(mail.pk)
    found = trail.of_address(" ama@example.com ")
    assert [one.id for one in found.messages] == [mail.pk]
    assert found.messages[0].recipient == "a***@example.com"
    assert "Report" not in words(found)


def test_only_the_newest_messages_of_a_phone_and_a_word_that_there_are_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "MOST_MESSAGES", 2)
    messages = [an_sms(hint=False) for _ in range(3)]
    found = trail.of_phone(PHONE)
    assert (len(found.messages), found.more) == (2, True)
    assert messages[0].pk not in {one.id for one in found.messages}


def test_the_number_of_queries_does_not_grow(sandbox: Sandbox) -> None:
    def queries(number: str) -> int:
        with CaptureQueriesContext(connection) as counted:
            trail.of_phone(number)
        return len(counted)

    for _ in range(2):
        dispatch.deliver(an_sms(phones(2)[0], hint=False).pk)
    for _ in range(20):
        dispatch.deliver(an_sms(phones(2)[1], hint=False).pk)
    few, many = queries(phones(2)[0]), queries(phones(2)[1])
    assert few == many <= 9


@pytest.mark.parametrize(("ask", "error"), [("0302123456", InvalidInput), ("nobody", InvalidInput)])
def test_what_is_no_phone_is_refused(ask: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        trail.of_phone(ask)


def test_an_unknown_message_is_not_found() -> None:
    with pytest.raises(NotFound):
        trail.of_message(uuid.uuid4())
    assert trail.of_phone("0244123456").steps == ()


def test_more_calls_than_twenty_are_cut_at_the_beginning(sandbox: Sandbox) -> None:
    message = an_sms(hint=False)
    calls = []
    for _ in range(25):
        attempt = DeliveryAttempt.objects.create(provider="hubtel", messages=1, started_at=clock.now())
        OutboundMessage.objects.filter(pk=message.pk).update(last_attempt=attempt)
        calls.append(attempt.pk)
    row = again(message)
    assert row.earlier_attempts == calls[4:24]
    assert row.last_attempt_id == calls[24]


# --- finding --------------------------------------------------------------------------------------------------------


def test_messages_are_found_by_what_they_are(sandbox: Sandbox) -> None:
    sms, mail = an_sms(hint=False), an_email(hint=False)
    bulk = an_sms(phones(1)[0], purpose=Purpose.BULK, hint=False)
    dispatch.deliver(sms.pk)

    def ids(**which: Any) -> set[uuid.UUID]:
        return {row.id for row in trail.recent(MessageFilter(**which), 10).rows}

    assert ids() == {sms.pk, mail.pk, bulk.pk}
    assert ids(statuses=(Status.ACCEPTED,)) == {sms.pk}
    assert ids(channel=Channel.EMAIL) == {mail.pk}
    assert ids(purpose=Purpose.BULK) == ids(lane="bulk") == {bulk.pk}
    assert ids(statuses=(Status.IN_DOUBT,)) == set()
    assert ids(since=clock.now() + timedelta(hours=1)) == set()
    assert trail.recent(MessageFilter(), 2).rows[0].id == bulk.pk


def test_a_message_is_named_by_the_first_digits_of_its_id() -> None:
    message = an_sms(hint=False)
    assert trail.message_id_of(message.pk.hex[:12]) == message.pk
    assert trail.message_id_of(str(message.pk)) == message.pk
    with pytest.raises(NotFound):
        trail.message_id_of("0000" if message.pk.hex[:4] != "0000" else "ffff")
    for wrong in ("", "xyz", "12", "1" * 40):
        with pytest.raises(InvalidInput):
            trail.message_id_of(wrong)
