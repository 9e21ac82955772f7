"""Applications over HTTP: who applies, what officers see of it, and how it is decided."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import LazySettings
from django.test import Client

from accounts import rules as accounts_rules
from accounts.models import OneTimeCode, User
from accounts.rules import CODE_ATTEMPTS, Role
from accounts.tasks import send_one_time_code
from core import clock
from core.delivery.models import OutboundMessage
from farms import links, rules
from farms.models import FarmApplication, FarmDocument, ReviewItem
from farms.services import applications, reviews
from farms.tasks import notify_application_status_change
from tests.accounts.letters import letters
from tests.api.conftest import API, SignIn, living_in
from tests.api.farming import said
from tests.factories import UserFactory
from tests.farms.journey import apply, approved, asked, steps
from tests.farms.test_farms import JPEG, PDF

pytestmark = pytest.mark.django_db
JSON = "application/json"


@pytest.fixture
def local(db: None) -> User:
    """The admin of Bantama, in Ashanti."""
    return living_in("BNT", Role.CONSTITUENCY_ADMIN, username="local")


@pytest.fixture
def regional(db: None) -> User:
    return living_in("BNT", Role.REGIONAL_ADMIN)


def post(client: Client, address: str, status: int, sent: Any = None) -> Any:
    answer = client.post(f"{API}/{address}/", sent or {}, JSON)
    assert answer.status_code == status, answer.content
    return answer.json()


def found(client: Client, address: str = "applications", **wanted: str) -> list[str]:
    return [row["id"] for row in client.get(f"{API}/{address}/", wanted).json()["results"]]


# --- who applies ----------------------------------------------------------------------------------------------------


def test_a_stranger_applies_and_is_told_the_number_and_a_token_alone(client: Client) -> None:
    told = post(client, "applications/apply", 201, said(1, "bnt") | {"application_type": "Government Program"})
    application = FarmApplication.objects.get()
    assert told == {"application_number": application.application_number, "upload_token": told["upload_token"]}
    assert (application.status, application.submitted_ip, application.phone_verified) == (
        "constituency_review",
        "127.0.0.1",
        False,
    )
    assert application.region.code == "AH"


@pytest.mark.parametrize(
    ("wrong", "status", "words"),
    [
        ({"primary_phone": "0302123456"}, 400, "landline"),
        ({"ghana_card_number": "123"}, 400, "GHA-123456789-0"),
        ({"date_of_birth": "2020-01-01"}, 400, "18 to 65"),
        ({"constituency": "XXX"}, 400, "not known"),
        ({"constituency": "\x00"}, 400, "Null characters"),
        ({"primary_production_type": "ducks"}, 400, "not a valid choice"),
        ({"application_type": "migrated"}, 403, "migrated by officers"),
        ({"full_name": ""}, 400, "blank"),
        ({"total_bird_capacity": 10**30}, 400, "total_bird_capacity"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(client: Client, wrong: dict[str, Any], status: int, words: str) -> None:
    assert words in str(post(client, "applications/apply", status, said(1, "BNT") | wrong))
    assert not FarmApplication.objects.exists()


def test_who_comes_too_often_waits(client: Client, settings: LazySettings, one_minute: None) -> None:
    settings.API_LIMITS = settings.API_LIMITS | {"account": 2}
    sent = said(1, "BNT")
    post(client, "applications/apply", 201, sent)
    post(client, "applications/apply", 400, sent)
    post(client, "applications/apply", 429, sent)
    settings.API_LIMITS = settings.API_LIMITS | {"door": 3, "account": 100}
    post(client, "applications/apply", 429, said(2, "BNT"))


def code_for(client: Client, phone: str) -> str:
    """The code in the SMS to this phone."""
    post(client, "applications/verify-phone", 202, {"primary_phone": phone})
    send_one_time_code(asked("send_one_time_code")[-1][0])
    return letters("phone_code", "sms")[-1].code


def test_who_confirms_the_phone_by_a_code_is_approved_at_once_and_invited(client: Client) -> None:
    sent = said(1, "BNT") | {"application_type": "independent"}
    code = code_for(client, "020-760-0001")
    post(client, "applications/apply", 201, sent | {"code": f"{code[:3]} {code[3:]}"})
    application = FarmApplication.objects.get()
    assert (application.phone_verified, application.priority_score) == (True, 25 + 30)
    assert steps(application) == ["submitted", "approved"]
    notify_application_status_change(str(application.pk), "approved")
    assert application.invitations.get().status == "sent"
    assert OutboundMessage.objects.get(template="farms.application_approved").recipient == application.primary_phone
    assert OneTimeCode.objects.get().used_at


def test_without_a_code_the_region_looks_at_it(client: Client) -> None:
    code_for(client, "0207600001")  # that it was sent proves nothing
    post(client, "applications/apply", 201, said(1, "BNT") | {"application_type": "independent", "code": ""})
    application = FarmApplication.objects.get()
    assert not application.phone_verified
    assert steps(application) == ["submitted", "regional_review"]


def test_a_wrong_code_is_refused_at_its_field_and_counted(client: Client) -> None:
    sent, code = said(1, "BNT"), code_for(client, "0207600001")
    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    for _ in range(CODE_ATTEMPTS):
        [fault] = post(client, "applications/apply", 400, sent | {"code": wrong})["errors"]
        assert fault["field"] == "code"
        assert "ask for a new code" in fault["detail"]
    assert OneTimeCode.objects.get().attempts == CODE_ATTEMPTS
    post(client, "applications/apply", 400, sent | {"code": code})  # right, but tried too often
    assert not FarmApplication.objects.exists()
    post(client, "applications/apply", 201, sent | {"code": code_for(client, "0207600001")})


def test_a_code_is_for_one_phone_and_one_application(client: Client) -> None:
    code = code_for(client, "0207600001")
    post(client, "applications/apply", 400, said(2, "BNT") | {"code": code})
    refused = post(client, "applications/apply", 400, said(1, "BNT") | {"code": code, "date_of_birth": "2020-01-01"})
    assert "18 to 65" in refused["detail"]
    post(client, "applications/apply", 201, said(1, "BNT") | {"code": code})  # a slip elsewhere does not use it up
    FarmApplication.objects.all().update(status="rejected")
    post(client, "applications/apply", 400, said(1, "BNT") | {"code": code})


def test_an_old_code_is_refused(client: Client) -> None:
    code = code_for(client, "0207600001")
    OneTimeCode.objects.update(expires_at=clock.now())
    post(client, "applications/apply", 400, said(1, "BNT") | {"code": code})


def test_a_code_is_sent_to_any_phone_alike_but_not_too_often(
    client: Client, settings: LazySettings, one_minute: None
) -> None:
    known, live = UserFactory.create().phone, apply().primary_phone
    first, *others = (
        post(client, "applications/verify-phone", 202, {"primary_phone": phone})
        for phone in ("0207600001", known, live)
    )
    assert others == [first, first]
    assert len(asked("send_one_time_code")) == 3
    assert "landline" in str(post(client, "applications/verify-phone", 400, {"primary_phone": "0302123456"}))
    for _ in range(2):
        post(client, "applications/verify-phone", 202, {"primary_phone": "0207600001"})
    told = post(client, "applications/verify-phone", 429, {"primary_phone": "0207600001"})
    assert "quarter of an hour" in told["detail"]
    settings.API_LIMITS = settings.API_LIMITS | {"door": 3}
    post(client, "applications/verify-phone", 429, {"primary_phone": "0207600002"})


def test_an_address_has_so_many_codes_sent_and_no_more(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is an SMS that costs, to whatever number."""
    monkeypatch.setattr(accounts_rules, "ADDRESS_CODE_LIMITS", (accounts_rules.Limit(3, accounts_rules.DAY),))
    for number in range(3):
        post(client, "applications/verify-phone", 202, {"primary_phone": f"020760000{number}"})
    told = post(client, "applications/verify-phone", 429, {"primary_phone": "0207600009"})
    assert "Try again tomorrow" in told["detail"]
    client.defaults["REMOTE_ADDR"] = "10.1.2.3"
    post(client, "applications/verify-phone", 202, {"primary_phone": "0207600009"})
    assert len(asked("send_one_time_code")) == 4


def test_an_officer_does_not_confirm_a_phone_for_somebody(sign_in: SignIn, local: User, client: Client) -> None:
    code = code_for(client, "0207600001")
    post(sign_in(local), "applications", 201, said(1, "BNT") | {"code": code})
    assert not FarmApplication.objects.get().phone_verified


def test_so_many_applications_of_an_address_are_taken_in_a_day(client: Client, db: None) -> None:
    for _ in range(30):
        apply(ip="127.0.0.1")
    assert "Try again tomorrow" in post(client, "applications/apply", 429, said(1, "BNT"))["detail"]


# --- documents of who applies ---------------------------------------------------------------------------------------


def send_along(client: Client, token: str, status: int, content: bytes = JPEG, kind: str = "ghana_card") -> Any:
    address = f"{API}/applications/apply/documents/?{urlencode({'kind': kind, 'token': token})}"
    answer = client.post(address, content, "image/jpeg")
    assert answer.status_code == status, answer.content
    return answer.json()


def test_who_is_approved_at_once_sends_documents_along_too(client: Client) -> None:
    sent = said(1, "BNT") | {"application_type": "independent", "code": code_for(client, "0207600001")}
    token = post(client, "applications/apply", 201, sent)["upload_token"]
    assert FarmApplication.objects.get().status == "approved"
    send_along(client, token, 201)
    assert FarmApplication.objects.get().documents.get().kind == "ghana_card"


@pytest.fixture
def token(client: Client, db: None) -> str:
    return str(post(client, "applications/apply", 201, said(1, "BNT"))["upload_token"])


def test_who_has_applied_sends_documents_along_and_officers_see_them(
    client: Client, token: str, sign_in: SignIn, local: User
) -> None:
    assert re.fullmatch(r"[\w-]{44}", token)
    card = send_along(client, token, 201)
    site = send_along(client, token, 201, PDF, kind="Photo Site")
    application = FarmApplication.objects.get()
    assert [card["kind"], site["kind"]] == ["ghana_card", "photo_site"]
    seen = sign_in(local).get(f"{API}/applications/{application.pk}/documents/").json()
    assert seen == [card, site]


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [(b"MZ a program", "ghana_card", "JPEG, a PNG or a PDF"), (JPEG, "selfie", "not a valid choice")],
)
def test_a_file_that_is_no_document_is_refused(
    client: Client, token: str, content: bytes, kind: str, words: str
) -> None:
    assert words in str(send_along(client, token, 400, content, kind))
    assert not FarmDocument.objects.exists()


def test_a_token_that_is_wrong_changed_old_or_of_another_page_is_not_good(client: Client, token: str) -> None:
    application = FarmApplication.objects.get()
    old = links.upload_token(application.pk, now=clock.now() - timedelta(hours=1))
    of_changes = links.changes(application.pk).rstrip("/").rpartition("/")[2]
    changed = ("B" if token[0] == "A" else "A") + token[1:]
    for wrong in (changed, token[:-4], old, of_changes, "x", "é" * 44):
        assert "not good" in send_along(client, wrong, 404)["detail"]
    assert "required" in str(client.post(f"{API}/applications/apply/documents/?kind=other", JPEG, "image/jpeg").json())
    assert links.event_of(token) is None
    assert not FarmDocument.objects.exists()


def test_a_token_is_good_for_an_hour_and_after_a_change_of_the_secret_key(
    client: Client, token: str, settings: LazySettings
) -> None:
    application = FarmApplication.objects.get()
    nearly_old = links.upload_token(application.pk, now=clock.now() - timedelta(minutes=59))
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = (
        [settings.SECRET_KEY],
        "another-key-of-fifty-letters-for-this-test-alone-1",
    )
    send_along(client, nearly_old, 201)


def test_an_application_takes_so_many_documents_from_who_applies(
    client: Client, token: str, local: User, sign_in: SignIn
) -> None:
    for _ in range(rules.MOST_DOCUMENTS):
        send_along(client, token, 201)
    assert "10 are the most" in send_along(client, token, 409)["detail"]
    application = FarmApplication.objects.get()
    address = f"{API}/applications/{application.pk}/documents/?kind=other"
    assert sign_in(local).post(address, JPEG, "image/jpeg").status_code == 201, "officers may add more"


def test_after_a_decision_nothing_is_sent_along(client: Client, token: str, local: User) -> None:
    application = FarmApplication.objects.get()
    applications.request_changes(actor=local, application_id=application.pk, reason="photos", now=clock.now())
    assert "changes requested" in send_along(client, token, 409)["detail"]
    applications.reject(actor=local, application_id=application.pk, reason="lapsed", now=clock.now())
    assert "rejected" in send_along(client, token, 409)["detail"]


def test_who_sends_too_much_along_waits(client: Client, settings: LazySettings, one_minute: None, token: str) -> None:
    settings.API_LIMITS = settings.API_LIMITS | {"door": 2}  # to apply was the first
    send_along(client, token, 201)
    send_along(client, token, 429)


# --- what officers see ----------------------------------------------------------------------------------------------


def test_a_list_is_masked_and_one_application_is_shown_whole(sign_in: SignIn, local: User) -> None:
    application = apply()
    client = sign_in(local)
    answer = client.get(f"{API}/applications/")
    [row] = answer.json()["results"]
    assert row["primary_phone"] == f"+233*****{application.primary_phone[-4:]}"
    assert row["ghana_card_number"] == f"GHA-*****{application.ghana_card_number[-5:]}"
    assert application.primary_phone not in answer.content.decode()
    assert application.ghana_card_number not in answer.content.decode()
    whole = client.get(f"{API}/applications/{application.pk}/").json()
    assert whole["primary_phone"] == application.primary_phone
    assert whole["ghana_card_number"] == application.ghana_card_number
    assert whole["constituency"] == {"code": "BNT", "name": "Bantama"}
    assert [event["to_status"] for event in whole["events"]] == steps(application)


def test_filters_narrow_the_list_to_what_is_asked(sign_in: SignIn, head: User, local: User) -> None:
    first, second = apply(), apply("independent")
    elsewhere = apply(constituency=living_in("TMW").constituency)
    client = sign_in(head)
    assert found(client) == [str(one.pk) for one in (elsewhere, second, first)], "newest number first"
    assert found(client, status="Regional Review") == [str(second.pk)]
    assert found(client, level="constituency") == [str(elsewhere.pk), str(first.pk)]
    assert found(client, application_type="independent") == [str(second.pk)]
    assert found(client, region="AH") == [str(second.pk), str(first.pk)]
    assert found(client, constituency="tmw") == [str(elsewhere.pk)]
    assert found(client, search=first.application_number) == [str(first.pk)]
    assert found(client, search="app-20") == found(client)
    assert found(client, search=f"0{second.primary_phone[4:]}") == [str(second.pk)]
    assert found(client, status="", level="", region="", constituency="", search="") == found(client)
    for wrong in (
        {"status": "king"},
        {"region": "XX"},
        {"search": "Ama"},
        {"search": "\x00"},
        {"constituency": "\x00"},
    ):
        assert client.get(f"{API}/applications/", wrong).status_code == 400, wrong
    assert found(sign_in(local)) == [str(second.pk), str(first.pk)]


@pytest.mark.parametrize("wanted", [{}, {"status": "constituency_review"}])
def test_the_list_is_read_page_by_page(sign_in: SignIn, local: User, wanted: dict[str, str]) -> None:
    every = {str(apply().pk) for _ in range(5)}
    client, seen, address = sign_in(local), [], f"{API}/applications/?limit=2"
    address += "".join(f"&{name}={value}" for name, value in wanted.items())
    while address:
        told = client.get(address).json()
        seen += [row["id"] for row in told["results"]]
        address = told["next"]
    assert (len(seen), set(seen)) == (5, every)


def test_the_lists_cost_the_same_queries_however_long_they_are(
    sign_in: SignIn, local: User, django_assert_num_queries: Any
) -> None:
    client = sign_in(local)
    for count in (2, 18):
        for _ in range(count):
            apply()
        for address in ("applications", "reviews/applications"):
            with django_assert_num_queries(3):  # session, person, list
                client.get(f"{API}/{address}/")
    item = ReviewItem.objects.all()[0]
    for _ in range(2):
        for _ in range(5):
            reviews.note(actor=local, item_id=item.pk, text="seen", now=clock.now())
        with django_assert_num_queries(5):  # session, person, application, reviews, notes
            client.get(f"{API}/applications/{item.application_id}/reviews/")
        with django_assert_num_queries(5):  # session, person, application, events, invitations
            client.get(f"{API}/applications/{item.application_id}/")


# --- decisions ------------------------------------------------------------------------------------------------------


def test_three_levels_lead_to_an_approval(sign_in: SignIn, local: User, regional: User, head: User) -> None:
    application = apply()
    address = f"applications/{application.pk}"
    assert "forward it" in post(sign_in(local), f"{address}/approve", 409)["detail"]
    assert post(sign_in(local), f"{address}/forward", 200)["status"] == "regional_review"
    assert "level here" in post(sign_in(local), f"{address}/forward", 403)["detail"]
    post(sign_in(regional), f"{address}/forward", 200)
    told = post(sign_in(head), f"{address}/approve", 200)
    assert (told["status"], told["events"][-1]["actor"]["username"]) == ("approved", head.username)
    again = post(sign_in(head), f"{address}/invite-again", 200)
    assert again["events"][-1]["reason"] == "new invitation"
    assert application.invitations.count() == 2


def test_officers_see_how_it_stands_with_the_invitation(
    sign_in: SignIn, local: User, regional: User, head: User
) -> None:
    client, waiting = sign_in(head), apply()
    assert client.get(f"{API}/applications/{waiting.pk}/").json()["invitation"] is None
    application = approved(local, regional, head)

    def seen() -> Any:
        return client.get(f"{API}/applications/{application.pk}/").json()["invitation"]

    assert seen() == {"status": "pending", "expires_at": None}
    notify_application_status_change(str(application.pk), "approved")
    sent = seen()
    assert set(sent) == {"status", "expires_at"}, "and nothing to open the account with"
    assert (sent["status"], sent["expires_at"][-1]) == ("sent", "Z")
    application.invitations.update(expires_at=clock.now())
    assert seen()["status"] == "expired"
    applications.invite_again(actor=head, application_id=application.pk, now=clock.now())
    assert seen()["status"] == "pending"


def test_changes_are_asked_for_and_entered_by_an_officer(sign_in: SignIn, local: User) -> None:
    application = apply()
    address, client = f"applications/{application.pk}", sign_in(local)
    assert "errors" in post(client, f"{address}/request-changes", 400, {"reason": " "})
    told = post(client, f"{address}/request-changes", 200, {"reason": "photo"})
    assert told["status"] == "changes_requested"
    assert date.fromisoformat(told["changes_deadline"]) > clock.now().date()
    sent = said(1, "BNT")
    del sent["application_type"]
    assert "do not change" in post(client, f"{address}/resubmit", 400, sent)["detail"]
    sent |= {"primary_phone": application.primary_phone, "ghana_card_number": application.ghana_card_number}
    told = post(client, f"{address}/resubmit", 200, sent)
    assert (told["status"], told["farm_name"]) == ("constituency_review", "Sarpong Farms 1")
    told = post(client, f"{address}/reject", 200, {"reason": "no land"})
    assert [event["reason"] for event in told["events"]] == ["", "", "photo", "", "no land"]
    assert post(client, f"{address}/reject", 409, {"reason": "no land"})["code"] == "conflict"


def test_an_officer_enters_an_application_for_somebody(sign_in: SignIn, local: User) -> None:
    client = sign_in(local)
    told = post(client, "applications", 201, said(1, "BNT") | {"application_type": "migrated"})
    assert (told["status"], told["events"][0]["actor"]["username"]) == ("regional_review", "local")
    assert "enter applications there" in post(client, "applications", 403, said(2, "EJS"))["detail"]


def test_the_same_key_decides_once(sign_in: SignIn, local: User) -> None:
    application = apply()
    client = sign_in(local)
    answers = [
        client.post(f"{API}/applications/{application.pk}/forward/", {}, JSON, headers={"Idempotency-Key": "k1"})
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert answers[1]["Idempotent-Replayed"] == "true"


def test_a_document_is_the_body_and_its_kind_stands_in_the_address(sign_in: SignIn, local: User) -> None:
    application = apply()
    client, address = sign_in(local), f"{API}/applications/{application.pk}/documents/"

    def add(content: Any, kind: str = "ghana_card", form: str = "image/jpeg", **headers: str) -> Any:
        return client.post(f"{address}?kind={kind}", content, form, headers=headers)

    told = add(JPEG)
    assert (told.status_code, told.json()["kind"]) == (201, "ghana_card")
    assert client.get(address).json() == [told.json()]
    file: Any = client.get(f"{address}{told.json()['id']}/", headers={"Accept": "image/*"})
    assert (b"".join(file.streaming_content), file["Content-Type"]) == (JPEG, "image/jpeg")
    assert client.get(f"{API}/applications/{apply().pk}/documents/{told.json()['id']}/").status_code == 404
    assert sign_in(living_in("TMW", Role.CONSTITUENCY_ADMIN)).get(f"{address}{told.json()['id']}/").status_code == 404
    assert add(b"GIF89a").status_code == 400
    assert add(JPEG, kind="passport").status_code == 400
    assert "Send the file itself" in add(b"").json()["detail"]
    assert add({"file": "x"}, form="multipart/form-data; boundary=x").status_code == 400
    assert add(b"%PDF-" + b"x" * 8 * 1024 * 1024, form="application/pdf").status_code == 413
    for kind, content, status in (
        ("other", PDF, 201),
        ("other", PDF, 201),
        ("other", JPEG, 422),
        ("photo_site", PDF, 422),
    ):
        assert add(content, kind, "application/pdf", **{"Idempotency-Key": "k1"}).status_code == status
    assert FarmDocument.objects.count() == 2


# --- the queue ------------------------------------------------------------------------------------------------------


def test_the_queue_holds_the_most_urgent_first(sign_in: SignIn, local: User, regional: User) -> None:
    plain, experienced = apply(), apply(experience_years=5)
    alone = apply("independent")
    client = sign_in(local)
    told = client.get(f"{API}/reviews/applications/").json()
    assert told["next"] is None
    assert [row["application"]["id"] for row in told["results"]] == [str(experienced.pk), str(plain.pk)]
    assert [row["priority"] for row in told["results"]] == [90, 80]
    assert [row["level"] for row in told["results"]] == ["constituency"] * 2
    assert len(client.get(f"{API}/reviews/applications/?limit=1").json()["results"]) == 1
    assert client.get(f"{API}/reviews/applications/?limit=0").status_code == 400
    assert client.get(f"{API}/reviews/applications/?level=north").status_code == 400
    for address in ("reviews/applications/?level=regional", "reviews/applications/"):
        who = local if "level" in address else regional
        [row] = sign_in(who).get(f"{API}/{address}").json()["results"]
        assert row["application"]["id"] == str(alone.pk)


def test_a_review_is_claimed_noted_begun_and_released(sign_in: SignIn, local: User) -> None:
    application = apply()
    item, client = application.reviews.get(), sign_in(local)
    told = post(client, f"reviews/{item.pk}/claim", 200)
    assert (told["status"], told["claimed_by"]["username"]) == ("claimed", "local")
    assert post(client, f"reviews/{item.pk}/release", 200)["claimed_by"] is None
    post(client, f"reviews/{item.pk}/claim", 200)
    assert post(client, f"reviews/{item.pk}/start", 200)["status"] == "in_progress"
    post(client, f"reviews/{item.pk}/start", 409)
    staff = sign_in(living_in("BNT", Role.CONSTITUENCY_STAFF))
    assert post(staff, f"reviews/{item.pk}/notes", 201, {"text": "The land is his."})["text"] == "The land is his."
    post(staff, f"reviews/{item.pk}/notes", 400, {"text": "x" * 1001})
    post(staff, f"reviews/{item.pk}/claim", 403)
    [review] = client.get(f"{API}/applications/{application.pk}/reviews/").json()
    assert [note["text"] for note in review["notes"]] == ["The land is his."]


def test_an_application_outside_of_ones_scope_is_not_there(sign_in: SignIn, local: User, head: User) -> None:
    application = apply(constituency=living_in("TMW").constituency)
    client = sign_in(local)
    for address in ("", "reviews/", "documents/"):
        assert client.get(f"{API}/applications/{application.pk}/{address}").status_code == 404
    applications.forward(
        actor=living_in("TMW", Role.CONSTITUENCY_ADMIN), application_id=application.pk, now=clock.now()
    )
    assert approved(local, living_in("BNT", Role.REGIONAL_ADMIN), head).status == "approved"
    assert len(found(client)) == 1
