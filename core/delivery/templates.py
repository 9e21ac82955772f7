"""TEMPLATES: what the system says, in which words and languages.

The apps bring their English words (`messages.py`, registered in AppConfig.ready). An approved `MessageTemplate` row
overrides them for one language; a language without one gets English. A version that is approved is never changed again,
and every message names the version it was written with.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models import Max
from django.db.models.functions import Now

from core import sms_text
from core.base import services as base
from core.base.figures import PLAIN_LETTERS, read
from core.base.models import AuditLog
from core.base.registries import Registry
from core.delivery import wording
from core.delivery.models import MessageTemplate
from core.delivery.rules import TemplateStatus
from core.delivery.wording import ENGLISH, LANGUAGES, Template, Words
from core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from core.jobs.operations import Actor

log = structlog.get_logger(__name__)

FIELDS = ("title", "text", "sms", "sms_plain")
_registered: Registry[Template] = Registry()


@dataclass(frozen=True)
class InForce:
    """The words that are used: of which language after any fallback, and of which version (None: the app's own)."""

    template: Template
    words: Words
    language: str
    version: MessageTemplate | None


@dataclass(frozen=True)
class Written:
    """A message that is filled in."""

    title: str
    text: str
    sms: str
    html: str
    plain: bool


@dataclass(frozen=True)
class Size:
    """What an SMS text costs. `left` units fit before it costs another part; `forced_by` makes it expensive."""

    text: str
    encoding: str
    units: int
    parts: int
    left: int
    forced_by: tuple[str, ...]


@dataclass(frozen=True)
class Preview:
    """A message as it would be sent with these values; `plain` is used instead of `sms` when `uses_plain`."""

    language: str
    version: int | None
    title: str
    text: str
    html: str
    sms: Size | None
    plain: Size | None
    uses_plain: bool


# --- the registry --------------------------------------------------------------------------------------------------


def register(*templates: Template) -> None:
    for template in templates:
        _registered.register(template.key, template)


def named(key: str) -> Template:
    if key not in _registered:
        raise NotFound(f"There is no template {key!r}. List them: manage.py templates list")
    return _registered[key]


def registered() -> list[Template]:
    return [_registered[key] for key in sorted(_registered)]


# --- which words, and filled in ------------------------------------------------------------------------------------


def in_force(key: str, languages: Collection[str]) -> dict[str, InForce]:
    """The words for each of these languages, in one query. A language nobody knows is taken for English."""
    template = named(key)
    approved = {
        row.language: row
        for row in MessageTemplate.objects.filter(
            key=key, status=TemplateStatus.APPROVED, language__in={*languages, ENGLISH}
        )
        if _fits(template, row)
    }
    own = InForce(template, template.words, ENGLISH, None)
    english = _of(template, approved[ENGLISH]) if ENGLISH in approved else own
    return {name: _of(template, approved[name]) if name in approved else english for name in languages}


def _of(template: Template, row: MessageTemplate) -> InForce:
    return InForce(template, _words(row), row.language, row)


def _words(row: MessageTemplate) -> Words:
    return Words(**{name: getattr(row, name) for name in FIELDS})


def _fits(template: Template, row: MessageTemplate) -> bool:
    """Whether a version that was approved once can still be filled in: the code may have moved on since."""
    try:
        wording.check(template, _words(row))
    except InvalidInput as error:
        log.warning("template_does_not_fit", key=row.key, language=row.language, version=row.version, reason=str(error))
        return False
    return True


def fill(found: InForce, values: Mapping[str, object], *, plain_letters: str) -> Written:
    """The message with these values. `plain_letters` is the policy: always, when_cheaper or never."""
    texts = wording.checked_values(found.template, values)
    one_line = {name: " ".join(value.split()) for name, value in texts.items()}
    words = found.words
    sms = wording.fill(words.sms, texts)
    plain = wording.fill(words.sms_plain, texts)
    use_plain = bool(plain) and (
        plain_letters == "always"
        or (plain_letters == "when_cheaper" and sms_text.measure(plain).parts < sms_text.measure(sms).parts)
    )
    return Written(
        title=wording.fill(words.title, one_line)[: wording.LONGEST_TITLE],
        text=wording.fill(words.text, texts),
        sms=plain if use_plain else sms,
        html=wording.fill(words.html, texts, escaped=True),
        plain=use_plain,
    )


def plain_letters() -> str:
    """The policy in force (the setting `sms.plain_letters`)."""
    policy: str = read(PLAIN_LETTERS)[0]
    return policy


def preview(
    key: str, language: str, values: Mapping[str, object] | None = None, *, version: uuid.UUID | None = None
) -> Preview:
    """The message in this language as it would go out now, or with the words of one version, such as a draft.

    Without values the examples are filled in.
    """
    template = named(key)
    if version:
        row = _find(version)
        wording.check(template, _words(row))
        found = _of(template, row)
    else:
        found = in_force(key, [checked_language(language)])[language]
    given = {**template.examples, **(values or {})}
    written = fill(found, given, plain_letters=plain_letters())
    texts = wording.checked_values(template, given)
    return Preview(
        language=found.language,
        version=found.version.version if found.version else None,
        title=written.title,
        text=written.text,
        html=written.html,
        sms=size(wording.fill(found.words.sms, texts)) if found.words.sms else None,
        plain=size(wording.fill(found.words.sms_plain, texts)) if found.words.sms_plain else None,
        uses_plain=written.plain,
    )


def size(text: str) -> Size:
    """What the text costs as SMS, and which characters make it expensive."""
    measured = sms_text.measure(text)
    alone, joined = sms_text.ALONE[measured.encoding], sms_text.JOINED[measured.encoding]
    room = alone if measured.parts <= 1 else joined * measured.parts
    left = max(0, room - measured.units)
    return Size(sms_text.prepare(text), measured.encoding, measured.units, measured.parts, left, measured.forced_by)


# --- writing and approving -----------------------------------------------------------------------------------------


@transaction.atomic
def draft(key: str, language: str, words: Words, *, actor: Actor) -> MessageTemplate:
    """A new version, not in force before somebody else approves it. Raises InvalidInput for words that cannot be used.

    Not safe to repeat: each call is a version.
    """
    template = named(key)
    words = _prepared(words)
    wording.check(template, words)
    with connection.cursor() as cursor:  # one at a time: each takes the next number
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"template {key} {checked_language(language)}"])
    before = MessageTemplate.objects.filter(key=key, language=language).aggregate(Max("version"))["version__max"]
    row = MessageTemplate.objects.create(
        key=key,
        language=language,
        version=(before or 0) + 1,
        created_by_id=actor.user_id,
        **{name: getattr(words, name) for name in FIELDS},
    )
    _record("template.draft", row, actor, after=_shown(row))
    return row


@transaction.atomic
def save(version: uuid.UUID, words: Words, *, actor: Actor) -> MessageTemplate:
    """Change a draft. Raises Conflict when it is one no more."""
    row = _find(version, for_change=True)
    if row.status != TemplateStatus.DRAFT:
        raise Conflict(f"{row} is {row.status}: write a new version instead of changing it.")
    words = _prepared(words)
    wording.check(named(row.key), words)
    before = _shown(row)
    for name in FIELDS:
        setattr(row, name, getattr(words, name))
    row.save()
    _record("template.save", row, actor, before=before, after=_shown(row))
    return row


@transaction.atomic
def approve(version: uuid.UUID, *, actor: Actor) -> MessageTemplate:
    """Put a draft in force from now on; the version before it is retired.

    Raises NotAllowed for whoever wrote or changed it, Conflict when it is no draft, InvalidInput when it fits no more.
    """
    row = _find(version, for_change=True)
    if row.status != TemplateStatus.DRAFT:
        raise Conflict(f"{row} is {row.status} already.")
    wrote = AuditLog.objects.filter(
        subject_type="template", subject_id=str(row.pk), action__in=["template.draft", "template.save"]
    ).values_list("actor_id", "actor_name")
    if any((actor.user_id and actor.user_id == author) or actor.name == name for author, name in wrote):
        raise NotAllowed(f"{row} was written by you: somebody else who reads the language must approve it.")
    wording.check(named(row.key), _words(row))
    for old in MessageTemplate.objects.select_for_update().filter(
        key=row.key, language=row.language, status=TemplateStatus.APPROVED
    ):
        _retire(old, actor)
    row.status, row.approved_by_id, row.approved_at = TemplateStatus.APPROVED.value, actor.user_id, Now()
    row.save()
    row.refresh_from_db()
    _record("template.approve", row, actor, before=TemplateStatus.DRAFT, after=TemplateStatus.APPROVED)
    return row


@transaction.atomic
def retire(version: uuid.UUID, *, actor: Actor, reason: str) -> MessageTemplate:
    """Take a version out of force; without another one its language gets English."""
    if not reason.strip():
        raise InvalidInput("Say why this version is taken out of force.")
    row = _find(version, for_change=True)
    if row.status != TemplateStatus.APPROVED:
        raise Conflict(f"{row} is {row.status}: only an approved version can be retired.")
    _retire(row, actor, reason)
    return row


def bring_in(entries: object, *, actor: Actor) -> list[MessageTemplate]:
    """Write down drafts from a file: a list of objects with key, language, title, text, sms and sms_plain.

    All or none: raises InvalidInput with the number of the first entry that cannot be used.
    """
    if not isinstance(entries, list) or not entries:
        raise InvalidInput('The file must hold a list: [{"key": …, "language": …, "title": …, "text": …, "sms": …}].')
    with transaction.atomic():
        return [_bring_in(number, entry, actor) for number, entry in enumerate(entries, start=1)]


def _bring_in(number: int, entry: object, actor: Actor) -> MessageTemplate:
    known = {"key", "language", *FIELDS}
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise InvalidInput(f"Entry {number} must be an object of texts.")
    if unknown := sorted(entry.keys() - known):
        raise InvalidInput(f"Entry {number} has {unknown[0]!r}, which is not one of: {', '.join(sorted(known))}.")
    try:
        words = Words(**{name: entry.get(name, "") for name in FIELDS})
        return draft(entry.get("key", ""), entry.get("language", ""), words, actor=actor)
    except (InvalidInput, NotFound) as error:
        raise InvalidInput(f"Entry {number}: {error}") from error


def versions(key: str = "") -> Iterable[MessageTemplate]:
    """The versions of a template, or of all, newest first."""
    rows = MessageTemplate.objects.filter(key=key) if key else MessageTemplate.objects.all()
    return rows.order_by("key", "language", "-version")


def checked_language(language: str) -> str:
    if language not in LANGUAGES:
        known = ", ".join(f"{code} ({name})" for code, name in LANGUAGES.items())
        raise InvalidInput(f"There is no language {language!r}. Use one of: {known}.")
    return language


def _prepared(words: Words) -> Words:
    """In the one form of their letters that is stored (NFC), so that a letter and its mark count once."""
    return Words(**{name: sms_text.prepare(value.strip()) for name, value in asdict(words).items()})


def _find(version: uuid.UUID, *, for_change: bool = False) -> MessageTemplate:
    rows = MessageTemplate.objects.select_for_update() if for_change else MessageTemplate.objects.all()
    row = rows.filter(pk=version).first()
    if row is None:
        raise NotFound(f"There is no version {version}. List them: manage.py templates list")
    return row


def _retire(row: MessageTemplate, actor: Actor, reason: str = "") -> None:
    row.status = TemplateStatus.RETIRED.value
    row.save()
    _record("template.retire", row, actor, before=TemplateStatus.APPROVED, after=TemplateStatus.RETIRED, reason=reason)


def _shown(row: MessageTemplate) -> dict[str, str]:
    return {"key": row.key, "language": row.language, **{name: getattr(row, name) for name in FIELDS}}


def _record(action: str, row: MessageTemplate, actor: Actor, **about: Any) -> None:
    base.record(
        action=action,
        subject=("template", str(row.pk)),
        actor_id=actor.user_id,
        actor_name=actor.name,
        **about,
    )
