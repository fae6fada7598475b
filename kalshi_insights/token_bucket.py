"""A token bucket in Redis that all processes share.

A process that finds too few tokens reserves them and waits for its turn, so waiting processes are
served in order and none starves. The clock is that of the Redis server.

The exchange tells its limits only to users with a key, and not always correctly. So each 429
response empties the bucket and lowers the rate to a share of the configured one, which then grows
back at a constant rate. Several 429s within a moment, from any process, count as one.
"""

from typing import Self, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from kalshi_insights.processes.connections import redis_options

# The bucket is a hash of the tokens left (below zero where they are reserved ahead), the share of
# the rate, the instant of both, and the instant when the share was last lowered. It expires when
# it would be full, since a full bucket and a missing one are the same.
SCRIPT = """
local cost, patience = tonumber(ARGV[3]), tonumber(ARGV[4])
local min_share, backoff, recovery, ignored = unpack(ARGV, 5, 8)
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at', 'share', 'lowered_at')
local at = tonumber(kept[2]) or now
-- A clock that was set back counts from here on, also where nothing is taken.
if at > now then redis.call('HSET', KEYS[1], 'at', string.format('%.6f', now)) end
local passed = math.max(0, now - at)
local share = math.min(1, (tonumber(kept[3]) or 1) + passed * recovery)
local lowered_at = tonumber(kept[4]) or 0
if cost < 0 and math.abs(now - lowered_at) > tonumber(ignored) then
    share, lowered_at = math.max(min_share, share * backoff), now
end
local rate, capacity = ARGV[1] * share, ARGV[2] * share
local tokens = math.min(capacity, (tonumber(kept[1]) or capacity) + passed * rate)
local left = tokens - cost
if cost < 0 then left = math.min(tokens, 0) end
local wait = math.max(0, -left / rate)
if cost < 0 or wait <= patience then
    redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', left),
        'at', string.format('%.6f', now), 'share', string.format('%.6f', share),
        'lowered_at', string.format('%.6f', lowered_at))
    local full = math.max((capacity - left) / rate, (1 - share) / recovery)
    redis.call('PEXPIRE', KEYS[1], math.ceil(full * 1000) + 1000)
end
return string.format('%.6f', wait)
"""
# The smallest share of the rate, the factor by which a 429 lowers it, its growth in a second, and
# the seconds within which further 429s are ignored.
MIN_SHARE, BACKOFF, RECOVERY, IGNORED_SECONDS = 0.1, 0.7, 0.01, 3.0
DRAIN = -1
FOREVER = 1e9
NEVER = -1.0


class TokenBucket:
    """A bucket that gains `rate` tokens a second up to `capacity`, by default three seconds' worth.

    Its methods raise `redis.RedisError` where Redis does not answer.
    """

    def __init__(
        self,
        server: redis.Redis,
        *,
        rate: float,
        capacity: float | None = None,
        key: str = "kalshi:tokens",
    ) -> None:
        self.rate = rate
        self.capacity = 3 * rate if capacity is None else capacity
        self._key = key
        self._server = server
        self._script = server.register_script(SCRIPT)

    @classmethod
    def from_url(cls, url: str, *, rate: float) -> Self:
        """A bucket on a connection that gives up quickly, since a late answer is worth nothing."""
        retry = Retry(NoBackoff(), retries=1)
        server = redis.Redis.from_url(url, retry=retry, **redis_options(url, seconds=1))
        return cls(server, rate=rate)

    def take(self, cost: float, *, patience: float = FOREVER) -> float:
        """Take tokens and return the seconds to wait before they may be used.

        Nothing is taken where the wait would be longer than `patience`.
        """
        return self._run(cost, patience)

    def wait_for(self, cost: float) -> float:
        """Return the seconds until so many tokens would be there, and take none."""
        return self._run(cost, NEVER)

    def present_rate(self) -> float:
        """Return the tokens gained in a second: `rate`, or less for a while after a 429."""
        self.take(0)  # it writes how far the share has grown back
        share = self._server.hget(self._key, "share")
        return self.rate * float(share or 1)

    def drain(self) -> None:
        """Empty the bucket and lower its rate, because the exchange answered 429."""
        self._run(DRAIN, 0)

    def _run(self, cost: float, patience: float) -> float:
        arguments = [self.rate, self.capacity, cost, patience]
        arguments += [MIN_SHARE, BACKOFF, RECOVERY, IGNORED_SECONDS]
        return float(cast(bytes | str, self._script(keys=[self._key], args=arguments)))
