"""The gateways: one file per provider, and the only place where network libraries are imported.

To add one: a file here with a class that has `name`, `configured()` and `send…()` returning `Answer`s; its settings in
core/settings.py and .env.example; its line in `core.delivery.dispatch`; its table of answers in tests/delivery/.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from core.delivery.rules import Fault, Verdict


@dataclass(frozen=True)
class Answer:
    """What a provider said of one message. `reason` never holds a number, an address or a text.

    `fault` is what is wrong with the provider as a whole, if anything; `wait` the seconds it asks us to stay away.
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


@dataclass(frozen=True)
class BatchAnswer:
    """What a provider said of one call with many messages: `overall` for those not in `each` (phone in E.164)."""

    overall: Answer
    batch_id: str = ""
    each: dict[str, Answer] = field(default_factory=dict)
