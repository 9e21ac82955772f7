"""The words of a message with places to fill in: `{name}`, and `{{` or `}}` for a brace itself.

A place is a name of small letters, nothing else: no attribute, no index, no format. Values go in as they are; braces in
them mean nothing.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from core import sms_text
from core.delivery.rules import Purpose
from core.errors import InvalidInput

ENGLISH = "en"
LANGUAGES = {"en": "English", "tw": "Twi", "ee": "Ewe", "gaa": "Ga", "dag": "Dagbani"}
LONGEST_TITLE = 200
_PIECES = re.compile(r"\{\{|\}\}|\{([a-z][a-z0-9_]{0,39})\}|([{}])")
_KEY = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)+")


@dataclass(frozen=True)
class Words:
    """The words of one message in one language. `sms_plain` is the author's variant without the letters that make an
    SMS expensive; `html` the inside of an e-mail's page where plain paragraphs do not do.
    """

    title: str = ""
    text: str = ""
    sms: str = ""
    sms_plain: str = ""
    html: str = ""


@dataclass(frozen=True)
class Template:
    """A kind of message with its English words and an example for each place.

    `key` is the app and what is told: `farms.application_approved`. `title` and `text` are the e-mail and the notice in
    the application; without `text` the SMS is used. `secret`: a code or token is filled in, so the text is stored
    encrypted only, and never as a notice. `why` is what an e-mail says about why its reader gets it.
    """

    key: str
    purpose: Purpose
    examples: Mapping[str, str]
    title: str
    text: str = ""
    sms: str = ""
    sms_plain: str = ""
    html: str = ""
    secret: bool = False
    why: str = ""
    words: Words = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key) or len(self.key) > 100:  # noqa: PLR2004 - the column
            raise InvalidInput(f"The key {self.key!r} must be an app and a name, such as farms.application_approved.")
        words = Words(self.title, self.text or self.sms, self.sms, self.sms_plain, self.html)
        object.__setattr__(self, "words", words)
        if not self.title or not words.text:
            raise InvalidInput(f"{self.key}: a template needs a title and a text or an SMS.")
        check(self, words)
        used = places(words.title) | places(words.text) | places(words.sms)
        if unused := sorted(self.examples.keys() - used):
            raise InvalidInput(f"{self.key}: no text uses {{{unused[0]}}}. Use it, or take it out of the examples.")
        if self.secret and self.purpose == Purpose.BULK:
            raise InvalidInput(f"{self.key}: a code or token does not go to many. Choose another purpose.")


def check(template: Template, words: Words) -> None:
    """Whether these words can be used for the template. Raises InvalidInput with what to do."""
    for name, english in (("title", template.title), ("text", template.words.text), ("sms", template.sms)):
        written = getattr(words, name)
        if bool(written.strip()) != bool(english.strip()):
            do = "Write" if english.strip() else "Leave out"
            raise InvalidInput(f"{template.key}: {do} the {name}, as the English words do.")
        found = _checked(template, name, written)
        missing = sorted(places(english) - found) if name != "title" else []
        if missing:
            raise InvalidInput(f"{template.key}: the {name} leaves out {{{missing[0]}}}, which the English {name} has.")
    if len(words.title) > LONGEST_TITLE or words.title.splitlines() != [words.title]:
        raise InvalidInput(f"{template.key}: the title is one line of at most {LONGEST_TITLE} characters.")
    if words.html and (missing := sorted(places(words.text) - _checked(template, "html", words.html))):
        raise InvalidInput(f"{template.key}: the html leaves out {{{missing[0]}}}, which the text has.")
    if words.sms_plain:
        _check_plain(template, words)


def _check_plain(template: Template, words: Words) -> None:
    if places(words.sms) != _checked(template, "sms_plain", words.sms_plain):
        raise InvalidInput(f"{template.key}: sms_plain must have the same places as sms.")
    foreign = sms_text.measure(fill(words.sms_plain, dict.fromkeys(template.examples, ""))).forced_by
    if foreign:
        raise InvalidInput(
            f"{template.key}: sms_plain has {' '.join(foreign)}, which is no plain letter. Write it with plain ones."
        )


def _checked(template: Template, name: str, text: str) -> set[str]:
    try:
        found = places(text)
    except InvalidInput as error:
        raise InvalidInput(f"{template.key}: {name}: {error}") from error
    if unknown := sorted(found - template.examples.keys()):
        known = ", ".join(f"{{{place}}}" for place in template.examples) or "none"
        raise InvalidInput(f"{template.key}: the {name} has {{{unknown[0]}}}, which nothing fills in. Known: {known}.")
    return found


def places(text: str) -> set[str]:
    """The names in braces. Raises InvalidInput for a brace that is neither a place nor doubled."""
    found = set()
    for match in _PIECES.finditer(text):
        if match[2]:
            around = text[max(0, match.start() - 10) : match.end() + 15]
            raise InvalidInput(
                f"a single {match[2]} at “{around}”. A place is written {{name}} in small letters; for the sign itself"
                f" write {match[2] * 2}."
            )
        if match[1]:
            found.add(match[1])
    return found


def fill(text: str, values: Mapping[str, str], *, escaped: bool = False) -> str:
    """The text with its places filled in, once: what stands in a value is never looked at again."""

    def put(match: re.Match[str]) -> str:
        if match[1]:
            return html.escape(values[match[1]]) if escaped else values[match[1]]
        return match[0][0]

    return _PIECES.sub(put, text)


def checked_values(template: Template, values: Mapping[str, object]) -> dict[str, str]:
    """The values as text. Raises InvalidInput when one is missing, unknown or neither text nor a whole number."""
    if missing := sorted(template.examples.keys() - values.keys()):
        raise InvalidInput(f"{template.key}: pass a value for {', '.join(missing)}.")
    if unknown := sorted(values.keys() - template.examples.keys()):
        raise InvalidInput(f"{template.key}: there is no place for {', '.join(unknown)}.")
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise InvalidInput(f"{template.key}: {name} must be text, as people read it, not {type(value).__name__}.")
    return {name: str(value) for name, value in values.items()}
