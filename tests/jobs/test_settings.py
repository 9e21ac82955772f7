"""Settings from the environment: a wrong value stops the process with the fix, and never repeats what may be secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from django.db import connection

ROOT = Path(__file__).resolve().parents[2]
SECRET = "s3cr3t-Pa55word"  # stands in every wrong value

WRONG: list[tuple[str, str, str]] = [
    ("PMS_ENV", f"staging-{SECRET}", "production"),
    ("DEBUG", f"maybe-{SECRET}", "DEBUG=False"),
    ("REDIS_ENABLED", SECRET, "REDIS_ENABLED=True"),
    ("EMAIL_USE_TLS", SECRET, "EMAIL_USE_TLS=True"),
    ("BASE_URL", f"ftp://{SECRET}", "address"),
    ("DATABASE_URL", f"mysql://pms:{SECRET}@db/pms", "postgres"),
    ("DATABASE_URL", f"postgres://pms:{SECRET}@db:port/pms", "address"),
    ("DATABASE_URL", f"postgres://pms:{SECRET}@db:99999/pms", "address"),
    ("DATABASE_URL", f"postgres://pms:{SECRET}@db/", "name"),
    ("DATABASE_URL", f"postgres://pms:{SECRET}@db", "name"),
    ("DATABASE_URL", SECRET, "postgres"),
    ("DATABASE_URL", f"postgres://pms:{SECRET}@[::1/pms", "address"),
    ("DATABASE_URL", "", "postgres"),
    ("REDIS_URL", f"http://:{SECRET}@localhost", "redis"),
    ("REDIS_URL", f"sentinel://:{SECRET}@one:26379/1;sentinel://:{SECRET}@two:port/1", "redis"),
    ("REDIS_URL", f"sentinel://:{SECRET}@one:26379/cache", "redis"),
    ("CELERY_BROKER_URL", f"sentinel://:{SECRET}@one:26379/0;two:26379", "redis"),
    ("CELERY_BROKER_URL", f"amqp://guest:{SECRET}@localhost//", "redis"),
    ("CELERY_BROKER_URL", f"redis://:{SECRET}@localhost:port/0", "redis"),
    ("CELERY_RESULT_BACKEND", f"db+sqlite:///{SECRET}", "redis"),
    ("SANDBOX_HTTP_PORT", f"80{SECRET}", "whole number"),
    ("SANDBOX_HTTP_PORT", "0", "from 1 to 65535"),
    ("SANDBOX_SMTP_PORT", "65536", "from 1 to 65535"),
    ("SANDBOX_SMTP_PORT", "١٠٢٥", "whole number"),
    ("EMAIL_PORT", "-25", "whole number"),
    ("EMAIL_TIMEOUT", "0", "from 1 to"),
    ("HUBTEL_BASE_URL", SECRET, "address"),
    ("HUBTEL_SENDER", f"YEA {SECRET}", "11 letters"),
    ("HUBTEL_SENDER", "", "11 letters"),
    ("HUBTEL_TIMEOUT_SECONDS", "1.5", "whole number"),
    ("SMS_MAX_PARTS", "11", "from 1 to 10"),
    ("LOG_LEVEL", "LOUD", "DEBUG, ERROR, INFO, WARNING"),
    ("LOG_FORMAT", "xml", "console, json"),
]

# One process for all of them: the settings module is run anew for each value.
TRYING = """
import json, os, runpy, sys
from django.core.exceptions import ImproperlyConfigured
import core.env
told = []
for name, value in json.loads(sys.argv[1]):
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        runpy.run_path("core/settings.py")
        told.append("no error")
    except ImproperlyConfigured as error:
        told.append(str(error))
    if before is None:
        del os.environ[name]
    else:
        os.environ[name] = before
print(json.dumps(told))
"""


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=os.environ | {"PMS_ENV_FILE": os.devnull, "DJANGO_SETTINGS_MODULE": "core.settings"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@cache
def told() -> list[str]:
    done = python(TRYING, json.dumps([(name, value) for name, value, _ in WRONG]))
    assert done.returncode == 0, done.stderr[-2000:]
    answers: list[str] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize("number", range(len(WRONG)), ids=[f"{name}={value}" for name, value, _ in WRONG])
def test_a_wrong_value_is_named_with_the_fix_and_not_repeated(number: int) -> None:
    name, _, fix = WRONG[number]
    error = told()[number]
    assert name in error
    assert "Fix: " in error
    assert fix in error.partition("Fix: ")[2]
    assert SECRET not in error


def test_a_wrong_value_ends_the_process_and_its_traceback_keeps_the_secret() -> None:
    done = python("import django; django.setup()", DATABASE_URL=f"postgres://pms:{SECRET}@db:port/pms")
    assert done.returncode != 0
    assert "DATABASE_URL is not an address" in done.stderr
    assert SECRET not in done.stderr + done.stdout


PRODUCTION = {
    "PMS_ENV": "production",
    "SECRET_KEY": "k" * 20 + "9aZ-" * 15,
    "DEBUG": "False",
    "ALLOWED_HOSTS": "pms.example.org",
    "BASE_URL": "https://pms.example.org",
    "HUBTEL_CLIENT_ID": "id",
    "HUBTEL_CLIENT_SECRET": SECRET,
    "EMAIL_HOST": "mail.example.org",
    "DEFAULT_FROM_EMAIL": "YEA Poultry <no-reply@example.org>",
}
UNSAFE = PRODUCTION | {"SECRET_KEY": "", "DEBUG": "True", "ALLOWED_HOSTS": "", "HUBTEL_CLIENT_ID": "", "EMAIL_HOST": ""}
TO_SET = ("SECRET_KEY", "DEBUG", "ALLOWED_HOSTS", "HUBTEL_CLIENT_ID", "EMAIL_HOST")
CELERY = "import sys; from celery.__main__ import main; sys.argv = ['celery', *sys.argv[1:]]; main()"


def database_url() -> str:
    entry = connection.settings_dict
    return f"postgres://{entry['USER']}:{entry['PASSWORD']}@{entry['HOST']}:{entry['PORT']}/{entry['NAME']}"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        ("import core.wsgi", ()),
        (CELERY, ("-A", "core", "worker", "-c", "1")),
        (CELERY, ("-A", "core", "beat", "-s", os.devnull)),
    ],
    ids=["web", "worker", "beat"],
)
def test_production_refuses_to_start_unsafe_and_says_everything_that_is_to_be_set(
    code: str, arguments: tuple[str, ...]
) -> None:
    done = python(code, *arguments, **UNSAFE, DATABASE_URL=database_url())
    assert done.returncode != 0
    assert "is not ready to run" in done.stderr + done.stdout
    for name in TO_SET:
        assert f"Set {name}" in done.stderr + done.stdout
    assert SECRET not in done.stderr + done.stdout


def test_the_default_secret_key_is_refused_and_commands_still_work_without_one() -> None:
    """`migrate` and `check` must run before the installation is complete; only what serves refuses."""
    done = python(
        "import django; django.setup(); from core.checks import refuse_unsafe_start; refuse_unsafe_start()",
        **(PRODUCTION | {"SECRET_KEY": "not-a-secret-set-SECRET_KEY-before-you-serve-anyone"}),
    )
    assert "Set SECRET_KEY" in done.stderr
    assert "Set DEBUG" not in done.stderr, "only what is wrong is told"


def test_a_production_with_good_values_is_clean_for_djangos_deployment_check_and_starts() -> None:
    code = (
        "import django; django.setup(); from django.core.management import call_command;"
        "call_command('check', deploy=True, fail_level='WARNING'); import core.wsgi; print('serves')"
    )
    done = python(code, **PRODUCTION)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "no issues" in done.stdout
    assert "serves" in done.stdout


@pytest.mark.django_db(transaction=True)
def test_without_a_redis_cache_two_processes_still_see_the_same_value() -> None:
    start = "import django; django.setup(); from django.core.cache import cache;"
    # nothing answers at the address of Redis: it must not be needed
    environment = {"REDIS_ENABLED": "False", "REDIS_URL": "redis://127.0.0.1:1/1", "DATABASE_URL": database_url()}
    wrote = python(f"{start} cache.set('computed', 42, 60)", **environment)
    assert wrote.returncode == 0, wrote.stderr[-1000:]
    assert python(f"{start} print(cache.get('computed'))", **environment).stdout.strip() == "42"
