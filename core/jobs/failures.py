"""Ends of a run of the ledger's own, and errors as they may be kept and travel: personal data masked, rows that
PostgreSQL quotes left out.
"""

from __future__ import annotations

import re
import traceback

from celery.exceptions import Ignore

from core.redact import redact

LONGEST_TEXT = 4_000
LONGEST_TRACEBACK = 20_000
# From DETAIL to the end of that error: a quoted row may have line breaks of its own.
_DETAIL = re.compile(r"\n(?:DETAIL|CONTEXT):.*?(?=\n\n(?:The above exception|During handling)|\Z)", re.DOTALL)


class ClaimLostError(Ignore):
    """Another worker has the run by now, or will: what this one found out must not be written over it."""


class TimeLimitExceeded(Exception):
    """The task ran longer than its hard time limit, and its process was ended."""


class RunCancelled(BaseException):
    """Somebody asked to cancel this run. Not an Exception, so that a loop that contains the errors of single items
    lets it through.
    """


def told(error: BaseException) -> tuple[str, str, str]:
    """Class, text and traceback for the row, without what PostgreSQL cannot keep: a failure must be written down
    whatever its words are.
    """
    try:
        text = writable(str(error))[:LONGEST_TEXT]
    except Exception as worse:  # noqa: BLE001 - an error that cannot say what it is is written down all the same
        return type(error).__name__, f"It cannot be told: {type(worse).__name__} in its __str__.", ""
    return type(error).__name__, text, writable("".join(traceback.format_exception(error)))[-LONGEST_TRACEBACK:]


def safe(error: Exception) -> Exception:
    """The error itself, or one in its place that may travel on Redis, in results and events."""
    text, hidden = str(error), repr(error.args)  # Celery sends the arguments too
    clean = writable(text)
    if clean == text and redact(hidden) == hidden and not isinstance(error, UnicodeError):  # which carries its text
        return error
    return RuntimeError(f"{type(error).__name__}: {clean}").with_traceback(error.__traceback__)


def writable(text: str) -> str:
    """Text that PostgreSQL can keep, personal data masked."""
    clean = redact(_DETAIL.sub("", text))
    return clean.replace("\x00", "").encode(errors="backslashreplace").decode()
