"""Reading the environment. Every value is checked where it is read; a wrong one stops the process with the fix."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()

BROKER_SCHEMES = ("redis", "rediss", "sentinel")
TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off", ""})


def refuse(name: str, problem: str, fix: str) -> ImproperlyConfigured:
    """The error for a variable that cannot be used. It never repeats the value, which may be a secret."""
    return ImproperlyConfigured(f"{name} {problem}. Fix: {fix}")


def text(name: str, default: str = "") -> str:
    return str(env.str(name, default=default)).strip()


def flag(name: str, default: bool) -> bool:
    word = text(name, str(default)).lower()
    if word not in TRUE_WORDS | FALSE_WORDS:
        raise refuse(name, "is neither true nor false", f"set {name}=True or {name}=False")
    return word in TRUE_WORDS


def number(name: str, default: int, *, minimum: int, maximum: int) -> int:
    word = text(name, str(default))
    if not word.isascii() or not word.isdigit() or not minimum <= int(word) <= maximum:
        raise refuse(name, "is not a usable number", f"set {name} to a whole number from {minimum} to {maximum}")
    return int(word)


def choice(name: str, default: str, allowed: Collection[str]) -> str:
    word = text(name, default)
    if word not in allowed:
        raise refuse(name, "is not one of the known values", f"set {name} to one of: {', '.join(sorted(allowed))}")
    return word


def words(name: str, default: str = "") -> list[str]:
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def url(name: str, default: str, schemes: Collection[str]) -> str:
    value = text(name, default)
    try:
        is_many = value.startswith("sentinel:")
        parts = [urlsplit(one) for one in (value.split(";") if is_many else [value])]
        usable = all(part.scheme in schemes and part.hostname and (part.port or True) for part in parts)
        usable = usable and (not is_many or all(part.path.strip("/").isdecimal() or not part.path for part in parts))
    except ValueError:
        usable = False
    if not usable:
        example = f"{sorted(schemes)[0]}://host:port/…"
        raise refuse(name, "is not an address this program can use", f"set {name} to an address such as {example}")
    return value


def postgres(name: str, default: str) -> dict[str, Any]:
    """A Django DATABASES entry from an address `postgres://user:password@host:port/name`."""
    value = url(name, default, ("postgres", "postgresql"))
    try:
        entry: dict[str, Any] = dict(env.db_url_config(value))
    except (ValueError, ImproperlyConfigured) as error:
        raise refuse(name, "cannot be read", "set it to postgres://user:password@host:5432/name") from error
    if not entry.get("NAME"):
        raise refuse(
            name, "names no database", "end it with the database's name: postgres://user:password@host:5432/pms"
        )
    return entry


def require(name: str, value: str, allowed: Callable[[str], bool], fix: str) -> str:
    if not allowed(value):
        raise refuse(name, "cannot be used", fix)
    return value
