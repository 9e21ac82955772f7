"""`manage.py probe_hubtel`: put the open questions to Hubtel with a real key and write down what it answers."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings

from core import clock
from core.base.services import at_the_command_line, record
from core.delivery import dispatch, probe
from core.errors import InvalidInput
from core.jobs.management.terminal import OperatorCommand

FOLDER = settings.BASE_DIR / "var" / "contracts"


class Command(OperatorCommand):
    help = "Ask Hubtel what its public pages leave open, with a few texts to phones of your own, and write a report."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.set_defaults(action="ask")
        parser.add_argument("--json", action="store_true", help="one JSON document instead of text")
        parser.add_argument(
            "--yes-send-to",
            nargs="+",
            default=[],
            metavar="PHONE",
            help=f"phones of your own, 1 to {probe.MOST_PHONES}, that get the texts; their owners agree",
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would be sent, and send nothing")
        parser.add_argument("--wait", type=float, default=probe.WAIT_SECONDS, metavar="SECONDS", help="for receipts")
        parser.add_argument("--out", type=Path, default=FOLDER, metavar="FOLDER", help="where the report goes")

    def ask(self, options: dict[str, Any]) -> dict[str, Any]:
        chosen = probe.checked_phones(options["yes_send_to"] or self.typed())
        self.say(f"To {settings.HUBTEL_BASE_URL}, {probe.count_of_texts(chosen)} texts:", *probe.plan(chosen))
        if options["dry_run"]:
            self.say("Nothing was sent.")
            return {"texts": 0, "plan": probe.plan(chosen)}
        if not dispatch.HUBTEL.configured():
            raise InvalidInput("Set HUBTEL_CLIENT_ID and HUBTEL_CLIENT_SECRET to the key that is to be probed.")
        folder: Path = options["out"]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"The folder {folder} cannot be made. Choose another with --out.") from error
        record(
            action="hubtel.probed",
            subject=("gateway", "hubtel"),
            actor_name=at_the_command_line(),
            after={"texts": probe.count_of_texts(chosen), "phones": len(chosen)},
        )
        report = probe.run(chosen, wait=max(0.0, options["wait"]))
        path = folder / f"hubtel-{clock.accra(report.at):%Y-%m-%d-%H%M%S}.md"
        path.write_text(probe.as_markdown(report))
        answered = [one for one in report.findings if one.answer]
        self.say(*[f"{one.question} {one.answer or 'Not answered'}" for one in report.findings])
        self.say(f"{len(answered)} of {len(report.findings)} questions are answered: {path}")
        return {
            "texts": report.texts,
            "answered": len(answered),
            "questions": len(report.findings),
            "report": str(path),
        }

    def typed(self) -> list[str]:
        """The phones, asked for at a terminal. Nowhere else are texts sent without their being named."""
        if not (self.for_people and sys.stdin.isatty()):
            return []
        with suppress(EOFError):
            return input("Phones of your own that may get the texts, with spaces between: ").split()
        return []
