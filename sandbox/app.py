"""All parts of the sandbox put together in one event loop."""

import asyncio
import errno
import logging
import signal
import sqlite3
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sandbox.control import BASE as CONTROL_BASE
from sandbox.control import PATHS as CONTROL_PATHS
from sandbox.control import Control
from sandbox.faults import FaultBoard, Faults
from sandbox.hubtel import BASE as HUBTEL_BASE
from sandbox.hubtel import READERS, Hubtel
from sandbox.listener import Listener
from sandbox.mail import Mailbox
from sandbox.page import Page
from sandbox.push import Pusher
from sandbox.store import Store
from sandbox.web import Fate, Handler, Head, HttpServer, Response, json_response

log = logging.getLogger("sandbox")


class StartError(Exception):
    """The sandbox cannot start. The message says why and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class Options:
    host: str
    http_port: int
    smtp_port: int
    control_port: int | None
    data: Path
    deliver_after: float  # seconds
    receipts_to: str = ""


class Doors:
    """Which part answers which path, and how often it was asked."""

    def __init__(self, store: Store, board: FaultBoard, pusher: Pusher, *, deliver_after: float) -> None:
        self._requests = Counter[str]()
        self._control = Control(store, board, self._requests)
        self._page = Page(store, board, self._control.clear)
        self._hubtel = Hubtel(store, board, pusher, deliver_after=deliver_after)

    def network(self, head: Head) -> Handler | Fate:
        """The HTTP port: everything."""
        if not head.path.startswith(f"{HUBTEL_BASE}/"):
            return self.control(head)
        batch = "batch/" if head.path.startswith(f"{HUBTEL_BASE}/batch/") else ""
        self._count(head, head.path if head.path in READERS else f"{HUBTEL_BASE}/{batch}{{id}}")
        return self._hubtel.route(head)

    def control(self, head: Head) -> Handler:
        """The control port: the same without Hubtel's API."""
        if head.path.startswith(f"{CONTROL_BASE}/"):
            self._count(head, head.path if head.path in CONTROL_PATHS else "other")
            return self._control.handler(head)
        if head.path == "/healthz":
            return _healthy
        self._count(head, "page")
        return self._page.handler(head)

    def _count(self, head: Head, path: str) -> None:
        method = head.method if head.method in ("GET", "POST", "PUT", "DELETE") else "other"
        self._requests[f"{method} {path}"] += 1


async def _healthy(_body: bytes) -> Response:
    return json_response(200, {"status": "ok"})


async def run(options: Options) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartError."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        store = Store(options.data)
    except (OSError, sqlite3.Error) as error:
        raise StartError(
            f"the data folder {options.data} cannot be written: {error}; set SANDBOX_DATA or mend it"
        ) from error
    board = FaultBoard()
    pusher = Pusher(board, options.receipts_to)
    doors = Doors(store, board, pusher, deliver_after=options.deliver_after)
    network, control, mailbox = HttpServer(doors.network), HttpServer(doors.control), Mailbox(store, board)
    http = Listener(
        "HTTP",
        partial(network.start, options.host, options.http_port),
        on_close=network.turn_away,
        on_open=partial(_reopened, network, board),
    )
    smtp = Listener(
        "SMTP", partial(mailbox.start, options.host, options.smtp_port), on_open=partial(board.expire, "smtp_refuse")
    )
    listeners = {"SANDBOX_HTTP_PORT": (http, options.http_port), "SANDBOX_SMTP_PORT": (smtp, options.smtp_port)}
    if options.control_port:
        extra = Listener("control", partial(control.start, options.host, options.control_port))
        listeners["SANDBOX_CONTROL_PORT"] = (extra, options.control_port)

    async def refuse(faults: Faults) -> None:
        await http.refuse_for(faults.refuse)
        await smtp.refuse_for(faults.smtp_refuse)

    board.listeners.append(refuse)
    try:
        for variable, (listener, port) in listeners.items():
            await _open(listener, options.host, port, variable)
        log.info(
            "ready: page and Hubtel API http://%s:%d/, SMTP port %d", options.host, options.http_port, options.smtp_port
        )
        pushing = asyncio.create_task(pusher.run())
        await stop.wait()
        pushing.cancel()
        log.info("stopping")
    finally:
        for listener, _port in listeners.values():
            listener.close()
        await network.stop()
        await control.stop()
        store.close()


def _reopened(network: HttpServer, board: FaultBoard) -> None:
    network.open = True
    board.expire("refuse")


async def _open(listener: Listener, host: str, port: int, variable: str) -> None:
    try:
        await listener.open()
    except PermissionError as error:
        raise StartError(f"port {port} may not be opened by this user; set {variable} to one above 1023") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(f"port {port} is in use by another program; set {variable} or stop it") from error
        raise StartError(f"cannot listen on {host} port {port}: {error}; set SANDBOX_HOST or {variable}") from error
