"""The statements of every run, planned once for each connection: planning costs PostgreSQL more than running them.

Django's own cursor writes the values into the statement, so nothing of it can be prepared; psycopg's sends them apart.
In a transaction nothing is prepared: what an old pooler answers could not be mended there. A plan made while the table
was nearly empty reads all of it; autovacuum's next ANALYZE, within about a minute, has it made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
import structlog
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from psycopg.errors import DuplicatePreparedStatement, FeatureNotSupported, InvalidSqlStatementName

HINT = "With PgBouncer before 1.22, or without max_prepared_statements, set DATABASE_PREPARED_STATEMENTS=False."
log = structlog.get_logger(__name__)

# What a pooler answers that does not know of prepared statements, and PostgreSQL when a column's type has changed.
NOT_PREPARED = (InvalidSqlStatementName, DuplicatePreparedStatement, FeatureNotSupported)


def fetch_one(statement: str, parameters: Sequence[Any]) -> tuple[Any, ...] | None:
    """Run one statement and return its first row."""
    django: Any = connections[DEFAULT_DB_ALIAS]
    if django.queries_logged or django.execute_wrappers:  # somebody wants to see it
        with django.cursor() as cursor:
            cursor.execute(statement, parameters)
            row: tuple[Any, ...] | None = cursor.fetchone()
            return row
    django.validate_no_broken_transaction()
    django.ensure_connection()
    raw = django.connection
    prepare = not django.in_atomic_block and raw.prepare_threshold is not None
    try:
        with django.wrap_database_errors:
            return psycopg.Cursor(raw).execute(statement, parameters, prepare=prepare).fetchone()
    except DatabaseError as error:
        if not prepare or not isinstance(error.__cause__, NOT_PREPARED):
            raise
        log.warning("statement_not_prepared", error=type(error.__cause__).__name__, hint=HINT)
        raw.prepare_threshold = None  # on this connection; a new one tries again
        return fetch_one(statement, parameters)
