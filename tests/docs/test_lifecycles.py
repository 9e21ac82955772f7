"""docs/lifecycles.md has the states and the ways of the code, all and no more."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from accounts.rules import INVITATION_TRANSITIONS
from core.delivery import rules as delivery
from core.delivery.models import Campaign, CampaignRecipient
from core.jobs import rules as jobs
from core.reporting import rules as reporting
from farms import rules as farms
from tests.docs.specification import ROOT

PAGE = ROOT / "docs/lifecycles.md"
Way = tuple[str, str]


def tables(heading: str) -> list[list[list[str]]]:
    """The tables under a heading: rows of cells, without the head."""
    section = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [
        [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
        for table in re.findall(r"(?:^\|.*\|\n?)+", section, re.MULTILINE)
    ]


def ways(rows: Iterable[list[str]]) -> list[Way]:
    return [(row[0], row[1]) for row in rows if row[0] != "–"]


def of_code(transitions: Mapping[Any, Iterable[Any]]) -> set[Way]:
    return {(str(before), str(after)) for before, following in transitions.items() for after in following}


def choices(model: type[Campaign] | type[CampaignRecipient]) -> list[str]:
    return [value for value, _ in model._meta.get_field("status").choices or ()]


@pytest.mark.parametrize(
    ("heading", "transitions"),
    [
        ("A run of a task", jobs.TRANSITIONS),
        ("A scheduled time", jobs.OCCURRENCE_TRANSITIONS),
        ("A message", delivery.TRANSITIONS),
        ("An invitation", INVITATION_TRANSITIONS),
        ("An application", farms.ways(farms.APPLICATION)),
        ("A review", farms.ways(farms.REVIEW)),
        ("An applicant's invitation", farms.ways(farms.INVITATION)),
        ("A farm", farms.ways(farms.FARM)),
        ("A batch", farms.ways(farms.BATCH)),
        ("An enrolment", farms.ways(farms.ENROLLMENT)),
        ("A flock", farms.ways(farms.FLOCK)),
        ("An alert", farms.ways(farms.ALERT)),
        ("A report", reporting.TRANSITIONS),
    ],
)
def test_states_and_ways_are_those_of_the_rules(heading: str, transitions: Mapping[Any, Iterable[Any]]) -> None:
    states, told = tables(heading)
    assert [row[0] for row in states] == [str(state) for state in type(next(iter(transitions)))]
    assert len(ways(told)) == len(set(ways(told)))
    assert set(ways(told)) == of_code(transitions)


def test_a_call_ends_in_one_of_the_verdicts() -> None:
    states, told = tables("A call to a provider")
    ends = [*(str(verdict) for verdict in delivery.Verdict), "mixed"]
    assert [row[0] for row in states] == ["open", *ends]
    assert ways(told) == [("open", end) for end in ends]


def test_bulk_sms_has_the_states_of_its_tables() -> None:
    campaign, its_ways, recipient, whose_ways = tables("Bulk SMS")
    assert [row[0] for row in campaign] == choices(Campaign)
    assert [row[0] for row in recipient] == choices(CampaignRecipient)
    assert len(ways(its_ways)) == len(set(ways(its_ways)))
    assert set(ways(its_ways)) == of_code(delivery.CAMPAIGN_TRANSITIONS)
    assert {state for way in ways(whose_ways) for state in way} <= set(choices(CampaignRecipient))


@pytest.mark.parametrize("heading", re.findall(r"^## (.+)$", PAGE.read_text(), re.MULTILINE))
def test_every_way_lies_between_states_of_the_page_and_has_its_mover(heading: str) -> None:
    found = tables(heading)
    for states, told in zip(found[::2], found[1::2], strict=True):
        names = {row[0] for row in states}
        assert all(row[1] for row in states)
        assert {row[0] for row in told} - {"–"} <= names
        assert {row[1] for row in told} <= names
        assert all(row[2] for row in told)
        assert [row for row in told if not row[3] and not row[2].startswith("not yet")] == []


def test_the_contents_name_every_heading_once() -> None:
    contents, *sections = PAGE.read_text().split("\n## ")
    named = [text.casefold() for text in re.findall(r"\[([^\]]+)\]\(#", contents)]
    assert sorted(named) == sorted(section.partition("\n")[0].casefold() for section in sections)
