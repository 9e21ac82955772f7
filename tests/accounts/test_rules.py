"""accounts.rules: roles, levels and codes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import rules
from accounts.rules import ContactMethod, Level, Role
from core.errors import InvalidInput


def test_each_of_the_fifteen_roles_has_one_of_the_eight_levels():
    assert len(Role) == 15
    assert set(rules.LEVELS) == set(Role)
    assert set(rules.LEVELS.values()) == set(Level)


@given(st.sampled_from(Role), st.data())
def test_a_role_is_read_in_any_case_with_spaces_or_hyphens(role, data):
    typed = "".join(
        data.draw(st.sampled_from([" ", "-", "_"] if letter == "_" else [letter, letter.lower()])) for letter in role
    )
    assert rules.parse_role(f" {typed} ") == role


@given(st.text())
def test_any_other_text_is_refused_with_the_roles_there_are(text):
    try:
        answer = rules.parse_role(text).value
    except InvalidInput as refused:
        answer = str(refused)
    assert answer in Role or "FARMER" in answer


def test_a_contact_method_is_read_in_any_case():
    assert rules.parse_contact_method("WhatsApp") == ContactMethod.WHATSAPP
    with pytest.raises(InvalidInput, match="contact method"):
        rules.parse_contact_method("pigeon")


@pytest.mark.parametrize("name", ["Brong-Ahafo", "brong ahafo", "BRONG  AHAFO"])
def test_brong_ahafo_is_known_in_any_spelling(name):
    assert rules.is_brong_ahafo(name)
    assert not rules.is_brong_ahafo("Ahafo")
