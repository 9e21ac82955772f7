"""Who acts, on whom, and why: the actor and the person read anew under lock, and whether the policy lets them."""

from __future__ import annotations

import uuid
from datetime import datetime

from accounts import policy, selectors
from accounts.models import User
from accounts.policy import Action
from accounts.rules import Role
from core.base.ids import new_id
from core.base.registries import Place
from core.errors import InvalidInput, NotAllowed, NotFound

LONGEST_REASON = 500


def anew(actor: User) -> User:
    """The actor as they stand now, under lock: not as they stood when the request began."""
    return User.objects.select_for_update(no_key=True).get(pk=actor.pk)


def manages(actor: User, role: Role, home: Place, now: datetime) -> bool:
    """Whether the actor may create people of that role who live there."""
    somebody = policy.Person(id=new_id(), role=role, home=home)
    return policy.allows(selectors.person(actor, now), Action.CREATE_PERSON, somebody)


def must_manage(actor: User, role: Role, home: Place, now: datetime) -> None:
    if not manages(actor, role, home, now):
        raise NotAllowed("You create people of the roles that you manage, inside your own area.")


def both(actor: User, user_id: uuid.UUID, now: datetime) -> tuple[User, User]:
    """Actor and person, read anew under lock in the order of their ids; NotFound for whom the actor does not see."""
    wanted = User.objects.select_for_update(no_key=True).filter(pk__in=[actor.pk, user_id]).order_by("pk")
    found = {user.pk: user for user in wanted}
    who, user = found.get(actor.pk), found.get(user_id)
    if who is None or user is None or not _allowed(who, Action.SEE_PERSON, user, now):
        raise NotFound("There is no such person, or not in your scope.")
    return who, user


def _allowed(actor: User, action: Action, user: User, now: datetime) -> bool:
    return policy.allows(selectors.person(actor, now), action, selectors.person(user, now))


def must_be_allowed(actor: User, action: Action, user: User, now: datetime) -> None:
    if actor.pk == user.pk:
        raise NotAllowed("Nobody does this to their own account. Ask another administrator.")
    if not _allowed(actor, action, user, now):
        raise NotAllowed("Your role does not let you do this to this person.")


def checked_reason(text: str) -> str:
    reason = text.strip()
    if not 1 <= len(reason) <= LONGEST_REASON:
        raise InvalidInput(f"Give a reason of 1 to {LONGEST_REASON} letters.")
    return reason
