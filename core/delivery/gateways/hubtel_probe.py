"""Single calls to Hubtel with everything that came back, for `manage.py probe_hubtel`; nothing else sends so."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
from django.conf import settings

from core.redact import redact

HEADERS = ("content-type", "retry-after", "server", "www-authenticate")
LONGEST = 3_000


@dataclass(frozen=True)
class Exchange:
    """A call and its answer. `status` None: there was none, and `error` says why."""

    title: str
    method: str
    url: str
    sent: Mapping[str, Any] | None
    status: int | None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    error: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return self.status is not None and httpx.codes.is_success(self.status)

    @property
    def found(self) -> dict[str, Any]:
        """The JSON object of the answer with its names in lower case; {} when it is none."""
        try:
            parsed = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return {str(name).lower(): value for name, value in parsed.items()} if isinstance(parsed, dict) else {}


class Prober:
    """Calls one after another; `exchanges` keeps them."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    def get(self, title: str, path: str, query: Mapping[str, str] | None = None) -> Exchange:
        return self._call(title, "GET", settings.HUBTEL_BASE_URL.rstrip("/") + path, query=query)

    def post(self, title: str, path: str, body: Mapping[str, Any]) -> Exchange:
        return self._call(title, "POST", settings.HUBTEL_BASE_URL.rstrip("/") + path, body=body)

    def balance(self, title: str) -> Exchange:
        parts = urlsplit(settings.HUBTEL_BASE_URL)
        path = parts.path.rstrip("/").removesuffix("/messages") + "/account/balance"
        return self._call(title, "GET", urlunsplit((parts.scheme, parts.netloc, path, "", "")))

    def _call(
        self, title: str, method: str, url: str, *, body: Mapping[str, Any] | None = None, query: Any = None
    ) -> Exchange:
        began = time.monotonic()
        about: dict[str, Any] = {"title": title, "method": method, "url": url, "sent": body or query}
        try:
            answer = httpx.request(
                method,
                url,
                json=body,
                params=query,
                auth=(settings.HUBTEL_CLIENT_ID, settings.HUBTEL_CLIENT_SECRET),
                timeout=settings.HUBTEL_TIMEOUT_SECONDS,
                trust_env=False,
                follow_redirects=False,
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            made = Exchange(**about, status=None, error=type(error).__name__, seconds=time.monotonic() - began)
        else:
            kept = {
                name.lower(): value
                for name, value in answer.headers.items()
                if name.lower() in HEADERS or "ratelimit" in name.lower()
            }
            text = answer.text[:LONGEST]
            made = Exchange(
                **about, status=answer.status_code, headers=kept, body=text, seconds=time.monotonic() - began
            )
        self.exchanges.append(made)
        return made


def masked(text: str) -> str:
    """Without numbers, addresses and the credentials."""
    for secret in (settings.HUBTEL_CLIENT_SECRET, settings.HUBTEL_CLIENT_ID, settings.HUBTEL_RECEIPT_TOKEN):
        if secret:
            text = text.replace(secret, "***")
    return redact(text)
