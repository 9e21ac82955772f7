"""/api/v1/: each app's `api.urls`, the description of all of them, and an answer for every other address."""

from __future__ import annotations

from django.urls import include, path, re_path

from core.api.views import Docs, Nowhere, Schema

urlpatterns = [
    path("", include("accounts.api.urls")),  # by name: core knows no app above it
    path("", include("core.delivery.api.urls")),
    path("", include("farms.api.urls")),
    path("schema/", Schema.as_view(), name="schema"),
    path("docs/", Docs.as_view(url_name="api:schema"), name="docs"),
    re_path(r"^.*$", Nowhere.as_view()),
]
app_name = "api"
