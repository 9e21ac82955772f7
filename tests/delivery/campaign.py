"""Short ways to people, campaigns and what became of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from accounts.models import User
from accounts.rules import Role
from core.base.services import change_setting
from core.delivery import audiences, campaign_life, campaigns, consent
from core.delivery.models import Campaign, OutboundMessage
from core.delivery.rules import Channel, Purpose
from core.jobs.operations import Actor
from core.tasks import process_bulk_sms
from tests.factories import ConstituencyFactory, DistrictFactory, RegionFactory, UserFactory

TEXT = "Vaccination day is Friday."
TERMINAL = Actor(None, "ama@host (command line)")


def person(role: str = Role.NATIONAL_ADMIN, **fields: Any) -> User:
    return UserFactory.create(role=role, **fields)


def acting(user: User) -> Actor:
    return Actor(user.pk, user.username)


def admin(role: str = Role.NATIONAL_ADMIN, **fields: Any) -> Actor:
    return acting(person(role, **fields))


def farmers(count: int, region: str = "AH", **fields: Any) -> list[User]:
    """People who live in a region: Ashanti, or one of that code."""
    place = RegionFactory.create() if region == "AH" else RegionFactory.create(code=region, name=f"Region {region}")
    town = ConstituencyFactory.create(
        code="BNT" if region == "AH" else f"{region}X", name=f"Town {region}", district=DistrictFactory(region=place)
    )
    return [UserFactory.create(region=place, constituency=town, **fields) for _ in range(count)]


def figure(key: str, value: object) -> None:
    change_setting(key, value, actor_name="test")


def declines(phone: str) -> None:
    assert consent.choose(Channel.SMS, phone, Purpose.BULK, wanted=False, source=consent.Source.LINK)


def draft(actor: Actor, numbers: list[Any] | None = None, **about: Any) -> Campaign:
    """A draft to a list of numbers, or to `where`."""
    where = about.pop("where", None)
    audience = audiences.selected(where) if where is not None else audiences.listed(numbers or ["0244123456"])
    given: dict[str, Any] = {"text": TEXT, "audience": audience, **about}
    campaign, _ = campaign_life.create(actor=actor, **given)
    return campaign


def begun(actor: Actor, numbers: list[Any] | None = None, **about: Any) -> Campaign:
    campaign = draft(actor, numbers, **about)
    campaign_life.start(campaign_id=campaign.pk, actor=actor)
    return campaign


def carried_out(campaign: Campaign) -> dict[str, Any]:
    """What a worker does when it has taken the run that a decision asked for."""
    result: dict[str, Any] = process_bulk_sms([], "", campaign_id=str(campaign.pk))
    return result


def states(campaign: Campaign) -> dict[str, int]:
    """Its messages by state, with the reason behind it."""
    rows = OutboundMessage.objects.filter(campaign=campaign).values_list("status", "error")
    return dict(Counter(f"{status}: {error}" if error else status for status, error in rows))


def status(campaign: Campaign) -> str:
    campaigns.finish()
    return Campaign.objects.get(pk=campaign.pk).status
