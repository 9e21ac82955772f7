"""What can be done with people."""

from __future__ import annotations

from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from psycopg.errors import UniqueViolation

from accounts import rules
from accounts.models import Constituency, District, Region, User
from accounts.rules import Role
from core.errors import InvalidInput


def create_user(
    *,
    username: str,
    phone: str,
    role: str,
    activated_at: datetime | None,
    password: str | None = None,
    email: str = "",
    first_name: str = "",
    last_name: str = "",
    region: Region | None = None,
    district: District | None = None,
    constituency: Constituency | None = None,
    preferred_contact_method: str = rules.ContactMethod.SMS,
    language: str = rules.Language.ENGLISH,
) -> User:
    """Write a new person: active since `activated_at`, or invited when that is None (domain.md 4.1.2).

    Phone, e-mail, role and contact method are normalised; the region follows from the constituency or district. Raises
    InvalidInput, which names every field at fault and shows no personal data; then nothing was written.
    """
    place = constituency or district
    parsed_role = rules.parse_role(role)
    try:
        with transaction.atomic():
            return User.objects.create_user(
                username,
                password,
                phone=phone,
                email=email,
                first_name=first_name,
                last_name=last_name,
                role=parsed_role,
                is_superuser=parsed_role == Role.SUPER_ADMIN,
                region=region or (place.region if place else None),
                district=district,
                constituency=constituency,
                preferred_contact_method=rules.parse_contact_method(preferred_contact_method),
                language=language,
                is_active=activated_at is not None,
                activated_at=activated_at,
            )
    except ValidationError as refused:
        raise InvalidInput(_sentence(refused)) from refused
    except IntegrityError as refused:  # written by someone else since it was checked
        if isinstance(refused.__cause__, UniqueViolation):
            # from None: PostgreSQL's detail repeats the number or the address
            raise InvalidInput("A person with this username, phone or e-mail address already exists") from None
        raise


def _sentence(refused: ValidationError) -> str:
    return " ".join(
        message if field == "__all__" else f"{field}: {message}"
        for field, messages in refused.message_dict.items()
        for message in messages
    )
