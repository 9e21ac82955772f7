"""What the admins are told of sending: which rows each notice reads (words: core.delivery.messages)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from core import clock
from core.base.registries import Notice, Severity
from core.delivery import messages
from core.delivery.breaker import FOR_A_PERSON
from core.delivery.models import Campaign
from core.delivery.rules import Fault
from core.errors import InvalidInput, NotFound


def gateway_stopped(context: Mapping[str, Any]) -> Notice:
    """`provider`, `fault`, `since`, `reason`. One that comes and goes is told once an hour."""
    provider, fault, since = _stop(context)
    severity = Severity.CRITICAL if fault in FOR_A_PERSON else Severity.WARNING
    title, text = messages.gateway_stopped(
        provider=provider, fault=fault, when=clock.words(since), reason=str(context.get("reason", ""))[:500]
    )
    return Notice(title, text, severity, ("gateway", provider), _once(provider, fault, since))


def gateway_back(context: Mapping[str, Any]) -> Notice:
    """`provider`, `fault`, and `since`, when it had stopped."""
    provider, fault, since = _stop(context)
    title, text = messages.gateway_back(provider=provider, fault=fault, since=clock.words(since))
    return Notice(title, text, Severity.INFO, ("gateway", provider), _once(provider, fault, since))


def sms_budget_used(context: Mapping[str, Any]) -> Notice:
    """`day` and `ceiling`. Once a day."""
    try:
        day = date.fromisoformat(str(context.get("day")))
    except ValueError as error:
        raise InvalidInput("day must be a date such as 2026-11-23.") from error
    title, text = messages.budget_used_up(day=f"{day:%a %-d %b}", ceiling=_amount(context))
    return Notice(title, text, Severity.WARNING, ("sms_budget", day.isoformat()), day.isoformat())


def campaign_over_ceiling(context: Mapping[str, Any]) -> Notice:
    """`campaign_id` and `ceiling`. Once for each ceiling of a campaign."""
    try:
        campaign = Campaign.objects.get(pk=uuid.UUID(str(context.get("campaign_id"))))
    except ValueError as error:
        raise InvalidInput("This notice needs campaign_id, the id of a stored campaign.") from error
    except Campaign.DoesNotExist as error:
        raise NotFound("There is no such campaign. Pass the id of a stored one.") from error
    ceiling = _amount(context)
    title, text = messages.campaign_over_ceiling(
        name=campaign.name or campaign.audience, campaign_id=str(campaign.pk), ceiling=ceiling, spent=campaign.spent
    )
    return Notice(title, text, Severity.WARNING, ("campaign", str(campaign.pk)), f"{campaign.pk}/{ceiling}")


def _stop(context: Mapping[str, Any]) -> tuple[str, Fault, datetime]:
    provider = context.get("provider")
    if provider not in messages.PROVIDERS:
        raise InvalidInput(f"The provider is one of: {', '.join(messages.PROVIDERS)}.")
    try:
        fault = Fault(str(context.get("fault")))
        since = datetime.fromisoformat(str(context.get("since")))
    except ValueError as error:
        raise InvalidInput(f"This notice needs since, a time, and fault, one of: {', '.join(Fault)}.") from error
    return str(provider), fault, since if since.tzinfo else since.replace(tzinfo=clock.ACCRA)


def _once(provider: str, fault: Fault, since: datetime) -> str:
    moment = clock.accra(since)
    return f"{provider}/{fault}/{moment.isoformat() if fault in FOR_A_PERSON else f'{moment:%Y-%m-%dT%H}'}"


def _amount(context: Mapping[str, Any]) -> Decimal:
    try:
        return Decimal(str(context.get("ceiling")))
    except InvalidOperation as error:
        raise InvalidInput("ceiling must be an amount such as 50.00.") from error
