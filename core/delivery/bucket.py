"""The rate limit: one token bucket for each provider, on Redis, shared by all workers. Its unit is the SMS part.

It lives on the broker's Redis (CELERY_BROKER_URL, so TLS and Sentinel as there): a worker that cannot reach that one is
told of no work anyway, while REDIS_URL belongs to the cache and may be switched off.

Time is Redis' own. A bucket that was lost begins empty, so FLUSHALL lets nothing through twice. Two things hold at
once: tokens come in at 96.5 % of the limit, and no 10 s see more than 98 % of theirs. The rest is for calls that begin
a little after they were allowed: together with others they must not be more than the limit either. Bulk leaves a share
of both to default, and default one to urgent.

After "too many requests" the rate is cut, whatever the limit, and climbs back little by little. Without Redis nobody
knows what the others send: bulk waits, urgent and default go at a small rate of each process's own.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from celery import current_app
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from core.delivery import rules

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 0.3
SILENCE_SECONDS = 2.0  # after a Redis that did not answer
CLOSED_SECONDS = 3.0  # bulk without Redis looks again
LOCAL_PARTS_PER_SECOND = {"urgent": 5.0, "default": 1.0, "bulk": 0.0}  # of one process, without Redis
# Of the tokens: how low a lane may draw them, in bursts; below zero is what comes in next.
FLOORS = {"urgent": -0.5, "default": 0.05, "bulk": 0.125}
# Of what may go in 10 s: what a lane leaves to the others, in seconds of the limit and at least so many parts.
RESERVES = {"urgent": (0.0, 0), "default": (0.08, 1), "bulk": (0.15, 2)}
KEEP_SECONDS = 3_600

# The state: `at` and `until` in ms, tokens, the cap after a cut with its climb a second, and how many parts went in
# each of the last 100 slots of 100 ms, with their sum.
_HEAD = """
local key, limit = KEYS[1], tonumber(ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local found = redis.call('HMGET', key, 'at', 'tokens', 'slot', 'sum', 'cap', 'climb', 'until', 'cut')
local at, tokens, last, sum = tonumber(found[1]), tonumber(found[2]) or 0, tonumber(found[3]), tonumber(found[4]) or 0
local cap, climb, closed, cut = tonumber(found[5]), tonumber(found[6]), tonumber(found[7]) or 0, tonumber(found[8]) or 0
if not at or at - now > 60000 then
    redis.call('DEL', key)
    at, tokens, last, sum, cap, closed, cut = now, 0, nil, 0, nil, 0, 0
elseif at > now then
    now = at
end
local slot = math.floor(now / 100)
if last and slot - last > 100 then
    for s = 0, 100 do redis.call('HDEL', key, 's' .. s) end
    sum = 0
elseif last then
    for s = last + 1, slot do
        local field = 's' .. s % 101
        local gone = redis.call('HGET', key, field)
        if gone then
            sum = sum - gone
            redis.call('HDEL', key, field)
        end
    end
end
if cap then
    cap = cap + math.max(climb, 0.03 * cap) * (now - at) / 1000  -- cut in a quiet hour, it must not take hours
    if limit > 0 and cap >= limit then cap = nil end
end
local rate = limit
if cap and (limit == 0 or cap < limit) then rate = cap end
local burst = math.max(0.6 * rate, 1)
if rate > 0 then tokens = math.min(burst, tokens + 0.965 * rate * (now - at) / 1000) else tokens = 0 end
local function keep()
    redis.call('HSET', key, 'at', now, 'tokens', tokens, 'slot', slot, 'sum', sum, 'until', closed, 'cut', cut)
    if cap then redis.call('HSET', key, 'cap', cap, 'climb', climb) else redis.call('HDEL', key, 'cap', 'climb') end
    redis.call('EXPIRE', key, ARGV[2])
end
"""

# ARGV: limit, seconds to keep, floor, reserve in seconds and in parts, then the costs in their order.
_TAKE = (
    _HEAD
    + """
local floor, most = tonumber(ARGV[3]), 9.8 * limit - math.max(tonumber(ARGV[4]) * limit, tonumber(ARGV[5]))
local go, given, wait = 0, 0, 0
if closed > now then
    wait = (closed - now) / 1000
else
    for i = 6, #ARGV do
        local cost = tonumber(ARGV[i])
        if rate > 0 then
            local need = math.min(cost, 0.99 * burst * (1 - floor)) + floor * burst
            if tokens < need then
                wait = (need - tokens) / (0.965 * rate)
                break
            end
            if limit > 0 and sum > 0 and sum + cost > most then
                wait = 0.1
                break
            end
            tokens = tokens - cost
        end
        sum, given, go = sum + cost, given + cost, go + 1
    end
end
if given > 0 then redis.call('HINCRBY', key, 's' .. slot % 101, given) end
keep()
return {go, tostring(wait)}
"""
)

# How many parts a lane would get now: worth a call, and no more than a fifth of a second of the limit, so that little
# is on its way at any moment. ARGV as above, without costs.
_ROOM = (
    _HEAD
    + """
local floor, most = tonumber(ARGV[3]), 9.8 * limit - math.max(tonumber(ARGV[4]) * limit, tonumber(ARGV[5]))
keep()
if closed > now then return {0, tostring((closed - now) / 1000)} end
if rate == 0 then return {-1, '0'} end
local lump = math.max(1, math.floor(0.1 * rate))
local room = math.floor(tokens - floor * burst + 0.01)
if room < lump then return {0, tostring(math.max((lump - room) / (0.965 * rate), 0.01))} end
if limit > 0 and sum > 0 and sum + 1 > most then return {0, '0.1'} end
return {math.min(room, 2 * lump), '0'}
"""
)

# ARGV: limit, seconds to keep, seconds to stay away. One cut a second: calls in flight are told all at once.
_CUT = (
    _HEAD
    + """
closed = math.max(closed, now + tonumber(ARGV[3]) * 1000)
if now - cut >= 1000 then
    local second = 0
    for s = slot - 9, slot do second = second + (tonumber(redis.call('HGET', key, 's' .. s % 101)) or 0) end
    local from = math.max(second, 1)
    if rate > 0 then from = math.min(from, rate) end
    cap, climb, cut = math.max(0.7 * from, 1), math.max(0.02 * from, 0.1), now
end
keep()
return tostring(cap or 0)
"""
)

_LOOK = (
    _HEAD
    + """
keep()
return {tostring(rate), tostring(sum), tostring(math.max(closed - now, 0) / 1000)}
"""
)

NO_ANSWER = (OperationalError, RedisError, OSError)


@dataclass(frozen=True)
class Grant:
    """The first `go` of the costs may go, the next in `wait` seconds."""

    go: int
    wait: float


@dataclass(frozen=True)
class Rate:
    """What holds now: `limit` by the setting, `parts_per_second` after cuts (None: no limit), parts of the last 10 s,
    and for how long the provider has asked us to stay away.
    """

    limit: int
    parts_per_second: float | None
    last_10_s: int
    away: float


class _Line(threading.local):
    """One client per thread; a forked child makes its own."""

    pid = 0
    client: Any = None
    scripts: dict[str, Any]

    def run(self, script: str, provider: str, *arguments: object) -> Any:
        if self.client is None or self.pid != os.getpid():
            # no retries: a Redis that hangs may cost one time-out, not four
            options = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS, "max_retries": 0}
            connection: Any = current_app.connection_for_write(transport_options=options)
            self.client, self.pid, self.scripts = connection.default_channel.client, os.getpid(), {}
        if script not in self.scripts:
            self.scripts[script] = self.client.register_script(script)
        return self.scripts[script](keys=[f"pms:bucket:{provider}"], args=list(arguments))

    def hang_up(self) -> None:
        if self.client is not None and self.pid == os.getpid():
            self.client.connection_pool.disconnect()
        self.client = None


_line = _Line()
_quiet_until = 0.0


def take(provider: str, lane: str, costs: Sequence[int], limit: int) -> Grant:
    """How many of these may go now, counted as gone. One call for a whole batch."""
    answer = _ask(_TAKE, provider, limit, KEEP_SECONDS, FLOORS[lane], *RESERVES[lane], *costs)
    if answer is None:
        return _alone.take(lane, costs)
    return Grant(int(answer[0]), float(answer[1]))


def room(provider: str, lane: str, limit: int) -> tuple[int | None, float]:
    """How many parts the lane would get now (None: any number), and when there are none, in how many seconds."""
    answer = _ask(_ROOM, provider, limit, KEEP_SECONDS, FLOORS[lane], *RESERVES[lane])
    if answer is None:
        return (None, 0.0) if LOCAL_PARTS_PER_SECOND[lane] else (0, CLOSED_SECONDS)
    parts = int(answer[0])
    return (None if parts < 0 else parts), float(answer[1])


def slow_down(provider: str, limit: int, wait: float | None) -> None:
    """The provider has said "too many requests", and perhaps for how long to stay away."""
    away = min(wait or 1.0, rules.LONGEST_WAIT_SECONDS)
    cap = _ask(_CUT, provider, limit, KEEP_SECONDS, away)
    log.warning("provider_throttles", provider=provider, away_seconds=away, parts_per_second=cap and float(cap))


def rate(provider: str, limit: int) -> Rate | None:
    """For people. None when Redis does not answer."""
    answer = _ask(_LOOK, provider, limit, KEEP_SECONDS)
    if answer is None:
        return None
    now, last, away = (float(each) for each in answer)
    return Rate(limit, now or None, round(last), away)


def _ask(script: str, provider: str, *arguments: object) -> Any:
    global _quiet_until  # noqa: PLW0603 - the process's one memory of a Redis that does not answer
    if time.monotonic() < _quiet_until:
        return None
    try:
        return _line.run(script, provider, *arguments)
    except NO_ANSWER as error:
        _quiet_until = time.monotonic() + SILENCE_SECONDS
        _line.hang_up()
        log.warning("bucket_not_reached", error=type(error).__name__, silent_for_seconds=SILENCE_SECONDS)
        return None


def forget() -> None:
    """Connect anew, and do not remember that Redis was away."""
    global _quiet_until  # noqa: PLW0603
    _quiet_until = 0.0
    _line.hang_up()
    _alone.tokens.clear()


class _Alone:
    """The small rate of this process alone, when Redis does not answer."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tokens: dict[str, tuple[float, float]] = {}

    def take(self, lane: str, costs: Sequence[int]) -> Grant:
        rate = LOCAL_PARTS_PER_SECOND[lane]
        if not rate:
            return Grant(0, CLOSED_SECONDS)
        with self.lock:
            now = time.monotonic()
            tokens, at = self.tokens.get(lane, (rate, now))
            tokens = min(rate, tokens + rate * (now - at))
            go, wait = 0, 0.0
            for cost in costs:
                need = min(cost, rate)
                if tokens < need:
                    wait = (need - tokens) / rate
                    break
                tokens -= cost
                go += 1
            self.tokens[lane] = (tokens, now)
        return Grant(go, wait)


_alone = _Alone()
