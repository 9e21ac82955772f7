"""`manage.py lanes`: what sends, what does not and why, what waits, the rate, the day's money; pause and resume."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser

from core.delivery import bucket, budget, lanes
from core.delivery.bucket import Rate
from core.delivery.budget import Day
from core.delivery.lanes import LaneView
from core.jobs.management.terminal import ZONE, Column, OperatorCommand, actor, facts, span, table, when
from core.jobs.selectors import database_time

COLUMNS = (
    Column("lane"),
    Column("state"),
    Column("waiting", right=True),
    Column("oldest", right=True),
    Column("later", right=True),
    Column("since"),
    Column("why", cut=1),
)


class Command(OperatorCommand):
    help = "The lanes of SMS and e-mail: list, pause, resume."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list | pause | resume")
        self.action(actions, "list", "Every lane: does it send, and if not, why; what waits; the rate; the money.")
        pause = self.action(actions, "pause", "Send nothing of a lane until somebody resumes it.", change=True)
        pause.add_argument("lane", metavar="LANE", help="sms:urgent, sms:default, bulk, email:urgent or email:default")
        resume = self.action(actions, "resume", "Let a paused lane send again.", change=True)
        resume.add_argument("lane", metavar="LANE", help="as for pause")

    def list(self, _options: dict[str, Any]) -> dict[str, Any]:
        now, views, day = database_time(), lanes.state(), budget.today()
        rate = bucket.rate(lanes.HUBTEL.name, budget.terms().limit)
        self.say(*table(COLUMNS, [_row(view, now) for view in views], self.width()), "")
        self.say(*facts([("SMS rate", _rate(rate)), ("SMS today", _money(day))], self.width()), ZONE)
        return {
            "lanes": [asdict(view) | {"oldest_waits_seconds": _seconds(view, now)} for view in views],
            "sms_rate": asdict(rate) if rate else None,
            "sms_today": asdict(day) | {"left": day.left, "used_up": day.used_up},
        }

    def pause(self, options: dict[str, Any]) -> dict[str, Any]:
        channel, lane = lanes.named(options["lane"])
        lanes.pause(channel, lane, reason=options["reason"], actor=actor(options))
        self.say(f"{channel}:{lane} is paused: nothing of it leaves until it is resumed. What waits is kept.")
        return {"lane": f"{channel}:{lane}", "state": "paused"}

    def resume(self, options: dict[str, Any]) -> dict[str, Any]:
        channel, lane = lanes.named(options["lane"])
        lanes.resume(channel, lane, reason=options["reason"], actor=actor(options))
        why = lanes.gate().shut(channel, lane)
        self.say(f"{channel}:{lane} is no longer paused." + (f" Still nothing leaves: {why}" if why else ""))
        return {"lane": f"{channel}:{lane}", "state": "stopped" if why else "open", "why": why}


def _row(view: LaneView, now: datetime) -> list[str]:
    by = f"{view.by}: " if view.by else ""
    return [
        f"{view.channel}:{view.lane}",
        view.state,
        f"{view.waiting:,}",
        span(lanes.waited(view, now)),
        f"{view.later:,}",
        when(view.since),
        f"{by}{view.why}",
    ]


def _seconds(view: LaneView, now: datetime) -> float | None:
    waited = lanes.waited(view, now)
    return round(waited.total_seconds(), 1) if waited is not None else None


def _rate(rate: Rate | None) -> str:
    if rate is None:
        return "not known: Redis does not answer. Codes go at a small rate, bulk waits."
    if rate.parts_per_second is None:
        words = "no limit"
    elif rate.limit and rate.parts_per_second >= rate.limit:
        words = f"limit {rate.limit:,} parts a second"
    else:
        limit = f"limit {rate.limit:,}" if rate.limit else "no limit"
        words = f"{rate.parts_per_second:,.1f} parts a second after 'too many requests' ({limit}), climbing"
    away = f"; the provider has asked us to stay away for {rate.away:.0f} s" if rate.away else ""
    return f"{words}; {rate.last_10_s:,} parts in the last 10 s{away}"


def _money(day: Day) -> str:
    words = f"GHS {day.spent:,.2f} for {day.parts:,} parts of {day.messages:,} messages"
    if day.reserved:
        words += f", GHS {day.reserved:,.2f} put aside"
    if day.ceiling is None:
        return f"{words}; no ceiling"
    return f"{words}; ceiling GHS {day.ceiling:,.2f}" + (": used up, bulk waits" if day.used_up else "")
