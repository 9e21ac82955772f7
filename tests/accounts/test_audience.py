"""What accounts gives core: whom a stored selection means, and who may send bulk SMS where."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest

from accounts import selectors
from accounts.models import Constituency, Region, StaffPermission, User
from accounts.rules import Code, Role
from core import clock
from core.base.registries import NATION, SEND_BULK_SMS, USERS, Place, audiences_of_people, permissions
from core.errors import InvalidInput
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db
source = audiences_of_people[USERS]


def place(code: str) -> Place:
    if len(code) == 2:
        return Place(Region.objects.get(code=code).pk)
    found = Constituency.objects.get(code=code)
    return Place(found.region_id, found.pk)


def living_in(code: str, **fields: Any) -> User:
    home = Constituency.objects.get(code=code)
    return UserFactory.create(constituency=home, region=home.region, **fields)


def ids(selection: dict[str, object], after: uuid.UUID | None = None) -> list[uuid.UUID]:
    return [person.user_id for person in source.people(selection, after)]


def test_a_selection_is_stored_in_one_form_and_says_where_it_lies() -> None:
    checked = source.check({"constituency": " tmw", "role": "farmer", "language": "TW"})
    assert checked.stored == {"region": "AA", "constituency": "TMW", "role": "FARMER", "language": "tw"}
    assert checked.place == place("TMW")
    assert source.check(checked.stored) == checked
    assert source.check({"region": "ah", "role": ""}).place == place("AH")
    assert source.check({}).place == NATION


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        ({"region": "XX"}, "region code is not known. Use one of: AA, AF"),
        ({"constituency": "XXX"}, "constituency code is not known"),
        ({"region": "AH", "constituency": "TMW"}, "TMW lies in the region AA, not in AH"),
        ({"role": "king"}, "role is not known"),
        ({"language": "fr"}, "language is not known. Use one of: en, tw"),
        ({"town": "Tema"}, "has the keys region, constituency, role, language, not town"),
        ({"region": None}, "region must be a line of text"),
        ({"region": ["AH"]}, "region must be a line of text"),
        ({"region": "A\x00"}, "region must be a line of text"),
        ({"role": "\ud800"}, "role must be a line of text"),
        ("AH", "A selection is an object"),
    ],
)
def test_a_selection_that_cannot_be_used_is_refused_with_its_reason(selection: Any, said: str) -> None:
    for ask in (source.check, source.count, lambda given: list(source.people(given, None))):
        with pytest.raises(InvalidInput, match=said):
            ask(selection)


def test_people_come_by_place_role_and_language_without_those_who_are_suspended_or_not_active() -> None:
    ama = living_in("TMW", language="tw")
    kofi = living_in("TMC")
    esi = living_in("BNT", role=Role.CONSTITUENCY_STAFF)
    now = clock.now()
    over = {"suspended_until": now - timedelta(hours=1), "suspended_at": now, "suspension_reason": "fraud"}
    yaa = living_in("BNT", is_suspended=True, **over)
    living_in("TMW", is_suspended=True, suspended_at=now, suspension_reason="fraud")
    living_in("TMW", is_active=False)
    expected: list[tuple[dict[str, object], set[User]]] = [
        ({}, {ama, kofi, esi, yaa}),
        ({"region": "AA"}, {ama, kofi}),
        ({"constituency": "TMW"}, {ama}),
        ({"role": "FARMER"}, {ama, kofi, yaa}),
        ({"region": "AH", "role": "FARMER"}, {yaa}),
        ({"language": "tw"}, {ama}),
        ({"region": "UE"}, set()),
    ]
    for selection, people in expected:
        assert ids(selection) == sorted(person.pk for person in people), selection
        assert source.count(selection) == len(people)
    [person] = source.people({"constituency": "TMW"}, None)
    assert (person.user_id, person.phone, person.language) == (ama.pk, ama.phone, "tw")


def test_people_are_read_a_chunk_at_a_time_and_from_where_somebody_stopped(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(selectors, "CHUNK", 2)
    everyone = sorted(UserFactory.create().pk for _ in range(5))
    with django_assert_num_queries(3):
        assert ids({}) == everyone
    with django_assert_num_queries(1):
        assert next(source.people({}, None)).user_id == everyone[0]
    assert ids({}, after=everyone[1]) == everyone[2:]
    assert ids({}, after=everyone[-1]) == []


@pytest.mark.parametrize(
    ("role", "home", "allowed"),
    [
        (Role.SUPER_ADMIN, "", {"", "AH", "BNT", "AA", "TMW"}),
        (Role.NATIONAL_ADMIN, "", {"", "AH", "BNT", "AA", "TMW"}),
        (Role.REGIONAL_ADMIN, "BNT", {"AH", "BNT"}),
        (Role.CONSTITUENCY_ADMIN, "BNT", {"BNT"}),
        (Role.NATIONAL_STAFF, "", set()),
        (Role.REGIONAL_STAFF, "BNT", set()),
        (Role.EXTENSION_OFFICER, "BNT", set()),
        (Role.FINANCE_OFFICER, "", set()),
        (Role.FARMER, "BNT", set()),
    ],
)
def test_bulk_sms_is_for_admins_inside_their_scope(role: Role, home: str, allowed: set[str]) -> None:
    user = living_in(home, role=role) if home else UserFactory.create(role=role)
    may = permissions[SEND_BULK_SMS]
    everywhere = {"": NATION} | {code: place(code) for code in ("AH", "BNT", "AA", "TMW")}
    assert {code for code, where in everywhere.items() if may(user.pk, where)} == allowed


@pytest.mark.parametrize(
    ("role", "home", "allowed"),
    [
        (Role.NATIONAL_STAFF, "", {"", "AH", "BNT", "AA"}),
        (Role.REGIONAL_STAFF, "BNT", {"AH", "BNT"}),
        (Role.CONSTITUENCY_STAFF, "BNT", {"BNT"}),
        (Role.AUDITOR, "", set()),
    ],
)
def test_staff_with_the_code_send_inside_their_scope(role: Role, home: str, allowed: set[str]) -> None:
    user = living_in(home, role=role) if home else UserFactory.create(role=role)
    admin = UserFactory.create(role=Role.SUPER_ADMIN)
    StaffPermission.objects.create(user=user, code=Code.SEND_BULK_SMS, granted_by=admin)
    may = permissions[SEND_BULK_SMS]
    everywhere = {"": NATION, "AH": place("AH"), "BNT": place("BNT"), "AA": place("AA")}
    assert {code for code, where in everywhere.items() if may(user.pk, where)} == allowed


def test_who_is_suspended_not_active_or_unknown_may_not_send() -> None:
    may = permissions[SEND_BULK_SMS]
    admin = UserFactory.create(role=Role.NATIONAL_ADMIN)
    assert may(admin.pk, NATION)
    User.objects.filter(pk=admin.pk).update(is_active=False)
    assert not may(admin.pk, NATION)
    User.objects.filter(pk=admin.pk).update(
        is_active=True, is_suspended=True, suspended_at=clock.now(), suspension_reason="fraud"
    )
    assert not may(admin.pk, NATION)
    assert not may(uuid.uuid4(), NATION)


def test_a_constituency_is_named_with_its_region() -> None:
    with pytest.raises(ValueError, match="pass region_id too"):
        Place(constituency_id=uuid.uuid4())
