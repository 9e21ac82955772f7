"""`.env.example` against the code: every variable that is read is listed and explained, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READERS = re.compile(r"""\benv\.(?:text|flag|number|choice|words|url|postgres)\(\s*"([A-Z_0-9]+)\"""")
MAKE_RUN = {"PORT"}  # read by stack/, not by the settings


def listed() -> dict[str, str]:
    """Name → the comment line before it."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    names = {}
    for before, line in zip(["", *lines], lines, strict=False):
        found = re.fullmatch(r"#?([A-Z_0-9]+)=.*", line)
        if found:
            names[found[1]] = before
    return names


def test_every_variable_the_settings_read_is_listed_and_no_other():
    read = set(READERS.findall((ROOT / "core/settings.py").read_text()))
    assert read | MAKE_RUN == set(listed())


def test_every_variable_is_explained():
    assert [name for name, before in listed().items() if not re.match(r"# [A-Za-z].*\.$", before)] == []
