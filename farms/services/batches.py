"""Recruitment rounds: made, opened, paused, closed (domain.md 4.2.4)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal

from django.db import transaction

from accounts import selectors as people
from accounts.models import Constituency, Region, User
from accounts.policy import Action
from core.base import cleaning
from core.base.services import record, record_of_itself
from core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from farms import rules
from farms.models import Batch
from farms.rules import Act, BatchStatus


@dataclass(frozen=True, kw_only=True)
class Round:
    """A batch as it is planned. Empty limits mean any."""

    batch_name: str
    batch_code: str
    start_date: date
    end_date: date
    application_deadline: date
    total_slots: int
    target_region: Region | None = None
    eligible_constituencies: Sequence[Constituency] = ()
    allow_overbooking: bool = False
    min_age: int = rules.YOUNGEST
    max_age: int = rules.OLDEST
    min_bird_capacity: int | None = None
    max_bird_capacity: int | None = None
    min_farm_age_months: int | None = None
    max_farm_age_years: int | None = None
    support_package_value: Decimal = Decimal("0.00")
    support_package_details: str = ""
    approval_sla_days: int = 30


@transaction.atomic
def create(*, actor: User, plan: Round) -> Batch:
    """Plan a batch as a draft. Raises NotAllowed, and InvalidInput, which names every field at fault."""
    _must_manage(actor)
    batch = Batch()
    _fill(batch, plan)
    batch.save(force_insert=True)
    batch.eligible_constituencies.set(plan.eligible_constituencies)
    _write_down("batch.create", actor, batch, after=_shown(plan))
    return batch


@transaction.atomic
def change(*, actor: User, batch_id: uuid.UUID, plan: Round) -> Batch:
    """Plan a batch anew, while it is not closed. A moved deadline counts at once. Raises NotFound, NotAllowed,
    Conflict, InvalidInput.
    """
    batch = _locked(actor, batch_id)
    if batch.status in (BatchStatus.CLOSED, BatchStatus.ARCHIVED):
        raise Conflict(f"This batch is {batch.status}: it cannot be changed now.")
    if not plan.allow_overbooking and plan.total_slots < batch.slots_filled:
        raise InvalidInput(f"total_slots: {batch.slots_filled} farms are approved already.")
    before = _shown(_planned(batch))
    _fill(batch, plan)
    batch.save()
    batch.eligible_constituencies.set(plan.eligible_constituencies)
    _write_down("batch.change", actor, batch, before=before, after=_shown(plan))
    return batch


@transaction.atomic
def publish(*, actor: User, batch_id: uuid.UUID) -> Batch:
    """Show a draft and let it accept applications. Raises NotFound, NotAllowed, Conflict; so do the four below."""
    return _moved(actor, _locked(actor, batch_id), Act.PUBLISH)


@transaction.atomic
def pause(*, actor: User, batch_id: uuid.UUID) -> Batch:
    """Accept nothing for a while: the batch stays visible, and nobody is reminded."""
    return _moved(actor, _locked(actor, batch_id), Act.PAUSE)


@transaction.atomic
def resume(*, actor: User, batch_id: uuid.UUID) -> Batch:
    """Accept applications again."""
    return _moved(actor, _locked(actor, batch_id), Act.RESUME)


@transaction.atomic
def close(*, actor: User, batch_id: uuid.UUID) -> Batch:
    """Accept nothing any more."""
    return _moved(actor, _locked(actor, batch_id), Act.CLOSE)


@transaction.atomic
def archive(*, actor: User, batch_id: uuid.UUID) -> Batch:
    """Hide a closed batch."""
    return _moved(actor, _locked(actor, batch_id), Act.ARCHIVE)


@transaction.atomic
def close_past(*, today: date, now: datetime) -> int:
    """Close live and paused batches whose deadline has passed. Returns how many. Safe to repeat: it goes by state."""
    past = dict(
        Batch.objects.select_for_update(no_key=True)
        .filter(status__in=[BatchStatus.LIVE, BatchStatus.PAUSED], application_deadline__lt=today)
        .order_by("pk")
        .values_list("pk", "status")
    )
    Batch.objects.filter(pk__in=past).update(status=BatchStatus.CLOSED, updated_at=now)
    changes = {pk: ({"status": before}, {"status": BatchStatus.CLOSED}) for pk, before in past.items()}
    record_of_itself(action="batch.close", subject_type="batch", changes=changes)
    return len(past)


def _must_manage(actor: User) -> None:
    if not people.may(actor, Action.MANAGE_BATCHES):
        raise NotAllowed("Batches are managed by national admins, and by national staff with the code manage_batches.")


def _locked(actor: User, batch_id: uuid.UUID) -> Batch:
    _must_manage(actor)
    batch = Batch.objects.select_for_update(no_key=True).filter(pk=batch_id).first()
    if batch is None:
        raise NotFound("There is no such batch.")
    return batch


def _moved(actor: User, batch: Batch, act: Act) -> Batch:
    before = BatchStatus(batch.status)
    batch.status = rules.following(rules.BATCH, before, act, what="batch")
    batch.save(update_fields=["status", "updated_at"])
    _write_down(f"batch.{act.name.lower()}", actor, batch, before={"status": before}, after={"status": batch.status})
    return batch


def _fill(batch: Batch, plan: Round) -> None:
    for field in fields(Round):
        if field.name != "eligible_constituencies":
            setattr(batch, field.name, getattr(plan, field.name))
    if plan.target_region and any(place.region_id != plan.target_region.pk for place in plan.eligible_constituencies):
        raise InvalidInput("eligible_constituencies: One of them lies outside the target region.")
    cleaning.check(batch)


def _planned(batch: Batch) -> Round:
    figures = {field.name: getattr(batch, field.name) for field in fields(Round)}
    return Round(**{**figures, "eligible_constituencies": list(batch.eligible_constituencies.all())})


def _shown(plan: Round) -> dict[str, object]:
    shown: dict[str, object] = {field.name: getattr(plan, field.name) for field in fields(Round)}
    shown["target_region"] = plan.target_region.code if plan.target_region else None
    shown["eligible_constituencies"] = sorted(place.code for place in plan.eligible_constituencies)
    return shown


def _write_down(action: str, actor: User, batch: Batch, *, before: object = None, after: object = None) -> None:
    record(action=action, subject=("batch", str(batch.pk)), actor_id=actor.pk, before=before, after=after)
