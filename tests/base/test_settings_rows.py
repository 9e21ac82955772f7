"""Figures that an administrator may change: defaults, ranges, the record of the change."""

from __future__ import annotations

from datetime import time
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from core.base import figures, services
from core.base.models import AuditLog, Setting
from core.errors import InvalidInput
from tests.delivery.outbox import meanwhile
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def change(key: str, value: object, **about: Any) -> bool:
    return services.change_setting(key, value, **({"actor_name": "ama"} | about))


def test_without_a_row_the_defaults_of_the_specification_hold() -> None:
    found = {key: figure.show(figure.default) for key, figure in figures.FIGURES.items()}
    of_the_specification = {
        "messages.window_start": "07:00",
        "messages.window_end": "20:00",
        "messages.bulk_window_start": "08:00",
        "messages.bulk_window_end": "19:00",
        "retention.notification_days": 90,
        "health.queue_depth": 1000,
        "health.worker_silence_min": 5,
        "health.beat_silence_min": 10,
        "health.disk_free_pct": 10,
        "health.sms_balance_ghs": "50.00",
        "push.mortality_daily_pct": 5,
        "push.mortality_daily_critical_pct": 10,
        "push.mortality_weekly_pct": 10,
        "review.sla_days_constituency": 7,
        "review.sla_days_regional": 5,
        "review.sla_days_national": 3,
        "review.sla_notice_days": 2,
        "review.stale_days": 7,
        "review.changes_days": 14,
        "reminder.enrollment_days": [7, 3, 1],
    }
    assert of_the_specification.items() <= found.items()
    assert figures.read(*figures.FIGURES.values()) == [figure.default for figure in figures.FIGURES.values()]


def test_many_figures_cost_one_query() -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        figures.read(*figures.FIGURES.values())
    assert len(queries) == 1


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("health.queue_depth", 500, 500),
        ("retention.notification_days", 30, 30),
        ("health.sms_balance_ghs", "75.50", Decimal("75.50")),
        ("health.sms_balance_ghs", 75.5, Decimal("75.50")),
        ("messages.window_end", "21:30", time(21, 30)),
        ("sms.ghs_per_part", "0.0275", Decimal("0.0275")),
        ("sms.ghs_per_part", 0.04, Decimal("0.0400")),
        ("reminder.enrollment_days", [1, 14, 5], (14, 5, 1)),
    ],
)
def test_a_change_is_in_force_and_on_record(key: str, value: object, read: object) -> None:
    user = UserFactory.create(role="SUPER_ADMIN")
    assert change(key, value, actor_id=user.pk, actor_name="", reason="agreed on Monday")
    assert figures.read(figures.FIGURES[key]) == [read]
    assert Setting.objects.get().updated_by == user
    row = AuditLog.objects.get()
    figure = figures.FIGURES[key]
    assert (row.action, row.subject_id, row.reason) == ("setting.change", key, "agreed on Monday")
    assert (row.before, row.after) == (figure.show(figure.default), figure.show(read))
    assert figures.FIGURES[key].parse(row.after) == read


def test_a_change_to_what_holds_already_writes_nothing() -> None:
    assert not change("health.queue_depth", 1000)
    assert change("health.queue_depth", 7)
    assert not change("health.queue_depth", 7)
    assert AuditLog.objects.count() == 1


BAD: list[tuple[str, Any]] = [
    ("health.queue_depth", 0),
    ("health.queue_depth", -1),
    ("health.queue_depth", 1.5),
    ("health.queue_depth", "1000"),
    ("health.queue_depth", True),
    ("health.queue_depth", None),
    ("health.queue_depth", [1]),
    ("health.disk_free_pct", 100),
    ("retention.notification_days", 29),
    ("health.sms_balance_ghs", "-1"),
    ("health.sms_balance_ghs", "1.005"),
    ("health.sms_balance_ghs", "NaN"),
    ("health.sms_balance_ghs", "Infinity"),
    ("health.sms_balance_ghs", "plenty"),
    ("messages.window_start", "7"),
    ("messages.window_start", "25:00"),
    ("messages.window_start", "07:00+02:00"),
    ("messages.window_start", 7),
    ("reminder.enrollment_days", []),
    ("reminder.enrollment_days", [0]),
    ("reminder.enrollment_days", [61]),
    ("reminder.enrollment_days", [7, 7]),
    ("reminder.enrollment_days", [True]),
    ("reminder.enrollment_days", [1.5]),
    ("reminder.enrollment_days", list(range(1, 12))),
    ("reminder.enrollment_days", "7"),
]


@pytest.mark.parametrize(("key", "value"), BAD)
def test_a_value_out_of_its_form_or_range_is_refused_with_the_range(key: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=f"{key} must be .* from .* to "):
        change(key, value)
    assert not Setting.objects.exists()
    assert not AuditLog.objects.exists()


@pytest.mark.parametrize(("key", "value"), [bad for bad in BAD if bad[1] is not None])
def test_a_bad_row_that_stands_there_all_the_same_is_told_when_it_is_read(key: str, value: Any) -> None:
    Setting.objects.create(key=key, value=value)
    with pytest.raises(InvalidInput, match=key):
        figures.read(figures.FIGURES[key])


def test_an_unknown_key_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match=r"health\.queue_depth"):
        change("health.queue_length", 1)


def test_a_window_that_never_opens_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"must lie before messages\.window_end"):
        change("messages.window_start", "20:00")
    assert change("messages.window_end", "22:00")
    assert change("messages.window_start", "20:00")
    with pytest.raises(InvalidInput, match="must lie before"):
        change("messages.window_end", "20:00")


@pytest.mark.django_db(transaction=True)
def test_two_changes_at_once_that_are_good_alone_do_not_close_the_window() -> None:
    refused: list[str] = []

    def attempt(key: str, value: str) -> None:
        try:
            change(key, value)
        except InvalidInput:
            refused.append(key)

    with meanwhile(lambda: attempt("messages.window_start", "15:00"), lambda: attempt("messages.window_end", "14:00")):
        pass
    assert len(refused) == 1
    start, end = figures.times_of_day(figures.WINDOW_START, figures.WINDOW_END)
    assert start < end
