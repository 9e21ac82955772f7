"""`manage.py campaigns`, as it answers at the terminal and to programs."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.rules import Role
from core.base.models import AuditLog
from core.delivery import campaigns, dispatch
from core.delivery.models import Campaign, OutboundMessage
from tests.delivery.campaign import TERMINAL as HERE
from tests.delivery.campaign import TEXT, begun, carried_out, declines, farmers, figure, person
from tests.delivery.outbox import phones
from tests.sandbox.process import Sandbox
from tests.system.product import ROOT, database_url

pytestmark = pytest.mark.django_db
WHY = ("--reason", "a test")


def text(*words: str) -> str:
    out = io.StringIO()
    call_command("campaigns", *words, stdout=out)
    return out.getvalue()


def answer(*words: str) -> Any:
    return json.loads(text(*words, "--json"))


def refused(*words: str) -> str:
    with pytest.raises(CommandError) as raised:
        call_command("campaigns", *words, stdout=io.StringIO(), stderr=io.StringIO())
    return str(raised.value)


@pytest.fixture
def a_file(tmp_path: Path) -> str:
    file = tmp_path / "farmers.csv"
    file.write_text("name,phone\n" + "".join(f"Farmer {n},{phone}\n" for n, phone in enumerate(phones(4))) + "Ama,x\n")
    return str(file)


def test_the_whole_way_of_a_campaign(sandbox: Sandbox, a_file: str) -> None:
    planned = text("plan", a_file, "--text", "Ɛyɛ da.", "--seed", "0209999991")
    for told in (
        "list of 5",
        "4; 0 double, 1 not a Ghanaian mobile",
        "+233*****0000: Ɛyɛ da.",
        "in ucs2, because of Ɛ ɛ: 1 part each",
        "GHS 0.15 for 5 texts at GHS 0.0300 a part",
        "approval     not needed",
        "Nothing was stored or sent.",
    ):
        assert told in planned
    assert not Campaign.objects.exists()
    made = answer("create", a_file, "--text", TEXT, "--name", "Vaccination", *WHY)
    one = made["campaign"]
    assert (made["status"], made["plan"]["recipients"], made["plan"]["cost"]) == ("draft", 4, "0.1200")
    assert f"campaigns start {one}" in text("show", one)
    assert "Started." in text("start", one[:13], *WHY)
    campaign = Campaign.objects.get()
    carried_out(campaign)
    assert "Paused: nothing leaves any more" in text("pause", one, *WHY)
    dispatch.dispatch_bulk(seconds=5)
    assert sandbox.total() == 0
    shown = answer("show", one)
    assert (shown["status"], shown["reason"], shown["outcomes"]["held"]) == ("paused", "a test", 4)
    assert "4 held: window, budget or pause" in text("show", one)
    assert "Goes on." in text("resume", one, *WHY)
    carried_out(campaign)
    dispatch.dispatch_bulk(seconds=5)
    campaigns.finish()
    assert "done" in text("show", one, "--watch")
    told = text("show", one)
    assert "4 of 4 (100 %)" in told
    assert "4 accepted, no receipt yet" in told
    [row] = answer("list", "--state", "done")["campaigns"]
    assert (row["id"], row["name"], row["recipients"]) == (one, "Vaccination", 4)
    assert refused("retry-unreached", one, *WHY).startswith("Nobody is left to be written to again")
    actions = list(AuditLog.objects.order_by("at").values_list("action", flat=True))
    assert actions == [f"campaign.{what}" for what in ("created", "started", "paused", "resumed")]
    assert all("(command line)" in name for name in AuditLog.objects.values_list("actor_name", flat=True))


def test_people_of_a_region_with_a_second_person(sandbox: Sandbox) -> None:
    figure("campaign.approval_recipients", 2)
    people = farmers(4)
    declines(people[0].phone)
    asking, approving = person(), person()
    words = ("--region", "AH", "--role", "FARMER", "--text", TEXT)
    assert "1 have opted out" in text("plan", *words)
    assert "needs a second person's approval" in refused("create", *words, *WHY)
    made = text("create", *words, "--as", asking.phone, *WHY)
    assert "a second person must approve it: more than 2 recipients" in made
    one = str(Campaign.objects.get().pk)
    assert "A second person must approve" in refused("start", one, "--as", asking.email, *WHY)
    assert "cannot approve it" in refused("approve", one, "--as", asking.phone, *WHY)
    assert "Approved." in text("approve", one, "--as", approving.email, *WHY)
    text("start", one, "--as", asking.phone, *WHY)
    carried_out(Campaign.objects.get())
    dispatch.dispatch_bulk(seconds=5)
    assert sandbox.total() == 3
    assert "1 left out on purpose" in text("show", one)


def test_the_unreached_are_counted_before_they_get_it_again() -> None:
    old = begun(HERE, phones(3))
    text("cancel", str(old.pk), *WHY)
    carried_out(old)
    said = "3 in campaign, 0 delivered, 3 will be sent."
    assert text("retry-unreached", str(old.pk), "--dry-run") == f"{said} Nothing was stored.\n"
    assert Campaign.objects.count() == 1
    made = answer("retry-unreached", str(old.pk), *WHY)
    assert (made["will_be_sent"], made["retry_of"]) == (3, str(old.pk))
    assert Campaign.objects.get(pk=made["campaign"]).status == "draft"


def test_numbers_are_never_shown(a_file: str) -> None:
    told = text("plan", a_file, "--text", TEXT) + text("create", a_file, "--text", TEXT, *WHY)
    one = str(Campaign.objects.get().pk)
    told += text("show", one) + text("list") + text("show", one, "--json")
    assert not any(phone[1:] in told for phone in phones(4))


def test_a_watched_campaign_tells_a_line_until_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = begun(HERE, phones(3))
    carried_out(campaign)

    def meanwhile(_seconds: float) -> None:
        OutboundMessage.objects.filter(status="queued").update(status="suppressed", due_at=None, ring_at=None)
        campaigns.finish()

    monkeypatch.setattr("core.delivery.management.commands.campaigns.time.sleep", meanwhile)
    lines = text("show", str(campaign.pk), "--watch").splitlines()
    assert lines[0] == "running 0 %: 0 not written, 3 queued"
    assert any("done" in line for line in lines[1:])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plan", "--text", TEXT), "Say to whom"),
        (("plan", "x.csv", "--region", "AH", "--text", TEXT), "Say to whom"),
        (("plan", "/nowhere.csv", "--text", TEXT), "/nowhere.csv cannot be read: No such file"),
        (("plan", "--where", "region", "--text", TEXT), "KEY=VALUE"),
        (("plan", "--region", "XX", "--text", TEXT), "region code is not known"),
        (("plan", "--everybody", "--source", "crowds", "--text", TEXT), "no source of people"),
        (("plan", "--everybody", "--text", ""), "is empty"),
        (("show", "12"), "is no id of a campaign"),
        (("show", "nonsense"), "is no id of a campaign"),
        (("start", "00000000"), "There is no campaign '00000000'"),
    ],
)
def test_what_cannot_be_done_says_why(words: tuple[str, ...], said: str) -> None:
    assert said in refused(*words)


def test_stopping_needs_a_reason() -> None:
    campaign = Campaign.objects.create(message=TEXT, status="running")
    assert "--reason" in refused("pause", str(campaign.pk))
    assert Campaign.objects.get().status == "running"


def test_whoever_is_named_must_be_allowed() -> None:
    campaign = Campaign.objects.create(message=TEXT, status="running")
    farmer = person(Role.FARMER)
    assert "No account has this phone number" in refused("cancel", str(campaign.pk), "--as", "0209999999", *WHY)
    assert "You may not send bulk SMS" in refused("cancel", str(campaign.pk), "--as", farmer.phone, *WHY)


def test_of_two_that_begin_alike_more_digits_are_wanted() -> None:
    ids = [f"00000000-0000-7000-8000-00000000000{n}" for n in (1, 2)]
    for pk in ids:
        Campaign.objects.create(pk=pk, message=TEXT, status="running")
    assert "More than one campaign" in refused("show", "00000000")
    assert answer("show", ids[1])["id"] == ids[1]


@pytest.mark.django_db(transaction=True)
def test_a_list_comes_through_a_pipe() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "campaigns", "plan", "-", "--text", TEXT, "--json"],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": database_url()},
        input="\n".join(phones(3)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["recipients"] == 3
