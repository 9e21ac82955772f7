"""Every endpoint for every role and a stranger, about somebody or something at every place.

What is expected follows from what the endpoint declares (`access`) and from the policy; what is seen, from a request.
An endpoint without a declaration, or one whose request nobody wrote down here, fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from secrets import token_hex
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.db import transaction
from django.test import Client

from accounts import policy, selectors
from accounts.models import Constituency, SecurityEvent, StaffInvitation, TrustedDevice, User
from accounts.policy import Action
from accounts.rules import Code, CodePurpose, Role
from accounts.services import secrets
from core import clock
from core.api.views import Access
from core.base.ids import new_id
from core.base.registries import NATION, SEND_BULK_SMS, Place, permissions
from core.delivery.campaign_life import place_of
from core.delivery.models import Campaign
from tests.api import farming
from tests.api.cases import FAR, NEAR, OWN, Case
from tests.api.conftest import API, SignIn, living_in
from tests.api.endpoints import METHODS, endpoints
from tests.delivery.campaign import TERMINAL, TEXT, draft
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

PERMISSIONS = {SEND_BULK_SMS: Action.SEND_BULK_SMS}  # what core calls an action of the policy


class Verdict(IntEnum):
    DONE = 200
    UNKNOWN = 401
    REFUSED = 403
    HIDDEN = 404


def seen(status: int, who: Access | Action) -> int:
    """Done is 2xx, and 409: that it does not fit how things stand is said to those who may do it.

    At a public door nobody is turned away for who they are; what they send is judged by tests of its own.
    """
    if who == Access.PUBLIC and status in (400, 404):
        return Verdict.DONE
    return Verdict.DONE if 200 <= status < 300 or status == 409 else status


# --- whom and what it is about --------------------------------------------------------------------------------------


@dataclass
class World:
    people: list[User]
    campaigns: list[Campaign]
    invitations: list[StaffInvitation]
    farming: farming.Farming

    def people_and(self, actor: User | None) -> list[User]:
        return [*self.people, *([actor] if actor else [])]


PEOPLE = [
    *((role, None) for role in (Role.SUPER_ADMIN, Role.NATIONAL_STAFF, Role.AUDITOR)),
    *(
        (role, code)
        for role in (Role.REGIONAL_STAFF, Role.CONSTITUENCY_STAFF, Role.EXTENSION_OFFICER, Role.FARMER)
        for code in (OWN, NEAR, FAR)
    ),
]
SELECTIONS = [
    {"region": "AH", "constituency": OWN},
    {"region": "AH", "constituency": NEAR},
    {"region": "AH"},
    {"region": "AA", "constituency": FAR},
    {},
]


def make_world() -> World:
    people = []
    for number, (role, code) in enumerate(PEOPLE):
        email = f"other{number}@example.com"
        people.append(living_in(code, role, email=email) if code else UserFactory.create(role=role, email=email))
    owner = people[0]
    invitations = [
        StaffInvitation.objects.create(
            email=f"invited{number}@example.com",
            role=role,
            region=constituency.region if constituency else None,
            constituency=constituency,
            invited_by=owner,
            expires_at=clock.now() + timedelta(days=7),
        )
        for number, (role, constituency) in enumerate(invited())
    ]
    for user in people:
        SecurityEvent.objects.create(user=user, actor=owner, kind="mfa_reset", at=clock.now())
    return World(people, [draft(TERMINAL, where=where) for where in SELECTIONS], invitations, farming.make(people))


def invited() -> list[tuple[Role, Constituency | None]]:
    """Roles of every level that somebody manages, at every place."""
    places = Constituency.objects.select_related("region").filter(code__in=[OWN, NEAR, FAR]).order_by("code")
    local = (Role.REGIONAL_STAFF, Role.CONSTITUENCY_STAFF, Role.EXTENSION_OFFICER, Role.FARMER)
    national: list[tuple[Role, Constituency | None]] = [(Role.NATIONAL_ADMIN, None), (Role.AUDITOR, None)]
    return [*national, *((role, place) for role in local for place in places)]


@pytest.fixture
def world(db: None) -> World:
    return make_world()


def person_cases(world: World, actor: User | None, body: Callable[[User], dict[str, Any]]) -> list[Case]:
    return [Case(user, {"user_id": str(user.pk)}, body(user)) for user in world.people_and(actor)]


def campaign_cases(world: World, _actor: User | None, body: Callable[[Campaign], dict[str, Any]]) -> list[Case]:
    return [Case(place_of(one), {"campaign_id": str(one.pk)}, body(one)) for one in world.campaigns]


def session_cases(world: World, actor: User | None) -> list[Case]:
    """A session of each person."""
    cases = person_cases(world, actor, nothing)
    for case in cases:
        session = UserSession.objects.create(user=case.about, ip="127.0.0.1", session_key=token_hex(16))
        case.ids["number"] = str(session.pk)
    return cases


def device_cases(world: World, actor: User | None) -> list[Case]:
    cases = person_cases(world, actor, nothing)
    later = clock.now() + timedelta(days=30)
    for case, user in zip(cases, world.people_and(actor), strict=True):
        device = TrustedDevice.objects.create(user=user, device_hash="d", trust_expires_at=later)
        case.ids["device_id"] = str(device.pk)
    return cases


def grant_cases(world: World, actor: User | None) -> list[Case]:
    cases = person_cases(world, actor, nothing)
    for case in cases:
        case.ids["code"] = Code.RUN_REPORTS.value
    return cases


def home_of(one: User | StaffInvitation) -> dict[str, str]:
    return {"constituency": one.constituency.code} if one.constituency else {}


def somebody(one: StaffInvitation) -> policy.Person:
    """A person as the invitation would make one."""
    return policy.Person(id=new_id(), role=Role(one.role), home=one.home)


def invitation_cases(world: World, _actor: User | None) -> list[Case]:
    return [Case(somebody(one), {"invitation_id": str(one.pk)}) for one in world.invitations]


def newcomers(world: World) -> list[Case]:
    """Somebody new of each role at each place, as one is created or invited."""
    return [
        Case(
            somebody(one),
            body={
                "role": one.role,
                **home_of(one),
                "email": f"new{number}@example.com",
                "first_name": "Efua",
                "last_name": "Sarpong",
                "phone": f"02077{number:05}",
            },
        )
        for number, one in enumerate(world.invitations)
    ]


def texts(world: World) -> list[Case]:
    """A text to each selection."""
    return [
        Case(place_of(campaign), body={"text": TEXT, "selection": where})
        for campaign, where in zip(world.campaigns, SELECTIONS, strict=True)
    ]


# --- what is sent ---------------------------------------------------------------------------------------------------


def nothing(_about: object) -> dict[str, Any]:
    return {}


def reason(_about: object) -> dict[str, Any]:
    return {"reason": "it was asked for"}


def run_reports(_about: object) -> dict[str, Any]:
    return {"code": Code.RUN_REPORTS.value}


def new_role(user: User) -> dict[str, Any]:
    """Another role or place, which every manager of theirs may give."""
    if user.constituency is None:
        to: dict[str, Any] = {"role": "FINANCE_OFFICER" if user.role == Role.AUDITOR else "AUDITOR"}
    elif user.role == Role.REGIONAL_STAFF:
        to = {"role": user.role, "constituency": {"BNT": "SUB", "EJS": "BNT", "TMW": "TMC"}[user.constituency.code]}
    else:
        other = "CONSTITUENCY_STAFF" if user.role == Role.EXTENSION_OFFICER else "EXTENSION_OFFICER"
        to = {"role": other, "constituency": user.constituency.code}
    return {"reason": "moved", **to}


# Of each endpoint that is about somebody or something: its cases. The others are asked once, with nothing.
CASES: dict[tuple[str, str], Callable[[World, User | None], list[Case]]] = {
    ("get", "users/<uuid:user_id>/"): lambda w, a: person_cases(w, a, nothing),
    ("post", "users/<uuid:user_id>/role/"): lambda w, a: person_cases(w, a, new_role),
    ("post", "users/<uuid:user_id>/suspend/"): lambda w, a: person_cases(w, a, reason),
    ("post", "users/<uuid:user_id>/lift/"): lambda w, a: person_cases(w, a, reason),
    ("post", "users/<uuid:user_id>/unlock/"): lambda w, a: person_cases(w, a, nothing),
    ("post", "users/<uuid:user_id>/sign-out/"): lambda w, a: person_cases(w, a, reason),
    ("post", "users/<uuid:user_id>/reset-mfa/"): lambda w, a: person_cases(w, a, reason),
    ("get", "users/<uuid:user_id>/grants/"): lambda w, a: person_cases(w, a, nothing),
    ("post", "users/<uuid:user_id>/grants/"): lambda w, a: person_cases(w, a, run_reports),
    ("delete", "users/<uuid:user_id>/grants/<str:code>/"): grant_cases,
    ("get", "users/<uuid:user_id>/sessions/"): lambda w, a: person_cases(w, a, nothing),
    ("delete", "users/<uuid:user_id>/sessions/<int:number>/"): session_cases,
    ("get", "users/<uuid:user_id>/logins/"): lambda w, a: person_cases(w, a, nothing),
    ("delete", "me/sessions/<int:number>/"): session_cases,
    ("delete", "me/devices/<uuid:device_id>/"): device_cases,
    ("post", "users/"): lambda w, _: newcomers(w),
    ("post", "invitations/"): lambda w, _: newcomers(w),
    ("get", "invitations/<uuid:invitation_id>/"): invitation_cases,
    ("post", "invitations/<uuid:invitation_id>/cancel/"): invitation_cases,
    ("post", "invitations/<uuid:invitation_id>/again/"): invitation_cases,
    ("post", "me/phone/verification/confirm/"): lambda _, a: [Case(a, body={"code": "123456"})],
    ("post", "campaigns/"): lambda w, _: texts(w),
    ("post", "campaigns/plan/"): lambda w, _: texts(w),
    **{
        ("get", f"campaigns/<uuid:campaign_id>/{page}"): lambda w, a: campaign_cases(w, a, nothing)
        for page in ("", "progress/", "recipients/", "unreached/")
    },
    **{
        ("post", f"campaigns/<uuid:campaign_id>/{act}/"): lambda w, a: campaign_cases(w, a, reason)
        for act in ("approve", "start", "pause", "resume", "cancel", "unreached")
    },
    **{
        key: lambda w, a, cases=cases: cases(w.farming, a)  # type: ignore[misc]
        for key, cases in farming.CASES.items()
    },
}


def before(address: str, case: Case) -> None:
    """How things must stand for the request to do something."""
    if address.endswith("/lift/"):
        User.objects.filter(pk=case.ids["user_id"]).update(
            is_suspended=True, suspended_at=clock.now(), suspended_until=clock.now(), suspension_reason="fraud"
        )
    if address.endswith("/unlock/"):
        User.objects.filter(pk=case.ids["user_id"]).update(locked_until=clock.now() + timedelta(minutes=15))
    if address.endswith("/phone/verification/confirm/") and isinstance(case.about, User):
        code = secrets.ask_for_code(user=case.about, purpose=CodePurpose.PHONE_VERIFICATION, now=clock.now())
        code.code_hash = secrets._code_hash(code, case.about, case.body["code"])
        code.sent_at = clock.now()
        code.save()


# --- what is expected and what is seen ------------------------------------------------------------------------------


def declared(method: str, view: Any) -> Access | Action:
    """What the endpoint says of who may use it. Raises for one that says nothing, or what is not known."""
    said = view.access[method]
    return said if isinstance(said, Access) else PERMISSIONS.get(said) or Action(said)


def expected(actor: User | None, who: Access | Action, case: Case) -> Verdict:
    if actor is None:
        return Verdict.DONE if who == Access.PUBLIC else Verdict.UNKNOWN
    if case.may is not None and who != Access.PUBLIC:
        return Verdict.DONE if case.may else Verdict.REFUSED if case.sees else Verdict.HIDDEN
    if isinstance(who, Access):
        return Verdict.DONE if case.about in (None, actor) else Verdict.HIDDEN
    if case.about is None or selectors.may(actor, who, case.about):  # a list shows to each what they may see
        return Verdict.DONE
    if (
        not case.ids
        or case.sees
        or (isinstance(case.about, User) and selectors.may(actor, Action.SEE_PERSON, case.about))
    ):
        return Verdict.REFUSED
    return Verdict.HIDDEN


@contextmanager
def undone() -> Iterator[None]:
    """What happens inside is taken back: each request meets the same world."""
    before = transaction.savepoint()  # no atomic block: some services must open the outermost one
    try:
        yield
    finally:
        transaction.savepoint_rollback(before)
        transaction.set_rollback(False)


def ask(client: Client, method: str, address: str, case: Case) -> Any:
    path = re.sub(r"<\w+:(\w+)>", lambda found: case.ids[found[1]], address)
    sent: Any = {} if method == "get" else {"data": case.body, "content_type": case.content_type}
    query = f"?kind=ghana_card&token={case.token}" if address.endswith("/documents/") else ""
    return getattr(client, method)(f"{API}/{path}{query}", **sent)


def compare(client: Client, actor: User | None, world: World) -> int:
    """Asks everything; how many requests that took."""
    asked, wrong = 0, []
    for (method, address), view in endpoints().items():
        who = declared(method, view)
        for case in CASES.get((method, address), lambda *_: [Case()])(world, actor):
            with undone():
                before(address, case)
                answer = ask(client, method, address, case)
            asked += 1
            told, wanted = seen(answer.status_code, who), expected(actor, who, case)
            if told != wanted:
                about = case.about.role if isinstance(case.about, User) else case.about
                wrong.append(f"{method} {address} about {about}: {told}, not {wanted}: {answer.content[:200]!r}")
    assert not wrong, "\n".join(wrong)
    return asked


@pytest.mark.parametrize("role", Role)
def test_every_role_is_answered_as_the_policy_says(sign_in: SignIn, world: World, role: Role) -> None:
    actor = living_in(OWN, role, email="actor@example.com")
    farming.give(world.farming, actor)
    assert compare(sign_in(actor), actor, world) > len(endpoints())


def test_a_stranger_is_answered_at_the_public_doors_alone(client: Client, world: World) -> None:
    compare(client, None, world)
    answer = client.get(f"{API}/me/")
    assert answer["WWW-Authenticate"] == "Session"
    assert answer.json()["code"] == "not_authenticated"


@pytest.mark.parametrize("role", Role)
def test_a_list_shows_exactly_what_the_policy_lets_its_reader_see(sign_in: SignIn, world: World, role: Role) -> None:
    actor = living_in(OWN, role)
    farming.give(world.farming, actor)
    client = sign_in(actor)
    people = {str(user.pk) for user in world.people_and(actor) if selectors.may(actor, Action.SEE_PERSON, user)}
    campaigns = {str(one.pk) for one in world.campaigns if selectors.may(actor, Action.SEND_BULK_SMS, place_of(one))}
    invitations = {
        str(one.pk) for one in world.invitations if selectors.may(actor, Action.CREATE_PERSON, somebody(one))
    }
    about = [user for user in world.people if selectors.may(actor, Action.READ_SECURITY_EVENTS, user)]
    events = {str(pk) for pk in SecurityEvent.objects.filter(user__in=about).values_list("pk", flat=True)}
    people |= farming.farmers_of(world.farming, actor)
    lists = {"users/": people, "campaigns/": campaigns, "invitations/": invitations, "security-events/": events}
    lists |= farming.seen(world.farming, actor)
    for address, wanted in lists.items():
        found = client.get(f"{API}/{address}", {"limit": "200"}).json()["results"]
        assert {row["id"] for row in found} == wanted, address


def test_a_change_without_the_csrf_token_is_refused(sign_in: SignIn, world: World) -> None:
    owner = living_in(OWN, Role.SUPER_ADMIN)
    client = sign_in(owner, enforce_csrf_checks=True)
    for (method, address), view in endpoints().items():
        if method == "get" or declared(method, view) == Access.PUBLIC:
            continue
        case = CASES.get((method, address), lambda *_: [Case()])(world, owner)[0]
        answer = ask(client, method, address, case)
        assert answer.status_code == 403, address
        assert "CSRF" in answer.json()["detail"]


@pytest.mark.parametrize("role", [Role.SUPER_ADMIN, Role.EXTENSION_OFFICER])
def test_whoever_lacks_the_second_factor_is_answered_at_the_public_doors_alone(
    sign_in: SignIn, world: World, role: Role
) -> None:
    actor = living_in(OWN, role, is_demo=False)
    client = sign_in(actor)
    for (method, address), view in endpoints().items():
        if declared(method, view) != Access.PUBLIC:
            answer = ask(client, method, address, CASES.get((method, address), lambda *_: [Case()])(world, actor)[0])
            assert (answer.status_code, answer.json()["code"]) == (403, "second_factor_required"), address


# --- that nothing is left out ---------------------------------------------------------------------------------------


def test_every_endpoint_says_who_may_use_it() -> None:
    for (method, address), view in endpoints().items():
        assert declared(method, view), address
        assert set(view.access) == {method for method in METHODS if hasattr(view, method)}, address
    assert set(PERMISSIONS) <= set(permissions)


def test_what_is_asked_of_them_is_what_there_is() -> None:
    there = endpoints()
    assert set(CASES) <= set(there)
    with_ids = {key for key in there if "<" in key[1]}
    writing = {
        (method, address)
        for (method, address), view in there.items()
        if method != "get" and not isinstance(declared(method, view), Access)
    }
    assert with_ids | writing <= set(CASES), "whom or what these are about is not said above"


def test_the_places_are_what_the_matrix_says(world: World) -> None:
    places = {place_of(campaign) for campaign in world.campaigns}
    own, near, far = (living_in(code).home for code in (OWN, NEAR, FAR))
    assert places == {own, near, far, Place(own.region_id), NATION}
    assert own.region_id == near.region_id != far.region_id


COUNTS_TRIES = {"me/phone/verification/confirm/"}  # a wrong code stays counted, so it is not one transaction


def test_every_post_is_done_once_for_its_key() -> None:
    """But at the public doors: a key belongs to a person."""
    for (method, address), view in endpoints().items():
        if method == "post":
            without = address in COUNTS_TRIES or declared(method, view) == Access.PUBLIC
            assert getattr(view.post, "is_idempotent", False) != without, address
