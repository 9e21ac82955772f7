"""Enrolments: what a farm applies for, and the officers in whose area it is."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.db.models import Prefetch, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import selectors as people
from accounts.api.asking import asked, me, sent
from accounts.policy import Action
from core import clock
from core.api.idempotency import idempotent
from core.api.views import Access, Endpoint
from core.errors import NotAllowed, NotFound
from farms import selectors
from farms.api import serializers as forms
from farms.api.applications import reviews_of
from farms.models import BatchEnrollment, EnrollmentEvent
from farms.services import enrollments

if TYPE_CHECKING:
    EnrollmentList = generics.ListAPIView[BatchEnrollment]
else:
    EnrollmentList = generics.ListAPIView


def one(request: Request, enrollment_id: uuid.UUID) -> BatchEnrollment:
    """The enrolment with its steps, when it is in the scope of who asks."""
    events = EnrollmentEvent.objects.select_related("actor").order_by("at")
    found = (
        selectors.enrollments_in_scope(me(request))
        .select_related("farm__constituency", "batch")
        .prefetch_related(Prefetch("events", queryset=events))
        .filter(pk=enrollment_id)
        .first()
    )
    if found is None:
        raise NotFound("There is no such enrolment, or not in your scope.")
    return found


class Enrollments(Endpoint, EnrollmentList):
    access = {"get": Access.CONCERNED, "post": Access.OWN}
    serializer_class = forms.EnrollmentRow
    ordering = ("id",)

    def get_queryset(self) -> QuerySet[BatchEnrollment]:
        wanted = {name: value for name, value in asked(forms.EnrollmentFilter, self.request).items() if value}
        return selectors.enrollments_in_scope(me(self.request)).filter(**wanted).select_related("farm", "batch")

    @extend_schema(operation_id="enrollments_list", parameters=[forms.EnrollmentFilter])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The enrolments of my farm, or of the farms in my scope, by id."""
        return super().get(request, *args, **kwargs)

    @extend_schema(operation_id="enrollments_create", request=forms.NewEnrollment, responses={201: forms.Enrollment})
    @idempotent
    def post(self, request: Request) -> Response:
        """Begin the application of my farm to a batch. Nobody looks at it before it is submitted."""
        given = sent(forms.NewEnrollment, request)
        enrollment = enrollments.draft(
            actor=me(request), farm_id=given["farm"], batch_id=given["batch"], now=clock.now()
        )
        return Response(forms.Enrollment(one(request, enrollment.pk)).data, status=201)


class OneEnrollment(Endpoint):
    access = {"get": Access.CONCERNED}

    @extend_schema(operation_id="enrollments_retrieve", responses=forms.Enrollment)
    def get(self, request: Request, enrollment_id: uuid.UUID) -> Response:
        """One enrolment, with its steps."""
        return Response(forms.Enrollment(one(request, enrollment_id)).data)


class Reviews(Endpoint):
    access = {"get": Access.CONCERNED}

    @extend_schema(operation_id="enrollments_reviews", responses=forms.ReviewWithNotes(many=True))
    def get(self, request: Request, enrollment_id: uuid.UUID) -> Response:
        """The reviews of an enrolment with their notes, for the officers who see its application."""
        enrollment = one(request, enrollment_id)
        if not people.may(me(request), Action.SEE_APPLICATIONS, enrollment.farm.place):
            raise NotAllowed("The notes are for those who decide.")
        return Response(reviews_of(enrollment.reviews.all()))


def moved(request: Request, enrollment_id: uuid.UUID, move: Callable[..., BatchEnrollment], **given: Any) -> Response:
    move(actor=me(request), enrollment_id=enrollment_id, now=clock.now(), **given)
    return Response(forms.Enrollment(one(request, enrollment_id)).data)


class Submit(Endpoint):
    access = {"post": Access.OWN}

    @extend_schema(operation_id="enrollments_submit", request=None, responses=forms.Enrollment)
    @idempotent
    def post(self, request: Request, enrollment_id: uuid.UUID) -> Response:
        """Submit a draft. What the batch asks for is checked at once: look at the status of the answer."""
        return moved(request, enrollment_id, enrollments.submit)


class Withdraw(Endpoint):
    access = {"post": Access.OWN}

    @extend_schema(operation_id="enrollments_withdraw", request=None, responses=forms.Enrollment)
    @idempotent
    def post(self, request: Request, enrollment_id: uuid.UUID) -> Response:
        """Take my enrolment back for good."""
        return moved(request, enrollment_id, enrollments.withdraw)


class Resubmit(Endpoint):
    access = {"post": Access.OWN}

    @extend_schema(operation_id="enrollments_resubmit", request=None, responses=forms.Enrollment)
    @idempotent
    def post(self, request: Request, enrollment_id: uuid.UUID) -> Response:
        """Bring it back to its review, after what was asked for has been changed at the farm."""
        return moved(request, enrollment_id, enrollments.resubmit)


class Forward(Endpoint):
    access = {"post": Access.CONCERNED}

    @extend_schema(operation_id="enrollments_forward", request=None, responses=forms.Enrollment)
    @idempotent
    def post(self, request: Request, enrollment_id: uuid.UUID) -> Response:
        """Pass an enrolment on to the next level."""
        return moved(request, enrollment_id, enrollments.forward)


class Approve(Endpoint):
    access = {"post": Access.CONCERNED}

    @extend_schema(operation_id="enrollments_approve", request=None, responses=forms.Enrollment)
    @idempotent
    def post(self, request: Request, enrollment_id: uuid.UUID) -> Response:
        """Reserve a place in the batch, at the national level."""
        return moved(request, enrollment_id, enrollments.approve)


class RequestChanges(Endpoint):
    access = {"post": Access.CONCERNED}

    @extend_schema(operation_id="enrollments_request_changes", request=forms.ReasonToTell, responses=forms.Enrollment)
    @idempotent
    def post(self, request: Request, enrollment_id: uuid.UUID) -> Response:
        """Ask the farmer for changes."""
        return moved(request, enrollment_id, enrollments.request_changes, **sent(forms.ReasonToTell, request))


class Reject(Endpoint):
    access = {"post": Access.CONCERNED}

    @extend_schema(operation_id="enrollments_reject", request=forms.ReasonToTell, responses=forms.Enrollment)
    @idempotent
    def post(self, request: Request, enrollment_id: uuid.UUID) -> Response:
        """Reject for good."""
        return moved(request, enrollment_id, enrollments.reject, **sent(forms.ReasonToTell, request))


class MarkEnrolled(Endpoint):
    access = {"post": Action.MARK_ENROLLED}

    @extend_schema(operation_id="enrollments_mark_enrolled", request=None, responses=forms.Enrollment)
    @idempotent
    def post(self, request: Request, enrollment_id: uuid.UUID) -> Response:
        """Say that the support was handed over."""
        return moved(request, enrollment_id, enrollments.mark_enrolled)
