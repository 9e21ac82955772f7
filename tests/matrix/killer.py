"""Loaded into a worker (`--include tests.matrix.killer`): kills it, all of it, at one step of a send, once.

MATRIX_KILL names the step, MATRIX_FLAG the file that says that it has happened. Without them nothing is changed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.delivery import dispatch, settling
from core.delivery.gateways import hubtel, smtp

# step: where in the code it is, and whether the worker dies before or after that
STEPS: dict[str, tuple[list[tuple[Any, str]], str]] = {
    "before the attempt is written": ([(settling, "open_attempt")], "before"),
    "attempt written, nothing sent": ([(hubtel.Hubtel, "_post"), (smtp.Smtp, "_connect")], "before"),
    "answer read, not written": ([(dispatch, "settle")], "before"),
    "answer written": ([(dispatch, "settle")], "after"),
}


def _die() -> None:
    """Once in all workers together: who makes the file first."""
    try:
        Path(os.environ["MATRIX_FLAG"]).touch(exist_ok=False)
    except FileExistsError:
        return
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _deadly(function: Callable[..., Any], when: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            _die()
        result = function(*args, **kwargs)
        if when == "after":
            _die()
        return result

    return call


if step := os.environ.get("MATRIX_KILL"):
    places, moment = STEPS[step]
    for owner, name in places:
        setattr(owner, name, _deadly(getattr(owner, name), moment))
