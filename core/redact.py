"""Masking personal data in any text that is logged, stored as an error or shown (domain.md 1.2, design.md P7)."""

from __future__ import annotations

import re

EMAIL_MASK = "***"

_NAME = r"\w.+'%-"  # the characters of a mailbox name that occur in life; `%` for addresses inside a URL
_AT = r"(?:@|%40)"
_EMAIL = re.compile(
    rf"""
    (?<![{_NAME}]) (?P<lead>['.+%-]*+) \w [{_NAME}]* {_AT}
    (?P<domain> (?:[\w-]+\.)+ (?:xn--[\w-]+|[^\W\d_]{{2,}}) )
    (?: [{_NAME}]*? {_AT} [@{_NAME}]* )?    # whatever is glued on with another @ goes too
    """,
    re.VERBOSE,
)
_SEP = r"[ ().-]{0,3}"
_MAYBE_PHONE = re.compile(r"(?:0|233)(?:[ ().-]{0,6}[0-9]){9}")  # a cheap look that spares most log lines the rest
# What looks like a number is first tried as something that must stay whole. Hexadecimal digits on either side mean a
# hash; a digit and a point before it mean the middle of a decimal or an address; five stars, a number masked before.
_PHONE = re.compile(
    rf"""
    [0-9a-fA-F]{{8}} (?:-[0-9a-fA-F]{{4}}){{3}} - [0-9a-fA-F]{{12}}
    | (?<![0-9.*])
      (?: (?:19|20)[0-9]{{2}}-[0-9]{{2}}-[0-9]{{2}} (?:[T ][0-9]{{2}}:[0-9]{{2}}(?::[0-9]{{2}}(?:[.,][0-9]+)?)?)?
        | [0-9]{{1,2}}([-/.])[0-9]{{1,2}}\1(?:19|20)[0-9]{{2}}
        | [0-9]{{1,2}}:[0-9]{{2}}(?::[0-9]{{2}}(?:[.,][0-9]+)?)?
        | (?:0|[1-9][0-9]*)\.[0-9]+(?!\.)
      ) (?![0-9])
    | (?: \+ | %2B | (?<![0-9a-fA-F])(?<![0-9]\.)(?<!\*{{5}}) )
      (?P<phone> \(? (?: (?:00)?233 {_SEP} 0? | 0 ) {_SEP} [1-9] (?:{_SEP}[0-9]){{8}} )
      (?![0-9a-fA-F])
    """,
    re.VERBOSE,
)


def redact(text: str) -> str:
    """The text with every Ghanaian phone number as `+233*****3456` and every e-mail address as `***@example.com`.

    Numbers are found in the forms of domain.md 1.2, with spaces, hyphens, dots or brackets between the digits, inside
    JSON, URLs and sentences. UUIDs, dates, times, decimals, hashes and longer runs of digits stay as they are. Safe to
    repeat. A number that JSON writes without quotes stops being JSON: redact values before they are encoded.
    """
    if "@" in text or "%40" in text:
        text = _EMAIL.sub(rf"\g<lead>{EMAIL_MASK}@\g<domain>", text)
    return _PHONE.sub(_mask, text) if _MAYBE_PHONE.search(text) else text


def _mask(match: re.Match[str]) -> str:
    number = match["phone"]
    if number is None:
        return match[0]
    return "+233*****" + "".join(filter(str.isdigit, number))[-4:]
