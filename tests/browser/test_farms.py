"""The pages of farms as a person sees them, at 360 and 1280 px, light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.rules import Role
from core import clock
from farms.models import FarmApplication
from farms.rules import FlockStatus
from farms.services import farms, production
from tests.accounts.test_pages_for_strangers import NEW
from tests.browser.test_pages import fits
from tests.factories import FlockFactory, UserFactory, a_farm
from tests.factories.accounts import PASSWORD
from tests.factories.farms import today
from tests.farms.journey import apply
from tests.farms.test_changes_page import PNG, ask
from tests.farms.test_invitations import linked

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.django_db(transaction=True),
]


def test_the_page_behind_an_invitation_fits_and_opens_the_account(page: Page, live_server: LiveServer) -> None:
    application = apply(
        "independent", phone_verified=True, constituency=UserFactory.create(role=Role.CONSTITUENCY_ADMIN).constituency
    )
    address = f"{live_server.url}/farms/invitation/{linked(application)}/"
    page.goto(address)
    assert fits(page)
    page.get_by_label("Password", exact=True).fill(NEW)
    page.get_by_label("Password once more").fill("another")
    page.get_by_role("button", name="Open my account").click()
    expect(page.get_by_role("alert")).to_have_text("These two passwords are not the same. Type both again.")
    assert fits(page)
    page.get_by_label("Password", exact=True).fill(NEW)
    page.get_by_label("Password once more").fill(NEW)
    page.get_by_role("button", name="Open my account").click()
    expect(page.get_by_text("Your account and your farm are open")).to_be_visible()
    page.goto(address)
    expect(page.get_by_role("heading", name="This link does not work any more")).to_be_visible()
    assert fits(page)


def test_an_applicant_changes_what_a_review_asks_for(
    page: Page, live_server: LiveServer, tmp_path: Path, settings: LazySettings
) -> None:
    settings.MEDIA_ROOT = str(tmp_path)
    officer = UserFactory.create(role=Role.CONSTITUENCY_ADMIN)
    application = apply(constituency=officer.constituency, email="ama@example.com")
    address = f"{live_server.url}{ask(officer, application, 'the photo of your Ghana Card cannot be read')}"
    page.goto(address)
    expect(page.get_by_text("the photo of your Ghana Card cannot be read")).to_be_visible()
    expect(page.get_by_label("Date of birth")).to_have_value("1998-03-14")
    assert fits(page)
    page.get_by_label("Poultry houses").fill("3")
    page.get_by_label("I have a poultry farm already").check()
    card = page.get_by_label("Ghana Card, if you have a new one")
    card.set_input_files({"name": "card.gif", "mimeType": "image/gif", "buffer": b"GIF89a"})
    page.get_by_role("button", name="Send my changes").click()
    expect(page.get_by_role("alert")).to_have_text("A document is a JPEG, a PNG or a PDF file.")
    expect(page.get_by_label("Poultry houses")).to_have_value("3")
    assert fits(page)
    card.set_input_files({"name": "card.png", "mimeType": "image/png", "buffer": PNG})
    page.get_by_role("button", name="Send my changes").click()
    expect(page.get_by_role("heading", name="We have your changes")).to_be_visible()
    assert fits(page)
    page.goto(address)
    expect(page.get_by_role("heading", name="This link does not work any more")).to_be_visible()
    assert fits(page)
    changed = FarmApplication.objects.get()
    assert (changed.status, changed.number_of_poultry_houses, changed.has_existing_farm) == (
        "constituency_review",
        3,
        True,
    )
    assert changed.documents.get().kind == "ghana_card"


def abena_signs_in(page: Page, live_server: LiveServer) -> None:
    page.goto(f"{live_server.url}/accounts/login/?next=/admin/")
    page.get_by_label("Phone number, e-mail or username").fill("abena")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/admin/")


def test_an_officer_decides_on_an_application(page: Page, live_server: LiveServer) -> None:
    officer = UserFactory.create(role=Role.CONSTITUENCY_ADMIN, username="abena", is_demo=True)
    application = apply(constituency=officer.constituency)
    abena_signs_in(page, live_server)
    page.locator("#content").get_by_role("link", name="Farm applications").click()
    page.get_by_role("link", name=application.application_number).click()
    expect(page.get_by_role("heading", name=application.application_number)).to_be_visible()
    assert fits(page)
    page.get_by_role("link", name="Reject").click()
    assert fits(page)
    page.get_by_label("Reason").fill("the photo of the Ghana Card cannot be read")
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_text(f"Done (reject): {application.application_number}.")).to_be_visible()
    expect(page.get_by_text("Constituency review → Rejected")).to_be_visible()
    expect(page.get_by_role("link", name="Reject")).to_have_count(0)
    assert fits(page)
    page.goto(f"{live_server.url}/admin/farms/farmapplication/?status=rejected")
    expect(page.get_by_role("link", name=application.application_number)).to_be_visible()
    assert fits(page)


def test_an_officer_reads_what_was_done_to_a_farm_and_a_flock(page: Page, live_server: LiveServer) -> None:
    officer = UserFactory.create(role=Role.CONSTITUENCY_ADMIN, username="abena", is_demo=True)
    farm = a_farm(place=officer.constituency)
    field = UserFactory.create(role=Role.EXTENSION_OFFICER, first_name="Kwabena", last_name="Owusu-Ansah")
    farms.name_extension_officer(actor=officer, farm_id=farm.pk, officer_id=field.pk)
    reason = "no birds were found on three visits, and the neighbours say that the houses have been empty since August"
    farms.suspend(actor=officer, farm_id=farm.pk, reason=reason)
    flock = FlockFactory.create(farm=farm)
    gone: dict[str, Any] = {"flock_id": flock.pk, "how": FlockStatus.SOLD, "on": today()}
    production.end_flock(actor=farm.user, now=clock.now(), **gone)
    abena_signs_in(page, live_server)
    page.goto(f"{live_server.url}/admin/farms/farm/{farm.pk}/change/")
    history = page.locator("#history")
    expect(history.get_by_role("heading", name="History")).to_be_visible()
    expect(history.get_by_text(reason)).to_be_visible()
    expect(history.get_by_text("farm status: active → suspended")).to_be_visible()
    expect(history.get_by_text("extension officer: – → Kwabena Owusu-Ansah, Extension officer")).to_be_visible()
    assert fits(page)
    assert history.evaluate("block => block.scrollWidth === block.clientWidth"), "nothing of it lies outside"
    page.goto(f"{live_server.url}/admin/farms/flock/{flock.pk}/change/")
    expect(page.locator("#history").get_by_text("status: active → sold")).to_be_visible()
    assert fits(page)
