"""Every endpoint for every role, in the own scope and another: what is answered follows from the policy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from accounts import policy, selectors
from accounts.models import Constituency, User
from accounts.policy import Action
from accounts.rules import Role
from core import clock
from core.api.views import Nowhere
from tests.api.conftest import API, SignIn, living_in
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]
METHODS = ("get", "post", "put", "patch", "delete")


def walk(patterns: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        address = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, address)
        elif isinstance(pattern, URLPattern):
            yield address, getattr(pattern.callback, "view_class", pattern.callback)


def endpoints() -> dict[tuple[str, str], Any]:
    """(method, address) of everything under /api/v1/."""
    found = {}
    for address, view in walk(get_resolver().url_patterns):
        if address.startswith("api/") and view is not Nowhere:
            for method in METHODS:
                if hasattr(view, method):
                    found[method, address.removeprefix("api/v1/")] = view
    return found


# What each does to a person; None: to nobody.
ABOUT: dict[tuple[str, str], Action | None] = {
    ("get", "me/"): None,
    ("get", "users/"): None,
    ("get", "roles/"): None,
    ("get", "regions/"): None,
    ("get", "users/<uuid:user_id>/"): Action.SEE_PERSON,
    ("post", "users/<uuid:user_id>/role/"): Action.CHANGE_ROLE,
    ("post", "users/<uuid:user_id>/suspend/"): Action.SUSPEND,
    ("post", "users/<uuid:user_id>/lift/"): Action.SUSPEND,
    ("post", "users/<uuid:user_id>/unlock/"): Action.UNLOCK,
    ("get", "schema/"): None,
    ("get", "docs/"): None,
}
PUBLIC = {"schema/", "docs/"}
# Endpoints of other apps, by the beginning of their address: the file of tests that asks each of them as every role.
ELSEWHERE: dict[str, str] = {"campaigns/": "tests/delivery/test_campaign_api.py"}


def test_no_endpoint_is_left_out() -> None:
    rest = {key for key in endpoints() if not key[1].startswith(tuple(ELSEWHERE))}
    assert rest == set(ABOUT)
    for tests in ELSEWHERE.values():
        assert (ROOT / tests).exists()


def test_every_post_is_done_once_for_its_key() -> None:
    for (method, address), view in endpoints().items():
        if method == "post":
            assert getattr(view.post, "is_idempotent", False), address


def a_target(address: str, place: str, role: str) -> User:
    now = clock.now()
    state: dict[str, Any] = {}
    if address.endswith("lift/"):
        state = {"is_suspended": True, "suspended_at": now, "suspension_reason": "fraud"}
    if address.endswith("unlock/"):
        state = {"locked_until": now + timedelta(minutes=15)}
    return living_in(place, role, **state)


def body(address: str, target: User) -> dict[str, str] | None:
    if address.endswith("unlock/"):
        return None
    if address.endswith("role/"):
        constituency: Any = target.constituency
        if target.role == Role.REGIONAL_STAFF:  # another place: every manager of theirs may do that
            next_door = {"BNT": "EJS", "TMW": "TMC"}[constituency.code]
            return {"reason": "moved", "role": target.role, "constituency": next_door}
        to = Role.CONSTITUENCY_STAFF if target.role == Role.EXTENSION_OFFICER else Role.EXTENSION_OFFICER
        return {"reason": "moved", "role": to.lower(), "constituency": constituency.code}
    return {"reason": "fraud"}


def expected(actor: User, action: Action, target: User) -> tuple[int, ...]:
    if not selectors.may(actor, Action.SEE_PERSON, target):
        return (404,)
    if not selectors.may(actor, action, target):
        return (403,)
    return (200, 201)


@pytest.mark.parametrize(("method", "address"), ABOUT)
@pytest.mark.parametrize("role", Role)
def test_every_role_is_answered_as_the_policy_says(sign_in: SignIn, role: Role, method: str, address: str) -> None:
    actor = living_in("BNT", role)
    client = sign_in(actor)
    action = ABOUT[method, address]
    if action is None:
        assert client.get(f"{API}/{address}").status_code == 200
        return
    for place in ("BNT", "TMW"):
        for other in (Role.CONSTITUENCY_STAFF, Role.REGIONAL_STAFF, Role.EXTENSION_OFFICER, Role.SUPER_ADMIN):
            target = a_target(address, place, other)
            if other == Role.SUPER_ADMIN and address.endswith("role/"):
                sent: Any = {"reason": "x", "role": "AUDITOR"}
            else:
                sent = body(address, target)
            path = f"{API}/{address.replace('<uuid:user_id>', str(target.pk))}"
            extra: Any = {"data": sent, "content_type": "application/json"} if method == "post" else {}
            answer = getattr(client, method)(path, **extra)
            assert answer.status_code in expected(actor, action, target), (place, other, answer.content)


@pytest.mark.parametrize(("method", "address"), ABOUT)
def test_a_stranger_is_answered_by_none_but_the_description(client: Client, method: str, address: str) -> None:
    path = f"{API}/{address.replace('<uuid:user_id>', str(UserFactory.create().pk))}"
    answer = getattr(client, method)(path)
    if address in PUBLIC:
        assert answer.status_code == 200
    else:
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"] == "Session"
        assert answer.json()["code"] == "not_authenticated"


@pytest.mark.parametrize("address", [address for method, address in ABOUT if method == "post"])
def test_a_change_without_the_csrf_token_is_refused(sign_in: SignIn, head: User, address: str) -> None:
    target = a_target(address, "BNT", Role.FARMER)
    client = sign_in(head, enforce_csrf_checks=True)
    path = f"{API}/{address.replace('<uuid:user_id>', str(target.pk))}"
    answer = client.post(path, {"reason": "fraud"}, "application/json")
    assert answer.status_code == 403
    assert "CSRF" in answer.json()["detail"]
    target.refresh_from_db()
    assert target.token_version == 0


def test_i_see_who_i_am(sign_in: SignIn, head: User) -> None:
    regional = living_in("BNT", Role.REGIONAL_STAFF)
    told = sign_in(regional).get(f"{API}/me/").json()
    assert told["id"] == str(regional.pk)
    assert (told["role"], told["level"], told["phone"]) == ("REGIONAL_STAFF", "regional", regional.phone)
    assert told["region"] == {"code": "AH", "name": "Ashanti"}
    assert told["grants"] == []
    assert sign_in(head).get(f"{API}/me/").json()["region"] is None


def test_the_list_is_masked_and_ordered_and_one_person_is_shown_whole(sign_in: SignIn, head: User) -> None:
    kofi = living_in("BNT", username="a-kofi", last_login=clock.now())
    client = sign_in(head)
    [first, *_] = client.get(f"{API}/users/").json()["results"]
    assert (first["username"], first["phone"]) == ("a-kofi", f"+233*****{kofi.phone[-4:]}")
    assert kofi.phone not in client.get(f"{API}/users/").content.decode()
    whole = client.get(f"{API}/users/{kofi.pk}/").json()
    assert whole["phone"] == kofi.phone
    assert whole["created_at"].endswith("Z")
    assert whole["last_login"].endswith("Z")


def test_filters_narrow_the_list_to_what_is_asked(sign_in: SignIn, head: User) -> None:
    ama = living_in("BNT", first_name="Ama")
    esi = living_in("TMW", first_name="Esi")
    client = sign_in(head)

    def found(**wanted: str) -> list[str]:
        return [row["id"] for row in client.get(f"{API}/users/", wanted).json()["results"]]

    assert found(region="ah") == [str(ama.pk)]
    assert found(role="farmer", search="es") == [str(esi.pk)]
    assert found(search=esi.phone) == [str(esi.pk)]
    assert found(role="National Admin") == [str(head.pk)]
    assert found(region="AH", search="esi") == []
    for wrong in ({"role": "king"}, {"region": "XX"}, {"region": "\x00"}, {"search": "\x00"}):
        assert client.get(f"{API}/users/", wrong).status_code == 400


def test_the_list_costs_the_same_queries_however_long_it_is(
    sign_in: SignIn, head: User, django_assert_num_queries: Any
) -> None:
    client = sign_in(head)
    for _ in range(2):
        with django_assert_num_queries(3):  # session, person, list
            client.get(f"{API}/users/", {"limit": "200"})
        for _ in range(30):
            living_in("BNT")
    with django_assert_num_queries(4):  # and the constituencies of all regions at once
        client.get(f"{API}/regions/")


def test_a_role_change_is_answered_with_what_changed(sign_in: SignIn) -> None:
    regional, user = living_in("BNT", Role.REGIONAL_ADMIN), living_in("BNT", Role.CONSTITUENCY_STAFF)
    sent = {"role": "constituency admin", "constituency": "ejs", "reason": "promoted"}
    answer = sign_in(regional).post(f"{API}/users/{user.pk}/role/", sent, "application/json")
    assert answer.status_code == 201
    told = answer.json()
    assert (told["user"], told["changed_by"]) == (str(user.pk), str(regional.pk))
    assert (told["old_constituency"], told["new_constituency"], told["new_region"]) == ("BNT", "EJS", "AH")
    assert told["created_at"].endswith("Z")


def test_a_suspension_runs_until_the_time_that_was_given(sign_in: SignIn, head: User) -> None:
    user = UserFactory.create()
    until = (clock.now() + timedelta(days=2)).replace(microsecond=0)
    sent = {"reason": "fraud", "until": until.isoformat()}
    told = sign_in(head).post(
        f"{API}/users/{user.pk}/suspend/", sent, "application/json", headers={"User-Agent": "Test/1"}
    )
    assert told.json()["suspended_until"] == until.strftime("%Y-%m-%dT%H:%M:%SZ")
    event = user.security_events.get()
    assert (event.ip, event.device) == ("127.0.0.1", "Test/1")


def test_roles_and_regions_are_all_there(sign_in: SignIn) -> None:
    client = sign_in(UserFactory.create())
    roles = client.get(f"{API}/roles/").json()
    assert [role["code"] for role in roles] == list(Role.values)
    assert roles[1] == {"code": "NATIONAL_ADMIN", "name": "National admin", "level": "national", "kind": "admin"}
    regions = client.get(f"{API}/regions/").json()
    assert len(regions) == 16
    assert sum(len(region["constituencies"]) for region in regions) == Constituency.objects.count()


def test_the_policy_is_asked_about_people_by_every_such_action() -> None:
    asked = {action for action in ABOUT.values() if action}
    assert all(policy.RULES[action].about == policy.About.PERSON for action in asked)


def test_what_was_searched_for_is_not_logged(sign_in: SignIn, head: User, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        sign_in(head).get(f"{API}/users/", {"search": "Darko"})
    assert "GET /api/v1/users/" in caplog.text
    assert "Darko" not in caplog.text
