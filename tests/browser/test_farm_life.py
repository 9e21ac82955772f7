"""The life of a farm: somebody applies, officers decide, the farmer takes it over, enrols, and reports a bad week."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from playwright.sync_api import Browser, BrowserContext, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from accounts.rules import Role
from core.delivery import dispatch
from core.delivery.models import OutboundMessage
from core.jobs.models import TaskRun
from farms.models import Farm
from tests.browser.test_pages import fits
from tests.delivery.conftest import hints, impatient, network, no_context, private_redis, sandbox
from tests.delivery.test_tasks import work_off
from tests.factories import BatchFactory, UserFactory
from tests.factories.accounts import PASSWORD
from tests.factories.farms import today
from tests.sandbox.process import Sandbox

__all__ = ["hints", "impatient", "network", "no_context", "private_redis", "sandbox"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.django_db(transaction=True),
]

PHONE, NEW = "+233207000123", "a-Xaverine-password"
API = "/api/v1"
SignIn = Callable[[str, str], Page]


@pytest.fixture
def sign_in(chromium: Browser, live_server: LiveServer, settings: LazySettings) -> Iterator[SignIn]:
    """A phone of its own for each person, signed in by the page."""
    settings.BASE_URL = live_server.url
    contexts: list[BrowserContext] = []

    def as_person(name: str, password: str) -> Page:
        contexts.append(chromium.new_context(viewport={"width": 360, "height": 740}, base_url=live_server.url))
        page = contexts[-1].new_page()
        page.goto("/accounts/login/")
        page.get_by_label("Phone number, e-mail or username").fill(name)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text("Signed in as")).to_be_visible()
        return page

    yield as_person
    for context in contexts:
        context.close()


def the_work_is_done() -> None:
    """What workers do: every run that waits, then every message."""
    while waiting := TaskRun.objects.filter(state="pending").order_by("asked_at").first():
        work_off(str(waiting.pk))
    for message in OutboundMessage.objects.filter(status="queued").order_by("created_at"):
        dispatch.deliver(message.pk)


def texts(inbox: Sandbox, phone: str) -> list[str]:
    """What the phone has got, the oldest first."""
    the_work_is_done()
    return [str(each["text"]) for each in reversed(inbox.messages(limit=100)) if phone in each["to"]]


def ask(page: Page, address: str, content: Any = None) -> Any:
    """The API, as the signed-in page asks it; posted when there is content."""
    if content is None:
        answer = page.request.get(f"{API}/{address}")
    else:
        [token] = [one["value"] for one in page.context.cookies() if one["name"] == "csrftoken"]
        answer = page.request.post(f"{API}/{address}", data=content, headers={"X-CSRFToken": token})
    assert answer.ok, answer.text()
    return answer.json()


def decides(page: Page, number: str, act: str) -> None:
    """An officer finds the application in the list of what is to do, and decides."""
    page.goto("/admin/farms/farmapplication/")
    page.get_by_role("link", name=number).click()
    page.get_by_role("link", name=act, exact=True).click()
    assert fits(page)
    page.get_by_role("button", name=act, exact=True).click()
    expect(page.get_by_text("Done")).to_be_visible()


def a_week(flock: str) -> list[dict[str, Any]]:
    """Eggs of seven days; on the last of them more than a tenth of the birds dies."""
    days = [today() - timedelta(days=ago) for ago in range(6, -1, -1)]
    rows = [
        {"client_id": f"day-{n}", "flock": flock, "production_date": f"{day}", "good_eggs": 400 + n}
        for n, day in enumerate(days)
    ]
    rows[-1] |= {"birds_died": 60, "mortality_reason": "disease", "signs_of_disease": True}
    return rows


def test_a_farm_lives_from_application_to_alarm(
    sign_in: SignIn, chromium: Browser, live_server: LiveServer, sandbox: Sandbox
) -> None:
    local = UserFactory.create(role=Role.CONSTITUENCY_ADMIN)
    place = local.constituency
    assert place
    regional = UserFactory.create(role=Role.REGIONAL_ADMIN, constituency=place)
    national = UserFactory.create(role=Role.NATIONAL_ADMIN)
    extension = UserFactory.create(role=Role.EXTENSION_OFFICER, constituency=place)
    vet = UserFactory.create(role=Role.VETERINARY_OFFICER, constituency=place)
    batch = BatchFactory.create(total_slots=1)

    # Somebody applies.
    stranger = chromium.new_context(base_url=live_server.url)
    applied = stranger.request.post(
        f"{API}/applications/apply/",
        data={
            "application_type": "government_program",
            "full_name": "Ama Serwaa Darko",
            "date_of_birth": "1998-03-14",
            "primary_phone": "020 700 0123",
            "ghana_card_number": "GHA-700000123-1",
            "constituency": place.code,
            "farm_name": "Darko Farms",
            "number_of_poultry_houses": 2,
            "total_bird_capacity": 1_000,
            "primary_production_type": "layers",
        },
    )
    assert applied.status == 201, applied.text()
    number = applied.json()["application_number"]
    [received] = texts(sandbox, PHONE)
    assert number in received

    # Three levels decide, each in the pages of officers; the applicant reads of every step.
    for officer, act in ((local, "Forward"), (regional, "Forward"), (national, "Approve")):
        decides(sign_in(officer.username, PASSWORD), number, act)
    got = texts(sandbox, PHONE)
    assert len(got) == 4
    assert len(set(got)) == 4
    link = next(word for word in got[-1].split() if word.startswith(live_server.url)).rstrip(".")

    # The link opens account and farm.
    page = stranger.new_page()
    page.goto(link)
    page.get_by_label("Password", exact=True).fill(NEW)
    page.get_by_label("Password once more").fill(NEW)
    page.get_by_role("button", name="Open my account").click()
    expect(page.get_by_text("Your account and your farm are open")).to_be_visible()
    stranger.close()
    farm = Farm.objects.get(application__application_number=number)
    [welcome] = texts(sandbox, PHONE)[4:]
    assert welcome.startswith("Welcome to YEA Poultry")

    # The farmer enrols; the last slot is this farm's, once it has an extension officer.
    farmer = sign_in("020 700 0123", NEW)
    assert ask(farmer, "farms/")["results"][0]["farm_number"] == farm.farm_number
    enrolled = ask(farmer, "enrollments/", {"farm": str(farm.pk), "batch": str(batch.pk)})["id"]
    assert ask(farmer, f"enrollments/{enrolled}/submit/", {})["status"] == "constituency_review"
    ask(sign_in(local.username, PASSWORD), f"farms/{farm.pk}/extension-officer/", {"officer": str(extension.pk)})
    for officer, act in ((local, "forward"), (regional, "forward"), (national, "approve")):
        ask(sign_in(officer.username, PASSWORD), f"enrollments/{enrolled}/{act}/", {})
    assert ask(farmer, f"enrollments/{enrolled}/")["status"] == "approved"
    assert "is reserved for your farm" in texts(sandbox, PHONE)[-1]

    # A week of eggs, and on its last day many birds die. Sent twice, as a phone without a good connection does.
    flock = ask(
        farmer,
        f"farms/{farm.pk}/flocks/",
        {
            "flock_type": "layers",
            "arrival_date": f"{today() - timedelta(days=30)}",
            "initial_count": 500,
            "age_at_arrival_weeks": 20,
        },
    )["id"]
    assert ask(farmer, "production/upload/", a_week(flock))["kept"] == 7
    assert ask(farmer, "production/upload/", a_week(flock))["unchanged"] == 7
    figures = ask(farmer, f"farms/{farm.pk}/figures/")["total"]
    assert (figures["eggs"], figures["deaths"]) == (sum(range(400, 407)), 60)

    # The alarm reaches those who are to act, by e-mail and in the list of alerts.
    told = {person: texts(sandbox, person.email) for person in (extension, vet, local)}
    assert all(any(farm.farm_number in text for text in got) for got in told.values()), told
    alert = ask(sign_in(vet.username, PASSWORD), "alerts/")["results"][0]
    assert (alert["farm"]["farm_number"], alert["severity"]) == (farm.farm_number, "critical")
    assert User.objects.get(phone=PHONE).farm == farm
