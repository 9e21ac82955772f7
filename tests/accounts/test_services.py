"""people.create_user: input is brought into the stored form or refused, and no refusal shows personal data."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts import selectors
from accounts.models import Constituency, District, Region, User
from accounts.rules import Level, Role
from accounts.services import people
from core.errors import InvalidInput
from core.redact import redact
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

KOFI: dict[str, Any] = {"username": "kofi", "phone": "0244123456", "role": "farmer", "activated_at": None}


def test_phone_email_role_and_contact_method_are_stored_in_their_one_form():
    user = people.create_user(
        **KOFI | {"role": "national admin", "email": " Kofi@Example.COM ", "preferred_contact_method": "email"}
    )
    user.refresh_from_db()
    assert (user.phone, user.email, user.role, user.preferred_contact_method) == (
        "+233244123456",
        "kofi@example.com",
        "NATIONAL_ADMIN",
        "EMAIL",
    )


def test_a_person_without_activation_is_invited_and_has_no_usable_password():
    user = people.create_user(**KOFI)
    assert not user.is_active
    assert not user.has_usable_password()


def test_an_activated_person_can_sign_in_by_username(client):
    people.create_user(**KOFI | {"activated_at": timezone.now(), "password": "demo-poultry-2026"})
    assert client.login(username="kofi", password="demo-poultry-2026")


def test_the_region_follows_from_the_constituency():
    tema_west = selectors.constituency("tmw")
    user = people.create_user(
        **KOFI | {"role": "CONSTITUENCY_ADMIN", "email": "k@example.com", "constituency": tema_west}
    )
    assert user.region == selectors.region("Greater Accra")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"phone": "0302123456"}, "phone: The phone number .* is a landline"),
        ({"phone": ""}, "phone: This field cannot be blank"),
        ({"phone": None}, "phone: This field cannot be null"),
        ({"username": ""}, "username: This field cannot be blank"),
        ({"username": "a b"}, "username: Enter a valid username"),
        ({"username": "k" * 151}, "username: Ensure this value has at most 150"),
        ({"email": "kofi"}, "email: Enter a valid email address"),
        ({"role": "king"}, "This role is not known"),
        ({"role": "AUDITOR"}, "E-mail is required for every role but FARMER"),
        ({"role": "REGIONAL_ADMIN", "email": "k@example.com"}, "Regional and constituency roles need a region"),
        ({"role": "CONSTITUENCY_STAFF", "email": "k@example.com"}, "Constituency roles need a constituency"),
        ({"language": "fr"}, "language: Value 'fr' is not a valid choice"),
        ({"preferred_contact_method": "pigeon"}, "This contact method is not known"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_reason(change, said):
    with pytest.raises(InvalidInput, match=said):
        people.create_user(**KOFI | change)
    assert not User.objects.exists()


def test_a_constituency_of_another_region_is_refused():
    with pytest.raises(InvalidInput, match="This constituency lies in another region"):
        people.create_user(**KOFI, constituency=selectors.constituency("TMW"), region=selectors.region("ashanti"))


@pytest.mark.parametrize(
    "change",
    [
        {"username": "other", "email": "other@example.com"},
        {"phone": "0200000000", "email": "other@example.com"},
        {"username": "other", "phone": "0200000000", "email": "KOFI@example.com"},
    ],
)
def test_a_second_person_with_the_same_name_phone_or_email_is_refused(change):
    people.create_user(**KOFI | {"email": "kofi@example.com"})
    with pytest.raises(InvalidInput, match="already exists") as refused:
        people.create_user(**KOFI | change)
    assert redact(str(refused.value)) == str(refused.value)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    phone=st.text(alphabet="0123456789+- ()x", max_size=16) | st.text(max_size=20),
    email=st.text(max_size=20) | st.emails(),
    role=st.sampled_from([*Role.values, "king", "farmer"]) | st.text(max_size=10),
    username=st.text(max_size=12),
)
def test_any_input_is_stored_by_the_rules_or_refused_clearly(phone, email, role, username):
    said = ""
    try:
        people.create_user(username=username, phone=phone, role=role, email=email, activated_at=None).delete()
    except InvalidInput as refused:
        said = str(refused)
    assert redact(said) == said


@pytest.mark.django_db(transaction=True)
def test_of_many_who_register_one_number_at_once_one_is_written_and_the_others_are_told():
    outcomes: list[str] = []

    def register(number: int) -> None:
        try:
            people.create_user(**KOFI | {"username": f"kofi{number}"})
            outcomes.append("written")
        except InvalidInput as refused:
            outcomes.append("refused" if "already exists" in str(refused) else str(refused))
        finally:
            connection.close()

    threads = [threading.Thread(target=register, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 7 + ["written"]
    assert User.objects.count() == 1


def test_a_region_is_found_in_any_case_and_an_unknown_one_is_refused_with_the_known_ones():
    assert selectors.region("  gReater accra").code == "AA"
    with pytest.raises(InvalidInput, match="Ahafo, Ashanti, Bono"):
        selectors.region("Atlantis")
    with pytest.raises(InvalidInput, match="use Bono, Bono East or Ahafo"):
        selectors.region("BRONG AHAFO")
    with pytest.raises(InvalidInput, match="three letters"):
        selectors.constituency("XXX")


@pytest.mark.parametrize("role", Role)
def test_the_factory_makes_a_valid_person_of_every_role(role):
    user = UserFactory.create(role=role)
    user.full_clean()
    assert user.is_staff == (user.level not in {Level.BUSINESS, Level.END_USER})
    assert user.is_superuser == (role == Role.SUPER_ADMIN)


def test_the_factory_works_on_empty_tables():
    Constituency.objects.all().delete()
    District.objects.all().delete()
    Region.objects.all().delete()
    assert UserFactory.create(role=Role.CONSTITUENCY_STAFF).region == Region.objects.get(code="AH")
