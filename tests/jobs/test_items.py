"""An item that fails stops neither the others nor hides (domain.md C5)."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from celery.exceptions import Ignore, SoftTimeLimitExceeded
from django.db import connection

from core.base.models import Setting
from core.jobs.failures import ClaimLostError, RunCancelled
from core.jobs.items import Items, SomeFailed

pytestmark = pytest.mark.django_db


def work(items: Items, name: str, error: BaseException | None = None) -> None:
    with items.contained(name):
        Setting.objects.create(key=name, value=1)
        if error:
            raise error


def test_the_others_are_done_and_the_run_says_what_failed() -> None:
    items = Items()
    with structlog.testing.capture_logs() as logs:
        for name, error in (("a", None), ("b", ZeroDivisionError("call +233244123456")), ("c", None)):
            work(items, name, error)
    assert set(Setting.objects.values_list("key", flat=True)) == {"a", "c"}
    with pytest.raises(SomeFailed, match=r"1 of 3 parts failed, first b\. .*Done: sent 2\."):
        items.end({"sent": 2})
    [line] = logs
    assert line == {**line, "event": "item_failed", "item": "b", "error": "ZeroDivisionError", "log_level": "error"}
    assert "244123" not in str(line), "no personal data"


def test_an_error_of_the_database_is_contained_too() -> None:
    items = Items()
    work(items, "a")
    work(items, "a")  # there is one already
    work(items, "b")
    assert (items.done, items.failed) == (2, ["a"])


@pytest.mark.parametrize("error", [SoftTimeLimitExceeded(), ClaimLostError(), Ignore(), RunCancelled()])
def test_what_ends_the_run_is_not_contained(error: BaseException) -> None:
    items = Items()
    with pytest.raises(type(error)):
        work(items, "a", error)
    assert items.failed == []
    assert not Setting.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_after_a_lost_connection_the_next_item_has_a_new_one() -> None:
    items = Items()
    with items.contained("a"):
        cut: Any = connection.connection
        cut.close()
        Setting.objects.create(key="a", value=1)
    work(items, "b")
    assert items.failed == ["a"]
    assert Setting.objects.get().key == "b"


def test_nothing_failed_is_no_error() -> None:
    items = Items()
    work(items, "a")
    items.end({})
