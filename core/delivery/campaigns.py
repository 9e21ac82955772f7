"""Bulk SMS: one text to many phones, in short slices that can stop anywhere and go on where they were.

Each step is one transaction that moves the position with the rows it writes, so a killed worker repeats nothing:
phones are unique in a campaign, and a message's key is its recipient's row.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F

from core import clock, phones
from core.base.ids import new_id
from core.delivery import rules
from core.delivery.models import Campaign, CampaignRecipient, OutboundMessage
from core.delivery.rules import Channel, Purpose, Status
from core.delivery.services import checked_sms, hashed
from core.delivery.windows import opening
from core.errors import InvalidInput, NotFound
from core.jobs.services import task_named

STORE_CHUNK = 2_000
LARGEST_LIST = 100_000
LARGEST_BATCH = 500


@dataclass(frozen=True)
class Progress:
    """How far a campaign is. `done` when every recipient has a message row or a reason why not."""

    campaign: Campaign
    done: bool


def start(run_id: uuid.UUID, recipients: object, text: str) -> Campaign:
    """The campaign of a `process_bulk_sms` call, stored under the run's id: the same when the run is repeated.

    Raises InvalidInput for a list that is empty, too long or no list, and for an empty or too long text.
    """
    if isinstance(recipients, str | bytes | dict) or not isinstance(recipients, Sequence):
        raise InvalidInput("phones must be a list of phone numbers, such as ['0244123456'].")
    if not recipients:
        raise InvalidInput("phones is empty. Name at least one phone number.")
    if len(recipients) > LARGEST_LIST:
        raise InvalidInput(
            f"phones has {len(recipients):,} numbers; at most {LARGEST_LIST:,} go in one call. Split it."
        )
    body, _ = checked_sms(text)
    campaign, _ = Campaign.objects.get_or_create(
        pk=run_id, defaults={"message": body, "audience": f"list of {len(recipients)}", "status": "running"}
    )
    return campaign


def find(campaign_id: str) -> Campaign:
    try:
        return Campaign.objects.get(pk=uuid.UUID(str(campaign_id)))
    except (ValueError, Campaign.DoesNotExist) as error:
        raise NotFound(f"There is no campaign {campaign_id!r}. Pass the id of a stored campaign.") from error


def work(campaign: Campaign, recipients: Sequence[object], *, batch_size: int, seconds: float) -> Progress:
    """Store recipients and write message rows for about so many seconds, then say how far it is."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or not 1 <= batch_size <= LARGEST_BATCH:
        raise InvalidInput(f"batch_size must be a whole number from 1 to {LARGEST_BATCH}.")
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if _store_some(campaign, recipients) or _write_some(campaign, batch_size):
            continue
        Campaign.objects.filter(pk=campaign.pk, status="running").update(status="done", updated_at=clock.now())
        campaign.refresh_from_db()
        return Progress(campaign, done=True)
    return Progress(campaign, done=False)


@transaction.atomic
def _store_some(campaign: Campaign, recipients: Sequence[object]) -> int:
    """Store the next chunk of the given list. Returns how many entries it dealt with."""
    locked = Campaign.objects.select_for_update().get(pk=campaign.pk)
    chunk = recipients[locked.position : locked.position + STORE_CHUNK]
    if not chunk:
        return 0
    valid: list[str] = []
    refused: dict[str, str] = {}
    for given in chunk:
        try:
            valid.append(phones.normalise(given))
        except InvalidInput as error:
            refused[_as_given(given)] = str(error)[:200]
    before = CampaignRecipient.objects.filter(campaign=campaign, phone__in=valid).count()
    wanted = list(dict.fromkeys(valid))
    CampaignRecipient.objects.bulk_create(
        [
            *(CampaignRecipient(campaign=campaign, phone=phone, status="waiting") for phone in wanted),
            *(
                CampaignRecipient(campaign=campaign, phone=given, status="invalid", reason=reason)
                for given, reason in refused.items()
            ),
        ],
        ignore_conflicts=True,
    )
    new = len(wanted) - before
    Campaign.objects.filter(pk=campaign.pk).update(
        position=F("position") + len(chunk),
        accepted=F("accepted") + new,
        duplicates=F("duplicates") + len(valid) - new,
        invalid=F("invalid") + len(chunk) - len(valid),
        status="running",
        updated_at=clock.now(),
    )
    return len(chunk)


@transaction.atomic
def _write_some(campaign: Campaign, batch_size: int) -> int:
    """Write the message rows of the next recipients and have them sent on commit. Returns how many."""
    waiting = list(
        CampaignRecipient.objects.filter(campaign=campaign, status="waiting")
        .order_by("id")
        .select_for_update(skip_locked=True)[:batch_size]
    )
    if not waiting:
        return 0
    body, parts = checked_sms(campaign.message)
    now = clock.now()
    leaves = opening(Purpose.BULK, Channel.SMS, now)
    OutboundMessage.objects.bulk_create(
        [
            OutboundMessage(
                id=new_id(),
                idempotency_key=f"campaign:{recipient.pk}",
                channel=Channel.SMS.value,
                purpose=Purpose.BULK.value,
                lane=rules.lane(Purpose.BULK, Channel.SMS),
                recipient=recipient.phone,
                body=body,
                body_hash=hashed(body),
                parts=parts,
                subject_type="campaign",
                subject_id=str(campaign.pk),
                status=(Status.HELD if leaves > now else Status.QUEUED).value,
                due_at=leaves,
                created_at=now,
            )
            for recipient in waiting
        ],
        ignore_conflicts=True,
    )
    CampaignRecipient.objects.filter(pk__in=[recipient.pk for recipient in waiting]).update(status="written")
    if leaves <= now:
        task_named("core.tasks.dispatch_bulk").apply_async()
    return len(waiting)


def _as_given(given: object) -> str:
    """What was given instead of a number, short enough to keep."""
    return str(given).replace("\x00", "").encode(errors="replace").decode()[:40]
