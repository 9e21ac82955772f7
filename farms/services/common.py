"""What the services of farms share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Max, QuerySet, Sum

from accounts import selectors as people
from accounts.models import User
from accounts.policy import Action
from core import clock
from core.errors import InvalidInput, NotAllowed, NotFound
from core.jobs.services import enqueue_coalesced
from farms import rules, selectors
from farms.models import Farm
from farms.rules import FlockStatus

TICK = timedelta(microseconds=1)  # between two events of one moment, so that they keep their order


def number(sequence: str, prefix: str, digits: int) -> str:
    """The next number of a sequence (domain.md 1.3), drawn in the caller's transaction; gaps are allowed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval(%s)", [sequence])
        return f"{prefix}-{cursor.fetchone()[0]:0{digits}}"


def in_order(events: QuerySet[Any], now: datetime) -> datetime:
    """The time of a subject's next event or correction; its row is locked. `now` was read before that lock: of two acts
    at once the later one may carry the earlier moment, and yet its event is the newest.
    """
    last: datetime | None = events.aggregate(last=Max("at"))["last"]
    return now if last is None else max(now, last + TICK)


def day_of(moment: datetime) -> date:
    """The date in Accra."""
    return clock.accra(moment).date()


def checked_reason(text: str, longest: int = rules.LONGEST_REASON) -> str:
    """One line that says why. Raises InvalidInput."""
    reason = " ".join(text.split())
    if not 1 <= len(reason) <= longest or not reason.isprintable():
        raise InvalidInput(f"Give a reason of 1 to {longest} letters.")
    return reason


CHUNK = 5_000  # farms of one transaction: about half a second when all of them change, in which they are locked


@dataclass(frozen=True)
class Part:
    """Farms in the order of their ids: those after `after` up to `last`."""

    after: uuid.UUID
    last: uuid.UUID
    farms: int


def parts(farm_id: uuid.UUID | None, size: int = CHUNK) -> Iterator[Part]:
    """All farms in parts of at most `size`, or just the one. Raises NotFound for an unknown one."""
    if farm_id is not None:
        if not Farm.objects.filter(pk=farm_id).exists():
            raise NotFound("There is no such farm.")
        yield Part(uuid.UUID(int=farm_id.int - 1), farm_id, 1)
        return
    after = uuid.UUID(int=0)
    while found := _last_of_part(after, size):
        yield Part(after, *found)
        after = found[0]


def _last_of_part(after: uuid.UUID, size: int) -> tuple[uuid.UUID, int] | None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, place FROM (SELECT id, row_number() OVER (ORDER BY id) AS place FROM farms_farm"
            " WHERE id > %s ORDER BY id LIMIT %s) AS part ORDER BY place DESC LIMIT 1",
            [after, size],
        )
        found: tuple[uuid.UUID, int] | None = cursor.fetchone()
    return found


def farm_for(actor: User, farm_id: uuid.UUID, action: Action, *, lock: bool = True) -> Farm:
    """The farm, locked, if the actor may do this to it. Raises NotFound for a farm that the actor does not see, and
    NotAllowed.
    """
    rows = Farm.objects.select_related("constituency")
    farm = (rows.select_for_update(of=("self",), no_key=True) if lock else rows).filter(pk=farm_id).first()
    if farm is None or not people.may(actor, Action.SEE_FARM, selectors.subject(farm)):
        raise NotFound("There is no such farm, or not in your scope.")
    if not people.may(actor, action, selectors.subject(farm)):
        raise NotAllowed("Your role does not let you do this to this farm.")
    return farm


def birds_in(farm: Farm) -> int:
    """The birds of its active flocks. Under the lock of the farm none come in the meantime."""
    return farm.flocks.filter(status=FlockStatus.ACTIVE).aggregate(birds=Sum("current_count"))["birds"] or 0


def score(farm_id: uuid.UUID) -> None:
    """Have a farm scored anew after this transaction: one run for all changes that nobody has looked at yet."""
    enqueue_coalesced("farms.tasks.calculate_farm_scores", str(farm_id), str(farm_id))


def sync_places(farm_id: uuid.UUID) -> None:
    """Have the place of a farm's primary location copied after this transaction, as `score`."""
    enqueue_coalesced("farms.tasks.sync_farmer_locations", str(farm_id), str(farm_id))
