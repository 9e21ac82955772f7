"""Who may do what, to whom and where (domain.md 2): one table of actions, decided by level and place. Pure.

`accounts.selectors.may` asks it for a person of the database.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from accounts.rules import LEVELS, Code, Kind, Level, Role, kind, roles_of
from core.base.registries import NATION, Place

COUNTRY_WIDE = frozenset({Level.PLATFORM, Level.NATIONAL, Level.SPECIALIST})
FARM_BOUND = frozenset({Role.EXTENSION_OFFICER, Role.YEA_OFFICIAL, Role.FARMER})  # see farms by name, not by place
ALL_LEVELS = frozenset(Level)


@dataclass(frozen=True)
class Person:
    """What the policy needs to know of a person. `able` is false while suspended or not active."""

    id: uuid.UUID
    role: Role
    home: Place
    grants: frozenset[Code] = frozenset()
    able: bool = True

    @property
    def level(self) -> Level:
        return LEVELS[self.role]


@dataclass(frozen=True)
class Farm:
    """A farm as a subject: its place decides, or for people bound to farms, whether it is one of theirs."""

    id: uuid.UUID
    place: Place


Subject = Person | Farm | Place | None
SeesFarm = Callable[[uuid.UUID, uuid.UUID], bool]  # person, farm


def area(person: Person) -> Place | None:
    """The part of the country a person works in: by level the nation, the region or the constituency.

    Field officers work in their constituency, or in their region when they have no constituency; None is nowhere.
    """
    if person.level in COUNTRY_WIDE:
        return NATION
    if person.level == Level.REGIONAL:
        return Place(person.home.region_id) if person.home.region_id else None
    return None if person.home == NATION else person.home


# --- who manages whom (domain.md 2.2) -------------------------------------------------------------------------------

MANAGES: Mapping[Role, frozenset[Role]] = {
    Role.SUPER_ADMIN: frozenset(set(Role) - {Role.SUPER_ADMIN}),
    Role.NATIONAL_ADMIN: frozenset({Role.NATIONAL_STAFF, *roles_of(Level.REGIONAL, Level.SPECIALIST)}),
    Role.REGIONAL_ADMIN: frozenset({Role.REGIONAL_STAFF, *roles_of(Level.CONSTITUENCY, Level.FIELD)}),
    Role.CONSTITUENCY_ADMIN: frozenset({Role.CONSTITUENCY_STAFF, *roles_of(Level.FIELD)}),
}

# Who is seen in a list of people, besides oneself: those of these levels whose home lies in the area. Who works for the
# nation is no business of a region, whatever region the person lives in.
_LOCAL = frozenset({Level.CONSTITUENCY, Level.FIELD, Level.END_USER})
SEES: Mapping[Level, frozenset[Level]] = {
    Level.PLATFORM: ALL_LEVELS,
    Level.NATIONAL: ALL_LEVELS,
    Level.REGIONAL: _LOCAL | {Level.REGIONAL},
    Level.CONSTITUENCY: _LOCAL,
}


def sees_people(person: Person) -> frozenset[Level]:
    """The levels of the people whom this person sees inside the own area; staff need a grant, any one, to see anybody.

    The auditor reads everything; other specialists, field officers, buyers of data and farmers see no list of people.
    """
    if not person.able:
        return frozenset()
    if person.role == Role.AUDITOR:
        return ALL_LEVELS
    if kind(person.role) == Kind.STAFF and not person.grants:
        return frozenset()
    return SEES.get(person.level, frozenset())


def sees(person: Person, other: Person) -> bool:
    if person.id == other.id:
        return True
    around = area(person)
    return around is not None and around.contains(other.home) and other.level in sees_people(person)


def manages(person: Person, role: Role, home: Place) -> bool:
    """Whether this person may create and change people of that role who live there."""
    around = area(person)
    return role in MANAGES.get(person.role, frozenset()) and around is not None and around.contains(home)


_NATIONAL = [(Role.NATIONAL_ADMIN, NATION), (Role.SUPER_ADMIN, NATION)]
_OVER_THE_NATION = frozenset({Level.PLATFORM, Level.NATIONAL, Level.SPECIALIST, Level.BUSINESS})


def overseers(role: Role, home: Place) -> list[tuple[Role, Place]]:
    """The admins of the levels above the scope of a person of this role who lives there, the nearest level first."""
    level = LEVELS[role]
    if level in _OVER_THE_NATION:
        return _NATIONAL[1:]
    chain = [(Role.REGIONAL_ADMIN, Place(home.region_id))] if home.region_id and level != Level.REGIONAL else []
    if home.constituency_id and level not in (Level.REGIONAL, Level.CONSTITUENCY):
        chain.insert(0, (Role.CONSTITUENCY_ADMIN, home))
    return chain + _NATIONAL


# --- codes that are granted to staff (domain.md 2.2) ----------------------------------------------------------------

_ADMINISTERED = frozenset({Level.PLATFORM, Level.NATIONAL, Level.REGIONAL, Level.CONSTITUENCY})
HOLDS: Mapping[Code, frozenset[Level]] = {  # the levels that a code is for: granted by their admins, to their staff
    Code.APPROVE_APPLICATIONS: frozenset({Level.PLATFORM, Level.NATIONAL, Level.REGIONAL}),
    Code.MANAGE_BATCHES: frozenset({Level.PLATFORM, Level.NATIONAL}),
    Code.MANAGE_ENROLLMENT: frozenset({Level.PLATFORM, Level.NATIONAL, Level.REGIONAL}),
    Code.RUN_REPORTS: _ADMINISTERED,
    Code.SEND_BULK_SMS: _ADMINISTERED,
    Code.VIEW_SYSTEM_HEALTH: frozenset({Level.PLATFORM, Level.NATIONAL}),
    Code.REFRESH_CACHE: frozenset({Level.PLATFORM, Level.NATIONAL}),
    Code.MANAGE_LEADS: frozenset({Level.PLATFORM, Level.NATIONAL}),
}


def may_grant(person: Person, code: Code, other: Person) -> bool:
    """An admin whose own level holds the code grants it to staff whom the admin manages and whose level uses it."""
    return (
        person.able
        and person.id != other.id
        and kind(person.role) == Kind.ADMIN
        and person.level in HOLDS[code]
        and code in usable_codes(other.role)
        and manages(person, other.role, other.home)
    )


def usable_codes(role: Role) -> frozenset[Code]:
    """The codes that do something for this role: those by which an action of the table is open to it."""
    return frozenset(rule.code for rule in RULES.values() if rule.code and role in rule.with_code)


# --- who may do what (domain.md 2.3) --------------------------------------------------------------------------------


class Action(StrEnum):
    NOTE_AT_CONSTITUENCY = "applications.note_at_constituency"
    DECIDE_AT_CONSTITUENCY = "applications.decide_at_constituency"
    DECIDE_AT_REGION = "applications.decide_at_region"
    DECIDE_AT_NATION = "applications.decide_at_nation"
    MANAGE_BATCHES = "batches.manage"
    MARK_ENROLLED = "enrollments.mark_enrolled"
    SEE_PERSON = "people.see"
    CREATE_PERSON = "people.create"
    CHANGE_ROLE = "people.change_role"
    SUSPEND = "people.suspend"
    UNLOCK = "people.unlock"
    FORCE_SIGN_OUT = "people.force_sign_out"
    RESET_MFA = "people.reset_mfa"
    MANAGE_SESSIONS = "people.manage_sessions"
    GRANT = "people.grant"
    READ_SIGN_INS = "people.read_sign_ins"
    READ_SECURITY_EVENTS = "people.read_security_events"
    PLATFORM_SETTINGS = "platform.settings"
    PLATFORM_REVENUE = "platform.revenue"
    PARTNER_PAYMENTS = "partners.payments"
    CHANGE_FIGURES = "settings.change"
    MANAGE_LEADS = "leads.manage"
    VIEW_SYSTEM_HEALTH = "system.view_health"
    REFRESH_CACHE = "system.refresh_cache"
    SEND_BULK_SMS = "messages.send_bulk_sms"
    RECORD_PAYMENT = "payments.record"
    MAKE_PAYOUT_REPORT = "payouts.make_report"
    READ_PAYOUT_REPORT = "payouts.read_report"
    RUN_REPORTS = "reports.run"
    READ_FARM_REPORT = "farms.read_report"
    SEE_APPLICATIONS = "applications.see"
    ENTER_APPLICATION = "applications.enter"
    SEE_FARM = "farms.see"
    KEEP_FARM = "farms.keep"
    MANAGE_FARM = "farms.manage"
    RECORD_PRODUCTION = "farms.record_production"
    CLOSE_ALERT = "farms.close_alert"
    INSPECT_MORTALITY = "farms.inspect_mortality"


class About(StrEnum):
    """What an action is done to."""

    NOTHING = "nothing"
    PLACE = "a place"
    PERSON = "a person"
    FARM = "a farm"


PersonRule = Callable[[Person, Person], bool]


@dataclass(frozen=True)
class Rule:
    """Open to `roles`, and to `with_code` for those of them who were granted `code`.

    A place or farm must lie in the own area; for a person `between` decides instead.
    """

    roles: frozenset[Role]
    about: About = About.NOTHING
    code: Code | None = None
    with_code: frozenset[Role] = frozenset()
    between: PersonRule | None = None


def _admins(*levels: Level) -> frozenset[Role]:
    return frozenset(role for role in roles_of(*levels) if kind(role) == Kind.ADMIN)


def _staff(*levels: Level) -> frozenset[Role]:
    return frozenset(role for role in roles_of(*levels) if kind(role) == Kind.STAFF)


def _another_but_no_owner(person: Person, other: Person) -> bool:
    return person.id != other.id and other.level != Level.PLATFORM


def _another_whom_one_manages(person: Person, other: Person) -> bool:
    return person.id != other.id and manages(person, other.role, other.home)


def _another(person: Person, other: Person) -> bool:
    return person.id != other.id


def _another_of_the_staff(person: Person, other: Person) -> bool:
    """To whom this person may grant something: which code, `may_grant` says."""
    return any(may_grant(person, code, other) for code in Code)


def _own_or_as_owner(person: Person, other: Person) -> bool:
    return person.id == other.id or person.role in _OWNER


def _own_or_of_the_people_in_charge_of(person: Person, other: Person) -> bool:
    return person.id == other.id or (reads_of_others(person.role) and sees(person, other))


def reads_of_others(role: Role) -> bool:
    """Whether people of this role read what happened to the safety of the accounts that they see."""
    return kind(role) == Kind.ADMIN or role == Role.AUDITOR


_OWNER = _admins(Level.PLATFORM)
_HEADQUARTERS = _admins(Level.PLATFORM, Level.NATIONAL)
_NATIONAL_STAFF = _staff(Level.NATIONAL)
_EVERY_ADMIN = _admins(*_ADMINISTERED)
_EVERY_STAFF = _staff(*_ADMINISTERED)
_EVERYBODY = frozenset(Role)
_READ_PRODUCTION = frozenset({*_EVERY_ADMIN, *roles_of(Level.FIELD, Level.END_USER), Role.AUDITOR})
_REVIEW_APPLICATIONS = frozenset({*_EVERY_ADMIN, Role.CONSTITUENCY_STAFF, Role.EXTENSION_OFFICER})

RULES: Mapping[Action, Rule] = {
    Action.NOTE_AT_CONSTITUENCY: Rule(frozenset({*roles_of(Level.CONSTITUENCY), Role.EXTENSION_OFFICER}), About.PLACE),
    Action.DECIDE_AT_CONSTITUENCY: Rule(_admins(Level.CONSTITUENCY), About.PLACE),
    Action.DECIDE_AT_REGION: Rule(
        _admins(Level.REGIONAL), About.PLACE, Code.APPROVE_APPLICATIONS, _staff(Level.REGIONAL)
    ),
    Action.DECIDE_AT_NATION: Rule(_admins(Level.NATIONAL), About.PLACE),
    Action.MANAGE_BATCHES: Rule(_admins(Level.NATIONAL), About.NOTHING, Code.MANAGE_BATCHES, _NATIONAL_STAFF),
    Action.MARK_ENROLLED: Rule(
        _admins(Level.NATIONAL, Level.REGIONAL),
        About.PLACE,
        Code.MANAGE_ENROLLMENT,
        _staff(Level.NATIONAL, Level.REGIONAL),
    ),
    Action.SEE_PERSON: Rule(_EVERYBODY, About.PERSON, between=sees),
    Action.CREATE_PERSON: Rule(_EVERY_ADMIN, About.PERSON, between=_another_whom_one_manages),
    Action.CHANGE_ROLE: Rule(_EVERY_ADMIN, About.PERSON, between=_another_whom_one_manages),
    Action.SUSPEND: Rule(_HEADQUARTERS, About.PERSON, between=_another_but_no_owner),
    Action.UNLOCK: Rule(_HEADQUARTERS, About.PERSON, between=_another_but_no_owner),
    Action.FORCE_SIGN_OUT: Rule(_OWNER, About.PERSON, between=_another),
    Action.RESET_MFA: Rule(_OWNER, About.PERSON, between=_another),
    Action.MANAGE_SESSIONS: Rule(_EVERYBODY, About.PERSON, between=_own_or_as_owner),
    Action.GRANT: Rule(_EVERY_ADMIN, About.PERSON, between=_another_of_the_staff),
    Action.READ_SIGN_INS: Rule(_HEADQUARTERS | {Role.AUDITOR}, About.PERSON, between=sees),
    Action.READ_SECURITY_EVENTS: Rule(_EVERYBODY, About.PERSON, between=_own_or_of_the_people_in_charge_of),
    Action.PLATFORM_SETTINGS: Rule(_OWNER),
    Action.PLATFORM_REVENUE: Rule(_OWNER),
    Action.PARTNER_PAYMENTS: Rule(_OWNER),
    Action.CHANGE_FIGURES: Rule(_HEADQUARTERS),
    Action.MANAGE_LEADS: Rule(_HEADQUARTERS, About.NOTHING, Code.MANAGE_LEADS, _NATIONAL_STAFF),
    Action.VIEW_SYSTEM_HEALTH: Rule(_HEADQUARTERS, About.NOTHING, Code.VIEW_SYSTEM_HEALTH, _NATIONAL_STAFF),
    Action.REFRESH_CACHE: Rule(_HEADQUARTERS, About.NOTHING, Code.REFRESH_CACHE, _NATIONAL_STAFF),
    Action.SEND_BULK_SMS: Rule(_EVERY_ADMIN, About.PLACE, Code.SEND_BULK_SMS, _EVERY_STAFF),
    Action.RECORD_PAYMENT: Rule(_OWNER | {Role.FINANCE_OFFICER}),
    Action.MAKE_PAYOUT_REPORT: Rule(_OWNER | {Role.FINANCE_OFFICER}),
    Action.READ_PAYOUT_REPORT: Rule(_OWNER | {Role.FINANCE_OFFICER, Role.AUDITOR}),
    Action.RUN_REPORTS: Rule(_EVERY_ADMIN, About.PLACE, Code.RUN_REPORTS, _EVERY_STAFF),
    Action.READ_FARM_REPORT: Rule(_READ_PRODUCTION, About.FARM, Code.RUN_REPORTS, _EVERY_STAFF),
    # of an application and what leads to a farm: who decides or notes on any level, and the auditor
    Action.SEE_APPLICATIONS: Rule(
        _REVIEW_APPLICATIONS | {Role.AUDITOR}, About.PLACE, Code.APPROVE_APPLICATIONS, _staff(Level.REGIONAL)
    ),
    Action.ENTER_APPLICATION: Rule(_REVIEW_APPLICATIONS, About.PLACE),
    Action.SEE_FARM: Rule(
        _READ_PRODUCTION | set(roles_of(Level.SPECIALIST)), About.FARM, Code.RUN_REPORTS, _EVERY_STAFF
    ),
    # its name, size, places, equipment, measures and documents, and whether it works at present
    Action.KEEP_FARM: Rule(_EVERY_ADMIN | {Role.EXTENSION_OFFICER, Role.FARMER}, About.FARM),
    Action.MANAGE_FARM: Rule(_EVERY_ADMIN, About.FARM),  # suspend, reinstate, name its officers
    Action.RECORD_PRODUCTION: Rule(frozenset(roles_of(Level.FIELD, Level.END_USER)), About.FARM),
    Action.CLOSE_ALERT: Rule(_EVERY_ADMIN | set(roles_of(Level.FIELD)), About.FARM),
    Action.INSPECT_MORTALITY: Rule(frozenset({Role.VETERINARY_OFFICER}), About.FARM),
}


def _nobody_sees_farms(_person: uuid.UUID, _farm: uuid.UUID) -> bool:
    return False


def allows(person: Person, action: Action, subject: Subject = None, sees_farm: SeesFarm = _nobody_sees_farms) -> bool:
    """Whether the person may do it to the subject, which must be what the rule is about.

    `sees_farm` says of people who are bound to farms whether one is theirs. Raises TypeError for a subject of another
    kind: that is a mistake of the caller.
    """
    rule = RULES[action]
    _must_fit(action, rule.about, subject)
    if not person.able or not _open_to(rule, person):
        return False
    if isinstance(subject, Person):
        return rule.between is not None and rule.between(person, subject)
    if isinstance(subject, Farm):
        if person.role in FARM_BOUND:
            return sees_farm(person.id, subject.id)
        return _inside(person, subject.place)
    return subject is None or _inside(person, subject)


def is_open(person: Person, action: Action) -> bool:
    """Whether the person may do it to anything at all; to what, `allows` says. For lists, which ask for the area."""
    return person.able and _open_to(RULES[action], person)


def _open_to(rule: Rule, person: Person) -> bool:
    return person.role in rule.roles or (
        rule.code is not None and person.role in rule.with_code and rule.code in person.grants
    )


def _inside(person: Person, place: Place) -> bool:
    around = area(person)
    return around is not None and around.contains(place)


_KINDS = {About.NOTHING: type(None), About.PLACE: Place, About.PERSON: Person, About.FARM: Farm}


def _must_fit(action: Action, about: About, subject: Subject) -> None:
    if not isinstance(subject, _KINDS[about]):
        raise TypeError(f"{action} is about {about}, not about {type(subject).__name__}")
