# mypy: disable-error-code="import-untyped"
"""Farms: the nightly work on all of them, daily records in bulk, and the lists of officers."""

from __future__ import annotations

import os
import random
import statistics
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

from bench.report import Report, ratio, spread
from bench.scale import Beside
from bench.sending import Memory
from bench.system import System, sql, wait_for, wait_for_worker

SEED = 1
BARE_BOUND, AGAIN_BOUND, MEMORY_MB, BLOCKED_MS = 1.3, 0.5, 150, 1000
BULK_TIMES, PAGE_MS = 20, 100
ALL: dict[str, Any] = {"after": uuid.UUID(int=0), "last": uuid.UUID(int=2**128 - 1), "farms": 2**31}
HEADINGS = ("farms", "what", "seconds", "farms/s", "beside the statement", "bound")


def _sizes(system: System) -> list[int]:
    return [10_000, 100_000, *([1_000_000] if system.long else [])]


@contextmanager
def _country(system: System, farms: int, report: Report) -> Iterator[None]:
    """A database with so many demonstration farms and no days of production; it stays until the run is over."""
    from django.db import connection

    name, first = f"bench_{farms}", connection.settings_dict["NAME"]
    known = sql("SELECT 1 FROM pg_database WHERE datname = %s", name)
    if not known:
        connection.close()
        _elsewhere(connection, "postgres")
        sql(f"CREATE DATABASE {name} TEMPLATE {first}")
    _elsewhere(connection, name)
    url, os.environ["DATABASE_URL"] = os.environ["DATABASE_URL"], _address(system, name)
    if not known:
        _seed(system, farms, report)
    system.client().flushall()
    try:
        yield
    finally:
        os.environ["DATABASE_URL"] = url
        _elsewhere(connection, first)


def _elsewhere(connection: Any, name: str) -> None:
    connection.close()
    connection.settings_dict["NAME"] = name


def _address(system: System, name: str) -> str:
    return f"{system.postgres.url.rpartition('/')[0]}/{name}"


def _seed(system: System, farms: int, report: Report) -> None:
    from django.test import override_settings

    from farms.demo.seeding import seed

    began = time.perf_counter()
    with override_settings(MEDIA_ROOT=str(system.base / "files")):
        written = seed(farms=farms, days=0, seed=SEED, today=_today())
    report.say(f"{farms:,} farms, {written['applications']:,} applications: in {time.perf_counter() - began:.0f} s.")


def _today() -> date:
    from core import clock

    return clock.accra(clock.now()).date()


# --- the work of a night -------------------------------------------------------------------------------------------

Work = Callable[[], object]


def scores(system: System, report: Report) -> None:
    """`calculate_farm_scores` over all farms, none of which has scores before a round, beside the same SQL as one
    statement for all of them, and beside a loop with the ORM over some, multiplied up; in turns. Tables are vacuumed
    and written to the disk before each. Then again with nothing to change; and beside somebody who writes a farm here
    and there, whose longest wait is told. Memory is the growth of a worker's process that does the task."""
    from django.db import connection

    from farms import rules
    from farms.services import scores as service

    known: dict[str, Any] = {"day": _today(), "version": rules.SCORE_VERSION, "kinds": len(service._DOCUMENTS)}

    def in_one() -> None:
        with connection.cursor() as cursor:
            cursor.execute(service.SCORE, ALL | known)

    def reset() -> None:
        sql("UPDATE farms_farm SET biosecurity_score = 0, readiness_score = 0, score_version = 0")
        sql("TRUNCATE farms_farmscore")

    _night(
        system,
        report,
        task="farms.tasks.calculate_farm_scores",
        ours=lambda: service.calculate(day=_today()),
        in_one=in_one,
        loop=_score_one_by_one,
        reset=reset,
        written=("farms_farm", "farms_farmscore"),
    )


def places(system: System, report: Report) -> None:
    """The same for `sync_farmer_locations`: the district of every farmer has been lost, and of a hundred farms three
    have moved."""
    from django.db import connection

    from farms.services import places as service

    def in_one() -> None:
        with connection.cursor() as cursor:
            cursor.execute(service.SYNC, ALL)

    def reset() -> None:
        sql("CREATE TABLE IF NOT EXISTS bench_places AS SELECT id, constituency_id FROM farms_farm")
        sql(
            "UPDATE farms_farm AS farm SET constituency_id = first.constituency_id FROM bench_places AS first"
            " WHERE first.id = farm.id AND first.constituency_id <> farm.constituency_id"
        )
        sql("UPDATE accounts_user SET district_id = NULL WHERE role = 'FARMER'")

    _night(
        system,
        report,
        task="farms.tasks.sync_farmer_locations",
        ours=service.sync_locations,
        in_one=in_one,
        loop=_place_one_by_one,
        reset=reset,
        written=("farms_farm", "accounts_user"),
    )


def _night(
    system: System,
    report: Report,
    *,
    task: str,
    ours: Work,
    in_one: Work,
    loop: Callable[[int], object],
    reset: Work,
    written: tuple[str, ...],
) -> None:
    sample = 2_000 if system.long else 500
    rows, others = [], []
    for farms in _sizes(system):
        rounds = 2 if farms == 1_000_000 else 4
        with _country(system, farms, report):
            found = _in_turns({"the task": ours, "one statement": in_one}, rounds, reset, written)
            again = []
            before = _writes(written)
            for _ in range(rounds):  # the task was the last to run
                began = time.perf_counter()
                ours()
                again.append(time.perf_counter() - began)
            changed = _writes(written) - before
            found |= _in_turns({"ORM loop": lambda: loop(sample)}, 1, reset, written)
            bare = statistics.median(found["one statement"])
            found["ORM loop"] = [seconds * farms / sample for seconds in found["ORM loop"]]
            for name, bound in (("the task", BARE_BOUND), ("one statement", None), ("ORM loop", None)):
                median = statistics.median(found[name])
                kept = ratio(median / bare, bound) if bound else (f"{median / bare:.2f}", "")
                rows.append((f"{farms:,}", name, spread(found[name]), f"{farms / median:,.0f}", *kept))
            median = statistics.median(again)
            kept = ratio(median / statistics.median(found["the task"]), AGAIN_BOUND)
            rows.append(
                (
                    f"{farms:,}",
                    "nothing to do",
                    spread(again),
                    f"{farms / median:,.0f}",
                    f"{kept[0]} of the task",
                    kept[1],
                )
            )
            waited = _waited(ours, reset, written)
            grown = _memory(system, task, reset, written)
            others.append(
                (
                    *(f"{farms:,}", f"{changed}: {'yes' if changed == 0 else 'NO'}"),
                    f"{waited:.0f} ms: {'yes' if waited < BLOCKED_MS else 'NO'}",
                    f"{grown:.0f} MB: {'yes' if grown < MEMORY_MB else 'NO'}",
                )
            )
    report.say(f"4 rounds, 2 of a million farms; the ORM loop once, over {sample:,} farms, multiplied up.")
    report.table(HEADINGS, rows)
    report.table(
        (
            *("farms", "rows written with nothing to do: 0"),
            f"longest wait of another writer: < {BLOCKED_MS} ms",
            f"memory of the worker: < {MEMORY_MB} MB more",
        ),
        others,
    )


def _in_turns(works: Mapping[str, Work], rounds: int, reset: Work, written: tuple[str, ...]) -> dict[str, list[float]]:
    """Seconds of each, each round in another order, each from the same state."""
    found: dict[str, list[float]] = defaultdict(list)
    names = list(works)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            _settle(reset, written)
            began = time.perf_counter()
            works[name]()
            found[name].append(time.perf_counter() - began)
    return found


def _settle(reset: Work, written: tuple[str, ...]) -> None:
    """As it was before a round, with no dead rows and nothing that is still to be written to the disk."""
    reset()
    sql(f"VACUUM ANALYZE {', '.join(written)}")
    sql("CHECKPOINT")


def _writes(tables: tuple[str, ...]) -> int:
    """How many rows of them have been written since the server began."""
    sql("SELECT pg_stat_force_next_flush()")
    return int(
        sql(
            "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables WHERE relname = ANY (%s)",
            list(tables),
        )[0][0]
    )


class _Writer(Beside):
    """Somebody who writes a farm and its farmer here and there, about a hundred times a second; each is timed."""

    def __init__(self) -> None:
        super().__init__()
        self.farms = sql("SELECT id, user_id FROM farms_farm ORDER BY random() LIMIT 2000")

    def once(self) -> list[float]:
        farm, person = random.choice(self.farms)
        began = time.perf_counter()
        sql("UPDATE farms_farm SET updated_at = now() WHERE id = %s", farm)
        sql("UPDATE accounts_user SET updated_at = now() WHERE id = %s", person)
        return [(time.perf_counter() - began) * 1000]


def _waited(work: Work, reset: Work, written: tuple[str, ...]) -> float:
    """The longest wait of the writer in milliseconds."""
    _settle(reset, written)
    with _Writer() as waits:
        work()
    return max(waits)


def _memory(system: System, task: str, reset: Work, written: tuple[str, ...]) -> float:
    """By how many MB the worst process of a worker grows over what it has when it is idle and warm."""
    from core.jobs.models import TaskRun
    from core.jobs.services import enqueue

    def ended(run_id: str) -> bool:
        memory.look()
        return TaskRun.objects.get(pk=run_id).state in ("succeeded", "failed")

    _settle(reset, written)
    system.client().flushall()
    with system.worker("worker", "-c", "1") as worker:
        wait_for_worker(system)
        memory = Memory([worker])
        for farm in (str(sql("SELECT id FROM farms_farm LIMIT 1")[0][0]), None):
            run_id = enqueue(task, *([farm] if farm else [])).id
            wait_for(task, lambda run_id=run_id: ended(run_id), 1800, every=0.1)  # type: ignore[misc]
            if TaskRun.objects.get(pk=run_id).state != "succeeded":
                raise SystemExit(f"{task}: {TaskRun.objects.get(pk=run_id).error_text}")
            if farm:
                memory = Memory([worker])
        return memory.growth


def _score_one_by_one(count: int) -> None:
    """As a loop over farms would do it: four queries and two writes each, in a transaction of its own."""
    from django.db import transaction

    from farms import rules
    from farms.models import Biosecurity, Farm, FarmScore

    for farm in Farm.objects.filter(farm_status="active").order_by("pk")[:count]:
        with transaction.atomic():
            measures = Biosecurity.objects.get(farm=farm)
            safety = rules.biosecurity_score(sum(getattr(measures, name) for name in rules.MEASURES))
            pieces = [piece for piece in farm.infrastructure.all() if piece.status == "operational"]
            houses = [piece for piece in pieces if piece.infrastructure_type == "accommodation"]
            kinds = {piece.infrastructure_type for piece in pieces}
            documents = set(farm.documents.values_list("kind", flat=True))
            parts = rules.readiness_parts(
                rules.Equipment(
                    capacity=farm.total_bird_capacity,
                    sound_places=sum(house.bird_capacity for house in houses if house.condition in rules.SOUND),
                    all_places=sum(house.bird_capacity for house in houses),
                    feeders_drinkers="feeders_drinkers" in kinds,
                    water=any(piece.infrastructure_type == "water_system" and piece.year_round for piece in pieces),
                    power="power_supply" in kinds,
                    storage="storage" in kinds,
                    waste="waste_management" in kinds,
                    documents={rules.DocumentKind.GHANA_CARD, *rules.PHOTOS} <= documents,
                ),
                safety,
            )
            farm.biosecurity_score, farm.readiness_score = safety, sum(parts.values())
            farm.score_version = rules.SCORE_VERSION
            farm.save(update_fields=["biosecurity_score", "readiness_score", "score_version", "updated_at"])
            FarmScore.objects.update_or_create(
                farm=farm,
                day=_today(),
                formula_version=rules.SCORE_VERSION,
                defaults={
                    "readiness": farm.readiness_score,
                    "biosecurity": safety,
                    "parts": {name: str(points) for name, points in parts.items()},
                },
            )


def _place_one_by_one(count: int) -> None:
    from django.db import transaction

    from farms.models import Farm, FarmLocation

    found = FarmLocation.objects.filter(is_primary=True).select_related("farm__user").order_by("farm_id")
    for place in found[:count]:
        with transaction.atomic():
            farm, person = place.farm, place.farm.user
            person.region_id, person.district_id, person.constituency_id = (
                place.region_id,
                place.district_id,
                place.constituency_id,
            )
            person.save(update_fields=["region", "district", "constituency", "updated_at"])
            there = Farm.objects.filter(constituency=place.constituency_id, farm_name__iexact=farm.farm_name)
            if farm.constituency_id != place.constituency_id and not there.exists():
                farm.constituency_id = place.constituency_id
                farm.save(update_fields=["constituency", "updated_at"])


# --- daily records -------------------------------------------------------------------------------------------------


def intake(system: System, report: Report) -> None:
    """Daily records of an extension officer for twenty flocks, with the service in this process: 1,000 in one call of
    `record_days`, beside 200 of them in a call of `record_day` each; records a second, in turns."""
    from accounts.models import User
    from core import clock
    from farms.services import production
    from farms.services.production import DayRecord

    rounds, flocks, days, single = 5, 20, 50, 200
    found: dict[str, list[float]] = defaultdict(list)
    with _country(system, _sizes(system)[-1], report):
        [(officer,)] = sql(
            "SELECT extension_officer_id FROM farms_farm WHERE extension_officer_id IS NOT NULL GROUP BY 1"
            " ORDER BY count(*) DESC, 1 LIMIT 1"
        )
        actor = User.objects.get(pk=officer)
        ids = [
            flock
            for (flock,) in sql(
                "SELECT id FROM farms_flock WHERE status = 'active' AND arrival_date < %s ORDER BY id LIMIT %s",
                *(_today() - timedelta(days=days), flocks),
            )
        ]
        sql(
            "UPDATE farms_farm SET extension_officer_id = %s WHERE id IN"
            " (SELECT farm_id FROM farms_flock WHERE id = ANY (%s))",
            *(officer, ids),
        )
        records = [
            DayRecord(
                flock_id=flock,
                production_date=_today() - timedelta(days=number),
                good_eggs=300,
                feed_consumed_kg=Decimal("52.8"),
            )
            for number in range(days, 0, -1)
            for flock in ids
        ]

        def at_once() -> int:
            return sum(one.is_new for one in production.record_days(actor=actor, records=records, now=clock.now()))

        def one_by_one() -> int:
            return sum(
                production.record_day(actor=actor, record=record, now=clock.now()).is_new
                for record in islice(records, single)
            )

        for number in range(rounds + 1):
            for work, expected in [(at_once, flocks * days), (one_by_one, single)][:: 1 if number % 2 else -1]:
                sql("DELETE FROM farms_dailyproduction WHERE flock_id = ANY (%s)", ids)
                sql("VACUUM ANALYZE farms_dailyproduction, farms_flock")
                began = time.perf_counter()
                kept = work()
                taken = time.perf_counter() - began
                if kept != expected:
                    raise SystemExit(f"{kept} of {expected} records were kept")
                if number:  # the first round warms up
                    found[work.__name__].append(expected / taken)
        sql("DELETE FROM farms_dailyproduction WHERE flock_id = ANY (%s)", ids)
    times = statistics.median(found["at_once"]) / statistics.median(found["one_by_one"])
    report.table(
        ("what", "records/s", "times", "bound"),
        [
            ("a call each", spread(found["one_by_one"], 0), "1.00", ""),
            ("1,000 in a call", spread(found["at_once"], 0), *ratio(times, BULK_TIMES, at_least=True)),
        ],
    )


# --- lists ---------------------------------------------------------------------------------------------------------


def farm_lists(system: System, report: Report) -> None:
    """First pages (50 rows) of the lists as the selectors give them, in this process: for the admin of the nation, of
    Ashanti and of Bantama. Milliseconds with all rows read, and how many queries; at each size."""
    rows = []
    counts: dict[tuple[str, str], list[int]] = defaultdict(list)
    for farms in _sizes(system):
        with _country(system, farms, report):
            for who, what, page in _pages():
                count, times = _read(page, 60 if system.long else 40)
                counts[who, what].append(count)
                p95 = statistics.quantiles(times, n=20)[-1]
                rows.append(
                    (
                        *(f"{farms:,}", who, what, f"{statistics.median(times):.1f}", f"{p95:.1f}"),
                        f"p95 < {PAGE_MS} ms: {'yes' if p95 < PAGE_MS else 'NO'}",
                        f"{count}{'' if len(set(counts[who, what])) == 1 else ': NOT the same'}",
                    )
                )
    report.table(("farms", "who", "list", "p50 ms", "p95 ms", "bound", "queries"), rows)


def _pages() -> Iterator[tuple[str, str, Callable[[], list[Any]]]]:
    from accounts.models import User
    from core import clock
    from farms import selectors
    from farms.rules import ReviewLevel

    levels = {
        ReviewLevel.NATIONAL: User.objects.get(role="NATIONAL_ADMIN"),
        ReviewLevel.REGIONAL: User.objects.get(role="REGIONAL_ADMIN", region__code="AH"),
        ReviewLevel.CONSTITUENCY: User.objects.get(role="CONSTITUENCY_ADMIN", constituency__code="BNT"),
    }
    for level, user in levels.items():
        by = "farm_number" if level == ReviewLevel.NATIONAL else selectors.BY_NUMBER  # as the API orders them
        farms = selectors.farms_in_scope(user).select_related("constituency__region").order_by(by)
        applications = selectors.applications_in_scope(user).select_related("constituency", "region")
        enrollments = selectors.enrollments_in_scope(user).select_related("farm__constituency", "batch")
        lists: dict[str, Any] = {
            "farms": farms,
            "applications": applications.order_by("-application_number"),
            "applications to review": selectors.applications_to_review(user, level, now=clock.now()),
            "enrolments": enrollments.order_by("id"),
            "enrolments to review": selectors.enrollments_to_review(user, level),
        }
        for what, rows in lists.items():
            yield level.value, what, lambda rows=rows: list(rows.all()[:50])  # type: ignore[misc]


def _read(page: Callable[[], list[Any]], rounds: int) -> tuple[int, list[float]]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as seen:
        page()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        page()
        times.append((time.perf_counter() - began) * 1000)
    return len(seen), times
