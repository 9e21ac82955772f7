"""Short ways through the services, for tests that look at what comes after."""

from __future__ import annotations

from datetime import date, datetime
from itertools import count
from typing import Any

from accounts.models import Constituency, User
from core import clock
from core.jobs.models import TaskRun
from farms.models import ApplicationEvent, BatchEnrollment, EnrollmentEvent, FarmApplication
from farms.services import applications, enrollments
from farms.services.applications import Details

PASSWORD = "a-password-of-a-test"
_numbers = count(1)


def details(**changes: Any) -> Details:
    """What an applicant of Bantama says; everybody has a phone and a Ghana Card of their own."""
    number = next(_numbers)
    said: dict[str, Any] = {
        "full_name": "Ama Serwaa Darko",
        "date_of_birth": date(1998, 3, 14),
        "primary_phone": f"0207{number:06}",
        "ghana_card_number": f"GHA-7{number:08}-1",
        "constituency": changes.get("constituency") or Constituency.objects.select_related("region").get(code="BNT"),
        "farm_name": f"Darko Farms {number}",
        "number_of_poultry_houses": 2,
        "total_bird_capacity": 1_000,
        "primary_production_type": "layers",
    }
    return Details(**said | changes)


def apply(kind: str = "government_program", *, now: datetime | None = None, **about: Any) -> FarmApplication:
    words = {name: about.pop(name) for name in list(about) if name in Details.__dataclass_fields__}
    return applications.submit(kind=kind, details=details(**words), now=now or clock.now(), **about)


def steps(subject: FarmApplication | BatchEnrollment) -> list[str]:
    """The statuses it came to, in order."""
    events: Any = ApplicationEvent if isinstance(subject, FarmApplication) else EnrollmentEvent
    name = "application" if isinstance(subject, FarmApplication) else "enrollment"
    return list(events.objects.filter(**{name: subject}).order_by("at").values_list("to_status", flat=True))


def asked(task: str) -> list[list[Any]]:
    """The arguments of what was asked for by this task's name, in order."""
    rows = TaskRun.objects.filter(task__endswith=f".{task}").order_by("asked_at", "id")
    return list(rows.values_list("args", flat=True))


def approved(local: User, regional: User, national: User, **about: Any) -> FarmApplication:
    """An application of the programme that has passed all levels."""
    application = apply(**about)
    applications.forward(actor=local, application_id=application.pk, now=clock.now())
    applications.forward(actor=regional, application_id=application.pk, now=clock.now())
    return applications.approve(actor=national, application_id=application.pk, now=clock.now())


def at_the_nation(enrollment: BatchEnrollment, local: User, regional: User) -> BatchEnrollment:
    """The enrolment, submitted and forwarded to the last level."""
    enrollments.submit(actor=enrollment.farm.user, enrollment_id=enrollment.pk, now=clock.now())
    enrollments.forward(actor=local, enrollment_id=enrollment.pk, now=clock.now())
    return enrollments.forward(actor=regional, enrollment_id=enrollment.pk, now=clock.now())
