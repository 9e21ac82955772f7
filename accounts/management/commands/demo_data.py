"""One person in every role, for development (domain.md 2.1)."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection, transaction

from accounts import selectors
from accounts.models import User
from accounts.rules import Language, Role
from accounts.services import people
from core import clock
from core.errors import InvalidInput

PASSWORD = "demo-poultry-2026"  # noqa: S105 - shown to everybody, and refused outside development
LOCK = 7_110_001  # pg_advisory_xact_lock: one run at a time


@dataclass(frozen=True)
class Person:
    role: Role
    first_name: str
    last_name: str
    region: str = ""
    constituency: str = ""  # code
    language: Language = Language.ENGLISH

    @property
    def username(self) -> str:
        return self.role.lower()

    @property
    def phone(self) -> str:
        return f"+2332441000{list(Role).index(self.role) + 1:02}"

    @property
    def email(self) -> str:
        return "" if self.role == Role.FARMER else f"{self.first_name}.{self.last_name}@demo.example".lower()

    @property
    def where(self) -> str:
        return ", ".join(filter(None, (self.constituency, self.region))) or "all Ghana"


PEOPLE = [
    Person(Role.SUPER_ADMIN, "Akosua", "Mensah"),
    Person(Role.NATIONAL_ADMIN, "Kwame", "Owusu"),
    Person(Role.NATIONAL_STAFF, "Esi", "Quaye"),
    Person(Role.REGIONAL_ADMIN, "Yaw", "Boateng", "Ashanti"),
    Person(Role.REGIONAL_STAFF, "Abena", "Asante", "Ashanti"),
    Person(Role.CONSTITUENCY_ADMIN, "Kofi", "Agyeman", "Ashanti", "BNT"),
    Person(Role.CONSTITUENCY_STAFF, "Adwoa", "Sarpong", "Ashanti", "BNT"),
    Person(Role.EXTENSION_OFFICER, "Kwabena", "Osei", "Ashanti", "BNT"),
    Person(Role.VETERINARY_OFFICER, "Fuseini", "Alhassan", "Northern", "TLC"),
    Person(Role.YEA_OFFICIAL, "Dzifa", "Agbeko", "Volta", "HOC"),
    Person(Role.PROCUREMENT_OFFICER, "Naa", "Lamptey"),
    Person(Role.FINANCE_OFFICER, "Kojo", "Appiah"),
    Person(Role.AUDITOR, "Mariama", "Iddrisu"),
    Person(Role.INSTITUTIONAL_SUBSCRIBER, "Nii", "Tetteh"),
    Person(Role.FARMER, "Ama", "Darko", "Greater Accra", "TMW", Language.TWI),
]


class Command(BaseCommand):
    help = "Load demonstration people, one in every role. Development only. Safe to repeat, also at the same time."
    requires_system_checks = []  # in production the refusal below is the answer, not a list of what else is missing

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--list-sign-ins", action="store_true", help="print how to sign in as each of them")

    def handle(self, *args: object, list_sign_ins: bool = False, **options: object) -> None:
        if settings.PMS_ENV != "development":
            raise CommandError(
                "Demonstration people have a known password and are refused in production. "
                "Set PMS_ENV=development if this is not a production system."
            )
        try:
            created = load()
        except InvalidInput as refused:
            raise CommandError(f"Nothing was loaded. {refused}") from refused
        self.stdout.write(f"Demonstration people: {created} created, {len(PEOPLE) - created} already there.")
        if list_sign_ins:
            self.stdout.write(sign_ins())


@transaction.atomic
def load() -> int:
    """Write the people that are missing; says how many. All or nothing. Safe to repeat by username."""
    if len(_present(is_demo=True)) == len(PEOPLE):
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
    present = _present()
    missing = [person for person in PEOPLE if person.username not in present]
    created = [_create(person).pk for person in missing]
    hashed = make_password(PASSWORD)  # once for all: Argon2 is slow on purpose
    User.objects.filter(pk__in=created).update(password=hashed)
    User.objects.filter(username__in=[person.username for person in PEOPLE]).update(is_demo=True)
    return len(created)


def _present(**more: bool) -> set[str]:
    found = User.objects.filter(username__in=[person.username for person in PEOPLE], **more)
    return set(found.values_list("username", flat=True))


def _create(person: Person) -> User:
    constituency = selectors.constituency(person.constituency) if person.constituency else None
    return people.create_user(
        username=person.username,
        phone=person.phone,
        role=person.role,
        activated_at=clock.now(),
        email=person.email,
        first_name=person.first_name,
        last_name=person.last_name,
        region=selectors.region(person.region) if person.region else None,
        district=constituency.district if constituency else None,
        constituency=constituency,
        language=person.language,
    )


def sign_ins() -> str:
    """A table of plain text: role, name, username, phone, password, where."""
    rows = [("ROLE", "NAME", "USERNAME", "PHONE", "PASSWORD", "WHERE")]
    for person in PEOPLE:
        name = f"{person.first_name} {person.last_name}"
        rows.append((person.role.value, name, person.username, person.phone, PASSWORD, person.where))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
