"""domain.md 3.1 and 4.1.1: PostgreSQL itself refuses what the rules forbid. Rows are written past all Python checks."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from accounts.models import Constituency, District, Region
from accounts.rules import NEED_CONSTITUENCY, NEED_REGION, Role

pytestmark = pytest.mark.django_db


def refused(constraint: str):
    return pytest.raises(IntegrityError, match=constraint)


@pytest.fixture
def ashanti() -> Region:
    return Region.objects.get(code="AH")


@pytest.fixture
def tema_west() -> Constituency:
    return Constituency.objects.get(code="TMW")


def test_the_plain_rows_of_these_tests_are_valid(insert):
    region = insert("region")
    district = insert("district", region_id=region)
    constituency = insert("constituency", region_id=region, district_id=district)
    insert("user", region_id=region, district_id=district, constituency_id=constituency)


# --- Geography


@pytest.mark.parametrize("name", ["Brong-Ahafo", "BRONG AHAFO", "brongahafo", " Brong–Ahafo ", "B.r-o_n0g Ahafo"])
def test_brong_ahafo_is_refused_in_any_spelling(insert, name):
    with refused("accounts_region_not_brong_ahafo"):
        insert("region", name=name)


@pytest.mark.parametrize("code", ["z", "zz", "Z1", "Z ", ""])
def test_a_region_code_is_two_capital_letters(insert, code):
    with refused("accounts_region_code_form"):
        insert("region", code=code)


@pytest.mark.parametrize("taken", [{"code": "AH"}, {"name": "Ashanti"}])
def test_region_code_and_name_are_unique(insert, taken):
    with refused("unique constraint"):
        insert("region", **taken)


def test_a_district_name_is_unique_in_its_region_only(insert, ashanti):
    other = insert("region")
    insert("district", region_id=other, name="Kumasi Metropolitan")
    with refused("accounts_district_name_in_region"):
        insert("district", region_id=ashanti.id, name="Kumasi Metropolitan")


@pytest.mark.parametrize("column", ["kind", "source"])
def test_a_district_has_a_known_kind_and_source(insert, ashanti, column):
    with refused(f"accounts_district_{column}"):
        insert("district", region_id=ashanti.id, **{column: "village"})


@pytest.mark.parametrize("code", ["ZZ", "zzz", "Z1Z"])
def test_a_constituency_code_is_three_capital_letters(insert, ashanti, code):
    with refused("accounts_constituency_code_form"):
        insert("constituency", region_id=ashanti.id, code=code)


def test_a_constituency_code_is_unique_in_the_country(insert, ashanti):
    with refused("unique constraint"):
        insert("constituency", region_id=ashanti.id, code="TMW")


def test_a_constituency_name_is_unique_in_its_region(insert, ashanti):
    with refused("accounts_constituency_name_in_region"):
        insert("constituency", region_id=ashanti.id, name="Bantama")


def test_a_constituency_has_a_known_source(insert, ashanti):
    with refused("accounts_constituency_source"):
        insert("constituency", region_id=ashanti.id, source="hearsay")


def test_the_district_of_a_constituency_lies_in_its_region(insert, ashanti, tema_west):
    with refused("accounts_constituency_district_in_region"):
        insert("constituency", region_id=ashanti.id, district_id=tema_west.district_id)


def test_a_district_with_constituencies_does_not_move_to_another_region(ashanti, tema_west):
    with refused("_in_region"):
        District.objects.filter(id=tema_west.district_id).update(region=ashanti)


# --- Users


@pytest.mark.parametrize(
    "phone",
    ["0244123456", "233244123456", "+23324412345", "+2332441234567", "+234244123456", "+233 24412345", ""],
)
def test_a_phone_is_stored_in_e164(insert, phone):
    with pytest.raises(DatabaseError, match=r"accounts_user_phone_form|value too long"):
        insert("user", phone=phone)


def test_a_phone_does_not_end_in_a_line_break(insert):
    with refused("accounts_user_phone_form"):
        insert("user", phone="+23324412345\n")


def test_a_phone_is_required(insert):
    with refused("null value"):
        insert("user", phone=None)


def test_a_phone_is_unique(insert):
    insert("user")
    with refused("unique constraint"):
        insert("user", username="ama")


def test_a_username_is_unique(insert):
    insert("user")
    with refused("unique constraint"):
        insert("user", phone="+233244000000")


def test_an_email_is_unique_but_any_number_of_farmers_have_none(insert):
    insert("user", username="a", phone="+233244000001")
    insert("user", username="b", phone="+233244000002")
    insert("user", username="c", phone="+233244000003", email="kofi@example.com")
    with refused("accounts_user_email_unique"):
        insert("user", username="d", phone="+233244000004", email="kofi@example.com")


def test_an_email_is_stored_in_lower_case(insert):
    with refused("accounts_user_email_lower"):
        insert("user", email="Kofi@example.com")


@pytest.mark.parametrize("role", [role for role in Role if role != Role.FARMER])
def test_everyone_but_farmers_has_an_email(insert, tema_west, role):
    with refused("accounts_user_email_unless_farmer"):
        insert("user", role=role, region_id=tema_west.region_id, constituency_id=tema_west.id)


@pytest.mark.parametrize("role", ["", "farmer", "KING"])
def test_a_role_is_one_of_the_fifteen(insert, role):
    with refused("accounts_user_role"):
        insert("user", role=role, email="kofi@example.com")


@pytest.mark.parametrize("role", NEED_REGION)
def test_regional_and_constituency_roles_have_a_region(insert, role):
    with refused("accounts_user_(region|constituency)_for_role"):
        insert("user", role=role, email="kofi@example.com")


@pytest.mark.parametrize("role", NEED_CONSTITUENCY)
def test_constituency_roles_have_a_constituency(insert, ashanti, role):
    with refused("accounts_user_constituency_for_role"):
        insert("user", role=role, email="kofi@example.com", region_id=ashanti.id)


@pytest.mark.parametrize("place", ["district", "constituency"])
def test_district_and_constituency_lie_inside_the_region(insert, ashanti, tema_west, place):
    places = {"district_id": tema_west.district_id, "constituency_id": tema_west.id}
    with refused(f"accounts_user_{place}_in_region"):
        insert("user", region_id=ashanti.id, **{f"{place}_id": places[f"{place}_id"]})


@pytest.mark.parametrize("place", ["district", "constituency"])
def test_a_place_does_not_stand_without_its_region(insert, tema_west, place):
    places = {"district_id": tema_west.district_id, "constituency_id": tema_west.id}
    with refused("accounts_user_place_has_region"):
        insert("user", **{f"{place}_id": places[f"{place}_id"]})


@pytest.mark.parametrize(
    "suspension",
    [
        {},
        {"suspended_at": timezone.now()},
        {"suspended_at": timezone.now(), "suspension_reason": " \n "},
        {"suspension_reason": "fraud"},
    ],
)
def test_a_suspension_carries_its_time_and_a_reason(insert, suspension):
    with refused("accounts_user_suspension_explained"):
        insert("user", is_suspended=True, **suspension)


def test_a_suspension_with_time_and_reason_is_accepted(insert):
    insert("user", is_suspended=True, suspended_at=timezone.now(), suspension_reason="fraud")


@pytest.mark.parametrize("column", ["token_version", "failed_login_attempts"])
def test_counters_are_never_negative(insert, column):
    with refused(f"accounts_user_{column}_check"):
        insert("user", **{column: -1})


@pytest.mark.parametrize(
    ("column", "constraint"), [("preferred_contact_method", "contact_method"), ("language", "language")]
)
def test_contact_method_and_language_are_known(insert, column, constraint):
    with refused(f"accounts_user_{constraint}"):
        insert("user", **{column: "xx"})


def test_only_a_super_admin_is_a_superuser(insert):
    with refused("accounts_user_superuser_role"):
        insert("user", is_superuser=True)


def test_geography_that_somebody_belongs_to_is_not_deleted(insert, ashanti):
    region = insert("region")
    insert("user", region_id=region)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM accounts_region WHERE id = %s", [region])
        with pytest.raises(IntegrityError, match="accounts_user"):
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


# --- Tokens and codes


@pytest.mark.parametrize("column", ["used_at", "superseded_at"])
def test_a_person_has_one_open_token_for_a_purpose(insert, column):
    user = insert("user")
    insert("accounttoken", user_id=user)
    with refused("accounts_token_one_open"), transaction.atomic():
        insert("accounttoken", user_id=user)
    insert("accounttoken", user_id=user, purpose="set_password")
    made = {"token_hash": "b" * 64, "sent_at": timezone.now(), "sent_to": "x"}
    insert("accounttoken", user_id=user, **made, **{column: timezone.now()})


@pytest.mark.parametrize(
    ("wrong", "constraint"),
    [
        ({"purpose": "party"}, "accounts_token_purpose"),
        ({"token_hash": "a-token-in-clear", "sent_at": timezone.now(), "sent_to": "x"}, "accounts_token_hash_form"),
        ({"token_hash": "a" * 64}, "accounts_token_sent_when_made"),
        ({"token_hash": "a" * 64, "sent_at": timezone.now()}, "accounts_token_sent_when_made"),
        ({"used_at": timezone.now()}, "accounts_token_used_once"),
        (
            {
                "token_hash": "a" * 64,
                "sent_at": timezone.now(),
                "sent_to": "x",
                "used_at": timezone.now(),
                "superseded_at": timezone.now(),
            },
            "accounts_token_used_once",
        ),
    ],
)
def test_a_token_cannot_be(insert, wrong, constraint):
    with refused(constraint):
        insert("accounttoken", user_id=insert("user"), **wrong)


def test_a_hash_of_a_token_is_there_once(insert):
    made = {"token_hash": "a" * 64, "sent_at": timezone.now(), "sent_to": "x"}
    insert("accounttoken", user_id=insert("user"), **made)
    with refused("accounts_token_hash_unique"):
        insert("accounttoken", user_id=insert("user", username="ama", phone="+233244999998"), **made)


def test_a_person_and_a_phone_have_one_open_code_for_a_purpose_and_subject(insert):
    for whose, name in (({"user_id": insert("user")}, "user"), ({"phone": "+233244999998"}, "phone")):
        insert("onetimecode", **whose)
        with refused(f"accounts_code_one_open_of_{name}"), transaction.atomic():
            insert("onetimecode", **whose)
        insert("onetimecode", **whose, subject_id="other")
        insert("onetimecode", **whose, purpose="guest_order")
        insert("onetimecode", **whose, superseded_at=timezone.now())


@pytest.mark.parametrize(
    ("wrong", "constraint"),
    [
        ({}, "accounts_code_user_or_phone"),
        ({"phone": "0244999998"}, "accounts_code_user_or_phone"),
        ({"phone": "+233244999998", "purpose": "party"}, "accounts_code_purpose"),
        ({"phone": "+233244999998", "attempts": 6}, "accounts_code_attempts"),
        ({"phone": "+233244999998", "attempts": -1}, "attempts_check"),
        ({"phone": "+233244999998", "code_hash": "604713", "sent_at": timezone.now()}, "accounts_code_hash_form"),
        ({"phone": "+233244999998", "code_hash": "a" * 64}, "accounts_code_sent_when_made"),
        ({"phone": "+233244999998", "sent_at": timezone.now()}, "accounts_code_sent_when_made"),
        ({"phone": "+233244999998", "used_at": timezone.now()}, "accounts_code_used_once"),
    ],
)
def test_a_code_cannot_be(insert, wrong, constraint):
    with refused(constraint):
        insert("onetimecode", **wrong)


def test_a_code_is_of_a_person_or_of_a_phone_not_of_both(insert):
    with refused("accounts_code_user_or_phone"):
        insert("onetimecode", user_id=insert("user"), phone="+233244999998")
