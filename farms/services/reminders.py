"""Reminding farmers of a batch that they may still apply to (domain.md 5.3, 5.4).

Who may is asked of PostgreSQL for many farms at once. `farms.rules.eligibility` says the same of one; a test compares
them.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime

from core.base import figures
from core.delivery import reminders
from core.delivery.reminders import Concerned
from core.delivery.rules import reminders_due
from core.jobs import progress
from core.jobs.items import Items
from farms import messages, selectors
from farms.models import Batch
from farms.services import batches
from farms.services.common import CHUNK, Part, parts

KIND = "enrollment"

# The age of people counts full years, also of who was born on 29 February; months end with a shorter month's last day.
ELIGIBLE = """
SELECT 'batch:' || batch.id || '/farm:' || farm.id AS subject, person.id AS user_id, person.phone, person.email,
    person.language, person.preferred_contact_method AS prefers
FROM farms_farm AS farm
JOIN farms_batch AS batch ON batch.id = %(batch)s
JOIN farms_farmapplication AS application ON application.id = farm.application_id
JOIN accounts_constituency AS place ON place.id = farm.constituency_id
JOIN accounts_user AS person ON person.id = farm.user_id
WHERE farm.id > %(after)s AND farm.id <= %(last)s AND farm.farm_status = 'active'
  AND extract(year FROM age(batch.application_deadline::timestamp, application.date_of_birth::timestamp))
      BETWEEN batch.min_age AND batch.max_age
  AND (batch.target_region_id IS NULL OR batch.target_region_id = place.region_id)
  AND (%(anywhere)s OR farm.constituency_id = ANY (%(constituencies)s::uuid[]))
  AND farm.total_bird_capacity >= COALESCE(batch.min_bird_capacity, 0)
  AND (batch.max_bird_capacity IS NULL OR farm.total_bird_capacity <= batch.max_bird_capacity)
  AND (batch.min_farm_age_months IS NULL
       OR (farm.created_at AT TIME ZONE 'Africa/Accra')::date + make_interval(months => batch.min_farm_age_months)
          <= batch.application_deadline)
  AND (batch.max_farm_age_years IS NULL
       OR (farm.created_at AT TIME ZONE 'Africa/Accra')::date + make_interval(years => batch.max_farm_age_years)
          >= batch.application_deadline)
  AND NOT EXISTS (SELECT FROM farms_batchenrollment AS other
                  WHERE other.farm_id = farm.id AND other.batch_id = batch.id AND other.status <> 'draft')
ORDER BY farm.id
"""


def remind_of_batches(*, now: datetime, today: date, size: int = CHUNK) -> dict[str, int]:
    """Close the batches whose deadline has passed, and remind the farmers who may still apply to one of the others.
    Counts `batches_closed`, `sent`, `covered` and `no_contact`.

    For each batch a part of the farms, at most `size`, in a short transaction at a time. Safe to repeat: by
    ReminderLog. Raises SomeFailed when a part has failed; the others are done then.
    """
    counts = Counter(batches_closed=batches.close_past(today=today, now=now), sent=0, covered=0, no_contact=0)
    [days] = figures.read(figures.ENROLLMENT_DAYS)
    items, seen = Items(), 0
    for batch in selectors.accepting(today=today).order_by("application_deadline", "pk"):
        if not reminders_due(batch.application_deadline, days, today):
            continue
        for part in parts(None, size):
            told: Counter[str] = Counter()
            with items.contained(f"batch {batch.pk}, farms after {part.after}"):
                told = _remind(batch.pk, part, days, today)
            counts.update(told)  # not before it is committed
            seen += part.farms
            progress.report(seen)
    items.end(counts)
    return {name: counts[name] for name in ("batches_closed", "sent", "covered", "no_contact")}


def _remind(batch_id: uuid.UUID, part: Part, days: Sequence[int], today: date) -> Counter[str]:
    """Remind the farmers of one part; nobody, when the batch takes no applications any more."""
    batch = selectors.accepting(today=today).filter(pk=batch_id).first()
    if batch is None:
        return Counter()
    deadline = batch.application_deadline
    return reminders.remind(
        messages.ENROLLMENT_REMINDER,
        eligible(batch, part),
        kind=KIND,
        deadline=deadline,
        days=days,
        today=today,
        values={
            "batch": batch.batch_name,
            "code": batch.batch_code,
            "deadline": f"{deadline:%a %-d %b %Y}",
            "left": reminders.left(deadline, today),
        },
        about=("batch", str(batch.pk)),
    )


def eligible(batch: Batch, part: Part) -> Concerned:
    """The farmers of the part whose farms are active, meet the hard rules of the batch and have no enrolment in it
    beyond a draft, in the order of their farms.
    """
    places = list(batch.eligible_constituencies.values_list("pk", flat=True))
    given = {"batch": batch.pk, "after": part.after, "last": part.last, "anywhere": not places}
    return Concerned(ELIGIBLE, given | {"constituencies": places})
