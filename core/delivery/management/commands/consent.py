"""`manage.py consent`: who gets no messages, and why; enter it for somebody, and take it back."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from core.delivery import consent
from core.delivery.consent import By, Source
from core.delivery.models import OptOut, OutboundMessage, Suppression
from core.delivery.rules import Channel, Purpose, SuppressionReason
from core.errors import InvalidInput
from core.jobs.management.terminal import ZONE, Column, OperatorCommand, actor, table, when

SHOWN = 50
CHOICES = (Column("address"), Column("messages"), Column("since"), Column("by"), Column("until"), Column("note", cut=1))
DEAD = (Column("address"), Column("reason"), Column("since"), Column("until"), Column("detail", cut=1))
BYPASSED = (Column("when"), Column("message"), Column("purpose"), Column("why", cut=1))


class Command(OperatorCommand):
    help = "Opt-outs and suppressed addresses: list, opt-out, opt-in, suppress, lift, bypasses."

    def add_arguments(self, parser: CommandParser) -> None:
        names = "list | opt-out | opt-in | suppress | lift | bypasses"
        actions = parser.add_subparsers(dest="action", required=True, metavar=names)
        listing = self.action(actions, "list", "What stands for an address, or the newest entries.")
        listing.add_argument("address", nargs="?", default="", metavar="ADDRESS", help="a phone number or e-mail")
        for name, words in (
            ("opt-out", "Somebody wants no more messages of a purpose."),
            ("opt-in", "Somebody wants them again."),
        ):
            enter = self.action(actions, name, words, change=True)
            enter.add_argument("address", metavar="ADDRESS", help="a phone number or e-mail")
            enter.add_argument("--purpose", default="", metavar="LIST", help="of service,bulk,report; all unless given")
        suppress = self.action(actions, "suppress", "Send nothing at all to an address.", change=True)
        suppress.add_argument("address", metavar="ADDRESS")
        suppress.add_argument("--because", default="refused", choices=[str(reason) for reason in SuppressionReason])
        lift = self.action(actions, "lift", "Send to a suppressed address again.", change=True)
        lift.add_argument("address", metavar="ADDRESS")
        self.action(actions, "bypasses", "The newest messages that went although something was declined.")

    def list(self, options: dict[str, Any]) -> dict[str, Any]:
        if options["address"]:
            choices, dead = consent.about(_address(options)[1])
        else:
            choices = list(OptOut.objects.order_by("-at")[:SHOWN])
            dead = list(Suppression.objects.order_by("-at")[:SHOWN])
        if choices:
            self.say(*table(CHOICES, [_choice(row) for row in choices], self.width()), "")
        if dead:
            self.say(*table(DEAD, [_dead(row) for row in dead], self.width()), "")
        self.say(ZONE if choices or dead else "Nothing is declined or suppressed.")
        return {
            "opt_outs": [dict(zip(_names(CHOICES), _choice(row), strict=True)) for row in choices],
            "suppressed": [dict(zip(_names(DEAD), _dead(row), strict=True)) for row in dead],
        }

    def opt_out(self, options: dict[str, Any]) -> dict[str, Any]:
        channel, address = _address(options)
        count = consent.opt_out(channel, address, _purposes(options), by=_by(options))
        self.say(f"{consent.shown(channel, address)}: {count} declined." if count else "That was declined already.")
        return {"declined": count}

    def opt_in(self, options: dict[str, Any]) -> dict[str, Any]:
        channel, address = _address(options)
        count = consent.opt_in(channel, address, _purposes(options), by=_by(options))
        self.say(f"{consent.shown(channel, address)}: {count} wanted again." if count else "None of that was declined.")
        return {"wanted": count}

    def suppress(self, options: dict[str, Any]) -> dict[str, Any]:
        channel, address = _address(options)
        new = consent.suppress(channel, address, SuppressionReason(options["because"]), by=_by(options))
        shown = consent.shown(channel, address)
        self.say(f"Nothing is sent to {shown} any more." if new else f"{shown} was suppressed already.")
        return {"suppressed": new}

    def lift(self, options: dict[str, Any]) -> dict[str, Any]:
        channel, address = _address(options)
        consent.lift(channel, address, by=_by(options))
        self.say(f"Messages go to {consent.shown(channel, address)} again.")
        return {"lifted": True}

    def bypasses(self, options: dict[str, Any]) -> dict[str, Any]:
        rows = list(OutboundMessage.objects.exclude(bypassed="").order_by("-created_at")[:SHOWN])
        lines = [(when(row.created_at), str(row.pk), row.purpose, row.bypassed) for row in rows]
        if lines:
            self.say(*table(BYPASSED, lines, self.width()), ZONE)
        else:
            self.say("No message has gone to somebody who had declined others.")
        return {"messages": [dict(zip(_names(BYPASSED), line, strict=True)) for line in lines]}


def _address(options: dict[str, Any]) -> tuple[Channel, str]:
    given = options["address"]
    channel = Channel.EMAIL if "@" in given else Channel.SMS
    return channel, consent.checked(channel, given)


def _purposes(options: dict[str, Any]) -> list[Purpose]:
    words = [word.strip() for word in options["purpose"].split(",") if word.strip()] or list(consent.DECLINABLE)
    if unknown := sorted(set(words) - set(Purpose)):
        raise InvalidInput(f"There is no purpose {unknown[0]!r}. Use some of: {', '.join(consent.DECLINABLE)}.")
    return [Purpose(word) for word in words]


def _by(options: dict[str, Any]) -> By:
    return By(Source.COMMAND, actor(options), options["reason"])


def _choice(row: OptOut) -> tuple[str, ...]:
    ended = f"{when(row.ended_at)}, {row.ended_source}" if row.ended_at else "–"
    return (
        consent.shown(row.channel, row.address),
        f"{row.channel} {row.purpose}",
        when(row.at),
        row.source,
        ended,
        row.note,
    )


def _dead(row: Suppression) -> tuple[str, ...]:
    return consent.shown(row.channel, row.address), row.reason, when(row.at), when(row.lifted_at), row.detail


def _names(columns: tuple[Column, ...]) -> tuple[str, ...]:
    return tuple(column.name for column in columns)
