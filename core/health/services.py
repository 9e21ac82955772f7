"""Signs of life, and telling the admins when one is missing."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from django.db import connection, transaction

from core.health import selectors
from core.health.notices import ALL_WORKERS
from core.health.rules import GRACE_SECONDS, Kind
from core.jobs import sweeper
from core.jobs.services import enqueue

log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 10.0
WATCH_SECONDS = 15.0
FORGET_DAYS = 7
PATIENCE_SECONDS = 60.0
GAP_SECONDS = 25.0


def begin_beating(**_: Any) -> None:
    """From the moment a worker consumes, not from its start."""
    sweeper.register("heartbeat", every_seconds=HEARTBEAT_SECONDS, run=heartbeat, at_end=say_goodbye)
    sweeper.register("watch", every_seconds=WATCH_SECONDS, run=Watchman().sweep)


# --- signs of life -------------------------------------------------------------------------------------------------


_NOTE = """
WITH forgotten AS (
    DELETE FROM health_heartbeat
    WHERE seen_at < statement_timestamp() - make_interval(days => %(days)s) AND name <> ALL (%(names)s)
)
INSERT INTO health_heartbeat (name, kind, seen_at)
SELECT name, kind, statement_timestamp() FROM unnest(%(names)s::text[], %(kinds)s::text[]) AS alive(name, kind)
ON CONFLICT (name) DO UPDATE SET seen_at = EXCLUDED.seen_at, kind = EXCLUDED.kind, alarmed_at = NULL
"""


def heartbeat(worker: str) -> None:
    """A sign of life of this worker and of each sweep that it has done well lately."""
    sweeps = {f"sweep:{name}": Kind.SWEEP for name in sweeper.going_well(time.monotonic())}
    _note({worker: Kind.WORKER} | sweeps)


def beat(worker: str) -> None:
    """Note that a worker is alive."""
    beat_for([worker], Kind.WORKER)


def beat_for(names: Collection[str], kind: Kind) -> None:
    """Note that all of these are alive. Who was silent and told so may be told again."""
    _note(dict.fromkeys(names, kind))


def _note(alive: Mapping[str, Kind]) -> None:
    """In one statement, by the database's clock; who was not seen for a week is forgotten."""
    names = sorted(alive)  # in one order, so that two workers never wait for each other
    kinds = [alive[name].value for name in names]
    with connection.cursor() as cursor:
        cursor.execute(_NOTE, {"days": FORGET_DAYS, "names": names, "kinds": kinds})


def say_goodbye(name: str) -> None:
    """Who stops in order is not counted or missed any more. Who is killed is noticed by its silence."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM health_heartbeat WHERE name = %s", [name])


# --- noticing silence ----------------------------------------------------------------------------------------------

_UNTOLD = """
    SELECT name FROM health_heartbeat, unnest(%s::text[], %s::float8[]) AS grace(of_kind, seconds)
    WHERE of_kind = kind AND alarmed_at IS NULL AND seen_at < statement_timestamp() - make_interval(secs => seconds)
"""
_CLAIM = f"""
WITH silent AS ({_UNTOLD} ORDER BY name FOR UPDATE OF health_heartbeat SKIP LOCKED)
UPDATE health_heartbeat AS beat SET alarmed_at = statement_timestamp()
FROM silent WHERE beat.name = silent.name
RETURNING beat.name, beat.kind, beat.seen_at
"""  # noqa: S608 - constants only


def watch() -> list[dict[str, str]]:
    """Claim who has been silent for longer than its grace, and ask for one notice for each: its context.

    Safe in any number of processes at once: a silence is claimed once. While no worker is alive there is one notice
    that says so, in place of one for each worker and sweep.
    """
    graces: list[Any] = [[kind.value for kind in GRACE_SECONDS], list(GRACE_SECONDS.values())]
    with connection.cursor() as cursor:
        cursor.execute(_UNTOLD, graces)
        if cursor.fetchone() is None:
            return []
        with transaction.atomic():
            cursor.execute(_CLAIM, graces)
            return _ask_for_notices(sorted(cursor.fetchall()))


def _ask_for_notices(claimed: Sequence[tuple[str, str, datetime]]) -> list[dict[str, str]]:
    silent = [{"name": name, "kind": kind, "since": seen.isoformat()} for name, kind, seen in claimed]
    if any(each["kind"] != Kind.BEAT for each in silent) and not selectors.workers_alive():
        last = selectors.last_sign_of_work()
        everybody = {"name": ALL_WORKERS, "kind": Kind.WORKER.value, "since": last.isoformat()}
        silent = [everybody, *(each for each in silent if each["kind"] == Kind.BEAT)]
    for context in silent:
        log.error("process_silent", **context)
        enqueue("core.tasks.send_admin_notification", "process_silent", context)
    return silent


class Watchman:
    """Watches, but only after a minute in which it could watch without a gap.

    After a start, a sleep of the machine or a database that was away, everybody gets that time for a sign of life.
    """

    def __init__(self) -> None:
        self.last: float | None = None
        self.since = 0.0

    def sweep(self, _worker: str = "") -> None:
        self.watch()

    def watch(self) -> list[dict[str, str]]:
        now = time.time()  # unlike the monotonic clock it goes on while the machine sleeps
        last, self.last = self.last, None  # stays so when the look fails
        if last is None or not 0 <= now - last <= GAP_SECONDS:
            self.since = now
        silent = watch() if now - self.since >= PATIENCE_SECONDS else []
        self.last = now
        return silent
