"""What sign-in keeps, encrypted at rest: sessions and the secrets of second factors (keys: core.delivery.sealing)."""

from __future__ import annotations

import base64
import json
from typing import Any

from core.delivery import sealing

_SESSION, _FACTOR = b"session", b"second factor"


class Sessions:
    """The serializer of sessions: while somebody sets up a second factor, its secret stands in one."""

    def dumps(self, data: Any) -> bytes:
        return sealing.hide(json.dumps(data, separators=(",", ":")).encode(), _SESSION)

    def loads(self, data: bytes) -> Any:
        return json.loads(sealing.find(data, _SESSION))


def seal(text: str) -> str:
    return base64.b64encode(sealing.hide(text.encode(), _FACTOR)).decode()


def unseal(text: str) -> str:
    """Raises CannotBeRead when its key is gone: SECRET_KEY was changed and the old one is no fallback."""
    return sealing.find(base64.b64decode(text), _FACTOR).decode()
