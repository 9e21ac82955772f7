"""PostgreSQL and Redis from wheels: who gets in, what a kill -9 leaves, who may run them."""

import os
import pwd
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
import redis

from stack.processes import MARK, StackError, marked, postgres_in
from stack.servers import LOOPBACK, Postgres, Redis, free_port, redis_binary

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def postgres(tmp_path):
    server = Postgres(tmp_path / "postgres", free_port(), "pms", "it's \"se%cret", "pms", durable=False)
    yield server
    server.stop()


def listening(pid):
    """Sockets on which this process listens, of any kind, as /proc/net gives them."""
    inodes = {
        link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if str(link.readlink()).startswith("socket:")
    }
    tcp = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    unix = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    found = [row[1] for row in tcp if row[3] == "0A" and f"socket:[{row[9]}]" in inodes]
    return found + [row[-1] for row in unix if row[3] == "00010000" and f"socket:[{row[6]}]" in inodes]


def test_postgres_listens_on_loopback_alone_and_lets_nobody_in_without_the_password(postgres):
    postgres.start()
    assert listening(postgres.process.pid) == [f"0100007F:{postgres.port:04X}"]
    assert stat.S_IMODE(postgres.folder.stat().st_mode) == 0o700
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT current_user, current_database()").fetchone() == ("pms", "pms")
    for user in ("pms", "postgres"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(host=LOOPBACK, port=postgres.port, user=user, password="wrong", dbname="pms")


def test_postgres_keeps_its_data_through_kill_9_at_work(postgres):
    postgres.durable = True
    postgres.start()
    with psycopg.connect(postgres.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS number")
    busy = psycopg.connect(postgres.url)
    busy.execute("SELECT 1")
    postgres.process.kill()
    postgres.process.wait()
    assert (postgres.folder / "postmaster.pid").exists()
    postgres.start()
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (42,)


def test_a_stale_pid_file_with_the_number_of_a_living_process_is_no_obstacle(postgres):
    postgres.start()
    text = (postgres.folder / "postmaster.pid").read_text()
    postgres.stop()
    (postgres.folder / "postmaster.pid").write_text(text.replace(text.split()[0], str(os.getpid()), 1))
    postgres.start()
    assert postgres.ready()


def test_a_second_server_on_the_same_folder_is_refused(postgres):
    postgres.start()
    second = Postgres(postgres.folder, free_port(), "pms", postgres.password, "pms", durable=False)
    with pytest.raises(StackError, match=r"Another PostgreSQL works in .* Fix: stop it .process .*\d"):
        second.start()
    assert postgres.ready()


def test_an_interrupted_first_start_is_made_again(postgres):
    half = postgres.folder.with_suffix(".new")
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    postgres.start()
    assert postgres.ready()
    assert not half.exists()


def test_a_new_password_or_database_name_in_the_settings_is_taken_over(postgres):
    postgres.start()
    postgres.stop()
    postgres.password, postgres.dbname = "new", "other name"
    postgres.start()
    assert psycopg.connect(postgres.url).execute("SELECT current_database()").fetchone() == ("other name",)


def test_postgres_stops_at_once_although_a_client_is_connected(postgres):
    postgres.start()
    client = psycopg.connect(postgres.url)
    client.execute("SELECT 1")
    begin = time.monotonic()
    postgres.stop()
    assert time.monotonic() - begin < 3
    assert postgres_in(postgres.folder) == set()


def test_a_server_that_does_not_start_says_why(tmp_path):
    with Redis(tmp_path / "one", free_port()) as first:
        second = Postgres(tmp_path / "postgres", first.port, "pms", "x", "pms", durable=False)
        with pytest.raises(StackError, match=r"PostgreSQL does not start\. Its last words: .*could not"):
            second.start()


STARTED_BY_A_USER = """
import os, sys
from pathlib import Path
from stack.servers import Postgres, Redis, free_port
assert os.geteuid() == int(sys.argv[2]), os.geteuid()
with Postgres(Path(sys.argv[1], "postgres"), free_port(), "pms", "x", "pms", durable=False) as postgres:
    with Redis(Path(sys.argv[1], "redis"), free_port()) as redis:
        print(postgres.command()[0].rpartition("/")[2], postgres.ready(), redis.ready())
"""


@pytest.mark.root
def test_both_start_as_root_in_a_closed_folder(tmp_path):
    tmp_path.chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-c", STARTED_BY_A_USER, tmp_path, "0"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "unshare True True\n", done.stderr
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    assert {path.stat().st_uid for path in tmp_path.rglob("*")} == {0}


@pytest.mark.root
@pytest.mark.parametrize(("user", "how"), [(pwd.getpwnam("nobody").pw_uid, "postgres"), (54321, "unshare")])
def test_both_start_as_a_normal_user_with_and_without_a_name(tmp_path, user, how):
    """A user without any right of root; through a namespace, so that it may read the Python of whoever tests."""
    as_user = ["unshare", "--user", f"--map-user={user}", f"--map-group={user}"]
    done = subprocess.run(
        [*as_user, sys.executable, "-c", STARTED_BY_A_USER, tmp_path, str(user)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == f"{how} True True\n", done.stderr


@pytest.mark.root
def test_root_without_user_namespaces_is_told_what_to_do(postgres, tmp_path, monkeypatch):
    fake = tmp_path / "bin" / "unshare"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    with pytest.raises(StackError, match=r"no user namespaces .* Fix: run as a normal user, or set DATABASE_URL"):
        postgres.start()


def test_redis_keeps_its_data_through_kill_9_and_never_evicts(tmp_path):
    server = Redis(tmp_path / "with space", free_port(), password='pass"word\\')
    server.start()
    assert server.process
    client = redis.Redis.from_url(server.url(0))
    client.set("kept", "42")
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert listening(server.process.pid) == [f"0100007F:{server.port:04X}"]
    time.sleep(1.2)  # appendfsync everysec
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    server.start()
    assert client.get("kept") == b"42"
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=server.port).ping()
    server.stop()


def test_a_missing_redis_is_said_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("stack.servers.wheel_folder", lambda _package: None)
    with pytest.raises(StackError, match=r"No redis-server: .* Fix: install Redis"):
        redis_binary("redis-server")


def test_a_redis_is_found_although_it_writes_its_title_over_its_environment(tmp_path, monkeypatch):
    monkeypatch.setenv(MARK, str(tmp_path))
    with Redis(tmp_path / "var" / "redis", free_port()) as server:
        assert server.process
        assert server.process.pid in marked(str(tmp_path))
        assert server.process.pid not in marked(str(tmp_path / "var" / "other"))
