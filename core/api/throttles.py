"""How often one person and one address may ask. Counted in the shared cache; while that is away, nobody is held up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
from django.conf import settings
from django.core.cache import cache
from django.utils.crypto import salted_hmac
from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from core import phones
from core.errors import InvalidInput

if TYPE_CHECKING:  # REST framework's views import this module
    from rest_framework.views import APIView

MINUTE = 60
REST = 5.0  # seconds in which a cache that did not answer is not asked again

logger = structlog.get_logger(__name__)


class _Cache:
    """Counts in the shared cache. One that does not answer costs its time limit once every REST seconds."""

    away_until = 0.0

    def count(self, key: str) -> int:
        """How often it was asked for this key, this time included; 0 when the cache does not answer."""
        if time.monotonic() < self.away_until:
            return 0
        try:
            if cache.add(key, 1, 2 * MINUTE):
                return 1
            try:
                return cache.incr(key)
            except ValueError:  # it ran out between the two
                return 1
        except (RedisError, OSError) as error:
            self.away_until = time.monotonic() + REST
            logger.warning("throttle_cache_away", error=type(error).__name__, hint="requests are not limited meanwhile")
            return 0


counts = _Cache()


def hidden(name: object) -> str:
    """Stands for an address or an account in the cache, where personal data is not kept (domain.md 1.2)."""
    text = str(name).encode(errors="surrogatepass")
    return salted_hmac("core.api.throttles", text, algorithm="sha256").hexdigest()[:32]


def is_within(scope: str, name: str) -> bool:
    """Count one more for this name, and say whether it is within the limit of this minute: settings.API_LIMITS."""
    limit: int = settings.API_LIMITS[scope]
    return counts.count(f"api-limit:{scope}:{name}:{int(time.time() // MINUTE)}") <= limit


class PerMinute(BaseThrottle):
    """`scope` names the limit in settings.API_LIMITS; a request without a name to count under is not counted here."""

    scope = ""

    def name(self, request: Request) -> str:
        raise NotImplementedError

    def allow_request(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 - the signature of REST framework
        name = self.name(request)
        if not name:
            return True
        return is_within(self.scope, name)

    def wait(self) -> float:
        return MINUTE - time.time() % MINUTE

    def address(self, request: Request) -> str:
        return hidden(self.get_ident(request))


class PersonLimit(PerMinute):
    scope = "person"

    def name(self, request: Request) -> str:
        return str(request.user.pk) if request.user and request.user.is_authenticated else ""


class StrangerLimit(PerMinute):
    """For those who are not signed in, by address."""

    scope = "stranger"

    def name(self, request: Request) -> str:
        return "" if request.user and request.user.is_authenticated else self.address(request)


class AddressLimit(PerMinute):
    """For all who share an address, such as an office."""

    scope = "address"

    def name(self, request: Request) -> str:
        return self.address(request)


class DoorLimit(AddressLimit):
    """By address, for the public doors where something can be tried."""

    scope = "door"


class AccountLimit(PerMinute):
    """By the account that the body names, whether or not there is one: from many addresses at once too."""

    scope = "account"
    NAMES: tuple[str, ...] = ("identifier", "phone", "token")

    def name(self, request: Request) -> str:
        sent = request.data if isinstance(request.data, dict) else {}
        return next((hidden(one_form(str(sent[name]))) for name in self.NAMES if sent.get(name)), "")


def one_form(text: str) -> str:
    """A phone number counts as one however it is written, and an address in any case."""
    try:
        return phones.normalise(text)
    except InvalidInput:
        return text.strip().lower()
