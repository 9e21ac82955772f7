"""Check constraints that many tables share."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from core import phones
from farms import rules


def one_of(
    table: str, field: str, choices: type[models.TextChoices], *, or_empty: bool = False
) -> models.CheckConstraint:
    values = [*choices.values, *([""] if or_empty else [])]
    return models.CheckConstraint(condition=Q(**{f"{field}__in": values}), name=f"farms_{table}_{field}")


def at_least(table: str, field: str, least: int) -> models.CheckConstraint:
    return models.CheckConstraint(
        condition=Q(**{f"{field}__gte": least}),
        name=f"farms_{table}_{field}_least",
        violation_error_message=f"{field} must be at least {least}.",
    )


def score(table: str, field: str) -> models.CheckConstraint:
    return models.CheckConstraint(
        condition=Q(**{f"{field}__gte": 0, f"{field}__lte": 100}), name=f"farms_{table}_{field}_range"
    )


def filled(table: str, field: str) -> models.CheckConstraint:
    return models.CheckConstraint(
        condition=Q(**{f"{field}__regex": r"\S"}),
        name=f"farms_{table}_{field}_filled",
        violation_error_message=f"{field} must not be empty.",
    )


def identity(table: str) -> list[models.BaseConstraint]:
    """Forms of Ghana Card, TIN and phone."""
    return [
        models.CheckConstraint(
            condition=Q(ghana_card_number__regex=rules.GHANA_CARD),
            name=f"farms_{table}_ghana_card_form",
            violation_error_message="Ghana Card: write the number as GHA-123456789-0.",
        ),
        models.CheckConstraint(
            condition=Q(tin="") | Q(tin__regex=rules.TIN),
            name=f"farms_{table}_tin_form",
            violation_error_message="TIN: write a letter and ten digits, or ten or eleven digits.",
        ),
        models.CheckConstraint(
            condition=Q(primary_phone__regex=phones.E164),
            name=f"farms_{table}_phone_form",
            violation_error_message=f"Phone: {phones.HOW}.",
        ),
    ]


def explained_changes(table: str, reviews: tuple[models.TextChoices, ...]) -> models.CheckConstraint:
    """Who is to change something knows until when, and the system where the subject came from."""
    return models.CheckConstraint(
        condition=~Q(status="changes_requested")
        | Q(changes_from_status__in=[status.value for status in reviews], changes_deadline__isnull=False),
        name=f"farms_{table}_changes_explained",
    )


def explained_event(table: str) -> models.CheckConstraint:
    return models.CheckConstraint(
        condition=~Q(to_status__in=["rejected", "changes_requested"]) | Q(reason__regex=r"\S"),
        name=f"farms_{table}_explained",
        violation_error_message="Give a reason.",
    )
