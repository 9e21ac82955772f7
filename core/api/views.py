"""The base of every endpoint, the description of all of them, and the answer where there is none."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework.exceptions import NotFound
from rest_framework.permissions import AllowAny
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.api.errors import WHERE_TO_LOOK


class Endpoint(APIView):
    """Reads addresses and bodies as UTF-8, whatever the sender calls it."""

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        request.encoding = "utf-8"
        return super().initialize_request(request, *args, **kwargs)


class Schema(Endpoint, SpectacularAPIView):
    permission_classes = [AllowAny]


class Docs(Endpoint, SpectacularSwaggerView):
    permission_classes = [AllowAny]


class Nowhere(Endpoint):
    """Every address under /api/v1/ that is not one."""

    permission_classes = [AllowAny]
    renderer_classes: list[type[BaseRenderer]] = [JSONRenderer]

    @extend_schema(exclude=True)
    def _none(self, request: Request, **_: Any) -> Response:  # noqa: ARG002 - the signature of REST framework
        raise NotFound(WHERE_TO_LOOK)

    get = post = put = patch = delete = _none
