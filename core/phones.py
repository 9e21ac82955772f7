"""Ghanaian mobile numbers: one stored form, `+233` and nine digits (domain.md 1.2, delivery.md 2.2)."""

from __future__ import annotations

import re

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumber, PhoneNumberType

from core.errors import InvalidInput

E164 = r"^\+233[0-9]{9}$"  # also the CHECK of every phone column
LONGEST_INPUT = 32  # a number with all its spaces and signs; longer text is something else
HOW = "write a Ghanaian mobile number as 0XXXXXXXXX, 233XXXXXXXXX or +233XXXXXXXXX"
_PLAN = PhoneMetadata.metadata_for_region("GH")
assert _PLAN is not None  # noqa: S101 - the library knows every country
assert _PLAN.mobile is not None  # noqa: S101
# The mobile numbers of Ghana's numbering plan in their stored form, as PostgreSQL reads a pattern.
MOBILE_IN_SQL = rf"^\+233(?:{_PLAN.mobile.national_number_pattern})$"
NOT_MOBILE = {
    PhoneNumberType.FIXED_LINE: "is a landline, which cannot receive SMS",
    PhoneNumberType.TOLL_FREE: "is a toll-free number, which cannot receive SMS",
}

_ALLOWED = re.compile(r"[0-9 ().+-]+")
_SIGNS = re.compile(r"[ ().-]")
_FORM = re.compile(r"(?:0|\+?233)([0-9]{9})")


def normalise(text: object) -> str:
    """The number in E.164, such as +233XXXXXXXXX.

    Accepts the three forms of domain.md 1.2 with spaces, hyphens, dots and brackets between the digits. Anything else
    raises InvalidInput: its message says what to do and shows the number masked.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"A phone number must be text, not {type(text).__name__}: {HOW}")
    number = text.strip()
    if not number:
        raise InvalidInput(f"The phone number is empty: {HOW}")
    if len(number) > LONGEST_INPUT:
        raise InvalidInput(f"The phone number is longer than {LONGEST_INPUT} characters: {HOW}")
    if not _ALLOWED.fullmatch(number):
        raise InvalidInput(f"The phone number {mask(number)} contains letters or signs: {HOW}")
    form = _FORM.fullmatch(_SIGNS.sub("", number))
    if not form:
        raise InvalidInput(f"The phone number {mask(number)} does not have the right form: {HOW}")
    return _mobile(form[1])


def _mobile(national: str) -> str:
    e164 = f"+233{national}"
    # Read already, by the strict form above; what is left is the question whether Ghana's numbering plan knows it.
    kind = phonenumbers.number_type(PhoneNumber(country_code=233, national_number=int(national)))
    if kind != PhoneNumberType.MOBILE:
        reason = NOT_MOBILE.get(kind, "belongs to no Ghanaian mobile network")
        raise InvalidInput(f"The phone number {mask(e164)} {reason}: {HOW}")
    return e164


def mask(phone: str) -> str:
    """The number with its middle hidden: `+233*****3456`. Text with too few digits to be a number is hidden whole."""
    digits = re.sub(r"[^0-9]", "", phone)
    if len(digits) < 9:  # noqa: PLR2004 - the nine digits of a national number
        return "*****"
    return f"{'+233' if _FORM.fullmatch(digits) else ''}*****{digits[-4:]}"
