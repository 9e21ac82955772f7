"""The switchable faults: which there are, what is allowed, and which of them the next request meets."""

import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

Stream = Literal["send", "status", "smtp"]

MINUTES_10 = 600_000
HOUR = 3600
WRONG_SECRET = "wrong"  # noqa: S105 - the documented secret and password that is always refused


@dataclass(frozen=True, slots=True)
class Faults:
    """One set of faults; a field at its default is off. RULES below says what each one does."""

    latency_ms: int = 0
    deliver_after_ms: int | None = None
    rate_limit: int = 0
    delay_ms: int = 0
    error_status: int = 0
    body_status: int = 0
    hang: bool = False
    reset_after_headers: bool = False
    error_after_accept_status: int = 0
    hang_after_accept: bool = False
    reset_after_accept: bool = False
    truncate: bool = False
    partial_batch: float = 0.0
    partial_batch_lost: bool = False
    status_goes_back: bool = False
    receipts_to: str = ""
    receipts_early: bool = False
    receipts_reordered: bool = False
    receipts_doubled: bool = False
    receipts_unknown: bool = False
    refuse: float = 0.0
    smtp_refuse: float = 0.0
    smtp_delay_ms: int = 0
    smtp_error: int = 0
    smtp_drop_before_accept: bool = False
    smtp_drop_after_data: bool = False
    share: float = 1.0
    seed: int | None = None
    on: str = "all"

    def spared(self) -> "Faults":
        """What meets a request that `share` or `on` leaves alone: the manner of the line, not its faults."""
        return Faults(latency_ms=self.latency_ms, deliver_after_ms=self.deliver_after_ms, rate_limit=self.rate_limit)


@dataclass(frozen=True, slots=True)
class Rule:
    allowed: str
    fits: Callable[[object], bool]
    words: str


def _whole(low: int, high: int, words: str) -> Rule:
    return Rule(f"whole number {low} to {high}", lambda value: type(value) is int and low <= value <= high, words)


def _number(low: float, high: float, words: str) -> Rule:
    return Rule(
        f"number {low} to {high}", lambda value: type(value) in (int, float) and low <= float(str(value)) <= high, words
    )


def _address(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
        return not value or (parts.scheme == "http" and bool(parts.hostname) and (parts.port or 80) > 0)
    except ValueError:
        return False


def _switch(words: str) -> Rule:
    return Rule("true or false", lambda value: type(value) is bool, words)


RULES: dict[str, Rule] = {
    "latency_ms": _whole(0, MINUTES_10, "every answer takes {} ms"),
    "deliver_after_ms": _whole(0, HOUR * 24 * 1000, "texts reach their final status after {} ms"),
    "rate_limit": _whole(0, 1_000_000, "more than {} texts a second are answered 429"),
    "delay_ms": _whole(0, MINUTES_10, "accepted, then answered {} ms late"),
    "error_status": _whole(400, 599, "answered HTTP {}, nothing accepted"),
    "body_status": _whole(1, 999, "answered HTTP 201 with status {} in the body, nothing accepted"),
    "hang": _switch("read and never answered, nothing accepted"),
    "reset_after_headers": _switch("connection reset after the request headers, nothing accepted"),
    "error_after_accept_status": _whole(400, 599, "accepted, but answered HTTP {}"),
    "hang_after_accept": _switch("accepted, but never answered"),
    "reset_after_accept": _switch("accepted, then the connection reset"),
    "truncate": _switch("accepted, but only half of the answer sent"),
    "partial_batch": _number(0, 1, "{:.0%} of the recipients are missing in batch answers"),
    "partial_batch_lost": _switch("the recipients missing in batch answers get no text either"),
    "status_goes_back": _switch("every second status read of a text answers Pending again"),
    "receipts_to": Rule("http:// address or ''", _address, "receipts pushed to {}"),
    "receipts_early": _switch("receipts pushed at once, before their time and with delay_ms before the answer"),
    "receipts_reordered": _switch("receipts pushed in the reverse order"),
    "receipts_doubled": _switch("each receipt pushed twice"),
    "receipts_unknown": _switch("beside each receipt one for an id that nobody knows"),
    "refuse": _number(0, HOUR, "HTTP connections refused for {} s"),
    "smtp_refuse": _number(0, HOUR, "SMTP connections refused for {} s"),
    "smtp_delay_ms": _whole(0, MINUTES_10, "mail accepted, then answered {} ms late"),
    "smtp_error": _whole(400, 599, "mail recipients answered {}"),
    "smtp_drop_before_accept": _switch("mail connection closed after DATA, nothing accepted"),
    "smtp_drop_after_data": _switch("mail accepted, then the connection closed without an answer"),
    "share": _number(0, 1, "{:.0%} of the requests are hit"),
    "seed": Rule("whole number", lambda value: type(value) is int, "chosen with seed {}"),
    "on": Rule("send, status or all", lambda value: value in ("send", "status", "all"), "on HTTP requests: {}"),
}


class BadFaultsError(ValueError):
    """The body is no set of faults. The message says what is wrong."""


def allowed() -> dict[str, str]:
    return {name: rule.allowed for name, rule in RULES.items()}


def parse(body: bytes) -> dict[str, object]:
    """The faults named in a JSON object. Raises BadFaultsError at an unknown name or a value that does not fit."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadFaultsError(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadFaultsError("faults are a JSON object, {} for none")
    for name, value in found.items():
        if name not in RULES:
            raise BadFaultsError(f"unknown fault: {name[:50]!r}")
        if not RULES[name].fits(value):
            raise BadFaultsError(f"{name} must be {RULES[name].allowed}")
    return found


class FaultBoard:
    """The faults that are on now. Send, status and SMTP draw from streams of their own, so that with a seed the
    n-th send meets the same fate in every run, however often statuses were read meanwhile."""

    def __init__(self) -> None:
        self.current = Faults()
        self.shown: dict[str, object] = {}
        self.hits: Counter[str] = Counter()
        self.listeners: list[Callable[[Faults], Awaitable[None]]] = []
        self._restart()

    def _restart(self) -> None:
        seed = self.current.seed
        streams: tuple[Stream, ...] = ("send", "status", "smtp")
        self._chance = {stream: random.Random(seed) for stream in streams}  # noqa: S311 - no secret depends on it
        self._tokens, self._filled_at = float(self.current.rate_limit), 0.0

    async def replace(self, found: dict[str, object]) -> None:
        """Put this set (as `parse` returns it) in the place of the one before, and its ports in their state."""
        self.current, self.shown = Faults(**found), dict(found)  # type: ignore[arg-type]
        self._restart()
        for listener in self.listeners:
            await listener(self.current)

    def expire(self, name: Literal["refuse", "smtp_refuse"]) -> None:
        """A refusal ended by itself."""
        self.shown.pop(name, None)
        self.current = Faults(**self.shown)  # type: ignore[arg-type]

    def draw(self, stream: Stream) -> Faults:
        """The fate of one request."""
        faults = self.current
        meant = stream == "smtp" or faults.on in ("all", stream)
        hit = meant and self._chance[stream].random() < faults.share
        return faults if hit else faults.spared()

    def left_out(self, share: float, count: int) -> set[int]:
        """Which of a batch's recipients its answer does not name."""
        return set(self._chance["send"].sample(range(count), round(share * count)))

    def seconds_to_wait(self, cost: int, now: float) -> float:
        """0 if `cost` texts may pass now. A batch may pass as a whole and is then paid off, so the mean holds."""
        rate = self.current.rate_limit
        if not rate:
            return 0.0
        self._tokens = min(float(rate), self._tokens + (now - self._filled_at) * rate)
        self._filled_at = now
        if self._tokens < 1:
            return (1 - self._tokens) / rate
        self._tokens -= cost
        return 0.0

    def in_words(self) -> list[str]:
        """One phrase for each fault that is on, in the order of RULES."""
        on = [(name, rule, self.shown[name]) for name, rule in RULES.items() if name in self.shown]
        return [rule.words.format(value) for name, rule, value in on if value or name == "share"]
