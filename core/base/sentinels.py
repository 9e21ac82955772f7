"""The shared cache on a Redis that sentinels watch (settings: REDIS_URL=sentinel://…)."""

from __future__ import annotations

from typing import Any, Self
from urllib.parse import unquote, urlsplit

from django.conf import settings
from redis.sentinel import Sentinel, SentinelConnectionPool


class Pool(SentinelConnectionPool):
    """Connections to whichever server is the primary now, as the first sentinel that answers says."""

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Of sentinel://:password@host:26379/1;sentinel://…: who signs in and the database are the primary's."""
        parts = [urlsplit(one) for one in url.split(";")]
        sentinels = [(part.hostname, part.port or 26379) for part in parts]
        manager = Sentinel(sentinels, sentinel_kwargs=settings.SENTINEL_OPTIONS)  # type: ignore[no-untyped-call]
        primary = {
            "db": int(parts[0].path.strip("/") or 0),
            "username": unquote(parts[0].username or "") or None,
            "password": unquote(parts[0].password or "") or None,
        }
        return cls(settings.REDIS_SENTINEL_MASTER, manager, **primary, **options)
