"""The pulse of beat: its sign of life, and its watch over the workers, in a thread of beat's own process."""

from __future__ import annotations

import atexit
import socket
import threading
import time
from typing import Any

import structlog
from django.db import connection

from core.delivery import dispatch, notices
from core.health import services
from core.health.notices import ALL_WORKERS
from core.health.rules import Kind
from core.jobs import sweeper

log = structlog.get_logger(__name__)

TICK_SECONDS = 60.0  # beat wakes every 5 s; one that has not looked at its schedule for so long hangs


def begin(sender: Any, **_: Any) -> None:
    """Celery's `beat_init`, in the process that fires the schedule, also that of `worker --beat`."""
    pulse = Pulse(sender)
    pulse.start()
    atexit.register(pulse.stop)


class Pulse(threading.Thread):
    def __init__(self, service: Any) -> None:
        super().__init__(name="pulse", daemon=True)
        self.service = service
        self.beat = f"beat@{socket.gethostname()}"
        self.over = threading.Event()
        self.watchman = services.Watchman()
        self.turns = [
            sweeper.Sweep("pulse", services.HEARTBEAT_SECONDS, self.give_sign),
            sweeper.Sweep("watch", services.WATCH_SECONDS, self.watch),
        ]

    def run(self) -> None:
        while not self.over.wait(0.5):
            sweeper.take_turns(self.turns, self.beat, time.monotonic())
        sweeper.contained("goodbye", services.say_goodbye, self.beat)
        connection.close()

    def stop(self) -> None:
        self.over.set()
        self.join(sweeper.GOODBYE_SECONDS)

    def give_sign(self, beat: str) -> None:
        ticked = self.service._last_tick  # by the monotonic clock; None before the first look at the schedule
        if ticked is not None and time.monotonic() - ticked < TICK_SECONDS:
            services.beat_for([beat], Kind.BEAT)

    def watch(self, _beat: str) -> None:
        """As workers do. When none is left to send what it has asked for, beat sends it itself: the same messages by
        their keys.
        """
        for context in self.watchman.watch():
            if context["name"] == ALL_WORKERS:
                told = notices.send("process_silent", context, otherwise_once_per="")
                for message_id in told.messages:
                    dispatch.deliver(message_id)
                log.warning("told_by_beat", messages=len(told.messages))
