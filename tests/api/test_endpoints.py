"""What the endpoints of people answer, and what that costs. Who may ask: test_permission_matrix."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from accounts.models import Constituency, User
from accounts.rules import Role
from core import clock
from tests.api.conftest import API, SignIn, living_in
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


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


def test_what_was_searched_for_is_not_logged(sign_in: SignIn, head: User, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        sign_in(head).get(f"{API}/users/", {"search": "Darko"})
    assert "GET /api/v1/users/" in caplog.text
    assert "Darko" not in caplog.text
