"""The page behind the link of a message that asks an applicant for changes."""

from __future__ import annotations

import base64
import io
import re
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import resolve

from accounts.models import Constituency, User
from accounts.rules import Role
from core import clock
from core.base.models import AuditLog
from core.delivery.models import OutboundMessage
from core.delivery.sealing import content_of
from core.errors import InvalidInput
from farms import links
from farms.models import ApplicationEvent, FarmApplication, FarmDocument
from farms.page_forms import ChangeApplication
from farms.services import applications, changes
from farms.tasks import notify_application_status_change as notify
from tests.accounts.test_pages_for_strangers import seen
from tests.delivery.outbox import meanwhile
from tests.delivery.test_privacy import logged
from tests.factories import UserFactory
from tests.farms.journey import apply, asked, details, steps
from tests.limits import one_minute, wide_limits

__all__ = ["logged", "one_minute", "wide_limits"]  # fixtures
pytestmark = pytest.mark.django_db

OVER = "This link does not work any more"
ASKED = "farms.application_changes_requested"
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 50


def ask(actor: User, application: FarmApplication, reason: str = "the farm's name is a shop's") -> str:
    """Ask for changes; the address in the message that the applicant gets."""
    applications.request_changes(actor=actor, application_id=application.pk, reason=reason, now=clock.now())
    return address_in_sms(application)


def address_in_sms(application: FarmApplication) -> str:
    notify(str(application.pk), "changes_requested")
    message = OutboundMessage.objects.filter(template=ASKED).latest("created_at")
    found = re.search(r"/farms/changes/[\w-]+/", content_of(message).text)
    assert found
    return found[0]


@pytest.fixture
def application(db: None) -> FarmApplication:
    return apply(email="ama@example.com", tin="P0001234567", planned_monthly_eggs=900)


@pytest.fixture
def address(local: User, application: FarmApplication) -> str:
    return ask(local, application)


def typed(client: Client, address: str, **changes: Any) -> dict[str, Any]:
    """What the form is filled with, as a browser sends it."""
    form = client.get(address).context["form"]
    filled = {name: form[name].value() for name in ChangeApplication.Meta.fields}
    return {name: value for name, value in (filled | changes).items() if value is not None and value is not False}


def again(application: FarmApplication) -> FarmApplication:
    return FarmApplication.objects.get(pk=application.pk)


def test_it_says_what_to_change_and_shows_what_was_said(
    client: Client, address: str, application: FarmApplication
) -> None:
    page = client.get(address)
    assert "the farm&#x27;s name is a shop&#x27;s" in page.content.decode()
    for shown in (application.farm_name, "ama@example.com", "P0001234567", "1998-03-14", "Bantama, Ashanti"):
        assert shown in seen(page), shown
    for hidden in (application.primary_phone, application.primary_phone[4:9], application.ghana_card_number):
        assert hidden not in seen(page), hidden


def test_what_is_changed_goes_back_to_the_review_with_its_files(
    client: Client, address: str, application: FarmApplication
) -> None:
    said = {"farm_name": "  Darko   Poultry ", "tin": " p0001234567", "planned_monthly_eggs": ""}
    sent = typed(client, address, **said, has_existing_farm="on")
    answer = client.post(address, sent | {"ghana_card": SimpleUploadedFile("card.png", PNG)})
    assert answer.status_code == 200
    assert "We have your changes" in seen(answer)
    changed = again(application)
    assert (changed.status, changed.farm_name) == ("constituency_review", "Darko Poultry")
    assert (changed.planned_monthly_eggs, changed.has_existing_farm) == (None, True)
    kept = ("full_name", "date_of_birth", "primary_phone", "ghana_card_number", "email", "tin", "constituency_id")
    assert [getattr(changed, name) for name in kept] == [getattr(application, name) for name in kept]
    trail = AuditLog.objects.get(action="application.resubmit")
    assert (trail.actor, trail.actor_name) == (None, "the applicant")
    assert trail.before == {
        "farm_name": application.farm_name,
        "planned_monthly_eggs": "900",
        "has_existing_farm": "False",
    }
    assert trail.after == {"farm_name": "Darko Poultry", "planned_monthly_eggs": "", "has_existing_farm": "True"}
    document = FarmDocument.objects.get()
    assert (document.kind, document.application_id, document.file.read()) == ("ghana_card", application.pk, PNG)
    assert steps(application)[-2:] == ["changes_requested", "constituency_review"]
    assert ApplicationEvent.objects.latest("at").actor is None
    assert asked("notify_application_status_change")[-1] == [str(application.pk), "constituency_review"]


def test_one_moves_to_another_constituency_with_its_district_and_region(
    client: Client, address: str, application: FarmApplication
) -> None:
    tamale = Constituency.objects.exclude(region=application.region).first()
    assert tamale
    client.post(address, typed(client, address, constituency=str(tamale.pk)))
    moved = again(application)
    assert (moved.constituency, moved.region_id, moved.district_id) == (tamale, tamale.region_id, tamale.district_id)


def test_who_was_reviewed_at_home_stays_there(
    client: Client, local: User, regional: User, application: FarmApplication
) -> None:
    """What one office has looked at is not carried past another's."""
    applications.forward(actor=local, application_id=application.pk, now=clock.now())
    address = ask(regional, application)
    page = client.get(address)
    assert "It was reviewed there and stays." in seen(page)
    elsewhere = Constituency.objects.exclude(pk=application.constituency_id).first()
    assert elsewhere
    client.post(address, typed(client, address, constituency=str(elsewhere.pk)))
    assert (again(application).status, again(application).constituency) == (
        "regional_review",
        application.constituency,
    )
    second = ask(regional, application)
    moved = details(
        primary_phone=application.primary_phone,
        ghana_card_number=application.ghana_card_number,
        constituency=elsewhere,
    )
    with pytest.raises(InvalidInput, match="constituency: It was reviewed there"):
        changes.send(token=second.split("/")[-2], details=moved, documents={}, now=clock.now())


def test_looking_uses_nothing_up(client: Client, address: str, application: FarmApplication) -> None:
    for method in (client.get, client.head):
        assert method(address).status_code == 200
    assert again(application).status == "changes_requested"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"full_name": ""}, "required"),
        ({"full_name": "x" * 151}, "at most 150"),
        ({"date_of_birth": "yesterday"}, "valid date"),
        ({"date_of_birth": "2020-01-01"}, "18 to 65 years old"),
        ({"date_of_birth": "0001-01-01"}, "18 to 65 years old"),
        ({"email": "nowhere"}, "valid email"),
        ({"tin": "12"}, "ten digits"),
        ({"constituency": "0190a0c4-0000-7000-8000-000000000000"}, "valid choice"),
        ({"constituency": "x"}, "valid"),
        ({"number_of_poultry_houses": "0"}, "greater than or equal to 1"),
        ({"number_of_poultry_houses": "99999"}, "32767"),
        ({"total_bird_capacity": "-1"}, "greater than or equal to"),
        ({"total_bird_capacity": str(10**30)}, "2147483647"),
        ({"experience_years": str(10**30)}, "32767"),
        ({"primary_production_type": "ostriches"}, "valid choice"),
        ({"farm_name": "a\0b"}, "Null characters"),
        ({"language": ""}, "required"),
        ({"ghana_card": SimpleUploadedFile("card.exe", b"MZ..")}, "JPEG"),
        ({"photo_site": SimpleUploadedFile("empty.png", b"")}, "empty"),
        ({"photo_site": SimpleUploadedFile("large.png", PNG + b"0" * 8 * 2**20)}, "8 MB"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_at_its_field_and_changes_nothing(
    client: Client, address: str, application: FarmApplication, wrong: dict[str, Any], said: str
) -> None:
    sent = typed(client, address, breed="Isa Brown") | wrong
    answer = client.post(address, sent)
    assert answer.status_code == 200
    [field] = wrong
    assert said in " ".join(answer.context["form"].errors.get(field, [])), answer.context["form"].errors
    assert "Isa Brown" in seen(answer), "what was typed stays"
    assert again(application).status == "changes_requested"
    assert again(application).breed == ""
    assert not FarmDocument.objects.exists()
    assert client.post(address, typed(client, address)).status_code == 200


def test_a_file_of_a_refused_form_is_asked_for_again_and_not_kept(
    client: Client, address: str, application: FarmApplication, files: Path
) -> None:
    sent = typed(client, address)
    for wrong in ({"tin": "12"}, {"date_of_birth": "2020-01-01"}, {"photo_site": SimpleUploadedFile("x.gif", b"GIF")}):
        answer = client.post(address, sent | {"ghana_card": SimpleUploadedFile("card.png", PNG)} | wrong)
        assert answer.context["form"].errors["ghana_card"] == ["Choose this file again."]
        assert again(application).status == "changes_requested"
    assert not [path for path in files.rglob("*") if path.is_file()]


def test_files_that_are_too_large_together_are_not_read(client: Client, address: str) -> None:
    answer = client.post(
        address, b"0" * 2**20, content_type="multipart/form-data; boundary=x", CONTENT_LENGTH=str(45 * 2**20)
    )
    assert answer.status_code == 413
    assert "too large together" in seen(answer)


def test_who_comes_late_is_taken_until_the_office_decides(
    client: Client, address: str, application: FarmApplication, local: User
) -> None:
    FarmApplication.objects.update(changes_deadline=clock.now().date() - timedelta(days=3))
    assert "You can still send it until the office decides" in seen(client.get(address))
    notify(str(application.pk), "changes_requested", "We wait for you.")
    newest = OutboundMessage.objects.filter(template=ASKED).latest("created_at")
    assert newest.not_after
    assert newest.not_after > clock.now()
    assert "We have your changes" in seen(client.post(address, typed(client, address)))


def test_a_migrated_farm_is_changed_by_its_farmer_too(client: Client, regional: User) -> None:
    migrated = apply("migrated", actor=regional)
    address = ask(regional, migrated)
    assert "We have your changes" in seen(client.post(address, typed(client, address)))


# --- links that are not good ---------------------------------------------------------------------------------------


def over(client: Client, address: str) -> None:
    for answer in (client.get(address), client.post(address, {"full_name": "Kofi"})):
        assert answer.status_code == 404
        assert OVER in seen(answer)


def test_a_used_link_says_what_to_do(client: Client, address: str) -> None:
    client.post(address, typed(client, address))
    over(client, address)


def test_a_link_is_over_when_the_office_has_decided(
    client: Client, address: str, local: User, application: FarmApplication
) -> None:
    applications.reject(actor=local, application_id=application.pk, reason="no land", now=clock.now())
    over(client, address)


def test_a_second_request_has_a_link_of_its_own(
    client: Client, address: str, local: User, application: FarmApplication
) -> None:
    client.post(address, typed(client, address))
    second = ask(local, application, "the photo")
    over(client, address)
    assert "the photo" in seen(client.get(second))


def test_nothing_is_told_of_a_request_that_is_answered(
    client: Client, address: str, application: FarmApplication
) -> None:
    client.post(address, typed(client, address))
    told = notify(str(application.pk), "changes_requested", "Come to the office.")
    assert told == {"status": "skipped", "reason": "answered_already"}


def test_a_message_that_is_written_again_has_the_same_link(address: str, application: FarmApplication) -> None:
    notify(str(application.pk), "changes_requested", "Come to the office.")
    assert OutboundMessage.objects.filter(template=ASKED).count() == 4
    assert address_in_sms(application) == address


def test_links_of_other_events_and_links_that_were_never_made_do_nothing(
    client: Client, address: str, application: FarmApplication
) -> None:
    token = address.split("/")[-2]
    other = application.events.exclude(to_status="changes_requested").first()
    assert other
    over(client, links.changes(other.pk).removeprefix("http://localhost:8000"))
    raw = base64.urlsafe_b64decode(token + "==")
    respelled = token[:-1] + chr(ord(token[-1]) + 1)  # the last letter has bits to spare
    assert base64.urlsafe_b64decode(respelled + "==") == raw
    over(client, f"/farms/changes/{respelled}/")
    forged = [raw[:-1] + bytes([raw[-1] ^ 1]), raw[:16], raw[:20], uuid.uuid4().bytes + raw[16:], b""]
    for made in [*(base64.urlsafe_b64encode(one).decode().rstrip("=") for one in forged), "x", "%00", "\u20b5" * 9]:
        if made:
            over(client, f"/farms/changes/{made}/")
    assert again(application).status == "changes_requested"


def test_a_link_outlives_a_change_of_the_key(client: Client, address: str, settings: LazySettings) -> None:
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-key-of-this-test"
    assert client.get(address).status_code == 200
    settings.SECRET_KEY_FALLBACKS = []
    over(client, address)


def test_the_token_leaves_the_page_by_no_way(client: Client, address: str, logged: io.StringIO) -> None:
    page, token = client.get(address), address.split("/")[-2]
    assert (page.headers["Referrer-Policy"], "no-store" in page.headers["Cache-Control"]) == ("no-referrer", True)
    assert token not in seen(page)
    strict = Client(enforce_csrf_checks=True)
    assert strict.post(address, typed(client, address), headers={"Origin": "null"}).status_code == 200
    assert "POST /farms/changes/***" in logged.getvalue()
    assert token not in logged.getvalue()
    stored = OutboundMessage.objects.filter(template=ASKED).values()
    assert token not in str(list(stored))


def test_a_message_leads_to_this_page(settings: LazySettings) -> None:
    settings.BASE_URL = "https://pms.example/"
    found = resolve(links.changes(uuid.uuid4()).removeprefix("https://pms.example"))
    assert found.url_name == "application_changes"


def test_too_many_tries_wait(
    settings: LazySettings, client: Client, one_minute: None, address: str, application: FarmApplication
) -> None:
    settings.API_LIMITS = {**settings.API_LIMITS, "door": 1}
    sent = typed(client, address)
    assert client.post(address, {}).status_code == 200
    assert client.post(address, sent).status_code == 429
    assert again(application).status == "changes_requested"


@pytest.mark.django_db(transaction=True)
def test_of_two_who_send_the_form_at_once_one_is_taken() -> None:
    local = UserFactory.create(role=Role.CONSTITUENCY_ADMIN)
    application = apply(constituency=local.constituency)
    address = ask(local, application)
    sent = typed(Client(), address)
    answers: list[int] = []
    with meanwhile(*[lambda: answers.append(Client().post(address, sent).status_code)] * 3):
        pass
    assert sorted(answers) == [200, 404, 404]
    assert steps(application).count("constituency_review") == 2
