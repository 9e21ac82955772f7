from __future__ import annotations

from django.urls import path

from accounts.api import invitations, mine, people, public, security

ONE = "users/<uuid:user_id>"
INVITATION = "invitations/<uuid:invitation_id>"
urlpatterns = [
    path("auth/register/", public.Register.as_view(), name="register"),
    path("auth/password/reset/", public.AskForReset.as_view(), name="password-reset"),
    path("auth/password/reset/confirm/", public.ConfirmReset.as_view(), name="password-reset-confirm"),
    path("auth/password/set/", public.SetPassword.as_view(), name="password-set"),
    path("auth/email/verify/", public.VerifyEmail.as_view(), name="email-verify"),
    path("invitations/accept/", public.AcceptInvitation.as_view(), name="invitation-accept"),
    path("me/", mine.Me.as_view(), name="me"),
    path("me/email/verification/", mine.AskToVerifyEmail.as_view(), name="my-email-verification"),
    path("me/phone/verification/", mine.AskToVerifyPhone.as_view(), name="my-phone-verification"),
    path("me/phone/verification/confirm/", mine.VerifyPhone.as_view(), name="my-phone-verification-confirm"),
    path("me/sessions/", mine.MySessions.as_view(), name="my-sessions"),
    path("me/sessions/<int:number>/", mine.OneOfMySessions.as_view(), name="my-session"),
    path("me/devices/", mine.MyDevices.as_view(), name="my-devices"),
    path("me/devices/<uuid:device_id>/", mine.OneOfMyDevices.as_view(), name="my-device"),
    path("me/logins/", mine.MyLogins.as_view(), name="my-logins"),
    path("users/", people.People.as_view(), name="users"),
    path(f"{ONE}/", people.OnePerson.as_view(), name="user"),
    path(f"{ONE}/role/", people.ChangeRole.as_view(), name="user-role"),
    path(f"{ONE}/suspend/", people.Suspend.as_view(), name="user-suspend"),
    path(f"{ONE}/lift/", people.LiftSuspension.as_view(), name="user-lift"),
    path(f"{ONE}/unlock/", people.Unlock.as_view(), name="user-unlock"),
    path(f"{ONE}/sign-out/", people.SignOut.as_view(), name="user-sign-out"),
    path(f"{ONE}/reset-mfa/", people.ResetMfa.as_view(), name="user-reset-mfa"),
    path(f"{ONE}/grants/", people.Grants.as_view(), name="user-grants"),
    path(f"{ONE}/grants/<str:code>/", people.OneGrant.as_view(), name="user-grant"),
    path(f"{ONE}/sessions/", security.Sessions.as_view(), name="user-sessions"),
    path(f"{ONE}/sessions/<int:number>/", security.OneSession.as_view(), name="user-session"),
    path(f"{ONE}/logins/", security.Logins.as_view(), name="user-logins"),
    path("invitations/", invitations.Invitations.as_view(), name="invitations"),
    path(f"{INVITATION}/", invitations.OneInvitation.as_view(), name="invitation"),
    path(f"{INVITATION}/cancel/", invitations.CancelInvitation.as_view(), name="invitation-cancel"),
    path(f"{INVITATION}/again/", invitations.SendInvitationAgain.as_view(), name="invitation-again"),
    path("security-events/", security.SecurityEvents.as_view(), name="security-events"),
    path("roles/", people.Roles.as_view(), name="roles"),
    path("regions/", people.Regions.as_view(), name="regions"),
]
