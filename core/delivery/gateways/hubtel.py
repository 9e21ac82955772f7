"""SMS through Hubtel. Contract, error classes and what is uncertain: delivery.md 1.

Accepted means that HTTP, body status and message id agree. Whether a request went out is read from httpx's trace
events, not from exception names, because the difference decides between "try again" and "in doubt".
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import httpx
from django.conf import settings

from core import phones
from core.delivery.gateways import Answer, BatchAnswer
from core.delivery.rules import Verdict
from core.errors import InvalidInput

# Body status, also sent with HTTP 400 (delivery.md 1.2).
_BODY: dict[str, tuple[Verdict, str]] = {
    "1": (Verdict.REFUSED, "Hubtel: bad destination number"),
    "2": (Verdict.NOT_CONFIGURED, "Hubtel: sender not accepted. Check HUBTEL_SENDER"),
    "3": (Verdict.REFUSED, "Hubtel: text too long"),
    "4": (Verdict.REFUSED, "Hubtel: number not routable"),
    "5": (Verdict.REFUSED, "Hubtel: bad time in the request"),
    "6": (Verdict.REFUSED, "Hubtel: content rejected"),
    "7": (Verdict.REFUSED, "Hubtel: parameter not allowed"),
    "8": (Verdict.REFUSED, "Hubtel: parameter not valid"),
    "12": (Verdict.NOT_CONFIGURED, "Hubtel: no credit on the account. Top up the key"),
    "100": (Verdict.REFUSED, "Hubtel: malformed request"),
}
_HTTP: dict[int, tuple[Verdict, str]] = {
    401: (Verdict.NOT_CONFIGURED, "Hubtel: wrong credentials. Check HUBTEL_CLIENT_ID and HUBTEL_CLIENT_SECRET"),
    402: (Verdict.NOT_CONFIGURED, "Hubtel: no credit on the account. Top up the key"),
    403: (Verdict.REFUSED, "Hubtel: the recipient has not approved receiving"),
    404: (Verdict.NOT_CONFIGURED, "Hubtel: no such address. Check HUBTEL_BASE_URL"),
    408: (Verdict.IN_DOUBT, "Hubtel: request timed out there"),
    429: (Verdict.PROVIDER_AWAY, "Hubtel: too many requests"),
    503: (Verdict.PROVIDER_AWAY, "Hubtel: not available"),
}
LONGEST_ID = 100
HIGHEST_COST = Decimal(10**8)  # what the column holds
_REQUEST_STARTED = ("http11.send_request_headers.started", "http2.send_request_headers.started")


class _Clients(threading.local):
    """One HTTP client per thread, made anew after a fork. Kept connections older than a second are not reused."""

    pid = 0
    client: httpx.Client | None = None

    def get(self) -> httpx.Client:
        if self.client is None or self.pid != os.getpid():
            self.client = httpx.Client(
                timeout=settings.HUBTEL_TIMEOUT_SECONDS,
                limits=httpx.Limits(keepalive_expiry=1.0),
                trust_env=False,  # a proxy's answer would look like the provider's
                follow_redirects=False,
            )
            self.pid = os.getpid()
        return self.client


_clients = _Clients()


class Hubtel:
    name = "hubtel"

    def configured(self) -> bool:
        return bool(settings.HUBTEL_CLIENT_ID and settings.HUBTEL_CLIENT_SECRET)

    def send(self, phone: str, text: str, reference: str) -> Answer:
        """One text to one phone. `reference` is our own id, for a person to compare with the provider's list."""
        body = {"From": settings.HUBTEL_SENDER, "To": phone.lstrip("+"), "Content": text, "ClientReference": reference}
        return self._post("/send", body, _one)

    def send_same(self, recipients: list[str], text: str) -> BatchAnswer:
        """One text to many phones, each at most once."""
        numbers = [phone.lstrip("+") for phone in recipients]
        body = {"From": settings.HUBTEL_SENDER, "Recipients": numbers, "Content": text}
        return self._batch("/batch/simple/send", body)

    def send_each(self, texts: Mapping[str, str]) -> BatchAnswer:
        """To each phone its own text."""
        personal = [{"To": phone.lstrip("+"), "Content": text} for phone, text in texts.items()]
        body = {"From": settings.HUBTEL_SENDER, "personalizedRecipients": personal}
        return self._batch("/batch/personalized/send", body)

    def _batch(self, path: str, body: dict[str, Any]) -> BatchAnswer:
        found: dict[str, Any] = {}

        def read(status: int, fields: dict[str, Any]) -> Answer:
            found.update(fields)
            return _many(status, fields)

        overall = self._post(path, body, read)
        each = {}
        if overall.verdict == Verdict.IN_DOUBT:
            listed = found.get("data")
            for entry in listed if isinstance(listed, list) else []:
                row = _lower(entry) if isinstance(entry, dict) else {}
                message_id = _text(row.get("messageid"))
                try:
                    phone = phones.normalise(str(row.get("recipient") or ""))
                except InvalidInput:
                    continue  # answered for a number we did not send: it matches no message
                if message_id:
                    each[phone] = Answer(Verdict.ACCEPTED, provider_id=message_id, cost=_cost(row.get("rate")))
        return BatchAnswer(overall, batch_id=_text(found.get("batchid")), each=each)

    def _post(self, path: str, body: dict[str, Any], read: Callable[[int, dict[str, Any]], Answer]) -> Answer:
        started = False

        def trace(event: str, _info: Mapping[str, Any]) -> None:
            nonlocal started
            started = started or event in _REQUEST_STARTED

        try:
            response = _clients.get().post(
                settings.HUBTEL_BASE_URL.rstrip("/") + path,
                json=body,
                auth=(settings.HUBTEL_CLIENT_ID, settings.HUBTEL_CLIENT_SECRET),
                extensions={"trace": trace},
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            kind = type(error).__name__
            if started:
                return Answer(Verdict.IN_DOUBT, reason=f"Hubtel: the request went out, the answer was lost ({kind})")
            return Answer(Verdict.PROVIDER_AWAY, reason=f"Hubtel: not reached ({kind})")
        return _judge(response, read)


def _judge(response: httpx.Response, read: Callable[[int, dict[str, Any]], Answer]) -> Answer:
    status = response.status_code
    try:
        parsed = response.json()
    except (ValueError, RecursionError):
        parsed = None
    fields = _lower(parsed) if isinstance(parsed, dict) else None
    if response.is_success:
        if fields is None:
            return Answer(Verdict.IN_DOUBT, reason="Hubtel: the answer could not be read", http_status=status)
        return read(status, fields)
    body_status = _text((fields or {}).get("status", ""))
    if status == httpx.codes.BAD_REQUEST:
        verdict, reason = _BODY.get(body_status, (Verdict.REFUSED, "Hubtel: refused the request"))
    elif status in _HTTP:
        verdict, reason = _HTTP[status]
    elif response.is_client_error:
        verdict, reason = Verdict.REFUSED, f"Hubtel: refused the request (HTTP {status})"
    elif response.is_redirect:
        verdict, reason = Verdict.NOT_CONFIGURED, "Hubtel: has moved. Check HUBTEL_BASE_URL"
    else:
        verdict, reason = Verdict.IN_DOUBT, f"Hubtel: failed while answering (HTTP {status})"
    return Answer(verdict, reason=reason, http_status=status, body_status=body_status)


def _refusal(status: int, fields: dict[str, Any]) -> Answer | None:
    """A 2xx answer whose body says no. An integrator who trusted the HTTP code alone lost three weeks of messages."""
    body_status = _text(fields.get("status", ""))
    if body_status == "0":
        return None
    verdict, reason = _BODY.get(body_status, (Verdict.REFUSED, "Hubtel: refused with an unknown status"))
    if not body_status:
        verdict, reason = Verdict.IN_DOUBT, "Hubtel: the answer has no status"
    return Answer(verdict, reason=reason, http_status=status, body_status=body_status)


def _one(status: int, fields: dict[str, Any]) -> Answer:
    refusal = _refusal(status, fields)
    if refusal:
        return refusal
    message_id = _text(fields.get("messageid"))
    if not message_id:
        return Answer(Verdict.IN_DOUBT, reason="Hubtel: the answer has no message id", http_status=status)
    return Answer(
        Verdict.ACCEPTED,
        provider_id=message_id,
        cost=_cost(fields.get("rate")),
        http_status=status,
        body_status="0",
    )


def _many(status: int, fields: dict[str, Any]) -> Answer:
    """The answer for those a batch reply does not name."""
    refusal = _refusal(status, fields)
    if refusal:
        return refusal
    return Answer(Verdict.IN_DOUBT, reason="Hubtel: not named in the answer", http_status=status, body_status="0")


def _lower(fields: dict[str, Any]) -> dict[str, Any]:
    return {str(name).lower(): value for name, value in fields.items()}


def _text(value: object) -> str:
    """A short value as the database can keep it, whatever the provider has sent."""
    text = str(value) if isinstance(value, str | int) else ""
    return text.replace("\x00", "").encode(errors="ignore").decode()[:LONGEST_ID]


def _cost(rate: object) -> Decimal | None:
    """GHS, or None when the provider does not say."""
    try:
        cost = Decimal(str(rate)).quantize(Decimal("0.0001"))
    except InvalidOperation:
        return None
    return cost if cost.is_finite() and 0 <= cost < HIGHEST_COST else None
