"""A process that works through the farms two at a time and is killed: run_and_die_at_night <work> <moment> <after>.

`work` is scores, places or pending. `before`: with a part written and not committed. `after`: with it committed and the
run not ended. The part is the one that comes after so many others.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import django

if __name__ == "__main__":
    django.setup()
    from django.db import connection

    from core import clock
    from core.jobs import progress
    from farms.services import pending, places, scores
    from farms.services.common import parts

    work, moment, after = sys.argv[1], sys.argv[2], int(sys.argv[3])
    today = clock.accra(clock.now()).date()
    works: dict[str, tuple[str, Callable[[], object]]] = {
        "scores": (scores.SCORE, partial(scores.calculate, day=today)),
        "places": (places.SYNC, places.sync_locations),
        "pending": ("INSERT INTO delivery_reminderlog", partial(pending.check, today=today, size=2)),
    }
    statement, run = works[work]
    done: list[None] = []  # one for each part

    def die() -> None:
        print(f"part {len(done)}", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    def write_and_die(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        found = execute(sql, params, many, context)
        if statement in sql and moment == "before" and len(done) == after:
            die()
        return found

    def report_and_die(*_args: Any, **_kwargs: Any) -> None:
        if moment == "after" and len(done) == after:
            die()
        done.append(None)

    progress.report = report_and_die
    for service in (scores, places):
        vars(service)["parts"] = partial(parts, size=2)
    with connection.execute_wrapper(write_and_die):
        print(run(), flush=True)
