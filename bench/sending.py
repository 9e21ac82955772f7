# mypy: disable-error-code="import-untyped"
"""Sending: bulk SMS beside the plain ways, the rate limit, codes in mid-bulk, receipts, and the counting of parts."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime

import httpx
import psutil

from bench import marks
from bench.report import Report, ratio
from bench.system import System, sql, wait_for, wait_for_worker
from bench.way import Inbox

ANSWER_MS = 20
BATCH = 100
TEXT = "Vaccination day is Friday. Please be at home."
HEADINGS = ("what", "found", "")


def _phones(count: int) -> list[str]:
    """Numbers that end in 0: the sandbox never delivers to some others, which would be waited for."""
    return [f"+23324{number:06}0" for number in range(count)]


@contextmanager
def _sandbox(system: System) -> Iterator[Inbox]:
    """A phone network that answers after 20 ms, and nothing to send."""
    system.empty()
    sql("TRUNCATE delivery_outboundmessage, delivery_campaign, delivery_spend CASCADE")
    with system.process("sandbox", "sandbox", "--data", str(system.base / f"sandbox-{time.time_ns()}")):
        inbox = Inbox(system.http)
        wait_for("sandbox", lambda: _answers(inbox), 30)
        inbox.empty(latency_ms=ANSWER_MS)
        yield inbox


def _answers(inbox: Inbox) -> bool:
    try:
        return inbox.total() >= 0
    except httpx.HTTPError:
        return False


@contextmanager
def _workers(system: System, count: int = 1, *arguments: str) -> Iterator[list[psutil.Process]]:
    with ExitStack() as stack:
        yield [stack.enter_context(system.worker(f"worker{number}", *arguments)) for number in range(count)]


class Memory:
    """The resident memory of workers with their children, watched in a thread: growth in MB, the worst of a process."""

    def __init__(self, workers: list[psutil.Process]) -> None:
        self.workers = workers
        self.first: dict[int, int] = {}
        self.growth = 0.0

    def look(self) -> None:
        for worker in self.workers:
            for process in [worker, *worker.children(recursive=True)]:
                try:
                    rss = process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
                grown = rss - self.first.setdefault(process.pid, rss)
                self.growth = max(self.growth, grown / 2**20)


def _bulk(system: System, count: int) -> tuple[float, float]:
    """Texts a second from the ask to the last text, and the growth of the worst process in MB."""
    from core.tasks import process_bulk_sms

    with _sandbox(system) as inbox, _workers(system) as workers:
        wait_for_worker(system)
        process_bulk_sms.delay(["+233249999999"], TEXT)  # the processes are warm
        inbox.wait_for(1, 60)
        memory = Memory(workers)
        memory.look()
        began = time.perf_counter()
        process_bulk_sms.delay(_phones(count), TEXT)
        while inbox.total() < count + 1:
            memory.look()
            time.sleep(0.1)
        return count / (time.perf_counter() - began), memory.growth


def _plain(system: System, count: int) -> float:
    """A task for each text, asked for beforehand; texts a second between two marks."""
    os.environ["BENCH_SMS"] = f"http://127.0.0.1:{system.http}/v1/messages"
    from bench import plain_sms

    with _sandbox(system):
        for phone in _phones(count // 10):
            plain_sms.send.delay(phone, TEXT)
        plain_sms.mark.delay()
        for phone in _phones(count):
            plain_sms.send.delay(phone, TEXT)
        plain_sms.mark.delay()
        with system.process("plain", "celery", "-A", "bench.plain_sms", "worker", "-c", "2", "-l", "WARNING"):
            wait_for("plain Celery", lambda: len(marks.found()) >= 2, 900, every=0.1)
            began, ended = sorted(moment for moment, _ in marks.found())
    return count / (ended - began)


def _loop(system: System, count: int) -> float:
    """A bare asyncio loop that posts the same batches one after another and stores nothing."""

    async def post() -> None:
        async with httpx.AsyncClient(auth=("sandbox", "sandbox"), trust_env=False, timeout=30) as client:
            numbers = [phone.lstrip("+") for phone in _phones(count)]
            for start in range(0, count, BATCH):
                body = {"From": "YEA", "Recipients": numbers[start : start + BATCH], "Content": TEXT}
                answer = await client.post(url, json=body)
                answer.raise_for_status()

    url = f"http://127.0.0.1:{system.http}/v1/messages/batch/simple/send"
    with _sandbox(system):
        began = time.perf_counter()
        asyncio.run(post())
        return count / (time.perf_counter() - began)


def sms(system: System, report: Report) -> None:
    """Bulk SMS to a phone network that answers each call after 20 ms, by default settings with one worker (-c 2):
    `process_bulk_sms` from the ask to the last text, beside a plain Celery task for each text that posts it with httpx
    (-c 2), and beside a bare asyncio loop that posts the same batches one after another and stores nothing. Interleaved
    rounds; all share the machine with the phone network."""
    rounds, count, single = (3, 100_000, 4_000) if system.long else (3, 10_000, 1_500)
    rates: dict[str, list[float]] = {"bulk": [], "plain": [], "loop": []}
    growth = 0.0
    for _ in range(rounds):
        rate, grown = _bulk(system, count)
        rates["bulk"].append(rate)
        growth = max(growth, grown)
        rates["loop"].append(_loop(system, count))
        rates["plain"].append(_plain(system, single))
    bulk, plain, loop = (statistics.median(rates[name]) for name in ("bulk", "plain", "loop"))
    report.say(f"{rounds} rounds of {count:,} texts ({single:,} by plain tasks).")
    report.table(
        ("way", "texts/s, median", "rounds", "process_bulk_sms is x of it", "bound"),
        [
            ("process_bulk_sms", f"{bulk:.0f}", _rounds(rates["bulk"]), "1", ""),
            (
                "a Celery task for each text",
                f"{plain:.0f}",
                _rounds(rates["plain"]),
                *ratio(bulk / plain, 20, at_least=True),
            ),
            (
                "asyncio loop, same batches",
                f"{loop:.0f}",
                _rounds(rates["loop"]),
                *ratio(bulk / loop, 0.5, at_least=True),
            ),
        ],
    )
    report.say(f"Growth of the worst worker process: {growth:.0f} MB (bound: under 100).")


def _rounds(values: list[float]) -> str:
    return " ".join(f"{value:.0f}" for value in values)


def limit(system: System, report: Report) -> None:
    """The rate limit over four workers: texts the phone network took in any 10 s, and on the whole."""
    from core.base.services import change_setting
    from core.tasks import process_bulk_sms

    rows = []
    for limited in (50, 200):
        seconds = 60 if system.long else 30
        count = limited * seconds
        change_setting("sms.parts_per_second", limited, actor_name="bench")
        with _sandbox(system) as inbox, _workers(system, 4, "-c", "1"):
            wait_for_worker(system, 4)
            process_bulk_sms.delay(_phones(count), TEXT)
            inbox.wait_for(count, seconds * 3)
            arrived = _arrivals(inbox, count)
        change_setting("sms.parts_per_second", 0, actor_name="bench")
        first = arrived[0]
        whole = (len(arrived) - 1) / (arrived[-1] - first)
        busiest = max(_in_window(arrived, start, 10.0) for start in arrived)
        rows.append(
            (
                f"{limited}/s, {count:,} texts",
                f"{whole:.1f}/s",
                *ratio(whole / limited, 0.95, at_least=True),
                f"{busiest} in the busiest 10 s",
                f"at most {limited * 10}: {'yes' if busiest <= limited * 10 else 'NO'}",
            )
        )
    report.table(("limit", "achieved", "of the limit", "bound", "busiest", "bound"), rows)


def _arrivals(inbox: Inbox, count: int) -> list[float]:
    found: list[float] = []
    for offset in range(0, count, 10_000):
        page = inbox.http.get("/api/v1/messages", params={"kind": "sms", "limit": 10_000, "offset": offset}).json()
        found += [datetime.fromisoformat(one["received_at"]).timestamp() for one in page["messages"]]
    return sorted(found)


def _in_window(moments: list[float], start: float, seconds: float) -> int:
    return sum(start <= moment < start + seconds for moment in moments)


def urgent(system: System, report: Report) -> None:
    """Codes and service texts asked for while a bulk job runs: from the row written to the provider's acceptance. One
    worker (-c 2), default settings, no rate limit, a phone network that answers after 20 ms."""
    from core.tasks import process_bulk_sms, send_sms_async

    count = 100_000 if system.long else 10_000
    with _sandbox(system) as inbox, _workers(system):
        wait_for_worker(system)
        process_bulk_sms.delay(_phones(count), TEXT)
        inbox.wait_for(1, 60)
        number = 0
        while inbox.total() < count:
            send_sms_async.delay("+233544123456", f"Your code is {number:06}", purpose="otp")
            send_sms_async.delay("+233544123457", f"Your application moved on, {number}.")
            number += 1
            time.sleep(0.1)
        wait_for(
            "all accepted",
            lambda: not sql("SELECT 1 FROM delivery_outboundmessage WHERE status = 'queued' LIMIT 1"),
            120,
        )
    rows = []
    for lane, purpose, share, bound in (("urgent", "otp", 0.99, 5), ("default", "service", 0.95, 10)):
        waits = sorted(
            float(row[0])
            for row in sql(
                "SELECT extract(epoch FROM accepted_at - created_at) FROM delivery_outboundmessage WHERE purpose = %s",
                purpose,
            )
        )
        at = waits[min(len(waits) - 1, int(len(waits) * share))]
        rows.append(
            (
                lane,
                f"{len(waits)}",
                f"{statistics.median(waits):.2f} s",
                f"p{share * 100:.0f} {at:.2f} s",
                f"{waits[-1]:.2f} s",
            )
            + (f"<= {bound} s: {'yes' if at <= bound else 'NO'}",)
        )
    report.say(f"{count:,} bulk texts meanwhile.")
    report.table(("lane", "texts", "median", "at", "worst", "bound"), rows)


def receipts(system: System, report: Report) -> None:
    """What became of accepted texts: asked by batches and stored, without a task for each text."""
    from core.tasks import process_bulk_sms

    count = 100_000 if system.long else 10_000
    with _sandbox(system) as inbox, _workers(system):
        wait_for_worker(system)
        process_bulk_sms.delay(_phones(count), TEXT)
        inbox.wait_for(count, 600)
        wait_for("all accepted", lambda: _count("accepted", "delivered") == count, 120, every=0.2)
        time.sleep(2)  # the phone network has delivered them all
        inbox.http.put("/api/v1/faults", json={})
        before = inbox.http.get("/api/v1/stats").json()["requests"]
        began = time.perf_counter()
        sql("UPDATE delivery_outboundmessage SET receipt_due_at = now() WHERE status = 'accepted'")
        wait_for("all delivered", lambda: _count("delivered") == count, 900, every=0.2)
        seconds = time.perf_counter() - began
        requests = sum(inbox.http.get("/api/v1/stats").json()["requests"].values()) - sum(before.values())
    report.table(
        HEADINGS,
        [
            (f"{count:,} statuses polled and stored", f"{seconds:.1f}", "s"),
            ("statuses a second", f"{count / seconds:.0f}", "/s"),
            ("requests for it, with those of this page", f"{requests}", ""),
        ],
    )


def _count(*statuses: str) -> int:
    return int(sql("SELECT count(*) FROM delivery_outboundmessage WHERE status = ANY (%s)", list(statuses))[0][0])


LETTERS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;!?'\"()+-*/=%&@#$£¥èéùìòÇØøÅåÄÖÑÜäöñüà§¿¡\n\r"
    "^{}\\[~]|€\f"
)
RARE = "ɛɔŋɖƒɣʋʒ₵“”‘’–—…\u00a0`´áíóúãẽĩõũ🐓👩🏿‍🌾\u0300\u0301"


def segments(system: System, report: Report) -> None:
    """Random texts, of GSM letters and of those that force UCS-2: our count of parts beside smsutil's."""
    import smsutil

    from core import sms_text

    count = 1_000_000 if system.long else 100_000
    rng = random.Random(7)
    wrong = ours = theirs = 0.0
    for number in range(count):
        letters = LETTERS if number % 2 else LETTERS + RARE
        text = sms_text.prepare("".join(rng.choices(letters, k=rng.randint(1, 480))))
        began = time.perf_counter()
        parts = sms_text.measure(text).parts
        middle = time.perf_counter()
        split = smsutil.split(text)
        ended = time.perf_counter()
        ours, theirs = ours + middle - began, theirs + ended - middle
        wrong += parts != len(split.parts)
    report.table(
        HEADINGS,
        [
            (f"disagreements in {count:,} texts", f"{wrong:.0f}", ""),
            ("time for one, beside smsutil", f"{ours / theirs:.3f}", "x"),
        ],
    )
