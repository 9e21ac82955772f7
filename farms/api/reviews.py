"""The queues of officers: what is to be reviewed, who works on it, and notes for those who decide."""

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
from core.api.pages import First
from core.api.views import Access, Endpoint
from farms import selectors
from farms.api import serializers as forms
from farms.models import ReviewItem
from farms.rules import ReviewLevel
from farms.services import reviews

if TYPE_CHECKING:
    ReviewList = generics.ListAPIView[ReviewItem]
else:
    ReviewList = generics.ListAPIView


def level_of(request: Request) -> ReviewLevel:
    wanted = asked(forms.QueueFilter, request)["level"]
    return ReviewLevel(wanted) if wanted else selectors.own_level(me(request))


class ApplicationQueue(Endpoint, ReviewList):
    access = {"get": Action.SEE_APPLICATIONS}
    serializer_class = forms.ApplicationReview
    pagination_class = First

    def get_queryset(self) -> QuerySet[ReviewItem]:
        return selectors.applications_to_review(me(self.request), level_of(self.request), now=clock.now())

    @extend_schema(operation_id="reviews_applications", parameters=[forms.QueueFilter])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The open reviews of applications at a level in my area, the most urgent first."""
        return super().get(request, *args, **kwargs)


class EnrollmentQueue(Endpoint, ReviewList):
    access = {"get": Action.SEE_APPLICATIONS}
    serializer_class = forms.EnrollmentReview
    pagination_class = First

    def get_queryset(self) -> QuerySet[ReviewItem]:
        return selectors.enrollments_to_review(me(self.request), level_of(self.request))

    @extend_schema(operation_id="reviews_enrollments", parameters=[forms.QueueFilter])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The open reviews of enrolments at a level in my area, the highest score first."""
        return super().get(request, *args, **kwargs)


def moved(request: Request, item_id: uuid.UUID, move: Callable[..., ReviewItem]) -> Response:
    return Response(forms.ReviewInfo(move(actor=me(request), item_id=item_id, now=clock.now())).data)


class Claim(Endpoint):
    access = {"post": Access.CONCERNED}

    @extend_schema(operation_id="reviews_claim", request=None, responses=forms.ReviewInfo)
    @idempotent
    def post(self, request: Request, review_id: uuid.UUID) -> Response:
        """Say that I work on this review. Others of the level may still decide."""
        return moved(request, review_id, reviews.claim)


class Start(Endpoint):
    access = {"post": Access.CONCERNED}

    @extend_schema(operation_id="reviews_start", request=None, responses=forms.ReviewInfo)
    @idempotent
    def post(self, request: Request, review_id: uuid.UUID) -> Response:
        """Say that I have begun."""
        return moved(request, review_id, reviews.start)


class Release(Endpoint):
    access = {"post": Access.CONCERNED}

    @extend_schema(operation_id="reviews_release", request=None, responses=forms.ReviewInfo)
    @idempotent
    def post(self, request: Request, review_id: uuid.UUID) -> Response:
        """Give a claimed review back to the others of the level."""
        return moved(request, review_id, reviews.release)


class Notes(Endpoint):
    access = {"post": Access.CONCERNED}

    @extend_schema(operation_id="reviews_note", request=forms.NewNote, responses={201: forms.NoteInfo})
    @idempotent
    def post(self, request: Request, review_id: uuid.UUID) -> Response:
        """Write down something for those who decide."""
        given = sent(forms.NewNote, request)
        note = reviews.note(actor=me(request), item_id=review_id, now=clock.now(), **given)
        return Response(forms.NoteInfo(note).data, status=201)
