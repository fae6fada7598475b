"""One token bucket for every process that talks to the exchange, kept in Redis.

A taker that finds too few tokens reserves them and waits for its turn, so that waiting
processes are served in order and none starves. The clock is the server's.

The exchange says how much it grants only to who has a key, and not always truly. So each answer
429 empties the bucket and lowers the rate to a share of what was configured; the share grows
back evenly. Many 429s within a moment, from whatever process, count as one.
"""

from typing import Self, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

# The bucket is a hash of the tokens left, below zero when reserved ahead, the share of the rate
# that holds, the instant both were so, and when the share was last lowered. It expires once it
# would be full, since a full bucket and a missing one are the same.
SCRIPT = """
local cost, patience = tonumber(ARGV[3]), tonumber(ARGV[4])
local least, lowered, regained, once = unpack(ARGV, 5, 8)
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at', 'share', 'lowered_at')
local passed = math.max(0, now - (tonumber(kept[2]) or now))
local share = math.min(1, (tonumber(kept[3]) or 1) + passed * regained)
local lowered_at = tonumber(kept[4]) or 0
if cost < 0 and math.abs(now - lowered_at) > tonumber(once) then
    share, lowered_at = math.max(least, share * lowered), now
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
    local full = math.max((capacity - left) / rate, (1 - share) / regained)
    redis.call('PEXPIRE', KEYS[1], math.ceil(full * 1000) + 1000)
end
return string.format('%.6f', wait)
"""
# What share of the rate is left at the least, what a 429 leaves of it, what comes back in a second.
LEAST_SHARE, LOWERED, REGAINED = 0.1, 0.7, 0.01
ONCE_IN = 3.0
DRAIN = -1
FOREVER = 1e9


class TokenBucket:
    """`rate` tokens a second, at most `capacity` (three seconds' worth) saved up.

    Its methods raise `redis.RedisError` where Redis cannot be asked.
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
        self._script = server.register_script(SCRIPT)

    @classmethod
    def from_url(cls, url: str, *, rate: float) -> Self:
        """A bucket on a connection that gives up quickly: a late answer is worth nothing here."""
        server = redis.Redis.from_url(
            url, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), retries=1)
        )
        return cls(server, rate=rate)

    def take(self, cost: float, *, patience: float = FOREVER) -> float:
        """Take tokens; returns the seconds to wait before they may be used.

        Where that is longer than `patience` nothing was taken.
        """
        return self._run(cost, patience)

    def drain(self) -> None:
        """Empty the bucket and slow its filling: the exchange counted more than we did."""
        self._run(DRAIN, 0)

    def _run(self, cost: float, patience: float) -> float:
        arguments = [self.rate, self.capacity, cost, patience]
        arguments += [LEAST_SHARE, LOWERED, REGAINED, ONCE_IN]
        return float(cast(bytes | str, self._script(keys=[self._key], args=arguments)))
