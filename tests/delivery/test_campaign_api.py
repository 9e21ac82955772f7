"""Campaigns over HTTP: what each person may see and do, what is sent wrongly, and the whole way of one."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from accounts.rules import Role
from core.delivery import campaign_life, campaigns, dispatch
from core.delivery.models import Campaign, CampaignRecipient, OutboundMessage
from core.jobs.models import TaskRun
from tests.delivery.campaign import TERMINAL, TEXT, acting, begun, carried_out, draft, farmers, figure, person
from tests.delivery.outbox import phones
from tests.limits import wide_limits
from tests.sandbox.process import Sandbox

__all__ = ["wide_limits"]  # fixtures
pytestmark = pytest.mark.django_db
API = "/api/v1/campaigns/"
ADMINS = {Role.SUPER_ADMIN, Role.NATIONAL_ADMIN, Role.REGIONAL_ADMIN, Role.CONSTITUENCY_ADMIN}


class Api:
    """The API as one person sees it."""

    def __init__(self, user: User | None) -> None:
        self.client = Client(raise_request_exception=False)
        if user:
            self.client.force_login(user)

    def get(self, path: str = "", status: int = 200, **query: Any) -> Any:
        answer = self.client.get(API + path, query)
        assert answer.status_code == status, answer.content
        return answer.json()

    def post(self, path: str, body: Any = None, status: int = 200, **headers: str) -> Any:
        answer = self.client.post(API + path, body or {}, content_type="application/json", headers=headers)
        assert answer.status_code == status, answer.content
        return answer.json()


def asked(**about: Any) -> dict[str, Any]:
    return {"text": TEXT, "phones": phones(2)} | about


def test_the_whole_way_of_a_campaign(sandbox: Sandbox) -> None:
    asking, approving = person(), person()
    people = farmers(30)
    figure("campaign.approval_recipients", 10)
    api, other = Api(asking), Api(approving)
    wish = {"text": TEXT, "selection": {"region": "AH", "role": "FARMER"}, "seeds": ["0209999991"]}
    plan = api.post("plan/", wish)
    assert (plan["recipients"], plan["parts"], plan["cost"]) == (30, 1, "0.9300")
    assert all(masked.startswith("+233*****") for masked in plan["previews"])
    assert plan["approval"] == "more than 10 recipients"
    assert not Campaign.objects.exists()
    made = api.post("", wish | {"name": "Vaccination", "wait_after_seeds": True}, 201)
    one = made["campaign"]["id"]
    assert (made["campaign"]["status"], made["plan"]["recipients"]) == ("draft", 30)
    assert api.post(f"{one}/start/", status=409)["detail"].startswith("A second person must approve")
    assert "second person" in api.post(f"{one}/approve/", status=403)["detail"]
    assert other.post(f"{one}/approve/", {"reason": "looked at"})["approved_by"] == str(approving.pk)
    assert api.post(f"{one}/start/")["status"] == "queued"
    assert TaskRun.objects.get().requested_by_id == asking.pk
    campaign = Campaign.objects.get()
    carried_out(campaign)
    dispatch.dispatch_bulk(seconds=5)
    seen = api.get(f"{one}/progress/")
    assert (seen["left"], seen["to_come"], seen["seeds"]) == (1, 30, {"accepted": 1})
    assert api.post(f"{one}/resume/", {"reason": "it reads well"})["waits_after_seeds"] is False
    carried_out(campaign)
    assert api.post(f"{one}/pause/", {"reason": "rain"})["status"] == "paused"
    dispatch.dispatch_bulk(seconds=5)
    assert sandbox.total() == 1
    api.post(f"{one}/resume/")
    carried_out(campaign)
    dispatch.dispatch_bulk(seconds=5)
    assert sandbox.total() == 31
    campaigns.finish()
    seen = api.get(f"{one}/progress/")
    assert (seen["campaign"]["status"], seen["outcomes"]["accepted"], seen["not_written"]) == ("done", 31, 0)
    assert api.get(f"{one}/unreached/") == {
        "recipients": 30, "delivered": 0, "may_have_it": 30, "left_out": 0, "will_be_sent": 0,
    }  # fmt: skip
    assert "Nobody is left" in api.post(f"{one}/unreached/", status=409)["detail"]
    first = api.get(f"{one}/recipients/", limit=20)
    second = api.client.get(first["next"]).json()
    rows = [*first["results"], *second["results"]]
    assert (len(rows), second["next"], rows[0]["seed"]) == (31, None, True)
    assert {row["message_status"] for row in rows} == {"accepted"}
    assert not any(someone.phone in str(rows) for someone in people)


def test_a_page_of_recipients_is_read_with_few_queries(django_assert_max_num_queries: Any) -> None:
    user = person()
    campaign = begun(acting(user), phones(120))
    carried_out(campaign)
    api = Api(user)
    api.get()
    with django_assert_max_num_queries(12):
        assert len(api.get(f"{campaign.pk}/recipients/", limit=100)["results"]) == 100


def test_a_campaign_sent_twice_with_a_key_is_one() -> None:
    api = Api(person())
    headers = {"Idempotency-Key": "once"}
    first = api.post("", asked(), 201, **headers)
    assert api.post("", asked(), 201, **headers) == first
    assert Campaign.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "text"),
        ({"text": TEXT}, "give one of phones, list and selection"),
        (asked(selection={}), "give one of"),
        (asked(phones=[]), "phones is empty"),
        (asked(phones="0244123456"), "phones"),
        (asked(phones=[["0244123456"]]), "phones"),
        (asked(text=""), "text"),
        (asked(text="a" * 3_000), "parts"),
        (asked(seeds=["nonsense"]), "phone number"),
        (asked(wait_after_seeds=True), "nothing to wait for"),
        (asked(ceiling="-1"), "ceiling"),
        (asked(ceiling="NaN"), "ceiling"),
        ({"text": TEXT, "list": "farmer,handy\nAma,0244123456"}, "no column"),
        ({"text": TEXT, "selection": {"town": "Tema"}}, "not town"),
        ({"text": TEXT, "selection": {"region": "XX"}}, "not known"),
        ({"text": TEXT, "selection": {}, "people": "crowds"}, "no source"),
        ([], ""),
        ("text", ""),
        (7, ""),
    ],
)
def test_what_cannot_be_used_is_told_and_nothing_is_stored(body: Any, said: str) -> None:
    answer = Api(person()).post("", body, 400)
    assert said in str(answer)
    assert not Campaign.objects.exists()


@pytest.mark.parametrize("act", ["approve", "start", "pause", "resume", "cancel"])
def test_a_decision_that_does_not_fit_is_a_conflict(act: str) -> None:
    campaign = Campaign.objects.create(message=TEXT, status="done")
    answer = Api(person()).post(f"{campaign.pk}/{act}/", {"reason": "test"}, 409)
    assert answer["code"] == "conflict"


@pytest.mark.parametrize("act", ["pause", "cancel"])
def test_stopping_needs_a_reason(act: str) -> None:
    campaign = Campaign.objects.create(message=TEXT, status="running")
    answer = Api(person()).post(f"{campaign.pk}/{act}/", {}, 400)
    assert answer["errors"][0]["field"] == "reason"


def test_a_list_as_text() -> None:
    api = Api(person())
    made = api.post("", {"text": TEXT, "list": "name;phone\nAma;0244123456\nKofi;0244123456\nEsi;x"}, 201)
    told = made["campaign"]
    assert (told["recipients"], told["duplicates"], told["invalid"]) == (1, 1, 1)


def test_a_retry_is_a_draft_to_the_unreached() -> None:
    user = person()
    old = begun(acting(user), phones(2))
    campaign_life.cancel(campaign_id=old.pk, actor=TERMINAL, reason="wrong day")
    api = Api(user)
    assert api.get(f"{old.pk}/unreached/")["will_be_sent"] == 2
    made = api.post(f"{old.pk}/unreached/", {"reason": "right day"}, 201)
    assert (made["campaign"]["retry_of"], made["campaign"]["status"]) == (str(old.pk), "draft")


# --- who may -------------------------------------------------------------------------------------------------------


@pytest.fixture
def in_ashanti() -> Campaign:
    farmers(2)
    return draft(TERMINAL, where={"region": "AH", "constituency": "BNT"})


READS = ("", "progress/", "recipients/")
ACTS = ("approve", "start", "pause", "resume", "cancel", "unreached")


@pytest.mark.parametrize("role", Role)
def test_every_role_in_the_own_place(role: Role, in_ashanti: Campaign) -> None:
    home = farmers(1)[0]
    user = person(role, region=home.region, constituency=home.constituency)
    api, allowed = Api(user), role in ADMINS
    assert len(api.get()["results"]) == (1 if allowed else 0)
    for path in READS:
        api.get(f"{in_ashanti.pk}/{path}", 200 if allowed else 404)
    api.get(f"{in_ashanti.pk}/unreached/", 409 if allowed else 404)
    for act in ("pause", "resume", "unreached"):
        api.post(f"{in_ashanti.pk}/{act}/", {"reason": "test"}, 409 if allowed else 404)
    for act in ("approve", "start", "cancel"):
        api.post(f"{in_ashanti.pk}/{act}/", {"reason": "test"}, 200 if allowed else 404)
    here = {"text": TEXT, "selection": {"constituency": "BNT"}}
    api.post("", here, 201 if allowed else 403)
    api.post("plan/", here, 200 if allowed else 403)
    everywhere = role in (Role.SUPER_ADMIN, Role.NATIONAL_ADMIN)
    api.post("", asked(), 201 if everywhere else 403)
    api.post("plan/", asked(), 200 if everywhere else 403)


@pytest.mark.parametrize("role", [Role.REGIONAL_ADMIN, Role.CONSTITUENCY_ADMIN])
def test_another_place_is_not_seen(role: Role, in_ashanti: Campaign) -> None:
    elsewhere = farmers(1, "AA")[0]
    api = Api(person(role, region=elsewhere.region, constituency=elsewhere.constituency))
    assert api.get()["results"] == []
    for path in (*READS, "unreached/"):
        api.get(f"{in_ashanti.pk}/{path}", 404)
    for act in ACTS:
        api.post(f"{in_ashanti.pk}/{act}/", {"reason": "test"}, 404)
    assert Campaign.objects.get().status == "draft"


def test_a_stranger_is_not_answered(in_ashanti: Campaign) -> None:
    api = Api(None)
    api.get("", 401)
    for path in (*READS, "unreached/"):
        api.get(f"{in_ashanti.pk}/{path}", 401)
    for path in ("", "plan/", *(f"{in_ashanti.pk}/{act}/" for act in ACTS)):
        api.post(path, {}, 401)


def test_a_campaign_that_there_is_not() -> None:
    api = Api(person())
    for path in (*READS, "unreached/"):
        api.get(f"{uuid.uuid4()}/{path}", 404)
    for act in ACTS:
        api.post(f"{uuid.uuid4()}/{act}/", {"reason": "test"}, 404)
    assert not CampaignRecipient.objects.exists()
    assert not OutboundMessage.objects.exists()
