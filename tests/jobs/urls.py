"""A website of one page for the tests of logs: it asks for a task."""

from __future__ import annotations

import structlog
from django.http import HttpRequest, HttpResponse
from django.urls import path

from tests.jobs import tasks


def ask(_request: HttpRequest) -> HttpResponse:
    tasks.echo.delay("from the web")
    return HttpResponse(structlog.contextvars.get_contextvars()["request_id"])


urlpatterns = [path("ask", ask)]
