"""The control API: what arrived, the faults, the counts."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import cast

from sandbox import faults
from sandbox.faults import BadFaultsError, FaultBoard
from sandbox.store import Kind, Message, Store
from sandbox.web import Handler, Head, Response, json_response

BASE = "/api/v1"
PATHS = (f"{BASE}/messages", f"{BASE}/faults", f"{BASE}/stats")
PAGE_LIMIT = 10_000
LARGEST = 2**62  # what SQLite takes


class BadQueryError(ValueError):
    """A value in the address line is not allowed. The message says what is."""


class Control:
    def __init__(self, store: Store, board: FaultBoard, requests: Counter[str]) -> None:
        self._store, self._board, self._requests = store, board, requests
        self._answers: dict[tuple[str, str], Callable[[Head, bytes], Awaitable[Response]]] = {
            ("GET", "/messages"): self._messages,
            ("DELETE", "/messages"): self._delete_messages,
            ("GET", "/faults"): self._faults,
            ("PUT", "/faults"): self._replace_faults,
            ("GET", "/stats"): self._stats,
        }

    def handler(self, head: Head) -> Handler:
        async def answer(body: bytes) -> Response:
            if head.path not in PATHS:
                return json_response(404, {"error": "no such address; see sandbox/README.md"})
            known = self._answers.get((head.method, head.path.removeprefix(BASE)))
            if known is None:
                return json_response(405, {"error": f"{head.method} is not allowed here"})
            try:
                return await known(head, body)
            except BadQueryError as error:
                return json_response(400, {"error": str(error)})
            except BadFaultsError as error:
                return json_response(400, {"error": str(error), "allowed": faults.allowed()})

        return answer

    def clear(self) -> int:
        """Forget all messages and counts. The faults stay."""
        self._requests.clear()
        self._board.hits.clear()
        return self._store.clear()

    async def _messages(self, head: Head, _body: bytes) -> Response:
        kind = head.query.get("kind", "")
        if kind not in ("", "sms", "email"):
            raise BadQueryError("kind must be sms or email")
        total, messages = await asyncio.to_thread(
            self._store.find,
            kind=cast(Kind, kind) if kind else None,
            to=head.query.get("to", ""),
            limit=_whole(head, "limit", default=100, high=PAGE_LIMIT),
            offset=_whole(head, "offset", default=0, high=LARGEST),
        )
        return json_response(200, {"total": total, "messages": [_shown(message) for message in messages]})

    async def _delete_messages(self, _head: Head, _body: bytes) -> Response:
        return json_response(200, {"deleted": self.clear()})

    async def _faults(self, _head: Head, _body: bytes) -> Response:
        return json_response(200, self._board.shown)

    async def _replace_faults(self, _head: Head, body: bytes) -> Response:
        await self._board.replace(faults.parse(body))
        return json_response(200, self._board.shown)

    async def _stats(self, _head: Head, _body: bytes) -> Response:
        """Messages are counted over all that is kept; requests and hits since the start or the last clearing."""
        counted = await asyncio.to_thread(self._store.stats)
        return json_response(200, {"requests": self._requests, **counted, "faults_hit": self._board.hits})


def _whole(head: Head, name: str, *, default: int, high: int) -> int:
    written = head.query.get(name, "")
    if not written:
        return default
    value = int(written) if written.isascii() and written.isdigit() and len(written) < 20 else -1  # noqa: PLR2004
    if not 0 <= value <= high:
        raise BadQueryError(f"{name} must be a whole number from 0 to {high}")
    return value


def _shown(message: Message) -> dict[str, object]:
    about: dict[str, object] = {
        "id": message.id,
        "kind": message.kind,
        "to": message.recipient,
        "from": message.sender,
    }
    if message.kind == "email":
        about |= {"subject": message.subject, "html": message.html, "message_id": message.message_id}
    return about | {
        "text": message.text,
        "received_at": datetime.fromtimestamp(message.received_at, UTC).isoformat(timespec="milliseconds"),
        "client_reference": message.client_reference,
    }
