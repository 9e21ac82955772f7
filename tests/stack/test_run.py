"""`python -m stack` with a stand-in product: up, down, and nothing left behind whoever is killed."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
import redis

from stack.processes import wait_until
from stack.servers import LOOPBACK, Postgres, free_port
from tests.stack import product

pytestmark = pytest.mark.system


def test_it_says_that_it_is_ready_stops_on_sigterm_and_is_warm_the_second_time(run):
    run.start()
    run.wait_ready()
    assert run.output.count("PMS is ready: ") == 1
    assert "secret" not in run.output
    assert "fake demo_data --list-sign-ins" in run.output
    assert "fake seed_demo --if-empty" in run.output
    assert run.stop(signal.SIGTERM) < 15
    assert run.process.returncode == 0
    assert run.living == set()
    assert {path.name for path in run.folder.iterdir()} == {
        ".env",
        "var",
        "stack",
        "core",
        "sandbox",
        "manage.py",
        "output.txt",
    }
    begin = time.monotonic()
    run.start()
    run.wait_ready()
    assert time.monotonic() - begin < 15
    assert run.stop(signal.SIGHUP) < 15
    assert run.living == set()


def busy_pool(run: product.Run) -> None:
    """Every pool child of the main worker works on a long task."""
    assert wait_until(lambda: len(run.named("celery", "main@")) >= 3, 30), run.output
    client = redis.Redis.from_url(run.variables["CELERY_BROKER_URL"])
    assert wait_until(lambda: "ready." in run.output, 30), run.output
    code = "import core.celery; [core.celery.sleep.delay(600) for _ in range(8)]"
    subprocess.run([sys.executable, "-c", code], cwd=run.folder, env=run.environment, check=True)
    assert wait_until(lambda: client.llen("celery") <= 8, 20)
    time.sleep(1)


@pytest.mark.parametrize("who", ["supervisor", "supervisor and guard"])
def test_kill_9_leaves_nothing_behind(run, who):
    run.start()
    run.wait_ready()
    busy_pool(run)
    postgres = run.named("postgres", "-D")
    assert postgres
    if who == "supervisor and guard":
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (entry / "cmdline").read_bytes().endswith(
                f"stack.processes\0{run.folder}\0".encode()
            ):
                os.kill(int(entry.name), signal.SIGKILL)
    run.process.kill()
    run.process.wait()
    if who == "supervisor and guard":
        assert run.living
        run.start()  # finds what was left, ends it, and starts afresh
        run.wait_ready()
        assert not postgres & run.living
        assert run.stop() < 15
    assert wait_until(lambda: not run.living, 15), run.living


def test_busy_workers_do_not_delay_the_end_beyond_fifteen_seconds(run):
    run.start()
    run.wait_ready()
    busy_pool(run)
    assert run.stop(signal.SIGINT) < 15
    assert run.living == set()


def test_a_second_make_run_of_the_same_folder_is_told_so(run):
    run.start()
    run.wait_ready()
    first = run.process
    second = product.Run(run.folder, **run.variables)
    (run.folder / "output.txt").rename(run.folder / "first.txt")
    assert second.start().wait(30) == 1
    assert f"already running (process {first.pid})" in second.output
    run.process = first
    assert run.stop() < 15


def test_a_stale_pid_file_is_no_obstacle(run):
    file = run.folder / "var/run/supervisor.pid"
    file.parent.mkdir(parents=True)
    file.write_text(f"{os.getpid()}\n")
    run.start()
    run.wait_ready()
    run.stop()


def test_a_port_in_use_stops_before_anything_is_started(run):
    with socket.create_server((LOOPBACK, int(run.variables["PORT"]))):
        assert run.start().wait(30) == 1
    assert f"Port {run.variables['PORT']} is used by another program. Fix: stop it, or set PORT" in run.output
    assert "Traceback" not in run.output
    assert not (run.folder / "var" / "postgres").exists()


def test_servers_that_answer_already_are_used(run, tmp_path):
    with Postgres(tmp_path / "postgres", free_port(), "pms", "theirs", "pms", durable=False) as postgres:
        run.variables["DATABASE_URL"] = postgres.url
        run.start()
        run.wait_ready()
        assert not (run.folder / "var" / "postgres").exists()
        run.stop()
        psycopg.connect(postgres.url).close()
        run.variables["DATABASE_URL"] = postgres.url.replace("theirs", "wrong")
        assert run.start().wait(30) == 1
        assert "refuses DATABASE_URL" in run.output
        assert "Traceback" not in run.output


def test_a_website_that_keeps_ending_stops_all_with_its_last_lines(run):
    (run.folder / "core" / "wsgi.py").write_text("raise RuntimeError('the reason')\n")
    assert run.start().wait(60) == 1
    assert "the reason" in run.output.partition("make run: web keeps ending. Its last lines:")[2]
    assert run.living == set()


def test_a_failed_migration_stops_all_with_its_last_lines(run):
    (run.folder / "manage.py").write_text("import sys\nsys.exit('no such column')\n")
    assert run.start().wait(60) == 1
    assert "make run: migrate ended with exit code 1. Its last lines:\n    no such column" in run.output
    assert run.living == set()


@pytest.mark.root
def test_a_folder_that_cannot_be_written_is_said(run):
    """As a normal user, made by a namespace, in somebody else's folder."""
    run.folder.chmod(0o555)
    command = ("unshare", "--user", "--map-user=1000", sys.executable, "-m", "stack")
    os.chown(run.folder, 65534, 65534)
    (run.folder / "output.txt").touch()
    assert run.start(command).wait(30) == 1
    assert "make run: cannot write" in run.output
    assert "Traceback" not in run.output


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_ending_make_ends_the_supervisor_too(run, number):
    (run.folder / "Makefile").write_text("run:\n\t@exec $(PY) -m stack\n")
    run.start(("make", "run", f"PY={sys.executable}"))
    run.wait_ready()
    run.stop(number)
    assert wait_until(lambda: not run.living, 15), run.living
    assert wait_until(lambda: "stopped" in run.output, 5)


def test_the_env_file_is_private(run):
    run.start()
    run.wait_ready()
    run.stop()
    assert stat.S_IMODE((run.folder / ".env").stat().st_mode) == 0o600
