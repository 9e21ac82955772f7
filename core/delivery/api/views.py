"""Campaigns in my scope: plan, create, decide, and see how they stand. A list may go anywhere: it takes the nation."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response

from core.api.idempotency import idempotent
from core.api.views import Endpoint
from core.base.registries import SEND_BULK_SMS
from core.delivery import campaign_life
from core.delivery.api import serializers as forms
from core.delivery.campaign_progress import Standing, progress
from core.delivery.models import Campaign, CampaignRecipient, OutboundMessage
from core.errors import NotAllowed, NotFound
from core.jobs.operations import Actor

if TYPE_CHECKING:
    CampaignList = generics.ListAPIView[Campaign]
    RecipientList = generics.ListAPIView[CampaignRecipient]
else:
    CampaignList = RecipientList = generics.ListAPIView


def me(request: Request) -> Actor:
    return Actor(cast(uuid.UUID, request.user.pk), request.user.get_username())


def mine(request: Request, campaign_id: uuid.UUID) -> Campaign:
    """The campaign, when it lies in the scope of who asks."""
    try:
        return campaign_life.found(campaign_id, me(request))
    except (NotAllowed, NotFound) as error:
        raise NotFound("There is no such campaign, or not in your scope.") from error


def sent(form: type[forms.Plain], request: Request) -> dict[str, Any]:
    filled = form(data=request.data)
    filled.is_valid(raise_exception=True)
    return dict(filled.validated_data)


class Campaigns(Endpoint, CampaignList):
    access = {"get": SEND_BULK_SMS, "post": SEND_BULK_SMS}
    serializer_class = forms.CampaignInfo
    ordering = ("-created_at", "-id")

    def get_queryset(self) -> QuerySet[Campaign]:
        return campaign_life.visible(me(self.request))

    @extend_schema(operation_id="campaigns_list")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The campaigns in my scope, newest first."""
        return super().get(request, *args, **kwargs)

    @extend_schema(operation_id="campaigns_create", request=forms.AskedFor, responses={201: forms.Created})
    @idempotent
    def post(self, request: Request) -> Response:
        """Store a draft, with its plan. Nothing is sent until it is started."""
        given = sent(forms.AskedFor, request)
        audience = forms.audience_of(given)
        campaign, plan = campaign_life.create(actor=me(request), audience=audience, **given)
        return Response(forms.Created({"campaign": campaign, "plan": plan}).data, status=201)


class Plan(Endpoint):
    access = {"post": SEND_BULK_SMS}

    @extend_schema(operation_id="campaigns_plan", request=forms.Asked, responses=forms.PlanInfo)
    @idempotent
    def post(self, request: Request) -> Response:
        """What would go to whom and what it would cost. Nothing is stored or sent."""
        given = sent(forms.Asked, request)
        audience = forms.audience_of(given)
        campaign_life.must_be_allowed(me(request), audience.place)
        return Response(forms.PlanInfo(campaign_life.plan(audience=audience, **given)).data)


class OneCampaign(Endpoint):
    access = {"get": SEND_BULK_SMS}

    @extend_schema(operation_id="campaigns_retrieve", responses=forms.CampaignInfo)
    def get(self, request: Request, campaign_id: uuid.UUID) -> Response:
        """One campaign."""
        return Response(forms.CampaignInfo(mine(request, campaign_id)).data)


class Progress(Endpoint):
    access = {"get": SEND_BULK_SMS}

    @extend_schema(operation_id="campaigns_progress", responses=forms.ProgressInfo)
    def get(self, request: Request, campaign_id: uuid.UUID) -> Response:
        """How it stands now, cheap enough to be asked every second or two."""
        standing = progress(mine(request, campaign_id))
        names = [*Standing.__dataclass_fields__, "to_come"]
        return Response(forms.ProgressInfo({name: getattr(standing, name) for name in names}).data)


class Recipients(Endpoint, RecipientList):
    access = {"get": SEND_BULK_SMS}
    serializer_class = forms.RecipientInfo
    ordering = ("id",)

    def get_queryset(self) -> QuerySet[CampaignRecipient]:
        return CampaignRecipient.objects.filter(campaign=mine(self.request, self.kwargs["campaign_id"]))

    @extend_schema(operation_id="campaigns_recipients")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Its recipients, the seeds first, and what became of each one's message. Numbers are masked."""
        return super().get(request, *args, **kwargs)

    def paginate_queryset(self, queryset: Any) -> Any:
        rows = super().paginate_queryset(queryset)
        ids = [row.message for row in rows or () if row.message]
        self.states = dict(OutboundMessage.objects.filter(pk__in=ids).values_list("pk", "status"))
        return rows

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "states": getattr(self, "states", {})}


def decided(
    request: Request, campaign_id: uuid.UUID, form: type[forms.Plain], decide: Callable[..., Campaign]
) -> Response:
    given = sent(form, request)
    pk = mine(request, campaign_id).pk
    return Response(forms.CampaignInfo(decide(campaign_id=pk, actor=me(request), **given)).data)


class Approve(Endpoint):
    access = {"post": SEND_BULK_SMS}

    @extend_schema(operation_id="campaigns_approve", request=forms.Decision, responses=forms.CampaignInfo)
    @idempotent
    def post(self, request: Request, campaign_id: uuid.UUID) -> Response:
        """A second person's yes to a draft."""
        return decided(request, campaign_id, forms.Decision, campaign_life.approve)


class Start(Endpoint):
    access = {"post": SEND_BULK_SMS}

    @extend_schema(operation_id="campaigns_start", request=forms.Decision, responses=forms.CampaignInfo)
    @idempotent
    def post(self, request: Request, campaign_id: uuid.UUID) -> Response:
        """Have a draft sent."""
        return decided(request, campaign_id, forms.Decision, campaign_life.start)


class Pause(Endpoint):
    access = {"post": SEND_BULK_SMS}

    @extend_schema(operation_id="campaigns_pause", request=forms.Stop, responses=forms.CampaignInfo)
    @idempotent
    def post(self, request: Request, campaign_id: uuid.UUID) -> Response:
        """Stop a running campaign: when this answers, nothing leaves any more but the calls that had begun."""
        return decided(request, campaign_id, forms.Stop, campaign_life.pause)


class Resume(Endpoint):
    access = {"post": SEND_BULK_SMS}

    @extend_schema(operation_id="campaigns_resume", request=forms.GoOn, responses=forms.CampaignInfo)
    @idempotent
    def post(self, request: Request, campaign_id: uuid.UUID) -> Response:
        """Go on after a pause, or after the seeds."""
        return decided(request, campaign_id, forms.GoOn, campaign_life.resume)


class Cancel(Endpoint):
    access = {"post": SEND_BULK_SMS}

    @extend_schema(operation_id="campaigns_cancel", request=forms.Stop, responses=forms.CampaignInfo)
    @idempotent
    def post(self, request: Request, campaign_id: uuid.UUID) -> Response:
        """End it for good: what has not left never will."""
        return decided(request, campaign_id, forms.Stop, campaign_life.cancel)


class Unreached(Endpoint):
    access = {"get": SEND_BULK_SMS, "post": SEND_BULK_SMS}

    @extend_schema(operation_id="campaigns_unreached", responses=forms.UnreachedInfo)
    def get(self, request: Request, campaign_id: uuid.UUID) -> Response:
        """Whom a retry would be for. Nobody who has its text, or may have it, is among them."""
        counts = campaign_life.unreached(campaign_id=mine(request, campaign_id).pk, actor=me(request))
        return Response(forms.UnreachedInfo(counts).data)

    @extend_schema(operation_id="campaigns_retry_unreached", request=forms.Decision, responses={201: forms.Retried})
    @idempotent
    def post(self, request: Request, campaign_id: uuid.UUID) -> Response:
        """Store a draft to those who were not reached."""
        given = sent(forms.Decision, request)
        pk = mine(request, campaign_id).pk
        campaign, counts = campaign_life.retry_unreached(campaign_id=pk, actor=me(request), **given)
        return Response(forms.Retried({"campaign": campaign, "unreached": counts}).data, status=201)
