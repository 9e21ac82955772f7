"""Runs processes side by side: in order, each in a group of its own, restarted when it exits, stopped in reverse order.

One thread and one loop (`turn`): pass on what the processes say, start again what has ended, see whether somebody asked
to stop. A stop signal raises `Stopped` out of the loop, so the caller's `finally` with `stop()` ends everything.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import IO

from stack.processes import Guard, StackError, caught_signals, sweep

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BACK_OFF = (1.0, 2.0, 4.0, 8.0, 15.0)  # seconds before the next start
SAME_WISH = 0.7  # seconds within which two stop signals are one: `make` passes on what the whole group got
STEADY = 30.0  # who ran this long starts again with the first of them
FAILURES_BEFORE_READY = 3
READY_PAUSE = 0.3  # seconds between two looks whether all are ready
COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95)
LAST_LINES = 40
LONGEST_LINE = 65536


class Stopped(Exception):
    """Somebody asked to stop."""


@dataclass
class Service:
    """One process. `stop_round` says when it ends (0 first), `grace` how many seconds it has before it is killed."""

    name: str
    command: list[str]
    missing: Callable[[], str] = lambda: ""  # what it still lacks to be ready
    prepare: Callable[[], None] = lambda: None
    environment: dict[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    stop_round: int = 0
    grace: float = 10.0
    restarts: bool = True
    quiet: bool = False

    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_again_at: float | None = None
    failures: int = 0
    colour: int = 0
    said: bytes = b""
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


def coloured(stream: IO[str]) -> bool:
    """https://no-color.org, and FORCE_COLOR for logs that are shown elsewhere."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or stream.isatty()


class Supervisor:
    def __init__(self, guard: Guard, output: IO[str] = sys.stdout) -> None:
        self.guard = guard
        self.output = output
        self.colours = coloured(output)
        self.services: list[Service] = []
        self.asked = 0  # how often somebody asked to stop
        self.stopping = False
        self._selector = selectors.DefaultSelector()
        self._make = os.getppid() if "MAKELEVEL" in os.environ else None
        self._make_catches = caught_signals(self._make) if self._make else 0

    # --- Saying -----------------------------------------------------------------------------------------------------

    def say(self, text: str, name: str = "stack", colour: int = 1) -> None:
        """One line with the name of who says it."""
        prefix = f"{name:<9}|"
        if self.colours:
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        self.write(f"{prefix} {text}\n")

    def write(self, text: str) -> None:
        try:
            self.output.write(text)
            self.output.flush()
        except OSError:  # nobody reads any more: the terminal or the pipe is gone, which asks us to stop
            self.output = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for the rest of our life
            self.asked = max(self.asked, 1)

    # --- The loop ---------------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """From now on a stop signal ends the loop. A second one hurries the end."""

        def asked(_number: int, _frame: FrameType | None) -> None:
            now = time.monotonic()
            if now - last[0] > SAME_WISH:
                self.asked += 1
            last[0] = now

        last = [float("-inf")]
        for number in STOP_SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup stays in force
                signal.signal(number, asked)

    def turn(self, seconds: float = 0.2) -> None:
        """One round of the loop. Raises Stopped when somebody asked to stop."""
        for key, _events in self._selector.select(seconds):
            self._pass_on(*key.data)
        if self._make and self._make_catches & ~caught_signals(self._make):
            self.asked = max(self.asked, 1)  # `make` was killed, or got a signal: it drops its handler and waits for us
        if self.stopping:
            return
        if self.asked:
            raise Stopped
        self.guard.ensure()
        for service in self.services:
            self._look_after(service)

    def _pass_on(self, stream: IO[bytes], service: Service) -> None:
        heard = os.read(stream.fileno(), LONGEST_LINE)
        *lines, service.said = (service.said + heard).split(b"\n")
        if not heard or len(service.said) > LONGEST_LINE:
            lines, service.said = [*lines, *filter(None, [service.said])], b""
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r")
            service.last_lines.append(text)
            if not service.quiet:
                self.say(text, service.name, service.colour)
        if not heard:
            self._selector.unregister(stream)
            stream.close()

    def _look_after(self, service: Service) -> None:
        """Starts again what has ended, after a while that grows."""
        if service.start_again_at is not None:
            if time.monotonic() < service.start_again_at:
                return
            try:
                self._spawn(service)
            except (StackError, OSError) as error:  # a full disk, say: it may pass
                self._later(service, f"cannot start: {error}")
            return
        if service.restarts and service.process is not None and not service.alive:
            self._kill_group(service)  # what it leaves behind must not work beside its successor
            self._later(service, _ending(service.process.returncode))

    def _later(self, service: Service, reason: str) -> None:
        if time.monotonic() - service.started_at > STEADY:
            service.failures = 0
        pause = BACK_OFF[min(service.failures, len(BACK_OFF) - 1)]
        service.failures += 1
        service.start_again_at = time.monotonic() + pause
        self.say(f"{service.name} {reason}; it starts again in {pause:.0f} s")

    # --- Starting ---------------------------------------------------------------------------------------------------

    def start(self, service: Service) -> None:
        service.colour = COLOURS[len(self.services) % len(COLOURS)]
        self.services.append(service)
        self._spawn(service)

    def _spawn(self, service: Service) -> None:
        service.prepare()
        service.start_again_at = None
        service.started_at = time.monotonic()
        service.process = subprocess.Popen(
            service.command,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **service.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        if service.process.stdout is not None:
            self._selector.register(service.process.stdout, selectors.EVENT_READ, (service.process.stdout, service))

    def wait_ready(self, services: list[Service], seconds: float) -> None:
        """Returns when all are ready. Raises StackError when one keeps ending or the time is over."""
        deadline = time.monotonic() + seconds
        waiting = list(services)
        while waiting:
            self._turns(READY_PAUSE)
            for service in self.services:
                if service.failures >= FAILURES_BEFORE_READY:
                    raise StackError(_does_not_come_up(service, "keeps ending"))
            missing = {service.name: service.missing() for service in waiting if service.alive}
            waiting = [service for service in waiting if missing.get(service.name, "it does not run")]
            if waiting and time.monotonic() > deadline:
                problem = f"is not ready after {seconds:.0f} s: {missing.get(waiting[0].name, 'it does not run')}"
                raise StackError(_does_not_come_up(waiting[0], problem))

    def _turns(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.turn(left)

    def run(self, name: str, command: list[str], *, quiet: bool = False) -> list[str]:
        """Runs one command to its end beside the others and returns its last lines. Raises StackError if it fails."""
        service = Service(name, command, restarts=False, quiet=quiet)
        self.start(service)
        while service.alive or (service.process and service.process.stdout and not service.process.stdout.closed):
            self.turn()
        self.services.remove(service)
        if service.process and service.process.returncode:
            raise StackError(_does_not_come_up(service, _ending(service.process.returncode)))
        return list(service.last_lines)

    # --- Stopping ---------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Ends everything, round by round; the last round is PostgreSQL. Then whatever else carries our mark."""
        self.stopping = True
        for number in sorted({service.stop_round for service in self.services}):
            self._stop_together([service for service in self.services if service.stop_round == number])
        strays = sweep(self.guard.mark, patience=0.5)
        if strays:
            self.say(f"ended {len(strays)} process(es) left over: {sorted(strays)}")

    def _stop_together(self, services: list[Service]) -> None:
        begin, asked = time.monotonic(), self.asked
        for service in services:
            if service.process is not None and service.alive:
                service.process.send_signal(service.stop_signal)
        while any(service.alive for service in services):
            self.turn(0.05)
            for service in services:
                late = time.monotonic() - begin > service.grace
                if service.alive and (late or (self.asked > asked and service.stop_signal == signal.SIGTERM)):
                    self.say(f"{service.name} did not end in time and is killed")
                    self._kill_group(service)
        for service in services:
            self._kill_group(service)
        while last_words := [key.data for key, _events in self._selector.select(0) if key.data[1] in services]:
            for stream, service in last_words:
                self._pass_on(stream, service)

    @staticmethod
    def _kill_group(service: Service) -> None:
        """The process and all that it started; those whose parent is gone are still in its group."""
        if service.process is not None:
            try:
                os.killpg(service.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return


def _ending(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _does_not_come_up(service: Service, problem: str) -> str:
    return "\n".join([f"{service.name} {problem}. Its last lines:", *(f"    {line}" for line in service.last_lines)])
