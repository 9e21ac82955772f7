"""docs/tasks.md is what `manage.py task_catalogue` makes of the code."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from celery import current_app
from django.core.management import CommandError, call_command

from core.celery import SCHEDULE
from core.jobs.management.commands import task_catalogue
from core.jobs.rules import Late
from core.jobs.schedule import Entry
from tests.docs.specification import ROOT

PACKAGES = ("core.", "accounts.", "farms.", "sales_revenue.", "advertising.", "dashboards.")


def test_the_page_is_fresh() -> None:
    call_command("task_catalogue", "--check")


def test_an_old_page_is_told_and_written_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "tasks.md"
    monkeypatch.setattr(task_catalogue, "PAGE", page)
    for old in (None, "# Tasks\n"):
        if old:
            page.write_text(old)
        with pytest.raises(CommandError, match=r"Run: python manage\.py task_catalogue"):
            call_command("task_catalogue", "--check")
    assert page.read_text() == "# Tasks\n", "a check writes nothing"
    call_command("task_catalogue")
    call_command("task_catalogue", "--check")


def test_every_task_and_entry_is_in_it() -> None:
    page = (ROOT / "docs/tasks.md").read_text()
    ours = [name for name in current_app.tasks if name.startswith(PACKAGES)]
    assert len(ours) > 5
    for name in ours:
        assert f"\n## {name}\n" in page
    for name, entry in SCHEDULE.items():
        section = page.partition(f"\n## {entry.task}\n")[2].partition("\n## ")[0]
        assert f"- Entry `{name}`: `{entry.cron}`; " in section


@pytest.mark.parametrize(
    "words",
    ["", "Send it.", "Safe to repeat: one key.", "Send it. Send it again at will.", "Send it. Safe to repeat."],
)
def test_a_task_that_does_not_say_what_it_must_is_refused(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    task = current_app.tasks["core.tasks.prune_finished_runs"]
    monkeypatch.setattr(task.run, "__doc__", words)
    with pytest.raises(CommandError, match=r"The docstring of core\.tasks\.prune_finished_runs must say"):
        task_catalogue.catalogue()


def test_a_signature_is_shown_as_the_code_has_it() -> None:
    page = (ROOT / "docs/tasks.md").read_text()
    told = "send_email_async(subject: str, message: str, recipient_list: list[str], html_message: str | None = None, "
    assert f"\n    {told}reference: str | None = None) -> dict[str, Any]\n" in page


@pytest.mark.parametrize(("late", "told"), [(late, task_catalogue.LATE[late]) for late in Late])
def test_what_a_task_declares_is_told(monkeypatch: pytest.MonkeyPatch, late: Late, told: str) -> None:
    task = current_app.tasks["core.tasks.prune_finished_runs"]
    declared = {"once_at_a_time": True, "takes_due_time": True, "atomic": True, "max_retries": 8, "time_limit": 90}
    for name, value in declared.items():
        monkeypatch.setattr(task, name, value)
    entry = Entry(task.name, "0 9 * * 1-5", late=late, grace=timedelta(seconds=90))
    monkeypatch.setitem(SCHEDULE, "prune-finished-runs", entry)
    page = task_catalogue.catalogue()
    assert "| bulk | at 09:00, Monday to Friday |" in page
    section = page.partition(f"\n## {task.name}\n")[2].partition("\n## ")[0]
    assert f"- Entry `prune-finished-runs`: `0 9 * * 1-5`; missed when 90 s late; {told}\n" in section
    assert "- Attempts: 9, about 60, 120, 240, 480, 960, 1920, 3840, 3840 s apart\n" in section
    assert "- Time limits: 300 s, 90 s\n" in section
    for words in ("One at a time", "Scheduled runs", "One transaction"):
        assert f"- {words}: " in section
    monkeypatch.setattr(task, "max_retries", None)
    assert "- Attempts: without limit\n" in task_catalogue.catalogue()
    monkeypatch.setattr(task, "max_retries", 0)
    assert "- Attempts: 1\n" in task_catalogue.catalogue()
