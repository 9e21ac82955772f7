"""The database of all tests."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pytest_django.plugin import DjangoDbBlocker

from core import clock


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """No entry of the schedule comes due while the tests go on: a sweep of theirs would ask for it."""
    from core.jobs.models import ScheduleEntry

    with django_db_blocker.unblock():
        ScheduleEntry.objects.update(next_at=clock.now() + timedelta(days=1))
