"""Flocks, what was recorded of them, and what has to be looked into. Read, but for alerts and inspections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet, Value
from django.db.models.functions import Concat
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from accounts import selectors as people
from accounts.models import User
from accounts.policy import Action
from core import clock
from farms import rules, selectors
from farms.admin.asking import (
    Act,
    Lines,
    OfFarms,
    OpenFirst,
    day,
    is_search,
    link,
    named,
    sees_all,
)
from farms.models import Alert, DailyProduction, Flock, MortalityRecord, ProductionCorrection
from farms.rules import AlertStatus
from farms.services import production

BY_FARM = Concat("farm__farm_number", Value("")).asc()  # as farms.selectors.BY_NUMBER


class OfFlocks(OfFarms):
    """For those who read production in the place of the farm."""

    action = Action.READ_FARM_REPORT


@admin.register(Flock)
class FlockAdmin(OfFlocks):
    audited = "flock"
    list_display = ("called", "flock_type", "breed", "status", "arrival", "birds", "all_days")
    list_filter = ("status", "flock_type")
    of_the_nation = ("farm__constituency__region",)
    list_select_related = ("farm",)
    search_fields = ("farm__farm_number",)
    fields = (
        *("farm", "flock_number", "flock_type", "breed", "arrival_date", "age_at_arrival_weeks", "initial_count"),
        *("current_count", "status", "ended_on", "left_at_end", "all_days"),
    )

    def get_ordering(self, request: HttpRequest) -> tuple[Any, ...]:
        """As the index has them where all of the nation's would have to be sorted, else by the number of the farm."""
        is_part = is_search(request) or "farm__constituency__region__id__exact" in request.GET
        is_whole = sees_all(request) and not is_part
        return ("farm_id" if is_whole else BY_FARM, "flock_number")

    @admin.display(description="flock", ordering="flock_number")
    def called(self, row: Flock) -> str:
        return f"{row.farm}, flock {row.flock_number}"

    @admin.display(ordering="arrival_date")
    def arrival(self, flock: Flock) -> str:
        return day(flock.arrival_date)

    @admin.display
    def birds(self, flock: Flock) -> str:
        return f"{flock.current_count} of {flock.initial_count}"

    @admin.display(description="days")
    def all_days(self, flock: Flock) -> str:
        days = reverse("admin:farms_dailyproduction_changelist")
        return format_html('<a href="{}?flock__id__exact={}">its days</a>', days, flock.pk)


class Corrections(Lines):
    model = ProductionCorrection
    fields = ("at", "by", "reason", "what")
    related = ("corrected_by",)
    ordering = ("at",)
    verbose_name_plural = "corrections"

    @admin.display
    def by(self, correction: ProductionCorrection) -> str:
        return named(correction.corrected_by)

    @admin.display(description="what it said, and says")
    def what(self, correction: ProductionCorrection) -> str:
        before, after = correction.before, correction.after
        changed = ((name.replace("_", " "), before[name], after.get(name)) for name in before)
        return format_html_join("", "<p>{}: {} → {}</p>", changed)


@admin.register(DailyProduction)
class ProductionAdmin(OfFlocks):
    """The largest table: its days are listed of a farm or a flock, never of all."""

    farm = "flock__farm"
    linked = ("flock__id__exact",)
    list_display = (
        *("called", "eggs_collected", "good_eggs", "birds_died", "birds_sold", "birds_culled"),
        *("feed_consumed_kg", "signs_of_disease"),
    )
    list_select_related = ("flock__farm",)
    search_fields = ("flock__farm__farm_number",)
    search_help_text = "the whole number of a farm, to see its days; the days of one flock are opened from its page"
    date_hierarchy = "production_date"
    ordering = ("-production_date", "flock_id")
    inlines = (Corrections,)
    fieldsets = (
        (None, {"fields": ("production_date", "flock_itself", "by", ("created_at", "updated_at"))}),
        (
            "Eggs",
            {
                "fields": (
                    *("eggs_collected", ("good_eggs", "broken_eggs"), ("dirty_eggs", "small_eggs")),
                    "soft_shell_eggs",
                )
            },
        ),
        (
            "Birds",
            {"fields": (("birds_died", "mortality_reason"), ("birds_sold", "birds_culled"), "feed_consumed_kg")},
        ),
        ("Health", {"fields": (("general_health", "signs_of_disease"),)}),
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[DailyProduction], search_term: str
    ) -> tuple[QuerySet[DailyProduction], bool]:
        term = search_term.strip().upper()
        if term:
            return queryset.filter(flock__farm__farm_number=term), False
        return (queryset if "flock__id__exact" in request.GET else queryset.none()), False

    @admin.display(description="day", ordering="production_date")
    def called(self, row: DailyProduction) -> str:
        return f"{day(row.production_date)}, {row.flock.farm}, flock {row.flock.flock_number}"

    @admin.display(description="flock")
    def flock_itself(self, row: DailyProduction) -> str:
        return link(row.flock, f"{row.flock.farm}, flock {row.flock.flock_number}")

    @admin.display(description="recorded by")
    def by(self, row: DailyProduction) -> str:
        return named(row.recorded_by)


# --- what has to be looked into ------------------------------------------------------------------------------------


class InspectionFilter(admin.SimpleListFilter):
    """Deaths that nobody has looked into yet; a search looks through all."""

    title = "inspection"
    parameter_name = "inspection"

    def lookups(self, _request: HttpRequest, _model_admin: object) -> list[tuple[str, str]]:
        return [("done", "Inspected")]

    def choices(self, changelist: Any) -> Any:
        everything, *others = super().choices(changelist)
        yield {**everything, "display": "To do"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[MortalityRecord]) -> QuerySet[MortalityRecord]:
        if self.value() == "done":
            return queryset.filter(inspected_at__isnull=False)
        if is_search(request):
            return queryset
        return queryset.filter(inspected_at__isnull=True, vet_inspection_required=True)


def _mark_inspected(actor: User, record: MortalityRecord, _said: Mapping[str, Any]) -> object:
    return production.mark_inspected(actor=actor, record_id=record.pk, now=clock.now())


@admin.register(MortalityRecord)
class MortalityAdmin(OfFlocks):
    farm = "production__flock__farm"
    audited = "mortality"
    acts = (Act("mark_inspected", "Mark as inspected", _mark_inspected, (Action.INSPECT_MORTALITY,)),)
    list_display = ("called", "number_of_birds", "probable_cause", "inspect_by", "inspected_at", "by")
    list_filter = (InspectionFilter, "probable_cause")
    of_the_nation = ("production__flock__farm__constituency__region",)
    list_select_related = ("production__flock__farm", "inspected_by")
    search_fields = ("production__flock__farm__farm_number",)
    ordering = ("inspect_by", "id")
    fields = (
        *("day_itself", "number_of_birds", "probable_cause", "vet_inspection_required", "inspect_by"),
        ("inspected_at", "by"),
    )

    def fits(self, user: User, row: MortalityRecord, _act: Act) -> bool:
        farm = selectors.subject(row.production.flock.farm)
        return row.inspected_at is None and people.may(user, Action.INSPECT_MORTALITY, farm)

    @admin.display(description="deaths", ordering="production__production_date")
    def called(self, row: MortalityRecord) -> str:
        of = row.production
        return f"{day(of.production_date)}, {of.flock.farm}, flock {of.flock.flock_number}"

    @admin.display(description="day")
    def day_itself(self, record: MortalityRecord) -> str:
        return link(record.production, self.called(record))

    @admin.display(description="inspected by")
    def by(self, record: MortalityRecord) -> str:
        return named(record.inspected_by)


class AlertStatusFilter(OpenFirst):
    statuses = AlertStatus
    over = (AlertStatus.CLOSED,)


def _acknowledge(actor: User, alert: Alert, _said: Mapping[str, Any]) -> object:
    return production.acknowledge(actor=actor, alert_id=alert.pk, now=clock.now())


def _close(actor: User, alert: Alert, _said: Mapping[str, Any]) -> object:
    return production.close_alert(actor=actor, alert_id=alert.pk)


@admin.register(Alert)
class AlertAdmin(OfFlocks):
    machine = rules.ALERT
    audited = "alert"
    acts = (
        Act("acknowledge", "Acknowledge", _acknowledge, (Action.READ_FARM_REPORT,), rules.Act.ACKNOWLEDGE),
        Act("close", "Close the alert", _close, (Action.CLOSE_ALERT,), rules.Act.CLOSE),
    )
    list_display = ("called", "severity", "kind", "status", "percent", "by")
    list_filter = (AlertStatusFilter, "severity", "kind")
    of_the_nation = ("farm__constituency__region",)
    list_select_related = ("farm", "flock", "acknowledged_by")
    search_fields = ("farm__farm_number",)
    ordering = ("-day", "-id")
    fields = ("day", "flock_itself", "severity", "kind", ("percent", "threshold"), "status", ("by", "acknowledged_at"))

    def fits(self, user: User, row: Alert, act: Act) -> bool:
        if act.name == "acknowledge":
            may = user.pk in {one.user_id for one in selectors.told_of_alert(row)}
        else:
            may = people.may(user, Action.CLOSE_ALERT, selectors.subject(row.farm))
        return may and super().fits(user, row, act)

    @admin.display(description="alert", ordering="day")
    def called(self, row: Alert) -> str:
        return f"{day(row.day)}, {row.farm}, flock {row.flock.flock_number}"

    @admin.display(description="flock")
    def flock_itself(self, alert: Alert) -> str:
        return link(alert.flock, f"{alert.farm}, flock {alert.flock.flock_number}")

    @admin.display(description="birds that died", ordering="value")
    def percent(self, alert: Alert) -> str:
        return f"{alert.value} %"

    @admin.display(description="acknowledged by")
    def by(self, alert: Alert) -> str:
        return named(alert.acknowledged_by)
