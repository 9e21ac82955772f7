"""The gateways: one file per provider, and the only place where network libraries are imported.

To add one: a file here with a class that has `name`, `configured()` and `send…()` returning `Answer`s; its settings in
core/settings.py and .env.example; its line in `core.delivery.dispatch`; its table of answers in tests/delivery/. One
that tells later what became of a message has `status()` and `batch_status()` too, and its line in
`core.delivery.receipts`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from core.delivery.rules import Fault, Status, SuppressionReason, Verdict


@dataclass(frozen=True)
class Answer:
    """What a provider said of one message. `reason` never holds a number, an address or a text.

    `fault` is what is wrong with the provider as a whole, if anything; `wait` the seconds it asks us to stay away.
    `suppress` says that the address takes no message at all, and why.
    """

    verdict: Verdict
    provider_id: str = ""
    cost: Decimal | None = None
    reason: str = ""
    http_status: int | None = None
    body_status: str = ""
    fault: Fault | None = None
    wait: float | None = None
    network: str = ""
    suppress: SuppressionReason | None = None


@dataclass(frozen=True)
class BatchAnswer:
    """What a provider said of one call with many messages: `overall` for those not in `each` (phone in E.164)."""

    overall: Answer
    batch_id: str = ""
    each: dict[str, Answer] = field(default_factory=dict)


class Look(StrEnum):
    """What asking a provider for a status came to."""

    FOUND = "found"
    UNKNOWN = "unknown"  # the provider does not know the id
    AWAY = "away"  # no answer, or none for now; it is no fault of the message
    NOT_CONFIGURED = "not_configured"  # our credentials or address; a person must act
    UNREADABLE = "unreadable"  # an answer that tells nothing of what was asked


@dataclass(frozen=True)
class StatusReport:
    """What a provider says of one message by now.

    `text` is its own word, `status` what that means here: '' for a word that nobody knows. `raw` is what came, without
    the text and the numbers of the message.
    """

    provider_id: str
    text: str
    status: Status | Literal[""] = ""
    at: datetime | None = None
    rate: Decimal | None = None
    network: str = ""
    units: int | None = None
    phone: str = ""
    batch_id: str = ""
    raw: str = ""


@dataclass(frozen=True)
class StatusAnswer:
    """The answer to a question for one id. `reports` are there when it is `found`, of a batch perhaps not for all."""

    look: Look
    reports: tuple[StatusReport, ...] = ()
    reason: str = ""
    fault: Fault | None = None
    wait: float | None = None
    http_status: int | None = None
