"""notify_role_change: the person, and the admins of the level above, except who made the change."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from accounts.models import Constituency, RoleChange, User
from accounts.rules import NEED_CONSTITUENCY, NEED_REGION, Role
from accounts.services import people
from accounts.services.telling import position
from accounts.tasks import notify_role_change
from core import clock
from core.delivery.models import Notification
from core.errors import InvalidInput, NotFound
from tests.accounts.letters import letters
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def living_in(code: str, role: Role, **fields: Any) -> User:
    return UserFactory.create(role=role, constituency=Constituency.objects.get(code=code), **fields)


def moved(actor: User, user: User, role: Role, place: str = "") -> RoleChange:
    home = Constituency.objects.get(code=place) if place else None
    return people.change_role(
        actor=actor, user_id=user.pk, role=role, constituency=home, reason="moved", now=clock.now()
    )


def tell(change: RoleChange) -> int:
    done = notify_role_change(str(change.pk))
    assert done.keys() == {"status", "recipients"}
    return int(done["recipients"])


def told() -> list[str]:
    """Whom the notice to admins went to, by address."""
    return sorted(each.to for each in letters("role_of_another_changed"))


def test_the_person_is_told_everything_by_mail_and_sms(owner: User) -> None:
    User.objects.filter(pk=owner.pk).update(first_name="Akosua", last_name="Mensah")
    user = living_in("BNT", Role.CONSTITUENCY_STAFF, first_name="Ama")
    change = moved(owner, user, Role.REGIONAL_ADMIN, "EJS")
    assert tell(change) == 1, "nobody is above but who did it"
    email, sms = letters("role_changed")
    assert (email.channel, email.to, sms.channel, sms.to) == ("email", user.email, "sms", user.phone)
    assert {each.purpose for each in (email, sms)} == {"security"}
    for text in (email.text, sms.text):
        for words in (
            "Akosua Mensah",
            "Constituency staff, Bantama (Ashanti)",
            "Regional admin, Ejisu (Ashanti)",
            clock.words(change.created_at),
        ):
            assert words in text
    assert Notification.objects.get(user=user).title == "Your role was changed"


def test_the_admins_of_the_level_above_are_told_except_who_did_it(head: User) -> None:
    other = UserFactory.create(role=Role.NATIONAL_ADMIN, email="other@example.com")
    suspended = UserFactory.create(
        role=Role.NATIONAL_ADMIN, is_suspended=True, suspended_at=clock.now(), suspension_reason="x"
    )
    UserFactory.create(role=Role.SUPER_ADMIN)
    living_in("BNT", Role.REGIONAL_ADMIN)
    user = living_in("BNT", Role.REGIONAL_STAFF, username="ama", first_name="Ama", last_name="Darko")
    assert tell(moved(head, user, Role.REGIONAL_ADMIN, "BNT")) == 2
    assert told() == ["other@example.com"]
    notice = letters("role_of_another_changed")[0]
    assert notice.title == "The role of Ama Darko (ama) was changed"
    assert suspended.email not in told()
    assert other.email in told()


@pytest.mark.parametrize(
    ("role", "place", "there", "expected"),
    [
        ("CONSTITUENCY_STAFF", "BNT", ["REGIONAL_ADMIN", "NATIONAL_ADMIN"], ["REGIONAL_ADMIN"]),
        ("CONSTITUENCY_STAFF", "BNT", ["NATIONAL_ADMIN"], ["NATIONAL_ADMIN"]),
        ("EXTENSION_OFFICER", "BNT", ["CONSTITUENCY_ADMIN", "REGIONAL_ADMIN"], ["CONSTITUENCY_ADMIN"]),
        ("EXTENSION_OFFICER", "BNT", ["REGIONAL_ADMIN"], ["REGIONAL_ADMIN"]),
        ("EXTENSION_OFFICER", "BNT", [], []),
        ("AUDITOR", "", ["NATIONAL_ADMIN", "REGIONAL_ADMIN"], []),
        ("FARMER", "BNT", ["CONSTITUENCY_ADMIN"], ["CONSTITUENCY_ADMIN"]),
    ],
)
def test_when_a_level_has_nobody_the_next_one_is_told(
    owner: User, role: str, place: str, there: list[str], expected: list[str]
) -> None:
    for one in there:
        living_in("BNT", Role(one), email=f"{one.lower()}@example.com")
        if one in NEED_REGION:
            living_in("TMW", Role(one))
    user = living_in("BNT", Role.VETERINARY_OFFICER)
    assert tell(moved(owner, user, Role(role), place)) == 1 + len(expected)
    assert told() == [f"{one.lower()}@example.com" for one in expected]


def test_a_second_run_tells_nobody_again(head: User) -> None:
    UserFactory.create(role=Role.NATIONAL_ADMIN)
    change = moved(head, living_in("BNT", Role.REGIONAL_STAFF), Role.REGIONAL_ADMIN, "BNT")
    assert tell(change) == 2
    before = {each.message.pk for each in letters()}
    assert tell(change) == 2
    assert {each.message.pk for each in letters()} == before
    assert Notification.objects.count() == 2


def test_an_unknown_change_fails() -> None:
    with pytest.raises(NotFound):
        notify_role_change(str(uuid.uuid4()))
    with pytest.raises(InvalidInput):
        notify_role_change("x")


@pytest.mark.parametrize("role", Role)
def test_every_role_has_its_name_and_place_in_words(role: Role) -> None:
    bantama = Constituency.objects.get(code="BNT")
    shown = position(role, bantama.region, bantama)
    assert shown.startswith(role.label)
    assert role.value not in shown
    if role in NEED_CONSTITUENCY:
        assert shown == f"{role.label}, Bantama (Ashanti)"
    assert position(role, bantama.region, None) in (f"{role.label}, Ashanti", f"{role.label}, all of Ghana")
    assert position(role, None, None) in (role.label, f"{role.label}, all of Ghana")
