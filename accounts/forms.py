"""The forms of signing in: allauth's, with our words, and checks that count (settings: ACCOUNT_FORMS, MFA_FORMS)."""

from __future__ import annotations

import struct
from typing import Any

from allauth.account.adapter import get_adapter as get_account_adapter
from allauth.account.forms import ChangePasswordForm, LoginForm
from allauth.account.forms import ReauthenticateForm as ReauthenticateWithPassword
from allauth.core import context
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.webauthn.forms import AddWebAuthnForm, AuthenticateWebAuthnForm, ReauthenticateWebAuthnForm
from cryptography.exceptions import InvalidSignature
from django.core.exceptions import ValidationError
from django.forms import CharField, TextInput

from accounts import selectors, visits
from accounts.rules import Refusal
from accounts.services import sign_in
from core import clock

LONGEST_CODE = 50
NOT_SHOWN = "The app does not show this code now. Type the newest one; the clock of your phone must be right."
LONGEST_KEY_NAME = 50


class SignIn(LoginForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"] = CharField(
            label="Phone number, e-mail or username",
            max_length=selectors.LONGEST_NAME,
            widget=TextInput({"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"}),
        )
        self.fields["password"].help_text = ""
        self.order_fields(["login", "password"])
        _plain(self)


class NewPassword(ChangePasswordForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["oldpassword"].label, self.fields["oldpassword"].help_text = "Password until now", ""
        self.fields["password1"].label = "New password"
        self.fields["password1"].help_text = "10 letters or more, not only digits, and not your name or number."
        self.fields["password2"].label = "New password once more"
        _plain(self)

    def clean_oldpassword(self) -> str:
        """Guessing it counts as guessing at the door."""
        password = str(self.cleaned_data["oldpassword"])
        assert self.user  # noqa: S101 - login_required
        if not get_account_adapter().reauthenticate(self.user, password):
            raise get_account_adapter().validation_error("incorrect_password")
        return password


class PasswordAgain(ReauthenticateWithPassword):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"].help_text = ""
        _plain(self)


class Checked:
    """A code of the second factor, whose wrong ones are counted and whose right ones work once."""

    def clean_code(self) -> str:
        code = str(self.cleaned_data["code"])  # type: ignore[attr-defined]
        visit = visits.visit(context.request)
        user = self.user  # type: ignore[attr-defined]
        found = sign_in.check_code(user_id=user.pk, code=code[:LONGEST_CODE], visit=visit, now=clock.now())
        if found is None:
            raise get_adapter().validation_error("incorrect_code")
        self.authenticator = found
        return code


class Code(Checked, AuthenticateForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _code(self, "Code of the app, or a recovery code")


class CodeAgain(Checked, ReauthenticateForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _code(self, "Code of the app, or a recovery code")


class FirstCode(ActivateTOTPForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _code(self, "Code of six digits")

    def clean_code(self) -> str:
        try:
            return super().clean_code()
        except ValidationError:
            raise ValidationError(NOT_SHOWN, code="incorrect_code") from None


# --- security keys -------------------------------------------------------------------------------------------------

# What the library raises for what no key has sent, or not for us. allauth takes some of it for an error of the server.
NOT_A_CREDENTIAL = (ValueError, TypeError, LookupError, AttributeError, struct.error, InvalidSignature)


class NewKey(AddWebAuthnForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].label = "Name of the key"
        self.fields["name"].max_length = LONGEST_KEY_NAME  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        try:
            return super().clean()
        except NOT_A_CREDENTIAL:
            raise get_adapter().validation_error("incorrect_code") from None


class CheckedKey:
    """A proof by a security key, whose failures count."""

    def clean_credential(self) -> Authenticator:
        try:
            found: Authenticator = super().clean_credential()  # type: ignore[misc]
        except (*NOT_A_CREDENTIAL, ValidationError):
            visit, user = visits.visit(context.request), self.user  # type: ignore[attr-defined]
            sign_in.record_failure(user_id=user.pk, reason=Refusal.SECOND_FACTOR, visit=visit, now=clock.now())
            raise get_adapter().validation_error("incorrect_code") from None
        return found


class Key(CheckedKey, AuthenticateWebAuthnForm):
    pass


class KeyAgain(CheckedKey, ReauthenticateWebAuthnForm):
    pass


def _plain(form: Any) -> None:
    """A placeholder goes away when one begins to write; the label stays."""
    for field in form.fields.values():
        field.widget.attrs.pop("placeholder", None)


def _code(form: Any, label: str) -> None:
    field = form.fields["code"]
    field.label = label
    field.widget.attrs |= {"inputmode": "numeric", "autofocus": True, "maxlength": LONGEST_CODE}
    _plain(form)
