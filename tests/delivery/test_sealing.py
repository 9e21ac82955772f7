"""Texts with a code: encrypted while they wait, gone when they are sent, in no table, log or Redis in clear."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Now

from core import clock
from core.delivery import dispatch, doubt, sealing, services
from core.delivery.models import OutboundMessage
from core.delivery.rules import Channel, Purpose, Status
from core.delivery.sealing import CannotBeRead, Content
from core.errors import InvalidInput
from tests.delivery.outbox import PHONE, Hints, again, an_email, an_sms
from tests.sandbox.process import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

CODE = "604713"
TEXT = f"Your code is {CODE}. It is good for 10 minutes."
OTHER_KEY = "another-secret-key-" + "x" * 40


def a_code(**about: Any) -> OutboundMessage:
    return an_sms(text=TEXT, **{"purpose": Purpose.OTP, **about})


def whole_database() -> str:
    """Every row of every table, as text."""
    with connection.cursor() as cursor:
        found = []
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT t::text FROM "{table}" AS t')
            found += [row[0] for row in cursor.fetchall()]
    return "\n".join(found)


def whole_redis(hints: Hints) -> str:
    """Every key of Redis as text, and the arguments of tasks, which Celery writes in base64."""
    client: Any = hints.client
    readers = {
        b"list": lambda key: client.lrange(key, 0, -1),
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"string": client.get,
    }
    return "\n".join([repr(hints()), *(repr((key, readers[client.type(key)](key))) for key in client.scan_iter())])


def in_clear_anywhere(hints: Hints, caplog: pytest.LogCaptureFixture, secret: str) -> list[str]:
    places = {"database": whole_database(), "redis": whole_redis(hints), "log": caplog.text}
    return [place for place, text in places.items() if secret in text]


@contextmanager
def refused(constraint: str) -> Iterator[None]:
    with pytest.raises(DatabaseError, match=constraint), transaction.atomic():
        yield


# --- from the ask to the phone -------------------------------------------------------------------------------------


def test_a_code_reaches_the_phone_and_stands_nowhere_in_clear(
    sandbox: Sandbox, hints: Hints, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    message = a_code()
    assert message.sealed is not None
    assert (message.body, message.title, message.html, message.parts) == (None, "", "", 1)
    assert CODE.encode() not in bytes(message.sealed)
    assert in_clear_anywhere(hints, caplog, CODE) == []
    assert dispatch.deliver(message.pk)
    [arrived] = sandbox.messages()
    assert arrived["text"] == TEXT
    assert again(message).status == Status.ACCEPTED
    assert again(message).sealed is None, "wiped with the answer"
    assert in_clear_anywhere(hints, caplog, CODE) == []


def test_a_secret_e_mail_seals_title_text_and_html(
    sandbox: Sandbox, hints: Hints, caplog: pytest.LogCaptureFixture
) -> None:
    link = "https://pms.example/set-password/Zq81xkT0"
    message = an_email(
        title=f"Open {link}",
        text=f"Open {link}",
        html=f"<a href='{link}'>Open</a>",
        purpose=Purpose.SECURITY,
        secret=True,
    )
    assert in_clear_anywhere(hints, caplog, "Zq81xkT0") == []
    assert dispatch.deliver(message.pk)
    [arrived] = sandbox.messages()
    assert link in arrived["text"]
    assert link in arrived["html"]
    assert link in arrived["subject"]
    assert in_clear_anywhere(hints, caplog, "Zq81xkT0") == []


def test_the_documented_example_of_a_code_is_sealed_without_being_told(sandbox: Sandbox) -> None:
    services.send_sms_now(phone="0244123456", text="Your verification code is 123456", key="1", purpose=None)
    services.send_sms_now(phone="0244123456", text="Your order of 12 crates is ready", key="2", purpose=None)
    code, order = OutboundMessage.objects.order_by("created_at")
    assert (code.body, order.body) == (None, "Your order of 12 crates is ready")
    assert {message["text"] for message in sandbox.messages()} == {
        "Your verification code is 123456",
        "Your order of 12 crates is ready",
    }


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Your verification code is 123456", True),
        ("PIN: 4821", True),
        ("123456 is your OTP.", True),
        ("Your temporary password: 88213345", True),
        ("Pay GHS 1234.50 by Friday", False),
        ("Your code of conduct is attached", False),
        ("Call 0244123456", False),
        ("Postcode 1,234", False),
        (7, False),
    ],
)
def test_a_text_that_seems_to_hold_a_code_is_known(text: object, secret: bool) -> None:
    assert services.holds_a_code(text) is secret


def test_a_code_cannot_be_guessed_from_its_hash(settings: LazySettings) -> None:
    message = a_code()
    guesses = {services.hashed(TEXT.replace(CODE, guess)) for guess in (CODE, "604714")}
    assert message.body_hash not in guesses
    settings.SECRET_KEY = OTHER_KEY
    assert sealing.keyed_hash(TEXT) != message.body_hash


def test_a_code_goes_to_one_person_only() -> None:
    with pytest.raises(InvalidInput, match="does not go to many"):
        an_sms(purpose=Purpose.BULK, secret=True)
    assert not OutboundMessage.objects.exists()


def test_a_secret_has_an_end_even_when_nobody_says_one() -> None:
    now = clock.now()
    code, token = a_code(), an_sms(purpose=Purpose.SECURITY, secret=True)
    assert code.not_after
    assert token.not_after
    assert abs(code.not_after - now - timedelta(minutes=10)) < timedelta(seconds=5)
    assert abs(token.not_after - now - timedelta(days=1)) < timedelta(seconds=5)
    until = now + timedelta(hours=1)
    assert a_code(not_after=until).not_after == until


# --- the keys ------------------------------------------------------------------------------------------------------


def test_after_a_change_of_the_key_waiting_codes_still_go(sandbox: Sandbox, settings: LazySettings) -> None:
    message = a_code()
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = OTHER_KEY
    assert dispatch.deliver(message.pk)
    assert [arrived["text"] for arrived in sandbox.messages()] == [TEXT]


def test_with_the_key_gone_a_code_is_refused_and_says_what_to_do(sandbox: Sandbox, settings: LazySettings) -> None:
    message = a_code()
    settings.SECRET_KEY = OTHER_KEY
    assert dispatch.deliver(message.pk)
    ended = again(message)
    assert (ended.status, ended.sealed) == (Status.REJECTED, None)
    assert "SECRET_KEY_FALLBACKS" in ended.error
    assert sandbox.total() == 0


def test_a_sealed_text_belongs_to_its_row() -> None:
    one, other = a_code(), a_code()
    one.sealed = other.sealed
    with pytest.raises(CannotBeRead):
        sealing.content_of(one)


def test_a_changed_sealed_text_is_not_read() -> None:
    message = a_code()
    sealed = bytearray(bytes(message.sealed or b""))
    for place in (0, len(sealed) // 2, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[place] ^= 1
        message.sealed = bytes(changed)
        with pytest.raises(CannotBeRead):
            sealing.content_of(message)


def test_the_same_text_is_sealed_differently_each_time_and_never_shown_by_repr() -> None:
    content = Content("", TEXT, "")
    message_id = uuid.uuid4()
    assert sealing.seal(message_id, content) != sealing.seal(message_id, content)
    assert CODE not in repr(content)


# --- wiped on every way out ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["accepted", "rejected", "dead"])
def test_what_ends_a_call_wipes_the_text(state: str) -> None:
    message = a_code()
    taken = OutboundMessage.objects.filter(pk=message.pk)
    taken.update(status="submitting", due_at=None, ring_at=None, lease_until=Now() + timedelta(minutes=1))
    taken.update(status=state, lease_until=None)
    assert again(message).sealed is None


@pytest.mark.parametrize("state", ["suppressed", "expired", "dead"])
def test_what_ends_the_waiting_wipes_the_text(state: str) -> None:
    message = a_code()
    OutboundMessage.objects.filter(pk=message.pk).update(status=state, due_at=None, ring_at=None)
    assert again(message).sealed is None


def lost(message: OutboundMessage, **about: Any) -> OutboundMessage:
    """The message with its answer lost."""
    taken = OutboundMessage.objects.filter(pk=message.pk)
    taken.update(status="submitting", due_at=None, ring_at=None, lease_until=Now() + timedelta(minutes=1))
    taken.update(status="in_doubt", lease_until=None, **about)
    return again(message)


def test_a_code_in_doubt_is_kept_for_its_one_resend_and_wiped_after_it() -> None:
    message = lost(a_code())
    assert message.sealed is not None
    OutboundMessage.objects.filter(pk=message.pk).update(status="queued", resent=True, due_at=Now(), ring_at=Now())
    assert again(message).sealed is not None
    assert lost(message).sealed is None, "in doubt again: it is not sent a third time"


@pytest.mark.parametrize("proof", ["accepted", "delivered", "undelivered_permanent", "outcome_unknown"])
def test_proof_of_a_doubtful_code_wipes_it(proof: str) -> None:
    message = lost(a_code())
    OutboundMessage.objects.filter(pk=message.pk).update(status=proof)
    assert again(message).sealed is None


def test_the_sweep_forgets_what_is_over_and_nothing_else() -> None:
    past = clock.now() - timedelta(minutes=1)
    over, held, doubtful, waiting = a_code(), a_code(), lost(a_code()), a_code()
    OutboundMessage.objects.filter(pk__in=[over.pk, held.pk, doubtful.pk]).update(not_after=past)
    OutboundMessage.objects.filter(pk=held.pk).update(status="held")
    sealing.forget()
    states = [(again(each).status, again(each).sealed is None) for each in (over, held, doubtful, waiting)]
    assert states == [("expired", True), ("expired", True), ("in_doubt", True), ("queued", False)]
    sealing.forget()
    assert again(waiting).status == "queued"


def test_a_wiped_code_is_never_sent_again_by_anybody() -> None:
    message = lost(a_code(), resent=True)
    assert message.sealed is None
    with refused("message_waiting_has_text"):
        OutboundMessage.objects.filter(pk=message.pk).update(status="queued", due_at=Now(), ring_at=Now())
    doubt.sweep()
    assert again(message).status == "in_doubt"


# --- what the database itself refuses ------------------------------------------------------------------------------


def test_the_database_takes_no_code_in_clear() -> None:
    message = a_code()
    with refused("message_secret_not_in_clear"):
        OutboundMessage.objects.filter(pk=message.pk).update(body=TEXT)
    with refused("message_secret_not_in_clear"):
        OutboundMessage.objects.filter(pk=message.pk).update(title=TEXT)
    with refused("message_secret_not_in_clear"):
        OutboundMessage.objects.create(
            idempotency_key="raw",
            channel=Channel.SMS,
            purpose=Purpose.OTP,
            lane="urgent",
            recipient=PHONE,
            body=TEXT,
            body_hash="h",
            due_at=Now(),
            ring_at=Now(),
            created_at=Now(),
        )


def test_the_database_keeps_no_sealed_text_without_an_end_or_after_it() -> None:
    message = a_code()
    with refused("message_sealed_while_needed"):
        OutboundMessage.objects.filter(pk=message.pk).update(not_after=None)
    dispatched = an_sms()
    OutboundMessage.objects.filter(pk=dispatched.pk).update(status="expired", due_at=None, ring_at=None)
    with refused("message_sealed_while_needed"):
        OutboundMessage.objects.filter(pk=dispatched.pk).update(
            body=None, sealed=message.sealed, not_after=message.not_after
        )
