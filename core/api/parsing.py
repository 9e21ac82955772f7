"""Bodies as they come from anywhere, of bounded size: JSON, always UTF-8 and of bounded depth, and files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

LARGEST_BODY = 1_000_000  # bytes


class TooLarge(APIException):
    status_code = 413
    default_code = "too_large"

    def __init__(self, largest: int) -> None:
        super().__init__(f"The body is larger than {largest:,} bytes. Send less at once.")


class FileParser(BaseParser):
    """The body as it is, in bytes."""

    media_type = "*/*"
    largest = LARGEST_BODY

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,  # noqa: ARG002 - the signature of REST framework
        parser_context: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> Any:
        body: bytes = stream.read(self.largest + 1)
        if len(body) > self.largest:
            raise TooLarge(self.largest)
        return body


class JSONParser(FileParser):
    """Whatever cannot be read is the sender's fault and says so: no text makes it fail otherwise."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        body = super().parse(stream, media_type, parser_context)
        try:
            return json.loads(body.decode(), parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise ParseError("The body is not JSON. Send one JSON value in UTF-8.") from error


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
