"""From what a model refuses to an error of the house."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import models

from core.errors import InvalidInput


def check(row: models.Model) -> None:
    """Bring the row's fields into their stored form and check every rule of its model. Raises InvalidInput, which names
    the fields at fault.
    """
    try:
        row.full_clean()
    except ValidationError as refused:
        raise InvalidInput(sentence(refused)) from refused


def normalise(row: models.Model) -> None:
    """As `check`, without the rules that look at other rows."""
    try:
        row.clean_fields()
    except ValidationError as refused:
        raise InvalidInput(sentence(refused)) from refused


def sentence(refused: ValidationError) -> str:
    return " ".join(
        message if field == "__all__" else f"{field}: {message}"
        for field, messages in refused.message_dict.items()
        for message in messages
    )
