"""Answers that a client who asks again need not be sent again."""

import math
from datetime import datetime

from django.http import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import http_date
from rest_framework.request import Request
from rest_framework.response import Response


def conditional(
    request: Request, response: Response, *, tag: str, modified: datetime | None
) -> HttpResponseBase:
    """The answer, or a 304 where the client has it: `tag` stands for what the answer says.

    It is to be asked about every time, for nobody can say how long it stays true.
    """
    response["Cache-Control"] = "no-cache"
    if request.accepted_renderer.format != "json":
        return response
    tag = response["ETag"] = f'W/"{tag}"'
    seconds = math.floor(modified.timestamp()) if modified else None
    if seconds is not None:
        response["Last-Modified"] = http_date(seconds)
    found: HttpResponseBase | None = get_conditional_response(
        request._request, etag=tag, last_modified=seconds, response=response
    )
    return found or response
