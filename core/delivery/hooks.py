"""The door for receipts that Hubtel pushes. A push is kept and only leads to a question: nobody signs it.

Kept are the fields that we know and that say nothing of a person: no number, no name, no text.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

import structlog
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from core.delivery import receipts
from core.delivery.gateways.hubtel import LONGEST_ID, LONGEST_WORD, meaning_of, moment_of
from core.delivery.receipts import Receipt
from core.redact import redact

log = structlog.get_logger(__name__)

LARGEST = 64 * 1024
LONGEST_RAW = 4_000  # characters of one receipt that are kept
MOST = 1_000  # receipts in one call
DEEPEST = 4  # objects within objects that are looked through
# No public page says how a pushed receipt looks: these are the names that Hubtel's other answers and its clients use.
_ID = ("messageid", "message_id", "smsid", "id")
_WORD = ("status", "deliverystatus", "messagestatus", "statusdescription")
_AT = ("updatetime", "updatedat", "deliveredat", "donedate", "timestamp", "time")
_REFERENCE = ("clientreference", "client_reference", "reference")
_KEPT = frozenset({*_ID, *_WORD, *_AT, *_REFERENCE, "batchid", "networkid", "rate", "units"})
LONGEST_VALUE = 100  # characters of one field that are kept


@never_cache
@csrf_exempt
@require_POST
def hubtel_receipts(request: HttpRequest, token: str) -> HttpResponse:
    """200 when it is kept or was already, 400 when it is empty, 413 when it is too large, 404 for a wrong token."""
    expected = settings.HUBTEL_RECEIPT_TOKEN
    if not expected or not hmac.compare_digest(token.encode(), expected.encode()):
        raise Http404
    try:
        body = request.read(LARGEST + 1)
    except UnreadablePostError:
        return JsonResponse({"error": "the body was cut off"}, status=400)
    if len(body) > LARGEST:
        return JsonResponse({"error": f"at most {LARGEST} bytes are taken"}, status=413)
    text = body.decode(errors="replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")
    if not text.strip():
        return JsonResponse({"error": "the body is empty"}, status=400)
    found = list(_entries(_parsed(text)))[:MOST]
    if not found:
        log.warning("receipt_not_understood", size=len(body))
        digest = hashlib.sha256(body).hexdigest()
        raw = json.dumps({"size": len(body), "sha256": digest})
        receipts.pushed([Receipt(f"body:{digest[:40]}", "", "", None, raw)], [])
        return JsonResponse({"receipts": 0})
    named = [(reference, each.provider_id) for each, fields in found if (reference := _reference(fields))]
    receipts.pushed([each for each, _ in found], named)
    return JsonResponse({"receipts": len(found)})


def _parsed(text: str) -> Any:
    """JSON, else the fields of a form."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return dict(parse_qsl(text))


def _entries(found: Any, depth: int = 0) -> Iterator[tuple[Receipt, Mapping[str, Any]]]:
    """Every object that has the id of a message and a word for its status."""
    if depth > DEEPEST:
        return
    if isinstance(found, list):
        for each in found:
            yield from _entries(each, depth + 1)
    elif isinstance(found, dict):
        fields = {str(name).lower(): value for name, value in found.items()}
        provider_id, word = _first(fields, _ID, LONGEST_ID), _first(fields, _WORD, LONGEST_WORD)
        if provider_id and word:
            yield _receipt(provider_id, word, fields), fields
        for value in found.values():
            yield from _entries(value, depth + 1)


def _receipt(provider_id: str, word: str, fields: Mapping[str, Any]) -> Receipt:
    kept = {
        name: _short(value) for name, value in fields.items() if name in _KEPT and isinstance(value, str | int | float)
    }
    at = next((moment for name in _AT if (moment := moment_of(fields.get(name)))), None)
    raw = json.dumps(kept, ensure_ascii=False).encode(errors="replace").decode()[:LONGEST_RAW]
    return Receipt(provider_id, word, meaning_of(word), at, raw.replace("\x00", ""))


def _short(value: str | float) -> str | float:
    """Redacted too: a reference is free text, and a field may hold what its name does not say."""
    return redact(value)[:LONGEST_VALUE] if isinstance(value, str) else value


def _first(fields: Mapping[str, Any], names: tuple[str, ...], longest: int) -> str:
    for name in names:
        value = fields.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool):
            text = str(value).replace("\x00", "").encode(errors="ignore").decode().strip()
            if text:
                return text[:longest]
    return ""


def _reference(fields: Mapping[str, Any]) -> uuid.UUID | None:
    try:
        return uuid.UUID(_first(fields, _REFERENCE, LONGEST_ID))
    except ValueError:
        return None
