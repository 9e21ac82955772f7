"""Ghana's mobile numbers as the network sees them, and how they are shown in logs."""

import re

# Region GH of `phonenumbers` 9 (delivery.md 2.2): nine national digits of a mobile.
MOBILE = re.compile(r"(?:2(?:[0346-9]\d|5[67])|5(?:[03-7]\d|9[1-9]))\d{6}")
WRITTEN = re.compile(r"[\d +().\-]+", re.ASCII)
LONG_DIGITS = re.compile(r"\+?\d{9,}")

# MCC 620 and a hint by prefix only: numbers are portable in Ghana.
NETWORKS = {
    **dict.fromkeys(("24", "25", "53", "54", "55", "59"), "62001"),  # MTN
    **dict.fromkeys(("20", "50"), "62002"),  # Telecel
    **dict.fromkeys(("23", "27", "57"), "62003"),  # AT, formerly Tigo
    **dict.fromkeys(("26", "56"), "62006"),  # AT, formerly Airtel
}
NETWORK_UNKNOWN = "62000"


def digits_of(written: str) -> str | None:
    """International digits without plus of a number written as 0…, 233… or +233…; None if it is no number at all."""
    if not WRITTEN.fullmatch(written.strip()):
        return None
    digits = re.sub(r"\D", "", written)
    if digits.startswith("00"):
        digits = digits[2:]
    return "233" + digits[1:] if digits.startswith("0") else digits


def is_ghana_mobile(digits: str) -> bool:
    return digits.startswith("233") and MOBILE.fullmatch(digits[3:]) is not None


def network_of(digits: str) -> str:
    return NETWORKS.get(digits[3:5], NETWORK_UNKNOWN)


def mask(number: str) -> str:
    """+233*****3456: enough to recognise one's own number in a log, too little to call anyone."""
    digits = number.lstrip("+")
    return f"+{digits[:3]}*****{digits[-4:]}"


def mask_in(text: str) -> str:
    return LONG_DIGITS.sub(lambda found: mask(found[0]), text)


def spaced(number: str) -> str:
    """+233 24 412 3456, for reading."""
    return f"{number[:4]} {number[4:6]} {number[6:9]} {number[9:]}" if number.startswith("+233") else number
