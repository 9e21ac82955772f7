"""Factories of farms. Each row is one that the services could have made."""

from __future__ import annotations

from datetime import date, timedelta

from factory.declarations import LazyAttribute, LazyFunction, SelfAttribute, Sequence, SubFactory
from factory.django import DjangoModelFactory

from core import clock
from farms.models import (
    Batch,
    BatchEnrollment,
    Biosecurity,
    DailyProduction,
    Farm,
    FarmApplication,
    FarmLocation,
    Flock,
)
from farms.rules import (
    ApplicationStatus,
    ApplicationType,
    BatchStatus,
    EnrollmentStatus,
    FlockType,
    ProductionType,
)
from tests.factories.accounts import ConstituencyFactory, UserFactory


def today() -> date:
    return clock.accra(clock.now()).date()


class FarmApplicationFactory(DjangoModelFactory[FarmApplication]):
    """An application in its first review, without the review's item: services.reviews opens it."""

    class Meta:
        model = FarmApplication

    application_number = Sequence("APP-2020-{:05}".format)
    application_type = ApplicationType.GOVERNMENT_PROGRAM
    full_name = "Kofi Mensah"
    date_of_birth = date(1998, 3, 14)
    primary_phone = Sequence("+23320{:07}".format)
    ghana_card_number = Sequence("GHA-{:09}-1".format)
    constituency = SubFactory(ConstituencyFactory)
    region = SelfAttribute("constituency.region")
    district = SelfAttribute("constituency.district")
    farm_name = Sequence("Mensah Farms {}".format)
    number_of_poultry_houses = 2
    total_bird_capacity = 1_000
    primary_production_type = ProductionType.LAYERS
    status = ApplicationStatus.CONSTITUENCY_REVIEW
    submitted_at = LazyFunction(clock.now)
    last_movement_at = SelfAttribute("submitted_at")


class FarmFactory(DjangoModelFactory[Farm]):
    """A farm with its farmer and application; `a_farm` adds what belongs to it."""

    class Meta:
        model = Farm
        exclude = ("place",)

    place = SubFactory(ConstituencyFactory)
    constituency = SelfAttribute("place")
    user = SubFactory(UserFactory, constituency=SelfAttribute("..place"), phone_verified=True)
    application = SubFactory(
        FarmApplicationFactory,
        constituency=SelfAttribute("..place"),
        status=ApplicationStatus.ACCOUNT_CREATED,
        farm_name=SelfAttribute("..farm_name"),
        primary_phone=SelfAttribute("..primary_phone"),
    )
    farm_number = LazyAttribute(lambda o: f"YEA-{o.place.region.code}-{o.place.code}-{int(o.user.phone[-7:]):04}")
    farm_name = Sequence("Darko Farms {}".format)
    ghana_card_number = SelfAttribute("application.ghana_card_number")
    primary_phone = SelfAttribute("user.phone")
    number_of_poultry_houses = 2
    total_bird_capacity = 1_000
    primary_production_type = ProductionType.LAYERS


def a_farm(*, located: bool = True, **fields: object) -> Farm:
    """A farm as accepting an invitation leaves it."""
    farm = FarmFactory.create(**fields)
    Biosecurity.objects.create(farm=farm)
    if located:
        FarmLocation.objects.create(
            farm=farm,
            is_primary=True,
            region=farm.constituency.region,
            district=farm.constituency.district,
            constituency=farm.constituency,
        )
    return farm


class BatchFactory(DjangoModelFactory[Batch]):
    """A live batch that takes applications for ten days and has ten slots."""

    class Meta:
        model = Batch

    batch_name = Sequence("Layers {}".format)
    batch_code = Sequence("LAY-{}".format)
    start_date = LazyFunction(today)
    end_date = LazyFunction(lambda: today() + timedelta(days=60))
    application_deadline = LazyFunction(lambda: today() + timedelta(days=10))
    total_slots = 10
    status = BatchStatus.LIVE


class BatchEnrollmentFactory(DjangoModelFactory[BatchEnrollment]):
    class Meta:
        model = BatchEnrollment

    farm = LazyFunction(a_farm)
    batch = SubFactory(BatchFactory)
    status = EnrollmentStatus.DRAFT
    last_movement_at = LazyFunction(clock.now)


class FlockFactory(DjangoModelFactory[Flock]):
    """Layers in their laying age that came two months ago."""

    class Meta:
        model = Flock

    farm = LazyFunction(a_farm)
    flock_number = Sequence(lambda n: n + 1)
    flock_type = FlockType.LAYERS
    arrival_date = LazyFunction(lambda: today() - timedelta(days=60))
    age_at_arrival_weeks = 18
    initial_count = 500
    current_count = SelfAttribute("initial_count")


class DailyProductionFactory(DjangoModelFactory[DailyProduction]):
    class Meta:
        model = DailyProduction

    flock = SubFactory(FlockFactory)
    production_date = LazyFunction(today)
    good_eggs = 400
    eggs_collected = SelfAttribute("good_eggs")
    recorded_by = SelfAttribute("flock.farm.user")
