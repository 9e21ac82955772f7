"""accounts.rules: roles, levels and codes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

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


# --- secrets and invitations


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("604713", "604713"),
        (" 604 713\n", "604713"),
        ("604-713", "604713"),
        ("004713", "004713"),
        ("60471", ""),
        ("6047135", ""),
        ("６０４７１３", ""),
        ("six", ""),
        ("", ""),
    ],
)
def test_a_code_is_read_as_people_type_it(typed: str, code: str) -> None:
    assert rules.typed_code(typed) == code


def test_any_text_can_be_looked_up_as_a_token() -> None:
    assert rules.token_hash("a") != rules.token_hash("b")
    for text in ("", "\ud800", "x" * 10_000, "ɛ\0"):
        assert len(rules.token_hash(text)) == 64


@given(st.lists(st.integers(0, 3 * 86_400), max_size=60), st.sampled_from([rules.SECRET_LIMITS, rules.RESET_LIMITS]))
def test_whenever_it_is_asked_for_no_stretch_of_time_has_more_than_its_limit(
    seconds: list[int], limits: tuple[rules.Limit, ...]
) -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    made: list[datetime] = []
    for now in (start + timedelta(seconds=second) for second in sorted(seconds)):
        allowed = rules.may_have_another(made, limits, now)
        full = [limit for limit in limits if len([m for m in made if m > now - limit.within]) >= limit.most]
        assert allowed == (not full), "nobody is refused for nothing"
        if allowed:
            made.append(now)
    for limit in limits:
        for first in made:
            assert len([each for each in made if first <= each < first + limit.within]) <= limit.most


def test_an_end_of_an_invitation_is_final_and_every_status_has_its_row() -> None:
    assert set(rules.INVITATION_TRANSITIONS) == set(rules.InvitationStatus)
    ends = {to for ways in rules.INVITATION_TRANSITIONS.values() for to in ways}
    assert all(rules.INVITATION_TRANSITIONS[end] == frozenset() for end in ends)
    assert rules.InvitationStatus.PENDING not in ends
