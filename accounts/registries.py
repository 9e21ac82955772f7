"""What accounts needs of the apps above it: people and farms that are seen by name, not by place (domain.md 2.1)."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from django.db.models import Q

from accounts.policy import Person
from core.base.registries import Registry

# Further people whom this person sees, such as the farmers of an officer's farms: a condition on User.
people_seen: Registry[Callable[[Person], Q]] = Registry()
# Is this farm (second id) one of this person's (first id): own, assigned, or as extension officer?
farms_seen: Registry[Callable[[uuid.UUID, uuid.UUID], bool]] = Registry()
