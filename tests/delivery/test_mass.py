"""Telling very many people: the same rows as the door for one person writes, in a few statements."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import User
from core import phones
from core.base.models import Setting
from core.base.registries import Registry
from core.delivery import mass, services, templates
from core.delivery.mass import People
from core.delivery.models import MessageTemplate, Notification, OptOut, OutboundMessage, Suppression
from core.delivery.rules import Channel, Purpose
from core.delivery.services import addressee
from core.delivery.wording import Template
from core.errors import InvalidInput, NotFound
from tests.delivery.outbox import Hints
from tests.delivery.test_templates import TWI, WORDS, in_force
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

KEY = str(WORDS["key"])
VALUES = {"name": "farmer", "farm": "F-7"}
ROWS = """
SELECT 'told:' || id AS once, id AS user_id, phone, email, language, preferred_contact_method AS prefers
FROM accounts_user WHERE id = ANY (%(users)s) ORDER BY id
"""


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "_registered", Registry())
    templates.register(Template(**WORDS))


def tell(*users: User, **about: Any) -> mass.Outcome:
    people = People(ROWS, given={"users": [user.pk for user in users]})
    return mass.tell(KEY, people, **{"values": VALUES, "about": ("farm", "7")} | about)


def one_by_one(*users: User) -> list[str]:
    """The door for one person, for each; who cannot be reached is returned as `tell` says it."""
    unreached = []
    for user in users:
        once = f"told:{user.pk}"
        told = services.queue_templated(KEY, to=addressee(user.pk), values=VALUES, once=once, subject=("farm", "7"))
        if all(message.status == "suppressed" for message in told.messages):
            unreached.append(once)
    return unreached


OF_THE_MOMENT = ("id", "created_at", "updated_at")


def written() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What stands in the tables, without what differs from call to call. What may leave at once is due now."""
    messages: list[dict[str, Any]] = [dict(row) for row in OutboundMessage.objects.order_by("idempotency_key").values()]
    for row in messages:
        if row["status"] == "queued":
            row["due_at"], row["ring_at"] = None, (row["ring_at"] - row["due_at"]).total_seconds()
    notices = [dict(row) for row in Notification.objects.order_by("idempotency_key").values()]
    return tuple(  # type: ignore[return-value]
        [{name: value for name, value in row.items() if name not in OF_THE_MOMENT} for row in rows]
        for rows in (messages, notices)
    )


NUMBERS = st.sampled_from(["+23324{:07}", "+23359{:07}", "+23320{:07}", "+23330{:07}", "+23380{:07}", "+23310{:07}"])
MAILS = st.sampled_from(
    [
        *("", "", "ama{}@example.com", "ama.k+{}@mail.example.org", "a-{}@x.co", "a_{}@sub.ex-ample.gh"),
        *(
            "a..b{}@example.com",
            "{}@localhost",
            "{}@exämple.com",
            '"a b{}"@example.com',
            "ama{}@-x.com",
            "no address {}",
        ),
        *("a{}@example.c", "a{}@[127.0.0.1]", "a{}@xn--exmple-cua.com", "á{}@example.com"),
    ]
)
PEOPLE = st.lists(
    st.tuples(
        NUMBERS,
        MAILS,
        st.sampled_from(["EMAIL", "SMS", "WHATSAPP", "PHONE"]),
        st.sampled_from(["en", "tw", "ee"]),
        st.sampled_from(["", "", "", "service", "bulk", "ended", "bounced", "complained", "lifted"]),
    ),
    min_size=1,
    max_size=8,
)


def a_person(number: int, phone: str, email: str, prefers: str, language: str, what: str) -> User:
    """With a phone and an e-mail address that no door of the house would have taken, perhaps."""
    user = UserFactory.create(preferred_contact_method=prefers, language=language)
    user.phone, user.email = phone.format(5_000_000 + number), email.format(number)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE accounts_user SET phone = %s, email = %s WHERE id = %s", [user.phone, user.email, user.pk]
        )
    against(user, what)
    return user


def against(user: User, what: str) -> None:
    """Something stands, or once stood, against both addresses of the person."""
    now = user.created_at
    for channel, address in ((Channel.SMS, user.phone), (Channel.EMAIL, user.email)):
        if not address or not what:
            continue
        if what in ("service", "bulk", "ended"):
            purpose = "service" if what == "ended" else what
            ended = now if what == "ended" else None
            OptOut.objects.create(
                channel=channel, address=address, purpose=purpose, source="link", at=now, ended_at=ended
            )
        else:
            reason = "bounced" if what == "lifted" else what
            lifted = now if what == "lifted" else None
            Suppression.objects.create(channel=channel, address=address, reason=reason, at=now, lifted_at=lifted)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PEOPLE, st.booleans(), st.sampled_from([0, 24]), st.booleans())
def test_both_doors_write_the_same_rows(
    settings: LazySettings, people: list[tuple[str, ...]], closed: bool, duplicate_hours: int, told_before: bool
) -> None:
    settings.SENDING_WINDOWS = closed
    with transaction.atomic():
        in_force(TWI, "tw")
        Setting.objects.create(key="messages.duplicate_hours", value=duplicate_hours)
        if closed:
            for name, value in (("window_start", "00:00"), ("window_end", "00:01")):
                Setting.objects.create(key=f"messages.{name}", value=value)
        users = [a_person(number, *about) for number, about in enumerate(people)]
        if told_before:  # the same text, for another reason
            services.queue_templated(KEY, to=addressee(users[0].pk), values=VALUES, once="before")
        found = []
        for door in (lambda: tell(*users).unreached, lambda: one_by_one(*users)):
            with transaction.atomic():
                unreached = sorted(door())
                found.append((unreached, *written()))
                transaction.set_rollback(True)
        assert found[0] == found[1]
        transaction.set_rollback(True)


def test_the_pattern_of_mobile_numbers_says_what_the_phones_do() -> None:
    numbers = [f"+233{prefix:03}{rest}" for prefix in range(1000) for rest in ("000000", "123456", "999999")]
    with connection.cursor() as cursor:
        cursor.execute("SELECT n ~ %s FROM unnest(%s::text[]) AS n", [phones.MOBILE_IN_SQL, numbers])
        found = [row[0] for row in cursor.fetchall()]
    assert found == [bool(usable(number)) for number in numbers]
    assert any(found)
    assert not all(found)


def usable(number: str) -> str:
    try:
        return phones.normalise(number)
    except InvalidInput:
        return ""


def test_an_address_that_is_plain_is_one() -> None:
    many = [f"{name}@{host}" for name in ("a", "a.b", "a+b", "a-b_c", "9") for host in ("x.gh", "a-b.x.com", "1.co")]
    with connection.cursor() as cursor:
        cursor.execute("SELECT a FROM unnest(%s::text[]) AS a WHERE a ~ %s", [many, mass.PLAIN_ADDRESS])
        assert {row[0] for row in cursor.fetchall()} == set(many)
    assert [services.checked_address(one)[1] for one in many] == [""] * len(many)


def test_a_second_call_writes_nothing_more() -> None:
    users = [UserFactory.create() for _ in range(3)]
    first = tell(*users)
    kept = written()
    assert (first.told, first.unreached, first.also) == (3, [], None)
    assert tell(*users).told == 3
    assert written() == kept
    assert OutboundMessage.objects.values("pk").distinct().count() == 3


def test_no_worker_is_told_and_the_sweep_finds_them(hints: Hints) -> None:
    users = [UserFactory.create() for _ in range(3)]
    with transaction.atomic():
        tell(*users)
    assert hints() == []
    assert OutboundMessage.objects.filter(status="queued", ring_at__isnull=False).count() == 3


def test_ten_times_as_many_people_cost_no_more_queries() -> None:
    few, many = ([UserFactory.create(language=("en", "tw")[n % 2]) for n in range(count)] for count in (3, 30))
    counts = []
    for group in (few, many):
        with CaptureQueriesContext(connection) as captured:
            assert tell(*group).told == len(group)
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_a_language_whose_words_are_too_long_stops_only_its_own_readers() -> None:
    long = Template(**WORDS | {"key": "farms.long_for_test"})
    templates.register(long)
    MessageTemplate.objects.create(
        key=long.key, language="tw", version=1, title="x", text="{name} {farm}", sms="ɛ" * 2_000 + "{name}{farm}",
        status="approved", approved_at=UserFactory.create().created_at,
    )  # fmt: skip
    ama, kofi = UserFactory.create(), UserFactory.create(language="tw")
    people = {"users": [ama.pk]}
    assert mass.tell(long.key, People(ROWS, given=people), values=VALUES).told == 1
    with pytest.raises(InvalidInput, match="SMS text takes"):
        mass.tell(long.key, People(ROWS, given={"users": [kofi.pk]}), values=VALUES)


@pytest.mark.parametrize("changed", [{"secret": True}, {"purpose": Purpose.ADMIN}, {"sms": ""}])
def test_what_is_no_plain_service_message_is_refused(changed: dict[str, Any]) -> None:
    templates.register(Template(**WORDS | {"key": "farms.other_for_test"} | changed))
    with pytest.raises(InvalidInput, match="no plain service message"):
        mass.tell("farms.other_for_test", People(ROWS, given={"users": []}), values=VALUES)


def test_values_that_do_not_fit_and_unknown_templates_are_refused() -> None:
    with pytest.raises(InvalidInput, match="pass a value for farm"):
        tell(values={"name": "Ama"})
    with pytest.raises(NotFound):
        mass.tell("farms.unknown", People(ROWS, given={"users": [uuid.uuid4()]}), values=VALUES)
