"""What the tasks leave behind, in tables that only this test has. A row of `chaos_ask` is written in the transaction
that asks, so it says which asks were committed, also when the answer to COMMIT was lost.
"""

from __future__ import annotations

from django.db import connection

CREATE = """
CREATE TABLE chaos_ask (
    key text PRIMARY KEY, kind text NOT NULL, run_id uuid, topic text, version bigint,
    not_before timestamptz NOT NULL
);
CREATE TABLE chaos_effect (
    id bigserial, key text NOT NULL, run_id uuid NOT NULL, version bigint,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    once uuid UNIQUE  -- the run, where the effect has a key; null where body and end are one transaction
);
CREATE INDEX ON chaos_effect (key);
CREATE TABLE chaos_body (
    id bigserial, key text NOT NULL, run_id uuid NOT NULL, clock_wrong_by float8 NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE chaos_slices (key text PRIMARY KEY, done int NOT NULL);
CREATE TABLE chaos_topic (topic text PRIMARY KEY, version bigint NOT NULL)
"""


def create(topics: list[str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(CREATE)
        cursor.executemany("INSERT INTO chaos_topic VALUES (%s, 0)", [(topic,) for topic in topics])
