"""Receipts that the sandbox pushes, and statuses that go back."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from stack.servers import free_port
from tests.delivery.raw_server import RawServer, http, replying
from tests.sandbox.process import Sandbox


class Ear:
    """Takes what is pushed."""

    def __init__(self) -> None:
        self.server: RawServer = replying(lambda _request: http(200, {}))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/hook?x=1"

    def receipts(self, count: int) -> list[dict[str, Any]]:
        deadline = time.monotonic() + 5
        while len(self.server.heard) < count:
            assert time.monotonic() < deadline, f"{len(self.server.heard)} of {count} receipts came"
            time.sleep(0.02)
        time.sleep(0.1)
        assert len(self.server.heard) == count
        return [json.loads(heard.partition(b"\r\n\r\n")[2]) for heard in self.server.heard]


@pytest.fixture
def ear() -> Iterator[Ear]:
    found = Ear()
    with found.server:
        yield found


def words(found: list[dict[str, Any]]) -> list[str]:
    return [each["status"] for each in found]


def test_each_change_of_a_text_is_pushed_in_its_time(sandbox: Sandbox, ear: Ear) -> None:
    sandbox.faults(receipts_to=ear.url, deliver_after_ms=300)
    sent = sandbox.send(ClientReference="ours").json()
    found = ear.receipts(3)
    assert words(found) == ["Pending", "Sent", "Delivered"]
    assert {each["messageId"] for each in found} == {sent["messageId"]}
    assert {each["clientReference"] for each in found} == {"ours"}
    assert ear.server.heard[0].startswith(b"POST /hook?x=1 HTTP/1.1")
    assert sandbox.stats()["faults_hit"] == {"receipts_pushed": 3}


def test_receipts_in_the_wrong_order_twice_and_of_nobody(sandbox: Sandbox, ear: Ear) -> None:
    sandbox.faults(
        receipts_to=ear.url, deliver_after_ms=100, receipts_reordered=True, receipts_doubled=True, receipts_unknown=True
    )
    sent = sandbox.send().json()["messageId"]
    found = ear.receipts(9)
    assert words([each for each in found if each["messageId"] == sent]) == [
        *["Delivered"] * 2,
        *["Sent"] * 2,
        *["Pending"] * 2,
    ]
    assert len({each["messageId"] for each in found}) == 4


def test_early_receipts_come_before_the_answer(sandbox: Sandbox, ear: Ear) -> None:
    sandbox.faults(receipts_to=ear.url, receipts_early=True, delay_ms=500)
    answered = time.monotonic()
    sandbox.send()
    assert time.monotonic() - answered >= 0.5
    assert len(ear.server.heard) == 3


def test_a_whole_batch_is_pushed(sandbox: Sandbox, ear: Ear) -> None:
    sandbox.faults(receipts_to=ear.url, deliver_after_ms=0)
    sandbox.batch(["0201234567", "0201234568"])
    assert sorted(words(ear.receipts(6))) == ["Delivered"] * 2 + ["Pending"] * 2 + ["Sent"] * 2


def test_an_address_where_nobody_listens_is_counted_and_left(sandbox: Sandbox) -> None:
    sandbox.faults(receipts_to=f"http://127.0.0.1:{free_port()}/", deliver_after_ms=0)
    assert sandbox.send().status_code == 201
    deadline = time.monotonic() + 5
    while sandbox.stats()["faults_hit"].get("receipts_failed") != 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert sandbox.send().status_code == 201


def test_without_an_address_nothing_is_pushed(sandbox: Sandbox) -> None:
    sandbox.faults(deliver_after_ms=0)
    sandbox.send()
    time.sleep(0.2)
    assert sandbox.stats()["faults_hit"] == {}


@pytest.mark.parametrize("address", ["https://x/", "ftp://x", "x", 5, "http://", "http://x:99999/"])
def test_an_address_that_cannot_be_used_is_refused(sandbox: Sandbox, address: object) -> None:
    assert sandbox.control.put("/api/v1/faults", json={"receipts_to": address}).status_code == 400


def test_a_status_goes_back_at_every_second_read(sandbox: Sandbox) -> None:
    sandbox.faults(deliver_after_ms=0, status_goes_back=True)
    identifier = sandbox.send().json()["messageId"]
    read = [sandbox.http.get(f"/v1/messages/{identifier}").json()["status"] for _ in range(4)]
    assert read == ["Delivered", "Pending"] * 2
