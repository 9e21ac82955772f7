"""Reading people and geography."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db.models import Count, Q, QuerySet, Value
from django.db.models.expressions import OrderBy
from django.db.models.functions import Concat, Lower, Now
from django.db.models.lookups import Exact

from accounts import policy, rules
from accounts.models import (
    AccountToken,
    Constituency,
    LoginRecord,
    Region,
    SecurityEvent,
    StaffInvitation,
    TrustedDevice,
    User,
)
from accounts.policy import Action
from accounts.registries import farms_seen, people_seen
from accounts.rules import InvitationStatus, Language, Level, Refusal, Role, TokenPurpose
from core import clock, phones
from core.base.registries import NATION, Hour, Place, Recipient, SelectedPerson, Selection
from core.errors import InvalidInput

CHUNK = 2_000


def region(name: str) -> Region:
    """The region of this name in any case. Raises InvalidInput for unknown ones, with the hint for Brong-Ahafo."""
    if rules.is_brong_ahafo(name):
        raise InvalidInput(rules.NO_SUCH_REGION)
    found = Region.objects.filter(name__iexact=name.strip()).first()
    if not found:
        known = ", ".join(Region.objects.values_list("name", flat=True))
        raise InvalidInput(f"This region is not known. Use one of: {known}")
    return found


def region_by_code(code: str) -> Region:
    """The region of this code in any case. Raises InvalidInput for an unknown one."""
    found = Region.objects.filter(code=code.strip().upper()).first()
    if not found:
        known = ", ".join(Region.objects.order_by("code").values_list("code", flat=True))
        raise InvalidInput(f"This region code is not known. Use one of: {known}")
    return found


def constituency(code: str) -> Constituency:
    """The constituency of this code in any case. Raises InvalidInput when there is none."""
    found = Constituency.objects.select_related("region", "district").filter(code=code.strip().upper()).first()
    if not found:
        raise InvalidInput("This constituency code is not known. Use a code of three letters, such as TMW")
    return found


def platform_admins() -> list[Recipient]:
    """Whom platform-wide notices go to: every active SUPER_ADMIN and NATIONAL_ADMIN (domain.md 2.4)."""
    return recipients(Q(role__in=[Role.SUPER_ADMIN, Role.NATIONAL_ADMIN]))


def admins_for(place: Place) -> list[Recipient]:
    """Whom a matter of one farm or application goes to: the active admins of the lowest level whose scope contains the
    place and that has any (domain.md 2.4).
    """
    for role, home in (
        (Role.CONSTITUENCY_ADMIN, Q(constituency=place.constituency_id)),
        (Role.REGIONAL_ADMIN, Q(region=place.region_id)),
        (Role.NATIONAL_ADMIN, Q()),
    ):
        if found := recipients(Q(role=role) & home):
            return found
    return recipients(Q(role=Role.SUPER_ADMIN))


def recipients(condition: Q) -> list[Recipient]:
    """The active people of whom this is true, as those who are told something."""
    return [Recipient(user.pk, user.email, user.phone) for user in _active().filter(condition).order_by("pk")]


def users_by_level(_hour: Hour) -> dict[str, Any]:
    """Active people by level, every level named, and the farmers among them (domain.md 7.2)."""
    roles = dict(_active().values_list("role").annotate(count=Count("pk")).order_by())
    levels = Counter({level.value: 0 for level in Level})
    for role, count in roles.items():
        levels[rules.LEVELS[Role(role)].value] += count
    return {"users_by_level": dict(levels), "farmers": roles.get(Role.FARMER.value, 0)}


def _active() -> QuerySet[User]:
    """Neither invited only nor suspended; a suspension whose time is over has ended by itself (domain.md 4.1.2)."""
    return User.objects.filter(Q(is_suspended=False) | Q(suspended_until__lte=Now()), is_active=True)


def overseers(role: Role, home: Place) -> list[User]:
    """The active admins of the level above this role and place; when there are none, of the next level up."""
    for above, place in policy.overseers(role, home):
        if found := list(_active().filter(_living_in(place), role=above).order_by("pk")):
            return found
    return []


# --- who is meant, by what is typed or by a link -------------------------------------------------------------------

LONGEST_IDENTIFIER = 254


def known_by(identifier: str) -> User | None:
    """The person of this phone number, e-mail address or username, as they are typed to sign in."""
    text = identifier.strip()
    if not text.isprintable() or not 1 <= len(text) <= LONGEST_IDENTIFIER:
        return None
    try:
        return User.objects.filter(phone=phones.normalise(text)).first()
    except InvalidInput:
        found = owners(email=text.lower()) if "@" in text else []
        return found[0] if found else User.objects.filter(username=text).first()


def owners(*, phone: str = "", email: str = "") -> list[User]:
    """Who has this phone number or this e-mail address, both in their stored form."""
    of_email = User.objects.alias(lowered=Lower("email")).exclude(email="").filter(lowered=email)  # the unique index
    found = [*User.objects.filter(phone=phone)] if phone else []
    return found + [user for user in (of_email if email else []) if user not in found]


def open_token(token: str, purposes: Collection[TokenPurpose], now: datetime) -> AccountToken | None:
    """The token of a link with its person, when it is for one of these purposes and still good."""
    found = (
        AccountToken.objects.select_related("user")
        .filter(token_hash=rules.token_hash(token), purpose__in=purposes)
        .first()
    )
    return found if found and _is_good(found, now) else None


def _is_good(token: AccountToken, now: datetime) -> bool:
    user = token.user
    return (
        token.is_open_at(now)
        and token.sent_to in (user.email, user.phone)
        and user.is_open_at(now)
        and not (token.purpose == TokenPurpose.SET_PASSWORD and user.has_usable_password())
    )


def open_invitation(token: str, now: datetime) -> StaffInvitation | None:
    """The invitation of a link, when it is still good."""
    found = (
        StaffInvitation.objects.select_related("region", "constituency")
        .filter(token_hash=rules.token_hash(token))
        .first()
    )
    return found if found and found.is_open_at(now) else None


# --- who may -------------------------------------------------------------------------------------------------------


def person(user: User, now: datetime | None = None) -> policy.Person:
    """This user as the policy sees one, at this moment."""
    return policy.Person(
        id=user.pk,
        role=Role(user.role),
        home=user.home,
        grants=user.grants,
        able=user.is_active and not user.is_suspended_at(now or clock.now()),
    )


def may(user: User, action: Action, subject: User | policy.Subject = None) -> bool:
    """Whether the user may do it to the subject: a user, a farm, a place or nothing, as the action's rule says."""
    about = person(subject) if isinstance(subject, User) else subject
    return policy.allows(person(user), action, about, sees_farm=_sees_farm)


def _sees_farm(user_id: uuid.UUID, farm_id: uuid.UUID) -> bool:
    return any(sees(user_id, farm_id) for sees in farms_seen.values())


def in_scope(user: User, people: QuerySet[User]) -> QuerySet[User]:
    """Those of the people whom this user may see: the same answer as `may(user, Action.SEE_PERSON, …)` for each.

    Apps add people by `accounts.registries.people_seen`, such as the farmers of an officer's farms.
    """
    who = person(user)
    if not who.able:
        return people.none()
    around, levels = policy.area(who), policy.sees_people(who)
    if around == NATION and levels == policy.ALL_LEVELS:
        return people
    seen = Q(pk=user.pk)
    if around is not None and levels:
        those = _living_in(around) & Q(role__in=rules.roles_of(*levels))
        # who is one of those needs no condition of their own, which would keep the index of the place from being used
        seen = those if around.contains(who.home) and who.level in levels else seen | those
    for more in people_seen.values():
        seen |= more(who)
    return people.filter(seen)


def invitations_in_scope(user: User, *, status: str = "", now: datetime) -> QuerySet[StaffInvitation]:
    """The invitations to what this user manages: the same answer as `may(user, Action.CREATE_PERSON, …)` for each.

    Raises InvalidInput for an unknown status.
    """
    who = person(user, now)
    around, roles = policy.area(who), policy.MANAGES.get(who.role, frozenset())
    found = StaffInvitation.objects.select_related("region", "constituency", "invited_by")
    if not who.able or around is None or not roles:
        return found.none()
    found = found.filter(_living_in(around), role__in=roles)
    if not status:
        return found
    wanted = rules.parse_invitation_status(status)
    is_over = Q(status=InvitationStatus.PENDING, expires_at__lte=now)  # the cleanup has not come by yet
    if wanted == InvitationStatus.EXPIRED:
        return found.filter(Q(status=wanted) | is_over)
    return found.filter(status=wanted).exclude(is_over)


def security_events_in_scope(
    user: User, *, of: uuid.UUID | None = None, kind: str = "", since: datetime | None = None
) -> QuerySet[SecurityEvent]:
    """Security events of the people of whom this user may read them, oneself among them: the same answer as
    `may(user, Action.READ_SECURITY_EVENTS, …)` for each. Raises InvalidInput for an unknown kind.
    """
    found = SecurityEvent.objects.select_related("user", "actor")
    if of is not None:
        found = found.filter(user=of)
    if kind:
        found = found.filter(kind=rules.parse_security_kind(kind))
    if since is not None:
        found = found.filter(at__gte=since)
    if not policy.reads_of_others(Role(user.role)):
        return found.filter(user=user)
    seen = in_scope(user, User.objects.all())
    return found.filter(user__in=seen.values("pk")) if seen.query.has_filters() else found


def sign_ins_of(user_id: uuid.UUID) -> QuerySet[LoginRecord]:
    return LoginRecord.objects.filter(user=user_id)


LONGEST_SEARCH = 100


def people(*, role: str = "", region: str = "", search: str = "") -> QuerySet[User]:
    """People with their places: of a role, of a region, whose username, name or phone number begins like `search`.

    Raises InvalidInput for an unknown role or region and for a search that is no line of text.
    """
    found = User.objects.select_related("region", "constituency")
    if role:
        found = found.filter(role=rules.parse_role(role))
    if region:
        found = found.filter(region=region_by_code(_line(region)))
    if search.strip():
        found = found.filter(begins_with(_line(search)))
    return found


def order_of_search(user: User, *, role: str = "", region: str = "") -> OrderBy | None:
    """How to sort what a search finds in the scope of this user; None: by id, as its index has it.

    Usernames begin with names, so to walk them in order may pass most people before it meets a name. Through nearly
    everybody one walks by id, which has nothing to do with names. In a part of them the planner, who takes names and
    places for independent, must not walk at all: what is found is gathered by the indexes and sorted.
    """
    is_most = not role or rules.parse_role(role) == Role.FARMER
    is_nearly_all = policy.area(person(user)) == NATION and not region and is_most
    return None if is_nearly_all else BY_USERNAME


BY_USERNAME = Concat("username", Value("")).asc()  # which no index has


def _line(text: str) -> str:
    line = text.strip()
    if not line.isprintable() or len(line) > LONGEST_SEARCH:
        raise InvalidInput(f"What is searched for must be a line of at most {LONGEST_SEARCH} letters.")
    return line


def begins_with(text: str) -> Q:
    """Whose username, name or phone number begins like this, in any case and form. Each part has its index."""
    digits = text.replace(" ", "").replace("-", "")
    if digits.lstrip("+").isdecimal() and digits.isascii():
        return Q(phone__startswith=_international(digits))
    return Q(username__istartswith=text) | Q(first_name__istartswith=text) | Q(last_name__istartswith=text)


def has_email(text: str) -> Q:
    return Q(Exact(Lower("email"), Value(text.lower()))) & ~Q(email="")


def _international(digits: str) -> str:
    """The beginning of a number as it is stored: 024 and 23324 are +23324."""
    if digits.startswith("0"):
        return f"+233{digits[1:]}"
    return digits if digits.startswith("+") else f"+{digits}"


def _living_in(place: Place) -> Q:
    if place.constituency_id:
        return Q(constituency=place.constituency_id)
    return Q(region=place.region_id) if place.region_id else Q()


def may_send_bulk_sms(user_id: uuid.UUID, place: Place) -> bool:
    """The permission `send_bulk_sms` of core.base.registries."""
    user = User.objects.filter(pk=user_id).first()
    return user is not None and may(user, Action.SEND_BULK_SMS, place)


# --- signing in ----------------------------------------------------------------------------------------------------

LONGEST_NAME = 254


def who_signs_in(typed: str) -> User | None:
    """The person with this phone number, e-mail address or username, in any case and form; one query for all three.

    Whoever chose somebody else's number or address for a username is not found by it.
    """
    typed = typed.strip()
    if not typed.isprintable() or not 1 <= len(typed) <= LONGEST_NAME:
        return None
    found, phone = list(User.objects.filter(names(typed))), _as_phone(typed)
    meant = (
        [user for user in found if user.phone == phone]
        or [user for user in found if user.email == typed.lower()]
        or [user for user in found if user.username == typed]
        or found
    )
    return meant[0] if len(meant) == 1 else None  # two usernames that differ in case alone are typed as they are


def names(typed: str) -> Q:
    """Each part has its index: the phone number's, that of lower(email), and that of upper(username)."""
    wanted = Q(username__iexact=typed) | (Q(Exact(Lower("email"), Value(typed.lower()))) & ~Q(email=""))
    phone = _as_phone(typed)
    return wanted | Q(phone=phone) if phone else wanted


def _as_phone(typed: str) -> str:
    try:
        return phones.normalise(typed)
    except InvalidInput:
        return ""


def stands_against(user: User, now: datetime) -> Refusal | None:
    """What keeps this person from signing in, in the order of domain.md 4.1.2."""
    if not user.is_active:
        return Refusal.INACTIVE
    if user.is_demo and not settings.DEVELOPMENT:
        return Refusal.DEMO
    if user.is_suspended_at(now):
        return Refusal.SUSPENDED
    return Refusal.LOCKED if user.is_locked_at(now) else None


def lacks_second_factor(user: User) -> bool:
    """Whether this person must have a second factor and has none: then nothing but setting one up is open to them."""
    return (
        user.must_have_second_factor
        and not Authenticator.objects.filter(
            user=user, type__in=[Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]
        ).exists()
    )


def trusted_devices(user_id: uuid.UUID, now: datetime) -> QuerySet[TrustedDevice]:
    """The devices on which a person is not asked for the second factor, the latest first."""
    return TrustedDevice.objects.filter(user=user_id, revoked_at=None, trust_expires_at__gt=now).order_by(
        "-trust_expires_at"
    )


# --- the audience "users" ------------------------------------------------------------------------------------------

SELECTION_KEYS = ("region", "constituency", "role", "language")


def check_selection(selection: Mapping[str, object]) -> Selection:
    """A selection of people in its one form. Raises InvalidInput that says what is wrong and what there is."""
    given = _texts(selection)
    role = rules.parse_role(given["role"]).value if given["role"] else ""
    language = given["language"].lower()
    if language and language not in Language.values:
        raise InvalidInput(f"This language is not known. Use one of: {', '.join(Language.values)}")
    place = constituency(given["constituency"]) if given["constituency"] else None
    around = region_by_code(given["region"]) if given["region"] else (place.region if place else None)
    if place and around and place.region_id != around.pk:
        raise InvalidInput(
            f"The constituency {place.code} lies in the region {place.region.code}, not in {around.code}."
            " Choose one of that region, or leave the region out."
        )
    stored = {
        "region": around.code if around else "",
        "constituency": place.code if place else "",
        "role": role,
        "language": language,
    }
    return Selection(stored, Place(around.pk if around else None, place.pk if place else None))


def _texts(selection: object) -> dict[str, str]:
    if not isinstance(selection, Mapping):
        raise InvalidInput('A selection is an object such as {"region": "AH", "role": "FARMER"}.')
    unknown = [str(key)[:40] for key in selection if key not in SELECTION_KEYS]
    if unknown:
        raise InvalidInput(f"A selection has the keys {', '.join(SELECTION_KEYS)}, not {', '.join(unknown[:5])}.")
    for key, value in selection.items():
        if not isinstance(value, str) or not value.isprintable():
            raise InvalidInput(f"{key} must be a line of text; leave it out or empty for any.")
    return {key: str(selection.get(key, "")).strip() for key in SELECTION_KEYS}


def count_selected(selection: Mapping[str, object]) -> int:
    return _selected(check_selection(selection)).count()


def selected_people(selection: Mapping[str, object], after: uuid.UUID | None = None) -> Iterator[SelectedPerson]:
    """The people of a selection in the order of their ids, those after `after`; a chunk is one query."""
    found = _selected(check_selection(selection)).order_by("pk").values_list("pk", "phone", "language")
    return _in_chunks(found, after)


def _in_chunks(found: QuerySet[User, tuple[uuid.UUID, str, str]], after: uuid.UUID | None) -> Iterator[SelectedPerson]:
    while True:
        chunk = list((found.filter(pk__gt=after) if after else found)[:CHUNK])
        yield from (SelectedPerson(*row) for row in chunk)
        if len(chunk) < CHUNK:
            return
        after = chunk[-1][0]


def _selected(selection: Selection) -> QuerySet[User]:
    people = _active().filter(_living_in(selection.place))
    for field in ("role", "language"):
        if selection.stored[field]:
            people = people.filter(**{field: selection.stored[field]})
    return people
