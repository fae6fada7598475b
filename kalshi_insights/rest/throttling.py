"""How often the API may be asked, counted in Redis so that all processes agree.

Whoever has signed in or sends a token counts as a user, everybody else by address.
"""

import time
from functools import cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any

import redis
import structlog
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry
from rest_framework.authentication import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from kalshi_insights.token_bucket import TokenBucket

if TYPE_CHECKING:
    # It imports this module.
    from rest_framework.views import APIView

log = structlog.get_logger(__name__)

# So many seconds' worth may be asked for at once.
BURST = 10.0
# Without Redis everybody passes, and it is not asked again for so many seconds.
RESPITE = 5.0
QUICKLY = 0.25


class Meter:
    """The buckets of all askers on one server."""

    def __init__(self, url: str) -> None:
        self._server = redis.Redis.from_url(
            url,
            socket_timeout=QUICKLY,
            socket_connect_timeout=QUICKLY,
            retry=Retry(NoBackoff(), retries=1),
        )
        self._away = False
        self._next_try = 0.0

    def take(self, asker: str, rate: float) -> float:
        """Count one request; the seconds to wait where there were too many, else 0."""
        if time.monotonic() < self._next_try:
            return 0.0
        capacity = max(1.0, rate * BURST)
        bucket = TokenBucket(self._server, rate=rate, capacity=capacity, key=f"api:rate:{asker}")
        try:
            wait = bucket.take(1, patience=0)
        except redis.RedisError as fault:
            self._rest(fault)
            return 0.0
        self._away = False
        return wait

    def _rest(self, fault: redis.RedisError) -> None:
        self._next_try = time.monotonic() + RESPITE
        if not self._away:
            log.warning("api_unlimited", reason="Redis does not answer", fault=str(fault))
        self._away = True


meter_at = cache(Meter)


class Rate(BaseThrottle):
    def allow_request(self, request: Request, view: "APIView") -> bool:
        self._wait = self.count(request)
        return not self._wait

    def wait(self) -> float:
        return self._wait

    def count(self, request: Request) -> float:
        if request.user.is_authenticated:
            return _count(f"user:{request.user.pk}", settings.API_RATE_TOKEN)
        return self.count_address(request)

    def count_address(self, request: Request) -> float:
        address = household(self.get_ident(request) or "")
        return _count(f"address:{address}", settings.API_RATE_ANONYMOUS)


class Tokens(TokenAuthentication):
    """Whoever guesses at tokens is slowed down like those who have none."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        try:
            return super().authenticate(request)
        except AuthenticationFailed:
            if wait := Rate().count_address(request):
                raise Throttled(wait) from None
            raise


def _count(asker: str, rate: float | None) -> float:
    return 0.0 if rate is None else meter_at(settings.REDIS_URL).take(asker, rate)


def household(address: str) -> str:
    """What one asker has at his disposal: an IPv4 address, or 64 bits' worth of IPv6 ones."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or IPv6Network((int(found), 64), strict=False))
    return str(found)
