"""Role changes, grants, suspensions and unlocking: who may, what is written, and that sessions end."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test import Client

from accounts import selectors
from accounts.models import Constituency, RoleChange, SecurityEvent, StaffPermission, User
from accounts.rules import Code, Role
from accounts.services import people
from accounts.services.trail import Origin
from core import clock
from core.base.models import AuditLog
from core.base.registries import notice_types
from core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from core.jobs.models import TaskRun
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def living_in(code: str, role: Role = Role.FARMER, **fields: Any) -> User:
    return UserFactory.create(role=role, constituency=Constituency.objects.get(code=code), **fields)


@pytest.fixture
def regional() -> User:
    return living_in("BNT", Role.REGIONAL_ADMIN)


def change(actor: User, user: User, role: Role, place: str = "", **more: Any) -> RoleChange:
    home = Constituency.objects.get(code=place) if place else None
    return people.change_role(
        actor=actor, user_id=user.pk, role=role, constituency=home, now=clock.now(), **{"reason": "moved", **more}
    )


# --- role and place


def test_a_role_change_writes_the_change_the_audit_row_and_ends_sessions(regional: User) -> None:
    user = living_in("BNT", Role.CONSTITUENCY_STAFF)
    StaffPermission.objects.create(user=user, code=Code.RUN_REPORTS, granted_by=regional)
    row = change(regional, user, Role.CONSTITUENCY_ADMIN, "EJS", reason=" promoted ")
    user.refresh_from_db()
    ejisu = Constituency.objects.get(code="EJS")
    assert (user.role, user.constituency, user.district) == ("CONSTITUENCY_ADMIN", ejisu, ejisu.district)
    assert user.token_version == 1
    assert not user.staff_permissions.exists(), "what was granted for the old role and place"
    row.refresh_from_db()
    assert (row.old_role, row.new_role, row.changed_by, row.reason) == (
        "CONSTITUENCY_STAFF",
        "CONSTITUENCY_ADMIN",
        regional,
        "promoted",
    )
    assert (row.old_constituency.code, row.new_constituency.code) == ("BNT", "EJS")  # type: ignore[union-attr]
    log = AuditLog.objects.get()
    assert (log.action, log.actor, log.subject_id, log.reason) == (
        "user.change_role",
        regional,
        str(user.pk),
        "promoted",
    )
    assert log.before == {
        "role": "CONSTITUENCY_STAFF",
        "region": "AH",
        "constituency": "BNT",
        "grants": ["run_reports"],
    }
    assert log.after == {"role": "CONSTITUENCY_ADMIN", "region": "AH", "constituency": "EJS", "grants": []}
    run = TaskRun.objects.get()
    assert (run.task, run.args) == ("accounts.tasks.notify_role_change", [str(row.pk)])


def test_a_change_of_role_alone_keeps_the_district(owner: User) -> None:
    user = living_in("BNT", Role.YEA_OFFICIAL)
    User.objects.filter(pk=user.pk).update(district=Constituency.objects.get(code="BNT").district)
    change(owner, user, Role.EXTENSION_OFFICER, "BNT")
    user.refresh_from_db()
    assert user.district


@pytest.mark.parametrize(
    ("actor_role", "old", "old_place", "new", "new_place", "refusal"),
    [
        ("REGIONAL_ADMIN", "CONSTITUENCY_STAFF", "BNT", "CONSTITUENCY_STAFF", "TMW", NotAllowed),
        ("REGIONAL_ADMIN", "CONSTITUENCY_STAFF", "TMW", "CONSTITUENCY_STAFF", "BNT", NotFound),
        ("REGIONAL_ADMIN", "REGIONAL_STAFF", "BNT", "REGIONAL_ADMIN", "BNT", NotAllowed),
        ("REGIONAL_ADMIN", "REGIONAL_ADMIN", "EJS", "REGIONAL_STAFF", "EJS", NotAllowed),
        ("REGIONAL_ADMIN", "FARMER", "BNT", "EXTENSION_OFFICER", "BNT", NotAllowed),
        ("REGIONAL_ADMIN", "CONSTITUENCY_STAFF", "BNT", "AUDITOR", "BNT", NotAllowed),
        ("CONSTITUENCY_ADMIN", "CONSTITUENCY_STAFF", "BNT", "CONSTITUENCY_ADMIN", "BNT", NotAllowed),
        ("CONSTITUENCY_ADMIN", "CONSTITUENCY_STAFF", "EJS", "EXTENSION_OFFICER", "BNT", NotFound),
        ("NATIONAL_ADMIN", "NATIONAL_ADMIN", "", "NATIONAL_STAFF", "", NotAllowed),
        ("NATIONAL_ADMIN", "NATIONAL_STAFF", "", "NATIONAL_ADMIN", "", NotAllowed),
        ("NATIONAL_ADMIN", "NATIONAL_STAFF", "", "SUPER_ADMIN", "", NotAllowed),
        ("NATIONAL_ADMIN", "SUPER_ADMIN", "", "NATIONAL_STAFF", "", NotAllowed),
        ("SUPER_ADMIN", "SUPER_ADMIN", "", "NATIONAL_ADMIN", "", NotAllowed),
        ("SUPER_ADMIN", "NATIONAL_ADMIN", "", "SUPER_ADMIN", "", NotAllowed),
        ("AUDITOR", "NATIONAL_STAFF", "", "AUDITOR", "", NotAllowed),
        ("NATIONAL_STAFF", "FARMER", "BNT", "AUDITOR", "", NotFound),
        ("FARMER", "FARMER", "BNT", "EXTENSION_OFFICER", "BNT", NotFound),
    ],
)
def test_what_a_manager_may_not_change_stays(
    actor_role: str, old: str, old_place: str, new: str, new_place: str, refusal: type[Exception]
) -> None:
    actor = living_in("BNT", Role(actor_role))
    user = living_in(old_place, Role(old)) if old_place else UserFactory.create(role=old)
    with pytest.raises(refusal):
        change(actor, user, Role(new), new_place)
    user.refresh_from_db()
    assert (user.role, user.token_version) == (old, 0)
    assert not RoleChange.objects.exists()
    assert not AuditLog.objects.exists()
    assert not TaskRun.objects.exists()


def test_nobody_changes_their_own_role_not_even_the_owner(owner: User, head: User) -> None:
    for actor in (owner, head):
        with pytest.raises(NotAllowed, match="own account"):
            change(actor, actor, Role.AUDITOR)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"reason": " "}, "Give a reason"),
        ({"reason": "x" * 501}, "Give a reason"),
        ({"role": "king"}, "role is not known"),
        ({"role": "REGIONAL_STAFF"}, "need a region"),
        ({"role": "CONSTITUENCY_STAFF"}, "need a region"),
    ],
)
def test_a_change_that_cannot_be_stored_is_refused_with_its_reason(
    owner: User, more: dict[str, Any], said: str
) -> None:
    user = UserFactory.create(role=Role.AUDITOR)
    asked = {"role": "FINANCE_OFFICER", "reason": "moved", **more}
    with pytest.raises(InvalidInput, match=said):
        people.change_role(actor=owner, user_id=user.pk, now=clock.now(), **asked)
    user.refresh_from_db()
    assert user.role == "AUDITOR"


def test_a_farmer_without_an_address_gets_no_role_that_needs_one(owner: User) -> None:
    with pytest.raises(InvalidInput, match="E-mail is required"):
        change(owner, living_in("BNT"), Role.EXTENSION_OFFICER, "BNT")


def test_a_constituency_of_another_region_is_refused(owner: User) -> None:
    user = UserFactory.create(role=Role.AUDITOR)
    with pytest.raises(InvalidInput, match="another region"):
        change(owner, user, Role.CONSTITUENCY_STAFF, "TMW", region=selectors.region_by_code("AH"))


def test_a_change_to_what_is_so_already_is_a_conflict(owner: User) -> None:
    with pytest.raises(Conflict):
        change(owner, UserFactory.create(role=Role.AUDITOR), Role.AUDITOR)


def test_the_actor_is_judged_as_they_stand_in_the_database(regional: User) -> None:
    """Not as they stood when the request began."""
    user = living_in("BNT", Role.CONSTITUENCY_STAFF)
    User.objects.filter(pk=regional.pk).update(role=Role.REGIONAL_STAFF)
    with pytest.raises(NotFound):
        change(regional, user, Role.EXTENSION_OFFICER, "BNT")


# --- grants


def test_a_grant_is_given_once_used_at_once_and_taken_back(head: User) -> None:
    user = UserFactory.create(role=Role.NATIONAL_STAFF)
    ask = {"actor": head, "user_id": user.pk, "code": "manage_leads", "now": clock.now()}
    assert people.grant(**ask)  # type: ignore[arg-type]
    assert not people.grant(**ask), "safe to repeat"  # type: ignore[arg-type]
    assert User.objects.get(pk=user.pk).grants == {Code.MANAGE_LEADS}
    assert people.revoke(**ask)  # type: ignore[arg-type]
    assert not people.revoke(**ask)  # type: ignore[arg-type]
    assert User.objects.get(pk=user.pk).grants == frozenset()
    assert list(AuditLog.objects.order_by("at").values_list("action", flat=True)) == ["user.grant", "user.revoke"]


def test_a_grant_outside_of_ones_level_or_area_is_refused(head: User, regional: User) -> None:
    near, far = living_in("BNT", Role.CONSTITUENCY_STAFF), living_in("TMW", Role.CONSTITUENCY_STAFF)
    refused: list[tuple[User, User, str, type[Exception]]] = [
        (head, near, "run_reports", NotAllowed),  # the region's, not the nation's, to manage
        (regional, far, "run_reports", NotFound),
        (regional, near, "manage_leads", NotAllowed),
        (regional, near, "approve_applications", NotAllowed),
        (regional, regional, "run_reports", NotAllowed),
        (regional, near, "fly", InvalidInput),
    ]
    for actor, user, code, error in refused:
        with pytest.raises(error):
            people.grant(actor=actor, user_id=user.pk, code=code, now=clock.now())
        with pytest.raises(error):
            people.revoke(actor=actor, user_id=user.pk, code=code, now=clock.now())
    assert not StaffPermission.objects.exists()


# --- suspending and unlocking


def test_a_suspension_ends_sessions_at_once_and_lifting_it_lets_the_person_in_again(
    head: User, client: Client, settings: LazySettings
) -> None:
    user = UserFactory.create(role=Role.NATIONAL_STAFF)
    client.force_login(user)
    assert client.get("/api/v1/me/").status_code == 200
    origin = Origin("10.1.2.3", "Firefox" * 100)
    event = people.suspend(actor=head, user_id=user.pk, reason="fraud", now=clock.now(), origin=origin)
    assert client.get("/api/v1/me/").status_code == 401
    assert (event.kind, event.actor, event.ip, len(event.device)) == ("suspended", head, "10.1.2.3", 200)
    with pytest.raises(Conflict, match="suspended already"):
        people.suspend(actor=head, user_id=user.pk, reason="again", now=clock.now())
    people.lift_suspension(actor=head, user_id=user.pk, reason="cleared", now=clock.now())
    assert client.get("/api/v1/me/").status_code == 401, "the old session has ended for good"
    user.refresh_from_db()
    assert (user.is_suspended, user.suspended_at, user.suspension_reason, user.token_version) == (False, None, "", 1)
    client.force_login(user)
    assert client.get("/api/v1/me/").status_code == 200
    with pytest.raises(Conflict, match="not suspended"):
        people.lift_suspension(actor=head, user_id=user.pk, reason="cleared", now=clock.now())
    kinds = SecurityEvent.objects.order_by("at").values_list("kind", flat=True)
    assert sorted(kinds) == ["suspended", "unsuspended"]


def test_a_suspended_person_does_not_sign_in_until_its_time_is_over(head: User, client: Client) -> None:
    user = UserFactory.create()
    now = clock.now()
    people.suspend(actor=head, user_id=user.pk, reason="fraud", until=now + timedelta(hours=1), now=now)
    assert not client.login(username=user.username, password="a-password-of-a-test")
    User.objects.filter(pk=user.pk).update(suspended_until=now - timedelta(seconds=1))
    assert client.login(username=user.username, password="a-password-of-a-test")
    people.suspend(actor=head, user_id=user.pk, reason="once more", now=clock.now())


def test_platform_admins_are_told_unless_it_is_a_farmer(head: User) -> None:
    people.suspend(actor=head, user_id=UserFactory.create().pk, reason="fraud", now=clock.now())
    assert not TaskRun.objects.exists()
    user = UserFactory.create(role=Role.AUDITOR)
    event = people.suspend(actor=head, user_id=user.pk, reason="fraud", now=clock.now())
    run = TaskRun.objects.get()
    assert (run.task, run.args) == (
        "core.tasks.send_admin_notification",
        ["security_event", {"event_id": str(event.pk)}],
    )
    notice = notice_types["security_event"].build({"event_id": str(event.pk)})
    assert notice.title == f"Suspended: {user.username} (Auditor)"
    assert f"{head.username} did this" in notice.text
    assert "Reason: fraud." in notice.text
    assert notice.once_per == str(event.pk)
    for wrong, error in (({"event_id": str(uuid.uuid4())}, NotFound), ({}, InvalidInput)):
        with pytest.raises(error):
            notice_types["security_event"].build(wrong)


def test_who_may_not_be_suspended_or_by_whom(owner: User, head: User, regional: User) -> None:
    user = living_in("BNT", Role.CONSTITUENCY_STAFF)
    refused: list[tuple[User, User, type[Exception]]] = [
        (head, owner, NotAllowed),
        (owner, UserFactory.create(role=Role.SUPER_ADMIN), NotAllowed),
        (head, head, NotAllowed),
        (regional, user, NotAllowed),
        (user, regional, NotFound),
    ]
    for actor, whom, error in refused:
        for act in (people.suspend, people.lift_suspension):
            with pytest.raises(error):
                act(actor=actor, user_id=whom.pk, reason="fraud", now=clock.now())
        with pytest.raises(error):
            people.unlock(actor=actor, user_id=whom.pk, now=clock.now())
    with pytest.raises(NotFound):
        people.suspend(actor=head, user_id=uuid.uuid4(), reason="fraud", now=clock.now())
    assert not SecurityEvent.objects.exists()


def test_a_suspension_ends_in_the_future_and_has_a_reason(head: User) -> None:
    user = UserFactory.create()
    with pytest.raises(InvalidInput, match="until lies in the past"):
        people.suspend(actor=head, user_id=user.pk, reason="fraud", until=clock.now(), now=clock.now())
    with pytest.raises(InvalidInput, match="Give a reason"):
        people.suspend(actor=head, user_id=user.pk, reason="\n", now=clock.now())


def test_an_account_is_unlocked_before_its_time(head: User) -> None:
    now = clock.now()
    user = UserFactory.create(locked_until=now + timedelta(minutes=15), failed_login_attempts=5)
    people.unlock(actor=head, user_id=user.pk, now=now)
    user.refresh_from_db()
    assert (user.locked_until, user.failed_login_attempts) == (None, 0)
    assert AuditLog.objects.get().action == "user.unlock"
    with pytest.raises(Conflict, match="not locked"):
        people.unlock(actor=head, user_id=user.pk, now=now)


def test_a_forced_sign_out_ends_every_session_and_is_told(owner: User, client: Client) -> None:
    user = UserFactory.create(role=Role.AUDITOR)
    client.force_login(user)
    ask: dict[str, Any] = {"actor": owner, "user_id": user.pk, "reason": "lost laptop", "now": clock.now()}
    event = people.force_sign_out(**ask, origin=Origin("10.1.2.3", "Firefox"))
    assert (event.kind, event.actor, event.user, event.ip) == ("forced_sign_out", owner, user, "10.1.2.3")
    assert client.get("/api/v1/me/").status_code == 401
    client.force_login(User.objects.get(pk=user.pk))
    assert client.get("/api/v1/me/").status_code == 200, "signing in again is allowed"
    assert TaskRun.objects.get().args == ["security_event", {"event_id": str(event.pk)}]
    log = AuditLog.objects.get()
    assert (log.action, log.actor, log.subject_id, log.reason) == (
        "user.force_sign_out",
        owner,
        str(user.pk),
        "lost laptop",
    )


def test_who_may_not_sign_somebody_out(owner: User, head: User, regional: User) -> None:
    refused: list[tuple[User, User, str, type[Exception]]] = [
        (head, regional, "why", NotAllowed),
        (regional, living_in("BNT", Role.CONSTITUENCY_STAFF), "why", NotAllowed),
        (regional, living_in("TMW"), "why", NotFound),
        (owner, owner, "why", NotAllowed),
        (owner, head, " ", InvalidInput),
    ]
    for actor, whom, reason, error in refused:
        with pytest.raises(error):
            people.force_sign_out(actor=actor, user_id=whom.pk, reason=reason, now=clock.now())
    assert not SecurityEvent.objects.exists()
    assert not User.objects.exclude(token_version=0).exists()


# --- what the database keeps


def test_the_database_refuses_changes_and_events_that_are_not_so(head: User) -> None:
    user = UserFactory.create()
    row: dict[str, Any] = {
        "user": user,
        "old_role": "AUDITOR",
        "new_role": "AUDITOR",
        "changed_by": head,
        "reason": "x",
    }
    home = Constituency.objects.get(code="BNT")
    wrongs: list[tuple[dict[str, Any], str]] = [
        ({}, "changes_something"),
        ({"old_region": home.region, "new_region": home.region}, "changes_something"),
        ({"new_role": "king"}, "roles"),
        ({"new_role": "FARMER", "changed_by": user}, "by_another"),
    ]
    for wrong, constraint in wrongs:
        with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
            RoleChange.objects.create(**(row | wrong))
    RoleChange.objects.create(**row, new_region=home.region)
    RoleChange.objects.create(**row, old_region=home.region, old_constituency=home, new_region=home.region)
    with pytest.raises(IntegrityError, match="kind"), transaction.atomic():
        SecurityEvent.objects.create(user=user, kind="party", at=clock.now())
    wrongs = [({"granted_by": user}, "by_another"), ({"code": "fly"}, "code")]
    for wrong, constraint in wrongs:
        with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
            StaffPermission.objects.create(**({"user": user, "code": "run_reports", "granted_by": head} | wrong))


def test_the_database_refuses_to_change_or_remove_what_happened(head: User) -> None:
    user = UserFactory.create()
    people.suspend(actor=head, user_id=user.pk, reason="fraud", now=clock.now())
    RoleChange.objects.create(user=user, old_role="FARMER", new_role="AUDITOR", changed_by=head, reason="x")
    for table in ("accounts_securityevent", "accounts_rolechange"):
        for statement in (f"UPDATE {table} SET id = id", f"DELETE FROM {table}"):
            with (
                pytest.raises(DatabaseError, match=f"{table} is append-only"),
                transaction.atomic(),
                connection.cursor() as cursor,
            ):
                cursor.execute(statement)


@pytest.mark.django_db(transaction=True)
def test_of_two_who_suspend_one_another_at_once_one_wins_and_nobody_hangs() -> None:
    first, second = (UserFactory.create(role=Role.NATIONAL_ADMIN) for _ in range(2))
    outcomes: list[str] = []
    barrier = threading.Barrier(2)

    def act(actor: User, user: User) -> None:
        barrier.wait()
        try:
            people.suspend(actor=actor, user_id=user.pk, reason="the other one", now=clock.now())
            outcomes.append("done")
        except NotFound:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=act, args=pair) for pair in ((first, second), (second, first))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(outcomes) == ["done", "refused"]
    assert User.objects.filter(is_suspended=True).count() == 1
