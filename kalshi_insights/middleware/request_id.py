"""The id that an answer and the lines of its log have in common."""

import re
import uuid
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse

SANE = re.compile(r"[A-Za-z0-9-]{1,64}")
META = "HTTP_X_REQUEST_ID"


def request_id(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        given = request.META.get(META, "")
        name = given if SANE.fullmatch(given) else str(uuid.uuid4())
        request.META[META] = name
        with structlog.contextvars.bound_contextvars(request_id=name):
            response = get_response(request)
        response.headers["X-Request-ID"] = name
        return response

    return middleware
