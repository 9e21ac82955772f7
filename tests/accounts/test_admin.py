"""The admin pages of people and geography."""

from __future__ import annotations

import pytest
from django.urls import reverse

from accounts.models import Constituency, District, Region, User
from accounts.rules import Role
from core.base.models import AuditLog
from tests.accounts.letters import asked_for
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

NEW = {
    "first_name": "Kofi",
    "last_name": "Boateng",
    "phone": "024 412-3456",
    "email": "Kofi@Example.com",
    "role": "FARMER",
    "preferred_contact_method": "SMS",
    "language": "en",
}


@pytest.fixture
def owner(client) -> User:
    user = UserFactory.create(role=Role.SUPER_ADMIN)
    client.force_login(user)
    return user


def address(page: str, *args: object) -> str:
    return reverse(f"admin:accounts_{page}", args=args)


@pytest.mark.parametrize("model", ["user", "region", "district", "constituency"])
def test_every_page_opens_for_a_super_admin(client, owner, model):
    row = {"user": owner, "region": Region, "district": District, "constituency": Constituency}[model]
    row = row if isinstance(row, User) else row.objects.first()
    for page in (address(f"{model}_changelist"), address(f"{model}_add"), address(f"{model}_change", row.pk)):
        assert client.get(page).status_code == 200, page
    assert client.get(address(f"{model}_changelist"), {"q": "a"}).status_code == 200


@pytest.mark.parametrize("role", ["FARMER", "INSTITUTIONAL_SUBSCRIBER"])
def test_the_admin_site_stays_closed_for_who_does_not_work_for_the_programme(client, role):
    client.force_login(UserFactory.create(role=role))
    assert client.get(reverse("admin:index")).status_code == 302


@pytest.mark.parametrize("role", ["NATIONAL_STAFF", "REGIONAL_ADMIN", "CONSTITUENCY_ADMIN", "VETERINARY_OFFICER"])
def test_below_headquarters_people_and_geography_stay_closed(client, role):
    user = UserFactory.create(role=role)
    client.force_login(user)
    assert client.get(reverse("admin:index")).status_code == 200
    rows = {"user": user, "region": Region.objects.first(), "constituency": Constituency.objects.first()}
    for model, row in rows.items():
        assert row
        for page in (address(f"{model}_changelist"), address(f"{model}_add"), address(f"{model}_change", row.pk)):
            assert client.get(page).status_code == 403, page


def test_the_list_of_people_shows_numbers_masked(client, owner):
    page = client.get(address("user_changelist")).content.decode()
    assert owner.phone not in page
    assert f"+233*****{owner.phone[-4:]}" in page


def test_a_person_is_added_as_invited_and_gets_a_link_to_choose_a_password(client, owner):
    answer = client.post(address("user_add"), NEW)
    assert answer.status_code == 302, answer.context["form"].errors
    kofi = User.objects.get(first_name="Kofi")
    assert (kofi.phone, kofi.email) == ("+233244123456", "kofi@example.com")
    assert (kofi.is_active, kofi.activated_at, kofi.has_usable_password()) == (False, None, False)
    assert asked_for() == [("send_welcome_notification", [str(kofi.pk)])]
    assert AuditLog.objects.get(action="user.create").actor == owner


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"phone": "0302123456"}, "is a landline"),
        ({"phone": "+233 24 412 3456 x 1"}, "contains letters or signs"),
        ({"email": "", "role": "AUDITOR"}, "E-mail is required for every role but FARMER."),
        ({"role": "REGIONAL_ADMIN"}, "Regional and constituency roles need a region."),
        ({"role": "SUPER_ADMIN"}, "not one of the available choices"),
        ({"first_name": ""}, "required"),
        ({"region": "x"}, "not a valid UUID"),
    ],
)
def test_what_cannot_be_stored_comes_back_with_its_reason(client, owner, change, said):
    answer = client.post(address("user_add"), NEW | change)
    assert answer.status_code == 200
    assert said in answer.content.decode()
    assert User.objects.get() == owner
    assert asked_for() == []


def test_changing_a_person_checks_the_fields_that_are_only_shown_too(client, owner):
    form = {"username": owner.username, "phone": owner.phone, "preferred_contact_method": "SMS", "language": "en"}
    answer = client.post(address("user_change", owner.pk), form | {"email": "", "is_active": "on"})
    assert answer.status_code == 200
    assert "E-mail is required" in answer.content.decode()
    answer = client.post(address("user_change", owner.pk), form | {"email": "New@example.com", "is_active": "on"})
    assert answer.status_code == 302
    owner.refresh_from_db()
    assert (owner.email, owner.role, owner.is_superuser) == ("new@example.com", "SUPER_ADMIN", True)


def test_people_are_not_deleted(client, owner):
    assert client.post(address("user_delete", owner.pk), {"post": "yes"}).status_code == 403


def test_brong_ahafo_is_refused_with_the_regions_that_replaced_it(client, owner):
    answer = client.post(address("region_add"), {"code": "BA", "name": "Brong Ahafo", "capital": "Sunyani"})
    assert "use Bono, Bono East or Ahafo" in answer.content.decode()


def test_a_constituency_keeps_its_district_inside_its_region(client, owner):
    bantama, tema_west = Constituency.objects.get(code="BNT"), Constituency.objects.get(code="TMW")
    answer = client.post(
        address("constituency_change", bantama.pk),
        {"code": "BNT", "name": "Bantama", "source": "demo_sample", "district": str(tema_west.district_id)},
    )
    assert "This district lies in another region." in answer.content.decode()
