"""The settings rows with their defaults and limits (domain.md 4.6.1). A row in `Setting` overrides a default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time
from decimal import Decimal, InvalidOperation
from typing import Any, Generic, TypeVar

from core.base.models import Setting
from core.errors import InvalidInput

MOST_DAYS = 10  # of a list
T = TypeVar("T", int, Decimal, time, str, tuple[int, ...])


@dataclass(frozen=True)
class Figure(Generic[T]):
    key: str
    default: T
    unit: str
    minimum: T
    maximum: T
    description: str

    form = ""

    def parse(self, value: object) -> T:
        """The value as code uses it. Raises InvalidInput with the form and range it must have."""
        parsed: T | None = None
        try:
            parsed = self._read(value)
            fits = parsed is not None and self.minimum <= parsed <= self.maximum
        except (TypeError, ValueError, InvalidOperation):
            fits = False
        if not fits or parsed is None:
            raise InvalidInput(
                f"The setting {self.key} must be {self.form} from {self.show(self.minimum)} to"
                f" {self.show(self.maximum)} ({self.unit}). Set it again, for example to {self.show(self.default)}."
            )
        return parsed

    def show(self, value: T) -> Any:
        """The value as it is stored."""
        return value

    def _read(self, value: object) -> T | None:
        raise NotImplementedError


@dataclass(frozen=True)
class Whole(Figure[int]):
    form = "a whole number"

    def _read(self, value: object) -> int | None:
        return value if isinstance(value, int) and not isinstance(value, bool) else None


@dataclass(frozen=True)
class Money(Figure[Decimal]):
    """Stored as text, so that no float comes near it; a JSON number is understood too."""

    form = "an amount"
    places = 2

    def _read(self, value: object) -> Decimal | None:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        amount = Decimal(str(value))
        rounded = amount.quantize(Decimal(1).scaleb(-self.places))
        return rounded if rounded == amount else None

    def show(self, value: Decimal) -> str:
        return str(value)


@dataclass(frozen=True)
class Price(Money):
    """Of one small thing: an SMS costs a few hundredths of a cedi."""

    form = "a price"
    places = 4


@dataclass(frozen=True)
class TimeOfDay(Figure[time]):
    form = "a time of day (HH:MM)"

    def _read(self, value: object) -> time | None:
        return time.fromisoformat(value) if isinstance(value, str) else None

    def show(self, value: time) -> str:
        return f"{value:%H:%M}"


@dataclass(frozen=True)
class Choice(Figure[str]):
    """One of some words; `minimum` and `maximum` mean nothing."""

    options: tuple[str, ...] = ()

    def parse(self, value: object) -> str:
        if not isinstance(value, str) or value not in self.options:
            raise InvalidInput(f"The setting {self.key} must be one of: {', '.join(self.options)}.")
        return value


@dataclass(frozen=True)
class DayList(Figure[tuple[int, ...]]):
    """Numbers of days, each once, the largest first; `minimum` and `maximum` are those of one of them."""

    form = "a list of 1 to 10 different whole numbers, each"

    def parse(self, value: object) -> tuple[int, ...]:
        whole = isinstance(value, list) and all(isinstance(day, int) and not isinstance(day, bool) for day in value)
        days = sorted(value, reverse=True) if whole and isinstance(value, list) else []
        fit = [day for day in days if self.minimum[0] <= day <= self.maximum[0]]
        if not 1 <= len(days) <= MOST_DAYS or len(set(fit)) != len(days):
            raise InvalidInput(
                f"The setting {self.key} must be {self.form} from {self.minimum[0]} to {self.maximum[0]} ({self.unit})."
                f" Set it again, for example to {self.show(self.default)}."
            )
        return tuple(days)

    def show(self, value: tuple[int, ...]) -> list[int]:
        return list(value)


def _window(key: str, default: time, description: str) -> TimeOfDay:
    return TimeOfDay(f"messages.{key}", default, "Accra time", time(0), time(23, 59), description)


WINDOW_START = _window("window_start", time(7), "SMS to people: not before")
WINDOW_END = _window("window_end", time(20), "SMS to people: not from this time on")
BULK_WINDOW_START = _window("bulk_window_start", time(8), "bulk SMS: not before")
BULK_WINDOW_END = _window("bulk_window_end", time(19), "bulk SMS: not from this time on")
NOTIFICATION_DAYS = Whole(
    "retention.notification_days", 90, "days", 30, 3_650, "how long notices, message texts and health reports are kept"
)
DUPLICATE_BULK_HOURS = Whole(
    "messages.duplicate_bulk_hours",
    24,
    "hours",
    0,
    720,
    "bulk: the same text twice to a recipient is left out; 0: off",
)
DUPLICATE_HOURS = Whole(
    "messages.duplicate_hours", 0, "hours", 0, 720, "service, report, admin: as for bulk; codes and security never"
)
PLAIN_LETTERS = Choice(
    "sms.plain_letters",
    "when_cheaper",
    "word",
    "",
    "",
    "the author's variant of an SMS in plain letters: always, when it costs fewer parts, or never",
    ("always", "when_cheaper", "never"),
)
QUEUE_DEPTH = Whole("health.queue_depth", 1_000, "runs", 1, 10_000_000, "more due runs than this in one lane are told")
WORKER_SILENCE_MIN = Whole("health.worker_silence_min", 5, "minutes", 1, 1_440, "a worker silent for longer is gone")
BEAT_SILENCE_MIN = Whole("health.beat_silence_min", 10, "minutes", 1, 1_440, "a beat silent for longer is gone")
DISK_FREE_PCT = Whole("health.disk_free_pct", 10, "%", 0, 99, "less free disk than this is told")
SMS_BALANCE_GHS = Money(
    "health.sms_balance_ghs", Decimal("50.00"), "GHS", Decimal(0), Decimal(1_000_000), "less SMS credit is told"
)
SMS_PARTS_PER_SECOND = Whole(
    "sms.parts_per_second", 0, "parts a second", 0, 10_000, "no more SMS parts are handed to the provider; 0: no limit"
)
SMS_GHS_PER_PART = Price(
    "sms.ghs_per_part", Decimal("0.0300"), "GHS", Decimal(0), Decimal(10), "what one SMS part is expected to cost"
)
SMS_DAILY_BUDGET = Money(
    "sms.daily_budget_ghs",
    Decimal("0.00"),
    "GHS",
    Decimal(0),
    Decimal(10_000_000),
    "when a day's SMS have cost so much, bulk SMS wait for the next day; 0: no ceiling",
)
CAMPAIGN_APPROVAL_RECIPIENTS = Whole(
    "campaign.approval_recipients", 1_000, "recipients", 0, 10_000_000, "a campaign to more needs a second person's yes"
)
CAMPAIGN_APPROVAL_GHS = Money(
    "campaign.approval_ghs",
    Decimal("50.00"),
    "GHS",
    Decimal(0),
    Decimal(10_000_000),
    "a campaign that costs more needs a second person's yes",
)
CAMPAIGN_MAX_RECIPIENTS = Whole(
    "campaign.max_recipients", 1_000_000, "recipients", 1, 10_000_000, "no campaign may have more"
)
LOCKOUT_FAILURES = Whole(
    "auth.lockout_failures", 5, "sign-ins", 3, 20, "so many wrong passwords in a row lock an account for a while"
)
LOCKOUT_MINUTES = Whole("auth.lockout_minutes", 15, "minutes", 1, 1_440, "so long is an account locked")

APPLICATIONS_PER_IP = Whole(
    "applications.per_ip_per_day", 30, "applications", 1, 10_000, "no more are taken from one address in a day"
)
SLA_CONSTITUENCY = Whole("review.sla_days_constituency", 7, "days", 1, 365, "a review at this level is to be done in")
SLA_REGIONAL = Whole("review.sla_days_regional", 5, "days", 1, 365, "a review at this level is to be done in")
SLA_NATIONAL = Whole("review.sla_days_national", 3, "days", 1, 365, "a review at this level is to be done in")
SLA_NOTICE_DAYS = Whole("review.sla_notice_days", 2, "days", 1, 30, "reviewers are reminded so long before it is due")
STALE_DAYS = Whole("review.stale_days", 7, "days", 1, 365, "what has not moved for longer is told one level up")
CHANGES_DAYS = Whole("review.changes_days", 14, "days", 1, 365, "who is asked for changes has so long")
ENROLLMENT_DAYS = DayList(
    "reminder.enrollment_days", (7, 3, 1), "days", (1,), (60,), "farmers are reminded so long before a batch closes"
)
MORTALITY_DAILY = Whole("push.mortality_daily_pct", 5, "%", 1, 100, "more deaths of a flock in a day are told")
MORTALITY_DAILY_CRITICAL = Whole("push.mortality_daily_critical_pct", 10, "%", 1, 100, "more are told as critical")
MORTALITY_WEEKLY = Whole("push.mortality_weekly_pct", 10, "%", 1, 100, "more deaths in seven days are told as critical")

FIGURES: dict[str, Figure[Any]] = {
    figure.key: figure
    for figure in (
        *(WINDOW_START, WINDOW_END, BULK_WINDOW_START, BULK_WINDOW_END, NOTIFICATION_DAYS),
        *(DUPLICATE_BULK_HOURS, DUPLICATE_HOURS, PLAIN_LETTERS),
        *(QUEUE_DEPTH, WORKER_SILENCE_MIN, BEAT_SILENCE_MIN, DISK_FREE_PCT, SMS_BALANCE_GHS),
        *(SMS_PARTS_PER_SECOND, SMS_GHS_PER_PART, SMS_DAILY_BUDGET),
        *(LOCKOUT_FAILURES, LOCKOUT_MINUTES),
        *(CAMPAIGN_APPROVAL_RECIPIENTS, CAMPAIGN_APPROVAL_GHS, CAMPAIGN_MAX_RECIPIENTS),
        *(APPLICATIONS_PER_IP, SLA_CONSTITUENCY, SLA_REGIONAL, SLA_NATIONAL, SLA_NOTICE_DAYS, STALE_DAYS, CHANGES_DAYS),
        *(ENROLLMENT_DAYS, MORTALITY_DAILY, MORTALITY_DAILY_CRITICAL, MORTALITY_WEEKLY),
    )
}
PAIRS: tuple[tuple[Figure[Any], Figure[Any]], ...] = (  # the first lies before the second
    (WINDOW_START, WINDOW_END),
    (BULK_WINDOW_START, BULK_WINDOW_END),
    (MORTALITY_DAILY, MORTALITY_DAILY_CRITICAL),
)


def read(*figures: Figure[Any]) -> list[Any]:
    """The values in force, in the order asked, read in one query. Raises InvalidInput for a bad stored one."""
    rows = dict(Setting.objects.filter(key__in=[figure.key for figure in figures]).values_list("key", "value"))
    return [figure.parse(rows[figure.key]) if figure.key in rows else figure.default for figure in figures]


def times_of_day(*figures: TimeOfDay) -> Sequence[time]:
    """As `read`, for times of day."""
    return read(*figures)


def named(key: str) -> Figure[Any]:
    if key not in FIGURES:
        raise InvalidInput(f"There is no setting {key!r}. Use one of: {', '.join(FIGURES)}.")
    return FIGURES[key]
