"""Finds and ends every process of one stack, also those that outlived their parent. Linux: reads /proc.

Every process of a stack carries the stack's folder in its environment (`PMS_STACK`) and hands it to its children, so
pool children and strays are found as well, however their parent ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

MARK = "PMS_STACK"
PACKAGE_PARENT = Path(__file__).resolve().parent.parent


class StackError(Exception):
    """Something that cannot be started. The text says what is wrong and how to put it right."""


def _read(pid: int, name: str) -> bytes:
    """A file of /proc, or nothing when the process has ended or belongs to somebody else."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def marked(mark: str) -> set[int]:
    """The living processes that carry this mark, except the one that asks."""
    needle = f"{MARK}={mark}".encode()
    pids = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()} - {os.getpid()}
    return {pid for pid in pids if needle in _read(pid, "environ").split(b"\0") or _is_redis_in(pid, Path(mark))}


def _is_redis_in(pid: int, folder: Path) -> bool:
    """Redis writes its title over its environment, mark and all; it is known by its working folder."""
    if _read(pid, "comm").strip() != b"redis-server":
        return False
    try:
        return Path(f"/proc/{pid}/cwd").readlink().parent in (folder, folder / "var")
    except OSError:  # ended in the meantime, or somebody else's
        return False


def is_postgres(pid: int) -> bool:
    return _read(pid, "comm").strip() == b"postgres"


def caught_signals(pid: int) -> int:
    """The signals that a process handles, one bit each; 0 when it has ended."""
    for line in _read(pid, "status").splitlines():
        if line.startswith(b"SigCgt:"):
            return int(line.split()[1], 16)
    return 0


def postgres_in(folder: Path) -> set[int]:
    """The PostgreSQL processes that work in this data folder: it is their working folder."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and is_postgres(int(entry.name)):
            try:
                if (entry / "cwd").readlink() == folder:
                    found.add(int(entry.name))
            except OSError:  # ended in the meantime, or somebody else's
                continue
    return found


def wait_until(condition: Callable[[], bool], seconds: float, pause: float = 0.05) -> bool:
    """True as soon as the condition holds, False when the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _leaders(pids: set[int]) -> set[int]:
    """Those that stop the others themselves when asked: a pool's parent, not its children."""
    found = set()
    for pid in pids:
        try:
            group = os.getpgid(pid)
        except ProcessLookupError:
            continue
        if group == pid or group not in pids:
            found.add(pid)
    return found


def sweep(mark: str, patience: float = 7.0) -> set[int]:
    """Ends everything that carries the mark, PostgreSQL last. Returns what it found. Safe to repeat."""
    found = marked(mark)

    def end(chosen: Callable[[], set[int]], polite: signal.Signals, seconds: float) -> None:
        found.update(chosen())
        send(_leaders(chosen()), polite)
        if not wait_until(lambda: not chosen(), seconds):
            found.update(chosen())
            send(chosen(), signal.SIGKILL)
            wait_until(lambda: not chosen(), 2)

    end(lambda: {pid for pid in marked(mark) if not is_postgres(pid)}, signal.SIGTERM, patience)
    end(lambda: marked(mark), signal.SIGINT, 4)
    return found


class Guard:
    """A process of its own that sweeps when we end, however we end: it holds a pipe that closes with us.

    Once it is made, all that we start carries the mark. `keep_open` is a lock file that it holds until it has swept.
    """

    def __init__(self, mark: str, keep_open: IO[str] | None = None) -> None:
        self.mark = mark
        os.environ[MARK] = mark
        self.keep_open = keep_open
        self._process: subprocess.Popen[bytes] | None = None

    def ensure(self) -> None:
        """Starts the guard, or a new one if somebody killed it."""
        if self._process is not None and self._process.poll() is None:
            return
        environment = {name: value for name, value in os.environ.items() if name != MARK}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stack.processes", self.mark],
            cwd=PACKAGE_PARENT,
            env=environment,
            stdin=subprocess.PIPE,
            pass_fds=[self.keep_open.fileno()] if self.keep_open else [],
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        self.ensure()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()


def main(mark: str) -> None:
    """The guard's own process: waits for the end of the pipe, then sweeps."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    sweep(mark)


if __name__ == "__main__":
    main(sys.argv[1])
