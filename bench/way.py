"""The way of a message: from an ask to the sandbox's inbox, on the idle system, in bulk and through faults."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from bench.report import Report
from bench.system import System, wait_for_worker

ANSWER_MS = 20
BULK = 10_000
KEPT = 100
HEADINGS = ("what", "value", "")


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
def product(system: System) -> Iterator[Inbox]:
    """The sandbox and one plain worker."""
    system.empty()
    sandbox = system.process("sandbox", "sandbox", "--data", str(system.base / "sandbox"))
    with sandbox, system.worker():
        wait_for_worker(system)
        inbox = Inbox(system.http)
        inbox.empty()
        yield inbox


def latency(system: System, report: Report) -> None:
    """From `send_sms_async.delay` to the inbox on the idle system; the ask alone beside a bare INSERT."""
    from django.db import connection

    from core.tasks import send_sms_async

    asks, arrivals = [], []
    with product(system) as inbox:
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
        cursor.execute("DROP TABLE bare")
    report.table(
        HEADINGS,
        [
            ("ask (.delay), median of 60", f"{statistics.median(asks) * 1000:.1f}", "ms"),
            ("ask / bare INSERT in autocommit", f"{statistics.median(asks) / statistics.median(inserts):.1f}", "x"),
            ("ask to inbox, median of 60", f"{statistics.median(arrivals) * 1000:.1f}", "ms"),
            ("ask to inbox, worst of 60", f"{max(arrivals) * 1000:.1f}", "ms"),
        ],
    )


def bulk(system: System, report: Report) -> None:
    """`process_bulk_sms` with 10,000 numbers against a sandbox that answers after 20 ms; one code meanwhile."""
    from core.tasks import process_bulk_sms, send_sms_async

    with product(system) as inbox:
        inbox.empty(delay_ms=ANSWER_MS)
        phones = [f"+23324{number:07}" for number in range(BULK)]
        began = time.perf_counter()
        process_bulk_sms.delay(phones, "Vaccination day is Friday. Please be at home.")
        inbox.wait_for(BULK // 10, 120)
        asked = time.perf_counter()
        send_sms_async.delay("+233544123456", "Your code is 123456", purpose="otp").get(timeout=60)
        code = time.perf_counter() - asked
        inbox.wait_for(BULK + 1, 300)
        seconds = time.perf_counter() - began
        time.sleep(3)
        beyond = inbox.total() - BULK - 1
    report.table(
        HEADINGS,
        [
            ("a code asked for in mid-bulk, to accepted", f"{code * 1000:.1f}", "ms"),
            (f"{BULK:,} numbers, ask to last text", f"{seconds:.1f}", "s"),
            ("texts a second", f"{BULK / seconds:.0f}", "/s"),
            ("texts beyond those asked for", str(beyond), ""),
        ],
    )


def faults(system: System, report: Report) -> None:
    """100 texts asked for in committed transactions while Redis is dead, and 100 whose bells are flushed away."""
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

    with product(system) as inbox:
        system.kill_redis()
        slowest = ask("killed")
        time.sleep(5)
        system.redis.start()
        after_return = inbox.wait_for(KEPT, 60)
        inbox.empty()
        ask("flushed")
        system.client().flushall()
        after_flush = inbox.wait_for(KEPT, 60)
        time.sleep(4)
        beyond = inbox.total() - KEPT
    report.table(
        HEADINGS,
        [
            ("slowest of 100 asks, Redis killed", f"{slowest * 1000:.1f}", "ms"),
            ("all 100 arrived after its return", f"{after_return:.1f}", "s"),
            ("all 100 arrived after FLUSHALL", f"{after_flush:.1f}", "s"),
            ("texts beyond those asked for", str(beyond), ""),
        ],
    )
