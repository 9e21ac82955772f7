"""`manage.py read_bounces`: take in mails that came back, from a maildir, files or standard input."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError

from core.delivery import bounces

TRY_LATER = 75  # EX_TEMPFAIL: a mail server that pipes a mail here keeps it and tries again


class Command(BaseCommand):
    help = "Take in undeliverable mails and complaints from the mailbox of EMAIL_BOUNCE_ADDRESS. Safe to repeat."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="*", metavar="FILE", help="a mail each; without any, one mail on stdin")
        parser.add_argument("--maildir", default="", metavar="FOLDER", help="read what is new there, then mark it seen")

    def handle(self, *_args: Any, **options: Any) -> None:
        if not settings.EMAIL_BOUNCE_ADDRESS:
            raise CommandError("EMAIL_BOUNCE_ADDRESS is not set, so no mail of ours can be known. Set it and restart.")
        counts: Counter[str] = Counter()
        try:
            if options["maildir"]:
                self.read_folder(Path(options["maildir"]), counts)
            elif options["files"]:
                for name in options["files"]:
                    counts[bounces.read(_content(Path(name)))] += 1
            else:
                counts[bounces.read(sys.stdin.buffer.read(bounces.LARGEST))] += 1
        except (OperationalError, InterfaceError):
            self.stderr.write("PostgreSQL does not answer. What was not read stays for the next time.")
            sys.exit(TRY_LATER)
        told = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in sorted(counts.items()))
        self.stdout.write(told or "no new mail")

    def read_folder(self, folder: Path, counts: Counter[str]) -> None:
        new, seen = folder / "new", folder / "cur"
        if not new.is_dir() or not seen.is_dir():
            raise CommandError(f"{folder} is no maildir: it has no folders new and cur.")
        for path in sorted(new.iterdir()):
            counts[bounces.read(_content(path))] += 1
            path.rename(seen / f"{path.name}:2,S")


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(bounces.LARGEST)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
