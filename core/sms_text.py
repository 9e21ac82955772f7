"""How many parts a text costs as SMS: GSM 03.38 or UCS-2 (delivery.md 2.1).

No letter is ever replaced to save a part: ɛ and ɔ carry meaning. A cheaper wording is an author's decision.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from core.errors import InvalidInput

# 3GPP TS 23.038, 6.2.1: the basic table without its escape, and the extension table (two septets each).
BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = frozenset("\f^{}\\[~]|€")
GSM7 = BASIC | EXTENSION
ALONE = {"gsm7": 160, "ucs2": 70}  # units when the text fits into one part
JOINED = {"gsm7": 153, "ucs2": 67}  # units of each part when it does not

_UNSENDABLE = re.compile("[\0\ud800-\udfff]")
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
_EXTENSION = re.compile(f"[{re.escape(''.join(sorted(EXTENSION)))}]")


@dataclass(frozen=True, slots=True)
class Segments:
    """What a text costs. `units` are septets (gsm7) or 16-bit code units (ucs2)."""

    encoding: Literal["gsm7", "ucs2"]
    units: int
    parts: int
    forced_by: tuple[str, ...]
    """The characters that force UCS-2, each once, in order of appearance; empty for gsm7."""


def prepare(text: str) -> str:
    """The text as it is stored and sent: NFC, so that a letter and its mark count once. Safe to repeat.

    Raises InvalidInput for what neither PostgreSQL nor a phone can hold: NUL and half surrogate pairs.
    """
    if _UNSENDABLE.search(text):
        raise InvalidInput(
            "The text contains a character that cannot be sent (NUL or half a surrogate pair): remove it"
        )
    return unicodedata.normalize("NFC", text)


def measure(text: str) -> Segments:
    """Encoding, units and parts of the prepared text, as a phone network counts them. Empty text has no part.

    One foreign character turns the whole text into UCS-2. A part never ends inside an escape pair or a surrogate pair.
    """
    text = prepare(text)
    foreign = set(text) - GSM7
    encoding: Literal["gsm7", "ucs2"] = "ucs2" if foreign else "gsm7"
    wide = [match.start() for match in (_ASTRAL if foreign else _EXTENSION).finditer(text)]  # these take two units
    units = len(text) + len(wide)
    parts = min(units, 1) if units <= ALONE[encoding] else _parts(len(text), wide, JOINED[encoding])
    return Segments(encoding, units, parts, tuple(sorted(foreign, key=text.index)))


def _parts(length: int, wide: list[int], room: int) -> int:
    """Parts of a text with two-unit characters at the places `wide`: one that meets one free unit leaves it empty."""
    empty = 0
    for before, place in enumerate(wide):
        if (place + before + empty) % room == room - 1:
            empty += 1
    return -(-(length + len(wide) + empty) // room)
