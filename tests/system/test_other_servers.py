"""What production puts between the product and its servers: PgBouncer, sentinels that follow a primary, TLS."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.db import connection

from stack.servers import LOOPBACK, Redis, as_somebody, free_port, redis_binary
from tests.jobs.test_settings import python
from tests.sandbox.process import Sandbox
from tests.system.product import Process, wait_until, worker
from tests.system.test_redis_faults import ARRIVAL_SECONDS, PHONES, arrived, ask, assert_each_got_one

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]


@contextmanager
def running(log: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def a_worker(log: Path, **environment: str) -> Iterator[Process]:
    process = worker(log, "-c", "2", **environment)
    try:
        yield process
    finally:
        process.stop()


def cached(call: str, house: dict[str, str]) -> str:
    """What the shared cache answers in a process of its own."""
    start = "import django; django.setup(); from django.core.cache import cache;"
    return python(f"{start} print(cache.{call})", **house).stdout.strip()


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False


# --- PgBouncer -----------------------------------------------------------------------------------------------------


@pytest.fixture
def pooler(tmp_path: Path) -> Iterator[str]:
    """The test's database behind a PgBouncer that gives each transaction another of five connections."""
    entry, port = connection.settings_dict, free_port()
    server = " ".join(f"{key}={entry[name]}" for key, name in (("host", "HOST"), ("port", "PORT"), ("dbname", "NAME")))
    (tmp_path / "pgbouncer.ini").write_text(
        f"[databases]\npms = {server} user={entry['USER']} password={entry['PASSWORD']}\n"
        f"[pgbouncer]\nlisten_addr = {LOOPBACK}\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        "pool_mode = transaction\ndefault_pool_size = 5\nmax_client_conn = 100\n"
    )
    log = tmp_path / "pgbouncer.log"
    with running(log, *as_somebody(), "pgbouncer", str(tmp_path / "pgbouncer.ini")):
        wait_until(lambda: listens(port), 20, f"PgBouncer: {log.read_text()}")
        yield f"postgres://anybody@{LOOPBACK}:{port}/pms"


@pytest.mark.pgbouncer
@pytest.mark.parametrize("prepared", ["False", "True"])
def test_all_goes_once_through_a_pooler_of_transactions(
    tmp_path: Path, sandbox: Sandbox, empty_redis: None, pooler: str, prepared: str
) -> None:
    """With prepared statements it warns, where the pooler forgets them, and does the work all the same."""
    house = {"DATABASE_URL": pooler, "DATABASE_PREPARED_STATEMENTS": prepared}
    with a_worker(tmp_path / "worker.log", **house) as process:
        ask(PHONES, house)
        wait_until(arrived(sandbox, len(PHONES)), ARRIVAL_SECONDS, "the texts")
        assert_each_got_one(sandbox, PHONES)
        assert ("statement_not_prepared" in process.output()) <= (prepared == "True")
        assert "Traceback" not in process.output()


# --- sentinels -----------------------------------------------------------------------------------------------------


SECRET = "of the/primary;1"


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Redis, str]]:
    """A primary with a replica and a sentinel that puts the replica in its place; how one gets to the sentinel."""
    primary, replica = (Redis(tmp_path / name, free_port(), SECRET, durable=False) for name in ("primary", "replica"))
    port = free_port()
    (tmp_path / "sentinel.conf").write_text(
        f"port {port}\nbind {LOOPBACK}\nsentinel monitor farms {LOOPBACK} {primary.port} 1\n"
        f'sentinel auth-pass farms "{SECRET}"\n'
        "sentinel down-after-milliseconds farms 1000\nsentinel failover-timeout farms 5000\n"
    )
    with primary, replica:
        client = redis.Redis.from_url(replica.url(0))
        client.config_set("masterauth", SECRET)
        redis.Redis.from_url(primary.url(0)).config_set("masterauth", SECRET)
        client.replicaof(LOOPBACK, primary.port)
        wait_until(lambda: client.info("replication")["master_link_status"] == "up", 20, "the replica follows")
        command = (str(redis_binary("redis-server")), str(tmp_path / "sentinel.conf"), "--sentinel")
        with running(tmp_path / "sentinel.log", *command):
            sentinel = redis.Redis(LOOPBACK, port, decode_responses=True)
            wait_until(lambda: listens(port), 20, "the sentinel")
            wait_until(lambda: sentinel.sentinel_slaves("farms"), 30, "the sentinel knows the replica")
            gone = f"{LOOPBACK}:{free_port()}"  # the first of two sentinels is away
            yield primary, ";".join(f"sentinel://:{quote(SECRET, '')}@{one}/0" for one in (gone, f"{LOOPBACK}:{port}"))


def test_when_the_primary_dies_the_house_follows_the_sentinels(
    tmp_path: Path, sandbox: Sandbox, watched: tuple[Redis, str]
) -> None:
    primary, address = watched
    house = {
        "CELERY_BROKER_URL": address,
        "CELERY_RESULT_BACKEND": address,
        "REDIS_URL": address.replace("/0", "/1"),
        "REDIS_SENTINEL_MASTER": "farms",
    }
    with a_worker(tmp_path / "worker.log", **house) as process:
        ask(PHONES[:20], house)
        wait_until(arrived(sandbox, 20), ARRIVAL_SECONDS, "the texts before")
        cached("set('counted', 7)", house)
        assert primary.process
        primary.process.kill()
        waits = ask(PHONES[20:], house, pause=0.05)
        assert max(waits) < 2, "no ask waits for the sentinels"
        wait_until(arrived(sandbox, len(PHONES)), 2 * ARRIVAL_SECONDS, "the texts after")
        assert_each_got_one(sandbox, PHONES)
        assert cached("get('counted')", house) == "7"
        assert process.popen.poll() is None


# --- TLS -----------------------------------------------------------------------------------------------------------


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LOOPBACK))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(pem, plain, serialization.NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"


@contextmanager
def behind_tls(port: int, cert: Path, key: Path) -> Iterator[int]:
    """A port that speaks TLS and passes on what it hears to a server that does not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(raw: socket.socket) -> None:
        with (
            suppress(OSError),
            context.wrap_socket(raw, server_side=True) as front,
            socket.create_connection((LOOPBACK, port)) as back,
        ):
            there = Thread(target=copy, args=(back, front), daemon=True)
            there.start()
            copy(front, back)
            there.join()

    def accept() -> None:
        with suppress(OSError):
            while True:
                Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server((LOOPBACK, 0)) as listener:
        Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]


def test_redis_behind_tls_is_believed_by_its_certificate(tmp_path: Path, sandbox: Sandbox) -> None:
    cert, key = certificate(tmp_path)
    with Redis(tmp_path / "redis", free_port(), durable=False) as server, behind_tls(server.port, cert, key) as port:

        def house(options: str) -> dict[str, str]:
            url = f"rediss://{LOOPBACK}:{port}/0?{options}"
            return {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url, "REDIS_URL": url.replace("/0?", "/1?")}

        trusting = house(f"ssl_cert_reqs=required&ssl_ca_certs={cert}")
        assert cached("set('counted', 7)", trusting) == "None"
        assert cached("get('counted')", trusting) == "7"
        suspicious = house("ssl_cert_reqs=required")
        with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
            redis.Redis.from_url(suspicious["CELERY_BROKER_URL"]).ping()
        with a_worker(tmp_path / "worker.log", **trusting):
            ask(PHONES[:20], trusting)
            wait_until(arrived(sandbox, 20), ARRIVAL_SECONDS, "the texts")
            assert_each_got_one(sandbox, PHONES[:20])
            ask(PHONES[20:40], suspicious)  # rings nobody
            wait_until(arrived(sandbox, 40), ARRIVAL_SECONDS, "the worker finds what nobody rang for")
