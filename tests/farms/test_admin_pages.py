"""The pages of officers: who sees which rows, what is done to them, and that nothing is changed past the services."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Constituency, StaffPermission, User
from accounts.rules import Code, Role
from core import clock, phones
from core.base.models import AuditLog
from farms.models import (
    Alert,
    Batch,
    BatchEnrollment,
    DailyProduction,
    Farm,
    FarmApplication,
    FarmDocument,
    FarmInvitation,
    FarmLocation,
    Flock,
    Infrastructure,
    MortalityRecord,
    ProductionCorrection,
    ReviewItem,
)
from farms.rules import DocumentKind, InfrastructureType
from farms.services import applications, enrollments, farms, production, reviews
from farms.services.farms import Equipment
from farms.services.production import DayRecord
from tests.factories import BatchFactory, DailyProductionFactory, FlockFactory, UserFactory, a_farm
from tests.factories.farms import today
from tests.farms.conftest import living_in
from tests.farms.journey import apply, approved, asked, at_the_nation
from tests.farms.test_invitations import PNG

pytestmark = pytest.mark.django_db

OF_APPLICATIONS = ["farmapplication", "farminvitation", "reviewitem", "batchenrollment", "batch", "farmdocument"]
OF_PRODUCTION = ["flock", "dailyproduction", "mortalityrecord", "alert"]
MODELS: dict[str, Any] = {
    "farmapplication": FarmApplication,
    "farminvitation": FarmInvitation,
    "reviewitem": ReviewItem,
    "batchenrollment": BatchEnrollment,
    "batch": Batch,
    "farm": Farm,
    "farmlocation": FarmLocation,
    "infrastructure": Infrastructure,
    "farmdocument": FarmDocument,
    "flock": Flock,
    "dailyproduction": DailyProduction,
    "mortalityrecord": MortalityRecord,
    "alert": Alert,
}


def page_of(name: str, *args: object) -> str:
    return reverse(f"admin:farms_{name}", args=args)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def seen(answer: Any) -> str:
    return str(answer.content.decode())


def do(user: User, row: Any, act: str, **said: str) -> Any:
    """What the button on the page of a row does, and what is seen then."""
    name = row._meta.model_name
    there = page_of(f"{name}_act", row.pk, act)
    client = signed_in(user)
    assert client.get(there).status_code == 200, "it asks first"
    answer = client.post(there, said, follow=True)
    row.refresh_from_db()
    return answer


def offered(user: User, row: Any) -> list[str]:
    """The acts that the page of a row offers to this person."""
    answer = signed_in(user).get(page_of(f"{row._meta.model_name}_change", row.pk))
    assert answer.status_code == 200
    return [act["address"].split("/")[-2] for act in answer.context["acts"]]


def listed(user: User, model: str, **query: str) -> set[Any]:
    answer = signed_in(user).get(page_of(f"{model}_changelist"), query)
    assert answer.status_code == 200
    return set(answer.context["cl"].result_list)


def recorded(farm: Farm, **said: Any) -> DailyProduction:
    flock = FlockFactory.create(farm=farm)
    record = DayRecord(flock_id=flock.pk, production_date=today(), good_eggs=300, **said)
    outcome = production.record_day(actor=farm.user, record=record, now=clock.now())
    assert outcome.kept
    return outcome.kept


def enrolled(farm: Farm, batch: Batch | None = None) -> BatchEnrollment:
    enrollment = enrollments.draft(
        actor=farm.user, farm_id=farm.pk, batch_id=(batch or BatchFactory.create()).pk, now=clock.now()
    )
    return enrollments.submit(actor=farm.user, enrollment_id=enrollment.pk, now=clock.now())


@pytest.fixture
def everything(local: User, regional: User, national: User) -> Callable[[], dict[str, Any]]:
    """A row of Bantama for every list."""

    def make() -> dict[str, Any]:
        waiting = apply()
        invited = approved(local, regional, national)
        farm = a_farm(place=waiting.constituency)
        day = recorded(farm, birds_died=60, signs_of_disease=True)
        enrollment = enrolled(farm)
        return {
            "farmapplication": waiting,
            "farminvitation": invited.invitations.get(),
            "reviewitem": waiting.reviews.get(),
            "batchenrollment": enrollment,
            "batch": enrollment.batch,
            "farm": farm,
            "farmlocation": farm.locations.get(),
            "infrastructure": farms.save_infrastructure(
                actor=farm.user,
                farm_id=farm.pk,
                equipment=Equipment(infrastructure_type=InfrastructureType.ACCOMMODATION),
            ),
            "farmdocument": farms.add_document(
                actor=farm.user, farm_id=farm.pk, kind=DocumentKind.GHANA_CARD, content=PNG
            ),
            "flock": day.flock,
            "dailyproduction": day,
            "mortalityrecord": day.mortality,
            "alert": farm.alerts.latest("pk"),
        }

    return make


# --- who sees what -------------------------------------------------------------------------------------------------


def query_for(model: str, row: Any) -> dict[str, str]:
    return {"flock__id__exact": str(row.flock_id)} if model == "dailyproduction" else {}


@pytest.mark.parametrize("model", MODELS)
def test_an_admin_sees_the_rows_of_the_own_area_and_no_others(
    model: str, everything: Callable[[], dict[str, Any]], local: User, regional: User, national: User
) -> None:
    row = everything()[model]
    away = living_in("TMW", Role.CONSTITUENCY_ADMIN)
    for user in (local, regional, national, UserFactory.create(role=Role.AUDITOR)):
        assert row in listed(user, model, **query_for(model, row)), user.role
        assert signed_in(user).get(page_of(f"{model}_change", row.pk)).status_code == 200, user.role
    if model != "batch":  # a round is for all who are let in
        assert listed(away, model, **query_for(model, row)) == set()
        answer = signed_in(away).get(page_of(f"{model}_change", row.pk))
        assert answer.headers["Location"] == reverse("admin:index")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("role", [Role.NATIONAL_STAFF, Role.FARMER, Role.INSTITUTIONAL_SUBSCRIBER])
def test_who_may_not_finds_no_page(model: str, role: Role, everything: Callable[[], dict[str, Any]]) -> None:
    row = everything()[model]
    client = signed_in(UserFactory.create(role=role))
    closed = 403 if role == Role.NATIONAL_STAFF else 302
    for page in (page_of(f"{model}_changelist"), page_of(f"{model}_change", row.pk)):
        assert client.get(page).status_code == closed


def test_a_veterinary_officer_reads_farms_and_production_but_no_applications_and_no_identities(
    everything: Callable[[], dict[str, Any]],
) -> None:
    rows = everything()
    client = signed_in(living_in("BNT", Role.VETERINARY_OFFICER))
    for model in OF_APPLICATIONS:
        assert client.get(page_of(f"{model}_changelist")).status_code == 403, model
    for model in OF_PRODUCTION:
        assert client.get(page_of(f"{model}_change", rows[model].pk)).status_code == 200, model
    page = seen(client.get(page_of("farm_change", rows["farm"].pk)))
    assert rows["farm"].ghana_card_number not in page
    assert "Documents" not in page


def test_who_buys_reads_farms_and_no_production(everything: Callable[[], dict[str, Any]]) -> None:
    rows = everything()
    client = signed_in(UserFactory.create(role=Role.PROCUREMENT_OFFICER))
    page = client.get(page_of("farm_change", rows["farm"].pk))
    assert page.status_code == 200
    assert "Flocks" not in seen(page)
    for model in OF_PRODUCTION:
        assert client.get(page_of(f"{model}_change", rows[model].pk)).status_code == 403, model


def test_an_extension_officer_sees_the_farms_that_were_given(everything: Callable[[], dict[str, Any]]) -> None:
    farm = everything()["farm"]
    officer = living_in("BNT", Role.EXTENSION_OFFICER)
    assert listed(officer, "farm") == set()
    Farm.objects.filter(pk=farm.pk).update(extension_officer=officer)
    assert listed(officer, "farm") == {farm}
    assert listed(officer, "flock") == {farm.flocks.get()}


@pytest.mark.parametrize("model", MODELS)
def test_every_list_is_read_with_the_same_queries_however_long_it_is(
    model: str, everything: Callable[[], dict[str, Any]], national: User, django_assert_max_num_queries: Any
) -> None:
    row = everything()[model]
    client = signed_in(national)
    searches: list[dict[str, str]] = [query_for(model, row), {"q": "YEA-AH"}, {"q": "ama"}, {"q": "0244123456"}]
    client.get(page_of(f"{model}_changelist"))
    counts = []
    for query in searches:
        with django_assert_max_num_queries(20) as found:
            assert client.get(page_of(f"{model}_changelist"), query).status_code == 200
        counts.append(len(found.captured_queries))
    for _ in range(3):
        everything()
    for query, count in zip(searches, counts, strict=True):
        with django_assert_max_num_queries(count):
            client.get(page_of(f"{model}_changelist"), query)


def test_a_list_counts_no_further_than_it_is_turned(
    everything: Callable[[], dict[str, Any]], national: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    from farms.admin import asking

    everything()
    monkeypatch.setattr(asking, "MOST_COUNTED", 2)
    page = seen(signed_in(national).get(page_of("farmapplication_changelist"), {"q": "APP-"}))
    assert "2 or more farm applications" in page
    assert "or more" not in seen(signed_in(national).get(page_of("farm_changelist")))


@pytest.mark.parametrize("model", MODELS)
def test_every_filter_and_link_of_a_list_works(
    model: str, everything: Callable[[], dict[str, Any]], local: User, national: User
) -> None:
    row = everything()[model]
    for user in (local, national):
        client, there = signed_in(user), page_of(f"{model}_changelist")
        page = client.get(there, query_for(model, row))
        links = {unescape(one) for one in re.findall(r'href="(\?[^"]*)"', seen(page))}
        links |= {
            one["query_string"] for spec in page.context["cl"].filter_specs for one in spec.choices(page.context["cl"])
        }
        assert model == "dailyproduction" or any("__" in one or "status=" in one for one in links)
        for one in links:
            assert client.get(there + one).status_code == 200, one


@pytest.mark.parametrize(
    ("model", "query"),
    [
        ("farm", {"ghana_card_number__startswith": "GHA-"}),
        ("farm", {"tin__startswith": "C"}),
        ("farm", {"primary_phone": "+233244000000"}),
        ("farm", {"farm_status__regex": "^a"}),
        ("farmlocation", {"latitude__gte": "5"}),
        ("farmlocation", {"farm__tin__startswith": "C"}),
        ("infrastructure", {"farm__user__password__startswith": "argon2"}),
        ("farmdocument", {"file__startswith": "farm-documents/a"}),
        ("farm", {"user__password__startswith": "argon2"}),
        ("farmapplication", {"ghana_card_number__regex": "^GHA"}),
        ("farmapplication", {"submitted_ip__startswith": "10."}),
        ("farminvitation", {"code_hash__startswith": "a"}),
        ("batch", {"application_deadline__gte": "2026-01-01"}),
        ("batchenrollment", {"batch__batch_name__startswith": "L"}),
        ("flock", {"farm__tin__startswith": "C"}),
        ("dailyproduction", {"flock__farm__tin__startswith": "C"}),
    ],
)
def test_what_no_page_shows_is_not_guessed_in_an_address(national: User, model: str, query: dict[str, str]) -> None:
    assert signed_in(national).get(page_of(f"{model}_changelist"), query).status_code == 400


def test_a_list_is_turned_by_its_dates(national: User) -> None:
    batch = BatchFactory.create()
    day = batch.application_deadline
    when = {f"application_deadline__{part}": str(getattr(day, part)) for part in ("year", "month", "day")}
    assert listed(national, "batch", **when) == {batch}
    assert listed(national, "batch", application_deadline__year=str(day.year - 1)) == set()


@pytest.mark.parametrize("model", MODELS)
def test_nothing_is_changed_or_deleted_by_hand(
    model: str, everything: Callable[[], dict[str, Any]], national: User
) -> None:
    row = everything()[model]
    owner = signed_in(UserFactory.create(role=Role.SUPER_ADMIN))
    for client in (signed_in(national), owner):
        assert client.post(page_of(f"{model}_change", row.pk), {"status": "approved"}).status_code == 403
        assert client.post(page_of(f"{model}_delete", row.pk), {"post": "yes"}).status_code == 403
    if model != "batch":
        assert owner.get(page_of(f"{model}_add")).status_code == 403


# --- what is shown -------------------------------------------------------------------------------------------------


def test_lists_show_phones_and_ghana_cards_masked_and_pages_show_them(
    everything: Callable[[], dict[str, Any]], local: User
) -> None:
    rows = everything()
    for model in ("farmapplication", "farm"):
        row, client = rows[model], signed_in(local)
        page = seen(client.get(page_of(f"{model}_changelist")))
        assert str(row) in page
        assert row.primary_phone not in page
        assert row.ghana_card_number not in page
        page = seen(client.get(page_of(f"{model}_change", row.pk)))
        assert row.primary_phone in page
        assert row.ghana_card_number in page


def test_the_page_of_a_farm_shows_its_whole_phone_to_who_keeps_it(
    everything: Callable[[], dict[str, Any]], local: User
) -> None:
    farm = everything()["farm"]
    officer = living_in("BNT", Role.EXTENSION_OFFICER)
    Farm.objects.filter(pk=farm.pk).update(extension_officer=officer)
    others = [living_in("BNT", Role.VETERINARY_OFFICER)]
    others += [UserFactory.create(role=role) for role in (Role.PROCUREMENT_OFFICER, Role.AUDITOR)]
    for user in (local, officer, *others):
        page = seen(signed_in(user).get(page_of("farm_change", farm.pk)))
        assert (farm.primary_phone in page) == (user not in others), user.role
        assert (phones.mask(farm.primary_phone) in page) == (user in others), user.role


def test_an_application_is_shown_with_its_reviews_notes_and_history(local: User, regional: User) -> None:
    application = apply()
    item = application.reviews.get()
    reviews.note(actor=local, item_id=item.pk, text="I know <this> farm.", now=clock.now())
    applications.forward(actor=local, application_id=application.pk, now=clock.now())
    page = seen(signed_in(regional).get(page_of("farmapplication_change", application.pk)))
    assert "I know &lt;this&gt; farm." in page
    assert "Constituency review → Regional review" in page
    assert "new → Submitted" in page
    assert local.get_full_name() in page


def test_a_farm_is_shown_with_all_that_belongs_to_it(everything: Callable[[], dict[str, Any]], local: User) -> None:
    farm = everything()["farm"]
    official = living_in("BNT", Role.YEA_OFFICIAL, first_name="Kwame", last_name="Official")
    farms.assign(actor=local, farm_id=farm.pk, officer_id=official.pk)
    farms.save_biosecurity(actor=local, farm_id=farm.pk, measures={"footbath": True})
    page = seen(signed_in(local).get(page_of("farm_change", farm.pk)))
    for words in ("Locations", "Flocks", "Infrastructure", "Documents", "Kwame Official", "Scores of the last year"):
        assert words.lower() in page.lower(), words
    assert '<td class="field-in_place">footbath</td>' in page


def test_a_correction_shows_what_was_said_before(everything: Callable[[], dict[str, Any]], local: User) -> None:
    day = everything()["dailyproduction"]
    record = DayRecord(flock_id=day.flock_id, production_date=day.production_date, good_eggs=250, birds_died=60)
    production.correct_day(
        actor=day.recorded_by, production_id=day.pk, record=record, reason="counted twice", now=clock.now()
    )
    assert ProductionCorrection.objects.count() == 1
    page = seen(signed_in(local).get(page_of("dailyproduction_change", day.pk)))
    assert "good eggs: 300 → 250" in page
    assert "counted twice" in page


def test_no_page_shows_the_hash_of_a_link(everything: Callable[[], dict[str, Any]], local: User) -> None:
    invitation = everything()["farminvitation"]
    FarmInvitation.objects.update(code_hash="a" * 64, status="sent", expires_at=clock.now() - timedelta(days=1))
    page = seen(signed_in(local).get(page_of("farminvitation_change", invitation.pk)))
    assert "a" * 64 not in page
    assert "Expired" in page, "its time is over, whether or not the cleanup has come by"


def test_days_are_listed_of_a_farm_or_a_flock_and_never_of_all(
    everything: Callable[[], dict[str, Any]], national: User
) -> None:
    day = everything()["dailyproduction"]
    earlier = DailyProductionFactory.create(flock=day.flock, production_date=today() - timedelta(days=1))
    DailyProductionFactory.create()
    assert listed(national, "dailyproduction") == set()
    assert listed(national, "dailyproduction", q=day.flock.farm.farm_number.lower()) == {day, earlier}
    assert listed(national, "dailyproduction", flock__id__exact=str(day.flock_id)) == {day, earlier}
    page = seen(signed_in(national).get(page_of("flock_change", day.flock_id)))
    assert f"{page_of('dailyproduction_changelist')}?flock__id__exact={day.flock_id}" in page


def test_lists_begin_with_what_is_to_do_and_a_search_looks_through_all(
    everything: Callable[[], dict[str, Any]], local: User, regional: User, national: User
) -> None:
    rows = everything()
    waiting = rows["farmapplication"]
    done = FarmApplication.objects.get(status="approved")
    assert done not in listed(national, "farmapplication")
    assert listed(national, "farmapplication", status="approved") == {done}
    assert listed(national, "farmapplication", q=done.application_number) == {done}
    assert listed(national, "farmapplication", q=f"0{done.primary_phone[4:]}") == {done}
    assert listed(national, "farmapplication", q=done.ghana_card_number.lower()) == {done}
    assert listed(local, "farmapplication", q="serwaa") >= {done, waiting}
    assert listed(national, "reviewitem") == {waiting.reviews.get(), rows["batchenrollment"].reviews.get()}
    assert listed(national, "reviewitem", q=done.application_number) == set(done.reviews.all())
    record = rows["mortalityrecord"]
    production.mark_inspected(actor=living_in("BNT", Role.VETERINARY_OFFICER), record_id=record.pk, now=clock.now())
    assert listed(national, "mortalityrecord") == set()
    assert listed(national, "mortalityrecord", inspection="done") == {record}


@pytest.mark.parametrize(
    ("term", "finds"),
    [("number", True), ("phone", True), ("card", True), ("kwabe", True), ("YEA-ZZ", False), ("0200000000", False)],
)
def test_farms_are_found_by_number_phone_card_and_farmer(local: User, term: str, finds: bool) -> None:
    farm = a_farm(place=local.constituency, user=living_in("BNT", Role.FARMER, first_name="Kwabena"))
    known = {"number": farm.farm_number.lower(), "phone": farm.primary_phone, "card": farm.ghana_card_number}
    assert (farm in listed(local, "farm", q=known.get(term, term))) == finds


def test_a_document_is_opened_by_who_may_read_its_application(local: User, everything: Any) -> None:
    application = everything()["farmapplication"]
    document = farms.add_application_document(application_id=application.pk, kind=DocumentKind.GHANA_CARD, content=PNG)
    there = page_of("farmdocument_file", document.pk)
    assert there in seen(signed_in(local).get(page_of("farmapplication_change", application.pk)))
    answer: Any = signed_in(local).get(there)
    assert b"".join(answer.streaming_content) == PNG
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Content-Disposition"] == 'inline; filename="ghana_card.png"'
    assert "no-store" in answer.headers["Cache-Control"]
    for stranger in (living_in("TMW", Role.CONSTITUENCY_ADMIN), living_in("BNT", Role.VETERINARY_OFFICER)):
        assert signed_in(stranger).get(there).status_code == 404
    assert Client().get(there).status_code == 302
    FarmDocument.objects.update(file="farm-documents/gone.png")
    assert signed_in(local).get(there).status_code == 404


def test_a_list_of_the_nation_is_filtered_by_region_and_a_part_of_it_has_no_such_filter(
    everything: Callable[[], dict[str, Any]], local: User, national: User
) -> None:
    rows = everything()
    there, elsewhere = (str(Constituency.objects.get(code=code).region_id) for code in ("BNT", "TMW"))
    for model, lookup in (
        ("alert", "farm__constituency__region"),
        ("mortalityrecord", "production__flock__farm__constituency__region"),
        ("flock", "farm__constituency__region"),
        ("batchenrollment", "farm__constituency__region"),
        ("farmlocation", "region"),
        ("infrastructure", "farm__constituency__region"),
    ):
        assert rows[model] in listed(national, model, **{f"{lookup}__id__exact": there}), model
        assert listed(national, model, **{f"{lookup}__id__exact": elsewhere}) == set(), model
        answer = signed_in(local).get(page_of(f"{model}_changelist"), {f"{lookup}__id__exact": there})
        assert answer.status_code == 400, "the own area is not left, and not asked about"


def test_the_days_of_a_farm_are_turned_by_date(everything: Callable[[], dict[str, Any]], national: User) -> None:
    day = everything()["dailyproduction"]
    earlier = DailyProductionFactory.create(flock=day.flock, production_date=today() - timedelta(days=40))
    of_day = {f"production_date__{part}": str(getattr(day.production_date, part)) for part in ("year", "month")}
    number = day.flock.farm.farm_number
    assert listed(national, "dailyproduction", q=number) == {day, earlier}
    assert listed(national, "dailyproduction", q=number, **of_day) == {day}
    assert listed(national, "dailyproduction", flock__id__exact=str(day.flock_id), **of_day) == {day}
    assert listed(national, "dailyproduction", **of_day) == set(), "a day of all farms is not listed"


def test_locations_equipment_and_documents_are_filtered_and_found_by_their_farm(
    everything: Callable[[], dict[str, Any]], local: User
) -> None:
    rows = everything()
    farm, place, paper = rows["farm"], rows["farmlocation"], rows["farmdocument"]
    other = farms.add_application_document(
        application_id=rows["farmapplication"].pk, kind=DocumentKind.PHOTO_SITE, content=PNG
    )
    assert listed(local, "farmlocation", gps_verified__exact="0", q=farm.farm_number) == {place}
    assert place not in listed(local, "farmlocation", gps_verified__exact="1")
    house = rows["infrastructure"]
    assert listed(local, "infrastructure", infrastructure_type__exact=house.infrastructure_type) == {house}
    assert listed(local, "infrastructure", status__exact="under_construction") == set()
    assert listed(local, "farmdocument") == {paper, other}
    assert listed(local, "farmdocument", kind__exact="ghana_card") == {paper}
    assert listed(local, "farmdocument", q=farm.farm_number.lower()) == {paper}
    assert listed(local, "farmdocument", q=str(rows["farmapplication"])) == {other}


# --- applications --------------------------------------------------------------------------------------------------


def test_an_application_goes_its_way_through_the_pages(local: User, regional: User, national: User) -> None:
    application = apply()
    assert offered(national, application) == []
    for user, act, after in (
        (local, "forward", "regional_review"),
        (regional, "forward", "national_review"),
        (national, "approve", "approved"),
    ):
        assert offered(user, application) == [act, "request_changes", "reject"]
        assert "Done (" in seen(do(user, application, act))
        assert application.status == after
        assert application.events.order_by("-at")[0].actor == user
    assert offered(national, application) == ["invite_again"]
    assert offered(regional, application) == []
    assert "Done (invite again)" in seen(do(national, application, "invite_again"))
    assert set(application.invitations.values_list("status", flat=True)) == {"revoked", "pending"}
    assert asked("notify_application_status_change")[-1] == [str(application.pk), "approved"]


@pytest.mark.parametrize(
    ("act", "most", "after"), [("request_changes", 140, "changes_requested"), ("reject", 200, "rejected")]
)
def test_a_reason_is_asked_for(local: User, act: str, most: int, after: str) -> None:
    application = apply()
    assert "required" in seen(do(local, application, act))
    assert f"at most {most} characters" in seen(do(local, application, act, reason="x" * (most + 1)))
    assert application.status == "constituency_review"
    do(local, application, act, reason="the photo cannot be read")
    assert application.status == after
    assert application.events.order_by("-at")[0].reason == "the photo cannot be read"


def test_what_the_service_refuses_is_said_on_the_page(local: User, regional: User) -> None:
    application = apply()
    answer = do(local, application, "approve")
    assert answer.status_code == 200
    assert "forward it" in seen(answer)
    assert "does not let you decide at the constituency level" in seen(do(regional, application, "forward"))
    assert application.status == "constituency_review"


def test_who_may_decide_nothing_is_offered_nothing_and_refused(local: User) -> None:
    application = apply()
    auditor = UserFactory.create(role=Role.AUDITOR)
    assert offered(auditor, application) == []
    there = page_of("farmapplication_act", application.pk, "forward")
    assert signed_in(auditor).post(there).status_code == 403
    away = signed_in(living_in("TMW", Role.CONSTITUENCY_ADMIN))
    assert away.post(there).status_code == 404
    assert signed_in(local).post(page_of("farmapplication_act", application.pk, "nonsense")).status_code == 403
    assert Client().post(there).status_code == 302
    application.refresh_from_db()
    assert application.status == "constituency_review"


def of_list(user: User, act: str, *rows: Any, **said: str) -> str:
    sent = {"action": act, "_selected_action": [str(row.pk) for row in rows], **said}
    return seen(signed_in(user).post(page_of(f"{rows[0]._meta.model_name}_changelist"), sent, follow=True))


def test_several_are_decided_in_the_list_and_refusals_are_named(local: User, regional: User) -> None:
    first, second, other = apply(), apply(), apply(constituency=Constituency.objects.get(code="TMW"))
    applications.forward(actor=local, application_id=second.pk, now=clock.now())
    asks = of_list(local, "forward", first, second, other)
    assert "Back, and do nothing" in asks
    assert '<input type="hidden" name="confirmed" value="yes">' in asks
    assert str(other) not in asks
    assert FarmApplication.objects.filter(status="constituency_review").count() == 2
    told = of_list(local, "forward", first, second, other, confirmed="yes")
    assert "Done (forward): 1." in told
    assert f"{second}: Your role does not let you decide at the regional level here." in told
    for one, status in ((first, "regional_review"), (second, "regional_review"), (other, "constituency_review")):
        one.refresh_from_db()
        assert one.status == status
    asks = of_list(regional, "reject", first, second)
    assert str(first) in asks
    assert "it is sent to the applicant" in asks
    assert FarmApplication.objects.filter(status="rejected").count() == 0
    assert "Done (reject): 2." in of_list(regional, "reject", first, second, confirmed="yes", reason="no land")
    assert FarmApplication.objects.filter(status="rejected").count() == 2


def test_more_than_a_hundred_are_not_decided_at_once(local: User, monkeypatch: pytest.MonkeyPatch) -> None:
    from farms.admin import asking

    monkeypatch.setattr(asking, "MOST_AT_ONCE", 1)
    first, second = apply(), apply()
    assert "Nothing is done: choose at most 1 at once." in of_list(local, "forward", first, second)
    assert FarmApplication.objects.filter(status="constituency_review").count() == 2


def test_an_invitation_is_sent_again_from_its_own_page(
    local: User, regional: User, national: User, everything: Any
) -> None:
    invitation = everything()["farminvitation"]
    assert offered(local, invitation) == []
    do(national, invitation, "invite_again")
    assert invitation.status == "revoked"
    assert FarmInvitation.objects.filter(application=invitation.application, status="pending").count() == 1


def test_reviews_are_claimed_noted_and_given_back(local: User) -> None:
    item = apply().reviews.get()
    assert offered(local, item) == ["claim", "note"]
    do(local, item, "claim")
    assert (item.status, item.claimed_by) == ("claimed", local)
    other = living_in("BNT", Role.CONSTITUENCY_ADMIN)
    assert offered(other, item) == ["note"]
    assert "Somebody else has claimed this review" in seen(do(other, item, "release"))
    assert offered(local, item) == ["start", "release", "note"]
    do(local, item, "release")
    assert item.claimed_by is None
    staff = living_in("BNT", Role.CONSTITUENCY_STAFF)
    assert offered(staff, item) == ["note"]
    assert "required" in seen(do(staff, item, "note", text=" "))
    do(staff, item, "note", text="Seen on Monday.")
    assert item.notes.get().author == staff
    assert "Seen on Monday." in seen(signed_in(local).get(page_of("reviewitem_change", item.pk)))


# --- batches and enrolments ----------------------------------------------------------------------------------------

PLAN = {
    "batch_name": "Layers 2027",
    "batch_code": "LAY-2027-1",
    "start_date": "2027-01-10",
    "end_date": "2027-06-30",
    "application_deadline": "2027-03-31",
    "total_slots": "50",
    "min_age": "18",
    "max_age": "65",
    "support_package_value": "2500.00",
    "approval_sla_days": "30",
}


def test_a_batch_is_planned_changed_and_led_through_its_life(national: User) -> None:
    client = signed_in(national)
    add = page_of("batch_add")
    assert client.get(add).status_code == 200
    bantama = Constituency.objects.get(code="BNT")
    answer = client.post(add, {**PLAN, "eligible_constituencies": [str(bantama.pk)]}, follow=True)
    batch = Batch.objects.get()
    assert "Publish it to let farms apply" in seen(answer)
    assert (batch.status, batch.total_slots, list(batch.eligible_constituencies.all())) == ("draft", 50, [bantama])
    assert offered(national, batch) == ["publish", "change"]
    form = client.get(page_of("batch_act", batch.pk, "change"))
    assert 'value="2027-03-31"' in seen(form)
    do(national, batch, "change", **{**PLAN, "total_slots": "60"})
    assert (batch.total_slots, batch.eligible_constituencies.count()) == (60, 0)
    for act, after in (("publish", "live"), ("pause", "paused"), ("resume", "live"), ("close", "closed")):
        do(national, batch, act)
        assert batch.status == after
    assert offered(national, batch) == ["archive"]
    assert "This batch is closed: it cannot be changed now." in seen(do(national, batch, "change", **PLAN))
    do(national, batch, "archive")
    written = AuditLog.objects.filter(subject_id=str(batch.pk), actor_id=national.pk).values_list("action", flat=True)
    assert set(written) == {
        *("batch.create", "batch.change", "batch.publish", "batch.pause", "batch.resume"),
        *("batch.close", "batch.archive"),
    }


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"batch_code": ""}, "batch_code", "required"),
        ({"application_deadline": "soon"}, "application_deadline", "Enter a valid date"),
        ({"application_deadline": "2027-07-01"}, "__all__", "application_deadline must not be after"),
        ({"batch_name": "Taken"}, "batch_name", "already exists"),
        ({"support_package_value": "-1"}, "__all__", "at least 0"),
    ],
)
def test_a_plan_that_cannot_be_comes_back_with_its_reason(
    national: User, change: dict[str, str], field: str, said: str
) -> None:
    BatchFactory.create(batch_name="Taken")
    answer = signed_in(national).post(page_of("batch_add"), PLAN | change)
    assert answer.status_code == 200
    assert said in " ".join(answer.context["form"].errors[field])
    assert Batch.objects.count() == 1


def test_staff_with_the_code_manage_batches_and_others_see_those_that_are_open(local: User) -> None:
    draft, live = BatchFactory.create(status="draft"), BatchFactory.create()
    assert listed(local, "batch") == {live}
    assert signed_in(local).get(page_of("batch_add")).status_code == 403
    assert signed_in(local).post(page_of("batch_act", live.pk, "pause")).status_code == 403
    staff = UserFactory.create(role=Role.NATIONAL_STAFF)
    StaffPermission.objects.create(
        user=staff, code=Code.MANAGE_BATCHES, granted_by=UserFactory.create(role=Role.NATIONAL_ADMIN)
    )
    assert listed(staff, "batch") == {draft, live}
    do(staff, draft, "publish")
    assert draft.status == "live"


def test_enrolments_are_filtered_by_the_batches_that_one_sees(local: User, national: User) -> None:
    live, other = BatchFactory.create(), BatchFactory.create()
    draft, archived = BatchFactory.create(status="draft"), BatchFactory.create(status="archived")
    enrollment = enrolled(a_farm(place=local.constituency), live)
    pages = {user: seen(signed_in(user).get(page_of("batchenrollment_changelist"))) for user in (local, national)}
    for batch in (live, other, draft, archived):
        assert f"?batch__id__exact={batch.pk}" in pages[national]
    for batch, is_seen in ((live, True), (other, True), (draft, False), (archived, False)):
        assert (str(batch) in pages[local]) == is_seen
    assert listed(local, "batchenrollment", batch__id__exact=str(live.pk)) == {enrollment}
    assert listed(local, "batchenrollment", batch__id__exact=str(other.pk)) == set()


def test_an_enrolment_goes_its_way_through_the_pages(local: User, regional: User, national: User) -> None:
    farm = a_farm(place=local.constituency)
    enrollment = enrolled(farm)
    assert offered(local, enrollment) == ["forward", "request_changes", "reject"]
    do(local, enrollment, "forward")
    do(regional, enrollment, "forward")
    assert offered(national, enrollment) == ["approve", "request_changes", "reject"]
    do(national, enrollment, "approve")
    assert offered(local, enrollment) == []
    assert offered(regional, enrollment) == ["mark_enrolled"]
    do(regional, enrollment, "mark_enrolled")
    assert enrollment.status == "enrolled"
    page = seen(signed_in(local).get(page_of("batchenrollment_change", enrollment.pk)))
    assert "Approved → Enrolled" in page


def test_staff_who_mark_enrolments_open_their_pages_and_no_applications() -> None:
    staff = living_in("BNT", Role.REGIONAL_STAFF)
    StaffPermission.objects.create(
        user=staff, code=Code.MANAGE_ENROLLMENT, granted_by=living_in("BNT", Role.REGIONAL_ADMIN)
    )
    statuses = {
        model: signed_in(staff).get(page_of(f"{model}_changelist")).status_code
        for model in ("batchenrollment", "batch", "farmapplication", "reviewitem")
    }
    assert statuses == {"batchenrollment": 200, "batch": 200, "farmapplication": 403, "reviewitem": 403}


def test_who_only_marks_enrolments_reads_no_notes_of_reviewers(local: User) -> None:
    enrollment = enrolled(a_farm(place=local.constituency))
    reviews.note(actor=local, item_id=enrollment.reviews.get().pk, text="I know this farm.", now=clock.now())
    staff = living_in("BNT", Role.REGIONAL_STAFF)
    StaffPermission.objects.create(
        user=staff, code=Code.MANAGE_ENROLLMENT, granted_by=living_in("BNT", Role.REGIONAL_ADMIN)
    )
    there = page_of("batchenrollment_change", enrollment.pk)
    assert "I know this farm." in seen(signed_in(local).get(there))
    answer = signed_in(staff).get(there)
    assert answer.status_code == 200
    assert "I know this farm." not in seen(answer)


def test_a_full_batch_says_so(local: User, regional: User, national: User) -> None:
    batch = BatchFactory.create(total_slots=1, slots_filled=1)
    Batch.objects.filter(pk=batch.pk).update(slots_filled=0)
    enrollment = at_the_nation(
        enrollments.draft(
            actor=(farm := a_farm(place=local.constituency)).user, farm_id=farm.pk, batch_id=batch.pk, now=clock.now()
        ),
        local,
        regional,
    )
    Batch.objects.filter(pk=batch.pk).update(slots_filled=1)
    assert "This batch is full" in seen(do(national, enrollment, "approve"))
    assert enrollment.status == "national_review"


# --- farms ---------------------------------------------------------------------------------------------------------


def test_a_farm_is_suspended_and_reinstated_with_a_reason(local: User) -> None:
    farm = a_farm(place=local.constituency)
    assert "required" in seen(do(local, farm, "suspend"))
    do(local, farm, "suspend", reason="no birds")
    assert farm.farm_status == "suspended"
    assert "reinstate" in offered(local, farm)
    assert "suspend" not in offered(local, farm)
    assert "it cannot be suspended now" in seen(do(local, farm, "suspend", reason="again"))
    do(local, farm, "reinstate", reason="birds came")
    assert farm.farm_status == "active"
    do(local, farm, "deactivate")
    do(local, farm, "activate")
    written = AuditLog.objects.filter(subject_id=str(farm.pk)).order_by("at", "pk")
    assert {(one.action, one.reason, one.actor_id) for one in written} == {
        ("farm.suspend", "no birds", local.pk),
        ("farm.reinstate", "birds came", local.pk),
        ("farm.deactivate", "", local.pk),
        ("farm.activate", "", local.pk),
    }


def test_officers_are_named_by_what_they_sign_in_with(local: User) -> None:
    farm = a_farm(place=local.constituency)
    officer, official = living_in("BNT", Role.EXTENSION_OFFICER), living_in("BNT", Role.YEA_OFFICIAL)
    assert "Nobody is known by this" in seen(do(local, farm, "name_extension_officer", officer="nobody"))
    assert "Choose an active person with the role Extension officer" in seen(
        do(local, farm, "name_extension_officer", officer=official.username)
    )
    do(local, farm, "name_extension_officer", officer=f"0{officer.phone[4:]}")
    assert farm.extension_officer == officer
    do(local, farm, "assign", officer=official.email)
    assert list(farm.assignments.values_list("officer", flat=True)) == [official.pk]
    do(local, farm, "unassign", officer=official.username)
    do(local, farm, "without_extension_officer")
    assert Farm.objects.filter(pk=farm.pk, extension_officer=None, assignments=None).exists()


def test_a_field_officer_keeps_a_farm_and_does_not_manage_it(local: User) -> None:
    officer = living_in("BNT", Role.EXTENSION_OFFICER)
    farm = a_farm(place=local.constituency, extension_officer=officer)
    assert offered(officer, farm) == ["deactivate"]
    assert signed_in(officer).get(page_of("farm_act", farm.pk, "suspend")).status_code == 403


# --- alerts and inspections ----------------------------------------------------------------------------------------


def test_an_alert_is_acknowledged_by_who_was_told_and_closed(
    local: User, regional: User, everything: Callable[[], dict[str, Any]]
) -> None:
    alert = everything()["alert"]
    assert offered(local, alert) == ["acknowledge", "close"]
    assert offered(regional, alert) == ["close"], "the admin of the constituency was told, and nobody above"
    assert "not one of those who are told" in seen(do(regional, alert, "acknowledge"))
    do(local, alert, "acknowledge")
    assert (alert.status, alert.acknowledged_by) == ("acknowledged", local)
    do(regional, alert, "close")
    assert alert.status == "closed"
    assert "it cannot be closed now" in seen(do(regional, alert, "close"))
    assert offered(UserFactory.create(role=Role.AUDITOR), alert) == []


def test_deaths_are_marked_as_inspected_by_a_veterinary_officer(
    local: User, everything: Callable[[], dict[str, Any]]
) -> None:
    record = everything()["mortalityrecord"]
    vet = living_in("BNT", Role.VETERINARY_OFFICER)
    assert offered(local, record) == []
    assert offered(vet, record) == ["mark_inspected"]
    do(vet, record, "mark_inspected")
    assert record.inspected_by == vet
    assert offered(vet, record) == []
    assert "These deaths were inspected already" in seen(do(vet, record, "mark_inspected"))
