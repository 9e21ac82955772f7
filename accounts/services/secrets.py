"""Tokens and codes: asked for at a door, made by the task that sends them, used once (domain.md 4.1).

A secret is made in the transaction that keeps its hash and writes its message, under the lock of its person. So a crash
leaves both or neither, and the secret itself stands in the sealed message alone.
"""

from __future__ import annotations

import hmac
import secrets
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import QuerySet

from accounts import links, messages, rules, selectors
from accounts.models import OPEN, AccountToken, OneTimeCode, User
from accounts.rules import CodePurpose, SecurityKind, TokenPurpose
from accounts.services.trail import NOWHERE, Origin, security_event
from core import clock, phones
from core.delivery.models import OutboundMessage
from core.delivery.rules import Status
from core.delivery.sealing import keyed_hash
from core.delivery.services import Addressee, addressee, queue_templated
from core.delivery.wording import Template
from core.errors import Conflict, DomainError, InvalidInput, NotFound
from core.jobs.services import enqueue

ANSWER_SECONDS = 0.25  # more than the work for a known account takes
LONGEST_PASSWORD = 256
SETS_PASSWORD = (TokenPurpose.PASSWORD_RESET, TokenPurpose.SET_PASSWORD)
PAGES: Mapping[str, str] = {
    TokenPurpose.PASSWORD_RESET: links.NEW_PASSWORD,
    TokenPurpose.SET_PASSWORD: links.NEW_PASSWORD,
    TokenPurpose.EMAIL_VERIFICATION: links.VERIFY_EMAIL,
}
CODE_WORDS: Mapping[str, Template] = {
    CodePurpose.PHONE_VERIFICATION: messages.PHONE_CODE,
    CodePurpose.PASSWORD_RESET: messages.RESET_CODE,
    CodePurpose.GUEST_ORDER: messages.ORDER_CODE,
}


class LinkNotGood(NotFound):
    """A link that was used, replaced or cancelled, has expired, or was never made: nobody is told which."""

    def __init__(self, said: str = "This link is not good any more. Ask for a new one.") -> None:
        super().__init__(said)


class WrongCode(InvalidInput):
    """A code that is wrong or not good any more."""

    def __init__(
        self, said: str = "This code is wrong or not good any more. Look at the last SMS, or ask for a new code."
    ) -> None:
        super().__init__(said)


class TooMany(DomainError):
    """Too many codes or links in a short time."""

    status = 429


@contextmanager
def steadily() -> Iterator[None]:
    """Answer after the same time whether there was something to do or not: it would tell who has an account."""
    began = time.monotonic()
    try:
        yield
    finally:
        time.sleep(max(0.0, ANSWER_SECONDS - (time.monotonic() - began)))


# --- asking --------------------------------------------------------------------------------------------------------


def request_password_reset(*, identifier: str, ip: str | None, now: datetime) -> None:
    """Send the person of this phone, e-mail address or username a link and a code for a new password.

    Nothing is told, and it takes the same time, when there is nobody, the account is closed, or it was asked for too
    often. Safe to repeat within the limits: each request replaces the one before.
    """
    with steadily():
        _request_reset(identifier, ip, now)


@transaction.atomic
def _request_reset(identifier: str, ip: str | None, now: datetime) -> None:
    found = selectors.known_by(identifier)
    if found is None:
        return
    if ip is not None:
        _lock(f"accounts.reset {ip}")
        of_address = AccountToken.objects.filter(requested_ip=ip, purpose=TokenPurpose.PASSWORD_RESET)
        if not _may_have_another(of_address, rules.ADDRESS_RESET_LIMITS, now):
            return
    user = locked(found.pk)
    earlier = AccountToken.objects.filter(user=user, purpose=TokenPurpose.PASSWORD_RESET)
    if user.is_open_at(now) and _may_have_another(earlier, rules.RESET_LIMITS, now):
        token = new_token(user, TokenPurpose.PASSWORD_RESET, now, ip)
        enqueue("accounts.tasks.send_password_reset_notification", str(token.pk))


@transaction.atomic
def ask_to_verify_email(*, user: User, now: datetime) -> AccountToken:
    """Send a link to the e-mail address of the person. Raises InvalidInput without an address, Conflict when it is
    confirmed already, TooMany.
    """
    user = locked(user.pk)
    if not user.email:
        raise InvalidInput("This account has no e-mail address. Add one first.")
    if user.email_verified:
        raise Conflict("This e-mail address is confirmed already.")
    earlier = AccountToken.objects.filter(user=user, purpose=TokenPurpose.EMAIL_VERIFICATION)
    if not _may_have_another(earlier, rules.SECRET_LIMITS, now):
        raise TooMany("Several links were sent. Look into your mailbox, or ask again in a quarter of an hour.")
    return new_verification(user, now)


def new_verification(user: User, now: datetime) -> AccountToken:
    """The link to the e-mail address of a person who is locked by the caller."""
    token = new_token(user, TokenPurpose.EMAIL_VERIFICATION, now)
    enqueue("accounts.tasks.send_verification_link", str(token.pk))
    return token


@transaction.atomic
def ask_for_code(
    *,
    purpose: CodePurpose,
    user: User | None = None,
    phone: str = "",
    subject_id: str = "",
    ip: str | None = None,
    now: datetime,
) -> OneTimeCode:
    """Send a code to the phone of a person, or to a phone of somebody without an account. A newer code replaces the
    one before. A stranger's `ip` is counted too. Raises InvalidInput for a bad number, TooMany.
    """
    if ip is not None:
        _lock(f"accounts.codes {ip}")
        if not _may_have_another(OneTimeCode.objects.filter(requested_ip=ip), rules.ADDRESS_CODE_LIMITS, now):
            raise TooMany("Too many codes were asked for from this internet connection. Try again tomorrow.")
    whose = _lock_owner(user, phone)
    if not _may_have_another(OneTimeCode.objects.filter(**whose, purpose=purpose), rules.SECRET_LIMITS, now):
        raise TooMany("Several codes were sent. Look at the last SMS, or ask again in a quarter of an hour.")
    code = _new_code(whose, purpose, subject_id, now, ip)
    enqueue("accounts.tasks.send_one_time_code", str(code.pk))
    return code


def new_token(user: User, purpose: TokenPurpose, now: datetime, ip: str | None = None) -> AccountToken:
    """An open token of a person who is locked by the caller, without its secret. It replaces the one before."""
    AccountToken.objects.filter(OPEN, user=user, purpose=purpose).update(superseded_at=now)
    return AccountToken.objects.create(
        user=user, purpose=purpose, expires_at=now + rules.TOKEN_LIFE[purpose], requested_ip=ip
    )


def _new_code(
    whose: Mapping[str, Any], purpose: CodePurpose, subject_id: str, now: datetime, ip: str | None = None
) -> OneTimeCode:
    about = {**whose, "purpose": purpose, "subject_id": subject_id}
    OneTimeCode.objects.filter(OPEN, **about).update(superseded_at=now)
    return OneTimeCode.objects.create(**about, requested_ip=ip, expires_at=now + rules.CODE_LIFE)


def _may_have_another(
    earlier: QuerySet[AccountToken] | QuerySet[OneTimeCode], limits: Collection[rules.Limit], now: datetime
) -> bool:
    times = earlier.filter(created_at__gt=now - rules.DAY).values_list("created_at", flat=True)
    return rules.may_have_another(times, limits, now)


# --- making and sending --------------------------------------------------------------------------------------------


@transaction.atomic
def send_reset(*, request_id: uuid.UUID, now: datetime) -> dict[str, Any]:
    """Make and send the link by e-mail and the code by SMS of a reset that was asked for (domain.md 7.6).

    Safe to repeat: 'duplicate' once it is sent. Raises NotFound for an unknown request.
    """
    token = _to_send(request_id, [TokenPurpose.PASSWORD_RESET])
    if why_not := _why_not(token, token.user, now):
        return why_not
    code = _new_code({"user": token.user}, CodePurpose.PASSWORD_RESET, "", now)
    values = {"name": token.user.called, "until": clock.words(token.expires_at)}
    link = send_link(token, messages.RESET_LINK, values, once=f"reset:{token.pk}", now=now)
    return outcome(*link, *_send_code(code, token.user, now))


@transaction.atomic
def send_verification(*, token_id: uuid.UUID, now: datetime) -> dict[str, Any]:
    """Make and send the link by which a person confirms their e-mail address. As `send_reset`."""
    token = _to_send(token_id, [TokenPurpose.EMAIL_VERIFICATION])
    if why_not := _why_not(token, token.user, now):
        return why_not
    values = {"until": clock.words(token.expires_at)}
    return outcome(*send_link(token, messages.VERIFY_EMAIL, values, once=f"verify-email:{token.pk}", now=now))


@transaction.atomic
def send_code(*, code_id: uuid.UUID, now: datetime) -> dict[str, Any]:
    """Make and send a code that was asked for (domain.md 7.8). As `send_reset`."""
    asked = OneTimeCode.objects.filter(pk=code_id).first()
    if asked is None:
        raise NotFound(f"There is no code {code_id}. Pass the id of a stored one.")
    user = locked(asked.user_id) if asked.user_id else None
    code = OneTimeCode.objects.select_for_update().get(pk=code_id)
    return _why_not(code, user, now) or outcome(*_send_code(code, user, now))


def send_link(
    token: AccountToken, template: Template, values: Mapping[str, str], *, once: str, now: datetime
) -> tuple[OutboundMessage, ...]:
    """Make the secret of a token whose person is locked by the caller, and write the message with its link."""
    secret = secrets.token_urlsafe(32)
    told = queue_templated(
        template.key,
        to=addressee(token.user_id),
        values={**values, "link": links.absolute(PAGES[token.purpose], secret)},
        once=once,
        subject=("user", str(token.user_id)),
        not_after=token.expires_at,
    )
    if told.messages:
        token.token_hash, token.sent_to = rules.token_hash(secret), told.messages[0].recipient
    token.sent_at = now
    token.save(update_fields=["token_hash", "sent_to", "sent_at", "updated_at"])
    return told.messages


def _send_code(code: OneTimeCode, user: User | None, now: datetime) -> tuple[OutboundMessage, ...]:
    digits = f"{secrets.randbelow(10**rules.CODE_DIGITS):0{rules.CODE_DIGITS}}"
    code.code_hash = _code_hash(code, user, digits)
    code.expires_at, code.sent_at = now + rules.CODE_LIFE, now
    code.save(update_fields=["code_hash", "expires_at", "sent_at", "updated_at"])
    return queue_templated(
        CODE_WORDS[code.purpose].key,
        to=addressee(user.pk) if user else Addressee(phone=code.phone),
        values={"code": digits, "minutes": int(rules.CODE_LIFE.total_seconds() // 60)},
        once=f"code:{code.pk}",
        subject=("user", str(user.pk)) if user else ("", ""),
        not_after=code.expires_at,
    ).messages


def _code_hash(code: OneTimeCode, user: User | None, digits: str) -> str:
    """Of the phone too: a code does not confirm a number that the person has taken since."""
    return keyed_hash(f"one-time code {code.pk} {user.phone if user else code.phone} {digits}")


def _to_send(token_id: uuid.UUID, purposes: Collection[TokenPurpose]) -> AccountToken:
    found = AccountToken.objects.filter(pk=token_id, purpose__in=purposes).first()
    if found is None:
        raise NotFound(f"There is no request {token_id}. Pass the id of a stored one.")
    locked(found.user_id)
    return AccountToken.objects.select_related("user").get(pk=token_id)


def _why_not(secret: AccountToken | OneTimeCode, user: User | None, now: datetime) -> dict[str, Any] | None:
    """Why a secret is not sent, None when it is."""
    if secret.sent_at is not None:
        return {"status": "duplicate", "channels": []}
    if not secret.is_open_at(now):
        return {"status": "skipped", "channels": [], "reason": "used, replaced or expired"}
    if user is not None and not user.is_open_at(now):
        return {"status": "skipped", "channels": [], "reason": "the account is closed"}
    return None


def outcome(*written: OutboundMessage) -> dict[str, Any]:
    """What a task answers that has written these messages: 'ok', or 'held' or 'suppressed' when all of them are."""
    states = {message.status for message in written if message.status != Status.SUPPRESSED}
    status = "suppressed" if not states else "held" if states == {Status.HELD} else "ok"
    return {"status": status, "channels": [message.channel for message in written]}


# --- using ---------------------------------------------------------------------------------------------------------


@transaction.atomic
def use_token(*, token: str, purposes: Collection[TokenPurpose], now: datetime) -> AccountToken:
    """Use up the token of a link, and lock its person. Of two at once, one does. Raises LinkNotGood."""
    seen = selectors.open_token(token, purposes, now)
    if seen is not None:
        locked(seen.user_id)
        seen = selectors.open_token(token, purposes, now)  # as it stands under the lock
    if seen is None:
        raise LinkNotGood
    seen.used_at = now
    seen.save(update_fields=["used_at", "updated_at"])
    return seen


@transaction.atomic
def use_code(
    *, purpose: CodePurpose, code: str, user: User | None = None, phone: str = "", subject_id: str = "", now: datetime
) -> bool:
    """Whether this is the code that was sent last; then it is used up. Each try counts, five at most.

    A try is counted in the caller's transaction: raise an error for a wrong code only after its commit, or it can be
    tried for ever.
    """
    whose = _lock_owner(user, phone)
    sent = OneTimeCode.objects.filter(OPEN, **whose, purpose=purpose, subject_id=subject_id).first()
    if sent is None or not sent.code_hash or not sent.is_open_at(now) or sent.attempts >= rules.CODE_ATTEMPTS:
        return False
    digits = rules.typed_code(code)
    sent.attempts += 1
    right = bool(digits) and hmac.compare_digest(_code_hash(sent, whose.get("user"), digits), sent.code_hash)
    if right:
        sent.used_at = now
    sent.save(update_fields=["attempts", "used_at", "updated_at"])
    return right


def verify_email(*, token: str, now: datetime) -> User:
    """Confirm the e-mail address that the link went to. Raises LinkNotGood."""
    with transaction.atomic():
        user = use_token(token=token, purposes=[TokenPurpose.EMAIL_VERIFICATION], now=now).user
        user.email_verified = True
        user.save(update_fields=["email_verified", "updated_at"])
        return user


def verify_phone(*, user: User, code: str, now: datetime) -> None:
    """Confirm the phone that the code went to. Raises WrongCode; the try is counted."""
    with transaction.atomic(durable=True):
        right = use_code(user=user, purpose=CodePurpose.PHONE_VERIFICATION, code=code, now=now)
        if right:
            User.objects.filter(pk=user.pk).update(phone_verified=True, updated_at=now)
    if not right:
        raise WrongCode


def set_password_by_token(*, token: str, password: str, now: datetime, origin: Origin = NOWHERE) -> User:
    """Set the password of whom the link is for: a new one after a reset, or the first one, which activates the person.

    It ends all sessions and the lock of failed sign-ins, and closes what else could set the password. Raises
    LinkNotGood, and InvalidInput for a weak password; then the link stays good.
    """
    with transaction.atomic():
        user = use_token(token=token, purposes=SETS_PASSWORD, now=now).user
        _set_password(user, password, now, origin)
        return user


def reset_password_by_code(
    *, identifier: str, code: str, password: str, now: datetime, origin: Origin = NOWHERE
) -> User:
    """Set a new password by the code of a reset. As `set_password_by_token`.

    Raises WrongCode, after the same time whether or not there is such an account; the try is counted. Raises
    InvalidInput for a weak password; then the code stays good.
    """
    checked_password(password)  # before it is known whose it is, so that the answer tells nothing
    with steadily():
        found = selectors.known_by(identifier)
        user = _reset_by_code(found, code, password, now, origin) if found else None
    if user is None:
        raise WrongCode
    return user


@transaction.atomic(durable=True)
def _reset_by_code(found: User, code: str, password: str, now: datetime, origin: Origin) -> User | None:
    user = locked(found.pk)
    right = use_code(user=user, purpose=CodePurpose.PASSWORD_RESET, code=code, now=now)
    if not right or not user.is_open_at(now):
        return None
    _set_password(user, password, now, origin)
    return user


def checked_password(password: str, user: User | None = None) -> None:
    """Raises InvalidInput, with what to do, for a password that is too weak, or too like this person's details."""
    try:
        password.encode()
    except UnicodeEncodeError:
        raise InvalidInput("The password contains half of a character. Choose another one.") from None
    if len(password) > LONGEST_PASSWORD:
        raise InvalidInput(f"The password is longer than {LONGEST_PASSWORD} characters. Choose a shorter one.")
    try:
        validate_password(password, user)
    except ValidationError as weak:
        raise InvalidInput(" ".join(weak.messages)) from weak


def _set_password(user: User, password: str, now: datetime, origin: Origin) -> None:
    checked_password(password, user)
    is_change = user.has_usable_password()
    user.set_password(password)
    user.token_version += 1  # the row is locked
    user.locked_until, user.failed_login_attempts = None, 0
    if not user.is_active:
        user.is_active, user.activated_at = True, now
    user.save(
        update_fields=[
            *("password", "token_version", "locked_until", "failed_login_attempts"),
            *("is_active", "activated_at", "updated_at"),
        ]
    )
    AccountToken.objects.filter(OPEN, user=user, purpose__in=SETS_PASSWORD).update(superseded_at=now)
    OneTimeCode.objects.filter(OPEN, user=user, purpose=CodePurpose.PASSWORD_RESET).update(superseded_at=now)
    if is_change:
        tell_of_change(user, origin, now)


def tell_of_change(user: User, origin: Origin, now: datetime) -> None:
    """Write down that a password was changed, and tell its owner, in the caller's transaction."""
    event = security_event(SecurityKind.PASSWORD_CHANGED, user, user, origin)
    queue_templated(
        messages.PASSWORD_CHANGED.key,
        to=addressee(user.pk),
        values={"name": user.called, "when": clock.words(now), "site": settings.BASE_URL},
        once=f"password-changed:{event.pk}",
        subject=("user", str(user.pk)),
        serious=True,
    )


# --- locks ---------------------------------------------------------------------------------------------------------


def locked(user_id: uuid.UUID) -> User:
    """The person as they stand now. Whatever is done with a person's secrets is done under this lock."""
    return User.objects.select_for_update(no_key=True).get(pk=user_id)


def _lock_owner(user: User | None, phone: str) -> dict[str, Any]:
    """Whose a code is, as its columns, under a lock."""
    if user is not None:
        return {"user": locked(user.pk)}
    number = phones.normalise(phone)
    _lock(f"accounts.code {number}")
    return {"phone": number}


def _lock(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [name])
