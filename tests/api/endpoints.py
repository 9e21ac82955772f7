"""The endpoints that there are, read from the addresses of the project."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from core.api.views import Nowhere

METHODS = ("get", "post", "put", "patch", "delete")


def walk(patterns: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        address = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, address)
        elif isinstance(pattern, URLPattern):
            yield address, getattr(pattern.callback, "view_class", pattern.callback)


def endpoints() -> dict[tuple[str, str], Any]:
    """The view of each (method, address) under /api/v1/."""
    found = {}
    for address, view in walk(get_resolver().url_patterns):
        if address.startswith("api/") and view is not Nowhere:
            for method in METHODS:
                if hasattr(view, method):
                    found[method, address.removeprefix("api/v1/")] = view
    return found
