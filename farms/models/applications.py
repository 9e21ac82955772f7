"""Applications and enrolments, their reviews and events (domain.md 4.2.3, 4.2.5, 4.2.6)."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower

from accounts.fields import LowerEmailField, PhoneField
from accounts.models import Constituency, District, Region, Row
from accounts.rules import Language
from core.base.ids import new_id
from core.base.registries import Place
from farms import rules
from farms.models import checks
from farms.models.batches import Batch
from farms.models.farms import Farm
from farms.rules import (
    APPLICATION_REVIEWS,
    ENROLLMENT_REVIEWS,
    ApplicationStatus,
    ApplicationType,
    EnrollmentStatus,
    InvitationStatus,
    ProductionType,
    ReviewLevel,
    ReviewStatus,
)


class FarmApplication(Row):
    """A request to join, made before an account exists. Never deleted."""

    application_number = models.CharField(max_length=20, unique=True)
    application_type = models.CharField(max_length=20, choices=ApplicationType.choices)
    full_name = models.CharField(max_length=150)
    date_of_birth = models.DateField()
    primary_phone = PhoneField(max_length=13)
    email = LowerEmailField(verbose_name="e-mail", blank=True, default="")
    phone_verified = models.BooleanField(default=False)
    email_verified = models.BooleanField(default=False)
    ghana_card_number = models.CharField(max_length=15)
    tin = models.CharField(max_length=11, blank=True, default="", verbose_name="TIN")
    region = models.ForeignKey(Region, on_delete=models.PROTECT, related_name="+", db_index=False)
    district = models.ForeignKey(
        District, on_delete=models.PROTECT, related_name="+", null=True, blank=True, db_index=False
    )
    constituency = models.ForeignKey(Constituency, on_delete=models.PROTECT, related_name="+", db_index=False)
    farm_name = models.CharField(max_length=100)
    number_of_poultry_houses = models.PositiveSmallIntegerField()
    language = models.CharField(max_length=3, choices=Language.choices, default=Language.ENGLISH)
    total_bird_capacity = models.PositiveIntegerField(help_text="birds")
    primary_production_type = models.CharField(max_length=8, choices=ProductionType.choices)
    breed = models.CharField(max_length=60, blank=True, default="")
    planned_monthly_eggs = models.PositiveIntegerField(null=True, blank=True)
    planned_monthly_bird_sales = models.PositiveIntegerField(null=True, blank=True)
    experience_years = models.PositiveSmallIntegerField(default=0)
    has_existing_farm = models.BooleanField(default=False)
    status = models.CharField(
        max_length=20, choices=ApplicationStatus.choices, default=ApplicationStatus.SUBMITTED, editable=False
    )
    submitted_at = models.DateTimeField()
    last_movement_at = models.DateTimeField()
    changes_from_status = models.CharField(max_length=20, blank=True, default="")
    changes_deadline = models.DateField(null=True, blank=True)
    spam_score = models.PositiveSmallIntegerField(default=0)
    priority_score = models.PositiveSmallIntegerField(default=0, help_text="on the day of submission")
    submitted_ip = models.GenericIPAddressField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(application_number__regex=r"^APP-[0-9]{4}-[0-9]{5,}$"),
                name="farms_farmapplication_number_form",
            ),
            checks.one_of("farmapplication", "application_type", ApplicationType),
            checks.one_of("farmapplication", "primary_production_type", ProductionType),
            checks.one_of("farmapplication", "status", ApplicationStatus),
            checks.one_of("farmapplication", "language", Language),
            *checks.identity("farmapplication"),
            checks.filled("farmapplication", "full_name"),
            checks.filled("farmapplication", "farm_name"),
            checks.at_least("farmapplication", "number_of_poultry_houses", 1),
            checks.at_least("farmapplication", "total_bird_capacity", 1),
            checks.score("farmapplication", "spam_score"),
            checks.explained_changes("farmapplication", APPLICATION_REVIEWS),
            models.CheckConstraint(condition=Q(email=Lower("email")), name="farms_farmapplication_email_lower"),
            models.UniqueConstraint(
                fields=["primary_phone"],
                condition=~Q(status=ApplicationStatus.REJECTED),
                name="farms_farmapplication_live_phone",
                violation_error_message="There is an application with this phone number already.",
            ),
            models.UniqueConstraint(
                fields=["ghana_card_number"],
                condition=~Q(status=ApplicationStatus.REJECTED),
                name="farms_farmapplication_live_ghana_card",
                violation_error_message="There is an application with this Ghana Card already.",
            ),
        ]
        indexes = [
            # lists: of the country, of a region, of a constituency; in a status, newest first
            models.Index(fields=["status", "-submitted_at"], name="farms_application_status"),
            models.Index(fields=["region", "status", "-submitted_at"], name="farms_application_region"),
            models.Index(fields=["constituency", "status", "-submitted_at"], name="farms_application_constit"),
            # how often somebody has tried: of an address, and once rejected of a phone and a Ghana Card
            models.Index(
                fields=["submitted_ip", "submitted_at"],
                condition=Q(submitted_ip__isnull=False),
                name="farms_application_ip",
            ),
            models.Index(
                fields=["primary_phone"],
                condition=Q(status=ApplicationStatus.REJECTED),
                name="farms_application_no_phone",
            ),
            models.Index(
                fields=["ghana_card_number"],
                condition=Q(status=ApplicationStatus.REJECTED),
                name="farms_application_no_card",
            ),
        ]

    def __str__(self) -> str:
        return self.application_number

    @property
    def place(self) -> Place:
        return Place(self.region_id, self.constituency_id)


class BatchEnrollment(Row):
    """One farm's application to one batch."""

    enrollment_number = models.CharField(max_length=20, null=True, blank=True, unique=True)
    farm = models.ForeignKey(Farm, on_delete=models.PROTECT, related_name="enrollments", db_index=False)
    batch = models.ForeignKey(Batch, on_delete=models.PROTECT, related_name="enrollments", db_index=False)
    status = models.CharField(
        max_length=20, choices=EnrollmentStatus.choices, default=EnrollmentStatus.DRAFT, editable=False
    )
    changes_from_status = models.CharField(max_length=20, blank=True, default="")
    changes_deadline = models.DateField(null=True, blank=True)
    eligibility_score = models.PositiveSmallIntegerField(default=0)
    submitted_at = models.DateTimeField(null=True, blank=True)
    last_movement_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(enrollment_number__regex=r"^PROG-[0-9]{4}-[0-9]{5,}$"),
                name="farms_batchenrollment_number_form",
            ),
            models.CheckConstraint(
                condition=Q(status__in=[EnrollmentStatus.DRAFT, EnrollmentStatus.WITHDRAWN])
                | Q(enrollment_number__isnull=False, submitted_at__isnull=False),
                name="farms_batchenrollment_submitted",
            ),
            models.UniqueConstraint(
                fields=["farm", "batch"],
                name="farms_batchenrollment_once",
                violation_error_message="This farm has an enrolment in this batch already.",
            ),
            checks.one_of("batchenrollment", "status", EnrollmentStatus),
            checks.score("batchenrollment", "eligibility_score"),
            checks.explained_changes("batchenrollment", ENROLLMENT_REVIEWS),
        ]
        indexes = [models.Index(fields=["batch", "status"], name="farms_enrollment_of_batch")]

    def __str__(self) -> str:
        return self.enrollment_number or f"draft {self.pk}"


class _Event(models.Model):
    """A step of a subject: one row for each, never changed (migration 0002). Messages refer to it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    from_status = models.CharField(max_length=20, blank=True, default="", help_text="empty: it is new")
    to_status = models.CharField(max_length=20)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        help_text="empty: the applicant or the system",
    )
    reason = models.CharField(max_length=rules.LONGEST_REASON, blank=True, default="")
    at = models.DateTimeField()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.from_status} to {self.to_status}"


class ApplicationEvent(_Event):
    application = models.ForeignKey(FarmApplication, on_delete=models.PROTECT, related_name="events", db_index=False)

    class Meta:
        constraints = [
            checks.one_of("applicationevent", "from_status", ApplicationStatus, or_empty=True),
            checks.one_of("applicationevent", "to_status", ApplicationStatus),
            checks.explained_event("applicationevent"),
        ]
        indexes = [models.Index(fields=["application", "at"], name="farms_applicationevent_of")]


class EnrollmentEvent(_Event):
    enrollment = models.ForeignKey(BatchEnrollment, on_delete=models.PROTECT, related_name="events", db_index=False)

    class Meta:
        constraints = [
            checks.one_of("enrollmentevent", "from_status", EnrollmentStatus),
            checks.one_of("enrollmentevent", "to_status", EnrollmentStatus),
            checks.explained_event("enrollmentevent"),
        ]
        indexes = [models.Index(fields=["enrollment", "at"], name="farms_enrollmentevent_of")]


class ReviewItem(Row):
    """The review of a subject at one level. A subject sent back for changes comes back to the same item."""

    application = models.ForeignKey(
        FarmApplication, on_delete=models.PROTECT, null=True, blank=True, related_name="reviews", db_index=False
    )
    enrollment = models.ForeignKey(
        BatchEnrollment, on_delete=models.PROTECT, null=True, blank=True, related_name="reviews", db_index=False
    )
    level = models.CharField(max_length=12, choices=ReviewLevel.choices)
    status = models.CharField(max_length=11, choices=ReviewStatus.choices, default=ReviewStatus.PENDING, editable=False)
    claimed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    entered_at = models.DateTimeField()
    due_at = models.DateTimeField()
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(application__isnull=False, enrollment__isnull=True)
                | Q(application__isnull=True, enrollment__isnull=False),
                name="farms_reviewitem_one_subject",
            ),
            models.UniqueConstraint(
                fields=["application", "level"],
                condition=Q(application__isnull=False),
                name="farms_reviewitem_application_level",
            ),
            models.UniqueConstraint(
                fields=["enrollment", "level"],
                condition=Q(enrollment__isnull=False),
                name="farms_reviewitem_enrollment_level",
            ),
            checks.one_of("reviewitem", "level", ReviewLevel),
            checks.one_of("reviewitem", "status", ReviewStatus),
            models.CheckConstraint(
                condition=~Q(status__in=[ReviewStatus.CLAIMED, ReviewStatus.IN_PROGRESS]) | Q(claimed_by__isnull=False),
                name="farms_reviewitem_claimed_by",
            ),
            models.CheckConstraint(
                condition=Q(status=ReviewStatus.COMPLETED, completed_at__isnull=False)
                | (~Q(status=ReviewStatus.COMPLETED) & Q(completed_at__isnull=True)),
                name="farms_reviewitem_completed_at",
            ),
            models.CheckConstraint(condition=Q(due_at__gte=F("entered_at")), name="farms_reviewitem_due_later"),
        ]
        indexes = [  # of the open ones: what a level has to do, what is late, what an officer has taken
            models.Index(
                fields=["level", "due_at"], condition=~Q(status=ReviewStatus.COMPLETED), name="farms_reviewitem_open"
            ),
            models.Index(
                fields=["claimed_by"], condition=~Q(status=ReviewStatus.COMPLETED), name="farms_reviewitem_taken"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.level} review {self.pk}"


class ReviewNote(models.Model):
    """What somebody who may note wrote for those who decide. Append-only (migration 0002)."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    item = models.ForeignKey(ReviewItem, on_delete=models.PROTECT, related_name="notes")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False)
    text = models.CharField(max_length=1000)
    at = models.DateTimeField()

    class Meta:
        constraints = [checks.filled("reviewnote", "text")]

    def __str__(self) -> str:
        return f"note {self.pk}"


class FarmInvitation(Row):
    """The way from an approved application to an account. The code is made by the task that sends it."""

    application = models.ForeignKey(FarmApplication, on_delete=models.PROTECT, related_name="invitations")
    event = models.OneToOneField(
        ApplicationEvent, on_delete=models.PROTECT, related_name="invitation", help_text="the approval it belongs to"
    )
    code_hash = models.CharField(max_length=64, blank=True, default="", editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    status = models.CharField(
        max_length=8, choices=InvitationStatus.choices, default=InvitationStatus.PENDING, editable=False
    )

    class Meta:
        constraints = [
            checks.one_of("farminvitation", "status", InvitationStatus),
            models.UniqueConstraint(
                fields=["code_hash"], condition=~Q(code_hash=""), name="farms_farminvitation_code_unique"
            ),
            models.UniqueConstraint(
                fields=["application"],
                condition=Q(status__in=[InvitationStatus.PENDING, InvitationStatus.SENT]),
                name="farms_farminvitation_one_open",
            ),
            models.CheckConstraint(
                condition=Q(status__in=[InvitationStatus.PENDING, InvitationStatus.REVOKED])
                | (~Q(code_hash="") & Q(expires_at__isnull=False)),
                name="farms_farminvitation_minted",
            ),
        ]
        indexes = [
            models.Index(
                fields=["expires_at"], condition=Q(status=InvitationStatus.SENT), name="farms_farminvitation_ends"
            )
        ]

    def __str__(self) -> str:
        return f"invitation {self.pk}"

    def status_at(self, now: datetime) -> InvitationStatus:
        """One whose time is over has expired, whether or not the cleanup has come by."""
        is_over = self.status == InvitationStatus.SENT and self.expires_at is not None and self.expires_at <= now
        return InvitationStatus.EXPIRED if is_over else InvitationStatus(self.status)
