"""From the approval to the account: the link, what accepting it makes, its end, and that no secret lies about."""

from __future__ import annotations

import re
import threading
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.models import User
from accounts.rules import Role
from core import clock
from core.base.registries import expiry_steps
from core.delivery.models import Notification, OutboundMessage
from core.delivery.sealing import content_of
from core.errors import Conflict, InvalidInput, NotFound
from core.jobs.models import TaskRun
from farms.models import Farm, FarmApplication, FarmDocument, FarmInvitation, FarmLocation
from farms.rules import DocumentKind, InvitationStatus
from farms.services import applications, farms, invitations
from farms.services.invitations import Where
from farms.tasks import notify_application_status_change as notify
from tests.delivery.outbox import meanwhile, somebody_waits_for_us, wait_for
from tests.factories import UserFactory, a_farm
from tests.farms.journey import PASSWORD, apply, approved, asked, steps

pytestmark = pytest.mark.django_db

PNG = b"\x89PNG\r\n\x1a\n" + b"a photo"


@pytest.fixture
def application(local: User, regional: User, national: User) -> FarmApplication:
    return approved(local, regional, national, email="ama@example.com", tin="P0001234567")


def linked(application: FarmApplication) -> str:
    """The token in the newest message with a link."""
    notify(str(application.pk), "approved")
    message = OutboundMessage.objects.filter(template="farms.application_approved").latest("created_at")
    found = re.search(r"/farms/invitation/([\w-]+)/", content_of(message).text)
    assert found
    return found[1]


def accept(token: str, **about: Any) -> Farm:
    return invitations.accept(token=token, **{"password": PASSWORD, "where": Where(), "now": clock.now(), **about})


# --- the link ------------------------------------------------------------------------------------------------------


def test_the_link_goes_out_by_sms_and_e_mail_sealed_and_only_its_hash_is_kept(application: FarmApplication) -> None:
    result = notify(str(application.pk), "Approved")
    event = application.events.get(to_status="approved")
    assert result == {"status": "queued", "event_id": str(event.pk)}
    messages = OutboundMessage.objects.filter(subject_id=str(application.pk), template="farms.application_approved")
    assert {(one.channel, one.body, bool(one.sealed)) for one in messages} == {
        ("sms", None, True),
        ("email", None, True),
    }
    invitation = FarmInvitation.objects.get()
    assert (invitation.status, invitation.event) == ("sent", event)
    assert invitation.expires_at
    assert timedelta(days=29, hours=23) < invitation.expires_at - clock.now() <= timedelta(days=30)
    assert {one.not_after for one in messages} == {invitation.expires_at}
    [text] = {re.search(r"/invitation/([\w-]{43})/", content_of(one).text)[1] for one in messages}  # type: ignore[index]
    assert invitation.code_hash == invitations.hashed(text)


def test_the_token_stands_nowhere_in_the_database(application: FarmApplication) -> None:
    token = linked(application)
    with connection.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        tables = [name for (name,) in cursor.fetchall()]
        for table in tables:
            cursor.execute(f'SELECT count(*) FROM "{table}" AS row WHERE strpos(row::text, %s) > 0', [token])
            assert cursor.fetchone() == (0,), table


def test_a_link_that_was_sent_is_not_made_again(application: FarmApplication) -> None:
    first = linked(application)
    kept = FarmInvitation.objects.get().code_hash
    assert notify(str(application.pk), "APPROVED")["status"] == "duplicate"
    assert FarmInvitation.objects.get().code_hash == kept == invitations.hashed(first)
    told = OutboundMessage.objects.filter(template="farms.application_approved").count()
    note = "Congratulations! Your farm has been approved."
    said = [notify(str(application.pk), "Approved", note)["status"] for _ in range(2)]
    assert said == ["queued", "duplicate"]
    assert OutboundMessage.objects.filter(template="farms.application_approved").count() == told
    noted = OutboundMessage.objects.filter(template="farms.application_approved_before", channel="sms").get()
    assert noted.body == f"YEA Poultry: application {application.application_number} is approved. {note}"


@pytest.mark.django_db(transaction=True)
def test_two_runs_at_once_make_one_link() -> None:
    application = apply(
        "independent", phone_verified=True, constituency=UserFactory.create(role=Role.CONSTITUENCY_ADMIN).constituency
    )
    results: list[str] = []
    with meanwhile(*[lambda: results.append(notify(str(application.pk), "approved")["status"])] * 3):
        pass
    assert sorted(results) == ["duplicate", "duplicate", "queued"]
    assert OutboundMessage.objects.filter(template="farms.application_approved").count() == 1


def test_a_link_that_could_not_be_written_is_made_by_the_next_try(
    application: FarmApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.delivery import services

    def away(*_args: object, **_kwargs: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(services, "_write", away)
        with pytest.raises(OSError, match="disk"):
            notify(str(application.pk), "approved")
    assert FarmInvitation.objects.get().status == "pending"
    assert linked(application)


# --- acceptance ----------------------------------------------------------------------------------------------------


def test_accepting_makes_user_farm_measures_and_place_at_once(application: FarmApplication) -> None:
    where = Where(
        digital_address="ak-184-2278", community=" Ahinsan ", latitude=Decimal("6.65"), longitude=Decimal("-1.61")
    )
    farm = accept(linked(application), where=where)
    farm.refresh_from_db()
    user = farm.user
    assert re.fullmatch(r"YEA-AH-BNT-[0-9]{4,}", farm.farm_number)
    assert (user.username, user.role, user.phone) == (farm.farm_number.lower(), "FARMER", application.primary_phone)
    assert (user.first_name, user.last_name, user.email) == ("Ama Serwaa", "Darko", "ama@example.com")
    assert (user.region, user.district, user.constituency) == (
        application.region,
        application.district,
        application.constituency,
    )
    assert user.is_active
    assert user.check_password(PASSWORD)
    assert (farm.farm_status, farm.is_government, farm.tin) == ("active", True, "P0001234567")
    assert farm.biosecurity.footbath is False
    place = FarmLocation.objects.get(farm=farm)
    assert (place.is_primary, place.digital_address, place.community) == (True, "AK-184-2278", "Ahinsan")
    application.refresh_from_db()
    assert application.status == "account_created"
    assert steps(application)[-1] == "account_created"
    assert application.events.get(to_status="account_created").actor == user
    assert FarmInvitation.objects.get().status == "accepted"
    assert asked("send_welcome_notification") == [[str(user.pk)]]
    assert asked("sync_farmer_locations") == [[str(farm.pk)]]


def test_documents_of_the_application_become_those_of_the_farm(application: FarmApplication) -> None:
    farms.add_application_document(application_id=application.pk, kind=DocumentKind.PHOTO_SITE, content=PNG)
    farm = accept(linked(application))
    assert FarmDocument.objects.get().farm == farm
    assert asked("calculate_farm_scores") == [[str(farm.pk)]]


def test_a_link_is_good_once(application: FarmApplication) -> None:
    token = linked(application)
    accept(token)
    with pytest.raises(NotFound, match="not valid any more"):
        accept(token)
    assert Farm.objects.count() == 1


@pytest.mark.parametrize("token", ["", "x", "x" * 5_000, "\ud800", "a\0b"])
def test_what_is_no_link_of_ours_is_refused(application: FarmApplication, token: str) -> None:
    with pytest.raises(NotFound, match="Ask the office"):
        accept(token)


def test_a_link_ends_after_thirty_days_whether_or_not_it_was_cleaned_up(application: FarmApplication) -> None:
    token = linked(application)
    late = clock.now() + timedelta(days=30)
    assert invitations.find(token=token, now=late - timedelta(hours=1)).application == application
    with pytest.raises(NotFound):
        invitations.find(token=token, now=late)
    with pytest.raises(NotFound):
        accept(token, now=late)
    assert expiry_steps["farm_invitations"](clock.now(), 1_000) == 0
    assert expiry_steps["farm_invitations"](late, 1_000) == 1
    assert expiry_steps["farm_invitations"](late, 1_000) == 0
    application.refresh_from_db()
    assert (FarmInvitation.objects.get().status, application.status) == (InvitationStatus.EXPIRED, "approved")


def test_only_the_newest_link_is_good(application: FarmApplication, national: User) -> None:
    first = linked(application)
    applications.invite_again(actor=national, application_id=application.pk, now=clock.now())
    second = linked(application)
    assert first != second
    with pytest.raises(NotFound):
        accept(first)
    assert accept(second)


def test_of_two_acts_at_once_the_one_that_came_last_is_the_newest_whatever_its_clock_said(
    application: FarmApplication, national: User
) -> None:
    soon = clock.now() + timedelta(seconds=2)
    for moment in (soon, soon - timedelta(seconds=1)):  # both were asked, and the first waited longer for the row
        applications.invite_again(actor=national, application_id=application.pk, now=moment)
    token = linked(application)
    assert {one.status for one in FarmInvitation.objects.all()} == {"revoked", "sent"}
    accept(token, now=soon - timedelta(seconds=1))
    assert steps(application)[-3:] == ["approved", "approved", "account_created"]


def test_a_new_account_needs_a_good_name_for_the_farm_and_a_password(application: FarmApplication) -> None:
    token = linked(application)
    a_farm(farm_name=application.farm_name.upper())
    with pytest.raises(InvalidInput, match="Choose a password"):
        accept(token, password="")
    with pytest.raises(InvalidInput, match="There is a farm of this name"):
        accept(token)
    assert not User.objects.filter(phone=application.primary_phone).exists(), "all or nothing"
    assert accept(token, farm_name="Serwaa Farms").farm_name == "Serwaa Farms"


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (Where(digital_address="somewhere"), "Digital address: write it like"),
        (Where(digital_address="GA-1-1"), "Digital address: write it like"),
        (Where(latitude=Decimal(50), longitude=Decimal(8)), "GPS: give latitude"),
        (Where(latitude=Decimal(6)), "GPS: give latitude"),
        (Where(land_size_acres=Decimal(0)), "size of the land"),
    ],
)
def test_a_place_that_cannot_be_leaves_nothing_behind(application: FarmApplication, where: Where, words: str) -> None:
    token = linked(application)
    with pytest.raises(InvalidInput, match=words):
        accept(token, where=where)
    assert not Farm.objects.exists()
    assert accept(token)


def test_the_farmless_account_with_the_same_verified_phone_becomes_the_owner(application: FarmApplication) -> None:
    known = UserFactory.create(phone=application.primary_phone, phone_verified=True)
    password = known.password
    farm = accept(linked(application), password=None)
    known.refresh_from_db()
    assert (farm.user, known.password) == (known, password)


@pytest.mark.parametrize(
    "about",
    [
        {"phone_verified": False},
        {"phone_verified": True, "role": Role.EXTENSION_OFFICER},
        {"phone_verified": True, "is_active": False},
    ],
)
def test_another_account_with_that_phone_does_not(application: FarmApplication, about: dict[str, Any]) -> None:
    UserFactory.create(phone=application.primary_phone, **about)
    with pytest.raises(Conflict, match="cannot take the farm"):
        accept(linked(application))
    assert not Farm.objects.exists()


def test_an_account_has_one_farm(application: FarmApplication) -> None:
    owner = UserFactory.create(phone=application.primary_phone, phone_verified=True)
    a_farm(user=owner, primary_phone="+233209999999")
    with pytest.raises(Conflict):
        accept(linked(application))


def test_a_ghana_card_belongs_to_one_farm(application: FarmApplication) -> None:
    a_farm(ghana_card_number=application.ghana_card_number)
    with pytest.raises(InvalidInput, match="There is a farm with this Ghana Card already"):
        accept(linked(application))


def test_an_address_that_somebody_else_has_is_left_to_them(application: FarmApplication) -> None:
    UserFactory.create(email="ama@example.com")
    assert accept(linked(application)).user.email == ""


@pytest.mark.django_db(transaction=True)
def test_a_link_that_is_used_twice_at_once_makes_one_farm() -> None:
    application = apply(
        "independent", phone_verified=True, constituency=UserFactory.create(role=Role.CONSTITUENCY_ADMIN).constituency
    )
    token = linked(application)
    made: list[Farm] = []
    refused: list[NotFound] = []

    def attempt() -> None:
        try:
            made.append(accept(token))
        except NotFound as error:
            refused.append(error)

    with meanwhile(attempt, attempt):
        pass
    assert (len(made), len(refused)) == (1, 1)
    assert TaskRun.objects.filter(task="accounts.tasks.send_welcome_notification").count() == 1
    assert not Notification.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_who_accepts_while_another_link_is_made_waits_for_it() -> None:
    """Both take the application before the invitation: neither waits for the other for ever."""
    local = UserFactory.create(role=Role.CONSTITUENCY_ADMIN)
    admin = UserFactory.create(role=Role.REGIONAL_ADMIN, constituency=local.constituency)
    application = apply("independent", phone_verified=True, constituency=admin.constituency)
    token, taken = linked(application), threading.Event()

    def attempt() -> None:
        assert taken.wait(20)
        with pytest.raises(NotFound):
            accept(token)

    with meanwhile(attempt), transaction.atomic():
        FarmApplication.objects.select_for_update(no_key=True).get(pk=application.pk)
        taken.set()
        wait_for(somebody_waits_for_us, "the other waits")
        applications.invite_again(actor=admin, application_id=application.pk, now=clock.now())
    assert [one.status for one in application.invitations.order_by("created_at")] == ["revoked", "pending"]
