"""Hubtel's SMS API under /v1/messages, as delivery.md 1.1 and 1.2 record it.

Assumptions where the public contract is silent: a batch is accepted whole or refused whole; a number that stands
twice in a batch gets two texts with two ids (so that a caller's mistake shows on the phone); a text may have
918 characters; batch answers come with HTTP 201 like single ones.
"""

import asyncio
import base64
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from uuid import uuid4

from sandbox.faults import WRONG_SECRET, FaultBoard, Faults
from sandbox.numbering import digits_of, is_ghana_mobile, mask, network_of
from sandbox.parts import count_parts
from sandbox.push import Pusher
from sandbox.store import Message, Store, now
from sandbox.web import Fate, Handler, Head, Reply, Response, json_response

BASE = "/v1/messages"
GHS_PER_PART = 0.03
LONGEST_TEXT = 918
SENDER = re.compile(r"[A-Za-z0-9]{1,11}")
MEANINGS = {
    1: "bad destination",
    2: "bad sender",
    3: "message body too long",
    4: "destination not routable",
    8: "a parameter is not valid",
    12: "payment required on account",
    100: "malformed request",
}
# Numbers that end so never reach "Delivered", so that a developer can see what follows.
ENDINGS = {"99991": "Undeliverable", "99992": "Sent", "99993": "Rejected", "99994": "Expired"}
PROVIDER_PAGE = b"<html><head><title>Error</title></head><body>the gateway failed (sandbox fault)</body></html>"


class RefusedError(Exception):
    """The API refuses the request with HTTP 400 and this status in the body. Nothing was accepted."""

    def __init__(self, status: int, detail: str = "") -> None:
        super().__init__(detail or MEANINGS[status])
        self.status = status


@dataclass(frozen=True, slots=True)
class Send:
    """A request that may be accepted: whom (233XXXXXXXXX) to tell what."""

    sender: str
    texts: list[tuple[str, str]]
    client_reference: str | None = None
    batch_id: str | None = None


def _object(found: object) -> dict[str, object]:
    """Its keys in lower case, since Hubtel's own samples mix From and from."""
    if not isinstance(found, dict):
        raise RefusedError(100, "malformed request: a JSON object is expected")
    return {key.lower(): value for key, value in found.items()}


def _text(value: object, status: int) -> str:
    if not isinstance(value, str) or not value:
        raise RefusedError(status)
    try:
        value.encode()  # a lone surrogate is JSON, but no text
    except UnicodeEncodeError as error:
        raise RefusedError(100, "malformed request: not Unicode text") from error
    return value


def _content(value: object) -> str:
    content = _text(value, 8)
    if len(content) > LONGEST_TEXT:
        raise RefusedError(3)
    return content


def _sender(value: object) -> str:
    sender = _text(value, 2)
    if not SENDER.fullmatch(sender):
        raise RefusedError(2)
    return sender


def _destination(value: object) -> str:
    """233XXXXXXXXX. A well-formed number of another country is not routable (4)."""
    digits = digits_of(_text(value, 1))
    if not digits or (digits.startswith("233") and not is_ghana_mobile(digits)):
        raise RefusedError(1)
    if not digits.startswith("233"):
        raise RefusedError(4 if 8 <= len(digits) <= 15 else 1)  # noqa: PLR2004 - E.164
    return digits


def _credentials_fit(header: str) -> bool:
    scheme, _, token = header.partition(" ")
    try:
        identity, _, secret = base64.b64decode(token.strip(), validate=True).decode().partition(":")
    except ValueError:
        return False
    return scheme.lower() == "basic" and bool(identity) and bool(secret) and secret != WRONG_SECRET


def _list(value: object) -> list[object]:
    if not isinstance(value, list) or not value:
        raise RefusedError(8)
    return value


def _read_one(found: dict[str, object]) -> Send:
    reference = found.get("clientreference")
    return Send(
        _sender(found.get("from")),
        [(_destination(found.get("to")), _content(found.get("content")))],
        client_reference=None if reference is None else _text(reference, 8),
    )


def _read_simple_batch(found: dict[str, object]) -> Send:
    sender, content = _sender(found.get("from")), _content(found.get("content"))
    texts = [(_destination(to), content) for to in _list(found.get("recipients"))]
    return Send(sender, texts, batch_id=str(uuid4()))


def _read_personalized_batch(found: dict[str, object]) -> Send:
    sender = _sender(found.get("from"))
    items = map(_object, _list(found.get("personalizedrecipients")))
    texts = [(_destination(item.get("to")), _content(item.get("content"))) for item in items]
    return Send(sender, texts, batch_id=str(uuid4()))


READERS: dict[str, Callable[[dict[str, object]], Send]] = {
    f"{BASE}/send": _read_one,
    f"{BASE}/batch/simple/send": _read_simple_batch,
    f"{BASE}/batch/personalized/send": _read_personalized_batch,
}
Serve = Callable[[Faults, bytes], Response]


class Hubtel:
    """The API over a store. A text is stored before its answer is sent or delayed: what was read in full, arrived."""

    def __init__(self, store: Store, board: FaultBoard, pusher: Pusher, *, deliver_after: float) -> None:
        self._store, self._board, self._pusher, self._deliver_after = store, board, pusher, deliver_after
        self._reads = Counter[str]()  # of each text, while statuses go back

    def route(self, head: Head) -> Handler | Fate:
        """The request meets its faults here, before its body is read."""
        reader = READERS.get(head.path)
        if head.method != ("POST" if reader else "GET"):
            return _always(_refusal(HTTPStatus.METHOD_NOT_ALLOWED, 7, "method not allowed"))
        faults = self._board.draw("send" if reader else "status")
        if faults.reset_after_headers:
            self._hit("reset_after_headers")
            return Fate.RESET
        serve = partial(self._send, reader) if reader else partial(self._status, head.path.removeprefix(f"{BASE}/"))
        return partial(self._answer, faults, head.headers.get("authorization", ""), serve)

    def _hit(self, fault: str) -> None:
        self._board.hits[fault] += 1

    async def _answer(self, faults: Faults, authorization: str, serve: Serve, body: bytes) -> Reply:
        reply = self._decide(faults, authorization, serve, body)
        if faults.delay_ms:
            self._hit("delay_ms")
        await asyncio.sleep((faults.latency_ms + faults.delay_ms) / 1000)
        return reply

    def _decide(self, faults: Faults, authorization: str, serve: Serve, body: bytes) -> Reply:
        if faults.hang:
            self._hit("hang")
            return Fate.HANG
        if not _credentials_fit(authorization):
            return json_response(
                HTTPStatus.UNAUTHORIZED,
                {"statusDescription": "wrong or missing credentials"},
                www_authenticate='Basic realm="sandbox"',
            )
        if faults.error_status:
            self._hit("error_status")
            return _provider_error(faults.error_status, faults.body_status)
        try:
            reply = serve(faults, body)
        except RefusedError as refused:
            return _refusal(HTTPStatus.BAD_REQUEST, refused.status, str(refused))
        return self._after_accept(faults, reply) if reply.status < HTTPStatus.BAD_REQUEST else reply

    def _after_accept(self, faults: Faults, reply: Response) -> Reply:
        if faults.hang_after_accept:
            self._hit("hang_after_accept")
            return Fate.HANG
        if faults.reset_after_accept:
            self._hit("reset_after_accept")
            return Fate.RESET
        if faults.error_after_accept_status:
            self._hit("error_after_accept_status")
            return _provider_error(faults.error_after_accept_status, 0)
        if faults.truncate:
            self._hit("truncate")
            return replace(reply, truncated=True)
        return reply

    def _send(self, reader: Callable[[dict[str, object]], Send], faults: Faults, body: bytes) -> Response:
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RefusedError(100, "malformed request: not JSON") from error
        send = reader(_object(found))
        wait = self._board.seconds_to_wait(len(send.texts), now())
        if wait:
            self._hit("rate_limit")
            seconds = str(math.ceil(wait))
            return json_response(HTTPStatus.TOO_MANY_REQUESTS, {"statusDescription": "throttled"}, retry_after=seconds)
        if faults.body_status:
            self._hit("body_status")
            return _body_refusal(faults.body_status, send)
        left_out = set[int]()
        if send.batch_id and faults.partial_batch:
            self._hit("partial_batch")
            left_out = self._board.left_out(faults.partial_batch, len(send.texts))
        messages = self._messages(send)
        named = [message for place, message in enumerate(messages) if place not in left_out]
        arrived = named if faults.partial_batch_lost else messages
        self._store.add(arrived)
        self._pusher.add(arrived)
        if send.batch_id:
            note = f"{len(messages)} recipients" + (f", {len(left_out)} left out" if left_out else "")
            return json_response(HTTPStatus.CREATED, _batch_answer(send.batch_id, named), note)
        return json_response(HTTPStatus.CREATED, _answer(messages[0]), f"to {mask(messages[0].recipient)}")

    def _messages(self, send: Send) -> list[Message]:
        received = now()
        override = self._board.current.deliver_after_ms
        settled = received + (self._deliver_after if override is None else override / 1000)
        return [
            Message(
                id=str(uuid4()),
                kind="sms",
                recipient=f"+{digits}",
                sender=send.sender,
                text=content,
                received_at=received,
                client_reference=send.client_reference,
                batch_id=send.batch_id,
                parts=count_parts(content),
                network_id=network_of(digits),
                settled_at=settled,
                final_status=ENDINGS.get(digits[-5:], "Delivered"),
            )
            for digits, content in send.texts
        ]

    def _status(self, path: str, faults: Faults, _body: bytes) -> Response:
        batch, _, batch_id = path.rpartition("/")
        if batch == "batch":
            messages = self._store.by_batch(batch_id)
            if messages:
                data = [self._state(message, faults) for message in messages]
                rate = round(sum(message.parts for message in messages) * GHS_PER_PART, 2)
                return json_response(HTTPStatus.OK, {"batchId": batch_id, "rate": rate, "data": data})
        elif (message := self._store.by_id(path)) and message.kind == "sms":
            return json_response(HTTPStatus.OK, self._state(message, faults))
        return json_response(HTTPStatus.NOT_FOUND, {"statusDescription": "message unknown"})

    def _state(self, message: Message, faults: Faults) -> dict[str, object]:
        at = now()
        if faults.status_goes_back:
            self._hit("status_goes_back")
            self._reads[message.id] += 1
            if self._reads[message.id] % 2 == 0:
                at = message.received_at - 1
        return _state(message, at)


def _always(response: Response) -> Handler:
    async def answer(_body: bytes) -> Response:
        return response

    return answer


def _refusal(http_status: int, status: int, description: str) -> Response:
    content = {"rate": 0, "messageId": None, "status": status, "networkId": None, "statusDescription": description}
    return json_response(http_status, content)


def _provider_error(http_status: int, body_status: int) -> Response:
    """As seen in the wild: a 5xx is the gateway's HTML, a 4xx the API's JSON."""
    waits = http_status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
    headers = {"Retry-After": "1"} if waits else {}
    if http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Response(http_status, PROVIDER_PAGE, "text/html", headers)
    status = body_status or (12 if http_status == HTTPStatus.PAYMENT_REQUIRED else 100)
    return replace(_refusal(http_status, status, MEANINGS.get(status, "refused")), headers=headers)


def _body_refusal(status: int, send: Send) -> Response:
    """A success by its HTTP code only: it even carries an id, which no status read will know."""
    description = MEANINGS.get(status, "refused")
    content: dict[str, object] = {"rate": 0, "messageId": str(uuid4()), "status": status, "networkId": None}
    if send.batch_id:
        content = {"batchId": send.batch_id, "status": status, "data": []}
    return json_response(HTTPStatus.CREATED, {**content, "statusDescription": description})


def _answer(message: Message) -> dict[str, object]:
    return {
        "rate": round(message.parts * GHS_PER_PART, 2),
        "messageId": message.id,
        "status": 0,
        "networkId": message.network_id,
        "clientReference": message.client_reference,
        "statusDescription": "request submitted successfully",
    }


def _batch_answer(batch_id: str, messages: Sequence[Message]) -> dict[str, object]:
    data = [{"recipient": each.recipient[1:], "content": each.text, "messageId": each.id} for each in messages]
    return {"batchId": batch_id, "status": 0, "data": data}


def _state(message: Message, at: float) -> dict[str, object]:
    """Times carry no zone, as in Hubtel's samples; they are Ghana's, which is UTC."""
    status = message.status(at)
    return {
        "rate": round(message.parts * GHS_PER_PART, 2),
        "units": message.parts,
        "batchId": message.batch_id,
        "messageId": message.id,
        "clientReference": message.client_reference,
        "content": message.text,
        "status": status,
        "networkId": message.network_id,
        "updateTime": plain_time(message.changed_at(at)),
        "time": plain_time(message.received_at),
        "to": message.recipient[1:],
        "from": message.sender,
    }


def plain_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat(timespec="seconds")
