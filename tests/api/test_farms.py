"""Farms over HTTP: who sees what of them, what is kept, flocks, days, figures, alerts and deaths."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import Constituency, User
from accounts.rules import Role
from core import clock
from farms.models import Alert, Biosecurity, DailyProduction, Farm, FarmDocument, FarmScore, Flock, MortalityRecord
from farms.services import scores
from tests.api.conftest import API, SignIn, living_in
from tests.factories import DailyProductionFactory, FlockFactory, a_farm
from tests.factories.farms import today
from tests.farms.test_farms import JPEG, PDF, PNG

pytestmark = pytest.mark.django_db
JSON = "application/json"


@pytest.fixture
def farm(db: None) -> Farm:
    return a_farm(place=Constituency.objects.select_related("region", "district").get(code="BNT"))


@pytest.fixture
def farmer(farm: Farm, sign_in: SignIn) -> Client:
    return sign_in(farm.user)


@pytest.fixture
def local(sign_in: SignIn, farm: Farm) -> Client:
    return sign_in(living_in("BNT", Role.CONSTITUENCY_ADMIN))


def send(client: Client, method: str, address: str, status: int, sent: Any = None) -> Any:
    answer = getattr(client, method)(f"{API}/{address}", sent or {}, JSON)
    assert answer.status_code == status, answer.content
    return answer.json() if answer.content else None


def post(client: Client, address: str, status: int, sent: Any = None) -> Any:
    return send(client, "post", f"{address}/", status, sent)


def get(client: Client, address: str, **wanted: Any) -> Any:
    answer = client.get(f"{API}/{address}/", wanted)
    assert answer.status_code == 200, answer.content
    return answer.json()


def numbers(client: Client, **wanted: str) -> list[str]:
    return [row["farm_number"] for row in get(client, "farms", **wanted)["results"]]


# --- lists and one of them ------------------------------------------------------------------------------------------


def test_filters_narrow_the_list_to_what_is_asked(sign_in: SignIn, head: User, farm: Farm, local: Client) -> None:
    other = a_farm(place=Constituency.objects.get(code="TMW"), farm_status="inactive")
    client = sign_in(head)
    both = sorted([farm.farm_number, other.farm_number])
    assert numbers(client) == both
    assert numbers(client, farm_status="Inactive") == [other.farm_number]
    assert numbers(client, region="ah") == [farm.farm_number]
    assert numbers(client, constituency="TMW") == [other.farm_number]
    assert numbers(client, search=farm.farm_number.lower()) == [farm.farm_number]
    assert numbers(client, search="YEA") == both
    assert numbers(client, search=farm.primary_phone) == [farm.farm_number]
    assert numbers(local) == [farm.farm_number]
    officer = living_in("BNT", Role.EXTENSION_OFFICER)
    Farm.objects.filter(pk=farm.pk).update(extension_officer=officer, is_government=True)
    assert numbers(client, extension_officer=str(officer.pk)) == [farm.farm_number]
    assert numbers(client, extension_officer=str(farm.user_id)) == []
    assert numbers(client, is_government="true") == [farm.farm_number]
    assert numbers(client, is_government="false") == [other.farm_number]
    assert numbers(client, is_government="") == both
    assert numbers(local, is_government="false") == []
    for wrong in (
        *({"farm_status": "sold"}, {"region": "XX"}, {"search": "Darko"}, {"limit": "201"}),
        *({"extension_officer": "ama"}, {"is_government": "perhaps"}),
    ):
        assert client.get(f"{API}/farms/", wrong).status_code == 400


@pytest.mark.parametrize("wanted", ["", "&region=AH", "&search=YEA", "&farm_status=active"])
def test_a_list_is_read_page_by_page_in_the_order_of_numbers(
    sign_in: SignIn, head: User, farm: Farm, wanted: str
) -> None:
    every = sorted([farm.farm_number, *(a_farm(place=farm.constituency).farm_number for _ in range(4))])
    for client in (sign_in(head), sign_in(living_in("BNT", Role.CONSTITUENCY_ADMIN))):
        seen, address = [], f"{API}/farms/?limit=2{wanted}"
        while address:
            told = client.get(address).json()
            seen += [row["farm_number"] for row in told["results"]]
            address = told["next"]
        assert seen == every


def test_who_keeps_a_farm_sees_its_numbers_whole(sign_in: SignIn, farm: Farm, farmer: Client, local: Client) -> None:
    FlockFactory.create(farm=farm, initial_count=300)
    FlockFactory.create(farm=farm, current_count=0, status="sold", ended_on=today(), left_at_end=500)
    for client in (farmer, local):
        told = get(client, f"farms/{farm.pk}")
        assert (told["primary_phone"], told["ghana_card_number"]) == (farm.primary_phone, farm.ghana_card_number)
        assert (told["birds"], told["user"]["id"]) == (300, str(farm.user_id))
    for role in (Role.VETERINARY_OFFICER, Role.PROCUREMENT_OFFICER, Role.AUDITOR):
        client = sign_in(living_in("BNT", role))
        told = get(client, f"farms/{farm.pk}")
        assert (told["primary_phone"][:9], told["ghana_card_number"][:9]) == ("+233*****", "GHA-*****")
        assert client.get(f"{API}/farms/{farm.pk}/documents/").status_code == 403
    [row] = get(local, "farms")["results"]
    assert row["primary_phone"] == f"+233*****{farm.primary_phone[-4:]}"
    assert sign_in(living_in("BNT")).get(f"{API}/farms/{farm.pk}/").status_code == 404


def test_the_lists_cost_the_same_queries_however_long_they_are(
    sign_in: SignIn, head: User, farm: Farm, django_assert_num_queries: Any
) -> None:
    client = sign_in(head)
    flock = FlockFactory.create(farm=farm)
    for count in (2, 18):
        for _ in range(count):
            another = FlockFactory.create(farm=a_farm(place=farm.constituency))
            number = DailyProduction.objects.count()
            FlockFactory.create(farm=farm)
            day = DailyProductionFactory.create(flock=flock, production_date=today() - timedelta(days=number))
            DailyProductionFactory.create(flock=another, production_date=today())
            FarmScore.objects.create(
                farm=farm, day=today() - timedelta(days=number), formula_version=1, readiness=1, biosecurity=1, parts={}
            )
            about = {"value": 6, "threshold": 5, "severity": "warning", "kind": "mortality_daily"}
            Alert.objects.create(farm=another.farm, flock=another, day=today(), **about)
            MortalityRecord.objects.create(production=day, number_of_birds=10, inspect_by=clock.now())
        for address, queries in (
            ("farms/", 3),  # session, person, list
            ("alerts/", 3),
            ("mortality-records/", 3),
            (f"farms/{farm.pk}/flocks/", 4),  # and the farm
            (f"farms/{farm.pk}/scores/", 4),
            (f"farms/{farm.pk}/production/", 5),  # and its flocks
            (f"flocks/{flock.pk}/production/", 4),
            (f"farms/{farm.pk}/figures/", 5),  # flocks and days
        ):
            with django_assert_num_queries(queries):
                assert client.get(f"{API}/{address}").status_code == 200, address


# --- what is kept of a farm -----------------------------------------------------------------------------------------


def test_a_farm_rests_and_is_suspended_with_a_reason(farm: Farm, farmer: Client, local: Client) -> None:
    address = f"farms/{farm.pk}"
    assert post(farmer, f"{address}/deactivate", 200)["farm_status"] == "inactive"
    assert post(farmer, f"{address}/activate", 200)["farm_status"] == "active"
    post(farmer, f"{address}/suspend", 403, {"reason": "x"})
    assert "errors" in post(local, f"{address}/suspend", 400)
    assert post(local, f"{address}/suspend", 200, {"reason": "fraud"})["farm_status"] == "suspended"
    post(farmer, f"{address}/activate", 409)
    assert post(local, f"{address}/reinstate", 200, {"reason": "cleared up"})["farm_status"] == "active"


def test_who_keeps_a_farm_says_anew_what_it_is_called_and_how_large_it_is(
    farm: Farm, farmer: Client, local: Client, sign_in: SignIn
) -> None:
    address = f"farms/{farm.pk}/"
    before = get(farmer, f"farms/{farm.pk}")
    changes = {"farm_name": "Darko  Layers", "tin": "p0012345678", "number_of_poultry_houses": 4}
    told = send(farmer, "patch", address, 200, changes)
    assert told == {**before, **changes, "farm_name": "Darko Layers", "tin": "P0012345678"}
    changes = {"total_bird_capacity": 1_500, "primary_production_type": "Both"}
    assert send(local, "patch", address, 200, changes) == {**told, **changes, "primary_production_type": "both"}
    assert send(local, "patch", address, 200, {"tin": ""})["tin"] == ""
    for nothing in ({}, {"farm_status": "suspended"}, {"is_government": True}, {"primary_phone": "0200000000"}):
        assert send(local, "patch", address, 200, nothing) == {
            **told,
            **changes,
            "primary_production_type": "both",
            "tin": "",
        }
    for wrong in (
        *({"farm_name": ""}, {"farm_name": None}, {"farm_name": "x" * 101}, {"tin": "12"}, {"tin": None}),
        *({"number_of_poultry_houses": 0}, {"number_of_poultry_houses": None}, {"total_bird_capacity": "many"}),
        {"primary_production_type": "ducks"},
    ):
        send(local, "patch", address, 400, wrong)
    FlockFactory.create(farm=farm, initial_count=600)
    assert "600 birds" in send(farmer, "patch", address, 409, {"total_bird_capacity": 599})["detail"]
    taken = a_farm(place=farm.constituency).farm_name
    assert "of this name" in send(farmer, "patch", address, 400, {"farm_name": taken.upper()})["detail"]
    send(sign_in(living_in("BNT", Role.AUDITOR)), "patch", address, 403, {"tin": ""})
    send(sign_in(living_in("TMW", Role.CONSTITUENCY_ADMIN)), "patch", address, 404, {"tin": ""})


def test_officers_are_named_and_taken_back(farm: Farm, farmer: Client, local: Client) -> None:
    officer, official = living_in("BNT", Role.EXTENSION_OFFICER), living_in("BNT", Role.YEA_OFFICIAL)
    address = f"farms/{farm.pk}"
    told = post(local, f"{address}/extension-officer", 200, {"officer": str(officer.pk)})
    assert told["extension_officer"]["username"] == officer.username
    assert (
        "Extension officer" in post(local, f"{address}/extension-officer", 400, {"officer": str(official.pk)})["detail"]
    )
    post(local, f"{address}/extension-officer", 400, {})
    assert post(local, f"{address}/extension-officer", 200, {"officer": None})["extension_officer"] is None
    assert len(post(local, f"{address}/assignments", 201, {"officer": str(official.pk)})) == 1
    [row] = post(local, f"{address}/assignments", 200, {"officer": str(official.pk)})
    assert row["officer"]["username"] == official.username
    assert get(farmer, f"{address}/assignments") == [row]
    for _ in range(2):
        send(local, "delete", f"{address}/assignments/{official.pk}/", 204)
    assert get(farmer, f"{address}/assignments") == []


def test_locations_are_added_changed_verified_and_removed(farm: Farm, farmer: Client, local: Client) -> None:
    address = f"farms/{farm.pk}/locations"
    sent = {"constituency": "bnt", "digital_address": "ak-184-2278", "latitude": "6.700000", "longitude": -1.6}
    added = post(farmer, address, 201, sent)
    assert (added["digital_address"], added["latitude"], added["is_primary"]) == ("AK-184-2278", "6.700000", False)
    assert "already" in post(farmer, address, 400, sent)["detail"]
    assert (
        "latitude" in post(farmer, address, 400, {"constituency": "BNT", "latitude": "51", "longitude": "0"})["detail"]
    )
    one = f"locations/{added['id']}"
    post(farmer, f"{one}/verify-gps", 403)
    assert post(local, f"{one}/verify-gps", 200)["gps_verified"] is True
    changed = send(farmer, "put", f"{one}/", 200, {**sent, "latitude": "6.8", "community": "Abrepo"})
    assert (changed["community"], changed["gps_verified"]) == ("Abrepo", False)
    assert post(farmer, f"{one}/make-primary", 200)["is_primary"] is True
    assert [row["is_primary"] for row in get(farmer, address)] == [True, False]
    send(farmer, "delete", f"{one}/", 409)
    send(farmer, "delete", f"locations/{get(farmer, address)[1]['id']}/", 204)
    assert len(get(farmer, address)) == 1


def test_equipment_measures_and_documents_are_kept(farm: Farm, farmer: Client) -> None:
    address = f"farms/{farm.pk}"
    house = post(
        farmer, f"{address}/infrastructure", 201, {"infrastructure_type": "Accommodation", "bird_capacity": 500}
    )
    assert (house["condition"], house["status"]) == ("good", "operational")
    sent = {"infrastructure_type": "accommodation", "condition": "poor", "status": "under maintenance"}
    changed = send(farmer, "put", f"{address}/infrastructure/{house['id']}/", 200, sent)
    assert (changed["condition"], changed["status"], changed["bird_capacity"]) == ("poor", "under_maintenance", 0)
    assert get(farmer, f"{address}/infrastructure") == [changed]
    send(farmer, "put", f"{address}/infrastructure/{farm.pk}/", 404, sent)
    told = send(farmer, "patch", f"{address}/biosecurity/", 200, {"footbath": True})
    assert (told["footbath"], told["visitor_log"]) == (True, False)
    send(farmer, "patch", f"{address}/biosecurity/", 400, {"footbath": "wet"})
    assert get(farmer, f"{address}/biosecurity") == told
    answer = farmer.post(f"{API}/{address}/documents/?kind=photo%20exterior", JPEG, "image/jpeg")
    assert answer.status_code == 201, answer.content
    assert get(farmer, f"{address}/documents") == [answer.json()]
    assert FarmDocument.objects.get().file.read() == JPEG


@pytest.mark.parametrize(
    ("content", "kind_of_file", "ending"),
    [(JPEG, "image/jpeg", "jpg"), (PNG, "image/png", "png"), (PDF, "application/pdf", "pdf")],
)
def test_a_document_is_read_as_it_was_sent(
    farm: Farm, farmer: Client, local: Client, content: bytes, kind_of_file: str, ending: str
) -> None:
    sent = farmer.post(f"{API}/farms/{farm.pk}/documents/?kind=photo_site", content, kind_of_file).json()
    for client, wanted in ((farmer, kind_of_file), (local, "*/*"), (local, "text/html"), (local, "application/json")):
        answer: Any = client.get(f"{API}/farms/{farm.pk}/documents/{sent['id']}/", headers={"Accept": wanted})
        assert (answer.status_code, b"".join(answer.streaming_content)) == (200, content)
        assert answer["Content-Type"] == kind_of_file
        assert answer["Content-Disposition"] == f'attachment; filename="photo_site.{ending}"'
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert {"no-store", "private"} <= set(answer["Cache-Control"].split(", "))


def test_a_document_is_found_at_its_own_farm_alone(
    farm: Farm, farmer: Client, local: Client, sign_in: SignIn, files: Path
) -> None:
    other = a_farm(place=farm.constituency)
    sent = farmer.post(f"{API}/farms/{farm.pk}/documents/?kind=ghana_card", JPEG, "image/jpeg").json()
    address = f"{API}/farms/{farm.pk}/documents/{sent['id']}/"
    assert local.get(f"{API}/farms/{other.pk}/documents/{sent['id']}/").status_code == 404
    assert local.get(f"{API}/applications/{farm.application_id}/documents/{sent['id']}/").status_code == 404
    assert local.get(f"{API}/farms/{farm.pk}/documents/{farm.pk}/").status_code == 404
    assert sign_in(other.user).get(address).status_code == 404
    assert sign_in(living_in("TMW", Role.CONSTITUENCY_ADMIN)).get(address).status_code == 404
    assert sign_in(living_in("BNT", Role.AUDITOR)).get(address).status_code == 403
    for file in files.rglob("*.jpg"):
        file.unlink()
    told = local.get(address, headers={"Accept": "image/jpeg"})
    assert (told.status_code, told["Content-Type"]) == (404, "application/problem+json")
    assert "not in its place" in told.json()["detail"]


def test_scores_are_listed_with_their_parts(farm: Farm, farmer: Client) -> None:
    Biosecurity.objects.update(footbath=True)
    scores.calculate(day=today(), farm_id=farm.pk)
    [row] = get(farmer, f"farms/{farm.pk}/scores")["results"]
    assert (row["day"], row["biosecurity"], row["parts"]["water"]) == (str(today()), "6.25", "0")


# --- flocks and days ------------------------------------------------------------------------------------------------


def test_a_flock_comes_is_recorded_and_goes(farm: Farm, farmer: Client) -> None:
    came = {"flock_type": "Layers", "arrival_date": str(today() - timedelta(days=3)), "initial_count": 600}
    flock = post(farmer, f"farms/{farm.pk}/flocks", 201, came)
    assert (flock["flock_number"], flock["current_count"]) == (1, 600)
    assert "at most 400" in post(farmer, f"farms/{farm.pk}/flocks", 409, came)["detail"]
    post(farmer, f"farms/{farm.pk}/flocks", 400, {**came, "arrival_date": "0001-01-01"})
    address = f"flocks/{flock['id']}"
    day = {"production_date": str(today()), "good_eggs": 400, "birds_died": 3, "mortality_reason": "HEAT"}
    first = post(farmer, f"{address}/production", 201, day)
    assert (first["eggs_collected"], first["mortality_reason"], first["feed_consumed_kg"]) == (400, "heat", "0.00")
    assert post(farmer, f"{address}/production", 200, day) == first
    assert "Correct the record" in post(farmer, f"{address}/production", 409, {**day, "good_eggs": 1})["detail"]
    for wrong in ({"good_eggs": -1}, {"good_eggs": "x"}, {"feed_consumed_kg": "NaN"}, {"production_date": "x"}):
        assert "errors" in post(farmer, f"{address}/production", 400, {**day, **wrong})
    assert get(farmer, address)["current_count"] == 597
    sent = {"good_eggs": 390, "birds_died": 1, "reason": "counted anew"}
    told = post(farmer, f"production/{first['id']}/correct", 200, sent)
    assert (told["good_eggs"], told["mortality_reason"], told["recorded_by"]["id"]) == (390, "", str(farm.user_id))
    [correction] = told["corrections"]
    assert correction["before"] == {"good_eggs": 400, "birds_died": 3, "mortality_reason": "heat"}
    assert get(farmer, f"production/{first['id']}") == told
    assert "errors" in post(farmer, f"production/{first['id']}/correct", 400, {"good_eggs": 390})
    ended = post(farmer, f"{address}/end", 200, {"how": "sold", "on": str(today())})
    assert (ended["status"], ended["left_at_end"]) == ("sold", 599)
    post(farmer, f"{address}/end", 400, {"how": "active", "on": str(today())})


def test_days_are_listed_within_a_period(farm: Farm, farmer: Client) -> None:
    first, second = (FlockFactory.create(farm=farm) for _ in range(2))
    for flock in (first, second):
        for number in range(4):
            DailyProductionFactory.create(flock=flock, production_date=today() - timedelta(days=number))
    period = {"first": str(today() - timedelta(days=2)), "last": str(today() - timedelta(days=1))}
    rows = get(farmer, f"flocks/{first.pk}/production", **period)["results"]
    assert [row["production_date"] for row in rows] == [period["last"], period["first"]]
    assert len(get(farmer, f"farms/{farm.pk}/production", **period)["results"]) == 4
    assert len(get(farmer, f"farms/{farm.pk}/production")["results"]) == 8
    page = get(farmer, f"farms/{farm.pk}/production", limit=5)
    assert len(farmer.get(page["next"]).json()["results"]) == 3
    wrong = {"first": period["last"], "last": period["first"]}
    assert farmer.get(f"{API}/flocks/{first.pk}/production/", wrong).status_code == 400


def test_the_figures_are_those_of_the_period(farm: Farm, farmer: Client) -> None:
    flock = FlockFactory.create(farm=farm)
    DailyProductionFactory.create(flock=flock, production_date=today(), birds_died=5, feed_consumed_kg="50.00")
    told = get(farmer, f"farms/{farm.pk}/figures")
    assert (told["first"], told["last"]) == (str(today() - timedelta(days=29)), str(today()))
    assert (told["total"]["eggs"], told["total"]["hen_day_pct"], told["total"]["feed_kg"]) == (400, "80.00", "50.00")
    assert (told["compliance_pct"], told["days_reported"], told["days_active"]) == ("3.33", 1, 30)
    [one] = told["flocks"]
    assert (one["flock"]["id"], one["survival_pct"]) == (str(flock.pk), "99.00")
    long_ago = get(farmer, f"farms/{farm.pk}/figures", first="2020-01-01", last="2020-01-31")
    assert (long_ago["flocks"], long_ago["total"]["hen_day_pct"]) == ([], None)
    for wrong in (
        {"first": "2020-01-01"},
        {"last": str(today() + timedelta(days=1))},
        {"last": "0001-01-01"},
        {"first": "9999-12-31"},
        {"first": "x"},
    ):
        assert farmer.get(f"{API}/farms/{farm.pk}/figures/", wrong).status_code == 400, wrong


# --- alerts and deaths ----------------------------------------------------------------------------------------------


@pytest.fixture
def died(farm: Farm, farmer: Client) -> Flock:
    """A flock of which too many died today."""
    flock = FlockFactory.create(farm=farm)
    post(farmer, f"flocks/{flock.pk}/production", 201, {"production_date": str(today()), "birds_died": 60})
    return flock


def test_an_alert_is_read_by_who_was_told_and_closed_by_an_officer(
    died: Flock, farmer: Client, local: Client, sign_in: SignIn
) -> None:
    rows = get(farmer, "alerts")["results"]
    assert {(row["kind"], row["severity"], row["status"]) for row in rows} == {
        ("mortality_daily", "critical", "open"),
        ("mortality_weekly", "critical", "open"),
    }
    one = rows[0]["id"]
    assert post(farmer, f"alerts/{one}/acknowledge", 200)["acknowledged_by"]["id"] == str(died.farm.user_id)
    post(farmer, f"alerts/{one}/acknowledge", 409)
    post(farmer, f"alerts/{one}/close", 403)
    assert post(local, f"alerts/{one}/close", 200)["status"] == "closed"
    assert len(get(local, "alerts", status="open")["results"]) == 1
    assert len(get(local, "alerts", severity="critical", farm=str(died.farm_id), since=str(today()))["results"]) == 2
    assert get(local, "alerts", since=str(today() + timedelta(days=1)))["results"] == []
    assert [row["kind"] for row in get(local, "alerts", kind="Mortality daily")["results"]] == ["mortality_daily"]
    head = sign_in(living_in("TMW", Role.NATIONAL_ADMIN))
    assert len(get(head, "alerts", region="ah")["results"]) == 2
    assert get(head, "alerts", region="AA")["results"] == []
    for wrong in ({"kind": "flood"}, {"region": "XX"}):
        assert head.get(f"{API}/alerts/", wrong).status_code == 400
    far = sign_in(living_in("TMW", Role.CONSTITUENCY_ADMIN))
    assert get(far, "alerts")["results"] == []
    post(far, f"alerts/{one}/close", 404)


def test_deaths_wait_until_a_veterinary_officer_has_looked(
    died: Flock, farmer: Client, local: Client, sign_in: SignIn
) -> None:
    vet = sign_in(living_in("BNT", Role.VETERINARY_OFFICER))
    [row] = get(vet, "mortality-records")["results"]
    assert (row["number_of_birds"], row["farm"]["id"], row["inspected_at"]) == (60, str(died.farm_id), None)
    due = today() + timedelta(days=2)
    for within in ({"since": due}, {"until": due}, {"since": due, "until": due}, {"since": "0001-01-01"}):
        assert get(vet, "mortality-records", **within)["results"] == [row], within
    for outside in ({"since": due + timedelta(days=1)}, {"until": due - timedelta(days=1)}, {"until": "0001-01-01"}):
        assert get(vet, "mortality-records", **outside)["results"] == [], outside
    assert get(vet, "mortality-records", until="9999-12-31")["results"] == [row]
    assert vet.get(f"{API}/mortality-records/", {"since": "soon"}).status_code == 400
    post(local, f"mortality-records/{row['id']}/inspect", 403)
    assert post(vet, f"mortality-records/{row['id']}/inspect", 200)["inspected_by"]["username"]
    post(vet, f"mortality-records/{row['id']}/inspect", 409)
    assert get(vet, "mortality-records")["results"] == []
