"""Reading people and geography."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Now

from accounts import rules
from accounts.models import Constituency, Region, User
from accounts.rules import Level, Role
from core.base.registries import Hour, Recipient
from core.errors import InvalidInput


def region(name: str) -> Region:
    """The region of this name in any case. Raises InvalidInput for unknown ones, with the hint for Brong-Ahafo."""
    if rules.is_brong_ahafo(name):
        raise InvalidInput(rules.NO_SUCH_REGION)
    found = Region.objects.filter(name__iexact=name.strip()).first()
    if not found:
        known = ", ".join(Region.objects.values_list("name", flat=True))
        raise InvalidInput(f"This region is not known. Use one of: {known}")
    return found


def constituency(code: str) -> Constituency:
    """The constituency of this code in any case. Raises InvalidInput when there is none."""
    found = Constituency.objects.select_related("region", "district").filter(code=code.strip().upper()).first()
    if not found:
        raise InvalidInput("This constituency code is not known. Use a code of three letters, such as TMW")
    return found


def platform_admins() -> list[Recipient]:
    """Whom platform-wide notices go to: every active SUPER_ADMIN and NATIONAL_ADMIN (domain.md 2.4)."""
    found = _active().filter(role__in=[Role.SUPER_ADMIN, Role.NATIONAL_ADMIN]).order_by("pk")
    return [Recipient(user.pk, user.email, user.phone) for user in found]


def users_by_level(_hour: Hour) -> dict[str, Any]:
    """Active people by level, every level named, and the farmers among them (domain.md 7.2)."""
    roles = dict(_active().values_list("role").annotate(count=Count("pk")).order_by())
    levels = Counter({level.value: 0 for level in Level})
    for role, count in roles.items():
        levels[rules.LEVELS[Role(role)].value] += count
    return {"users_by_level": dict(levels), "farmers": roles.get(Role.FARMER.value, 0)}


def _active() -> QuerySet[User]:
    """Neither invited only nor suspended; a suspension whose time is over has ended by itself (domain.md 4.1.2)."""
    return User.objects.filter(Q(is_suspended=False) | Q(suspended_until__lte=Now()), is_active=True)
