"""The relay: what was asked for and not heard is rung again; what a lost worker held is given back; what the schedule
has due is fired, whether beat lives or not.

All are sweeps (core/jobs/sweeper.py), so a lost bell, an emptied Redis or a killed worker costs seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

import structlog
from celery import current_app
from redis import Redis

from core.jobs import bell, notices, occurrences, repairs, services
from core.jobs.leases import EVERY_SECONDS as LEASES_EVERY_SECONDS

log = structlog.get_logger(__name__)

EVERY_SECONDS = 1.0
UNKNOWN_EVERY_SECONDS = 60.0
GAP_SECONDS = 5.0  # between two sweeps; more means that something was away


def sweep(_worker: str = "") -> None:
    """Fire what is due, take back lost runs, end expired ones, then ring those that are due and unheard."""
    calm = _calm.sweep()
    lost, expired, due, waiting = repairs.look(list(current_app.amqp.queues))
    if due:
        occurrences.settle_due()
    if lost and calm:
        back, cancelled = repairs.recover_lost()
        for run_id, queue in back:
            log.warning("run_taken_back", task_id=str(run_id))
            waiting.append(queue)
        _tell(cancelled)
    if expired:
        _tell(repairs.expire())
    if not waiting:
        return
    lengths = queue_lengths(set(waiting))  # raises when Redis is away: nothing could be rung
    bell.listen_again()
    for queue in lengths:
        rung = repairs.unheard(queue, on_redis=lengths[queue])
        if rung:
            heard = bell.ring(rung)
            log.info("rung_again", queue=queue, runs=len(rung), heard=heard)


class _Calm:
    """Whether the sweeps have gone on without a gap for as long as a living worker needs to extend its leases.

    After PostgreSQL was away all leases are over, and those who hold them must have their chance first.
    """

    def __init__(self) -> None:
        self.since = self.last = float("-inf")

    def sweep(self) -> bool:
        now = time.monotonic()
        if now - self.last > GAP_SECONDS:
            self.since = now
        self.last = now
        return now - self.since >= LEASES_EVERY_SECONDS + 1


_calm = _Calm()


def _tell(ended: Iterable[repairs.Ended]) -> None:
    """Runs that ended outside of a worker: the chords that count them hear of it."""
    for run_id, options in ended:
        services.tell_chord(run_id, options)


def contain_unknown(_worker: str = "") -> None:
    """Fail runs of tasks that do not exist (any more), with a hint."""
    for run_id, task, entry, options in repairs.fail_unknown(list(current_app.tasks)):
        log.warning("task_unknown", task_id=str(run_id), task=task)
        _tell([(run_id, options)])
        if entry:
            notices.scheduled_task_failed(task, run_id)


class _Look(threading.local):
    client: Redis | None = None


_look = _Look()


def queue_lengths(queues: Iterable[str]) -> dict[str, int]:
    """How many messages wait on Redis, per queue. Raises redis' error when it does not answer."""
    names = list(queues)
    if _look.client is None:
        # no retries: kombu's would hold up all sweeps for 6 s, and the next sweep tries again anyway
        options = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5, "max_retries": 0}
        connection: Any = current_app.connection_for_read(transport_options=options)
        _look.client = connection.default_channel.client
    pipeline: Any = _look.client.pipeline(transaction=False)
    for name in names:
        pipeline.llen(name)
    return dict(zip(names, pipeline.execute(), strict=True))
