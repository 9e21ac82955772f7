"""The base of every endpoint, the description of all of them, and the answer where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar

from django.http import HttpRequest
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import NotFound
from rest_framework.permissions import AllowAny
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.api.errors import WHERE_TO_LOOK


class Access(StrEnum):
    """Who may use an endpoint that no action of the policy decides about."""

    PUBLIC = "anybody"
    SIGNED_IN = "whoever is signed in"
    OWN = "whoever is signed in, about themselves alone"
    CONCERNED = "whoever is concerned"  # by more than one action, or because the thing itself says so


class Endpoint(APIView):
    """Reads addresses and bodies as UTF-8, whatever the sender calls it.

    `access` says for each method who may use it: an Access, or the name of the action or permission that the policy
    decides. tests/api/test_permission_matrix.py asks each as every role and compares.
    """

    access: ClassVar[Mapping[str, str]] = {}
    is_public = False

    def get_authenticators(self) -> list[BaseAuthentication]:
        """None at a public door: a session that is over, or a token, does not close it."""
        return [] if self.is_public else super().get_authenticators()

    def get_permissions(self) -> Sequence[Any]:
        return [AllowAny()] if self.is_public else super().get_permissions()

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        request.encoding = "utf-8"
        method = str(request.method).lower()
        self.is_public = self.access.get("get" if method == "head" else method) == Access.PUBLIC
        return super().initialize_request(request, *args, **kwargs)


class Schema(Endpoint, SpectacularAPIView):
    access = {"get": Access.PUBLIC}


class Docs(Endpoint, SpectacularSwaggerView):
    access = {"get": Access.PUBLIC}


class Nowhere(Endpoint):
    """Every address under /api/v1/ that is not one."""

    access = dict.fromkeys(("get", "post", "put", "patch", "delete"), Access.PUBLIC)
    renderer_classes: list[type[BaseRenderer]] = [JSONRenderer]

    @extend_schema(exclude=True)
    def _none(self, request: Request, **_: Any) -> Response:  # noqa: ARG002 - the signature of REST framework
        raise NotFound(WHERE_TO_LOOK)

    get = post = put = patch = delete = _none
