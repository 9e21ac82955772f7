"""The control API."""

import pytest

from tests.sandbox.process import Sandbox


@pytest.mark.parametrize("to", ["0244123456", "233244123456", "+233244123456", "+233 24 412 3456"])
def test_a_number_is_found_in_any_form(sandbox: Sandbox, to: str) -> None:
    sandbox.send("233244123456")
    sandbox.send("233201234567")
    assert sandbox.listing(kind="sms", to=to)["total"] == 1


def test_a_plus_that_nobody_encoded_is_still_understood(sandbox: Sandbox) -> None:
    sandbox.send("233244123456")
    assert sandbox.control.get("/api/v1/messages?to=+233244123456").json()["total"] == 1


def test_the_newest_come_first_and_pages_are_cut_from_all(sandbox: Sandbox) -> None:
    sandbox.batch([f"23324412{n:04d}" for n in range(150)])
    listing = sandbox.listing()
    assert (listing["total"], len(listing["messages"])) == (150, 100)
    assert listing["messages"][0]["to"] == "+233244120149"
    listing = sandbox.listing(limit=2, offset=149)
    assert (listing["total"], [each["to"] for each in listing["messages"]]) == (150, ["+233244120000"])


def test_kinds_are_told_apart(sandbox: Sandbox) -> None:
    sandbox.send()
    sandbox.mail()
    assert [each["kind"] for each in sandbox.messages(kind="sms")] == ["sms"]
    assert [each["kind"] for each in sandbox.messages(kind="email")] == ["email"]
    assert sandbox.listing()["total"] == 2
    assert sandbox.listing(to="nobody@example.com")["total"] == 0


@pytest.mark.parametrize("query", ["kind=fax", "limit=-1", "limit=x", "limit=10001", "offset=9" + "9" * 30])
def test_a_wrong_query_says_what_is_allowed(sandbox: Sandbox, query: str) -> None:
    answer = sandbox.control.get(f"/api/v1/messages?{query}")
    assert answer.status_code == 400
    assert "must be" in answer.json()["error"]


def test_clearing_forgets_messages_and_counts_and_keeps_faults(sandbox: Sandbox) -> None:
    sandbox.faults(delay_ms=1)
    identifier = sandbox.send().json()["messageId"]
    assert sandbox.control.delete("/api/v1/messages").json() == {"deleted": 1}
    assert sandbox.http.get(f"/v1/messages/{identifier}").status_code == 404
    assert sandbox.total() == 0
    assert sandbox.control.get("/api/v1/faults").json() == {"delay_ms": 1}


def test_the_counts(sandbox: Sandbox) -> None:
    sandbox.send(ClientReference="a")
    sandbox.send(ClientReference="a")
    sandbox.send(content="other", ClientReference="b")
    sandbox.batch(["0201234567", "0201234568"])
    sandbox.mail()
    stats = sandbox.stats()
    assert (stats["sms"], stats["emails"], stats["recipients"]) == (5, 1, 4)
    assert stats["duplicates"] == {"same_text": 1, "same_reference": 1, "same_message_id": 0}
    assert stats["requests"]["POST /v1/messages/send"] == 3
    assert stats["requests"]["POST /v1/messages/batch/simple/send"] == 1
    assert 1 <= stats["peak_per_second"] <= 6
    assert stats["faults_hit"] == {}


def test_unknown_addresses_and_methods(sandbox: Sandbox) -> None:
    assert sandbox.control.get("/api/v1/nothing").status_code == 404
    assert sandbox.control.post("/api/v1/messages").status_code == 405
    assert sandbox.control.get("/nothing").status_code == 404
    assert sandbox.control.get("/healthz").status_code == 200
