"""`make bench`: figures of the way of a message, on servers of its own. Absolute times depend on the machine; state it.

make bench                       everything (about two minutes)
make bench ARGS="latency"        one of: latency, bulk, faults
"""

from __future__ import annotations

import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import redis

from stack.servers import Postgres, Redis, free_port

ROOT = Path(__file__).resolve().parent.parent
ANSWER_MS = 20
BULK = 10_000
KEPT = 100


class Inbox:
    """The sandbox's control API."""

    def __init__(self, port: int) -> None:
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)

    def total(self) -> int:
        return int(self.http.get("/api/v1/messages", params={"kind": "sms", "limit": 0}).json()["total"])

    def empty(self, **faults: object) -> None:
        self.http.delete("/api/v1/messages")
        self.http.put("/api/v1/faults", json=faults)

    def wait_for(self, count: int, seconds: float) -> float:
        began = time.perf_counter()
        while self.total() < count:
            if time.perf_counter() - began > seconds:
                sys.exit(f"only {self.total()} of {count} texts arrived within {seconds:.0f} s")
            time.sleep(0.005)
        return time.perf_counter() - began


@contextmanager
def process(log: Path, *arguments: str) -> Iterator[None]:
    with log.open("wb") as output:
        running = subprocess.Popen([sys.executable, "-m", *arguments], cwd=ROOT, stdout=output, stderr=output)
    try:
        yield
    finally:
        running.terminate()
        running.wait(20)


def latency(inbox: Inbox, _redis: Redis) -> None:
    """From `send_sms_async.delay` to the inbox on the idle system; the ask alone beside a bare INSERT."""
    from django.db import connection

    from core.tasks import send_sms_async

    inbox.empty()
    asks, arrivals = [], []
    for number in range(60):
        began = time.perf_counter()
        send_sms_async.delay("+233244123456", f"Text {number}")
        asks.append(time.perf_counter() - began)
        inbox.wait_for(number + 1, 30)
        arrivals.append(time.perf_counter() - began)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE bare (id uuid PRIMARY KEY, text text)")
        inserts = []
        for _ in range(200):
            began = time.perf_counter()
            cursor.execute("INSERT INTO bare VALUES (gen_random_uuid(), 'x')")
            inserts.append(time.perf_counter() - began)
    bare = statistics.median(inserts)
    show("ask (.delay) median", statistics.median(asks) * 1000, "ms")
    show("ask / bare INSERT in autocommit", statistics.median(asks) / bare, "x")
    show("ask to inbox median of 60", statistics.median(arrivals) * 1000, "ms")
    show("ask to inbox worst of 60", max(arrivals) * 1000, "ms")


def bulk(inbox: Inbox, _redis: Redis) -> None:
    """`process_bulk_sms` with 10,000 numbers against a sandbox that answers after 20 ms; one code meanwhile."""
    from core.tasks import process_bulk_sms, send_sms_async

    inbox.empty(delay_ms=ANSWER_MS)
    phones = [f"+23324{number:07}" for number in range(BULK)]
    began = time.perf_counter()
    process_bulk_sms.delay(phones, "Vaccination day is Friday. Please be at home.")
    while inbox.total() < BULK // 10:
        time.sleep(0.02)
    asked = time.perf_counter()
    send_sms_async.delay("+233544123456", "Your code is 123456", purpose="otp").get(timeout=60)
    show("a code asked for in mid-bulk, to accepted", (time.perf_counter() - asked) * 1000, "ms")
    inbox.wait_for(BULK + 1, 300)
    seconds = time.perf_counter() - began
    show(f"{BULK:,} numbers, ask to last text", seconds, "s")
    show("texts a second", BULK / seconds, "/s")
    time.sleep(3)
    show("texts beyond those asked for", inbox.total() - BULK - 1, "")


def faults(inbox: Inbox, server: Redis) -> None:
    """100 asks in committed transactions while Redis is dead, and 100 whose bells are flushed away."""
    from django.db import transaction

    from core.tasks import send_sms_async

    def ask(what: str) -> float:
        slowest = 0.0
        for number in range(KEPT):
            began = time.perf_counter()
            with transaction.atomic():
                send_sms_async.delay("+233244123456", f"{what} {number}")
            slowest = max(slowest, time.perf_counter() - began)
        return slowest

    inbox.empty()
    if server.process is not None:
        server.process.kill()
        server.process.wait()
    show("slowest of 100 asks, Redis killed", ask("killed") * 1000, "ms")
    time.sleep(5)
    server.start()
    show("all 100 arrived after its return", inbox.wait_for(KEPT, 60), "s")
    inbox.empty()
    ask("flushed")
    redis.Redis.from_url(server.url(0)).flushall()
    show("all 100 arrived after FLUSHALL", inbox.wait_for(KEPT, 60), "s")
    time.sleep(4)
    show("texts beyond those asked for", inbox.total() - KEPT, "")


def show(what: str, value: float, unit: str) -> None:
    print(f"  {what:<48}{value:>10,.1f} {unit}", flush=True)


BENCHES: dict[str, Callable[[Inbox, Redis], None]] = {"latency": latency, "bulk": bulk, "faults": faults}


def main(wanted: list[str]) -> None:
    unknown = set(wanted) - set(BENCHES)
    if unknown:
        sys.exit(f"There is no bench {', '.join(sorted(unknown))}. Use: {', '.join(BENCHES)}.")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        base = Path(folder)
        postgres = Postgres(base / "postgres", free_port(), "pms", secrets.token_urlsafe(16), "pms")
        server = Redis(base / "redis", free_port())
        stack.enter_context(postgres)
        stack.enter_context(server)
        http, smtp = free_port(), free_port()
        os.environ |= {
            "PMS_ENV": "development",
            "PMS_ENV_FILE": os.devnull,
            "LOG_LEVEL": "WARNING",
            "SECRET_KEY": secrets.token_urlsafe(40),
            "DATABASE_URL": postgres.url,
            "CELERY_BROKER_URL": server.url(0),
            "CELERY_RESULT_BACKEND": server.url(0),
            "REDIS_URL": server.url(1),
            "SANDBOX_HTTP_PORT": str(http),
            "SANDBOX_SMTP_PORT": str(smtp),
            "DJANGO_SETTINGS_MODULE": "core.settings",
        }
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        stack.enter_context(process(base / "sandbox.log", "sandbox", "--data", str(base / "sandbox")))
        stack.enter_context(process(base / "worker.log", "celery", "-A", "core", "worker", "-l", "WARNING"))
        wait_for_worker()
        print(f"{os.cpu_count()} cores, one plain worker, PostgreSQL and Redis from the wheels, both durable")
        for name in wanted or BENCHES:
            print(f"{name}: {(BENCHES[name].__doc__ or '').strip()}")
            BENCHES[name](Inbox(http), server)


def wait_for_worker() -> None:
    from core.health.selectors import worker

    began = time.monotonic()
    while worker() != "ok":
        if time.monotonic() - began > 60:
            sys.exit("no worker after 60 s")
        time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1:])
