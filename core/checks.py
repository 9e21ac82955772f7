"""System checks: what an installation must have before it serves anybody. Each says what to set."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from celery import signals
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register, run_checks
from django.core.exceptions import ImproperlyConfigured

from core.settings import DEFAULT_SECRET_KEY

MINIMUM_SECRET_LENGTH = 50


def production_is_safe(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """In production: a secret key of its own, DEBUG off, hosts named, gateways with credentials."""
    if app_configs is not None or settings.DEVELOPMENT:
        return []
    wanted = [
        (
            settings.SECRET_KEY != DEFAULT_SECRET_KEY and len(settings.SECRET_KEY) >= MINIMUM_SECRET_LENGTH,
            "SECRET_KEY is the default or shorter than 50 characters",
            "Set SECRET_KEY to 50 or more random characters.",
        ),
        (not settings.DEBUG, "DEBUG is on", "Set DEBUG=False."),
        (bool(settings.ALLOWED_HOSTS), "ALLOWED_HOSTS is empty", "Set ALLOWED_HOSTS to the host names served."),
        (
            bool(settings.HUBTEL_CLIENT_ID and settings.HUBTEL_CLIENT_SECRET),
            "The SMS gateway has no credentials",
            "Set HUBTEL_CLIENT_ID and HUBTEL_CLIENT_SECRET.",
        ),
        (bool(settings.EMAIL_HOST), "The mail gateway has no server", "Set EMAIL_HOST (and EMAIL_HOST_USER, …)."),
        (bool(settings.DEFAULT_FROM_EMAIL), "E-mail has no sender", "Set DEFAULT_FROM_EMAIL."),
    ]
    return [
        Error(f"{problem}.", hint=fix, id=f"core.E{number:03}")
        for number, (holds, problem, fix) in enumerate(wanted, start=1)
        if not holds
    ]


def refuse_unsafe_start() -> None:
    """Raise ImproperlyConfigured, naming every problem and its fix, when this process must not start."""
    problems = [message for message in run_checks(tags=[Tags.security]) if message.is_serious()]
    if problems:
        lines = "\n".join(f"- {message.msg} {message.hint or ''}" for message in problems)
        raise ImproperlyConfigured(f"This installation is not ready to run (PMS_ENV={settings.PMS_ENV}):\n{lines}")


def end_unsafe_process(**_: Any) -> None:
    """For Celery's signals, which log an ordinary error and go on."""
    try:
        refuse_unsafe_start()
    except ImproperlyConfigured as error:
        sys.exit(str(error))


def register_all() -> None:
    register(production_is_safe, Tags.security)
    for started in (signals.worker_init, signals.beat_init):
        started.connect(end_unsafe_process, weak=False)
