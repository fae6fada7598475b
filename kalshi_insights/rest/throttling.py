"""Rate limits, counted in Redis so that all processes share them.

A request with a token or a session counts for its user, any other for the address it comes from.
"""

import time
from functools import cache
from ipaddress import IPv6Address, IPv6Network, ip_address

import redis
import structlog
from django.conf import settings
from django.http import HttpRequest
from redis.backoff import NoBackoff
from redis.retry import Retry
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from kalshi_insights.middleware.proxies import client_address
from kalshi_insights.processes.connections import redis_options
from kalshi_insights.token_bucket import TokenBucket

log = structlog.get_logger(__name__)

# A client may spend this many seconds' worth of requests at once.
BURST_SECONDS = 10.0
# Without Redis every request is let through, and Redis is tried again after this many seconds.
REDIS_RETRY_SECONDS = 5.0
REDIS_TIMEOUT_SECONDS = 0.25


class RateLimiter:
    """The token buckets of all clients on one Redis server."""

    def __init__(self, url: str) -> None:
        options = redis_options(url, seconds=REDIS_TIMEOUT_SECONDS)
        retry = Retry(NoBackoff(), retries=1)
        self._server = redis.Redis.from_url(url, retry=retry, **options)
        self._is_down = False
        self._next_try = 0.0

    def take(self, key: str, rate: float) -> float:
        """Count one request; return the seconds to wait where there were too many, else 0."""
        if time.monotonic() < self._next_try:
            return 0.0
        capacity = max(1.0, rate * BURST_SECONDS)
        bucket = TokenBucket(self._server, rate=rate, capacity=capacity, key=key)
        try:
            wait = bucket.take(1, patience=0)
        except redis.RedisError as fault:
            self._pause(fault)
            return 0.0
        self._is_down = False
        return wait

    def _pause(self, fault: redis.RedisError) -> None:
        self._next_try = time.monotonic() + REDIS_RETRY_SECONDS
        if not self._is_down:
            log.warning("api_unlimited", reason="Redis does not answer", fault=str(fault))
        self._is_down = True


rate_limiter_at = cache(RateLimiter)


class ApiRateThrottle(BaseThrottle):
    # The view is not annotated as such: its module imports this one.
    def allow_request(self, request: Request, view: object) -> bool:
        self._wait = self._count(request)
        return not self._wait

    def wait(self) -> float:
        return self._wait

    def count_address(self, request: Request) -> float:
        """Count a request for its address; return the seconds to wait, or 0."""
        return take(f"api:rate:{address_of(request)}", settings.API_RATE_ANONYMOUS)

    def _count(self, request: Request) -> float:
        if request.user.is_authenticated:
            return take(f"api:rate:{client_of(request)}", settings.API_RATE_TOKEN)
        return self.count_address(request)


def take(key: str, rate: float | None) -> float:
    """Count one request; return the seconds to wait where there were too many, else 0."""
    return 0.0 if rate is None else rate_limiter_at(settings.REDIS_URL).take(key, rate)


def client_of(request: HttpRequest | Request) -> str:
    """Whom a request counts for: its user, or the address that it comes from."""
    user = request.user
    return f"user:{user.pk}" if user.is_authenticated else address_of(request)


def address_of(request: HttpRequest | Request) -> str:
    return f"address:{client_network(client_address(request))}"


def client_network(address: str) -> str:
    """The addresses that one client controls: a single IPv4 address, or a /64 of IPv6."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or IPv6Network((int(parsed), 64), strict=False))
    return str(parsed)
