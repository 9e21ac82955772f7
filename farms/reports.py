"""What the activity report of a farm says of its birds and its way (domain.md 6.4).

Texts and whole numbers, as JSON has them; rates and kilograms are text, null where there is nothing to compare with.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from core import clock
from core.base.registries import FarmActivity, FarmEvent
from farms import selectors
from farms.models import Alert, ApplicationEvent, EnrollmentEvent, Farm, FarmScore, Flock
from farms.rules import Production
from farms.selectors import FlockFigures


def production(farm_id: uuid.UUID, first: date, last: date) -> FarmActivity:
    """Eggs, deaths and feed, of each flock and in all; flocks that arrived or ended."""
    farm = Farm.objects.get(pk=farm_id)
    figures = selectors.production_figures(farm, first=first, last=last)
    here = [one for one in figures.flocks if one.flock.ended_on is None or one.flock.ended_on >= first]
    return FarmActivity(
        {
            "flocks": [_flock(one, first, last) for one in here],
            "total": _sums(figures.total)
            | {
                "birds_now": figures.birds,
                "utilisation_pct": _text(figures.utilisation_pct),
                "days_reported": figures.days_reported,
                "days_with_birds": figures.days_active,
                "compliance_pct": _text(figures.compliance_pct),
            },
        },
        [event for one in here for event in _life(one.flock, first, last)],
    )


def _flock(one: FlockFigures, first: date, last: date) -> dict[str, Any]:
    flock, until = one.flock, min(last, one.flock.ended_on or last)
    return {
        "flock": flock.flock_number,
        "type": flock.flock_type,
        "age_weeks": flock.age_at_arrival_weeks + (until - flock.arrival_date).days // 7,
        "days_possible": (until - max(first, flock.arrival_date)).days + 1,
        "hen_housed": _text(one.hen_housed),
        "cumulative_mortality_pct": _text(one.cumulative_mortality_pct),
        "survival_pct": _text(one.survival_pct),
        **_sums(one.period),
    }


def _sums(found: Production) -> dict[str, Any]:
    return {
        "birds_at_start": found.exposed,
        "birds_at_end": found.birds_at_end,
        "eggs": found.eggs,
        "good_eggs": found.good_eggs,
        "hen_day_pct": _text(found.hen_day_pct),
        "egg_quality_pct": _text(found.egg_quality_pct),
        "deaths": found.deaths,
        "mortality_pct": _text(found.mortality_pct),
        "feed_kg": str(found.feed_kg),
        "feed_kg_per_dozen": _text(found.feed_per_dozen),
        "days_recorded": found.days_recorded,
    }


def _life(flock: Flock, first: date, last: date) -> Iterator[FarmEvent]:
    about = {"flock": flock.flock_number, "type": flock.flock_type}
    if first <= flock.arrival_date <= last:
        yield FarmEvent(_on(flock.arrival_date), "flock_arrived", about | {"birds": flock.initial_count})
    if flock.ended_on and first <= flock.ended_on <= last:
        ended = about | {"how": flock.status, "birds": flock.left_at_end}
        yield FarmEvent(_on(flock.ended_on), "flock_ended", ended)


def course(farm_id: uuid.UUID, first: date, last: date) -> FarmActivity:
    """The steps of its application and enrolments, alerts, and scores that changed."""
    begins, ends = _on(first), _on(last + timedelta(days=1))
    within = {"at__gte": begins, "at__lt": ends}
    events = [
        FarmEvent(step.at, "application", _step(step) | {"number": step.application.application_number})
        for step in ApplicationEvent.objects.select_related("application").filter(application__farm=farm_id, **within)
    ]
    events += [
        FarmEvent(
            step.at,
            "enrollment",
            _step(step) | {"number": step.enrollment.enrollment_number, "batch": step.enrollment.batch.batch_code},
        )
        for step in EnrollmentEvent.objects.select_related("enrollment__batch").filter(
            enrollment__farm=farm_id, **within
        )
    ]
    alerts = Alert.objects.select_related("flock").filter(farm=farm_id, created_at__gte=begins, created_at__lt=ends)
    events += [
        FarmEvent(
            alert.created_at,
            "alert",
            {
                "kind": alert.kind,
                "flock": alert.flock.flock_number,
                "day": alert.day.isoformat(),
                "severity": alert.severity,
                "value_pct": str(alert.value),
            },
        )
        for alert in alerts
    ]
    scores = FarmScore.objects.filter(farm=farm_id, day__gte=first, day__lte=last)
    events += [
        FarmEvent(_on(score.day), "score", {"readiness": str(score.readiness), "biosecurity": str(score.biosecurity)})
        for score in scores
    ]
    farm = Farm.objects.get(pk=farm_id)
    return FarmActivity(
        {
            "readiness": str(farm.readiness_score),
            "biosecurity": str(farm.biosecurity_score),
            "status": farm.farm_status,
        },
        events,
    )


def _step(step: ApplicationEvent | EnrollmentEvent) -> dict[str, str]:
    return {"from": step.from_status, "to": step.to_status, "reason": step.reason}


def _on(day: date) -> datetime:
    return clock.at(day, time())


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)
