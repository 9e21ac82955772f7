# mypy: disable-error-code="import-not-found,import-untyped,no-untyped-call"
"""No-ops on dramatiq: `python -m dramatiq bench.peers.on_dramatiq -p 2 -t 1`."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench import marks

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_REDIS"]))


def _nothing(_number: int) -> None:
    pass


noop = dramatiq.actor(actor_name="noop")(_nothing)
mark = dramatiq.actor(actor_name="mark")(marks.leave)
