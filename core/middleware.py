"""What is logged of a request."""

from __future__ import annotations

import re
from typing import Any

from django.contrib.auth.middleware import get_user
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from django_structlog.middlewares import RequestMiddleware

_TOKENS = re.compile(
    r"^(/m/|/hooks/[^/]+/receipts/|/accounts/(?:password/new|email/verify|invitation)/|/farms/(?:invitation|changes)/).+",
    re.DOTALL,
)


class RequestLog(RequestMiddleware):
    """Names the address without what follows the `?`: people search for names and numbers (domain.md 1.2).

    And without a token that is part of it: who has that may act with it.
    """

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        path = _TOKENS.sub(r"\1***", request.path)
        return f"{request.method} {path}"

    @staticmethod
    def bind_user_id(request: HttpRequest) -> None:
        """The library keeps `request.user` as it is at this moment. The app's session comes later: look again then."""
        RequestMiddleware.bind_user_id(request)

        def user() -> Any:
            request.session.accessed = True
            return get_user(request)

        if not request.session.accessed:
            request.user = SimpleLazyObject(user)  # type: ignore[assignment]
