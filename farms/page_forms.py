"""The forms of farms' pages (farms.pages)."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.validators import RegexValidator

from accounts.page_forms import Plain, WithPassword
from farms import rules
from farms.services.invitations import Where


class DigitalAddress(forms.CharField):
    def __init__(self) -> None:
        super().__init__(
            label="Digital address, if you know it",
            help_text="GhanaPostGPS shows it, such as AK-184-2278.",
            required=False,
            max_length=12,
            widget=forms.TextInput({"autocapitalize": "characters", "autocomplete": "off", "spellcheck": "false"}),
            validators=[RegexValidator(rules.DIGITAL_ADDRESS, "Write it like AK-184-2278, or leave it empty.")],
        )

    def to_python(self, value: Any) -> str:
        return str(super().to_python(value)).upper()


class TakeFarm(Plain):
    """What of the farm the application does not say; all of it can be said later."""

    community = forms.CharField(
        label="Town or village of the farm",
        help_text="You may leave this and what follows empty and say it later.",
        required=False,
        max_length=100,
    )
    digital_address = DigitalAddress()
    land_size_acres = forms.DecimalField(
        label="Size of the land in acres, if you know it",
        required=False,
        min_value=rules.CENT,
        max_digits=8,
        decimal_places=2,
        widget=forms.TextInput({"inputmode": "decimal", "autocomplete": "off"}),
    )
    farm_name = forms.CharField(
        label="Another name for the farm",
        help_text="Leave this empty to keep the name that stands in your application.",
        required=False,
        max_length=100,
    )

    def said(self) -> dict[str, Any]:
        """The arguments of farms.services.invitations.accept."""
        given = self.cleaned_data
        return {
            "password": given.get("password"),
            "farm_name": given["farm_name"],
            "where": Where(**{name: given[name] for name in ("community", "digital_address", "land_size_acres")}),
        }


class OpenAccount(WithPassword, TakeFarm):
    field_order = ("password", "password_again")
