"""Model fields that bring what is typed into the one stored form, in forms, in full_clean and in fixtures alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django import forms
from django.core.exceptions import ValidationError
from django.db import models

from core import phones
from core.errors import InvalidInput

if TYPE_CHECKING:
    CharField = models.CharField[str, str]
    EmailField = models.EmailField[str, str]
else:
    CharField = models.CharField
    EmailField = models.EmailField


class PhoneField(CharField):
    """A Ghanaian mobile number, stored in E.164 (domain.md 1.2). `to_python` normalises it or says what to do."""

    def to_python(self, value: object) -> object:
        if value in self.empty_values:
            return value
        try:
            return phones.normalise(value)
        except InvalidInput as refused:
            raise ValidationError(str(refused), code="invalid") from refused

    def formfield(self, *_args: object, **_kwargs: object) -> forms.CharField:
        typed = forms.CharField(
            max_length=phones.LONGEST_INPUT,
            required=not self.blank,
            label=str(self.verbose_name).capitalize(),
            help_text="0XXXXXXXXX, 233XXXXXXXXX or +233XXXXXXXXX; spaces and hyphens are welcome",
        )
        typed.widget.attrs.update(type="tel", autocomplete="tel")
        return typed


class LowerEmailField(EmailField):
    """An e-mail address, stored in lower case (domain.md 1.2)."""

    def to_python(self, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else super().to_python(value)
