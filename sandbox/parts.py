"""How many SMS parts a text needs (GSM 03.38; delivery.md 2.1)."""

from functools import lru_cache

BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = frozenset("^{}\\[~]|€\f")


@lru_cache(maxsize=1000)  # a campaign is one text many times
def count_parts(text: str) -> int:
    """160 septets alone or 153 joined; with any other character 70 code units or 67. Pairs are never split."""
    if all(letter in BASIC or letter in EXTENSION for letter in text):
        costs = [2 if letter in EXTENSION else 1 for letter in text]
        alone, joined = 160, 153
    else:
        costs = [2 if ord(letter) > 0xFFFF else 1 for letter in text]  # noqa: PLR2004 - end of the basic plane
        alone, joined = 70, 67
    if sum(costs) <= alone:
        return 1
    parts, used = 1, 0
    for cost in costs:
        if used + cost > joined:
            parts, used = parts + 1, 0
        used += cost
    return parts
