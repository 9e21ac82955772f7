"""One request of the permission matrix."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from accounts import policy
from accounts.models import User
from core.base.registries import Place

OWN, NEAR, FAR = "BNT", "EJS", "TMW"  # whoever asks lives in the first; the second is of the same region


@dataclass(frozen=True)
class Case:
    """One request: what fills the address, what is sent, and what the policy is asked about.

    `sees`: whether who asks sees it at all, where another action decides that; `may`: what is expected of those whom
    it concerns, where no single action says it.
    """

    about: User | policy.Person | Place | policy.Farm | None = None
    ids: dict[str, str] = field(default_factory=dict)
    body: Any = field(default_factory=dict)
    sees: bool = False
    may: bool | None = None
    content_type: str = "application/json"
    token: str = ""
