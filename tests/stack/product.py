"""A stand-in for the product, so that the stack's own tests need neither Django nor minutes.

`make(folder)` puts a copy of stack/ there with a manage.py, a website, a sandbox and a Celery app that answer at once.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from stack.processes import marked, wait_until
from stack.servers import free_port
from stack.testrun import product_variables

FOREIGN = {*product_variables(), "PMS_ENV_FILE", "DJANGO_SETTINGS_MODULE", "MAKELEVEL", "MAKEFLAGS", "MFLAGS"}
ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "manage.py": """
import sys
print("fake", *sys.argv[1:])
""",
    "core/__init__.py": "",
    "core/celery.py": """
import os, time
from celery import Celery
app = Celery("core", broker=os.environ["CELERY_BROKER_URL"])
app.conf.task_queues = None
app.conf.broker_connection_retry_on_startup = True
@app.task
def sleep(seconds):
    time.sleep(seconds)
""",
    "core/wsgi.py": """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
""",
    "sandbox/__init__.py": "",
    "sandbox/__main__.py": """
import http.server, os
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SANDBOX_HTTP_PORT"])),
                                http.server.SimpleHTTPRequestHandler).serve_forever()
""",
}


class Run:
    """One `python -m stack` in a folder, with ports of its own. Its output is in `<folder>/output.txt`."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        redis = free_port()
        self.variables = {
            "PORT": str(free_port()),
            "SANDBOX_HTTP_PORT": str(free_port()),
            "SANDBOX_SMTP_PORT": str(free_port()),
            "DATABASE_URL": f"postgres://pms:secret@127.0.0.1:{free_port()}/pms",
            "CELERY_BROKER_URL": f"redis://localhost:{redis}/0",
            "CELERY_RESULT_BACKEND": f"redis://localhost:{redis}/0",
            "REDIS_URL": f"redis://localhost:{redis}/1",
            **variables,
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name not in FOREIGN} | self.variables

    @property
    def output(self) -> str:
        return (self.folder / "output.txt").read_text(errors="replace")

    @property
    def ready_line(self) -> str:
        return f"\nPMS is ready: http://127.0.0.1:{self.variables['PORT']}/\n"

    @property
    def living(self) -> set[int]:
        """Everything this run has started, wherever it went."""
        return marked(str(self.folder))

    def named(self, *words: str) -> set[int]:
        """The processes of this run whose command holds all these words."""
        found = set()
        for pid in self.living:
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if all(word in command for word in words):
                    found.add(pid)
        return found

    def start(self, command: tuple[str, ...] = (sys.executable, "-m", "stack")) -> subprocess.Popen[bytes]:
        with (self.folder / "output.txt").open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=output, stderr=output,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        return self.process

    def wait_ready(self, seconds: float = 60) -> None:
        assert self.process
        process = self.process
        wait_until(lambda: self.ready_line in self.output or process.poll() is not None, seconds)
        assert self.ready_line in self.output, self.output[-3000:]

    def stop(self, number: signal.Signals = signal.SIGTERM, *, group: bool = False) -> float:
        """Seconds until it has ended. `group`: as a terminal sends Ctrl-C, to all in the foreground."""
        assert self.process
        begin = time.monotonic()
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        self.process.wait(30)
        return time.monotonic() - begin


def make(folder: Path, **variables: str) -> Run:
    shutil.copytree(ROOT / "stack", folder / "stack", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return Run(folder.resolve(), **variables)
