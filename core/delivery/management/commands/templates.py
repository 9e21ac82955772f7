"""`manage.py templates`: the words of messages in each language, what they cost, and who approves them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from core.delivery import templates
from core.delivery.models import MessageTemplate
from core.delivery.templates import Preview, Size
from core.delivery.wording import ENGLISH, LANGUAGES
from core.errors import InvalidInput, NotFound
from core.jobs.management.terminal import ZONE, Column, OperatorCommand, actor, facts, table, when

COLUMNS = (Column("template", cut=1), Column("purpose"), Column("languages in force"), Column("drafts"))
VERSIONS = (Column("language"), Column("version"), Column("state"), Column("approved"), Column("id"))


class Command(OperatorCommand):
    help = "Message templates: list, show, preview, import, approve, retire."

    def add_arguments(self, parser: CommandParser) -> None:
        names = "list | show | preview | import | approve | retire"
        actions = parser.add_subparsers(dest="action", required=True, metavar=names)
        self.action(actions, "list", "Every template, and the languages it speaks.")
        show = self.action(actions, "show", "One template: its English words and all versions.")
        show.add_argument("key", metavar="KEY")
        preview = self.action(actions, "preview", "A message as it would go out, with what it costs as SMS.")
        preview.add_argument("key", metavar="KEY")
        preview.add_argument("--language", default=ENGLISH, metavar="CODE", help=", ".join(LANGUAGES))
        preview.add_argument("--version", default="", metavar="ID", help="the words of this version, such as a draft")
        preview.add_argument("--values", default="", metavar="JSON", help='such as \'{"name": "Ama"}\'; else examples')
        bring = self.action(actions, "import", "Write down drafts from a JSON file.", change=True)
        bring.add_argument("file", metavar="FILE")
        for name, words in (
            ("approve", "Put a draft in force. Not by whoever wrote it."),
            ("retire", "Take a version out of force; its language gets English."),
        ):
            self.action(actions, name, words, change=True).add_argument("version", metavar="ID")

    def list(self, options: dict[str, Any]) -> dict[str, Any]:
        rows = list(templates.versions())
        answer, lines = [], []
        for template in templates.registered():
            mine = [row for row in rows if row.key == template.key]
            languages = sorted({ENGLISH, *(row.language for row in mine if row.status == "approved")})
            drafts = sorted(row.language for row in mine if row.status == "draft")
            purpose = template.purpose.value
            answer.append({"key": template.key, "purpose": purpose, "languages": languages, "drafts": drafts})
            lines.append((template.key, purpose, " ".join(languages), " ".join(drafts) or "–"))
        self.say(*(table(COLUMNS, lines, self.width()) if lines else ["No app has registered a template."]))
        return {"templates": answer}

    def show(self, options: dict[str, Any]) -> dict[str, Any]:
        template = templates.named(options["key"])
        words = {name: value for name, value in asdict(template.words).items() if value}
        rows = list(templates.versions(template.key))
        places = ", ".join(f"{{{name}}} ({example})" for name, example in template.examples.items()) or "none"
        head = [("template", template.key), ("purpose", template.purpose.value), ("places", places)]
        self.say(*facts([*head, *words.items()], self.width()), "")
        lines = [_version(row) for row in rows]
        self.say(*(table(VERSIONS, lines, self.width()) if lines else ["Only the English words of the app."]), ZONE)
        return {
            "key": template.key,
            "purpose": template.purpose.value,
            "places": dict(template.examples),
            "words": words,
            "versions": [
                {"id": str(row.pk), "language": row.language, "version": row.version, "status": row.status}
                | {name: getattr(row, name) for name in templates.FIELDS}
                for row in rows
            ],
        }

    def preview(self, options: dict[str, Any]) -> dict[str, Any]:
        values = _json(options["values"]) if options["values"] else {}
        if not isinstance(values, dict):
            raise InvalidInput('The values must be an object, such as {"name": "Ama"}.')
        version = _find(options["version"]).pk if options["version"] else None
        made = templates.preview(options["key"], options["language"], values, version=version)
        self.say(*facts(_shown(made), self.width()))
        return asdict(made)

    def import_(self, options: dict[str, Any]) -> dict[str, Any]:
        try:
            text = Path(options["file"]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{options['file']} cannot be read as UTF-8 text.") from error
        rows = templates.bring_in(_json(text), actor=actor(options))
        self.say(*table(VERSIONS, [_version(row) for row in rows], self.width()))
        self.say("Have each approved by somebody else: python manage.py templates approve ID --as WHO")
        return {"drafts": [str(row.pk) for row in rows]}

    def approve(self, options: dict[str, Any]) -> dict[str, Any]:
        row = templates.approve(_find(options["version"]).pk, actor=actor(options))
        self.say(f"{row} is in force.")
        return {"id": str(row.pk), "status": row.status}

    def retire(self, options: dict[str, Any]) -> dict[str, Any]:
        row = templates.retire(_find(options["version"]).pk, actor=actor(options), reason=options["reason"])
        self.say(f"{row} is retired: {LANGUAGES[row.language]} gets the English words.")
        return {"id": str(row.pk), "status": row.status}


setattr(Command, "import", Command.import_)  # the action's name is a word of Python


def _find(text: str) -> MessageTemplate:
    """The version whose id begins so."""
    found = [row for row in templates.versions() if str(row.pk).startswith(text.strip().lower())] if text else []
    if len(found) != 1:
        raise NotFound(f"There is no one version {text!r}. Its id is listed by: python manage.py templates show KEY")
    return found[0]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"This is no JSON (line {error.lineno}): {error.msg}.") from error


def _version(row: MessageTemplate) -> tuple[str, ...]:
    return row.language, str(row.version), row.status, when(row.approved_at), str(row.pk)


def _shown(made: Preview) -> list[tuple[str, str]]:
    version = f", version {made.version}" if made.version else ", the app's own words"
    lines = [("language", f"{LANGUAGES[made.language]}{version}"), ("title", made.title), ("text", made.text)]
    for name, size in (("sms", made.sms), ("plain sms", made.plain)):
        if size:
            lines += [(name, size.text), ("", _cost(size))]
    if made.plain:
        lines.append(("goes out", "the plain SMS" if made.uses_plain else "the SMS as it is written"))
    return lines


def _cost(size: Size) -> str:
    parts = "1 SMS" if size.parts == 1 else f"{size.parts} SMS"
    cause = f"; {' '.join(size.forced_by)} makes it {size.encoding}" if size.forced_by else ""
    return f"[{parts}, {size.units} units of {size.encoding}, {size.left} left{cause}]"
