"""The rules of sending: states, lanes, sending windows and what a provider's answer leads to. Pure.

Source: domain.md 4.6.2, 4.6.3 and 5.4, delivery.md 3.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum

LEASE_SECONDS = 120  # longer than a call with the longest time-outs allowed; after it the answer is in doubt
LOOK_AGAIN_SECONDS = 3  # a due message nobody has taken is announced again this soon, if its hint is missing on Redis
BULK_HINTS = 4  # more messages than this in the bulk queue, and no further hint to send is added
MAX_TRIES = 4
RETRY_BASE_SECONDS = 60
PROVIDER_AWAY_SECONDS = (15.0, 40.0)  # sending resumes within a minute of the provider's return
LONGEST_WAIT_SECONDS = 50.0  # however long a provider asks us to stay away: for the same reason
BATCH_SIZE = 100  # messages in one call of the batch API
FRIDAY, SUNDAY = 4, 6


class Channel(StrEnum):
    SMS = "sms"
    EMAIL = "email"


class Purpose(StrEnum):
    OTP = "otp"
    SECURITY = "security"
    SERVICE = "service"
    ADMIN = "admin"
    BULK = "bulk"
    REPORT = "report"


class CampaignStatus(StrEnum):
    DRAFT = "draft"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


class TemplateStatus(StrEnum):
    DRAFT = "draft"
    APPROVED = "approved"
    RETIRED = "retired"


class ReceiptSource(StrEnum):
    POLL = "poll"
    PUSH = "push"
    BOUNCE = "bounce"


class ReminderOutcome(StrEnum):
    SENT = "sent"
    COVERED = "covered"  # a later one went out in its place
    NO_CONTACT = "no_contact"  # no message reaches the person


class SuppressionReason(StrEnum):
    BOUNCED = "bounced"  # the address does not exist
    REFUSED = "refused"  # the recipient has not approved receiving
    COMPLAINED = "complained"


class Fault(StrEnum):
    """What is wrong with a provider as a whole, when something is."""

    UNREACHABLE = "unreachable"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    NO_FUNDS = "no_funds"
    CREDENTIALS = "credentials"  # key, sender or address: a person must mend the configuration
    NO_ANSWER = "no_answer"  # requests go out and their answers are lost


# What is kept back before it is picked: by the rate limit, or by a breaker that one such answer opens.
AT_THE_GATE = frozenset({Fault.THROTTLED, Fault.NO_FUNDS, Fault.CREDENTIALS})


class Status(StrEnum):
    QUEUED = "queued"
    HELD = "held"
    SUPPRESSED = "suppressed"
    CLAIMED = "claimed"
    SUBMITTING = "submitting"
    ACCEPTED = "accepted"
    IN_DOUBT = "in_doubt"
    REJECTED = "rejected"
    EXPIRED = "expired"
    DEAD = "dead"
    DELIVERED = "delivered"
    UNDELIVERED_TEMPORARY = "undelivered_temporary"
    UNDELIVERED_PERMANENT = "undelivered_permanent"
    OUTCOME_UNKNOWN = "outcome_unknown"


_RECEIPTS = {
    Status.DELIVERED,
    Status.UNDELIVERED_TEMPORARY,
    Status.UNDELIVERED_PERMANENT,
    Status.OUTCOME_UNKNOWN,
}
FINAL = frozenset(_RECEIPTS)  # what became of a message that the provider took
_ANSWERS = {Status.ACCEPTED, Status.REJECTED, Status.QUEUED, Status.IN_DOUBT, Status.DEAD}
TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset(
        {Status.HELD, Status.SUPPRESSED, Status.CLAIMED, Status.SUBMITTING, Status.EXPIRED, Status.DEAD}
    ),
    Status.HELD: frozenset({Status.QUEUED, Status.SUPPRESSED, Status.EXPIRED}),
    Status.CLAIMED: frozenset({Status.SUBMITTING, Status.QUEUED}),
    Status.SUBMITTING: frozenset(_ANSWERS),
    Status.ACCEPTED: frozenset(_RECEIPTS),
    Status.IN_DOUBT: frozenset({Status.ACCEPTED, Status.QUEUED, *_RECEIPTS}),
    Status.DEAD: frozenset({Status.QUEUED}),
    Status.SUPPRESSED: frozenset(),
    Status.REJECTED: frozenset(),
    Status.EXPIRED: frozenset(),
    **{status: frozenset() for status in _RECEIPTS},
}


CAMPAIGN_TRANSITIONS: dict[CampaignStatus, frozenset[CampaignStatus]] = {
    CampaignStatus.DRAFT: frozenset({CampaignStatus.QUEUED, CampaignStatus.CANCELLED}),
    CampaignStatus.QUEUED: frozenset({CampaignStatus.RUNNING, CampaignStatus.CANCELLED}),
    CampaignStatus.RUNNING: frozenset({CampaignStatus.PAUSED, CampaignStatus.DONE, CampaignStatus.CANCELLED}),
    CampaignStatus.PAUSED: frozenset({CampaignStatus.RUNNING, CampaignStatus.CANCELLED}),
    CampaignStatus.DONE: frozenset(),
    CampaignStatus.CANCELLED: frozenset(),
}


class Verdict(StrEnum):
    """What a call to a provider came to."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # final: number, content or our own fault
    TRY_LATER = "try_later"  # proven not sent; uses up a try
    PROVIDER_AWAY = "provider_away"  # proven not sent; the provider as a whole is at fault, no try is used
    NOT_CONFIGURED = "not_configured"  # proven not sent; credentials, sender or funds: a person must act
    IN_DOUBT = "in_doubt"  # the request went out and its answer is lost


def secret_life(purpose: Purpose) -> timedelta:
    """How long a text with a code or token may wait when its author does not say: a code's own life, or a day."""
    return timedelta(minutes=10) if purpose == Purpose.OTP else timedelta(days=1)


def lane(purpose: Purpose, channel: Channel) -> str:
    """The queue of a message. Only SMS have a bulk lane, since only they go out in batches."""
    if purpose in (Purpose.OTP, Purpose.SECURITY):
        return "urgent"
    return "bulk" if purpose == Purpose.BULK and channel == Channel.SMS else "default"


@dataclass(frozen=True)
class Windows:
    """Times of day in Accra between which SMS go out."""

    start: time = time(7)
    end: time = time(20)
    bulk_start: time = time(8)
    bulk_end: time = time(19)


def opening(purpose: Purpose, channel: Channel, moment: datetime, windows: Windows) -> datetime:
    """When a message may leave: `moment` itself inside its window, else the next opening. `moment` is Accra time."""
    if channel == Channel.EMAIL or purpose in (Purpose.OTP, Purpose.SECURITY):
        return moment
    bulk = purpose == Purpose.BULK
    start, end = (windows.bulk_start, windows.bulk_end) if bulk else (windows.start, windows.end)
    for days in range(3):
        day = moment + timedelta(days=days)
        opens = day.replace(hour=start.hour, minute=start.minute, second=0, microsecond=0)
        closes = day.replace(hour=end.hour, minute=end.minute, second=0, microsecond=0)
        if moment < closes and not (bulk and day.weekday() == SUNDAY):
            return max(moment, opens)
    raise ValueError(f"the sending window {start}-{end} never opens")


@dataclass(frozen=True)
class Next:
    """What becomes of a message after an answer: its state and, when it is to be tried again, in how many seconds."""

    status: Status
    tries: int
    again_in: float | None = None


def after_answer(
    verdict: Verdict, tries: int, *, fault: Fault | None = None, wait: float | None = None, chance: float | None = None
) -> Next:
    """`tries` is the number used up before this answer; `wait` the seconds that the provider asks for; `chance` (0 to
    1) spreads the next try, random unless given.
    """
    spread = random.random() if chance is None else chance  # noqa: S311 - spreads load, guards nothing
    if verdict in (Verdict.PROVIDER_AWAY, Verdict.NOT_CONFIGURED):
        if fault in AT_THE_GATE:
            return Next(Status.QUEUED, tries, min(wait or 1.0, LONGEST_WAIT_SECONDS))
        shortest, longest = PROVIDER_AWAY_SECONDS
        return Next(Status.QUEUED, tries, shortest + spread * (longest - shortest))
    tries += 1
    if verdict == Verdict.TRY_LATER:
        if tries >= MAX_TRIES:
            return Next(Status.DEAD, tries)
        return Next(Status.QUEUED, tries, RETRY_BASE_SECONDS * 2 ** (tries - 1) * (0.9 + spread / 5))
    ends = {
        Verdict.ACCEPTED: Status.ACCEPTED,
        Verdict.REFUSED: Status.REJECTED,
        Verdict.IN_DOUBT: Status.IN_DOUBT,
    }
    return Next(ends[verdict], tries)


# When a provider is asked what became of a message, in seconds after it was handed over (delivery.md 3.2).
LOOK_AGES = (60, 300, 1_800, 7_200, 28_800, 86_400, 2 * 86_400, 3 * 86_400)
UNHEARD_SECONDS = 86_400  # after the last look was due: a provider that is away for longer leaves the outcome unknown


def first_look(channel: Channel, known_as: str) -> float | None:
    """In how many seconds the provider is first asked; None when it cannot be. `known_as` is its id of what it took."""
    return LOOK_AGES[0] if channel == Channel.SMS and known_as else None


def next_look(age: float) -> float | None:
    """In how many seconds a message handed over `age` seconds ago is asked about again; None when that is over."""
    return next((rung - age for rung in LOOK_AGES if rung > age), None)


def not_asked(age: float, wait: float | None, *, chance: float | None = None) -> float | None:
    """The same after a question that the provider could not answer: soon again, and no look is used up."""
    if age >= LOOK_AGES[-1] + UNHEARD_SECONDS:
        return None
    spread = random.random() if chance is None else chance  # noqa: S311 - spreads load, guards nothing
    shortest, longest = PROVIDER_AWAY_SECONDS
    return max(wait or 0.0, shortest) + spread * (longest - shortest)


# What becomes of a message in doubt (delivery.md 3.2): no rule sends it again but this one, and it does so once.
RESEND_AFTER_SECONDS = 20  # after the call
RESEND_WITHIN_SECONDS = 3_600  # a code older than that has been asked for anew
DOUBT_SECONDS = LOOK_AGES[-1]


def resends(purpose: Purpose) -> bool:
    """Whether a message in doubt is sent once more without proof: a code that comes late, or twice, does no harm."""
    return purpose == Purpose.OTP


# Reminders before a date, and notices after one (domain.md 5.4).


def due_day(deadline: date, days: int) -> date:
    """The day on which a reminder goes out so many days before a date: on a weekend, the Friday before."""
    day = deadline - timedelta(days=days)
    return day - timedelta(days=max(0, day.weekday() - FRIDAY))


def reminders_due(deadline: date, days: Iterable[int], today: date) -> dict[int, date]:
    """Which of the reminders, named by their days before the date, are due today or were before, and on which day; the
    one that is nearest to the date first. None when the date has passed.
    """
    if today > deadline:
        return {}
    return {number: due for number in sorted(days) if (due := due_day(deadline, number)) <= today}


def notice_due(event: date, days: int, every: int, today: date) -> date | None:
    """The last day, up to today, on which something was to be told again: so many days after an event, and from then on
    every so many days. On weekends too; whoever tells on working days alone catches up. None before the first.
    """
    first = event + timedelta(days=days)
    return first + timedelta(days=(today - first).days // every * every) if today >= first else None
