"""Bulk SMS: one text to many phones, in short slices that can stop anywhere and go on where they were.

Each step is one transaction that moves the position with the rows it writes, so a killed worker repeats nothing:
phones are unique in a campaign, and a message's key is its recipient's row.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef

from core import clock, phones
from core.delivery import dispatch, rules
from core.delivery.models import Campaign, CampaignRecipient
from core.delivery.rules import Channel, Purpose, Status
from core.delivery.services import checked_sms, hashed
from core.delivery.windows import opening
from core.errors import InvalidInput, NotFound

STORE_CHUNK = 2_000
LARGEST_LIST = 100_000
LARGEST_BATCH = 500


@dataclass(frozen=True)
class Progress:
    """How far a campaign is. `done` when every recipient has a message row or a reason why not."""

    campaign: Campaign
    done: bool


def start(run_id: uuid.UUID, recipients: object, text: str, *, batch_size: int) -> Campaign:
    """The campaign of a `process_bulk_sms` call, stored under the run's id: the same when the run is repeated.

    Raises InvalidInput for a list that is empty, too long or no list, for an empty or too long text and for a batch
    size out of bounds; then nothing was written.
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
    check_batch_size(batch_size)
    campaign, _ = Campaign.objects.get_or_create(
        pk=run_id, defaults={"message": body, "audience": f"list of {len(recipients)}", "status": "running"}
    )
    return campaign


def find(campaign_id: str) -> Campaign:
    try:
        return Campaign.objects.get(pk=uuid.UUID(str(campaign_id)))
    except (ValueError, Campaign.DoesNotExist) as error:
        raise NotFound(f"There is no campaign {campaign_id!r}. Pass the id of a stored campaign.") from error


def check_batch_size(batch_size: object) -> None:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or not 1 <= batch_size <= LARGEST_BATCH:
        raise InvalidInput(f"batch_size must be a whole number from 1 to {LARGEST_BATCH}.")


def work(campaign: Campaign, recipients: Sequence[object], *, batch_size: int, seconds: float) -> Progress:
    """Store recipients and write message rows for about so many seconds, then say how far it is.

    A campaign that is paused or cancelled meanwhile writes no further message.
    """
    check_batch_size(batch_size)
    Campaign.objects.filter(pk=campaign.pk, status="queued").update(status="running", updated_at=clock.now())
    ends = time.monotonic() + seconds
    storing, over, written = True, False, 0
    while time.monotonic() < ends and not over:
        storing = storing and _store_some(campaign, recipients) > 0
        if storing:
            continue
        count = _write_some(campaign, batch_size)
        if count and not written:
            dispatch.hint_bulk()  # sending begins while the rest is being written
        written += count
        over = count == 0
    if written:
        dispatch.hint_bulk()
    if over:
        waiting = Exists(CampaignRecipient.objects.filter(campaign=OuterRef("pk"), status="waiting"))
        running = Campaign.objects.filter(~waiting, pk=campaign.pk, status="running")
        running.update(status="done", updated_at=clock.now())
        campaign.refresh_from_db()
    return Progress(campaign, done=over)


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
        updated_at=clock.now(),
    )
    return len(chunk)


_WRITE = """
WITH next AS (
    SELECT id, phone FROM delivery_campaignrecipient WHERE campaign_id = %(campaign)s AND status = 'waiting'
      AND EXISTS (SELECT 1 FROM delivery_campaign WHERE id = %(campaign)s AND status = 'running')
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), messages AS (
    INSERT INTO delivery_outboundmessage (id, idempotency_key, channel, purpose, lane, recipient, subject_type,
        subject_id, template, title, body, html, body_hash, parts, any_hour, status, due_at, ring_at, attempts,
        fence, provider_id, error, request_id, language, network, resent, receipt_looks, campaign_id, created_at,
        updated_at)
    SELECT gen_random_uuid(), 'campaign:' || id, 'sms', 'bulk', %(lane)s, phone, 'campaign', %(campaign)s, '', '',
        %(body)s, '', %(hash)s, %(parts)s, false, %(status)s, due_at, due_at, 0, 0, '', '', '',
        '', '', false, 0, %(campaign)s,
        statement_timestamp(), statement_timestamp()
    FROM next, COALESCE(%(held_until)s::timestamptz, statement_timestamp()) AS due_at
    ON CONFLICT (idempotency_key) DO NOTHING
)
UPDATE delivery_campaignrecipient AS recipient SET status = 'written' FROM next WHERE recipient.id = next.id
"""


def _write_some(campaign: Campaign, batch_size: int) -> int:
    """Write the message rows of the next recipients. Returns how many."""
    body, parts = checked_sms(campaign.message)
    now = clock.now()
    leaves = opening(Purpose.BULK, Channel.SMS, now)
    with connection.cursor() as cursor:
        cursor.execute(
            _WRITE,
            {
                "campaign": str(campaign.pk),
                "limit": batch_size,
                "lane": rules.lane(Purpose.BULK, Channel.SMS),
                "body": body,
                "hash": hashed(body),
                "parts": parts,
                "status": (Status.HELD if leaves > now else Status.QUEUED).value,
                "held_until": leaves if leaves > now else None,
            },
        )
        return int(cursor.rowcount)


def _as_given(given: object) -> str:
    """What was given instead of a number, short enough to keep."""
    return str(given).replace("\x00", "").encode(errors="replace").decode()[:40]
