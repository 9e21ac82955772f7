"""SMS through Hubtel. Contract, error classes and what is uncertain: delivery.md 1.

Accepted means that HTTP, body status and message id agree. Whether a request went out is read from httpx's trace
events, not from exception names, because the difference decides between "try again" and "in doubt".
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import quote

import httpx
from django.conf import settings

from core import clock, phones
from core.delivery.gateways import Answer, BatchAnswer, Look, StatusAnswer, StatusReport
from core.delivery.rules import Fault, Status, SuppressionReason, Verdict
from core.errors import InvalidInput

Meaning = tuple[Verdict, Fault | None, str]

# Body status, also sent with HTTP 400 (delivery.md 1.2).
_BODY: dict[str, Meaning] = {
    "1": (Verdict.REFUSED, None, "Hubtel: bad destination number"),
    "2": (Verdict.NOT_CONFIGURED, Fault.CREDENTIALS, "Hubtel: sender not accepted. Check HUBTEL_SENDER"),
    "3": (Verdict.REFUSED, None, "Hubtel: text too long"),
    "4": (Verdict.REFUSED, None, "Hubtel: number not routable"),
    "5": (Verdict.REFUSED, None, "Hubtel: bad time in the request"),
    "6": (Verdict.REFUSED, None, "Hubtel: content rejected"),
    "7": (Verdict.REFUSED, None, "Hubtel: parameter not allowed"),
    "8": (Verdict.REFUSED, None, "Hubtel: parameter not valid"),
    "12": (Verdict.NOT_CONFIGURED, Fault.NO_FUNDS, "Hubtel: no credit on the account. Top up the key"),
    "100": (Verdict.REFUSED, None, "Hubtel: malformed request"),
}
_MALFORMED = "100"
_HTTP: dict[int, Meaning] = {
    401: (
        Verdict.NOT_CONFIGURED,
        Fault.CREDENTIALS,
        "Hubtel: wrong credentials. Check HUBTEL_CLIENT_ID and HUBTEL_CLIENT_SECRET",
    ),
    402: (Verdict.NOT_CONFIGURED, Fault.NO_FUNDS, "Hubtel: no credit on the account. Top up the key"),
    403: (Verdict.REFUSED, None, "Hubtel: the recipient has not approved receiving"),
    404: (Verdict.NOT_CONFIGURED, Fault.CREDENTIALS, "Hubtel: no such address. Check HUBTEL_BASE_URL"),
    408: (Verdict.IN_DOUBT, Fault.NO_ANSWER, "Hubtel: request timed out there"),
    429: (Verdict.PROVIDER_AWAY, Fault.THROTTLED, "Hubtel: too many requests"),
    503: (Verdict.PROVIDER_AWAY, Fault.UNAVAILABLE, "Hubtel: not available"),
}
# What the words of a status mean here, in lower case (delivery.md 1.1). "Temporary" says that the number may take
# another message, not that this one may still come: all but the first two are ends. Other words are not guessed.
STATUSES: dict[str, Status] = {
    "pending": Status.ACCEPTED,
    "sent": Status.ACCEPTED,
    "delivered": Status.DELIVERED,
    "undelivered": Status.UNDELIVERED_TEMPORARY,
    "expired": Status.UNDELIVERED_TEMPORARY,
    "failed": Status.UNDELIVERED_TEMPORARY,
    "nack": Status.UNDELIVERED_TEMPORARY,
    "undeliverable": Status.UNDELIVERED_PERMANENT,
    "unroutable": Status.UNDELIVERED_PERMANENT,
    "rejected": Status.UNDELIVERED_PERMANENT,
    "blacklisted": Status.UNDELIVERED_PERMANENT,
}
LONGEST_WAIT = 600.0  # seconds that a Retry-After may ask for
LONGEST_NETWORK = 10
LONGEST_WORD = 50
LONGEST_RAW = 2_000
LONGEST_ID = 100
HIGHEST_COST = Decimal(10**8)  # what the column holds
_PERSONAL = frozenset({"content", "to", "from", "recipient"})
_AS_SENT = re.compile(r"233[0-9]{9}")
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
                message_id, phone = _text(row.get("messageid")), _phone(row.get("recipient"))
                if message_id and phone:  # a number that is none matches no message
                    each[phone] = Answer(
                        Verdict.ACCEPTED,
                        provider_id=message_id,
                        cost=_cost(row.get("rate")),
                        network=_network(row.get("networkid")),
                    )
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
                reason = f"Hubtel: the request went out, the answer was lost ({kind})"
                return Answer(Verdict.IN_DOUBT, reason=reason, fault=Fault.NO_ANSWER)
            return Answer(Verdict.PROVIDER_AWAY, reason=f"Hubtel: not reached ({kind})", fault=Fault.UNREACHABLE)
        return _judge(response, read)

    # --- what became of them ---------------------------------------------------------------------------------------

    def status(self, provider_id: str) -> StatusAnswer:
        """What became of one message. Found only when the answer is about this very id."""

        def read(fields: dict[str, Any]) -> tuple[StatusReport, ...] | None:
            report = _report(fields)
            return (report,) if report and report.provider_id.lower() == provider_id.lower() else None

        return self._look(f"/{quote(provider_id, safe='')}", read)

    def batch_status(self, batch_id: str) -> StatusAnswer:
        """What became of the messages of one batch, as far as the answer names them."""

        def read(fields: dict[str, Any]) -> tuple[StatusReport, ...] | None:
            listed = fields.get("data")
            if not isinstance(listed, list) or _text(fields.get("batchid")).lower() != batch_id.lower():
                return None
            rows = [_report(_lower(entry)) for entry in listed if isinstance(entry, dict)]
            return tuple(report for report in rows if report)

        return self._look(f"/batch/{quote(batch_id, safe='')}", read)

    def _look(self, path: str, read: Callable[[dict[str, Any]], tuple[StatusReport, ...] | None]) -> StatusAnswer:
        try:
            response = _clients.get().get(
                settings.HUBTEL_BASE_URL.rstrip("/") + path,
                auth=(settings.HUBTEL_CLIENT_ID, settings.HUBTEL_CLIENT_SECRET),
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = f"Hubtel: no answer to a status read ({type(error).__name__})"
            return StatusAnswer(Look.AWAY, reason=reason, fault=Fault.UNREACHABLE)
        status = response.status_code
        if not response.is_success:
            return _no_status(response)
        fields = _fields(response)
        reports = None if fields is None else read(fields)
        if reports is None:
            reason = "Hubtel: the status could not be read, or is about another message"
            return StatusAnswer(Look.UNREADABLE, reason=reason, http_status=status)
        return StatusAnswer(Look.FOUND, reports, http_status=status)


def _no_status(response: httpx.Response) -> StatusAnswer:
    """An answer to a status read that is no success. Reading is harmless: what is no fault of ours is asked again."""
    status = response.status_code
    if status == httpx.codes.NOT_FOUND:
        return StatusAnswer(Look.UNKNOWN, reason="Hubtel: does not know the message", http_status=status)
    verdict, fault, reason = _meaning(response, {})
    if verdict in (Verdict.PROVIDER_AWAY, Verdict.IN_DOUBT):
        look = Look.AWAY
    elif verdict == Verdict.NOT_CONFIGURED or status == httpx.codes.FORBIDDEN:
        look, reason = Look.NOT_CONFIGURED, f"Hubtel: status reads are refused (HTTP {status}). Check HUBTEL_CLIENT_ID"
    else:
        look, reason = Look.UNREADABLE, f"Hubtel: refused the status read (HTTP {status})"
    return StatusAnswer(look, reason=reason, fault=fault, wait=_wait(response), http_status=status)


def _judge(response: httpx.Response, read: Callable[[int, dict[str, Any]], Answer]) -> Answer:
    status = response.status_code
    fields = _fields(response)
    if response.is_success:
        if fields is None:
            return _lost("Hubtel: the answer could not be read", status)
        return read(status, fields)
    verdict, fault, reason = _meaning(response, fields or {})
    return Answer(
        verdict,
        reason=reason,
        http_status=status,
        body_status=_text((fields or {}).get("status", "")),
        fault=fault,
        wait=_wait(response),
        suppress=SuppressionReason.REFUSED if status == httpx.codes.FORBIDDEN else None,
    )


def _fields(response: httpx.Response) -> dict[str, Any] | None:
    """The JSON object of an answer, names in lower case, without the envelope of Hubtel's test host."""
    try:
        parsed = response.json()
    except (ValueError, RecursionError):
        return None
    if not isinstance(parsed, dict):
        return None
    fields = _lower(parsed)
    inner = fields.get("data")
    return _lower(inner) if "responsecode" in fields and isinstance(inner, dict) else fields


def _meaning(response: httpx.Response, fields: dict[str, Any]) -> Meaning:
    """What an answer that is no success means, by the table of delivery.md 1.2."""
    status = response.status_code
    if status == httpx.codes.BAD_REQUEST:
        refused: Meaning = (Verdict.REFUSED, None, "Hubtel: refused the request")
        return _BODY.get(_text(fields.get("status", "")), refused)
    if status in _HTTP:
        return _HTTP[status]
    if response.is_client_error:
        return Verdict.REFUSED, None, f"Hubtel: refused the request (HTTP {status})"
    if response.is_redirect:
        return Verdict.NOT_CONFIGURED, Fault.CREDENTIALS, "Hubtel: has moved. Check HUBTEL_BASE_URL"
    return Verdict.IN_DOUBT, Fault.NO_ANSWER, f"Hubtel: failed while answering (HTTP {status})"


def _wait(response: httpx.Response) -> float | None:
    """The seconds of Retry-After, as a number or a date, never more than LONGEST_WAIT; None when it does not say."""
    said = response.headers.get("Retry-After", "").strip()
    if not said or response.status_code not in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
        return None
    if said.isascii() and said.isdigit():
        return min(float(said), LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(said)
    except ValueError:
        return None
    seconds = ((until if until.tzinfo else until.replace(tzinfo=UTC)) - clock.now()).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WAIT)


def _lost(reason: str, status: int, body_status: str = "") -> Answer:
    """A success that says nothing, or two things at once: the text may be on its way."""
    return Answer(Verdict.IN_DOUBT, reason=reason, http_status=status, body_status=body_status, fault=Fault.NO_ANSWER)


def _refusal(status: int, fields: dict[str, Any]) -> Answer | None:
    """A 2xx answer whose body says no. An integrator who trusted the HTTP code alone lost three weeks of messages.

    It is proof only with a status that we know and while nothing in it was taken: else sending again may double. The
    id that comes with it names nothing that was taken, but for "malformed", which a refused request has no id for.
    """
    body_status = _text(fields.get("status", ""))
    if body_status == "0":
        return None
    if not body_status:
        return _lost("Hubtel: the answer has no status", status)
    if body_status not in _BODY:
        return _lost("Hubtel: an unknown status, it may have been taken", status, body_status)
    if _names_some(fields) or (body_status == _MALFORMED and (fields.get("messageid") or fields.get("batchid"))):
        return _lost("Hubtel: a refusal that names what it has taken", status, body_status)
    verdict, fault, reason = _BODY[body_status]
    return Answer(verdict, reason=reason, http_status=status, body_status=body_status, fault=fault)


def _names_some(fields: dict[str, Any]) -> bool:
    """Whether an answer gives the id of a message in what it lists."""
    listed = fields.get("data")
    rows = listed if isinstance(listed, list) else [listed]
    return any(isinstance(row, dict) and bool(_lower(row).get("messageid")) for row in rows)


def _one(status: int, fields: dict[str, Any]) -> Answer:
    message_id = _text(fields.get("messageid"))
    refusal = _refusal(status, fields)
    if refusal:  # in doubt it can be asked about by its id
        return replace(refusal, provider_id=message_id) if refusal.verdict == Verdict.IN_DOUBT else refusal
    if not message_id:
        return _lost("Hubtel: the answer has no message id", status)
    return Answer(
        Verdict.ACCEPTED,
        provider_id=message_id,
        cost=_cost(fields.get("rate")),
        http_status=status,
        body_status="0",
        network=_network(fields.get("networkid")),
    )


def _many(status: int, fields: dict[str, Any]) -> Answer:
    """The answer for those a batch reply does not name."""
    refusal = _refusal(status, fields)
    if refusal:
        return refusal
    return Answer(Verdict.IN_DOUBT, reason="Hubtel: not named in the answer", http_status=status, body_status="0")


def _report(fields: dict[str, Any]) -> StatusReport | None:
    """One message of a status answer; None when it lacks the id or the word that make it one."""
    provider_id, word = _text(fields.get("messageid")), _text(fields.get("status"))[:LONGEST_WORD].strip()
    if not provider_id or not word:
        return None
    units = fields.get("units")
    kept = {
        name: value for name, value in fields.items() if name not in _PERSONAL and isinstance(value, str | int | float)
    }
    return StatusReport(
        provider_id=provider_id,
        text=word,
        status=meaning_of(word),
        at=moment_of(fields.get("updatetime")),
        rate=_cost(fields.get("rate")),
        network=_network(fields.get("networkid")),
        units=units if type(units) is int and 0 <= units < 100 else None,  # noqa: PLR2004 - more is no text
        phone=_phone(fields.get("to") or fields.get("recipient")),
        batch_id=_text(fields.get("batchid")),
        raw=_storable(json.dumps(kept, ensure_ascii=False))[:LONGEST_RAW],
    )


def meaning_of(word: str) -> Status | Literal[""]:
    """What a provider's word for a status means here, '' when nobody knows."""
    return STATUSES.get(word.strip().lower(), "")


def moment_of(text: object) -> datetime | None:
    """A time as Hubtel writes it. Without a zone it is Ghana's, which is UTC."""
    try:
        found = datetime.fromisoformat(str(text).strip())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _lower(fields: dict[str, Any]) -> dict[str, Any]:
    return {str(name).lower(): value for name, value in fields.items()}


def _text(value: object) -> str:
    """A short value as the database can keep it, whatever the provider has sent."""
    return _storable(str(value) if isinstance(value, str | int) else "")[:LONGEST_ID]


def _storable(text: str) -> str:
    return text.replace("\x00", "").encode(errors="ignore").decode()


def _network(value: object) -> str:
    """MCC and MNC, such as 62001, or '' when it is no such thing."""
    text = _text(value)
    return text if text.isascii() and text.isdigit() and len(text) <= LONGEST_NETWORK else ""


def _phone(value: object) -> str:
    """The number in E.164, or '' when it is none."""
    text = str(value or "")
    if _AS_SENT.fullmatch(text):  # it is only compared with the numbers we sent, which are good ones
        return f"+{text}"
    try:
        return phones.normalise(text)
    except InvalidInput:
        return ""


def _cost(rate: object) -> Decimal | None:
    """GHS, or None when the provider does not say."""
    try:
        cost = Decimal(str(rate)).quantize(Decimal("0.0001"))
    except InvalidOperation:
        return None
    return cost if cost.is_finite() and 0 <= cost < HIGHEST_COST else None
