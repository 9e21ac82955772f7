"""The fault matrix of sending: each fault at each step and each door, on real servers, judged by what the phones got.

    make matrix                                  every case; prints the table and keeps it in docs/fault-matrix.md
    make matrix ARGS="--only killed --doors sms" some of them; prints only
    .venv/bin/python -m tests.matrix --short     what the system tests run

Every message goes to a phone or mailbox of its own, so the phone network's count says what was lost and what doubled.
Waiting times are not waited for: what is due later, and leases of dead workers, are moved to now in the rows.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stack.processes import Guard
from stack.servers import Postgres, Redis, free_port
from stack.testrun import ROOT, environment
from tests.matrix.cases import CASES, DOORS, Case
from tests.sandbox.process import Sandbox

PAGE = ROOT / "docs" / "fault-matrix.md"
COUNT = {"sms": 30, "code": 30, "bulk": 600, "mail": 30}
SHORT = {
    "sms: taken, never answered",
    "code: taken, connection reset",
    "bulk: reset after the headers, nothing taken",
    "mail: closed after DATA, taken",
    "sms: worker killed: attempt written, nothing sent",
    "bulk: worker killed: answer read, not written",
    "sms: out of funds by the body of a 201",
    "bulk: FLUSHALL in mid-send",
    "sms: PostgreSQL restarted in mid-send",
}
SETTLE_SECONDS = 120
STUCK_SECONDS = 4  # longer than any call in these cases
LEASES_OVER = "UPDATE delivery_outboundmessage SET lease_until = now() - interval '1 s' WHERE lease_until IS NOT NULL"
CODES_IN_DOUBT = (
    "SELECT count(*) FROM delivery_outboundmessage WHERE purpose = 'otp' AND status = 'in_doubt' AND NOT resent"
)
WAITING = ("queued", "held", "claimed", "submitting")


@dataclass
class Result:
    name: str
    messages: int
    arrived: int
    accepted: int
    doubt: int
    doubt_expected: int
    lost: int
    doubled: int
    resent: int
    hits: int
    seconds: float
    wrong: list[str]

    def row(self) -> tuple[object, ...]:
        counts = (self.messages, self.arrived, self.accepted, self.doubt, self.doubt_expected)
        return (self.name, *counts, self.lost, self.doubled, self.resent, f"{self.seconds:.0f}")


class Matrix:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.postgres = Postgres(folder / "postgres", free_port(), "pms", secrets.token_urlsafe(16), "test_matrix")
        self.redis = Redis(folder / "redis", free_port())
        self.workers: list[subprocess.Popen[bytes]] = []
        self.started = 0

    def start(self) -> None:
        self.postgres.start()
        self.redis.start()
        self.sandbox = Sandbox(self.folder / "sandbox")
        os.environ.update(
            environment(self.postgres, self.redis)
            | {
                "DJANGO_SETTINGS_MODULE": "core.settings",
                "HUBTEL_BASE_URL": f"{self.sandbox.url}/v1/messages",
                "HUBTEL_TIMEOUT_SECONDS": "2",
                "EMAIL_HOST": "127.0.0.1",
                "EMAIL_PORT": str(self.sandbox.smtp_port),
                "EMAIL_TIMEOUT": "2",
                "LOG_LEVEL": "WARNING",
            }
        )
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)

    def stop(self) -> None:
        self.stop_workers()
        self.sandbox.stop(signal.SIGKILL)
        self.redis.stop()
        self.postgres.stop()

    # --- workers, started again when they die, as a supervisor would ------------------------------------------------

    def start_worker(self, **variables: str) -> None:
        self.started += 1
        name = f"worker{self.started}"
        with (self.folder / f"{name}.log").open("ab") as output:
            self.workers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "celery", "-A", "core", "worker", "-l", "WARNING"]
                    + ["-c", "1" if variables else "2"]  # of one that is to die, one call is open
                    + ["-n", f"{name}@matrix", "--include", "tests.matrix.killer"],
                    cwd=ROOT,
                    env=os.environ | variables,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            )

    def stop_workers(self) -> None:
        for worker in self.workers:
            _kill(worker)
        self.workers = []

    def keep_workers(self, **variables: str) -> None:
        for worker in list(self.workers):
            if worker.poll() is not None:
                self.workers.remove(worker)
                self.start_worker(**variables)

    # --- one case ---------------------------------------------------------------------------------------------------

    def run(self, case: Case, door: str) -> Result:
        self.empty()
        count = COUNT[door]
        self.sandbox.faults(**case.faults)
        flag = self.folder / f"killed-{self.started}"
        variables = {"MATRIX_KILL": case.kill, "MATRIX_FLAG": str(flag)} if case.kill else {}
        for _ in range(case.workers):
            self.start_worker(**variables)
        began = time.monotonic()
        _ask(door, count)
        self.meanwhile(case, door, count)
        seconds = self.settle(began, variables)
        self.stop_workers()
        return self.judge(case, door, count, seconds)

    def empty(self) -> None:
        self.sandbox.reset()
        import redis

        with redis.Redis.from_url(self.redis.url(0)) as client:
            client.flushall()
        _sql(
            "TRUNCATE jobs_taskrun, delivery_outboundmessage, delivery_deliveryattempt, delivery_campaign,"
            " delivery_breaker, delivery_lanestate, delivery_spend, delivery_deliveryreceipt CASCADE"
        )

    def meanwhile(self, case: Case, door: str, count: int) -> None:
        """What happens in mid-send, and the end of faults that do not end by themselves."""
        if case.act:
            wanted = 1 if door == "bulk" or case.act in ("kill worker", "leases over") else count // 10
            _wait(lambda: self.begun() >= wanted, 60, "sending has begun")
            time.sleep(0.5 if case.faults.get("latency_ms", 0) > 500 else 0)
            self.act(case.act)
        elif set(case.faults) - {"latency_ms"}:
            _wait(lambda: self.hits() or self.refused(case), 60, "the fault is met")
            time.sleep(0 if "refuse" in case.faults or "smtp_refuse" in case.faults else 8)
        if not case.ambiguous:
            self.sandbox.faults(**{name: case.faults[name] for name in ("latency_ms",) if name in case.faults})

    def act(self, what: str) -> None:
        if what == "kill worker":
            for worker in self.workers:
                _kill(worker)
            self.sandbox.faults()
        elif what == "leases over":
            _sql(LEASES_OVER)
        elif what == "flush":
            import redis

            with redis.Redis.from_url(self.redis.url(0)) as client:
                client.flushall()
        elif what == "kill redis":
            assert self.redis.process
            self.redis.process.kill()
            self.redis.process.wait()
            time.sleep(3)
            self.redis.start()
        elif what == "restart postgres":
            self.postgres.stop()
            self.postgres.start()

    def begun(self) -> int:
        return int(_one("SELECT count(*) FROM delivery_deliveryattempt"))

    def hits(self) -> int:
        return sum(self.sandbox.stats()["faults_hit"].values())

    def refused(self, case: Case) -> bool:
        return bool({"refuse", "smtp_refuse"} & set(case.faults)) and self.begun() > 0

    def settle(self, began: float, variables: dict[str, str]) -> float:
        """Until nothing waits and nothing is open. Seconds since the ask."""
        codes_over = 0
        until = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < until:
            self.keep_workers(**variables)
            try:
                _sql(f"{LEASES_OVER} AND updated_at < now() - make_interval(secs => %s)", STUCK_SECONDS)
                _sql("UPDATE delivery_outboundmessage SET due_at = now(), ring_at = now() WHERE due_at > now()")
                _sql("UPDATE delivery_breaker SET probe_at = now() WHERE probe_at > now()")
                states = Counter(dict(_rows("SELECT status, count(*) FROM delivery_outboundmessage GROUP BY 1")))
                codes = _one(CODES_IN_DOUBT)
                written = _one("SELECT count(*) FROM jobs_taskrun WHERE state IN ('pending', 'running', 'retrying')")
            except Exception:  # noqa: BLE001 - PostgreSQL is being restarted
                _forget()
                time.sleep(0.2)
                continue
            if not written and not codes and states and not any(states[state] for state in WAITING):
                codes_over += 1
                if codes_over > 2:  # twice in a row: nothing follows
                    return time.monotonic() - began
            else:
                codes_over = 0
            time.sleep(0.5)
        return time.monotonic() - began

    def judge(self, case: Case, door: str, count: int, seconds: float) -> Result:
        got = Counter(message["to"] for message in self.sandbox.messages(limit=10_000))
        rows = _rows("SELECT recipient, status, resent FROM delivery_outboundmessage")
        resent = sum(row[2] for row in rows)
        state = Counter(row[1] for row in rows)
        taken = state["accepted"] + state["delivered"]
        lost = [row[0] for row in rows if row[1] in ("accepted", "delivered") and not got[row[0]]]
        doubled = [row[0] for row in rows if got[row[0]] > 1 and not row[2]]
        stray = set(got) - {row[0] for row in rows}
        hits = self.hits()
        attempts = _rows("SELECT messages FROM delivery_deliveryattempt WHERE verdict = 'in_doubt'")
        first_doubt = sum(row[0] for row in attempts)
        expected = self.expected(case, door, hits)
        wrong = []
        if len(rows) != count:
            wrong.append(f"{len(rows)} rows of {count}")
        if open_ := {name: state[name] for name in WAITING if state[name]}:
            wrong.append(f"not settled: {open_}")
        if lost or doubled or stray:
            wrong.append(f"lost {len(lost)}, doubled {len(doubled)}, to nobody {len(stray)}")
        if strange := set(state) - {"accepted", "delivered", "in_doubt", *WAITING}:
            wrong.append(f"unexpected states {strange}")
        calls = len(attempts)
        if calls != expected:
            wrong.append(f"{calls} calls in doubt, {expected} injected")
        if state["in_doubt"] + resent != first_doubt:
            wrong.append(f"{state['in_doubt']} in doubt and {resent} sent again, {first_doubt} were")
        return Result(
            case.name(door),
            count,
            sum(got.values()),
            taken,
            calls,
            expected,
            len(lost),
            len(doubled),
            resent,
            hits,
            seconds,
            wrong,
        )

    def expected(self, case: Case, door: str, hits: int) -> int:
        """Calls without proof: those that met the fault; those open when a worker died."""
        if not case.ambiguous:
            return 0
        if case.kill:
            return 1
        if case.act:
            return int(_one("SELECT count(*) FROM delivery_deliveryattempt WHERE error = 'the worker stopped'"))
        return hits


# --- ways to ask and to look -----------------------------------------------------------------------------------------


def _ask(door: str, count: int) -> None:
    from core.delivery import services
    from core.delivery.rules import Purpose
    from core.tasks import process_bulk_sms

    phones = [f"+23324{number:07d}" for number in range(count)]
    if door == "bulk":
        process_bulk_sms.delay(phones, "Vaccination day is Friday.")
        return
    for number, phone in enumerate(phones):
        if door == "mail":
            services.queue_email(
                f"p{number}@example.com", "Report", "Eggs: 12", purpose=Purpose.SERVICE, key=f"m{number}"
            )
        else:
            purpose = Purpose.OTP if door == "code" else Purpose.SERVICE
            services.queue_sms(phone, f"Text {number}", purpose=purpose, key=f"s{number}")


def _rows(sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return list(cursor.fetchall()) if cursor.description else []


def _sql(sql: str, *parameters: Any) -> None:
    _rows(sql, *parameters)


def _one(sql: str) -> Any:
    return _rows(sql)[0][0]


def _forget() -> None:
    from django.db import connection

    connection.close()


def _kill(worker: subprocess.Popen[bytes]) -> None:
    if worker.poll() is None:
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def _wait(true: Any, seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            raise SystemExit(f"not within {seconds} s: {what}")
        time.sleep(0.05)


HEADINGS = (
    "case",
    "messages",
    "reached a phone",
    "accepted",
    "calls in doubt",
    "injected",
    "lost",
    "doubled",
    "codes sent again",
    "s",
)


def _table(results: list[Result]) -> str:
    lines = [f"| {' | '.join(HEADINGS)} |", f"|{'---|' * len(HEADINGS)}"]
    lines += [f"| {' | '.join(map(str, one.row()))} |" for one in results]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser("tests.matrix", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--doors", nargs="*", choices=DOORS, default=DOORS)
    parser.add_argument("--short", action="store_true", help="one case of each kind")
    chosen = parser.parse_args()
    wanted = [
        (case, door)
        for case in CASES
        for door in case.doors
        if door in chosen.doors and chosen.only in case.name(door) and (not chosen.short or case.name(door) in SHORT)
    ]
    folder = ROOT / "var" / "matrix" / str(os.getpid())
    results: list[Result] = []
    with Guard(str(folder)):
        matrix = Matrix(folder)
        matrix.start()
        try:
            for case, door in wanted:
                result = matrix.run(case, door)
                results.append(result)
                print(
                    f"{'WRONG' if result.wrong else 'ok   '} {result.name}, {result.seconds:.0f} s",
                    *result.wrong,
                    flush=True,
                )
        finally:
            matrix.stop()
    wrong = [one for one in results if one.wrong]
    print(_table(results))
    if wrong:
        print(f"The logs are in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
        if wanted and len(wanted) == sum(len(case.doors) for case in CASES):
            text = PAGE.read_text()
            PAGE.write_text(text[: text.index("| case |")] + _table(results) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
