"""Money: what SMS cost, and the ceilings.

Before a call parts x price is put aside on the message, and freed when it leaves `submitting`; what the provider asks
for it is its cost. Day and campaign are kept by the database from these two columns (migration 0009), so they agree
with the messages whoever wrote them and whoever was killed.

The day's ceiling stops bulk alone, at the gate: nothing is written for those that wait, and a higher ceiling or the
next day lets them go. A campaign's own ceiling pauses it, and tells the admins.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import structlog
from django.db import connection, transaction
from django.db.models import Sum
from django.db.models.functions import Now

from core import clock
from core.base import figures
from core.delivery.models import Campaign, OutboundMessage, Spend
from core.delivery.rules import CampaignStatus, Channel
from core.jobs.services import enqueue, enqueue_coalesced

log = structlog.get_logger(__name__)

NOTHING = Decimal(0)


@dataclass(frozen=True)
class Terms:
    """The figures in force: parts a second (0: no limit), the price of a part, the day's ceiling (None: none)."""

    limit: int
    price: Decimal
    ceiling: Decimal | None


def terms() -> Terms:
    """One query."""
    limit, price, ceiling = figures.read(
        figures.SMS_PARTS_PER_SECOND, figures.SMS_GHS_PER_PART, figures.SMS_DAILY_BUDGET
    )
    return Terms(limit, price, ceiling or None)


def price_of(message: OutboundMessage, price: Decimal) -> Decimal:
    return message.parts * price if message.channel == Channel.SMS else NOTHING


# --- ceilings ------------------------------------------------------------------------------------------------------

_LEFT = """
SELECT NULL, %(ceiling)s::numeric - COALESCE(sum(reserved + spent), 0) FROM delivery_spend WHERE day = %(day)s
UNION ALL
SELECT campaign.id, campaign.ceiling - campaign.spent - COALESCE((
    SELECT sum(message.reserved) FROM delivery_outboundmessage AS message
    WHERE message.campaign_id = campaign.id AND message.status = 'submitting'), 0)
FROM delivery_campaign AS campaign WHERE campaign.id = ANY (%(campaigns)s) AND campaign.ceiling IS NOT NULL
"""


@dataclass(frozen=True)
class Fits:
    """`going` can be paid; `waiting` cannot today, and is left where it is; `over` costs more than its campaign may."""

    going: list[OutboundMessage]
    waiting: list[OutboundMessage]
    over: list[OutboundMessage]


def fitting(messages: Sequence[OutboundMessage], terms: Terms) -> Fits:
    """Which of these the ceilings let through, in the transaction that will put the money aside.

    Urgent and default are never stopped by the day's ceiling. Where a ceiling holds, those who ask do so one after
    another, so that two cannot both have the last of it.
    """
    bulk = any(message.lane == "bulk" for message in messages)
    campaigns = list({message.campaign_id for message in messages if message.campaign_id})
    if not campaigns and not (bulk and terms.ceiling is not None):
        return Fits(list(messages), [], [])
    left = _left(terms, campaigns)
    if not left:
        return Fits(list(messages), [], [])
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('core.delivery.budget'))")
    left = _left(terms, campaigns)
    fits = Fits([], [], [])
    for message in messages:
        cost = price_of(message, terms.price)
        day = left.get(None) if message.lane == "bulk" else None
        campaign = left.get(message.campaign_id) if message.campaign_id else None
        if campaign is not None and cost > campaign:
            fits.over.append(message)
        elif day is not None and cost > day:
            fits.waiting.append(message)
        else:
            fits.going.append(message)
            for key in (None, message.campaign_id):
                if key in left and (key is not None or day is not None):
                    left[key] -= cost
    return fits


def _left(terms: Terms, campaigns: Sequence[uuid.UUID]) -> dict[uuid.UUID | None, Decimal]:
    """What is left of the day's ceiling (under None) and of the campaigns'; those without a ceiling are left out."""
    given = {"ceiling": terms.ceiling, "day": _today(), "campaigns": list(campaigns)}
    with connection.cursor() as cursor:
        cursor.execute(_LEFT, given)
        return {key: left for key, left in cursor.fetchall() if left is not None}


def _today() -> date:
    return clock.accra(clock.now()).date()


def day_is_used_up(terms: Terms) -> bool:
    """Whether not even one more part of a bulk SMS can be paid today. No query without a ceiling."""
    if terms.ceiling is None:
        return False
    return _left(terms, [])[None] < max(terms.price, Decimal("0.0001"))


@transaction.atomic
def tell_day_used_up(ceiling: Decimal) -> None:
    """Tell the admins, once a day."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO delivery_spend AS spend (day, shard, reserved, spent, messages, parts, told)"
            " VALUES (%s, 0, 0, 0, 0, 0, true) ON CONFLICT (day, shard) DO UPDATE SET told = true"
            " WHERE NOT spend.told RETURNING day",
            [_today()],
        )
        told = cursor.fetchone()
    if told:
        day = told[0].isoformat()
        log.warning("sms_budget_used_up", day=day, ceiling=str(ceiling))
        enqueue("core.tasks.send_admin_notification", "sms_budget_used", {"day": day, "ceiling": str(ceiling)})


@transaction.atomic
def pause_campaign(campaign_id: uuid.UUID) -> None:
    """Its ceiling is used up: pause it and tell the admins. Safe to repeat."""
    campaign = Campaign.objects.select_for_update().filter(pk=campaign_id, status=CampaignStatus.RUNNING).first()
    if campaign is None or campaign.ceiling is None:
        return
    reason = f"its ceiling of GHS {campaign.ceiling:,.2f} is used up (GHS {campaign.spent:,.2f} spent)"
    Campaign.objects.filter(pk=campaign.pk).update(
        status=CampaignStatus.PAUSED.value, reason=reason, running_since=None, updated_at=Now()
    )
    holding = {"batch_size": 500, "campaign_id": str(campaign.pk)}
    enqueue_coalesced("core.tasks.process_bulk_sms", f"{campaign.pk}:paused", [], "", **holding)
    log.warning("campaign_over_ceiling", campaign=str(campaign.pk), ceiling=str(campaign.ceiling))
    context = {"campaign_id": str(campaign.pk), "ceiling": str(campaign.ceiling)}
    enqueue("core.tasks.send_admin_notification", "campaign_over_ceiling", context)


# --- what there is to see ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Day:
    """A day's SMS in GHS: `spent` by what the provider asks (or is expected to), `reserved` for those being sent."""

    day: date
    spent: Decimal
    reserved: Decimal
    messages: int
    parts: int
    ceiling: Decimal | None
    price: Decimal

    @property
    def used(self) -> Decimal:
        return self.spent + self.reserved

    @property
    def left(self) -> Decimal | None:
        return None if self.ceiling is None else self.ceiling - self.used

    @property
    def used_up(self) -> bool:
        """Bulk SMS wait for the next day, or for a higher ceiling."""
        return self.left is not None and self.left < max(self.price, Decimal("0.0001"))

    @property
    def paid_per_part(self) -> Decimal | None:
        """What a part has cost so far, to hold beside the setting."""
        return self.spent / self.parts if self.parts else None


def today() -> Day:
    """Two queries."""
    now, day = terms(), _today()
    sums = Spend.objects.filter(day=day).aggregate(
        spent=Sum("spent"), reserved=Sum("reserved"), messages=Sum("messages"), parts=Sum("parts")
    )
    found = {name: value or 0 for name, value in sums.items()}
    return Day(
        day,
        Decimal(found["spent"]),
        Decimal(found["reserved"]),
        int(found["messages"]),
        int(found["parts"]),
        now.ceiling,
        now.price,
    )
