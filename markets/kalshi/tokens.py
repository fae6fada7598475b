"""One token bucket for every process that talks to the exchange, kept in Redis.

A taker that finds too few tokens reserves them and waits for its turn, so that waiting
processes are served in order and none starves. The clock is the server's.
"""

from typing import Self, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

# The bucket is a hash of the tokens left, below zero when reserved ahead, and the instant that
# was so. It expires once it would be full, since a full bucket and a missing one are the same.
SCRIPT = """
local rate, capacity = tonumber(ARGV[1]), tonumber(ARGV[2])
local cost, patience = tonumber(ARGV[3]), tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(kept[1]) or capacity
local passed = math.max(0, now - (tonumber(kept[2]) or now))
tokens = math.min(capacity, tokens + passed * rate)
local left
if cost < 0 then
    left = math.min(tokens, 0)
else
    left = tokens - cost
end
local wait = math.max(0, -left / rate)
if cost < 0 or wait <= patience then
    redis.call('HSET', KEYS[1],
        'tokens', string.format('%.6f', left), 'at', string.format('%.6f', now))
    redis.call('PEXPIRE', KEYS[1], math.ceil((capacity - left) / rate * 1000) + 1000)
end
return string.format('%.6f', wait)
"""
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
        """Empty the bucket: the exchange counted more than we did, so everybody pauses."""
        self._run(DRAIN, 0)

    def _run(self, cost: float, patience: float) -> float:
        arguments = [self.rate, self.capacity, cost, patience]
        return float(cast(bytes | str, self._script(keys=[self._key], args=arguments)))
