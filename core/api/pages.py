"""Lists in pages that go on after the last row, however long the list is and whatever was added meanwhile."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from django.core.exceptions import ValidationError
from django.db.models import Model, Q, QuerySet
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from core.errors import InvalidInput

if TYPE_CHECKING:  # REST framework's views import this module
    from rest_framework.views import APIView

LARGEST = 200
USUAL = 50
LONGEST_CURSOR = 2_000
BAD_CURSOR = "The cursor cannot be read. Take the address in `next` as it is, or begin again without cursor."
BAD_LIMIT = f"limit must be a whole number from 1 to {LARGEST}."


class Pages(BasePagination):
    """`ordering` of the view: columns that are unique together and never empty, all ascending or all with a minus.

    `sorted_by` of the view, if it has one: the same order by expressions that no index has, for what is cheaper to
    gather and sort than to come by in order.
    """

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: APIView | None = None
    ) -> list[Any]:
        self.request = request
        ordering: tuple[str, ...] = getattr(view, "ordering", ("pk",))
        limit = _limit(request.query_params.get("limit", ""))
        cursor = request.query_params.get("cursor", "")
        queryset = cast("QuerySet[Any]", queryset)
        found = queryset.order_by(*getattr(view, "sorted_by", ordering))
        if cursor:
            found = found.filter(_after(ordering, _read(cursor, queryset.model, ordering)))
        rows = list(found[: limit + 1])
        self.next = _write(rows[limit - 1], ordering) if len(rows) > limit else None
        return rows[:limit]

    def get_paginated_response(self, data: Any) -> Response:
        here = self.request.build_absolute_uri()
        following = replace_query_param(here, "cursor", self.next) if self.next else None
        return Response({"next": following, "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        following = {"type": "string", "format": "uri", "nullable": True, "description": "the following page, if any"}
        return {
            "type": "object",
            "required": ["next", "results"],
            "properties": {"next": following, "results": schema},
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:  # noqa: ARG002
        limit = {"type": "integer", "minimum": 1, "maximum": LARGEST, "default": USUAL}
        return [
            {"name": "cursor", "in": "query", "description": "from `next`", "schema": {"type": "string"}},
            {"name": "limit", "in": "query", "description": "rows in a page", "schema": limit},
        ]


class First(Pages):
    """The first rows in the order of the queryset, such as the most urgent of a queue, which moves on as it is worked
    on: no page follows.
    """

    def paginate_queryset(
        self,
        queryset: QuerySet[Any] | Sequence[Any],
        request: Request,
        view: APIView | None = None,  # noqa: ARG002 - the signature of REST framework
    ) -> list[Any]:
        self.request, self.next = request, None
        return list(queryset[: _limit(request.query_params.get("limit", ""))])

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        return [one for one in super().get_schema_operation_parameters(view) if one["name"] == "limit"]


def _limit(text: str) -> int:
    if not text:
        return USUAL
    limit = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST)) else 0
    if not 1 <= limit <= LARGEST:
        raise InvalidInput(BAD_LIMIT)
    return limit


def _names(ordering: tuple[str, ...]) -> list[str]:
    return [name.removeprefix("-") for name in ordering]


def _write(row: Model, ordering: tuple[str, ...]) -> str:
    place = [str(getattr(row, name)) for name in _names(ordering)]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _read(cursor: str, model: type[Model], ordering: tuple[str, ...]) -> Mapping[str, object]:
    """The values of the last row by column. Raises InvalidInput for everything that `_write` has not written."""
    names = _names(ordering)
    try:
        texts = json.loads(base64.b64decode(cursor[:LONGEST_CURSOR].encode("ascii"), altchars=b"-_", validate=True))
        if not isinstance(texts, list) or len(texts) != len(names) or not all(_plain(text) for text in texts):
            raise InvalidInput(BAD_CURSOR)
        fields = [model._meta.pk if name == "pk" else model._meta.get_field(name) for name in names]
        return {name: field.to_python(text) for name, field, text in zip(names, fields, texts, strict=True)}  # type: ignore[union-attr]
    except (ValueError, RecursionError, ValidationError) as error:
        raise InvalidInput(BAD_CURSOR) from error


def _plain(text: object) -> bool:
    """Text that a column can hold: neither NUL nor half a character."""
    return isinstance(text, str) and "\x00" not in text and text.isprintable()


def _after(ordering: tuple[str, ...], place: Mapping[str, object]) -> Q:
    """Rows behind the place: (a, b) > (x, y), the first column also by itself so that its index is used."""
    word = "lt" if ordering[0].startswith("-") else "gt"
    names = list(place)
    behind = Q()
    for depth in range(len(names)):
        same = {name: place[name] for name in names[:depth]}
        behind |= Q(**same, **{f"{names[depth]}__{word}": place[names[depth]]})
    return Q(**{f"{names[0]}__{word}e": place[names[0]]}) & behind if len(names) > 1 else behind
