"""Conditional requests: ETag, Last-Modified and 304 Not Modified."""

import math
from datetime import UTC, datetime

from django.http import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import http_date
from rest_framework.request import Request
from rest_framework.response import Response


def conditional(
    request: Request, response: Response, *, tag: str, modified: datetime | None
) -> HttpResponseBase:
    """Return the response, or a 304 where the client already has it.

    `tag` must change whenever the content does, but for ages. A cache has to revalidate every
    time, since nobody can say how long a quote stays current.
    """
    response["Cache-Control"] = "no-cache"
    if request.accepted_renderer.format != "json":
        return response
    etag = response["ETag"] = f'W/"{tag}"'
    # A date in the future, from a clock that was set back, would hide whatever comes next.
    is_past = modified is not None and modified <= datetime.now(UTC)
    seconds = math.floor(modified.timestamp()) if modified and is_past else None
    if seconds is not None:
        response["Last-Modified"] = http_date(seconds)
    answer: HttpResponseBase | None = get_conditional_response(
        request._request, etag=etag, last_modified=seconds, response=response
    )
    return answer or response
