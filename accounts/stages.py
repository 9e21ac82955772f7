"""What signing in goes through after the password: second factor, trust, admission (domain.md 4.1.2)."""

from __future__ import annotations

import uuid

from allauth.account.adapter import get_adapter
from allauth.account.stages import LoginStage
from allauth.core.internal.httpkit import headed_redirect_response, is_headless_request
from allauth.mfa.stages import AuthenticateStage
from django.contrib import messages
from django.http import HttpRequest, HttpResponse

from accounts import visits
from accounts.adapters import WRONG
from accounts.services import sign_in
from core import clock

TRUST_HEADER = "X-Trust-Device"

Outcome = tuple[HttpResponse | None, bool]  # what to answer, and whether signing in goes on


def who(stage: LoginStage) -> uuid.UUID:
    assert stage.login.user is not None  # noqa: S101 - nobody comes here without a password that is right
    user_id: uuid.UUID = stage.login.user.pk
    return user_id


class SecondFactor(AuthenticateStage):
    """Not asked for on a trusted device."""

    def _should_handle(self, request: HttpRequest) -> bool:
        return super()._should_handle(request) and not sign_in.is_trusted(
            user_id=who(self), visit=visits.visit(request), now=clock.now()
        )


class TrustDevice(LoginStage):
    """After the second factor a person may say that this device is theirs; the app says so by a header beforehand."""

    key = "trust_device"
    urlname = "trust_device"

    def handle(self) -> Outcome:
        asked = self.controller.get_stage(SecondFactor.key)
        if not asked or not asked.state.get("authentication_required"):
            return None, True
        if not is_headless_request(self.request):
            return headed_redirect_response(self.urlname), True
        if self.request.headers.get(TRUST_HEADER) == "true":
            self.trust()
        return None, True

    def trust(self) -> None:
        visit = visits.known(self.request)
        sign_in.trust_device(user_id=who(self), visit=visit, now=clock.now())


class Admission(LoginStage):
    """The last look, under lock, and the record. Who was suspended or locked meanwhile hears what everybody hears."""

    key = "admission"

    def handle(self) -> Outcome:
        visit = visits.known(self.request)
        record = sign_in.record_success(user_id=who(self), visit=visit, now=clock.now())
        if record.success:
            return None, True
        get_adapter().add_message(self.request, messages.ERROR, message=WRONG)
        return headed_redirect_response("account_login"), False
