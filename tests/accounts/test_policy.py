"""domain.md 2 written down a second time, as a matrix, and compared with the policy: every role, action and place."""

from __future__ import annotations

import uuid
from itertools import product

import pytest

from accounts import policy
from accounts.policy import About, Action, Farm, Person, allows
from accounts.rules import LEVELS, Code, Level, Role
from core.base.registries import NATION, Place

ASHANTI, ACCRA = uuid.uuid4(), uuid.uuid4()
OWN = Place(ASHANTI, uuid.uuid4())
NEXT = Place(ASHANTI, uuid.uuid4())  # another constituency of the own region
OTHER = Place(ACCRA, uuid.uuid4())  # another region
PLACES = {"own constituency": OWN, "own region": Place(ASHANTI), "next": NEXT, "other": OTHER, "nation": NATION}

COUNTRY = {"SUPER_ADMIN", "NATIONAL_ADMIN", "NATIONAL_STAFF", "PROCUREMENT_OFFICER", "FINANCE_OFFICER", "AUDITOR"}
REGION = {"REGIONAL_ADMIN", "REGIONAL_STAFF"}
ADMINS = {"SUPER_ADMIN", "NATIONAL_ADMIN", "REGIONAL_ADMIN", "CONSTITUENCY_ADMIN"}
STAFF = {"NATIONAL_STAFF", "REGIONAL_STAFF", "CONSTITUENCY_STAFF"}
FIELD = {"EXTENSION_OFFICER", "VETERINARY_OFFICER", "YEA_OFFICIAL"}
SPECIALISTS = {"PROCUREMENT_OFFICER", "FINANCE_OFFICER", "AUDITOR"}
HEAD = {"SUPER_ADMIN", "NATIONAL_ADMIN"}
FARM_BOUND = {"EXTENSION_OFFICER", "YEA_OFFICIAL", "FARMER"}

# action: (who by role, which code, who with it) as domain.md 2.2 and 2.3 say
MATRIX: dict[str, tuple[set[str], str, set[str]]] = {
    "applications.note_at_constituency": ({"CONSTITUENCY_ADMIN", "CONSTITUENCY_STAFF", "EXTENSION_OFFICER"}, "", set()),
    "applications.decide_at_constituency": ({"CONSTITUENCY_ADMIN"}, "", set()),
    "applications.decide_at_region": ({"REGIONAL_ADMIN"}, "approve_applications", {"REGIONAL_STAFF"}),
    "applications.decide_at_nation": ({"NATIONAL_ADMIN"}, "", set()),
    "batches.manage": ({"NATIONAL_ADMIN"}, "manage_batches", {"NATIONAL_STAFF"}),
    "enrollments.mark_enrolled": (
        {"NATIONAL_ADMIN", "REGIONAL_ADMIN"},
        "manage_enrollment",
        {"NATIONAL_STAFF", "REGIONAL_STAFF"},
    ),
    "people.see": (set(Role.values), "", set()),
    "people.create": (ADMINS, "", set()),
    "people.change_role": (ADMINS, "", set()),
    "people.suspend": (HEAD, "", set()),
    "people.unlock": (HEAD, "", set()),
    "people.force_sign_out": ({"SUPER_ADMIN"}, "", set()),
    "people.reset_mfa": ({"SUPER_ADMIN"}, "", set()),
    "people.manage_sessions": (set(Role.values), "", set()),
    "people.grant": (ADMINS, "", set()),
    "people.read_sign_ins": (HEAD | {"AUDITOR"}, "", set()),
    "people.read_security_events": (set(Role.values), "", set()),
    "platform.settings": ({"SUPER_ADMIN"}, "", set()),
    "platform.revenue": ({"SUPER_ADMIN"}, "", set()),
    "partners.payments": ({"SUPER_ADMIN"}, "", set()),
    "settings.change": (HEAD, "", set()),
    "leads.manage": (HEAD, "manage_leads", {"NATIONAL_STAFF"}),
    "system.view_health": (HEAD, "view_system_health", {"NATIONAL_STAFF"}),
    "system.refresh_cache": (HEAD, "refresh_cache", {"NATIONAL_STAFF"}),
    "messages.send_bulk_sms": (ADMINS, "send_bulk_sms", STAFF),
    "payments.record": ({"SUPER_ADMIN", "FINANCE_OFFICER"}, "", set()),
    "payouts.make_report": ({"SUPER_ADMIN", "FINANCE_OFFICER"}, "", set()),
    "payouts.read_report": ({"SUPER_ADMIN", "FINANCE_OFFICER", "AUDITOR"}, "", set()),
    "reports.run": (ADMINS, "run_reports", STAFF),
    "farms.read_report": (ADMINS | FIELD | {"AUDITOR", "FARMER"}, "run_reports", STAFF),
    "applications.see": (
        ADMINS | {"AUDITOR", "CONSTITUENCY_STAFF", "EXTENSION_OFFICER"},
        "approve_applications",
        {"REGIONAL_STAFF"},
    ),
    "applications.enter": (ADMINS | {"CONSTITUENCY_STAFF", "EXTENSION_OFFICER"}, "", set()),
    "farms.see": (ADMINS | FIELD | SPECIALISTS | {"FARMER"}, "run_reports", STAFF),
    "farms.keep": (ADMINS | {"EXTENSION_OFFICER", "FARMER"}, "", set()),
    "farms.manage": (ADMINS, "", set()),
    "farms.record_production": (FIELD | {"FARMER"}, "", set()),
    "farms.close_alert": (ADMINS | FIELD, "", set()),
    "farms.inspect_mortality": ({"VETERINARY_OFFICER"}, "", set()),
}
MANAGED = {
    "SUPER_ADMIN": set(Role.values) - {"SUPER_ADMIN"},
    "NATIONAL_ADMIN": {"NATIONAL_STAFF", "REGIONAL_ADMIN", "REGIONAL_STAFF"} | SPECIALISTS,
    "REGIONAL_ADMIN": {"REGIONAL_STAFF", "CONSTITUENCY_ADMIN", "CONSTITUENCY_STAFF"} | FIELD,
    "CONSTITUENCY_ADMIN": {"CONSTITUENCY_STAFF"} | FIELD,
}
CODE_LEVELS = {  # who may have a code: staff of these levels, from admins of these levels
    "approve_applications": ({"REGIONAL_STAFF"}, {"SUPER_ADMIN", "NATIONAL_ADMIN", "REGIONAL_ADMIN"}),
    "manage_batches": ({"NATIONAL_STAFF"}, HEAD),
    "manage_enrollment": (
        {"NATIONAL_STAFF", "REGIONAL_STAFF"},
        {"SUPER_ADMIN", "NATIONAL_ADMIN", "REGIONAL_ADMIN"},
    ),
    "run_reports": (STAFF, ADMINS),
    "send_bulk_sms": (STAFF, ADMINS),
    "view_system_health": ({"NATIONAL_STAFF"}, HEAD),
    "refresh_cache": ({"NATIONAL_STAFF"}, HEAD),
    "manage_leads": ({"NATIONAL_STAFF"}, HEAD),
}


def a_person(role: str, home: Place = OWN, *codes: str, able: bool = True) -> Person:
    return Person(uuid.uuid4(), Role(role), home, frozenset(Code(code) for code in codes), able)


def reaches(role: str, place: Place) -> bool:
    """Whether somebody of this role who lives in OWN works in all of the place."""
    if role in COUNTRY:
        return True
    return place in ((OWN, NEXT, Place(ASHANTI)) if role in REGION else (OWN,))


def test_the_matrix_leaves_no_action_out() -> None:
    assert set(MATRIX) == {action.value for action in Action} == {action.value for action in policy.RULES}
    assert set(CODE_LEVELS) == set(Code.values)


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("role", Role.values)
def test_every_role_may_what_the_matrix_says_in_every_place(role: str, action: Action) -> None:
    by_role, code, with_code = MATRIX[action]
    about = policy.RULES[action].about
    if about == About.PERSON:
        return  # whom: below
    subjects: dict[str, policy.Subject] = {"nothing": None}
    if about == About.PLACE:
        subjects = dict(PLACES)
    elif about == About.FARM:
        subjects = {name: Farm(uuid.uuid4(), place) for name, place in PLACES.items() if place.constituency_id}
    for codes in ((), (code,) if code else (), tuple(set(Code.values) - {code})):
        for name, subject in subjects.items():
            place = subject.place if isinstance(subject, Farm) else subject
            inside = not isinstance(place, Place) or reaches(role, place)
            if isinstance(subject, Farm) and role in FARM_BOUND:
                inside = False  # nobody has said that it is one of theirs
            expected = (role in by_role or (role in with_code and code in codes)) and inside
            assert allows(a_person(role, OWN, *codes), action, subject) == expected, (name, codes)
            assert not allows(a_person(role, OWN, *codes, able=False), action, subject), "suspended or not active"


@pytest.mark.parametrize("role", sorted(FARM_BOUND))
def test_who_is_bound_to_farms_reads_of_those_that_are_theirs_wherever_they_lie(role: str) -> None:
    person, theirs, another = a_person(role), Farm(uuid.uuid4(), OTHER), Farm(uuid.uuid4(), OWN)

    def sees_farm(who: uuid.UUID, farm: uuid.UUID) -> bool:
        return (who, farm) == (person.id, theirs.id)

    assert allows(person, Action.READ_FARM_REPORT, theirs, sees_farm)
    assert not allows(person, Action.READ_FARM_REPORT, another, sees_farm)


def seen_by(role: str) -> set[str]:
    """The roles that somebody of this role sees without a code, in the area."""
    local = {"CONSTITUENCY_ADMIN", "CONSTITUENCY_STAFF", "FARMER"} | FIELD
    if role == "REGIONAL_ADMIN":
        local |= REGION
    return set(Role.values) if role in {*HEAD, "AUDITOR"} else local if role in ADMINS else set()


@pytest.mark.parametrize("action", [action for action in Action if policy.RULES[action].about == About.PERSON])
@pytest.mark.parametrize("role", Role.values)
def test_every_role_may_do_to_every_role_what_the_matrix_says(role: str, action: Action) -> None:
    person = a_person(role)
    for other_role, (where, home) in product(Role.values, PLACES.items()):
        other = a_person(other_role, home)
        if action in (Action.CREATE_PERSON, Action.CHANGE_ROLE):
            expected = other_role in MANAGED.get(role, set()) and reaches(role, home)
        elif action in (Action.SUSPEND, Action.UNLOCK):
            expected = role in HEAD and other_role != "SUPER_ADMIN"
        elif action == Action.GRANT:
            expected = other_role in MANAGED.get(role, set()) & STAFF and reaches(role, home)
        elif action in (Action.SEE_PERSON, Action.READ_SECURITY_EVENTS):  # staff see people by a code only: below
            expected = other_role in seen_by(role) and reaches(role, home)
        elif action == Action.READ_SIGN_INS:
            expected = role in {*HEAD, "AUDITOR"}
        else:
            expected = role == "SUPER_ADMIN"
        assert allows(person, action, other) == expected, (other_role, where)
        assert not allows(a_person(role, able=False), action, other)


@pytest.mark.parametrize("role", Role.values)
def test_nobody_does_to_themselves_what_administrators_do_to_others(role: str) -> None:
    person = a_person(role)
    own = {Action.SEE_PERSON, Action.MANAGE_SESSIONS, Action.READ_SECURITY_EVENTS}
    if role in {*HEAD, "AUDITOR"}:
        own.add(Action.READ_SIGN_INS)
    for action in (action for action in Action if policy.RULES[action].about == About.PERSON):
        assert allows(person, action, person) == (action in own), action
    for code in Code:
        assert not policy.may_grant(person, code, person)


@pytest.mark.parametrize("role", sorted(STAFF))
def test_staff_see_the_people_of_their_area_while_they_were_granted_anything(role: str) -> None:
    granted = a_person(role, OWN, "run_reports")
    for where, home in PLACES.items():
        farmer = a_person("FARMER", home)
        assert not allows(a_person(role), Action.SEE_PERSON, farmer)
        assert allows(granted, Action.SEE_PERSON, farmer) == reaches(role, home), where
        assert not allows(granted, Action.READ_SECURITY_EVENTS, farmer)


@pytest.mark.parametrize("code", Code.values)
def test_codes_are_granted_by_those_who_manage_the_person_and_whose_level_holds_them(code: str) -> None:
    staff, givers = CODE_LEVELS[code]
    for giver, receiver, (where, home) in product(Role.values, Role.values, PLACES.items()):
        expected = giver in givers and receiver in staff and receiver in MANAGED[giver] and reaches(giver, home)
        assert policy.may_grant(a_person(giver), Code(code), a_person(receiver, home)) == expected, (
            giver,
            receiver,
            where,
        )
        assert not policy.may_grant(a_person(giver, able=False), Code(code), a_person(receiver, home))


def test_who_has_no_home_works_nowhere_unless_for_the_whole_country() -> None:
    for role in Role:
        country_wide = LEVELS[role] in {Level.PLATFORM, Level.NATIONAL, Level.SPECIALIST}
        assert (policy.area(a_person(role, NATION)) == NATION) == country_wide
        if not country_wide:
            assert policy.area(a_person(role, NATION)) is None


def test_a_veterinary_officer_without_a_constituency_works_in_the_region() -> None:
    officer = a_person("VETERINARY_OFFICER", Place(ASHANTI))
    assert allows(officer, Action.READ_FARM_REPORT, Farm(uuid.uuid4(), NEXT))
    assert not allows(officer, Action.READ_FARM_REPORT, Farm(uuid.uuid4(), OTHER))


def test_an_action_on_the_wrong_kind_of_subject_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match="is about a place"):
        allows(a_person("SUPER_ADMIN"), Action.SEND_BULK_SMS)
    with pytest.raises(TypeError, match="is about nothing"):
        allows(a_person("SUPER_ADMIN"), Action.MANAGE_BATCHES, NATION)


# --- who is told of a new role (domain.md 2.4, 7.6)

ABOVE_NATION = ["SUPER_ADMIN"]
ABOVE_REGION = ["NATIONAL_ADMIN", "SUPER_ADMIN"]
ABOVE_CONSTITUENCY = ["REGIONAL_ADMIN", *ABOVE_REGION]
ABOVE_FARMS = ["CONSTITUENCY_ADMIN", *ABOVE_CONSTITUENCY]
ABOVE = {
    **dict.fromkeys(COUNTRY | {"INSTITUTIONAL_SUBSCRIBER"}, ABOVE_NATION),
    **dict.fromkeys(REGION, ABOVE_REGION),
    **dict.fromkeys({"CONSTITUENCY_ADMIN", "CONSTITUENCY_STAFF"}, ABOVE_CONSTITUENCY),
    **dict.fromkeys(FIELD | {"FARMER"}, ABOVE_FARMS),
}


@pytest.mark.parametrize("role", Role)
def test_the_levels_above_a_role_are_told_the_nearest_first(role: Role) -> None:
    above = policy.overseers(role, OWN)
    assert [overseer.value for overseer, _ in above] == ABOVE[role]
    for overseer, place in above:
        assert place.contains(OWN)
        assert place == {"CONSTITUENCY_ADMIN": OWN, "REGIONAL_ADMIN": Place(ASHANTI)}.get(overseer, NATION)


def test_without_a_home_the_level_above_it_is_told() -> None:
    assert [role for role, _ in policy.overseers(Role.EXTENSION_OFFICER, Place(ASHANTI))] == ABOVE_CONSTITUENCY
    assert [role for role, _ in policy.overseers(Role.FARMER, NATION)] == ABOVE_REGION
