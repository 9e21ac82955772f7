"""Long codes in groups, as people copy them."""

from __future__ import annotations

from django import template

register = template.Library()


@register.filter
def grouped(code: str) -> str:
    """1234567890123456 as 1234 5678 9012 3456."""
    return " ".join(code[start : start + 4] for start in range(0, len(code), 4))
