"""What only the sweep can tell is told whatever else waits on Redis; what cannot be paid is not tried on and on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError
from django.db.models.functions import Now

from core.base.services import change_setting
from core.delivery import dispatch, mail, services
from core.delivery.models import DeliveryAttempt, OutboundMessage
from core.delivery.rules import Purpose
from tests.delivery.outbox import Hints, again, an_email, an_sms, phones
from tests.sandbox.process import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

FOREIGN = 30


def retried(message: OutboundMessage) -> None:
    """As after a failed try whose waiting time is over."""
    past = Now() - timedelta(hours=1)
    OutboundMessage.objects.filter(pk=message.pk).update(due_at=past, ring_at=past)


@pytest.fixture
def busy_queues(hints: Hints) -> None:
    for lane in dispatch.LANES:
        for _ in range(FOREIGN):
            hints.client.lpush(lane, "the bell of another task")


@pytest.mark.usefixtures("busy_queues")
def test_a_retry_is_told_behind_a_backlog_of_other_tasks(hints: Hints) -> None:
    for number in phones(3):
        retried(an_sms(number, hint=False))
    retried(an_email(hint=False))
    assert dispatch.dispatch_due(["default"])["default"] == 4
    assert hints.client.llen("default") == FOREIGN + 4
    assert dispatch.dispatch_due(["default"])["default"] == 0, "told once, and then looked at again later"


@pytest.mark.usefixtures("busy_queues")
def test_bulk_is_told_behind_other_bulk_work_now_and_then(hints: Hints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_bulk_hinted_at", -dispatch.BULK_HINT_SECONDS)
    retried(an_sms(purpose=Purpose.BULK, hint=False))
    assert [dispatch.dispatch_due(["bulk"])["bulk"] for _ in range(3)] == [1, 0, 0]


def test_mail_is_told_beside_a_long_line_of_texts() -> None:
    for number in phones(dispatch.RING_AT_ONCE + 20):
        retried(an_sms(number, hint=False))
    note = an_email(hint=False)
    retried(note)
    dispatch.dispatch_due(["default"])
    row = again(note)
    assert row.ring_at is not None
    assert row.due_at is not None
    assert row.ring_at > row.due_at


def test_bulk_that_the_rest_of_the_day_does_not_pay_for_is_not_tried_again_and_again(sandbox: Sandbox) -> None:
    change_setting("sms.ghs_per_part", "0.03", actor_name="test")
    change_setting("sms.daily_budget_ghs", "0.05", actor_name="test")
    for number in phones(3):
        an_sms(number, "x" * 170, purpose=Purpose.BULK, hint=False)
    assert dispatch.dispatch_bulk(seconds=20) == (0, False)
    assert sandbox.total() == 0


def test_what_fails_before_the_call_leaves_no_doubt(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    message = services.queue_email("ama@example.com", "Report", "Eggs", purpose=Purpose.SERVICE, key="k", hint=False)

    def away(_message: OutboundMessage) -> object:
        raise OperationalError("PostgreSQL is away")

    with monkeypatch.context() as patched:
        patched.setattr(mail, "outgoing", away)
        with pytest.raises(OperationalError):
            dispatch.deliver(message.pk)
    assert (again(message).status, DeliveryAttempt.objects.count()) == ("queued", 0)
    assert dispatch.deliver(message.pk)
    assert (again(message).status, sandbox.total()) == ("accepted", 1)
