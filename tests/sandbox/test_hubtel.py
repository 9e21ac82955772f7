"""Hubtel's contract as delivery.md 1.1 and 1.2 record it."""

import json
import time
from typing import Any

import httpx
import phonenumbers
import pytest
import smsutil
from hypothesis import given
from hypothesis import strategies as st

from sandbox.numbering import digits_of, is_ghana_mobile, mask_in
from sandbox.parts import BASIC, EXTENSION, count_parts
from tests.sandbox.process import Sandbox


def test_a_text_is_accepted_and_arrives(sandbox: Sandbox) -> None:
    answer = sandbox.send(ClientReference="ref-1", RegisteredDelivery=True)
    assert answer.status_code == 201
    body = answer.json()
    assert body | {"messageId": "?"} == {
        "rate": 0.03,
        "messageId": "?",
        "status": 0,
        "networkId": "62001",
        "clientReference": "ref-1",
        "statusDescription": "request submitted successfully",
    }
    [message] = sandbox.messages()
    assert (message["id"], message["client_reference"]) == (body["messageId"], "ref-1")
    assert (message["kind"], message["to"], message["from"], message["text"]) == (
        "sms",
        "+233244123456",
        "YEA",
        "Hello",
    )
    assert message["received_at"].endswith("+00:00")


def test_keys_are_read_in_any_case(sandbox: Sandbox) -> None:
    body = {"from": "YEA", "TO": "+233 20 123 4567", "content": "Hi"}
    answer = sandbox.http.post("/v1/messages/send", json=body)
    assert (answer.status_code, answer.json()["networkId"]) == (201, "62002")
    assert sandbox.messages()[0]["to"] == "+233201234567"


def test_the_same_text_to_many(sandbox: Sandbox) -> None:
    answer = sandbox.batch(["233244123456", "0201234567"])
    assert answer.status_code == 201
    body = answer.json()
    assert body["status"] == 0
    assert [each["recipient"] for each in body["data"]] == ["233244123456", "233201234567"]
    status = sandbox.http.get(f"/v1/messages/batch/{body['batchId']}").json()
    assert [each["messageId"] for each in status["data"]] == [each["messageId"] for each in body["data"]]
    assert (status["batchId"], status["rate"]) == (body["batchId"], 0.06)


def test_a_text_of_their_own_to_many(sandbox: Sandbox) -> None:
    recipients = [{"To": "233244123456", "Content": "Ama"}, {"to": "233201234567", "content": "Kofi"}]
    body = {"From": "YEA", "personalizedRecipients": recipients}
    answer = sandbox.http.post("/v1/messages/batch/personalized/send", json=body)
    assert [each["content"] for each in answer.json()["data"]] == ["Ama", "Kofi"]
    assert [each["text"] for each in sandbox.messages()] == ["Kofi", "Ama"]


def test_a_number_twice_in_a_batch_gets_two_texts(sandbox: Sandbox) -> None:
    data = sandbox.batch(["233244123456", "0244123456"]).json()["data"]
    assert [each["recipient"] for each in data] == ["233244123456"] * 2
    assert data[0]["messageId"] != data[1]["messageId"]
    assert sandbox.total() == 2
    assert sandbox.stats()["duplicates"]["same_text"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"From": "YEA", "To": "12", "Content": "x"}, 1),
        ({"From": "YEA", "To": "0302123456", "Content": "x"}, 1),
        ({"From": "YEA", "To": "O244123456", "Content": "x"}, 1),
        ({"From": "YEA", "Content": "x"}, 1),
        ({"From": "YEA", "To": "+44 7700 900123", "Content": "x"}, 4),
        ({"From": "TwelveLetter", "To": "0244123456", "Content": "x"}, 2),
        ({"From": "Y-A", "To": "0244123456", "Content": "x"}, 2),
        ({"To": "0244123456", "Content": "x"}, 2),
        ({"From": "YEA", "To": "0244123456", "Content": "x" * 919}, 3),
        ({"From": "YEA", "To": "0244123456", "Content": ""}, 8),
        ({"From": "YEA", "To": "0244123456", "Content": "\ud800"}, 100),
        ({"From": "YEA", "To": "0244123456", "Content": "x", "ClientReference": 5}, 8),
        (["a list"], 100),
    ],
)
def test_what_hubtel_refuses(sandbox: Sandbox, body: object, status: int) -> None:
    answer = sandbox.http.post("/v1/messages/send", content=json.dumps(body))
    assert (answer.status_code, answer.json()["status"]) == (400, status)
    assert sandbox.total() == 0


@pytest.mark.parametrize(("recipients", "status"), [(["0244123456", "12"], 1), ([], 8), ("0244123456", 8)])
def test_a_bad_batch_is_refused_whole(sandbox: Sandbox, recipients: list[str], status: int) -> None:
    answer = sandbox.batch(recipients)
    assert (answer.status_code, answer.json()["status"]) == (400, status)
    assert sandbox.total() == 0


def test_malformed_json_is_status_100(sandbox: Sandbox) -> None:
    answer = sandbox.http.post("/v1/messages/send", content=b'{"From": ')
    assert (answer.status_code, answer.json()["status"]) == (400, 100)


@pytest.mark.parametrize("authorization", ["", "Basic", "Basic %%%", "Basic OnNlY3JldA==", "Basic aWQ6", "Bearer x"])
def test_credentials_are_needed(sandbox: Sandbox, authorization: str) -> None:
    body = {"From": "YEA", "To": "0244123456", "Content": "x"}
    url = f"{sandbox.url}/v1/messages/send"
    answer = httpx.post(url, json=body, headers={"Authorization": authorization} if authorization else {})
    assert answer.status_code == 401
    assert httpx.post(url, json=body, auth=("id", "wrong")).status_code == 401
    assert sandbox.total() == 0


def test_a_text_is_delivered_after_a_while(sandbox: Sandbox) -> None:
    identifier = sandbox.send(content="3 parts? " * 20).json()["messageId"]
    seen: list[dict[str, Any]] = []
    deadline = time.monotonic() + 5
    while not seen or seen[-1]["status"] != "Delivered":
        seen.append(sandbox.http.get(f"/v1/messages/{identifier}").json())
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert list(dict.fromkeys(each["status"] for each in seen)) == ["Pending", "Sent", "Delivered"]
    last = seen[-1]
    assert (last["to"], last["from"], last["units"], last["rate"]) == ("233244123456", "YEA", 2, 0.06)
    assert len(last["updateTime"]) == len("2026-01-01T10:00:00")


@pytest.mark.parametrize(
    ("ending", "status"), [("99991", "Undeliverable"), ("99992", "Sent"), ("99993", "Rejected"), ("99994", "Expired")]
)
def test_some_numbers_are_never_reached(sandbox: Sandbox, ending: str, status: str) -> None:
    sandbox.faults(deliver_after_ms=0)
    identifier = sandbox.send(f"2332440{ending}"[:12]).json()["messageId"]
    assert sandbox.http.get(f"/v1/messages/{identifier}").json()["status"] == status


@pytest.mark.parametrize("path", ["nothing", "batch/nothing", "", "batch/", "a/b/c"])
def test_an_unknown_message_is_404(sandbox: Sandbox, path: str) -> None:
    assert sandbox.http.get(f"/v1/messages/{path}").status_code == 404


def test_a_mail_is_no_text_to_hubtel(sandbox: Sandbox) -> None:
    sandbox.mail()
    assert sandbox.http.get(f"/v1/messages/{sandbox.messages()[0]['id']}").status_code == 404


def test_other_methods_are_refused(sandbox: Sandbox) -> None:
    assert sandbox.http.get("/v1/messages/send").status_code == 405
    assert sandbox.http.delete("/v1/messages/x").status_code == 405


@given(st.text(st.sampled_from(sorted(BASIC | EXTENSION) + ["ɔ", "₵", "😀"]), min_size=1, max_size=400))
def test_parts_agree_with_smsutil(text: str) -> None:
    assert count_parts(text) == len(smsutil.split(text).parts)


@given(st.from_regex(r"233[25][0-9]{8}", fullmatch=True))
def test_mobiles_agree_with_phonenumbers(digits: str) -> None:
    number = phonenumbers.parse("+" + digits)
    kind = phonenumbers.number_type(number)
    assert is_ghana_mobile(digits) == (kind == phonenumbers.PhoneNumberType.MOBILE)


@pytest.mark.parametrize(
    "written", ["0244123456", "233244123456", "+233244123456", " 233 24 412-3456", "00233244123456"]
)
def test_numbers_in_any_form(written: str) -> None:
    assert digits_of(written) == "233244123456"


def test_logs_show_no_whole_number() -> None:
    assert mask_in("/v1/messages/+233244123456") == "/v1/messages/+233*****3456"
