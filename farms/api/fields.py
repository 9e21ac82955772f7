"""Kinds of fields that the forms of farms share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers
from rest_framework.fields import empty

from accounts import selectors as people
from accounts.models import Constituency, Region
from core.errors import InvalidInput


class Word(serializers.ChoiceField):
    """A status or kind in any case, with spaces or hyphens for underscores (domain.md 1.2)."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, str):
            data = "_".join(data.lower().replace("-", " ").replace("_", " ").split())
        return super().to_internal_value(data)


class PlaceCode(serializers.CharField):
    """The code of a place, in any case; the value is the place, None when it is left out or empty."""

    def find(self, code: str) -> Region | Constituency:
        raise NotImplementedError

    def run_validation(self, data: Any = empty) -> Any:
        code = super().run_validation(data)  # it is plain text before the database is asked
        try:
            return self.find(code) if code else None
        except InvalidInput as unknown:
            raise serializers.ValidationError(str(unknown)) from unknown


class RegionCode(PlaceCode):
    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=2, **options)

    def find(self, code: str) -> Region:
        return people.region_by_code(code)


class ConstituencyCode(PlaceCode):
    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=3, **options)

    def find(self, code: str) -> Constituency:
        return people.constituency(code)


def constituencies(codes: Sequence[str]) -> list[Constituency]:
    """The constituencies of these codes, at once. Raises ValidationError that names unknown ones."""
    wanted = {code.upper() for code in codes}
    found = list(Constituency.objects.select_related("region").filter(code__in=wanted).order_by("code"))
    if unknown := sorted(wanted - {place.code for place in found}):
        raise serializers.ValidationError(f"These constituency codes are not known: {', '.join(unknown[:5])}")
    return found
