"""Runs pytest on a PostgreSQL and a Redis of its own. The way to run any test:

    .venv/bin/python -m stack.testrun                              everything: fast tests in parallel, then system tests
    .venv/bin/python -m stack.testrun tests/unit/test_x.py -k y    pytest with these arguments, one process
    make test ARGS="-k phones"                                     the same through make

Both servers start on free ports with an empty folder (about 2 s) and are gone afterwards, whatever happens, so any
number of runs may go on at once. `.env` and the product's variables of the calling shell are ignored. Tests marked
`browser`, `pgbouncer` or `root` are left out with one line where there is no Chromium, PgBouncer or root; with CI=true
that is an error.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from stack.processes import PACKAGE_PARENT, Guard, StackError, sweep
from stack.servers import Postgres, Redis, free_port

ROOT = PACKAGE_PARENT
FOLDERS = ROOT / "var" / "test"
NOTHING_COLLECTED = 5
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def product_variables() -> set[str]:
    """The names `.env.example` lists, so that nothing of the developer's own settings reaches a test."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    return {line.lstrip("# ").partition("=")[0] for line in lines if "=" in line and line.lstrip("# ")[:1].isupper()}


def environment(postgres: Postgres, redis: Redis) -> dict[str, str]:
    unwanted = product_variables()
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return kept | {
        "PMS_ENV": "development",
        "PMS_ENV_FILE": os.devnull,
        "SECRET_KEY": secrets.token_urlsafe(40),
        "DATABASE_URL": postgres.url,
        "CELERY_BROKER_URL": redis.url(0),
        "CELERY_RESULT_BACKEND": redis.url(0),
        "REDIS_URL": redis.url(1),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def left_out() -> dict[str, str]:
    """Marks whose tests cannot run here, with the reason."""
    missing = {}
    if not any(shutil.which(name) for name in BROWSERS):
        missing["browser"] = "no Chromium (chromium, chromium-browser or google-chrome) on PATH"
    if not shutil.which("pgbouncer"):
        missing["pgbouncer"] = "no pgbouncer on PATH"
    if os.geteuid() != 0:
        missing["root"] = "not run as root"
    return missing


def phases(arguments: list[str], without: set[str]) -> list[list[str]]:
    """The pytest calls: one as asked when tests are named, else fast tests in parallel and system tests one by one."""
    rest, wanted = list(arguments), []
    while "-m" in rest:
        at = rest.index("-m")
        wanted += [f"({expression})" for expression in rest[at + 1 : at + 2]]
        del rest[at : at + 2]
    wanted += [f"not {mark}" for mark in sorted(without)]

    def call(*marks: str, options: tuple[str, ...] = ()) -> list[str]:
        expression = " and ".join([*wanted, *marks])
        return [*options, *(["-m", expression] if expression else []), *rest]

    if any((ROOT / argument.partition("::")[0]).exists() for argument in rest):
        return [call()]
    return [call("not system", options=("-n", "2", "--dist", "loadgroup")), call("system")]


def forget_old_folders() -> None:
    """Removes what runs that were killed have left: their folder is named after their process."""
    for folder in FOLDERS.glob("*"):
        if not Path("/proc", folder.name).exists():
            shutil.rmtree(folder, ignore_errors=True)


def run(arguments: list[str]) -> int:
    missing = left_out()
    for mark, reason in missing.items():
        print(f"Tests marked {mark} are left out: {reason}.", flush=True)
    if missing and os.environ.get("CI") == "true":
        print("CI=true: nothing may be left out.")
        return 1
    forget_old_folders()
    folder = FOLDERS / str(os.getpid())
    folder.mkdir(parents=True)
    postgres = Postgres(folder / "postgres", free_port(), "pms", secrets.token_urlsafe(16), "pms", durable=False)
    redis = Redis(folder / "redis", free_port(), durable=False)
    try:
        with Guard(str(folder)), postgres, redis:
            variables = environment(postgres, redis)
            calls = phases(arguments, set(missing))
            codes = [
                subprocess.run([sys.executable, "-m", "pytest", *call], cwd=ROOT, env=variables, check=False).returncode
                for call in calls
            ]
            sweep(str(folder), patience=2)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    codes = [code for code in codes if code != NOTHING_COLLECTED] or [NOTHING_COLLECTED]
    return max(codes)


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    try:
        sys.exit(run(sys.argv[1:]))
    except StackError as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        sys.exit(130)
