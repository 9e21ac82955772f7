"""Each fault as a client on a real socket meets it, and what has arrived afterwards."""

import smtplib
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.sandbox.process import Sandbox

NUMBERS = [f"23324412{n:04d}" for n in range(20)]


def test_faults_are_shown_and_replaced_as_a_whole(sandbox: Sandbox) -> None:
    sandbox.faults(delay_ms=5, share=0.5)
    assert sandbox.control.get("/api/v1/faults").json() == {"delay_ms": 5, "share": 0.5}
    sandbox.faults(hang=False)
    assert sandbox.control.get("/api/v1/faults").json() == {"hang": False}
    sandbox.faults()
    assert sandbox.control.get("/api/v1/faults").json() == {}


@pytest.mark.parametrize(
    "body",
    [
        b'{"delay": 5}',
        b'{"delay_ms": "5"}',
        b'{"delay_ms": -1}',
        b'{"delay_ms": true}',
        b'{"share": 1.1}',
        b'{"share": NaN}',
        b'{"error_status": 200}',
        b'{"hang": 1}',
        b'{"on": "nothing"}',
        b"[]",
        b"{",
        b"",
    ],
)
def test_a_wrong_set_of_faults_changes_nothing(sandbox: Sandbox, body: bytes) -> None:
    sandbox.faults(delay_ms=1)
    answer = sandbox.control.put("/api/v1/faults", content=body)
    assert answer.status_code == 400
    assert answer.json()["allowed"]["share"] == "number 0 to 1"
    assert sandbox.control.get("/api/v1/faults").json() == {"delay_ms": 1}


@pytest.mark.parametrize("fault", ["delay_ms", "latency_ms"])
def test_a_delay_comes_after_the_text_arrived(sandbox: Sandbox, fault: str) -> None:
    sandbox.faults(**{fault: 300})
    with ThreadPoolExecutor() as pool:
        began = time.monotonic()
        answer = pool.submit(sandbox.send)
        while not sandbox.total():
            assert time.monotonic() - began < 0.3
        assert answer.result().status_code == 201
    assert 0.3 <= time.monotonic() - began < 1


def test_an_error_status_accepts_nothing(sandbox: Sandbox) -> None:
    sandbox.faults(error_status=503)
    answer = sandbox.send()
    assert (answer.status_code, answer.headers["retry-after"], answer.headers["content-type"]) == (
        503,
        "1",
        "text/html",
    )
    sandbox.faults(error_status=402)
    answer = sandbox.send()
    assert (answer.status_code, answer.json()["status"]) == (402, 12)
    sandbox.faults(error_status=400, body_status=6)
    answer = sandbox.send()
    assert (answer.status_code, answer.json()["status"]) == (400, 6)
    assert sandbox.total() == 0
    assert sandbox.stats()["faults_hit"] == {"error_status": 3}


def test_an_error_after_accepting_hides_a_text_that_arrived(sandbox: Sandbox) -> None:
    sandbox.faults(error_after_accept_status=500)
    assert sandbox.send().status_code == 500
    assert sandbox.total() == 1


def test_a_body_status_is_a_refusal_under_a_good_http_code(sandbox: Sandbox) -> None:
    sandbox.faults(body_status=12)
    answer = sandbox.send()
    assert (answer.status_code, answer.json()["status"]) == (201, 12)
    assert sandbox.http.get(f"/v1/messages/{answer.json()['messageId']}").status_code == 404
    assert sandbox.batch(NUMBERS).json() | {"batchId": ""} == {
        "batchId": "",
        "status": 12,
        "data": [],
        "statusDescription": "payment required on account",
    }
    assert sandbox.total() == 0


@pytest.mark.parametrize(("fault", "arrived"), [("hang", 0), ("hang_after_accept", 1)])
def test_a_hang_never_answers(sandbox: Sandbox, fault: str, arrived: int) -> None:
    sandbox.faults(**{fault: True})
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{sandbox.url}/v1/messages/send",
            json={"From": "YEA", "To": NUMBERS[0], "Content": "x"},
            auth=("id", "secret"),
            timeout=0.3,
        )
    assert sandbox.total() == arrived


@pytest.mark.parametrize(("fault", "arrived"), [("reset_after_headers", 0), ("reset_after_accept", 1)])
def test_a_reset_breaks_the_connection(sandbox: Sandbox, fault: str, arrived: int) -> None:
    sandbox.faults(**{fault: True})
    body = b'{"From":"YEA","To":"0244123456","Content":"x"}'
    head = b"POST /v1/messages/send HTTP/1.1\r\nHost: x\r\nAuthorization: Basic aWQ6cw==\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", sandbox.http_port), timeout=5) as line:
        line.sendall(head % len(body))
        if arrived:
            line.sendall(body)
        with pytest.raises(ConnectionResetError):
            line.recv(1)
    assert sandbox.total() == arrived


def test_half_an_answer(sandbox: Sandbox) -> None:
    sandbox.faults(truncate=True)
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        sandbox.send()
    assert sandbox.total() == 1


def test_a_rate_limit_answers_429_and_recovers(sandbox: Sandbox) -> None:
    sandbox.faults(rate_limit=5)
    answers = [sandbox.send(number) for number in NUMBERS[:8]]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) == 3
    assert refused[0].headers["retry-after"] == "1"
    assert sandbox.total() == 5
    time.sleep(0.3)
    assert sandbox.send().status_code == 201


@pytest.mark.parametrize(("lost", "arrived"), [(False, 20), (True, 15)])
def test_a_partial_batch_leaves_recipients_out(sandbox: Sandbox, lost: bool, arrived: int) -> None:
    sandbox.faults(partial_batch=0.25, partial_batch_lost=lost, seed=1)
    body = sandbox.batch(NUMBERS).json()
    assert len(body["data"]) == 15
    assert sandbox.total() == arrived
    sandbox.faults()
    assert len(sandbox.http.get(f"/v1/messages/batch/{body['batchId']}").json()["data"]) == arrived


def test_a_share_hits_the_same_requests_in_every_run(sandbox: Sandbox) -> None:
    def run() -> list[int]:
        sandbox.faults(error_status=500, share=0.4, seed=7)
        codes = []
        for number in NUMBERS:
            codes.append(sandbox.send(number).status_code)
            sandbox.http.get("/v1/messages/unknown")  # reading a status draws from a stream of its own
        return codes

    first = run()
    assert run() == first
    assert 0 < first.count(500) < len(first)
    assert sandbox.total() == 2 * first.count(201)


def test_faults_can_be_kept_to_status_reads(sandbox: Sandbox) -> None:
    sandbox.faults(error_status=500, on="status")
    identifier = sandbox.send().json()["messageId"]
    assert sandbox.http.get(f"/v1/messages/{identifier}").status_code == 500


def test_a_refusal_is_a_closed_port_that_opens_again(sandbox: Sandbox) -> None:
    sandbox.http.get("/healthz")  # leaves a kept-alive connection, which must not stay usable
    sandbox.faults(refuse=0.6)
    began = time.monotonic()
    for path in ("/healthz", "/v1/messages/send"):
        with pytest.raises(httpx.ConnectError):
            httpx.get(sandbox.url + path)
    with pytest.raises(httpx.TransportError):
        sandbox.send()
    assert sandbox.control.get("/api/v1/faults").json() == {"refuse": 0.6}
    while sandbox.control.get("/api/v1/faults").json():
        assert time.monotonic() - began < 3
        time.sleep(0.02)
    assert time.monotonic() - began >= 0.5
    assert sandbox.send().status_code == 201


def test_a_refusal_ends_at_once_by_the_control_port(sandbox: Sandbox) -> None:
    sandbox.faults(refuse=60, smtp_refuse=60)
    with pytest.raises(ConnectionRefusedError):
        sandbox.mail()
    sandbox.faults()
    assert sandbox.send().status_code == 201
    sandbox.mail()
    assert sandbox.total() == 2


def test_a_refusal_switched_on_through_the_refusing_port_is_still_answered(sandbox: Sandbox) -> None:
    answer = httpx.put(f"{sandbox.url}/api/v1/faults", json={"refuse": 30})
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    with pytest.raises(httpx.ConnectError):
        httpx.get(sandbox.url)
    sandbox.faults()


def test_the_control_port_serves_no_hubtel_api(sandbox: Sandbox) -> None:
    assert sandbox.control.get("/v1/messages/x").status_code == 404
    assert sandbox.control.get("/").status_code == 200


def test_smtp_errors_at_the_recipient(sandbox: Sandbox) -> None:
    sandbox.faults(smtp_error=451)
    with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        sandbox.mail()
    assert caught.value.recipients["ama@example.com"][0] == 451
    assert sandbox.total() == 0


@pytest.mark.parametrize(("fault", "arrived"), [("smtp_drop_before_accept", 0), ("smtp_drop_after_data", 1)])
def test_smtp_drops_leave_the_sender_in_doubt(sandbox: Sandbox, fault: str, arrived: int) -> None:
    sandbox.faults(**{fault: True})
    with pytest.raises(smtplib.SMTPServerDisconnected):
        sandbox.mail()
    assert sandbox.total() == arrived
    assert sandbox.stats()["faults_hit"] == {fault: 1}


def test_smtp_may_be_slow(sandbox: Sandbox) -> None:
    sandbox.faults(smtp_delay_ms=200)
    began = time.monotonic()
    sandbox.mail()
    assert time.monotonic() - began >= 0.2
