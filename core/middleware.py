"""What is logged of a request."""

from __future__ import annotations

import re

from django.http import HttpRequest
from django_structlog.middlewares import RequestMiddleware

_TOKENS = re.compile(r"^(/m/|/hooks/[^/]+/receipts/|/accounts/(?:password/new|email/verify|invitation)/).+", re.DOTALL)


class RequestLog(RequestMiddleware):
    """Names the address without what follows the `?`: people search for names and numbers (domain.md 1.2).

    And without a token that is part of it: who has that may act with it.
    """

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        path = _TOKENS.sub(r"\1***", request.path)
        return f"{request.method} {path}"
