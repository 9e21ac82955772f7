from __future__ import annotations

from django.urls import path

from accounts.api import views

urlpatterns = [
    path("me/", views.Me.as_view(), name="me"),
    path("users/", views.People.as_view(), name="users"),
    path("users/<uuid:user_id>/", views.OnePerson.as_view(), name="user"),
    path("users/<uuid:user_id>/role/", views.ChangeRole.as_view(), name="user-role"),
    path("users/<uuid:user_id>/suspend/", views.Suspend.as_view(), name="user-suspend"),
    path("users/<uuid:user_id>/lift/", views.LiftSuspension.as_view(), name="user-lift"),
    path("users/<uuid:user_id>/unlock/", views.Unlock.as_view(), name="user-unlock"),
    path("roles/", views.Roles.as_view(), name="roles"),
    path("regions/", views.Regions.as_view(), name="regions"),
]
