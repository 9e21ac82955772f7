"""Whom a campaign is for: lists as people have them, and selections that are read when it runs."""

from __future__ import annotations

import itertools
import tracemalloc
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection

from core.base.registries import NATION, PeopleSource, SelectedPerson, Selection, audiences_of_people
from core.delivery import audiences, campaign_life, campaigns
from core.delivery.models import Campaign, CampaignRecipient, OutboundMessage
from core.errors import Conflict, InvalidInput
from tests.delivery.campaign import TERMINAL, TEXT, admin, begun, carried_out, declines, draft, farmers, status
from tests.delivery.outbox import meanwhile, phones
from tests.delivery.test_campaigns import Killed


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0244123456\n0244123457\n", ["0244123456", "0244123457"]),
        ("\ufeff0244123456\r\n\r\n 0244123457 \r\n", ["0244123456", "0244123457"]),
        ("phone\n0244123456", ["0244123456"]),
        ('"0244123456"\n"024 412 3457"', ["0244123456", "024 412 3457"]),
        ('name,Phone\nAma,0244123456\n"Darko, Kofi",0244123457\n', ["0244123456", "0244123457"]),
        ("Name;MSISDN;Town\nAma;0244123456;Tema", ["0244123456"]),
        ("phone\tname\n0244123456\tAma", ["0244123456"]),
        ("name,phone\nAma\nKofi,0244123457", ["", "0244123457"]),
    ],
)
def test_numbers_come_one_a_line_or_as_a_column(text: str, numbers: list[str]) -> None:
    assert audiences.numbers_of(text) == numbers


def test_a_column_with_another_heading_is_named() -> None:
    text = "farmer,Handy\nAma,0244123456"
    assert audiences.numbers_of(text, "handy") == ["0244123456"]
    with pytest.raises(InvalidInput, match=r"no column 'phone'.*its first line has: farmer, handy"):
        audiences.numbers_of(text)
    with pytest.raises(InvalidInput, match="no column 'cell'"):
        audiences.numbers_of(text, "cell")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "list is empty"),
        (" \n\r\n", "list is empty"),
        ("a" * 5_000_001, "longer than"),
    ],
)
def test_a_list_that_cannot_be_read(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        audiences.numbers_of(text)


def test_a_first_line_of_numbers_is_shown_masked() -> None:
    with pytest.raises(InvalidInput) as raised:
        audiences.numbers_of("Ama,0244123456\nKofi,0244123457")
    assert "0244123456" not in str(raised.value)
    assert "+233*****3456" in str(raised.value)


@pytest.mark.parametrize("given", ["0244123456", None, 7, {}, b"1", iter([])])
def test_what_is_no_list(given: Any) -> None:
    with pytest.raises(InvalidInput, match="must be a list"):
        audiences.listed(given)


# --- selections ----------------------------------------------------------------------------------------------------


class Crowd:
    """A source of as many people as wanted, each looked at only when its turn comes."""

    def __init__(self, size: int) -> None:
        self.size, self.read = size, 0

    def people(self, _where: Any, after: uuid.UUID | None) -> Iterator[SelectedPerson]:
        for number in range(after.int if after else 0, self.size):
            self.read += 1
            yield SelectedPerson(uuid.UUID(int=number + 1), f"+23324{number:07d}", "en")

    @property
    def source(self) -> PeopleSource:
        return PeopleSource(lambda where: Selection({}, NATION), lambda where: self.size, self.people)


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Crowd:
    found = Crowd(50)
    monkeypatch.setitem(audiences_of_people, "crowd", found.source)
    monkeypatch.setattr(campaigns, "STORE_CHUNK", 7)
    return found


@pytest.mark.django_db
def test_a_selection_is_read_when_the_campaign_runs_and_says_whom_it_meant() -> None:
    [ama, kofi] = farmers(2)
    campaign = draft(admin(), where={"region": "ah", "role": "farmer"})
    assert (campaign.audience, campaign.expected, campaign.accepted) == ("users: region AH, role FARMER", 2, 0)
    [late] = farmers(1)
    farmers(1, "AA")
    campaign_life.start(campaign_id=campaign.pk, actor=TERMINAL)
    assert carried_out(campaign)["accepted_for_sending"] == 3
    written = {(m.recipient, m.user_id) for m in OutboundMessage.objects.all()}
    assert written == {(person.phone, person.pk) for person in (ama, kofi, late)}
    recipient = CampaignRecipient.objects.get(phone=ama.phone)
    assert OutboundMessage.objects.get(recipient=ama.phone).pk == recipient.message


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("where", "said"),
    [({"region": "XX"}, "region code is not known"), ({"town": "Tema"}, "not town"), ({"role": "king"}, "role")],
)
def test_a_selection_that_cannot_be_used(where: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        audiences.selected(where)
    with pytest.raises(InvalidInput, match="no source of people 'crowds'"):
        audiences.selected({}, source="crowds")


@pytest.mark.django_db
def test_of_a_long_selection_a_part_is_looked_at(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audiences, "LOOKS_AT", 20)
    monkeypatch.setattr(audiences, "CHUNK", 10)
    for number in (3, 30):
        declines(f"+23324{number:07d}")
    plan = campaign_life.plan(text=TEXT, audience=audiences.selected({}, source="crowd"))
    assert (plan.recipients, plan.examined, plan.opted_out, plan.to_be_sent) == (50, 20, 1, 49)
    assert crowd.read <= 21


@pytest.mark.django_db
@pytest.mark.parametrize("after", range(9))
def test_a_reader_that_is_killed_goes_on_after_the_last_person(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    campaign = begun_to_crowd()
    real, calls = campaigns._store_some, itertools.count()

    def dying(*args: Any) -> int:
        if next(calls) == after:
            raise Killed
        return real(*args)

    monkeypatch.setattr(campaigns, "_store_some", dying)
    with pytest.raises(Killed):
        carried_out(campaign)
    before = crowd.read
    assert carried_out(campaign)["accepted_for_sending"] == 50
    assert sorted(OutboundMessage.objects.values_list("recipient", flat=True)) == phones(50)
    assert crowd.read - before <= max(0, 50 - 7 * after) + 2, "it did not begin anew"


def begun_to_crowd() -> Campaign:
    audience = audiences.selected({}, source="crowd")
    campaign, _ = campaign_life.create(actor=TERMINAL, text=TEXT, audience=audience)
    campaign_life.start(campaign_id=campaign.pk, actor=TERMINAL)
    # the people of the crowd have no accounts
    with connection.cursor() as cursor:
        for table in ("delivery_campaignrecipient", "delivery_outboundmessage"):
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    return campaign


@pytest.mark.django_db
def test_a_selection_that_has_grown_is_not_started(crowd: Crowd) -> None:
    audience = audiences.selected({}, source="crowd")
    campaign, _ = campaign_life.create(actor=TERMINAL, text=TEXT, audience=audience)
    crowd.size = 66
    with pytest.raises(Conflict, match="meant 50 people when it was planned and means 66 now"):
        campaign_life.start(campaign_id=campaign.pk, actor=TERMINAL)
    crowd.size = 65
    campaign_life.start(campaign_id=campaign.pk, actor=TERMINAL)


@pytest.mark.django_db
def test_one_that_grows_while_it_is_read_pauses_until_a_person_has_looked(crowd: Crowd) -> None:
    campaign = begun_to_crowd()
    crowd.size = 100
    told = carried_out(campaign)
    assert told["status"] == "held"
    assert told["accepted_for_sending"] <= 72
    campaign.refresh_from_db()
    assert (campaign.status, campaign.complete) == ("paused", False)
    assert "more people than planned (50)" in campaign.reason
    for _ in range(5):
        campaign_life.resume(campaign_id=campaign.pk, actor=TERMINAL)
        carried_out(campaign)
        if status(campaign) != "paused":
            break
    assert OutboundMessage.objects.count() == 100


@pytest.mark.django_db
def test_memory_does_not_grow_with_the_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigns, "_write_some", lambda *_: 0)
    crowd = Crowd(40_000)
    monkeypatch.setitem(audiences_of_people, "crowd", crowd.source)
    monkeypatch.setattr(campaign_life, "why_approval", lambda *_: "")
    campaign = begun_to_crowd()
    Campaign.objects.update(status="running")
    campaigns._store_some(campaign, [])
    tracemalloc.start()
    try:
        for _ in range(9):
            campaigns._store_some(campaign, [])
        early = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        while campaigns._store_some(campaign, []):
            pass
        late = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert CampaignRecipient.objects.count() == 40_000
    assert max(early, late) < 6_000_000, "40,000 people at once take more than 10 MB"


@pytest.mark.django_db(transaction=True)
def test_two_workers_read_one_selection_once() -> None:
    people = farmers(60)
    campaign = begun(admin(), where={"region": "AH", "role": "FARMER"})
    with meanwhile(*[lambda: carried_out(campaign)] * 3):
        pass
    recipients = OutboundMessage.objects.values_list("recipient", flat=True)
    assert sorted(recipients) == sorted(person.phone for person in people)
    campaign.refresh_from_db()
    assert (campaign.accepted, campaign.duplicates, campaign.written, campaign.complete) == (60, 0, 60, True)


def test_a_source_is_asked_for_a_chunk_at_a_time(crowd: Crowd) -> None:
    people = audiences.people({"source": "crowd", "where": {}}, None)
    assert next(people) == SelectedPerson(uuid.UUID(int=1), "+233240000000", "en")
    assert crowd.read == 1
    assert SimpleNamespace(**vars(next(people))).phone == "+233240000001"
