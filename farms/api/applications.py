"""Applications: those who apply, and the officers in whose area it is."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.db.models import Prefetch, QuerySet
from django.http import FileResponse
from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle

from accounts.api.asking import asked, me, origin, sent
from accounts.api.public import accepted
from accounts.api.serializers import Told
from accounts.policy import Action
from accounts.rules import CodePurpose
from accounts.services import secrets
from core import clock
from core.api.idempotency import idempotent
from core.api.throttles import AccountLimit, DoorLimit
from core.api.views import Access, Endpoint
from core.errors import NotFound
from farms import links, selectors
from farms.api import serializers as forms
from farms.api.documents import DOCUMENT, FILE, DocumentParser, FileEndpoint, documents, file_of, received
from farms.models import ApplicationEvent, FarmApplication, FarmInvitation, ReviewNote
from farms.services import applications, farms
from farms.services.applications import Details

if TYPE_CHECKING:
    ApplicationList = generics.ListAPIView[FarmApplication]
else:
    ApplicationList = generics.ListAPIView


CODE_SENT = "Look at your phone: we have sent a code to this number."


class PhoneLimit(AccountLimit):
    """By the phone number of an applicant, from many addresses at once too."""

    NAMES = ("primary_phone",)


class ApplicantsDoor(Endpoint):
    access = {"post": Access.PUBLIC}

    def get_throttles(self) -> list[BaseThrottle]:
        return [*super().get_throttles(), DoorLimit(), PhoneLimit()]


class VerifyPhone(ApplicantsDoor):
    @extend_schema(operation_id="applications_verify_phone", request=forms.PhoneToVerify, responses={202: Told})
    def post(self, request: Request) -> Response:
        """Send a code to the phone of somebody who wants to apply. The answer is the same for every number."""
        phone = sent(forms.PhoneToVerify, request)["primary_phone"]
        ip = origin(request).ip
        secrets.ask_for_code(purpose=CodePurpose.PHONE_VERIFICATION, phone=phone, ip=ip, now=clock.now())
        return accepted(CODE_SENT)


class Apply(ApplicantsDoor):
    @extend_schema(
        operation_id="applications_apply",
        request=forms.OwnApplication,
        responses={201: forms.Applied},
    )
    def post(self, request: Request) -> Response:  # a wrong code stays counted: not one transaction as a whole
        """Apply to join, before there is an account. What becomes of it is told by SMS."""
        given = sent(forms.OwnApplication, request)
        kind, code, now = given.pop("application_type"), given.pop("code", ""), clock.now()
        try:
            application = applications.apply(
                kind=kind, details=Details(**given), code=code, ip=origin(request).ip, now=now
            )
        except secrets.WrongCode as wrong:
            raise ValidationError({"code": str(wrong)}) from wrong
        token = links.upload_token(application.pk, now=now)
        told = {"application_number": application.application_number, "upload_token": token}
        return Response(forms.Applied(told).data, status=201)


class OwnDocuments(Endpoint):
    access = {"post": Access.PUBLIC}
    parser_classes = [DocumentParser]

    def get_throttles(self) -> list[BaseThrottle]:
        return [*super().get_throttles(), DoorLimit()]

    @extend_schema(
        operation_id="applications_send_document",
        parameters=[forms.NewDocument, forms.UploadToken],
        request=DOCUMENT,
        responses={201: forms.DocumentInfo},
    )
    def post(self, request: Request) -> Response:
        """Send a document along with the own application: the body is the file, a JPEG, a PNG or a PDF."""
        token = asked(forms.UploadToken, request)["token"]
        document = applications.add_document(token=token, now=clock.now(), **received(request))
        return Response(forms.DocumentInfo(document).data, status=201)


def visible(request: Request, application_id: uuid.UUID) -> FarmApplication:
    """The application, when it is in the scope of who asks."""
    found = selectors.applications_in_scope(me(request)).filter(pk=application_id).first()
    if found is None:
        raise NotFound("There is no such application, or not in your scope.")
    return found


def shown(request: Request, application_id: uuid.UUID) -> dict[str, Any]:
    events = ApplicationEvent.objects.select_related("actor").order_by("at")
    invitations = FarmInvitation.objects.order_by("-event__at")
    found = (
        selectors.applications_in_scope(me(request))
        .select_related("region", "constituency", "district")
        .prefetch_related(Prefetch("events", queryset=events), Prefetch("invitations", queryset=invitations))
        .filter(pk=application_id)
        .first()
    )
    if found is None:
        raise NotFound("There is no such application, or not in your scope.")
    return dict(forms.Application(found).data)


class Applications(Endpoint, ApplicationList):
    access = {"get": Action.SEE_APPLICATIONS, "post": Action.ENTER_APPLICATION}
    serializer_class = forms.ApplicationRow
    ordering: tuple[str, ...] = ("-application_number",)

    def get_queryset(self) -> QuerySet[FarmApplication]:
        wanted = asked(forms.ApplicationFilter, self.request)
        if wanted["status"] or wanted["level"]:
            self.ordering = ("-submitted_at", "-id")  # as the indexes of the lists have it
        return selectors.applications(**wanted) & selectors.applications_in_scope(me(self.request))

    @extend_schema(operation_id="applications_list", parameters=[forms.ApplicationFilter])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The applications in my scope: by number, or those in a status newest first. Phones and cards are masked."""
        return super().get(request, *args, **kwargs)

    @extend_schema(operation_id="applications_create", request=forms.NewApplication, responses={201: forms.Application})
    @idempotent
    def post(self, request: Request) -> Response:
        """Enter an application for somebody of my area."""
        given = sent(forms.NewApplication, request)
        kind = given.pop("application_type")
        application = applications.submit(kind=kind, details=Details(**given), actor=me(request), now=clock.now())
        return Response(shown(request, application.pk), status=201)


class OneApplication(Endpoint):
    access = {"get": Action.SEE_APPLICATIONS}

    @extend_schema(operation_id="applications_retrieve", responses=forms.Application)
    def get(self, request: Request, application_id: uuid.UUID) -> Response:
        """One application, with its steps."""
        return Response(shown(request, application_id))


class Reviews(Endpoint):
    access = {"get": Action.SEE_APPLICATIONS}

    @extend_schema(operation_id="applications_reviews", responses=forms.ReviewWithNotes(many=True))
    def get(self, request: Request, application_id: uuid.UUID) -> Response:
        """The reviews of an application with their notes, in the order of the levels that it came to."""
        return Response(reviews_of(visible(request, application_id).reviews.all()))


def reviews_of(found: QuerySet[Any]) -> Any:
    notes = ReviewNote.objects.select_related("author").order_by("at", "id")
    rows = found.select_related("claimed_by").prefetch_related(Prefetch("notes", queryset=notes))
    return forms.ReviewWithNotes(rows.order_by("created_at"), many=True).data


Decide = Callable[..., object]


def decided(request: Request, application_id: uuid.UUID, decide: Decide, **given: Any) -> Response:
    decide(actor=me(request), application_id=application_id, now=clock.now(), **given)
    return Response(shown(request, application_id))


class Forward(Endpoint):
    access = {"post": Access.CONCERNED}

    @extend_schema(operation_id="applications_forward", request=None, responses=forms.Application)
    @idempotent
    def post(self, request: Request, application_id: uuid.UUID) -> Response:
        """Pass an application of the programme on to the next level."""
        return decided(request, application_id, applications.forward)


class Approve(Endpoint):
    access = {"post": Access.CONCERNED}

    @extend_schema(operation_id="applications_approve", request=None, responses=forms.Application)
    @idempotent
    def post(self, request: Request, application_id: uuid.UUID) -> Response:
        """Approve at the last level. The applicant gets a link to open the account."""
        return decided(request, application_id, applications.approve)


class RequestChanges(Endpoint):
    access = {"post": Access.CONCERNED}

    @extend_schema(operation_id="applications_request_changes", request=forms.WhatToChange, responses=forms.Application)
    @idempotent
    def post(self, request: Request, application_id: uuid.UUID) -> Response:
        """Ask the applicant for changes."""
        return decided(request, application_id, applications.request_changes, **sent(forms.WhatToChange, request))


class Reject(Endpoint):
    access = {"post": Access.CONCERNED}

    @extend_schema(operation_id="applications_reject", request=forms.ReasonToTell, responses=forms.Application)
    @idempotent
    def post(self, request: Request, application_id: uuid.UUID) -> Response:
        """Reject for good."""
        return decided(request, application_id, applications.reject, **sent(forms.ReasonToTell, request))


class Resubmit(Endpoint):
    access = {"post": Action.ENTER_APPLICATION}

    @extend_schema(operation_id="applications_resubmit", request=forms.Said, responses=forms.Application)
    @idempotent
    def post(self, request: Request, application_id: uuid.UUID) -> Response:
        """Enter what an applicant has changed: the whole application anew. It goes back to the review it came from."""
        details = Details(**sent(forms.Said, request))
        return decided(request, application_id, applications.resubmit, details=details)


class InviteAgain(Endpoint):
    access = {"post": Access.CONCERNED}

    @extend_schema(operation_id="applications_invite_again", request=None, responses=forms.Application)
    @idempotent
    def post(self, request: Request, application_id: uuid.UUID) -> Response:
        """Send an approved applicant a new link; the one before is not good any more."""
        return decided(request, application_id, applications.invite_again)


class Documents(Endpoint):
    access = {"get": Action.SEE_APPLICATIONS, "post": Action.ENTER_APPLICATION}
    parser_classes = [DocumentParser]

    @extend_schema(operation_id="applications_documents", responses=forms.DocumentInfo(many=True))
    def get(self, request: Request, application_id: uuid.UUID) -> Response:
        """The documents of an application, until it becomes a farm, which takes them over."""
        return Response(documents(visible(request, application_id).documents.all()))

    @extend_schema(
        operation_id="applications_add_document",
        parameters=[forms.NewDocument],
        request=DOCUMENT,
        responses={201: forms.DocumentInfo},
    )
    @idempotent
    def post(self, request: Request, application_id: uuid.UUID) -> Response:
        """Add a document: the body is the file, a JPEG, a PNG or a PDF."""
        document = farms.add_application_document(application_id=application_id, actor=me(request), **received(request))
        return Response(forms.DocumentInfo(document).data, status=201)


class OneDocument(FileEndpoint):
    access = {"get": Action.SEE_APPLICATIONS}

    @extend_schema(operation_id="applications_document", responses=FILE)
    def get(self, request: Request, application_id: uuid.UUID, document_id: uuid.UUID) -> FileResponse:
        """A document of an application as it was sent, until it becomes a farm, which takes it over."""
        return file_of(visible(request, application_id).documents.all(), document_id)
