"""Applications, their reviews and invitations: decided, claimed, noted and invited again through the services."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join

from accounts import selectors as people
from accounts.models import User
from accounts.page_forms import Plain
from accounts.policy import Action
from core import clock, phones
from farms import rules, selectors
from farms.admin.asking import (
    Act,
    ChangesForm,
    Documents,
    Lines,
    OpenFirst,
    Scoped,
    ToldReasonForm,
    day,
    link,
    named,
    of_applications,
    sees_all,
    whose,
)
from farms.models import FarmApplication, FarmInvitation, ReviewItem, ReviewNote
from farms.rules import ApplicationStatus, ApplicationType, InvitationStatus, ReviewLevel, ReviewStatus
from farms.services import applications, reviews
from farms.services.common import day_of
from farms.services.reviews import LONGEST_NOTE

DECIDE = tuple(selectors.DECIDES.values())


def standing(subject: Any) -> str:
    """The status, until when changes are waited for, and whether that is over (domain.md 4.2.3)."""
    label, until = str(subject.get_status_display()), subject.changes_deadline
    if until is None:
        return label
    return f"{label} until {day(until)}" + (", lapsed" if until < day_of(clock.now()) else "")


def decides(user: User, subject: Any) -> ReviewLevel | None:
    """The level that decides on an application or enrolment now, when this person does so there."""
    level = rules.level_of(subject.changes_from_status or subject.status)
    place = subject.place if isinstance(subject, FarmApplication) else subject.farm.place
    return level if level and people.may(user, selectors.DECIDES[level], place) else None


# --- applications --------------------------------------------------------------------------------------------------


class ApplicationStatusFilter(OpenFirst):
    statuses = ApplicationStatus
    over = (ApplicationStatus.APPROVED, ApplicationStatus.ACCOUNT_CREATED, ApplicationStatus.REJECTED)


class ReviewLines(Lines):
    model = ReviewItem
    action = Action.SEE_APPLICATIONS
    fields = ("level", "status", "by", "what_was_noted", "due_at", "entered_at", "completed_at")
    related = ("claimed_by",)
    ordering = ("entered_at",)
    verbose_name_plural = "reviews"

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReviewItem]:
        return super().get_queryset(request).prefetch_related("notes__author")

    @admin.display
    def by(self, item: ReviewItem) -> str:
        return named(item.claimed_by)

    @admin.display(description="notes")
    def what_was_noted(self, item: ReviewItem) -> str:
        notes = sorted(item.notes.all(), key=lambda note: note.at)
        return format_html_join("", "<p>{}: {}</p>", ((named(note.author), note.text) for note in notes)) or "–"


class InvitationLines(Lines):
    model = FarmInvitation
    fields = ("created_at", "status", "expires_at")
    ordering = ("created_at",)
    verbose_name_plural = "invitations"


def _to_application(service: Callable[..., object]) -> Callable[[User, FarmApplication, Mapping[str, Any]], object]:
    return lambda actor, row, said: service(actor=actor, application_id=row.pk, now=clock.now(), **said)


@admin.register(FarmApplication)
class ApplicationAdmin(Scoped):
    action = Action.SEE_APPLICATIONS
    machine = rules.APPLICATION
    audited = "application"
    steps = ApplicationStatus
    acts = (
        Act("forward", "Forward", _to_application(applications.forward), DECIDE, rules.Act.FORWARD),
        Act("approve", "Approve", _to_application(applications.approve), DECIDE, rules.Act.APPROVE),
        Act(
            "request_changes",
            "Request changes",
            _to_application(applications.request_changes),
            DECIDE,
            rules.Act.REQUEST_CHANGES,
            ChangesForm,
        ),
        Act("reject", "Reject", _to_application(applications.reject), DECIDE, rules.Act.REJECT, ToldReasonForm),
        Act("invite_again", "Invite again", _to_application(applications.invite_again), DECIDE),
    )
    list_display = (
        *("application_number", "stands", "full_name", "masked_phone", "constituency"),
        *("application_type", "submitted", "priority_score"),
    )
    list_filter = (ApplicationStatusFilter, "application_type")
    of_the_nation = ("region",)
    list_select_related = ("constituency",)
    search_fields = ("application_number",)  # there is a search; what it means, get_search_results says
    search_help_text = (
        "the beginning of its number, or a whole phone number or Ghana Card; in a region or constituency also a name"
    )
    ordering = ("-submitted_at", "-id")
    inlines = (ReviewLines, InvitationLines, Documents)
    fieldsets = (
        (None, {"fields": ("application_number", "application_type", "stands", "submitted_at", "last_movement_at")}),
        (
            "Applicant",
            {
                "fields": (
                    *("full_name", "date_of_birth", ("ghana_card_number", "tin"), ("primary_phone", "phone_verified")),
                    *(("email", "email_verified"), "language", "place"),
                )
            },
        ),
        (
            "Farm",
            {
                "fields": (
                    *("farm_name", ("number_of_poultry_houses", "total_bird_capacity")),
                    *(("primary_production_type", "breed"), ("planned_monthly_eggs", "planned_monthly_bird_sales")),
                    *(("experience_years", "has_existing_farm"), "farm_itself"),
                )
            },
        ),
        ("Screening", {"fields": (("spam_score", "priority_score"), "submitted_ip")}),
    )

    def scope(self, user: User) -> QuerySet[FarmApplication]:
        return selectors.applications_in_scope(user)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[FarmApplication], search_term: str
    ) -> tuple[QuerySet[FarmApplication], bool]:
        """By what has an index. Names have none, so that they are looked through in a part of the nation only."""
        term = search_term.strip()
        if identity := whose(term):
            is_over = Q(status=ApplicationStatus.REJECTED)  # its indexes are of those that are, and of those that not
            return queryset.filter((is_over & Q(**identity)) | (~is_over & Q(**identity))), False
        found = Q(application_number__startswith=term.upper())
        return queryset.filter(found if sees_all(request) else found | Q(full_name__icontains=term)), False

    def fits(self, user: User, row: FarmApplication, act: Act) -> bool:
        last = rules.final_level(ApplicationType(row.application_type))
        if act.name == "invite_again":
            is_waited_for = row.status == ApplicationStatus.APPROVED
            return is_waited_for and people.may(user, selectors.DECIDES[last], row.place)
        level = decides(user, row)
        is_other_step = act.name == ("forward" if level == last else "approve")
        return level is not None and super().fits(user, row, act) and not is_other_step

    @admin.display(description="status", ordering="status")
    def stands(self, application: FarmApplication) -> str:
        return standing(application)

    @admin.display(description="phone")
    def masked_phone(self, application: FarmApplication) -> str:
        return phones.mask(application.primary_phone)

    @admin.display(ordering="submitted_at")
    def submitted(self, application: FarmApplication) -> str:
        return day(clock.accra(application.submitted_at))

    @admin.display
    def place(self, application: FarmApplication) -> str:
        places = (application.constituency, application.district, application.region)
        return ", ".join(str(one) for one in places if one)

    @admin.display(description="farm")
    def farm_itself(self, application: FarmApplication) -> str:
        farm = getattr(application, "farm", None)
        return link(farm, str(farm))


# --- reviews -------------------------------------------------------------------------------------------------------


class NoteForm(Plain):
    text = forms.CharField(
        label="Note",
        max_length=LONGEST_NOTE,
        help_text="for those who decide; it stays with your name",
        widget=forms.Textarea({"rows": 4}),
    )


class ReviewStatusFilter(OpenFirst):
    statuses = ReviewStatus
    over = (ReviewStatus.COMPLETED,)


class NoteLines(Lines):
    model = ReviewNote
    fields = ("at", "by", "text")
    related = ("author",)
    ordering = ("at",)
    verbose_name_plural = "notes"

    @admin.display
    def by(self, note: ReviewNote) -> str:
        return named(note.author)


def _to_review(service: Callable[..., object]) -> Callable[[User, ReviewItem, Mapping[str, Any]], object]:
    return lambda actor, row, said: service(actor=actor, item_id=row.pk, now=clock.now(), **said)


@admin.register(ReviewItem)
class ReviewAdmin(Scoped):
    action = Action.SEE_APPLICATIONS
    machine = rules.REVIEW
    audited = "review"
    acts = (
        Act("claim", "Claim", _to_review(reviews.claim), DECIDE, rules.Act.CLAIM),
        Act("start", "Start", _to_review(reviews.start), DECIDE, rules.Act.START),
        Act("release", "Release", _to_review(reviews.release), DECIDE, rules.Act.RELEASE),
        Act("note", "Note", _to_review(reviews.note), (*DECIDE, Action.NOTE_AT_CONSTITUENCY), form=NoteForm),
    )
    list_display = ("subject", "level", "status", "is_late", "by", "due_at", "entered_at")
    list_filter = (ReviewStatusFilter, "level")
    list_select_related = ("application", "enrollment", "claimed_by")
    search_fields = ("application__application_number", "enrollment__enrollment_number")
    search_help_text = "the beginning of the number of an application or enrolment"
    ordering = ("due_at", "id")
    inlines = (NoteLines,)
    fields = ("subject_itself", "level", "status", "by", "entered_at", "due_at", "completed_at")

    def called(self, row: ReviewItem) -> str:
        return f"{row.get_level_display()} review of {self.subject(row)}"

    def scope(self, user: User) -> QuerySet[ReviewItem]:
        return selectors.reviews_in_scope(user)

    def get_search_results(
        self, _request: HttpRequest, queryset: QuerySet[ReviewItem], search_term: str
    ) -> tuple[QuerySet[ReviewItem], bool]:
        term = search_term.strip().upper()
        if not term:
            return queryset, False
        subject = "enrollment__enrollment_number" if term.startswith("PROG") else "application__application_number"
        return queryset.filter(**{f"{subject}__startswith": term}), False

    def fits(self, user: User, row: ReviewItem, act: Act) -> bool:
        level, place = ReviewLevel(row.level), selectors.place_of(row)
        may = people.may(user, selectors.DECIDES[level], place)
        if act.name == "note":
            notes = level == ReviewLevel.CONSTITUENCY and people.may(user, Action.NOTE_AT_CONSTITUENCY, place)
            return (may or notes) and row.status != ReviewStatus.COMPLETED
        is_taken = act.name != "claim" and row.claimed_by_id not in (None, user.pk)
        return may and super().fits(user, row, act) and not is_taken

    @admin.display(ordering="due_at")
    def subject(self, item: ReviewItem) -> str:
        return str(item.application or item.enrollment)

    @admin.display(description="subject")
    def subject_itself(self, item: ReviewItem) -> str:
        return link(item.application or item.enrollment, self.subject(item))

    @admin.display
    def by(self, item: ReviewItem) -> str:
        return named(item.claimed_by)

    @admin.display(description="late", boolean=True)
    def is_late(self, item: ReviewItem) -> bool:
        return item.completed_at is None and item.due_at < clock.now()


# --- invitations ---------------------------------------------------------------------------------------------------


class InvitationStatusFilter(OpenFirst):
    statuses = InvitationStatus
    over = (InvitationStatus.ACCEPTED, InvitationStatus.REVOKED)
    first = "Not accepted yet"


def _invite_again(actor: User, invitation: FarmInvitation, _said: Mapping[str, Any]) -> object:
    application_id: uuid.UUID = invitation.application_id
    return applications.invite_again(actor=actor, application_id=application_id, now=clock.now())


@admin.register(FarmInvitation)
class FarmInvitationAdmin(Scoped):
    action = Action.SEE_APPLICATIONS
    audited = "farm_invitation"
    acts = (Act("invite_again", "Invite again", _invite_again, DECIDE),)
    list_display = ("application", "stands", "applicant", "constituency", "created_at", "expires_at")
    list_filter = (InvitationStatusFilter,)
    of_the_nation = ("application__region",)
    list_select_related = ("application__constituency",)
    search_fields = ("application__application_number",)
    search_help_text = "the beginning of the number of an application"
    ordering = ("-created_at", "-id")
    fields = ("application", "applicant", "stands", "created_at", "expires_at")

    def called(self, row: FarmInvitation) -> str:
        return f"invitation of {row.application}"

    def scope(self, user: User) -> QuerySet[FarmInvitation]:
        return of_applications(FarmInvitation.objects.all(), user)

    def get_search_results(
        self, _request: HttpRequest, queryset: QuerySet[FarmInvitation], search_term: str
    ) -> tuple[QuerySet[FarmInvitation], bool]:
        term = search_term.strip().upper()
        return (queryset.filter(application__application_number__startswith=term) if term else queryset), False

    def fits(self, user: User, row: FarmInvitation, _act: Act) -> bool:
        last = rules.final_level(ApplicationType(row.application.application_type))
        is_waited_for = row.application.status == ApplicationStatus.APPROVED
        return is_waited_for and people.may(user, selectors.DECIDES[last], row.application.place)

    @admin.display
    def applicant(self, invitation: FarmInvitation) -> str:
        return invitation.application.full_name

    @admin.display
    def constituency(self, invitation: FarmInvitation) -> str:
        return str(invitation.application.constituency)

    @admin.display(description="status", ordering="status")
    def stands(self, invitation: FarmInvitation) -> str:
        """One whose time is over has expired, whether or not the cleanup has come by."""
        ends = invitation.expires_at
        if invitation.status == InvitationStatus.SENT and ends and ends <= clock.now():
            return InvitationStatus.EXPIRED.label
        return str(invitation.get_status_display())
