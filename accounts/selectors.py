"""Reading people and geography."""

from __future__ import annotations

from accounts import rules
from accounts.models import Constituency, Region
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
