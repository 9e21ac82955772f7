"""`manage.py messages`: what was sent to whom, what became of it, and what a person decides about it."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from core.delivery import doubt, receipts, trail
from core.delivery.models import OutboundMessage
from core.delivery.rules import LOOK_AGES, Channel, Purpose, Status
from core.delivery.trail import MessageFacts, MessageFilter, Step
from core.errors import InvalidInput
from core.jobs.management.terminal import (
    ZONE,
    Column,
    OperatorCommand,
    actor,
    distance,
    exactly,
    facts,
    moment,
    table,
    when,
)
from core.jobs.selectors import database_time, short_ids

MOST_LISTED = 1_000
POLL_SECONDS = 30.0
LANES = ("urgent", "default", "bulk")
COLUMNS = (
    Column("id"),
    Column("written"),
    Column("to"),
    Column("purpose"),
    Column("status"),
    Column("tries", right=True),
    Column("GHS", right=True),
    Column("why", cut=1),
)
STEPS = (Column("when"), Column("what"), Column("who", cut=2), Column("in words", cut=1))


class Command(OperatorCommand):
    help = "Messages: list, show, phone, resend, resolve, receipts."

    def add_arguments(self, parser: CommandParser) -> None:
        names = "list | show | phone | resend | resolve | receipts"
        actions = parser.add_subparsers(dest="action", required=True, metavar=names)

        listing = self.action(actions, "list", "The newest messages.")
        listing.add_argument("--status", action="append", default=[], choices=[str(status) for status in Status])
        listing.add_argument("--purpose", default="", choices=["", *map(str, Purpose)])
        listing.add_argument("--channel", default="", choices=["", *map(str, Channel)])
        listing.add_argument("--lane", default="", choices=["", *LANES])
        listing.add_argument("--since", default="", metavar="WHEN", help="written since then: 24h, 7d, 2026-03-01")
        listing.add_argument(
            "--limit", type=_limit, default=25, help=f"at most so many, 25 unless given (1 to {MOST_LISTED})"
        )

        show = self.action(actions, "show", "Everything about one message, from its cause to its receipt.", change=True)
        show.add_argument("id", metavar="ID", help="the id, or its first digits")
        phone = self.action(actions, "phone", "Everything that went to a phone or an address.", change=True)
        phone.add_argument("address", metavar="NUMBER", help="a phone number or an e-mail address")
        for looking in (show, phone):
            looking.add_argument(
                "--reveal", action="store_true", help="whole numbers and texts; who looked and why is kept: --reason"
            )

        resend = self.action(actions, "resend", "Give a dead message its tries once more.", change=True)
        resend.add_argument("id", metavar="ID")

        resolve = self.action(actions, "resolve", "Say what became of a message in doubt.", change=True)
        resolve.add_argument("id", metavar="ID")
        said = resolve.add_mutually_exclusive_group(required=True)
        said.add_argument("--sent", action="store_true", help="it was sent: it is accepted")
        said.add_argument("--not-sent", action="store_true", help="it was not: it goes again")

        asking = self.action(actions, "receipts", "Ask the provider now what became of messages.")
        asking.add_argument("when", choices=["now"])
        asking.add_argument("ids", nargs="*", metavar="ID", help="only of these; otherwise all that are due")

    # --- looking ---------------------------------------------------------------------------------------------------

    def list(self, options: dict[str, Any]) -> dict[str, Any]:
        which = MessageFilter(
            statuses=tuple(Status(status) for status in options["status"]),
            purpose=Purpose(options["purpose"]) if options["purpose"] else None,
            channel=Channel(options["channel"]) if options["channel"] else None,
            lane=options["lane"],
            since=moment(options["since"]) if options["since"] else None,
        )
        found = trail.recent(which, options["limit"])
        if found.rows:
            self.say(*table(COLUMNS, _rows(found.rows), self.width()))
        else:
            self.say("No such message." if which != MessageFilter() else "No message has been written yet.")
        if len(found.rows) == options["limit"]:
            self.say(f"The newest {len(found.rows)}; more with --limit.")
        elif found.looked_back_to:
            far = f"Looked through the newest {trail.MOST_WALKED:,} messages, back to {when(found.looked_back_to)}"
            self.say(f"{far}; --since goes further.")
        self.say(*([ZONE] if found.rows else []))
        return {"messages": [asdict(message) for message in found.rows], "looked_back_to": found.looked_back_to}

    def show(self, options: dict[str, Any]) -> dict[str, Any]:
        found = trail.of_message(trail.message_id_of(options["id"]), **_revealed(options))
        [message] = found.messages
        self.say(*facts(_pairs(message, found.revealed), self.width()), "")
        self.say_steps(found.steps)
        return asdict(found)

    def phone(self, options: dict[str, Any]) -> dict[str, Any]:
        address = options["address"]
        look = trail.of_address if "@" in address else trail.of_phone
        found = look(address, **_revealed(options))
        if not found.steps:
            self.say("Nothing was written to it, or it is no longer kept.")
        else:
            self.say(*table(COLUMNS, _rows(found.messages), self.width()), "")
            self.say_steps(found.steps)
            if found.more:
                self.say(f"The newest {len(found.messages)} messages; there are older ones.")
        return asdict(found)

    def say_steps(self, steps: Iterable[Step]) -> None:
        rows = [(exactly(step.at), step.kind.value, step.actor or "–", step.text) for step in steps]
        self.say(*table(STEPS, rows, self.width()), ZONE)

    # --- deciding --------------------------------------------------------------------------------------------------

    def resend(self, options: dict[str, Any]) -> dict[str, Any]:
        message = doubt.resend(trail.message_id_of(options["id"]), actor=actor(options), reason=options["reason"])
        self.say("It waits to be sent once more.", f"See how it goes: python manage.py messages show {message.pk}")
        return {"id": str(message.pk), "status": message.status}

    def resolve(self, options: dict[str, Any]) -> dict[str, Any]:
        message = doubt.resolve(
            trail.message_id_of(options["id"]), sent=options["sent"], actor=actor(options), reason=options["reason"]
        )
        self.say("It counts as sent." if options["sent"] else "It waits to be sent once more.")
        return {"id": str(message.pk), "status": message.status}

    def receipts(self, options: dict[str, Any]) -> dict[str, Any]:
        ids = [trail.message_id_of(text) for text in options["ids"]]
        waiting = receipts.ask_now(ids) if ids else None
        if ids and not waiting:
            raise InvalidInput("None of these waits for a receipt: `messages show ID` says what is known of it.")
        asked, more = receipts.poll(seconds=POLL_SECONDS)
        self.say(f"The provider was asked about {asked:,} messages.")
        if more:
            self.say("More are due: call it again, or leave it to the workers.")
        return {"asked": asked, "more": more}


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_LISTED:
        raise ArgumentTypeError(f"give a number from 1 to {MOST_LISTED}")
    return int(text)


def _revealed(options: dict[str, Any]) -> dict[str, Any]:
    if not options["reveal"]:
        return {}
    return {"reveal": True, "actor": actor(options), "reason": options["reason"]}


# --- words ----------------------------------------------------------------------------------------------------------


def _rows(messages: Sequence[MessageFacts]) -> list[tuple[str, ...]]:
    short = short_ids([message.id for message in messages], OutboundMessage)
    return [_row(message, short[message.id]) for message in messages]


def _row(message: MessageFacts, short: str) -> tuple[str, ...]:
    return (
        short,
        when(message.created_at),
        message.recipient or "–",
        message.purpose,
        message.status,
        str(message.attempts),
        message.cost or "–",
        message.error or "–",
    )


def _pairs(message: MessageFacts, revealed: bool) -> list[tuple[str, str]]:
    now = database_time()
    version = f" v{message.template_version}" if message.template_version else ""
    pairs = [
        ("message", str(message.id)),
        ("status", message.status),
        ("", message.error),
        ("to", message.recipient or "no longer kept"),
        ("what", f"{message.channel}, {message.purpose}, lane {message.lane}, {message.parts} part(s)"),
        ("about", " ".join(filter(None, message.subject))),
        ("template", f"{message.template} {message.language}{version}".strip()),
        ("campaign", f"{message.campaign_name} {message.campaign}".strip() if message.campaign else ""),
        ("request", message.request_id),
        ("title", message.title or ""),
        ("text", message.text or ""),
        ("", "the text is a code or has a token: it is kept encrypted and never shown" if message.sealed else ""),
        ("provider's id", message.provider_id),
        ("network", message.network),
        ("cost", f"GHS {message.cost}" if message.cost else ""),
        ("declined", message.bypassed),
        ("next", _next(message, now)),
    ]
    if not revealed and not message.sealed:
        pairs.append(("", "Number and text: --reveal --reason …"))
    return [pair for pair in pairs if pair[1]]


def _next(message: MessageFacts, now: Any) -> str:
    """What comes by itself, and what a person may do."""
    short = short_ids([message.id], OutboundMessage)[message.id]
    status = Status(message.status)
    if message.due_at:
        return f"may be sent {distance(message.due_at, now)}" if message.due_at > now else "waits to be sent"
    if status == Status.DEAD:
        return f"nothing by itself. Once more: python manage.py messages resend {short} --reason …"
    if status == Status.IN_DOUBT:
        ends = f"its outcome is unknown after {LOOK_AGES[-1] // 3600} h"
        asked = f"the provider is asked {distance(message.receipt_due_at, now)}; " if message.receipt_due_at else ""
        return f"{asked}{ends}. To decide: python manage.py messages resolve {short} --sent or --not-sent --reason …"
    if message.receipt_due_at:
        return f"the provider is asked what became of it {distance(message.receipt_due_at, now)}"
    return ""
