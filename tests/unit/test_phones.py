"""core.phones: one stored form, and refusals that say what to do without showing the number."""

from __future__ import annotations

import re

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import phones
from core.errors import InvalidInput

STORED = "+233244123456"


@pytest.mark.parametrize(
    "text",
    [
        "0244123456",
        "233244123456",
        "+233244123456",
        "024 412 3456",
        "024-412-3456",
        "+233 24 412 3456",
        "(024) 412.3456",
        "  0244123456\n",
    ],
)
def test_every_documented_form_becomes_e164(text):
    assert phones.normalise(text) == STORED


@pytest.mark.parametrize("prefix", ["20", "23", "24", "256", "26", "27", "50", "53", "54", "55", "57", "591"])
def test_the_prefixes_of_all_networks_are_mobile(prefix):
    assert phones.normalise("0" + prefix.ljust(9, "4")) == "+233" + prefix.ljust(9, "4")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("0302123456", "is a landline"),
        ("0800123456", "is a toll-free number"),
        ("0144123456", "no Ghanaian mobile network"),
        ("024412345", "right form"),
        ("02441234567", "right form"),
        ("2330244123456", "right form"),
        ("00233244123456", "right form"),
        ("+447911123456", "right form"),
        ("2+33244123456", "right form"),
        ("0244123456x12", "letters or signs"),
        ("O244123456", "letters or signs"),
        ("0244123456;0201234567", "letters or signs"),
        ("٠٢٤٤١٢٣٤٥٦", "letters or signs"),
        ("０２４４１２３４５６", "letters or signs"),
        ("0244123456\u00a0", None),
        ("0244\u2011123\u2011456", "letters or signs"),
        ("0" * 10_000, "longer than"),
        (None, "must be text, not NoneType"),
        (244123456, "must be text, not int"),
        (b"0244123456", "must be text, not bytes"),
        (["0244123456"], "must be text, not list"),
    ],
)
def test_anything_else_is_refused_with_its_reason(text, reason):
    if reason is None:  # a space of any kind around the number is no mistake
        assert phones.normalise(text) == STORED
        return
    with pytest.raises(InvalidInput, match=reason) as refused:
        phones.normalise(text)
    assert phones.HOW in str(refused.value)


@given(st.text(alphabet="0123456789 +-().xO٣", max_size=40) | st.text())
def test_any_text_is_stored_in_the_one_form_or_refused_masked(text):
    try:
        answer = phones.normalise(text)
    except InvalidInput as refused:
        answer = str(refused).replace(phones.HOW, "")
        assert not re.search(r"[0-9]{5,}", answer)
        return
    assert re.fullmatch(phones.E164, answer)
    assert phones.normalise(answer) == answer


@given(st.from_regex(r"[0-9]{9}", fullmatch=True))
def test_a_number_is_accepted_exactly_when_the_library_calls_it_a_valid_mobile(national):
    parsed = phonenumbers.PhoneNumber(country_code=233, national_number=int(national))
    mobile = not national.startswith("0") and (
        phonenumbers.is_valid_number_for_region(parsed, "GH")
        and phonenumbers.number_type(parsed) == phonenumbers.PhoneNumberType.MOBILE
    )
    for text in (f"0{national}", f"233{national}", f"+233{national}"):
        try:
            accepted = phones.normalise(text) == f"+233{national}"
        except InvalidInput:
            accepted = False
        assert accepted == mobile


@pytest.mark.parametrize(
    ("phone", "masked"),
    [
        (STORED, "+233*****3456"),
        ("0244123456", "+233*****3456"),
        ("+447911123456", "*****3456"),
        ("1234", "*****"),
        ("kofi@example.com", "*****"),
        ("", "*****"),
    ],
)
def test_a_masked_number_keeps_its_last_four_digits_at_most(phone, masked):
    assert phones.mask(phone) == masked
