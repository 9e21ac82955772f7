"""Admin pages of invitations, sign-ins, security events and changes of role, and what is done to people there."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import LoginRecord, RoleChange, SecurityEvent, StaffInvitation, User
from accounts.rules import Role
from core import clock
from core.base.models import AuditLog
from tests.accounts.letters import asked_for
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db
RECORDS = ["loginrecord", "securityevent", "rolechange"]
LISTS = ["user", "staffinvitation", *RECORDS]


def address(page: str, *args: object) -> str:
    return reverse(f"admin:accounts_{page}", args=args)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def client_of_head(head: User) -> Client:
    return signed_in(head)


def some(head: User, count: int = 1) -> None:
    """Rows for every list."""
    now = clock.now()
    for _ in range(count):
        user, other = UserFactory.create(role=Role.AUDITOR), UserFactory.create(role=Role.SUPER_ADMIN)
        LoginRecord.objects.create(user=user, at=now, success=True, user_agent="Chrome/1 Android", ip="10.0.0.1")
        SecurityEvent.objects.create(user=user, actor=other, kind="mfa_reset", at=now)
        RoleChange.objects.create(
            user=user, old_role="FARMER", new_role="AUDITOR", changed_by=other, reason="asked for"
        )
        StaffInvitation.objects.create(
            email=f"{user.username}@new.example", role="AUDITOR", invited_by=head, expires_at=now + timedelta(days=7)
        )


@pytest.mark.parametrize("model", LISTS)
def test_every_list_is_read_and_searched_with_the_same_queries_however_long_it_is(
    client_of_head: Client, head: User, model: str, django_assert_max_num_queries: Any
) -> None:
    some(head)
    pages = [(address(f"{model}_changelist"), query) for query in ({}, {"q": "person"}, {"q": "0244123456"})]
    client_of_head.get(pages[0][0])
    counts = []
    for page, query in pages:
        with django_assert_max_num_queries(30) as found:
            assert client_of_head.get(page, query).status_code == 200
        counts.append(len(found.captured_queries))
    some(head, 15)
    for (page, query), count in zip(pages, counts, strict=True):
        with django_assert_max_num_queries(count):
            client_of_head.get(page, query)


@pytest.mark.parametrize("model", RECORDS)
def test_what_has_happened_is_shown_and_never_changed(client_of_head: Client, head: User, model: str) -> None:
    some(head)
    row = {"loginrecord": LoginRecord, "securityevent": SecurityEvent, "rolechange": RoleChange}[model].objects.get()  # type: ignore[attr-defined]
    change = address(f"{model}_change", row.pk)
    assert client_of_head.get(change).status_code == 200
    assert client_of_head.post(change, {}).status_code == 403
    assert client_of_head.post(address(f"{model}_delete", row.pk), {"post": "yes"}).status_code == 403
    assert client_of_head.get(address(f"{model}_add")).status_code == 403


@pytest.mark.parametrize(
    ("model", "query", "count"),
    [
        ("loginrecord", {"success__exact": "0"}, 0),
        ("loginrecord", {"q": "10.0.0.1"}, 1),
        ("securityevent", {"kind__exact": "mfa_reset"}, 1),
        ("securityevent", {"kind__exact": "suspended"}, 0),
        ("rolechange", {"new_role__exact": "AUDITOR"}, 1),
        ("staffinvitation", {"status": "pending"}, 1),
        ("staffinvitation", {"status": "expired"}, 0),
        ("staffinvitation", {"q": "nobody"}, 0),
    ],
)
def test_lists_are_filtered(client_of_head: Client, head: User, model: str, query: dict[str, str], count: int) -> None:
    some(head)
    answer = client_of_head.get(address(f"{model}_changelist"), query)
    assert answer.context["cl"].result_count == count


@pytest.mark.parametrize("model", LISTS)
def test_every_filter_and_link_of_a_list_works(client_of_head: Client, head: User, model: str) -> None:
    some(head)
    there = address(f"{model}_changelist")
    page = client_of_head.get(there)
    links = {unescape(one) for one in re.findall(r'href="(\?[^"]*)"', page.content.decode())}
    links |= {
        one["query_string"] for spec in page.context["cl"].filter_specs for one in spec.choices(page.context["cl"])
    }
    assert any("__" in one for one in links)
    for one in links:
        assert client_of_head.get(there + one).status_code == 200, one


@pytest.mark.parametrize(
    ("model", "query"),
    [
        ("user", {"phone__startswith": "+23324"}),
        ("user", {"email__contains": "a"}),
        ("user", {"password__startswith": "argon2"}),
        ("user", {"role__regex": "^F"}),
        ("staffinvitation", {"token_hash__startswith": "a"}),
        ("loginrecord", {"user__phone__startswith": "+23324"}),
    ],
)
def test_what_no_page_shows_is_not_guessed_in_an_address(
    client_of_head: Client, model: str, query: dict[str, str]
) -> None:
    assert client_of_head.get(address(f"{model}_changelist"), query).status_code == 400


@pytest.mark.parametrize("model", LISTS)
def test_staff_of_the_nation_find_none_of_it(model: str) -> None:
    client = signed_in(UserFactory.create(role=Role.NATIONAL_STAFF))
    answer = client.get(address(f"{model}_changelist"))
    if model == "securityevent":  # one's own
        assert answer.status_code == 200
        assert answer.context["cl"].result_count == 0
    else:
        assert answer.status_code == 403


# --- invitations ----------------------------------------------------------------------------------------------------


def test_an_invitation_is_made_through_the_service(client_of_head: Client, head: User) -> None:
    add = address("staffinvitation_add")
    page = client_of_head.get(add)
    offered = [value for value, _ in page.context["form"].fields["role"].choices]
    assert "REGIONAL_ADMIN" in offered
    assert not {"SUPER_ADMIN", "NATIONAL_ADMIN", "FARMER"} & set(offered)
    answer = client_of_head.post(add, {"email": "Esi@Example.com", "role": "AUDITOR"})
    assert answer.status_code == 302
    invitation = StaffInvitation.objects.get()
    assert (invitation.email, invitation.invited_by) == ("esi@example.com", head)
    assert asked_for() == [("send_staff_invitation", [str(invitation.pk)])]
    again = client_of_head.post(add, {"email": "esi@example.com", "role": "AUDITOR"})
    assert "open invitation" in again.content.decode()
    lacking = client_of_head.post(add, {"email": "kofi@example.com", "role": "REGIONAL_STAFF"})
    assert "inside your own area" in lacking.content.decode() or "need a region" in lacking.content.decode()
    assert StaffInvitation.objects.count() == 1


def test_invitations_are_taken_back_and_sent_again(client_of_head: Client, head: User) -> None:
    some(head, 2)
    first, second = StaffInvitation.objects.order_by("pk")

    def act(action: str, *chosen: StaffInvitation) -> str:
        sent = {"action": action, "_selected_action": [str(one.pk) for one in chosen]}
        return client_of_head.post(address("staffinvitation_changelist"), sent, follow=True).content.decode()

    assert "Sent again: 2." in act("send_again", first, second)
    assert "Taken back: 1." in act("cancel", first)
    told = act("cancel", first, second)
    assert "This invitation is over" in told
    assert "Taken back: 1." in told
    assert set(StaffInvitation.objects.values_list("status", flat=True)) == {"cancelled"}


def test_no_page_shows_the_hash_of_a_token(client_of_head: Client, head: User) -> None:
    some(head)
    StaffInvitation.objects.update(token_hash="a" * 64, sent_at=clock.now())
    page = client_of_head.get(address("staffinvitation_change", StaffInvitation.objects.get().pk))
    assert page.status_code == 200
    assert "a" * 64 not in page.content.decode()


# --- what is done to people -----------------------------------------------------------------------------------------


def act(client: Client, action: str, *people: User, **more: str) -> Any:
    sent = {"action": action, "_selected_action": [str(user.pk) for user in people], **more}
    return client.post(address("user_changelist"), sent, follow=True)


def test_people_are_suspended_with_a_reason_that_is_asked_for(client_of_head: Client, head: User) -> None:
    ama, kofi = UserFactory.create(), UserFactory.create()
    asked = act(client_of_head, "suspend", ama, kofi)
    assert asked.context["rows"] == [ama, kofi]
    ama.refresh_from_db()
    assert not ama.is_suspended, "nothing is done before the reason is given"
    assert "required" in act(client_of_head, "suspend", ama, confirmed="yes", reason=" ").content.decode()
    told = act(client_of_head, "suspend", ama, kofi, head, confirmed="yes", reason="fraud").content.decode()
    assert "Done (suspend): 2." in told
    assert "Nobody does this to their own account" in told
    ama.refresh_from_db()
    assert (ama.is_suspended, ama.suspension_reason, ama.suspended_by) == (True, "fraud", head)
    assert ama.security_events.get().ip == "127.0.0.1"
    assert AuditLog.objects.filter(action="user.suspend", reason="fraud").count() == 2
    told = act(client_of_head, "lift_suspension", ama, kofi, confirmed="yes", reason="cleared").content.decode()
    assert "Done (lift the suspension): 2." in told


def test_locks_are_lifted(client_of_head: Client) -> None:
    locked = UserFactory.create(locked_until=clock.now() + timedelta(minutes=5), failed_login_attempts=5)
    told = act(client_of_head, "unlock", locked, UserFactory.create()).content.decode()
    assert "Unlocked: 1." in told
    assert "This account is not locked." in told


def test_only_the_owner_signs_people_out(client_of_head: Client, owner: User) -> None:
    ama = UserFactory.create()
    told = act(client_of_head, "sign_out", ama, confirmed="yes", reason="stolen phone").content.decode()
    assert "Your role does not let you" in told
    hers = signed_in(ama)
    told = act(signed_in(owner), "sign_out", ama, confirmed="yes", reason="stolen phone").content.decode()
    assert "Done (sign out everywhere): 1." in told
    assert hers.get("/api/v1/me/").status_code == 401


def test_headquarters_read_people_and_change_none_past_the_services(client_of_head: Client) -> None:
    ama = UserFactory.create()
    assert client_of_head.get(address("user_change", ama.pk)).status_code == 200
    assert client_of_head.post(address("user_change", ama.pk), {"username": "x"}).status_code == 403
    made = {"first_name": "Esi", "last_name": "Owusu", "phone": "0244123456", "email": "esi@example.com"}
    made |= {"role": "NATIONAL_STAFF", "preferred_contact_method": "EMAIL", "language": "en"}
    for role in ("NATIONAL_ADMIN", "FARMER"):
        said = client_of_head.post(address("user_add"), made | {"role": role}).content.decode()
        assert "not one of the available choices" in said
    assert client_of_head.post(address("user_add"), made).status_code == 302
    assert User.objects.get(email="esi@example.com").role == "NATIONAL_STAFF"


def test_people_are_found_by_what_the_search_says(client_of_head: Client) -> None:
    ama = UserFactory.create(username="ama", phone="+233244000777", email="ama@x.example", last_name="Zed")
    for text in ("am", "zE", "0244000777", "+233 24 400 0777", "AMA@x.example"):
        found = client_of_head.get(address("user_changelist"), {"q": text}).context["cl"].queryset
        assert ama in found, text
    assert ama not in client_of_head.get(address("user_changelist"), {"q": "ma"}).context["cl"].queryset
    narrowed = client_of_head.get(address("user_changelist"), {"q": "am", "role__exact": "FARMER"})
    assert ama in narrowed.context["cl"].queryset


def test_an_address_that_is_changed_is_not_confirmed_any_more(owner: User) -> None:
    ama = UserFactory.create(email="ama@x.example", email_verified=True, phone_verified=True)
    form = {"username": ama.username, "phone": ama.phone, "preferred_contact_method": "SMS", "language": "en"}
    client = signed_in(owner)
    page = address("user_change", ama.pk)
    assert client.post(page, form | {"email": "ama@x.example", "is_active": "on"}).status_code == 302
    ama.refresh_from_db()
    assert (ama.email_verified, ama.phone_verified) == (True, True)
    client.post(page, form | {"email": "new@x.example", "phone": "0244000888", "is_active": "on"})
    ama.refresh_from_db()
    assert (ama.email, ama.email_verified, ama.phone_verified) == ("new@x.example", False, False)
