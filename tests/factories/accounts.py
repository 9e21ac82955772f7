"""Factories of accounts. Geography is found or made, because tests with real transactions empty every table."""

from __future__ import annotations

from functools import cache

from django.contrib.auth.hashers import make_password
from factory.declarations import LazyAttribute, LazyFunction, SelfAttribute, Sequence, SubFactory
from factory.django import DjangoModelFactory

from accounts import rules
from accounts.models import Constituency, District, Region, User
from accounts.rules import Role
from core import clock

PASSWORD = "a-password-of-a-test"


@cache
def password_hash() -> str:
    """Hashed once: Argon2 is slow on purpose."""
    return make_password(PASSWORD)


class RegionFactory(DjangoModelFactory[Region]):
    class Meta:
        model = Region
        django_get_or_create = ("code",)

    code = "AH"
    name = "Ashanti"
    capital = "Kumasi"


class DistrictFactory(DjangoModelFactory[District]):
    class Meta:
        model = District
        django_get_or_create = ("region", "name")

    region = SubFactory(RegionFactory)
    name = "Kumasi Metropolitan"
    kind = rules.DistrictKind.METROPOLITAN
    source = rules.Source.DEMO_SAMPLE


class ConstituencyFactory(DjangoModelFactory[Constituency]):
    class Meta:
        model = Constituency
        django_get_or_create = ("code",)

    district = SubFactory(DistrictFactory)
    region = SelfAttribute("district.region")
    code = "BNT"
    name = "Bantama"
    source = rules.Source.DEMO_SAMPLE


def home_region(role: str, constituency: Constituency | None) -> Region | None:
    if constituency:
        return constituency.region
    return RegionFactory.create() if role in rules.NEED_REGION else None


class UserFactory(DjangoModelFactory[User]):
    """A farmer who can sign in with PASSWORD. Every other role gets the e-mail address and the place it needs."""

    class Meta:
        model = User

    username = Sequence("person{}".format)
    phone = Sequence("+23324{:07}".format)
    email = LazyAttribute(lambda o: "" if o.role == Role.FARMER else f"{o.username}@example.com")
    first_name = "Ama"
    last_name = "Darko"
    password = LazyFunction(password_hash)
    role = Role.FARMER
    is_superuser = LazyAttribute(lambda o: o.role == Role.SUPER_ADMIN)
    activated_at = LazyFunction(clock.now)
    is_demo = True  # no second factor: it has tests of its own, with people who are not
    constituency = LazyAttribute(lambda o: ConstituencyFactory.create() if o.role in rules.NEED_CONSTITUENCY else None)

    region = LazyAttribute(lambda o: home_region(o.role, o.constituency))
