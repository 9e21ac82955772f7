"""The migrations of farms: none is missing, and there is a way back and forth again."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from tests.factories import DailyProductionFactory


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", "farms", check=True, dry_run=True, verbosity=0)


def _count(sql: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return int(cursor.fetchone()[0])


TRIGGERS = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'farms_%' AND NOT tgisinternal"
FUNCTIONS = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'farms_%'"
SEQUENCES = "SELECT count(*) FROM pg_sequences WHERE sequencename LIKE 'farms_%_number'"


@pytest.mark.django_db(transaction=True)
def test_the_tables_go_and_come_back_with_all_that_is_kept_in_sql() -> None:
    before = [_count(sql) for sql in (TRIGGERS, FUNCTIONS, SEQUENCES)]
    assert before == [19, 3, 3]
    executor = MigrationExecutor(connection)
    leaves = executor.loader.graph.leaf_nodes()
    executor.migrate([("farms", None)])
    assert not [name for name in connection.introspection.table_names() if name.startswith("farms_")]
    assert [_count(sql) for sql in (TRIGGERS, FUNCTIONS, SEQUENCES)] == [0, 0, 0]
    MigrationExecutor(connection).migrate(leaves)
    assert [_count(sql) for sql in (TRIGGERS, FUNCTIONS, SEQUENCES)] == before
    assert DailyProductionFactory.create().pk
