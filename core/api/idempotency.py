"""A POST that is sent again is not done again: `Idempotency-Key` (RFC draft-ietf-httpapi-idempotency-key-header).

Key, effects and answer are one transaction. A second request with the key waits for the first on the unique index, and
gets its answer; when the first failed, nothing of it is left and the second does the work.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import OperationalError, connection, transaction
from drf_spectacular.utils import OpenApiParameter, extend_schema
from psycopg.errors import LockNotAvailable
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from core.api.models import IdempotentRequest
from core.base.ids import new_id
from core.errors import Conflict, InvalidInput

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
LONGEST_KEY = 200
WAIT_MS = 5_000  # for a first request that is still being worked on
TRIMMED = 20  # old keys that each new one takes away
KEPT = "interval '24 hours'"  # as in core.base.retention

Handler = Callable[..., Response]
DESCRIBED = OpenApiParameter(
    HEADER,
    {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
    OpenApiParameter.HEADER,
    description="the same key and body again: the same answer, done once. Kept for 24 hours.",
)


class KeyUsedOtherwise(InvalidInput):
    """The key of another request."""

    status = 422


def idempotent(handler: Handler) -> Handler:
    """For the `post` of a view: all or nothing, and at most once for each person and key within 24 hours.

    Without the header it is one transaction all the same. Raise for a failure: an answer that is returned is kept.
    """

    @wraps(handler)
    def once(view: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        key, user_id = _key(request), request.user.pk
        if key is None or user_id is None:
            with transaction.atomic():
                return handler(view, request, *args, **kwargs)
        fingerprint = _fingerprint(request)
        _trim()
        with transaction.atomic():
            if not _claim(user_id, key, fingerprint):
                return _again(user_id, key, fingerprint)
            answer = handler(view, request, *args, **kwargs)
            row = IdempotentRequest.objects.filter(user=user_id, key=key)
            row.update(status=answer.status_code, answer=json.dumps(answer.data, cls=JSONEncoder))
            return answer

    once.is_idempotent = True  # type: ignore[attr-defined]
    return extend_schema(parameters=[DESCRIBED])(once)


def _key(request: Request) -> str | None:
    key = request.headers.get(HEADER)
    if key is not None and not (key.isascii() and key.isprintable() and 1 <= len(key.strip()) <= LONGEST_KEY):
        raise InvalidInput(f"{HEADER} must be 1 to {LONGEST_KEY} letters, digits or signs, such as a UUID.")
    return key.strip() if key is not None else None


def _fingerprint(request: Request) -> str:
    sent: object = request.data
    body = sent if isinstance(sent, bytes) else json.dumps(sent, sort_keys=True).encode()
    return hashlib.sha256(f"{request.method} {request.get_full_path()}\n".encode() + body).hexdigest()


def _trim() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM api_idempotentrequest WHERE ctid = ANY (ARRAY (SELECT ctid FROM api_idempotentrequest"  # noqa: S608 - constants only
            f" WHERE created_at < statement_timestamp() - {KEPT} LIMIT {TRIMMED} FOR UPDATE SKIP LOCKED))"
        )


def _claim(user_id: uuid.UUID, key: str, fingerprint: str) -> bool:
    """Whether this request is the first with its key. Waits for another one that is being worked on; raises Conflict
    when that takes too long.
    """
    values: dict[str, uuid.UUID | str] = {"id": new_id(), "user": user_id, "key": key, "fingerprint": fingerprint}
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {WAIT_MS}")
            cursor.execute(
                "DELETE FROM api_idempotentrequest WHERE user_id = %(user)s AND key = %(key)s"  # noqa: S608
                f" AND created_at < statement_timestamp() - {KEPT}",
                values,
            )
            cursor.execute(
                "INSERT INTO api_idempotentrequest (id, user_id, key, fingerprint, status, answer, created_at)"
                " VALUES (%(id)s, %(user)s, %(key)s, %(fingerprint)s, 0, '', statement_timestamp())"
                " ON CONFLICT (user_id, key) DO NOTHING",
                values,
            )
            first = bool(cursor.rowcount)
            cursor.execute("SET LOCAL lock_timeout TO DEFAULT")
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise Conflict(f"A request with this {HEADER} is still being worked on. Try again in a moment.") from error
        raise
    return first


def _again(user_id: uuid.UUID, key: str, fingerprint: str) -> Response:
    row = IdempotentRequest.objects.get(user=user_id, key=key)
    if row.fingerprint != fingerprint:
        raise KeyUsedOtherwise(f"This {HEADER} belongs to another request. Use a new one for each thing you ask for.")
    return Response(json.loads(row.answer), status=row.status, headers={REPLAYED: "true"})
