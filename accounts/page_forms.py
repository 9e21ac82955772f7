"""The forms of an account's life (accounts.pages). What the services say is shown at the field that it is about."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from accounts import selectors
from accounts.services import secrets
from core import phones
from core.errors import DomainError, InvalidInput

HOW_TO_CHOOSE = "10 letters or more, not only digits, and not your name or number."
DIFFERENT = "These two passwords are not the same. Type both again."
LONGEST_CODE = 20


class Phone(forms.CharField):
    def __init__(self, help_text: str) -> None:
        super().__init__(
            label="Phone number",
            help_text=help_text,
            max_length=phones.LONGEST_INPUT,
            widget=forms.TextInput({"type": "tel", "autocomplete": "tel"}),
        )

    def clean(self, value: Any) -> str:
        try:
            return phones.normalise(super().clean(value))
        except InvalidInput as refused:
            raise ValidationError(str(refused)) from refused


class Name(forms.CharField):
    def __init__(self, label: str, autocomplete: str) -> None:
        super().__init__(label=label, max_length=150, widget=forms.TextInput({"autocomplete": autocomplete}))


class Identifier(forms.CharField):
    def __init__(self) -> None:
        super().__init__(
            label="Phone number, e-mail or username",
            max_length=selectors.LONGEST_IDENTIFIER,
            widget=forms.TextInput({"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"}),
        )


class _Unshown(forms.TextInput):
    def format_value(self, value: Any) -> None:
        """What was typed does not come back."""


class SmsCode(forms.CharField):
    def __init__(self) -> None:
        super().__init__(
            label="Code of the SMS",
            max_length=LONGEST_CODE,
            widget=_Unshown({"inputmode": "numeric", "autocomplete": "one-time-code"}),
        )


class Password(forms.CharField):
    def __init__(self, label: str, help_text: str = "") -> None:
        super().__init__(
            label=label,
            help_text=help_text,
            strip=False,
            widget=forms.PasswordInput({"autocomplete": "new-password"}),
        )


class Plain(forms.Form):
    status = 200

    def refuse(self, refused: DomainError) -> None:
        """Show what a service has said, at the field that it is about."""
        cause = refused.__cause__
        if isinstance(cause, ValidationError) and hasattr(cause, "error_dict"):
            for name, said in cause.message_dict.items():
                self.add_error(name if name in self.fields else None, said)
        else:
            field, _, words = str(refused).partition(": ")
            if words and field in self.fields:
                self.add_error(field, words)
                return
            about = "code" if isinstance(refused, secrets.WrongCode) else "password" if cause else None
            self.add_error(about if about in self.fields else None, str(refused))


class WithPassword(Plain):
    password = Password("Password", HOW_TO_CHOOSE)
    password_again = Password("Password once more")

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        try:
            secrets.checked_password(password)
        except InvalidInput as weak:
            raise ValidationError(str(weak)) from weak
        return password

    def clean(self) -> dict[str, Any]:
        again = self.cleaned_data.pop("password_again", None)
        if again is not None and again != self.cleaned_data.get("password", again):
            self.add_error("password_again", DIFFERENT)
        return self.cleaned_data


class Register(WithPassword):
    phone = Phone("A Ghanaian mobile number, such as 024 412 3456. You sign in with it.")
    first_name = Name("First name", "given-name")
    last_name = Name("Last name", "family-name")
    email = forms.EmailField(
        label="E-mail address, if you have one",
        required=False,
        max_length=254,
        widget=forms.EmailInput({"autocomplete": "email"}),
    )
    field_order = ("phone", "first_name", "last_name", "email")


class AskForReset(Plain):
    identifier = Identifier()


class NewPassword(WithPassword):
    password = Password("New password", HOW_TO_CHOOSE)
    password_again = Password("New password once more")


class ResetByCode(NewPassword):
    identifier = Identifier()
    code = SmsCode()
    field_order = ("identifier", "code")


class Accept(WithPassword):
    phone = Phone("A Ghanaian mobile number, such as 024 412 3456. You may sign in with it.")
    first_name = Name("First name", "given-name")
    last_name = Name("Last name", "family-name")
    field_order = ("phone", "first_name", "last_name")


class Code(Plain):
    code = SmsCode()
