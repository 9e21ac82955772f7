"""In doubt: proof first, then the rule of the purpose, then a person; after 72 hours it is unknown."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from core import clock
from core.base.models import AuditLog
from core.delivery import dispatch, doubt, events, receipts, rules
from core.delivery.models import DeliveryAttempt, MessageEvent, OutboundMessage
from core.delivery.rules import Purpose
from core.errors import Conflict, InvalidInput, NotFound
from core.jobs.operations import Actor
from tests.delivery.outbox import Hints, again, an_email, an_sms, meanwhile, phones
from tests.delivery.raw_server import http, replying
from tests.factories import UserFactory
from tests.sandbox.process import Sandbox

pytestmark = pytest.mark.django_db

AMA = Actor(None, "ama@terminal")
HOUR = 3_600


def soon() -> Any:
    return clock.now() + timedelta(minutes=5)


def in_doubt(
    sandbox: Sandbox, purpose: Purpose = Purpose.SERVICE, *, arrived: bool = True, **about: Any
) -> OutboundMessage:
    if purpose == Purpose.OTP:
        about = {"not_after": soon(), **about}
    message = an_sms(purpose=purpose, hint=False, **about)
    sandbox.faults(**{"reset_after_accept" if arrived else "reset_after_headers": True}, deliver_after_ms=0)
    if message.lane == "bulk":
        dispatch.dispatch_bulk(seconds=5)
    else:
        dispatch.deliver(message.pk)
    sandbox.faults(deliver_after_ms=0)
    assert again(message).status == "in_doubt"
    return again(message)


def passes(seconds: float) -> None:
    gone = timedelta(seconds=seconds)
    OutboundMessage.objects.update(
        **{name: F(name) - gone for name in ("updated_at", "accepted_at", "receipt_due_at", "lease_until")}
    )
    DeliveryAttempt.objects.update(started_at=F("started_at") - gone, finished_at=F("finished_at") - gone)


def told(message: OutboundMessage) -> list[tuple[str, str]]:
    return list(MessageEvent.objects.filter(message=message).order_by("id").values_list("from_status", "to_status"))


# --- by itself -----------------------------------------------------------------------------------------------------


def test_a_code_in_doubt_is_sent_once_more_after_20_seconds_and_never_again(sandbox: Sandbox) -> None:
    message = in_doubt(sandbox, Purpose.OTP)
    doubt.sweep()
    passes(18)
    doubt.sweep()
    assert again(message).status == "in_doubt"
    passes(3)
    doubt.sweep()
    row = again(message)
    assert (row.status, row.resent, row.receipt_due_at) == ("queued", True, None)
    [event] = MessageEvent.objects.filter(message=message)
    assert (event.from_status, event.to_status) == ("in_doubt", "queued")
    assert "once more" in event.reason
    sandbox.faults(reset_after_accept=True)
    assert dispatch.deliver(message.pk) is True
    row = again(message)
    assert (row.status, row.attempts) == ("in_doubt", 2)
    for _ in range(3):
        passes(60)
        doubt.sweep()
        assert again(message).status == "in_doubt"
    assert sandbox.total() == 2


@pytest.mark.django_db(transaction=True)
def test_sweeps_side_by_side_send_a_code_once(sandbox: Sandbox, hints: Hints) -> None:
    messages = [in_doubt(sandbox, Purpose.OTP, key=f"k{n}") for n in range(3)]
    passes(30)
    arrived = sandbox.total()
    with meanwhile(*[doubt.sweep] * 4):
        pass
    with meanwhile(*[lambda each=each: dispatch.deliver(each.pk) for each in messages * 3]):
        pass
    assert sandbox.total() == arrived + 3
    assert OutboundMessage.objects.filter(status="accepted", resent=True).count() == 3


@pytest.mark.parametrize(
    "about",
    [
        {"not_after": Now() - timedelta(seconds=1)},
        {"sealed": None},
        {"recipient": ""},
        {"provider_id": "an-id-to-ask-by"},
    ],
)
def test_a_code_that_is_of_no_use_or_can_be_asked_about_is_not_sent_again(
    sandbox: Sandbox, about: dict[str, object]
) -> None:
    message = in_doubt(sandbox, Purpose.OTP)
    OutboundMessage.objects.update(**about)
    passes(60)
    doubt.sweep()
    assert again(message).status == "in_doubt"


def test_an_old_code_is_not_sent_again(sandbox: Sandbox) -> None:
    message = in_doubt(sandbox, Purpose.OTP, not_after=clock.now() + timedelta(days=1))
    passes(2 * HOUR)
    doubt.sweep()
    assert again(message).status == "in_doubt"


@pytest.mark.parametrize("purpose", [purpose for purpose in Purpose if purpose != Purpose.OTP])
def test_nothing_else_is_ever_sent_again_by_itself(
    sandbox: Sandbox, purpose: Purpose, make_due: Callable[[], int]
) -> None:
    message = in_doubt(sandbox, purpose)
    arrived = sandbox.total()
    for hours in (0, 1, 10, 30, 30):
        passes(hours * HOUR)
        make_due()
        doubt.sweep()
        dispatch.sweep()
        receipts.poll(seconds=1)
        assert dispatch.deliver(message.pk) is False
        assert again(message).status == "in_doubt"
    passes(2 * HOUR)
    doubt.sweep()
    row = again(message)
    assert (row.status, sandbox.total()) == ("outcome_unknown", arrived)
    assert row.outcome_at is not None
    assert told(message) == [("in_doubt", "outcome_unknown")]
    assert "72 hours" in MessageEvent.objects.get().reason


def test_a_worker_that_was_killed_has_kept_a_code_waiting_long_enough(
    sandbox: Sandbox, leases_over: Callable[[], int]
) -> None:
    message = an_sms(purpose=Purpose.OTP, hint=False, not_after=soon())
    in_doubt(sandbox, Purpose.SERVICE)
    OutboundMessage.objects.filter(pk=message.pk).update(
        status="submitting",
        due_at=None,
        ring_at=None,
        lease_until=Now() + timedelta(seconds=60),
        last_attempt=DeliveryAttempt.objects.create(
            provider="hubtel", messages=1, started_at=clock.now() - timedelta(seconds=rules.LEASE_SECONDS)
        ),
    )
    leases_over()
    dispatch.sweep()
    assert again(message).status == "in_doubt"
    doubt.sweep()
    assert again(message).status == "queued"


def test_a_sweep_with_nothing_in_doubt_is_one_look(sandbox: Sandbox) -> None:
    with CaptureQueriesContext(connection) as queries:
        doubt.sweep()
    assert len(queries) == 1


# --- proof ---------------------------------------------------------------------------------------------------------


def a_batch(sandbox: Sandbox, **faults: object) -> list[OutboundMessage]:
    messages = [an_sms(phone, purpose=Purpose.BULK, hint=False) for phone in phones(10)]
    sandbox.faults(deliver_after_ms=0, **faults)
    dispatch.dispatch_bulk(seconds=5)
    sandbox.faults()
    return messages


@pytest.mark.parametrize(("lost", "ends"), [(False, "delivered"), (True, "in_doubt")])
def test_what_a_batch_reply_did_not_name_is_looked_up_in_its_batch(sandbox: Sandbox, lost: bool, ends: str) -> None:
    messages = a_batch(sandbox, partial_batch=0.4, partial_batch_lost=lost, seed=1)
    doubtful = [message for message in messages if again(message).status == "in_doubt"]
    assert len(doubtful) == 4
    passes(60)
    with CaptureQueriesContext(connection) as queries:
        receipts.poll(seconds=1)
    assert sandbox.stats()["requests"]["GET /v1/messages/batch/{id}"] == 1
    assert len([query for query in queries if query["sql"].startswith("\nUPDATE")]) == 1
    arrived = {message["to"]: message["id"] for message in sandbox.messages()}
    for message in doubtful:
        row = again(message)
        assert row.status == ends
        assert row.provider_id == arrived.get(row.recipient, "")
        assert (row.receipt_due_at is None) == (ends == "delivered")
        if lost:
            assert "does not name this number" in row.error
    assert {again(message).status for message in messages if message not in doubtful} == {"delivered"}


def test_what_is_found_in_its_batch_is_accepted_and_goes_on_up_the_ladder(
    sandbox: Sandbox, settings: LazySettings
) -> None:
    messages = a_batch(sandbox, partial_batch=1.0)
    passes(60)
    attempt = again(messages[0]).last_attempt
    assert attempt is not None
    arrived = sandbox.messages()

    def pending(_request: bytes) -> bytes:
        data = [{"messageId": each["id"], "status": "Pending", "to": each["to"][1:]} for each in arrived]
        return http(200, {"batchId": attempt.batch_id, "data": data})

    with replying(pending) as server:
        settings.HUBTEL_BASE_URL = server.url
        receipts.poll(seconds=1)
    for message in messages:
        row = again(message)
        assert row.status == "accepted"
        assert (row.accepted_at, row.receipt_looks) == (attempt.started_at, 1)
        assert row.receipt_due_at is not None
        assert told(message) == [("in_doubt", "accepted")]


def test_what_stays_absent_from_its_batch_is_unknown_after_72_hours(sandbox: Sandbox) -> None:
    messages = a_batch(sandbox, partial_batch=1.0, partial_batch_lost=True)
    other = sandbox.send().json()["messageId"]
    for gap in (60, 3 * 24 * HOUR):
        passes(gap)
        receipts.poll(seconds=1)
    assert {again(message).status for message in messages} == {"outcome_unknown"}
    assert other


# --- a person ------------------------------------------------------------------------------------------------------


def test_a_person_says_that_it_was_sent(sandbox: Sandbox) -> None:
    message = in_doubt(sandbox)
    user = UserFactory.create(role="NATIONAL_ADMIN")
    doubt.resolve(message.pk, sent=True, actor=Actor(user.pk, "Ama"), reason="she has it on her phone")
    row = again(message)
    assert (row.status, row.due_at) == ("accepted", None)
    assert row.accepted_at is not None
    event = MessageEvent.objects.get()
    assert (event.from_status, event.to_status, event.actor_id, event.actor_name) == (
        "in_doubt",
        "accepted",
        user.pk,
        "Ama",
    )
    assert "she has it on her phone" in event.reason
    audit = AuditLog.objects.get(action="message.resolved")
    assert (audit.subject_type, audit.subject_id, audit.actor_id) == ("message", str(message.pk), user.pk)
    assert (audit.before, audit.after, audit.reason) == (
        {"status": "in_doubt"},
        {"status": "accepted"},
        "she has it on her phone",
    )
    passes(3 * 24 * HOUR + 60)
    receipts.poll(seconds=1)
    assert again(message).status == "outcome_unknown", "nothing can be asked, so it ends"


def test_a_person_says_that_it_was_not_sent_and_it_goes_again(sandbox: Sandbox) -> None:
    message = in_doubt(sandbox, arrived=False)
    doubt.resolve(message.pk, sent=False, actor=AMA, reason="Hubtel has no record")
    assert again(message).status == "queued"
    assert MessageEvent.objects.get().actor_name == "ama@terminal"
    assert dispatch.deliver(message.pk) is True
    row = again(message)
    assert (row.status, sandbox.total()) == ("accepted", 1)
    assert len(row.earlier_attempts) == 1


def test_a_code_that_was_sent_again_cannot_go_a_third_time(sandbox: Sandbox) -> None:
    message = in_doubt(sandbox, Purpose.OTP)
    passes(30)
    doubt.sweep()
    sandbox.faults(reset_after_accept=True)
    dispatch.deliver(message.pk)
    with pytest.raises(Conflict, match="no longer kept"):
        doubt.resolve(message.pk, sent=False, actor=AMA, reason="really not")


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ({"recipient": ""}, "no longer kept"),
        ({"body": None}, "no longer kept"),
        ({"not_after": Now() - timedelta(seconds=1)}, "time was over"),
        ({"status": "delivered"}, "not in doubt"),
    ],
)
def test_what_cannot_be_sent_again_is_refused_in_words(sandbox: Sandbox, about: dict[str, object], says: str) -> None:
    message = in_doubt(sandbox)
    OutboundMessage.objects.update(**about)
    events_before = MessageEvent.objects.count()
    with pytest.raises(Conflict, match=says):
        doubt.resolve(message.pk, sent=False, actor=AMA, reason="not sent")
    assert again(message).status == about.get("status", "in_doubt")
    assert MessageEvent.objects.count() == events_before
    assert not AuditLog.objects.filter(action="message.resolved").exists()


def test_a_decision_needs_a_reason_and_a_message(sandbox: Sandbox) -> None:
    message = in_doubt(sandbox)
    with pytest.raises(InvalidInput, match="reason"):
        doubt.resolve(message.pk, sent=True, actor=AMA, reason=" ")
    with pytest.raises(NotFound):
        doubt.resolve(uuid.uuid4(), sent=True, actor=AMA, reason="why")


@pytest.mark.django_db(transaction=True)
def test_of_two_people_at_once_one_decides(sandbox: Sandbox) -> None:
    message = in_doubt(sandbox, arrived=False)
    refused: list[Conflict] = []

    def decide(sent: bool) -> None:
        try:
            doubt.resolve(message.pk, sent=sent, actor=AMA, reason="why")
        except Conflict as conflict:
            refused.append(conflict)

    with meanwhile(lambda: decide(True), lambda: decide(False)):
        pass
    assert len(refused) == 1
    assert MessageEvent.objects.count() == AuditLog.objects.filter(action="message.resolved").count() == 1


def test_a_dead_message_gets_its_tries_again(sandbox: Sandbox) -> None:
    message = an_email(hint=False)
    OutboundMessage.objects.filter(pk=message.pk).update(status="dead", due_at=None, ring_at=None, attempts=4)
    doubt.resend(message.pk, actor=AMA, reason="the address was put right")
    row = again(message)
    assert (row.status, row.attempts) == ("queued", 0)
    assert MessageEvent.objects.filter(to_status="queued").get().actor_name == "ama@terminal"
    assert AuditLog.objects.get(action="message.resent").reason == "the address was put right"
    dispatch.deliver(message.pk)
    assert again(message).status == "accepted"
    with pytest.raises(Conflict, match="not dead"):
        doubt.resend(message.pk, actor=AMA, reason="again")


def test_what_is_in_doubt_is_not_resent_as_if_it_were_dead(sandbox: Sandbox) -> None:
    message = in_doubt(sandbox)
    with pytest.raises(Conflict, match="Use resolve"):
        doubt.resend(message.pk, actor=AMA, reason="why")


# --- who did it ----------------------------------------------------------------------------------------------------


def test_an_event_names_its_actor_and_the_name_does_not_stay(sandbox: Sandbox) -> None:
    first, second, third = (an_sms(hint=False) for _ in range(3))
    user = UserFactory.create()

    def hold(message: OutboundMessage) -> None:
        OutboundMessage.objects.filter(pk=message.pk).update(status="held")

    with events.by(user.pk, "Ama"):
        hold(first)
        with events.by(actor_name="Kofi"):
            hold(second)
    hold(third)
    named = {event.message_id: (event.actor_id, event.actor_name) for event in MessageEvent.objects.all()}
    assert named == {first.pk: (user.pk, "Ama"), second.pk: (None, "Kofi"), third.pk: (None, "")}


def test_a_block_that_fails_leaves_no_name_behind(sandbox: Sandbox) -> None:
    message = an_sms(hint=False)
    with pytest.raises(ZeroDivisionError), events.by(actor_name="Ama"):
        _ = 1 / 0
    OutboundMessage.objects.filter(pk=message.pk).update(status="held")
    assert MessageEvent.objects.get().actor_name == ""
