"""What has run out, twice a day (domain.md 7.6). That it has is seen when it is used, whether or not this came by."""

from __future__ import annotations

from datetime import datetime

from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Value
from django.db.models.functions import Least, Now

from accounts.models import StaffInvitation
from accounts.rules import InvitationStatus
from core.base.registries import expiry_steps
from core.base.retention import EXPIRY, RULES, clean, run_steps


def cleanup(*, now: datetime) -> dict[str, int]:
    """Run the registered steps of all apps, then delete tokens and codes past their retention. Counts by name.

    Safe to repeat and to run twice at once: all goes by time and state, in short transactions.
    """
    counts = run_steps(expiry_steps, now)
    for rule in RULES:
        if rule.by == EXPIRY and isinstance(rule.keep, int):
            counts[rule.name] = clean(rule, days=rule.keep, now=now)
    return counts


@transaction.atomic
def expire_invitations(now: datetime, limit: int) -> int:
    """A step of `cleanup`."""
    waiting = StaffInvitation.objects.filter(status=InvitationStatus.PENDING, expires_at__lte=_over(now))
    due = waiting.select_for_update(skip_locked=True).order_by("expires_at").values_list("pk", flat=True)[:limit]
    return StaffInvitation.objects.filter(pk__in=list(due)).update(status=InvitationStatus.EXPIRED, updated_at=Now())


@transaction.atomic
def delete_sessions(now: datetime, limit: int) -> int:
    """A step of `cleanup`: the sessions of browsers."""
    ended = Session.objects.filter(expire_date__lt=_over(now))
    due = ended.select_for_update(skip_locked=True).order_by("expire_date").values_list("pk", flat=True)[:limit]
    return Session.objects.filter(pk__in=list(due)).delete()[0]


def _over(now: datetime) -> Least:
    """A clock that runs ahead of the database's ends nothing early."""
    return Least(Value(now), Now())
