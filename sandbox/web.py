"""A small HTTP/1.1 server on asyncio streams and h11, so that a fault can act on the socket itself."""

import asyncio
import json
import logging
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

import h11

from sandbox.numbering import mask_in

log = logging.getLogger("sandbox.http")

BODY_LIMIT = 32 * 1024 * 1024
IDLE_SECONDS = 120
LINGER_SECONDS = 1
CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Head:
    """A request whose body is not read yet. Header names are in lower case; of a doubled name the last one counts."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    truncated: bool = False
    note: str = ""  # for the log, numbers masked


class Fate(Enum):
    """What can become of a request instead of an answer."""

    RESET = auto()
    HANG = auto()


Reply = Response | Fate
Handler = Callable[[bytes], Awaitable[Reply]]
Route = Callable[[Head], Handler | Fate]


def json_response(status: int, content: object, note: str = "", **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, json.dumps(content).encode(), headers=named, note=note)


class HttpServer:
    """Serves one route on any number of listening sockets; `start` may be called again after a refusal."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.StreamWriter] = set()
        self.open = True

    async def start(self, host: str, port: int) -> asyncio.Server:
        return await asyncio.start_server(self._connected, host, port, backlog=1024)

    def turn_away(self) -> None:
        """Keep no connection alive, so that a refusing port is not passed by on an old one."""
        self.open = False
        for writer in self._idle:
            writer.transport.abort()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = _Line(h11.Connection(h11.SERVER), reader, writer)
        try:
            while await self._one(line) and self.open:
                line.http.start_next_cycle()
        except h11.RemoteProtocolError as error:
            log.info("400 not HTTP: %s", error)
            if line.http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                hint = error.error_status_hint
                status = hint if hint < HTTPStatus.INTERNAL_SERVER_ERROR else HTTPStatus.BAD_REQUEST
                with suppress(ConnectionError):
                    await line.answer(json_response(status, {"error": f"not HTTP: {error}"}), close=True)
                    await line.linger()
        except (ConnectionError, TimeoutError) as error:
            log.debug("connection ended: %r", error)
        finally:
            writer.close()

    async def _one(self, line: "_Line") -> bool:
        """Read and answer one request. False when the connection is over."""
        self._idle.add(line.writer)
        try:
            request = await line.next_event()
        finally:
            self._idle.discard(line.writer)
        if not isinstance(request, h11.Request):
            return False
        began = time.perf_counter()
        head = _head(request)
        line.bodiless = head.method == "HEAD"
        chosen = self._route(head)
        if isinstance(chosen, Fate):
            reply: Reply = chosen
        else:
            body = await line.read_body()
            if body is None:
                reply = json_response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": f"over {BODY_LIMIT} bytes"})
            else:
                reply = await self._safely(chosen, body)
        took = (time.perf_counter() - began) * 1000
        outcome, note = (reply.status, reply.note) if isinstance(reply, Response) else (reply.name, "")
        path = mask_in(request.target.decode().partition("?")[0])  # as it came: still percent-encoded
        level = logging.DEBUG if "x-renew" in head.headers else logging.INFO  # the open page asks every 2 s
        log.log(level, "%s %s %s %.0f ms %s", head.method, path, outcome, took, note)
        match reply:
            case Fate.RESET:
                line.reset()
                return False
            case Fate.HANG:
                await line.wait_until_left()
                return False
            case Response():
                return await line.answer(reply, close=not self.open)

    async def _safely(self, handler: Handler, body: bytes) -> Reply:
        try:
            return await handler(body)
        except Exception as error:  # one request must not stop the server
            log.exception("the sandbox failed")
            return json_response(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"the sandbox failed: {error}"})


def _head(request: h11.Request) -> Head:
    path, _, query = request.target.decode().partition("?")
    return Head(
        method=request.method.decode(),
        path=unquote(path),
        query=dict(parse_qsl(query, keep_blank_values=True)),
        headers={name.decode(): value.decode("latin-1") for name, value in request.headers},
    )


@dataclass(slots=True)
class _Line:
    """One connection: h11's state, and the two ends of the socket."""

    http: h11.Connection
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    bodiless: bool = False  # the request was HEAD

    async def next_event(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = self.http.next_event()
            if isinstance(event, h11.Event) or event is h11.PAUSED:
                return event
            if self.http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                self.writer.write(self.http.send(go_on) or b"")
            async with asyncio.timeout(IDLE_SECONDS):
                self.http.receive_data(await self.reader.read(CHUNK))

    async def read_body(self) -> bytes | None:
        """None if it is longer than BODY_LIMIT."""
        chunks, size = list[bytes](), 0
        while isinstance(event := await self.next_event(), h11.Data):
            size += len(event.data)
            if size > BODY_LIMIT:
                return None
            chunks.append(bytes(event.data))
        return b"".join(chunks)

    async def answer(self, reply: Response, *, close: bool) -> bool:
        """Send it. True if another request may follow on this connection."""
        headers = {
            "Content-Type": reply.content_type,
            "Content-Length": str(len(reply.body)),
            "Cache-Control": "no-store",
            **reply.headers,
        }
        if close:
            headers["Connection"] = "close"
        start = h11.Response(status_code=reply.status, reason=_phrase(reply.status), headers=list(headers.items()))
        sent = self.http.send(start) or b""
        if reply.truncated:
            self.writer.write(sent + reply.body[: len(reply.body) // 2])
            await self.writer.drain()
            return False
        body = b"" if self.bodiless else reply.body
        sent += (self.http.send(h11.Data(body)) or b"") + (self.http.send(h11.EndOfMessage()) or b"")
        self.writer.write(sent)
        await self.writer.drain()
        if self.http.our_state is h11.DONE and self.http.their_state is h11.DONE:
            return True
        if self.http.their_state is h11.SEND_BODY:
            await self.linger()
        return False

    async def linger(self) -> None:
        """Read off what is still coming, or the kernel answers it with RST and the caller never sees our answer."""
        self.writer.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await self.wait_until_left()

    def reset(self) -> None:
        """Close with RST instead of FIN: linger 0 (socket(7))."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def wait_until_left(self) -> None:
        while await self.reader.read(CHUNK):
            pass


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
