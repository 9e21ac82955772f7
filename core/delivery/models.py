"""THE OUTBOX: every message is a row before it is sent, every call to a provider a row before a byte leaves."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from core.base.ids import new_id
from core.base.registries import Severity
from core.delivery.rules import Channel, Purpose, Status, Verdict


def _values(kind: type[Status] | type[Purpose] | type[Channel] | type[Verdict]) -> list[tuple[str, str]]:
    return [(str(member), str(member)) for member in kind]


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
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    body_status = models.CharField(max_length=20, default="", blank=True)
    error = models.CharField(max_length=500, default="", blank=True)

    def __str__(self) -> str:
        return f"{self.provider} {self.verdict or 'open'}"


class OutboundMessage(models.Model):
    """One SMS or e-mail to one recipient (domain.md 4.6). `idempotency_key` is unique for ever.

    `due_at` is when it may be tried (again) while it waits; `ring_at` when a worker is to be told so (again).
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    idempotency_key = models.CharField(max_length=200, unique=True)
    channel = models.CharField(max_length=10, choices=_values(Channel))
    purpose = models.CharField(max_length=10, choices=_values(Purpose))
    lane = models.CharField(max_length=10)
    recipient = models.CharField(max_length=254)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    subject_type = models.CharField(max_length=50, default="", blank=True)
    subject_id = models.CharField(max_length=64, default="", blank=True)
    template = models.CharField(max_length=100, default="", blank=True)
    title = models.CharField(max_length=500, default="", blank=True, help_text="the subject line of an e-mail")
    body = models.TextField(null=True, blank=True)  # noqa: DJ001 - null says "not kept", '' would be an empty text
    html = models.TextField(default="", blank=True)
    body_hash = models.CharField(max_length=64)
    parts = models.PositiveSmallIntegerField(default=1)
    any_hour = models.BooleanField(default=False, help_text="not held by the sending window")

    status = models.CharField(max_length=25, choices=_values(Status), default=Status.QUEUED.value)
    not_before = models.DateTimeField(null=True, blank=True)
    not_after = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    ring_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    fence = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    last_attempt = models.ForeignKey(
        DeliveryAttempt, null=True, blank=True, on_delete=models.PROTECT, related_name="sent_messages"
    )
    provider_id = models.CharField(max_length=100, default="", blank=True)
    cost = models.DecimalField(max_digits=12, decimal_places=4, null=True, blank=True, help_text="GHS")
    error = models.CharField(max_length=500, default="", blank=True)
    request_id = models.CharField(max_length=64, default="", blank=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)
    accepted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(status__in=[str(s) for s in Status]), name="message_status_known"),
            models.CheckConstraint(condition=Q(channel__in=[str(c) for c in Channel]), name="message_channel_known"),
            models.CheckConstraint(condition=Q(purpose__in=[str(p) for p in Purpose]), name="message_purpose_known"),
            models.CheckConstraint(
                condition=Q(status__in=["queued", "held"], due_at__isnull=False, ring_at__isnull=False)
                | (~Q(status__in=["queued", "held"]) & Q(due_at__isnull=True, ring_at__isnull=True)),
                name="message_due_while_waiting",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["claimed", "submitting"], lease_until__isnull=False)
                | (~Q(status__in=["claimed", "submitting"]) & Q(lease_until__isnull=True)),
                name="message_lease_while_taken",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["queued", "held", "claimed", "submitting"]) | ~Q(recipient=""),
                name="message_waiting_has_recipient",
                violation_error_message="The recipient of this message is no longer kept: it cannot be sent again.",
            ),
        ]
        indexes = [
            models.Index(fields=["lane", "due_at"], condition=Q(due_at__isnull=False), name="message_waiting"),
            models.Index(fields=["lane", "ring_at"], condition=Q(ring_at__isnull=False), name="message_to_ring"),
            models.Index(fields=["lease_until"], condition=Q(lease_until__isnull=False), name="message_taken"),
            models.Index(fields=["subject_type", "subject_id"], condition=~Q(subject_id=""), name="message_subject"),
            models.Index(
                fields=["created_at"], condition=Q(body__isnull=False) | ~Q(recipient=""), name="message_with_text"
            ),
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


class Campaign(models.Model):
    """One text to many phones. `position` is how far the given list has been stored, so a stopped run goes on there."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    audience = models.CharField(max_length=200, default="", blank=True)
    message = models.TextField()
    status = models.CharField(
        max_length=10,
        default="queued",
        choices=[(s, s) for s in ("draft", "queued", "running", "paused", "done", "cancelled")],
    )
    position = models.PositiveIntegerField(default=0)
    accepted = models.PositiveIntegerField(default=0)
    duplicates = models.PositiveIntegerField(default=0)
    invalid = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=["draft", "queued", "running", "paused", "done", "cancelled"]),
                name="campaign_status_known",
            )
        ]

    def __str__(self) -> str:
        return f"Campaign {self.id} {self.status}"


class CampaignRecipient(models.Model):
    """A phone of a campaign: waiting for its message row, written, or refused with the reason."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="recipients")
    phone = models.CharField(max_length=40)
    status = models.CharField(max_length=10, choices=[(s, s) for s in ("waiting", "written", "invalid")])
    reason = models.CharField(max_length=200, default="", blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["campaign", "phone"], name="recipient_once_per_campaign"),
            models.CheckConstraint(
                condition=Q(status__in=["waiting", "written", "invalid"]), name="recipient_status_known"
            ),
        ]
        indexes = [models.Index(fields=["campaign", "id"], condition=Q(status="waiting"), name="recipient_waiting")]

    def __str__(self) -> str:
        return f"{self.campaign_id} {self.status}"
