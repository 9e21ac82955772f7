"""Farms in my scope, and what is kept of them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.db.models import Q, QuerySet, Sum
from django.db.models.functions import Coalesce
from django.http import FileResponse
from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import selectors as people
from accounts.api.asking import asked, me, sent
from accounts.policy import Action
from core.api.idempotency import idempotent
from core.api.views import Access, Endpoint
from core.errors import NotAllowed, NotFound
from farms import selectors
from farms.api import serializers as forms
from farms.api.documents import DOCUMENT, FILE, DocumentParser, FileEndpoint, documents, file_of, received
from farms.models import Farm, FarmAssignment, FarmDocument, FarmLocation, FarmScore
from farms.rules import FlockStatus
from farms.services import farms
from farms.services.farms import Equipment, Place

if TYPE_CHECKING:
    FarmList = generics.ListAPIView[Farm]
    ScoreList = generics.ListAPIView[FarmScore]
else:
    FarmList = ScoreList = generics.ListAPIView


def visible(request: Request, farm_id: uuid.UUID) -> Farm:
    """The farm, when it is in the scope of who asks."""
    found = selectors.farms_in_scope(me(request)).select_related("constituency").filter(pk=farm_id).first()
    if found is None:
        raise NotFound("There is no such farm, or not in your scope.")
    return found


def shown(request: Request, farm_id: uuid.UUID) -> dict[str, Any]:
    birds = Coalesce(Sum("flocks__current_count", filter=Q(flocks__status=FlockStatus.ACTIVE)), 0)
    found = (
        (selectors.farms() & selectors.farms_in_scope(me(request)))
        .select_related("constituency__region", "extension_officer", "user")
        .annotate(birds=birds)
        .filter(pk=farm_id)
        .first()
    )
    if found is None:
        raise NotFound("There is no such farm, or not in your scope.")
    keeps = people.may(me(request), Action.KEEP_FARM, selectors.subject(found))
    return dict(forms.FarmInfo(found, context={"whole": keeps}).data)


class Farms(Endpoint, FarmList):
    access = {"get": Action.SEE_FARM}
    serializer_class = forms.FarmRow
    ordering = ("farm_number",)

    def get_queryset(self) -> QuerySet[Farm]:
        wanted = asked(forms.FarmFilter, self.request)
        scope = selectors.farms_in_scope(me(self.request))
        narrow = ("region", "constituency", "extension_officer", "search")
        if scope.query.has_filters() or any(wanted[name] for name in narrow):
            self.sorted_by = (selectors.BY_NUMBER,)
        return selectors.farms(**wanted) & scope

    @extend_schema(operation_id="farms_list", parameters=[forms.FarmFilter])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The farms in my scope, by number. Phones are masked."""
        return super().get(request, *args, **kwargs)


class OneFarm(Endpoint):
    access = {"get": Action.SEE_FARM, "patch": Action.KEEP_FARM}

    @extend_schema(operation_id="farms_retrieve", responses=forms.FarmInfo)
    def get(self, request: Request, farm_id: uuid.UUID) -> Response:
        """One farm in my scope."""
        return Response(shown(request, farm_id))

    @extend_schema(operation_id="farms_change", request=forms.FarmDetails, responses=forms.FarmInfo)
    def patch(self, request: Request, farm_id: uuid.UUID) -> Response:
        """Say anew how a farm is called and how large it is; what is left out stays. The scores follow."""
        return moved(request, farm_id, farms.change_details, **sent(forms.FarmDetails, request, partial=True))


# --- state and officers ---------------------------------------------------------------------------------------------


def moved(request: Request, farm_id: uuid.UUID, move: Callable[..., Farm], **given: Any) -> Response:
    move(actor=me(request), farm_id=farm_id, **given)
    return Response(shown(request, farm_id))


class Activate(Endpoint):
    access = {"post": Action.KEEP_FARM}

    @extend_schema(operation_id="farms_activate", request=None, responses=forms.FarmInfo)
    @idempotent
    def post(self, request: Request, farm_id: uuid.UUID) -> Response:
        """Take an inactive farm back into work."""
        return moved(request, farm_id, farms.activate)


class Deactivate(Endpoint):
    access = {"post": Action.KEEP_FARM}

    @extend_schema(operation_id="farms_deactivate", request=None, responses=forms.FarmInfo)
    @idempotent
    def post(self, request: Request, farm_id: uuid.UUID) -> Response:
        """Rest a farm: its products are not seen."""
        return moved(request, farm_id, farms.deactivate)


class Suspend(Endpoint):
    access = {"post": Action.MANAGE_FARM}

    @extend_schema(operation_id="farms_suspend", request=forms.Why, responses=forms.FarmInfo)
    @idempotent
    def post(self, request: Request, farm_id: uuid.UUID) -> Response:
        """Stop a farm."""
        return moved(request, farm_id, farms.suspend, **sent(forms.Why, request))


class Reinstate(Endpoint):
    access = {"post": Action.MANAGE_FARM}

    @extend_schema(operation_id="farms_reinstate", request=forms.Why, responses=forms.FarmInfo)
    @idempotent
    def post(self, request: Request, farm_id: uuid.UUID) -> Response:
        """End the suspension of a farm."""
        return moved(request, farm_id, farms.reinstate, **sent(forms.Why, request))


class ExtensionOfficer(Endpoint):
    access = {"post": Action.MANAGE_FARM}

    @extend_schema(operation_id="farms_extension_officer", request=forms.ExtensionOfficer, responses=forms.FarmInfo)
    @idempotent
    def post(self, request: Request, farm_id: uuid.UUID) -> Response:
        """Give a farm its extension officer, or none."""
        officer_id = sent(forms.ExtensionOfficer, request)["officer"]
        return moved(request, farm_id, farms.name_extension_officer, officer_id=officer_id)


def assignments(farm_id: uuid.UUID) -> Any:
    rows = FarmAssignment.objects.filter(farm=farm_id).select_related("officer").order_by("created_at")
    return forms.AssignmentInfo(rows, many=True).data


class Assignments(Endpoint):
    access = {"get": Action.SEE_FARM, "post": Action.MANAGE_FARM}

    @extend_schema(operation_id="farms_assignments", responses=forms.AssignmentInfo(many=True))
    def get(self, request: Request, farm_id: uuid.UUID) -> Response:
        """The field officials who look after a farm."""
        return Response(assignments(visible(request, farm_id).pk))

    @extend_schema(
        operation_id="farms_assign",
        request=forms.Officer,
        responses={200: forms.AssignmentInfo(many=True), 201: forms.AssignmentInfo(many=True)},
    )
    @idempotent
    def post(self, request: Request, farm_id: uuid.UUID) -> Response:
        """Give a farm to a field official; 200 when it was so already."""
        officer_id = sent(forms.Officer, request)["officer"]
        is_new = farms.assign(actor=me(request), farm_id=farm_id, officer_id=officer_id)
        return Response(assignments(farm_id), status=201 if is_new else 200)


class OneAssignment(Endpoint):
    access = {"delete": Action.MANAGE_FARM}

    @extend_schema(operation_id="farms_unassign", responses={204: None})
    def delete(self, request: Request, farm_id: uuid.UUID, officer_id: uuid.UUID) -> Response:
        """Take a farm from a field official; safe to repeat."""
        farms.unassign(actor=me(request), farm_id=farm_id, officer_id=officer_id)
        return Response(status=204)


# --- places ---------------------------------------------------------------------------------------------------------


class Locations(Endpoint):
    access = {"get": Action.SEE_FARM, "post": Action.KEEP_FARM}

    @extend_schema(operation_id="farms_locations", responses=forms.LocationInfo(many=True))
    def get(self, request: Request, farm_id: uuid.UUID) -> Response:
        """Where a farm is, the primary location first."""
        rows = visible(request, farm_id).locations.select_related("region", "district", "constituency")
        return Response(forms.LocationInfo(rows.order_by("-is_primary", "created_at"), many=True).data)

    @extend_schema(operation_id="farms_add_location", request=forms.NewLocation, responses={201: forms.LocationInfo})
    @idempotent
    def post(self, request: Request, farm_id: uuid.UUID) -> Response:
        """Add a location; the first one is the primary."""
        place = Place(**sent(forms.NewLocation, request))
        location = farms.add_location(actor=me(request), farm_id=farm_id, place=place)
        return Response(forms.LocationInfo(location).data, status=201)


def located(location: FarmLocation) -> Response:
    return Response(forms.LocationInfo(location).data)


class OneLocation(Endpoint):
    access = {"put": Action.KEEP_FARM, "delete": Action.KEEP_FARM}

    @extend_schema(operation_id="locations_change", request=forms.NewLocation, responses=forms.LocationInfo)
    def put(self, request: Request, location_id: uuid.UUID) -> Response:
        """Say anew where a location is. Another GPS point is not verified any more."""
        place = Place(**sent(forms.NewLocation, request))
        return located(farms.change_location(actor=me(request), location_id=location_id, place=place))

    @extend_schema(operation_id="locations_remove", responses={204: None})
    def delete(self, request: Request, location_id: uuid.UUID) -> Response:
        """Remove a location that was entered by mistake, but not the primary one."""
        farms.remove_location(actor=me(request), location_id=location_id)
        return Response(status=204)


class MakePrimary(Endpoint):
    access = {"post": Action.KEEP_FARM}

    @extend_schema(operation_id="locations_make_primary", request=None, responses=forms.LocationInfo)
    @idempotent
    def post(self, request: Request, location_id: uuid.UUID) -> Response:
        """Make this the primary location of its farm."""
        return located(farms.make_primary(actor=me(request), location_id=location_id))


class VerifyGps(Endpoint):
    access = {"post": Access.CONCERNED}

    @extend_schema(operation_id="locations_verify_gps", request=None, responses=forms.LocationInfo)
    @idempotent
    def post(self, request: Request, location_id: uuid.UUID) -> Response:
        """Say that the GPS point is right: an officer who keeps the farm and was there, not the farmer."""
        return located(farms.verify_gps(actor=me(request), location_id=location_id))


# --- equipment, measures, documents, scores -------------------------------------------------------------------------


class Infrastructure(Endpoint):
    access = {"get": Action.SEE_FARM, "post": Action.KEEP_FARM}

    @extend_schema(operation_id="farms_infrastructure", responses=forms.InfrastructureInfo(many=True))
    def get(self, request: Request, farm_id: uuid.UUID) -> Response:
        """The equipment of a farm."""
        rows = visible(request, farm_id).infrastructure.order_by("created_at", "id")
        return Response(forms.InfrastructureInfo(rows, many=True).data)

    @extend_schema(
        operation_id="farms_add_infrastructure",
        request=forms.NewInfrastructure,
        responses={201: forms.InfrastructureInfo},
    )
    @idempotent
    def post(self, request: Request, farm_id: uuid.UUID) -> Response:
        """Add a piece of equipment. The scores follow."""
        equipment = Equipment(**sent(forms.NewInfrastructure, request))
        row = farms.save_infrastructure(actor=me(request), farm_id=farm_id, equipment=equipment)
        return Response(forms.InfrastructureInfo(row).data, status=201)


class OneInfrastructure(Endpoint):
    access = {"put": Action.KEEP_FARM}

    @extend_schema(
        operation_id="farms_change_infrastructure",
        request=forms.NewInfrastructure,
        responses=forms.InfrastructureInfo,
    )
    def put(self, request: Request, farm_id: uuid.UUID, infrastructure_id: uuid.UUID) -> Response:
        """Say anew how a piece of equipment is. The scores follow."""
        equipment = Equipment(**sent(forms.NewInfrastructure, request))
        row = farms.save_infrastructure(
            actor=me(request), farm_id=farm_id, infrastructure_id=infrastructure_id, equipment=equipment
        )
        return Response(forms.InfrastructureInfo(row).data)


class Biosecurity(Endpoint):
    access = {"get": Action.SEE_FARM, "patch": Action.KEEP_FARM}

    @extend_schema(operation_id="farms_biosecurity", responses=forms.BiosecurityInfo)
    def get(self, request: Request, farm_id: uuid.UUID) -> Response:
        """Which of the sixteen measures are in place."""
        return Response(forms.BiosecurityInfo(visible(request, farm_id).biosecurity).data)

    @extend_schema(operation_id="farms_change_biosecurity", request=forms.Measures, responses=forms.BiosecurityInfo)
    def patch(self, request: Request, farm_id: uuid.UUID) -> Response:
        """Say which measures are in place; those left out stay. The scores follow."""
        measures = sent(forms.Measures, request, partial=True)
        row = farms.save_biosecurity(actor=me(request), farm_id=farm_id, measures=measures)
        return Response(forms.BiosecurityInfo(row).data)


def papers(request: Request, farm_id: uuid.UUID) -> QuerySet[FarmDocument]:
    """The documents of a farm, when who asks keeps it. Raises NotFound and NotAllowed."""
    farm = visible(request, farm_id)
    if not people.may(me(request), Action.KEEP_FARM, selectors.subject(farm)):
        raise NotAllowed("The documents of a farm are for those who keep it.")
    return farm.documents.all()


class Documents(Endpoint):
    access = {"get": Action.KEEP_FARM, "post": Action.KEEP_FARM}
    parser_classes = [DocumentParser]

    @extend_schema(operation_id="farms_documents", responses=forms.DocumentInfo(many=True))
    def get(self, request: Request, farm_id: uuid.UUID) -> Response:
        """The documents of a farm, for those who keep it."""
        return Response(documents(papers(request, farm_id)))

    @extend_schema(
        operation_id="farms_add_document",
        parameters=[forms.NewDocument],
        request=DOCUMENT,
        responses={201: forms.DocumentInfo},
    )
    @idempotent
    def post(self, request: Request, farm_id: uuid.UUID) -> Response:
        """Add a document: the body is the file, a JPEG, a PNG or a PDF. The scores follow."""
        document = farms.add_document(actor=me(request), farm_id=farm_id, **received(request))
        return Response(forms.DocumentInfo(document).data, status=201)


class OneDocument(FileEndpoint):
    access = {"get": Action.KEEP_FARM}

    @extend_schema(operation_id="farms_document", responses=FILE)
    def get(self, request: Request, farm_id: uuid.UUID, document_id: uuid.UUID) -> FileResponse:
        """A document of a farm as it was sent, for those who keep it."""
        return file_of(papers(request, farm_id), document_id)


class Scores(Endpoint, ScoreList):
    access = {"get": Action.SEE_FARM}
    serializer_class = forms.ScoreInfo
    ordering = ("-day", "-formula_version")  # unique within a farm

    def get_queryset(self) -> QuerySet[FarmScore]:
        return FarmScore.objects.filter(farm=visible(self.request, self.kwargs["farm_id"]))

    @extend_schema(operation_id="farms_scores")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The scores of a farm on the days on which they changed, newest first."""
        return super().get(request, *args, **kwargs)
