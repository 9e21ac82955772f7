"""Every error of the API as problem details (RFC 9457), those of Django and of our own included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response

from core.errors import DomainError

MEDIA_TYPE = "application/problem+json"
PREFIX = "/api/"
WHERE_TO_LOOK = "There is nothing at this address. The addresses are listed at /api/v1/docs/"


def problem(status: int, detail: str, code: str, **more: object) -> dict[str, object]:
    """`code` is the stable word for programs, `detail` the sentence for people."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **more,
    }


def handle(error: Exception, _context: Mapping[str, Any]) -> Response | None:
    """The answer to an error raised in a view; None for what nobody foresaw: `server_error` tells."""
    if isinstance(error, DomainError):
        status = HTTPStatus(error.status)
        return _answer(error.status, problem(error.status, str(error), status.name.lower()))
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    if isinstance(error, exceptions.ValidationError):
        fields = [{"field": field, "detail": said} for field, said in _faults(error.detail)]
        detail = "Some of what was sent cannot be used: see errors."
        return _answer(400, problem(400, detail, "invalid", errors=fields))
    if isinstance(error, exceptions.APIException):
        code = error.get_codes()
        told = problem(error.status_code, str(error.detail), code if isinstance(code, str) else error.default_code)
        headers = {}
        wait = getattr(error, "wait", None)  # of Throttled
        if wait is not None:
            headers["Retry-After"] = f"{wait:.0f}"
        challenge = getattr(error, "auth_header", None)
        if challenge:
            headers["WWW-Authenticate"] = challenge
        return _answer(error.status_code, told, headers)
    return None


def _answer(status: int, data: dict[str, object], headers: dict[str, str] | None = None) -> Response:
    return Response(data, status=status, headers=headers, content_type=MEDIA_TYPE)


def _faults(detail: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each fault with the dotted path of its field; '' stands for the whole."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            whole = name == "non_field_errors"
            yield from _faults(inner, path if whole else f"{path}.{name}".lstrip("."))
    elif isinstance(detail, list):
        for number, inner in enumerate(detail):
            yield from _faults(inner, f"{path}.{number}" if isinstance(inner, Mapping | list) else path)
    else:
        yield path, str(detail)


# --- errors that meet a request before or after its view --------------------------------------------------------------


def _as_problem(status: int, detail: str, code: str) -> JsonResponse:
    return JsonResponse(problem(status, detail, code), status=status, content_type=MEDIA_TYPE)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith(PREFIX):
        return _as_problem(400, "The request cannot be read.", "bad_request")
    return defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith(PREFIX):
        return _as_problem(403, "This is not allowed.", "permission_denied")
    return defaults.permission_denied(request, exception)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith(PREFIX):
        return _as_problem(404, WHERE_TO_LOOK, "not_found")
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    if request.path.startswith(PREFIX):
        detail = "Something broke here; it was written down. Try again later, with the same Idempotency-Key."
        return _as_problem(500, detail, "error")
    return defaults.server_error(request)
