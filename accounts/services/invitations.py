"""Invitations of those who work for the system: by e-mail, for a role and a place, once (domain.md 4.1.2)."""

from __future__ import annotations

import uuid
from datetime import datetime
from secrets import token_urlsafe
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from psycopg.errors import UniqueViolation

from accounts import links, messages, rules, selectors
from accounts.models import Constituency, Region, StaffInvitation, User
from accounts.rules import INVITATION_TRANSITIONS, InvitationStatus, Role
from accounts.services import acting, people, secrets, telling
from core import clock
from core.base.cleaning import sentence
from core.base.services import record
from core.delivery.services import Addressee, queue_templated
from core.errors import Conflict, InvalidInput, NotFound
from core.jobs.services import enqueue

ALREADY = "This address has an open invitation. Send that again, or cancel it first."


@transaction.atomic
def invite(
    *,
    actor: User,
    email: str,
    role: str,
    region: Region | None = None,
    constituency: Constituency | None = None,
    now: datetime,
) -> StaffInvitation:
    """Invite somebody into a role that the actor manages, for seven days. The region follows from the constituency.

    Raises NotAllowed, InvalidInput, and Conflict for an address that has an account or an open invitation.
    """
    actor = acting.anew(actor)
    invitation = StaffInvitation(
        email=email,
        role=rules.parse_role(role),
        region=region or (constituency.region if constituency else None),
        constituency=constituency,
        invited_by=actor,
        expires_at=now + rules.INVITATION_LIFE,
    )
    acting.must_manage(actor, Role(invitation.role), invitation.home, now)
    if constituency and region and constituency.region_id != region.pk:
        raise InvalidInput("This constituency lies in another region.")
    try:
        invitation.clean_fields()
        same = StaffInvitation.objects.select_for_update().filter(
            email=invitation.email, status=InvitationStatus.PENDING
        )
        for earlier in same:
            if earlier.is_open_at(now):
                raise Conflict(ALREADY)
            _move(earlier, InvitationStatus.EXPIRED)  # it is over; the cleanup has not come by yet
        if selectors.owners(email=invitation.email):
            raise Conflict("Somebody with this e-mail address has an account. Change their role instead.")
        invitation.validate_constraints(exclude={"email"})  # of two at this moment the index decides
        with transaction.atomic():
            invitation.save(force_insert=True)
    except ValidationError as refused:
        raise InvalidInput(sentence(refused)) from refused
    except IntegrityError as refused:  # written by someone else since it was looked for
        if isinstance(refused.__cause__, UniqueViolation):
            raise Conflict(ALREADY) from None  # PostgreSQL's detail repeats the address
        raise
    _write_down("invitation.create", actor, invitation)
    enqueue("accounts.tasks.send_staff_invitation", str(invitation.pk))
    return invitation


@transaction.atomic
def cancel(*, actor: User, invitation_id: uuid.UUID, now: datetime) -> StaffInvitation:
    """Take an invitation back: its link is not good any more. Raises NotFound for one that is not the actor's to
    manage, Conflict when it is over.
    """
    actor, invitation = _both(actor, invitation_id, now)
    _move(invitation, InvitationStatus.CANCELLED)
    _write_down("invitation.cancel", actor, invitation)
    return invitation


@transaction.atomic
def again(*, actor: User, invitation_id: uuid.UUID, now: datetime) -> StaffInvitation:
    """Send an invitation anew, with a new link for seven days; the one before is not good any more. As `cancel`."""
    actor, invitation = _both(actor, invitation_id, now)
    invitation.token_hash, invitation.sent_at = "", None
    invitation.expires_at = now + rules.INVITATION_LIFE
    invitation.save(update_fields=["token_hash", "sent_at", "expires_at", "updated_at"])
    _write_down("invitation.again", actor, invitation)
    enqueue("accounts.tasks.send_staff_invitation", str(invitation.pk))
    return invitation


@transaction.atomic
def send(*, invitation_id: uuid.UUID, now: datetime) -> dict[str, Any]:
    """Make the link of an invitation and send it by e-mail (domain.md 7.8).

    Safe to repeat: 'duplicate' once it is sent. Raises NotFound.
    """
    invitation = StaffInvitation.objects.select_for_update().filter(pk=invitation_id).first()
    if invitation is None:
        raise NotFound(f"There is no invitation {invitation_id}. Pass the id of a stored one.")
    if invitation.sent_at is not None:
        return {"status": "duplicate", "channels": []}
    if not invitation.is_open_at(now):
        return {"status": "skipped", "channels": [], "reason": "accepted, cancelled or expired"}
    token = token_urlsafe(32)
    invitation.token_hash, invitation.sent_at = rules.token_hash(token), now
    invitation.save(update_fields=["token_hash", "sent_at", "updated_at"])
    told = queue_templated(
        messages.STAFF_INVITATION.key,
        to=Addressee(email=invitation.email),
        values={
            "by": telling.name(invitation.invited_by),
            "position": telling.position(Role(invitation.role), invitation.region, invitation.constituency),
            "until": clock.words(invitation.expires_at),
            "link": links.absolute(links.INVITATION, token),
        },
        once=f"invitation:{invitation.pk}:{invitation.expires_at.isoformat()}",  # each sending has an end of its own
        subject=("invitation", str(invitation.pk)),
        not_after=invitation.expires_at,
    )
    return secrets.outcome(*told.messages)


@transaction.atomic
def accept(
    *,
    token: str,
    phone: str,
    first_name: str,
    last_name: str,
    password: str,
    username: str = "",
    language: str = rules.Language.ENGLISH,
    now: datetime,
) -> User:
    """Open the account that the link invites to. Its e-mail address is confirmed by the link. Of two at once, one does.

    Raises LinkNotGood, and InvalidInput as `people.create_user` and for a weak password; then the link stays good.
    """
    invitation = StaffInvitation.objects.select_for_update().filter(token_hash=rules.token_hash(token)).first()
    if invitation is None or not invitation.is_open_at(now):
        raise secrets.LinkNotGood
    about = {
        "username": username or people.free_username(first_name, last_name),
        "email": invitation.email,
        "first_name": first_name,
        "last_name": last_name,
    }
    secrets.checked_password(password, User(**about))
    constituency = invitation.constituency
    user = people.create_user(
        **about,
        phone=phone,
        role=invitation.role,
        activated_at=now,
        password=password,
        region=invitation.region,
        district=constituency.district if constituency else None,
        constituency=constituency,
        language=language,
    )
    user.email_verified = True
    user.save(update_fields=["email_verified", "updated_at"])
    invitation.user = user
    _move(invitation, InvitationStatus.ACCEPTED)
    enqueue("accounts.tasks.send_welcome_notification", str(user.pk))
    return user


def _both(actor: User, invitation_id: uuid.UUID, now: datetime) -> tuple[User, StaffInvitation]:
    """Actor and open invitation, read anew under lock; NotFound for an invitation to what the actor does not manage."""
    actor = acting.anew(actor)
    invitation = StaffInvitation.objects.select_for_update().filter(pk=invitation_id).first()
    if invitation is None or not acting.manages(actor, Role(invitation.role), invitation.home, now):
        raise NotFound("There is no such invitation, or not in your scope.")
    if not invitation.is_open_at(now):
        raise Conflict("This invitation is over. Invite anew.")
    return actor, invitation


def _move(invitation: StaffInvitation, to: InvitationStatus) -> None:
    if to not in INVITATION_TRANSITIONS[InvitationStatus(invitation.status)]:
        raise Conflict(f"An invitation that is {invitation.status} does not become {to}.")
    invitation.status = to
    invitation.save(update_fields=["status", "user", "updated_at"])


def _write_down(action: str, actor: User, invitation: StaffInvitation) -> None:
    record(
        action=action,
        subject=("invitation", str(invitation.pk)),
        actor_id=actor.pk,
        after=people.place_and_role(invitation) | {"status": str(invitation.status)},
    )
