"""Pages by cursor: whole, without doubles, whatever is added meanwhile, in either direction, over several columns."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import RequestFactory
from rest_framework.request import Request

from accounts.models import User
from accounts.rules import Role
from core import clock
from core.api.pages import Pages
from tests.api.conftest import SignIn, living_in
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def walk(client: Any, address: str) -> list[list[str]]:
    pages = []
    while address:
        told = client.get(address).json()
        pages.append([row["username"] for row in told["results"]])
        address = told["next"]
    return pages


def test_a_list_is_read_page_by_page_to_its_end(sign_in: SignIn, head: User) -> None:
    for _ in range(6):
        living_in("BNT")
    names = sorted(User.objects.values_list("username", flat=True))
    pages = walk(sign_in(head), "/api/v1/users/?limit=3&role=")
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [name for page in pages for name in page] == names
    assert [len(page) for page in walk(sign_in(head), "/api/v1/users/?limit=7")] == [7]


def test_what_is_added_or_gone_meanwhile_doubles_nothing_and_loses_nothing(sign_in: SignIn, head: User) -> None:
    for name in "bdfh":
        UserFactory.create(username=name)
    client = sign_in(head)
    first = client.get("/api/v1/users/?limit=2").json()
    assert [row["username"] for row in first["results"]] == ["b", "d"]
    UserFactory.create(username="a")
    UserFactory.create(username="e")
    User.objects.filter(username="d").update(username="dd")
    second = client.get(first["next"]).json()
    assert [row["username"] for row in second["results"]] == ["dd", "e"]


@pytest.mark.parametrize("ordering", [("created_at", "pk"), ("-created_at", "-pk"), ("pk",), ("-username",)])
def test_every_row_comes_once_in_order_also_when_the_first_column_repeats(
    rf: RequestFactory, ordering: tuple[str, ...]
) -> None:
    people = [UserFactory.create() for _ in range(7)]
    now = clock.now()
    for number, user in enumerate(people):
        User.objects.filter(pk=user.pk).update(created_at=now - timedelta(seconds=number // 3))

    class View:
        pass

    View.ordering = ordering  # type: ignore[attr-defined]
    seen: list[User] = []
    address = "/x/?limit=2"
    while address:
        pages = Pages()
        view: Any = View()
        seen += pages.paginate_queryset(User.objects.all(), Request(rf.get(address)), view)
        told: Any = pages.get_paginated_response([]).data
        address = told["next"]
    assert seen == list(User.objects.order_by(*ordering))


@pytest.mark.parametrize(
    "query", ["search=ama", "search=ama&region=AH", "search=ama&role=farmer", "search=+", "role=auditor"]
)
@pytest.mark.parametrize("role", [Role.NATIONAL_ADMIN, Role.REGIONAL_ADMIN])
def test_a_search_too_is_read_to_its_end_without_doubles(sign_in: SignIn, role: Role, query: str) -> None:
    who = living_in("BNT", role, first_name="Yaw")
    for _ in range(7):
        living_in("BNT", first_name="Ama", last_name="Mensah")
    living_in("BNT", Role.AUDITOR, first_name="Esi")
    client = sign_in(who)
    whole = client.get(f"/api/v1/users/?{query}&limit=200").json()["results"]
    pages = walk(client, f"/api/v1/users/?{query}&limit=2")
    assert [name for page in pages for name in page] == [row["username"] for row in whole]
    key = "id" if role == Role.NATIONAL_ADMIN and query in ("search=ama", "search=ama&role=farmer") else "username"
    assert [row[key] for row in whole] == sorted(row[key] for row in whole)


def test_a_cursor_of_another_order_is_told_so(sign_in: SignIn, head: User) -> None:
    for _ in range(3):
        living_in("BNT", first_name="Ama")
    client = sign_in(head)
    following = client.get("/api/v1/users/?limit=1").json()["next"]
    assert client.get(f"{following}&search=ama").status_code == 400
