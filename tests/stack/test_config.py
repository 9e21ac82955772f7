"""What `make run` reads, and what it says when it cannot work with it."""

import os
import shutil
import socket
import stat

import pytest

from stack import config
from stack.processes import StackError
from stack.servers import LOOPBACK, Redis, free_port

NAMES = ("PMS_ENV", "SECRET_KEY", "DATABASE_URL", "REDIS_ENABLED", "REDIS_URL", "CELERY_BROKER_URL",
         "CELERY_RESULT_BACKEND", "PORT", "SANDBOX_HTTP_PORT", "SANDBOX_SMTP_PORT", "BASE_URL")  # fmt: skip


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("PMS_ENV", "development")


def config_of(tmp_path, text):
    (tmp_path / ".env").write_text(text)
    return config.read(tmp_path / ".env")


def test_the_first_start_writes_an_env_file_that_only_its_owner_reads(tmp_path):
    file = tmp_path / ".env"
    assert config.make_env_file(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = file.read_text().splitlines()
    settings = [line for line in lines if not line.startswith("#")]
    assert [line.partition("=")[0] for line in settings] == ["PMS_ENV", "SECRET_KEY", "DATABASE_URL"]
    assert all(lines[lines.index(line) - 1].startswith("# ") for line in settings)
    assert len(settings[1].partition("=")[2]) >= 50


def test_two_folders_get_different_secrets(tmp_path):
    for name in ("one", "two"):
        config.make_env_file(tmp_path / name)
    one, two = ((tmp_path / name).read_text().splitlines() for name in ("one", "two"))
    assert not {line for line in one if "=" in line} & {line for line in two if "=" in line} - {"PMS_ENV=development"}


def test_an_existing_env_file_stays_as_it_is(tmp_path):
    file = tmp_path / ".env"
    file.write_text("PORT=9\n")
    assert not config.make_env_file(file)
    assert file.read_text() == "PORT=9\n"


def test_the_env_file_it_writes_can_be_read(tmp_path):
    config.make_env_file(tmp_path / ".env")
    read = config.read(tmp_path / ".env")
    assert (read.database.host, read.database.port, read.database.user) == (LOOPBACK, 54320, "pms")
    assert read.database.password not in read.database.shown
    assert (read.port, read.sandbox_http, read.sandbox_smtp) == (8000, 8025, 1025)


def test_links_point_to_the_port_in_use_unless_base_url_says_otherwise(tmp_path, monkeypatch):
    config_of(tmp_path, "PORT=8001")
    assert os.environ["BASE_URL"] == "http://127.0.0.1:8001"
    monkeypatch.setenv("BASE_URL", "http://pms.test")
    config_of(tmp_path, "PORT=8001")
    assert os.environ["BASE_URL"] == "http://pms.test"


def test_the_environment_wins_over_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("PORT", "8100")
    assert config_of(tmp_path, "PORT=8001").port == 8100


def test_one_redis_serves_broker_results_and_cache(tmp_path):
    assert [address.port for address in config_of(tmp_path, "").redis] == [6379]


def test_a_cache_on_another_redis_is_a_second_server(tmp_path):
    read = config_of(tmp_path, "REDIS_URL=redis://127.0.0.1:6380/0")
    assert [(address.variable, address.port) for address in read.redis] == [
        ("CELERY_BROKER_URL", 6379),
        ("REDIS_URL", 6380),
    ]


def test_without_the_cache_on_redis_the_broker_is_still_needed(tmp_path):
    read = config_of(tmp_path, "REDIS_ENABLED=False\nREDIS_URL=redis://127.0.0.1:6380/0")
    assert [address.port for address in read.redis] == [6379]


def test_a_password_may_hold_any_sign(tmp_path):
    database = config_of(tmp_path, "DATABASE_URL=postgres://p%40s:a%2Fb%3Ac@localhost:1/pms").database
    assert (database.user, database.password) == ("p@s", "a/b:c")


def test_it_is_for_development_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("PMS_ENV", "production")
    with pytest.raises(StackError, match=r"Fix: set PMS_ENV=development in \.env"):
        config_of(tmp_path, "")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("DATABASE_URL=mysql://pms@127.0.0.1/pms", "DATABASE_URL"),
        ("DATABASE_URL=postgres://pms:x@127.0.0.1:port/pms", "DATABASE_URL"),
        ("CELERY_BROKER_URL=amqp://127.0.0.1", "CELERY_BROKER_URL"),
        ("PORT=eighty", "PORT"),
        ("PORT=70000", "PORT"),
        ("SANDBOX_SMTP_PORT=0", "SANDBOX_SMTP_PORT"),
    ],
)
def test_a_wrong_value_is_named_with_the_fix_and_not_repeated(tmp_path, line, named):
    with pytest.raises(StackError, match=rf"^{named} .*Fix: set") as raised:
        config_of(tmp_path, line)
    assert line.partition("=")[2] not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("variable", ["PORT", "SANDBOX_HTTP_PORT", "SANDBOX_SMTP_PORT"])
def test_a_port_in_use_names_the_variable_to_set(tmp_path, monkeypatch, variable):
    for name in ("PORT", "SANDBOX_HTTP_PORT", "SANDBOX_SMTP_PORT"):
        monkeypatch.setenv(name, str(free_port()))
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setenv(variable, str(port))
        with pytest.raises(StackError, match=rf"^Port {port} is used .*make run {variable}="):
            config.check_ports(config_of(tmp_path, ""))


def test_the_same_port_twice_is_refused(tmp_path):
    with pytest.raises(StackError, match="must differ"):
        config.check_ports(config_of(tmp_path, "PORT=8025"))


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: shutil._ntuple_diskusage(1, 1, 5_000_000))
    with pytest.raises(StackError, match="disk is full: 5 MB are free"):
        config.check_space(tmp_path)


def test_a_remote_server_that_does_not_answer_is_not_started_here(tmp_path):
    address = config_of(tmp_path, "DATABASE_URL=postgres://a:b@192.0.2.1:5432/pms").database
    with pytest.raises(StackError, match=r"Nothing answers at 192\.0\.2\.1:5432 \(DATABASE_URL\)"):
        config.refuse_remote(address)


def test_a_redis_that_wants_another_password_is_said(tmp_path):
    with Redis(tmp_path / "redis", free_port(), password="right") as redis:
        for password in ("", ":wrong@"):
            url = f"redis://{password}127.0.0.1:{redis.port}/0"
            address = config_of(tmp_path, f"CELERY_BROKER_URL={url}\nCELERY_RESULT_BACKEND={url}").redis[0]
            with pytest.raises(StackError, match="Fix: put the right password and port into CELERY_BROKER_URL"):
                config.check_redis(address)
            os.environ.pop("CELERY_BROKER_URL")
