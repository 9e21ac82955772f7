"""The migrations of accounts: the whole geography, and a way back."""

from __future__ import annotations

import re

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from accounts.models import Constituency, District, Region
from tests.factories import UserFactory


@pytest.mark.django_db
def test_the_sixteen_regions_are_there_with_their_samples():
    assert Region.objects.count() == 16
    assert not Region.objects.filter(district__isnull=True).exists()
    assert (District.objects.count(), Constituency.objects.count()) == (33, 39)
    assert set(District.objects.values_list("source", flat=True)) == {"demo_sample"}
    assert District.objects.get(name="Shai Osudoku").kind == "district"
    assert District.objects.get(name="Tema Metropolitan").kind == "metropolitan"
    assert District.objects.get(name="Yendi Municipal").kind == "municipal"


@pytest.mark.django_db
def test_no_migration_is_missing():
    call_command("makemigrations", "accounts", check=True, dry_run=True, verbosity=0)


def migrate(target: str) -> None:
    executor = MigrationExecutor(connection)
    executor.migrate([("accounts", target)])


@pytest.mark.django_db(transaction=True)
def test_the_geography_goes_and_comes_back_but_the_home_of_a_person_stays():
    leaves = MigrationExecutor(connection).loader.graph.leaf_nodes()
    migrate("0001_schema")
    migrate("0002_geography")
    assert Region.objects.count() == 16
    MigrationExecutor(connection).migrate(leaves)
    user = UserFactory.create(role="CONSTITUENCY_ADMIN")  # has columns that come later
    migrate("0001_schema")
    assert list(Constituency.objects.all()) == [user.constituency]
    assert list(Region.objects.all()) == [user.region]
    migrate("0002_geography")
    assert (Region.objects.count(), Constituency.objects.count()) == (16, 39)
    MigrationExecutor(connection).migrate(leaves)


@pytest.mark.django_db(transaction=True)
def test_the_schema_goes_and_comes_back_with_its_composite_keys():
    executor = MigrationExecutor(connection)
    leaves = executor.loader.graph.leaf_nodes()
    executor.migrate([("accounts", None)])
    assert not [name for name in connection.introspection.table_names() if name.startswith("accounts_")]
    MigrationExecutor(connection).migrate(leaves)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conname ~ '^accounts_.*_in_region$'")
        assert cursor.fetchone() == (4,)
    UserFactory.create(role="CONSTITUENCY_ADMIN")


@pytest.mark.django_db(transaction=True)
def test_tokens_codes_and_invitations_go_and_come_back_with_what_keeps_them():
    leaves = MigrationExecutor(connection).loader.graph.leaf_nodes()
    migrate("0004_prefix_search")
    names = connection.introspection.table_names()
    assert not re.findall(r"accounts_\w*(?:token|code|invitation)\w*", " ".join(names))
    MigrationExecutor(connection).migrate(leaves)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_trigger WHERE tgname = 'accounts_invitation_final'")
        assert cursor.fetchone() == (1,)


@pytest.mark.django_db(transaction=True)
def test_what_signing_in_writes_down_goes_and_comes_back():
    leaves = MigrationExecutor(connection).loader.graph.leaf_nodes()
    migrate("0004_prefix_search")
    assert {"accounts_loginrecord", "accounts_trusteddevice"}.isdisjoint(connection.introspection.table_names())
    MigrationExecutor(connection).migrate(leaves)
    assert {"accounts_loginrecord", "accounts_trusteddevice"} <= set(connection.introspection.table_names())
