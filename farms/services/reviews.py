"""Reviews: what officers do with an item, and how a subject comes to a level and leaves it (domain.md 4.2.5)."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db import transaction

from accounts import selectors as people
from accounts.models import User
from accounts.policy import Action
from core.base import figures
from core.base.registries import Place
from core.base.services import record
from core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from farms import rules, selectors
from farms.models import BatchEnrollment, FarmApplication, ReviewItem, ReviewNote
from farms.rules import Act, ReviewLevel, ReviewStatus

Subject = FarmApplication | BatchEnrollment

SLA = {
    ReviewLevel.CONSTITUENCY: figures.SLA_CONSTITUENCY,
    ReviewLevel.REGIONAL: figures.SLA_REGIONAL,
    ReviewLevel.NATIONAL: figures.SLA_NATIONAL,
}
LONGEST_NOTE = 1_000


@transaction.atomic
def claim(*, actor: User, item_id: uuid.UUID, now: datetime) -> ReviewItem:
    """Take a pending review. Raises NotFound, NotAllowed, and Conflict when it is taken or over; once more by the same
    person it is refused too.
    """
    item = _for_reviewer(actor, item_id)
    item.claimed_by = actor
    return _moved_by(actor, item, Act.CLAIM, now)


@transaction.atomic
def start(*, actor: User, item_id: uuid.UUID, now: datetime) -> ReviewItem:
    """Say that work on a claimed review has begun. Raises NotFound, NotAllowed, Conflict."""
    return _moved_by(actor, _claimed_by(actor, item_id), Act.START, now)


@transaction.atomic
def release(*, actor: User, item_id: uuid.UUID, now: datetime) -> ReviewItem:
    """Give a claimed review back to the others of the level. Raises NotFound, NotAllowed, Conflict."""
    item = _claimed_by(actor, item_id)
    item.claimed_by = None
    return _moved_by(actor, item, Act.RELEASE, now)


@transaction.atomic
def note(*, actor: User, item_id: uuid.UUID, text: str, now: datetime) -> ReviewNote:
    """Write down something for those who decide; who decides at the level may note too.

    Not safe to repeat: each call is a note. Raises NotFound, NotAllowed, InvalidInput, and Conflict when it is decided.
    """
    item, place = _locked(actor, item_id)
    level = ReviewLevel(item.level)
    notes = level == ReviewLevel.CONSTITUENCY and people.may(actor, Action.NOTE_AT_CONSTITUENCY, place)
    if not notes and not people.may(actor, selectors.DECIDES[level], place):
        raise NotAllowed(f"Your role does not let you note at the {level} level here.")
    if item.status == ReviewStatus.COMPLETED:
        raise Conflict("This review is over: nobody would read the note.")
    words = text.strip()
    if not 1 <= len(words) <= LONGEST_NOTE or "\0" in words:
        raise InvalidInput(f"A note has 1 to {LONGEST_NOTE} letters.")
    return ReviewNote.objects.create(item=item, author=actor, text=words, at=now)


def _for_reviewer(actor: User, item_id: uuid.UUID) -> ReviewItem:
    item, place = _locked(actor, item_id)
    must_decide(actor, ReviewLevel(item.level), place)
    return item


def _claimed_by(actor: User, item_id: uuid.UUID) -> ReviewItem:
    item = _for_reviewer(actor, item_id)
    if item.claimed_by_id not in (None, actor.pk):
        raise Conflict("Somebody else has claimed this review.")
    return item


def _locked(actor: User, item_id: uuid.UUID) -> tuple[ReviewItem, Place]:
    item = (
        ReviewItem.objects.select_for_update(of=("self",), no_key=True)
        .select_related("application", "enrollment__farm__constituency")
        .filter(pk=item_id)
        .first()
    )
    place = selectors.place_of(item) if item else None
    if item is None or place is None or not people.may(actor, Action.SEE_APPLICATIONS, place):
        raise NotFound("There is no such review, or not in your scope.")
    return item, place


def _moved_by(actor: User, item: ReviewItem, act: Act, now: datetime) -> ReviewItem:
    """A step that is the reviewer's own. Opened and completed a review is with an event of its subject."""
    before = ReviewStatus(item.status)
    _moved(item, act, now)
    record(
        action=f"review.{act.name.lower()}",
        subject=("review", str(item.pk)),
        actor_id=actor.pk,
        before={"status": before},
        after={"status": item.status},
    )
    return item


def _moved(item: ReviewItem, act: Act, now: datetime) -> ReviewItem:
    item.status = rules.following(rules.REVIEW, ReviewStatus(item.status), act, what="review")
    item.completed_at = now if item.status == ReviewStatus.COMPLETED else None
    item.save(update_fields=["status", "claimed_by", "entered_at", "due_at", "completed_at", "updated_at"])
    return item


# --- for applications and enrolments, which hold the lock of the subject ---------------------------------------------


def must_decide(actor: User, level: ReviewLevel, place: Place) -> None:
    if not people.may(actor, selectors.DECIDES[level], place):
        raise NotAllowed(f"Your role does not let you decide at the {level} level here.")


def open_at(subject: Subject, level: ReviewLevel, *, now: datetime, latest: datetime | None = None) -> ReviewItem:
    """Put the subject before a level: a new item, or the one it came from, with a fresh `due_at`."""
    [days] = figures.read(SLA[level])
    due = max(now, rules.due_at(now, days, latest=latest))
    item = _item(subject, level)
    if item is None:
        return ReviewItem.objects.create(level=level, entered_at=now, due_at=due, **_is(subject))
    item.claimed_by, item.entered_at, item.due_at = None, now, due
    return _moved(item, Act.REOPEN, now)


def complete(subject: Subject, level: ReviewLevel, actor: User, *, now: datetime) -> ReviewItem:
    """Close the item of a level: it was decided, or the subject is withdrawn. Anybody who may decide there may decide
    on what another one has claimed: claims tell who works on it, and nobody's absence stops a subject.
    """
    item = _item(subject, level)
    if item is None:
        raise NotFound(f"There is no {level} review of {subject}.")
    item.claimed_by = item.claimed_by or actor
    return _moved(item, Act.COMPLETE, now)


def _item(subject: Subject, level: ReviewLevel) -> ReviewItem | None:
    return ReviewItem.objects.select_for_update(no_key=True).filter(level=level, **_is(subject)).first()


def _is(subject: Subject) -> dict[str, Subject]:
    return {"application" if isinstance(subject, FarmApplication) else "enrollment": subject}
