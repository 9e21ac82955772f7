"""The sandbox as a real process on free ports."""

import os
import signal
import smtplib
import subprocess
import sys
import time
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx

from stack.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
CREDENTIALS = ("id", "secret")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "sandbox", *map(str, arguments)]


class Sandbox:
    def __init__(self, data: Path, *extra: object) -> None:
        self.data, self.extra = data, extra
        self.http_port, self.smtp_port, self.control_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.control_url = f"http://127.0.0.1:{self.control_port}"
        self.log = data.parent / f"{data.name}.log"
        self.http = httpx.Client(base_url=self.url, auth=CREDENTIALS, trust_env=False, timeout=5)
        self.control = httpx.Client(base_url=self.control_url, trust_env=False, timeout=5)
        self.start()

    def start(self) -> None:
        ports = ("--http-port", self.http_port, "--smtp-port", self.smtp_port, "--control-port", self.control_port)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command(*ports, "--data", self.data, *self.extra), cwd=ROOT, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 10
        while not self._answers():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, "the sandbox did not start within 10 s"
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return self.control.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Seconds until the process was gone."""
        began = time.monotonic()
        os.kill(self.process.pid, number)
        self.process.wait(10)
        return time.monotonic() - began

    def reset(self) -> None:
        self.faults()
        self.control.delete("/api/v1/messages").raise_for_status()

    def faults(self, **faults: object) -> None:
        self.control.put("/api/v1/faults", json=faults).raise_for_status()

    def send(self, to: str = "233244123456", content: str = "Hello", **more: object) -> httpx.Response:
        return self.http.post("/v1/messages/send", json={"From": "YEA", "To": to, "Content": content, **more})

    def batch(self, recipients: list[str], content: str = "Hello") -> httpx.Response:
        body = {"From": "YEA", "Recipients": recipients, "Content": content}
        return self.http.post("/v1/messages/batch/simple/send", json=body)

    def mail(self, to: str = "ama@example.com", **about: Any) -> None:
        mail = EmailMessage()
        mail["From"], mail["To"] = "YEA <pms@example.org>", to
        mail["Subject"], mail["Message-ID"] = about.get("subject", "Report"), about.get("message_id", "<1@example.org>")
        mail.set_content(about.get("text", "Eggs: 12"))
        if "html" in about:
            mail.add_alternative(about["html"], subtype="html")
        with smtplib.SMTP("127.0.0.1", self.smtp_port, timeout=5) as line:
            line.send_message(mail)

    def messages(self, **query: str | int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.listing(**query)["messages"]
        return found

    def listing(self, **query: str | int) -> dict[str, Any]:
        answer: dict[str, Any] = self.control.get("/api/v1/messages", params=query).raise_for_status().json()
        return answer

    def total(self) -> int:
        return int(self.listing(limit=0)["total"])

    def stats(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.control.get("/api/v1/stats").raise_for_status().json()
        return answer
