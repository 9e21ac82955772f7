"""The words of notices about sending, for people who run an office: what happened, what it means, what to do."""

from __future__ import annotations

from decimal import Decimal

from core.delivery.rules import Fault

PROVIDERS = {"hubtel": ("Hubtel", "SMS"), "smtp": ("the mail server", "e-mails")}
STOPPED = {
    Fault.UNREACHABLE: "{name} cannot be reached",
    Fault.NO_ANSWER: "{name} does not answer",
    Fault.UNAVAILABLE: "{name} is not available",
    Fault.THROTTLED: "{name} refuses further requests",
    Fault.NO_FUNDS: "The credit at {name} is used up",
    Fault.CREDENTIALS: "{name} refuses our credentials",
}
MEND = {
    Fault.NO_FUNDS: "What to do: top up the key of this account at {name}. Sending goes on by itself within a minute.",
    Fault.CREDENTIALS: (
        "What to do: correct what the reason names in the settings of the server and restart the workers. Sending goes"
        " on by itself within a minute."
    ),
}
NOTHING_TO_MEND = (
    "What to do: nothing, if it passes. It is tried again every 20 seconds, and sending goes on by itself within a"
    " minute of its return. If it lasts, ask {name}."
)


def gateway_stopped(*, provider: str, fault: Fault, when: str, reason: str) -> tuple[str, str]:
    name, what = PROVIDERS.get(provider, (provider, "messages"))
    title = STOPPED[fault].format(name=name)
    title = title[:1].upper() + title[1:]
    return (
        f"{title}: no {what} go out",
        (
            f"{title} since {when}.\n"
            f"Reason: {reason}\n"
            f"What it means: no {what} go out at present. Nothing is lost: they wait, none is given up for it, and"
            " those with an end of their own expire at that time.\n"
            f"{MEND.get(fault, NOTHING_TO_MEND).format(name=name)}\n"
            "See what waits, on the server: manage.py lanes list"
        ),
    )


def gateway_back(*, provider: str, fault: Fault, since: str) -> tuple[str, str]:
    name, what = PROVIDERS.get(provider, (provider, "messages"))
    was = STOPPED[fault].format(name=name)
    return (
        f"{what[:1].upper()}{what[1:]} go out again",
        f"{was[:1].upper()}{was[1:]}: that was so since {since} and is over. What has waited goes out now.",
    )


def budget_used_up(*, day: str, ceiling: Decimal) -> tuple[str, str]:
    return (
        "The SMS budget of the day is used up: bulk SMS wait",
        (
            f"The SMS of {day} have reached the day's ceiling of GHS {ceiling:,.2f}.\n"
            "What it means: bulk SMS wait for tomorrow. Codes, security and service messages still go out.\n"
            "What to do: nothing, if that is meant. To let them go today, raise the setting sms.daily_budget_ghs."
        ),
    )


def campaign_over_ceiling(*, name: str, campaign_id: str, ceiling: Decimal, spent: Decimal) -> tuple[str, str]:
    return (
        f"A campaign has reached its ceiling and is paused: {name}",
        (
            f"The campaign {name} ({campaign_id}) may cost GHS {ceiling:,.2f}; GHS {spent:,.2f} is spent.\n"
            "What it means: the messages that have not left wait.\n"
            "What to do: cancel it, or raise its ceiling and resume it."
        ),
    )
