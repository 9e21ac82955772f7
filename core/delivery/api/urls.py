from __future__ import annotations

from django.urls import path

from core.delivery.api import views

ONE = "campaigns/<uuid:campaign_id>"
urlpatterns = [
    path("campaigns/", views.Campaigns.as_view(), name="campaigns"),
    path("campaigns/plan/", views.Plan.as_view(), name="campaign-plan"),
    path(f"{ONE}/", views.OneCampaign.as_view(), name="campaign"),
    path(f"{ONE}/progress/", views.Progress.as_view(), name="campaign-progress"),
    path(f"{ONE}/recipients/", views.Recipients.as_view(), name="campaign-recipients"),
    path(f"{ONE}/approve/", views.Approve.as_view(), name="campaign-approve"),
    path(f"{ONE}/start/", views.Start.as_view(), name="campaign-start"),
    path(f"{ONE}/pause/", views.Pause.as_view(), name="campaign-pause"),
    path(f"{ONE}/resume/", views.Resume.as_view(), name="campaign-resume"),
    path(f"{ONE}/cancel/", views.Cancel.as_view(), name="campaign-cancel"),
    path(f"{ONE}/unreached/", views.Unreached.as_view(), name="campaign-unreached"),
]
