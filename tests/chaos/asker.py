"""Asks for tasks without an end, through every door, each ask in a transaction with a row of the caller's own.

    python -m tests.chaos.asker NAME SEED INCARNATION A_SECOND long|short

It may be killed at any moment, also between COMMIT and the bell.
"""

from __future__ import annotations

import random
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import django

TOPICS = [f"topic-{number}" for number in range(6)]
MANY_WAITING = 250
DOORS = {
    "plain": 20,
    "many": 3,
    "later": 8,
    "chain": 4,
    "link": 3,
    "coalesced": 12,
    "atomic": 14,
    "fails once": 6,
    "slow": 2,
    "slices": 4,
    "cancelled": 6,
    "undone": 8,
    "half undone": 4,
    "parent": 4,
    "atomic parent": 4,
    "stumbles": 1,  # tried again after a minute
}
LONG_FORM_ONLY = {"stumbles"}


class Undone(Exception):
    """The caller changes its mind."""


class Asker:
    def __init__(self, name: str, seed: int, incarnation: int, *, long: bool) -> None:
        from tests.chaos import tasks

        self.tasks = tasks
        self.rng = random.Random(f"{seed}/{name}/{incarnation}")
        self.prefix = f"{name}.{incarnation}"
        self.number = 0
        self.doors = {kind: weight for kind, weight in DOORS.items() if long or kind not in LONG_FORM_ONLY}
        self.to_cancel: list[tuple[float, str, str]] = []

    def ask(self) -> None:
        from django.db import transaction

        self.number += 1
        kind = self.rng.choices(list(self.doors), list(self.doors.values()))[0]
        key = f"{self.prefix}.{self.number}"
        door = getattr(self, kind.replace(" ", "_"))
        try:
            with transaction.atomic():
                door(key)
        except Undone:
            print("undone", key, flush=True)

    def write(self, kind: str, key: str, run_id: str | None = None, seconds: float = 0, **topic: Any) -> None:
        """The caller's own row."""
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO chaos_ask VALUES (%s, %s, %s, %s, %s, now() + make_interval(secs => %s))",
                [key, kind, run_id, topic.get("name"), topic.get("version"), seconds],
            )

    # --- doors -----------------------------------------------------------------------------------------------------

    def plain(self, key: str) -> None:
        self.write("plain", key, self.tasks.keyed.delay(key).id)

    def atomic(self, key: str) -> None:
        self.write("atomic", key, self.tasks.atomic.delay(key).id)

    def many(self, key: str) -> None:
        from core.jobs.services import enqueue_many

        keys = [f"{key}/{number}" for number in range(self.rng.randint(5, 40))]
        ids = enqueue_many("tests.chaos.tasks.keyed", [((one,), {}) for one in keys])
        for one, run_id in zip(keys, ids, strict=True):
            self.write("many", one, run_id)

    def later(self, key: str) -> None:
        seconds = self.rng.uniform(0.5, 6)
        if self.rng.random() < 0.5:
            run = self.tasks.atomic.apply_async((key,), countdown=seconds)
        else:
            run = self.tasks.keyed.apply_async((key,), eta=datetime.now(UTC) + timedelta(seconds=seconds))
        self.write("later", key, run.id, seconds - 0.5)  # now() is when the transaction began

    def chain(self, key: str) -> None:
        from celery import chain

        keys = [f"{key}/{number}" for number in range(3)]
        steps = [self.rng.choice((self.tasks.keyed, self.tasks.atomic)).si(one) for one in keys]
        chain(*steps).apply_async()
        for one in keys:
            self.write("chain", one)

    def link(self, key: str) -> None:
        self.tasks.keyed.apply_async((f"{key}/0",), link=self.tasks.atomic.si(f"{key}/1"))
        for number in range(2):
            self.write("link", f"{key}/{number}")

    def coalesced(self, key: str) -> None:
        from django.db import connection

        name = self.rng.choice(TOPICS)
        run = self.tasks.topic.apply_async((name,), coalesce=name, countdown=self.rng.choice((None, 1)))
        with connection.cursor() as cursor:
            cursor.execute("UPDATE chaos_topic SET version = version + 1 WHERE topic = %s RETURNING version", [name])
            version = cursor.fetchone()[0]
        self.write("coalesced", key, run.id, name=name, version=version)
        if self.rng.random() < 0.1:
            raise Undone

    def fails_once(self, key: str) -> None:
        self.write("fails once", key, self.tasks.fails_once.delay(key).id)

    def stumbles(self, key: str) -> None:
        self.write("stumbles", key, self.tasks.stumbles_once.delay(key).id)

    def slow(self, key: str) -> None:
        self.write("slow", key, self.tasks.slow.delay(key, self.rng.uniform(2, 5)).id)

    def slices(self, key: str) -> None:
        self.write("slices", key, self.tasks.slices.delay(key, self.rng.randint(2, 4)).id)

    def parent(self, key: str) -> None:
        self.write("parent", key, self.tasks.parent.delay(key, f"{key}/child").id)
        self.write("child", f"{key}/child")

    def atomic_parent(self, key: str) -> None:
        self.write("atomic parent", key, self.tasks.atomic_parent.delay(key, f"{key}/child").id)
        self.write("child of atomic", f"{key}/child")

    def cancelled(self, key: str) -> None:
        from django.db import transaction

        way = self.rng.choice(("revoke", "ask"))
        if way == "revoke":
            run = self.tasks.keyed.apply_async((key,), countdown=self.rng.choice((0, 1, 3)))
        else:
            run = self.tasks.slow.delay(key, 2)
        self.write("cancelled", key, run.id)
        moment = time.monotonic() + self.rng.uniform(0, 2)
        transaction.on_commit(lambda: self.to_cancel.append((moment, way, run.id)))

    def undone(self, key: str) -> None:
        getattr(self, self.rng.choice(("plain", "many", "later", "chain", "atomic", "parent")))(key)
        raise Undone

    def half_undone(self, key: str) -> None:
        """Only what was asked for inside is undone."""
        from django.db import transaction

        self.plain(key)
        with transaction.atomic():
            self.atomic(f"{key}/inner")
            transaction.set_rollback(True)
        print("undone", f"{key}/inner", flush=True)

    # ---------------------------------------------------------------------------------------------------------------

    def cancel_some(self) -> None:
        from celery.result import AsyncResult
        from kombu.exceptions import OperationalError as BrokerError
        from redis.exceptions import RedisError

        from core.jobs import runs

        due = [one for one in self.to_cancel if one[0] <= time.monotonic()]
        for one in due:
            self.to_cancel.remove(one)
            _, way, run_id = one
            try:
                if way == "revoke":
                    AsyncResult(run_id).revoke()
                elif not runs.cancel([uuid.UUID(run_id)]):
                    runs.ask_to_cancel(uuid.UUID(run_id))
            except (BrokerError, RedisError, OSError) as error:  # the row has it; only the workers did not hear
                print("cancelled without Redis", type(error).__name__, flush=True)


def waiting() -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM jobs_taskrun WHERE ring_at IS NOT NULL")
        return int(cursor.fetchone()[0])


def main(name: str, seed: str, incarnation: str, a_second: str, form: str) -> None:
    django.setup()
    from django.db import DatabaseError, InterfaceError, connection

    asker = Asker(name, int(seed), int(incarnation), long=form == "long")
    look_at = 0.0
    print("asks", flush=True)
    while True:
        try:
            if time.monotonic() > look_at:
                look_at = time.monotonic() + 1
                while waiting() > MANY_WAITING:
                    time.sleep(0.2)
            began = time.monotonic()
            asker.ask()
            print(f"asked in {time.monotonic() - began:.3f} s", flush=True)
            asker.cancel_some()
        except (DatabaseError, InterfaceError) as error:
            print(f"not asked: {type(error).__name__}", flush=True)
            connection.close()
            time.sleep(0.2)
        time.sleep(1 / float(a_second))


if __name__ == "__main__":
    main(*sys.argv[1:])
