"""A real server in a thread that answers what it is told to, for answers that the sandbox cannot produce."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self

Talk = Callable[[socket.socket], None]


class RawServer:
    """Every connection is handed to `talk` and closed after it. `heard` keeps what came in, one entry a connection."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.heard: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/messages"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            line.settimeout(3)
            with line, contextlib.suppress(OSError):
                self.talk(line)


def reset(line: socket.socket) -> None:
    """Close with RST instead of a farewell."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()


def read_request(line: socket.socket) -> bytes:
    """One HTTP request, its body included."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += line.recv(65536) or b"\r\n\r\n"
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(field[15:]) for field in head.split(b"\r\n") if field.lower().startswith(b"content-length:")),
        0,
    )
    while len(body) < length:
        body += line.recv(65536)
    return head + b"\r\n\r\n" + body


def http(status: int, body: object = b"", **headers: str) -> bytes:
    """The bytes of an HTTP answer; anything but bytes becomes JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Type": "application/json", "Content-Length": str(len(content)), "Connection": "close"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode() + content


def answering(answer: bytes) -> RawServer:
    """A provider that reads each request and answers the same bytes."""
    return replying(lambda _request: answer)


def replying(reply: Callable[[bytes], bytes]) -> RawServer:
    """A provider that answers what `reply` makes of each request."""

    def talk(line: socket.socket) -> None:
        request = read_request(line)
        server.heard.append(request)
        line.sendall(reply(request))

    server = RawServer(talk)
    return server


def smtp(replies: dict[str, str | None] | None = None) -> RawServer:
    """A mail server with these replies by verb ('' is the greeting, '.' the end of the text); None hangs up."""
    said: dict[str, str | None] = {
        "": "220 raw",
        "EHLO": "250 raw",
        "DATA": "354 go ahead",
        ".": "250 stored",
        "QUIT": "221 bye",
    }
    said.update(replies or {})

    def talk(line: socket.socket) -> None:
        whole, verb, in_text = b"", "", False
        with line.makefile("rb") as lines:
            while True:
                reply = said.get(verb, "250 OK")
                if verb != "text":
                    if reply is None:
                        server.heard.append(whole)
                        return
                    line.sendall(f"{reply}\r\n".encode())
                    in_text = reply.startswith("354")
                got = lines.readline()
                whole += got
                if not got:
                    server.heard.append(whole)
                    return
                at_end = got == b".\r\n"
                verb = ("." if at_end else "text") if in_text else got[:4].decode().strip().upper()

    server = RawServer(talk)
    return server
