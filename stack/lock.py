"""One `make run` per folder: a lock on var/run/supervisor.pid, held until the last process has been ended.

`python3 -m stack.lock` (standard library only, for `make clean`) fails with one line while var/ is in use.
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import IO

from stack.processes import PACKAGE_PARENT, StackError, wait_until

GUARD_SECONDS = 20  # a guard that sweeps after a killed supervisor holds the lock about that long at most


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: IO[str]) -> int | None:
    """The process that took the lock, if it still lives."""
    file.seek(0)
    word = file.read().strip()
    return int(word) if word.isdecimal() and Path("/proc", word).exists() else None


def take_lock(var: Path) -> IO[str]:
    """The open lock file. A stale one is no obstacle; a guard still at work is waited for."""
    (var / "run").mkdir(parents=True, exist_ok=True)
    file = (var / "run" / "supervisor.pid").open("a+")
    if not _locked(file) and not wait_until(lambda: _holder(file) is None and _locked(file), _patience(file)):
        pid = _holder(file)
        raise StackError(
            f"make run of this folder is already running (process {pid}). Fix: use it, or stop it: kill {pid}"
        )
    file.seek(0)
    file.truncate()
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _patience(file: IO[str]) -> float:
    return 0 if _holder(file) else GUARD_SECONDS


def in_use(var: Path) -> str:
    """What works in var/ now, or nothing."""
    runs = [folder.name for folder in (var / "test").glob("*") if Path("/proc", folder.name).exists()]
    if runs:
        return f"make test is running (process {', '.join(runs)})"
    lock = var / "run" / "supervisor.pid"
    if lock.exists():
        with lock.open("a+") as file:
            if not _locked(file):
                return f"make run is running (process {_holder(file)})"
    return ""


if __name__ == "__main__":
    user = in_use(PACKAGE_PARENT / "var")
    sys.exit(f"{user}. Fix: stop it first (Ctrl-C there)." if user else 0)
