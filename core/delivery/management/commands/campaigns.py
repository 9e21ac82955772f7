"""`manage.py campaigns`: one text to many phones, from the plan to the last receipt."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentTypeError
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandParser
from django.db.models import CharField, Q
from django.db.models.functions import Cast

from core import phones
from core.base.registries import USERS
from core.delivery import audiences, campaign_life
from core.delivery.audiences import Audience
from core.delivery.campaign_life import Plan
from core.delivery.campaign_progress import OUTCOMES, Standing, as_json, brief, progress
from core.delivery.models import Campaign
from core.delivery.rules import CampaignStatus
from core.errors import InvalidInput, NotFound
from core.jobs import operations
from core.jobs.management.terminal import ZONE, Column, OperatorCommand, exactly, facts, table, when
from core.jobs.operations import Actor

MOST_LISTED = 1_000
FEWEST_DIGITS = 4
LOOKS_EVERY = 1.0  # seconds
COLUMNS = (
    Column("id"),
    Column("name", cut=1),
    Column("state"),
    Column("audience", cut=2),
    Column("recipients", right=True),
    Column("GHS", right=True),
    Column("created"),
)
OPEN = (CampaignStatus.QUEUED, CampaignStatus.RUNNING, CampaignStatus.PAUSED)
WORDS = {
    "queued": "waiting to be sent",
    "held": "held: window, budget or pause",
    "sending": "being sent",
    "accepted": "accepted, no receipt yet",
    "delivered": "delivered",
    "undelivered": "not delivered",
    "outcome_unknown": "no receipt came",
    "in_doubt": "in doubt",
    "rejected": "refused",
    "suppressed": "left out on purpose",
    "expired": "too late",
    "dead": "given up",
}


class Command(OperatorCommand):
    help = "Bulk SMS: plan, create, approve, start, pause, resume, cancel, show, retry-unreached, list."

    def add_arguments(self, parser: CommandParser) -> None:
        names = "plan | create | approve | start | pause | resume | cancel | show | retry-unreached | list"
        actions = parser.add_subparsers(dest="action", required=True, metavar=names)

        plan = self.action(actions, "plan", "What would go to whom and what it would cost. Sends nothing.")
        self.add_campaign(plan)

        create = self.action(actions, "create", "Store a draft. Sends nothing.", change=True)
        self.add_campaign(create)
        create.add_argument("--name", default="", help="what you call it")
        create.add_argument("--ceiling", type=_amount, metavar="GHS", help="it may cost no more than that")
        create.add_argument("--wait-after-seeds", action="store_true", help="send to the seeds, then wait for resume")

        for name, words in (
            ("approve", "A second person's yes to a draft."),
            ("start", "Have a draft sent."),
            ("pause", "Stop: nothing leaves any more but the calls that have begun."),
            ("resume", "Go on after a pause, or after the seeds."),
            ("cancel", "End it for good: what has not left never will."),
        ):
            deciding = self.action(actions, name, words, change=True)
            self.add_id(deciding)
            if name == "resume":
                deciding.add_argument("--ceiling", type=_amount, metavar="GHS", help="a new one, when it is used up")

        show = self.action(actions, "show", "How it stands.")
        self.add_id(show)
        show.add_argument("--watch", action="store_true", help="every second until it has ended; Ctrl-C leaves it")

        again = self.action(actions, "retry-unreached", "A draft to those who were not reached.", change=True)
        self.add_id(again)
        again.add_argument("--dry-run", action="store_true", help="only say how many")

        listing = self.action(actions, "list", "The newest campaigns.")
        listing.add_argument("--state", action="append", default=[], choices=[state.value for state in CampaignStatus])
        listing.add_argument("--limit", type=_limit, default=25, help=f"25 unless given (1 to {MOST_LISTED})")

    def add_id(self, parser: CommandParser) -> None:
        parser.add_argument("id", metavar="ID", help="the id, or its first digits")

    def add_campaign(self, parser: CommandParser) -> None:
        parser.add_argument("file", nargs="?", default="", metavar="FILE", help="a number a line, or CSV; - is stdin")
        parser.add_argument("--text", required=True, help="the SMS")
        parser.add_argument("--column", default="", help="of the CSV, unless it is called phone or so")
        for key in ("region", "constituency", "role", "language"):
            parser.add_argument(f"--{key}", default="", help="people with it, instead of a file")
        parser.add_argument("--everybody", action="store_true", help="all people, instead of a file")
        parser.add_argument("--where", action="append", default=[], metavar="KEY=VALUE", help="of another source")
        parser.add_argument("--source", default=USERS, help=f"of people, {USERS} unless given")
        parser.add_argument("--seed", action="append", default=[], metavar="PHONE", help="gets the text first")

    # --- before it is sent -------------------------------------------------------------------------------------------

    def plan(self, options: dict[str, Any]) -> dict[str, Any]:
        found = campaign_life.plan(text=options["text"], audience=_audience(options), seeds=options["seed"])
        self.say(*facts(_planned(found), self.width()), "Nothing was stored or sent. " + ZONE)
        return _as_told(found)

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        campaign, plan = campaign_life.create(
            actor=_actor(options),
            text=options["text"],
            audience=_audience(options),
            seeds=options["seed"],
            wait_after_seeds=options["wait_after_seeds"],
            name=options["name"],
            ceiling=options["ceiling"],
            reason=options["reason"],
        )
        self.say(*facts([("campaign", f"{campaign.pk}, a draft"), *_planned(plan)], self.width()))
        self.say(f"Next: {_next(campaign)}")
        return {"campaign": str(campaign.pk), "status": campaign.status, "plan": _as_told(plan)}

    def approve(self, options: dict[str, Any]) -> dict[str, Any]:
        return self.decide(options, "Approved")

    def start(self, options: dict[str, Any]) -> dict[str, Any]:
        return self.decide(options, "Started")

    def pause(self, options: dict[str, Any]) -> dict[str, Any]:
        return self.decide(options, "Paused: nothing leaves any more but the calls that had begun")

    def resume(self, options: dict[str, Any]) -> dict[str, Any]:
        return self.decide(options, "Goes on")

    def cancel(self, options: dict[str, Any]) -> dict[str, Any]:
        return self.decide(options, "Cancelled: what has not left never will")

    def decide(self, options: dict[str, Any], done: str) -> dict[str, Any]:
        service = getattr(campaign_life, options["action"])
        more = {"ceiling": options["ceiling"]} if options["action"] == "resume" else {}
        campaign = service(campaign_id=_id(options["id"]), actor=_actor(options), reason=options["reason"], **more)
        self.say(f"{done}.", f"Next: {_next(campaign)}")
        return {"campaign": str(campaign.pk), "status": campaign.status}

    # --- while it is sent --------------------------------------------------------------------------------------------

    def show(self, options: dict[str, Any]) -> dict[str, Any]:
        campaign = Campaign.objects.get(pk=_id(options["id"]))
        standing = progress(campaign)
        while options["watch"] and self.for_people and standing.campaign.status in OPEN:
            self.say(_line(standing))
            time.sleep(LOOKS_EVERY)
            standing = progress(campaign)
        self.say(*facts(_shown(standing), self.width()), ZONE)
        return as_json(standing)

    def list(self, options: dict[str, Any]) -> dict[str, Any]:
        found = Campaign.objects.order_by("-created_at", "-id")
        if options["state"]:
            found = found.filter(status__in=options["state"])
        rows = list(found[: options["limit"]])
        if not rows:
            self.say("No campaign yet. Plan one: python manage.py campaigns plan FILE --text …")
        else:
            self.say(*table(COLUMNS, [_row(campaign) for campaign in rows], self.width()), ZONE)
        if len(rows) == options["limit"]:
            self.say(f"The newest {len(rows)}; more with --limit.")
        return {"campaigns": [brief(campaign) for campaign in rows]}

    def retry_unreached(self, options: dict[str, Any]) -> dict[str, Any]:
        who, old = _actor(options), _id(options["id"])
        if options["dry_run"]:
            counts = campaign_life.unreached(campaign_id=old, actor=who)
            self.say(f"{campaign_life.said_of(counts).capitalize()}. Nothing was stored.")
            return {"retry_of": old, "campaign": None, **_counts(counts)}
        campaign, counts = campaign_life.retry_unreached(campaign_id=old, actor=who, reason=options["reason"])
        self.say(f"{campaign_life.said_of(counts).capitalize()}.", f"Stored as the draft {campaign.pk}.")
        self.say(f"Next: {_next(campaign)}")
        return {"retry_of": old, "campaign": str(campaign.pk), **_counts(counts)}


# --- what was given -------------------------------------------------------------------------------------------------


def _audience(options: dict[str, Any]) -> Audience:
    where: dict[str, object] = {
        key: options[key] for key in ("region", "constituency", "role", "language") if options[key]
    }
    for pair in options["where"]:
        key, sign, value = pair.partition("=")
        if not sign:
            raise InvalidInput(f"Write {pair[:40]!r} as KEY=VALUE, such as region=AH.")
        where[key.strip()] = value.strip()
    selecting = bool(where or options["everybody"])
    if selecting == bool(options["file"]):
        raise InvalidInput("Say to whom: a FILE of numbers, people such as --region AH --role FARMER, or --everybody.")
    if selecting:
        return audiences.selected(where, source=options["source"])
    return audiences.listed(audiences.numbers_of(_text_of(options["file"]), options["column"]), what="The list")


def _text_of(name: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{name} cannot be read: {error.strerror}.") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # numbers read the same


def _actor(options: dict[str, Any]) -> Actor:
    """The person named; whether they may is decided by the service."""
    who = options["who"]
    if not who:
        return operations.at_the_terminal()
    named = Q(email=who.strip().lower()) if "@" in who else Q(phone=phones.normalise(who))
    user = get_user_model().objects.filter(named).first()
    if user is None:
        raise NotFound("No account has this phone number or e-mail address.")
    return Actor(user.pk, user.get_username())


def _id(text: str) -> str:
    """The whole id of the one campaign that begins so."""
    digits = text.strip().lower()
    if len(digits) < FEWEST_DIGITS or not set(digits) <= set("0123456789abcdef-"):
        raise InvalidInput(f"{text[:40]!r} is no id of a campaign. Give the id, or its first {FEWEST_DIGITS} digits.")
    fitting = Campaign.objects.annotate(digits=Cast("pk", CharField())).filter(digits__startswith=digits)
    found = [str(pk) for pk in fitting.values_list("pk", flat=True)[:2]]
    if not found:
        raise NotFound(f"There is no campaign {digits!r}. See: python manage.py campaigns list")
    if len(found) > 1:
        raise InvalidInput(f"More than one campaign begins with {digits!r}. Give more digits.")
    return found[0]


def _amount(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise ArgumentTypeError("give an amount in GHS, such as 50.00") from error


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_LISTED:
        raise ArgumentTypeError(f"give a number from 1 to {MOST_LISTED}")
    return int(text)


# --- words ----------------------------------------------------------------------------------------------------------


def _planned(plan: Plan) -> list[tuple[str, str]]:
    beyond = plan.examined < plan.recipients
    of_these = f", of the {plan.examined:,} that were looked at" if beyond else ""
    forced = f", because of {' '.join(plan.forced_by)}" if plan.forced_by else ""
    ends = f", done about {when(plan.ends)}" if plan.ends else "; no rate is set, so its end is not known"
    kept_out = f"{plan.opted_out:,} have opted out, {plan.suppressed:,} take no SMS{of_these}"
    rest = f"{plan.duplicates:,} double, {plan.invalid:,} not a Ghanaian mobile{of_these}"
    return [
        ("to", plan.audience),
        ("recipients", f"{plan.recipients:,}; {rest}; {kept_out}"),
        ("seeds", f"{plan.seeds:,} get it first" if plan.seeds else ""),
        *[("for example" if n == 0 else "", f"{phone}: {plan.text}") for n, phone in enumerate(plan.previews)],
        ("size", f"{plan.units} units in {plan.encoding}{forced}: {_parts(plan.parts)} each"),
        ("cost", f"GHS {plan.cost:,.2f} for {plan.to_be_sent:,} texts at GHS {plan.ghs_per_part} a part"),
        ("begins", f"{when(plan.begins)}{ends}"),
        ("approval", f"a second person must approve it: {plan.approval}" if plan.approval else "not needed"),
    ]


def _parts(count: int) -> str:
    return f"{count} part{'' if count == 1 else 's'}"


def _shown(standing: Standing) -> list[tuple[str, str]]:
    campaign = standing.campaign
    rate = f"{standing.per_second:,.1f} a second" if standing.per_second else ""
    ends = f"about {exactly(standing.ends)}" if standing.ends else ""
    seeds = ", ".join(f"{count} {name}" for name, count in standing.seeds.items())
    ceiling = f", at most {campaign.ceiling:,.2f}" if campaign.ceiling is not None else ""
    estimate = f", planned {campaign.estimate:,.2f}" if campaign.estimate is not None else ""
    return [
        ("campaign", f"{campaign.pk} {campaign.name}".strip()),
        ("state", f"{campaign.status}{f': {campaign.reason}' if campaign.reason else ''}"),
        ("to", campaign.audience),
        ("again of", str(campaign.retry_of_id) if campaign.retry_of_id else ""),
        ("created", exactly(campaign.created_at)),
        ("approved", f"by {campaign.approved_by}, {exactly(campaign.approved_at)}" if campaign.approved_at else ""),
        ("recipients", f"{campaign.accepted:,}; {campaign.duplicates:,} double, {campaign.invalid:,} invalid"),
        ("seeds", f"{len(campaign.seeds)}: {seeds or 'not written yet'}" if campaign.seeds else ""),
        ("left", f"{standing.left:,} of {standing.left + standing.to_come:,} ({100 * standing.share:.0f} %)"),
        ("", f"{standing.not_written:,} not written yet" if standing.not_written else ""),
        *[("", f"{count:,} {WORDS[name]}") for name, count in standing.outcomes.items() if count],
        ("cost", f"GHS {standing.spent:,.2f} spent, {standing.reserved:,.2f} reserved{estimate}{ceiling}"),
        ("rate", rate),
        ("ends", ends),
        ("next", _next(campaign)),
    ]


def _line(standing: Standing) -> str:
    told = ", ".join(f"{standing.outcomes[name]:,} {name}" for name in OUTCOMES if standing.outcomes[name])
    rate = f"; {standing.per_second:,.0f}/s" if standing.per_second else ""
    return (
        f"{standing.campaign.status} {100 * standing.share:.0f} %: {standing.not_written:,} not written, {told}{rate}"
    )


def _next(campaign: Campaign) -> str:
    command, short = "python manage.py campaigns", str(campaign.pk)
    state = CampaignStatus(campaign.status)
    if state == CampaignStatus.DRAFT:
        if campaign.needs_approval and not campaign.approved_by_id:
            return f"a second person approves it: {command} approve {short} --as …"
        return f"{command} start {short}"
    if state == CampaignStatus.PAUSED or (state == CampaignStatus.RUNNING and campaign.seeds_only):
        return f"{command} resume {short}, or cancel it"
    if state in (CampaignStatus.QUEUED, CampaignStatus.RUNNING):
        return f"see how it goes: {command} show {short} --watch"
    return f"who was not reached can have it again: {command} retry-unreached {short} --dry-run"


def _row(campaign: Campaign) -> tuple[str, ...]:
    cost = campaign.estimate if campaign.status == CampaignStatus.DRAFT else campaign.spent
    people = campaign.accepted if campaign.complete else max(campaign.accepted, campaign.expected)
    return (
        str(campaign.pk),
        campaign.name or "–",
        campaign.status,
        campaign.audience,
        f"{people:,}",
        "–" if cost is None else f"{cost:,.2f}",
        when(campaign.created_at),
    )


# --- JSON -----------------------------------------------------------------------------------------------------------


def _as_told(plan: Plan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in Plan.__dataclass_fields__}


def _counts(counts: campaign_life.Unreached) -> dict[str, int]:
    return {
        "recipients": counts.recipients,
        "delivered": counts.delivered,
        "may_have_it": counts.perhaps,
        "left_out": counts.left_out,
        "will_be_sent": counts.again,
    }
