"""`manage.py runs` and `manage.py schedule`, as they answer at the terminal and to programs."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.management import CommandError, call_command, get_commands, load_command_class
from django.db import connection

from core import clock
from core.base.models import AuditLog
from core.jobs import leases, occurrences, operations, selectors
from core.jobs.management import terminal
from core.jobs.models import Occurrence, ScheduleEntry, TaskRun
from core.jobs.schedule import Entry
from core.jobs.selectors import EntryState
from tests.factories import UserFactory
from tests.jobs import tasks
from tests.jobs.doorbell import Doorbell
from tests.jobs.test_operations import run, slot

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("at_once")]

WHY = ("--reason", "the gateway is back")
DATED = "tests.jobs.tasks.dated"
STATES = [  # in the order in which one hides another
    *(EntryState.RETIRED, EntryState.PAUSED, EntryState.PROBLEM, EntryState.LATE, EntryState.MISSED),
    *(EntryState.NEVER_RAN, EntryState.FAILED, EntryState.ON_TIME),
]


@pytest.fixture(autouse=True)
def entries() -> None:
    Occurrence.objects.all().delete()
    ScheduleEntry.objects.all().delete()
    occurrences.follow_code(
        {
            "dated": Entry(DATED, "0 0 1 1 *"),
            "check-expiring-offers-of-all-partners": Entry("tests.jobs.tasks.add", "15 6,18 * * 1-5"),
        }
    )


def text(*words: str) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def answer(*words: str) -> Any:
    return json.loads(text(*words, "--json"))


def partly(*words: str) -> Any:
    """As `answer`, when some of it could not be done."""
    out = io.StringIO()
    with pytest.raises(SystemExit) as end:
        call_command(*words, "--json", stdout=out)
    assert end.value.code == 1
    return json.loads(out.getvalue())


def refused(*words: str) -> str:
    """What both kinds of reader are told."""
    with pytest.raises(CommandError) as error:
        text(*words)
    out = io.StringIO()
    with pytest.raises(SystemExit) as end:
        call_command(*words, "--json", stdout=out)
    assert end.value.code == 1
    assert json.loads(out.getvalue()) == {"error": str(error.value)}
    assert "\n" not in str(error.value)
    return str(error.value)


def fits(shown: str) -> str:
    assert max(map(len, shown.splitlines())) <= 100
    assert "\x1b" not in shown
    return shown


# --- runs -----------------------------------------------------------------------------------------------------------


def test_without_any_rows_there_is_still_an_answer() -> None:
    Occurrence.objects.all().delete()
    ScheduleEntry.objects.all().delete()
    assert "Nothing has run yet" in text("runs", "list")
    assert "No such run" in text("runs", "list", "--state", "failed")
    assert answer("runs", "list") == {"runs": [], "looked_back_to": None}
    assert "No entry" in text("schedule", "list")
    assert answer("schedule", "list") == {"entries": []}
    assert "Nothing was missed" in text("schedule", "catch-up", "--dry-run")


def test_a_list_is_newest_first_and_fits_a_terminal() -> None:
    now = clock.now()
    old = run("failed", asked_at=now - timedelta(days=400), worker="celery@a-very-long-name-of-a-machine.example.org")
    new = run(
        "succeeded",
        "sales_revenue.tasks.generate_monthly_marketplace_statistics_of_all_regions",
        started_at=now,
        finished_at=now + timedelta(seconds=75),
        attempts=3,
        max_attempts=4,
        worker="celery@worker-2.example.org",
        trigger="by_hand",
    )
    head, first, second, foot = fits(text("runs", "list")).splitlines()
    assert head.split() == ["id", "task", "state", "asked", "waited", "ran", "tries", "cause", "worker"]
    assert first.startswith(new.pk.hex[:8])
    assert "generate_monthly_" in first
    assert " 1m15s " in first
    assert " 3/4 " in first
    assert second.startswith(old.pk.hex[:8])
    assert str(clock.accra(old.asked_at).year) in second
    assert foot == "Times are Accra's."
    assert [row["id"] for row in answer("runs", "list")["runs"]] == [str(new.pk), str(old.pk)]


def test_a_list_is_narrowed_down() -> None:
    failed = run("failed", queue="bulk", schedule_entry="dated")
    waiting = run("pending", "tests.jobs.tasks.echo", asked_at=clock.now() - timedelta(hours=30))
    for words, expected in (
        (("--state", "failed"), [failed]),
        (("--state", "failed", "--state", "pending"), [failed, waiting]),
        (("--task", "tasks.ADD"), [failed]),
        (("--queue", "bulk"), [failed]),
        (("--entry", "dated"), [failed]),
        (("--since", "24h"), [failed]),
        (("--since", "2d"), [failed, waiting]),
        (("--since", "2020-01-01"), [failed, waiting]),
        (("--limit", "1"), [failed]),
    ):
        assert [row["id"] for row in answer("runs", "list", *words)["runs"]] == [str(one.pk) for one in expected]


def test_a_list_that_did_not_look_at_all_runs_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors, "MOST_WALKED", 1)
    for minutes in range(3):
        run("succeeded", asked_at=clock.now() - timedelta(minutes=minutes))
    assert "Looked through the newest 1 runs" in text("runs", "list", "--state", "succeeded")
    assert answer("runs", "list", "--state", "succeeded")["looked_back_to"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("list", "--queue", "fast"), "Use one of: urgent, default, bulk"),
        (("list", "--entry", "dates"), "Did you mean dated?"),
        (("list", "--since", "yesterday"), "Write it as 2026-03-01"),
        (("list", "--since", "99999d999"), "no time"),
        (("list", "--since", "99999d"), ""),
        (("show", "xyz"), "no run id"),
        (("show", "00000000"), "There is no run"),
        (("retry", "00000000", *WHY), "There is no run"),
        (("cancel",), "Give the id of one run, or --all"),
        (("cancel", "0000", "--all"), "Give the id of one run, or --all"),
        (("cancel", "0000", "--task", "x"), "goes with --all"),
        (("cancel", "--all", *WHY), "Say which runs"),
        (("cancel", "--all", "--task", "add", "--state", "running", *WHY), "Only waiting runs"),
    ],
)
def test_what_cannot_be_meant_is_answered_in_one_line(words: tuple[str, ...], said: str) -> None:
    if said:
        assert said in refused("runs", *words)
    else:
        text("runs", *words)


@pytest.mark.parametrize("words", [("list", "--limit", "0"), ("list", "--limit", "x"), ("list", "--state", "lost"), ()])
def test_wrong_options_are_refused_by_the_parser(words: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        text("runs", *words)


def test_show_tells_the_whole_story() -> None:
    user = UserFactory.create()
    now = clock.now()
    due = slot(1, "run", run=uuid.uuid4())
    old = run(
        "failed",
        "tests.jobs.tasks.tell",
        args=["+233244123456", "a secret", 2],
        kwargs={},
        asked_at=now - timedelta(hours=1),
        started_at=now - timedelta(minutes=59),
        attempts=4,
        trigger="schedule",
        schedule_entry="dated",
        occurrence=due.pk,
        requested_by=user,
        progress_done=50,
        progress_total=200,
        progress_note="farms",
        error_class="TemporaryError",
        error_text="Nobody answers. " * 20,
        traceback="Traceback: there",
    )
    child = run("pending", "tests.jobs.tasks.echo", parent=old.pk)
    new = run("succeeded", retry_of=old.pk, result={"told": 2})
    shown = fits(text("runs", "show", old.pk.hex[:12]))
    for words in (
        "the schedule entry dated for its time",
        f"by {user.username}",
        '["***", "***", 2]',
        "50 of 200 (25 %) farms",
        "TemporaryError: Nobody answers.",
        "try 4 of 4",
        f"{child.pk} tests.jobs.tasks.echo pending",
        f"{new.pk} tests.jobs.tasks.add succeeded",
        "--traceback",
    ):
        assert words in " ".join(shown.split()), words
    assert "244123456" not in shown
    assert "Traceback: there" in text("runs", "show", str(old.pk), "--traceback")
    told = answer("runs", "show", str(old.pk))
    assert (told["args"], told["retries"], told["children"]) == (["***", "***", 2], [str(new.pk)], [str(child.pk)])
    assert told["traceback"] is None
    assert '{"told": 2}' in text("runs", "show", str(new.pk))
    assert f"{old.pk} tests.jobs.tasks.tell failed" in " ".join(text("runs", "show", str(new.pk)).split())


def test_arguments_of_a_task_that_nobody_knows_are_shown_without_numbers_and_addresses() -> None:
    old = run(task="farms.tasks.gone", args=["0244123456", {"to": ["ama@example.com"]}], kwargs={"who": "0244123456"})
    told = answer("runs", "show", str(old.pk))
    assert told["args"] == ["+233*****3456", {"to": ["***@example.com"]}]
    assert told["kwargs"] == {"who": "+233*****3456"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"state": "retrying", "attempts": 1, "due_at": 90}, "tries again (try 2)"),
        ({"state": "pending", "due_at": 90}, "starts"),
        ({"state": "pending"}, "no worker is alive for default. Start one: celery -A core worker -Q default"),
        ({"state": "running", "lease_until": -5}, "its worker is silent"),
        ({"state": "running", "cancel_asked_at": -5}, "stops at its next checkpoint"),
        ({"state": "running"}, "To ask it to stop: python manage.py runs cancel"),
        ({"state": "failed"}, "Once more: python manage.py runs retry"),
        ({"state": "cancelled"}, ""),
    ],
)
def test_show_says_what_comes_next(fields: dict[str, Any], said: str) -> None:
    now = clock.now()
    times = {name: now + timedelta(seconds=value) for name, value in fields.items() if name.endswith(("_at", "until"))}
    told = answer("runs", "show", str(run(**fields | times).pk))
    assert said in told["next"]
    assert bool(said) == bool(told["next"])


@pytest.mark.django_db(transaction=True)
def test_show_says_that_redis_is_away(doorbell: Doorbell) -> None:
    waiting = run("pending")
    with doorbell.dead():
        began = time.monotonic()
        assert "Redis does not answer" in answer("runs", "show", str(waiting.pk))["next"]
        assert time.monotonic() - began < 10


def test_retry_names_the_new_run_and_needs_a_reason() -> None:
    old = run()
    assert "Say why" in refused("runs", "retry", str(old.pk))
    assert not AuditLog.objects.exists()
    told = answer("runs", "retry", str(old.pk), *WHY)
    new = TaskRun.objects.get(retry_of=old.pk)
    assert told == {"run": str(new.pk), "retry_of": str(old.pk)}
    row = AuditLog.objects.get()
    assert row.reason == "the gateway is back"
    assert row.actor_name.endswith("(command line)")
    assert "is being retried already" in refused("runs", "retry", str(old.pk), *WHY)
    assert str(new.pk) in text("runs", "show", str(old.pk))


def test_a_change_is_made_as_a_person() -> None:
    user = UserFactory.create(role="SUPER_ADMIN")
    text("runs", "retry", str(run().pk), *WHY, "--as", user.email)
    assert AuditLog.objects.get().actor == user
    assert TaskRun.objects.get(trigger="retry").requested_by == user
    assert "No account" in refused("runs", "retry", str(run().pk), *WHY, "--as", "nobody@example.com")


def test_cancel_says_what_happened() -> None:
    assert text("runs", "cancel", str(run("pending").pk), *WHY) == "Cancelled: tests.jobs.tasks.add.\n"
    busy = run("running")
    assert "was asked to stop" in text("runs", "cancel", str(busy.pk), *WHY)
    assert "It has not within 0.3 s" in text("runs", "cancel", str(busy.pk), *WHY, "--wait", "0.3")
    assert "asked to stop already" in refused("runs", "cancel", str(busy.pk), *WHY)
    assert "has ended already: it failed" in refused("runs", "cancel", str(run("failed").pk), *WHY)


@pytest.mark.django_db(transaction=True)
def test_cancel_waits_for_the_end(doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LOOK_SECONDS", 0.05)
    asked = tasks.long_work.delay(20)

    def work() -> None:
        try:
            doorbell.work()
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    while not TaskRun.objects.filter(pk=asked.id, state="running"):
        time.sleep(0.05)
    assert text("runs", "cancel", asked.id, *WHY, "--wait") == "Cancelled: tests.jobs.tasks.long_work.\n"
    thread.join(10)
    time.sleep(0.3)  # the resident thread lets go of its connection


def test_many_are_cancelled_after_their_number_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        run("pending")
    words = ("runs", "cancel", "--all", "--task", "tasks.add", "--state", "pending", *WHY)
    assert "3 runs wait that fit. To cancel them add --yes 3" in refused(*words)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _prompt: "2")
    with pytest.raises(CommandError, match="Not confirmed"):
        text(*words)
    assert "more than 2" in refused(*words, "--yes", "2")
    assert not AuditLog.objects.exists()
    for gone in (EOFError, KeyboardInterrupt):
        monkeypatch.setattr("builtins.input", Mock(side_effect=gone))
        with pytest.raises(CommandError):
            text(*words)
    monkeypatch.setattr("builtins.input", lambda _prompt: "3")
    assert text(*words).splitlines()[-1] == "3 cancelled."
    assert AuditLog.objects.count() == 1
    assert answer(*words) == {"cancelled": 0, "runs": []}


# --- the schedule ---------------------------------------------------------------------------------------------------


def test_the_schedule_tells_state_last_and_next() -> None:
    text("schedule", "run-now", "dated", *WHY)
    now = clock.now()
    TaskRun.objects.update(state="failed", ring_at=None, started_at=now, finished_at=now + timedelta(seconds=3))
    shown = fits(text("schedule", "list"))
    assert "at 00:00, on the 1st of January; run_once, late after 5m; from the code" in shown
    [first, second] = answer("schedule", "list")["entries"]
    assert (first["name"], first["state"]) == ("check-expiring-offers-of-all-partners", "never ran")
    assert (second["state"], second["last_run"]["state"], second["last_run"]["seconds"]) == ("failed", "failed", 3.0)
    assert first["next_at"]
    occurrences.follow_code({})
    assert "2 retired: --all" in text("schedule", "list")
    assert len(answer("schedule", "list", "--all")["entries"]) == 2


def test_an_entry_that_this_version_cannot_read_does_not_hide_the_others() -> None:
    ScheduleEntry.objects.filter(name="dated").update(spec="moon 4", problem="")
    assert "cannot be followed" in text("schedule", "list")
    assert answer("schedule", "show", "dated")["next_times"] == []


def test_show_lists_the_last_times_and_the_next() -> None:
    for hours in range(1, 20):
        slot(hours, "skipped", late=True, reason="too late: this entry skips what it missed " * 3)
    shown = fits(text("schedule", "show", "dated"))
    assert shown.count("skipped, late") == 14
    told = answer("schedule", "show", "dated")
    assert (len(told["slots"]), len(told["next_times"]), told["state"]) == (14, 5, "missed")
    assert set(told["slots"][0]) == {"due_at", "state", "late", "run", "run_state", "reason"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "datd"), "Did you mean dated?"),
        (("show", "offers"), "Did you mean check-expiring-offers-of-all-partners?"),
        (("run-now", "nothing-like-it", *WHY), "`schedule list` shows"),
        (("run-now", "dated"), "Say why"),
        (("run-now", "dated", "--as-of", "noon", *WHY), "no time"),
        (("run-now", "dated", "--as-of", "2099-01-01", *WHY), "still to come"),
        (("pause", "dated"), "Say why"),
        (("pause", "dated", "--until", "2020-01-01", *WHY), "over already"),
        (("pause", "dated", "--until", "soon", *WHY), "from now on"),
        (("resume", "dated", *WHY), "not paused"),
        (("catch-up", "--at", "2026-01-01", *WHY), "goes with an entry"),
        (("catch-up", "dated", "--at", "2026-01-01T01:00", "--dry-run"), "was not due"),
        (("catch-up", "dated"), "Say why"),
    ],
)
def test_what_cannot_be_done_with_the_schedule_is_said_in_one_line(words: tuple[str, ...], said: str) -> None:
    assert said in refused("schedule", *words)
    assert not AuditLog.objects.exists()


def test_a_pause_is_seen_and_resuming_says_what_it_will_do() -> None:
    assert "is paused until somebody resumes it" in text("schedule", "pause", "dated", *WHY)
    missed = slot(2, "missed")
    shown = text("schedule", "list")
    assert "(command line): the gateway is back" in shown
    assert "schedule resume dated --dry-run" in shown
    assert "would be skipped: passed while paused" in text("schedule", "resume", "dated", "--dry-run")
    rehearsed = text("schedule", "resume", "dated", "--dry-run", "--catch-up")
    assert "(late)  would run" in rehearsed
    assert "would fire again. Next: " in rehearsed
    done = answer("schedule", "resume", "dated", "--catch-up", *WHY)
    missed.refresh_from_db()
    assert [one["run_id"] for one in done["slots"]] == [str(missed.run)]


def test_a_pause_may_have_an_end() -> None:
    told = answer("schedule", "pause", "dated", "--until", "2h", *WHY)
    assert told["paused_until"]
    until = ScheduleEntry.objects.get(name="dated").paused_until
    assert until
    assert timedelta(minutes=119) < until - clock.now() <= timedelta(hours=2)
    assert "paused until" in text("schedule", "show", "dated")


def test_run_now_says_for_which_time_and_a_second_one_is_refused() -> None:
    older, newer = slot(3, "missed"), slot(1, "missed")
    shown = text("schedule", "run-now", "dated", *WHY)
    assert f"for its time {terminal.when(newer.due_at)}" in shown
    assert f"{terminal.when(older.due_at)} is skipped: covered by" in shown
    assert "Nothing was asked for: run" in refused("schedule", "run-now", "dated", *WHY)


def test_everything_that_was_missed_is_caught_up_and_what_cannot_be_holds_up_nothing() -> None:
    slot(1, "missed")
    broken = ScheduleEntry.objects.get(name="check-expiring-offers-of-all-partners")
    broken.task = "farms.tasks.renamed"
    broken.save()
    Occurrence.objects.create(
        entry=broken, due_at=clock.now() - timedelta(hours=1), state="missed", decided_at=clock.now()
    )
    rehearsed = partly("schedule", "catch-up", "--dry-run")
    assert [(one["entry"], bool(one["error"]), len(one["slots"])) for one in rehearsed["entries"]] == [
        ("check-expiring-offers-of-all-partners", True, 0),
        ("dated", False, 1),
    ]
    assert not TaskRun.objects.exists()
    done = partly("schedule", "catch-up", *WHY)
    assert done["entries"][1]["slots"][0]["run_id"] == str(TaskRun.objects.get().pk)
    assert "There is no task 'farms.tasks.renamed'" in done["entries"][0]["error"]
    assert AuditLog.objects.count() == 1


def test_a_paused_entry_is_named_when_it_is_left_alone() -> None:
    text("schedule", "pause", "dated", *WHY)
    slot(1, "missed")
    assert "Paused, and left alone: dated" in text("schedule", "catch-up", "--dry-run")


# --- the page -------------------------------------------------------------------------------------------------------

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


@pytest.mark.parametrize("line", re.findall(r"^python manage\.py (.+)$", PAGE.read_text(), re.MULTILINE))
def test_every_command_on_the_page_is_one(line: str) -> None:
    """And changes say why."""
    name, *words = shlex.split(line)
    command = load_command_class(get_commands()[name], name)
    options = command.create_parser("manage.py", name).parse_args(words)
    assert getattr(options, "reason", "not asked for") or options.dry_run


def test_the_page_has_every_action_and_every_state() -> None:
    page = PAGE.read_text()
    for action in (
        *("runs list", "runs show", "runs retry", "runs cancel", "schedule list", "schedule show"),
        *("schedule run-now", "schedule pause", "schedule resume", "schedule catch-up"),
    ):
        assert re.search(rf"^python manage\.py {action}\b", page, re.MULTILINE), action
    assert [state.value for state in STATES] == re.findall(r"^\| ([a-z ]+) \|", page, re.MULTILINE)[1 : 1 + len(STATES)]
    assert f"{selectors.MOST_WALKED:,}" in page
    assert f"{operations.MOST_AT_ONCE:,}" in page


# --- the terminal ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-3, "0.0s"),
        (0.04, "0.0s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.6, "1m"),
        (185, "3m05s"),
        (7500, "2h05m"),
        (273_600, "3d04h"),
    ],
)
def test_spans_are_short(seconds: float, shown: str) -> None:
    assert terminal.span(timedelta(seconds=seconds)) == shown


def test_a_database_that_is_away_is_said_in_one_line() -> None:
    """In a process of its own, as a person would see it."""
    environment = os.environ | {"DATABASE_URL": "postgres://nobody:nothing@127.0.0.1:1/none"}
    for words in (["runs", "list"], ["schedule", "list", "--json"]):
        done = subprocess.run(
            [sys.executable, "manage.py", *words], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        told = (done.stdout + done.stderr).strip()
        assert "PostgreSQL does not answer" in told
        assert "Traceback" not in told


def test_a_prefix_that_fits_several_runs_is_refused_with_their_names() -> None:
    for number in range(7):
        run(id=uuid.UUID(f"abcdef0{number}".ljust(32, "0")))
    assert refused("runs", "show", "abcdef").count("tests.jobs.tasks.add failed") == 5
