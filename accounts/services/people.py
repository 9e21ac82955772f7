"""People: how they come to be, and what one of them does to another."""

from __future__ import annotations

import re
import unicodedata
import uuid
from datetime import datetime
from secrets import randbelow

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from psycopg.errors import UniqueViolation

from accounts import messages, policy, rules, selectors
from accounts.models import (
    Constituency,
    District,
    Region,
    RoleChange,
    SecurityEvent,
    StaffInvitation,
    StaffPermission,
    User,
)
from accounts.policy import Action
from accounts.rules import Code, CodePurpose, Role, SecurityKind
from accounts.services import acting, secrets
from accounts.services.trail import NOWHERE, Origin, security_event, write_down
from core import clock
from core.base.cleaning import sentence
from core.base.registries import Place
from core.delivery.services import addressee, queue_templated
from core.errors import Conflict, InvalidInput, NotAllowed
from core.jobs.services import enqueue

LONGEST_NAME = 60  # in a username that is made of it
DETAILS = frozenset(
    {"first_name", "last_name", "language", "preferred_contact_method"}
)  # that people change themselves


def create_user(
    *,
    username: str,
    phone: str,
    role: str,
    activated_at: datetime | None,
    password: str | None = None,
    email: str = "",
    first_name: str = "",
    last_name: str = "",
    region: Region | None = None,
    district: District | None = None,
    constituency: Constituency | None = None,
    preferred_contact_method: str = rules.ContactMethod.SMS,
    language: str = rules.Language.ENGLISH,
) -> User:
    """Write a new person: active since `activated_at`, or invited when that is None (domain.md 4.1.2).

    Phone, e-mail, role and contact method are normalised; the region follows from the constituency or district. Raises
    InvalidInput, which names every field at fault and shows no personal data; then nothing was written.
    """
    place = constituency or district
    parsed_role = rules.parse_role(role)
    try:
        with transaction.atomic():
            return User.objects.create_user(
                username,
                password,
                phone=phone,
                email=email,
                first_name=first_name,
                last_name=last_name,
                role=parsed_role,
                is_superuser=parsed_role == Role.SUPER_ADMIN,
                region=region or (place.region if place else None),
                district=district,
                constituency=constituency,
                preferred_contact_method=rules.parse_contact_method(preferred_contact_method),
                language=language,
                is_active=activated_at is not None,
                activated_at=activated_at,
            )
    except ValidationError as refused:
        raise InvalidInput(sentence(refused)) from refused
    except IntegrityError as refused:  # written by someone else since it was checked
        if isinstance(refused.__cause__, UniqueViolation):
            # from None: PostgreSQL's detail repeats the number or the address
            raise InvalidInput("A person with this username, phone or e-mail address already exists") from None
        raise


@transaction.atomic
def create_person(
    *,
    actor: User,
    phone: str,
    role: str,
    first_name: str,
    last_name: str,
    email: str = "",
    username: str = "",
    region: Region | None = None,
    constituency: Constituency | None = None,
    preferred_contact_method: str = rules.ContactMethod.SMS,
    language: str = rules.Language.ENGLISH,
    now: datetime,
) -> User:
    """Write a person whom the actor manages, as invited, and send them a link to choose a password (domain.md 2.2).

    Without a username one is made of the name. Raises NotAllowed, and InvalidInput as `create_user`.
    """
    actor = acting.anew(actor)
    around = region or (constituency.region if constituency else None)
    home = Place(around.pk if around else None, constituency.pk if constituency else None)
    acting.must_manage(actor, rules.parse_role(role), home, now)
    user = create_user(
        username=username or free_username(first_name, last_name),
        phone=phone,
        role=role,
        activated_at=None,
        email=email,
        first_name=first_name,
        last_name=last_name,
        region=region,
        district=constituency.district if constituency else None,
        constituency=constituency,
        preferred_contact_method=preferred_contact_method,
        language=language,
    )
    write_down("user.create", actor, user, after=place_and_role(user))
    enqueue("accounts.tasks.send_welcome_notification", str(user.pk))
    return user


def register_farmer(
    *,
    phone: str,
    first_name: str,
    last_name: str,
    password: str,
    email: str = "",
    language: str = rules.Language.ENGLISH,
    region: Region | None = None,
    constituency: Constituency | None = None,
    now: datetime,
) -> User | None:
    """Open the account of a farmer, who is welcomed and gets a code to confirm the number (domain.md 4.1.2).

    A number or address that somebody has already opens nothing and gives None, after the same time: the door must
    answer both alike. Its owner is told, once a day. Raises InvalidInput, for a known number as for a new one.
    """
    candidate = User(
        username=free_username(first_name, last_name),
        email=email,
        phone=phone,
        first_name=first_name,
        last_name=last_name,
        password="!",  # noqa: S106 - not one yet; the field may not be empty
        language=language,
        region=region or (constituency.region if constituency else None),
        district=constituency.district if constituency else None,
        constituency=constituency,
    )
    try:  # all but what is unique: that must not be told
        candidate.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as refused:
        raise InvalidInput(sentence(refused)) from refused
    secrets.checked_password(password, candidate)
    with secrets.steadily():
        return _register(candidate, password, now)


@transaction.atomic
def _register(candidate: User, password: str, now: datetime) -> User | None:
    known = selectors.owners(phone=candidate.phone, email=candidate.email)
    candidate.set_password(password)  # also in vain: it is what takes the time
    if not known:
        try:
            with transaction.atomic():
                candidate.activated_at = now
                candidate.save(force_insert=True)
        except IntegrityError as refused:
            known = selectors.owners(phone=candidate.phone, email=candidate.email)  # who came first at this moment
            if not known or not isinstance(refused.__cause__, UniqueViolation):
                raise
        else:
            enqueue("accounts.tasks.send_welcome_notification", str(candidate.pk))
            secrets.ask_for_code(user=candidate, purpose=CodePurpose.PHONE_VERIFICATION, now=now)
            return candidate
    for owner in known:
        queue_templated(
            messages.ALREADY_REGISTERED.key,
            to=addressee(owner.pk),
            values={"name": owner.called, "site": settings.BASE_URL},
            once=f"already-registered:{owner.pk}:{clock.accra(now).date()}",
            subject=("user", str(owner.pk)),
            serious=True,
        )
    return None


@transaction.atomic
def change_details(*, user: User, now: datetime, **details: str) -> User:
    """Change what people say of themselves: first_name, last_name, language, preferred_contact_method.

    Safe to repeat. Raises InvalidInput, which names every field at fault.
    """
    row = acting.anew(user)
    for name in DETAILS & set(details):
        setattr(row, name, details[name])
    row.preferred_contact_method = rules.parse_contact_method(row.preferred_contact_method)
    try:
        row.full_clean(exclude={"password"})
    except ValidationError as refused:
        raise InvalidInput(sentence(refused)) from refused
    row.updated_at = now
    row.save(update_fields=[*DETAILS, "updated_at"])
    return row


def free_username(first_name: str, last_name: str) -> str:
    """A username that nobody has: the name and six digits."""
    name = unicodedata.normalize("NFKC", f"{first_name} {last_name}".lower())
    words = re.sub(r"\W+", ".", name).strip(".")[:LONGEST_NAME] or "person"
    while True:
        username = f"{words}.{randbelow(10**6):06}"
        if not User.objects.filter(username=username).exists():
            return username


# --- what one person does to another -------------------------------------------------------------------------------


@transaction.atomic
def change_role(
    *,
    actor: User,
    user_id: uuid.UUID,
    role: str,
    region: Region | None = None,
    constituency: Constituency | None = None,
    reason: str,
    now: datetime,
) -> RoleChange:
    """Give a person another role or place, which ends all sessions of theirs (domain.md 2.2, 4.1.2).

    The actor must manage the person as they are and as they will be. The region follows from the constituency. Grants
    belong to the old role and place: they are taken back. The person and the admins above them are told. Raises
    NotFound for a person the actor does not see, NotAllowed, InvalidInput for a role without the place it needs,
    Conflict when it is so already.
    """
    because = acting.checked_reason(reason)
    new_role = rules.parse_role(role)
    if constituency and region and constituency.region_id != region.pk:
        raise InvalidInput("This constituency lies in another region.")
    new_region = region or (constituency.region if constituency else None)
    actor, user = acting.both(actor, user_id, now)
    acting.must_be_allowed(actor, Action.CHANGE_ROLE, user, now)
    new_home = Place(new_region.pk if new_region else None, constituency.pk if constituency else None)
    if not policy.manages(selectors.person(actor, now), new_role, new_home):
        raise NotAllowed("You cannot give this role there. You give the roles that you manage, inside your own area.")
    if (user.role, user.home) == (new_role.value, new_home):
        raise Conflict("This person has this role and place already.")
    change = RoleChange(
        user=user,
        old_role=user.role,
        new_role=new_role,
        old_region_id=user.region_id,
        new_region_id=new_home.region_id,
        old_constituency_id=user.constituency_id,
        new_constituency_id=new_home.constituency_id,
        changed_by=actor,
        reason=because,
    )
    before = place_and_role(user)
    user.role = new_role
    if user.home != new_home:
        user.region, user.constituency = new_region, constituency
        user.district = constituency.district if constituency else None
    try:
        user.full_clean(exclude={"password"})
    except ValidationError as refused:
        raise InvalidInput(sentence(refused)) from refused
    _end_sessions(user)
    user.save(update_fields=["role", "region", "district", "constituency", "token_version", "updated_at"])
    change.save(force_insert=True)
    enqueue("accounts.tasks.notify_role_change", str(change.pk))
    lost = list(user.staff_permissions.order_by("code").values_list("code", flat=True))
    user.staff_permissions.all().delete()
    write_down(
        "user.change_role",
        actor,
        user,
        before=before | {"grants": lost},
        after=place_and_role(user) | {"grants": []},
        reason=because,
    )
    return change


@transaction.atomic
def grant(*, actor: User, user_id: uuid.UUID, code: str, now: datetime) -> bool:
    """Grant a code to a person of the staff. False when it was granted already; safe to repeat.

    Raises NotFound, NotAllowed, and InvalidInput for an unknown code.
    """
    wanted = _code(code)
    actor, user = acting.both(actor, user_id, now)
    _must_grant(actor, wanted, user, now)
    _, is_new = StaffPermission.objects.get_or_create(user=user, code=wanted, defaults={"granted_by": actor})
    if is_new:
        write_down("user.grant", actor, user, after={"code": wanted.value})
    return is_new


@transaction.atomic
def revoke(*, actor: User, user_id: uuid.UUID, code: str, now: datetime) -> bool:
    """Take a granted code back; whoever may grant it may do so. False when it was not granted; safe to repeat."""
    wanted = _code(code)
    actor, user = acting.both(actor, user_id, now)
    _must_grant(actor, wanted, user, now)
    removed, _ = StaffPermission.objects.filter(user=user, code=wanted).delete()
    if removed:
        write_down("user.revoke", actor, user, before={"code": wanted.value})
    return bool(removed)


@transaction.atomic
def suspend(
    *,
    actor: User,
    user_id: uuid.UUID,
    reason: str,
    until: datetime | None = None,
    now: datetime,
    origin: Origin = NOWHERE,
) -> SecurityEvent:
    """Keep a person out until a time, or without end, and end all sessions of theirs. Platform admins are told, unless
    it is a farmer. Raises NotFound, NotAllowed, InvalidInput, and Conflict when the person is suspended already.
    """
    because = acting.checked_reason(reason)
    if until is not None and until <= now:
        raise InvalidInput("until lies in the past. Give a time to come, or leave it out to suspend without end.")
    actor, user = acting.both(actor, user_id, now)
    acting.must_be_allowed(actor, Action.SUSPEND, user, now)
    if user.is_suspended_at(now):
        raise Conflict("This person is suspended already. Lift the suspension first to change it.")
    user.is_suspended, user.suspended_at, user.suspended_until = True, now, until
    user.suspended_by, user.suspension_reason = actor, because
    _end_sessions(user)
    user.save(update_fields=[*SUSPENSION, "token_version", "updated_at"])
    event = security_event(SecurityKind.SUSPENDED, actor, user, origin)
    write_down("user.suspend", actor, user, after={"until": until.isoformat() if until else None}, reason=because)
    return event


@transaction.atomic
def lift_suspension(
    *, actor: User, user_id: uuid.UUID, reason: str, now: datetime, origin: Origin = NOWHERE
) -> SecurityEvent:
    """Let a suspended person in again. Raises NotFound, NotAllowed, and Conflict when nobody keeps the person out."""
    because = acting.checked_reason(reason)
    actor, user = acting.both(actor, user_id, now)
    acting.must_be_allowed(actor, Action.SUSPEND, user, now)
    if not user.is_suspended_at(now):
        raise Conflict("This person is not suspended.")
    before = {"since": user.suspended_at, "until": user.suspended_until, "reason": user.suspension_reason}
    user.is_suspended, user.suspended_at, user.suspended_until = False, None, None
    user.suspended_by, user.suspension_reason = None, ""
    user.save(update_fields=[*SUSPENSION, "updated_at"])
    event = security_event(SecurityKind.UNSUSPENDED, actor, user, origin)
    write_down("user.lift_suspension", actor, user, before=before, reason=because)
    return event


@transaction.atomic
def force_sign_out(
    *, actor: User, user_id: uuid.UUID, reason: str, now: datetime, origin: Origin = NOWHERE
) -> SecurityEvent:
    """End all sessions of a person, who may sign in again. Platform admins are told, unless it is a farmer. Raises
    NotFound, NotAllowed, InvalidInput.
    """
    because = acting.checked_reason(reason)
    actor, user = acting.both(actor, user_id, now)
    acting.must_be_allowed(actor, Action.FORCE_SIGN_OUT, user, now)
    _end_sessions(user)
    user.save(update_fields=["token_version", "updated_at"])
    event = security_event(SecurityKind.FORCED_SIGN_OUT, actor, user, origin)
    write_down("user.force_sign_out", actor, user, reason=because)
    return event


@transaction.atomic
def unlock(*, actor: User, user_id: uuid.UUID, now: datetime) -> None:
    """Let a person try to sign in again before the lock of failed sign-ins is over. Raises NotFound, NotAllowed, and
    Conflict when the account is not locked.
    """
    actor, user = acting.both(actor, user_id, now)
    acting.must_be_allowed(actor, Action.UNLOCK, user, now)
    if user.locked_until is None or user.locked_until <= now:
        raise Conflict("This account is not locked.")
    before = {"locked_until": user.locked_until, "failed_login_attempts": user.failed_login_attempts}
    user.locked_until, user.failed_login_attempts = None, 0
    user.save(update_fields=["locked_until", "failed_login_attempts", "updated_at"])
    write_down("user.unlock", actor, user, before=before)


SUSPENSION = ("is_suspended", "suspended_at", "suspended_until", "suspended_by", "suspension_reason")


def _must_grant(actor: User, code: Code, user: User, now: datetime) -> None:
    if not policy.may_grant(selectors.person(actor, now), code, selectors.person(user, now)):
        raise NotAllowed(
            "Codes are granted to staff by an admin who manages them, when the code belongs to the level of both."
        )


def _code(text: str) -> Code:
    if text not in Code.values:
        raise InvalidInput(f"This code is not known. Use one of: {', '.join(Code.values)}")
    return Code(text)


def _end_sessions(user: User) -> None:
    user.token_version += 1  # the row is locked


def place_and_role(of: User | StaffInvitation) -> dict[str, str | None]:
    return {
        "role": of.role,
        "region": of.region.code if of.region else None,
        "constituency": of.constituency.code if of.constituency else None,
    }
