# mypy: disable-error-code="import-not-found,import-untyped,no-untyped-call"
"""No-ops on huey: `python -m huey.bin.huey_consumer bench.peers.on_huey.huey -k process -w 2`."""

from __future__ import annotations

import os

from huey import RedisHuey

from bench import marks

huey = RedisHuey("bench", url=os.environ["BENCH_REDIS"], results=False)


def _nothing(_number: int) -> None:
    pass


noop = huey.task(name="noop")(_nothing)
mark = huey.task(name="mark")(marks.leave)
