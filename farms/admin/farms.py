"""Farms with what belongs to them: stopped, taken back into work and given officers through the services."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import FileResponse, Http404, HttpRequest
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from django.views.decorators.cache import never_cache

from accounts import selectors as people
from accounts.admin.asking import may_somewhere, me
from accounts.models import User
from accounts.policy import Action
from core import clock, phones
from farms import rules, selectors
from farms.admin.asking import (
    FARM_SEARCH,
    Act,
    Documents,
    Lines,
    OfFarms,
    OfficerForm,
    ReasonForm,
    Scoped,
    farm_found,
    is_search,
    link,
    named,
    opened,
    sees_all,
)
from farms.models import (
    Biosecurity,
    Farm,
    FarmApplication,
    FarmAssignment,
    FarmDocument,
    FarmLocation,
    FarmScore,
    Flock,
    Infrastructure,
)
from farms.services import farms
from farms.services.common import day_of

KEEP, MANAGE = (Action.KEEP_FARM,), (Action.MANAGE_FARM,)
SCORES_SHOWN = timedelta(days=365)


class Locations(Lines):
    model = FarmLocation
    fields = (
        *("is_primary", "digital_address", "community", "constituency_named", "latitude", "longitude"),
        *("gps_verified", "land_size_acres"),
    )
    related = ("constituency__region",)
    ordering = ("-is_primary", "created_at")

    @admin.display(description="constituency")
    def constituency_named(self, location: FarmLocation) -> str:
        return f"{location.constituency}, {location.constituency.region}"


class Equipment(Lines):
    model = Infrastructure
    fields = ("infrastructure_type", "bird_capacity", "year_round", "status", "condition", "next_maintenance_due")
    ordering = ("infrastructure_type", "created_at")


class Measures(Lines):
    model = Biosecurity
    fields = ("in_place", "missing", "updated_at")

    @admin.display
    def in_place(self, row: Biosecurity) -> str:
        return _measures(row, there=True)

    @admin.display
    def missing(self, row: Biosecurity) -> str:
        return _measures(row, there=False)


def _measures(row: Biosecurity, *, there: bool) -> str:
    names = [name.replace("_", " ") for name in rules.MEASURES if getattr(row, name) == there]
    return ", ".join(names) or "none"


class Officials(Lines):
    model = FarmAssignment
    fields = ("official", "created_at")
    related = ("officer",)
    ordering = ("created_at",)
    verbose_name_plural = "field officials"

    @admin.display
    def official(self, row: FarmAssignment) -> str:
        return named(row.officer)


class Scores(Lines):
    model = FarmScore
    fields = ("day", "readiness", "biosecurity", "formula_version")
    ordering = ("-day", "-formula_version")
    verbose_name_plural = "scores of the last year"

    def get_queryset(self, request: HttpRequest) -> QuerySet[FarmScore]:
        return super().get_queryset(request).filter(day__gte=day_of(clock.now() - SCORES_SHOWN))


class Flocks(Lines):
    model = Flock
    action = Action.READ_FARM_REPORT
    fields = ("flock_itself", "flock_type", "breed", "arrival_date", "initial_count", "current_count", "status")
    ordering = ("flock_number",)

    @admin.display(description="flock")
    def flock_itself(self, flock: Flock) -> str:
        return link(flock, str(flock.flock_number))


def _to_farm(service: Callable[..., object]) -> Callable[[User, Farm, Mapping[str, Any]], object]:
    return lambda actor, row, said: service(actor=actor, farm_id=row.pk, **said)


def _to_officer(service: Callable[..., object]) -> Callable[[User, Farm, Mapping[str, Any]], object]:
    return lambda actor, row, said: service(actor=actor, farm_id=row.pk, officer_id=said["officer"].pk)


def _without_officer(actor: User, farm: Farm, _said: Mapping[str, Any]) -> object:
    return farms.name_extension_officer(actor=actor, farm_id=farm.pk, officer_id=None)


@admin.register(Farm)
class FarmAdmin(Scoped):
    action = Action.SEE_FARM
    machine = rules.FARM
    state = "farm_status"
    audited = "farm"
    history_for = (Action.KEEP_FARM, Action.SEE_APPLICATIONS)  # others look after birds, or buy
    acts = (
        Act("activate", "Activate", _to_farm(farms.activate), KEEP, rules.Act.ACTIVATE),
        Act("deactivate", "Deactivate", _to_farm(farms.deactivate), KEEP, rules.Act.DEACTIVATE),
        Act("suspend", "Suspend", _to_farm(farms.suspend), MANAGE, rules.Act.SUSPEND, ReasonForm),
        Act("reinstate", "Reinstate", _to_farm(farms.reinstate), MANAGE, rules.Act.REINSTATE, ReasonForm),
        Act(
            "name_extension_officer",
            "Name the extension officer",
            _to_officer(farms.name_extension_officer),
            MANAGE,
            form=OfficerForm,
        ),
        Act("without_extension_officer", "Take the extension officer off", _without_officer, MANAGE),
        Act("assign", "Give to a field official", _to_officer(farms.assign), MANAGE, form=OfficerForm),
        Act("unassign", "Take from a field official", _to_officer(farms.unassign), MANAGE, form=OfficerForm),
    )
    list_display = (
        *("farm_number", "farm_status", "farm_name", "farmer", "masked_phone", "constituency"),
        *("total_bird_capacity", "biosecurity_score", "readiness_score"),
    )
    list_filter = ("farm_status", "is_government", "primary_production_type")
    of_the_nation = ("constituency__region",)
    list_select_related = ("user", "constituency")
    search_fields = ("farm_number",)  # there is a search; what it means, get_search_results says
    search_help_text = FARM_SEARCH
    inlines = (Locations, Flocks, Equipment, Measures, Documents, Officials, Scores)
    fieldsets = (
        (None, {"fields": ("farm_number", "farm_name", ("farm_status", "is_government"))}),
        (
            "Farm",
            {
                "fields": (
                    *("place", ("number_of_poultry_houses", "total_bird_capacity"), "primary_production_type"),
                    "officer",
                )
            },
        ),
        ("Scores", {"fields": (("biosecurity_score", "readiness_score"), "score_version")}),
    )
    identity = ("Identity", {"fields": (("ghana_card_number", "tin"), "application")})

    def scope(self, user: User) -> QuerySet[Farm]:
        return selectors.farms_in_scope(user)

    def get_fieldsets(self, request: HttpRequest, obj: Farm | None = None) -> Any:
        """The whole phone for those who keep the farm, as in the API; who somebody is, for those who read applications:
        others look after birds.
        """
        first, *others = super().get_fieldsets(request, obj)
        keeps = obj is not None and people.may(me(request), Action.KEEP_FARM, selectors.subject(obj))
        farmer = ("Farmer", {"fields": (("farmer", "primary_phone" if keeps else "masked_phone"),)})
        found = (first, farmer, *others)
        return (*found, self.identity) if may_somewhere(request, Action.SEE_APPLICATIONS) else found

    def get_ordering(self, request: HttpRequest) -> tuple[Any, ...]:
        """The index of numbers is walked through the whole nation only: numbers begin with the region."""
        is_whole = sees_all(request) and not is_search(request) and "constituency__region__id__exact" not in request.GET
        return ("farm_number",) if is_whole else (selectors.BY_NUMBER,)

    def get_search_results(
        self, _request: HttpRequest, queryset: QuerySet[Farm], search_term: str
    ) -> tuple[QuerySet[Farm], bool]:
        return (queryset.filter(farm_found(search_term)) if search_term.strip() else queryset), False

    def fits(self, user: User, row: Farm, act: Act) -> bool:
        if not any(people.may(user, action, selectors.subject(row)) for action in act.opened_by):
            return False
        if act.name == "without_extension_officer":
            return row.extension_officer_id is not None
        if act.name == "unassign":
            return row.assignments.exists()
        return super().fits(user, row, act)

    @admin.display
    def farmer(self, farm: Farm) -> str:
        return named(farm.user)

    @admin.display(description="phone")
    def masked_phone(self, farm: Farm) -> str:
        return phones.mask(farm.primary_phone)

    @admin.display
    def place(self, farm: Farm) -> str:
        return f"{farm.constituency}, {farm.constituency.region}"

    @admin.display(description="extension officer")
    def officer(self, farm: Farm) -> str:
        return named(farm.extension_officer)


@admin.register(FarmLocation)
class LocationAdmin(OfFarms):
    action = Action.SEE_FARM
    list_display = ("farm", "digital_address", "community", "constituency", "gps", "gps_verified", "is_primary")
    list_filter = ("gps_verified", "is_primary")
    of_the_nation = ("region",)
    list_select_related = ("farm", "constituency")
    search_fields = ("farm__farm_number",)
    ordering = ("-id",)
    fields = (
        *("farm", "is_primary", "place", "community", "digital_address", ("latitude", "longitude"), "gps_verified"),
        "land_size_acres",
    )

    def called(self, row: FarmLocation) -> str:
        return f"location of {row.farm}"

    @admin.display(description="GPS")
    def gps(self, location: FarmLocation) -> str:
        return f"{location.latitude}, {location.longitude}" if location.latitude is not None else "–"

    @admin.display
    def place(self, location: FarmLocation) -> str:
        places = (location.constituency, location.district, location.region)
        return ", ".join(str(one) for one in places if one)


@admin.register(Infrastructure)
class EquipmentAdmin(OfFarms):
    action = Action.SEE_FARM
    list_display = (
        *("farm", "infrastructure_type", "status", "condition", "bird_capacity", "year_round"),
        "next_maintenance_due",
    )
    list_filter = ("infrastructure_type", "status", "condition")
    of_the_nation = ("farm__constituency__region",)
    list_select_related = ("farm",)
    search_fields = ("farm__farm_number",)
    ordering = ("-id",)
    fields = (
        *("farm", "infrastructure_type", "bird_capacity", "year_round", ("status", "condition")),
        "next_maintenance_due",
    )

    def called(self, row: Infrastructure) -> str:
        return f"{row.get_infrastructure_type_display()} of {row.farm}"


@admin.register(FarmDocument)
class DocumentAdmin(Scoped):
    """Papers of farms and applications, for those who read applications."""

    action = Action.SEE_APPLICATIONS
    list_display = ("called", "kind", "created_at", "file_itself")
    list_filter = ("kind",)
    list_select_related = ("farm", "application")
    search_fields = ("farm__farm_number",)  # there is a search; what it means, get_search_results says
    search_help_text = "the beginning of the number of an application or a farm"
    ordering = ("-id",)
    fields = ("owner", "kind", "created_at", "file_itself")

    def scope(self, user: User) -> QuerySet[FarmDocument]:
        of_farms, of_applications = selectors.farms_in_scope(user), selectors.applications_in_scope(user)
        if not (of_farms.query.has_filters() or of_applications.query.has_filters()):
            return FarmDocument.objects.all()
        theirs = FarmDocument.objects.filter(farm__in=of_farms).values("pk")  # with OR, PostgreSQL reads every document
        return FarmDocument.objects.filter(
            pk__in=theirs.union(FarmDocument.objects.filter(application__in=of_applications).values("pk"))
        )

    def get_search_results(
        self, _request: HttpRequest, queryset: QuerySet[FarmDocument], search_term: str
    ) -> tuple[QuerySet[FarmDocument], bool]:
        number = search_term.strip().upper()
        if not number:
            return queryset, False
        if number.startswith("APP"):
            found = Q(application__in=FarmApplication.objects.filter(application_number__startswith=number))
        else:
            found = Q(farm__in=Farm.objects.filter(farm_number__startswith=number))
        return queryset.filter(found), False

    @admin.display(description="document")
    def called(self, row: FarmDocument) -> str:
        return f"{row.get_kind_display()} of {row.farm or row.application}"

    @admin.display(description="of")
    def owner(self, document: FarmDocument) -> str:
        owner = document.farm or document.application
        return link(owner, str(owner))

    @admin.display(description="file")
    def file_itself(self, document: FarmDocument) -> str:
        return opened(document)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(never_cache(self.file_view))
        return [path("<uuid:pk>/file/", view, name="farms_farmdocument_file"), *super().get_urls()]

    def file_view(self, request: HttpRequest, pk: uuid.UUID) -> FileResponse:
        """The file, to whoever may read the application or farm that it is of."""
        if not may_somewhere(request, self.action):
            raise Http404
        document = get_object_or_404(self.get_queryset(request), pk=pk)
        try:
            return FileResponse(document.file.open(), filename=f"{document.kind}{Path(str(document.file)).suffix}")
        except FileNotFoundError:
            raise Http404("This file is not in its place.") from None
