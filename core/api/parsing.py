"""JSON as it comes from anywhere: always UTF-8, of bounded size and depth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

LARGEST_BODY = 1_000_000  # bytes


class TooLarge(APIException):
    status_code = 413
    default_detail = f"The body is larger than {LARGEST_BODY:,} bytes. Send less at once."
    default_code = "too_large"


class JSONParser(BaseParser):
    """Whatever cannot be read is the sender's fault and says so: no text makes it fail otherwise."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,  # noqa: ARG002 - the signature of REST framework
        parser_context: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> Any:
        body = stream.read(LARGEST_BODY + 1)
        if len(body) > LARGEST_BODY:
            raise TooLarge
        try:
            return json.loads(body.decode(), parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise ParseError("The body is not JSON. Send one JSON value in UTF-8.") from error


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
