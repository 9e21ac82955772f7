"""The addresses of the project."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path
from django.views.generic import TemplateView

from core.health import views as health

urlpatterns = [
    path("", TemplateView.as_view(template_name="core/home.html"), name="home"),
    path("admin/", admin.site.urls),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
]
