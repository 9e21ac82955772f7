"""The people somebody sees: the list and the single question agree for every role, and the registries add to both."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db.models import Q

from accounts import registries, selectors
from accounts.models import Constituency, StaffPermission, User
from accounts.policy import Action, Farm, Person
from accounts.rules import Code, Kind, Role, kind
from core import clock
from core.base.registries import Place
from core.errors import InvalidInput
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def everybody() -> list[User]:
    """A person of every role in Ashanti and in Greater Accra, and those who need no place without one."""
    homes = [Constituency.objects.get(code=code) for code in ("BNT", "EJS", "TMW")]
    made = [UserFactory.create(role=role, constituency=home) for home in homes for role in Role]
    made += [UserFactory.create(role=role) for role in (Role.AUDITOR, Role.NATIONAL_STAFF, Role.EXTENSION_OFFICER)]
    owner = next(user for user in made if user.role == Role.SUPER_ADMIN)
    for user in made[: len(Role)]:
        if kind(Role(user.role)) == Kind.STAFF:
            StaffPermission.objects.create(user=user, code=Code.RUN_REPORTS, granted_by=owner)
    return made


@pytest.mark.parametrize("role", Role)
def test_the_list_and_the_single_question_agree(everybody: list[User], role: Role) -> None:
    for user in User.objects.filter(role=role):
        listed = set(selectors.in_scope(user, User.objects.all()))
        asked = {other for other in everybody if selectors.may(user, Action.SEE_PERSON, other)}
        assert listed == asked
        assert user in listed


def test_who_is_suspended_or_not_active_sees_nobody() -> None:
    admin = UserFactory.create(role=Role.NATIONAL_ADMIN, is_active=False)
    assert not selectors.in_scope(admin, User.objects.all())
    admin.is_active, admin.is_suspended = True, True
    assert not selectors.in_scope(admin, User.objects.all())
    admin.suspended_until = clock.now()
    assert admin in selectors.in_scope(admin, User.objects.all())


def test_apps_add_the_people_and_farms_that_are_seen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    officer, farmer = UserFactory.create(role=Role.EXTENSION_OFFICER), UserFactory.create()
    farm = Farm(uuid.uuid4(), Place(uuid.uuid4(), uuid.uuid4()))
    assert set(selectors.in_scope(officer, User.objects.all())) == {officer}
    assert not selectors.may(officer, Action.READ_FARM_REPORT, farm)

    def farmers_of(who: Person) -> Q:
        return Q(pk=farmer.pk) if who.id == officer.pk else Q(pk__in=[])

    monkeypatch.setitem(registries.people_seen, "farms", farmers_of)
    monkeypatch.setitem(registries.farms_seen, "farms", lambda who, which: (who, which) == (officer.pk, farm.id))
    assert set(selectors.in_scope(officer, User.objects.all())) == {officer, farmer}
    assert selectors.may(officer, Action.READ_FARM_REPORT, farm)
    assert set(selectors.in_scope(farmer, User.objects.all())) == {farmer}


def test_people_are_found_by_the_beginning_of_what_they_are_called_or_reached_by() -> None:
    ama = UserFactory.create(username="ama.d", first_name="Ama", last_name="Darko_50%", phone="+233244555666")
    UserFactory.create(username="kofi", first_name="Kofi", last_name="Mensah", phone="+233200555666")
    for text in ("AMA", "ama.d", " dark", "Darko_50%", "0244 555", "024", "+23324", "233244555666"):
        assert list(selectors.people(search=text)) == [ama], text
    for text in ("mad", "D_rko", "Darko%", "555666", "0207"):
        assert not selectors.people(search=text), text


@pytest.mark.parametrize("search", ["\x00", "a\ud800", "a\nb", "a" * 101])
def test_a_search_that_is_no_line_of_text_is_refused(search: str) -> None:
    with pytest.raises(InvalidInput, match="a line of at most 100 letters"):
        selectors.people(search=search)


def test_the_grants_of_anybody_but_staff_are_not_even_asked_for(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert UserFactory.build(role=Role.NATIONAL_ADMIN).grants == frozenset()
