"""Invitations: who may invite whom, one open one for an address, a link that is good once, and an end that is final."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models.functions import Upper
from django.test import Client

from accounts import selectors
from accounts.models import Constituency, StaffInvitation, User
from accounts.rules import INVITATION_TRANSITIONS, InvitationStatus, Role, token_hash
from accounts.services import invitations
from accounts.services.secrets import LinkNotGood
from accounts.tasks import send_staff_invitation
from core import clock
from core.base.models import AuditLog
from core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from tests.accounts.letters import asked_for, letter, letters
from tests.delivery.outbox import meanwhile
from tests.factories import ConstituencyFactory, UserFactory

pytestmark = pytest.mark.django_db

PASSWORD = "a-better-password-2026"
ESI: dict[str, Any] = {"phone": "0244000555", "first_name": "Esi", "last_name": "Quaye", "password": PASSWORD}


def living_in(code: str, role: Role, **fields: Any) -> User:
    return UserFactory.create(role=role, constituency=Constituency.objects.get(code=code), **fields)


@pytest.fixture
def regional(db: None) -> User:
    bantama = ConstituencyFactory.create()  # made anew where a test with real transactions has emptied every table
    return UserFactory.create(role=Role.REGIONAL_ADMIN, constituency=bantama, first_name="Yaw", last_name="Boateng")


def invite(actor: User, role: str = "constituency staff", place: str = "BNT", **more: Any) -> StaffInvitation:
    home = selectors.constituency(place) if place else None
    asked = {"email": "Esi@Example.com", "now": clock.now(), **more}
    return invitations.invite(actor=actor, role=role, constituency=home, **asked)


def sent(actor: User, **more: Any) -> str:
    """An invitation that has gone out. Returns the token of its link."""
    invitation = invite(actor, **more)
    assert send_staff_invitation(str(invitation.pk)) == {"status": "ok", "channels": ["email"]}
    return letters("staff_invitation")[-1].token


def accept(token: str, **more: Any) -> User:
    return invitations.accept(token=token, **{**ESI, "now": clock.now(), **more})


def over(invitation: StaffInvitation) -> None:
    StaffInvitation.objects.filter(pk=invitation.pk).update(expires_at=clock.now())


# --- from the invitation to the account


def test_an_invitation_becomes_an_account_with_its_role_and_place(regional: User, client: Client) -> None:
    invitation = invite(regional)
    assert (invitation.email, invitation.role, invitation.status) == (
        "esi@example.com",
        "CONSTITUENCY_STAFF",
        "pending",
    )
    assert (invitation.token_hash, invitation.sent_at) == ("", None)
    assert asked_for() == [("send_staff_invitation", [str(invitation.pk)])]
    assert send_staff_invitation(str(invitation.pk)) == {"status": "ok", "channels": ["email"]}
    mail = letter("staff_invitation")
    assert mail.to == "esi@example.com"
    assert "Yaw Boateng invites you" in mail.text
    assert "Constituency staff, Bantama (Ashanti)" in mail.text
    invitation.refresh_from_db()
    assert invitation.token_hash == token_hash(mail.token)
    found = selectors.open_invitation(mail.token, clock.now())
    assert found == invitation

    user = accept(mail.token)
    assert (user.email, user.phone, user.role, user.is_active) == (
        "esi@example.com",
        "+233244000555",
        "CONSTITUENCY_STAFF",
        True,
    )
    assert (user.email_verified, user.phone_verified) == (True, False)
    assert (user.constituency, user.region, user.district) == (
        invitation.constituency,
        invitation.region,
        invitation.constituency.district,  # type: ignore[union-attr]
    )
    invitation.refresh_from_db()
    assert (invitation.status, invitation.user) == ("accepted", user)
    assert asked_for()[-1] == ("send_welcome_notification", [str(user.pk)])
    assert client.login(username=user.username, password=PASSWORD)
    with pytest.raises(LinkNotGood):
        accept(mail.token, phone="0244000556")
    assert selectors.open_invitation(mail.token, clock.now()) is None


def test_an_invited_person_may_choose_a_username_that_is_free(regional: User) -> None:
    token = sent(regional)
    with pytest.raises(InvalidInput, match="already exists"):
        accept(token, username=regional.username)
    assert accept(token, username="esi", language="tw").username == "esi"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"phone": "0302123456"}, "landline"),
        ({"password": "short"}, "too short"),
        ({"password": "esi@example.com"}, "too similar"),
        ({"username": "a b"}, "valid username"),
        ({"first_name": "a\nb"}, "one line"),
        ({"language": "fr"}, "language"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_the_link_stays_good(
    regional: User, more: dict[str, Any], says: str
) -> None:
    token = sent(regional)
    with pytest.raises(InvalidInput, match=says):
        accept(token, **more)
    assert User.objects.count() == 1
    accept(token)


def test_a_number_that_somebody_has_is_refused(regional: User) -> None:
    token = sent(regional)
    with pytest.raises(InvalidInput, match="already exists"):
        accept(token, phone=regional.phone)


@pytest.mark.parametrize("token", ["", "x", "\ud800", "x" * 5_000])
def test_what_was_never_a_link_is_not_good(regional: User, token: str) -> None:
    invite(regional)
    with pytest.raises(LinkNotGood):
        accept(token)


def test_an_invitation_has_seven_days(regional: User) -> None:
    token = sent(regional)
    week = clock.now() + timedelta(days=7)
    with pytest.raises(LinkNotGood):
        accept(token, now=week)
    assert StaffInvitation.objects.get().status == "pending", "whether or not the cleanup has come by"
    accept(token, now=week - timedelta(minutes=1))


@pytest.mark.django_db(transaction=True)
def test_two_acceptances_at_once_give_one_user(regional: User) -> None:
    token = sent(regional)
    results: list[str] = []

    def try_it(number: int) -> None:
        try:
            results.append(accept(token, phone=f"024400056{number}").username)
        except LinkNotGood:
            results.append("")

    with meanwhile(*[lambda n=n: try_it(n) for n in range(4)]):
        pass
    assert sorted(map(bool, results)) == [False, False, False, True]
    assert User.objects.filter(email="esi@example.com").count() == 1


# --- who may


@pytest.mark.parametrize(
    ("actor", "role", "place", "error"),
    [
        ("REGIONAL_ADMIN", "CONSTITUENCY_STAFF", "TMW", NotAllowed),
        ("REGIONAL_ADMIN", "REGIONAL_ADMIN", "BNT", NotAllowed),
        ("REGIONAL_ADMIN", "AUDITOR", "", NotAllowed),
        ("CONSTITUENCY_ADMIN", "EXTENSION_OFFICER", "EJS", NotAllowed),
        ("NATIONAL_ADMIN", "NATIONAL_ADMIN", "", NotAllowed),
        ("SUPER_ADMIN", "SUPER_ADMIN", "", NotAllowed),
        ("REGIONAL_STAFF", "CONSTITUENCY_STAFF", "BNT", NotAllowed),
        ("AUDITOR", "AUDITOR", "", NotAllowed),
        ("FARMER", "FARMER", "BNT", NotAllowed),
        ("SUPER_ADMIN", "king", "", InvalidInput),
        ("SUPER_ADMIN", "REGIONAL_ADMIN", "", InvalidInput),
        ("SUPER_ADMIN", "CONSTITUENCY_ADMIN", "", InvalidInput),
    ],
)
def test_who_may_not_invite_whom(actor: str, role: str, place: str, error: type[Exception]) -> None:
    who = living_in("BNT", Role(actor))
    with pytest.raises(error):
        invite(who, role, place)
    assert not StaffInvitation.objects.exists()
    assert (asked_for(), AuditLog.objects.count()) == ([], 0)


@pytest.mark.parametrize("email", ["", "esi", "esi@", "a\0b@example.com", f"{'x' * 300}@example.com"])
def test_what_is_no_address_is_refused(regional: User, email: str) -> None:
    with pytest.raises(InvalidInput, match="email"):
        invite(regional, email=email)


def test_a_constituency_of_another_region_is_refused(owner: User) -> None:
    with pytest.raises(InvalidInput, match="another region"):
        invite(owner, region=selectors.region_by_code("AA"))


def test_an_address_has_one_open_invitation_and_none_when_it_has_an_account(regional: User, head: User) -> None:
    invitation = invite(regional)
    with pytest.raises(Conflict, match="open invitation"):
        invite(head, "auditor", "")
    over(invitation)
    assert invite(head, "auditor", "").status == "pending", "the other one was over"
    invitation.refresh_from_db()
    assert invitation.status == "expired"
    with pytest.raises(Conflict, match="has an account"):
        invite(regional, email=head.email.upper())


@pytest.mark.django_db(transaction=True)
def test_of_two_who_invite_one_address_at_once_one_does(regional: User, head: User) -> None:
    refused: list[Conflict] = []

    def try_it(actor: User, role: str, place: str) -> None:
        try:
            invite(actor, role, place)
        except Conflict as conflict:
            refused.append(conflict)

    with meanwhile(lambda: try_it(regional, "constituency staff", "BNT"), lambda: try_it(head, "auditor", "")):
        pass
    assert (StaffInvitation.objects.count(), len(refused)) == (1, 1)


# --- taken back, sent anew


def test_a_cancelled_invitation_is_not_good_any_more(regional: User) -> None:
    token = sent(regional)
    invitation = StaffInvitation.objects.get()
    assert invitations.cancel(actor=regional, invitation_id=invitation.pk, now=clock.now()).status == "cancelled"
    with pytest.raises(LinkNotGood):
        accept(token)
    for act in (invitations.cancel, invitations.again):
        with pytest.raises(Conflict, match="over"):
            act(actor=regional, invitation_id=invitation.pk, now=clock.now())
    audit = AuditLog.objects.order_by("at").values_list("action", "actor", "subject_id")
    assert list(audit) == [
        ("invitation.create", regional.pk, str(invitation.pk)),
        ("invitation.cancel", regional.pk, str(invitation.pk)),
    ]
    assert invite(regional).pk != invitation.pk


def test_sent_anew_it_has_a_new_link_and_seven_more_days(regional: User) -> None:
    first = sent(regional)
    invitation = StaffInvitation.objects.get()
    later = clock.now() + timedelta(days=6)
    invitations.again(actor=regional, invitation_id=invitation.pk, now=later)
    with pytest.raises(LinkNotGood):
        accept(first)
    assert send_staff_invitation(str(invitation.pk))["status"] == "ok"
    assert send_staff_invitation(str(invitation.pk))["status"] == "duplicate"
    second = letters("staff_invitation")[-1]
    assert len(letters("staff_invitation")) == 2
    assert second.message.not_after == later + timedelta(days=7)
    assert AuditLog.objects.filter(action="invitation.again", actor=regional).count() == 1
    accept(second.token, now=later + timedelta(days=6))


def test_who_does_not_manage_the_role_there_neither_sees_nor_cancels_nor_sends_it(regional: User, head: User) -> None:
    invitation = invite(regional)
    strangers = [
        head,  # the region's, not the nation's, to manage
        living_in("TMW", Role.REGIONAL_ADMIN),
        living_in("EJS", Role.CONSTITUENCY_ADMIN),
        living_in("BNT", Role.CONSTITUENCY_STAFF),
        living_in("BNT", Role.FARMER),
    ]
    for act in (invitations.cancel, invitations.again):
        for stranger in strangers:
            with pytest.raises(NotFound):
                act(actor=stranger, invitation_id=invitation.pk, now=clock.now())
        with pytest.raises(NotFound):
            act(actor=regional, invitation_id=uuid.uuid4(), now=clock.now())
    neighbour = living_in("BNT", Role.CONSTITUENCY_ADMIN)
    assert invitations.cancel(actor=neighbour, invitation_id=invitation.pk, now=clock.now()).status == "cancelled"


def test_an_inviter_who_lost_the_role_since_the_request_began_does_nothing(regional: User) -> None:
    invitation = invite(regional)
    User.objects.filter(pk=regional.pk).update(role=Role.REGIONAL_STAFF)
    with pytest.raises(NotFound):
        invitations.cancel(actor=regional, invitation_id=invitation.pk, now=clock.now())
    with pytest.raises(NotAllowed):
        invite(regional, email="other@example.com")


@pytest.mark.django_db(transaction=True)
def test_cancelled_and_accepted_at_once_it_ends_in_one_way(regional: User) -> None:
    token = sent(regional)
    invitation = StaffInvitation.objects.get()
    refused: list[Exception] = []

    def take_back() -> None:
        try:
            invitations.cancel(actor=regional, invitation_id=invitation.pk, now=clock.now())
        except Conflict as conflict:
            refused.append(conflict)

    def take_up() -> None:
        try:
            accept(token)
        except LinkNotGood as gone:
            refused.append(gone)

    with meanwhile(take_back, take_up):
        pass
    invitation.refresh_from_db()
    assert len(refused) == 1
    assert User.objects.filter(email="esi@example.com").exists() == (invitation.status == "accepted")


# --- its task


def test_the_task_sends_once_and_skips_what_is_over(regional: User) -> None:
    invitation = invite(regional)
    over(invitation)
    assert send_staff_invitation(str(invitation.pk))["status"] == "skipped"
    assert letters() == []
    with pytest.raises(NotFound):
        send_staff_invitation(str(uuid.uuid4()))
    with pytest.raises(InvalidInput):
        send_staff_invitation("x")


def test_a_sending_that_is_undone_leaves_nothing_and_the_next_has_another_link(regional: User) -> None:
    invitation = invite(regional)
    with transaction.atomic():
        send_staff_invitation(str(invitation.pk))
        lost = letter("staff_invitation").token
        transaction.set_rollback(True)  # the worker dies here
    assert letters() == []
    assert send_staff_invitation(str(invitation.pk))["status"] == "ok"
    with pytest.raises(LinkNotGood):
        accept(lost)
    accept(letter("staff_invitation").token)


# --- what the database keeps


@pytest.mark.parametrize(
    ("wrong", "constraint"),
    [
        ({"email": "esi"}, "email_lower"),
        ({"role": "king"}, "role"),
        ({"role": "SUPER_ADMIN"}, "role"),
        ({"role": "REGIONAL_STAFF"}, "region_for_role"),
        ({"role": "CONSTITUENCY_STAFF", "region": "AH"}, "constituency_for_role"),
        ({"constituency": "BNT"}, "place_has_region"),
        ({"region": "AA", "constituency": "BNT"}, "constituency_in_region"),
        ({"status": "lost"}, "status"),
        ({"status": "accepted"}, "accepted_by_somebody"),
        ({"token_hash": "secret", "sent_at": clock.now()}, "hash_form"),
        ({"token_hash": "a" * 64}, "sent_when_made"),
        ({"sent_at": clock.now()}, "sent_when_made"),
    ],
)
def test_the_database_refuses_invitations_that_cannot_be(owner: User, wrong: dict[str, Any], constraint: str) -> None:
    row: dict[str, Any] = {"email": "e@example.com", "role": "AUDITOR", "invited_by": owner, "expires_at": clock.now()}
    row |= wrong
    if "region" in row:
        row["region"] = selectors.region_by_code(row["region"])
    if "constituency" in row:
        row["constituency"] = selectors.constituency(row["constituency"])
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        StaffInvitation.objects.create(**row)


def test_the_database_keeps_one_open_invitation_of_an_address_and_each_hash_once(owner: User) -> None:
    row: dict[str, Any] = {"role": "AUDITOR", "invited_by": owner, "expires_at": clock.now()}
    made = {"token_hash": "a" * 64, "sent_at": clock.now()}
    StaffInvitation.objects.create(**row, **made, email="e@example.com")
    for wrong, constraint in (
        ({"email": "e@example.com"}, "one_pending"),
        ({"email": "f@e.com", **made}, "hash_unique"),
    ):
        with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
            StaffInvitation.objects.create(**row, **wrong)
    StaffInvitation.objects.create(**row, email="e@example.com", status="cancelled")
    with pytest.raises(IntegrityError, match="email_lower"), transaction.atomic():
        StaffInvitation.objects.update(email=Upper("email"))


@pytest.mark.parametrize("before", InvitationStatus)
@pytest.mark.parametrize("after", InvitationStatus)
def test_the_database_takes_the_ways_of_the_table_and_no_other(
    owner: User, before: InvitationStatus, after: InvitationStatus
) -> None:
    def by(status: InvitationStatus) -> User | None:
        return owner if status == InvitationStatus.ACCEPTED else None

    invitation = StaffInvitation.objects.create(
        email="e@example.com",
        role="AUDITOR",
        invited_by=owner,
        expires_at=clock.now(),
        status=before,
        user=by(before),
    )
    row = StaffInvitation.objects.filter(pk=invitation.pk)
    if after == before or after in INVITATION_TRANSITIONS[before]:
        assert row.update(status=after, user=by(after)) == 1
        return
    with pytest.raises(DatabaseError, match="does not become"), transaction.atomic():
        row.update(status=after, user=by(after))
