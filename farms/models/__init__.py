"""Farms and what leads to them (domain.md 4.2). What a constraint can hold, PostgreSQL holds.

Composite foreign keys, transition tables, append-only tables and the sequences of numbers are SQL in migration 0002.
"""

from farms.models.applications import (
    ApplicationEvent,
    BatchEnrollment,
    EnrollmentEvent,
    FarmApplication,
    FarmInvitation,
    ReviewItem,
    ReviewNote,
)
from farms.models.batches import Batch
from farms.models.farms import (
    Biosecurity,
    Farm,
    FarmAssignment,
    FarmDocument,
    FarmLocation,
    FarmScore,
    Infrastructure,
)
from farms.models.flocks import Alert, DailyProduction, Flock, MortalityRecord, ProductionCorrection

__all__ = [
    "Alert",
    "ApplicationEvent",
    "Batch",
    "BatchEnrollment",
    "Biosecurity",
    "DailyProduction",
    "EnrollmentEvent",
    "Farm",
    "FarmApplication",
    "FarmAssignment",
    "FarmDocument",
    "FarmInvitation",
    "FarmLocation",
    "FarmScore",
    "Flock",
    "Infrastructure",
    "MortalityRecord",
    "ProductionCorrection",
    "ReviewItem",
    "ReviewNote",
]
