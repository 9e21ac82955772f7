"""Beat's end."""

from __future__ import annotations

from typing import Any, NoReturn

from celery import platforms
from celery.apps import beat


class Beat(beat.Beat):
    def install_sync_handler(self, service: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Celery's handler asks the database from within the signal. When that came in the middle of a query, it waits
        for the connection's lock for ever. The service writes its state at its end anyway.
        """

        def leave(*_: Any) -> NoReturn:
            raise SystemExit

        platforms.signals.update(SIGTERM=leave, SIGINT=leave)
