"""How a campaign stands, cheaply enough to be asked every second: counts from an index, no message is read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Sum

from core import clock
from core.delivery.models import Campaign, OutboundMessage
from core.delivery.rules import CampaignStatus, Channel, Purpose, Status
from core.delivery.windows import bulk_end, bulk_open_seconds, opening

# What people are told of, in the order of a message's life, and the states that make it up.
OUTCOMES: dict[str, tuple[Status, ...]] = {
    "queued": (Status.QUEUED,),
    "held": (Status.HELD,),
    "sending": (Status.CLAIMED, Status.SUBMITTING),
    "accepted": (Status.ACCEPTED,),
    "delivered": (Status.DELIVERED,),
    "undelivered": (Status.UNDELIVERED_TEMPORARY, Status.UNDELIVERED_PERMANENT),
    "outcome_unknown": (Status.OUTCOME_UNKNOWN,),
    "in_doubt": (Status.IN_DOUBT,),
    "rejected": (Status.REJECTED,),
    "suppressed": (Status.SUPPRESSED,),
    "expired": (Status.EXPIRED,),
    "dead": (Status.DEAD,),
}
WAITING = ("queued", "held", "sending")
SHORTEST_SECONDS = 2.0  # before a rate means anything


@dataclass(frozen=True)
class Standing:
    """`outcomes` counts the messages by what became of them, the seeds among them; `not_written` are recipients without
    one. Money is GHS. `per_second`: the mean since it last went on, without closed hours. None: not known, as `ends`.
    """

    campaign: Campaign
    not_written: int
    outcomes: dict[str, int]
    seeds: dict[str, int]
    messages: int
    left: int
    parts: int
    reserved: Decimal
    spent: Decimal
    per_second: float | None
    ends: datetime | None

    @property
    def to_come(self) -> int:
        """Messages that have not left and may still do."""
        return self.not_written + self.messages - self.left

    @property
    def share(self) -> float:
        """How much has left, 0 to 1."""
        return self.left / (self.left + self.to_come) if self.left + self.to_come else 0.0


def progress(campaign: Campaign) -> Standing:
    """How it stands now. Four queries; the counting one reads the index (campaign, status) alone."""
    campaign.refresh_from_db()
    by_status = _counted(
        "SELECT status, count(*) FROM delivery_outboundmessage WHERE campaign_id = %s GROUP BY 1", campaign
    )
    seeds = _counted(
        "SELECT message.status, count(*) FROM delivery_campaignrecipient AS recipient"
        " JOIN delivery_outboundmessage AS message ON message.id = recipient.message"
        " WHERE recipient.campaign_id = %s AND recipient.seed GROUP BY 1",
        campaign,
    )
    outcomes = _outcomes(by_status)
    messages = sum(outcomes.values())
    left = messages - sum(outcomes[name] for name in WAITING)
    people = campaign.accepted if campaign.complete else max(campaign.accepted, campaign.expected)
    not_written = max(0, people + len(campaign.seeds) - messages)
    per_second = _rate(campaign, left)
    to_come = not_written + messages - left
    ends = None
    if per_second and to_come:
        ends = bulk_end(opening(Purpose.BULK, Channel.SMS, clock.now()), to_come / per_second)
    return Standing(
        campaign=campaign,
        not_written=not_written,
        outcomes=outcomes,
        seeds={name: count for name, count in _outcomes(seeds).items() if count},
        messages=messages,
        left=left,
        parts=messages * campaign.parts,
        reserved=_reserved(campaign),
        spent=campaign.spent,
        per_second=per_second,
        ends=ends,
    )


def _reserved(campaign: Campaign) -> Decimal:
    """What is put aside for the calls that are under way."""
    sending = OutboundMessage.objects.filter(campaign=campaign, status=Status.SUBMITTING)
    return sending.aggregate(reserved=Sum("reserved"))["reserved"] or Decimal(0)


def _rate(campaign: Campaign, left: int) -> float | None:
    if campaign.status != CampaignStatus.RUNNING or campaign.running_since is None:
        return None
    seconds = bulk_open_seconds(campaign.running_since, clock.now())
    gone = left - campaign.gone_before
    return gone / seconds if seconds >= SHORTEST_SECONDS and gone > 0 else None


def _outcomes(by_status: dict[str, int]) -> dict[str, int]:
    return {name: sum(by_status.get(status.value, 0) for status in states) for name, states in OUTCOMES.items()}


def _counted(sql: str, campaign: Campaign) -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute(sql, [campaign.pk])
        return dict(cursor.fetchall())


# --- for programs --------------------------------------------------------------------------------------------------


def brief(campaign: Campaign) -> dict[str, Any]:
    """A campaign for programs, without counting its messages."""
    return {
        "id": str(campaign.pk),
        "name": campaign.name,
        "status": campaign.status,
        "reason": campaign.reason,
        "audience": campaign.audience,
        "recipients": campaign.accepted,
        "expected": campaign.expected,
        "duplicates": campaign.duplicates,
        "invalid": campaign.invalid,
        "parts_each": campaign.parts,
        "estimate": campaign.estimate,
        "ceiling": campaign.ceiling,
        "needs_approval": campaign.needs_approval,
        "approved_at": campaign.approved_at,
        "waits_after_seeds": campaign.seeds_only,
        "retry_of": campaign.retry_of_id and str(campaign.retry_of_id),
        "created_at": campaign.created_at,
        "started_at": campaign.started_at,
        "finished_at": campaign.finished_at,
    }


def as_json(standing: Standing) -> dict[str, Any]:
    """How a campaign stands, for programs."""
    return brief(standing.campaign) | {
        "not_written": standing.not_written,
        "outcomes": standing.outcomes,
        "seeds": standing.seeds,
        "messages": standing.messages,
        "left": standing.left,
        "to_come": standing.to_come,
        "parts": standing.parts,
        "reserved": standing.reserved,
        "spent": standing.spent,
        "per_second": standing.per_second,
        "ends": standing.ends,
    }
