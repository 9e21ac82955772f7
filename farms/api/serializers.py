"""What applications, farms, batches and production look like in the API, and what may be sent."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.api.serializers import Named, Place, Plain
from accounts.models import Constituency
from accounts.rules import Language
from core import clock, phones
from core.base.registries import Severity
from core.phones import HOW, LONGEST_INPUT
from farms import rules
from farms.api.fields import ConstituencyCode, RegionCode, Word, constituencies
from farms.models import (
    Alert,
    Batch,
    BatchEnrollment,
    Biosecurity,
    DailyProduction,
    Farm,
    FarmApplication,
    FarmAssignment,
    FarmDocument,
    FarmInvitation,
    FarmLocation,
    FarmScore,
    Flock,
    Infrastructure,
    MortalityRecord,
    ProductionCorrection,
    ReviewItem,
    ReviewNote,
)
from farms.rules import (
    AlertKind,
    AlertStatus,
    ApplicationStatus,
    ApplicationType,
    BatchStatus,
    Cause,
    Condition,
    DocumentKind,
    EnrollmentStatus,
    FarmStatus,
    FlockStatus,
    FlockType,
    Health,
    InfrastructureStatus,
    InfrastructureType,
    InvitationStatus,
    ProductionType,
    ReviewLevel,
)
from farms.services import reviews
from farms.services.production import EGGS, LARGEST_COUNT, LOSSES

LONGEST_PERIOD = 366  # days

if TYPE_CHECKING:
    ApplicationBase = serializers.ModelSerializer[FarmApplication]
    FarmInvitationBase = serializers.ModelSerializer[FarmInvitation]
    AssignmentBase = serializers.ModelSerializer[FarmAssignment]
    ReviewBase = serializers.ModelSerializer[ReviewItem]
    NoteBase = serializers.ModelSerializer[ReviewNote]
    BatchBase = serializers.ModelSerializer[Batch]
    EnrollmentBase = serializers.ModelSerializer[BatchEnrollment]
    FarmBase = serializers.ModelSerializer[Farm]
    LocationBase = serializers.ModelSerializer[FarmLocation]
    InfrastructureBase = serializers.ModelSerializer[Infrastructure]
    BiosecurityBase = serializers.ModelSerializer[Biosecurity]
    DocumentBase = serializers.ModelSerializer[FarmDocument]
    ScoreBase = serializers.ModelSerializer[FarmScore]
    FlockBase = serializers.ModelSerializer[Flock]
    DayBase = serializers.ModelSerializer[DailyProduction]
    CorrectionBase = serializers.ModelSerializer[ProductionCorrection]
    MortalityBase = serializers.ModelSerializer[MortalityRecord]
    AlertBase = serializers.ModelSerializer[Alert]
else:
    ApplicationBase = FarmInvitationBase = AssignmentBase = ReviewBase = NoteBase = BatchBase = (
        serializers.ModelSerializer
    )
    EnrollmentBase = FarmBase = LocationBase = InfrastructureBase = serializers.ModelSerializer
    BiosecurityBase = DocumentBase = ScoreBase = FlockBase = DayBase = serializers.ModelSerializer
    CorrectionBase = MortalityBase = AlertBase = serializers.ModelSerializer


# --- applications ---------------------------------------------------------------------------------------------------


class ApplicationRow(ApplicationBase):
    """An application in a list: phone and Ghana Card are masked."""

    region = Place(read_only=True)
    constituency = Place(read_only=True)
    primary_phone = serializers.SerializerMethodField(help_text="masked")
    ghana_card_number = serializers.SerializerMethodField(help_text="masked")

    class Meta:
        model = FarmApplication
        fields = [
            *("id", "application_number", "application_type", "status", "full_name", "primary_phone"),
            *("ghana_card_number", "region", "constituency", "farm_name", "total_bird_capacity"),
            *("primary_production_type", "priority_score", "spam_score", "submitted_at", "last_movement_at"),
            "changes_deadline",
        ]
        read_only_fields = fields

    def get_primary_phone(self, application: FarmApplication) -> str:
        return phones.mask(application.primary_phone)

    def get_ghana_card_number(self, application: FarmApplication) -> str:
        return rules.mask_card(application.ghana_card_number)


class EventInfo(Plain):
    """One step, and why."""

    from_status = serializers.CharField(help_text="empty: it was new")
    to_status = serializers.CharField()
    actor = Named(allow_null=True, help_text="null: the applicant or the system")
    reason = serializers.CharField()
    at = serializers.DateTimeField()


class FarmInvitationInfo(FarmInvitationBase):
    """The way to the account. What is secret of it stands in the message to the applicant alone."""

    status = serializers.SerializerMethodField()

    class Meta:
        model = FarmInvitation
        fields = ["status", "expires_at"]
        read_only_fields = fields

    @extend_schema_field(serializers.ChoiceField(choices=InvitationStatus.choices))
    def get_status(self, invitation: FarmInvitation) -> str:
        return invitation.status_at(clock.now())


class Application(ApplicationRow):
    """An application by itself, with all that was said and what became of it."""

    primary_phone = serializers.CharField(read_only=True)  # type: ignore[assignment]
    ghana_card_number = serializers.CharField(read_only=True)  # type: ignore[assignment]
    district = serializers.CharField(source="district.name", default=None, read_only=True, allow_null=True)
    email = serializers.CharField(read_only=True, help_text="empty: none was given")
    events = EventInfo(many=True, read_only=True, help_text="oldest first")
    invitation = serializers.SerializerMethodField(help_text="the newest; null: it was not approved")

    class Meta(ApplicationRow.Meta):
        fields = [
            *ApplicationRow.Meta.fields,
            *("date_of_birth", "email", "phone_verified", "email_verified", "tin", "district"),
            *("number_of_poultry_houses", "language", "breed", "planned_monthly_eggs", "planned_monthly_bird_sales"),
            *("experience_years", "has_existing_farm", "changes_from_status", "invitation", "events"),
        ]
        read_only_fields = fields

    @extend_schema_field(FarmInvitationInfo(allow_null=True))
    def get_invitation(self, application: FarmApplication) -> Any:
        newest = next(iter(application.invitations.all()), None)
        return FarmInvitationInfo(newest).data if newest else None


class Applied(Plain):
    """What an applicant is told; what follows comes by SMS."""

    application_number = serializers.CharField()
    upload_token = serializers.CharField(help_text="for applications/apply/documents/, good for an hour")


class ApplicationFilter(Plain):
    status = Word(choices=ApplicationStatus.choices, required=False, allow_blank=True, default="")
    application_type = Word(choices=ApplicationType.choices, required=False, allow_blank=True, default="")
    level = Word(
        choices=ReviewLevel.choices, required=False, allow_blank=True, default="", help_text="under review there"
    )
    region = RegionCode(required=False, allow_blank=True, default=None, help_text="code")
    constituency = ConstituencyCode(required=False, allow_blank=True, default=None, help_text="code")
    search = serializers.CharField(
        required=False,
        allow_blank=True,
        default="",
        max_length=40,
        help_text="the beginning of a number, such as APP-2026-0, or a whole phone number",
    )


class Said(Plain):
    """What an applicant says. The region follows from the constituency."""

    full_name = serializers.CharField(max_length=150)
    date_of_birth = serializers.DateField()
    primary_phone = serializers.CharField(max_length=LONGEST_INPUT, help_text=HOW)
    ghana_card_number = serializers.CharField(max_length=20, help_text="such as GHA-123456789-0")
    constituency = ConstituencyCode(help_text="code")
    farm_name = serializers.CharField(max_length=100)
    number_of_poultry_houses = serializers.IntegerField(min_value=1, max_value=32_767)
    total_bird_capacity = serializers.IntegerField(min_value=1, max_value=LARGEST_COUNT, help_text="birds")
    primary_production_type = Word(choices=ProductionType.choices)
    email = serializers.CharField(max_length=254, required=False, allow_blank=True)
    tin = serializers.CharField(max_length=20, required=False, allow_blank=True)
    language = Word(choices=Language.choices, required=False)
    breed = serializers.CharField(max_length=60, required=False, allow_blank=True)
    planned_monthly_eggs = serializers.IntegerField(
        min_value=0, max_value=LARGEST_COUNT, required=False, allow_null=True
    )
    planned_monthly_bird_sales = serializers.IntegerField(
        min_value=0, max_value=LARGEST_COUNT, required=False, allow_null=True
    )
    experience_years = serializers.IntegerField(min_value=0, max_value=100, required=False)
    has_existing_farm = serializers.BooleanField(required=False)


class NewApplication(Said):
    application_type = Word(choices=ApplicationType.choices)


class OwnApplication(NewApplication):
    code = serializers.CharField(
        max_length=20,
        required=False,
        allow_blank=True,
        help_text="six digits, from the SMS of applications/verify-phone/: the phone is verified. Left out: it is not",
    )


class PhoneToVerify(Plain):
    primary_phone = serializers.CharField(max_length=LONGEST_INPUT, help_text=HOW)


class Why(Plain):
    reason = serializers.CharField(max_length=rules.LONGEST_REASON, help_text="it is kept with your name")


class WhatToChange(Plain):
    reason = serializers.CharField(max_length=rules.LONGEST_CHANGES, help_text="what to change; the applicant reads it")


class ReasonToTell(Plain):
    reason = serializers.CharField(max_length=rules.LONGEST_REASON, help_text="the applicant or farmer reads it")


# --- reviews --------------------------------------------------------------------------------------------------------


class ReviewInfo(ReviewBase):
    claimed_by = Named(read_only=True, allow_null=True)

    class Meta:
        model = ReviewItem
        fields = ["id", "level", "status", "claimed_by", "entered_at", "due_at", "completed_at"]
        read_only_fields = fields


class NoteInfo(NoteBase):
    author = Named(read_only=True)

    class Meta:
        model = ReviewNote
        fields = ["id", "author", "text", "at"]
        read_only_fields = fields


class ReviewWithNotes(ReviewInfo):
    notes = NoteInfo(many=True, read_only=True, help_text="oldest first")

    class Meta(ReviewInfo.Meta):
        fields = [*ReviewInfo.Meta.fields, "notes"]
        read_only_fields = fields


class ApplicationReview(ReviewInfo):
    """An open review of an application in the queue."""

    application = ApplicationRow(read_only=True)
    priority = serializers.IntegerField(read_only=True, help_text="points, those for waiting among them")

    class Meta(ReviewInfo.Meta):
        fields = [*ReviewInfo.Meta.fields, "priority", "application"]
        read_only_fields = fields


class QueueFilter(Plain):
    level = Word(
        choices=ReviewLevel.choices, required=False, allow_blank=True, default="", help_text="left out: my own level"
    )


class NewNote(Plain):
    text = serializers.CharField(max_length=reviews.LONGEST_NOTE)


# --- farms ----------------------------------------------------------------------------------------------------------


class FarmName(FarmBase):
    class Meta:
        model = Farm
        fields = ["id", "farm_number", "farm_name"]
        read_only_fields = fields


class FarmRow(FarmBase):
    """A farm in a list: the phone number is masked."""

    region = Place(source="constituency.region", read_only=True)
    constituency = Place(read_only=True)
    primary_phone = serializers.SerializerMethodField(help_text="masked")
    extension_officer = Named(read_only=True, allow_null=True)

    class Meta:
        model = Farm
        fields = [
            *("id", "farm_number", "farm_name", "farm_status", "region", "constituency", "primary_phone"),
            *("primary_production_type", "number_of_poultry_houses", "total_bird_capacity", "is_government"),
            *("extension_officer", "biosecurity_score", "readiness_score"),
        ]
        read_only_fields = fields

    def get_primary_phone(self, farm: Farm) -> str:
        return phones.mask(farm.primary_phone)


class FarmInfo(FarmRow):
    """A farm by itself. Phone, Ghana Card and TIN are shown whole to those who keep the farm."""

    ghana_card_number = serializers.SerializerMethodField(help_text="masked but for those who keep the farm")
    tin = serializers.SerializerMethodField(help_text="empty but for those who keep the farm")
    user = Named(read_only=True)
    birds = serializers.IntegerField(read_only=True, help_text="in active flocks")

    class Meta(FarmRow.Meta):
        fields = [*FarmRow.Meta.fields, "user", "ghana_card_number", "tin", "birds", "created_at"]
        read_only_fields = fields

    def get_primary_phone(self, farm: Farm) -> str:
        return farm.primary_phone if self.context["whole"] else phones.mask(farm.primary_phone)

    def get_ghana_card_number(self, farm: Farm) -> str:
        return farm.ghana_card_number if self.context["whole"] else rules.mask_card(farm.ghana_card_number)

    def get_tin(self, farm: Farm) -> str:
        return farm.tin if self.context["whole"] else ""


class FarmDetails(Plain):
    farm_name = serializers.CharField(max_length=100)
    tin = serializers.CharField(max_length=20, allow_blank=True, help_text="empty: none")
    number_of_poultry_houses = serializers.IntegerField(min_value=1, max_value=32_767)
    total_bird_capacity = serializers.IntegerField(
        min_value=1, max_value=LARGEST_COUNT, help_text="birds; not below those that are there"
    )
    primary_production_type = Word(choices=ProductionType.choices)


class FarmFilter(Plain):
    farm_status = Word(choices=FarmStatus.choices, required=False, allow_blank=True, default="")
    region = RegionCode(required=False, allow_blank=True, default=None, help_text="code")
    constituency = ConstituencyCode(required=False, allow_blank=True, default=None, help_text="code")
    extension_officer = serializers.UUIDField(required=False, default=None)
    is_government = serializers.BooleanField(
        required=False, allow_null=True, default=None, help_text="of the government programme"
    )
    search = serializers.CharField(
        required=False,
        allow_blank=True,
        default="",
        max_length=40,
        help_text="the beginning of a number, such as YEA-AH-BNT, or a whole phone number",
    )


class Officer(Plain):
    officer = serializers.UUIDField(help_text="an active person with the role YEA_OFFICIAL")


class ExtensionOfficer(Plain):
    officer = serializers.UUIDField(allow_null=True, help_text="an active extension officer; null: none")


class AssignmentInfo(AssignmentBase):
    officer = Named(read_only=True)

    class Meta:
        model = FarmAssignment
        fields = ["officer", "created_at"]
        read_only_fields = fields


class LocationInfo(LocationBase):
    region = Place(read_only=True)
    constituency = Place(read_only=True)
    district = serializers.CharField(source="district.name", default=None, read_only=True, allow_null=True)

    class Meta:
        model = FarmLocation
        fields = [
            *("id", "is_primary", "digital_address", "region", "district", "constituency", "community"),
            *("latitude", "longitude", "land_size_acres", "gps_verified"),
        ]
        read_only_fields = fields


class NewLocation(Plain):
    """Where a location is. The region follows from the constituency."""

    constituency = ConstituencyCode(help_text="code")
    digital_address = serializers.CharField(
        max_length=20, required=False, allow_blank=True, help_text="such as GA-184-2278"
    )
    community = serializers.CharField(max_length=100, required=False, allow_blank=True)
    latitude = serializers.DecimalField(max_digits=8, decimal_places=6, required=False, allow_null=True)
    longitude = serializers.DecimalField(max_digits=9, decimal_places=6, required=False, allow_null=True)
    land_size_acres = serializers.DecimalField(max_digits=8, decimal_places=2, required=False, allow_null=True)


class InfrastructureInfo(InfrastructureBase):
    class Meta:
        model = Infrastructure
        fields = [
            *("id", "infrastructure_type", "bird_capacity", "year_round", "status", "condition"),
            "next_maintenance_due",
        ]
        read_only_fields = fields


class NewInfrastructure(Plain):
    infrastructure_type = Word(choices=InfrastructureType.choices)
    bird_capacity = serializers.IntegerField(
        min_value=0, max_value=LARGEST_COUNT, required=False, help_text="of a poultry house"
    )
    year_round = serializers.BooleanField(required=False, help_text="water that does not run dry")
    status = Word(choices=InfrastructureStatus.choices, required=False)
    condition = Word(choices=Condition.choices, required=False)
    next_maintenance_due = serializers.DateField(required=False, allow_null=True)


class BiosecurityInfo(BiosecurityBase):
    class Meta:
        model = Biosecurity
        fields = [*rules.MEASURES, "updated_at"]
        read_only_fields = fields


Measures: Any = type(
    "BiosecurityChange",
    (Plain,),
    {
        "__doc__": "Which measures are in place; those left out stay.",
        **{name: serializers.BooleanField(required=False) for name in rules.MEASURES},
    },
)


class DocumentInfo(DocumentBase):
    class Meta:
        model = FarmDocument
        fields = ["id", "kind", "created_at"]
        read_only_fields = fields


class NewDocument(Plain):
    """Stands in the address; the body is the file."""

    kind = Word(choices=DocumentKind.choices)


class UploadToken(Plain):
    token = serializers.CharField(max_length=200, help_text="the upload_token of the application")


class ScoreInfo(ScoreBase):
    parts = serializers.DictField(child=serializers.CharField(), help_text="points of readiness by part")

    class Meta:
        model = FarmScore
        fields = ["day", "formula_version", "readiness", "biosecurity", "parts"]
        read_only_fields = fields


# --- batches and enrolments -----------------------------------------------------------------------------------------


class BatchInfo(BatchBase):
    target_region = Place(read_only=True, allow_null=True, help_text="null: all regions")
    eligible_constituencies = Place(many=True, read_only=True, help_text="empty: all")
    accepts_applications = serializers.SerializerMethodField(help_text="today")

    class Meta:
        model = Batch
        fields = [
            *("id", "batch_code", "batch_name", "status", "accepts_applications", "start_date", "end_date"),
            *("application_deadline", "total_slots", "slots_filled", "allow_overbooking", "target_region"),
            *("eligible_constituencies", "min_age", "max_age", "min_bird_capacity", "max_bird_capacity"),
            *("min_farm_age_months", "max_farm_age_years", "support_package_value", "support_package_details"),
            "approval_sla_days",
        ]
        read_only_fields = fields

    def get_accepts_applications(self, batch: Batch) -> bool:
        return rules.accepts(
            BatchStatus(batch.status),
            today=clock.accra(clock.now()).date(),
            deadline=batch.application_deadline,
            filled=batch.slots_filled,
            slots=batch.total_slots,
            overbooking=batch.allow_overbooking,
        )


class BatchFilter(Plain):
    status = Word(choices=BatchStatus.choices, required=False, allow_blank=True, default="")
    accepting = serializers.BooleanField(required=False, default=False, help_text="those that take applications today")


class Plan(Plain):
    """A batch as it is planned. Limits that are left out or null mean any."""

    batch_name = serializers.CharField(max_length=100)
    batch_code = serializers.CharField(max_length=20)
    start_date = serializers.DateField()
    end_date = serializers.DateField()
    application_deadline = serializers.DateField(help_text="this day counts")
    total_slots = serializers.IntegerField(min_value=0, max_value=LARGEST_COUNT)
    target_region = RegionCode(required=False, allow_blank=True, default=None, help_text="code; left out: all regions")
    eligible_constituencies = serializers.ListField(
        child=serializers.CharField(max_length=3), required=False, default=[], max_length=300, help_text="codes"
    )
    allow_overbooking = serializers.BooleanField(required=False)
    min_age = serializers.IntegerField(min_value=0, max_value=150, required=False)
    max_age = serializers.IntegerField(min_value=0, max_value=150, required=False)
    min_bird_capacity = serializers.IntegerField(min_value=0, max_value=LARGEST_COUNT, required=False, allow_null=True)
    max_bird_capacity = serializers.IntegerField(min_value=0, max_value=LARGEST_COUNT, required=False, allow_null=True)
    min_farm_age_months = serializers.IntegerField(min_value=0, max_value=1_200, required=False, allow_null=True)
    max_farm_age_years = serializers.IntegerField(min_value=0, max_value=100, required=False, allow_null=True)
    support_package_value = serializers.DecimalField(max_digits=12, decimal_places=2, required=False, help_text="GHS")
    support_package_details = serializers.CharField(max_length=5_000, required=False, allow_blank=True)
    approval_sla_days = serializers.IntegerField(min_value=1, max_value=365, required=False)

    def validate_eligible_constituencies(self, codes: list[str]) -> list[Constituency]:
        return constituencies(codes)


class BatchName(BatchBase):
    class Meta:
        model = Batch
        fields = ["id", "batch_code", "batch_name"]
        read_only_fields = fields


class EnrollmentRow(EnrollmentBase):
    farm = FarmName(read_only=True)
    batch = BatchName(read_only=True)

    class Meta:
        model = BatchEnrollment
        fields = [
            *("id", "enrollment_number", "farm", "batch", "status", "changes_deadline", "eligibility_score"),
            *("submitted_at", "last_movement_at"),
        ]
        read_only_fields = fields


class Enrollment(EnrollmentRow):
    """An enrolment by itself, with its steps."""

    events = EventInfo(many=True, read_only=True, help_text="oldest first")

    class Meta(EnrollmentRow.Meta):
        fields = [*EnrollmentRow.Meta.fields, "changes_from_status", "events"]
        read_only_fields = fields


class EnrollmentReview(ReviewInfo):
    """An open review of an enrolment in the queue."""

    enrollment = EnrollmentRow(read_only=True)

    class Meta(ReviewInfo.Meta):
        fields = [*ReviewInfo.Meta.fields, "enrollment"]
        read_only_fields = fields


class EnrollmentFilter(Plain):
    status = Word(choices=EnrollmentStatus.choices, required=False, allow_blank=True, default="")
    batch = serializers.UUIDField(required=False, default=None)
    farm = serializers.UUIDField(required=False, default=None)


class NewEnrollment(Plain):
    farm = serializers.UUIDField(help_text="one's own")
    batch = serializers.UUIDField()


# --- flocks and production ------------------------------------------------------------------------------------------


class FlockInfo(FlockBase):
    farm = serializers.UUIDField(source="farm_id", read_only=True)

    class Meta:
        model = Flock
        fields = [
            *("id", "farm", "flock_number", "flock_type", "breed", "arrival_date", "age_at_arrival_weeks"),
            *("initial_count", "current_count", "status", "ended_on", "left_at_end"),
        ]
        read_only_fields = fields


class NewFlock(Plain):
    flock_type = Word(choices=FlockType.choices)
    arrival_date = serializers.DateField()
    initial_count = serializers.IntegerField(min_value=1, max_value=LARGEST_COUNT)
    breed = serializers.CharField(max_length=60, required=False, allow_blank=True)
    age_at_arrival_weeks = serializers.IntegerField(min_value=0, max_value=1_000, required=False)


class EndOfFlock(Plain):
    how = Word(choices=[(state.value, state.label) for state in rules.FLOCK_ENDS])
    on = serializers.DateField(help_text="its last recorded day or later")

    def validate_how(self, word: str) -> FlockStatus:
        return FlockStatus(word)


def _or_nothing(words: list[tuple[str, str]]) -> serializers.ChoiceField:
    return serializers.ChoiceField(choices=[("", "not said"), *words], read_only=True)


class DayInfo(DayBase):
    flock = serializers.UUIDField(source="flock_id", read_only=True)
    mortality_reason = _or_nothing(Cause.choices)
    general_health = _or_nothing(Health.choices)

    class Meta:
        model = DailyProduction
        fields = [
            *("id", "flock", "production_date", *EGGS, "eggs_collected", *LOSSES, "mortality_reason"),
            *("feed_consumed_kg", "general_health", "signs_of_disease", "created_at", "updated_at"),
        ]
        read_only_fields = fields


class CorrectionInfo(CorrectionBase):
    corrected_by = Named(read_only=True)
    before = serializers.DictField(child=serializers.JSONField(), help_text="what it said before, of what changed")
    after = serializers.DictField(child=serializers.JSONField())

    class Meta:
        model = ProductionCorrection
        fields = ["id", "corrected_by", "reason", "before", "after", "at"]
        read_only_fields = fields


class DayWithCorrections(DayInfo):
    recorded_by = Named(read_only=True)
    corrections = CorrectionInfo(many=True, read_only=True, help_text="oldest first")

    class Meta(DayInfo.Meta):
        fields = [*DayInfo.Meta.fields, "recorded_by", "corrections"]
        read_only_fields = fields


def _count(**options: Any) -> serializers.IntegerField:
    return serializers.IntegerField(min_value=0, max_value=LARGEST_COUNT, required=False, **options)


class Figures(Plain):
    """What happened on a day. What is left out is 0 or not known."""

    good_eggs = _count()
    broken_eggs = _count()
    dirty_eggs = _count()
    small_eggs = _count()
    soft_shell_eggs = _count()
    eggs_collected = _count(allow_null=True, help_text="the sum of the five; may be left out")
    birds_died = _count()
    birds_sold = _count()
    birds_culled = _count()
    mortality_reason = Word(choices=Cause.choices, required=False, allow_blank=True)
    feed_consumed_kg = serializers.DecimalField(max_digits=8, decimal_places=2, min_value=0, required=False)
    general_health = Word(choices=Health.choices, required=False, allow_blank=True)
    signs_of_disease = serializers.BooleanField(required=False)


class NewDay(Figures):
    production_date = serializers.DateField()


class Correction(Figures, Why):
    """The whole day anew, and why."""


class UploadRow(NewDay):
    """One flock and day. Each row is judged by itself."""

    flock = serializers.UUIDField()
    client_id = serializers.CharField(required=False, help_text="comes back with the answer to this row")


class RowOutcome(Plain):
    row = serializers.IntegerField(help_text="place in the array, from 1; of a CSV, the line")
    client_id = serializers.CharField(help_text="as it was sent, or empty")
    outcome = serializers.ChoiceField(choices=["kept", "unchanged", "refused"], help_text="unchanged: there already")
    id = serializers.UUIDField(allow_null=True, help_text="of the stored day")
    status = serializers.IntegerField(allow_null=True, help_text="of a refused row, as if it had been sent alone")
    detail = serializers.CharField(help_text="of a refused row: what to do")


class UploadOutcome(Plain):
    kept = serializers.IntegerField()
    unchanged = serializers.IntegerField()
    refused = serializers.IntegerField()
    rows = RowOutcome(many=True, help_text="in the order in which they came")


class Period(Plain):
    """Days from one to another, both included."""

    first = serializers.DateField(required=False, default=None)
    last = serializers.DateField(required=False, default=None)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["first"] and attrs["last"] and attrs["first"] > attrs["last"]:
            raise serializers.ValidationError("first must not be after last.")
        return attrs


class FiguresPeriod(Period):
    """Left out: the thirty days up to today."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        today = clock.accra(clock.now()).date()
        last = attrs["last"] or today
        if not rules.FIRST_ARRIVAL <= last <= today:
            raise serializers.ValidationError({"last": f"Give a day from {rules.FIRST_ARRIVAL} to today."})
        given = super().validate({"first": attrs["first"] or last - timedelta(days=29), "last": last})
        if (given["last"] - given["first"]).days >= LONGEST_PERIOD:
            raise serializers.ValidationError(f"Ask for at most {LONGEST_PERIOD} days at once.")
        return given


def _percent(**options: Any) -> serializers.DecimalField:
    return serializers.DecimalField(
        max_digits=14, decimal_places=2, allow_null=True, **{"help_text": "percent", **options}
    )


class ProductionFigures(Plain):
    """Sums of a period, and figures made of them: null where there is nothing to compare with."""

    eggs = serializers.IntegerField()
    good_eggs = serializers.IntegerField()
    hen_days = serializers.IntegerField()
    deaths = serializers.IntegerField()
    birds_at_end = serializers.IntegerField()
    feed_kg = serializers.DecimalField(max_digits=14, decimal_places=2)
    days_recorded = serializers.IntegerField()
    hen_day_pct = _percent()
    mortality_pct = _percent()
    egg_quality_pct = _percent()
    feed_per_dozen = _percent(help_text="kg of feed for a dozen eggs of layers")


class FlockFigures(Plain):
    """A flock in the period; the last three are of its whole life up to the period's end."""

    flock = FlockInfo()
    period = ProductionFigures()
    hen_housed = _percent(help_text="eggs for each bird that came")
    cumulative_mortality_pct = _percent()
    survival_pct = _percent()


class FarmFigures(Plain):
    """A farm in a period."""

    first = serializers.DateField()
    last = serializers.DateField()
    total = ProductionFigures()
    birds = serializers.IntegerField(help_text="now")
    utilisation_pct = _percent()
    days_reported = serializers.IntegerField()
    days_active = serializers.IntegerField()
    compliance_pct = _percent()
    flocks = FlockFigures(many=True)


# --- alerts and deaths ----------------------------------------------------------------------------------------------


class AlertInfo(AlertBase):
    farm = FarmName(read_only=True)
    flock = serializers.UUIDField(source="flock_id", read_only=True)
    flock_number = serializers.IntegerField(source="flock.flock_number", read_only=True)
    acknowledged_by = Named(read_only=True, allow_null=True)

    class Meta:
        model = Alert
        fields = [
            *("id", "kind", "farm", "flock", "flock_number", "day", "value", "threshold", "severity", "status"),
            *("acknowledged_by", "acknowledged_at", "created_at"),
        ]
        read_only_fields = fields


class AlertFilter(Plain):
    status = Word(choices=AlertStatus.choices, required=False, allow_blank=True, default="")
    severity = Word(choices=[(one.value, one.value) for one in Severity], required=False, allow_blank=True, default="")
    kind = Word(choices=AlertKind.choices, required=False, allow_blank=True, default="")
    region = RegionCode(required=False, allow_blank=True, default=None, help_text="code")
    farm = serializers.UUIDField(required=False, default=None)
    since = serializers.DateField(required=False, default=None, help_text="of this day or later")


class MortalityFilter(Plain):
    since = serializers.DateField(required=False, default=None, help_text="to be inspected by this day or later")
    until = serializers.DateField(required=False, default=None, help_text="to be inspected by this day or earlier")


class MortalityInfo(MortalityBase):
    farm = FarmName(source="production.flock.farm", read_only=True)
    flock = serializers.UUIDField(source="production.flock_id", read_only=True)
    flock_number = serializers.IntegerField(source="production.flock.flock_number", read_only=True)
    production_date = serializers.DateField(source="production.production_date", read_only=True)
    signs_of_disease = serializers.BooleanField(source="production.signs_of_disease", read_only=True)
    inspected_by = Named(read_only=True, allow_null=True)
    probable_cause = _or_nothing(Cause.choices)

    class Meta:
        model = MortalityRecord
        fields = [
            *("id", "farm", "flock", "flock_number", "production_date", "number_of_birds", "probable_cause"),
            *("signs_of_disease", "inspect_by", "inspected_at", "inspected_by"),
        ]
        read_only_fields = fields
