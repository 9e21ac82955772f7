"""Receipts pushed to an address, as Hubtel's old documents promise them; in and out of order.

Assumed, since no public page shows one: a JSON object with the names that a status read has.
"""

import asyncio
import heapq
import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from urllib.parse import urlsplit
from uuid import uuid4

from sandbox.faults import FaultBoard
from sandbox.store import Message, now

log = logging.getLogger("sandbox.push")

TIMEOUT_SECONDS = 5
WORDS = ("Pending", "Sent")  # before the last one


class Pusher:
    """Tells the address that is set each change of each text in its time. A push that fails is not repeated."""

    def __init__(self, board: FaultBoard, address: str) -> None:
        self._board, self._address = board, address
        self._waiting: list[tuple[float, int, dict[str, object]]] = []
        self._numbers = count()
        self._new = asyncio.Event()

    def add(self, messages: Sequence[Message]) -> None:
        faults = self._board.current
        if not (faults.receipts_to or self._address):
            return
        for message in messages:
            steps = [*zip((message.received_at, message.sent_at), WORDS, strict=True)]
            steps.append((message.settled_at, message.final_status))
            if faults.receipts_reordered:
                steps = [(at, word) for (at, _), (_, word) in zip(steps, reversed(steps), strict=True)]
            for at, word in steps:
                content = receipt(message, word, at)
                when = message.received_at if faults.receipts_early else at
                for _ in range(2 if faults.receipts_doubled else 1):
                    self._put(when, content)
                if faults.receipts_unknown:
                    self._put(when, {**content, "messageId": str(uuid4()), "clientReference": None})
        self._new.set()

    def _put(self, when: float, content: dict[str, object]) -> None:
        heapq.heappush(self._waiting, (when, next(self._numbers), content))

    async def run(self) -> None:
        """Push for ever."""
        while True:
            self._new.clear()
            while self._waiting and self._waiting[0][0] <= now():
                content = heapq.heappop(self._waiting)[2]
                reached = await self._push(content)
                self._board.hits["receipts_pushed" if reached else "receipts_failed"] += 1
            pause = max(0.0, self._waiting[0][0] - now()) if self._waiting else None
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._new.wait()

    async def _push(self, content: dict[str, object]) -> bool:
        address = self._board.current.receipts_to or self._address
        if not address:
            return False
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status = await post(address, json.dumps(content).encode())
        except (OSError, TimeoutError, ValueError) as error:
            log.warning("a receipt was not taken: %s", type(error).__name__)
            return False
        log.info("a receipt was pushed: %s, answered %d", content["status"], status)
        return 200 <= status < 300  # noqa: PLR2004 - HTTP's own class


def receipt(message: Message, word: str, at: float) -> dict[str, object]:
    from sandbox.hubtel import GHS_PER_PART, plain_time

    return {
        "messageId": message.id,
        "status": word,
        "updateTime": plain_time(at),
        "networkId": message.network_id,
        "rate": round(message.parts * GHS_PER_PART, 2),
        "to": message.recipient[1:],
        "clientReference": message.client_reference,
    }


async def post(address: str, body: bytes) -> int:
    """The HTTP status of the answer. Plain HTTP only. Raises OSError and ValueError."""
    parts = urlsplit(address)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        head = f"POST {target or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        return int((await reader.readline()).split()[1])
    except IndexError as error:
        raise ValueError("not an HTTP answer") from error
    finally:
        writer.close()
