"""A process that reminds farmers two at a time and is killed: python -m tests.farms.run_and_die <moment> <after>.

`before`: with all of a part written and nothing of it committed. `after`: with it committed and the run not ended. The
part is the one that comes after so many others.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from typing import Any

import django

if __name__ == "__main__":
    django.setup()
    from core import clock
    from core.delivery import reminders as core_reminders
    from core.jobs import progress
    from farms.services import reminders

    moment, after = sys.argv[1], int(sys.argv[2])
    done: list[None] = []  # one for each part
    remind = core_reminders.remind

    def die() -> None:
        print(f"part {len(done)}", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    def remind_and_die(*args: Any, **kwargs: Any) -> Counter[str]:
        told = remind(*args, **kwargs)
        if moment == "before" and len(done) == after:
            die()
        return told

    def report_and_die(*_args: Any, **_kwargs: Any) -> None:
        if moment == "after" and len(done) == after:
            die()
        done.append(None)

    core_reminders.remind = remind_and_die
    progress.report = report_and_die
    now = clock.now()
    print(reminders.remind_of_batches(now=now, today=clock.accra(now).date(), size=2), flush=True)
