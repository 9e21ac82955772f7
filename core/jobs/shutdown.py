"""A worker that is told to stop is gone within seconds: short tasks finish, long ones wait in line again at once.

Celery's own warm shutdown waits for running tasks without limit and has hung (docs/adr/0008). Here it has
`worker_soft_shutdown_timeout` seconds. Then the processes of the pool are ended, and when they are dead, what they were
working on is handed back with no try used up. A pool without processes (threads, solo) ends with the worker, and its
runs are taken over when their leases are over.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from types import FrameType
from typing import Any

import structlog
from celery import bootsteps, current_app, signals
from celery.worker import state
from django.db import DatabaseError, InterfaceError, connection

log = structlog.get_logger(__name__)

END_CHILD = signal.SIGQUIT  # what the worker's main process sends to end a busy process of its pool
UNWIND_SECONDS = 1.0  # for a process that is ended to roll back and hang up
LOOK_SECONDS = 1.0  # between two looks for processes that have died
LAST_SECONDS = 4.0  # for all that follows the tasks' time


class StopStep(bootsteps.StartStopStep):
    """Counts the seconds from the signal on, whatever the worker's main thread is doing."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self.asked: SimpleQueue[None] = SimpleQueue()  # may be put into by a signal handler, unlike an Event
        self.over = threading.Event()
        self.patience = float(parent.app.conf.worker_soft_shutdown_timeout)
        self.thread = threading.Thread(target=self.run, args=(parent,), name="stop", daemon=True)

    def start(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        signals.worker_shutting_down.connect(self.ask, weak=False)
        signals.worker_shutdown.connect(self.leave, weak=False)
        self.thread.start()

    def register_with_event_loop(self, parent: Any, hub: Any) -> None:
        """Celery looks every 5 s for processes that have died, and at once, but then often a moment too early."""
        hub.call_repeatedly(LOOK_SECONDS, parent.pool.maintain_pool)

    def ask(self, *_: Any, **__: Any) -> None:
        self.asked.put(None)

    close = ask

    def leave(self, sender: Any, **_: Any) -> None:
        """The worker's last act. Python's own winding up has hung in 2 of about 60 stops, in C code, with all done."""
        self.over.wait(LAST_SECONDS)
        if threading.current_thread() is threading.main_thread():  # not where a worker is part of something else
            _end_after(LAST_SECONDS)
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(sender.exitcode or 0)

    def terminate(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """A cold shutdown: the tasks have no time left."""
        self.patience = 0
        self.over.wait(LAST_SECONDS)

    def run(self, worker: Any) -> None:
        self.asked.get()
        _end_after(self.patience + LAST_SECONDS)
        try:
            if not self.drained(worker):
                self.cut_off(worker)
        finally:
            self.over.set()

    def drained(self, worker: Any) -> bool:
        """Whether all processes of the pool have ended by themselves in their time."""
        began = time.monotonic()
        while time.monotonic() - began < self.patience:
            if not _children(worker):
                return True
            time.sleep(0.1)
        return not _children(worker)

    def cut_off(self, worker: Any) -> None:
        children = _children(worker)
        held = _held()
        log.warning("tasks_cut_off", processes=len(children))
        for number in (END_CHILD, signal.SIGKILL):
            for pid in children:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            if _wait_until(lambda: not any(_lives(pid) for pid in children), UNWIND_SECONDS):
                break
        else:
            log.error("processes_not_ended", processes=[pid for pid in children if _lives(pid)])
            return  # their leases go on until they end
        hand_back(held, worker.hostname)


def _end_after(seconds: float) -> None:
    """End this process with the stacks of its threads in the log, whatever it hangs on, unless told again."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=2)


def hand_back(task_ids: Sequence[str], worker: str) -> None:
    """Put these runs of a worker back in line. Its processes must be dead: no run may run beside itself."""
    from core.jobs import bell, runs

    try:
        rung = runs.hand_back_of(worker, [uuid.UUID(task_id) for task_id in task_ids])
    except (DatabaseError, InterfaceError) as error:
        log.warning("not_handed_back", error=type(error).__name__)  # their leases are soon over
        return
    finally:
        connection.close()
    if rung:
        log.info("handed_back", runs=[str(one.id) for one in rung], heard=bell.ring(rung))


def _held() -> list[str]:
    """What this worker has taken and not ended. Not from `state.requests`: a doubled message that was refused takes its
    id out there, although the run is still being worked on.
    """
    while True:
        with suppress(RuntimeError):  # the main thread has changed it in the meantime
            return [request.id for request in state.reserved_requests]


def _children(worker: Any) -> list[int]:
    """The living processes of the pool; none when it has no processes."""
    try:
        pids = worker.pool.info["processes"]
    except (AttributeError, KeyError):  # it is over, or a pool of threads
        return []
    return [pid for pid in pids if _lives(pid)]


def _lives(pid: int) -> bool:
    """Whether a child process lives, without taking its end from the main thread, which waits for it."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:  # already taken, or this very process (the pool "solo")
        return False


def _wait_until(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


# --- In the processes of the pool ----------------------------------------------------------------------------------


@signals.worker_process_init.connect
def _at_the_first_task(**_: Any) -> None:
    signals.task_prerun.connect(finish_first)  # billiard sets its own handlers later than this


def finish_first(**_: Any) -> None:
    """A busy process is ended by its worker (END_CHILD), not by SIGTERM: systemd sends that to all of them at once."""
    signals.task_prerun.disconnect(finish_first)
    leave: Any = signal.getsignal(signal.SIGTERM)

    def unless_busy(number: int, frame: FrameType | None) -> None:
        if current_app.current_worker_task is None:
            leave(number, frame)

    signal.signal(signal.SIGTERM, unless_busy)
