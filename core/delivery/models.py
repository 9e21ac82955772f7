"""THE OUTBOX: every message is a row before it is sent, every call to a provider a row before a byte leaves."""

from __future__ import annotations

from enum import StrEnum

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from core.base.ids import new_id
from core.base.registries import Severity
from core.delivery.rules import (
    CampaignStatus,
    Channel,
    Fault,
    Purpose,
    ReceiptSource,
    ReminderOutcome,
    Status,
    SuppressionReason,
    TemplateStatus,
)


def _values(kind: type[StrEnum]) -> list[tuple[str, str]]:
    return [(str(member), str(member)) for member in kind]


def _known(field: str, kind: type[StrEnum], name: str) -> models.CheckConstraint:
    return models.CheckConstraint(condition=Q(**{f"{field}__in": [str(member) for member in kind]}), name=name)


class DeliveryAttempt(models.Model):
    """One call to a provider, committed before the call: an attempt without an end is an answer in doubt.

    A batch is one call; its messages point to it.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    provider = models.CharField(max_length=20)
    messages = models.PositiveSmallIntegerField()
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    verdict = models.CharField(max_length=20, default="", blank=True)
    batch_id = models.CharField(max_length=100, default="", blank=True)
    fault = models.CharField(max_length=20, default="", blank=True, choices=_values(Fault))
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    body_status = models.CharField(max_length=20, default="", blank=True)
    error = models.CharField(max_length=500, default="", blank=True)

    class Meta:
        indexes = [models.Index(fields=["started_at"], name="attempt_started")]

    def __str__(self) -> str:
        return f"{self.provider} {self.verdict or 'open'}"


class OutboundMessage(models.Model):
    """One SMS or e-mail to one recipient (domain.md 4.6). `idempotency_key` is unique for ever.

    `due_at` is when it may be tried (again) while it waits; `ring_at` when a worker is to be told so (again).
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    idempotency_key = models.CharField(max_length=200)
    channel = models.CharField(max_length=10, choices=_values(Channel))
    purpose = models.CharField(max_length=10, choices=_values(Purpose))
    lane = models.CharField(max_length=10)
    recipient = models.CharField(max_length=254)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    subject_type = models.CharField(max_length=50, default="", blank=True)
    subject_id = models.CharField(max_length=64, default="", blank=True)
    template = models.CharField(max_length=100, default="", blank=True)
    title = models.CharField(max_length=500, default="", blank=True, help_text="the subject line of an e-mail")
    body = models.TextField(null=True, blank=True)  # noqa: DJ001 - null says "not kept", '' would be an empty text
    html = models.TextField(default="", blank=True)
    sealed = models.BinaryField(
        null=True, blank=True, help_text="encrypted text with a code or token, until it is sent"
    )
    body_hash = models.CharField(max_length=64)
    parts = models.PositiveSmallIntegerField(default=1)
    any_hour = models.BooleanField(default=False, help_text="not held by the sending window")
    language = models.CharField(max_length=3, default="", blank=True, help_text="of the text, after any fallback")
    template_version = models.ForeignKey(
        "delivery.MessageTemplate", null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    campaign = models.ForeignKey(
        "delivery.Campaign", null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )

    status = models.CharField(max_length=25, choices=_values(Status), default=Status.QUEUED.value)
    not_before = models.DateTimeField(null=True, blank=True)
    not_after = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    ring_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    fence = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    last_attempt = models.ForeignKey(
        DeliveryAttempt, null=True, blank=True, on_delete=models.PROTECT, related_name="sent_messages", db_index=False
    )
    earlier_attempts = ArrayField(
        models.UUIDField(), default=list, blank=True, db_default=[], help_text="the calls before the last"
    )
    provider_id = models.CharField(max_length=100, default="", blank=True)
    cost = models.DecimalField(max_digits=12, decimal_places=4, null=True, blank=True, help_text="GHS")
    reserved = models.DecimalField(
        max_digits=12, decimal_places=4, null=True, blank=True, help_text="GHS put aside for it while it is being sent"
    )
    network = models.CharField(max_length=10, default="", blank=True, help_text="MCC and MNC, as the provider says")
    bypassed = models.CharField(
        max_length=200,
        default="",
        db_default="",
        blank=True,
        help_text="what its recipient had declined when it was written all the same, and why it could be",
    )
    resent = models.BooleanField(default=False, help_text="was in doubt, and sent once more by the rule of its purpose")
    receipt_due_at = models.DateTimeField(
        null=True, blank=True, help_text="when the provider is asked what became of it"
    )
    receipt_looks = models.PositiveSmallIntegerField(default=0)
    error = models.CharField(max_length=500, default="", blank=True)
    request_id = models.CharField(max_length=64, default="", blank=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)
    accepted_at = models.DateTimeField(null=True, blank=True)
    outcome_at = models.DateTimeField(null=True, blank=True, help_text="when what became of it was known")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["idempotency_key"], name="message_once"),
            models.CheckConstraint(  # one: PostgreSQL reads the text of each anew for every statement
                condition=Q(status__in=list(map(str, Status)))
                & Q(channel__in=list(map(str, Channel)), purpose__in=list(map(str, Purpose)))
                & (
                    Q(status__in=["queued", "held"], due_at__isnull=False, ring_at__isnull=False)
                    | (~Q(status__in=["queued", "held"]) & Q(due_at__isnull=True, ring_at__isnull=True))
                )
                & (
                    Q(status__in=["claimed", "submitting"], lease_until__isnull=False)
                    | (~Q(status__in=["claimed", "submitting"]) & Q(lease_until__isnull=True))
                )
                & (Q(receipt_due_at__isnull=True) | Q(status__in=["accepted", "in_doubt"])),
                name="message_whole",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["queued", "held", "claimed", "submitting"]) | ~Q(recipient=""),
                name="message_waiting_has_recipient",
                violation_error_message="The recipient of this message is no longer kept: it cannot be sent again.",
            ),
            models.CheckConstraint(
                condition=(Q(sealed__isnull=True) & ~Q(purpose="otp")) | Q(body__isnull=True, title="", html=""),
                name="message_secret_not_in_clear",
            ),
            models.CheckConstraint(
                condition=Q(sealed__isnull=True)
                | Q(not_after__isnull=False, status__in=["queued", "held", "claimed", "submitting", "in_doubt"]),
                name="message_sealed_while_needed",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["queued", "held", "claimed", "submitting"])
                | Q(body__isnull=False)
                | Q(sealed__isnull=False),
                name="message_waiting_has_text",
                violation_error_message="The text of this message is no longer kept: it cannot be sent again.",
            ),
        ]
        indexes = [
            models.Index(  # with the status: what is held for the morning stands in nobody's way
                fields=["lane", "channel", "status", "due_at"],
                condition=Q(due_at__isnull=False),
                name="message_waiting",
            ),
            models.Index(
                fields=["lane", "channel", "ring_at"], condition=Q(ring_at__isnull=False), name="message_to_ring"
            ),
            models.Index(
                fields=["not_after"], condition=Q(due_at__isnull=False, not_after__isnull=False), name="message_ends"
            ),
            models.Index(fields=["lane", "due_at"], condition=Q(status="held"), name="message_held"),
            models.Index(fields=["lease_until"], condition=Q(lease_until__isnull=False), name="message_taken"),
            models.Index(fields=["user"], condition=Q(user__isnull=False), name="message_user"),
            models.Index(fields=["last_attempt"], condition=Q(last_attempt__isnull=False), name="message_attempt"),
            models.Index(
                fields=["subject_type", "subject_id"],
                condition=~Q(subject_id="") & Q(campaign__isnull=True),
                name="message_subject",
            ),
            models.Index(fields=["campaign", "status"], condition=Q(campaign__isnull=False), name="message_campaign"),
            models.Index(
                fields=["receipt_due_at"], condition=Q(receipt_due_at__isnull=False), name="message_receipt_due"
            ),
            models.Index(fields=["provider_id"], condition=~Q(provider_id=""), name="message_provider_id"),
            models.Index(fields=["recipient", "created_at"], condition=~Q(recipient=""), name="message_recipient"),
            models.Index(fields=["updated_at"], condition=Q(status="in_doubt"), name="message_in_doubt"),
            models.Index(
                fields=["created_at"], condition=Q(body__isnull=False) | ~Q(recipient=""), name="message_with_text"
            ),
            models.Index(fields=["created_at"], condition=~Q(bypassed=""), name="message_bypassed"),
            models.Index(fields=["not_after"], condition=Q(sealed__isnull=False), name="message_sealed"),
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.id} {self.status}"


class Notification(models.Model):
    """A notice inside the application. `idempotency_key` says what is told, so a person is told it once."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=50)
    severity = models.CharField(max_length=10, choices=[(s.value, s.value) for s in Severity])
    title = models.CharField(max_length=200)
    text = models.TextField()
    subject_type = models.CharField(max_length=50, default="", blank=True)
    subject_id = models.CharField(max_length=200, default="", blank=True)
    idempotency_key = models.CharField(max_length=200)
    read_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "idempotency_key"], name="notification_once_per_person"),
            models.CheckConstraint(
                condition=Q(severity__in=[s.value for s in Severity]), name="notification_severity_known"
            ),
        ]
        indexes = [models.Index(fields=["created_at"], name="notification_created")]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


class ReminderLog(models.Model):
    """A reminder of a subject that is over: written in the transaction of its message, and why it goes out once.

    `subject` is what it is about and for whom, such as batch:<id>/farm:<id>. A moved date has other due days.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    subject = models.CharField(max_length=120)
    kind = models.CharField(max_length=30)
    due_day = models.DateField()
    sent_on = models.DateField(help_text="the day of the run that dealt with it")
    outcome = models.CharField(max_length=10, choices=_values(ReminderOutcome))

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["subject", "kind", "due_day"], name="reminder_once"),
            _known("outcome", ReminderOutcome, "reminder_outcome_known"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.subject} on {self.due_day}"


class MessageEvent(models.Model):
    """A change of a message that no attempt and no receipt tells: written by the database itself, append-only.

    Who did it, when it was a person, comes from `core.delivery.events.by`.
    """

    id = models.BigAutoField(primary_key=True)
    message = models.ForeignKey(OutboundMessage, on_delete=models.PROTECT, related_name="events", db_index=False)
    from_status = models.CharField(max_length=25)
    to_status = models.CharField(max_length=25)
    reason = models.CharField(max_length=500, default="", blank=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    actor_name = models.CharField(max_length=200, default="", blank=True)
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["message", "id"], name="messageevent_message")]

    def __str__(self) -> str:
        return f"{self.message_id} {self.from_status} > {self.to_status}"


class DeliveryReceipt(models.Model):
    """What the provider said of a message later on. `message` is empty while its id is unknown here.

    `status` is what it means to us, '' for words nobody knows; `raw` is what came, as it came.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    provider = models.CharField(max_length=20)
    provider_id = models.CharField(max_length=100)
    status_text = models.CharField(max_length=50)
    status = models.CharField(max_length=25, default="", blank=True)
    provider_at = models.DateTimeField(null=True, blank=True)
    source = models.CharField(max_length=10, choices=_values(ReceiptSource))
    raw = models.TextField(default="", blank=True)
    message = models.ForeignKey(
        OutboundMessage, null=True, blank=True, on_delete=models.PROTECT, related_name="receipts", db_index=False
    )
    received_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "provider_id", "status_text", "provider_at"],
                nulls_distinct=False,
                name="receipt_once",
            ),
            _known("source", ReceiptSource, "receipt_source_known"),
        ]
        indexes = [
            models.Index(fields=["message"], condition=Q(message__isnull=False), name="receipt_message"),
            models.Index(fields=["received_at"], condition=Q(message__isnull=True), name="receipt_unmatched"),
            models.Index(fields=["received_at"], name="receipt_received"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.status_text}"


class MessageTemplate(models.Model):
    """One version of the words of a message in one language. Frozen by the database once approved or used.

    The English words of the apps' `messages.py` need no row; an approved row overrides them. `sms_plain` is the
    author's own variant without the letters that make an SMS expensive.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    key = models.CharField(max_length=100)
    language = models.CharField(max_length=3)
    version = models.PositiveIntegerField()
    sms = models.TextField(default="", blank=True)
    sms_plain = models.TextField(default="", blank=True)
    title = models.CharField(max_length=200, default="", blank=True)
    text = models.TextField(default="", blank=True)
    status = models.CharField(max_length=10, default=TemplateStatus.DRAFT.value, choices=_values(TemplateStatus))
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    approved_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["key", "language", "version"], name="template_version_once"),
            models.UniqueConstraint(
                fields=["key", "language"], condition=Q(status="approved"), name="template_one_in_force"
            ),
            _known("status", TemplateStatus, "template_status_known"),
            models.CheckConstraint(
                condition=Q(status="draft") | Q(approved_at__isnull=False), name="template_approval_whole"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.key} {self.language} v{self.version}"


class Attachment(models.Model):
    """A file that goes with an e-mail."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    message = models.ForeignKey(OutboundMessage, on_delete=models.PROTECT, related_name="attachments")
    name = models.CharField(max_length=150)
    content_type = models.CharField(max_length=100)
    content = models.BinaryField()
    content_hash = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class OptOut(models.Model):
    """Somebody wants no more messages of a purpose on a channel. Ended, never deleted: it is proof."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    channel = models.CharField(max_length=10, choices=_values(Channel))
    address = models.CharField(max_length=254)
    purpose = models.CharField(max_length=10, choices=_values(Purpose))
    source = models.CharField(max_length=20, help_text="link, one_click, officer, command")
    note = models.CharField(max_length=500, default="", blank=True)
    recorded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_source = models.CharField(max_length=20, default="", blank=True)
    ended_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["channel", "address", "purpose"], condition=Q(ended_at__isnull=True), name="optout_once"
            ),
            _known("channel", Channel, "optout_channel_known"),
            models.CheckConstraint(
                condition=Q(purpose__in=["service", "bulk", "report"]), name="optout_purpose_may_be_declined"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.purpose} {self.source}"


class Suppression(models.Model):
    """An address that takes no messages at all: it does not exist, or refused or complained about ours."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    channel = models.CharField(max_length=10, choices=_values(Channel))
    address = models.CharField(max_length=254)
    reason = models.CharField(max_length=20, choices=_values(SuppressionReason))
    detail = models.CharField(max_length=500, default="", blank=True)
    message = models.ForeignKey(
        OutboundMessage, null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    at = models.DateTimeField()
    lifted_at = models.DateTimeField(null=True, blank=True)
    lifted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["channel", "address"], condition=Q(lifted_at__isnull=True), name="suppression_once"
            ),
            _known("reason", SuppressionReason, "suppression_reason_known"),
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.reason}"


class LaneState(models.Model):
    """A lane of a channel that a person, or a fault only a person can mend, has stopped. No row: it runs."""

    channel = models.CharField(max_length=10, choices=_values(Channel))
    lane = models.CharField(max_length=10)
    paused_at = models.DateTimeField(null=True, blank=True)
    paused_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    paused_by_name = models.CharField(max_length=200, default="", blank=True)
    reason = models.CharField(max_length=500, default="", blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["channel", "lane"], name="lanestate_once")]

    def __str__(self) -> str:
        return f"{self.channel} {self.lane} {'paused' if self.paused_at else 'open'}"


class Breaker(models.Model):
    """Whether a provider is spared for a while because of one class of faults. No row: it is not.

    While open, one probe at a time is let through: who holds `probe_until` sends it.
    """

    provider = models.CharField(max_length=20)
    fault = models.CharField(max_length=20, choices=_values(Fault))
    open = models.BooleanField(default=False)
    opened_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    probe_at = models.DateTimeField(null=True, blank=True, help_text="when the next probe may be sent")
    probe_until = models.DateTimeField(null=True, blank=True, help_text="how long the present probe has")
    failures = models.PositiveIntegerField(default=0)
    successes = models.PositiveIntegerField(default=0)
    window_at = models.DateTimeField(null=True, blank=True, help_text="since when the two are counted")
    reason = models.CharField(max_length=500, default="", blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["provider", "fault"], name="breaker_once"),
            _known("fault", Fault, "breaker_fault_known"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.fault} {'open' if self.open else 'closed'}"


class Spend(models.Model):
    """What SMS have cost on a day in Accra, and what is put aside for those being sent. In shards, so that workers do
    not wait for each other; the day's figure is their sum.
    """

    day = models.DateField()
    shard = models.PositiveSmallIntegerField()
    reserved = models.DecimalField(max_digits=14, decimal_places=4, default=0)
    spent = models.DecimalField(max_digits=14, decimal_places=4, default=0)
    messages = models.PositiveIntegerField(default=0)
    parts = models.PositiveIntegerField(default=0)
    told = models.BooleanField(default=False, help_text="the admins know that the day's budget is used up")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["day", "shard"], name="spend_once")]

    def __str__(self) -> str:
        return f"{self.day} {self.spent}"


class Campaign(models.Model):
    """One text to many phones. `position` is how far the given list has been stored, so a stopped run goes on there.

    The audience is a list of numbers, or a `selection` of people that is read when the campaign begins.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    name = models.CharField(max_length=200, default="", blank=True)
    audience = models.CharField(max_length=200, default="", blank=True)
    selection = models.JSONField(null=True, blank=True)
    message = models.TextField()
    parts = models.PositiveSmallIntegerField(default=1)
    seeds = models.JSONField(default=list, blank=True, help_text="phones of our own that get the text first")
    status = models.CharField(max_length=10, default=CampaignStatus.QUEUED.value, choices=_values(CampaignStatus))
    reason = models.CharField(max_length=500, default="", blank=True, help_text="why it is paused or was cancelled")
    retry_of = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="retries")
    needs_approval = models.BooleanField(default=False)
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    approved_at = models.DateTimeField(null=True, blank=True)
    expected = models.PositiveIntegerField(default=0, help_text="recipients when it was planned")
    estimate = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True, help_text="GHS")
    ceiling = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True, help_text="GHS at most")
    spent = models.DecimalField(max_digits=14, decimal_places=4, default=0)
    position = models.PositiveIntegerField(default=0)
    accepted = models.PositiveIntegerField(default=0)
    duplicates = models.PositiveIntegerField(default=0)
    invalid = models.PositiveIntegerField(default=0)
    written = models.PositiveIntegerField(default=0, help_text="message rows")
    region = models.UUIDField(null=True, blank=True, help_text="where its people live; empty: anywhere")
    constituency = models.UUIDField(null=True, blank=True)
    after = models.UUIDField(null=True, blank=True, help_text="the last person of the selection that was read")
    complete = models.BooleanField(default=True, help_text="its whole audience is stored")
    seeds_only = models.BooleanField(default=False, help_text="after the seeds it waits until a person goes on")
    started_at = models.DateTimeField(null=True, blank=True)
    running_since = models.DateTimeField(null=True, blank=True, help_text="without a pause")
    gone_before = models.PositiveIntegerField(default=0, help_text="messages that had left when it last went on")
    finished_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["status"], condition=Q(status__in=["queued", "running", "paused"]), name="campaign_open"
            )
        ]
        constraints = [
            _known("status", CampaignStatus, "campaign_status_known"),
            models.CheckConstraint(
                condition=Q(needs_approval=False)
                | Q(approved_by__isnull=False, approved_at__isnull=False)
                | Q(status__in=["draft", "cancelled"]),
                name="campaign_approved_before_it_runs",
            ),
            models.CheckConstraint(
                condition=Q(approved_by__isnull=True) | ~Q(approved_by=F("requested_by")),
                name="campaign_approved_by_another",
            ),
        ]

    def __str__(self) -> str:
        return f"Campaign {self.id} {self.status}"


class CampaignRecipient(models.Model):
    """A phone of a campaign: waiting for its message row, written, or refused with the reason."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="recipients")
    phone = models.CharField(max_length=40)
    status = models.CharField(max_length=10, choices=[(s, s) for s in ("waiting", "written", "invalid")])
    reason = models.CharField(max_length=200, default="", blank=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    message = models.UUIDField(null=True, blank=True, help_text="the message written for it")
    seed = models.BooleanField(default=False, help_text="a phone of our own that gets the text first")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["campaign", "phone"], name="recipient_once_per_campaign"),
            models.CheckConstraint(
                condition=Q(status__in=["waiting", "written", "invalid"]), name="recipient_status_known"
            ),
        ]
        indexes = [
            models.Index(fields=["campaign", "id"], condition=Q(status="waiting"), name="recipient_waiting"),
            models.Index(fields=["campaign"], condition=Q(seed=True), name="recipient_seed"),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id} {self.status}"
