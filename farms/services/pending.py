"""Telling officers of reviews that are due, late or do not move (domain.md 5.4, 7.4)."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum

from django.db import connection, transaction
from django.db.models import QuerySet

from accounts import selectors as people
from accounts.models import User
from core import clock
from core.base import figures
from core.base.registries import NATION, Place, Recipient
from core.delivery import reminders
from core.delivery.models import Notification
from core.delivery.reminders import Entry
from core.delivery.rules import ReminderOutcome, due_day, notice_due
from core.delivery.services import Telling, addressee_of, queue_templated_all
from core.jobs import progress
from core.jobs.items import Items
from core.jobs.services import enqueue
from farms import links, messages, rules, selectors
from farms.models import BatchEnrollment, FarmApplication, ReviewItem
from farms.rules import ApplicationStatus, ReviewLevel, ReviewStatus
from farms.services.common import day_of

CHUNK = 2_000
AGAIN_DAYS = 7  # what does not move is told again
MOST_NAMED = 10  # subjects of a kind that a digest names, those that wait longest
WAITING = (ApplicationStatus.SUBMITTED, *rules.APPLICATION_REVIEWS)


class Kind(StrEnum):
    SLA_SOON = "sla_soon"
    SLA_OVERDUE = "sla_overdue"
    STALE = "stale"


@dataclass(frozen=True)
class Waiting:
    """A review, or for what is stale the application or enrolment itself. `since` is what it is due by, or has not
    moved since.
    """

    id: uuid.UUID
    subject: str
    number: str
    level: ReviewLevel
    place: Place
    due_day: date
    since: datetime
    claimed_by: uuid.UUID | None = None


@dataclass
class Part:
    """What a digest says of one kind."""

    count: int = 0
    longest: tuple[tuple[datetime, str], ...] = ()

    def add(self, more: Sequence[Waiting]) -> None:
        self.count += len(more)
        named = [*self.longest, *((one.since, one.number) for one in more)]
        self.longest = tuple(sorted(named)[:MOST_NAMED])


Digests = dict[uuid.UUID, dict[Kind, Part]]


def check(*, today: date, size: int = CHUNK) -> dict[str, int]:
    """Tell reviewers of reviews that are due soon or late, and the admins above of what does not move: one digest for
    each officer and day. Counts `sla_soon`, `sla_overdue`, `stale` and `officers`.

    Logs and digests are one transaction, since a digest is of all that is logged; `size` subjects are read at a time,
    and recipients looked up once for a level and place. Safe to repeat: by ReminderLog. What comes up for somebody who
    has the day's digest already waits for the next. Raises SomeFailed when a part has failed; the others are told then.
    """
    soon, stale = figures.read(figures.SLA_NOTICE_DAYS, figures.STALE_DAYS)
    items, counts, digests = Items(), Counter(dict.fromkeys(Kind, 0)), Digests()
    with transaction.atomic():
        with connection.cursor() as cursor:  # one at a time: each looks at the digests of the day
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"farms.pending:{today}"])
        officers = _Officers(today)
        for kind, chunk in _chunks(today, soon, stale, size):
            told: list[tuple[Waiting, list[uuid.UUID]]] = []
            with items.contained(f"{kind} from {chunk[0].subject}"):
                told = _log(kind, chunk, officers, today)
            counts[kind] += len(told)
            for officer, theirs in _by_officer(told).items():
                digests.setdefault(officer, defaultdict(Part))[kind].add(theirs)
            progress.report(counts.total())
        _send(digests, today, soon, stale)
        if counts[Kind.STALE]:
            about = {"count": counts[Kind.STALE], "day": today.isoformat()}
            enqueue("core.tasks.send_admin_notification", "stale_applications", about)
    result = {**{kind.value: counts[kind] for kind in Kind}, "officers": len(digests)}
    items.end(result)
    return result


def _log(
    kind: Kind, chunk: Sequence[Waiting], officers: _Officers, today: date
) -> list[tuple[Waiting, list[uuid.UUID]]]:
    """Log those of the chunk that nobody has logged, and say who is told of each."""
    found = [(one, who) for one, who in zip(chunk, officers.of(kind, chunk), strict=True) if who is not None]
    entries = [
        Entry(one.subject, kind, one.due_day, ReminderOutcome.SENT if who else ReminderOutcome.NO_CONTACT)
        for one, who in found
    ]
    new = reminders.claim(entries, today=today)
    return [(one, who) for one, who in found if (one.subject, kind.value) in new]


def _by_officer(told: Iterable[tuple[Waiting, list[uuid.UUID]]]) -> dict[uuid.UUID, list[Waiting]]:
    theirs = defaultdict(list)
    for one, who in told:
        for officer in who:
            theirs[officer].append(one)
    return theirs


# --- what waits ----------------------------------------------------------------------------------------------------


def _chunks(today: date, soon: int, stale: int, size: int) -> Iterator[tuple[Kind, list[Waiting]]]:
    """All that is to be told today, or was before, a chunk at a time."""
    midnight = clock.at(today, time())
    days = [today + timedelta(days=ahead) for ahead in range(soon + 3)]
    last = max(day for day in days if due_day(day, soon) <= today)
    due = ReviewItem.objects.exclude(status=ReviewStatus.COMPLETED)
    ends = clock.at(last + timedelta(days=1), time())
    for chunk in _reviews(due.filter(due_at__gte=midnight, due_at__lt=ends), lambda day: due_day(day, soon), size):
        yield Kind.SLA_SOON, chunk
    for chunk in _reviews(due.filter(due_at__lt=midnight), lambda day: day + timedelta(days=1), size):
        yield Kind.SLA_OVERDUE, chunk

    def told_on(moved: datetime) -> date:
        day = notice_due(day_of(moved), stale + 1, AGAIN_DAYS, today)
        assert day  # noqa: S101 - they have not moved since `still`
        return day

    still = midnight - timedelta(days=stale)
    for rows, columns in (
        (
            FarmApplication.objects.filter(status__in=WAITING, last_movement_at__lt=still),
            ("application_number", "region", "constituency"),
        ),
        (
            BatchEnrollment.objects.filter(status__in=[status.value for status in WAITING], last_movement_at__lt=still),
            ("enrollment_number", "farm__constituency__region", "farm__constituency"),
        ),
    ):
        for chunk in _unmoved(rows, columns, told_on, size):
            yield Kind.STALE, chunk


def _reviews(rows: QuerySet[ReviewItem], due: Callable[[date], date], size: int) -> Iterator[list[Waiting]]:
    columns = (
        *("pk", "level", "due_at", "claimed_by", "application__application_number", "application__region"),
        *("application__constituency", "enrollment__enrollment_number"),
        *("enrollment__farm__constituency__region", "enrollment__farm__constituency"),
    )
    after = uuid.UUID(int=0)
    while chunk := list(rows.filter(pk__gt=after).order_by("pk").values_list(*columns)[:size]):
        after = chunk[-1][0]
        yield [
            Waiting(
                pk, f"review:{pk}", number or of_enrollment, ReviewLevel(level),
                Place(region or farm_region, constituency or farm_constituency),
                due(day_of(due_at)), due_at, claimed_by,
            )
            for pk, level, due_at, claimed_by, number, region, constituency, of_enrollment, farm_region,
            farm_constituency in chunk
        ]  # fmt: skip


def _unmoved(
    rows: QuerySet[FarmApplication] | QuerySet[BatchEnrollment],
    columns: tuple[str, str, str],
    due: Callable[[datetime], date],
    size: int,
) -> Iterator[list[Waiting]]:
    """`columns` are its number, region and constituency."""
    name = "application" if rows.model is FarmApplication else "enrollment"
    after = uuid.UUID(int=0)
    while chunk := list(
        rows.filter(pk__gt=after).order_by("pk").values_list("pk", "status", "last_movement_at", *columns)[:size]
    ):
        after = chunk[-1][0]
        yield [
            Waiting(
                pk,
                f"{name}:{pk}",
                number,
                rules.level_of(status) or ReviewLevel.CONSTITUENCY,  # submitted: before the first
                Place(region, constituency),
                due(moved),
                moved,
            )
            for pk, status, moved, number, region, constituency in chunk
        ]


# --- who is told ---------------------------------------------------------------------------------------------------


class _Officers:
    """Whom each is told to, asked for once in a level and place."""

    def __init__(self, today: date) -> None:
        self._today = today
        self._groups: dict[tuple[Kind, ReviewLevel, Place], list[uuid.UUID]] = {}
        self._has_digest: dict[uuid.UUID, bool] = {}

    def of(self, kind: Kind, chunk: Sequence[Waiting]) -> list[list[uuid.UUID] | None]:
        """The officers for each; None when one of them has the digest of the day already."""
        found = [self._told(kind, one) for one in chunk]
        self._look_at({officer for who in found for officer in who} - set(self._has_digest))
        return [None if any(self._has_digest[officer] for officer in who) else who for who in found]

    def _told(self, kind: Kind, one: Waiting) -> list[uuid.UUID]:
        """Who claimed it and still decides there, else all who do; the admin of the level too when it is late; and of
        what does not move the admin one level above.
        """
        level, place = one.level, _reach(one.level, one.place)
        if kind == Kind.STALE:
            return self._group(kind, level, place, lambda: _above(level, place))
        deciding = self._group(Kind.SLA_SOON, level, place, lambda: selectors.reviewers(level, place))
        told = [officer for officer in deciding if officer == one.claimed_by] or deciding
        if kind == Kind.SLA_OVERDUE:
            told = list(dict.fromkeys([*told, *self._group(kind, level, place, lambda: people.admins_for(place))]))
        return told

    def _group(
        self, kind: Kind, level: ReviewLevel, place: Place, ask: Callable[[], list[Recipient]]
    ) -> list[uuid.UUID]:
        if (kind, level, place) not in self._groups:
            self._groups[kind, level, place] = [one.user_id for one in ask()]
        return self._groups[kind, level, place]

    def _look_at(self, officers: set[uuid.UUID]) -> None:
        if officers:
            keys = [_key(officer, self._today) for officer in officers]
            rows = Notification.objects.filter(user__in=officers, idempotency_key__in=keys)
            have = set(rows.values_list("user", flat=True))
            self._has_digest |= {officer: officer in have for officer in officers}


def _reach(level: ReviewLevel, place: Place) -> Place:
    """The part of the country for which a review of this level is done by the same people."""
    if level == ReviewLevel.CONSTITUENCY:
        return place
    return Place(place.region_id) if level == ReviewLevel.REGIONAL else NATION


def _above(level: ReviewLevel, place: Place) -> list[Recipient]:
    if level == ReviewLevel.NATIONAL:
        return people.platform_admins()
    return people.admins_for(Place(place.region_id) if level == ReviewLevel.CONSTITUENCY else NATION)


# --- the digest ----------------------------------------------------------------------------------------------------


def _send(digests: Digests, today: date, soon: int, stale: int) -> None:
    tellings = []
    for officer in User.objects.filter(pk__in=digests).order_by("pk"):
        found = {
            kind.value: (part.count, [number for _, number in part.longest])
            for kind, part in digests[officer.pk].items()
        }
        values = {
            "name": officer.called,
            "day": f"{today:%a %-d %b %Y}",
            "lines": messages.waiting(found, soon=soon, stale=stale),
            "link": links.reviews(),
        }
        tellings.append(Telling(addressee_of(officer), values, _key(officer.pk, today), ("day", today.isoformat())))
    queue_templated_all(messages.REVIEW_DIGEST, tellings)


def _key(officer: uuid.UUID, today: date) -> str:
    return f"review-digest:{officer}:{today}"
