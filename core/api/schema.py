"""What the OpenAPI description says of every operation: its errors."""

from __future__ import annotations

from typing import Any

from core.api.errors import MEDIA_TYPE

PROBLEM = {
    "type": "object",
    "description": "RFC 9457. `code` is a stable word for programs, `detail` a sentence for people.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "the fields at fault, when some are",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
ERRORS = {
    "400": "what was sent cannot be used",
    "401": "not signed in",
    "403": "not allowed, or the CSRF token is missing",
    "404": "there is no such thing, or it is not in your scope",
    "405": "not a method of this address",
    "406": "only application/json is answered",
    "409": "it does not fit how things stand",
    "413": "the body is too large",
    "415": "not a kind of body that is read here",
    "422": "the Idempotency-Key belongs to another request",
    "429": "too many requests: see Retry-After",
}


def describe_errors(result: dict[str, Any], generator: object, request: object, public: bool) -> dict[str, Any]:  # noqa: ARG001
    """A hook of drf-spectacular: problem details for each operation."""
    result.setdefault("components", {}).setdefault("schemas", {})["Problem"] = PROBLEM
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for methods in result.get("paths", {}).values():
        for operation in methods.values():
            for status, description in ERRORS.items():
                operation["responses"].setdefault(status, {"description": description, "content": content})
    return result
