"""What waits in the outbox, read as its recipient would: also what is sealed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from core.delivery import sealing
from core.delivery.models import OutboundMessage
from core.jobs.models import TaskRun


@dataclass(frozen=True)
class Letter:
    channel: str
    to: str
    template: str
    purpose: str
    title: str
    text: str
    message: OutboundMessage

    @property
    def token(self) -> str:
        [found] = re.findall(r"https?://\S+/accounts/\S+/([\w-]{43})/", self.text)
        return str(found)

    @property
    def code(self) -> str:
        [found] = re.findall(r"\b\d{6}\b", self.text)
        return str(found)


def letters(template: str = "", channel: str = "") -> list[Letter]:
    """Every message, or those of a template or channel, the oldest first."""
    found = OutboundMessage.objects.order_by("created_at", "channel")
    if template:
        found = found.filter(template=f"accounts.{template}")
    if channel:
        found = found.filter(channel=channel)
    return [_letter(message) for message in found]


def _letter(message: OutboundMessage) -> Letter:
    content = sealing.content_of(message)
    return Letter(
        message.channel,
        message.recipient,
        message.template,
        message.purpose,
        content.title,
        content.text,
        message,
    )


def letter(template: str, channel: str = "") -> Letter:
    [found] = letters(template, channel)
    return found


def asked_for() -> list[tuple[str, list[str]]]:
    """The runs that were asked for, by the name of their task, the oldest first."""
    return [(run.task.rpartition(".")[2], run.args) for run in TaskRun.objects.order_by("asked_at", "pk")]
