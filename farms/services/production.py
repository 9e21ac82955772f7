"""Flocks and what happens to them day by day (domain.md 4.2.7, 5.7).

A flock's row is locked while its days are written, and current_count kept with them. Because birds never come back, a
day has enough birds at its start, and every later day too, exactly when the whole flock loses no more than came.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db import transaction
from django.db.models import Max

from accounts import policy
from accounts import selectors as people
from accounts.models import User
from accounts.policy import Action
from core.base import cleaning, figures
from core.base import services as base
from core.errors import Conflict, DomainError, InvalidInput, NotAllowed, NotFound
from core.jobs.services import enqueue_many
from farms import rules, selectors
from farms.models import Alert, DailyProduction, Flock, MortalityRecord, ProductionCorrection
from farms.rules import Act, AlertStatus, Cause, FlockStatus, FlockType, Health
from farms.services.common import birds_in, checked_reason, day_of, farm_for, in_order

EGGS = ("good_eggs", "broken_eggs", "dirty_eggs", "small_eggs", "soft_shell_eggs")
LOSSES = ("birds_died", "birds_sold", "birds_culled")
LARGEST_COUNT = 2_147_483_647
MOST_FEED = Decimal("999999.99")
CHUNK = 1_000  # rows of one INSERT
NO_FLOCK = "There is no such flock, or not in your scope."
NOT_THIS_FARM = "Your role does not let you do this to this farm."


# --- flocks --------------------------------------------------------------------------------------------------------


@transaction.atomic
def add_flock(
    *,
    actor: User,
    farm_id: uuid.UUID,
    flock_type: FlockType,
    arrival_date: date,
    initial_count: int,
    now: datetime,
    breed: str = "",
    age_at_arrival_weeks: int = 0,
) -> Flock:
    """Write down birds that came; the number follows the farm's last one. Not safe to repeat: each call is a flock.

    Raises NotFound, NotAllowed, InvalidInput, and Conflict when the farm has no room for so many.
    """
    farm = farm_for(actor, farm_id, Action.RECORD_PRODUCTION)
    if arrival_date > day_of(now):
        raise InvalidInput("arrival_date: These birds have not come yet. Enter them on the day they do.")
    if arrival_date < rules.FIRST_ARRIVAL:
        raise InvalidInput(f"arrival_date: No bird is so old. Give a day from {rules.FIRST_ARRIVAL} on.")
    last = farm.flocks.aggregate(last=Max("flock_number"))["last"] or 0
    flock = Flock(
        farm=farm,
        flock_number=last + 1,
        flock_type=flock_type,
        breed=" ".join(breed.split()),
        arrival_date=arrival_date,
        age_at_arrival_weeks=age_at_arrival_weeks,
        initial_count=initial_count,
        current_count=initial_count,
    )
    cleaning.check(flock)
    birds = birds_in(farm)
    if birds + initial_count > farm.total_bird_capacity:
        raise Conflict(
            f"The farm has room for {farm.total_bird_capacity} birds and {birds} are there: at most"
            f" {max(0, farm.total_bird_capacity - birds)} can be added."
        )
    flock.save(force_insert=True)
    return flock


@transaction.atomic
def end_flock(*, actor: User, flock_id: uuid.UUID, how: FlockStatus, on: date, now: datetime) -> Flock:
    """Say that a flock has gone: sold, culled or depleted. Nothing is recorded of later days.

    Raises NotFound, NotAllowed, Conflict, and InvalidInput for a day before its arrival or its last record, or to come.
    """
    flock = flock_for(actor, flock_id, Action.RECORD_PRODUCTION)
    if how not in rules.FLOCK_ENDS:
        raise InvalidInput(f"A flock ends as one of: {', '.join(rules.FLOCK_ENDS)}.")
    act, before = rules.FLOCK_ENDS[how], FlockStatus(flock.status)
    flock.status = rules.following(rules.FLOCK, before, act, what="flock")
    last = flock.days.aggregate(last=Max("production_date"))["last"] or flock.arrival_date
    if not last <= on <= day_of(now):
        raise InvalidInput(f"on: A flock ends on its last recorded day ({last:%-d %b %Y}) or later, and not in future.")
    flock.ended_on, flock.left_at_end, flock.current_count = on, flock.current_count, 0
    flock.save(update_fields=["status", "ended_on", "left_at_end", "current_count", "updated_at"])
    base.record(
        action=f"flock.{act.name.lower()}",
        subject=("flock", str(flock.pk)),
        actor_id=actor.pk,
        before={"status": before, "current_count": flock.left_at_end},
        after={"status": flock.status, "current_count": 0, "ended_on": on},
    )
    return flock


def flock_for(actor: User, flock_id: uuid.UUID, action: Action, *, lock: bool = True) -> Flock:
    """The flock, locked, if the actor may do this to its farm. Raises NotFound for one that the actor does not see, and
    NotAllowed.
    """
    rows = Flock.objects.select_related("farm__constituency")
    flock = (rows.select_for_update(of=("self",), no_key=True) if lock else rows).filter(pk=flock_id).first()
    if flock is None or not people.may(actor, Action.SEE_FARM, selectors.subject(flock.farm)):
        raise NotFound(NO_FLOCK)
    if not people.may(actor, action, selectors.subject(flock.farm)):
        raise NotAllowed(NOT_THIS_FARM)
    return flock


def _refusals(actor: User, flocks: Iterable[Flock]) -> dict[uuid.UUID, DomainError | None]:
    """Why the actor may not record for a flock, None when that is allowed; all farms are asked about at once."""
    of = {flock.pk: flock.farm_id for flock in flocks}
    seen = set(selectors.farms_in_scope(actor).filter(pk__in=set(of.values())).values_list("pk", flat=True))
    # whose farms one sees and whose one records for is decided alike, by place or by name
    may = policy.is_open(people.person(actor), Action.RECORD_PRODUCTION)
    return {
        flock_id: NotFound(NO_FLOCK) if farm_id not in seen else None if may else NotAllowed(NOT_THIS_FARM)
        for flock_id, farm_id in of.items()
    }


# --- days ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DayRecord:
    """What somebody reports of a flock and day. `eggs_collected` may be left out: it is the sum of the five counts."""

    flock_id: uuid.UUID
    production_date: date
    good_eggs: int = 0
    broken_eggs: int = 0
    dirty_eggs: int = 0
    small_eggs: int = 0
    soft_shell_eggs: int = 0
    eggs_collected: int | None = None
    birds_died: int = 0
    birds_sold: int = 0
    birds_culled: int = 0
    mortality_reason: str = ""
    feed_consumed_kg: Decimal = Decimal(0)
    general_health: str = ""
    signs_of_disease: bool = False

    @property
    def losses(self) -> int:
        return self.birds_died + self.birds_sold + self.birds_culled

    @property
    def eggs(self) -> int:
        return sum(getattr(self, name) for name in EGGS)


VALUES = tuple(
    one.name for one in fields(DayRecord) if one.name not in ("flock_id", "production_date", "eggs_collected")
)


@dataclass(frozen=True)
class Outcome:
    """What became of a report: the kept row (`is_new` unless it was there already, the same), or why it was refused."""

    kept: DailyProduction | None = None
    is_new: bool = False
    refused: DomainError | None = None


def record_day(*, actor: User, record: DayRecord, now: datetime) -> Outcome:
    """Write one day of a flock. Safe to repeat: the key is flock and day, and the same report again changes nothing,
    also when the day was corrected in between.

    Raises NotFound, NotAllowed, InvalidInput, and Conflict when the day was recorded otherwise, more birds are gone
    than there were, or the flock had ended.
    """
    [outcome] = record_days(actor=actor, records=[record], now=now)
    if outcome.refused:
        raise outcome.refused
    return outcome


@transaction.atomic
def record_days(*, actor: User, records: Sequence[DayRecord], now: datetime) -> list[Outcome]:
    """Write many days at once in a fixed number of statements. Each is judged by itself: good ones are kept, the others
    come back with the reason, in the order given. Safe to repeat, as `record_day`.
    """
    flocks = _locked({record.flock_id for record in records})
    refusals = _refusals(actor, flocks.values())
    known = _known(records)
    corrected = _corrected(known.values())
    today = day_of(now)
    outcomes: list[Outcome] = []
    new: list[DailyProduction] = []
    for given in records:
        try:
            if given.flock_id not in flocks or refusals[given.flock_id]:
                raise refusals.get(given.flock_id) or NotFound(NO_FLOCK)
            record, flock = checked(given), flocks[given.flock_id]
            row = known.get((flock.pk, record.production_date))
            if row is None:
                _check_day(flock, record.production_date, today)
                _take(flock, record.losses)
            elif not _same(row, record) and not _repeats(record, row, corrected.get(row.pk, {})):
                raise Conflict("This day of the flock is recorded already, with other figures. Correct the record.")
        except DomainError as refused:
            outcomes.append(Outcome(refused=refused))
            continue
        if row is None:
            new.append(row := _row(record, actor))
            known[flock.pk, record.production_date] = row
            outcomes.append(Outcome(row, is_new=True))
        else:
            outcomes.append(Outcome(row))
    DailyProduction.objects.bulk_create(new, batch_size=CHUNK)
    _after(flocks, new, now)
    return outcomes


@transaction.atomic
def correct_day(
    *, actor: User, production_id: uuid.UUID, record: DayRecord, reason: str, now: datetime
) -> DailyProduction:
    """Say anew what happened on a recorded day; what it said before is kept. Flock and day stay as they are.

    Safe to repeat: figures that are in force already write nothing. Raises NotFound, NotAllowed, InvalidInput,
    Conflict.
    """
    because = checked_reason(reason)
    row = DailyProduction.objects.filter(pk=production_id).first()
    if row is None:
        raise NotFound("There is no such record, or not in your scope.")
    flock = flock_for(actor, row.flock_id, Action.RECORD_PRODUCTION)
    row.refresh_from_db()
    new = checked(replace(record, flock_id=row.flock_id, production_date=row.production_date))
    if _same(row, new):
        return row
    _take(flock, new.losses - _losses(row))
    changed = [name for name in VALUES if getattr(row, name) != getattr(new, name)]
    before, after = ({name: _plain(getattr(one, name)) for name in changed} for one in (row, new))
    for name in changed:
        setattr(row, name, getattr(new, name))
    row.eggs_collected = new.eggs
    row.save(update_fields=[*changed, "eggs_collected", "updated_at"])
    ProductionCorrection.objects.create(
        production=row,
        corrected_by=actor,
        reason=because,
        before=before,
        after=after,
        at=in_order(row.corrections.all(), now),
    )
    _after({flock.pk: flock}, [row], now)
    return row


def checked(record: DayRecord) -> DayRecord:
    """The record in its stored form. Raises InvalidInput for what cannot be."""
    for name in (*EGGS, *LOSSES):
        value = getattr(record, name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_COUNT:
            raise InvalidInput(f"{name} must be a whole number, 0 or more.")
    if record.eggs > LARGEST_COUNT or record.losses > LARGEST_COUNT:
        raise InvalidInput("These are more eggs or birds than any flock has.")
    if record.eggs_collected is not None and record.eggs_collected != record.eggs:
        raise InvalidInput(
            f"eggs_collected is {record.eggs_collected}, and the five egg counts add up to {record.eggs}."
            " Correct them, or leave eggs_collected out."
        )
    if record.mortality_reason not in ("", *Cause.values):
        raise InvalidInput(f"mortality_reason must be empty or one of: {', '.join(Cause.values)}.")
    if record.general_health not in ("", *Health.values):
        raise InvalidInput(f"general_health must be empty or one of: {', '.join(Health.values)}.")
    if not isinstance(record.signs_of_disease, bool):
        raise InvalidInput("signs_of_disease must be true or false.")
    return replace(record, feed_consumed_kg=_feed(record.feed_consumed_kg))


def _feed(value: object) -> Decimal:
    try:
        kilos = Decimal(str(value))
        fits = 0 <= kilos <= MOST_FEED and kilos == kilos.quantize(rules.CENT)
    except InvalidOperation:
        fits = False
    if not fits:
        raise InvalidInput(f"feed_consumed_kg must be 0 to {MOST_FEED} kg, with two decimals at most.")
    return kilos.quantize(rules.CENT)


def _check_day(flock: Flock, day: date, today: date) -> None:
    if day > today:
        raise InvalidInput("production_date lies in the future.")
    if day < flock.arrival_date:
        raise InvalidInput(f"production_date: The flock came later, on {flock.arrival_date:%-d %b %Y}.")
    if flock.ended_on and day > flock.ended_on:
        raise Conflict(f"The flock ended on {flock.ended_on:%-d %b %Y}: nothing is recorded after that.")


def _take(flock: Flock, birds: int) -> None:
    """Take so many birds out of the flock, or put them back; the row is locked and saved later."""
    source = "current_count" if flock.status == FlockStatus.ACTIVE else "left_at_end"
    left = getattr(flock, source)
    if birds > left:
        raise Conflict(f"More birds would have died, been sold or culled than there were: at most {left} more can be.")
    setattr(flock, source, left - birds)


def _locked(flock_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Flock]:
    rows = Flock.objects.select_for_update(of=("self",), no_key=True).select_related("farm__constituency")
    return {flock.pk: flock for flock in rows.filter(pk__in=flock_ids).order_by("pk")}


def _known(records: Sequence[DayRecord]) -> dict[tuple[uuid.UUID, date], DailyProduction]:
    """What is recorded already of these flocks and days. By pairs: with a range, one wrong date would read years."""
    pairs = {(record.flock_id, record.production_date) for record in records}
    flocks, days = [flock for flock, _ in pairs], [day for _, day in pairs]
    rows = DailyProduction.objects.raw(
        "SELECT recorded.* FROM unnest(%s::uuid[], %s::date[]) AS wanted(flock_id, production_date)"
        " JOIN farms_dailyproduction AS recorded USING (flock_id, production_date)",
        [flocks, days],
    )
    return {(row.flock_id, row.production_date): row for row in rows}


def _corrected(rows: Iterable[DailyProduction]) -> dict[uuid.UUID, dict[str, Any]]:
    """What these days said when they were recorded, of the fields that were corrected since."""
    first: dict[uuid.UUID, dict[str, Any]] = defaultdict(dict)
    corrections = ProductionCorrection.objects.filter(production__in=[row.pk for row in rows]).order_by("-at", "-id")
    for production_id, before in corrections.values_list("production_id", "before"):
        first[production_id].update(before)  # the oldest comes last
    return first


def _row(record: DayRecord, actor: User) -> DailyProduction:
    values = {name: getattr(record, name) for name in VALUES}
    return DailyProduction(
        flock_id=record.flock_id,
        production_date=record.production_date,
        eggs_collected=record.eggs,
        recorded_by=actor,
        **values,
    )


def _same(row: DailyProduction, record: DayRecord) -> bool:
    return all(getattr(row, name) == getattr(record, name) for name in VALUES)


def _repeats(record: DayRecord, row: DailyProduction, corrected: Mapping[str, Any]) -> bool:
    """Whether this is what was recorded first: whoever sends it again does not know of the corrections."""
    return all(_plain(getattr(record, name)) == corrected.get(name, _plain(getattr(row, name))) for name in VALUES)


def _losses(row: DailyProduction) -> int:
    return sum(getattr(row, name) for name in LOSSES)


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Decimal) else value


# --- what follows a saved day ---------------------------------------------------------------------------------------


def _after(flocks: Mapping[uuid.UUID, Flock], rows: Sequence[DailyProduction], now: datetime) -> None:
    """Bird counts, mortality records and alerts of the days that were written, in the same transaction."""
    if not rows:
        return
    touched = [flocks[flock_id] for flock_id in {row.flock_id for row in rows}]
    for flock in touched:
        flock.updated_at = now
    Flock.objects.bulk_update(touched, ["current_count", "left_at_end", "updated_at"], batch_size=CHUNK)
    _keep_mortality(rows, now)
    _raise_alerts(flocks, rows)


def _keep_mortality(rows: Sequence[DailyProduction], now: datetime) -> None:
    kept = {one.production_id: one for one in MortalityRecord.objects.filter(production__in=[row.pk for row in rows])}
    new = []
    for row in rows:
        needed = rules.needs_inspection(died=row.birds_died, signs_of_disease=row.signs_of_disease)
        record = kept.get(row.pk)
        if record is None:
            if needed:
                new.append(
                    MortalityRecord(
                        production=row,
                        number_of_birds=row.birds_died,
                        probable_cause=row.mortality_reason,
                        inspect_by=now + rules.INSPECT_WITHIN,
                    )
                )
            continue
        record.number_of_birds, record.probable_cause = row.birds_died, row.mortality_reason
        record.vet_inspection_required = needed
        record.save(update_fields=["number_of_birds", "probable_cause", "vet_inspection_required", "updated_at"])
    MortalityRecord.objects.bulk_create(new, batch_size=CHUNK)


def _raise_alerts(flocks: Mapping[uuid.UUID, Flock], rows: Sequence[DailyProduction]) -> None:
    """Write what 5.7 finds on these days. A new or raised alert is told; one that is as severe already stays."""
    limits = rules.Thresholds(
        *figures.read(figures.MORTALITY_DAILY, figures.MORTALITY_DAILY_CRITICAL, figures.MORTALITY_WEEKLY)
    )
    histories = _histories(flocks, rows)
    found = [
        (row, finding)
        for row in rows
        for finding in rules.push_alerts(histories[row.flock_id].exposure(row.production_date), limits)
    ]
    if not found:
        return
    days = {row.production_date for row, _ in found}
    known = {
        (alert.flock_id, alert.kind, alert.day): alert
        for alert in Alert.objects.select_for_update(no_key=True).filter(flock__in=flocks, day__in=days)
    }
    new, raised = [], []
    for row, finding in found:
        alert = known.get((row.flock_id, finding.kind, row.production_date))
        values = {"value": finding.value, "threshold": finding.threshold, "severity": finding.severity.value}
        if alert is None:
            flock = flocks[row.flock_id]
            new.append(Alert(kind=finding.kind, farm=flock.farm, flock=flock, day=row.production_date, **values))
        elif rules.RANK[finding.severity] > rules.RANK[alert.severity]:
            for name, value in values.items():
                setattr(alert, name, value)
            alert.save(update_fields=[*values, "updated_at"])
            raised.append(alert)
    Alert.objects.bulk_create(new, batch_size=CHUNK)
    enqueue_many(
        "core.tasks.send_admin_notification",
        [(("high_mortality", {"alert_id": str(alert.pk)}), {}) for alert in [*new, *raised]],
    )


def _histories(flocks: Mapping[uuid.UUID, Flock], rows: Sequence[DailyProduction]) -> dict[uuid.UUID, rules.History]:
    """The losses of the flocks of these rows, from a week before the first of them on, in one query."""
    days: dict[uuid.UUID, list[rules.Day]] = defaultdict(list)
    for flock_id, day, died, sold, culled in DailyProduction.objects.filter(
        flock__in={row.flock_id for row in rows},
        production_date__gte=min(row.production_date for row in rows) - rules.WEEK,
    ).values_list("flock_id", "production_date", *LOSSES):
        days[flock_id].append(rules.Day(day, died=died, sold=sold, culled=culled))
    return {
        flock_id: rules.History(
            selectors.as_birds(flocks[flock_id]), flocks[flock_id].current_count + flocks[flock_id].left_at_end, known
        )
        for flock_id, known in days.items()
    }


# --- alerts and inspections ----------------------------------------------------------------------------------------


@transaction.atomic
def acknowledge(*, actor: User, alert_id: uuid.UUID, now: datetime) -> Alert:
    """Say that one has read an alert: one of those who were told. Raises NotFound and Conflict."""
    alert = _alert(alert_id)
    if alert is None or actor.pk not in {one.user_id for one in selectors.told_of_alert(alert)}:
        raise NotFound("There is no such alert, or you are not one of those who are told.")
    alert.acknowledged_by, alert.acknowledged_at = actor, now
    return _alert_moved(actor, alert, Act.ACKNOWLEDGE)


@transaction.atomic
def close_alert(*, actor: User, alert_id: uuid.UUID) -> Alert:
    """Close an alert: an officer of the farm. Raises NotFound, NotAllowed, Conflict."""
    alert = _alert(alert_id)
    if alert is None or not people.may(actor, Action.SEE_FARM, selectors.subject(alert.farm)):
        raise NotFound("There is no such alert, or not in your scope.")
    if not people.may(actor, Action.CLOSE_ALERT, selectors.subject(alert.farm)):
        raise NotAllowed("An officer closes an alert.")
    return _alert_moved(actor, alert, Act.CLOSE)


@transaction.atomic
def mark_inspected(*, actor: User, record_id: uuid.UUID, now: datetime) -> MortalityRecord:
    """Say that a veterinary officer has looked into deaths. Raises NotFound, NotAllowed, and Conflict when that was
    done already.
    """
    record = (
        MortalityRecord.objects.select_for_update(of=("self",), no_key=True)
        .select_related("production__flock__farm__constituency")
        .filter(pk=record_id)
        .first()
    )
    farm = selectors.subject(record.production.flock.farm) if record else None
    if record is None or farm is None or not people.may(actor, Action.SEE_FARM, farm):
        raise NotFound("There is no such record, or not in your scope.")
    if not people.may(actor, Action.INSPECT_MORTALITY, farm):
        raise NotAllowed("A veterinary officer inspects.")
    if record.inspected_at is not None:
        raise Conflict("These deaths were inspected already.")
    record.inspected_at, record.inspected_by = now, actor
    record.save(update_fields=["inspected_at", "inspected_by", "updated_at"])
    base.record(action="mortality.inspect", subject=("mortality", str(record.pk)), actor_id=actor.pk)
    return record


def _alert(alert_id: uuid.UUID) -> Alert | None:
    rows = Alert.objects.select_for_update(of=("self",), no_key=True).select_related("farm__constituency")
    return rows.filter(pk=alert_id).first()


def _alert_moved(actor: User, alert: Alert, act: Act) -> Alert:
    before = AlertStatus(alert.status)
    alert.status = rules.following(rules.ALERT, before, act, what="alert")
    alert.save(update_fields=["status", "acknowledged_by", "acknowledged_at", "updated_at"])
    base.record(
        action=f"alert.{act.name.lower()}",
        subject=("alert", str(alert.pk)),
        actor_id=actor.pk,
        before={"status": before},
        after={"status": alert.status},
    )
    return alert
