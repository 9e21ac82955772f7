"""The outbox: a message is a row first, is sent once, and its state says what is known of it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import LazySettings
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from core import clock
from core.delivery import dispatch, services
from core.delivery.models import Breaker, DeliveryAttempt, OutboundMessage
from core.delivery.rules import Purpose
from core.errors import InvalidInput
from tests.delivery.outbox import PHONE, Hints, again, an_email, an_sms, phones
from tests.delivery.raw_server import http, replying
from tests.sandbox.process import Sandbox

pytestmark = pytest.mark.django_db

SUNDAY_NIGHT = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)
FAR_PAST = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def now_is(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Stop the product's clock there, with the sending windows on."""

    def stop(moment: datetime) -> None:
        settings.SENDING_WINDOWS = True
        monkeypatch.setattr(clock, "now", lambda: moment)

    return stop


def state(message: OutboundMessage) -> str:
    return again(message).status


# --- writing -------------------------------------------------------------------------------------------------------


def test_the_same_key_twice_is_one_message_and_one_text(sandbox: Sandbox) -> None:
    first, second = an_sms(key="once"), an_sms("0201234567", "Another text", key="once")
    assert first.pk == second.pk
    assert dispatch.deliver(first.pk) is True
    assert dispatch.deliver(second.pk) is False
    assert OutboundMessage.objects.count() == 1
    assert [m["text"] for m in sandbox.messages()] == ["Hello"]


def test_a_message_that_is_rolled_back_was_never_written(sandbox: Sandbox) -> None:
    with transaction.atomic():
        an_sms()
        transaction.set_rollback(True)
    assert not OutboundMessage.objects.exists()


def test_a_row_says_who_gets_what_and_why() -> None:
    message = again(an_sms("024 412 3456", "Akwaaba ɛ", subject=("farm", "7"), template="welcome", key="k"))
    assert (message.recipient, message.body, message.parts, message.lane) == (PHONE, "Akwaaba ɛ", 1, "default")
    assert (message.subject_type, message.subject_id, message.template) == ("farm", "7", "welcome")
    assert (message.status, message.attempts, message.last_attempt) == ("queued", 0, None)
    assert len(message.body_hash) == 64


@pytest.mark.parametrize("key", ["", "k" * 201, "a\0b", "a\ud800b"])
def test_a_key_that_cannot_be_kept_is_refused_in_words(key: str) -> None:
    with pytest.raises(InvalidInput, match="key"):
        an_sms(key=key)
    assert not OutboundMessage.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_worker_hears_of_a_message_after_the_commit_and_is_told_only_its_id(hints: Hints) -> None:
    with transaction.atomic():
        message = an_sms(purpose=Purpose.OTP)
        assert hints() == []
    assert hints() == [("urgent", "core.tasks.deliver_message", [str(message.pk)])]
    an_sms(purpose=Purpose.OTP, key=message.idempotency_key)
    assert len(hints()) == 1, "what is written already is not announced again"
    for raw in hints.client.lrange("urgent", 0, -1):
        assert b"244123456" not in raw
        assert b"Hello" not in raw


# --- sending -------------------------------------------------------------------------------------------------------


def test_an_accepted_message_has_the_providers_id_its_price_and_a_closed_attempt(sandbox: Sandbox) -> None:
    message = an_sms()
    dispatch.deliver(message.pk)
    row = again(message)
    [arrived] = sandbox.messages()
    assert (row.status, row.attempts, row.provider_id) == ("accepted", 1, arrived["id"])
    assert str(row.cost) == "0.0300"
    assert row.accepted_at is not None
    assert (row.lease_until, row.due_at, row.error) == (None, None, "")
    attempt = row.last_attempt
    assert attempt is not None
    assert (attempt.provider, attempt.messages, attempt.verdict) == ("hubtel", 1, "accepted")
    assert attempt.finished_at is not None
    assert attempt.finished_at >= attempt.started_at
    assert (attempt.http_status, attempt.body_status) == (201, "0")


@pytest.mark.parametrize(
    ("faults", "status"),
    [
        ({"body_status": 1}, "rejected"),
        ({"error_status": 403}, "rejected"),
        ({"hang": True}, "in_doubt"),
        ({"hang_after_accept": True}, "in_doubt"),
        ({"reset_after_accept": True}, "in_doubt"),
        ({"error_status": 500}, "in_doubt"),
        ({"truncate": True}, "in_doubt"),
    ],
)
def test_an_answer_that_is_final_or_lost_is_never_followed_by_another_send(
    sandbox: Sandbox,
    make_due: Callable[[], int],
    leases_over: Callable[[], int],
    faults: dict[str, object],
    status: str,
) -> None:
    message = an_sms()
    sandbox.faults(**faults)
    dispatch.deliver(message.pk)
    assert state(message) == status
    assert again(message).error
    arrived = sandbox.total()
    sandbox.faults()
    assert make_due() == leases_over() == 0
    dispatch.sweep()
    dispatch.dispatch_due()
    assert dispatch.deliver(message.pk) is False
    assert dispatch.dispatch_bulk(seconds=1) == (0, False)
    assert (state(message), sandbox.total()) == (status, arrived)


@pytest.mark.parametrize("faults", [{"error_status": 503}, {"refuse": 60}])
def test_a_provider_that_is_away_uses_up_no_try_and_the_text_leaves_after_its_return(
    sandbox: Sandbox, make_due: Callable[[], int], faults: dict[str, object]
) -> None:
    message = an_sms()
    sandbox.faults(**faults)
    for _ in range(4):
        assert dispatch.deliver(message.pk) is True
        row = again(message)
        assert (row.status, row.attempts) == ("queued", 0)
        assert row.due_at is not None
        assert timedelta(seconds=14) < row.due_at - clock.now() < timedelta(seconds=41)
        assert dispatch.deliver(message.pk) is False, "not before it is due"
        make_due()
    assert sandbox.total() == 0
    sandbox.faults()
    assert dispatch.deliver(message.pk) is True
    assert (again(message).status, again(message).attempts, sandbox.total()) == ("accepted", 1, 1)


def test_temporary_failures_use_up_tries_until_the_message_is_dead(
    sandbox: Sandbox, make_due: Callable[[], int]
) -> None:
    message = an_email()
    sandbox.faults(smtp_error=451)
    waits = []
    for tries in range(1, 5):
        dispatch.deliver(message.pk)
        row = again(message)
        assert row.attempts == tries
        waits.append((row.due_at - clock.now()).total_seconds() if row.due_at else None)
        make_due()
    assert state(message) == "dead"
    assert [w and round(w / 60) for w in waits] == [1, 2, 4, None]
    sandbox.faults()
    assert dispatch.deliver(message.pk) is False


def test_a_message_that_was_put_off_leaves_when_the_mailbox_is_back(
    sandbox: Sandbox, make_due: Callable[[], int]
) -> None:
    message = an_email()
    sandbox.faults(smtp_error=450)
    dispatch.deliver(message.pk)
    sandbox.faults()
    make_due()
    dispatch.deliver(message.pk)
    assert (again(message).status, again(message).attempts, sandbox.total()) == ("accepted", 2, 1)


@pytest.mark.parametrize("kind", ["sms", "email"])
def test_without_credentials_a_message_waits_and_leaves_when_they_come(
    sandbox: Sandbox, settings: LazySettings, make_due: Callable[[], int], kind: str
) -> None:
    message = an_sms() if kind == "sms" else an_email()
    client_id, host = settings.HUBTEL_CLIENT_ID, settings.EMAIL_HOST
    settings.HUBTEL_CLIENT_ID = settings.EMAIL_HOST = ""
    assert dispatch.deliver(message.pk) is False
    assert again(message).status == "queued"
    assert "no credentials" in again(message).error
    assert not DeliveryAttempt.objects.exists()
    settings.HUBTEL_CLIENT_ID, settings.EMAIL_HOST = client_id, host
    make_due()
    assert dispatch.deliver(message.pk) is True
    row = again(message)
    assert (row.status, row.error, sandbox.total()) == ("accepted", "", 1)


# --- time ----------------------------------------------------------------------------------------------------------


def test_a_message_whose_time_is_over_expires_unsent(sandbox: Sandbox) -> None:
    message = an_sms(not_after=clock.now() - timedelta(seconds=1))
    assert dispatch.deliver(message.pk) is False
    assert (state(message), sandbox.total()) == ("expired", 0)
    assert not DeliveryAttempt.objects.exists()


def test_a_bulk_message_whose_time_is_over_does_not_hold_up_those_behind_it(sandbox: Sandbox) -> None:
    numbers = phones(150)
    for number in numbers[:120]:
        an_sms(number, purpose=Purpose.BULK, not_after=clock.now() - timedelta(seconds=1))
    for number in numbers[120:]:
        an_sms(number, purpose=Purpose.BULK)
    dispatch.dispatch_bulk(seconds=10)
    assert {m["to"] for m in sandbox.messages(limit=200)} == set(numbers[120:])
    assert OutboundMessage.objects.filter(status="expired").count() == 120


def test_a_message_for_later_is_held_and_released_by_the_sweep(
    sandbox: Sandbox, make_due: Callable[[], int], hints: Hints
) -> None:
    message = an_sms(not_before=clock.now() + timedelta(hours=1))
    assert state(message) == "held"
    dispatch.sweep()
    assert dispatch.deliver(message.pk) is False
    make_due()
    dispatch.sweep()
    assert state(message) == "queued"
    assert dispatch.deliver(message.pk) is True
    assert sandbox.total() == 1


@pytest.mark.parametrize(
    ("purpose", "opens"),
    [
        (Purpose.SERVICE, datetime(2026, 11, 29, 7, tzinfo=UTC)),
        (Purpose.BULK, datetime(2026, 11, 30, 8, tzinfo=UTC)),
        (Purpose.OTP, None),
        (Purpose.SECURITY, None),
    ],
)
def test_outside_its_window_an_sms_is_held_until_the_opening(
    now_is: Callable[[datetime], None], purpose: Purpose, opens: datetime | None
) -> None:
    now_is(SUNDAY_NIGHT)
    message = again(an_sms(purpose=purpose))
    assert message.status == ("held" if opens else "queued")
    assert message.due_at == opens or not opens


def test_email_and_a_text_for_any_hour_are_not_held(now_is: Callable[[datetime], None]) -> None:
    now_is(SUNDAY_NIGHT)
    assert an_email().status == "queued"
    assert an_sms(any_hour=True).status == "queued"


@pytest.mark.parametrize("bulk", [False, True])
def test_a_message_that_is_late_is_held_when_the_window_has_closed_meanwhile(
    sandbox: Sandbox, make_due: Callable[[], int], now_is: Callable[[datetime], None], bulk: bool
) -> None:
    message = an_sms(purpose=Purpose.BULK if bulk else Purpose.SERVICE)
    make_due()
    now_is(SUNDAY_NIGHT)
    if bulk:
        dispatch.dispatch_bulk(seconds=1)
    else:
        dispatch.deliver(message.pk)
    row = again(message)
    assert row.status == "held"
    assert row.due_at == SUNDAY_NIGHT.replace(day=30 if bulk else 29, hour=8 if bulk else 7)
    assert sandbox.total() == 0


def test_the_windows_are_rows_that_a_person_can_change(now_is: Callable[[datetime], None]) -> None:
    from core.base.models import Setting

    rows = {"messages.window_start": "02:30", "messages.window_end": "03:30"}
    for key, value in rows.items():
        Setting.objects.update_or_create(key=key, defaults={"value": value})
    now_is(SUNDAY_NIGHT)
    assert an_sms().status == "queued"
    now_is(SUNDAY_NIGHT.replace(hour=12))
    assert again(an_sms()).due_at == datetime(2026, 11, 30, 2, 30, tzinfo=UTC)


# --- batches -------------------------------------------------------------------------------------------------------


def bulk(numbers: list[str], text: str = "Hello") -> list[OutboundMessage]:
    return [an_sms(number, text, purpose=Purpose.BULK) for number in numbers]


def test_bulk_goes_out_in_batches_of_a_hundred_each_number_once(sandbox: Sandbox) -> None:
    bulk(phones(230))
    tried, more = dispatch.dispatch_bulk(seconds=20)
    assert (tried, more) == (230, False)
    assert sorted(m["to"] for m in sandbox.messages(limit=1000)) == phones(230)
    attempts = list(DeliveryAttempt.objects.order_by("started_at"))
    assert [attempt.messages for attempt in attempts] == [100, 100, 30]
    assert all(attempt.batch_id and attempt.verdict == "accepted" for attempt in attempts)
    assert OutboundMessage.objects.filter(status="accepted", attempts=1).exclude(provider_id="").count() == 230


def test_a_number_is_never_twice_in_one_batch(sandbox: Sandbox) -> None:
    first, second, other = (an_sms(to, text, purpose=Purpose.BULK) for to, text in two_and_one())
    dispatch.dispatch_bulk(seconds=0)
    assert sorted([state(first), state(second)]) == ["accepted", "queued"]
    assert state(other) == "accepted"
    dispatch.dispatch_bulk(seconds=5)
    assert sorted((m["to"], m["text"]) for m in sandbox.messages()) == sorted(two_and_one())


def two_and_one() -> list[tuple[str, str]]:
    return [(PHONE, "One"), (PHONE, "Two"), ("+233201234567", "One")]


def test_recipients_missing_in_the_answer_are_in_doubt_and_not_sent_again(
    sandbox: Sandbox, make_due: Callable[[], int]
) -> None:
    bulk(phones(10))
    sandbox.faults(partial_batch=0.3)
    dispatch.dispatch_bulk(seconds=5)
    sandbox.faults()
    make_due()
    dispatch.sweep()
    dispatch.dispatch_bulk(seconds=5)
    states = OutboundMessage.objects.values_list("status", flat=True)
    assert sorted(states) == ["accepted"] * 7 + ["in_doubt"] * 3
    assert sandbox.total() == 10
    assert DeliveryAttempt.objects.get().verdict == "mixed"


def test_one_lost_answer_leaves_its_batch_in_doubt_and_no_other(sandbox: Sandbox) -> None:
    bulk(phones(100))
    sandbox.faults(hang_after_accept=True)
    dispatch.dispatch_bulk(seconds=0)
    sandbox.faults()
    bulk(phones(50, first=500))
    dispatch.dispatch_bulk(seconds=5)
    states = list(OutboundMessage.objects.values_list("status", flat=True))
    assert (states.count("in_doubt"), states.count("accepted")) == (100, 50)
    assert sandbox.total() == 150


def test_out_of_funds_keeps_the_queue(sandbox: Sandbox, make_due: Callable[[], int]) -> None:
    bulk(phones(30))
    sandbox.faults(body_status=12)
    dispatch.dispatch_bulk(seconds=1)
    assert set(OutboundMessage.objects.values_list("status", "attempts")) == {("queued", 0)}
    sandbox.faults()
    make_due()
    assert dispatch.dispatch_bulk(seconds=5) == (0, False), "nothing but a probe may go"
    assert Breaker.objects.update(probe_at=Now()) == 1
    first = OutboundMessage.objects.order_by("due_at")[0]
    assert dispatch.deliver(first.pk) is True
    dispatch.dispatch_bulk(seconds=5)
    assert sandbox.total() == 30


BAD = "233240000007"


def network_with_a_bad_number(request: bytes) -> bytes:
    """Refuses a batch whole for one bad entry, as Hubtel may (delivery.md 1.1 leaves it open)."""
    head, _, body = request.partition(b"\r\n\r\n")
    found = json.loads(body)
    if BAD.encode() in body:
        return http(400, {"status": 1})
    if b"/batch/" not in head:
        return http(201, {"status": 0, "messageId": f"single-{found['To']}"})
    data = [{"recipient": to, "messageId": f"batch-{to}"} for to in found["Recipients"]]
    return http(201, {"status": 0, "batchId": "b", "data": data})


def test_one_bad_number_does_not_take_its_batch_with_it(settings: LazySettings) -> None:
    messages = bulk(phones(130))
    with replying(network_with_a_bad_number) as network:
        settings.HUBTEL_BASE_URL = network.url
        assert dispatch.dispatch_bulk(seconds=20) == (130, False)
    rejected = OutboundMessage.objects.get(status="rejected")
    assert rejected.recipient == f"+{BAD}"
    assert "bad destination" in rejected.error
    assert OutboundMessage.objects.filter(status="accepted", attempts=1, error="").count() == 129
    assert len(network.heard) == 1 + 100 + 1
    assert not DeliveryAttempt.objects.filter(verdict="").exists()
    assert len({again(message).provider_id for message in messages}) == 130


def test_a_refused_batch_that_is_taken_apart_gives_its_worker_back_in_time(settings: LazySettings) -> None:
    bulk(phones(20))
    with replying(network_with_a_bad_number) as network:
        settings.HUBTEL_BASE_URL = network.url
        dispatch.dispatch_bulk(seconds=0)
        assert len(network.heard) == 2, "the batch and one of its messages"
        while dispatch.dispatch_bulk(seconds=0)[1]:
            assert len(network.heard) < 50
    states = list(OutboundMessage.objects.values_list("status", flat=True))
    assert sorted(states) == ["accepted"] * 19 + ["rejected"]


# --- sweeps --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_what_redis_has_forgotten_the_sweep_announces_again(
    sandbox: Sandbox, hints: Hints, make_due: Callable[[], int]
) -> None:
    urgent, normal = an_sms(purpose=Purpose.OTP), an_email()
    bulk(phones(3))
    assert hints()
    hints.forget()
    make_due()
    dispatch.sweep()
    assert set(map(str, hints())) >= {
        str(("urgent", "core.tasks.deliver_message", [str(urgent.pk)])),
        str(("default", "core.tasks.deliver_message", [str(normal.pk)])),
        str(("bulk", "core.tasks.dispatch_bulk", [])),
    }
    assert len(hints()) == 3
    dispatch.sweep()
    assert len(hints()) == 3, "what waits on Redis is not announced at every sweep"


def test_a_sweep_with_nothing_to_do_asks_for_nothing(hints: Hints) -> None:
    dispatch.sweep()
    assert dispatch.dispatch_due() == {"urgent": 0, "default": 0, "bulk": 0}
    assert hints() == []


# --- the database keeps watch --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        {"status": "sent"},
        {"channel": "pigeon"},
        {"purpose": "fun"},
        {"due_at": None},
        {"status": "submitting", "due_at": None},
        {"lease_until": FAR_PAST},
    ],
)
def test_the_database_refuses_a_row_that_cannot_be(broken: dict[str, object]) -> None:
    message = an_sms()
    message.pk, message.idempotency_key = uuid.uuid4(), "another"
    for name, value in broken.items():
        setattr(message, name, value)
    with pytest.raises(IntegrityError), transaction.atomic():
        message.save(force_insert=True)


def test_two_messages_cannot_have_one_key() -> None:
    message = an_sms(key="one")
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO delivery_outboundmessage SELECT (jsonb_populate_record(m, %s::jsonb)).*"
            " FROM delivery_outboundmessage m WHERE id = %s",
            [f'{{"id": "{uuid.uuid4()}"}}', message.pk],
        )


def test_an_address_that_cannot_be_one_is_suppressed_with_the_reason() -> None:
    message = again(an_email("nonsense"))
    assert (message.status, message.due_at) == ("suppressed", None)
    assert message.error
    assert dispatch.deliver(message.pk) is False


@pytest.mark.parametrize(
    "address",
    [
        *("", " ", "a", "@", "a@", "@b.com", "a b@c.com", "a@b@c.com", "ama@example.com\nbcc: x@y.com", "a" * 300),
        *("ama\0@example.com", "am\ud800a@example.com", "ama@exämple.com", "ſ@example.com", "a,b@example.com"),
        "ama@example." + "com." * 70 + "com",
        "Ama <ama@example.com>",
    ],
)
def test_an_address_is_never_turned_into_another_one(address: str) -> None:
    stored, problem = services.checked_address(address)
    assert problem
    assert services.checked_address(stored) == (stored, problem), "what is stored is refused just the same"
    assert len(stored) <= 254
    assert "\0" not in stored
    stored.encode()
