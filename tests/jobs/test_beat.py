"""Beat's end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app


@pytest.fixture(autouse=True)
def our_handlers_come_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_beat_without_asking_the_database_in_the_middle_of_a_query(number: signal.Signals) -> None:
    class Service:
        def __getattr__(self, name: str) -> Any:
            pytest.fail(f"{name} was asked for within the signal")

    app: Any = current_app
    beat = app.Beat()
    beat.install_sync_handler(Service())
    with pytest.raises(SystemExit):
        signal.raise_signal(number)
