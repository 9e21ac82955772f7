"""Logs: one JSON object a line (or readable lines in development), with the request's id, personal data masked."""

from __future__ import annotations

import logging
import logging.config
import re
from typing import Any

import structlog

from core.redact import redact

_SECRET_PATHS = re.compile(r"(/hooks/[a-z]+/[a-z]+/)[^\s/?\"']+")  # whose last part is a token


def redact_values(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Mask phone numbers and e-mail addresses in everything that is logged, tracebacks included."""
    return {name: _masked(value) for name, value in event.items()}


def _masked(value: Any) -> Any:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, dict):
        return {_masked(name): _masked(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(inner) for inner in value]
    text = _SECRET_PATHS.sub(r"\1***", redact(str(value)))
    text = text.encode(errors="backslashreplace").decode()  # half a character cannot be written out
    return value if isinstance(value, int) and text == str(value) else text


def configure(*, level: str, as_json: bool) -> None:
    """Send structlog's and the standard library's records through the same processors to standard error."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if as_json:
        last += [structlog.processors.format_exc_info, redact_values, structlog.processors.JSONRenderer()]
    else:
        last += [structlog.processors.format_exc_info, redact_values, structlog.dev.ConsoleRenderer(colors=False)]
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "structured": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": [structlog.stdlib.PositionalArgumentsFormatter(), *shared],
                    "processors": last,
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
            "root": {"handlers": ["stderr"], "level": level},
            "loggers": {
                "httpx": {"level": "WARNING"},  # logs addresses of every request
                "httpcore": {"level": "WARNING"},
                "faker": {"level": "WARNING"},
            },
        }
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
