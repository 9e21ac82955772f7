"""Batches: those I may see, and planning and moving them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet
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
from farms.models import Batch
from farms.services import batches
from farms.services.batches import Round

if TYPE_CHECKING:
    BatchList = generics.ListAPIView[Batch]
else:
    BatchList = generics.ListAPIView


def seen(request: Request) -> QuerySet[Batch]:
    found = selectors.batches_in_scope(me(request)).select_related("target_region")
    return found.prefetch_related("eligible_constituencies")


def shown(request: Request, batch_id: uuid.UUID) -> dict[str, Any]:
    found = seen(request).filter(pk=batch_id).first()
    if found is None:
        raise NotFound("There is no such batch, or not in your scope.")
    return dict(forms.BatchInfo(found).data)


class Batches(Endpoint, BatchList):
    access = {"get": Access.SIGNED_IN, "post": Action.MANAGE_BATCHES}
    serializer_class = forms.BatchInfo
    ordering = ("-application_deadline", "-id")

    def get_queryset(self) -> QuerySet[Batch]:
        wanted = asked(forms.BatchFilter, self.request)
        found = seen(self.request)
        if wanted["accepting"]:
            found = found & selectors.accepting(today=clock.accra(clock.now()).date())
        return found.filter(status=wanted["status"]) if wanted["status"] else found

    @extend_schema(operation_id="batches_list", parameters=[forms.BatchFilter])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The batches that I may see, the latest deadline first. Drafts and archived ones are for their managers."""
        return super().get(request, *args, **kwargs)

    @extend_schema(operation_id="batches_create", request=forms.Plan, responses={201: forms.BatchInfo})
    @idempotent
    def post(self, request: Request) -> Response:
        """Plan a batch as a draft."""
        batch = batches.create(actor=me(request), plan=Round(**sent(forms.Plan, request)))
        return Response(shown(request, batch.pk), status=201)


class OneBatch(Endpoint):
    access = {"get": Access.SIGNED_IN, "put": Action.MANAGE_BATCHES}

    @extend_schema(operation_id="batches_retrieve", responses=forms.BatchInfo)
    def get(self, request: Request, batch_id: uuid.UUID) -> Response:
        """One batch."""
        return Response(shown(request, batch_id))

    @extend_schema(operation_id="batches_change", request=forms.Plan, responses=forms.BatchInfo)
    def put(self, request: Request, batch_id: uuid.UUID) -> Response:
        """Plan a batch anew, until it is closed: the whole plan."""
        batches.change(actor=me(request), batch_id=batch_id, plan=Round(**sent(forms.Plan, request)))
        return Response(shown(request, batch_id))


def moved(request: Request, batch_id: uuid.UUID, move: Callable[..., Batch]) -> Response:
    move(actor=me(request), batch_id=batch_id)
    return Response(shown(request, batch_id))


class Publish(Endpoint):
    access = {"post": Action.MANAGE_BATCHES}

    @extend_schema(operation_id="batches_publish", request=None, responses=forms.BatchInfo)
    @idempotent
    def post(self, request: Request, batch_id: uuid.UUID) -> Response:
        """Show a draft and let it accept applications."""
        return moved(request, batch_id, batches.publish)


class Pause(Endpoint):
    access = {"post": Action.MANAGE_BATCHES}

    @extend_schema(operation_id="batches_pause", request=None, responses=forms.BatchInfo)
    @idempotent
    def post(self, request: Request, batch_id: uuid.UUID) -> Response:
        """Accept nothing for a while; the batch stays visible."""
        return moved(request, batch_id, batches.pause)


class Resume(Endpoint):
    access = {"post": Action.MANAGE_BATCHES}

    @extend_schema(operation_id="batches_resume", request=None, responses=forms.BatchInfo)
    @idempotent
    def post(self, request: Request, batch_id: uuid.UUID) -> Response:
        """Accept applications again."""
        return moved(request, batch_id, batches.resume)


class Close(Endpoint):
    access = {"post": Action.MANAGE_BATCHES}

    @extend_schema(operation_id="batches_close", request=None, responses=forms.BatchInfo)
    @idempotent
    def post(self, request: Request, batch_id: uuid.UUID) -> Response:
        """Accept nothing any more."""
        return moved(request, batch_id, batches.close)


class Archive(Endpoint):
    access = {"post": Action.MANAGE_BATCHES}

    @extend_schema(operation_id="batches_archive", request=None, responses=forms.BatchInfo)
    @idempotent
    def post(self, request: Request, batch_id: uuid.UUID) -> Response:
        """Hide a closed batch."""
        return moved(request, batch_id, batches.archive)
