"""`make run`: the whole system on this machine, until Ctrl-C.

python -m stack             PostgreSQL and Redis (unless they answer already), migrations, demonstration data, sandbox,
                            website, workers and beat
python -m stack servers     PostgreSQL and Redis alone
"""

from __future__ import annotations

import errno
import http.client
import os
import shutil
import signal
import sys
from pathlib import Path

from stack import config as settings
from stack.lock import take_lock
from stack.processes import PACKAGE_PARENT, Guard, StackError, sweep
from stack.servers import LOOPBACK, Postgres, Redis, Server, redis_binary
from stack.supervisor import Service, Stopped, Supervisor

ROOT = PACKAGE_PARENT
VAR = ROOT / "var"
BIN = Path(sys.executable).parent
CELERY = [sys.executable, "-m", "celery", "-A", "core"]
READY_SECONDS = 120
CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
# Who stops when: those who work first, then the sandbox they talk to, then Redis, PostgreSQL last. 14.5 s in all.
WORKING, SANDBOX, REDIS, POSTGRES = range(4)
GRACE = {WORKING: 10.0, SANDBOX: 1.0, REDIS: 1.5, POSTGRES: 2.0}


def servers(config: settings.Config) -> list[Service]:
    """The servers that we have to start: those that do not answer yet."""
    wanted: list[tuple[Server, int]] = []
    database = config.database
    if settings.answers(database):
        settings.check_postgres(database)
    else:
        settings.refuse_remote(database)
        if not (database.user and database.password and database.path):
            raise StackError(
                "DATABASE_URL has no user, password or name. Fix: DATABASE_URL=postgres://pms:<password>@127.0.0.1:54320/pms"
            )
        postgres = Postgres(VAR / "postgres", database.port, database.user, database.password, database.path)
        wanted.append((postgres, POSTGRES))
    for address in config.redis:
        if settings.answers(address):
            settings.check_redis(address)
        else:
            settings.refuse_remote(address)
            redis = Redis(VAR / f"redis-{address.port}", address.port, password=address.password)
            wanted.append((redis, REDIS))
    return [
        Service(
            "postgres" if stop_round == POSTGRES else "redis",
            server.command(),
            missing=server.missing,
            prepare=server.prepare,
            stop_signal=server.stop_signal,
            stop_round=stop_round,
            grace=GRACE[stop_round],
        )
        for server, stop_round in wanted
    ]


def programs(config: settings.Config) -> list[Service]:
    shared_memory = Path("/dev/shm")  # noqa: S108 - gunicorn's heartbeat file, which must not wait for a disk
    heartbeat = shared_memory if os.access(shared_memory, os.W_OK) else VAR / "run"
    gunicorn = [sys.executable, "-m", "gunicorn", "core.wsgi:application", "--bind", f"{LOOPBACK}:{config.port}"]
    gunicorn += ["--workers", "1", "--threads", "8", "--worker-tmp-dir", str(heartbeat), "--graceful-timeout", "8"]
    worker = [*CELERY, "worker", "-l", "INFO"]
    soft = {"REMAP_SIGTERM": "SIGQUIT"}  # TERM gives running tasks a bounded time, then stops (celery.md)
    processes = str(max(2, min(4, os.cpu_count() or 2)))

    def program(name: str, command: list[str], **more: str) -> Service:
        return Service(name, command, environment=more, stop_round=WORKING, grace=GRACE[WORKING])

    sandbox = Service("sandbox", [sys.executable, "-m", "sandbox"], stop_round=SANDBOX, grace=GRACE[SANDBOX])
    web = program("web", [*gunicorn, "--no-control-socket"])
    sandbox.missing = lambda: web_lacks(config.sandbox_http, "/")
    web.missing = lambda: web_lacks(config.port, "/readyz")
    return [
        sandbox,
        web,
        program("worker", [*worker, "-n", "main@%h", "-c", processes], **soft),
        program("urgent", [*worker, "-n", "urgent@%h", "-Q", "urgent", "-c", "1"], **soft),
        program("beat", [*CELERY, "beat", "-l", "INFO", "--pidfile="]),
    ]


def web_lacks(port: int, path: str) -> str:
    """Nothing if this page answers 200, else what it says instead."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=3)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(2000).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return f"{path} does not answer: {error}"
    else:
        return "" if answer.status == http.HTTPStatus.OK else f"{path} answers {answer.status} {body}"
    finally:
        connection.close()


def addresses(config: settings.Config) -> str:
    web, sandbox = (f"http://{LOOPBACK}:{port}/" for port in (config.port, config.sandbox_http))
    rows = [
        ("Website", web),
        ("Administration", f"{web}admin/"),
        ("Inbox: SMS, e-mail", sandbox),
        ("Hubtel API", f"{sandbox}v1/messages"),
        ("SMTP", f"{LOOPBACK}:{config.sandbox_smtp}"),
        ("PostgreSQL", f"{config.database.shown} (password: .env)"),
        *(("Redis", address.shown) for address in config.redis),
    ]
    return "".join(f"  {name:<20}{address}\n" for name, address in rows)


def provide_redis_cli() -> None:
    """`redis-cli` works with .venv activated, also where the machine has none."""
    if shutil.which("redis-cli", path=f"{BIN}{os.pathsep}{os.environ['PATH']}") is None:
        (BIN / "redis-cli").symlink_to(redis_binary("redis-cli"))


def bring_up(supervisor: Supervisor, config: settings.Config, *, only_servers: bool) -> None:
    own = servers(config)
    for service in own:
        supervisor.start(service)
    supervisor.wait_ready(own, 60)
    if only_servers:
        supervisor.write(f"PostgreSQL and Redis are ready\n{addresses(config)}")
        return
    manage = [sys.executable, "manage.py"]
    supervisor.run("migrate", [*manage, "migrate", "--no-input"])
    started = programs(config)
    for service in started:
        supervisor.start(service)
    sign_ins = supervisor.run("demo_data", [*manage, "demo_data", "--list-sign-ins"], quiet=True)
    supervisor.run("seed_demo", [*manage, "seed_demo", "--if-empty"])
    supervisor.wait_ready(started, READY_SECONDS)
    table = "".join(f"  {line}\n" for line in sign_ins)
    supervisor.write(f"\nPMS is ready: http://{LOOPBACK}:{config.port}/\n\n{addresses(config)}\n{table}\n")


def run(*, only_servers: bool) -> None:
    os.chdir(ROOT)
    os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    lock = take_lock(VAR)
    settings.check_space(VAR)
    if settings.make_env_file(ROOT / ".env"):
        print("Made .env with settings for development.", flush=True)
    config = settings.read(ROOT / ".env")
    guard = Guard(str(ROOT), keep_open=lock)
    sweep(guard.mark)  # what an earlier run and its guard left when both were killed
    if not only_servers:
        settings.check_ports(config)
    provide_redis_cli()
    supervisor = Supervisor(guard)
    supervisor.listen()
    with guard:
        try:
            bring_up(supervisor, config, only_servers=only_servers)
            while True:
                supervisor.turn()
        except Stopped:
            supervisor.say("stopping; Ctrl-C again hurries")
        finally:
            supervisor.stop()
    supervisor.say("stopped")


def main() -> int:
    try:
        run(only_servers=sys.argv[1:] == ["servers"])
    except StackError as error:
        problem = str(error)
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        problem = (
            f"cannot write {error.filename or ''}: {error.strerror}. Fix: make room, or the right to write, there."
        )
    else:
        return 0
    print(f"\nmake run: {problem}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    sys.exit(main())
