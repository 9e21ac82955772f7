"""What a running task may say and must heed: how far it has come, and whether it is still wanted.

    for number, farm in enumerate(farms):
        progress.report(number, len(farms))

Costs next to nothing, so it may stand in a tight loop: another thread writes it, at most once a second. Outside of a
run (a direct call, a test) both functions do nothing.
"""

from __future__ import annotations

from core.jobs.failures import ClaimLostError, RunCancelled, writable
from core.jobs.leases import keeper
from core.jobs.runs import Progress

LONGEST_NOTE = 200


def report(done: int, total: int | None = None, note: str = "") -> None:
    """Say how far the run has come. No personal data in the note. Raises as `checkpoint` does."""
    if keeper.current:
        whole = None if total is None else int(total)
        keeper.current.progress = Progress(int(done), whole, writable(note)[:LONGEST_NOTE])
    checkpoint()


def checkpoint() -> None:
    """A place where the run may be stopped. A task that runs for long passes one at least every second.

    Raises RunCancelled when somebody asked for it, ClaimLostError when another worker has taken the run over.
    """
    if keeper.current and keeper.current.cancel_asked:
        raise RunCancelled
    if keeper.current and keeper.current.lost:
        raise ClaimLostError
