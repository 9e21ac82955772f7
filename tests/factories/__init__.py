"""Rows that are valid by default. `UserFactory.create(role="REGIONAL_ADMIN")` brings the region that the role needs."""

from tests.factories.accounts import ConstituencyFactory, DistrictFactory, RegionFactory, UserFactory
from tests.factories.farms import (
    BatchEnrollmentFactory,
    BatchFactory,
    DailyProductionFactory,
    FarmApplicationFactory,
    FarmFactory,
    FlockFactory,
    a_farm,
)

__all__ = [
    "BatchEnrollmentFactory",
    "BatchFactory",
    "ConstituencyFactory",
    "DailyProductionFactory",
    "DistrictFactory",
    "FarmApplicationFactory",
    "FarmFactory",
    "FlockFactory",
    "RegionFactory",
    "UserFactory",
    "a_farm",
]
