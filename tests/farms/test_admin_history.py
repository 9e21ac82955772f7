"""What the page of a row says about what was done to it: when, what, who, why, and what changed; nothing of it raw."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html import unescape
from typing import Any

import pytest

from accounts.models import Constituency, User
from accounts.rules import Role
from core import clock
from core.base.models import AuditLog
from core.base.services import THE_SYSTEM, record
from farms.admin import history
from farms.rules import FlockStatus
from farms.services import applications, batches, farms, production, reviews
from tests.factories import BatchFactory, UserFactory, a_farm
from tests.factories.farms import today
from tests.farms.conftest import living_in
from tests.farms.journey import apply, approved
from tests.farms.test_admin_pages import MODELS, do, enrolled, page_of, recorded, seen, signed_in
from tests.farms.test_batches import a_round
from tests.farms.test_history import over

pytestmark = pytest.mark.django_db


def told(user: User, row: Any) -> list[list[str]] | None:
    """The history on the page of a row: the cells of each line, in order; None where there is none."""
    page = seen(signed_in(user).get(page_of(f"{row._meta.model_name}_change", row.pk)))
    _, found, after = page.partition('id="history"')
    if not found:
        return None
    lines = re.findall(r'<tr class="form-row">(.*?)</tr>', after, re.DOTALL)
    return [
        [
            unescape(" | ".join(re.findall(r"[^<>\n]+(?=<)", cell)))
            for cell in re.findall(r"<td.*?>(.*?<)/td>", line, re.DOTALL)
        ]
        for line in lines
    ]


def about(user: User, row: Any) -> list[list[str]]:
    """The same, without the moments."""
    return [cells[1:] for cells in told(user, row) or []]


def test_why_a_farm_was_suspended_is_read_on_its_page(local: User) -> None:
    farm = a_farm(place=local.constituency)
    assert told(local, farm) == []
    do(local, farm, "suspend", reason="no birds <yet>")
    do(local, farm, "reinstate", reason="birds came")
    who = f"{local.get_full_name()}, Constituency admin"
    assert about(local, farm) == [
        ["Reinstated", who, "birds came", "farm status: suspended → active"],
        ["Suspended", who, "no birds <yet>", "farm status: active → suspended"],
    ]
    assert told(local, a_farm(place=local.constituency)) == [], "each has its own"


def test_an_officer_is_told_by_name_and_not_by_id(local: User) -> None:
    farm = a_farm(place=local.constituency)
    officer = living_in("BNT", Role.EXTENSION_OFFICER, first_name="Esi", last_name="Owusu")
    official = living_in("BNT", Role.YEA_OFFICIAL, first_name="Kofi", last_name="Adjei")
    farms.name_extension_officer(actor=local, farm_id=farm.pk, officer_id=officer.pk)
    farms.assign(actor=local, farm_id=farm.pk, officer_id=official.pk)
    farms.unassign(actor=local, farm_id=farm.pk, officer_id=official.pk)
    assert [(what, changed) for what, _, _, changed in about(local, farm)] == [
        ("Taken from a field official", "officer: Kofi Adjei, YEA official → –"),
        ("Given to a field official", "officer: Kofi Adjei, YEA official"),
        ("Extension officer named", "extension officer: – → Esi Owusu, Extension officer"),
    ]


def test_moments_are_those_of_accra() -> None:
    entry = history.Entry(datetime(2026, 11, 3, 14, 5, tzinfo=UTC), "", "", "")
    assert entry.when == "3 Nov 2026, 14:05"


def test_what_happened_by_itself_says_so(national: User) -> None:
    batch = over(status="paused")
    batches.close_past(today=today(), now=clock.now())
    assert about(national, batch) == [["Closed", THE_SYSTEM, "–", "status: paused → closed"]]


def test_an_application_has_its_steps_in_its_history(local: User) -> None:
    application = apply()
    applications.reject(actor=local, application_id=application.pk, reason="no land", now=clock.now())
    assert about(local, application) == [
        ["Constituency review → Rejected", f"{local.get_full_name()}, Constituency admin", "no land", "–"],
        ["Submitted → Constituency review", "applicant or system", "–", "–"],
        ["new → Submitted", "applicant or system", "–", "–"],
    ]


def test_every_page_tells_its_history(local: User, regional: User, national: User) -> None:
    invited = approved(local, regional, national)
    invitation = invited.invitations.get()
    applications.invite_again(actor=national, application_id=invited.pk, now=clock.now())
    item = apply().reviews.get()
    reviews.claim(actor=local, item_id=item.pk, now=clock.now())
    farm = a_farm(place=local.constituency)
    day = recorded(farm, birds_died=60, signs_of_disease=True)
    alert = farm.alerts.get(kind="mortality_daily")
    production.close_alert(actor=local, alert_id=alert.pk)
    vet = living_in("BNT", Role.VETERINARY_OFFICER)
    production.mark_inspected(actor=vet, record_id=day.mortality.pk, now=clock.now())
    production.end_flock(actor=farm.user, flock_id=day.flock_id, how=FlockStatus.CULLED, on=today(), now=clock.now())
    day.flock.refresh_from_db()
    left = day.flock.left_at_end
    lines: list[tuple[Any, str, User | None, str]] = [
        (invitation, "Revoked", national, "status: pending → revoked"),
        (item, "Claimed", local, "status: pending → claimed"),
        (alert, "Closed", local, "status: open → closed"),
        (day.mortality, "Inspected", vet, "–"),
        (
            day.flock,
            "Culled",
            farm.user,
            f"current count: {left} → 0 | ended on: {today():%-d %b %Y} | status: active → culled",
        ),
        (enrolled(farm), "Eligibility check → Constituency review", None, "–"),
    ]
    for row, done, actor, difference in lines:
        what, who, _, changed = about(national, row)[0]
        by = f"{actor.get_full_name()}, {actor.get_role_display()}" if actor else "applicant or system"
        assert (what, who, changed) == (done, by, difference)


def test_of_a_planned_batch_each_figure_is_said(national: User) -> None:
    batch = BatchFactory.create()
    plan = {"total_slots": 50, "allow_overbooking": False, "places": ["BNT", "TMW"], "start_date": date(2027, 1, 10)}
    record(action="batch.create", subject=("batch", str(batch.pk)), actor_id=national.pk, after=plan)
    [[what, _, _, changed]] = about(national, batch)
    assert what == "Planned"
    assert changed.split(" | ") == [
        *("allow overbooking: no", "places: BNT, TMW", "start date: 10 Jan 2027", "total slots: 50")
    ]


def test_of_a_changed_batch_only_what_differs_is_said(national: User, bantama: Constituency) -> None:
    batch = batches.create(actor=national, plan=(plan := a_round(eligible_constituencies=[bantama])))
    later = plan.application_deadline + timedelta(days=5)
    moved = replace(plan, application_deadline=later, end_date=later, total_slots=60, eligible_constituencies=[])
    batches.change(actor=national, batch_id=batch.pk, plan=moved)
    what, _, _, changed = about(national, batch)[0]
    assert what == "Changed"
    assert changed.split(" | ") == [
        f"application deadline: {plan.application_deadline:%-d %b %Y} → {later:%-d %b %Y}",
        "eligible constituencies: BNT → –",
        f"end date: {plan.end_date:%-d %b %Y} → {later:%-d %b %Y}",
        "total slots: 2 → 60",
    ]


def test_the_history_shows_no_whole_phone_card_tin_or_address_and_nothing_raw(local: User) -> None:
    farm = a_farm(place=local.constituency)
    kept = {"primary_phone": "+233244123456", "ghana_card_number": "GHA-123456789-0", "tin": "P0001234567"}
    record(
        action="farm.change_details",
        subject=("farm", str(farm.pk)),
        actor_name="ama@host (command line)",
        before=kept | {"contact": {"email": "ama@example.com", "is_verified": True}},
        after=kept | {"primary_phone": "+233244654321", "tin": "", "ghana_card_number": "GHA-987654321-0"},
        reason="the owner 0244123456 with GHA-123456789-0 called",
    )
    [[what, who, reason, changed]] = about(local, farm)
    assert (what, who) == ("Changed", "ama@host (command line)")
    assert reason == "the owner +233*****3456 with GHA-*****789-0 called"
    assert changed.split(" | ") == [
        "contact: email ***@example.com, is verified yes → –",
        "ghana card number: GHA-*****789-0 → GHA-*****321-0",
        "primary phone: +233*****3456 → +233*****4321",
        "tin: *****4567 → –",
    ]


def test_the_newest_fifty_are_shown_with_the_same_queries_as_one(
    local: User, django_assert_max_num_queries: Any
) -> None:
    farm = a_farm(place=local.constituency)
    officer = living_in("BNT", Role.YEA_OFFICIAL)
    client, there = signed_in(local), page_of("farm_change", farm.pk)
    farms.assign(actor=local, farm_id=farm.pk, officer_id=officer.pk)
    client.get(there)
    with django_assert_max_num_queries(40) as found:
        client.get(there)
    of_log = [query for query in found.captured_queries if "base_auditlog" in query["sql"]]
    assert len(of_log) == 1
    for _ in range(55):
        record(action="farm.unassign", subject=("farm", str(farm.pk)), actor_id=UserFactory.create().pk, reason="x")
    with django_assert_max_num_queries(len(found.captured_queries)):
        client.get(there)
    lines = told(local, farm)
    assert lines is not None
    assert (len(lines), {line[3] for line in lines}) == (history.MOST_SHOWN, {"x"})
    assert AuditLog.objects.count() == 56


@pytest.mark.parametrize("role", [Role.VETERINARY_OFFICER, Role.PROCUREMENT_OFFICER])
def test_who_looks_after_birds_or_buys_reads_no_history_of_a_farm(local: User, role: Role) -> None:
    farm = a_farm(place=local.constituency)
    do(local, farm, "suspend", reason="no birds")
    reader = living_in("BNT", role)
    assert told(reader, farm) is None
    assert "no birds" not in seen(signed_in(reader).get(page_of("farm_change", farm.pk)))
    assert about(UserFactory.create(role=Role.AUDITOR), farm)[0][2] == "no birds"


def test_nothing_is_changed_through_a_history(local: User) -> None:
    farm = a_farm(place=local.constituency)
    do(local, farm, "suspend", reason="no birds")
    page = seen(signed_in(local).get(page_of("farm_change", farm.pk)))
    block = page.partition('id="history"')[2].partition("</fieldset>")[0]
    assert not re.search("<(a|input|button|select|textarea|form)[ >]", block)


def test_every_page_but_these_has_a_history() -> None:
    from django.contrib import admin

    without = {name for name, model in MODELS.items() if not getattr(admin.site._registry[model], "audited", "")}
    assert without == {
        "dailyproduction",  # its corrections tell what was said before
        *("farmlocation", "infrastructure", "farmdocument"),  # no more than their farm has of them
    }
