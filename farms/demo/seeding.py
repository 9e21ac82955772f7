"""Writing a whole country at once: `seed`."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from datetime import date, time, timedelta

from django.apps import apps
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Model

from accounts.models import User
from accounts.rules import Role
from core import clock
from core.base import figures
from core.errors import Conflict, InvalidInput
from farms import rules
from farms.demo import applicants, batches, country, flocks, ghana, sql, ways
from farms.demo.sql import Values
from farms.models import Farm, FarmAssignment
from farms.services import reviews

CHUNK = 10_000  # applicants of one statement
NEAT = 5_000  # of the first so many, a farm has a number in its name only where another has the name
MOST_FARMS = 5_000_000
LARGEST_SEED = 2**31 - 1
YEARS = timedelta(days=3 * 365)
LOCK = 7_110_002  # pg_advisory_xact_lock: one run at a time
PICTURE = "farm-documents/demonstration.png"


def seed(
    *, farms: int, days: int, seed: int, today: date, said: Callable[[str], None] = lambda _: None
) -> dict[str, int]:
    """Write so many farms with people, applications, batches, and so many days of production up to yesterday. Returns
    how many of each.

    All or nothing: one transaction. The same seed and day write the same rows into a new database. Demonstration people
    that are there get something to see. Scores are not calculated. Not safe to repeat: where there are farms it raises
    Conflict. Raises InvalidInput.
    """
    _check(farms, days, seed)
    with transaction.atomic():
        sql.run("SELECT pg_advisory_xact_lock(%(lock)s)", {"lock": LOCK})
        if Farm.objects.exists():
            raise Conflict(
                "There are farms in this database already. Seed an empty one: stop make run and call make clean."
            )
        # checks of foreign keys at the end of each statement, not all of them kept in memory until the commit
        sql.run("SET CONSTRAINTS ALL IMMEDIATE")
        sql.make_functions(seed=seed, today=today)
        values = _values(farms, days, today) | country.make_places(farms)
        officers = country.make_officers(values)
        for module in (ways, applicants, flocks, batches):
            module.make_table(values)
        others = max(applicants.FEWEST_OTHERS, farms // applicants.ONE_IN)
        _write_people(values, farms + others, said)
        recorded = flocks.write_days(values, said)
        alerts = flocks.write_consequences(values)
        batches.count_slots()
        _show_to_demonstration_people(values)
        _analyze()
    return {"farms": farms, "applications": farms + others, "officers": officers, "days": recorded, "alerts": alerts}


def _check(farms: int, days: int, seed: int) -> None:
    if not 1 <= farms <= MOST_FARMS:
        raise InvalidInput(f"farms must be 1 to {MOST_FARMS:,}.")
    if not 0 <= days <= flocks.MOST_DAYS:
        raise InvalidInput(f"days must be 0 to {flocks.MOST_DAYS}: a flock is not kept for longer.")
    if not 0 <= seed <= LARGEST_SEED:
        raise InvalidInput(f"seed must be 0 to {LARGEST_SEED:,}.")


def _values(farms: int, days: int, today: date) -> Values:
    """What every statement may ask for."""
    [changes_days] = figures.read(figures.CHANGES_DAYS)
    daily, critical, weekly = figures.read(
        figures.MORTALITY_DAILY, figures.MORTALITY_DAILY_CRITICAL, figures.MORTALITY_WEEKLY
    )
    return {
        "farms": farms,
        "days": days,
        "today": today,
        "midnight": clock.at(today, time()),
        "began": clock.at(today - YEARS, time()),
        "span": (YEARS - applicants.NEWEST).days,
        "neat": NEAT,
        "farm_words": list(ghana.FARM_WORDS),
        "quarters": list(ghana.QUARTERS),
        "layers": list(ghana.LAYERS),
        "broilers": list(ghana.BROILERS),
        "picture": _picture(),
        "changes_days": changes_days,
        "sla": json.dumps({level: figures.read(figure)[0] for level, figure in reviews.SLA.items()}),
        "daily": daily,
        "critical": critical,
        "weekly": weekly,
        "many_died": rules.MANY_DIED,
        "inspect_within": rules.INSPECT_WITHIN,
        **_demo_farmer(),
    }


def _demo_farmer() -> Values:
    """The farmer of accounts demo_data, if there."""
    person = User.objects.filter(is_demo=True, role=Role.FARMER, farm__isnull=True).order_by("username").first()
    return {
        "demo_farmer": person.pk if person else None,
        "demo_phone": person.phone if person else "",
        "demo_first": person.first_name if person else "",
        "demo_last": person.last_name if person else "",
        "demo_language": person.language if person else "",
    }


def _picture() -> str:
    """The file that all documents show: a green square. It may stay when nothing else does."""
    if not default_storage.exists(PICTURE):
        default_storage.save(PICTURE, ContentFile(_png(64, (0, 107, 63))))
    return PICTURE


def _png(side: int, colour: tuple[int, int, int]) -> bytes:
    def piece(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    lines = (b"\0" + bytes(colour) * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + piece(b"IHDR", head) + piece(b"IDAT", zlib.compress(lines)) + piece(b"IEND", b"")


def _write_people(values: Values, count: int, said: Callable[[str], None]) -> None:
    for first in range(1, count + 1, CHUNK):
        last = min(first + CHUNK - 1, count)
        part = values | {"first": first, "last": last}
        applicants.draw(part)
        applicants.write(part)
        flocks.write(part)
        batches.write(part)
        if first == 1 and last < count:
            _analyze()
        said(f"{last:,} of {count:,} applicants, with their farms")


def _show_to_demonstration_people(values: Values) -> None:
    """Farms in Bantama to the extension officer, in Ho to the YEA official. The others see what lies in their area."""
    sql.run(
        "UPDATE farms_farm SET extension_officer_id = person.id FROM accounts_user AS person"
        " WHERE person.username = 'extension_officer' AND person.is_demo"
        " AND farms_farm.id IN (SELECT pg_temp.id('farm', n) FROM generate_series(2, 9) AS n)"
    )
    sql.insert(
        FarmAssignment,
        "accounts_user AS person CROSS JOIN generate_series(10, least(13, %(farms)s)) AS n"
        " WHERE person.username = 'yea_official' AND person.is_demo",
        values,
        made="%(midnight)s",
        id="pg_temp.id('assignment of the demonstration', n)",
        farm_id="pg_temp.id('farm', n)",
        officer_id="person.id",
    )


def _analyze() -> None:
    """So that checks of keys and whoever reads next know how large the tables are."""
    written: list[type[Model]] = [User, *apps.get_app_config("farms").get_models()]
    sql.run(f"ANALYZE {', '.join(model._meta.db_table for model in written)}")
