"""Signing in: attempts and the lock, second factors, trusted devices, sessions (domain.md 4.1.2).

allauth asks for these from its hooks (accounts.adapters, stages, forms, views). It keeps sessions and second factors in
tables of its own; what they mean for an account is decided here.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from allauth.mfa.utils import decrypt
from allauth.usersessions.models import UserSession
from django.contrib.auth import HASH_SESSION_KEY
from django.contrib.auth.hashers import make_password
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now

from accounts import rules, selectors
from accounts.models import LoginRecord, SecurityEvent, TrustedDevice, User
from accounts.policy import Action
from accounts.rules import Refusal, SecurityKind
from accounts.services import acting, secrets
from accounts.services.trail import Origin, security_event, write_down
from core import clock
from core.base import figures
from core.errors import Conflict, NotAllowed, NotFound
from core.jobs.services import enqueue

REMEMBERED = timedelta(days=180)  # a device or place that was not seen for so long is new again
TRUSTED = timedelta(days=30)
FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)


@dataclass(frozen=True)
class Visit:
    """Where a request comes from. `is_known_device`: it has an id that nobody else can guess."""

    ip: str | None = None
    user_agent: str = ""
    device_hash: str = ""
    is_known_device: bool = False
    place: str = ""

    @property
    def origin(self) -> Origin:
        return Origin(ip=self.ip, device=self.user_agent)


# --- attempts ------------------------------------------------------------------------------------------------------


def attempt(*, typed: str, password: str, visit: Visit, now: datetime) -> User | None:
    """The person with this phone number, e-mail address or username, when the password is theirs and nothing stands
    against them. Else None: why is in the record, and the work was the same, one hash of the password included.
    """
    user = selectors.who_signs_in(typed)
    right = _is_password(user, password)
    against = Refusal.UNKNOWN if user is None else selectors.stands_against(user, now)
    if against is None and right:
        return user
    record_failure(user_id=user.pk if user else None, reason=against or Refusal.PASSWORD, visit=visit, now=now)
    return None


def confirm_password(*, user: User, password: str, visit: Visit, now: datetime) -> bool:
    """Whether this is the password of somebody who is signed in. A wrong one counts as a failed sign-in."""
    right = _is_password(user, password)
    user.refresh_from_db(fields=["locked_until", "is_suspended", "suspended_until", "is_active"])
    against = selectors.stands_against(user, now)
    if against is None and right:
        return True
    record_failure(user_id=user.pk, reason=against or Refusal.PASSWORD, visit=visit, now=now)
    return False


def _is_password(user: User | None, password: str) -> bool:
    password = password.encode(errors="replace").decode()  # half a character cannot be hashed
    if user is None:
        make_password(password)  # an unknown name costs as much as a known one
        return False
    return user.check_password(password)


@transaction.atomic
def record_failure(*, user_id: uuid.UUID | None, reason: Refusal, visit: Visit, now: datetime) -> LoginRecord:
    """Write a failed attempt down. A wrong password or second factor counts, and so many in a row lock the account.

    Of many at once each is counted, and those after the lock are refused for it. Not safe to repeat.
    """
    user = User.objects.select_for_update(no_key=True).get(pk=user_id) if user_id else None
    if user and reason in rules.COUNTED:
        if user.is_locked_at(now):
            reason = Refusal.LOCKED
        else:
            _count(user, now)
    return _record(user, visit, now, refusal=reason)


def _count(user: User, now: datetime) -> None:
    most, minutes = figures.read(figures.LOCKOUT_FAILURES, figures.LOCKOUT_MINUTES)
    if user.locked_until:  # a lock that is over has ended by itself
        user.failed_login_attempts, user.locked_until = 0, None
    user.failed_login_attempts += 1
    if user.failed_login_attempts >= most:
        user.locked_until = now + timedelta(minutes=minutes)
    user.save(update_fields=["failed_login_attempts", "locked_until", "updated_at"])


@transaction.atomic
def record_success(*, user_id: uuid.UUID, visit: Visit, now: datetime) -> LoginRecord:
    """Let somebody in who has passed every check, and warn them of a new device or place.

    Looks once more under lock: whom something stands against by now gets a record of failure, which the caller must
    honour. The very first sign-in of an account warns nobody. Not safe to repeat.
    """
    user = User.objects.select_for_update(no_key=True).get(pk=user_id)
    against = selectors.stands_against(user, now)
    if against:
        return _record(user, visit, now, refusal=against)
    if user.failed_login_attempts or user.locked_until:
        user.failed_login_attempts, user.locked_until = 0, None
        user.save(update_fields=["failed_login_attempts", "locked_until", "updated_at"])
    seen = LoginRecord.objects.filter(user=user, success=True, at__gt=now - REMEMBERED)
    record = _record(
        user,
        visit,
        now,
        is_new_device=not seen.filter(device_hash=visit.device_hash).exists(),
        is_new_place=bool(visit.place) and not seen.filter(place=visit.place).exists(),
    )
    if user.last_login and (record.is_new_device or record.is_new_place):
        enqueue("accounts.tasks.send_login_alert", str(record.pk))
    return record


def _record(
    user: User | None,
    visit: Visit,
    now: datetime,
    *,
    refusal: Refusal | None = None,
    is_new_device: bool = False,
    is_new_place: bool = False,
) -> LoginRecord:
    return LoginRecord.objects.create(
        user=user,
        at=now,
        ip=visit.ip,
        user_agent=visit.user_agent,
        device_hash=visit.device_hash,
        place=visit.place,
        success=refusal is None,
        failure_reason=refusal or "",
        is_new_device=is_new_device,
        is_new_place=is_new_place,
    )


# --- passwords -----------------------------------------------------------------------------------------------------


@transaction.atomic
def change_password(*, user: User, password: str, origin: Origin, now: datetime) -> None:
    """Give somebody who is signed in a new password, which ends all sessions but those the caller renews. Tells them.

    `user` is changed too. Not safe to repeat: each call ends the sessions.
    """
    row = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    row.set_password(password)
    row.token_version += 1
    row.save(update_fields=["password", "token_version", "updated_at"])
    user.password, user.token_version = row.password, row.token_version
    secrets.tell_of_change(row, origin, now)


# --- second factors ------------------------------------------------------------------------------------------------


@transaction.atomic
def check_code(*, user_id: uuid.UUID, code: str, visit: Visit, now: datetime) -> Authenticator | None:
    """The second factor that this code proves, which is used up by it; None for a wrong one, which counts as a failed
    sign-in, and while the account is locked or suspended.
    """
    user = User.objects.select_for_update(no_key=True).get(pk=user_id)
    against = selectors.stands_against(user, now)
    if against:
        _record(user, visit, now, refusal=against)
        return None
    authenticator: Authenticator
    for authenticator in Authenticator.objects.select_for_update().filter(user=user).order_by("pk"):
        authenticator.user = user
        if authenticator.type == Authenticator.Type.TOTP and _is_new_totp(authenticator, code):
            return authenticator
        if authenticator.type == Authenticator.Type.RECOVERY_CODES and authenticator.wrap().validate_code(code):
            _tell_of_factor(SecurityKind.BACKUP_CODE_USED, user, visit.origin)
            return authenticator
    record_failure(user_id=user.pk, reason=Refusal.SECOND_FACTOR, visit=visit, now=now)
    return None


def _is_new_totp(authenticator: Authenticator, code: str) -> bool:
    """Right, and of a later time step than the last code that was used: nobody who looked on can use it again."""
    secret, last = decrypt(authenticator.data["secret"]), authenticator.data.get("last_step", 0)
    for step in totp.yield_hotp_counters_from_time():
        right = compare_user_code(actual=code, expected=totp.format_hotp_value(totp.hotp_value(secret, step)))
        if right and step > last:
            authenticator.data["last_step"] = step
            authenticator.save(update_fields=["data"])
            return True
    return False


@contextmanager
def factors_watched(*, user_id: uuid.UUID, origin: Origin) -> Iterator[None]:
    """What is done to a person's second factors within is one transaction with what follows from it.

    Raises NotAllowed, and undoes it, when somebody who must have a second factor would be left without.
    """
    with transaction.atomic():
        user = User.objects.select_for_update(no_key=True).get(pk=user_id)
        before = _factors(user)
        yield
        second_factor_changed(user=user, before=before, after=_factors(user), origin=origin)


def second_factor_changed(*, user: User, before: set[int], after: set[int], origin: Origin) -> None:
    """Say that second factors came or that the last one went; without one no device is trusted any longer."""
    if after - before:
        _tell_of_factor(SecurityKind.MFA_ENABLED, user, origin)
    elif before and not after:
        if user.must_have_second_factor:
            raise NotAllowed(
                "Your role needs a second factor, so the last one stays. Add the new one first, then remove this one."
            )
        revoke_devices(user_id=user.pk)
        _tell_of_factor(SecurityKind.MFA_DISABLED, user, origin)


def _factors(user: User) -> set[int]:
    return set(Authenticator.objects.filter(user=user, type__in=FACTORS).values_list("pk", flat=True))


def _tell_of_factor(kind: SecurityKind, user: User, origin: Origin, actor: User | None = None) -> SecurityEvent:
    event = security_event(kind, actor or user, user, origin)
    enqueue("accounts.tasks.send_mfa_alert", str(event.pk))
    return event


@transaction.atomic
def reset_mfa(*, actor: User, user_id: uuid.UUID, reason: str, now: datetime, origin: Origin) -> SecurityEvent:
    """Take a person's second factors, recovery codes and trusted devices away, for one who has lost them.

    The person is told, and the platform's admins unless it is a farmer. Raises NotFound, NotAllowed, InvalidInput, and
    Conflict when there is no second factor.
    """
    because = acting.checked_reason(reason)
    actor, user = acting.both(actor, user_id, now)
    acting.must_be_allowed(actor, Action.RESET_MFA, user, now)
    if not _factors(user):
        raise Conflict("This person has no second factor.")
    Authenticator.objects.filter(user=user).delete()
    revoke_devices(user_id=user.pk)
    write_down("user.reset_mfa", actor, user, reason=because)
    return _tell_of_factor(SecurityKind.MFA_RESET, user, origin, actor)


# --- trusted devices -----------------------------------------------------------------------------------------------


def trust_device(*, user_id: uuid.UUID, visit: Visit, now: datetime) -> TrustedDevice | None:
    """Ask for no second factor on this device for 30 days; from now on, when that was so already.

    None for a device without an id of its own, which others could pass for.
    """
    if not visit.is_known_device:
        return None
    device, _ = TrustedDevice.objects.update_or_create(
        user_id=user_id,
        device_hash=visit.device_hash,
        defaults={"user_agent": visit.user_agent, "trust_expires_at": now + TRUSTED, "revoked_at": None},
    )
    return device


def is_trusted(*, user_id: uuid.UUID, visit: Visit, now: datetime) -> bool:
    return (
        visit.is_known_device and selectors.trusted_devices(user_id, now).filter(device_hash=visit.device_hash).exists()
    )


def revoke_device(*, user_id: uuid.UUID, device_id: uuid.UUID) -> None:
    """Ask for the second factor there again. Safe to repeat; raises NotFound for a device that is not this person's."""
    if not TrustedDevice.objects.filter(pk=device_id, user=user_id).exists():
        raise NotFound("There is no such device among yours.")
    _revoke(TrustedDevice.objects.filter(pk=device_id))


def revoke_devices(*, user_id: uuid.UUID) -> None:
    """As `revoke_device`, for all of a person's devices."""
    _revoke(TrustedDevice.objects.filter(user=user_id))


def _revoke(devices: QuerySet[TrustedDevice]) -> None:
    devices.filter(revoked_at=None).update(revoked_at=Now(), updated_at=Now())


# --- sessions ------------------------------------------------------------------------------------------------------


def sessions_of(*, actor: User, user_id: uuid.UUID, now: datetime) -> list[UserSession]:
    """Where a person is signed in, oldest first: one's own, and those of others for whoever may sign them out.

    Raises NotFound and NotAllowed.
    """
    user = _whose(actor, user_id, now)
    rows = list(UserSession.objects.filter(user=user).order_by("created_at", "pk"))
    stored = Session.objects.filter(pk__in=[row.session_key for row in rows], expire_date__gt=now)
    valid = {user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()}
    living = {one.session_key for one in stored if one.get_decoded().get(HASH_SESSION_KEY) in valid}
    return [row for row in rows if row.session_key in living]


@transaction.atomic
def end_session(*, actor: User, user_id: uuid.UUID, session_id: int, now: datetime) -> None:
    """Sign a person out in one place; the access tokens of that session end with it. Not safe to repeat.

    Raises NotAllowed, and NotFound for a session that is none of theirs or has ended.
    """
    user = _whose(actor, user_id, now)
    session = UserSession.objects.filter(pk=session_id, user=user).first()
    if session is None:
        raise NotFound("There is no such session; it may have ended.")
    session.end()
    if actor.pk != user.pk:
        write_down("user.end_session", actor, user, before={"device": rules.device_name(session.user_agent)})


def _whose(actor: User, user_id: uuid.UUID, now: datetime) -> User:
    if actor.pk == user_id:
        return actor
    user = User.objects.filter(pk=user_id).first()
    if user is None or not selectors.may(actor, Action.SEE_PERSON, user):
        raise NotFound("There is no such person, or not in your scope.")
    acting.must_be_allowed(actor, Action.MANAGE_SESSIONS, user, now)
    return user


# --- what is over --------------------------------------------------------------------------------------------------


@transaction.atomic
def forget_sessions(_now: datetime, limit: int) -> int:
    """Remove what allauth has kept of sessions that are gone. A step of the clean-up of what has run out."""
    lives = Session.objects.filter(session_key=OuterRef("session_key"))
    gone = UserSession.objects.select_for_update(skip_locked=True).filter(~Exists(lives)).order_by("pk")
    return UserSession.objects.filter(pk__in=list(gone.values_list("pk", flat=True)[:limit])).delete()[0]


@transaction.atomic
def forget_devices(now: datetime, limit: int) -> int:
    """Remove devices whose time is over. A step, as above; a clock that runs ahead ends nothing early."""
    ended = TrustedDevice.objects.filter(trust_expires_at__lt=min(now, clock.now()))
    over = ended.select_for_update(skip_locked=True).order_by("trust_expires_at")
    return TrustedDevice.objects.filter(pk__in=list(over.values_list("pk", flat=True)[:limit])).delete()[0]
