"""domain.md 4.2.2: PostgreSQL itself refuses what the rules forbid. Rows are written past all Python checks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Model

from accounts.models import Constituency
from core import clock
from core.base.registries import Severity
from farms import rules
from farms.models import (
    Alert,
    ApplicationEvent,
    Batch,
    BatchEnrollment,
    DailyProduction,
    EnrollmentEvent,
    Farm,
    FarmApplication,
    FarmAssignment,
    FarmDocument,
    FarmInvitation,
    FarmLocation,
    FarmScore,
    Infrastructure,
    MortalityRecord,
    ProductionCorrection,
    ReviewItem,
    ReviewNote,
)
from tests.factories import (
    BatchEnrollmentFactory,
    BatchFactory,
    DailyProductionFactory,
    FarmApplicationFactory,
    FarmFactory,
    FlockFactory,
    UserFactory,
    a_farm,
)
from tests.factories.farms import today
from tests.farms.conftest import Insert

pytestmark = pytest.mark.django_db


def refused(constraint: str) -> Any:
    return pytest.raises(DatabaseError, match=constraint)


def an_application(**fields: Any) -> FarmApplication:
    """As the factory makes one, with the rows it points to, but not stored itself."""
    made = FarmApplicationFactory.create()
    made_again = FarmApplication(**{field.attname: getattr(made, field.attname) for field in made._meta.fields})
    made_again.pk, made_again.application_number = None, "APP-2020-99999"
    made_again.primary_phone, made_again.ghana_card_number = "+233209999999", "GHA-999999999-9"
    for name, value in fields.items():
        setattr(made_again, name, value)
    return made_again


def an_unsaved_farm() -> Farm:
    application = FarmApplicationFactory.create(status="approved")
    return FarmFactory.build(
        place=application.constituency,
        user=UserFactory.create(),
        application=application,
        farm_number="YEA-AH-BNT-0001",
        ghana_card_number="GHA-999999999-9",
        primary_phone="+233209999999",
    )


def update(row: Model, **columns: Any) -> None:
    names = ", ".join(f"{name} = %s" for name in columns)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE {row._meta.db_table} SET {names} WHERE id = %s", [*columns.values(), row.pk])


def test_the_plain_rows_of_these_tests_are_valid(insert: Insert) -> None:
    insert(an_application())
    insert(an_unsaved_farm())


# --- applications and farms ----------------------------------------------------------------------------------------

BAD_CARDS = ["", "GHA-12345678-9", "GHA-123456789-", "gha-123456789-0", "GHA-123456789-0\n", "XGHA-123456789-0"]
BAD_TINS = ["1", "P12345678", "p0001234567", "123456789012"]


@pytest.mark.parametrize("card", BAD_CARDS)
def test_a_ghana_card_has_its_form(insert: Insert, card: str) -> None:
    with refused("ghana_card_form|value too long"), transaction.atomic():
        insert(an_application(), ghana_card_number=card)
    with refused("ghana_card_form|value too long"):
        insert(an_unsaved_farm(), ghana_card_number=card)


@pytest.mark.parametrize("tin", BAD_TINS)
def test_a_tin_has_its_form_where_there_is_one(insert: Insert, tin: str) -> None:
    with refused("tin_form|value too long"), transaction.atomic():
        insert(an_application(), tin=tin)
    with refused("tin_form|value too long"):
        insert(an_unsaved_farm(), tin=tin)


@pytest.mark.parametrize("tin", ["P0001234567", "0001234567", "00012345678", ""])
def test_good_tins_are_taken(insert: Insert, tin: str) -> None:
    insert(an_application(), tin=tin)


@pytest.mark.parametrize("phone", ["0209999999", "+23320999999", "", "+2332099999\n9"])
def test_a_phone_is_stored_in_e164(insert: Insert, phone: str) -> None:
    with refused("phone_form|value too long"), transaction.atomic():
        insert(an_application(), primary_phone=phone)
    with refused("phone_form|value too long"):
        insert(an_unsaved_farm(), primary_phone=phone)


@pytest.mark.parametrize(("years", "days", "good"), [(18, 0, True), (18, 1, False), (66, 0, False), (66, 1, True)])
def test_an_applicant_is_eighteen_to_sixty_five_on_the_day(insert: Insert, years: int, days: int, good: bool) -> None:
    born = rules.add_months(today(), -12 * years) + timedelta(days=days)
    application = an_application(date_of_birth=born)
    if good:
        insert(application)
        return
    with refused("farms_farmapplication_age"):
        insert(application)


def test_the_database_counts_ages_as_the_rules_do(insert: Insert) -> None:
    """Also around 29 February, in years that have one and in others."""
    with connection.cursor() as cursor:
        for on in (date(2026, 2, 28), date(2026, 3, 1), date(2028, 2, 29), date(2027, 12, 31)):
            for years in (18, 66):
                for offset in range(-3, 4):
                    born = rules.add_months(on, -12 * years) + timedelta(days=offset)
                    cursor.execute(
                        "SELECT %s::date <= %s::date - interval '18 years'"
                        " AND %s::date > %s::date - interval '66 years'",
                        [born, on, born, on],
                    )
                    assert cursor.fetchone()[0] == (18 <= rules.age_on(born, on) <= 65), (born, on)


@pytest.mark.parametrize("column", ["primary_phone", "ghana_card_number"])
def test_a_phone_and_a_ghana_card_have_one_live_application(insert: Insert, column: str) -> None:
    first = an_application()
    insert(first)
    second = an_application(**{column: getattr(first, column)})
    second.application_number = "APP-2020-99998"
    other = (
        {"primary_phone": "+233209999990"} if column != "primary_phone" else {"ghana_card_number": "GHA-999999990-9"}
    )
    with (
        refused(f"farms_farmapplication_live_{column.removeprefix('primary_').removesuffix('_number')}"),
        transaction.atomic(),
    ):
        insert(second, **other)
    update(first, status="rejected")
    insert(second, **other)


@pytest.mark.parametrize(
    "column", ["ghana_card_number", "tin", "primary_phone", "farm_number", "user_id", "application_id"]
)
def test_what_names_a_farm_is_unique(insert: Insert, column: str) -> None:
    first = a_farm(tin="P0001234567")
    with refused("unique constraint|is_unique"):
        insert(an_unsaved_farm(), **{column: getattr(first, column)})


def test_farms_without_a_tin_are_many() -> None:
    assert (a_farm().tin, a_farm().tin) == ("", "")


def test_a_farm_name_is_unique_in_its_constituency_in_any_case(insert: Insert) -> None:
    first = a_farm(farm_name="Darko Farms")
    other = Constituency.objects.get(code="EJS")
    insert(an_unsaved_farm(), farm_name="Darko Farms", constituency_id=other.pk)
    again = an_unsaved_farm()
    with refused("farms_farm_name_in_constituency"):
        insert(
            again,
            farm_name="DARKO farms",
            constituency_id=first.constituency_id,
            farm_number="YEA-AH-BNT-0002",
            ghana_card_number="GHA-999999998-9",
            primary_phone="+233209999998",
        )


@pytest.mark.parametrize("column", ["total_bird_capacity", "number_of_poultry_houses"])
@pytest.mark.parametrize("value", [0, -1])
def test_capacity_and_houses_are_at_least_one(insert: Insert, column: str, value: int) -> None:
    with refused(f"{column}_(least|check)"), transaction.atomic():
        insert(an_application(), **{column: value})
    with refused(f"{column}_(least|check)"):
        insert(an_unsaved_farm(), **{column: value})


@pytest.mark.parametrize("value", [-1, 101])
def test_scores_are_zero_to_a_hundred(insert: Insert, value: int) -> None:
    farm = a_farm()
    for column in ("biosecurity_score", "readiness_score"):
        with refused(f"farms_farm_{column}_range"):
            update(farm, **{column: value})
    with refused("spam_score"), transaction.atomic():
        insert(an_application(), spam_score=value)
    with refused("eligibility_score"):
        update(BatchEnrollmentFactory.create(), eligibility_score=value)
    for column in ("readiness", "biosecurity"):
        score = FarmScore(farm=farm, day=today(), formula_version=1, readiness=1, biosecurity=1, parts="{}")
        with refused(f"farms_farmscore_{column}_range"), transaction.atomic():
            insert(score, **{column: value})


def test_a_score_is_once_per_farm_day_and_version(insert: Insert) -> None:
    farm = a_farm()
    for version in (1, 2):
        insert(FarmScore(farm=farm, day=today(), formula_version=version, readiness=1, biosecurity=1, parts="{}"))
    with refused("farms_farmscore_once"):
        insert(FarmScore(farm=farm, day=today(), formula_version=1, readiness=2, biosecurity=2, parts="{}"))


def test_only_the_score_of_today_changes_and_none_goes() -> None:
    farm = a_farm()
    scores = [
        FarmScore.objects.create(farm=farm, day=day, formula_version=1, readiness=1, biosecurity=1, parts={})
        for day in (today() - timedelta(days=1), today())
    ]
    update(scores[1], readiness=2)
    with refused("history: only a row of today"):
        update(scores[0], readiness=2)
    with refused("history: only a row of today"):
        update(scores[1], day=today() + timedelta(days=1))
    with refused("append-only"), transaction.atomic():
        scores[1].delete()


def test_a_farm_has_one_primary_location_and_each_digital_address_once(insert: Insert) -> None:
    farm = a_farm()
    home = {"region": farm.constituency.region, "constituency": farm.constituency}
    with refused("farms_farmlocation_one_primary"), transaction.atomic():
        insert(FarmLocation(farm=farm, is_primary=True, **home))
    insert(FarmLocation(farm=farm, **home))
    insert(FarmLocation(farm=farm, **home))
    insert(FarmLocation(farm=farm, digital_address="AK-184-2278", **home))
    with refused("farms_farmlocation_address_once"):
        insert(FarmLocation(farm=farm, digital_address="AK-184-2278", **home))


@pytest.mark.parametrize("address", ["GA-18-2278", "G-184-2278", "ga-184-2278", "GA-184-227", "GA1842278"])
def test_a_digital_address_has_its_form(insert: Insert, address: str) -> None:
    farm = a_farm(located=False)
    location = FarmLocation(farm=farm, region=farm.constituency.region, constituency=farm.constituency)
    with refused("farms_farmlocation_address_form"):
        insert(location, digital_address=address)


@pytest.mark.parametrize(("latitude", "longitude"), [(4.4, 0), (11.6, 0), (6, -3.6), (6, 1.6), (6, None), (None, 0)])
def test_a_gps_point_lies_in_ghana_and_is_whole(insert: Insert, latitude: Any, longitude: Any) -> None:
    farm = a_farm(located=False)
    location = FarmLocation(farm=farm, region=farm.constituency.region, constituency=farm.constituency)
    with refused("farms_farmlocation_in_ghana"):
        insert(location, latitude=latitude, longitude=longitude)


@pytest.mark.parametrize("place", ["district", "constituency"])
def test_district_and_constituency_lie_inside_the_region(insert: Insert, place: str) -> None:
    tema = Constituency.objects.get(code="TMW")
    elsewhere = {"district_id": tema.district_id, "constituency_id": tema.pk}[f"{place}_id"]
    with refused(f"farms_farmapplication_{place}_in_region"), transaction.atomic():
        insert(an_application(), **{f"{place}_id": elsewhere})
    farm = a_farm(located=False)
    location = FarmLocation(farm=farm, region=farm.constituency.region, constituency=farm.constituency)
    with refused(f"farms_farmlocation_{place}_in_region"):
        insert(location, **{f"{place}_id": elsewhere})


@pytest.mark.parametrize("table", ["application", "enrollment"])
@pytest.mark.parametrize(
    "columns",
    [
        {"changes_from_status": "regional_review"},
        {"changes_deadline": date(2030, 1, 1)},
        {"changes_from_status": "approved", "changes_deadline": date(2030, 1, 1)},
    ],
)
def test_requested_changes_say_where_they_came_from_and_until_when(table: str, columns: dict[str, Any]) -> None:
    row = FarmApplicationFactory.create() if table == "application" else an_enrollment_in_review()
    with refused("changes_explained"):
        update(row, status="changes_requested", **columns)
    update(row, status="changes_requested", changes_from_status="regional_review", changes_deadline=date(2030, 1, 1))


def an_enrollment_in_review(**fields: Any) -> BatchEnrollment:
    return BatchEnrollmentFactory.create(
        **{"status": "regional_review", "enrollment_number": "PROG-2026-00001", "submitted_at": clock.now(), **fields}
    )


@pytest.mark.parametrize("status", ["rejected", "changes_requested"])
def test_the_event_of_a_rejection_or_of_requested_changes_has_a_reason(insert: Insert, status: str) -> None:
    application, enrollment = FarmApplicationFactory.create(), an_enrollment_in_review()
    for event in (ApplicationEvent(application=application), EnrollmentEvent(enrollment=enrollment)):
        event.from_status, event.to_status, event.at = "regional_review", status, clock.now()
        with refused("_explained"), transaction.atomic():
            insert(event, reason=" ")
        insert(event, reason="the photo is missing")


# --- reviews and invitations ---------------------------------------------------------------------------------------


def an_item(**fields: Any) -> ReviewItem:
    now = clock.now()
    return ReviewItem(**{"level": "regional", "status": "pending", "entered_at": now, "due_at": now, **fields})


def test_a_review_item_has_one_subject_and_one_item_a_level(insert: Insert) -> None:
    application, enrollment = FarmApplicationFactory.create(), an_enrollment_in_review()
    with refused("farms_reviewitem_one_subject"), transaction.atomic():
        insert(an_item())
    with refused("farms_reviewitem_one_subject"), transaction.atomic():
        insert(an_item(application=application, enrollment=enrollment))
    for name, subject in (("application", application), ("enrollment", enrollment)):
        insert(an_item(**{name: subject}))
        insert(an_item(**{name: subject}, level="national"))
        with refused(f"farms_reviewitem_{name}_level"), transaction.atomic():
            insert(an_item(**{name: subject}))


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"status": "claimed"}, "claimed_by"),
        ({"status": "completed"}, "completed_at"),
        ({"completed_at": date(2026, 1, 1)}, "completed_at"),
        ({"level": "village"}, "level"),
        ({"status": "done"}, "status|completed_at"),
        ({"due_at": date(2020, 1, 1)}, "due_later"),
    ],
)
def test_a_review_item_says_what_its_state_needs(insert: Insert, columns: dict[str, Any], constraint: str) -> None:
    with refused(f"farms_reviewitem_({constraint})"):
        insert(an_item(application=FarmApplicationFactory.create()), **columns)


def an_invitation(application: FarmApplication, **fields: Any) -> FarmInvitation:
    event = ApplicationEvent.objects.create(application=application, to_status="approved", at=clock.now())
    return FarmInvitation(**{"application": application, "event": event, "status": "pending", **fields})


def test_an_application_has_one_open_invitation_and_a_code_is_unique(insert: Insert) -> None:
    application, other = FarmApplicationFactory.create(), FarmApplicationFactory.create()
    insert(an_invitation(application))
    with refused("farms_farminvitation_one_open"), transaction.atomic():
        insert(an_invitation(application, status="sent", code_hash="a", expires_at=clock.now()))
    insert(an_invitation(application, status="revoked"))
    insert(an_invitation(other, status="sent", code_hash="a", expires_at=clock.now()))
    with refused("farms_farminvitation_code_unique"), transaction.atomic():
        insert(an_invitation(application, status="expired", code_hash="a", expires_at=clock.now()))
    with refused("farms_farminvitation_minted"):
        insert(an_invitation(application, status="accepted"))


# --- batches and enrolments ----------------------------------------------------------------------------------------


def a_batch(**fields: Any) -> Batch:
    return BatchFactory.build(**fields)


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"slots_filled": -1}, "slots_filled_check"),
        ({"slots_filled": 11}, "farms_batch_slots"),
        ({"application_deadline": date(2100, 1, 1)}, "farms_batch_application_deadline"),
        ({"start_date": date(2100, 1, 1)}, "farms_batch_start_date"),
        ({"min_age": 40, "max_age": 39}, "farms_batch_min_age"),
        ({"min_bird_capacity": 2, "max_bird_capacity": 1}, "farms_batch_min_bird_capacity"),
        ({"status": "open"}, "farms_batch_status"),
        ({"support_package_value": -1}, "farms_batch_support_package_value"),
        ({"approval_sla_days": 0}, "farms_batch_approval_sla_days"),
    ],
)
def test_a_batch_is_in_order(insert: Insert, columns: dict[str, Any], constraint: str) -> None:
    with refused(constraint):
        insert(a_batch(), **columns)


def test_a_batch_may_be_overbooked_where_it_says_so(insert: Insert) -> None:
    insert(a_batch(), slots_filled=11, allow_overbooking=True)


@pytest.mark.parametrize("column", ["batch_code", "batch_name"])
def test_batch_code_and_name_are_unique(insert: Insert, column: str) -> None:
    first = BatchFactory.create()
    with refused("unique constraint"):
        insert(a_batch(), **{column: getattr(first, column)})


def test_a_farm_has_one_enrolment_in_a_batch(insert: Insert) -> None:
    first = BatchEnrollmentFactory.create()
    with refused("farms_batchenrollment_once"):
        insert(BatchEnrollment(farm=first.farm, batch=first.batch, status="draft", last_movement_at=clock.now()))


def test_an_enrolment_beyond_the_draft_has_a_number(insert: Insert) -> None:
    with refused("farms_batchenrollment_submitted"):
        update(BatchEnrollmentFactory.create(), status="submitted")


@pytest.mark.parametrize(
    ("make", "column"),
    [
        (an_application, "application_number"),
        (an_unsaved_farm, "farm_number"),
        (an_enrollment_in_review, "enrollment_number"),
    ],
)
def test_numbers_have_their_form(insert: Insert, make: Callable[[], Model], column: str) -> None:
    for number in ("", "X-2026-00001", "APP-2026-1", "YEA-AH-BNT-1", "PROG-2026-0001"):
        with refused("number_form"), transaction.atomic():
            row = make()
            if row._state.adding:
                insert(row, **{column: number})
            else:
                update(row, **{column: number})


# --- flocks and production -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"initial_count": 0, "current_count": 0}, "initial_count_least"),
        ({"current_count": 501}, "farms_flock_current_count|left_at_end"),
        ({"current_count": -1}, "current_count"),
        ({"status": "eaten"}, "farms_flock_(status|end)"),
        ({"flock_type": "ducks"}, "farms_flock_flock_type"),
        ({"ended_on": date(2026, 1, 1)}, "farms_flock_end"),
        ({"status": "sold"}, "farms_flock_end"),
        ({"status": "sold", "ended_on": date(2000, 1, 1), "current_count": 0}, "farms_flock_end"),
        ({"left_at_end": 1, "current_count": 499}, "farms_flock_end"),
    ],
)
def test_a_flock_is_in_order(insert: Insert, columns: dict[str, Any], constraint: str) -> None:
    with refused(constraint):
        insert(FlockFactory.build(farm=a_farm()), **columns)


def test_a_flock_number_is_unique_in_its_farm(insert: Insert) -> None:
    first = FlockFactory.create()
    insert(FlockFactory.build(farm=a_farm()), flock_number=first.flock_number)
    with refused("farms_flock_number_in_farm"):
        insert(FlockFactory.build(farm=first.farm), flock_number=first.flock_number)


def test_a_day_of_a_flock_is_recorded_once(insert: Insert) -> None:
    first = DailyProductionFactory.create()
    with refused("farms_dailyproduction_once"):
        insert(DailyProduction(flock=first.flock, production_date=first.production_date, recorded_by=first.recorded_by))


@pytest.mark.parametrize(
    "column", ["good_eggs", "broken_eggs", "dirty_eggs", "small_eggs", "soft_shell_eggs", "eggs_collected"]
)
def test_eggs_add_up(column: str) -> None:
    row = DailyProductionFactory.create(
        good_eggs=10, broken_eggs=1, dirty_eggs=2, small_eggs=3, soft_shell_eggs=4, eggs_collected=20
    )
    with refused("farms_dailyproduction_eggs"):
        update(row, **{column: 5})
    update(row, good_eggs=0, eggs_collected=10)


@pytest.mark.parametrize(
    "column",
    [
        "good_eggs",
        "broken_eggs",
        "dirty_eggs",
        "small_eggs",
        "soft_shell_eggs",
        "eggs_collected",
        "birds_died",
        "birds_sold",
    ]
    + ["birds_culled", "feed_consumed_kg"],
)
def test_counts_are_never_negative(column: str) -> None:
    row = DailyProductionFactory.create(good_eggs=0)
    columns = {column: -1}
    if column.endswith("eggs"):
        columns["eggs_collected"] = -1
    with refused(f"{column}_(check|least)|eggs_collected_check|_eggs"):
        update(row, **columns)


@pytest.mark.parametrize(("column", "value"), [("mortality_reason", "witches"), ("general_health", "fine")])
def test_words_of_a_day_are_known(column: str, value: str) -> None:
    with refused(f"farms_dailyproduction_{column}"):
        update(DailyProductionFactory.create(), **{column: value})


def an_alert(**fields: Any) -> Alert:
    flock = FlockFactory.create()
    about = {"kind": "mortality_daily", "farm": flock.farm, "flock": flock, "day": today(), "value": 6, "threshold": 5}
    return Alert.objects.create(**about | {"severity": Severity.WARNING.value, **fields})


def test_an_alert_is_once_per_kind_flock_and_day(insert: Insert) -> None:
    first = an_alert()
    about = {"farm": first.farm, "flock": first.flock, "value": 6, "threshold": 5, "severity": "warning"}
    insert(Alert(kind="mortality_weekly", day=first.day, **about))
    with refused("farms_alert_once"):
        insert(Alert(kind="mortality_daily", day=first.day, **about))


def test_the_severity_of_an_alert_rises_and_never_falls() -> None:
    alert = an_alert()
    update(alert, severity="critical")
    for milder in ("warning", "info"):
        with refused("may rise, never fall"):
            update(alert, severity=milder)


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"status": "acknowledged"}, "acknowledged_by"),
        ({"acknowledged_at": date(2026, 1, 1)}, "farms_alert_acknowledged"),
        ({"severity": "loud"}, "farms_alert_severity"),
        ({"kind": "hunger"}, "farms_alert_kind"),
    ],
)
def test_an_alert_is_in_order(columns: dict[str, Any], constraint: str) -> None:
    with refused(constraint):
        update(an_alert(), **columns)


def test_an_inspection_has_its_time_and_its_officer(insert: Insert) -> None:
    record = MortalityRecord(production=DailyProductionFactory.create(), number_of_birds=1, inspect_by=clock.now())
    with refused("farms_mortalityrecord_inspected"):
        insert(record, inspected_at=clock.now())


# --- the rest ------------------------------------------------------------------------------------------------------


def test_a_document_has_exactly_one_owner(insert: Insert) -> None:
    farm, application = a_farm(), FarmApplicationFactory.create()
    for owners in ({}, {"farm": farm, "application": application}):
        with refused("farms_farmdocument_one_owner"), transaction.atomic():
            insert(FarmDocument(kind="other", file="x.jpg", **owners))
    insert(FarmDocument(kind="other", file="x.jpg", farm=farm))


def test_an_officer_has_a_farm_once(insert: Insert) -> None:
    farm, officer = a_farm(), UserFactory.create()
    insert(FarmAssignment(farm=farm, officer=officer))
    with refused("farms_farmassignment_once"):
        insert(FarmAssignment(farm=farm, officer=officer))


@pytest.mark.parametrize("column", ["infrastructure_type", "status", "condition"])
def test_the_words_of_equipment_are_known(insert: Insert, column: str) -> None:
    with refused(f"farms_infrastructure_{column}"):
        insert(Infrastructure(farm=a_farm(), infrastructure_type="storage"), **{column: "x"})


def append_only() -> dict[str, Model]:
    application, enrollment, now = FarmApplicationFactory.create(), an_enrollment_in_review(), clock.now()
    item = an_item(application=application)
    item.save()
    day = DailyProductionFactory.create()
    return {
        "application_event": ApplicationEvent.objects.create(application=application, to_status="submitted", at=now),
        "enrollment_event": EnrollmentEvent.objects.create(
            enrollment=enrollment, from_status="draft", to_status="submitted", at=now
        ),
        "note": ReviewNote.objects.create(item=item, author=day.recorded_by, text="seen", at=now),
        "correction": ProductionCorrection.objects.create(
            production=day, corrected_by=day.recorded_by, reason="counted anew", before={}, after={}, at=now
        ),
    }


@pytest.mark.parametrize("name", ["application_event", "enrollment_event", "note", "correction"])
def test_what_was_written_down_stays(name: str) -> None:
    row = append_only()[name]
    with refused("append-only: UPDATE"):
        update(row, id=row.pk)
    with refused("append-only: DELETE"), transaction.atomic():
        row.delete()


MACHINES: list[tuple[str, str, Any]] = [
    ("farms_farmapplication", "status", rules.APPLICATION),
    ("farms_batchenrollment", "status", rules.ENROLLMENT),
    ("farms_batch", "status", rules.BATCH),
    ("farms_reviewitem", "status", rules.REVIEW),
    ("farms_farminvitation", "status", rules.INVITATION),
    ("farms_farm", "farm_status", rules.FARM),
    ("farms_flock", "status", rules.FLOCK),
    ("farms_alert", "status", rules.ALERT),
]


@pytest.mark.parametrize(("table", "column", "machine"), MACHINES, ids=[table for table, _, _ in MACHINES])
def test_the_database_keeps_the_table_of_transitions(table: str, column: str, machine: Any) -> None:
    """The pairs of the trigger are those of the rules; that it refuses others, the next test sees."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = %s", [f"{table}_transition"])
        definition = cursor.fetchone()[0]
    pairs = definition.partition("'{")[2].partition("}'")[0].split(",")
    ways = {f"{before.value}>{after.value}" for before, following in rules.ways(machine).items() for after in following}
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == ways
    assert f"BEFORE UPDATE OF {column}" in definition


def test_no_other_way_is_taken_whoever_writes() -> None:
    for row, column, status in (
        (FarmApplicationFactory.create(), "status", "approved"),
        (an_enrollment_in_review(), "status", "enrolled"),
        (BatchFactory.create(), "status", "draft"),
        (a_farm(farm_status="suspended"), "farm_status", "inactive"),
    ):
        with pytest.raises(IntegrityError, match="may not go from"):
            update(row, **{column: status})
