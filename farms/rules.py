"""The rules of farms (domain.md 4.2, 5.3 to 5.7): states and what may follow them, dates, points and figures. Pure."""

from __future__ import annotations

import uuid
from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from itertools import accumulate
from typing import TypeVar

from django.db import models

from core.base.registries import Severity
from core.errors import Conflict, InvalidInput

StateT = TypeVar("StateT", bound=models.TextChoices)

GHANA_CARD = r"^GHA-[0-9]{9}-[0-9]$"
TIN = r"^([A-Z]?[0-9]{10}|[0-9]{11})$"
DIGITAL_ADDRESS = r"^[A-Z][A-Z0-9]-[0-9]{3,5}-[0-9]{4}$"
LATITUDES = (Decimal("4.5"), Decimal("11.5"))
LONGITUDES = (Decimal("-3.5"), Decimal("1.5"))
YOUNGEST, OLDEST = 18, 65
LONGEST_REASON = 200  # with LONGEST_NOTE it fits into one SMS of six parts, whatever the letters
LONGEST_CHANGES = 140  # the same, beside a link
LONGEST_NOTE = 90  # an SMS shows the beginning of a longer one
LONGEST_TEXT = 1_000  # of an e-mail
CENT = Decimal("0.01")

# --- the words of the tables ---------------------------------------------------------------------------------------


class ApplicationType(models.TextChoices):
    GOVERNMENT_PROGRAM = "government_program", "Government programme"
    INDEPENDENT = "independent", "Independent"
    MIGRATED = "migrated", "Migrated"


class ProductionType(models.TextChoices):
    LAYERS = "layers", "Layers"
    BROILERS = "broilers", "Broilers"
    BOTH = "both", "Layers and broilers"


class ApplicationStatus(models.TextChoices):
    SUBMITTED = "submitted", "Submitted"
    CONSTITUENCY_REVIEW = "constituency_review", "Constituency review"
    REGIONAL_REVIEW = "regional_review", "Regional review"
    NATIONAL_REVIEW = "national_review", "National review"
    CHANGES_REQUESTED = "changes_requested", "Changes requested"
    APPROVED = "approved", "Approved"
    ACCOUNT_CREATED = "account_created", "Account created"
    REJECTED = "rejected", "Rejected"


class EnrollmentStatus(models.TextChoices):
    DRAFT = "draft", "Draft"
    SUBMITTED = "submitted", "Submitted"
    ELIGIBILITY_CHECK = "eligibility_check", "Eligibility check"
    CONSTITUENCY_REVIEW = "constituency_review", "Constituency review"
    REGIONAL_REVIEW = "regional_review", "Regional review"
    NATIONAL_REVIEW = "national_review", "National review"
    CHANGES_REQUESTED = "changes_requested", "Changes requested"
    APPROVED = "approved", "Approved"
    ENROLLED = "enrolled", "Enrolled"
    REJECTED = "rejected", "Rejected"
    WITHDRAWN = "withdrawn", "Withdrawn"


class BatchStatus(models.TextChoices):
    DRAFT = "draft", "Draft"
    LIVE = "live", "Live"
    PAUSED = "paused", "Paused"
    CLOSED = "closed", "Closed"
    ARCHIVED = "archived", "Archived"


class ReviewLevel(models.TextChoices):
    CONSTITUENCY = "constituency", "Constituency"
    REGIONAL = "regional", "Regional"
    NATIONAL = "national", "National"


class ReviewStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    CLAIMED = "claimed", "Claimed"
    IN_PROGRESS = "in_progress", "In progress"
    COMPLETED = "completed", "Completed"


class InvitationStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    SENT = "sent", "Sent"
    ACCEPTED = "accepted", "Accepted"
    EXPIRED = "expired", "Expired"
    REVOKED = "revoked", "Revoked"


class FarmStatus(models.TextChoices):
    ACTIVE = "active", "Active"
    INACTIVE = "inactive", "Inactive"
    SUSPENDED = "suspended", "Suspended"


class FlockType(models.TextChoices):
    LAYERS = "layers", "Layers"
    BROILERS = "broilers", "Broilers"
    BREEDERS = "breeders", "Breeders"
    PULLETS = "pullets", "Pullets"
    MIXED = "mixed", "Mixed"


class FlockStatus(models.TextChoices):
    ACTIVE = "active", "Active"
    SOLD = "sold", "Sold"
    CULLED = "culled", "Culled"
    DEPLETED = "depleted", "Depleted"


class Health(models.TextChoices):
    GOOD = "good", "Good"
    FAIR = "fair", "Fair"
    POOR = "poor", "Poor"


class Cause(models.TextChoices):
    """Why birds died, as far as the farmer knows."""

    DISEASE = "disease", "Disease"
    HEAT = "heat", "Heat"
    PREDATOR = "predator", "Predator"
    INJURY = "injury", "Injury"
    OTHER = "other", "Other"
    UNKNOWN = "unknown", "Not known"


class AlertKind(models.TextChoices):
    MORTALITY_DAILY = "mortality_daily", "Deaths of a day"
    MORTALITY_WEEKLY = "mortality_weekly", "Deaths of a week"


class AlertStatus(models.TextChoices):
    OPEN = "open", "Open"
    ACKNOWLEDGED = "acknowledged", "Acknowledged"
    CLOSED = "closed", "Closed"


class InfrastructureType(models.TextChoices):
    ACCOMMODATION = "accommodation", "Poultry house"
    FEEDERS_DRINKERS = "feeders_drinkers", "Feeders and drinkers"
    WATER_SYSTEM = "water_system", "Water"
    POWER_SUPPLY = "power_supply", "Power"
    STORAGE = "storage", "Storage"
    VENTILATION = "ventilation", "Ventilation"
    HEATING = "heating", "Heating"
    COOLING = "cooling", "Cooling"
    LIGHTING = "lighting", "Lighting"
    WASTE_MANAGEMENT = "waste_management", "Waste management"
    SECURITY = "security", "Security"
    OTHER = "other", "Other"


class InfrastructureStatus(models.TextChoices):
    OPERATIONAL = "operational", "Operational"
    UNDER_MAINTENANCE = "under_maintenance", "Under maintenance"
    NON_OPERATIONAL = "non_operational", "Not operational"
    PLANNED = "planned", "Planned"
    UNDER_CONSTRUCTION = "under_construction", "Under construction"


class Condition(models.TextChoices):
    EXCELLENT = "excellent", "Excellent"
    GOOD = "good", "Good"
    FAIR = "fair", "Fair"
    POOR = "poor", "Poor"
    CRITICAL = "critical", "Critical"


class DocumentKind(models.TextChoices):
    GHANA_CARD = "ghana_card", "Ghana Card"
    PHOTO_EXTERIOR = "photo_exterior", "Photo from outside"
    PHOTO_INTERIOR = "photo_interior", "Photo from inside"
    PHOTO_SITE = "photo_site", "Photo of the site"
    BUSINESS_REGISTRATION = "business_registration", "Business registration"
    OTHER = "other", "Other"


PHOTOS = (DocumentKind.PHOTO_EXTERIOR, DocumentKind.PHOTO_INTERIOR, DocumentKind.PHOTO_SITE)

# --- the tables of transitions -------------------------------------------------------------------------------------


class Act(StrEnum):
    """What happens to a subject; the value is how it reads in "it cannot be …"."""

    SUBMIT = "submitted"
    SCREEN = "screened"
    FORWARD = "forwarded"
    APPROVE = "approved"
    REQUEST_CHANGES = "sent back for changes"
    RESUBMIT = "resubmitted"
    REJECT = "rejected"
    ACCEPT = "accepted"
    WITHDRAW = "withdrawn"
    MARK_ENROLLED = "marked as enrolled"
    PUBLISH = "published"
    PAUSE = "paused"
    RESUME = "resumed"
    CLOSE = "closed"
    ARCHIVE = "archived"
    CLAIM = "claimed"
    START = "started"
    RELEASE = "released"
    COMPLETE = "decided"
    REOPEN = "reopened"
    SEND = "sent"
    EXPIRE = "ended"
    REVOKE = "revoked"
    ACTIVATE = "activated"
    DEACTIVATE = "deactivated"
    SUSPEND = "suspended"
    REINSTATE = "reinstated"
    SELL = "sold"
    CULL = "culled"
    DEPLETE = "given up"
    ACKNOWLEDGE = "acknowledged"


Machine = Mapping[StateT, Mapping[Act, frozenset[StateT]]]


def _to(*states: StateT) -> frozenset[StateT]:
    return frozenset(states)


_A = ApplicationStatus
APPLICATION_REVIEWS = (_A.CONSTITUENCY_REVIEW, _A.REGIONAL_REVIEW, _A.NATIONAL_REVIEW)
APPLICATION_PENDING = (_A.SUBMITTED, *APPLICATION_REVIEWS, _A.CHANGES_REQUESTED)
_BACK = {Act.REQUEST_CHANGES: _to(_A.CHANGES_REQUESTED), Act.REJECT: _to(_A.REJECTED)}
APPLICATION: Machine[ApplicationStatus] = {
    _A.SUBMITTED: {
        Act.SCREEN: _to(_A.CONSTITUENCY_REVIEW, _A.REGIONAL_REVIEW),
        Act.APPROVE: _to(_A.APPROVED),
    },
    _A.CONSTITUENCY_REVIEW: {Act.FORWARD: _to(_A.REGIONAL_REVIEW), **_BACK},
    _A.REGIONAL_REVIEW: {Act.FORWARD: _to(_A.NATIONAL_REVIEW), Act.APPROVE: _to(_A.APPROVED), **_BACK},
    _A.NATIONAL_REVIEW: {Act.APPROVE: _to(_A.APPROVED), **_BACK},
    _A.CHANGES_REQUESTED: {Act.RESUBMIT: _to(*APPLICATION_REVIEWS), Act.REJECT: _to(_A.REJECTED)},
    _A.APPROVED: {Act.ACCEPT: _to(_A.ACCOUNT_CREATED)},
    _A.ACCOUNT_CREATED: {},
    _A.REJECTED: {},
}

_E = EnrollmentStatus
ENROLLMENT_REVIEWS = (_E.CONSTITUENCY_REVIEW, _E.REGIONAL_REVIEW, _E.NATIONAL_REVIEW)
_UNDER_REVIEW = {
    Act.REQUEST_CHANGES: _to(_E.CHANGES_REQUESTED),
    Act.REJECT: _to(_E.REJECTED),
    Act.WITHDRAW: _to(_E.WITHDRAWN),
}
ENROLLMENT: Machine[EnrollmentStatus] = {
    _E.DRAFT: {Act.SUBMIT: _to(_E.SUBMITTED), Act.WITHDRAW: _to(_E.WITHDRAWN)},
    _E.SUBMITTED: {Act.SCREEN: _to(_E.ELIGIBILITY_CHECK)},
    _E.ELIGIBILITY_CHECK: {Act.FORWARD: _to(_E.CONSTITUENCY_REVIEW), Act.REJECT: _to(_E.REJECTED)},
    _E.CONSTITUENCY_REVIEW: {Act.FORWARD: _to(_E.REGIONAL_REVIEW), **_UNDER_REVIEW},
    _E.REGIONAL_REVIEW: {Act.FORWARD: _to(_E.NATIONAL_REVIEW), **_UNDER_REVIEW},
    _E.NATIONAL_REVIEW: {Act.APPROVE: _to(_E.APPROVED), **_UNDER_REVIEW},
    _E.CHANGES_REQUESTED: {
        Act.RESUBMIT: _to(*ENROLLMENT_REVIEWS),
        Act.REJECT: _to(_E.REJECTED),
        Act.WITHDRAW: _to(_E.WITHDRAWN),
    },
    _E.APPROVED: {Act.MARK_ENROLLED: _to(_E.ENROLLED), Act.WITHDRAW: _to(_E.WITHDRAWN)},
    _E.ENROLLED: {},
    _E.REJECTED: {},
    _E.WITHDRAWN: {},
}

_B = BatchStatus
BATCH: Machine[BatchStatus] = {
    _B.DRAFT: {Act.PUBLISH: _to(_B.LIVE)},
    _B.LIVE: {Act.PAUSE: _to(_B.PAUSED), Act.CLOSE: _to(_B.CLOSED)},
    _B.PAUSED: {Act.RESUME: _to(_B.LIVE), Act.CLOSE: _to(_B.CLOSED)},
    _B.CLOSED: {Act.ARCHIVE: _to(_B.ARCHIVED)},
    _B.ARCHIVED: {},
}

_R = ReviewStatus
REVIEW: Machine[ReviewStatus] = {
    _R.PENDING: {Act.CLAIM: _to(_R.CLAIMED), Act.COMPLETE: _to(_R.COMPLETED)},
    _R.CLAIMED: {Act.START: _to(_R.IN_PROGRESS), Act.RELEASE: _to(_R.PENDING), Act.COMPLETE: _to(_R.COMPLETED)},
    _R.IN_PROGRESS: {Act.COMPLETE: _to(_R.COMPLETED)},
    _R.COMPLETED: {Act.REOPEN: _to(_R.PENDING)},
}

_I = InvitationStatus
INVITATION: Machine[InvitationStatus] = {
    _I.PENDING: {Act.SEND: _to(_I.SENT), Act.REVOKE: _to(_I.REVOKED)},
    _I.SENT: {Act.ACCEPT: _to(_I.ACCEPTED), Act.EXPIRE: _to(_I.EXPIRED), Act.REVOKE: _to(_I.REVOKED)},
    _I.ACCEPTED: {},
    _I.EXPIRED: {},
    _I.REVOKED: {},
}

_F = FarmStatus
FARM: Machine[FarmStatus] = {
    _F.ACTIVE: {Act.DEACTIVATE: _to(_F.INACTIVE), Act.SUSPEND: _to(_F.SUSPENDED)},
    _F.INACTIVE: {Act.ACTIVATE: _to(_F.ACTIVE), Act.SUSPEND: _to(_F.SUSPENDED)},
    _F.SUSPENDED: {Act.REINSTATE: _to(_F.ACTIVE)},
}

_K = FlockStatus
FLOCK: Machine[FlockStatus] = {
    _K.ACTIVE: {Act.SELL: _to(_K.SOLD), Act.CULL: _to(_K.CULLED), Act.DEPLETE: _to(_K.DEPLETED)},
    _K.SOLD: {},
    _K.CULLED: {},
    _K.DEPLETED: {},
}
FLOCK_ENDS = {FlockStatus.SOLD: Act.SELL, FlockStatus.CULLED: Act.CULL, FlockStatus.DEPLETED: Act.DEPLETE}

_L = AlertStatus
ALERT: Machine[AlertStatus] = {
    _L.OPEN: {Act.ACKNOWLEDGE: _to(_L.ACKNOWLEDGED), Act.CLOSE: _to(_L.CLOSED)},
    _L.ACKNOWLEDGED: {Act.CLOSE: _to(_L.CLOSED)},
    _L.CLOSED: {},
}


def ways(machine: Machine[StateT]) -> dict[StateT, frozenset[StateT]]:
    """What may follow each state, whatever the act."""
    return {state: frozenset().union(*acts.values()) for state, acts in machine.items()}


def following(machine: Machine[StateT], state: StateT, act: Act, *, what: str, to: StateT | None = None) -> StateT:
    """The state after an act; `to` names which, where the table leaves a choice. Raises Conflict when it has no way."""
    after = machine[state].get(act, frozenset())
    if to is not None:
        after &= {to}
    if len(after) != 1:
        raise Conflict(f"This {what} is {state.label.lower()}: it cannot be {act} now.")
    [only] = after
    return only


def mask_card(number: str) -> str:
    """A Ghana Card with its middle hidden: `GHA-*****789-0`."""
    return f"{number[:4]}*****{number[-5:]}"


def mask_tin(number: str) -> str:
    """A TIN with all but its end hidden: `*****6789`."""
    return number and f"*****{number[-4:]}"


def parse_status(choices: type[StateT], text: str) -> StateT:
    """The status named in any case, with spaces or hyphens for underscores (domain.md 1.2). Raises InvalidInput."""
    code = "_".join(str(text).lower().replace("-", " ").replace("_", " ").split())
    if code not in choices.values:
        raise InvalidInput(f"This status is not known. Use one of: {', '.join(choices.values)}.")
    return choices(code)


# --- reviews -------------------------------------------------------------------------------------------------------

LEVELS = (ReviewLevel.CONSTITUENCY, ReviewLevel.REGIONAL, ReviewLevel.NATIONAL)
APPLICATION_AT = dict(zip(LEVELS, APPLICATION_REVIEWS, strict=True))
ENROLLMENT_AT = dict(zip(LEVELS, ENROLLMENT_REVIEWS, strict=True))


def level_of(status: str) -> ReviewLevel | None:
    """The level at which a subject in this status is reviewed, None when it is not under review."""
    return next((level for level in LEVELS if APPLICATION_AT[level].value == status), None)


def next_level(level: ReviewLevel) -> ReviewLevel | None:
    place = LEVELS.index(level) + 1
    return LEVELS[place] if place < len(LEVELS) else None


def final_level(kind: ApplicationType) -> ReviewLevel:
    """Where an application is approved: the programme's pass three levels, the others one (domain.md 4.2.3)."""
    return ReviewLevel.NATIONAL if kind == ApplicationType.GOVERNMENT_PROGRAM else ReviewLevel.REGIONAL


def first_level(kind: ApplicationType) -> ReviewLevel:
    """The level whose review is the first, as final_level."""
    return ReviewLevel.CONSTITUENCY if kind == ApplicationType.GOVERNMENT_PROGRAM else ReviewLevel.REGIONAL


def screened(kind: ApplicationType, *, phone_verified: bool, spam: int) -> ApplicationStatus:
    """Where an application goes from `submitted`, in the same transaction (domain.md 4.2.3)."""
    if kind == ApplicationType.GOVERNMENT_PROGRAM:
        return ApplicationStatus.CONSTITUENCY_REVIEW
    if kind == ApplicationType.INDEPENDENT and phone_verified and spam < SUSPICIOUS:
        return ApplicationStatus.APPROVED
    return ApplicationStatus.REGIONAL_REVIEW


def due_at(entered_at: datetime, days: int, *, latest: datetime | None = None) -> datetime:
    """When a review is to be done: so many calendar days after it began, and not after `latest`."""
    due = entered_at + timedelta(days=days)
    return due if latest is None else min(due, latest)


# --- applications --------------------------------------------------------------------------------------------------

MOST_DOCUMENTS = 10  # of an application, with those that whoever applied sends along


def must_take_document(status: ApplicationStatus, *, kept: int) -> None:
    """Raises Conflict when whoever applied cannot send one more document along."""
    if status not in (ApplicationStatus.SUBMITTED, *APPLICATION_REVIEWS, ApplicationStatus.APPROVED):
        raise Conflict(f"This application is {status.label.lower()}: no documents are sent along any more.")
    if kept >= MOST_DOCUMENTS:
        raise Conflict(
            f"This application has {kept} documents: {MOST_DOCUMENTS} are the most. Bring others to the office."
        )


SUSPICIOUS = 50
MOST_POINTS = 100
NORMAL_PER_ADDRESS = 10
MOST_PER_PERSON = 3  # applications of a phone or a Ghana Card in a day
REJECTED_LATELY_DAYS = 30


def spam_score(*, earlier_from_address: int, rejected_lately: bool) -> int:
    """Version 1. `earlier_from_address`: applications from the same IP that day, before this one."""
    points = 10 * max(0, earlier_from_address - NORMAL_PER_ADDRESS) + 50 * rejected_lately
    return min(points, MOST_POINTS)


MOST_WAITING_POINTS = 30
EXPERIENCED_YEARS = 2
CLEAN, DOUBTFUL = 20, 50


def priority_score(
    *,
    government: bool,
    email_verified: bool,
    phone_verified: bool,
    spam: int,
    experience_years: int,
    has_existing_farm: bool,
    waiting_days: int = 0,
) -> int:
    """The order of the review list. What stands in the row is that of day 0; the days are added when it is read."""
    return (
        50 * government
        + 25 * email_verified
        + 25 * phone_verified
        + (30 if spam < CLEAN else 15 if spam < DOUBTFUL else 0)
        + 10 * (experience_years >= EXPERIENCED_YEARS)
        + 10 * has_existing_farm
        + max(0, min(waiting_days, MOST_WAITING_POINTS))
    )


def age_on(born: date, day: date) -> int:
    """Full years; who was born on 29 February has the birthday on 1 March of other years."""
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))


def add_months(day: date, months: int) -> date:
    """The same day so many months later, or the last of a shorter month."""
    years, month = divmod(day.month - 1 + months, 12)
    year = day.year + years
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


# --- eligibility (domain.md 5.3) -----------------------------------------------------------------------------------


class HardRule(StrEnum):
    """The value is how it reads in the reason of a rejection."""

    AGE = "the farmer's age on the deadline day"
    PLACE = "the farm's region or constituency"
    CAPACITY = "the farm's bird capacity"
    FARM_AGE = "the farm's age on the deadline day"
    OPEN = "the batch does not accept applications now"


@dataclass(frozen=True)
class Candidate:
    """A farm as a batch looks at it."""

    born: date
    region_id: uuid.UUID
    constituency_id: uuid.UUID
    capacity: int
    since: date
    is_government: bool
    has_registration: bool
    has_photos: bool


@dataclass(frozen=True)
class Terms:
    """A batch as a farm looks at it. Empty limits mean any."""

    accepts: bool
    deadline: date
    region_id: uuid.UUID | None
    constituency_ids: frozenset[uuid.UUID]
    min_age: int
    max_age: int
    min_capacity: int | None = None
    max_capacity: int | None = None
    min_farm_age_months: int | None = None
    max_farm_age_years: int | None = None


@dataclass(frozen=True)
class Eligibility:
    failed: tuple[HardRule, ...]
    score: int

    @property
    def reason(self) -> str:
        return f"Not met: {'; '.join(self.failed)}."


def accepts(status: BatchStatus, *, today: date, deadline: date, filled: int, slots: int, overbooking: bool) -> bool:
    """Whether a batch takes applications: the deadline day counts, and a freed slot reopens it (domain.md 4.2.4)."""
    return status == BatchStatus.LIVE and today <= deadline and (filled < slots or overbooking)


def eligibility(farm: Candidate, batch: Terms) -> Eligibility:
    farm_too_young = batch.min_farm_age_months is not None and (
        add_months(farm.since, batch.min_farm_age_months) > batch.deadline
    )
    farm_too_old = batch.max_farm_age_years is not None and (
        add_months(farm.since, 12 * batch.max_farm_age_years) < batch.deadline
    )
    holds = {
        HardRule.AGE: batch.min_age <= age_on(farm.born, batch.deadline) <= batch.max_age,
        HardRule.PLACE: batch.region_id in (None, farm.region_id)
        and (not batch.constituency_ids or farm.constituency_id in batch.constituency_ids),
        HardRule.CAPACITY: (batch.min_capacity is None or batch.min_capacity <= farm.capacity)
        and (batch.max_capacity is None or farm.capacity <= batch.max_capacity),
        HardRule.FARM_AGE: not farm_too_young and not farm_too_old,
        HardRule.OPEN: batch.accepts,
    }
    points = 100 - 10 * (not farm.has_registration) - 10 * (not farm.has_photos) + 10 * farm.is_government
    return Eligibility(tuple(rule for rule, held in holds.items() if not held), max(0, min(points, MOST_POINTS)))


# --- scores (domain.md 5.6) ----------------------------------------------------------------------------------------

SCORE_VERSION = 1
MEASURES = (
    *("perimeter_fencing", "fencing_type_recorded", "controlled_entry", "visitor_log", "footbath"),
    *("disinfectant_in_use", "hand_washing", "dedicated_clothing", "quarantine_area", "sick_bird_isolation"),
    *("regular_vaccination", "vaccination_records", "manure_management", "dead_bird_disposal", "rodent_control"),
    "wild_bird_exclusion",
)
POINTS_PER_MEASURE = Decimal("6.25")
SOUND = (Condition.EXCELLENT, Condition.GOOD, Condition.FAIR)
POINTS = {  # of readiness
    "housing": Decimal(25),
    "feeders_drinkers": Decimal(15),
    "water": Decimal(15),
    "power": Decimal(10),
    "storage": Decimal(10),
    "waste": Decimal(10),
    "biosecurity": Decimal(10),
    "documents": Decimal(5),
}
SAFE_ENOUGH = Decimal(50)


@dataclass(frozen=True)
class Equipment:
    """What of a farm counts for readiness: places in operational houses, and whether one of each kind operates."""

    capacity: int
    sound_places: int
    all_places: int
    feeders_drinkers: bool
    water: bool
    power: bool
    storage: bool
    waste: bool
    documents: bool


def biosecurity_score(measures: int) -> Decimal:
    return POINTS_PER_MEASURE * measures


def readiness_parts(farm: Equipment, biosecurity: Decimal) -> dict[str, Decimal]:
    """The points of each part; readiness is their sum."""
    housing = POINTS["housing"] if farm.sound_places >= farm.capacity else Decimal(0)
    if not housing and farm.all_places >= farm.capacity:
        housing = POINTS["housing"] / 2
    has = {
        "feeders_drinkers": farm.feeders_drinkers,
        "water": farm.water,
        "power": farm.power,
        "storage": farm.storage,
        "waste": farm.waste,
        "biosecurity": biosecurity >= SAFE_ENOUGH,
        "documents": farm.documents,
    }
    return {"housing": housing} | {part: POINTS[part] if held else Decimal(0) for part, held in has.items()}


# --- production (domain.md 5.5) ------------------------------------------------------------------------------------

FIRST_ARRIVAL = date(2000, 1, 1)  # no bird lives as long; an earlier day is a slip of the pen
LAYING_WEEKS = 18
EGGS_PER_DOZEN = 12


def rounded(value: Decimal) -> Decimal:
    return value.quantize(CENT, ROUND_HALF_UP)


def percent(part: int, whole: int) -> Decimal | None:
    """None when there is nothing to compare with."""
    return rounded(Decimal(100 * part) / whole) if whole else None


@dataclass(frozen=True)
class Birds:
    """A flock as it came. What of it is left follows from the days."""

    type: FlockType
    arrived_on: date
    age_weeks: int
    initial: int
    ended_on: date | None = None

    def lays_on(self, day: date) -> bool:
        """Whether its birds count as hens: a layer flock aged 18 weeks or more."""
        days = 7 * self.age_weeks + (day - self.arrived_on).days
        return self.type == FlockType.LAYERS and days >= 7 * LAYING_WEEKS


@dataclass(frozen=True)
class Day:
    """What was recorded of one flock on one day."""

    day: date
    eggs: int = 0
    good_eggs: int = 0
    died: int = 0
    sold: int = 0
    culled: int = 0
    feed_kg: Decimal = Decimal(0)

    @property
    def removed(self) -> int:
        return self.died + self.sold + self.culled


@dataclass(frozen=True)
class Production:
    """Sums of a period, which add up over flocks. The figures are made of the sums, never of other figures."""

    eggs: int = 0
    good_eggs: int = 0
    hen_days: int = 0
    laid_by_hens: int = 0
    deaths: int = 0
    exposed: int = 0  # birds at the start of the first day and those that arrived later in the period
    birds_at_end: int = 0
    feed_kg: Decimal = Decimal(0)
    layer_eggs: int = 0
    layer_feed_kg: Decimal = Decimal(0)
    days_recorded: int = 0

    def __add__(self, other: Production) -> Production:
        return Production(*(a + b for a, b in zip(self._sums(), other._sums(), strict=True)))  # type: ignore[arg-type]

    def _sums(self) -> tuple[int | Decimal, ...]:
        return tuple(getattr(self, name) for name in self.__dataclass_fields__)

    @property
    def hen_day_pct(self) -> Decimal | None:
        return percent(self.laid_by_hens, self.hen_days)

    @property
    def mortality_pct(self) -> Decimal | None:
        return percent(self.deaths, self.exposed)

    @property
    def egg_quality_pct(self) -> Decimal | None:
        return percent(self.good_eggs, self.eggs)

    @property
    def feed_per_dozen(self) -> Decimal | None:
        """FCR of layers: kg feed for a dozen eggs."""
        return rounded(self.layer_feed_kg * EGGS_PER_DOZEN / self.layer_eggs) if self.layer_eggs else None


def production(birds: Birds, days: Iterable[Day], *, first: date, last: date) -> Production:
    """The sums of a period, both ends included. `days` are all recorded days of the flock up to `last`, in any order;
    days after it are ignored. 5.5 has the definitions.
    """
    known = sorted((day for day in days if day.day <= last), key=lambda day: day.day)
    inside = [day for day in known if day.day >= first]
    at_start = left = birds.initial - sum(day.removed for day in known if day.day < first)
    hen_days = laid = 0
    for day in inside:
        if birds.lays_on(day.day):
            hen_days += left
            laid += day.eggs
        left -= day.removed
    layers = birds.type == FlockType.LAYERS
    here = birds.arrived_on <= last and (birds.ended_on is None or birds.ended_on >= first)
    gone = birds.ended_on is not None and birds.ended_on <= last
    eggs, feed = sum(day.eggs for day in inside), sum((day.feed_kg for day in inside), Decimal(0))
    return Production(
        eggs=eggs,
        good_eggs=sum(day.good_eggs for day in inside),
        hen_days=hen_days,
        laid_by_hens=laid,
        deaths=sum(day.died for day in inside),
        exposed=at_start if here else 0,
        birds_at_end=left if here and not gone else 0,
        feed_kg=feed,
        layer_eggs=eggs if layers else 0,
        layer_feed_kg=feed if layers else Decimal(0),
        days_recorded=len(inside),
    )


class Rating(StrEnum):
    GOOD = "good"
    WATCH = "watch"
    POOR = "poor"


class Light(StrEnum):
    GREEN = "green"
    AMBER = "amber"
    RED = "red"


GOOD_LAYING, FAIR_LAYING = 80, 60
FEW_DEATHS, MANY_DEATHS = 5, 10


def rate_laying(hen_day_pct: Decimal) -> Rating:
    if hen_day_pct >= GOOD_LAYING:
        return Rating.GOOD
    return Rating.WATCH if hen_day_pct >= FAIR_LAYING else Rating.POOR


def rate_mortality(cumulative_pct: Decimal) -> Light:
    if cumulative_pct > MANY_DEATHS:
        return Light.RED
    return Light.AMBER if cumulative_pct >= FEW_DEATHS else Light.GREEN


# --- the push alert (domain.md 5.7) --------------------------------------------------------------------------------

WEEK = timedelta(days=6)  # the first of the seven days ending on a day lies so long before it
MANY_DIED = 10  # from so many deaths in a day on, a veterinary officer is to look
INSPECT_WITHIN = timedelta(hours=48)
RANK = {Severity.INFO.value: 0, Severity.WARNING.value: 1, Severity.CRITICAL.value: 2}


@dataclass(frozen=True)
class Thresholds:
    """In percent; what lies above is told."""

    daily: int
    daily_critical: int
    weekly: int


@dataclass(frozen=True)
class Finding:
    kind: AlertKind
    severity: Severity
    value: Decimal
    threshold: int


class History:
    """Losses of a flock from some day on, and from them how it stood on each later day.

    `left`: birds that are not accounted for by any record; they were there on every day.
    """

    def __init__(self, birds: Birds, left: int, days: Iterable[Day]) -> None:
        known = sorted(days, key=lambda day: day.day)
        self._birds = birds
        self._days = [day.day for day in known]
        self._died = [0, *accumulate(day.died for day in known)]
        self._removed = [0, *accumulate(day.removed for day in known)]
        self._at_first = left + self._removed[-1]

    def at_start_of(self, day: date) -> int:
        return self._at_first - self._removed[bisect_left(self._days, day)]

    def exposure(self, day: date) -> Exposure:
        here, after, first = bisect_left(self._days, day), bisect_right(self._days, day), day - WEEK
        came_in_week = self._birds.arrived_on > first
        return Exposure(
            died=self._died[after] - self._died[here],
            birds=self.at_start_of(day),
            died_in_week=self._died[after] - self._died[bisect_left(self._days, first)],
            birds_in_week=self._birds.initial if came_in_week else self.at_start_of(first),
        )


@dataclass(frozen=True)
class Exposure:
    """Deaths of a day and of the seven days ending on it, and of how many birds: at the start of the day; at the start
    of the seven days, or those that came in them.
    """

    died: int
    birds: int
    died_in_week: int
    birds_in_week: int


def push_alerts(seen: Exposure, limits: Thresholds) -> list[Finding]:
    """What is to be told of a day."""
    found = []
    if 100 * seen.died > limits.daily * seen.birds:
        critical = 100 * seen.died > limits.daily_critical * seen.birds
        severity, threshold = (
            (Severity.CRITICAL, limits.daily_critical) if critical else (Severity.WARNING, limits.daily)
        )
        found.append(Finding(AlertKind.MORTALITY_DAILY, severity, _share(seen.died, seen.birds), threshold))
    if 100 * seen.died_in_week > limits.weekly * seen.birds_in_week:
        value = _share(seen.died_in_week, seen.birds_in_week)
        found.append(Finding(AlertKind.MORTALITY_WEEKLY, Severity.CRITICAL, value, limits.weekly))
    return found


def _share(died: int, birds: int) -> Decimal:
    return percent(died, birds) or Decimal(0)


def needs_inspection(*, died: int, signs_of_disease: bool) -> bool:
    return died >= MANY_DIED or signs_of_disease
