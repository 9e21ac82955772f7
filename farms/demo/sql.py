"""How rows are written: PostgreSQL makes them from their number and the seed, a chunk in a statement.

Everything of a row follows from its number: `pg_temp.roll(number, 'what')` is a chance in [0, 1) of its own for each
number and word, `pg_temp.id('what', number)` an id in the order of the numbers. So nothing has to be remembered to
refer to another row, no row travels over the wire, and the same seed makes the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import connection, models

Values = dict[str, Any]

# hashint8extended and hashtextextended are PostgreSQL's own since version 11; of a constant word it hashes once a
# statement. An id is a UUID of version 7 of a year ago, so that rows of later days come behind it.
_FUNCTIONS = """
CREATE OR REPLACE FUNCTION pg_temp.hash(number bigint, what text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT hashint8extended(number, hashtextextended(what, %(seed)s)) $$;
CREATE OR REPLACE FUNCTION pg_temp.roll(number bigint, what text) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (hashint8extended(number, hashtextextended(what, %(seed)s)) & 9007199254740991) / 9007199254740992::float8
$$;
CREATE OR REPLACE FUNCTION pg_temp.id(what text, number bigint) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ('0' || to_hex(%(epoch)s + number)
        || to_hex(28672 | (hashint8extended(number, hashtextextended(what, %(seed)s)) & 4095))
        || to_hex(hashint8extended(number, hashtextextended(what, %(seed)s)) & 4611686018427387903 | (1::bigint << 63))
    )::uuid
$$;
CREATE OR REPLACE FUNCTION pg_temp.pick(choices text[], chance float8) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT choices[1 + floor(chance * cardinality(choices))::int] $$;
CREATE OR REPLACE FUNCTION pg_temp.digits(number bigint, fewest int) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT lpad(number::text, greatest(fewest, length(number::text)), '0') $$;
CREATE OR REPLACE FUNCTION pg_temp.phone(number bigint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT '+23328' || lpad(mod(number * 7368787, 10000000)::text, 7, '0') $$
"""
MOST_PHONES = 10_000_000
NO_PASSWORD = "'!'"  # noqa: S105 - nobody signs in with it; accounts demo_data has people who can


def make_functions(*, seed: int, today: date) -> None:
    epoch = datetime.combine(today - timedelta(days=365), time(), UTC)
    run(_FUNCTIONS, {"seed": seed, "epoch": int(epoch.timestamp() * 1000)})


def run(statement: str, values: Values | None = None) -> int:
    """Runs a statement; says how many rows it wrote."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        rows: int = cursor.rowcount
    return rows


def fill(table: str, rows: Iterable[Sequence[Any]]) -> None:
    """COPY of what Python knows into a table."""
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def insert(model: type[models.Model], source: str, values: Values, *, made: str = "", **columns: str) -> int:
    """INSERT … SELECT of these expressions from a source; says how many rows.

    A column that is not named gets its default or NULL; `made` is when the row was made and last changed.
    """
    if made:
        columns = {"created_at": made, "updated_at": made} | columns
    given = dict(values)
    for field in model._meta.local_concrete_fields:
        if field.column and field.column not in columns and not field.null:
            columns[field.column] = f"%(default_{field.column})s"
            given[f"default_{field.column}"] = field.get_db_prep_save(field.get_default(), connection)
    return run(
        f"INSERT INTO {model._meta.db_table} ({', '.join(columns)}) "  # noqa: S608 - names and constants only
        f"SELECT {', '.join(columns.values())} FROM {source}",
        given,
    )
