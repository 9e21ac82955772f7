"""docs/background-tasks.md: nothing in it is only said. Each block and command is run by a test that is named here, or
stands in a list of what is not there yet, which fails as soon as it is there.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import os
import re
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
from celery import current_app, shared_task

from core.celery import SCHEDULE
from core.errors import InvalidInput
from core.jobs.models import TaskRun
from tests.docs import specification
from tests.docs.specification import (
    NAMES_NOT_YET,
    PAGE,
    ROOT,
    TASKS_NOT_YET,
    TEXT,
    TaskRow,
    blocks,
    cron,
    rows,
    snippet,
)
from tests.docs.test_test_celery import CHECKS

HERE = "tests/docs/test_background_tasks.py"
RUN = "tests/docs/test_background_commands.py"
LEDGER = "tests/system/test_ledger_worker.py"
MAKE_RUN = "tests/system/test_make_run.py::test_from_nothing_to_a_message_in_the_inbox"

# A block's heading → the test that runs it.
BLOCKS = {
    "Environment Variables": f"{RUN}::test_the_variables_reach_the_settings",
    "Settings (core/settings.py)": f"{RUN}::test_without_variables_the_settings_are_those_of_the_page",
    "Sending SMS Asynchronously": f"{RUN}::test_the_calls_of_the_page_arrive_and_their_results_are_told",
    "Sending Email": f"{RUN}::test_the_calls_of_the_page_arrive_and_their_results_are_told",
    "Notifying Application Status": f"{RUN}::test_an_applicant_reads_of_the_approval",
    "Generating Reports": f"{RUN}::test_a_report_is_asked_for_and_made",
    "View Task Results": f"{RUN}::test_the_calls_of_the_page_arrive_and_their_results_are_told",
    "Systemd Service for Celery Worker": f"{RUN}::test_a_unit_s_process_starts_detached_and_ends_on_term",
    "Systemd Service for Celery Beat": f"{RUN}::test_a_unit_s_process_starts_detached_and_ends_on_term",
    "Example: Proper Task Pattern": f"{HERE}::test_an_id_is_taken_and_a_model_instance_refused",
}
PICTURES = {"Architecture"}
BLOCKS_NOT_YET = {"Refreshing Dashboard Cache"}

# A command or option → the test that runs it.
INSPECT = f"{LEDGER}::TestOneWorker::test_the_documented_questions_are_answered_while_a_worker_runs"
COMMANDS = {
    "celery -A core worker -l INFO": (
        "tests/system/test_bulk.py::test_ten_thousand_numbers_arrive_once_and_a_single_text_overtakes_them"
    ),
    "celery -A core beat -l INFO": f"{LEDGER}::test_beat_starts_as_documented_and_writes_the_schedule",
    "celery -A core worker --beat -l INFO": f"{LEDGER}::test_what_beat_sends_is_a_scheduled_run_with_its_entry",
    "celery -A core inspect active": INSPECT,
    "celery -A core inspect scheduled": INSPECT,
    "celery -A core inspect reserved": INSPECT,
    "pip install flower": f"{RUN}::test_flower_shows_the_tasks",
    "celery -A core flower --port=5555": f"{RUN}::test_flower_shows_the_tasks",
    "chmod +x test_celery.sh": f"{HERE}::test_the_test_script_may_be_run_and_verifies_what_the_page_lists",
    "./test_celery.sh": "tests/docs/test_test_celery.py::test_all_is_well",
    "redis-cli ping": MAKE_RUN,
    "python manage.py migrate django_celery_beat": f"{RUN}::test_the_migrations_of_beat_can_be_run",
    "--max-memory-per-child=300000": f"{RUN}::test_a_worker_with_a_limit_of_memory_works",
}
# systemd and its units: they come with deploy/.
COMMANDS_NOT_YET = {
    "sudo systemctl start redis",
    "sudo systemctl start pms-celery",
    "sudo systemctl start pms-celery-beat",
    "sudo mkdir -p /var/run/celery",
    "sudo chown www-data:www-data /var/run/celery",
    "sudo systemctl daemon-reload",
    "sudo systemctl enable pms-celery pms-celery-beat",
    "sudo systemctl start pms-celery pms-celery-beat",
    "sudo systemctl restart pms-celery",
    "systemctl status pms-celery-beat",
    "journalctl -u pms-celery -f",
    "journalctl -u pms-celery-beat -f",
}

# The page's words in the table "Celery Beat Schedule" → the task that is meant.
SCHEDULED = {
    "System health check": "core.tasks.generate_system_health_report",
    "System metrics aggregation": "core.tasks.aggregate_system_metrics",
    "Order commission sync": "sales_revenue.tasks.sync_order_commissions",
    "Marketplace activation check": "sales_revenue.tasks.check_expired_activations",
    "Token cleanup": "accounts.tasks.cleanup_expired_tokens",
    "Dashboard data aggregation": "dashboards.tasks.aggregate_daily_metrics",
    "Platform revenue calculation": "sales_revenue.tasks.calculate_daily_platform_revenue",
    "Farm score calculation": "farms.tasks.calculate_farm_scores",
    "Advertising analytics": "advertising.tasks.aggregate_advertising_analytics",
    "Expiration warnings": "sales_revenue.tasks.send_expiration_warnings",
    "Enrollment reminders": "farms.tasks.send_enrollment_reminders",
    "Pending application check": "farms.tasks.check_pending_applications",
    "Old data cleanup": "core.tasks.cleanup_old_notifications",
    "Partner earnings": "advertising.tasks.calculate_partner_earnings",
    "Weekly reports": "dashboards.tasks.generate_weekly_report",
}


def registered() -> set[str]:
    current_app.loader.import_default_modules()
    return set(current_app.tasks)


def crons(task: str) -> list[str]:
    return [entry.cron for entry in SCHEDULE.values() if entry.task == task]


def imported(code: str) -> set[str]:
    """What a snippet imports, as dotted names."""
    nodes = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom))
    return {f"{node.module}.{name.name}" for node in nodes for name in node.names}


def written_in(path: str) -> set[str]:
    """The tests in a file: `name` and `Class::name`."""
    found = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {f"{prefix}{each.name}" for each in inner if isinstance(each, ast.FunctionDef)}
    return found


# --- nothing is left out --------------------------------------------------------------------------------------------


def test_the_page_is_kept_word_for_word() -> None:
    """What was agreed is not bent to what was built: whoever changes an agreement changes this sum with it."""
    agreed = "e100f7ab766c2f573ded9eb06417801a7d355714703ea6f64920248b4fc9b2d0"
    assert hashlib.sha256(PAGE.read_bytes()).hexdigest() == agreed


def test_every_block_is_run_or_not_there_yet() -> None:
    bash = {heading for heading, block in blocks().items() if block.language == "bash"} - set(BLOCKS)
    assert {heading for heading, block in blocks().items() if not block.language} == PICTURES
    assert set(blocks()) == set(BLOCKS) | BLOCKS_NOT_YET | PICTURES | bash
    assert not set(BLOCKS) & BLOCKS_NOT_YET


def test_every_command_is_run_or_not_there_yet() -> None:
    assert set(specification.commands()) == set(COMMANDS) | COMMANDS_NOT_YET
    assert not set(COMMANDS) & COMMANDS_NOT_YET


@pytest.mark.parametrize("named", sorted({*BLOCKS.values(), *COMMANDS.values()}))
def test_the_test_that_stands_for_it_exists(named: str) -> None:
    path, _, test = named.partition("::")
    assert test in written_in(path)


# --- what is not there yet ------------------------------------------------------------------------------------------


def test_tasks_that_are_not_there_yet_are_just_these() -> None:
    """A task that has come leaves TASKS_NOT_YET, and from then on its row and its snippets are checked."""
    calls = set().union(*(imported(block.text) for block in blocks().values() if block.language == "python"))
    named = {row.task for row in specification.tasks()} | {name for name in calls if ".tasks." in name}
    assert named - registered() == TASKS_NOT_YET


def test_names_that_are_not_there_yet_are_just_these() -> None:
    for name in NAMES_NOT_YET:
        module, _, attribute = name.rpartition(".")
        assert not find_spec(module) or not hasattr(import_module(module), attribute)


@pytest.mark.parametrize("heading", sorted(BLOCKS_NOT_YET))
def test_a_snippet_that_cannot_run_yet_waits_for_its_task_alone(heading: str) -> None:
    assert imported(snippet(heading)) <= TASKS_NOT_YET


def test_units_are_not_there_yet() -> None:
    """With them the commands above are to be run on a machine with systemd."""
    assert not list(ROOT.glob("deploy/**/*.service"))


# --- tables ---------------------------------------------------------------------------------------------------------

here = [row for row in specification.tasks() if row.task not in TASKS_NOT_YET]


def test_the_tables_list_every_task_of_the_page() -> None:
    assert len(specification.tasks()) == 34


@pytest.mark.parametrize("row", here, ids=lambda row: row.task)
def test_a_task_is_called_or_scheduled_as_its_row_says(row: TaskRow) -> None:
    assert row.task in registered()
    task = current_app.tasks[row.task]
    found = re.fullmatch(r"`(\w+)\.delay\((.*)\)`", row.use)
    if found:
        assert task.name.endswith(f".{found[1]}")
        inspect.signature(task.run).bind(*found[2].split(", "))
        return
    wanted = cron(row.use)
    assert [bool(wanted and re.fullmatch(wanted, line)) for line in crons(row.task)] == [True] * bool(wanted)


def test_the_schedule_names_known_tasks() -> None:
    assert [row[1] for row in rows("Celery Beat Schedule")] == list(SCHEDULED)
    assert set(SCHEDULED.values()) <= {row.task for row in specification.tasks()}


@pytest.mark.parametrize(("when", "what"), rows("Celery Beat Schedule"))
def test_a_time_of_the_schedule_is_the_entry_s(when: str, what: str) -> None:
    wanted = cron(when)
    assert wanted
    task = SCHEDULED[what]
    lines = crons(task)
    assert len(lines) == (task not in TASKS_NOT_YET)
    assert all(re.fullmatch(wanted, line) for line in lines)


def test_both_tables_agree_on_the_times() -> None:
    by_task = {row.task: row.use for row in specification.tasks()}
    for when, what in rows("Celery Beat Schedule"):
        at, of = cron(when), cron(by_task[SCHEDULED[what]])
        assert at
        assert of
        assert at == of or by_task[SCHEDULED[what]] == "Scheduled weekly"


# --- snippets that need no worker -----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_id_is_taken_and_a_model_instance_refused() -> None:
    wrong, right = re.findall(r"^@shared_task\n(?:.+\n)+", snippet("Example: Proper Task Pattern"), re.MULTILINE)
    tasks = []
    try:
        for name, code in (("wrong", wrong), ("right", right)):
            names: dict[str, Any] = {"shared_task": shared_task, "__name__": f"example.{name}"}
            exec(code, names)
            tasks.append(names["process_order"])
        with pytest.raises(InvalidInput, match="Pass ids and plain values"):
            tasks[0].delay(TaskRun())
        run = TaskRun.objects.get(pk=tasks[1].delay("0190a0c4-0000-7000-8000-000000000000").id)
        assert (run.task, run.args) == ("example.right.process_order", ["0190a0c4-0000-7000-8000-000000000000"])
        assert imported(right) == NAMES_NOT_YET, "its body runs when there are orders"
    finally:
        for task in tasks:
            current_app.tasks.unregister(task.name)


def test_the_test_script_may_be_run_and_verifies_what_the_page_lists() -> None:
    assert os.access(ROOT / "test_celery.sh", os.X_OK)
    listed = re.findall(r"^- (.+)$", TEXT.partition("This verifies:\n")[2].partition("\n## ")[0], re.MULTILINE)
    assert listed == CHECKS
