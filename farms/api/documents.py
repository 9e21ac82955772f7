"""Files of farms and applications: sent as they are, kept where no address leads, and read as they were sent."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.db.models import QuerySet
from django.http import FileResponse
from django.utils.cache import add_never_cache_headers
from drf_spectacular.types import OpenApiTypes
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from accounts.api.asking import asked
from core.api.parsing import FileParser
from core.api.views import Endpoint
from core.errors import InvalidInput, NotFound
from farms.api import serializers as forms
from farms.models import FarmDocument
from farms.services.farms import LARGEST_DOCUMENT

TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".pdf": "application/pdf"}  # by the endings that we give
KINDS_OF_FILE = tuple(TYPES.values())
DOCUMENT: Any = dict.fromkeys(KINDS_OF_FILE, OpenApiTypes.BINARY)
FILE: Any = {(200, kind): OpenApiTypes.BINARY for kind in KINDS_OF_FILE}


class DocumentParser(FileParser):
    largest = LARGEST_DOCUMENT


def received(request: Request) -> dict[str, Any]:
    """Kind and content of a document that was sent. Raises InvalidInput."""
    given = asked(forms.NewDocument, request)
    content: object = request.data
    if not isinstance(content, bytes):
        raise InvalidInput("Send the file itself as the body, with its own Content-Type, such as image/jpeg.")
    return {**given, "content": content}


def documents(found: QuerySet[FarmDocument]) -> Any:
    return forms.DocumentInfo(found.order_by("created_at"), many=True).data


class AsItIs(DefaultContentNegotiation):
    """A file is of the kind that it is, whatever the reader prefers; errors are JSON."""

    def select_renderer(
        self,
        _request: Request,
        renderers: Iterable[BaseRenderer],
        _format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        first = next(iter(renderers))
        return first, first.media_type


class FileEndpoint(Endpoint):
    content_negotiation_class = AsItIs


def file_of(found: QuerySet[FarmDocument], document_id: uuid.UUID) -> FileResponse:
    """The file of a document: it is saved, not shown, and nobody on its way keeps it. Raises NotFound."""
    document = found.filter(pk=document_id).first()
    if document is None:
        raise NotFound("There is no such document.")
    try:
        content = document.file.open()
    except FileNotFoundError:
        raise NotFound("This file is not in its place. Send it anew.") from None
    ending = Path(str(document.file)).suffix
    answer = FileResponse(content, as_attachment=True, filename=f"{document.kind}{ending}", content_type=TYPES[ending])
    add_never_cache_headers(answer)
    return answer
