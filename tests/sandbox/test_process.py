"""Starting, stopping, and what outlives it."""

import re
import signal
import socket
import statistics
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from sandbox.__main__ import read_options
from stack.servers import free_port
from tests.sandbox.process import ROOT, Sandbox, command


def refused_start(*arguments: object) -> str:
    done = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    return line


def test_what_arrived_survives_kill_9(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path / "data")
    identifier = sandbox.send().json()["messageId"]
    batch = sandbox.batch([f"23324412{n:04d}" for n in range(100)]).json()["batchId"]
    sandbox.mail()
    sandbox.stop(signal.SIGKILL)
    sandbox.start()
    assert sandbox.total() == 102
    assert sandbox.http.get(f"/v1/messages/{identifier}").json()["messageId"] == identifier
    assert len(sandbox.http.get(f"/v1/messages/batch/{batch}").json()["data"]) == 100
    sandbox.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_soon_even_with_hanging_requests(tmp_path: Path, number: int) -> None:
    sandbox = Sandbox(tmp_path / "data")
    sandbox.faults(hang=True)
    lines = []
    body = b'{"From":"YEA","To":"0244123456","Content":"x"}'
    head = b"POST /v1/messages/send HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    for sent in (head + body, head, b"GET /", b""):
        line = socket.create_connection(("127.0.0.1", sandbox.http_port))
        line.sendall(sent)
        lines.append(line)
    lines.append(socket.create_connection(("127.0.0.1", sandbox.smtp_port)))
    time.sleep(0.1)
    assert sandbox.stop(number) < 2
    assert sandbox.process.returncode == 0
    assert "Traceback" not in sandbox.log.read_text()
    for line in lines:
        line.close()


@pytest.mark.parametrize("option", ["--http-port", "--smtp-port", "--control-port"])
def test_a_port_in_use_is_said_in_one_line(tmp_path: Path, option: str) -> None:
    ports: dict[str, int] = {"--http-port": free_port(), "--smtp-port": free_port()}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports[option] = taken.getsockname()[1]
        line = refused_start(*(part for pair in ports.items() for part in pair), "--data", tmp_path)
    variable = "SANDBOX_" + option[2:].upper().replace("-", "_")
    assert line == f"sandbox: port {ports[option]} is in use by another program; set {variable} or stop it"


def test_an_unusable_data_folder_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    line = refused_start("--http-port", free_port(), "--smtp-port", free_port(), "--data", tmp_path / "file" / "data")
    assert line.startswith(f"sandbox: the data folder {tmp_path / 'file' / 'data'} cannot be written: ")


def test_a_damaged_file_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "messages.v1.sqlite3").write_bytes(b"no database " * 100)
    line = refused_start("--http-port", free_port(), "--smtp-port", free_port(), "--data", tmp_path)
    assert "file is not a database" in line


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SANDBOX_HTTP_PORT", "http"), ("SANDBOX_SMTP_PORT", "0"), ("SANDBOX_DELIVER_AFTER", "soon")],
)
def test_a_wrong_setting_names_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit):
        read_options([])
    assert repr(value) in capsys.readouterr().err


def test_the_log_has_a_line_per_request_and_no_whole_number(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path / "data")
    sandbox.send("233244123456")
    sandbox.batch(["233244123457", "233244123458"])
    sandbox.control.get("/api/v1/messages?to=0244123456")
    sandbox.http.get("/v1/messages/233244123456")
    sandbox.mail("ama.mensah@example.com")
    sandbox.stop()
    log = sandbox.log.read_text()
    assert "POST /v1/messages/send 201" in log
    assert "to +233*****3456" in log
    assert "2 recipients" in log
    assert "a***@example.com" in log
    assert not re.search(r"244123|ama\.mensah", log)


def test_a_refused_port_taken_by_another_is_taken_back_later(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path / "data")
    sandbox.faults(refuse=0.1)
    with socket.create_server(("127.0.0.1", sandbox.http_port)):
        time.sleep(0.3)
    deadline = time.monotonic() + 5
    while sandbox.control.get("/api/v1/faults").json():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert httpx.get(f"{sandbox.url}/healthz").status_code == 200
    sandbox.stop()


def test_batches_are_no_bottleneck(sandbox: Sandbox) -> None:
    """At 20 ms of line a batch of 100 should cost little more than the line."""
    sandbox.faults(delay_ms=20)
    took = []
    for start in range(0, 3_000, 100):
        began = time.monotonic()
        assert sandbox.batch([f"23324{number:07d}" for number in range(start, start + 100)]).status_code == 201
        took.append(time.monotonic() - began)
    assert sandbox.stats()["recipients"] == 3_000
    assert statistics.median(took) < 0.1
