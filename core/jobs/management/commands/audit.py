"""`manage.py audit`: who did what, and whether the record of it was tampered with."""

from __future__ import annotations

import json
import re
from argparse import ArgumentTypeError
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from core import clock
from core.base import chain_check, selectors
from core.base.chain import Head
from core.base.chain_check import Fault, Finding
from core.base.selectors import AuditEntry, AuditFilter
from core.jobs.management.terminal import ZONE, Column, OperatorCommand, exactly, facts, moment, span, table

MOST_LISTED = 1_000
ROWS = (
    Column("when"),
    Column("who", cut=1),
    Column("action"),
    Column("subject", cut=2),
    Column("link", right=True),
    Column("why", cut=2),
)


class Command(OperatorCommand):
    help = "The audit log: list what was done, verify that nobody changed it."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list | verify")

        listing = self.action(actions, "list", "What operators and administrators did, newest first.")
        listing.add_argument("--actor", default="", metavar="WHO", help="phone, e-mail, or a part of the name")
        listing.add_argument(
            "--action", dest="done", default="", metavar="NAME", help="such as run.retried, or run for all of runs"
        )
        listing.add_argument("--subject", default="", metavar="NAME", help="what it was done to: its type, or its id")
        listing.add_argument("--since", default="", metavar="WHEN", help="24h, 7d, 2026-03-01")
        listing.add_argument("--full", action="store_true", help="also before and after, whole reasons and ids")
        listing.add_argument(
            "--limit", type=_limit, default=25, help=f"at most so many, 25 unless given (1 to {MOST_LISTED})"
        )

        verifying = self.action(
            actions, "verify", "Compare every audited row with the chain, and the chain with itself."
        )
        verifying.add_argument(
            "--since-position", type=int, default=0, metavar="N", help="trust the chain up to this link"
        )
        verifying.add_argument(
            "--head",
            type=_head,
            action="append",
            default=[],
            metavar="POSITION:HASH",
            help="a head that was written down earlier must still be in the chain",
        )

    def list(self, options: dict[str, Any]) -> dict[str, Any]:
        which = AuditFilter(
            actor=options["actor"],
            action=options["done"],
            subject=options["subject"],
            since=moment(options["since"]) if options["since"] else None,
        )
        found = selectors.audit_entries(which, options["limit"])
        if not found:
            self.say("No such row." if which != AuditFilter() else "Nothing has been written down yet.")
        elif options["full"]:
            for entry in found:
                self.say(*facts(_pairs(entry), self.width()), "")
        else:
            self.say(*table(ROWS, [_row(entry) for entry in found], self.width()))
        if len(found) == options["limit"]:
            self.say(f"The newest {len(found)}; more with --limit.")
        self.say(*([ZONE] if found else []))
        return {"rows": [asdict(entry) for entry in found]}

    def verify(self, options: dict[str, Any]) -> dict[str, Any]:
        found = chain_check.verify(since=options["since_position"], heads=options["head"])
        self.partly = not found.intact
        for fault in found.faults:
            self.say(f"{fault.kind.replace('_', ' ')}: {_where(fault)}", f"    {fault.words}")
        self.say(*_in_words(found))
        return {
            "intact": found.intact,
            "since_position": found.since,
            "links": found.links,
            "pending": found.pending,
            "oldest_pending": found.oldest_pending,
            "head": {"position": found.head.position, "hash": found.head.hash.hex()} if found.head else None,
            "counts": dict(found.counts),
            "faults": [asdict(fault) for fault in found.faults],
        }


def _row(entry: AuditEntry) -> tuple[str, ...]:
    subject = f"{entry.subject_type} {entry.subject_id}"
    link = f"{entry.position:,}" if entry.position else "–"
    return exactly(entry.at), *map(_line, (entry.actor, entry.action, subject, link, entry.reason))


def _line(text: str) -> str:
    """On one line, without signs that a terminal obeys: nobody hides a row by what they write as its reason."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def _pairs(entry: AuditEntry) -> list[tuple[str, str]]:
    return [
        ("row", str(entry.id)),
        ("when", exactly(entry.at)),
        ("who", _line(f"{entry.actor} ({entry.actor_id})" if entry.actor_id else entry.actor)),
        ("action", _line(entry.action)),
        ("subject", _line(f"{entry.subject_type} {entry.subject_id}")),
        ("before", _json(entry.before)),
        ("after", _json(entry.after)),
        ("why", _line(entry.reason)),
        ("link", f"{entry.position:,}" if entry.position else "waits for one"),
    ]


def _json(value: Any) -> str:
    return "" if value is None else _line(json.dumps(value, ensure_ascii=False))


def _where(fault: Fault) -> str:
    link = f"link {fault.position:,}" if fault.position else ""
    return ", ".join(part for part in (link, f"{fault.table} {fault.row_id}".strip()) if part)


def _in_words(found: Finding) -> list[str]:
    checked = f"{found.links:,} links and their rows" + (f" after link {found.since:,}" if found.since else "")
    lines = [f"Intact: {checked}."]
    if not found.intact:
        counts = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in found.counts.items())
        lines = [f"BROKEN: {counts}; looked at {checked}."]
        if found.counts.total() > len(found.faults):
            lines.append(f"The first {len(found.faults)} are shown.")
    if found.oldest_pending:
        waited = span(clock.now() - found.oldest_pending)
        lines.append(f"{found.pending:,} rows wait for their link, the oldest for {waited}.")
    if found.head:
        lines += [f"Head: {found.head}", "Keep it where nobody who can write to this database can: --head checks it."]
    else:
        lines.append("The chain is empty.")
    return lines


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_LISTED:
        raise ArgumentTypeError(f"a number from 1 to {MOST_LISTED} is expected")
    return int(text)


def _head(text: str) -> Head:
    found = re.fullmatch(r"([0-9]{1,18}):([0-9a-f]{64})", text.strip().lower())
    if not found:
        raise ArgumentTypeError("expected as verify prints it: a position, a colon, and 64 hexadecimal digits")
    return Head(int(found[1]), bytes.fromhex(found[2]))
