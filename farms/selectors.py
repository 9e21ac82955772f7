"""Reading farms: who sees what, what is to be reviewed, how a farm produces, and who is told."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, DurationField, ExpressionWrapper, F, Q, QuerySet, Sum, Value
from django.db.models.functions import Coalesce, Concat, ExtractDay, Greatest, Least

from accounts import policy
from accounts import selectors as people
from accounts.models import Constituency, Region, User
from accounts.policy import Action, Person
from accounts.rules import Code, Level, Role
from core import phones
from core.base.registries import NATION, Hour, Place, Recipient
from core.errors import InvalidInput
from farms import rules
from farms.models import (
    Alert,
    Batch,
    BatchEnrollment,
    DailyProduction,
    Farm,
    FarmApplication,
    FarmAssignment,
    Flock,
    MortalityRecord,
    ReviewItem,
)
from farms.rules import ApplicationStatus, BatchStatus, FarmStatus, FlockStatus, Production, ReviewLevel, ReviewStatus

# --- who sees and does what ----------------------------------------------------------------------------------------

LOCAL = (Level.CONSTITUENCY, Level.FIELD, Level.END_USER)

DECIDES = {
    ReviewLevel.CONSTITUENCY: Action.DECIDE_AT_CONSTITUENCY,
    ReviewLevel.REGIONAL: Action.DECIDE_AT_REGION,
    ReviewLevel.NATIONAL: Action.DECIDE_AT_NATION,
}


def subject(farm: Farm) -> policy.Farm:
    """The farm as the policy sees it."""
    return policy.Farm(farm.pk, farm.place)


def is_of(user_id: uuid.UUID, farm_id: uuid.UUID) -> bool:
    """Whether the farm is the person's own, or one that the person looks after (accounts.registries.farms_seen)."""
    return Farm.objects.filter(_theirs(user_id), pk=farm_id).exists()


def farmers_of(who: Person) -> Q:
    """The farmers of an officer's farms (accounts.registries.people_seen)."""
    if who.role not in (Role.EXTENSION_OFFICER, Role.YEA_OFFICIAL):
        return Q(pk__in=[])
    return Q(pk__in=Farm.objects.filter(_theirs(who.id)).values("user"))


def _theirs(user_id: uuid.UUID) -> Q:
    """Gathered by three indexes: with OR, PostgreSQL reads every farm."""
    own = Farm.objects.filter(user=user_id).values("pk")
    assigned = FarmAssignment.objects.filter(officer=user_id).values("farm")
    return Q(pk__in=own.union(Farm.objects.filter(extension_officer=user_id).values("pk"), assigned))


def farms_in_scope(user: User, action: Action = Action.SEE_FARM) -> QuerySet[Farm]:
    """The farms that this user may see, or to which they may do this: the answer of `may` for each."""
    who = people.person(user)
    if not policy.is_open(who, action):
        return Farm.objects.none()
    if who.role in policy.FARM_BOUND:
        return Farm.objects.filter(_theirs(who.id))
    around = policy.area(who)
    return Farm.objects.none() if around is None else Farm.objects.filter(_inside(around, "constituency__region"))


def applications_in_scope(user: User) -> QuerySet[FarmApplication]:
    """The applications that this user may see, as `may(user, Action.SEE_APPLICATIONS, …)` says of each."""
    around = _area_of(user, Action.SEE_APPLICATIONS)
    return (
        FarmApplication.objects.none() if around is None else FarmApplication.objects.filter(_inside(around, "region"))
    )


def enrollments_in_scope(user: User) -> QuerySet[BatchEnrollment]:
    """The enrolments of farms whose applications this user may see or mark as enrolled, and a farmer's own."""
    return BatchEnrollment.objects.filter(_enrolled(user, "farm"))


def _enrolled(user: User, farm: str) -> Q:
    around = _area_of(user, Action.SEE_APPLICATIONS, Action.MARK_ENROLLED)
    if around is None:
        return Q(**{f"{farm}__user": user})
    return _inside(around, f"{farm}__constituency__region", f"{farm}__constituency")


def batches_in_scope(user: User) -> QuerySet[Batch]:
    """The batches that this user may see (domain.md 4.2.4): all of them for those who manage them or review in the
    whole nation; a closed one for reviewers and for those who took part; drafts and archived ones for nobody else.
    """
    who = people.person(user)
    around = _area_of(user, Action.SEE_APPLICATIONS)
    if policy.is_open(who, Action.MANAGE_BATCHES) or around == NATION:
        return Batch.objects.all()
    seen = Q(status__in=[BatchStatus.LIVE, BatchStatus.PAUSED])
    took_part = Q(pk__in=BatchEnrollment.objects.filter(farm__user=user).values("batch"))
    return Batch.objects.filter(seen | (Q(status=BatchStatus.CLOSED) & (Q() if around else took_part)))


def alerts_in_scope(user: User) -> QuerySet[Alert]:
    """The alerts of the farms whose production this user may read."""
    found = Alert.objects.select_related("farm", "flock", "acknowledged_by")
    return found.filter(_of_farms(user, "farm"))


def deaths_to_inspect(user: User) -> QuerySet[MortalityRecord]:
    """Deaths in the farms whose production this user may read, into which no veterinary officer has looked yet."""
    found = MortalityRecord.objects.select_related("production__flock__farm", "inspected_by")
    waits = Q(vet_inspection_required=True, inspected_at__isnull=True)
    return found.filter(waits, _of_farms(user, "production__flock__farm"))


def _of_farms(user: User, farm: str) -> Q:
    farms = farms_in_scope(user, Action.READ_FARM_REPORT)
    return Q(**{f"{farm}__in": farms}) if farms.query.has_filters() else Q()


def _area_of(user: User, *actions: Action) -> Place | None:
    """The area in which the user may do one of these, None for nowhere."""
    who = people.person(user)
    return policy.area(who) if any(policy.is_open(who, action) for action in actions) else None


def _inside(around: Place, region: str, constituency: str = "constituency") -> Q:
    if around == NATION:
        return Q()
    if around.constituency_id:
        return Q(**{constituency: around.constituency_id})
    return Q(**{region: around.region_id})


# --- lists of them -------------------------------------------------------------------------------------------------


def applications(
    *,
    status: str = "",
    application_type: str = "",
    level: str = "",
    region: Region | None = None,
    constituency: Constituency | None = None,
    search: str = "",
) -> QuerySet[FarmApplication]:
    """Applications with their places: in a status, of a type, under review at a level, in a place; of a number that
    begins like `search`, or of that phone. Raises InvalidInput for a search that is neither.
    """
    found = FarmApplication.objects.select_related("region", "constituency")
    if search:
        found = found.filter(_application_of(search))
    if level:
        found = found.filter(status=rules.APPLICATION_AT[ReviewLevel(level)])
    wanted = {"status": status, "application_type": application_type, "region": region, "constituency": constituency}
    return found.filter(**{name: value for name, value in wanted.items() if value})


def farms(
    *,
    farm_status: str = "",
    region: Region | None = None,
    constituency: Constituency | None = None,
    extension_officer: uuid.UUID | None = None,
    is_government: bool | None = None,
    search: str = "",
) -> QuerySet[Farm]:
    """Farms with their places and officers: in a status, in a place, of an extension officer, of the programme or not;
    of a number that begins like `search`, or of that phone. Raises InvalidInput for a search that is neither.
    """
    found = Farm.objects.select_related("constituency__region", "extension_officer")
    if search:
        number = search.upper()
        found = found.filter(
            Q(farm_number__startswith=number) if number.startswith("YEA") else Q(primary_phone=_phone(search, "YEA-AH"))
        )
    wanted = {
        "farm_status": farm_status or None,
        "constituency__region": region,
        "constituency": constituency,
        "extension_officer": extension_officer,
        "is_government": is_government,
    }
    return found.filter(**{name: value for name, value in wanted.items() if value is not None})


# By number, for a part of the country: numbers begin with the region, so to walk them in order may pass most farms
# before it meets one of the part, which the planner does not know. They are gathered and sorted instead.
BY_NUMBER = Concat("farm_number", Value("")).asc()  # which no index has


def _application_of(search: str) -> Q:
    number = search.upper()
    if number.startswith("APP"):
        return Q(application_number__startswith=number)
    phone = Q(primary_phone=_phone(search, "APP-2026-0"))
    rejected = Q(status=ApplicationStatus.REJECTED)  # live ones and rejected ones have an index each
    return (phone & ~rejected) | (phone & rejected)


def _phone(search: str, example: str) -> str:
    try:
        return phones.normalise(search)
    except InvalidInput as error:
        raise InvalidInput(f"Search for the beginning of a number, such as {example}, or a whole phone.") from error


# --- what is to be reviewed ----------------------------------------------------------------------------------------


def applications_to_review(user: User, level: ReviewLevel, *, now: datetime) -> QuerySet[ReviewItem]:
    """The open reviews of applications at a level in the user's area, the most urgent first. `priority` are the points
    of domain.md 4.2.3 with those for waiting.
    """
    waiting = ExtractDay(ExpressionWrapper(Value(now) - F("application__submitted_at"), output_field=DurationField()))
    points = F("application__priority_score") + Greatest(0, Least(waiting, rules.MOST_WAITING_POINTS))
    return (
        _open_at(level)
        .filter(application__in=applications_in_scope(user))
        .select_related("application__constituency", "application__region", "claimed_by")
        .annotate(priority=points)
        .order_by("-priority", "entered_at", "pk")
    )


def reviews_in_scope(user: User) -> QuerySet[ReviewItem]:
    """The reviews of applications and enrolments that this user may see."""
    around = _area_of(user, Action.SEE_APPLICATIONS)
    if around is None:
        return ReviewItem.objects.none()
    of_application = _inside(around, "application__region", "application__constituency")
    of_enrollment = _inside(around, "enrollment__farm__constituency__region", "enrollment__farm__constituency")
    return ReviewItem.objects.filter(of_application | of_enrollment)


def enrollments_to_review(user: User, level: ReviewLevel) -> QuerySet[ReviewItem]:
    """The open reviews of enrolments at a level in the user's area, the highest score first."""
    return (
        _open_at(level)
        .filter(_enrolled(user, "enrollment__farm"), enrollment__isnull=False)
        .select_related("enrollment__farm__constituency", "enrollment__batch", "claimed_by")
        .order_by("-enrollment__eligibility_score", "entered_at", "pk")
    )


def own_level(user: User) -> ReviewLevel:
    """The level whose reviews are this user's, by the level of the role."""
    own = {Level.REGIONAL: ReviewLevel.REGIONAL, **dict.fromkeys(LOCAL, ReviewLevel.CONSTITUENCY)}
    return own.get(people.person(user).level, ReviewLevel.NATIONAL)


def _open_at(level: ReviewLevel) -> QuerySet[ReviewItem]:
    return ReviewItem.objects.filter(level=level).exclude(status=ReviewStatus.COMPLETED)


# --- who is told ---------------------------------------------------------------------------------------------------


def reviewers(level: ReviewLevel, place: Place) -> list[Recipient]:
    """The active people who decide at this level in this place."""
    if level == ReviewLevel.CONSTITUENCY:
        who = Q(role=Role.CONSTITUENCY_ADMIN, constituency=place.constituency_id)
    elif level == ReviewLevel.REGIONAL:
        granted = Q(role=Role.REGIONAL_STAFF, staff_permissions__code=Code.APPROVE_APPLICATIONS)
        who = (Q(role=Role.REGIONAL_ADMIN) | granted) & Q(region=place.region_id)
    else:
        who = Q(role=Role.NATIONAL_ADMIN)
    return people.recipients(Q(pk__in=User.objects.filter(who).values("pk")))


def place_of(item: ReviewItem) -> Place:
    """Where the subject of a review lies."""
    if item.application:
        return item.application.place
    assert item.enrollment  # noqa: S101 - the database keeps exactly one subject
    return item.enrollment.farm.place


def told_of_alert(alert: Alert) -> list[Recipient]:
    """Farmer, extension officer, veterinary officers of the constituency, its admin or the next above (5.7)."""
    farm = alert.farm
    around = farm.place
    local = Q(pk__in=[pk for pk in (farm.user_id, farm.extension_officer_id) if pk])
    vets = Q(role=Role.VETERINARY_OFFICER) & (
        Q(constituency=around.constituency_id) | Q(constituency__isnull=True, region=around.region_id)
    )
    told = {one.user_id: one for one in [*people.recipients(local | vets), *people.admins_for(around)]}
    return list(told.values())


# --- batches -------------------------------------------------------------------------------------------------------


def accepting(*, today: date) -> QuerySet[Batch]:
    """The batches that take applications today (domain.md 4.2.4)."""
    return Batch.objects.filter(
        Q(slots_filled__lt=F("total_slots")) | Q(allow_overbooking=True),
        status=BatchStatus.LIVE,
        application_deadline__gte=today,
    )


# --- production ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FlockFigures:
    """A flock in a period; the last three are figures of its whole life up to the period's end."""

    flock: Flock
    period: Production
    hen_housed: Decimal | None
    cumulative_mortality_pct: Decimal | None
    survival_pct: Decimal | None


@dataclass(frozen=True)
class FarmFigures:
    """A farm in a period. `days_reported` are days with a record, `days_active` those with an active flock."""

    flocks: tuple[FlockFigures, ...]
    total: Production
    birds: int
    utilisation_pct: Decimal | None
    days_reported: int
    days_active: int

    @property
    def compliance_pct(self) -> Decimal | None:
        return rules.percent(self.days_reported, self.days_active)


def production_figures(farm: Farm, *, first: date, last: date) -> FarmFigures:
    """The figures of domain.md 5.5 for a farm from one day to another, both included, in two queries."""
    flocks = list(farm.flocks.filter(arrival_date__lte=last).order_by("flock_number"))
    days = days_of([flock.pk for flock in flocks], last=last)
    figures = tuple(_flock_figures(flock, days[flock.pk], first, last) for flock in flocks)
    reported = {day.day for flock in flocks for day in days[flock.pk] if day.day >= first}
    active = {
        first + timedelta(days=number)
        for number in range((last - first).days + 1)
        if any(_is_there(flock, first + timedelta(days=number)) for flock in flocks)
    }
    total = sum((one.period for one in figures), Production())
    birds = sum(flock.current_count for flock in flocks)
    return FarmFigures(
        figures, total, birds, rules.percent(birds, farm.total_bird_capacity), len(reported & active), len(active)
    )


def days_of(flock_ids: Sequence[uuid.UUID], *, last: date) -> dict[uuid.UUID, list[rules.Day]]:
    """What was recorded of these flocks up to a day."""
    found: dict[uuid.UUID, list[rules.Day]] = defaultdict(list)
    rows = DailyProduction.objects.filter(flock__in=flock_ids, production_date__lte=last).values_list(
        *("flock_id", "production_date", "eggs_collected", "good_eggs", "birds_died", "birds_sold", "birds_culled"),
        "feed_consumed_kg",
    )
    for flock_id, *values in rows:
        found[flock_id].append(rules.Day(*values))
    return found


def _flock_figures(flock: Flock, days: Sequence[rules.Day], first: date, last: date) -> FlockFigures:
    birds = as_birds(flock)
    deaths = sum(day.died for day in days)
    period = rules.production(birds, days, first=first, last=last)
    return FlockFigures(
        flock=flock,
        period=period,
        hen_housed=rules.rounded(Decimal(period.eggs) / flock.initial_count),
        cumulative_mortality_pct=rules.percent(deaths, flock.initial_count),
        survival_pct=rules.percent(period.birds_at_end, flock.initial_count),
    )


def as_birds(flock: Flock) -> rules.Birds:
    return rules.Birds(
        rules.FlockType(flock.flock_type),
        flock.arrival_date,
        flock.age_at_arrival_weeks,
        flock.initial_count,
        flock.ended_on,
    )


def _is_there(flock: Flock, day: date) -> bool:
    return flock.arrival_date <= day and (flock.ended_on is None or day <= flock.ended_on)


# --- the hourly figures of the system ------------------------------------------------------------------------------


def farms_by_status(_hour: Hour) -> dict[str, Any]:
    """Farms by status, every status named (domain.md 7.2)."""
    counts = dict(Farm.objects.values_list("farm_status").annotate(count=Count("pk")).order_by())
    return {"farms_by_status": {status.value: counts.get(status.value, 0) for status in FarmStatus}}


def active_flocks(_hour: Hour) -> dict[str, Any]:
    """Active flocks and their birds."""
    return Flock.objects.filter(status=FlockStatus.ACTIVE).aggregate(
        flocks=Count("pk"), birds=Coalesce(Sum("current_count"), 0)
    )
