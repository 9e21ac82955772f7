"""People and invitations are made, and what happened to the safety of accounts is read, over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from accounts.models import LoginRecord, RoleChange, SecurityEvent, StaffInvitation, StaffPermission, User
from accounts.rules import Role
from core import clock
from core.api.models import IdempotentRequest
from tests.accounts.letters import asked_for
from tests.accounts.signing_in import sign_in as on_page
from tests.accounts.signing_in import with_app
from tests.api.conftest import API, SignIn, living_in
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db
JSON = "application/json"
ESI = {
    "phone": "024 400 0555",
    "role": "constituency staff",
    "first_name": "Esi",
    "last_name": "Quaye",
    "email": "Esi@Example.com",
    "constituency": "bnt",
}


@pytest.fixture
def regional(db: None) -> User:
    return living_in("EJS", Role.REGIONAL_ADMIN)


@pytest.fixture
def client_of_regional(sign_in: SignIn, regional: User) -> Client:
    return sign_in(regional)


def post(client: Client, path: str, status: int, sent: Any = None, **headers: str) -> Any:
    answer = client.post(f"{API}/{path}", sent or {}, JSON, headers=headers)
    assert answer.status_code == status, answer.content
    return answer.json()


def test_a_person_is_created_once_for_a_key_and_invited_to_choose_a_password(client_of_regional: Client) -> None:
    told = post(client_of_regional, "users/", 201, ESI, **{"Idempotency-Key": "one"})
    assert (told["phone"], told["email"], told["role"]) == ("+233244000555", "esi@example.com", "CONSTITUENCY_STAFF")
    assert (told["region"]["code"], told["constituency"]["code"], told["is_active"]) == ("AH", "BNT", False)
    assert asked_for() == [("send_welcome_notification", [told["id"]])]
    assert post(client_of_regional, "users/", 201, ESI, **{"Idempotency-Key": "one"}) == told
    assert "already exists" in post(client_of_regional, "users/", 400, ESI)["detail"]
    assert IdempotentRequest.objects.count() == 1


@pytest.mark.parametrize(
    ("wrong", "status", "said"),
    [
        ({"constituency": "TMW"}, 403, "inside your own area"),
        ({"role": "NATIONAL_ADMIN"}, 403, "that you manage"),
        ({"role": "king"}, 400, "Use one of"),
        ({"phone": "0302123456"}, 400, "landline"),
        ({"email": ""}, 400, "E-mail is required"),
        ({"constituency": "", "region": "AH"}, 400, "need a constituency"),
        ({"constituency": "ZZZ"}, 400, "not known"),
        ({"preferred_contact_method": "pigeon"}, 400, "Use one of"),
        ({"language": "fr"}, 400, "valid choice"),
    ],
)
def test_a_person_who_cannot_be_created_is_not(
    client_of_regional: Client, wrong: dict[str, str], status: int, said: str
) -> None:
    before = User.objects.count()
    assert said in str(post(client_of_regional, "users/", status, {**ESI, **wrong}))
    assert User.objects.count() == before


def test_codes_are_granted_listed_and_taken_back(client_of_regional: Client, regional: User) -> None:
    kofi = living_in("BNT", Role.CONSTITUENCY_STAFF)
    grants = f"users/{kofi.pk}/grants/"
    told = post(client_of_regional, grants, 201, {"code": "run_reports"})
    assert (told["code"], told["granted_by"]) == ("run_reports", str(regional.pk))
    assert post(client_of_regional, grants, 200, {"code": "run_reports"}) == told
    assert client_of_regional.get(f"{API}/{grants}").json() == [told]
    post(client_of_regional, grants, 403, {"code": "manage_batches"})
    post(client_of_regional, grants, 400, {"code": "everything"})
    for _ in range(2):
        assert client_of_regional.delete(f"{API}/{grants}run_reports/").status_code == 204
    assert client_of_regional.delete(f"{API}/{grants}everything/").status_code == 400
    assert not StaffPermission.objects.exists()


def test_the_owner_signs_people_out_and_resets_their_second_factor(sign_in: SignIn) -> None:
    owner, kofi = UserFactory.create(role=Role.SUPER_ADMIN), living_in("BNT", username="kofi")
    his, hers = Client(), sign_in(owner)
    on_page(his, "kofi")
    [session] = hers.get(f"{API}/users/{kofi.pk}/sessions/").json()
    assert session["is_current"] is False
    assert hers.delete(f"{API}/users/{kofi.pk}/sessions/{session['number']}/").status_code == 204
    assert his.get(f"{API}/me/").status_code == 401
    on_page(his, "kofi")
    post(hers, f"users/{kofi.pk}/sign-out/", 400)
    assert post(hers, f"users/{kofi.pk}/sign-out/", 200, {"reason": "stolen phone"})["id"] == str(kofi.pk)
    assert his.get(f"{API}/me/").status_code == 401
    post(hers, f"users/{kofi.pk}/reset-mfa/", 409, {"reason": "lost phone"})
    with_app(kofi)
    post(hers, f"users/{kofi.pk}/reset-mfa/", 200, {"reason": "lost phone"})
    kinds = {row["kind"] for row in hers.get(f"{API}/security-events/?user={kofi.pk}").json()["results"]}
    assert {"forced_sign_out", "mfa_reset"} <= kinds


# --- invitations ----------------------------------------------------------------------------------------------------


INVITED = {"email": "Esi@Example.com", "role": "constituency staff", "constituency": "BNT"}


def test_an_invitation_is_made_sent_again_and_cancelled(client_of_regional: Client, regional: User) -> None:
    told = post(client_of_regional, "invitations/", 201, INVITED)
    assert (told["email"], told["status"], told["constituency"]["code"]) == ("esi@example.com", "pending", "BNT")
    assert told["invited_by"] == {"id": str(regional.pk), "username": regional.username}
    one = f"invitations/{told['id']}/"
    assert client_of_regional.get(f"{API}/{one}").json() == told
    assert "open invitation" in post(client_of_regional, "invitations/", 409, INVITED)["detail"]
    post(client_of_regional, f"{one}again/", 200)
    assert asked_for() == [("send_staff_invitation", [told["id"]])] * 2
    assert post(client_of_regional, f"{one}cancel/", 200)["status"] == "cancelled"
    post(client_of_regional, f"{one}again/", 409)
    assert "token" not in str(told)


def test_invitations_are_listed_by_how_they_stand_now(client_of_regional: Client, regional: User) -> None:
    ids = {}
    for number, days in enumerate((7, 7, -1)):
        made = post(client_of_regional, "invitations/", 201, {**INVITED, "email": f"a{number}@example.com"})
        StaffInvitation.objects.filter(pk=made["id"]).update(expires_at=clock.now() + timedelta(days=days))
        ids[number] = made["id"]
    post(client_of_regional, f"invitations/{ids[0]}/cancel/", 200)

    def listed(status: str) -> list[str]:
        found = client_of_regional.get(f"{API}/invitations/", {"status": status}).json()["results"]
        return [row["id"] for row in found]

    assert listed("") == [ids[2], ids[1], ids[0]]
    assert listed("cancelled") == [ids[0]]
    assert listed("Pending") == [ids[1]]
    assert listed("expired") == [ids[2]], "the cleanup has not come by"
    assert client_of_regional.get(f"{API}/invitations/{ids[2]}/").json()["status"] == "expired"
    assert client_of_regional.get(f"{API}/invitations/?status=lost").status_code == 400


# --- what happened --------------------------------------------------------------------------------------------------


def happened(user: User, kind: str = "mfa_enabled", minutes: int = 0, actor: User | None = None) -> SecurityEvent:
    at = clock.now() - timedelta(minutes=minutes)
    return SecurityEvent.objects.create(user=user, actor=actor, kind=kind, at=at, ip="10.0.0.1")


def test_events_are_filtered_by_person_kind_and_time(client_of_regional: Client, regional: User) -> None:
    ama, far = living_in("BNT"), living_in("TMW")
    new, old = happened(ama, minutes=5, actor=regional), happened(ama, "suspended", minutes=90)
    happened(far)
    own = happened(regional, minutes=1)

    def listed(**wanted: Any) -> list[str]:
        answer = client_of_regional.get(f"{API}/security-events/", wanted)
        assert answer.status_code == 200, answer.content
        return [row["id"] for row in answer.json()["results"]]

    assert listed() == [str(own.pk), str(new.pk), str(old.pk)]
    assert listed(user=ama.pk) == [str(new.pk), str(old.pk)]
    assert listed(user=far.pk) == []
    assert listed(kind="Suspended") == [str(old.pk)]
    assert listed(since=(clock.now() - timedelta(hours=1)).isoformat()) == [str(own.pk), str(new.pk)]
    first: Any = {"user": ama.pk, "limit": "1"}
    [row] = client_of_regional.get(f"{API}/security-events/", first).json()["results"]
    assert (row["user"]["username"], row["actor"]["username"], row["ip"]) == (
        ama.username,
        regional.username,
        "10.0.0.1",
    )
    wrongs: list[Any] = [{"kind": "theft"}, {"user": "x"}, {"since": "yesterday"}, {"cursor": "x"}]
    for wrong in wrongs:
        assert client_of_regional.get(f"{API}/security-events/", wrong).status_code == 400


def test_headquarters_read_the_sign_ins_of_a_person(sign_in: SignIn, head: User) -> None:
    ama = living_in("BNT")
    LoginRecord.objects.create(user=ama, at=clock.now(), success=True, ip="10.0.0.1", place="Kumasi")
    LoginRecord.objects.create(user=head, at=clock.now(), success=True)
    [row] = sign_in(head).get(f"{API}/users/{ama.pk}/logins/").json()["results"]
    assert (row["place"], row["ip"], row["success"], row["failure_reason"]) == ("Kumasi", "10.0.0.1", True, "")


@pytest.mark.parametrize(
    "address", ["users/", "invitations/", "security-events/", "me/logins/", "users/{0}/logins/", "users/{0}/grants/"]
)
def test_no_list_costs_more_queries_when_it_is_longer(
    sign_in: SignIn, head: User, django_assert_max_num_queries: Any, address: str
) -> None:
    kofi = living_in("BNT", Role.REGIONAL_STAFF)
    client = sign_in(head)
    path = f"{API}/{address.format(kofi.pk)}?limit=200"

    def more(number: int) -> None:
        for _ in range(number):
            other = living_in("BNT")
            happened(other, actor=head)
            StaffInvitation.objects.create(
                email=f"{other.username}@x.example",
                role=Role.AUDITOR,
                invited_by=UserFactory.create(role=Role.SUPER_ADMIN),
                expires_at=clock.now(),
            )
            for user in (head, kofi):
                LoginRecord.objects.create(user=user, at=clock.now(), success=True)
            if not StaffPermission.objects.filter(user=kofi).exists():
                StaffPermission.objects.create(user=kofi, code="run_reports", granted_by=head)

    more(2)
    with django_assert_max_num_queries(100) as few:
        assert client.get(path).status_code == 200
    more(20)
    with django_assert_max_num_queries(len(few.captured_queries)):
        client.get(path)
    assert not RoleChange.objects.exists()
