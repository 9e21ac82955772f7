"""The addresses of the project."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView, TemplateView

from core.delivery import hooks, unsubscribe
from core.health import views as health

SANDBOX = f"http://127.0.0.1:{settings.SANDBOX_HTTP_PORT}/" if settings.DEVELOPMENT else ""

urlpatterns = [
    path("", TemplateView.as_view(template_name="core/home.html", extra_context={"sandbox": SANDBOX}), name="home"),
    path("api/v1/", include("core.api.urls")),
    path("accounts/", include("accounts.urls")),  # by name: core knows no app above it
    path("farms/", include("farms.urls")),
    path("_allauth/", include("accounts.headless")),
    path("admin/", admin.site.urls),
    path("favicon.ico", RedirectView.as_view(url=f"/{settings.STATIC_URL.strip('/')}/core/icon.svg")),
    path("m/<str:token>", unsubscribe.page, name="opt_out"),
    path("hooks/hubtel/receipts/<str:token>", hooks.hubtel_receipts),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
]
handler400 = "core.api.errors.bad_request"
handler403 = "core.api.errors.permission_denied"
handler404 = "core.api.errors.page_not_found"
handler500 = "core.api.errors.server_error"
