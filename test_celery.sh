#!/usr/bin/env bash
# Does the background machinery of this installation work? One line per check, and what to do when one fails.
# Changes nothing but what the nightly clean-up changes too. Exit code 0 when every check is ok, else 1.
set -eu
cd "$(dirname "$0")"

python=.venv/bin/python
if [ ! -x "$python" ]; then python=$(command -v python3 || true); fi
if [ -z "$python" ] || ! "$python" -c 'import celery, django' 2>/dev/null; then
    echo "FAIL  Celery is not installed here. Fix: 'make run' once, or install requirements.txt."
    exit 1
fi

export LOG_LEVEL=ERROR PGCONNECT_TIMEOUT=5
exec "$python" - <<'PYTHON'
import sys

LINE = "{:<5} {:<28} {}"
DOCUMENTED = ("core.tasks.send_sms_async", "core.tasks.send_email_async", "core.tasks.process_bulk_sms")
failed = []


class Problem(Exception):
    """A check that failed: what is wrong and what to do."""


def report(name, check):
    try:
        told = check()
    except Problem as problem:
        failed.append(name)
        print(LINE.format("FAIL", name, problem), flush=True)
    except Exception as error:
        failed.append(name)
        print(LINE.format("FAIL", name, f"{type(error).__name__}: {error}".splitlines()[0]), flush=True)
    else:
        print(LINE.format("ok", name, told), flush=True)


def need(answer):
    if answer != "ok":
        raise Problem(answer)


def redis_connection():
    from core.health import selectors

    need(selectors.broker())
    return "the broker answers"


def app_import():
    return f"core.celery.app is {app.main!r}, time zone {app.conf.timezone}, results from {app.backend.__class__.__name__}"


def discovery():
    app.loader.import_default_modules()
    found = [name for name in app.tasks if not name.startswith("celery.")]
    missing = [name for name in DOCUMENTED if name not in found]
    if missing:
        raise Problem(f"not registered: {', '.join(missing)}. Fix: look for an import error in the app's tasks.py")
    return f"{len(found)} tasks, among them {', '.join(DOCUMENTED)}"


def schedule():
    wanted = "django_celery_beat.schedulers:DatabaseScheduler"
    if app.conf.beat_scheduler != wanted:
        raise Problem(f"the scheduler is {app.conf.beat_scheduler}. Fix: CELERY_BEAT_SCHEDULER = '{wanted}'")
    entries = app.conf.beat_schedule
    unknown = [name for name, entry in entries.items() if entry["task"] not in app.tasks]
    if unknown or not entries:
        raise Problem(f"entries without a task: {', '.join(unknown) or 'there are none at all'}. Fix: core/celery.py")
    return f"{len(entries)} in core/celery.py, each with a registered task: {', '.join(entries)}"


def synchronous():
    from core.health import selectors
    from core.tasks import prune_finished_runs

    need(selectors.database())
    need(selectors.migrations())
    done = prune_finished_runs.apply()
    if done.status != "SUCCESS":
        raise Problem(f"core.tasks.prune_finished_runs: {done.status} {done.result!r}")
    return f"core.tasks.prune_finished_runs: {done.status} {done.result}"


try:
    import django

    from core.celery import app

    django.setup()
except Exception as error:
    print(LINE.format("FAIL", "Settings and app", error), flush=True)
    sys.exit(1)

report("Redis connection", redis_connection)
report("Celery app import", app_import)
report("Task discovery", discovery)
report("Beat schedule configuration", schedule)
report("Synchronous task execution", synchronous)
sys.exit(1 if failed else 0)
PYTHON
