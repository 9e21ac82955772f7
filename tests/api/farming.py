"""Farms in the permission matrix: what there is of them, and what is asked about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.files.base import ContentFile

from accounts import selectors as people
from accounts.models import Constituency, User
from accounts.policy import Action
from accounts.rules import Role
from core import clock
from core.base.registries import Place
from farms import links, rules, selectors
from farms.models import (
    Alert,
    Batch,
    BatchEnrollment,
    DailyProduction,
    Farm,
    FarmApplication,
    FarmAssignment,
    FarmDocument,
    FarmLocation,
    Flock,
    Infrastructure,
    MortalityRecord,
    ReviewItem,
)
from farms.rules import ReviewLevel
from tests.api.cases import FAR, NEAR, OWN, Case
from tests.factories import (
    BatchEnrollmentFactory,
    BatchFactory,
    DailyProductionFactory,
    FarmApplicationFactory,
    FlockFactory,
    UserFactory,
    a_farm,
)
from tests.factories.farms import today
from tests.farms.test_farms import JPEG


@dataclass
class Farming:
    """A farm at each place with what belongs to it, and an application and an enrolment in review at each level."""

    farms: list[Farm]
    applications: list[FarmApplication]
    enrollments: list[BatchEnrollment]
    reviews: list[ReviewItem]
    flocks: list[Flock]
    days: list[DailyProduction]
    alerts: list[Alert]
    deaths: list[MortalityRecord]
    locations: list[FarmLocation]
    equipment: list[Infrastructure]
    documents: list[FarmDocument]
    batches: list[Batch]


def make(residents: list[User]) -> Farming:
    """A farm at each place, of one of these people."""
    found = Farming(*([] for _ in Farming.__dataclass_fields__))
    farmers = [user for user in residents if user.role == Role.FARMER]
    officers = [user for user in residents if user.role == Role.EXTENSION_OFFICER]
    found.batches.extend(BatchFactory.create(status=status) for status in ("draft", "live", "closed", "archived"))
    for code, farmer, officer in zip((OWN, NEAR, FAR), farmers, officers, strict=True):
        add_farm(found, code, user=farmer, extension_officer=officer)
    return found


def give(found: Farming, actor: User) -> None:
    """Whoever is bound to farms by name has one."""
    if actor.role == Role.FARMER:
        add_farm(found, OWN, user=actor)
    if actor.role == Role.EXTENSION_OFFICER:
        add_farm(found, OWN, extension_officer=actor)
    if actor.role == Role.YEA_OFFICIAL:
        FarmAssignment.objects.create(farm=add_farm(found, OWN), officer=actor)


def add_farm(found: Farming, code: str, **about: Any) -> Farm:
    now, place = clock.now(), Constituency.objects.select_related("region", "district").get(code=code)
    farm = a_farm(place=place, **about)
    found.farms.append(farm)
    found.locations.append(
        FarmLocation.objects.create(
            farm=farm, region=place.region, constituency=place, latitude="6.7", longitude="-1.6"
        )
    )
    found.equipment.append(Infrastructure.objects.create(farm=farm, infrastructure_type="storage"))
    found.documents.append(a_document(farm=farm))
    for level in ReviewLevel if code == OWN else [ReviewLevel.CONSTITUENCY]:
        due = {"level": level, "entered_at": now, "due_at": now + timedelta(days=7)}
        application = FarmApplicationFactory.create(constituency=place, status=rules.APPLICATION_AT[level])
        enrollment = BatchEnrollmentFactory.create(
            farm=farm,
            batch=BatchFactory.create(),
            status=rules.ENROLLMENT_AT[level],
            enrollment_number=f"PROG-2026-{len(found.enrollments):05}",
            submitted_at=now,
        )
        found.applications.append(application)
        found.documents.append(a_document(application=application))
        found.enrollments.append(enrollment)
        found.reviews.append(ReviewItem.objects.create(application=application, **due))
        found.reviews.append(ReviewItem.objects.create(enrollment=enrollment, **due))
    yesterday = today() - timedelta(days=1)
    flock = FlockFactory.create(farm=farm, initial_count=500, current_count=450)
    day = DailyProductionFactory.create(flock=flock, birds_died=50, production_date=yesterday)
    found.flocks.append(flock)
    found.days.append(day)
    found.alerts.append(
        Alert.objects.create(
            farm=farm, flock=flock, kind="mortality_daily", day=yesterday, value=10, threshold=5, severity="warning"
        )
    )
    inspect_by = now + timedelta(days=2)
    found.deaths.append(MortalityRecord.objects.create(production=day, number_of_birds=50, inspect_by=inspect_by))
    return farm


def a_document(**of: Any) -> FarmDocument:
    document = FarmDocument(kind="ghana_card", **of)
    document.file.save(".jpg", ContentFile(JPEG))
    return document


def ids(found: Farming) -> dict[str, list[str]]:
    """What addresses may name, by the name of the id."""
    rows: dict[str, list[Any]] = {
        "application_id": found.applications,
        "review_id": found.reviews,
        "farm_id": found.farms,
        "location_id": found.locations,
        "infrastructure_id": found.equipment,
        "document_id": found.documents,
        "batch_id": found.batches,
        "enrollment_id": found.enrollments,
        "flock_id": found.flocks,
        "production_id": found.days,
        "alert_id": found.alerts,
        "record_id": found.deaths,
    }
    return {name: [str(row.pk) for row in them] for name, them in rows.items()}


def farmers_of(found: Farming, actor: User) -> set[str]:
    """Whoever looks after a farm by name sees its farmer."""
    looks_after = actor.role in (Role.EXTENSION_OFFICER, Role.YEA_OFFICIAL)
    return {str(farm.user_id) for farm in found.farms if looks_after and sees_farm(actor, farm)}


def seen(found: Farming, actor: User) -> dict[str, set[str]]:
    """What of it each list shows to this person."""
    farms = {farm.pk for farm in found.farms if sees_farm(actor, farm)}
    read = {farm.pk for farm in found.farms if people.may(actor, Action.READ_FARM_REPORT, selectors.subject(farm))}
    around = [one for one in found.enrollments if people.may(actor, Action.SEE_APPLICATIONS, one.farm.place)]
    return {
        "farms/": {str(pk) for pk in farms},
        "alerts/": {str(alert.pk) for alert in found.alerts if alert.farm_id in read},
        "mortality-records/": {str(one.pk) for one in found.deaths if one.production.flock.farm_id in read},
        "applications/": {
            str(one.pk)
            for one in [*found.applications, *(farm.application for farm in found.farms)]
            if people.may(actor, Action.SEE_APPLICATIONS, one.place)
        },
        "enrollments/": {str(one.pk) for one in found.enrollments if one in around or one.farm.user == actor},
    }


# --- cases ----------------------------------------------------------------------------------------------------------


def sees_farm(actor: User | None, farm: Farm) -> bool:
    return actor is not None and people.may(actor, Action.SEE_FARM, selectors.subject(farm))


def of_farm(
    actor: User | None, farm: Farm, ids: dict[str, str], body: Any = None, may: bool | None = None, **more: Any
) -> Case:
    """Something of a farm."""
    about = selectors.subject(farm)
    return Case(about, ids, {} if body is None else body, sees=sees_farm(actor, farm), may=may, **more)


def farm_cases(found: Farming, actor: User | None, body: Any = None, **more: Any) -> list[Case]:
    return [of_farm(actor, farm, {"farm_id": str(farm.pk)}, body, **more) for farm in found.farms]


def equipment_cases(found: Farming, actor: User | None) -> list[Case]:
    return [
        of_farm(
            actor,
            row.farm,
            {"farm_id": str(row.farm_id), "infrastructure_id": str(row.pk)},
            {"infrastructure_type": "storage"},
        )
        for row in found.equipment
    ]


def document_cases(found: Farming, actor: User | None) -> list[Case]:
    return [
        of_farm(actor, row.farm, {"farm_id": str(row.farm_id), "document_id": str(row.pk)})
        for row in found.documents
        if row.farm
    ]


def paper_cases(found: Farming, actor: User | None) -> list[Case]:
    """Documents of applications."""
    return [
        Case(row.application.place, {"application_id": str(row.application_id), "document_id": str(row.pk)})
        for row in found.documents
        if row.application
    ]


def official_cases(found: Farming, actor: User | None, *, in_address: bool) -> list[Case]:
    official = UserFactory.create(role=Role.YEA_OFFICIAL, constituency=Constituency.objects.get(code=OWN))
    cases = farm_cases(found, actor, {} if in_address else {"officer": str(official.pk)})
    for case in cases:
        case.ids["officer_id"] = str(official.pk)
    return cases


def location_cases(found: Farming, actor: User | None, body: Any = None) -> list[Case]:
    return [of_farm(actor, row.farm, {"location_id": str(row.pk)}, body) for row in found.locations]


def gps_cases(found: Farming, actor: User | None) -> list[Case]:
    """Whoever keeps the farm, but for the farmer."""
    return [
        of_farm(
            actor,
            row.farm,
            {"location_id": str(row.pk)},
            may=actor is not None
            and actor != row.farm.user
            and people.may(actor, Action.KEEP_FARM, selectors.subject(row.farm)),
        )
        for row in found.locations
    ]


def flock_cases(found: Farming, actor: User | None, body: Any = None) -> list[Case]:
    return [of_farm(actor, flock.farm, {"flock_id": str(flock.pk)}, body) for flock in found.flocks]


def day_cases(found: Farming, actor: User | None, body: Any = None) -> list[Case]:
    return [of_farm(actor, day.flock.farm, {"production_id": str(day.pk)}, body) for day in found.days]


def alert_cases(found: Farming, actor: User | None) -> list[Case]:
    return [of_farm(actor, alert.farm, {"alert_id": str(alert.pk)}) for alert in found.alerts]


def told_cases(found: Farming, actor: User | None) -> list[Case]:
    """Those who were told of it; to the others it is not there."""
    cases = []
    for alert in found.alerts:
        told = actor is not None and actor.pk in {one.user_id for one in selectors.told_of_alert(alert)}
        cases.append(Case(ids={"alert_id": str(alert.pk)}, may=told))
    return cases


def death_cases(found: Farming, actor: User | None) -> list[Case]:
    return [of_farm(actor, record.production.flock.farm, {"record_id": str(record.pk)}) for record in found.deaths]


def at_place(
    actor: User | None, place: Place, action: Action | None = None, *, or_sees: bool = False
) -> dict[str, Any]:
    """What is expected at a place: of who may do the action there, and of who sees applications there."""
    if actor is None:
        return {"about": place}
    sees = people.may(actor, Action.SEE_APPLICATIONS, place)
    return {"about": place, "sees": sees, "may": None if action is None else people.may(actor, action, place)}


def application_cases(
    found: Farming, actor: User | None, body: Any = None, *, decides: bool = False, **more: Any
) -> list[Case]:
    """`decides`: what the level at which it stands decides."""
    cases = []
    for one in found.applications:
        level = rules.level_of(one.status)
        action = selectors.DECIDES[level] if decides and level else None
        about = at_place(actor, one.place, action)
        cases.append(Case(ids={"application_id": str(one.pk)}, body={} if body is None else body, **about, **more))
    return cases


def approved_cases(found: Farming, actor: User | None) -> list[Case]:
    """Of the programme, approved: those who approve at the nation may invite again."""
    cases = []
    for one in found.applications:
        about = at_place(actor, one.place, Action.DECIDE_AT_NATION)
        cases.append(Case(ids={"application_id": str(one.pk)}, **about))
    return cases


def said(number: int, code: str) -> dict[str, Any]:
    return {
        "application_type": "government_program",
        "full_name": "Efua Sarpong",
        "date_of_birth": "1999-05-06",
        "primary_phone": f"02076{number:05}",
        "ghana_card_number": f"GHA-8{number:08}-1",
        "constituency": code,
        "farm_name": f"Sarpong Farms {number}",
        "number_of_poultry_houses": 1,
        "total_bird_capacity": 500,
        "primary_production_type": "layers",
    }


def new_applications(_found: Farming, _actor: User | None) -> list[Case]:
    places = [Constituency.objects.get(code=code) for code in (OWN, NEAR, FAR)]
    return [
        Case(Place(place.region_id, place.pk), body=said(number, place.code)) for number, place in enumerate(places)
    ]


def sent_along(found: Farming, _actor: User | None) -> list[Case]:
    """By whoever has the token of the application."""
    tokens = [links.upload_token(one.pk, now=clock.now()) for one in found.applications]
    return [Case(body=JPEG, content_type="image/jpeg", token=token) for token in tokens]


def resubmitted(found: Farming, actor: User | None) -> list[Case]:
    cases = application_cases(found, actor)
    for case, one in zip(cases, found.applications, strict=True):
        words = said(0, one.constituency.code)
        case.body.update(words, primary_phone=one.primary_phone, ghana_card_number=one.ghana_card_number)
    return cases


def review_cases(found: Farming, actor: User | None, body: Any = None, *, notes: bool = False) -> list[Case]:
    cases = []
    for item in found.reviews:
        level, place = ReviewLevel(item.level), selectors.place_of(item)
        about = at_place(actor, place, selectors.DECIDES[level])
        if notes and actor is not None and level == ReviewLevel.CONSTITUENCY:
            about["may"] |= people.may(actor, Action.NOTE_AT_CONSTITUENCY, place)
        cases.append(Case(ids={"review_id": str(item.pk)}, body={} if body is None else body, **about))
    return cases


def enrollment_cases(
    found: Farming,
    actor: User | None,
    body: Any = None,
    *,
    decides: bool = False,
    owns: bool = False,
    marks: bool = False,
    reads: Action | None = None,
) -> list[Case]:
    """An enrolment of each farm and level, and those of the farm of who asks."""
    cases = []
    for one in found.enrollments:
        place, own = one.farm.place, one.farm.user == actor
        level = rules.level_of(one.status)
        sees = actor is not None and selectors.enrollments_in_scope(actor).filter(pk=one.pk).exists()
        may: bool | None = sees
        if actor is not None and decides and level:
            may = people.may(actor, selectors.DECIDES[level], place)
        if owns:
            may, sees = own, False
        if marks:
            may = None
        if actor is not None and reads:
            may = people.may(actor, reads, place)
        ids = {"enrollment_id": str(one.pk)}
        cases.append(Case(place, ids, {} if body is None else body, sees=sees, may=may))
    return cases


def new_enrollments(found: Farming, actor: User | None) -> list[Case]:
    batch = BatchFactory.create()
    return [
        Case(farm.user, body={"farm": str(farm.pk), "batch": str(batch.pk)}, may=farm.user == actor)
        for farm in found.farms
    ]


PLAN = {
    "batch_name": "Layers 2027",
    "batch_code": "LAY-2027-1",
    "start_date": "2027-01-01",
    "end_date": "2027-12-31",
    "application_deadline": "2027-03-01",
    "total_slots": 10,
}


def new_batches(_found: Farming, actor: User | None) -> list[Case]:
    return [Case(body=PLAN, sees=True, may=actor is not None and people.may(actor, Action.MANAGE_BATCHES))]


def batch_cases(found: Farming, actor: User | None, body: Any = None) -> list[Case]:
    cases = []
    for batch in found.batches:
        sees = actor is not None and selectors.batches_in_scope(actor).filter(pk=batch.pk).exists()
        cases.append(Case(ids={"batch_id": str(batch.pk)}, body={} if body is None else body, sees=sees, may=sees))
    return cases


def managed_batches(found: Farming, actor: User | None, body: Any = None) -> list[Case]:
    """Whoever manages batches manages all of them; to the others it is said at once that they do not."""
    may = actor is not None and people.may(actor, Action.MANAGE_BATCHES)
    ids = [{"batch_id": str(batch.pk)} for batch in found.batches]
    return [Case(ids=one, body={} if body is None else body, sees=True, may=may) for one in ids]


def uploads(found: Farming, _actor: User | None) -> list[Case]:
    rows = [{"flock": str(flock.pk), "production_date": str(today())} for flock in found.flocks]
    return [Case(body=rows)]


WHERE = {"constituency": OWN, "community": "Abrepo"}
NEW_FLOCK = {"flock_type": "layers", "arrival_date": "2026-11-01", "initial_count": 10}

CASES: dict[tuple[str, str], Callable[[Farming, User | None], list[Case]]] = {
    ("post", "applications/verify-phone/"): lambda _, __: [Case(body={"primary_phone": "0207600000"})],
    ("post", "applications/apply/"): lambda _, __: [Case(body=said(0, OWN))],
    ("post", "applications/apply/documents/"): sent_along,
    ("post", "applications/"): new_applications,
    **{
        ("get", f"applications/<uuid:application_id>/{page}"): application_cases
        for page in ("", "reviews/", "documents/")
    },
    **{
        ("post", f"applications/<uuid:application_id>/{act}/"): lambda w, a: application_cases(
            w, a, {"reason": "it was asked for"}, decides=True
        )
        for act in ("forward", "approve", "request-changes", "reject")
    },
    ("post", "applications/<uuid:application_id>/invite-again/"): approved_cases,
    ("post", "applications/<uuid:application_id>/resubmit/"): resubmitted,
    ("post", "applications/<uuid:application_id>/documents/"): lambda w, a: application_cases(
        w, a, JPEG, content_type="image/jpeg"
    ),
    **{("post", f"reviews/<uuid:review_id>/{act}/"): review_cases for act in ("claim", "start", "release")},
    ("post", "reviews/<uuid:review_id>/notes/"): lambda w, a: review_cases(w, a, {"text": "Seen."}, notes=True),
    **{
        ("get", f"farms/<uuid:farm_id>/{page}"): farm_cases
        for page in (
            *("", "assignments/", "locations/", "infrastructure/", "biosecurity/", "documents/", "scores/"),
            *("flocks/", "production/", "figures/"),
        )
    },
    ("patch", "farms/<uuid:farm_id>/"): lambda w, a: farm_cases(w, a, {"number_of_poultry_houses": 7}),
    **{
        ("post", f"farms/<uuid:farm_id>/{act}/"): lambda w, a: farm_cases(w, a, {"reason": "it was asked for"})
        for act in ("activate", "deactivate", "suspend", "reinstate")
    },
    ("post", "farms/<uuid:farm_id>/extension-officer/"): lambda w, a: farm_cases(w, a, {"officer": None}),
    ("post", "farms/<uuid:farm_id>/assignments/"): lambda w, a: official_cases(w, a, in_address=False),
    ("delete", "farms/<uuid:farm_id>/assignments/<uuid:officer_id>/"): lambda w, a: official_cases(
        w, a, in_address=True
    ),
    ("post", "farms/<uuid:farm_id>/locations/"): lambda w, a: farm_cases(w, a, WHERE),
    ("put", "locations/<uuid:location_id>/"): lambda w, a: location_cases(w, a, WHERE),
    ("delete", "locations/<uuid:location_id>/"): location_cases,
    ("post", "locations/<uuid:location_id>/make-primary/"): location_cases,
    ("post", "locations/<uuid:location_id>/verify-gps/"): gps_cases,
    ("post", "farms/<uuid:farm_id>/infrastructure/"): lambda w, a: farm_cases(w, a, {"infrastructure_type": "storage"}),
    ("put", "farms/<uuid:farm_id>/infrastructure/<uuid:infrastructure_id>/"): equipment_cases,
    ("patch", "farms/<uuid:farm_id>/biosecurity/"): lambda w, a: farm_cases(w, a, {"footbath": True}),
    ("post", "farms/<uuid:farm_id>/documents/"): lambda w, a: farm_cases(w, a, JPEG, content_type="image/jpeg"),
    ("get", "farms/<uuid:farm_id>/documents/<uuid:document_id>/"): document_cases,
    ("get", "applications/<uuid:application_id>/documents/<uuid:document_id>/"): paper_cases,
    ("post", "farms/<uuid:farm_id>/flocks/"): lambda w, a: farm_cases(w, a, NEW_FLOCK),
    ("get", "flocks/<uuid:flock_id>/"): flock_cases,
    ("get", "flocks/<uuid:flock_id>/production/"): flock_cases,
    ("post", "flocks/<uuid:flock_id>/production/"): lambda w, a: flock_cases(w, a, {"production_date": str(today())}),
    ("post", "flocks/<uuid:flock_id>/end/"): lambda w, a: flock_cases(w, a, {"how": "sold", "on": str(today())}),
    ("get", "production/<uuid:production_id>/"): day_cases,
    ("post", "production/<uuid:production_id>/correct/"): lambda w, a: day_cases(
        w, a, {"birds_died": 3, "reason": "counted again"}
    ),
    ("post", "production/upload/"): uploads,
    ("post", "batches/"): new_batches,
    ("get", "batches/<uuid:batch_id>/"): batch_cases,
    ("put", "batches/<uuid:batch_id>/"): lambda w, a: managed_batches(w, a, PLAN),
    **{
        ("post", f"batches/<uuid:batch_id>/{act}/"): managed_batches
        for act in ("publish", "pause", "resume", "close", "archive")
    },
    ("post", "enrollments/"): new_enrollments,
    ("get", "enrollments/<uuid:enrollment_id>/"): enrollment_cases,
    ("get", "enrollments/<uuid:enrollment_id>/reviews/"): lambda w, a: enrollment_cases(
        w, a, reads=Action.SEE_APPLICATIONS
    ),
    **{
        ("post", f"enrollments/<uuid:enrollment_id>/{act}/"): lambda w, a: enrollment_cases(w, a, owns=True)
        for act in ("submit", "withdraw", "resubmit")
    },
    **{
        ("post", f"enrollments/<uuid:enrollment_id>/{act}/"): lambda w, a: enrollment_cases(
            w, a, {"reason": "it was asked for"}, decides=True
        )
        for act in ("forward", "approve", "request-changes", "reject")
    },
    ("post", "enrollments/<uuid:enrollment_id>/mark-enrolled/"): lambda w, a: enrollment_cases(w, a, marks=True),
    ("post", "alerts/<uuid:alert_id>/acknowledge/"): told_cases,
    ("post", "alerts/<uuid:alert_id>/close/"): alert_cases,
    ("post", "mortality-records/<uuid:record_id>/inspect/"): death_cases,
}
