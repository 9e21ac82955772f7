"""The pages under /farms/."""

from __future__ import annotations

from django.urls import path

from farms import links, pages

urlpatterns = [
    path(links.INVITATION, pages.farm_invitation, name="farm_invitation"),
    path(links.CHANGES, pages.application_changes, name="application_changes"),
]
