"""What people are told of their accounts by the tasks of domain.md 7.6."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts import messages, rules, selectors
from accounts.models import Constituency, Region, RoleChange, User
from accounts.policy import COUNTRY_WIDE
from accounts.rules import Role, TokenPurpose
from accounts.services import secrets
from core import clock
from core.base.registries import Place
from core.delivery.services import Telling, addressee, is_told, queue_templated, queue_templated_all
from core.errors import NotFound


@transaction.atomic
def welcome(*, user_id: uuid.UUID, now: datetime) -> dict[str, Any]:
    """Welcome a new person by the way they prefer: who is invited with a link to choose a password, which is made here.
    An e-mail address that is not confirmed gets its link too.

    Safe to repeat: once for each person; 'duplicate' then. Raises NotFound.
    """
    user = User.objects.select_for_update(no_key=True).filter(pk=user_id).first()
    if user is None:
        raise NotFound(f"There is no person {user_id}. Pass the id of a stored one.")
    once = f"welcome:{user.pk}"
    if is_told(once):
        return {"status": "duplicate", "channel": ""}
    if not user.is_open_at(now):
        return {"status": "skipped", "channel": "", "reason": "the account is closed"}
    if user.email and not user.email_verified:
        secrets.new_verification(user, now)
    if user.has_usable_password():
        written = queue_templated(
            messages.WELCOME.key,
            to=addressee(user.pk),
            values={"name": user.called, "site": settings.BASE_URL},
            once=once,
            subject=("user", str(user.pk)),
        ).messages
    else:
        token = secrets.new_token(user, TokenPurpose.SET_PASSWORD, now)
        values = {
            "name": user.called,
            "role": user.get_role_display(),
            "days": str(rules.TOKEN_LIFE[TokenPurpose.SET_PASSWORD].days),
            "until": clock.words(token.expires_at),
        }
        written = secrets.send_link(token, messages.FIRST_PASSWORD, values, once=once, now=now)
    told = secrets.outcome(*written)
    return {"status": told["status"], "channel": next(iter(told["channels"]), "")}


@transaction.atomic
def role_change(*, change_id: uuid.UUID) -> int:
    """Tell a person of their new role or place by e-mail and SMS, and the admins of the level above, except who made
    the change. Returns how many people.

    Safe to repeat: once for each change and person. Raises NotFound.
    """
    places = ("old_region", "old_constituency", "new_region", "new_constituency")
    change = RoleChange.objects.select_related("user", "changed_by", *places).filter(pk=change_id).first()
    if change is None:
        raise NotFound(f"There is no change of role {change_id}. Pass the id of a stored one.")
    user, role = change.user, Role(change.new_role)
    facts = {
        "by": name(change.changed_by),
        "before": position(Role(change.old_role), change.old_region, change.old_constituency),
        "after": position(role, change.new_region, change.new_constituency),
        "when": clock.words(change.created_at),
    }
    about = ("user", str(user.pk))
    queue_templated(
        messages.ROLE_CHANGED.key,
        to=addressee(user.pk),
        values={"name": user.called, **facts},
        once=f"role-change:{change.pk}:{user.pk}",
        subject=about,
        serious=True,
    )
    admins = [
        admin
        for admin in selectors.overseers(role, Place(change.new_region_id, change.new_constituency_id))
        if admin.pk not in (change.changed_by_id, user.pk)
    ]
    values = {"person": f"{name(user)} ({user.username})", **facts}
    queue_templated_all(
        messages.ROLE_OF_ANOTHER_CHANGED.key,
        [Telling(addressee(admin.pk), values, f"role-change:{change.pk}:{admin.pk}", about) for admin in admins],
    )
    return 1 + len(admins)


def name(user: User) -> str:
    return user.get_full_name() or user.username


def position(role: Role, region: Region | None, constituency: Constituency | None) -> str:
    """A role and where it is, for people: Constituency staff, Bantama (Ashanti)."""
    if rules.LEVELS[role] in COUNTRY_WIDE:
        return f"{role.label}, all of Ghana"
    if region is None:
        return role.label
    return f"{role.label}, {constituency.name} ({region.name})" if constituency else f"{role.label}, {region.name}"
