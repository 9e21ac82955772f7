"""Files of farms and applications: sent as they are, and kept where no address leads."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from rest_framework.request import Request

from accounts.api.asking import asked
from core.api.parsing import FileParser
from core.errors import InvalidInput
from farms.api import serializers as forms
from farms.models import FarmDocument
from farms.services.farms import LARGEST_DOCUMENT

KINDS_OF_FILE = ("image/jpeg", "image/png", "application/pdf")
DOCUMENT: Any = dict.fromkeys(KINDS_OF_FILE, OpenApiTypes.BINARY)


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
