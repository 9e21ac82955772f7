"""The whole house on servers of its own: workers, two beats and askers that are started again when they die, and what
can be done to them.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psycopg
import redis

from stack.processes import StackError, send, wait_until
from stack.servers import Postgres, Redis, Server, free_port
from stack.testrun import ROOT, environment
from tests.chaos.plan import Fault

CLOCK = ROOT / "tests" / "chaos" / "clock"
BEATS, ASKERS = 2, 2
START_AGAIN_SECONDS = 1.0


class Kept:
    """A command that is started again when it has ended, as a supervisor would."""

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self.name, self.command, self.log = name, command, log
        self.incarnation = 0
        self.clock = 0  # seconds by which the next one's clock is wrong
        self.start_at = 0.0
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.incarnation += 1
        variables = dict(os.environ)
        if self.clock:
            variables |= {"PYTHONPATH": str(CLOCK), "CHAOS_CLOCK_SECONDS": str(self.clock)}
            self.clock = 0
        command = [word.format(name=self.name, incarnation=self.incarnation) for word in self.command]
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        return self.popen.pid if self.popen and self.popen.poll() is None else None

    def is_ready(self) -> bool:
        return self.log.exists() and b" ready." in self.log.read_bytes()

    def keep(self) -> None:
        if self.pid is None and time.monotonic() >= self.start_at:
            if self.start_at or self.popen is None:
                self.start_at = 0.0
                self.start()
            else:
                self.start_at = time.monotonic() + START_AGAIN_SECONDS

    def children(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                except OSError:  # ended in the meantime
                    continue
                if int(parent) == self.pid:
                    found.append(int(entry.name))
        return sorted(found)


class House:
    def __init__(self, folder: Path, seed: int, *, asks_a_second: float, long: bool) -> None:
        self.folder = folder
        self.postgres = Postgres(folder / "postgres", free_port(), "pms", secrets.token_urlsafe(16), "pms")
        self.redis = Redis(folder / "redis", free_port())
        self.done: Counter[str] = Counter()
        self.without_target: Counter[str] = Counter()
        self.locks = {"Redis": threading.Lock(), "PostgreSQL": threading.Lock()}
        self.over = threading.Event()
        self.keeper = threading.Thread(target=self._keep, name="supervisor", daemon=True)
        worker = ["celery", "-A", "core", "worker", "-l", "INFO", "-c", "2", "--include", "tests.chaos.tasks"]
        beat = ["celery", "-A", "core", "beat", "-l", "INFO", "--pidfile="]
        ask = ["tests.chaos.asker", "{name}", str(seed), "{incarnation}", str(asks_a_second / ASKERS)]
        self.workers = self._several("worker", 3 if long else 2, [*worker, "-n", "{name}@%h"])
        self.beats = self._several("beat", BEATS, beat)
        self.askers = self._several("asker", ASKERS, [*ask, "long" if long else "short"])

    def _several(self, kind: str, many: int, command: list[str]) -> list[Kept]:
        names = [f"{kind}{number}" for number in range(many)]
        return [Kept(name, command, self.folder / f"{name}.log") for name in names]

    @property
    def kept(self) -> list[Kept]:
        return [*self.workers, *self.beats, *self.askers]

    def start_servers(self) -> dict[str, str]:
        """Returns the variables with which the product finds them."""
        self.folder.mkdir(parents=True)
        self.postgres.start()
        self.redis.start()
        return environment(self.postgres, self.redis) | {
            "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
            "DEBUG": "False",
            "CELERY_BROKER_URL": self.redis.url(0),
        }

    def start(self) -> None:
        self.keeper.start()

    def wait_for_workers(self) -> None:
        for one in self.workers:
            if not wait_until(one.is_ready, 60):
                raise StackError(f"{one.name} is not ready. See {one.log}.")

    def _keep(self) -> None:
        while not self.over.wait(0.1):
            for one in self.kept:
                one.keep()

    def stop_asking(self) -> None:
        self.over.set()
        self.keeper.join()
        for asker in self.askers:
            if asker.popen:
                asker.popen.terminate()
        self.over = threading.Event()
        self.askers = []
        self.keeper = threading.Thread(target=self._keep, name="supervisor", daemon=True)
        self.keeper.start()

    def stop(self) -> None:
        self.over.set()
        self.keeper.join()
        for one in self.kept:
            if one.pid:
                send([one.pid], signal.SIGTERM)
        until = time.monotonic() + 15
        for one in self.kept:
            if one.popen:
                try:
                    one.popen.wait(max(0.1, until - time.monotonic()))
                except subprocess.TimeoutExpired:
                    os.killpg(one.popen.pid, signal.SIGKILL)
                    self.done[f"{one.name} did not stop"] += 1
        self.redis.stop()
        self.postgres.stop()

    # --- faults ----------------------------------------------------------------------------------------------------

    def suffer(self, fault: Fault) -> None:
        """Carry a fault out; returns when it is over. One with nobody to meet is counted and left out."""
        server, _, what = fault.kind.partition(" ")
        happened: object
        if fault.kind == "database lines cut":
            happened = self._cut_lines(fault)
        elif server in self.locks:
            with self.locks[server]:
                happened = getattr(self, f"_{server.lower()}_{what}")(fault)
        elif fault.kind == "clock moved":
            happened = self._move_clock(fault)
        else:
            happened = self._hit(fault)
        (self.done if happened else self.without_target)[fault.kind] += 1

    def _living(self, those: list[Kept], fault: Fault) -> Kept | None:
        living = [one for one in those if one.pid]
        return living[int(fault.which * len(living))] if living else None

    def _hit(self, fault: Fault) -> bool:
        those = {"w": self.workers, "p": self.workers, "b": self.beats, "a": self.askers}[fault.kind[0]]
        one = self._living(those, fault)
        pid = one.pid if one else None
        if not one or not pid:
            return False
        if fault.kind == "pool child killed":
            children = one.children()
            send(children[int(fault.which * len(children)) :][:1], signal.SIGKILL)
            return bool(children)
        if fault.kind == "worker frozen":
            frozen = [*one.children(), pid]
            send(frozen, signal.SIGSTOP)
            time.sleep(fault.lasts)
            send(frozen, signal.SIGCONT)
            return True
        send([pid], signal.SIGTERM if "told" in fault.kind else signal.SIGKILL)
        return True

    def _move_clock(self, fault: Fault) -> bool:
        one = self._living([*self.workers, *self.workers, *self.beats], fault)
        if not one or not one.pid:
            return False
        one.clock = fault.clock
        send([one.pid], signal.SIGKILL)
        return True

    def _cut_lines(self, fault: Fault) -> bool:
        try:
            with psycopg.connect(self.postgres.url, connect_timeout=2) as line:
                cut = line.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND pid %% 3 <> %s",
                    [int(fault.which * 3)],
                ).fetchone()
                return bool(cut and cut[0])
        except psycopg.OperationalError:  # it is being restarted
            return False

    def _again(self, server: Server, fault: Fault) -> bool:
        time.sleep(fault.lasts)
        server.start()
        return True

    def _redis_killed(self, fault: Fault) -> bool:
        assert self.redis.process
        self.redis.process.kill()
        self.redis.process.wait()
        return self._again(self.redis, fault)

    def _redis_frozen(self, fault: Fault) -> bool:
        assert self.redis.process
        self.redis.process.send_signal(signal.SIGSTOP)
        time.sleep(fault.lasts)
        self.redis.process.send_signal(signal.SIGCONT)
        return True

    def _redis_emptied(self, fault: Fault) -> bool:
        with redis.Redis.from_url(self.redis.url(0), socket_timeout=5) as client:
            return bool(client.flushall())

    def _postgresql_restarted(self, fault: Fault) -> bool:
        self.postgres.stop()
        return self._again(self.postgres, fault)

    def _postgresql_killed(self, fault: Fault) -> bool:
        assert self.postgres.process
        self.postgres.process.kill()
        self.postgres.process.wait()
        return self._again(self.postgres, fault)
