"""What is kept of a farm: state, officers, places, equipment, measures, documents; and who may."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.db.models import Q

from accounts import selectors as people
from accounts.models import Constituency, StaffPermission, User
from accounts.policy import Action
from accounts.rules import Code, Kind, Role, kind
from core import clock
from core.base.models import AuditLog
from core.errors import Conflict, DomainError, InvalidInput, NotAllowed, NotFound
from core.jobs import runs
from core.jobs.models import TaskRun
from farms import rules, selectors
from farms.models import Farm, FarmAssignment, FarmDocument, FarmLocation, Flock, Infrastructure
from farms.rules import Condition, DocumentKind, FlockType, InfrastructureType
from farms.services import farms, production
from farms.services.farms import Equipment, Place
from tests.delivery.outbox import meanwhile, somebody_waits_for_us, wait_for
from tests.factories import FlockFactory, UserFactory, a_farm
from tests.factories.farms import today
from tests.farms.conftest import living_in
from tests.farms.journey import apply, asked

pytestmark = pytest.mark.django_db

JPEG, PNG, PDF = b"\xff\xd8\xff\xe0rest", b"\x89PNG\r\n\x1a\nrest", b"%PDF-1.7 rest"


@pytest.fixture
def farm(bantama: Constituency) -> Farm:
    return a_farm(place=bantama)


def again(row: Any) -> Any:
    return type(row).objects.get(pk=row.pk)


# --- state ---------------------------------------------------------------------------------------------------------


def test_a_farmer_rests_the_farm_and_an_admin_suspends_it_with_a_reason(farm: Farm, local: User) -> None:
    assert farms.deactivate(actor=farm.user, farm_id=farm.pk).farm_status == "inactive"
    assert farms.activate(actor=farm.user, farm_id=farm.pk).farm_status == "active"
    with pytest.raises(NotAllowed):
        farms.suspend(actor=farm.user, farm_id=farm.pk, reason="x")
    with pytest.raises(InvalidInput, match="reason"):
        farms.suspend(actor=local, farm_id=farm.pk, reason=" ")
    assert farms.suspend(actor=local, farm_id=farm.pk, reason="fraud").farm_status == "suspended"
    with pytest.raises(Conflict, match="suspended: it cannot be activated"):
        farms.activate(actor=farm.user, farm_id=farm.pk)
    assert farms.reinstate(actor=local, farm_id=farm.pk, reason="cleared up").farm_status == "active"
    row = AuditLog.objects.get(action="farm.suspend")
    assert (row.actor, row.subject_id, row.reason) == (local, str(farm.pk), "fraud")
    assert (row.before, row.after) == ({"farm_status": "active"}, {"farm_status": "suspended"})


@pytest.mark.parametrize(
    ("role", "place", "outcome"),
    [
        (Role.CONSTITUENCY_ADMIN, "BNT", None),
        (Role.REGIONAL_ADMIN, "EJS", None),
        (Role.NATIONAL_ADMIN, "TMW", None),
        (Role.SUPER_ADMIN, "TMW", None),
        (Role.CONSTITUENCY_ADMIN, "EJS", NotFound),
        (Role.REGIONAL_ADMIN, "TMW", NotFound),
        (Role.AUDITOR, "BNT", NotAllowed),
        (Role.PROCUREMENT_OFFICER, "BNT", NotAllowed),
        (Role.VETERINARY_OFFICER, "BNT", NotAllowed),
        (Role.CONSTITUENCY_STAFF, "BNT", NotFound),
        (Role.EXTENSION_OFFICER, "BNT", NotFound),
        (Role.INSTITUTIONAL_SUBSCRIBER, "BNT", NotFound),
        (Role.FARMER, "BNT", NotFound),
    ],
)
def test_who_suspends_a_farm(farm: Farm, role: Role, place: str, outcome: type[DomainError] | None) -> None:
    person = living_in(place, role)
    if outcome is None:
        farms.suspend(actor=person, farm_id=farm.pk, reason="fraud")
        return
    with pytest.raises(outcome):
        farms.suspend(actor=person, farm_id=farm.pk, reason="fraud")
    assert again(farm).farm_status == "active"


def test_officers_are_named_by_an_admin(farm: Farm, local: User) -> None:
    officer, official = living_in("EJS", Role.EXTENSION_OFFICER), living_in("EJS", Role.YEA_OFFICIAL)
    for _ in range(2):
        farms.name_extension_officer(actor=local, farm_id=farm.pk, officer_id=officer.pk)
    assert again(farm).extension_officer == officer
    assert [farms.assign(actor=local, farm_id=farm.pk, officer_id=official.pk) for _ in range(2)] == [True, False]
    with pytest.raises(InvalidInput, match="Extension officer"):
        farms.name_extension_officer(actor=local, farm_id=farm.pk, officer_id=official.pk)
    with pytest.raises(InvalidInput, match="YEA official"):
        farms.assign(actor=local, farm_id=farm.pk, officer_id=officer.pk)
    with pytest.raises(NotAllowed):
        farms.assign(actor=officer, farm_id=farm.pk, officer_id=official.pk)
    for person in (officer, official):
        assert list(selectors.farms_in_scope(person)) == [farm]
        assert farm.user in people.in_scope(person, User.objects.all())
    assert [farms.unassign(actor=local, farm_id=farm.pk, officer_id=official.pk) for _ in range(2)] == [True, False]
    assert not selectors.farms_in_scope(official)
    farms.name_extension_officer(actor=local, farm_id=farm.pk, officer_id=None)
    assert not selectors.farms_in_scope(officer)
    assert AuditLog.objects.count() == 4


# --- name, size and TIN --------------------------------------------------------------------------------------------


def change(farm: Farm, *, by: User | None = None, **said: Any) -> Farm:
    return farms.change_details(actor=by or farm.user, farm_id=farm.pk, **said)


def test_a_farm_is_called_and_built_otherwise_and_the_scores_follow(farm: Farm, local: User) -> None:
    Farm.objects.filter(pk=farm.pk).update(tin="P0012345678", number_of_poultry_houses=2, total_bird_capacity=1_000)
    old_name = farm.farm_name
    change(farm, farm_name=" Darko  Layers ", tin=" c0099887766 ", total_bird_capacity=2_000)
    kept = again(farm)
    assert (kept.farm_name, kept.tin, kept.total_bird_capacity) == ("Darko Layers", "C0099887766", 2_000)
    assert (kept.number_of_poultry_houses, kept.primary_production_type) == (2, "layers"), "what is not said stays"
    row = AuditLog.objects.get(action="farm.change_details")
    assert (row.actor, row.subject_id) == (farm.user, str(farm.pk))
    assert row.before == {"farm_name": old_name, "tin": "*****5678", "total_bird_capacity": 1_000}
    assert row.after == {"farm_name": "Darko Layers", "tin": "*****7766", "total_bird_capacity": 2_000}
    assert asked("calculate_farm_scores") == asked("sync_farmer_locations") == [[str(farm.pk)]]

    change(farm, by=local, number_of_poultry_houses=3, primary_production_type="both", tin="")
    kept = again(farm)
    assert (kept.number_of_poultry_houses, kept.primary_production_type, kept.tin) == (3, "both", "")
    assert len(asked("calculate_farm_scores")) == 1, "no score depends on these"
    last = AuditLog.objects.filter(action="farm.change_details").latest("at")
    more = {"number_of_poultry_houses": 2, "primary_production_type": "layers"}
    assert (last.actor, last.before) == (local, {"tin": "*****7766", **more})


def test_what_a_farm_is_already_is_not_written_again(farm: Farm) -> None:
    before = again(farm).updated_at
    change(farm, farm_name=farm.farm_name, total_bird_capacity=farm.total_bird_capacity)
    change(farm)
    assert again(farm).updated_at == before
    assert not AuditLog.objects.exists()
    assert not asked("calculate_farm_scores")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"farm_name": "  "}, "farm_name"),
        ({"farm_name": "x" * 101}, "farm_name"),
        ({"tin": "12"}, "TIN: write a letter and ten digits"),
        ({"number_of_poultry_houses": 0}, "number_of_poultry_houses must be at least 1"),
        ({"number_of_poultry_houses": 40_000}, "number_of_poultry_houses"),
        ({"total_bird_capacity": 0}, "total_bird_capacity must be at least 1"),
        ({"total_bird_capacity": 2**31}, "total_bird_capacity"),
        ({"primary_production_type": "ducks"}, "primary_production_type"),
    ],
)
def test_a_detail_that_cannot_be_is_refused_in_words(farm: Farm, said: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        change(farm, **said)
    assert not AuditLog.objects.exists()


def test_name_and_tin_of_another_farm_are_refused(farm: Farm) -> None:
    other = a_farm(place=farm.constituency, farm_name="Darko Layers", tin="P0012345678")
    with pytest.raises(InvalidInput, match="a farm of this name in this constituency already"):
        change(farm, farm_name="darko layers")
    with pytest.raises(InvalidInput, match="a farm with this TIN already"):
        change(farm, tin=other.tin)
    elsewhere = a_farm(place=Constituency.objects.get(code="TMW"))
    assert change(elsewhere, farm_name="Darko Layers").farm_name == "Darko Layers"


def test_there_is_room_for_the_birds_that_are_there(farm: Farm) -> None:
    FlockFactory.create(farm=farm, initial_count=600, current_count=590)
    with pytest.raises(Conflict, match="590 birds in active flocks"):
        change(farm, total_bird_capacity=589)
    assert change(farm, total_bird_capacity=590).total_bird_capacity == 590
    Flock.objects.update(current_count=0, status="sold", ended_on=today(), left_at_end=590)
    assert change(farm, total_bird_capacity=1).total_bird_capacity == 1


@pytest.mark.parametrize(
    ("role", "place", "outcome"),
    [
        (Role.CONSTITUENCY_ADMIN, "BNT", None),
        (Role.REGIONAL_ADMIN, "EJS", None),
        (Role.NATIONAL_ADMIN, "TMW", None),
        (Role.EXTENSION_OFFICER, "BNT", NotFound),  # but for their farms
        (Role.CONSTITUENCY_ADMIN, "EJS", NotFound),
        (Role.FARMER, "BNT", NotFound),
        (Role.AUDITOR, "BNT", NotAllowed),
        (Role.VETERINARY_OFFICER, "BNT", NotAllowed),
    ],
)
def test_who_changes_a_farm(farm: Farm, role: Role, place: str, outcome: type[DomainError] | None) -> None:
    person = living_in(place, role)
    if outcome is None:
        assert change(farm, by=person, total_bird_capacity=77).total_bird_capacity == 77
        return
    with pytest.raises(outcome):
        change(farm, by=person, total_bird_capacity=77)
    assert again(farm).total_bird_capacity != 77


@pytest.mark.django_db(transaction=True)
def test_birds_that_arrive_meanwhile_have_room_or_stay_away() -> None:
    farm = a_farm(total_bird_capacity=1_000)
    refused: list[Conflict] = []

    def attempt(what: Callable[[], object]) -> Callable[[], None]:
        def one() -> None:
            try:
                what()
            except Conflict as error:
                refused.append(error)

        return one

    def arrive() -> None:
        production.add_flock(
            actor=farm.user,
            farm_id=farm.pk,
            flock_type=FlockType.LAYERS,
            arrival_date=today(),
            initial_count=600,
            now=clock.now(),
        )

    with ExitStack() as after_the_commit, transaction.atomic():
        change(farm, total_bird_capacity=500)
        after_the_commit.enter_context(meanwhile(attempt(arrive)))
        wait_for(somebody_waits_for_us, "the birds wait for the farm")
    assert len(refused) == 1
    assert not Flock.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_of_two_farms_that_take_a_name_at_once_one_is_told_so() -> None:
    one = a_farm()
    other = a_farm(place=one.constituency)
    told: list[str] = []

    def attempt() -> None:
        with pytest.raises(InvalidInput) as refused:
            change(other, farm_name="Darko Layers")
        told.append(str(refused.value))

    with ExitStack() as after_the_commit, transaction.atomic():
        change(one, farm_name="Darko Layers")
        after_the_commit.enter_context(meanwhile(attempt))
        wait_for(somebody_waits_for_us, "the second farm waits for the name")
    assert "a farm of this name in this constituency already" in told[0]
    assert again(other).farm_name == other.farm_name


# --- who sees farms ------------------------------------------------------------------------------------------------


@pytest.fixture
def some_farms() -> list[Farm]:
    return [a_farm(place=Constituency.objects.get(code=code)) for code in ("BNT", "EJS", "TMW")]


@pytest.mark.parametrize("granted", [False, True])
@pytest.mark.parametrize("role", Role)
def test_the_list_of_farms_and_the_single_question_agree(some_farms: list[Farm], role: Role, granted: bool) -> None:
    person = living_in("BNT", role)
    if granted and kind(role) == Kind.STAFF:
        StaffPermission.objects.create(
            user=person, code=Code.RUN_REPORTS, granted_by=UserFactory.create(role=Role.SUPER_ADMIN)
        )
    if granted and role == Role.EXTENSION_OFFICER:
        Farm.objects.filter(pk=some_farms[2].pk).update(extension_officer=person)
    if granted and role == Role.YEA_OFFICIAL:
        FarmAssignment.objects.create(farm=some_farms[1], officer=person)
    person = User.objects.get(pk=person.pk)
    asked_one_by_one = {
        farm
        for farm in Farm.objects.select_related("constituency")
        if people.may(person, Action.SEE_FARM, selectors.subject(farm))
    }
    assert set(selectors.farms_in_scope(person)) == asked_one_by_one


def test_a_farmer_sees_the_own_farm_and_enrolments_alone(some_farms: list[Farm]) -> None:
    assert list(selectors.farms_in_scope(some_farms[0].user)) == [some_farms[0]]
    assert set(people.in_scope(some_farms[0].user, User.objects.filter(~Q(role="x")))) == {some_farms[0].user}


# --- places --------------------------------------------------------------------------------------------------------


def test_the_first_location_is_primary_and_the_primary_stays(bantama: Constituency) -> None:
    farm = a_farm(located=False)
    first = farms.add_location(actor=farm.user, farm_id=farm.pk, place=Place(constituency=bantama))
    ejisu = Constituency.objects.select_related("region", "district").get(code="EJS")
    second = farms.add_location(
        actor=farm.user, farm_id=farm.pk, place=Place(constituency=ejisu, digital_address=" ak-1234-5678")
    )
    assert (first.is_primary, second.is_primary, second.digital_address) == (True, False, "AK-1234-5678")
    assert (second.region, second.district) == (ejisu.region, ejisu.district)
    with pytest.raises(Conflict, match="primary location cannot be removed"):
        farms.remove_location(actor=farm.user, location_id=first.pk)
    for _ in range(2):
        farms.make_primary(actor=farm.user, location_id=second.pk)
    assert (again(first).is_primary, again(second).is_primary) == (False, True)
    farms.remove_location(actor=farm.user, location_id=first.pk)
    assert list(FarmLocation.objects.filter(farm=farm)) == [second]
    assert asked("sync_farmer_locations") == [[str(farm.pk)]]


def test_a_changed_point_is_not_verified_any_more(farm: Farm, local: User) -> None:
    location = FarmLocation.objects.get(farm=farm)
    with pytest.raises(Conflict, match="no GPS point"):
        farms.verify_gps(actor=local, location_id=location.pk)
    here = Place(constituency=farm.constituency, latitude=Decimal("6.65"), longitude=Decimal("-1.61"))
    farms.change_location(actor=farm.user, location_id=location.pk, place=here)
    with pytest.raises(NotAllowed, match="not the farmer"):
        farms.verify_gps(actor=farm.user, location_id=location.pk)
    assert farms.verify_gps(actor=local, location_id=location.pk).gps_verified
    same = Place(constituency=farm.constituency, latitude=Decimal("6.65"), longitude=Decimal("-1.61"), community="X")
    assert farms.change_location(actor=farm.user, location_id=location.pk, place=same).gps_verified
    moved = Place(constituency=farm.constituency, latitude=Decimal("6.66"), longitude=Decimal("-1.61"))
    assert not farms.change_location(actor=farm.user, location_id=location.pk, place=moved).gps_verified


def test_who_verified_a_point_and_who_removed_a_location_stays_known(farm: Farm, local: User) -> None:
    here = Place(
        constituency=farm.constituency,
        digital_address="AK-184-2278",
        community="Abrepo",
        latitude=Decimal("6.65"),
        longitude=Decimal("-1.61"),
        land_size_acres=Decimal("2.5"),
    )
    location = farms.add_location(actor=farm.user, farm_id=farm.pk, place=here)
    for _ in range(2):
        farms.verify_gps(actor=local, location_id=location.pk)
    row = AuditLog.objects.get(action="farm.verify_gps")
    point = {"latitude": "6.650000", "longitude": "-1.610000"}
    assert (row.actor, row.subject_type, row.subject_id) == (local, "farm", str(farm.pk))
    assert (row.before, row.after) == ({"gps_verified": False}, {**point, "gps_verified": True})

    farms.remove_location(actor=farm.user, location_id=location.pk)
    row = AuditLog.objects.get(action="farm.remove_location")
    assert (row.actor, row.subject_id, row.after) == (farm.user, str(farm.pk), None)
    assert row.before == {
        **point,
        "gps_verified": True,
        "constituency": farm.constituency.code,
        "district": location.district.name if location.district else None,
        "digital_address": "AK-184-2278",
        "community": "Abrepo",
        "land_size_acres": "2.50",
    }


def test_a_bad_place_is_refused_in_words(farm: Farm) -> None:
    tema = Constituency.objects.select_related("region", "district").get(code="TMW")
    farms.add_location(actor=farm.user, farm_id=farm.pk, place=Place(constituency=tema, digital_address="GT-123-4567"))
    for place, words in (
        (Place(constituency=farm.constituency, district=tema.district), "another region"),
        (Place(constituency=tema, digital_address="GT-123-4567"), "with this digital address already"),
        (Place(constituency=tema, digital_address="here"), "Digital address: write it like"),
        (Place(constituency=tema, latitude=Decimal(0), longitude=Decimal(0)), "GPS: give"),
        (Place(constituency=tema, community="x" * 101), "community"),
    ):
        with pytest.raises(InvalidInput, match=words):
            farms.add_location(actor=farm.user, farm_id=farm.pk, place=place)
    with pytest.raises(NotFound):
        farms.remove_location(actor=a_farm().user, location_id=FarmLocation.objects.filter(farm=farm)[0].pk)


# --- equipment, measures, documents --------------------------------------------------------------------------------


def test_equipment_is_added_and_changed_and_the_scores_follow(farm: Farm) -> None:
    house = Equipment(infrastructure_type=InfrastructureType.ACCOMMODATION, bird_capacity=600)
    row = farms.save_infrastructure(actor=farm.user, farm_id=farm.pk, equipment=house)
    worse = Equipment(infrastructure_type=InfrastructureType.ACCOMMODATION, bird_capacity=600, condition=Condition.POOR)
    farms.save_infrastructure(actor=farm.user, farm_id=farm.pk, equipment=worse, infrastructure_id=row.pk)
    assert Infrastructure.objects.get().condition == "poor"
    assert asked("calculate_farm_scores") == [[str(farm.pk)]]
    with pytest.raises(NotFound, match="no such equipment"):
        farms.save_infrastructure(
            actor=(other := a_farm()).user, farm_id=other.pk, equipment=worse, infrastructure_id=row.pk
        )
    with pytest.raises(InvalidInput, match="bird_capacity"):
        farms.save_infrastructure(
            actor=farm.user,
            farm_id=farm.pk,
            equipment=Equipment(infrastructure_type=InfrastructureType.STORAGE, bird_capacity=-1),
        )


def test_changes_that_no_run_has_seen_are_one_run_and_later_ones_another(farm: Farm) -> None:
    store = Equipment(infrastructure_type=InfrastructureType.STORAGE)
    other = a_farm()

    def save(of: Farm) -> None:
        farms.save_infrastructure(actor=of.user, farm_id=of.pk, equipment=store)
        farms.add_location(actor=of.user, farm_id=of.pk, place=Place(constituency=of.constituency))

    for _ in range(10):
        save(farm)
    save(other)
    for task in ("calculate_farm_scores", "sync_farmer_locations"):
        assert asked(task) == [[str(farm.pk)], [str(other.pk)]]
        assert runs.claim(TaskRun.objects.get(task__endswith=task, args=[str(farm.pk)]).pk, "w@test")
    save(farm)
    for task in ("calculate_farm_scores", "sync_farmer_locations"):
        assert asked(task) == [[str(farm.pk)], [str(other.pk)], [str(farm.pk)]], "what it does not see any more"


def test_measures_are_those_of_the_specification(farm: Farm) -> None:
    farms.save_biosecurity(actor=farm.user, farm_id=farm.pk, measures={"footbath": True, "visitor_log": True})
    row = farms.save_biosecurity(actor=farm.user, farm_id=farm.pk, measures={"footbath": False})
    assert [name for name in rules.MEASURES if getattr(row, name)] == ["visitor_log"]
    assert asked("calculate_farm_scores") == [[str(farm.pk)]]
    with pytest.raises(InvalidInput, match="no measures: moat"):
        farms.save_biosecurity(actor=farm.user, farm_id=farm.pk, measures={"moat": True})
    with pytest.raises(InvalidInput, match="true or false"):
        farms.save_biosecurity(actor=farm.user, farm_id=farm.pk, measures={"footbath": "yes"})  # type: ignore[dict-item]


@pytest.mark.parametrize(("content", "ending"), [(JPEG, ".jpg"), (PNG, ".png"), (PDF, ".pdf")])
def test_a_document_is_kept_under_a_name_of_ours(farm: Farm, files: Path, content: bytes, ending: str) -> None:
    document = farms.add_document(actor=farm.user, farm_id=farm.pk, kind=DocumentKind.PHOTO_SITE, content=content)
    assert document.file.name == f"farm-documents/{document.pk.hex[:2]}/{document.pk.hex}{ending}"
    assert (files / document.file.name).read_bytes() == content
    assert asked("calculate_farm_scores") == [[str(farm.pk)]]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "JPEG, a PNG or a PDF"), (b"<html>", "JPEG"), (b"MZ" + JPEG, "JPEG"), (PDF + b"x" * 8 * 1024**2, "8 MB")],
)
def test_what_is_no_document_is_refused(farm: Farm, content: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        farms.add_document(actor=farm.user, farm_id=farm.pk, kind=DocumentKind.OTHER, content=content)
    with pytest.raises(InvalidInput, match="kind"):
        farms.add_document(actor=farm.user, farm_id=farm.pk, kind="selfie", content=PNG)  # type: ignore[arg-type]
    assert not FarmDocument.objects.exists()


def test_an_applicant_adds_documents_until_the_application_is_over(local: User) -> None:
    from farms.services import applications

    application = apply()
    document = farms.add_application_document(
        application_id=application.pk, kind=DocumentKind.GHANA_CARD, content=PDF, actor=local
    )
    assert (document.application, document.farm) == (application, None)
    for person, error in (
        (living_in("TMW", Role.CONSTITUENCY_ADMIN), NotFound),
        (living_in("TMW", Role.AUDITOR), NotAllowed),
    ):
        with pytest.raises(error):
            farms.add_application_document(
                application_id=application.pk, kind=DocumentKind.OTHER, content=PDF, actor=person
            )
    applications.reject(actor=local, application_id=application.pk, reason="no land", now=clock.now())
    with pytest.raises(Conflict, match="over"):
        farms.add_application_document(application_id=application.pk, kind=DocumentKind.OTHER, content=PDF)
