"""Batches and enrolments over HTTP: who sees which, and their way until the support is handed over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from accounts.models import Constituency, StaffPermission, User
from accounts.rules import Code, Role
from core import clock
from farms.models import Batch, BatchEnrollment
from farms.services import enrollments
from tests.api.conftest import API, SignIn, living_in
from tests.api.farming import PLAN
from tests.factories import BatchEnrollmentFactory, BatchFactory, a_farm
from tests.factories.farms import today
from tests.farms.journey import steps

pytestmark = pytest.mark.django_db
JSON = "application/json"


def send(client: Client, method: str, address: str, status: int, sent: Any = None) -> Any:
    answer = getattr(client, method)(f"{API}/{address}/", sent or {}, JSON)
    assert answer.status_code == status, answer.content
    return answer.json()


def post(client: Client, address: str, status: int, sent: Any = None) -> Any:
    return send(client, "post", address, status, sent)


def codes(client: Client, **wanted: str) -> list[str]:
    return [row["batch_code"] for row in client.get(f"{API}/batches/", wanted).json()["results"]]


# --- batches --------------------------------------------------------------------------------------------------------


def test_a_batch_is_planned_published_paused_and_closed(sign_in: SignIn, head: User) -> None:
    client = sign_in(head)
    wide = {"target_region": "ah", "eligible_constituencies": ["bnt", "EJS"], "support_package_value": "500.00"}
    told = post(client, "batches", 201, PLAN | wide)
    assert (told["status"], told["support_package_value"]) == ("draft", "500.00")
    assert (told["target_region"]["code"], [one["code"] for one in told["eligible_constituencies"]]) == (
        "AH",
        ["BNT", "EJS"],
    )
    address = f"batches/{told['id']}"
    changed = send(client, "put", address, 200, PLAN | {"total_slots": 20})
    assert (changed["total_slots"], changed["target_region"], changed["eligible_constituencies"]) == (20, None, [])
    for act, status in (("publish", "live"), ("pause", "paused"), ("resume", "live"), ("close", "closed")):
        assert post(client, f"{address}/{act}", 200)["status"] == status
    post(client, f"{address}/publish", 409)
    send(client, "put", address, 409, PLAN)
    assert post(client, f"{address}/archive", 200)["status"] == "archived"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"eligible_constituencies": ["BNT", "XXX"]}, "not known: XXX"),
        ({"target_region": "AA", "eligible_constituencies": ["BNT"]}, "outside the target region"),
        ({"application_deadline": "2028-01-01"}, "must not be after"),
        ({"total_slots": -1}, "total_slots"),
        ({"support_package_value": "1.234"}, "decimal places"),
        ({"batch_name": ""}, "blank"),
        ({"eligible_constituencies": ["BNT"] * 301}, "eligible_constituencies"),
        ({"eligible_constituencies": "BNT"}, "Expected a list"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(sign_in: SignIn, head: User, wrong: dict[str, Any], words: str) -> None:
    assert Constituency.objects.filter(code="BNT").exists()
    assert words in str(post(sign_in(head), "batches", 400, PLAN | wrong))
    assert not Batch.objects.exists()


def test_everybody_sees_what_is_open_and_managers_see_all(sign_in: SignIn, head: User) -> None:
    every = {status: BatchFactory.create(status=status) for status in ("draft", "live", "paused", "closed", "archived")}
    full = BatchFactory.create(total_slots=0, batch_code="FULL")
    over = BatchFactory.create(application_deadline=today() - timedelta(days=1), batch_code="OVER")
    past = {full.batch_code, over.batch_code}

    def of(*statuses: str) -> set[str]:
        return {every[status].batch_code for status in statuses} | past

    farmer = living_in("BNT")
    assert set(codes(sign_in(farmer))) == of("live", "paused")
    assert codes(sign_in(farmer), accepting="true") == [every["live"].batch_code]
    BatchEnrollmentFactory.create(farm=a_farm(user=farmer), batch=every["closed"])
    assert set(codes(sign_in(farmer))) == of("live", "paused", "closed"), "who took part sees how it ended"
    assert set(codes(sign_in(living_in("BNT", Role.CONSTITUENCY_ADMIN)))) == of("live", "paused", "closed")
    staff = living_in("BNT", Role.NATIONAL_STAFF)
    assert set(codes(sign_in(staff))) == of("live", "paused")
    StaffPermission.objects.create(user=staff, code=Code.MANAGE_BATCHES, granted_by=head)
    for manager in (head, staff, living_in("BNT", Role.AUDITOR)):
        assert set(codes(sign_in(manager))) == of(*every)
    assert codes(sign_in(head), status="Draft") == [every["draft"].batch_code]
    assert sign_in(head).get(f"{API}/batches/", {"status": "x"}).status_code == 400
    assert sign_in(farmer).get(f"{API}/batches/{every['draft'].pk}/").status_code == 404


def test_the_lists_cost_the_same_queries_however_long_they_are(
    sign_in: SignIn, head: User, django_assert_num_queries: Any
) -> None:
    client = sign_in(head)
    for count in (2, 18):
        for _ in range(count):
            batch = BatchFactory.create()
            batch.eligible_constituencies.set(Constituency.objects.filter(code="BNT"))
            one = BatchEnrollmentFactory.create(batch=batch)
            enrollments.submit(actor=one.farm.user, enrollment_id=one.pk, now=clock.now())
        for address, queries in (("batches", 4), ("enrollments", 3), ("reviews/enrollments/?level=constituency", 3)):
            with django_assert_num_queries(queries):  # session, person, list; and the constituencies of all
                assert client.get(f"{API}/{address}{'' if '?' in address else '/'}").status_code == 200


# --- enrolments -----------------------------------------------------------------------------------------------------


@pytest.fixture
def draft(db: None) -> BatchEnrollment:
    place = Constituency.objects.select_related("region", "district").get(code="BNT")
    return BatchEnrollmentFactory.create(farm=a_farm(place=place))


def test_a_farmer_begins_submits_and_withdraws(sign_in: SignIn) -> None:
    farm, batch = a_farm(), BatchFactory.create()
    client = sign_in(farm.user)
    sent = {"farm": str(farm.pk), "batch": str(batch.pk)}
    told = post(client, "enrollments", 201, sent)
    assert (told["status"], told["enrollment_number"], told["batch"]["batch_code"]) == ("draft", None, batch.batch_code)
    assert "already" in post(client, "enrollments", 400, sent)["detail"]
    post(client, "enrollments", 404, sent | {"batch": str(BatchFactory.create(status="draft").pk)})
    address = f"enrollments/{told['id']}"
    told = post(client, f"{address}/submit", 200)
    assert (told["status"], told["enrollment_number"][:5]) == ("constituency_review", "PROG-")
    post(client, f"{address}/resubmit", 409)
    assert client.get(f"{API}/{address}/reviews/").status_code == 403, "the notes are not for the farmer"
    assert post(client, f"{address}/withdraw", 200)["status"] == "withdrawn"
    post(client, f"{address}/withdraw", 409)


def test_what_the_batch_asks_for_is_checked_at_once(sign_in: SignIn) -> None:
    one = BatchEnrollmentFactory.create(batch=BatchFactory.create(min_bird_capacity=5_000))
    told = post(sign_in(one.farm.user), f"enrollments/{one.pk}/submit", 200)
    assert told["status"] == "rejected"
    assert "bird capacity" in told["events"][-1]["reason"]


def test_three_levels_and_the_support(sign_in: SignIn, head: User, draft: BatchEnrollment) -> None:
    local, regional = (sign_in(living_in("BNT", role)) for role in (Role.CONSTITUENCY_ADMIN, Role.REGIONAL_ADMIN))
    address, nation = f"enrollments/{draft.pk}", sign_in(head)
    post(sign_in(draft.farm.user), f"{address}/submit", 200)
    [row] = local.get(f"{API}/reviews/enrollments/").json()["results"]
    assert (row["enrollment"]["id"], row["enrollment"]["eligibility_score"]) == (str(draft.pk), 80)
    assert "errors" in post(local, f"{address}/request-changes", 400)
    post(local, f"{address}/request-changes", 200, {"reason": "photos"})
    post(sign_in(draft.farm.user), f"{address}/resubmit", 200)
    post(regional, f"{address}/forward", 403)
    post(local, f"{address}/forward", 200)
    post(regional, f"{address}/forward", 200)
    assert [one["level"] for one in nation.get(f"{API}/{address}/reviews/").json()] == [
        *("constituency", "regional", "national")
    ]
    assert post(nation, f"{address}/approve", 200)["status"] == "approved"
    post(local, f"{address}/mark-enrolled", 403)
    told = post(regional, f"{address}/mark-enrolled", 200)
    assert [event["to_status"] for event in told["events"]] == steps(draft)
    assert Batch.objects.get(pk=draft.batch_id).slots_filled == 1


def test_an_enrolment_is_rejected_with_a_reason(sign_in: SignIn, draft: BatchEnrollment) -> None:
    enrollments.submit(actor=draft.farm.user, enrollment_id=draft.pk, now=clock.now())
    local = sign_in(living_in("BNT", Role.CONSTITUENCY_ADMIN))
    told = post(local, f"enrollments/{draft.pk}/reject", 200, {"reason": "no land"})
    assert (told["status"], told["events"][-1]["reason"]) == ("rejected", "no land")


def test_filters_narrow_the_list_of_enrolments(sign_in: SignIn, head: User, draft: BatchEnrollment) -> None:
    other = BatchEnrollmentFactory.create()
    enrollments.submit(actor=other.farm.user, enrollment_id=other.pk, now=clock.now())

    def found(user: User, **wanted: str) -> set[str]:
        return {row["id"] for row in sign_in(user).get(f"{API}/enrollments/", wanted).json()["results"]}

    assert found(head) == {str(draft.pk), str(other.pk)}
    assert found(head, status="draft") == found(head, batch=str(draft.batch_id)) == {str(draft.pk)}
    assert found(head, farm=str(other.farm_id)) == found(other.farm.user) == {str(other.pk)}
    assert found(living_in("TMW", Role.CONSTITUENCY_ADMIN)) == set()
    assert sign_in(head).get(f"{API}/enrollments/", {"batch": "x"}).status_code == 400
