"""Request ids, which a response shares with its log lines."""

import re
import uuid
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse

VALID = re.compile(r"[A-Za-z0-9-]{1,64}")
META = "HTTP_X_REQUEST_ID"


def id_of(sent: str) -> str:
    """The id that a client has sent, or a new one where it sent none that is fit for a log."""
    return sent if VALID.fullmatch(sent) else str(uuid.uuid4())


def request_id(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        request.META[META] = request_id = id_of(request.META.get(META, ""))
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            response = get_response(request)
        response.headers["X-Request-ID"] = request_id
        return response

    return middleware
