"""Batches and the enrolments in them: planned, opened, paused, closed and decided through the services."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.forms.models import model_to_dict
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from accounts import selectors as people
from accounts.admin.asking import may_somewhere, me, page
from accounts.models import Constituency, User
from accounts.page_forms import Plain
from accounts.policy import Action
from core import clock
from core.errors import DomainError
from farms import rules, selectors
from farms.admin.applications import DECIDE, ReviewLines, decides, standing
from farms.admin.asking import Act, OpenFirst, Scoped, ToldReasonForm, farm_found, named
from farms.models import Batch, BatchEnrollment
from farms.rules import BatchStatus, EnrollmentStatus
from farms.services import batches, enrollments
from farms.services.batches import Round

if TYPE_CHECKING:
    BatchModelForm = forms.ModelForm[Batch]
else:
    BatchModelForm = forms.ModelForm

PLANNED = tuple(field.name for field in fields(Round))
DAY = forms.DateInput({"type": "date"}, format="%Y-%m-%d")
MANAGE = (Action.MANAGE_BATCHES,)


class BatchForm(Plain, BatchModelForm):
    class Meta:
        model = Batch
        fields = PLANNED
        labels = {"approval_sla_days": "Days in which an enrolment is decided"}
        widgets = dict.fromkeys(("start_date", "end_date", "application_deadline"), DAY)

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        places = Constituency.objects.select_related("region").order_by("region__name", "name")
        self.fields["eligible_constituencies"].queryset = places  # type: ignore[attr-defined]

    def _post_clean(self) -> None:
        """The service checks the whole, and says what is wrong."""

    @property
    def plan(self) -> Round:
        given = self.cleaned_data
        return Round(**{**given, "eligible_constituencies": list(given["eligible_constituencies"])})


def _to_batch(service: Callable[..., object]) -> Callable[[User, Batch, Mapping[str, Any]], object]:
    return lambda actor, row, _said: service(actor=actor, batch_id=row.pk)


def _change(actor: User, batch: Batch, said: Mapping[str, Any]) -> object:
    plan = Round(**{**said, "eligible_constituencies": list(said["eligible_constituencies"])})
    return batches.change(actor=actor, batch_id=batch.pk, plan=plan)


@admin.register(Batch)
class BatchAdmin(Scoped):
    """Whoever sees applications sees the rounds that farms apply to; which of them, the selector says."""

    action = Action.SEE_APPLICATIONS
    also = (Action.MANAGE_BATCHES, Action.MARK_ENROLLED)
    machine = rules.BATCH
    audited = "batch"
    acts = (
        Act("publish", "Publish", _to_batch(batches.publish), MANAGE, rules.Act.PUBLISH),
        Act("pause", "Pause", _to_batch(batches.pause), MANAGE, rules.Act.PAUSE),
        Act("resume", "Resume", _to_batch(batches.resume), MANAGE, rules.Act.RESUME),
        Act("close", "Close the batch", _to_batch(batches.close), MANAGE, rules.Act.CLOSE),
        Act("archive", "Archive", _to_batch(batches.archive), MANAGE, rules.Act.ARCHIVE),
        Act("change", "Change", _change, MANAGE, form=BatchForm, initial=lambda row: model_to_dict(row, PLANNED)),
    )
    list_display = (
        "batch_code",
        "batch_name",
        "status",
        "target_region",
        "slots",
        "start_date",
        "application_deadline",
    )
    list_filter = ("status", "target_region")
    list_select_related = ("target_region",)
    search_fields = ("batch_code", "batch_name")
    search_help_text = "a part of its code or name"
    date_hierarchy = "application_deadline"
    ordering = ("-application_deadline", "batch_code")
    fieldsets = (
        (None, {"fields": ("batch_code", "batch_name", "status")}),
        ("Dates", {"fields": (("start_date", "end_date"), ("application_deadline", "approval_sla_days"))}),
        ("Slots", {"fields": (("total_slots", "slots_filled"), "allow_overbooking")}),
        (
            "Who may apply",
            {
                "fields": (
                    *("where", ("min_age", "max_age"), ("min_bird_capacity", "max_bird_capacity")),
                    ("min_farm_age_months", "max_farm_age_years"),
                )
            },
        ),
        ("Support", {"fields": ("support_package_value", "support_package_details")}),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return may_somewhere(request, Action.MANAGE_BATCHES)

    def scope(self, user: User) -> QuerySet[Batch]:
        return selectors.batches_in_scope(user)

    def add_view(
        self, request: HttpRequest, _form_url: str = "", _extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = BatchForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            try:
                batch = batches.create(actor=me(request), plan=form.plan)
            except DomainError as refused:
                form.refuse(refused)
            else:
                messages.success(request, f"The batch {batch} is planned as a draft. Publish it to let farms apply.")
                return redirect(reverse("admin:farms_batch_change", args=[batch.pk]))
        return page(self, request, "Plan a batch", form)

    def fits(self, user: User, row: Batch, act: Act) -> bool:
        if act.name == "change":
            return row.status not in (BatchStatus.CLOSED, BatchStatus.ARCHIVED)
        return super().fits(user, row, act)

    @admin.display
    def slots(self, batch: Batch) -> str:
        return f"{batch.slots_filled} of {batch.total_slots}"

    @admin.display(description="where the farm lies")
    def where(self, batch: Batch) -> str:
        places = ", ".join(str(place) for place in batch.eligible_constituencies.all())
        return places or str(batch.target_region or "anywhere")


# --- enrolments ----------------------------------------------------------------------------------------------------


class EnrollmentStatusFilter(OpenFirst):
    statuses = EnrollmentStatus
    over = (
        *(EnrollmentStatus.DRAFT, EnrollmentStatus.ENROLLED),
        *(EnrollmentStatus.REJECTED, EnrollmentStatus.WITHDRAWN),
    )


class BatchFilter(admin.RelatedFieldListFilter):
    """By batch, of those that whoever asks may see."""

    def field_choices(
        self, field: Any, request: HttpRequest, model_admin: admin.ModelAdmin[Any]
    ) -> list[tuple[str, Any]]:
        ordering = self.field_admin_ordering(field, request, model_admin)
        seen = Q(pk__in=selectors.batches_in_scope(me(request)))
        return list(field.get_choices(include_blank=False, ordering=ordering, limit_choices_to=seen))


def _to_enrollment(service: Callable[..., object]) -> Callable[[User, BatchEnrollment, Mapping[str, Any]], object]:
    return lambda actor, row, said: service(actor=actor, enrollment_id=row.pk, now=clock.now(), **said)


@admin.register(BatchEnrollment)
class EnrollmentAdmin(Scoped):
    action = Action.SEE_APPLICATIONS
    also = (Action.MARK_ENROLLED,)
    machine = rules.ENROLLMENT
    audited = "enrollment"
    steps = EnrollmentStatus
    acts = (
        Act("forward", "Forward", _to_enrollment(enrollments.forward), DECIDE, rules.Act.FORWARD),
        Act("approve", "Approve", _to_enrollment(enrollments.approve), DECIDE, rules.Act.APPROVE),
        Act(
            "request_changes",
            "Request changes",
            _to_enrollment(enrollments.request_changes),
            DECIDE,
            rules.Act.REQUEST_CHANGES,
            ToldReasonForm,
        ),
        Act("reject", "Reject", _to_enrollment(enrollments.reject), DECIDE, rules.Act.REJECT, ToldReasonForm),
        Act(
            "mark_enrolled",
            "Mark as enrolled",
            _to_enrollment(enrollments.mark_enrolled),
            (Action.MARK_ENROLLED,),
            rules.Act.MARK_ENROLLED,
        ),
    )
    list_display = ("number", "stands", "farm", "farmer", "batch", "eligibility_score", "submitted_at")
    list_filter = (EnrollmentStatusFilter, ("batch", BatchFilter))
    of_the_nation = ("farm__constituency__region",)
    list_select_related = ("farm__user", "batch")
    search_fields = ("enrollment_number",)
    search_help_text = "the beginning of the number of an enrolment or a farm, or a whole phone number or Ghana Card"
    ordering = ("-submitted_at", "-id")
    inlines = (ReviewLines,)
    fieldsets = (
        (None, {"fields": ("number", "farm", "farmer", "batch", "stands")}),
        ("Screening", {"fields": ("eligibility_score", "submitted_at", "last_movement_at")}),
    )

    def scope(self, user: User) -> QuerySet[BatchEnrollment]:
        return selectors.enrollments_in_scope(user)

    def get_search_results(
        self, _request: HttpRequest, queryset: QuerySet[BatchEnrollment], search_term: str
    ) -> tuple[QuerySet[BatchEnrollment], bool]:
        term = search_term.strip().upper()
        if term.startswith("PROG"):
            return queryset.filter(enrollment_number__startswith=term), False
        return (queryset.filter(farm_found(term, "farm__")) if term else queryset), False

    def fits(self, user: User, row: BatchEnrollment, act: Act) -> bool:
        may = (
            people.may(user, Action.MARK_ENROLLED, row.farm.place)
            if act.name == "mark_enrolled"
            else decides(user, row) is not None
        )
        return may and super().fits(user, row, act)

    @admin.display(ordering="enrollment_number")
    def number(self, enrollment: BatchEnrollment) -> str:
        return str(enrollment)

    @admin.display
    def farmer(self, enrollment: BatchEnrollment) -> str:
        return named(enrollment.farm.user)

    @admin.display(description="status", ordering="status")
    def stands(self, enrollment: BatchEnrollment) -> str:
        return standing(enrollment)
