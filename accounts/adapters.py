"""What allauth asks the house (settings: ACCOUNT_ADAPTER, MFA_ADAPTER)."""

from __future__ import annotations

import time
from typing import Any, NoReturn

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records
from allauth.core import context
from allauth.core.internal.httpkit import is_headless_request
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import salted_hmac

from accounts import sealed, visits
from accounts.models import User
from accounts.services import sign_in
from core import clock
from core.api.throttles import MINUTE, counts

WRONG = "This does not fit. Check what you typed; after several failures, wait a while."
TOO_MANY = "Too many attempts. Wait a minute, then try again."
FRESH = 300  # seconds after a password was typed in which it is not asked for again


class Account(DefaultAccountAdapter):
    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "username_password_mismatch": WRONG,
        "invalid_login": WRONG,
        "incorrect_password": WRONG,
        "enter_current_password": WRONG,
        "incorrect_code": WRONG,
        "too_many_login_attempts": TOO_MANY,
    }

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> NoReturn:  # noqa: ARG002
        raise ImproperlyConfigured(
            f"allauth wanted to send {template_prefix}. Nothing but the outbox sends: close the door that asked for it"
            " (accounts.urls) or tell it by a template of accounts.messages."
        )

    def get_client_ip(self, request: HttpRequest) -> str:
        ip = visits.address(request)
        if ip is None:
            raise PermissionDenied("The request has no address. Set PROXIES to how many proxies stand before us.")
        return ip

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """So many attempts a minute for a name, known or not, and for an address. Without the cache nobody is held up:
        the lock of an account stands in PostgreSQL.
        """
        asked = {"address": visits.address(request) or "", "name": str(credentials.get("username", "")).strip().lower()}
        for scope, who in asked.items():
            stands_for = salted_hmac("accounts.adapters", who.encode(errors="replace").decode(), algorithm="sha256")
            key = f"sign-in:{scope}:{stands_for.hexdigest()[:32]}:{int(time.time() // MINUTE)}"
            if counts.count(key) > settings.SIGN_IN_LIMITS[scope]:
                raise self.validation_error("too_many_login_attempts")

    def reauthenticate(self, user: AbstractBaseUser, password: str) -> bool:
        """Also counted, and locked, as a sign-in is."""
        assert isinstance(user, User)  # noqa: S101 - there is no other model
        self.pre_authenticate(context.request, username=user.username)
        visit = visits.visit(context.request)
        return sign_in.confirm_password(user=user, password=password, visit=visit, now=clock.now())

    def is_reauthentication_required(self, *, app: str, **_: Any) -> bool:  # noqa: ARG002
        """Who has just signed in is not asked for the password again at once."""
        records = get_authentication_records(context.request, context.request.user)
        return not any(
            record.get("method") == "password" and 0 <= time.time() - record["at"] < FRESH for record in records
        )

    def get_login_stages(self) -> list[str]:
        return ["accounts.stages.SecondFactor", "accounts.stages.TrustDevice", "accounts.stages.Admission"]

    def post_login(self, request: HttpRequest, user: AbstractBaseUser, **about: Any) -> HttpResponse:
        response = super().post_login(request, user, **about)
        if is_headless_request(request):
            UserSession.objects.filter(session_key=request.session.session_key).update(data={"app": True})
        visits.remember(request, response)
        return response

    def set_password(self, user: AbstractBaseUser, password: str) -> None:
        assert isinstance(user, User)  # noqa: S101 - as above
        sign_in.change_password(
            user=user, password=password, origin=visits.visit(context.request).origin, now=clock.now()
        )


class SecondFactor(DefaultMFAAdapter):
    """Secrets encrypted at rest. Whoever must have a second factor keeps the last one."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": WRONG,
        "cannot_delete_authenticator": "Your role needs a second factor, so the last one stays. Add another one first.",
    }

    def encrypt(self, text: str) -> str:
        return sealed.seal(text)

    def decrypt(self, encrypted_text: str) -> str:
        return sealed.unseal(encrypted_text)

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        others = Authenticator.objects.filter(user=authenticator.user_id, type__in=sign_in.FACTORS)
        return not authenticator.user.must_have_second_factor or others.exclude(pk=authenticator.pk).exists()

    def generate_authenticator_name(self, user: AbstractBaseUser, type: Authenticator.Type) -> str:  # noqa: A002
        return f"Key {Authenticator.objects.filter(user=user.pk, type=type).count() + 1}"

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        return {**super().get_public_key_credential_rp_entity(), "name": settings.MFA_TOTP_ISSUER}
