"""Guards of sign-in: locks by user and address, and a rate of attempts for each address.

django-axes counts failures and locks; its settings name the functions here. A lock goes by user
and address together, so that nobody can lock out somebody else. The rate goes by address alone,
since checking a password takes a third of a second of one core, whoever's name is tried.
"""

import math
from collections.abc import Callable
from functools import wraps
from ipaddress import ip_network
from typing import Any

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers

from kalshi_insights.middleware.proxies import client_address
from kalshi_insights.rest.throttling import client_network, rate_limiter_at

log = structlog.get_logger(__name__)

TOO_MANY_REQUESTS = 429
MAX_USERNAME_LENGTH = 150


def lock_address(request: HttpRequest) -> str | None:
    """The address that a lock goes by: of IPv6 the first of the client's network.

    None where there is none, as on a UNIX socket.
    """
    try:
        return str(ip_network(client_network(client_address(request))).network_address)
    except ValueError:
        return None


def lock_name(request: HttpRequest, credentials: dict[str, Any] | None) -> str | None:
    """The name that a lock goes by; axes cannot keep one that is longer than any user's."""
    name: str | None = (credentials or {}).get("username")
    return name[:MAX_USERNAME_LENGTH] if name else None


def locked_page(
    request: HttpRequest, response: HttpResponse | None, credentials: dict[str, Any] | None
) -> HttpResponse:
    """Refuse a sign-in, whatever its password, and log it: axes logs only the failures before."""
    log.warning(
        "sign_in_locked",
        username=lock_name(request, credentials),
        address=lock_address(request),
        path=request.path,
    )
    minutes = math.ceil(settings.AXES_COOLOFF_TIME.total_seconds() / 60)
    context = {"minutes": minutes, "failures": settings.AXES_FAILURE_LIMIT}
    return _refusal(request, "accounts/locked.html", context, seconds=minutes * 60)


def limit_attempts(
    view: Callable[..., HttpResponseBase],
) -> Callable[..., HttpResponseBase]:
    """Decorate a view whose POST checks a password or sends mail; GET is not counted."""

    @wraps(view)
    def limited(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        wait = _count(request) if request.method == "POST" else 0.0
        if not wait:
            return view(request, *args, **kwargs)
        seconds = math.ceil(wait)
        return _refusal(
            request, "accounts/too_many_attempts.html", {"seconds": seconds}, seconds=seconds
        )

    return limited


def _count(request: HttpRequest) -> float:
    rate = settings.SIGN_IN_RATE
    if rate is None:
        return 0.0
    client = f"sign-in:{client_network(client_address(request))}"
    return rate_limiter_at(settings.REDIS_URL).take(client, rate)


def _refusal(
    request: HttpRequest, template: str, context: dict[str, Any], *, seconds: int
) -> HttpResponse:
    response = render(request, template, context, status=TOO_MANY_REQUESTS)
    response.headers["Retry-After"] = str(seconds)
    add_never_cache_headers(response)
    return response
