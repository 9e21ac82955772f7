"""The Hubtel gateway, held against delivery.md 1.2: what each answer of the network means to us."""

from __future__ import annotations

import base64
import json
import logging
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any
from uuid import uuid4

import pytest
from django.conf import LazySettings
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from core.delivery.gateways import Answer, Look
from core.delivery.gateways.hubtel import LONGEST_WAIT, Hubtel
from core.delivery.rules import Fault, Status, Verdict
from stack.servers import free_port
from tests.delivery.outbox import PHONE, phones
from tests.delivery.raw_server import RawServer, answering, http, read_request, reset
from tests.sandbox.process import Sandbox

ACCEPTED, REFUSED, IN_DOUBT = Verdict.ACCEPTED, Verdict.REFUSED, Verdict.IN_DOUBT
AWAY, NOT_CONFIGURED = Verdict.PROVIDER_AWAY, Verdict.NOT_CONFIGURED
OK = {"rate": 0.03, "messageId": "an-id", "status": 0, "networkId": "62001"}


def send(reference: str = "our-id") -> Answer:
    return Hubtel().send(PHONE, "Hello", reference)


def refused(status: int) -> bytes:
    return http(400, {"status": status, "messageId": None})


ANSWERS: dict[str, tuple[bytes, Verdict, Fault | None]] = {
    "201": (http(201, OK), ACCEPTED, None),
    "200": (http(200, OK), ACCEPTED, None),
    "status as text": (http(201, OK | {"status": "0"}), ACCEPTED, None),
    "no rate": (http(201, {"messageId": "an-id", "status": 0}), ACCEPTED, None),
    "keys in capitals": (http(201, {"MESSAGEID": "an-id", "Status": 0, "RATE": 0.03}), ACCEPTED, None),
    "in the envelope of the test host": (
        http(200, {"message": "ok", "responseCode": "200", "data": OK | {"status": "0"}}),
        ACCEPTED,
        None,
    ),
    "a refusal in the envelope": (
        http(200, {"responseCode": "200", "data": {"status": "12"}}),
        NOT_CONFIGURED,
        Fault.NO_FUNDS,
    ),
    "an empty envelope": (http(200, {"responseCode": "200", "data": {}}), IN_DOUBT, Fault.NO_ANSWER),
    "2xx, bad destination": (http(201, OK | {"status": 1}), REFUSED, None),
    "2xx, too long": (http(201, OK | {"status": 3}), REFUSED, None),
    "2xx, payment required": (http(200, OK | {"status": 12}), NOT_CONFIGURED, Fault.NO_FUNDS),
    "2xx, bad sender": (http(201, OK | {"status": 2}), NOT_CONFIGURED, Fault.CREDENTIALS),
    "2xx, malformed": (http(200, {"status": 100, "messageId": None}), REFUSED, None),
    "2xx, malformed, with an id": (http(200, OK | {"status": 100}), IN_DOUBT, Fault.NO_ANSWER),
    "2xx, malformed, with the id of a batch": (
        http(200, {"status": 100, "batchId": "b"}),
        IN_DOUBT,
        Fault.NO_ANSWER,
    ),
    "2xx, refused, names what it took": (
        http(200, {"status": 8, "data": [{"messageId": "an-id"}]}),
        IN_DOUBT,
        Fault.NO_ANSWER,
    ),
    "2xx, refused, names it alone": (http(200, {"status": 8, "data": {"messageId": "x"}}), IN_DOUBT, Fault.NO_ANSWER),
    "2xx, unknown status": (http(201, OK | {"status": 77}), IN_DOUBT, Fault.NO_ANSWER),
    "2xx, unknown status, no id": (http(201, {"status": 77}), IN_DOUBT, Fault.NO_ANSWER),
    "2xx, no status": (http(201, {"messageId": "an-id"}), IN_DOUBT, Fault.NO_ANSWER),
    "2xx, null status": (http(201, OK | {"status": None}), IN_DOUBT, Fault.NO_ANSWER),
    "2xx, no id": (http(201, {"status": 0}), IN_DOUBT, Fault.NO_ANSWER),
    "2xx, null id": (http(201, OK | {"messageId": None}), IN_DOUBT, Fault.NO_ANSWER),
    "2xx, empty id": (http(201, OK | {"messageId": ""}), IN_DOUBT, Fault.NO_ANSWER),
    "2xx, not JSON": (http(200, b"<html>OK</html>"), IN_DOUBT, Fault.NO_ANSWER),
    "2xx, empty": (http(201), IN_DOUBT, Fault.NO_ANSWER),
    "2xx, a list": (http(201, [OK]), IN_DOUBT, Fault.NO_ANSWER),
    "2xx, not UTF-8": (http(201, b'{"status": 0, "messageId": "\xff"'), IN_DOUBT, Fault.NO_ANSWER),
    "2xx, bottomless": (http(201, b"[" * 200_000), IN_DOUBT, Fault.NO_ANSWER),
    "204": (b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", IN_DOUBT, Fault.NO_ANSWER),
    "truncated body": (http(201, OK, Content_Length="500"), IN_DOUBT, Fault.NO_ANSWER),
    "truncated head": (b"HTTP/1.1 201 Crea", IN_DOUBT, Fault.NO_ANSWER),
    "not HTTP": (b"220 ready\r\n", IN_DOUBT, Fault.NO_ANSWER),
    "broken compression": (http(201, OK, Content_Encoding="gzip"), IN_DOUBT, Fault.NO_ANSWER),
    "closed without a word": (b"", IN_DOUBT, Fault.NO_ANSWER),
    "400/1 destination": (refused(1), REFUSED, None),
    "400/2 sender": (refused(2), NOT_CONFIGURED, Fault.CREDENTIALS),
    "400/3 too long": (refused(3), REFUSED, None),
    "400/4 not routable": (refused(4), REFUSED, None),
    "400/5 time": (refused(5), REFUSED, None),
    "400/6 content": (refused(6), REFUSED, None),
    "400/7 not allowed": (refused(7), REFUSED, None),
    "400/8 not valid": (refused(8), REFUSED, None),
    "400/12 funds": (refused(12), NOT_CONFIGURED, Fault.NO_FUNDS),
    "400/100 malformed": (refused(100), REFUSED, None),
    "400 alone": (http(400, b"bad"), REFUSED, None),
    "401": (http(401, {"statusDescription": "no"}), NOT_CONFIGURED, Fault.CREDENTIALS),
    "402": (http(402, {"status": 12}), NOT_CONFIGURED, Fault.NO_FUNDS),
    "403": (http(403, {}), REFUSED, None),
    "404": (http(404, b"no such page"), NOT_CONFIGURED, Fault.CREDENTIALS),
    "405": (http(405, b""), REFUSED, None),
    "408": (http(408, b""), IN_DOUBT, Fault.NO_ANSWER),
    "413": (http(413, b""), REFUSED, None),
    "429": (http(429, b"", Retry_After="5"), AWAY, Fault.THROTTLED),
    "500": (http(500, b"<html>"), IN_DOUBT, Fault.NO_ANSWER),
    "501": (http(501, b""), IN_DOUBT, Fault.NO_ANSWER),
    "502": (http(502, b""), IN_DOUBT, Fault.NO_ANSWER),
    "503": (http(503, b""), AWAY, Fault.UNAVAILABLE),
    "504": (http(504, b""), IN_DOUBT, Fault.NO_ANSWER),
    "599": (http(599, b""), IN_DOUBT, Fault.NO_ANSWER),
    "500 that says accepted": (http(500, OK), IN_DOUBT, Fault.NO_ANSWER),
    "400 that says accepted": (http(400, OK), REFUSED, None),
    "301": (http(301, b"", Location="/elsewhere"), NOT_CONFIGURED, Fault.CREDENTIALS),
    "302": (http(302, b"", Location="http://127.0.0.1:1/"), NOT_CONFIGURED, Fault.CREDENTIALS),
    "307": (http(307, b"", Location="/elsewhere"), NOT_CONFIGURED, Fault.CREDENTIALS),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_means(name: str, settings: LazySettings) -> None:
    raw, verdict, fault = ANSWERS[name]
    with answering(raw) as server:
        settings.HUBTEL_BASE_URL = server.url
        answer = send()
    assert (answer.verdict, answer.fault) == (verdict, fault), answer
    assert len(server.heard) == 1, "asked once, and no redirect was followed"
    assert answer.verdict == ACCEPTED or answer.reason.startswith("Hubtel: ")
    assert PHONE[1:] not in answer.reason


@pytest.mark.parametrize(("status", "kept"), [(77, "an-id"), (100, "an-id"), (None, "an-id"), (12, ""), (1, "")])
def test_a_text_in_doubt_keeps_the_id_to_ask_by(settings: LazySettings, status: int | None, kept: str) -> None:
    with answering(http(201, OK | {"status": status})) as server:
        settings.HUBTEL_BASE_URL = server.url
        assert send().provider_id == kept


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 429, 500, 502, 503, 504])
def test_the_sandbox_answers_in_the_same_way(sandbox: Sandbox, status: int) -> None:
    sandbox.faults(error_status=status)
    known = {400: REFUSED, 401: NOT_CONFIGURED, 402: NOT_CONFIGURED, 403: REFUSED, 404: NOT_CONFIGURED}
    assert send().verdict == {**known, 429: AWAY, 503: AWAY}.get(status, IN_DOUBT)
    assert sandbox.total() == 0


def test_an_accepted_text_has_arrived_with_our_id_and_its_price(sandbox: Sandbox) -> None:
    reference = str(uuid4())
    answer = send(reference)
    [arrived] = sandbox.messages()
    assert (answer.verdict, answer.provider_id) == (ACCEPTED, arrived["id"])
    assert answer.cost == Decimal("0.0300")
    assert answer.cost.as_tuple().exponent == -4
    assert (arrived["to"], arrived["text"], arrived["client_reference"]) == (PHONE, "Hello", reference)


def test_what_is_said_to_the_network(settings: LazySettings) -> None:
    settings.HUBTEL_CLIENT_ID, settings.HUBTEL_CLIENT_SECRET, settings.HUBTEL_SENDER = "the-id", "the-secret", "PMS"
    with answering(http(201, OK)) as server:
        settings.HUBTEL_BASE_URL = f"{server.url}/"
        Hubtel().send(PHONE, "Akwaaba ɛ", "our-id")
    head, _, body = server.heard[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/messages/send HTTP/1.1\r\n")
    token = base64.b64encode(b"the-id:the-secret").decode()
    assert f"authorization: basic {token}".lower().encode() in head.lower()
    assert json.loads(body) == {
        "From": "PMS",
        "To": "233244123456",
        "Content": "Akwaaba ɛ",
        "ClientReference": "our-id",
    }


@pytest.mark.parametrize(
    ("rate", "cost"),
    [
        (0, "0.0000"),
        (0.03, "0.0300"),
        ("0.025", "0.0250"),
        (0.03333333, "0.0333"),
        (1e-9, "0.0000"),
        (99_999_999, "99999999.0000"),
        (100_000_000, None),
        (1e40, None),
        (-0.03, None),
        (None, None),
        ("free", None),
        (True, None),
        ({}, None),
        ("NaN", None),
        ("Infinity", None),
        ("sNaN", None),
    ],
)
def test_the_price_is_what_fits_the_ledger_or_unknown(settings: LazySettings, rate: object, cost: str | None) -> None:
    with answering(http(201, OK | {"rate": rate})) as server:
        settings.HUBTEL_BASE_URL = server.url
        answer = send()
    assert (answer.verdict, answer.cost if answer.cost is None else str(answer.cost)) == (ACCEPTED, cost)


@pytest.mark.parametrize(
    ("network", "kept"),
    [
        ("62001", "62001"),
        (62001, "62001"),
        (None, ""),
        ("MTN", ""),
        ("620010000001", ""),
        (True, ""),
        ({}, ""),
        ("٦٢", ""),
    ],
)
def test_the_network_is_digits_or_unknown(settings: LazySettings, network: object, kept: str) -> None:
    with answering(http(201, OK | {"networkId": network})) as server:
        settings.HUBTEL_BASE_URL = server.url
        assert send().network == kept


IN_NINE_MINUTES = "in nine minutes"


@pytest.mark.parametrize(
    ("status", "said", "least", "most"),
    [
        (429, "5", 5, 5),
        (429, "0", 0, 0),
        (503, "120", 120, 120),
        (429, "999999999999", LONGEST_WAIT, LONGEST_WAIT),
        (503, IN_NINE_MINUTES, 480, 540),
        (429, "Sun, 01 Jan 2023 10:00:00 GMT", 0, 0),
        (429, "Sat, 01 Jan 2400 10:00:00 GMT", LONGEST_WAIT, LONGEST_WAIT),
        (429, "-5", None, None),
        (429, "soon", None, None),
        (429, "1.5", None, None),
        (500, "5", None, None),
    ],
)
def test_how_long_we_are_asked_to_wait(
    settings: LazySettings, status: int, said: str, least: float | None, most: float | None
) -> None:
    if said == IN_NINE_MINUTES:
        said = format_datetime(datetime.now(UTC) + timedelta(minutes=9), usegmt=True)
    with answering(http(status, b"", Retry_After=said)) as server:
        settings.HUBTEL_BASE_URL = server.url
        waits = {send().wait, Hubtel().send_same(phones(1), "Hello").overall.wait}
        waits.add(Hubtel().status("an-id").wait)
    for wait in waits:
        assert wait is None if least is None or most is None else wait is not None and least <= wait <= most


# --- the line ------------------------------------------------------------------------------------------------------


def test_a_closed_port_is_no_doubt(settings: LazySettings) -> None:
    settings.HUBTEL_BASE_URL = f"http://127.0.0.1:{free_port()}/v1/messages"
    answer = send()
    assert (answer.verdict, answer.fault) == (AWAY, Fault.UNREACHABLE)


@pytest.mark.parametrize("url", ["http://no-such-host.invalid/v1", "https://127.0.0.1:{port}/v1", "http://[::1/v1"])
def test_no_name_no_handshake_no_address_is_no_doubt(settings: LazySettings, url: str) -> None:
    with answering(b"this is no TLS\r\n") as server:
        settings.HUBTEL_BASE_URL = url.format(port=server.port)
        assert send().verdict == AWAY


def test_a_line_that_never_opens_is_no_doubt(settings: LazySettings) -> None:
    """A full backlog swallows the SYN."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        settings.HUBTEL_BASE_URL = f"http://127.0.0.1:{listener.getsockname()[1]}"
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        answer = send()
        for filler in fillers:
            filler.close()
    assert (answer.verdict, answer.reason) == (AWAY, "Hubtel: not reached (ConnectTimeout)")


def then(*steps: Callable[[socket.socket], object]) -> Callable[[socket.socket], None]:
    def talk(line: socket.socket) -> None:
        for step in steps:
            step(line)

    return talk


def says(answer: bytes) -> Callable[[socket.socket], object]:
    return lambda line: line.sendall(answer)


def silence(_line: socket.socket) -> None:
    time.sleep(1.3)


def a_moment(_line: socket.socket) -> None:
    """Long enough for the request to be under way: a line that dies before it is no doubt, and rightly so."""
    time.sleep(0.2)


HALF = http(201, OK, Content_Length="500")
TALKS: dict[str, Callable[[socket.socket], None]] = {
    "reset without a word": then(a_moment, reset),
    "closed without a word": then(a_moment),
    "reset after the request": then(read_request, reset),
    "reset in the answer": then(read_request, says(b"HTTP/1.1 201 "), reset),
    "silence": silence,
    "silence after the request": then(read_request, silence),
    "silence in the answer": then(read_request, says(HALF), silence),
}


@pytest.mark.parametrize("name", TALKS)
def test_an_answer_lost_after_the_request_began_is_in_doubt(name: str, settings: LazySettings) -> None:
    with RawServer(TALKS[name]) as server:
        settings.HUBTEL_BASE_URL = server.url
        answer = send()
    assert (answer.verdict, answer.fault) == (IN_DOUBT, Fault.NO_ANSWER), answer
    assert "the answer was lost" in answer.reason


@pytest.mark.parametrize(
    ("fault", "arrived"),
    [
        ("hang", 0),
        ("reset_after_headers", 0),
        ("hang_after_accept", 1),
        ("reset_after_accept", 1),
        ("truncate", 1),
    ],
)
def test_a_lost_answer_is_in_doubt_whether_the_text_arrived_or_not(sandbox: Sandbox, fault: str, arrived: int) -> None:
    sandbox.faults(**{fault: True})
    assert send().verdict == IN_DOUBT
    assert sandbox.total() == arrived


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_gateway_that_fails_after_accepting_is_in_doubt(sandbox: Sandbox, status: int) -> None:
    sandbox.faults(error_after_accept_status=status)
    assert send().verdict == IN_DOUBT
    assert sandbox.total() == 1


def test_a_slow_answer_within_the_timeout_is_taken(sandbox: Sandbox) -> None:
    sandbox.faults(delay_ms=600)
    assert send().verdict == ACCEPTED


def test_a_connection_that_was_idle_for_over_a_second_is_not_used_again(settings: LazySettings) -> None:
    """The other side may have closed it meanwhile, which would be a doubt for nothing."""
    connections: list[int] = []

    def talk(line: socket.socket) -> None:
        connections.append(0)
        while line.recv(1, socket.MSG_PEEK):
            read_request(line)
            connections[-1] += 1
            line.sendall(http(201, OK, Connection="keep-alive"))

    with RawServer(talk) as server:
        settings.HUBTEL_BASE_URL = server.url
        verdicts = [send().verdict, send().verdict]
        time.sleep(1.1)
        verdicts.append(send().verdict)
    assert set(verdicts) == {ACCEPTED}
    assert connections == [2, 1]


def test_wrong_credentials_are_ours_to_put_right(sandbox: Sandbox, settings: LazySettings) -> None:
    settings.HUBTEL_CLIENT_SECRET = "wrong"
    answer = send()
    assert (answer.verdict, answer.http_status) == (NOT_CONFIGURED, 401)
    assert "HUBTEL_CLIENT_SECRET" in answer.reason


def test_more_texts_than_the_line_takes_are_not_refused_for_good(sandbox: Sandbox) -> None:
    sandbox.faults(rate_limit=1)
    verdicts = [send().verdict for _ in range(4)]
    assert set(verdicts) == {ACCEPTED, AWAY}
    assert sandbox.total() == verdicts.count(ACCEPTED)


def test_a_proxy_of_the_environment_is_not_asked(
    sandbox: Sandbox, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert send().verdict == ACCEPTED


@pytest.mark.parametrize("fault", ["none", "401", "reset"])
def test_credentials_and_numbers_are_in_no_log(
    sandbox: Sandbox, settings: LazySettings, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    settings.HUBTEL_CLIENT_ID, settings.HUBTEL_CLIENT_SECRET = "an-id-unseen", "a-secret-unseen"
    if fault == "401":
        sandbox.faults(error_status=401)
    elif fault == "reset":
        sandbox.faults(reset_after_accept=True)
    with caplog.at_level(logging.DEBUG):
        send()
    token = base64.b64encode(b"an-id-unseen:a-secret-unseen").decode()
    for secret in ("an-id-unseen", "a-secret-unseen", token, PHONE[1:], "Hello"):
        assert secret not in caplog.text


# --- batches -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("personal", [False, True])
def test_a_batch_is_accepted_number_by_number(sandbox: Sandbox, personal: bool) -> None:
    numbers = phones(20)
    texts = {number: f"Hello {number[-2:]}" if personal else "Hello" for number in numbers}
    answer = Hubtel().send_each(texts) if personal else Hubtel().send_same(numbers, "Hello")
    assert set(answer.each) == set(numbers)
    assert {each.verdict for each in answer.each.values()} == {ACCEPTED}
    arrived = {message["to"]: message for message in sandbox.messages()}
    assert {to: message["text"] for to, message in arrived.items()} == texts
    assert {to: each.provider_id for to, each in answer.each.items()} == {to: m["id"] for to, m in arrived.items()}
    assert answer.batch_id


@pytest.mark.parametrize("lost", [False, True])
def test_numbers_that_a_batch_reply_does_not_name_are_in_doubt(sandbox: Sandbox, lost: bool) -> None:
    sandbox.faults(partial_batch=0.4, partial_batch_lost=lost)
    numbers = phones(10)
    answer = Hubtel().send_same(numbers, "Hello")
    assert len(answer.each) == 6
    assert answer.overall.verdict == IN_DOUBT
    assert sandbox.total() == (6 if lost else 10)


def test_what_is_said_of_a_batch(settings: LazySettings) -> None:
    with answering(http(201, {"batchId": "b", "status": 0, "data": []})) as server:
        settings.HUBTEL_BASE_URL = server.url
        Hubtel().send_same(phones(2), "Hello")
        Hubtel().send_each({PHONE: "One"})
    simple, personal = (heard.partition(b"\r\n\r\n") for heard in server.heard)
    assert simple[0].startswith(b"POST /v1/messages/batch/simple/send ")
    assert json.loads(simple[2]) == {
        "From": settings.HUBTEL_SENDER,
        "Recipients": ["233240000000", "233240000001"],
        "Content": "Hello",
    }
    assert personal[0].startswith(b"POST /v1/messages/batch/personalized/send ")
    assert json.loads(personal[2])["personalizedRecipients"] == [{"To": "233244123456", "Content": "One"}]


def entry(recipient: object = "233240000000", message_id: object = "m-1") -> dict[str, object]:
    return {"recipient": recipient, "content": "Hello", "messageId": message_id}


BATCH_ANSWERS: dict[str, tuple[bytes, Verdict, int]] = {
    "plain": (http(201, {"batchId": "b", "status": 0, "data": [entry()]}), IN_DOUBT, 1),
    "other case": (
        http(201, {"BATCHID": "b", "Status": "0", "DATA": [{"RECIPIENT": "233240000000", "MessageID": "m-1"}]}),
        IN_DOUBT,
        1,
    ),
    "with a plus": (http(201, {"status": 0, "data": [entry("+233240000000")]}), IN_DOUBT, 1),
    "entry without id": (http(201, {"status": 0, "data": [entry(message_id=None)]}), IN_DOUBT, 0),
    "entry without number": (http(201, {"status": 0, "data": [entry(recipient=None)]}), IN_DOUBT, 0),
    "entries of no kind": (http(201, {"status": 0, "data": [None, 7, "x", [], {}]}), IN_DOUBT, 0),
    "data is a number": (http(201, {"status": 0, "data": 7}), IN_DOUBT, 0),
    "data is a dict": (http(201, {"status": 0, "data": entry()}), IN_DOUBT, 0),
    "data missing": (http(201, {"status": 0}), IN_DOUBT, 0),
    "payment required behind a 200": (http(200, {"status": 12, "batchId": "b", "data": []}), NOT_CONFIGURED, 0),
    "payment required, nobody has an id": (
        http(200, {"status": 12, "data": [entry(message_id=None)]}),
        NOT_CONFIGURED,
        0,
    ),
    "payment required, one was taken": (http(200, {"status": 12, "data": [entry()]}), IN_DOUBT, 1),
    "bad destination behind a 200": (http(200, {"status": 1, "batchId": "b", "data": []}), REFUSED, 0),
    "bad destination, one was taken": (http(200, {"status": 1, "data": [entry(), {"recipient": "1"}]}), IN_DOUBT, 1),
    "taken, whom it does not say": (http(200, {"status": 1, "data": [entry(recipient=None)]}), IN_DOUBT, 0),
    "malformed behind a 200": (http(200, {"status": 100, "data": []}), REFUSED, 0),
    "malformed with an id": (http(200, {"status": 100, "messageId": "x"}), IN_DOUBT, 0),
    "malformed with the id of the batch": (http(200, {"status": 100, "batchId": "b", "data": []}), IN_DOUBT, 0),
    "malformed, one was taken": (http(200, {"status": 100, "data": [entry()]}), IN_DOUBT, 1),
    "unknown status": (http(200, {"status": 9}), IN_DOUBT, 0),
    "unknown status, one was taken": (http(200, {"status": 9, "batchId": "b", "data": [entry()]}), IN_DOUBT, 1),
    "not JSON": (http(201, b"ok"), IN_DOUBT, 0),
    "truncated": (http(201, {"status": 0, "data": [entry()]}, Content_Length="999"), IN_DOUBT, 0),
    "400/12": (refused(12), NOT_CONFIGURED, 0),
    "503": (http(503), AWAY, 0),
    "500": (http(500), IN_DOUBT, 0),
}


@pytest.mark.parametrize("name", BATCH_ANSWERS)
def test_an_answer_to_a_batch_means(name: str, settings: LazySettings) -> None:
    raw, overall, accepted = BATCH_ANSWERS[name]
    with answering(raw) as server:
        settings.HUBTEL_BASE_URL = server.url
        answer = Hubtel().send_same(phones(2), "Hello")
    assert answer.overall.verdict == overall
    assert {each.verdict for each in answer.each.values()} <= {ACCEPTED}
    assert list(answer.each) == phones(1)[:accepted]


# --- what became of them -------------------------------------------------------------------------------------------

STATE = {
    "rate": 0.06,
    "units": 2,
    "batchId": None,
    "messageId": "an-id",
    "content": "Your code is 123456",
    "status": "Delivered",
    "networkId": "62001",
    "updateTime": "2026-11-22T10:00:00",
    "to": "233244123456",
    "from": "YEA",
}


def a_batch(*entries: object, **about: object) -> dict[str, object]:
    return {"batchId": "b-1", "rate": 0.06, "data": list(entries), **about}


def test_what_a_status_tells(settings: LazySettings) -> None:
    with answering(http(200, STATE)) as server:
        settings.HUBTEL_BASE_URL = f"{server.url}/"
        answer = Hubtel().status("an-id")
    [report] = answer.reports
    assert (answer.look, answer.fault, answer.http_status) == (Look.FOUND, None, 200)
    assert (report.provider_id, report.text, report.status) == ("an-id", "Delivered", Status.DELIVERED)
    assert report.at == datetime(2026, 11, 22, 10, tzinfo=UTC), "no zone is Ghana's"
    assert (str(report.rate), report.units, report.network, report.phone) == ("0.0600", 2, "62001", PHONE)
    assert server.heard[0].startswith(b"GET /v1/messages/an-id HTTP/1.1\r\n")
    for personal in ("123456", "YEA"):
        assert personal not in report.raw, "neither the text nor a number is kept a second time"


def test_what_the_status_of_a_batch_tells(settings: LazySettings) -> None:
    other = {"MessageID": "m-2", "STATUS": "sent", "To": "+233240000001", "UpdateTime": "2026-11-22 11:00:00+01:00"}
    with answering(http(200, a_batch(STATE, other, None, 7, {"messageId": "m-3"}, {"status": "Sent"}))) as server:
        settings.HUBTEL_BASE_URL = server.url
        answer = Hubtel().batch_status("b-1")
    first, second = answer.reports
    assert first.provider_id == "an-id"
    assert (second.provider_id, second.text, second.status) == ("m-2", "sent", Status.ACCEPTED)
    assert (second.at, second.phone) == (datetime(2026, 11, 22, 10, tzinfo=UTC), "+233240000001")
    assert (second.rate, second.network, second.units) == (None, "", None)
    assert server.heard[0].startswith(b"GET /v1/messages/batch/b-1 HTTP/1.1\r\n")


WORDS = {
    "Pending": "accepted",
    "Sent": "accepted",
    "Delivered": "delivered",
    "DELIVERED": "delivered",
    " delivered ": "delivered",
    "Undelivered": "undelivered_temporary",
    "Expired": "undelivered_temporary",
    "Failed": "undelivered_temporary",
    "NACK": "undelivered_temporary",
    "Undeliverable": "undelivered_permanent",
    "Unroutable": "undelivered_permanent",
    "Rejected": "undelivered_permanent",
    "Blacklisted": "undelivered_permanent",
    "Delivered to operator": "",
    "Teleported": "",
    "0": "",
    "x" * 200: "",
}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_for_a_status_means(settings: LazySettings, word: str) -> None:
    with answering(http(200, STATE | {"status": word})) as server:
        settings.HUBTEL_BASE_URL = server.url
        [report] = Hubtel().status("an-id").reports
    assert (report.status, report.text) == (WORDS[word], word.strip()[:50])


@pytest.mark.parametrize(
    "when",
    [None, "", "yesterday", 5, {}, "2026-13-40T10:00:00", "0001-01-01T00:00:00+14:00", "2026-11-22T10:00:00 GMT"],
)
def test_a_time_that_is_none_is_left_out(settings: LazySettings, when: object) -> None:
    with answering(http(200, STATE | {"updateTime": when})) as server:
        settings.HUBTEL_BASE_URL = server.url
        [report] = Hubtel().status("an-id").reports
    assert report.at is None


LOOKS: dict[str, tuple[bytes, Look, Fault | None]] = {
    "404": (http(404, b"unknown"), Look.UNKNOWN, None),
    "404 in JSON": (http(404, {"statusDescription": "unknown"}), Look.UNKNOWN, None),
    "401": (http(401), Look.NOT_CONFIGURED, Fault.CREDENTIALS),
    "402": (http(402), Look.NOT_CONFIGURED, Fault.NO_FUNDS),
    "403": (http(403), Look.NOT_CONFIGURED, None),
    "301": (http(301, b"", Location="/elsewhere"), Look.NOT_CONFIGURED, Fault.CREDENTIALS),
    "400": (http(400, {"status": 100}), Look.UNREADABLE, None),
    "405": (http(405), Look.UNREADABLE, None),
    "408": (http(408), Look.AWAY, Fault.NO_ANSWER),
    "429": (http(429, b"", Retry_After="7"), Look.AWAY, Fault.THROTTLED),
    "500": (http(500), Look.AWAY, Fault.NO_ANSWER),
    "502": (http(502), Look.AWAY, Fault.NO_ANSWER),
    "503": (http(503), Look.AWAY, Fault.UNAVAILABLE),
    "504": (http(504), Look.AWAY, Fault.NO_ANSWER),
    "closed": (b"", Look.AWAY, Fault.UNREACHABLE),
    "half": (http(200, STATE, Content_Length="5000"), Look.AWAY, Fault.UNREACHABLE),
    "not JSON": (http(200, b"<html>"), Look.UNREADABLE, None),
    "empty": (http(200), Look.UNREADABLE, None),
    "a list": (http(200, [STATE]), Look.UNREADABLE, None),
    "no status": (http(200, {"messageId": "an-id", "batchId": "an-id"}), Look.UNREADABLE, None),
    "no id": (http(200, {"status": "Delivered"}), Look.UNREADABLE, None),
    "of another": (
        http(200, STATE | {"messageId": "another", "batchId": "another", "data": []}),
        Look.UNREADABLE,
        None,
    ),
    "a success that says nothing": (http(204), Look.UNREADABLE, None),
}


@pytest.mark.parametrize("name", LOOKS)
def test_a_status_read_comes_to(name: str, settings: LazySettings) -> None:
    raw, look, fault = LOOKS[name]
    with answering(raw) as server:
        settings.HUBTEL_BASE_URL = server.url
        answers = [Hubtel().status("an-id"), Hubtel().batch_status("an-id")]
    assert [(answer.look, answer.fault, answer.reports) for answer in answers] == [(look, fault, ())] * 2
    assert len(server.heard) == 2
    assert all(answer.reason.startswith("Hubtel: ") for answer in answers)


def test_a_status_read_of_a_closed_port_is_a_provider_that_is_away(settings: LazySettings) -> None:
    settings.HUBTEL_BASE_URL = f"http://127.0.0.1:{free_port()}/v1/messages"
    answer = Hubtel().status("an-id")
    assert (answer.look, answer.fault) == (Look.AWAY, Fault.UNREACHABLE)


@pytest.mark.parametrize("strange", ["../../admin", "a b?c=d#e", "é", "\r\nHost: x"])
def test_a_strange_id_asks_for_nothing_else(settings: LazySettings, strange: str) -> None:
    with answering(http(404)) as server:
        settings.HUBTEL_BASE_URL = server.url
        assert Hubtel().status(strange).look == Look.UNKNOWN
    path = server.heard[0].split(b" ")[1].decode()
    assert path.startswith("/v1/messages/")
    assert not set(path.removeprefix("/v1/messages/")) & set("/?# \r\n")


def test_the_sandbox_tells_what_became_of_a_text_and_of_a_batch(sandbox: Sandbox) -> None:
    sandbox.faults(deliver_after_ms=0)
    one, batch = send(), Hubtel().send_same(phones(3), "Hello")
    [report] = Hubtel().status(one.provider_id).reports
    assert (report.text, report.status, report.phone, report.network) == ("Delivered", Status.DELIVERED, PHONE, "62001")
    reports = {report.phone: report for report in Hubtel().batch_status(batch.batch_id).reports}
    assert {phone: report.provider_id for phone, report in reports.items()} == {
        phone: answer.provider_id for phone, answer in batch.each.items()
    }
    assert Hubtel().status("unknown").look == Hubtel().batch_status("unknown").look == Look.UNKNOWN


# --- whatever the network says -------------------------------------------------------------------------------------

values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["0", 0, 1, "12", "\0", 1e30]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
keys = st.sampled_from(["status", "Status", "messageId", "MESSAGEID", "rate", "data", "batchId", "recipient", "x"])
bodies = st.dictionaries(keys, values | st.lists(st.dictionaries(keys, values), max_size=3)).map(
    lambda found: json.dumps(found).encode()
) | st.binary(max_size=200)
said: dict[str, bytes] = {}


@pytest.fixture(scope="module")
def babble() -> Any:
    def talk(line: socket.socket) -> None:
        read_request(line)
        line.sendall(said["now"])

    with RawServer(talk) as server:
        yield server


@pytest.fixture
def to_babble(babble: RawServer, settings: LazySettings) -> None:
    settings.HUBTEL_BASE_URL = babble.url


@pytest.mark.usefixtures("to_babble")
class TestWhateverTheNetworkSays:
    @effort(max_examples=150, deadline=None)
    @given(st.sampled_from([200, 201, 204, 302, 400, 401, 403, 418, 429, 500, 503]), bodies)
    def test_there_is_an_answer_that_the_database_can_keep(self, status: int, body: bytes) -> None:
        said["now"] = http(status, body)
        batch = Hubtel().send_same(phones(2), "Hello")
        for answer in (send(), batch.overall, *batch.each.values()):
            assert answer.verdict != ACCEPTED or status in (200, 201)
            assert answer.verdict != ACCEPTED or answer.provider_id
            for kept in (answer.provider_id, answer.body_status, batch.batch_id):
                kept.encode()
                assert "\0" not in kept
                assert len(kept) <= 100
            assert answer.cost is None or 0 <= answer.cost < 10**8
            assert len(answer.network) <= 10
        for look in (Hubtel().status("x"), Hubtel().batch_status("x")):
            assert look.look != Look.FOUND or status in (200, 201)
            for report in look.reports:
                for kept in (report.provider_id, report.text, report.raw):
                    kept.encode()
                    assert "\0" not in kept
