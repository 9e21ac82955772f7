"""allauth's app of sessions, which is installed in this form (settings: INSTALLED_APPS)."""

from __future__ import annotations

from typing import Any

from allauth.usersessions.apps import UserSessionsConfig


class Sessions(UserSessionsConfig):
    """Signing in looks at none of the person's other sessions, of which there may be hundreds: that is done when they
    are listed, and by the step of clean-up.
    """

    def ready(self) -> None:
        from allauth.account import signals as account
        from allauth.usersessions import signals

        account.user_logged_in.connect(_begin, dispatch_uid="accounts.sessions")
        account.password_changed.connect(signals.on_password_changed)


def _begin(request: Any, **_: Any) -> None:
    from allauth.usersessions.models import UserSession

    UserSession.objects.create_from_request(request)
