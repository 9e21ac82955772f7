"""Too many deaths: alerts, and what a veterinary officer is to look into."""

from __future__ import annotations

import uuid
from datetime import time
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.asking import asked, me
from accounts.policy import Action
from core import clock
from core.api.idempotency import idempotent
from core.api.views import Access, Endpoint
from farms import selectors
from farms.api import serializers as forms
from farms.models import Alert, MortalityRecord
from farms.services import production

if TYPE_CHECKING:
    AlertList = generics.ListAPIView[Alert]
    MortalityList = generics.ListAPIView[MortalityRecord]
else:
    AlertList = MortalityList = generics.ListAPIView


class Alerts(Endpoint, AlertList):
    access = {"get": Action.READ_FARM_REPORT}
    serializer_class = forms.AlertInfo
    ordering = ("-day", "-id")

    def get_queryset(self) -> QuerySet[Alert]:
        wanted = asked(forms.AlertFilter, self.request)
        by = {
            **{name: name for name in ("status", "severity", "kind", "farm")},
            "region": "farm__constituency__region",
            "since": "day__gte",
        }
        conditions = {by[name]: value for name, value in wanted.items() if value}
        return selectors.alerts_in_scope(me(self.request)).filter(**conditions)

    @extend_schema(operation_id="alerts_list", parameters=[forms.AlertFilter])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The alerts of the farms in my scope, the newest day first."""
        return super().get(request, *args, **kwargs)


class Acknowledge(Endpoint):
    access = {"post": Access.CONCERNED}

    @extend_schema(operation_id="alerts_acknowledge", request=None, responses=forms.AlertInfo)
    @idempotent
    def post(self, request: Request, alert_id: uuid.UUID) -> Response:
        """Say that I have read an alert that I was told of."""
        alert = production.acknowledge(actor=me(request), alert_id=alert_id, now=clock.now())
        return Response(forms.AlertInfo(alert).data)


class Close(Endpoint):
    access = {"post": Action.CLOSE_ALERT}

    @extend_schema(operation_id="alerts_close", request=None, responses=forms.AlertInfo)
    @idempotent
    def post(self, request: Request, alert_id: uuid.UUID) -> Response:
        """Close an alert."""
        return Response(forms.AlertInfo(production.close_alert(actor=me(request), alert_id=alert_id)).data)


class DeathsToInspect(Endpoint, MortalityList):
    access = {"get": Action.READ_FARM_REPORT}
    serializer_class = forms.MortalityInfo
    ordering = ("inspect_by", "id")

    def get_queryset(self) -> QuerySet[MortalityRecord]:
        wanted = asked(forms.MortalityFilter, self.request)
        found = selectors.deaths_to_inspect(me(self.request))
        if wanted["since"]:
            found = found.filter(inspect_by__gte=clock.at(wanted["since"], time.min))
        return found.filter(inspect_by__lte=clock.at(wanted["until"], time.max)) if wanted["until"] else found

    @extend_schema(operation_id="mortality_list", parameters=[forms.MortalityFilter])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Deaths in my scope into which a veterinary officer is still to look, the most urgent first."""
        return super().get(request, *args, **kwargs)


class Inspected(Endpoint):
    access = {"post": Action.INSPECT_MORTALITY}

    @extend_schema(operation_id="mortality_inspected", request=None, responses=forms.MortalityInfo)
    @idempotent
    def post(self, request: Request, record_id: uuid.UUID) -> Response:
        """Say that I have looked into these deaths."""
        record = production.mark_inspected(actor=me(request), record_id=record_id, now=clock.now())
        return Response(forms.MortalityInfo(record).data)
