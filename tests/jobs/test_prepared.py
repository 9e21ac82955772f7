"""The statements of a run are planned once a connection, unless a pooler stands in the way."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from core.jobs import runs
from core.jobs.rules import State
from tests.jobs.test_claims import asked

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_connection() -> Any:
    connection.close()
    yield
    connection.close()


def prepared() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        return int(cursor.fetchone()[0])


def forget() -> None:
    """As a pooler does that gives the next statement to another session. Past psycopg, which would notice."""
    raw: Any = connection.connection
    raw.pgconn.exec_(b"DEALLOCATE ALL")


def work() -> None:
    claim = runs.claim(asked().pk, "w1@test")
    assert claim
    assert claim.args == [1]
    assert runs.finish(claim, State.SUCCEEDED, "3", None, None) == State.SUCCEEDED


def test_asking_claim_and_end_are_prepared_once() -> None:
    work()
    assert prepared() == 3
    work()
    assert prepared() == 3


def test_nothing_is_prepared_in_a_transaction() -> None:
    with transaction.atomic():
        work()
    assert prepared() == 0


def test_nothing_is_prepared_when_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "prepare_threshold", None)
    connection.close()
    work()
    assert prepared() == 0


def test_a_pooler_that_forgets_costs_nothing_but_the_preparing() -> None:
    work()
    forget()
    work()
    work()
    assert prepared() == 0


def test_a_pooler_that_has_the_name_already_costs_nothing_but_the_preparing() -> None:
    connection.ensure_connection()
    raw: Any = connection.connection
    for number in range(3):
        raw.pgconn.prepare(f"_pg3_{number}".encode(), b"SELECT 1")
    work()
    assert prepared() == 3


def test_any_other_error_is_raised() -> None:
    run = asked()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE jobs_taskrun RENAME TO elsewhere")
    try:
        with pytest.raises(DatabaseError, match="jobs_taskrun"):
            runs.claim(run.pk, "w1@test")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO jobs_taskrun")
