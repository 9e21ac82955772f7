"""What apps register with core has a name that is given once."""

from __future__ import annotations

import pytest

from core.base import registries


def test_a_name_is_given_once() -> None:
    registry: registries.Registry[int] = registries.Registry()
    registry.register("a", 1)
    with pytest.raises(ValueError, match="registered already"):
        registry.register("a", 2)
    assert registry == {"a": 1}


def test_what_stands_in_the_registries_today() -> None:
    assert {"platform"} <= set(registries.audiences)
    assert {"system_error", "health_change", "process_silent", "occurrences_missed"} <= set(registries.notice_types)
    assert {"queues", "messages", "users"} <= set(registries.system_figures)


def test_every_notice_type_has_an_audience_that_exists() -> None:
    audiences = [kind.audience for kind in registries.notice_types.values()]
    assert {name for name in audiences if isinstance(name, str)} <= set(registries.audiences)
