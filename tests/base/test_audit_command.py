"""`manage.py audit`, as it answers at the terminal and to programs."""

from __future__ import annotations

import io
import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from core import clock
from core.base import chain
from core.base.models import AuditChain, AuditLog
from core.jobs.management.commands.audit import MOST_LISTED
from tests.base.audited import a_row, chained, rows, tamper
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def text(*words: str) -> str:
    out = io.StringIO()
    call_command("audit", *words, stdout=out)
    shown = out.getvalue()
    assert max(map(len, shown.splitlines())) <= 100
    return shown


def answer(*words: str) -> Any:
    out = io.StringIO()
    call_command("audit", *words, "--json", stdout=out)
    return json.loads(out.getvalue())


def broken(*words: str) -> str:
    out = io.StringIO()
    with pytest.raises(SystemExit) as end:
        call_command("audit", *words, stdout=out)
    assert end.value.code == 1
    return out.getvalue()


# --- list -----------------------------------------------------------------------------------------------------------


def test_without_rows_there_is_still_an_answer() -> None:
    assert "Nothing has been written down yet." in text("list")
    assert "No such row." in text("list", "--action", "run")
    assert answer("list") == {"rows": []}


def test_who_did_what_is_listed_newest_first_and_fits_a_terminal() -> None:
    user = UserFactory.create(role="NATIONAL_ADMIN", username="kwame")
    a_row(reason="the gateway is back, and the messages of the whole morning wait for it, so once more please")
    a_row(action="schedule.paused", subject=("schedule", "check-expiring-offers-of-all-partners"), actor_id=user.pk)
    chain.chain(1)
    lines = text("list").splitlines()
    assert re.match(r"when +who +action +subject +link +why$", lines[0])
    assert re.match(r"\w{3} \d+ \w{3} [\d:]{8}  kwame\S* +schedule\.paused +schedule .+ –", lines[1])
    assert re.search(r"  ama +run\.retried +run 0 .*  1  the gateway", lines[2])
    assert lines[-1] == "Times are Accra's."
    first, second = answer("list")["rows"]
    assert (first["actor"], first["actor_id"], first["position"]) == ("kwame", str(user.pk), None)
    assert (second["actor"], second["actor_id"], second["position"]) == ("ama", None, 1)


def test_a_reason_cannot_disturb_the_table_and_a_row_is_shown_whole_when_asked_for() -> None:
    a_row(reason="first\nsecond\x1b[2Jthird", before={"paused": False}, after={"paused": True, "name": "Nkrãn"})
    assert "first second [2Jthird" in text("list")
    full = text("list", "--full")
    assert re.search(r'^before +\{"paused": false\}$', full, re.MULTILINE)
    assert re.search(r'^after +\{"name": "Nkrãn", "paused": true\}$', full, re.MULTILINE)
    assert re.search(rf"^row +{AuditLog.objects.get().pk}$", full, re.MULTILINE)
    assert re.search(r"^why +first second \[2Jthird$", full, re.MULTILINE)
    assert re.search(r"^link +waits for one$", full, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--actor", "kwame"], {"b"}),
        (["--actor", "Kwame@Example.com"], {"b"}),
        (["--actor", "0244 123 456"], {"b"}),
        (["--actor", "AMA"], {"a", "c"}),
        (["--actor", "nobody"], set()),
        (["--action", "run"], {"a", "b"}),
        (["--action", "run.cancelled"], {"b"}),
        (["--subject", "schedule"], {"c"}),
        (["--subject", "prune"], {"c"}),
        (["--subject", "8bffc69f"], {"a"}),
        (["--action", "run", "--actor", "ama"], {"a"}),
        (["--since", "1h"], {"b", "c"}),
        (["--limit", "1"], {"c"}),
    ],
)
def test_rows_are_found_by_who_what_and_on_what(words: list[str], found: set[str]) -> None:
    user = UserFactory.create(role="NATIONAL_ADMIN", username="kwame", email="kwame@example.com", phone="+233244123456")
    AuditLog.objects.create(
        action="run.retried",
        subject_type="run",
        subject_id="8bffc69f-2222-4444-8888-000000000000",
        actor_name="ama@pc (command line)",
        reason="a",
        at=clock.now() - timedelta(days=2),
    )
    a_row(action="run.cancelled", actor_id=user.pk, actor_name="", reason="b")
    a_row(action="schedule.paused", subject=("schedule", "prune-finished-runs"), actor_name="Ama Darko", reason="c")
    assert {row["reason"] for row in answer("list", *words)["rows"]} == found


def test_a_time_or_a_number_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(CommandError, match="is no time"):
        text("list", "--since", "yesterday")
    for limit in ("0", "-1", str(MOST_LISTED + 1), "many"):
        with pytest.raises(CommandError, match="a number from 1 to"):
            text("list", "--limit", limit)


# --- verify ---------------------------------------------------------------------------------------------------------


def test_an_intact_chain_says_so_and_gives_its_head_to_be_kept() -> None:
    assert "The chain is empty." in text("verify")
    chained(3)
    rows(2)
    shown = text("verify")
    assert "Intact: 3 links and their rows." in shown
    assert re.search(r"^2 rows wait for their link, the oldest for [\d.]+s\.$", shown, re.MULTILINE)
    [head] = re.findall(r"^Head: (3:[0-9a-f]{64})$", shown, re.MULTILINE)
    assert "Intact" in text("verify", "--head", head)
    assert "Intact: 1 links and their rows after link 2." in text("verify", "--since-position", "2")
    found = answer("verify", "--head", head.upper())
    assert (found["intact"], found["links"], found["pending"], found["faults"]) == (True, 3, 2, [])
    assert f"{found['head']['position']}:{found['head']['hash']}" == head


def test_a_broken_chain_says_what_is_wrong_and_ends_with_1() -> None:
    chained(4)
    row_id = str(AuditChain.objects.get(position=2).row_id)
    tamper("base_auditlog", "UPDATE base_auditlog SET reason = 'other' WHERE id = %s", row_id)
    shown = broken("verify")
    words = f"row changed: link 2, base_auditlog {row_id}\n    is not as it was when it was chained\n"
    assert shown.startswith(words)
    assert "BROKEN: 1 row changed; looked at 4 links and their rows." in shown
    assert max(map(len, shown.splitlines())) <= 100
    found = json.loads(broken("verify", "--json"))
    assert (found["intact"], found["counts"]) == (False, {"row_changed": 1})
    assert found["faults"] == [
        {
            "kind": "row_changed",
            "words": "is not as it was when it was chained",
            "position": 2,
            "table": "base_auditlog",
            "row_id": row_id,
        }
    ]
    assert "Intact" in text("verify", "--since-position", "2")


def test_a_head_that_is_gone_ends_with_1_too() -> None:
    chained(2)
    cut = broken("verify", "--head", f"9:{'0' * 64}")
    assert cut.startswith(
        "head cut off: link 9\n    was written down as the head and is not there: the chain ends with 2\n"
    )
    assert "head changed" in broken("verify", "--head", f"2:{'0' * 64}")


@pytest.mark.parametrize("head", ["", "3", "3:", "3:abc", f"x:{'0' * 64}", f"-1:{'0' * 64}", f"3:{'g' * 64}"])
def test_a_head_that_cannot_be_read_is_refused(head: str) -> None:
    with pytest.raises(CommandError, match="expected as verify prints it"):
        text("verify", f"--head={head}")


def test_it_does_not_begin_at_a_link_that_is_not_there() -> None:
    with pytest.raises(CommandError, match="There is no link 7"):
        text("verify", "--since-position", "7")
