"""Rate limits of the pages, apart from those of the API: by account where signed in, else address.

Open pages refresh parts of themselves every few seconds. These requests have a bucket of their
own, so that however many pages are open, one more can be opened.
"""

import math
import re
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from kalshi_insights.htmx import htmx_target
from kalshi_insights.rest.throttling import client_of, take

# What pages fetch by themselves: these fragments, and the columns of the chart.
REFRESHED = {"rows", "quote", "recording", "runs", "progress"}
CHART = re.compile(r"/markets/[^/]+/chart\.json")
NOT_PAGES = ("/api/", "/health")


def limit_pages(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        wait = 0.0 if request.path.startswith(NOT_PAGES) else count_page(request)
        return too_many(request, wait) if wait else get_response(request)

    return middleware


def count_page(request: HttpRequest) -> float:
    """Count a request; return the seconds to wait where there were too many, else 0."""
    if is_refresh(request):
        return take(f"refresh:rate:{client_of(request)}", settings.PAGE_RATE_REFRESHES)
    rate = (
        settings.PAGE_RATE_ACCOUNT
        if request.user.is_authenticated
        else settings.PAGE_RATE_ANONYMOUS
    )
    return take(f"page:rate:{client_of(request)}", rate)


def is_refresh(request: HttpRequest) -> bool:
    if request.method != "GET":
        return False
    return htmx_target(request) in REFRESHED or CHART.fullmatch(request.path) is not None


def too_many(request: HttpRequest, wait: float) -> HttpResponse:
    seconds = math.ceil(wait)
    response = render(request, "429.html", {"seconds": seconds}, status=429)
    response.headers["Retry-After"] = str(seconds)
    return response
