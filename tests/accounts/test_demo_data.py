"""manage.py demo_data: a person in every role, once, and never in production."""

from __future__ import annotations

import threading
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.management.commands.demo_data import PASSWORD, PEOPLE
from accounts.models import User
from accounts.rules import Role
from tests.factories import ConstituencyFactory, DistrictFactory, RegionFactory, UserFactory


def load(*options: str) -> str:
    out = StringIO()
    call_command("demo_data", *options, stdout=out)
    return out.getvalue()


def test_the_demonstration_has_every_role_once_with_numbers_of_its_own():
    assert [person.role for person in PEOPLE] == list(Role)
    assert len({person.phone for person in PEOPLE}) == len(PEOPLE)


@pytest.mark.django_db
def test_a_person_in_every_role_can_sign_in(client):
    assert "15 created, 0 already there" in load()
    for person in PEOPLE:
        user = User.objects.get(role=person.role)
        user.full_clean()
        assert user.is_active
        assert user.activated_at
        assert user.username == person.username
    assert len(set(User.objects.values_list("password", flat=True))) == 1  # so that one sign-in speaks for all
    assert client.login(username=PEOPLE[-1].username, password=PASSWORD)


@pytest.mark.django_db
def test_a_second_run_is_one_look_and_changes_nothing(django_assert_max_num_queries):
    load()
    before = list(User.objects.values().order_by("id"))
    with django_assert_max_num_queries(3):
        assert "0 created, 15 already there" in load()
    assert list(User.objects.values().order_by("id")) == before


@pytest.mark.django_db
def test_only_what_is_missing_is_added():
    load()
    User.objects.filter(role=Role.FARMER).delete()
    assert "1 created, 14 already there" in load()


@pytest.mark.django_db
def test_when_one_cannot_be_added_none_is_and_the_reason_is_said():
    UserFactory.create(phone=PEOPLE[-1].phone)
    with pytest.raises(CommandError, match=r"Nothing was loaded\. phone: User with this Phone already exists"):
        load()
    assert User.objects.count() == 1


@pytest.mark.django_db
def test_the_sign_ins_are_listed_as_a_table():
    table = load("--list-sign-ins").splitlines()[1:]
    assert table[0].split() == ["ROLE", "NAME", "USERNAME", "PHONE", "PASSWORD", "WHERE"]
    assert len(table) == 16
    for person, line in zip(PEOPLE, table[1:], strict=True):
        for cell in (person.role.value, person.username, person.phone, PASSWORD, person.where):
            assert cell in line


@pytest.mark.django_db
@pytest.mark.parametrize("options", [(), ("--list-sign-ins",)])
def test_production_refuses_it(settings, options):
    settings.PMS_ENV = "production"
    with pytest.raises(CommandError, match="refused in production"):
        load(*options)
    assert not User.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_runs_at_the_same_time_add_each_person_once():
    for region, code, name in (
        (RegionFactory.create(), "BNT", "Bantama"),
        (RegionFactory.create(code="NP", name="Northern", capital="Tamale"), "TLC", "Tamale Central"),
        (RegionFactory.create(code="TV", name="Volta", capital="Ho"), "HOC", "Ho Central"),
        (RegionFactory.create(code="AA", name="Greater Accra", capital="Accra"), "TMW", "Tema West"),
    ):
        ConstituencyFactory.create(code=code, name=name, district=DistrictFactory.create(region=region))
    said: list[str] = []

    def run() -> None:
        try:
            said.append(load())
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 4
    assert sum("15 created" in line for line in said) == 1
    assert User.objects.count() == 15
