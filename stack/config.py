"""What `make run` is asked to start and where: `.env`, the addresses in it, and whether this machine can do it."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import environ
import psycopg
import redis

from stack.processes import StackError
from stack.servers import LOOPBACK

LOCAL = ("localhost", LOOPBACK)
TRUE_WORDS = ("1", "true", "yes", "on")
MEGABYTE = 1_000_000
SPACE_NEEDED = 300 * MEGABYTE

ENV_FILE = """\
# Made by make run for development; .env.example lists everything that can be set here.
# development or production.
PMS_ENV=development
# Signs sessions and links; made at random for this folder.
SECRET_KEY={secret}
# make run starts a PostgreSQL at this address if none answers there.
DATABASE_URL=postgres://pms:{password}@127.0.0.1:54320/pms
"""


@dataclass(frozen=True)
class Address:
    """A server's address as a variable gives it. `shown` leaves the password out."""

    variable: str
    url: str
    scheme: str
    host: str
    port: int
    user: str
    password: str
    path: str

    @property
    def shown(self) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"{self.scheme}://{user}{self.host}:{self.port}/{self.path}"

    @property
    def local(self) -> bool:
        return self.host in LOCAL


@dataclass(frozen=True)
class Config:
    port: int
    sandbox_http: int
    sandbox_smtp: int
    database: Address
    redis: list[Address]  # one per server


def make_env_file(path: Path) -> bool:
    """Writes a `.env` for development if there is none, readable by its owner alone. An existing one stays as it is."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(ENV_FILE.format(secret=secrets.token_urlsafe(50), password=secrets.token_urlsafe(24)))
    return True


def read(path: Path) -> Config:
    """Takes `.env` into the environment, which wins, and reads from it what concerns us. The rest is the product's."""
    environ.Env.read_env(path)
    if os.environ.get("PMS_ENV", "").strip() != "development":
        raise StackError(
            "make run is for development, and PMS_ENV says otherwise. Fix: set PMS_ENV=development in .env."
        )
    config = Config(
        port=_port("PORT", 8000),
        sandbox_http=_port("SANDBOX_HTTP_PORT", 8025),
        sandbox_smtp=_port("SANDBOX_SMTP_PORT", 1025),
        database=_address("DATABASE_URL", "postgres://pms@127.0.0.1:5432/pms", ("postgres", "postgresql"), 5432),
        redis=_redis_addresses(),
    )
    os.environ.setdefault("BASE_URL", f"http://{LOOPBACK}:{config.port}")
    return config


def _redis_addresses() -> list[Address]:
    wanted = {"CELERY_BROKER_URL": 0, "CELERY_RESULT_BACKEND": 0, "REDIS_URL": 1}
    if os.environ.get("REDIS_ENABLED", "True").strip().lower() not in TRUE_WORDS:
        del wanted["REDIS_URL"]
    found: dict[tuple[str, int], Address] = {}
    for variable, database in wanted.items():
        if os.environ.get(variable, "").startswith("sentinel:"):
            continue  # several servers, never started by us; the product says whether it reaches them
        default = f"redis://localhost:6379/{database}"
        address = _address(variable, default, ("redis", "rediss"), 6379)
        found.setdefault(("localhost" if address.local else address.host, address.port), address)
    return list(found.values())


def _port(variable: str, default: int) -> int:
    word = os.environ.get(variable, "").strip() or str(default)
    if not word.isdecimal() or not 1 <= int(word) <= 65535:  # noqa: PLR2004
        raise StackError(f"{variable} is not a port. Fix: set {variable} to a number from 1 to 65535.")
    return int(word)


def _address(variable: str, default: str, schemes: tuple[str, ...], port: int) -> Address:
    url = os.environ.get(variable, "").strip() or default
    try:
        parts = urlsplit(url)
        usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise StackError(
            f"{variable} cannot be read. Fix: set it to {schemes[0]}://user:password@host:port/name in .env."
        )
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    path = unquote(parts.path.lstrip("/"))
    return Address(variable, url, parts.scheme, parts.hostname or "", parts.port or port, user, password, path)


# --- Can it be done here? -------------------------------------------------------------------------------------------


def check_ports(config: Config) -> None:
    """The ports that are ours to open must be free."""
    wanted = {"PORT": config.port, "SANDBOX_HTTP_PORT": config.sandbox_http, "SANDBOX_SMTP_PORT": config.sandbox_smtp}
    if len(set(wanted.values())) < len(wanted):
        raise StackError(f"{', '.join(wanted)} must differ. Fix: set them to different ports.")
    for variable, port in wanted.items():
        fix = (
            f"Fix: stop it, or set {variable} to a free port: make run {variable}={port + 1 if port < 65535 else 8100}"  # noqa: PLR2004
        )
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise StackError(f"Port {port} is used by another program. {fix}") from error
                raise StackError(f"Port {port} cannot be opened ({error.strerror}). {fix}") from error


def check_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < SPACE_NEEDED:
        raise StackError(
            f"The disk is full: {free // MEGABYTE} MB are free at {folder}, {SPACE_NEEDED // MEGABYTE} MB are needed. "
            "Fix: free some space, or put the project on another disk."
        )


def answers(address: Address) -> bool:
    """Whether anything accepts connections there."""
    try:
        socket.create_connection((address.host, address.port), timeout=3).close()
    except OSError:
        return False
    return True


def check_postgres(address: Address) -> None:
    """A PostgreSQL that is already there must let us in."""
    try:
        psycopg.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password,
            dbname=address.path,
            connect_timeout=5,
        ).close()
    except psycopg.Error as error:
        raise StackError(
            f"Something answers at {address.host}:{address.port} but refuses DATABASE_URL: {_first_line(error)} "
            "Fix: put the right user, password and database into DATABASE_URL, or a free port, where make run starts "
            "its own PostgreSQL."
        ) from error


def check_redis(address: Address) -> None:
    try:
        with redis.Redis.from_url(address.url, socket_timeout=5, socket_connect_timeout=5) as client:
            client.ping()
    except redis.BusyLoadingError:
        return  # it reads its file and will be there
    except (redis.RedisError, ValueError) as error:
        raise StackError(
            f"Something answers at {address.host}:{address.port} but not as a Redis that takes {address.variable}: "
            f"{_first_line(error)} Fix: put the right password and port into {address.variable}, or a free port, where "
            "make run starts its own Redis."
        ) from error


def refuse_remote(address: Address) -> None:
    if not address.local or address.scheme == "rediss":
        raise StackError(
            f"Nothing answers at {address.host}:{address.port} ({address.variable}), and make run starts servers on "
            f"this machine only, without TLS. Fix: start it there, or put an address on 127.0.0.1 into "
            f"{address.variable}."
        )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].removeprefix("connection failed: ").rstrip(".") + "."
