"""What people decline, which addresses take nothing, and the same text twice."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from core.base.models import AuditLog, Setting
from core.delivery import consent, dispatch
from core.delivery.consent import BYPASS, DECLINABLE, By, Source
from core.delivery.models import OptOut, OutboundMessage, Suppression
from core.delivery.rules import Channel, Purpose, Status, SuppressionReason
from core.errors import InvalidInput, NotFound
from core.jobs.operations import Actor
from tests.delivery.outbox import PHONE, again, an_email, an_sms, meanwhile, phones
from tests.factories import UserFactory
from tests.sandbox.process import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

EMAIL = "ama@example.com"


def officer(reason: str = "asked by phone on Monday") -> By:
    user = UserFactory.create(role="SUPER_ADMIN")
    return By(Source.OFFICER, Actor(user.pk, user.get_username()), reason)


def declines(purpose: Purpose, channel: Channel = Channel.SMS, address: str = PHONE) -> None:
    assert consent.choose(channel, address, purpose, wanted=False, source=Source.LINK)


def command(*words: str) -> dict[str, Any]:
    out = StringIO()
    call_command("consent", *words, "--json", stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


# --- declined ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", DECLINABLE)
def test_what_is_declined_is_written_as_suppressed_with_the_reason_and_not_sent(
    sandbox: Sandbox, purpose: Purpose
) -> None:
    declines(purpose)
    message = an_sms(purpose=purpose)
    assert (message.status, message.due_at) == (Status.SUPPRESSED, None)
    assert message.error == consent.OPTED_OUT
    assert not dispatch.deliver(message.pk)
    assert sandbox.total() == 0


def test_declining_one_kind_on_one_channel_leaves_the_others() -> None:
    declines(Purpose.BULK)
    assert an_sms(purpose=Purpose.SERVICE).status == Status.QUEUED
    assert an_email(purpose=Purpose.BULK).status == Status.QUEUED
    assert an_sms("+233244000001", purpose=Purpose.BULK).status == Status.QUEUED


def test_who_declines_after_it_was_written_is_spared_when_it_would_leave(sandbox: Sandbox) -> None:
    message = an_sms()
    declines(Purpose.SERVICE)
    assert not dispatch.deliver(message.pk)
    assert (again(message).status, again(message).error) == (Status.SUPPRESSED, consent.OPTED_OUT)
    assert sandbox.total() == 0


def test_of_a_bulk_batch_only_those_who_declined_are_left_out(sandbox: Sandbox) -> None:
    numbers = phones(20)
    for number in numbers:
        an_sms(number, purpose=Purpose.BULK, any_hour=True)
    for number in numbers[:3]:
        declines(Purpose.BULK, address=number)
    dispatch.dispatch_bulk(seconds=1)
    assert {message["to"] for message in sandbox.messages()} == set(numbers[3:])
    assert OutboundMessage.objects.filter(status=Status.SUPPRESSED).count() == 3


def test_a_whole_list_is_looked_at_in_one_query() -> None:
    messages = [an_sms(number) for number in phones(50)]
    declines(Purpose.SERVICE, address=messages[7].recipient)
    with CaptureQueriesContext(connection) as queries:
        found = consent.blocked(messages)
    assert len(queries) == 1
    assert found == {messages[7].pk: consent.OPTED_OUT}
    assert consent.blocked([]) == {}


def test_who_wants_messages_again_gets_them_and_the_proof_stays() -> None:
    declines(Purpose.SERVICE)
    assert consent.choose(Channel.SMS, PHONE, Purpose.SERVICE, wanted=True, source=Source.LINK)
    assert an_sms().status == Status.QUEUED
    kept = OptOut.objects.get()
    assert kept.ended_at
    assert (kept.source, kept.ended_source) == ("link", "link")
    assert not consent.choose(Channel.SMS, PHONE, Purpose.SERVICE, wanted=True, source=Source.LINK)


def test_two_clicks_at_once_are_one_opt_out() -> None:
    def click() -> None:
        consent.choose(Channel.SMS, PHONE, Purpose.BULK, wanted=False, source=Source.ONE_CLICK)

    with meanwhile(*[click] * 6):
        pass
    assert OptOut.objects.count() == 1


def test_a_link_clicked_again_and_again_is_stopped_for_an_hour() -> None:
    for _ in range(consent.CHANGES_AN_HOUR):
        declines(Purpose.BULK)
        consent.choose(Channel.SMS, PHONE, Purpose.BULK, wanted=True, source=Source.LINK)
    with pytest.raises(consent.TooManyChanges, match="Wait an hour"):
        declines(Purpose.BULK)
    OptOut.objects.update(at=Now() - timedelta(hours=2))
    declines(Purpose.BULK)


# --- what reaches people all the same ------------------------------------------------------------------------------


def test_every_purpose_can_be_declined_or_says_why_not() -> None:
    assert {*BYPASS, *DECLINABLE} == set(Purpose)
    assert not {*BYPASS} & {*DECLINABLE}


@pytest.mark.parametrize("purpose", BYPASS)
def test_codes_warnings_and_duties_reach_who_declined_and_each_says_so(sandbox: Sandbox, purpose: Purpose) -> None:
    declines(Purpose.SERVICE)
    declines(Purpose.BULK)
    message = an_sms(purpose=purpose)
    assert dispatch.deliver(message.pk)
    assert again(message).status == Status.ACCEPTED
    assert again(message).bypassed == f"declined: bulk, service; {BYPASS[purpose]}"
    [told] = command("bypasses")["messages"]
    assert (told["message"], told["purpose"]) == (str(message.pk), purpose)


def test_a_message_that_bypasses_nothing_says_nothing() -> None:
    assert an_sms(purpose=Purpose.OTP).bypassed == ""
    assert command("bypasses")["messages"] == []


@pytest.mark.parametrize("purpose", BYPASS)
def test_what_bypasses_cannot_be_declined(purpose: Purpose) -> None:
    with pytest.raises(InvalidInput, match="cannot be declined"):
        consent.choose(Channel.SMS, PHONE, purpose, wanted=False, source=Source.LINK)
    with pytest.raises(DatabaseError, match="optout_purpose_may_be_declined"), transaction.atomic():
        OptOut.objects.create(channel="sms", address=PHONE, purpose=purpose, source="x", at=Now())


# --- addresses that take nothing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "purpose", "goes"),
    [
        *((reason, Purpose.SERVICE, False) for reason in SuppressionReason),
        (SuppressionReason.BOUNCED, Purpose.OTP, False),
        (SuppressionReason.REFUSED, Purpose.SECURITY, False),
        (SuppressionReason.COMPLAINED, Purpose.SECURITY, True),
    ],
)
def test_a_suppressed_address_gets_nothing_but_a_complaint_stops_no_code(
    reason: SuppressionReason, purpose: Purpose, goes: bool
) -> None:
    assert consent.suppress(Channel.SMS, PHONE, reason, by=officer())
    message = an_sms(purpose=purpose)
    assert (message.status == Status.QUEUED) is goes
    assert (message.bypassed if goes else message.error) != ""
    assert not consent.suppress(Channel.SMS, PHONE, reason, by=officer())


def test_a_recipient_who_has_not_approved_is_suppressed_by_the_answer_until_a_person_lifts_it(
    sandbox: Sandbox,
) -> None:
    sandbox.faults(error_status=403)
    message = an_sms()
    assert dispatch.deliver(message.pk)
    assert again(message).status == Status.REJECTED
    row = Suppression.objects.get()
    assert (row.channel, row.address, row.reason, row.message_id) == ("sms", PHONE, "refused", message.pk)
    sandbox.faults()
    assert an_sms(key="later").status == Status.SUPPRESSED
    consent.lift(Channel.SMS, PHONE, by=officer("farmer confirmed at the office"))
    assert an_sms(key="after").status == Status.QUEUED
    assert Suppression.objects.get().lifted_at
    with pytest.raises(NotFound, match="not suppressed"):
        consent.lift(Channel.SMS, PHONE, by=officer())


def test_a_batch_refused_for_one_recipient_suppresses_only_that_one(sandbox: Sandbox) -> None:
    sandbox.faults(error_status=403)
    messages = [an_sms(number, purpose=Purpose.BULK, any_hour=True) for number in phones(3)]
    dispatch.dispatch_bulk(seconds=2)
    assert set(Suppression.objects.values_list("address", flat=True)) == {message.recipient for message in messages}
    assert OutboundMessage.objects.filter(status=Status.REJECTED).count() == 3, "each was asked for alone"


# --- the same text twice -------------------------------------------------------------------------------------------


def test_the_same_bulk_text_to_one_person_goes_once_a_day() -> None:
    first, twice, other = (an_sms(text=text, purpose=Purpose.BULK) for text in ("Hello", "Hello", "Good day"))
    assert [message.status for message in (first, twice, other)] == ["queued", "suppressed", "queued"]
    assert twice.error == consent.DUPLICATE
    OutboundMessage.objects.filter(pk=first.pk).update(created_at=Now() - timedelta(hours=25))
    assert an_sms(text="Hello", purpose=Purpose.BULK).status == Status.QUEUED


@pytest.mark.parametrize(
    ("state", "goes"), [("rejected", True), ("expired", True), ("undelivered_permanent", True), ("accepted", False)]
)
def test_what_did_not_reach_a_person_may_be_sent_to_them_again(state: str, goes: bool) -> None:
    first = an_sms(purpose=Purpose.BULK)
    row = OutboundMessage.objects.filter(pk=first.pk)
    for status in {"undelivered_permanent": ("submitting", "accepted", state), "expired": ("expired",)}.get(
        state, ("submitting", state)
    ):
        row.update(status=status, due_at=None, ring_at=None, lease_until=Now() if status == "submitting" else None)
    assert (an_sms(purpose=Purpose.BULK).status == Status.QUEUED) is goes


def test_two_that_wait_are_told_apart_by_age_when_they_leave(sandbox: Sandbox) -> None:
    """Two campaigns of the night with one text: written without a look, as campaigns write them."""
    first = an_sms(purpose=Purpose.BULK, text="Hello", any_hour=True)
    second = an_sms(purpose=Purpose.BULK, text="Other", any_hour=True)
    OutboundMessage.objects.filter(pk=second.pk).update(body="Hello", body_hash=first.body_hash)
    dispatch.dispatch_bulk(seconds=1)
    assert (again(first).status, again(second).status) == (Status.ACCEPTED, Status.SUPPRESSED)
    assert sandbox.total() == 1


def test_one_that_is_held_does_not_keep_another_back_and_does_not_follow_it(sandbox: Sandbox) -> None:
    held, goes = an_sms(purpose=Purpose.BULK, any_hour=True), None
    OutboundMessage.objects.filter(pk=held.pk).update(status="held")
    goes = an_sms(purpose=Purpose.BULK, any_hour=True)
    dispatch.dispatch_bulk(seconds=1)
    assert again(goes).status == Status.ACCEPTED
    OutboundMessage.objects.filter(pk=held.pk).update(status="queued")
    dispatch.dispatch_bulk(seconds=1)
    assert again(held).status == Status.SUPPRESSED
    assert sandbox.total() == 1


def test_the_hours_are_settings_and_codes_are_never_left_out() -> None:
    statuses = [an_sms(text="Same", purpose=Purpose.SERVICE).status for _ in range(2)]
    assert statuses == ["queued", "queued"], "off unless set"
    Setting.objects.create(key="messages.duplicate_hours", value=1)
    Setting.objects.create(key="messages.duplicate_bulk_hours", value=0)
    assert an_sms(text="Same", purpose=Purpose.SERVICE).status == Status.SUPPRESSED
    assert [an_sms(text="Hi", purpose=Purpose.BULK).status for _ in range(2)] == ["queued", "queued"]
    for purpose in (Purpose.OTP, Purpose.SECURITY):
        assert [an_sms(text="Same", purpose=purpose).status for _ in range(2)] == ["queued", "queued"]


def test_the_same_key_again_is_no_duplicate() -> None:
    first = an_sms(purpose=Purpose.BULK, key="k")
    assert an_sms(purpose=Purpose.BULK, key="k") == first
    assert again(first).status == Status.QUEUED


# --- what an officer enters ----------------------------------------------------------------------------------------


def test_an_officer_enters_a_choice_with_reason_and_record() -> None:
    by = officer("she asked at the office")
    assert consent.opt_out(Channel.SMS, "0244 123 456", [Purpose.BULK, Purpose.SERVICE], by=by) == 2
    assert consent.opt_out(Channel.SMS, PHONE, [Purpose.BULK], by=by) == 0
    row = OptOut.objects.get(purpose="bulk")
    assert (row.address, row.source, row.note, row.recorded_by_id) == (
        *(PHONE, "officer", "she asked at the office"),
        by.actor.user_id,
    )
    assert consent.opt_in(Channel.SMS, PHONE, [Purpose.BULK], by=by) == 1
    logged = list(AuditLog.objects.order_by("at").values_list("action", "subject_id", "reason"))
    assert logged == [
        ("consent.opt_out", "+233*****3456", "she asked at the office"),
        ("consent.opt_in", "+233*****3456", "she asked at the office"),
    ]


def test_without_a_reason_or_with_a_wrong_address_nothing_is_entered() -> None:
    with pytest.raises(InvalidInput, match="Say why"):
        consent.opt_out(Channel.SMS, PHONE, [Purpose.BULK], by=officer(" "))
    with pytest.raises(InvalidInput, match="landline"):
        consent.opt_out(Channel.SMS, "0302123456", [Purpose.BULK], by=officer())
    with pytest.raises(InvalidInput, match="not an e-mail address"):
        consent.opt_out(Channel.EMAIL, "ama", [Purpose.BULK], by=officer())
    with pytest.raises(InvalidInput, match="cannot be declined"):
        consent.opt_out(Channel.SMS, PHONE, [Purpose.BULK, Purpose.OTP], by=officer())
    assert not OptOut.objects.exists()
    assert not AuditLog.objects.exists()


def test_the_command_enters_lists_and_takes_back() -> None:
    reason = ("--reason", "he wrote a letter")
    assert command("opt-out", "0244123456", "--purpose", "bulk,report", *reason) == {"declined": 2}
    assert command("suppress", EMAIL, "--because", "complained", *reason) == {"suppressed": True}
    listed = command("list")
    assert {row["messages"] for row in listed["opt_outs"]} == {"sms bulk", "sms report"}
    assert [row["address"] for row in listed["suppressed"]] == ["a***@example.com"]
    assert PHONE not in json.dumps(listed)
    assert command("list", PHONE)["suppressed"] == []
    assert command("opt-in", PHONE, *reason) == {"wanted": 2}
    assert command("lift", EMAIL, *reason) == {"lifted": True}
    assert all("command line" in row.actor_name for row in AuditLog.objects.all())
    with pytest.raises(CommandError, match="Say why"):
        call_command("consent", "opt-out", PHONE)
    with pytest.raises(CommandError, match="no purpose 'eggs'"):
        call_command("consent", "opt-out", PHONE, "--purpose", "eggs", "--reason", "x")
    out = StringIO()
    call_command("consent", "list", PHONE, stdout=out)
    assert "he wrote a letter" in out.getvalue()


def test_nothing_is_ever_removed() -> None:
    declines(Purpose.BULK)
    consent.suppress(Channel.EMAIL, EMAIL, SuppressionReason.COMPLAINED, by=officer())
    consent.lift(Channel.EMAIL, EMAIL, by=officer())
    assert consent.suppress(Channel.EMAIL, EMAIL, SuppressionReason.BOUNCED, by=officer())
    assert Suppression.objects.count() == 2
    choices, dead = consent.about(EMAIL)
    assert (len(choices), len(dead)) == (0, 2)


def test_a_message_that_is_not_there_blocks_nothing() -> None:
    message = an_sms()
    message.pk = uuid.uuid4()
    assert consent.blocked([message]) == {}
