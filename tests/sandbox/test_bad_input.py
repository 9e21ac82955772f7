"""Nothing that comes through a door may end the process or be the sandbox's own failure (5xx)."""

import json
import socket

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sandbox.process import Sandbox

doors = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["0244123456", "YEA"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ("From", "To", "Content", "ClientReference", "Recipients", "personalizedRecipients")
REQUESTS = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, ANYTHING)) | ANYTHING
PATHS = ("/send", "/batch/simple/send", "/batch/personalized/send")


def exchange(port: int, sent: bytes) -> bytes:
    """What comes back until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
        try:
            line.sendall(sent)
            line.shutdown(socket.SHUT_WR)
            received = b""
            while chunk := line.recv(65536):
                received += chunk
        except ConnectionError:
            return b""
    return received


@doors
@given(body=st.binary(max_size=300), path=st.sampled_from(PATHS))
def test_bytes_for_hubtel(running: Sandbox, body: bytes, path: str) -> None:
    assert running.http.post(f"/v1/messages{path}", content=body).status_code == 400


@doors
@given(body=REQUESTS, path=st.sampled_from(PATHS))
def test_json_for_hubtel(running: Sandbox, body: object, path: str) -> None:
    assert running.http.post(f"/v1/messages{path}", content=json.dumps(body)).status_code in (201, 400)


@doors
@given(body=st.binary(max_size=200) | ANYTHING.map(lambda found: json.dumps(found).encode()))
def test_anything_as_faults(running: Sandbox, body: bytes) -> None:
    assert running.control.put("/api/v1/faults", content=body).status_code == (200 if body.strip() == b"{}" else 400)


@doors
@given(path=st.text(max_size=60), name=st.sampled_from(["q", "to", "mail", "page", "texts", "kind", "view", "limit"]))
def test_anything_in_an_address(running: Sandbox, path: str, name: str) -> None:
    value = path.encode("utf-8", "surrogatepass")
    quoted = "".join(f"%{byte:02x}" for byte in value)
    for address in (
        f"/{quoted}",
        f"/?{name}={quoted}",
        f"/?view=mail&{name}={quoted}",
        f"/api/v1/messages?{name}={quoted}",
    ):
        assert running.control.get(address).status_code in (200, 400, 404)
    assert running.http.get(f"/v1/messages/{quoted}").status_code in (404, 405)


@doors
@given(sent=st.binary(max_size=300))
def test_bytes_instead_of_http(running: Sandbox, sent: bytes) -> None:
    for request in (
        sent,
        b"GET " + sent + b"\r\n\r\n",
        b"POST /v1/messages/send HTTP/1.1\r\nHost: x\r\n" + sent + b"\r\n\r\n",
    ):
        answer = exchange(running.http_port, request)
        assert answer == b"" or answer[:10] == b"HTTP/1.1 4", answer


@doors
@given(sent=st.binary(max_size=200), content=st.binary(max_size=300))
def test_bytes_instead_of_mail(running: Sandbox, sent: bytes, content: bytes) -> None:
    exchange(running.smtp_port, sent)
    mail = b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<" + sent + b">\r\nDATA\r\n" + content
    exchange(running.smtp_port, mail + b"\r\n.\r\nQUIT\r\n")


def test_strange_but_known_requests(sandbox: Sandbox) -> None:
    strange = [
        b"POST /v1/messages/send HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST /v1/messages/send HTTP/1.1\r\nHost: x\r\nContent-Length: nine\r\n\r\n",
        b"GET //[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    ]
    for request in strange:
        assert exchange(sandbox.http_port, request)[:10] == b"HTTP/1.1 4"
    for body in (b"[" * 100_000, b'{"From":' * 50_000, b"9" * 10_000, b"\xff\xfe[\x00]\x00"):
        assert sandbox.http.post("/v1/messages/send", content=body).status_code == 400
    assert sandbox.http.get("/healthz").status_code == 200


def test_no_failure_was_logged(running: Sandbox) -> None:
    """The last of this file: what the doors above were given left no traceback."""
    assert "Traceback" not in running.log.read_text()
