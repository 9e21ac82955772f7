"""Flocks, and what is recorded of them day by day."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django.db.models import Prefetch, QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.asking import asked, me, sent
from accounts.policy import Action
from core import clock
from core.api.idempotency import idempotent
from core.api.views import Access, Endpoint
from core.errors import NotFound
from farms import selectors
from farms.api import serializers as forms
from farms.api.uploads import CSVParser, UploadJSONParser, rows_of, told
from farms.models import DailyProduction, Farm, Flock, ProductionCorrection
from farms.services import production
from farms.services.common import farm_for
from farms.services.production import DayRecord

if TYPE_CHECKING:
    FlockList = generics.ListAPIView[Flock]
    DayList = generics.ListAPIView[DailyProduction]
else:
    FlockList = DayList = generics.ListAPIView


def read(request: Request, farm_id: uuid.UUID) -> Farm:
    """The farm, when who asks may read what it produces."""
    return farm_for(me(request), farm_id, Action.READ_FARM_REPORT, lock=False)


def flock_of(request: Request, flock_id: uuid.UUID) -> Flock:
    return production.flock_for(me(request), flock_id, Action.READ_FARM_REPORT, lock=False)


class Flocks(Endpoint, FlockList):
    access = {"get": Action.READ_FARM_REPORT, "post": Action.RECORD_PRODUCTION}
    serializer_class = forms.FlockInfo
    ordering = ("-flock_number",)  # unique within a farm

    def get_queryset(self) -> QuerySet[Flock]:
        return read(self.request, self.kwargs["farm_id"]).flocks.all()

    @extend_schema(operation_id="farms_flocks")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The flocks of a farm, the newest first."""
        return super().get(request, *args, **kwargs)

    @extend_schema(operation_id="farms_add_flock", request=forms.NewFlock, responses={201: forms.FlockInfo})
    @idempotent
    def post(self, request: Request, farm_id: uuid.UUID) -> Response:
        """Write down birds that came, as far as the farm has room for them."""
        given = sent(forms.NewFlock, request)
        flock = production.add_flock(actor=me(request), farm_id=farm_id, now=clock.now(), **given)
        return Response(forms.FlockInfo(flock).data, status=201)


class OneFlock(Endpoint):
    access = {"get": Action.READ_FARM_REPORT}

    @extend_schema(operation_id="flocks_retrieve", responses=forms.FlockInfo)
    def get(self, request: Request, flock_id: uuid.UUID) -> Response:
        """One flock."""
        return Response(forms.FlockInfo(flock_of(request, flock_id)).data)


class EndFlock(Endpoint):
    access = {"post": Action.RECORD_PRODUCTION}

    @extend_schema(operation_id="flocks_end", request=forms.EndOfFlock, responses=forms.FlockInfo)
    @idempotent
    def post(self, request: Request, flock_id: uuid.UUID) -> Response:
        """Say that a flock has gone. Nothing is recorded of later days."""
        given = sent(forms.EndOfFlock, request)
        flock = production.end_flock(actor=me(request), flock_id=flock_id, now=clock.now(), **given)
        return Response(forms.FlockInfo(flock).data)


# --- days -----------------------------------------------------------------------------------------------------------


def within(request: Request, days: QuerySet[DailyProduction]) -> QuerySet[DailyProduction]:
    wanted = asked(forms.Period, request)
    if wanted["first"]:
        days = days.filter(production_date__gte=wanted["first"])
    return days.filter(production_date__lte=wanted["last"]) if wanted["last"] else days


class DaysOfFlock(Endpoint, DayList):
    access = {"get": Action.READ_FARM_REPORT, "post": Action.RECORD_PRODUCTION}
    serializer_class = forms.DayInfo
    ordering = ("-production_date",)  # unique within a flock

    def get_queryset(self) -> QuerySet[DailyProduction]:
        return within(self.request, flock_of(self.request, self.kwargs["flock_id"]).days.all())

    @extend_schema(operation_id="flocks_production", parameters=[forms.Period])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """What was recorded of a flock, the newest day first."""
        return super().get(request, *args, **kwargs)

    @extend_schema(
        operation_id="flocks_record", request=forms.NewDay, responses={200: forms.DayInfo, 201: forms.DayInfo}
    )
    @idempotent
    def post(self, request: Request, flock_id: uuid.UUID) -> Response:
        """Record a day of a flock; 200 when it was recorded already, the same."""
        record = DayRecord(flock_id=flock_id, **sent(forms.NewDay, request))
        outcome = production.record_day(actor=me(request), record=record, now=clock.now())
        return Response(forms.DayInfo(outcome.kept).data, status=201 if outcome.is_new else 200)


class DaysOfFarm(Endpoint, DayList):
    access = {"get": Action.READ_FARM_REPORT}
    serializer_class = forms.DayInfo
    ordering = ("-production_date", "-id")

    def get_queryset(self) -> QuerySet[DailyProduction]:
        farm = read(self.request, self.kwargs["farm_id"])
        flocks = list(farm.flocks.values_list("pk", flat=True))  # each by the index of its days
        return within(self.request, DailyProduction.objects.filter(flock__in=flocks))

    @extend_schema(operation_id="farms_production", parameters=[forms.Period])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """What was recorded of all flocks of a farm, the newest day first."""
        return super().get(request, *args, **kwargs)


def one_day(request: Request, production_id: uuid.UUID) -> DailyProduction:
    """The recorded day with its corrections, when its farm is in the scope of who asks."""
    corrections = ProductionCorrection.objects.select_related("corrected_by").order_by("at", "id")
    found = (
        DailyProduction.objects.select_related("recorded_by", "flock")
        .prefetch_related(Prefetch("corrections", queryset=corrections))
        .filter(pk=production_id, flock__farm__in=selectors.farms_in_scope(me(request)))
        .first()
    )
    if found is None:
        raise NotFound("There is no such record, or not in your scope.")
    read(request, found.flock.farm_id)
    return found


class OneDay(Endpoint):
    access = {"get": Action.READ_FARM_REPORT}

    @extend_schema(operation_id="production_retrieve", responses=forms.DayWithCorrections)
    def get(self, request: Request, production_id: uuid.UUID) -> Response:
        """One recorded day, with what it said before it was corrected."""
        return Response(forms.DayWithCorrections(one_day(request, production_id)).data)


class CorrectDay(Endpoint):
    access = {"post": Action.RECORD_PRODUCTION}

    @extend_schema(operation_id="production_correct", request=forms.Correction, responses=forms.DayWithCorrections)
    @idempotent
    def post(self, request: Request, production_id: uuid.UUID) -> Response:
        """Say anew what happened on a recorded day: the whole day. What it said before is kept."""
        given = sent(forms.Correction, request)
        reason, day = given.pop("reason"), one_day(request, production_id)
        record = DayRecord(flock_id=day.flock_id, production_date=day.production_date, **given)
        production.correct_day(
            actor=me(request), production_id=production_id, record=record, reason=reason, now=clock.now()
        )
        return Response(forms.DayWithCorrections(one_day(request, production_id)).data)


class Upload(Endpoint):
    access = {"post": Access.CONCERNED}
    parser_classes = [UploadJSONParser, CSVParser]

    @extend_schema(
        operation_id="production_upload",
        request={"application/json": forms.UploadRow(many=True), "text/csv": OpenApiTypes.BINARY},
        responses=forms.UploadOutcome,
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Record many days at once, at most 10,000. Each row is judged by itself: good ones are kept, the others come
        back with the reason. The same again changes nothing.
        """
        rows = rows_of(request.data)
        records = [row.record for row in rows if row.record]
        return Response(told(rows, production.record_days(actor=me(request), records=records, now=clock.now())))


class Figures(Endpoint):
    access = {"get": Action.READ_FARM_REPORT}

    @extend_schema(operation_id="farms_figures", parameters=[forms.FiguresPeriod], responses=forms.FarmFigures)
    def get(self, request: Request, farm_id: uuid.UUID) -> Response:
        """The production figures of a farm and its flocks in a period: at most 366 days, by default the last thirty."""
        period = asked(forms.FiguresPeriod, request)
        figures = selectors.production_figures(read(request, farm_id), **period)
        names = [*selectors.FarmFigures.__dataclass_fields__, "compliance_pct"]
        return Response(forms.FarmFigures({**period, **{name: getattr(figures, name) for name in names}}).data)
