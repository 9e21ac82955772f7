"""The words of what accounts tells people."""

from __future__ import annotations


def security_event(*, what: str, username: str, role: str, by: str, when: str, reason: str) -> tuple[str, str]:
    """Title and text of what platform admins are told about the account of somebody who works for the system."""
    title = f"{what}: {username} ({role})"
    why = f" Reason: {reason}." if reason else ""
    return title, (
        f"{when}: {by} did this to the account {username} ({role}): {what.lower()}.{why}"
        " If this was not agreed, look at the security events of both accounts and suspend the one that did it."
    )
