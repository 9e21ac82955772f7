"""Rows that are valid by default. `UserFactory.create(role="REGIONAL_ADMIN")` brings the region that the role needs."""

from tests.factories.accounts import ConstituencyFactory, DistrictFactory, RegionFactory, UserFactory

__all__ = ["ConstituencyFactory", "DistrictFactory", "RegionFactory", "UserFactory"]
