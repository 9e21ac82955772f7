"""core.sms_text: the cost of a text, against the tables of 3GPP TS 23.038 and smsutil as the oracle."""

from __future__ import annotations

import unicodedata

import pytest
import smsutil
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInput
from core.sms_text import BASIC, EXTENSION, GSM7, Segments, measure, prepare


def test_the_basic_table_has_127_usable_characters_and_the_extension_ten():
    assert (len(BASIC), len(EXTENSION), len(GSM7)) == (127, 10, 137)


@pytest.mark.parametrize(
    ("text", "encoding", "units", "parts"),
    [
        ("", "gsm7", 0, 0),
        ("a", "gsm7", 1, 1),
        ("a" * 160, "gsm7", 160, 1),
        ("a" * 161, "gsm7", 161, 2),
        ("a" * 306, "gsm7", 306, 2),
        ("a" * 307, "gsm7", 307, 3),
        ("€" * 80, "gsm7", 160, 1),
        ("a" * 159 + "€", "gsm7", 161, 2),
        ("a" * 152 + "€" + "a" * 152, "gsm7", 306, 3),  # 152 + one left empty, 153, 1
        ("a" * 151 + "€" + "a" * 153, "gsm7", 306, 2),
        ("ɔ" * 70, "ucs2", 70, 1),
        ("ɔ" * 71, "ucs2", 71, 2),
        ("ɔ" * 134, "ucs2", 134, 2),
        ("ɔ" * 135, "ucs2", 135, 3),
        ("🐔" * 35, "ucs2", 70, 1),
        ("ɔ" * 69 + "🐔", "ucs2", 71, 2),
        ("ɔ" * 66 + "🐔" + "ɔ" * 66, "ucs2", 134, 3),  # 66 + one left empty, 67, 1
        ("€ɔ", "ucs2", 2, 1),  # an extension character is one unit in UCS-2
    ],
)
def test_units_and_parts_at_the_edges(text, encoding, units, parts):
    segments = measure(text)
    assert (segments.encoding, segments.units, segments.parts) == (encoding, units, parts)


@pytest.mark.parametrize("letter", list("ɛɔɖƒɣŋʋʒƐƆƉƑƔŊƲƷ₵“”‘’–—…`´áíóúãõ\u00a0ẽ\u001b"))
def test_letters_of_ghanas_languages_and_typographic_signs_force_ucs2_and_are_named(letter):
    assert measure(f"Akwaaba {letter}") == Segments("ucs2", 9, 1, (letter,))


@pytest.mark.parametrize("letter", list("àèéìòùÄÖÑÜäöñüßÇ£¥¤§¿¡ΔΦΓΛΩΠΨΣΘΞ"))
def test_letters_of_the_basic_table_are_free(letter):
    assert measure(letter) == Segments("gsm7", 1, 1, ())


def test_the_forcing_characters_are_named_once_in_order_of_appearance():
    assert measure("Mɛda wo ase ɔkuafoɔ ɛ").forced_by == ("ɛ", "ɔ")


def test_a_letter_with_a_combining_mark_counts_once_where_unicode_has_the_letter():
    assert measure("e\u0301") == Segments("gsm7", 1, 1, ())  # é
    assert measure("ɔ\u0301").units == 2  # no such single letter


def test_a_twi_notice_costs_three_parts_and_the_english_one_a_single_part():
    assert measure("x" * 152).parts == 1
    assert measure("ɔ" + "x" * 146).parts == 3


@pytest.mark.parametrize("text", ["a\0b", "\ud83d", "x\udc14"])
def test_what_cannot_be_sent_is_refused(text):
    with pytest.raises(InvalidInput, match="cannot be sent"):
        measure(text)


MIXED = st.text(st.sampled_from([*sorted(GSM7), *"ɛɔŋ₵🐔🥚"]), max_size=400)
GSM = st.text(st.sampled_from(sorted(GSM7)), min_size=1, max_size=700)
WIDE = st.text(st.sampled_from("ab€ɔ🐔"), min_size=1, max_size=400)


@given(MIXED | GSM | WIDE)
def test_counts_agree_with_smsutil(text):
    """smsutil differs in three things, left out here: ESC is a character, half a pair is text, '' is UCS-2."""
    text = prepare(text)
    if not text:
        return
    theirs = smsutil.split(text)
    ours = measure(text)
    assert ours.encoding == {"gsm0338": "gsm7", "utf_16_be": "ucs2"}[theirs.encoding]
    assert ours.units == theirs.total_bytes // (1 if ours.encoding == "gsm7" else 2)
    assert ours.parts == len(theirs.parts)


@given(st.text())
def test_preparing_changes_no_meaning_and_is_safe_to_repeat(text):
    if "\0" in text:
        return
    prepared = prepare(text)
    assert unicodedata.normalize("NFD", prepared) == unicodedata.normalize("NFD", text)
    assert prepare(prepared) == prepared
    assert measure(prepared) == measure(text)
