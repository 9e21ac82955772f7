"""The pages under /accounts/: ours, and those of allauth's that are open."""

from __future__ import annotations

from django.urls import include, path, re_path

from accounts import links, pages, views

OPEN = (  # of allauth's own; whatever a newer allauth adds stays closed
    "login/",
    "logout/",
    "reauthenticate/",
    "password/change/",
    "2fa/",
    "2fa/authenticate/",
    "2fa/reauthenticate/",
    "2fa/recovery-codes/",
    "2fa/recovery-codes/generate/",
    "2fa/webauthn/",
    "2fa/webauthn/reauthenticate/",
    r"2fa/webauthn/keys/\d+/edit/",
)

urlpatterns = [
    path("", pages.overview, name="account"),
    path("register/", pages.register, name="register"),
    path("password/reset/", pages.ask_for_reset, name="password_reset"),
    path("password/reset/code/", pages.reset_by_code, name="password_reset_code"),
    path(links.NEW_PASSWORD, pages.new_password, name="new_password"),
    path(links.VERIFY_EMAIL, pages.confirm_email, name="confirm_email"),
    path(links.INVITATION, pages.accept_invitation, name="accept_invitation"),
    path("phone/verify/", pages.verify_phone, name="verify_phone"),
    path("email/verify/", pages.verify_email, name="verify_email"),
    path("2fa/trust/", views.trust_device, name="trust_device"),
    path("2fa/totp/activate/", views.ActivateApp.as_view(), name="mfa_activate_totp"),
    path("2fa/totp/deactivate/", views.DeactivateApp.as_view(), name="mfa_deactivate_totp"),
    path("2fa/webauthn/add/", views.AddKey.as_view(), name="mfa_add_webauthn"),
    path("2fa/webauthn/keys/<int:pk>/remove/", views.RemoveKey.as_view(), name="mfa_remove_webauthn"),
    path("sessions/", views.sessions, name="usersessions_list"),
    path("devices/", views.devices, name="devices"),
    re_path(rf"^(?!(?:{'|'.join(OPEN)})$).*/$", views.nowhere),
    path("", include("allauth.urls")),
]
