"""Gives a process a wrong wall clock: CHAOS_CLOCK_SECONDS ahead (or behind), ticking. Its forked children inherit it.

Python imports a module of this name at the start of every process that has this folder on PYTHONPATH.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

wrong_by = float(os.environ.get("CHAOS_CLOCK_SECONDS", "0"))
if wrong_by:
    import time_machine

    time_machine.travel(datetime.now(UTC) + timedelta(seconds=wrong_by), tick=True).start()
