"""Many days at once, as an array or a CSV: each row judged by itself, the same again harmless, bad files told why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from accounts.rules import Role
from core.api.models import IdempotentRequest
from farms.api.uploads import COLUMNS, LARGEST_UPLOAD, MOST_ROWS
from farms.models import DailyProduction, Flock
from tests.api.conftest import API, SignIn, living_in
from tests.factories import FlockFactory, a_farm
from tests.factories.farms import today

pytestmark = pytest.mark.django_db
UPLOAD = f"{API}/production/upload/"


@pytest.fixture
def flock() -> Flock:
    return FlockFactory.create()


@pytest.fixture
def farmer(flock: Flock, sign_in: SignIn) -> Client:
    return sign_in(flock.farm.user)


def day(number: int) -> str:
    return str(today() - timedelta(days=number))


def rows_of(flock: Flock, count: int, **more: Any) -> list[dict[str, Any]]:
    days = (today() - flock.arrival_date).days + 1
    return [{"flock": str(flock.pk), "production_date": day(n % days), "good_eggs": 300, **more} for n in range(count)]


def upload(client: Client, rows: Any, status: int = 200) -> Any:
    answer = client.post(UPLOAD, json.dumps(rows), "application/json")
    assert answer.status_code == status, answer.content[:500]
    return answer.json()


def upload_csv(client: Client, text: str | bytes, status: int = 200) -> Any:
    answer = client.post(UPLOAD, text, "text/csv")
    assert answer.status_code == status, answer.content[:500]
    return answer.json()


def outcomes(told: Any) -> list[str]:
    return [row["outcome"] for row in told["rows"]]


# --- arrays ---------------------------------------------------------------------------------------------------------


def test_good_rows_are_kept_and_the_others_come_back_with_the_reason(flock: Flock, farmer: Client) -> None:
    of_another = FlockFactory.create()
    good = {"flock": str(flock.pk), "production_date": day(1), "good_eggs": 400, "feed_consumed_kg": 52.8}
    rows: list[Any] = [
        {**good, "client_id": "a1", "mortality_reason": "Heat", "birds_died": 2},
        {**good, "client_id": "a2"},
        {**good, "production_date": day(-1), "client_id": 7},
        {"flock": str(of_another.pk), "production_date": day(0)},
        {"flock": "x", "production_date": day(0)},
        {"flock": str(flock.pk), "production_date": "26/11/2026"},
        {**good, "production_date": day(2), "good_eggs": "many"},
        {**good, "production_date": day(2), "eggs": 5},
        {**good, "production_date": day(2), "birds_died": 501},
        {**good, "production_date": day(2), "signs_of_disease": "perhaps"},
        {**good, "production_date": day(2), "feed_consumed_kg": "a lot"},
        {**good, "production_date": day(2), "mortality_reason": ["heat"]},
        7,
        {**good, "production_date": day(2), "client_id": "z"},
    ]
    told = upload(farmer, rows)
    assert (told["kept"], told["unchanged"], told["refused"]) == (2, 0, 12)
    assert [row["row"] for row in told["rows"]] == list(range(1, 15))
    assert [row["client_id"] for row in told["rows"]][:3] == ["a1", "a2", "7"]
    assert [row["status"] for row in told["rows"]] == [
        *(None, 409, 400, 404, 400, 400, 400, 400, 409, 400, 400, 400, 400, None)
    ]
    words = [
        *("", "already, with other figures", "future", "no such flock", "id of a flock", "such as 2026-11-26"),
        *("whole number", "no field eggs", "at most 498 more", "true or false", "feed_consumed_kg", "mortality_reason"),
        *("A row is an object", ""),
    ]
    for row, said in zip(told["rows"], words, strict=True):
        assert said in row["detail"]
        assert bool(row["detail"]) == (row["outcome"] == "refused")
    kept = DailyProduction.objects.get(pk=told["rows"][0]["id"])
    assert (kept.birds_died, kept.mortality_reason, str(kept.feed_consumed_kg)) == (2, "heat", "52.80")
    assert told["rows"][-1]["id"] == str(DailyProduction.objects.get(production_date=day(2)).pk)


def test_the_same_again_changes_nothing(flock: Flock, farmer: Client) -> None:
    rows = rows_of(flock, 20, client_id="x")
    first, second = upload(farmer, rows), upload(farmer, rows)
    assert (first["kept"], second["kept"], second["unchanged"], second["refused"]) == (20, 0, 20, 0)
    assert [row["id"] for row in first["rows"]] == [row["id"] for row in second["rows"]]
    assert outcomes(upload(farmer, [rows[0], rows[0]])) == ["unchanged"] * 2
    assert DailyProduction.objects.count() == 20


def test_the_same_again_changes_nothing_after_a_correction(flock: Flock, farmer: Client) -> None:
    [row] = rows_of(flock, 1, feed_consumed_kg="52.8")
    [kept] = upload(farmer, [row])["rows"]
    corrected = {"good_eggs": 310, "reason": "counted anew"}
    assert farmer.post(f"{API}/production/{kept['id']}/correct/", corrected, "application/json").status_code == 200
    assert upload(farmer, [row])["rows"] == [{**kept, "outcome": "unchanged"}]
    flock_days = f"{API}/flocks/{row.pop('flock')}/production/"
    answer = farmer.post(flock_days, row, "application/json")
    assert (answer.status_code, answer.json()["good_eggs"]) == (200, 310), "it shows what is in force"
    assert farmer.post(flock_days, {**row, "good_eggs": 299}, "application/json").status_code == 409


@pytest.mark.parametrize("form", ["application/json", "text/csv"])
def test_a_repeated_key_gets_the_first_answer(flock: Flock, farmer: Client, form: str) -> None:
    text = f"flock,production_date\n{flock.pk},{day(0)}\n" if form == "text/csv" else json.dumps(rows_of(flock, 1))
    answers = [farmer.post(UPLOAD, text, form, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert [answer.json()["kept"] for answer in answers] == [1, 1]
    assert answers[1]["Idempotent-Replayed"] == "true"
    other = "[{}]" if form == "application/json" else text.replace(day(0), day(1))
    assert farmer.post(UPLOAD, other, form, headers={"Idempotency-Key": "k"}).status_code == 422
    assert IdempotentRequest.objects.count() == 1


@pytest.mark.parametrize("body", [{}, [], "rows", 7, None, {"rows": []}])
def test_what_is_no_array_of_rows_is_told_so(farmer: Client, body: Any) -> None:
    assert "array of rows" in upload(farmer, body, 400)["detail"]


def test_so_many_rows_and_bytes_are_taken_at_once(flock: Flock, farmer: Client) -> None:
    too_many = rows_of(flock, 1) * (MOST_ROWS + 1)
    assert "At most 10,000 rows" in upload(farmer, too_many, 400)["detail"]
    line = f"{flock.pk},{day(0)}\n"
    assert (
        "At most 10,000 rows" in upload_csv(farmer, "flock,production_date\n" + line * (MOST_ROWS + 1), 400)["detail"]
    )
    assert upload_csv(farmer, b"x" * (LARGEST_UPLOAD + 1), 413)["code"] == "too_large"
    assert upload(farmer, "x" * LARGEST_UPLOAD, 413)["code"] == "too_large"
    assert not DailyProduction.objects.exists()


def test_ten_thousand_rows_cost_as_many_statements_as_their_chunks(sign_in: SignIn) -> None:
    """An extension officer brings what twenty farms wrote on paper in five hundred days."""
    officer = living_in("BNT", Role.EXTENSION_OFFICER)
    long_ago = today() - timedelta(days=499)
    flocks = [FlockFactory.create(farm=a_farm(extension_officer=officer), arrival_date=long_ago) for _ in range(20)]
    client = sign_in(officer)
    few = [row for flock in flocks for row in rows_of(flock, 1)]
    many = [{**row, **dict.fromkeys(COLUMNS[3:12], 0)} for flock in flocks for row in rows_of(flock, 500)]
    many = [{**row, "birds_died": 0, "eggs_collected": 0, "client_id": f"phone-7-{n}"} for n, row in enumerate(many)]
    with CaptureQueriesContext(
        connection,
    ) as small:
        upload(client, few)
    DailyProduction.objects.all().delete()
    with CaptureQueriesContext(connection) as large:
        told = upload(client, many)
    assert (told["kept"], len(many)) == (10_000, MOST_ROWS)
    assert len(json.dumps(many)) < LARGEST_UPLOAD
    assert len(large) <= len(small) + 9, "nine more of the statements that insert a thousand rows each"


# --- CSV ------------------------------------------------------------------------------------------------------------


def test_a_csv_is_read_as_an_array_is(flock: Flock, farmer: Client) -> None:
    text = (
        "\ufeffFlock, production_date ,good_eggs,birds_died,feed_consumed_kg,signs_of_disease,mortality_reason,"
        "client_id\r\n"
        f'{flock.pk},{day(0)},400,1,52.8,yes,"heat",p1\r\n'
        "\r\n"
        f"{flock.pk},{day(1)},,,,,,p2\r\n"
        f"{flock.pk},{day(2)},4OO,,,,,p3\r\n"
        f"{flock.pk},{day(3)},400\r\n"
        f"{flock.pk},{day(4)},-1,,,maybe,,p5\r\n"
    )
    told = upload_csv(farmer, text.encode())
    assert outcomes(told) == ["kept", "kept", "refused", "refused", "refused"]
    assert [row["row"] for row in told["rows"]] == [2, 4, 5, 6, 7], "the line of the file"
    assert [row["client_id"] for row in told["rows"]] == ["p1", "p2", "p3", "", "p5"]
    assert "whole number" in told["rows"][2]["detail"]
    assert "3 cells and the first line 8" in told["rows"][3]["detail"]
    first = DailyProduction.objects.get(production_date=day(0))
    assert (first.good_eggs, first.birds_died, str(first.feed_consumed_kg)) == (400, 1, "52.80")
    assert (first.signs_of_disease, first.mortality_reason) == (True, "heat")
    second = DailyProduction.objects.get(production_date=day(1))
    assert (second.good_eggs, second.eggs_collected, second.signs_of_disease) == (0, 0, False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "array of rows"),
        (b"\n\n", "holds no rows"),
        (b"flock,production_date\n", "holds no rows"),
        (b"flock;production_date\n1;2\n", "Line 1: the columns must be separated by commas"),
        (b"flock\tproduction_date\n1\t2\n", "Line 1: the columns must be separated by commas"),
        (b"flock,date\n1,2\n", "Line 1: there is no column 'date'"),
        (b"\nflock,flock,production_date\n1,2,3\n", "Line 2 names the column flock twice"),
        (b"flock,good_eggs\n1,2\n", "Line 1: the column production_date is missing"),
        (b"flock,production_date\n1,2\n\xff,3\n", "Line 3 is not UTF-8"),
        ("flock,production_date\n".encode("utf-16"), "Line 1 is not UTF-8"),
        (b"flock,production_date\n1,2\n1,\x00\n", "Line 3 holds a NUL"),
        (b'flock,production_date\n"1,2\n3,4\n', "Look at its quotation marks"),
        (b'flock,production_date\n"1"2,3\n', "Line 2 cannot be read"),
        (b"flock,production_date\n" + b"x" * 200_000 + b",2\n", "Line 2 cannot be read"),
    ],
)
def test_a_csv_that_cannot_be_read_is_told_at_which_line(farmer: Client, text: bytes, words: str) -> None:
    assert words in upload_csv(farmer, text, 400)["detail"]
    assert not DailyProduction.objects.exists()


def test_other_kinds_of_bodies_are_not_read(farmer: Client) -> None:
    for form in ("text/plain", "application/vnd.ms-excel", "multipart/form-data; boundary=x"):
        assert farmer.post(UPLOAD, b"x", form).status_code == 415


def test_an_upload_of_somebody_who_may_record_nothing_keeps_nothing(sign_in: SignIn, head: User, flock: Flock) -> None:
    [row] = upload(sign_in(head), rows_of(flock, 1))["rows"]
    assert (row["outcome"], row["status"]) == ("refused", 403)


def test_a_whole_upload_is_one_transaction_that_another_waits_for(flock: Flock, farmer: Client) -> None:
    rows: Sequence[dict[str, Any]] = rows_of(flock, 3, birds_died=100)
    upload(farmer, rows)
    flock.refresh_from_db()
    assert flock.current_count == 200
    assert outcomes(upload(farmer, rows_of(flock, 6, birds_died=100))) == ["unchanged"] * 3 + ["kept"] * 2 + ["refused"]
