"""A process that does a task and is killed: python -m tests.accounts.run_and_die <before|after> <task> <id>.

`before`: with all written and nothing committed. `after`: with all committed and the run not ended.
"""

from __future__ import annotations

import os
import signal
import sys

import django

if __name__ == "__main__":
    django.setup()
    from django.db import transaction

    from accounts import tasks

    moment, name, row_id = sys.argv[1:]
    with transaction.atomic():
        print(getattr(tasks, name)(row_id), flush=True)
        if moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
